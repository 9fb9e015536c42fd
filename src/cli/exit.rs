//! How a command ends, in numbers and in words. One list: the help of each verb, the man page and docs/running.md say the same.

/// How a command ends. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Bad = 1,
    Usage = 2,
    NoServer = 3,
    Failed = 4,
    RolledBack = 5,
    Superseded = 6,
    Stopped = 7,
    Aborted = 8,
    Busy = 9,
    /// 128 and SIGINT, as shells say it.
    Interrupted = 130,
}

impl Exit {
    pub const ALL: [Exit; 11] = [
        Exit::Done,
        Exit::Bad,
        Exit::Usage,
        Exit::NoServer,
        Exit::Failed,
        Exit::RolledBack,
        Exit::Superseded,
        Exit::Stopped,
        Exit::Aborted,
        Exit::Busy,
        Exit::Interrupted,
    ];

    /// Of a verb that starts a walk and waits for its end.
    pub const OF_A_WALK: [Exit; 10] = [
        Exit::Done,
        Exit::Bad,
        Exit::Usage,
        Exit::NoServer,
        Exit::Failed,
        Exit::RolledBack,
        Exit::Superseded,
        Exit::Stopped,
        Exit::Aborted,
        Exit::Interrupted,
    ];

    /// Of one that waits for a time at most.
    pub const OF_A_BOUNDED_WAIT: [Exit; 7] =
        [Exit::Done, Exit::Bad, Exit::Usage, Exit::NoServer, Exit::Stopped, Exit::Busy, Exit::Interrupted];

    /// Of a verb that waits for something else.
    pub const OF_A_WAIT: [Exit; 6] = [Exit::Done, Exit::Bad, Exit::Usage, Exit::NoServer, Exit::Stopped, Exit::Interrupted];

    /// Of an upgrade: a program that could not take over is [`Exit::Failed`].
    pub const OF_AN_UPGRADE: [Exit; 5] = [Exit::Done, Exit::Bad, Exit::Usage, Exit::NoServer, Exit::Failed];

    /// Of a verb that asks once.
    pub const OF_A_QUESTION: [Exit; 4] = [Exit::Done, Exit::Bad, Exit::Usage, Exit::NoServer];

    /// Of a verb that needs no server.
    pub const OF_A_LOOK: [Exit; 3] = [Exit::Done, Exit::Bad, Exit::Usage];

    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Bad => "something is bad: the configuration, the name of an app, a permission",
            Exit::Usage => "the command line is wrong",
            Exit::NoServer => "no server answers",
            Exit::Failed => "the new release failed; the old one serves, if there is one",
            Exit::RolledBack => "the new release failed, and what was replaced is rolled back",
            Exit::Superseded => "superseded by a newer restart or deployment",
            Exit::Stopped => "the server stopped meanwhile",
            Exit::Aborted => "it was called off, and what was replaced is rolled back",
            Exit::Busy => "it was not quiet in time; what was asked for holds",
            Exit::Interrupted => "interrupted; what was asked for goes on without the command",
        }
    }

    /// Of two apps: what needs a hand more urgently. The numbers do not have this order.
    pub fn or_worse(self, other: Self) -> Self {
        let urgency = |exit: Self| match exit {
            Exit::Done => 0,
            Exit::Superseded => 1,
            Exit::Aborted => 2,
            Exit::Stopped => 3,
            Exit::RolledBack => 4,
            Exit::Failed => 5,
            Exit::Bad | Exit::Usage | Exit::NoServer | Exit::Busy | Exit::Interrupted => 6,
        };
        if urgency(other) > urgency(self) { other } else { self }
    }
}

/// The end of a help text.
pub fn statuses(exits: &[Exit]) -> String {
    let lines: Vec<String> = exits.iter().map(|exit| format!("{:5}  {}", *exit as u8, exit.meaning())).collect();
    let several = if exits.contains(&Exit::Failed) { format!("\n{SEVERAL}") } else { String::new() };
    format!("Exit status:\n{}{several}", lines.join("\n"))
}

/// As [`Exit::or_worse`] has it.
pub const SEVERAL: &str = "Of several apps it is the worst: 4, then 5, 7, 8, 6.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_worse_than_a_walk_that_another_took_over() {
        assert_eq!(Exit::Superseded.or_worse(Exit::Failed), Exit::Failed);
        assert_eq!(Exit::Failed.or_worse(Exit::Superseded), Exit::Failed);
        assert_eq!(Exit::RolledBack.or_worse(Exit::Stopped), Exit::RolledBack);
        assert_eq!(Exit::Done.or_worse(Exit::Superseded), Exit::Superseded);
    }

    #[test]
    fn the_order_of_several_apps_is_said_where_there_can_be_several() {
        assert!(statuses(&Exit::OF_A_WALK).ends_with("the worst: 4, then 5, 7, 8, 6."));
        assert_eq!(
            statuses(&Exit::OF_A_LOOK),
            "Exit status:\n    0  done\n    1  something is bad: the configuration, the name of an app, a permission\n    2  the command line is wrong"
        );
    }
}
