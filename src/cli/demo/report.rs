//! What the demo says at its end, and whether all went as it should. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::client::Failure;
use super::place::Release;
use super::screen::grouped;
use super::tally::{Part, Tally};
use crate::pool::Exit;

/// One restart that was tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Restart {
    pub version: u32,
    pub release: Release,
    pub took: Duration,
    /// None: it did not end in time and was given up.
    pub exit: Option<Exit>,
}

impl Restart {
    pub fn expected(&self) -> Exit {
        match self.release {
            Release::Works => Exit::Status(0),
            Release::Broken => Exit::Status(4),
        }
    }

    pub fn ended_as_expected(&self) -> bool {
        self.exit == Some(self.expected())
    }
}

/// The closing table and sentence.
pub fn closing(tally: &Tally, restarts: &[Restart]) -> String {
    let mut text = format!("{:<18}{:>10}{:>9}{:>11}{:>11}{:>11}\n", "", "requests", "failed", "p50", "p99", "longest");
    for (name, part) in [("steady", &tally.steady), ("during restarts", &tally.restarting)] {
        text.push_str(&row(name, part));
    }
    let _ = writeln!(text, "{:<18}{:>10}{:>9}", "all", grouped(tally.requests()), grouped(tally.failed()));
    if !tally.failures.is_empty() {
        let _ = writeln!(text, "failed: {}", by_name(&tally.failures));
    }
    let tried = |release| restarts.iter().filter(|restart| restart.release == release).collect::<Vec<_>>();
    let (good, broken) = (tried(Release::Works), tried(Release::Broken));
    let _ = writeln!(text, "restarts: {} with a good release, {} with a broken one", good.len(), broken.len());
    text.push('\n');

    let wrong = wrong(tally, restarts);
    if wrong.is_empty() {
        let _ = writeln!(
            text,
            "{} requests, every one answered in full, while {} good {} went out\nand a broken one was stopped at the door.",
            grouped(tally.requests()),
            good.len(),
            if good.len() == 1 { "release" } else { "releases" },
        );
    } else {
        let _ = writeln!(text, "Not as it should be: {}.", wrong.join("; "));
    }
    text
}

/// What was not as it should be, each in a few words; empty: all was.
pub fn wrong(tally: &Tally, restarts: &[Restart]) -> Vec<String> {
    let mut wrong = Vec::new();
    if tally.failed() > 0 {
        wrong.push(format!("{} of {} requests failed", grouped(tally.failed()), grouped(tally.requests())));
    }
    if tally.requests() == 0 {
        wrong.push("nothing was asked".to_owned());
    }
    for restart in restarts.iter().filter(|restart| !restart.ended_as_expected()) {
        let ended = match restart.exit {
            Some(exit) => format!("ended with {exit}"),
            None => format!("had not ended after {} s", restart.took.as_secs()),
        };
        wrong.push(format!("the restart to version {} {ended} instead of {}", restart.version, restart.expected()));
    }
    wrong
}

fn row(name: &str, part: &Part) -> String {
    let mut row = format!("{name:<18}{:>10}{:>9}", grouped(part.requests), grouped(part.failed));
    if let Some(latency) = part.latency() {
        for time in [latency.p50, latency.p99, latency.longest] {
            let _ = write!(row, "{:>8.1} ms", time.as_secs_f64() * 1000.0);
        }
    }
    row.push('\n');
    row
}

fn by_name(failures: &BTreeMap<Failure, u64>) -> String {
    let named: Vec<String> = failures.iter().map(|(failure, count)| format!("{} {failure}", grouped(*count))).collect();
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::load::{Answer, Sample};
    use super::*;
    use std::time::Instant;

    fn tally(answers: &[Result<u32, Failure>]) -> Tally {
        let mut tally = Tally::default();
        for answer in answers {
            let answer = answer.map(|version| Answer { version, process: 1 });
            tally.add(Sample { due: Instant::now(), took: Duration::from_micros(5_640), answer });
        }
        tally
    }

    fn restart(version: u32, release: Release, exit: Option<Exit>) -> Restart {
        Restart { version, release, took: Duration::from_secs(60), exit }
    }

    #[test]
    fn all_went_well() {
        let restarts = [restart(2, Release::Works, Some(Exit::Status(0))), restart(3, Release::Broken, Some(Exit::Status(4)))];
        assert_eq!(
            closing(&tally(&[Ok(1), Ok(2)]), &restarts),
            "                    requests   failed        p50        p99    longest\n\
             steady                     2        0     5.6 ms     5.6 ms     5.6 ms\n\
             during restarts            0        0\n\
             all                        2        0\n\
             restarts: 1 with a good release, 1 with a broken one\n\n\
             2 requests, every one answered in full, while 1 good release went out\n\
             and a broken one was stopped at the door.\n"
        );
    }

    #[test]
    fn what_went_wrong_is_named() {
        let tally = tally(&[Ok(1), Err(Failure::Status(502)), Err(Failure::Reset), Err(Failure::Status(502))]);
        let restarts = [
            restart(2, Release::Works, None),
            restart(3, Release::Broken, Some(Exit::Status(0))),
            restart(4, Release::Works, Some(Exit::Signal { signal: 6, core: false })),
        ];
        let text = closing(&tally, &restarts);
        assert!(text.contains("\nfailed: 1 reset, 2 status 502\n"), "{text}");
        assert_eq!(
            wrong(&tally, &restarts),
            [
                "3 of 4 requests failed",
                "the restart to version 2 had not ended after 60 s instead of exit status 0",
                "the restart to version 3 ended with exit status 0 instead of exit status 4",
                "the restart to version 4 ended with signal 6 instead of exit status 0",
            ]
        );
    }

    #[test]
    fn a_demo_without_a_request_shows_nothing_and_is_wrong() {
        assert_eq!(wrong(&Tally::default(), &[]), ["nothing was asked"]);
    }
}
