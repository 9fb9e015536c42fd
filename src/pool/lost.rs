//! What serves and might not be started anew: the directory of its release is gone, or the last start from it failed. The processes that live
//! may be the only ones that there will be, and nothing that can be put off ends them: no idleness, no age, no count of requests, no limit on
//! memory but the hard one, no room for another app, no wish to detach one.
//!
//! Where only a start failed, one that goes well shows that the files are good, and what has served its time is a reason to try: the old
//! process stays until the new one has proved itself.

use super::process::Process;
use super::*;

/// Why it could not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lost {
    /// The directory of its release is not there any more.
    Gone,
    /// Another directory has the name of its own.
    Replaced,
    /// The start of this release, from its own directory, failed.
    InPlace(Generation),
}

/// A start that failed, from the directory of the good release.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct InPlace {
    generation: Generation,
    /// As far as its failure says what is to be changed.
    cause: Option<String>,
}

impl Lost {
    /// `directory`: of `good`, of which so many processes serve that were started before.
    fn say(self, good: Generation, directory: &str, serving: usize, cause: Option<&str>) -> String {
        let kept = match serving {
            0 => "none that served before does any more".to_owned(),
            1 => "1 process that serves is kept until a start succeeds".to_owned(),
            _ => format!("{serving} processes that serve are kept until a start succeeds"),
        };
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
            Self::InPlace(failed) => match cause {
                Some(cause) => format!("{failed} failed: {cause}; {kept}"),
                None => format!(
                    "{good} and {failed} are the same directory {directory}, from which the last start failed; what dies is started from \
                     what is there now; {kept}"
                ),
            },
        }
    }
}

impl<W> Group<W> {
    /// Why what serves could not be started anew; None: it could.
    pub fn loss(&self) -> Option<Lost> {
        self.lost_directory.or(self.lost_in_place.as_ref().map(|in_place| Lost::InPlace(in_place.generation)))
    }

    /// The same as a sentence; `directory`: of the good release.
    pub fn say_loss(&self, directory: &str) -> Option<String> {
        let (lost, good) = (self.loss()?, self.good?);
        let before = |process: &&Process| process.is_serving() && process.generation == good && process.id.serial <= self.lost_after;
        let cause = self.lost_in_place.as_ref().and_then(|in_place| in_place.cause.as_deref());
        Some(lost.say(good, directory, self.processes.iter().filter(before).count(), cause))
    }

    /// Nothing that serves is replaced by another of the same release: none could be started, or the old one would go first.
    pub fn keeps_all(&self) -> bool {
        let old_one_stays = self.settings.surge > 0 && self.settings.leader != LeaderPolicy::Exclusive;
        self.loss().is_some() && (self.lost_directory.is_some() || !old_one_stays)
    }

    /// A replacement is a try, for which nothing that serves is given up.
    pub(super) fn only_tries(&self) -> bool {
        self.walk.is_none() && self.loss().is_some()
    }

    /// What was seen of the directory of `generation`. True: that is news.
    pub fn saw_directory(&mut self, generation: Generation, lost: Option<Lost>) -> bool {
        if self.good != Some(generation) || self.lost_directory == lost {
            return false;
        }
        self.lost_directory = lost;
        if lost.is_some() {
            self.lost_after = self.last_serial;
        }
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
    pub(super) fn failed_in_place(&mut self, generation: Generation, failure: &Failure) -> bool {
        let is_in_place = self.walk.as_ref().is_some_and(|walk| walk.target == generation && walk.is_in_place);
        if is_in_place {
            let cause = failure.kind.names_cause().then(|| failure.to_string());
            self.lost_in_place = Some(InPlace { generation, cause });
            self.lost_after = self.last_serial;
            self.mended = None;
            self.keep_living();
        }
        is_in_place
    }

    /// Another release is good.
    pub(super) fn is_found_again(&mut self) {
        (self.lost_directory, self.lost_in_place) = (None, None);
    }

    /// Processes with greater serials than `lost_after`, of these generations, show by working that the files of the directory are good.
    pub(super) fn would_mend(&self) -> impl Fn(&Process) -> bool + use<W> {
        let in_place = self.walk.as_ref().filter(|walk| walk.is_in_place).map(|walk| walk.target);
        let (good, after, is_lost) = (self.good, self.lost_after, self.lost_in_place.is_some());
        move |process| is_lost && process.id.serial > after && [good, in_place].contains(&Some(process.generation))
    }

    pub(super) fn is_mended(&mut self) {
        self.mended = self.lost_in_place.take().map(|in_place| in_place.generation);
    }

    /// The release whose failure in place is made good since, once.
    pub fn take_mended(&mut self) -> Option<Generation> {
        self.mended.take()
    }

    /// What was to be replaced stays.
    fn keep_living(&mut self) {
        if self.keeps_all() {
            self.processes.iter_mut().filter(|process| process.is_serving()).for_each(|process| process.worn = None);
        }
        self.checked();
    }
}
