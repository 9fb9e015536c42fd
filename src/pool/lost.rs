//! What serves and could not be started anew: the directory of its release is gone, or is the one that a release was put into which does not
//! work. The processes that live are the only ones that there will be, and nothing that can be put off ends them: no idleness, no age, no
//! count of requests, no limit on memory but the hard one, no room for another app, no wish to detach one.

use super::*;

/// Why it could not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The directory of its release is not there any more.
    Gone,
    /// Another directory has the name of its own.
    Replaced,
    /// This release, which failed, was put into its own directory.
    InPlace(Generation),
}

impl Lost {
    /// `directory`: of `good`, of which so many processes serve.
    pub fn say(self, good: Generation, directory: &str, serving: usize) -> String {
        let living = match serving {
            0 => "no process serves".to_owned(),
            1 => "1 process serves what was there before, and is kept".to_owned(),
            _ => format!("{serving} processes serve what was there before, and are kept"),
        };
        match self {
            Self::Gone => format!(
                "the directory {directory} of {good} is gone: what dies now cannot be started again; {living}; deploy a release that is there"
            ),
            Self::Replaced => format!(
                "{directory} is another directory than the one that {good} was started from: what dies now is started from other files; {living}"
            ),
            Self::InPlace(failed) => format!(
                "{good} and {failed} are the same directory {directory}: what dies now is started from the files that failed; {living}; put \
                 good files there and restart, or deploy another directory"
            ),
        }
    }
}

impl<W> Group<W> {
    /// Why what serves could not be started anew; None: it could.
    pub fn loss(&self) -> Option<Lost> {
        self.lost_directory.or(self.lost_in_place.map(Lost::InPlace))
    }

    /// How many processes serve of the good release.
    pub fn serving_good(&self) -> usize {
        self.good.map_or(0, |good| usize::from(self.serving_of(good)))
    }

    /// What was seen of the directory of `generation`. True: that is news.
    pub fn saw_directory(&mut self, generation: Generation, lost: Option<Lost>) -> bool {
        if self.good != Some(generation) || self.lost_directory == lost {
            return false;
        }
        self.lost_directory = lost;
        self.keep_living();
        true
    }

    /// The walk that is under way goes to the directory from which the good release was started.
    pub fn goes_in_place(&mut self, generation: Generation) {
        if let Some(walk) = self.walk.as_mut().filter(|walk| walk.target == generation) {
            walk.is_in_place = true;
        }
    }

    /// The release failed: if it is in the directory of the good one, that is lost. True: it is.
    pub(super) fn failed_in_place(&mut self, generation: Generation) -> bool {
        let is_in_place = self.walk.as_ref().is_some_and(|walk| walk.target == generation && walk.is_in_place);
        if is_in_place {
            self.lost_in_place = Some(generation);
            self.keep_living();
        }
        is_in_place
    }

    /// Another release is good.
    pub(super) fn is_found_again(&mut self) {
        (self.lost_directory, self.lost_in_place) = (None, None);
    }

    /// What was to be replaced stays.
    fn keep_living(&mut self) {
        if self.loss().is_some() {
            self.processes.iter_mut().filter(|process| process.is_serving()).for_each(|process| process.worn = None);
        }
        self.checked();
    }
}
