//! The cells: a row (what happens) with a group size, a way to listen and a policy for releases that fail.

use std::fmt;

/// What happens while all kinds of traffic go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    Good,
    TenReleases,
    TenTriggers,
    TriggerDuring,
    FlipHalfWay,
    /// The releases of this row do not end at TERM: KILL ends them.
    IgnoresTerm,
    /// Each process of this row's releases leaves children behind.
    LeavesChildren,
    Broken(Fault),
    /// The last process of the group does not start, those before it do.
    BrokenAtLast(Fault),
    OldKilled,
    NewKilledBooting,
    NewKilledServing,
}

/// What is wrong with a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    ExitsAtBoot,
    HangsAtBoot,
    WrongPort,
    Answers500,
    DiesAfterReady,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    Resist,
    Rollback,
    Continue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub row: Row,
    pub processes: usize,
    pub bind: &'static str,
    pub on_failure: OnFailure,
}

/// How a restart of a release that fails ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub status: i32,
    /// Processes of the release before it.
    pub old: usize,
    pub new: usize,
}

impl Fault {
    pub const ALL: [Self; 5] = [Self::ExitsAtBoot, Self::HangsAtBoot, Self::WrongPort, Self::Answers500, Self::DiesAfterReady];

    /// The line for the release's `BEHAVIOUR`.
    pub fn behaviour(self) -> &'static str {
        match self {
            Self::ExitsAtBoot => "exit_at_boot 3",
            Self::HangsAtBoot => "hang_at_boot",
            Self::WrongPort => "wrong_port",
            Self::Answers500 => "answers 500",
            Self::DiesAfterReady => "dies_after 50",
        }
    }
}

impl Row {
    /// Whether it matters what the group does about a failed release.
    fn has_failure(self) -> bool {
        matches!(self, Self::Broken(_) | Self::BrokenAtLast(_) | Self::NewKilledBooting)
    }

    /// What each good release of this row does.
    pub fn behaviour(self) -> &'static str {
        match self {
            Self::IgnoresTerm => "ignores_term",
            Self::LeavesChildren => "leaves_children",
            Self::TenTriggers => "boot_delay 100",
            Self::Good | Self::TenReleases | Self::TriggerDuring | Self::FlipHalfWay => "",
            Self::Broken(_) | Self::BrokenAtLast(_) | Self::OldKilled | Self::NewKilledBooting | Self::NewKilledServing => "",
        }
    }
}

impl Cell {
    /// The app's table.
    pub fn config(&self) -> String {
        let Self { processes, bind, on_failure, row } = self;
        let concurrency = 64 / processes;
        // Short where it is to be met; elsewhere it must not be what a loaded machine meets.
        let ready = if matches!(row, Row::Broken(_) | Row::BrokenAtLast(_)) { "4s" } else { "20s" };
        // Short for many restarts, but an app that dies in its probation must not outlive it because the machine is busy.
        let probation = if *row == Row::Broken(Fault::DiesAfterReady) { "2s" } else { "200ms" };
        let stop = if matches!(row, Row::IgnoresTerm | Row::LeavesChildren) { "300ms" } else { "10s" };
        format!(
            "processes = {processes}\nconcurrency = {concurrency}\nbind = \"{bind}\"\nqueue.max = 1000\nprobation = \"{probation}\"\n\
             ready.timeout = \"{ready}\"\nstop.timeout = \"{stop}\"\non_failure = \"{on_failure}\""
        )
    }

    /// How a restart ends in which the processes from number `first` to `last` do not start.
    pub fn end_of_failure(&self, first: usize, last: usize) -> End {
        let n = self.processes;
        match self.on_failure {
            OnFailure::Resist => End { status: 4, old: n - (first - 1), new: first - 1 },
            OnFailure::Rollback => End { status: 5, old: n, new: 0 },
            OnFailure::Continue => End { status: 4, old: last - first + 1, new: n - (last - first + 1) },
        }
    }
}

/// Every row, every size, every way to listen, every policy and every kind of traffic, each once or a few times.
pub fn bounded() -> Vec<Cell> {
    use Fault::{Answers500, DiesAfterReady, ExitsAtBoot, HangsAtBoot, WrongPort};
    use OnFailure::{Continue, Resist, Rollback};
    let cell = |row, processes, bind, on_failure| Cell { row, processes, bind, on_failure };
    vec![
        cell(Row::TenReleases, 1, "port", Resist),
        cell(Row::Good, 4, "unix", Resist),
        cell(Row::TenTriggers, 2, "fd", Resist),
        cell(Row::TriggerDuring, 4, "unix", Resist),
        cell(Row::FlipHalfWay, 2, "port", Rollback),
        cell(Row::IgnoresTerm, 2, "unix", Resist),
        cell(Row::LeavesChildren, 1, "fd", Continue),
        cell(Row::Broken(ExitsAtBoot), 2, "unix", Continue),
        cell(Row::Broken(HangsAtBoot), 1, "fd", Resist),
        cell(Row::Broken(WrongPort), 4, "port", Resist),
        cell(Row::Broken(Answers500), 1, "unix", Rollback),
        cell(Row::Broken(DiesAfterReady), 2, "fd", Resist),
        cell(Row::BrokenAtLast(ExitsAtBoot), 4, "unix", Rollback),
        cell(Row::BrokenAtLast(HangsAtBoot), 2, "port", Resist),
        cell(Row::BrokenAtLast(Answers500), 2, "fd", Continue),
        cell(Row::Good, 1, "port", Resist),
        cell(Row::OldKilled, 1, "fd", Resist),
        cell(Row::OldKilled, 4, "unix", Resist),
        cell(Row::NewKilledBooting, 1, "port", Resist),
        cell(Row::NewKilledBooting, 2, "unix", Continue),
        cell(Row::NewKilledServing, 1, "unix", Resist),
        cell(Row::NewKilledServing, 4, "fd", Resist),
    ]
}

/// All rows times 1, 2 and 4 processes; times all policies where there is a failure; the ways to listen go round.
pub fn full() -> Vec<Cell> {
    let rows = [Row::Good, Row::TenReleases, Row::TenTriggers, Row::TriggerDuring, Row::FlipHalfWay, Row::IgnoresTerm, Row::LeavesChildren];
    let broken = Fault::ALL.map(Row::Broken);
    // Not one that dies after it was ready: the last of a group is in service by then, and what it had in hand dies with it.
    let at_last = [Fault::ExitsAtBoot, Fault::HangsAtBoot, Fault::Answers500].map(Row::BrokenAtLast);
    let killed = [Row::OldKilled, Row::NewKilledBooting, Row::NewKilledServing];
    let mut cells: Vec<Cell> = Vec::new();
    for (index, row) in rows.into_iter().chain(broken).chain(at_last).chain(killed).enumerate() {
        let policies: &[OnFailure] = if row.has_failure() { &OnFailure::ALL } else { &OnFailure::ALL[..1] };
        for (turn, on_failure) in policies.iter().enumerate() {
            for (place, processes) in [1, 2, 4].into_iter().enumerate() {
                // A last process that has none before it is the row above.
                if matches!(row, Row::BrokenAtLast(_)) && processes == 1 {
                    continue;
                }
                let bind = ["unix", "port", "fd"][(index + turn + place) % 3];
                cells.push(Cell { row, processes, bind, on_failure: *on_failure });
            }
        }
    }
    cells
}

impl OnFailure {
    const ALL: [Self; 3] = [Self::Resist, Self::Rollback, Self::Continue];
}

impl fmt::Display for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Resist => "resist",
            Self::Rollback => "rollback",
            Self::Continue => "continue",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ExitsAtBoot => "exits at boot",
            Self::HangsAtBoot => "hangs at boot",
            Self::WrongPort => "listens on a wrong port",
            Self::Answers500 => "answers 500 to the probe",
            Self::DiesAfterReady => "dies just after ready",
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.pad("good release"),
            Self::TenReleases => f.pad("ten releases in a row"),
            Self::TenTriggers => f.pad("ten triggers in one second"),
            Self::TriggerDuring => f.pad("trigger during a restart"),
            Self::FlipHalfWay => f.pad("symlink flips half-way"),
            Self::IgnoresTerm => f.pad("ignores TERM"),
            Self::LeavesChildren => f.pad("leaves children"),
            Self::Broken(fault) => fault.fmt(f),
            Self::BrokenAtLast(fault) => f.pad(&format!("{fault}, last process")),
            Self::OldKilled => f.pad("old process killed"),
            Self::NewKilledBooting => f.pad("new process killed, booting"),
            Self::NewKilledServing => f.pad("new process killed, serving"),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, processes, bind, on_failure } = self;
        write!(f, "{row}/{processes}/{bind}/{on_failure}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn words(cells: &[Cell], word: impl Fn(&Cell) -> String) -> BTreeSet<String> {
        cells.iter().map(word).collect()
    }

    #[test]
    fn the_bounded_part_has_every_row_size_way_to_listen_and_policy() {
        let (part, all) = (bounded(), full());
        assert_eq!(words(&part, |cell| cell.row.to_string()), words(&all, |cell| cell.row.to_string()));
        assert_eq!(words(&part, |cell| cell.processes.to_string()), words(&all, |cell| cell.processes.to_string()));
        assert_eq!(words(&part, |cell| cell.bind.to_owned()), words(&all, |cell| cell.bind.to_owned()));
        assert_eq!(words(&part, |cell| cell.on_failure.to_string()), words(&all, |cell| cell.on_failure.to_string()));
    }

    #[test]
    fn no_cell_is_there_twice() {
        assert_eq!(words(&full(), Cell::to_string).len(), full().len());
        assert_eq!(words(&bounded(), Cell::to_string).len(), bounded().len());
    }

    #[test]
    fn a_failure_at_process_3_of_4_ends_as_the_policy_says() {
        let end = |on_failure| Cell { row: Row::Good, processes: 4, bind: "unix", on_failure }.end_of_failure(3, 3);
        assert_eq!(end(OnFailure::Resist), End { status: 4, old: 2, new: 2 });
        assert_eq!(end(OnFailure::Rollback), End { status: 5, old: 4, new: 0 });
        assert_eq!(end(OnFailure::Continue), End { status: 4, old: 1, new: 3 });
    }
}
