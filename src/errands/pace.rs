//! How far an errand is, for whoever waits for it, and when it has to stop by itself: what reads with a budget looks at this now and then.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

/// Cheap to clone: one for the errand, one for who waits.
#[derive(Clone, Debug)]
pub struct Pace {
    begun: Sender<String>,
    latest: Receiver<String>,
    until: Instant,
}

impl Pace {
    /// The errand stops by itself after `limit`, where it can.
    pub fn new(limit: Duration) -> Self {
        let (begun, latest) = bounded(1);
        Self { begun, latest, until: Instant::now() + limit }
    }

    /// Of a command, which somebody waits for and can end.
    pub fn of_command() -> Self {
        Self::new(OF_COMMAND)
    }

    /// A step begins: `reading Procfile`.
    pub fn begin(&self, step: String) {
        let mut step = step;
        while let Err(refused) = self.begun.try_send(step) {
            step = refused.into_inner();
            let _ = self.latest.try_recv();
        }
    }

    /// The step that was begun last, once; None: none was, since this was asked.
    pub fn step(&self) -> Option<String> {
        self.latest.try_recv().ok()
    }

    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

const OF_COMMAND: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_that_was_begun_last_is_known_and_nobody_waits_for_who_asks() {
        let pace = Pace::new(Duration::from_secs(60));
        assert_eq!((pace.step(), pace.is_over()), (None, false));
        let own = pace.clone();
        for number in 0..100 {
            own.begin(number.to_string());
        }
        assert_eq!(pace.step().as_deref(), Some("99"));
        assert!(Pace::new(Duration::ZERO).is_over());
    }
}
