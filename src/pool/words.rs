//! How exits, failures and outcomes read: one sentence each, without the process's name.

use std::fmt;

use super::{Aim, Ask, Exit, Failure, FailureKind, NoAbort, NotLonger, Outcome, Trigger, WhyCut, WhyDrain, Worn};

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Status(status) => write!(f, "exit status {status}"),
            Exit::Signal { signal, core } => write!(f, "signal {signal}{}", if *core { " (core dumped)" } else { "" }),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FailureKind::Release(why) => write!(f, "no release to start: {why}"),
            FailureKind::Spawn(why) => write!(f, "could not be started: {why}"),
            FailureKind::NoCommand(why) => write!(f, "no command to start it: {why}"),
            FailureKind::Command(why) => write!(f, "its command cannot be run: {why}"),
            FailureKind::User(why) => write!(f, "cannot start: {why}"),
            FailureKind::Exited { exit, after, in_probation: false, .. } => {
                write!(f, "{} after {:.2} s, before it was ready", Died(*exit), after.as_secs_f64())
            }
            FailureKind::Exited { exit, after, in_probation: true, had } => {
                write!(f, "{} {:.2} s after it was ready, within its probation{}", Died(*exit), after.as_secs_f64(), While(had))
            }
            FailureKind::Crashed { exit, after, had } => {
                write!(f, "{} {:.2} s after it was ready{}", Died(*exit), after.as_secs_f64(), While(had))
            }
            FailureKind::NotReady { after, last } if last.is_empty() => write!(f, "not ready after {} s", seconds(after)),
            FailureKind::NotReady { after, last } => write!(f, "not ready after {} s ({last})", seconds(after)),
            FailureKind::Refused(text) => f.write_str(text),
            FailureKind::Processes { count, limit } => {
                write!(f, "killed for its {} processes: limits.processes is {}", thousands(*count), thousands(*limit))
            }
            FailureKind::Memory { used, limit } => {
                write!(f, "killed for its memory: {} MiB, memory_limit_hard is {} MiB", mib(*used), mib(*limit))
            }
            FailureKind::Background { program, pid, helps } => write!(f, "{program} went into the background (pid {pid}): {helps}"),
            FailureKind::WrongListener(what) => write!(f, "another process listens where it should: {what}"),
            FailureKind::PortTaken { port, by: Some(by) } => write!(f, "its port {port} was taken by {by} before it listened there"),
            FailureKind::PortTaken { port, by: None } => write!(f, "its port {port} was in use before it listened there"),
            FailureKind::Held { kind, by } => write!(f, "{kind}: {by}"),
            FailureKind::Thread(why) => write!(f, "its I/O thread failed: {why}"),
            FailureKind::Baked(why) => write!(f, "did worse than the release before it: {why}"),
        }
    }
}

impl fmt::Display for Worn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Worn::Asked => f.write_str("as asked"),
            Worn::Requests(1) => f.write_str("after 1 request"),
            Worn::Requests(count) => write!(f, "after {} requests", thousands(*count)),
            Worn::Memory(used) => write!(f, "for its memory, {} MiB", mib(*used)),
            Worn::Stuck(had) => write!(f, "because it was stuck in a request for {}", span(had.as_secs_f64())),
            Worn::Age(age) => write!(f, "after {}", span(age.as_secs_f64())),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done => write!(f, "every process is replaced"),
            Outcome::Turned(turned) => write!(f, "every process is replaced, but {turned}"),
            Outcome::Failed { failure, at, replaced, skipped } if skipped.is_empty() => {
                write!(f, "failed at process {at}, {replaced} replaced: {failure}")
            }
            Outcome::Failed { failure, replaced, skipped, at } => {
                let all: Vec<String> = skipped.iter().map(ToString::to_string).collect();
                write!(f, "{replaced} replaced, not replaced: {}; process {at}: {failure}", all.join(", "))
            }
            Outcome::RolledBack { failure, at, replaced } => {
                write!(f, "failed at process {at}, {replaced} replaced and rolled back: {failure}")
            }
            Outcome::Aborted { replaced: 0 } => write!(f, "aborted, nothing was replaced"),
            Outcome::Aborted { replaced } => write!(f, "aborted, {replaced} replaced and rolled back"),
            Outcome::Superseded { by } => write!(f, "superseded by {by}"),
            Outcome::Stopped => write!(f, "stopped"),
        }
    }
}

impl fmt::Display for NoAbort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAbort::NothingUnderWay => f.write_str("nothing is under way that could be called off"),
            NoAbort::FirstStart => f.write_str("this is its first start: there is no release to go back to"),
        }
    }
}

impl fmt::Display for WhyCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhyCut::Timeout(why) => write!(f, "drain.timeout has passed, and no more time can be had: {why}"),
            WhyCut::Longest => f.write_str("drain.longest has passed"),
            WhyCut::Room => f.write_str("a new process needs its room"),
            WhyCut::Younger => f.write_str("a younger process of its number is at the end of its drain"),
            WhyCut::Now => f.write_str("rota was told to stop at once"),
        }
    }
}

impl fmt::Display for NotLonger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotLonger::Configured => "drain.longest is no longer",
            NotLonger::NoSurge => "surge = 0",
            NotLonger::Exclusive => "leader = \"exclusive\"",
            NotLonger::MakesRoom => "it goes to make room",
            NotLonger::Full => "max_processes leaves no room",
            NotLonger::Ends => "the app ends",
        })
    }
}

impl fmt::Display for WhyDrain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhyDrain::Replaced => f.write_str("goes before its replacement is started"),
            WhyDrain::Ends => f.write_str("the app ends"),
            WhyDrain::Idle(time) => write!(f, "had nothing to do for {}", span(time.as_secs_f64())),
            WhyDrain::RoomFor(app) => write!(f, "makes room for {app}"),
            WhyDrain::Fewer => write!(f, "there are to be fewer"),
        }
    }
}

impl Trigger {
    /// As it is said everywhere.
    pub fn word(self) -> &'static str {
        match self {
            Trigger::Boot => "boot",
            Trigger::Command => "command",
            Trigger::Signal => "signal",
            Trigger::File => "file",
            Trigger::Watch => "watch",
            Trigger::Reload => "reload",
        }
    }
}

impl Ask {
    /// "start", "restart", "deploy" or "rollback".
    pub fn kind(&self) -> &'static str {
        match (&self.aim, self.trigger) {
            (Aim::Root | Aim::AllAtOnce, Trigger::Boot) => "start",
            (Aim::Root | Aim::AllAtOnce, _) => "restart",
            (Aim::Deploy(_), _) => "deploy",
            (Aim::Rollback(_), _) => "rollback",
        }
    }
}

impl Outcome {
    /// What is worse than before, though it is done.
    pub fn but(&self) -> Option<String> {
        if let Outcome::Turned(turned) = self { Some(turned.to_string()) } else { None }
    }

    /// In one word.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Done | Outcome::Turned(_) => "done",
            Outcome::Failed { .. } => "failed",
            Outcome::RolledBack { .. } => "rolled_back",
            Outcome::Superseded { .. } => "superseded",
            Outcome::Aborted { .. } => "aborted",
            Outcome::Stopped => "stopped",
        }
    }
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// `1,234,567`
pub fn thousands(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", thousands(number / 1_000), number % 1_000),
    }
}

/// A duration in a sentence: `0.8 s`, `12 s`, `3 min 12 s`, `2 h 5 min`, `4 d 3 h`.
pub fn span(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..10 => format!("{:.1} s", (seconds * 10.0).floor() / 10.0),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole / 60 % 60),
        86_400.. => format!("{} d {} h", whole / 86_400, whole / 3600 % 24),
    }
}

/// An exit as the beginning of a sentence.
struct Died(Exit);

impl fmt::Display for Died {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Exit::Status(status) => write!(f, "exited with status {status}"),
            Exit::Signal { .. } => write!(f, "killed by {}", self.0),
        }
    }
}

/// What it had in hand.
struct While<'a>(&'a str);

impl fmt::Display for While<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ", while it had {}", self.0) }
    }
}

/// Whole seconds without a fraction, others with two digits.
fn seconds(duration: &std::time::Duration) -> String {
    match duration.subsec_millis() {
        0 => duration.as_secs().to_string(),
        _ => format!("{:.2}", duration.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ids::{Generation, Number};

    #[test]
    fn a_failure_names_the_step_and_the_number() {
        let after = Duration::from_millis(420);
        let killed = Exit::Signal { signal: 9, core: false };
        let says = |kind: FailureKind| Failure { kind, output: vec!["boom".to_owned()] }.to_string();
        assert_eq!(
            says(FailureKind::Exited { exit: Exit::Status(1), after, in_probation: false, had: String::new() }),
            "exited with status 1 after 0.42 s, before it was ready"
        );
        assert_eq!(
            says(FailureKind::Exited { exit: killed, after, in_probation: true, had: String::new() }),
            "killed by signal 9 0.42 s after it was ready, within its probation"
        );
        let crashed = |had: &str| says(FailureKind::Crashed { exit: Exit::Status(0), after, had: had.to_owned() });
        assert_eq!(crashed(""), "exited with status 0 0.42 s after it was ready");
        assert_eq!(crashed("GET /die (id 1f)"), "exited with status 0 0.42 s after it was ready, while it had GET /die (id 1f)");
        assert_eq!(
            says(FailureKind::NotReady { after: Duration::from_secs(60), last: "GET /up answered 503".to_owned() }),
            "not ready after 60 s (GET /up answered 503)"
        );
        assert_eq!(
            says(FailureKind::Spawn("fork: Resource temporarily unavailable (os error 11)".to_owned())),
            "could not be started: fork: Resource temporarily unavailable (os error 11)"
        );
    }

    #[test]
    fn an_outcome_is_one_sentence() {
        let failure = Failure { kind: FailureKind::Thread("panicked".to_owned()), output: Vec::new() };
        let failed = |skipped| Outcome::Failed { failure: failure.clone(), at: Number(3), replaced: 2, skipped };
        assert_eq!(failed(vec![]).to_string(), "failed at process 3, 2 replaced: its I/O thread failed: panicked");
        assert_eq!(
            failed(vec![Number(3), Number(4)]).to_string(),
            "2 replaced, not replaced: 3, 4; process 3: its I/O thread failed: panicked"
        );
        assert_eq!(
            Outcome::RolledBack { failure: failure.clone(), at: Number(3), replaced: 2 }.to_string(),
            "failed at process 3, 2 replaced and rolled back: its I/O thread failed: panicked"
        );
        assert_eq!(Outcome::Superseded { by: Generation(9) }.to_string(), "superseded by g9");
    }
}
