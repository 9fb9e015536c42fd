//! Holding an app: requests in hand end, new ones wait in the queue, for a bounded time.

use super::group::Ending;
use super::*;

/// The app is paused.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Pause {
    #[serde(with = "crate::moment")]
    pub since: Instant,
    #[serde(with = "crate::moment")]
    pub until: Instant,
}

impl<W> Group<W> {
    /// No request begins until [`Group::resume`] or `until`. Told again, only `until` changes. False: the group ends, and is not paused.
    pub fn pause(&mut self, until: Instant, now: Instant) -> bool {
        if self.ending != Ending::No {
            return false;
        }
        let since = self.pause.map_or(now, |pause| pause.since);
        self.pause = Some(Pause { since, until });
        true
    }

    /// Requests may begin again, those that wait first: that is the next step. False: it was not paused.
    pub fn resume(&mut self, now: Instant) -> bool {
        let Some(pause) = &mut self.pause else { return false };
        pause.until = now;
        true
    }

    pub fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    /// Requests that are with the app.
    pub fn sessions(&self) -> u32 {
        self.processes.iter().map(|process| process.sessions).sum()
    }

    /// When a request ended last, as far as its process is still there.
    pub fn last_used(&self) -> Option<Instant> {
        self.processes.iter().filter_map(|process| process.last_used).max()
    }

    /// The pause is over: what waits gets the free slots in the same step.
    pub(super) fn end_pause(&mut self, now: Instant) -> Option<Step<W>> {
        self.pause.take_if(|pause| now >= pause.until)?;
        let granted = (0..self.processes.len()).flat_map(|index| self.grant_all(index, now)).collect();
        // Also with nothing to hand over: whoever waits for a quiet app hears of it.
        Some(Step::Grant { granted })
    }
}
