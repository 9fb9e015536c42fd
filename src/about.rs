//! How many lines rota writes about an app: beyond a number in a while they are dropped and counted, so that an app that answers nonsense, or ends
//! and is started again without end, does not fill the journal. A line is about the app for which its thread works at the moment.
//!
//! On all threads. What the app itself prints has a rate of its own (`log_rate`, [`crate::app_log`]).

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use log::Level;

use crate::app_log::rate::{Rate, Verdict, WHILE};
use crate::ids::AppName;
use crate::printable::counted_past;

/// What has been said of an app.
#[derive(Debug)]
pub struct About {
    name: AppName,
    rate: Rate,
}

/// The thread works for an app until this is dropped; then again for the one before, or for none.
#[derive(Debug)]
#[must_use]
pub struct Works(Option<Arc<About>>);

/// What is said from now on by this thread is about that app.
pub fn works_for(about: &Arc<About>) -> Works {
    Works(WORKS_FOR.with(|works_for| works_for.replace(Some(about.clone()))))
}

/// What is said in there counts for no app.
pub fn aside<T>(say: impl FnOnce() -> T) -> T {
    let _works = Works(WORKS_FOR.with(|works_for| works_for.take()));
    say()
}

impl Drop for Works {
    fn drop(&mut self) {
        let before = self.0.take();
        // At the end of a thread there is none any more.
        let _ = WORKS_FOR.try_with(|works_for| works_for.replace(before));
    }
}

/// What is written for a line of this thread: it, or that lines are dropped, or nothing. What was asked for to find a fault is written whole.
pub fn lines(level: Level, text: String) -> Vec<(Level, String)> {
    let about = WORKS_FOR.try_with(|works_for| works_for.borrow().clone()).ok().flatten();
    match about.filter(|_| level <= Level::Info) {
        Some(about) => about.lines(level, text, STARTED.elapsed()),
        None => vec![(level, text)],
    }
}

impl About {
    pub fn new(name: AppName) -> Self {
        Self { name, rate: Rate::new(LINES) }
    }

    fn lines(&self, level: Level, text: String, now: Duration) -> Vec<(Level, String)> {
        let (verdict, dropped) = self.rate.take(now);
        let line = match verdict {
            Verdict::Written => Some((level, text)),
            Verdict::FirstDropped => {
                let (name, time) = (&self.name, WHILE.as_secs());
                let more = "more are dropped until these are over, and counted";
                Some((Level::Warn, format!("{name}: rota has said {LINES} lines about it within {time} s; {more}")))
            }
            Verdict::Dropped => None,
        };
        self.dropped(dropped).map(|dropped| (Level::Warn, dropped)).into_iter().chain(line).collect()
    }

    fn dropped(&self, dropped: Option<u64>) -> Option<String> {
        let (name, time) = (&self.name, WHILE.as_secs());
        dropped.map(|dropped| format!("{name}: {} dropped in {time} s that rota had to say about it", counted_past(dropped, "line")))
    }

    /// When [`Self::tick`] has something to say.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.rate.due().map(|due| *STARTED + due)
    }

    /// Says what was dropped, if nothing was said since.
    pub fn tick(&self, now: Instant) {
        let now = now.saturating_duration_since(*STARTED);
        if self.rate.due().is_some_and(|due| due <= now) {
            self.tell(self.rate.over(now));
        }
    }

    /// Says all that was dropped: nothing comes any more.
    pub fn finish(&self) {
        self.tell(self.rate.due().and_then(|due| self.rate.over(due)));
    }

    fn tell(&self, dropped: Option<u64>) {
        if let Some(dropped) = self.dropped(dropped) {
            aside(|| log::warn!("{dropped}"));
        }
    }
}

thread_local! {
    static WORKS_FOR: RefCell<Option<Arc<About>>> = const { RefCell::new(None) };
}

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Of one app in [`WHILE`]: a restart of sixty processes says less.
const LINES: u64 = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_dropped_and_counted_and_other_apps_are_heard() {
        let about = |name: &str| Arc::new(About::new(AppName::new(name).unwrap()));
        let (one, two) = (about("one"), about("two"));
        let say = |about: &Arc<About>| {
            let _works = works_for(about);
            lines(Level::Warn, "text".to_owned())
        };
        let said: Vec<_> = (0..700).flat_map(|_| say(&one)).map(|(_, text)| text).collect();
        assert_eq!(said.iter().filter(|text| *text == "text").count(), 500);
        assert_eq!(
            said.last().unwrap(),
            "one: rota has said 500 lines about it within 30 s; more are dropped until these are over, and counted"
        );
        assert_eq!(say(&two), [(Level::Warn, "text".to_owned())]);
        assert_eq!(lines(Level::Warn, "text".to_owned()).len(), 1, "about no app");
        let _works = works_for(&one);
        assert_eq!(aside(|| lines(Level::Warn, "text".to_owned())).len(), 1);
        assert_eq!(lines(Level::Debug, "text".to_owned()).len(), 1);
        let later = one.lines(Level::Info, "more".to_owned(), STARTED.elapsed() + WHILE);
        assert_eq!(later[0].1, "one: 200 lines were dropped in 30 s that rota had to say about it");
        assert_eq!(later[1].1, "more");
    }
}
