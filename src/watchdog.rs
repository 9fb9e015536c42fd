//! systemd's watchdog (WatchdogSec=, sd_notify(3)): fed by the master, which shows that it turns, while the restart thread turns too: what waits
//! or works its way through a step takes notice of each feeding before the next one. Without it nothing is done.

use std::time::{Duration, Instant};

use crate::notify::Notify;
use crate::restart::Doing;
use crate::table::Shared;

#[derive(Debug)]
pub struct Watchdog {
    notify: Notify,
    every: Duration,
    due: Instant,
    /// The last turn that the restart thread was asked for.
    asked: u64,
    /// That it does not turn was said.
    is_told: bool,
}

/// The restart thread's word that it turns.
#[derive(Debug, Default)]
pub struct Turns {
    asked: u64,
    taken: u64,
    /// What it went to do last.
    doing: Option<Doing>,
}

impl Turns {
    /// The restart thread has come by.
    pub fn take(&mut self) {
        self.taken = self.asked;
    }

    pub fn begins(&mut self, doing: Doing) {
        self.doing = Some(doing);
    }
}

impl Watchdog {
    /// None: nobody wants to be told.
    pub fn of_environment(now: Instant) -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        let limit = limit(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id())?;
        let notify = Notify::of_environment()?;
        Some(Self { notify, every: limit / FEEDINGS, due: now, asked: 0, is_told: false })
    }

    pub fn next_deadline(&self) -> Instant {
        self.due
    }

    /// Feeds it if that is due and the restart thread has turned since the last time.
    pub fn turn(&mut self, shared: &Shared, now: Instant) {
        if now < self.due {
            return;
        }
        self.due = now + self.every;
        let mut state = shared.table.lock();
        let doing = state.turns.doing;
        let turns = state.finished || state.turns.taken == self.asked;
        if turns {
            self.asked += 1;
            state.turns.asked = self.asked;
        }
        drop(state);
        shared.table.notify();
        if !turns {
            if !std::mem::replace(&mut self.is_told, true) {
                let words = |doing: Doing| doing.words(|group| shared.catalog().app(group).name.to_string());
                let doing = doing.map_or_else(|| "nothing".to_owned(), words);
                log::error!(
                    "the restart thread has done nothing for {:?}, what it went to last is {doing}; systemd's watchdog is not fed until it does",
                    self.every
                );
            }
            return;
        }
        self.is_told = false;
        self.notify.tell("WATCHDOG=1");
    }
}

/// What WATCHDOG_USEC says, if it is said to this process.
fn limit(micros: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid != own.to_string()) {
        return None;
    }
    micros?.parse().ok().filter(|micros| *micros > 0).map(Duration::from_micros)
}

/// Within the limit: one may be late for the sake of a step of the restart thread that takes half of it.
const FEEDINGS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fed_where_it_was_asked_of_this_very_process() {
        let of = |micros: &str, pid: Option<&str>| limit(Some(micros.to_owned()), pid.map(str::to_owned), 7);
        assert_eq!(of("2000000", Some("7")), Some(Duration::from_secs(2)));
        assert_eq!(of("2000000", None), Some(Duration::from_secs(2)));
        assert_eq!([of("2000000", Some("8")), of("0", None), of("2s", None), limit(None, None, 7)], [None; 4]);
    }
}
