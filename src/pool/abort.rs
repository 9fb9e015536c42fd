//! Calling off a walk.

use super::*;

/// Why a walk cannot be called off. `Display` is a sentence without the app's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoAbort {
    NothingUnderWay,
    /// No release is known to work: there is nothing to go back to.
    FirstStart,
}

impl<W> Group<W> {
    /// Calls off what is asked for or under way: what was replaced is walked back. Gives the generation whose outcome tells the end.
    pub fn abort(&mut self) -> Result<Generation, NoAbort> {
        let waiting: Vec<Ask> = self.asked.take().into_iter().chain(self.resolving.take()).collect();
        let mut aborted = None;
        for ask in waiting {
            if self.walk.as_ref().is_none_or(|walk| walk.asked() != ask.generation) {
                aborted = aborted.max(Some(ask.generation));
                self.settle(ask, Outcome::Aborted { replaced: 0 });
            }
        }
        if let (Some(good), Some(walk)) = (self.good, &self.walk) {
            let generation = walk.asked();
            if walk.back.is_none() {
                self.walk_back(good, None);
            }
            aborted = Some(generation);
        }
        self.checked();
        aborted.ok_or(if self.walk.is_some() { NoAbort::FirstStart } else { NoAbort::NothingUnderWay })
    }

    /// Something is asked for or under way that a release known to work could take back.
    pub fn can_abort(&self) -> bool {
        // Of a first start the release is resolved for the walk that is there already.
        let resolving = self.resolving.as_ref().is_some_and(|ask| self.walk.as_ref().is_none_or(|walk| walk.asked() != ask.generation));
        self.asked.is_some() || resolving || (self.walk.is_some() && self.good.is_some())
    }
}
