//! What the restart thread has to do next, what that is called, and what is said when it took long: others wait for their steps meanwhile.

use std::time::Instant;

use super::Restart;
use crate::conn::Conn;
use crate::deadlines::Lost;
use crate::errands::Answer;
use crate::ids::{Generation, GroupId, ProcessId};
use crate::pool::Step;
use crate::reload;
use crate::upgrade::trial;

/// What there is to do.
pub(super) enum Work {
    Step(Step<Box<Conn>>),
    Reap,
    /// There is no keeper.
    Keep,
    /// It need not stand aside any more.
    StepUp(ProcessId, u32),
    Answer(Answer),
    /// Its preparation takes longer than it may.
    GiveUp(GroupId),
    /// Its record is not on the disk in time.
    Unsaved(GroupId),
    /// Leaders are gone; is anything left of their groups?
    Look(Vec<ProcessId>),
    /// A generation has proved itself after its walk had ended: it was overtaken.
    Accept(GroupId, Generation),
    /// The sampler has seen orphans.
    Orphans(Vec<(u32, u64)>),
    /// A record is not on the disk, and some time has passed.
    WriteAgain(GroupId),
    /// Apps have come, or a thread that looks after one has ended.
    Tend,
    /// The configuration is to be read again.
    Reload(reload::Asked),
    /// A program that is to take over is to be tried.
    Try(trial::Asked),
    /// It could, and nothing is under way that it would not see the end of; or it takes too long to wait for that.
    Leave,
    /// It was kept from running, or a step was slow.
    Late(Lost),
    End,
}

/// A piece of work in words, and the app that it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Doing {
    what: &'static str,
    group: Option<GroupId>,
}

impl Doing {
    /// A phrase: "starting a process of blog".
    pub fn words(&self, app: impl Fn(GroupId) -> String) -> String {
        self.group.map_or_else(|| self.what.to_owned(), |group| format!("{} of {}", self.what, app(group)))
    }
}

impl Work {
    pub(super) fn doing(&self) -> Doing {
        let (what, group) = match self {
            Work::Step(step) => (what(step), step.group()),
            Work::Reap => ("seeing to processes that have ended", None),
            Work::Keep => ("starting the keeper", None),
            Work::StepUp(id, _) => ("giving its nice value to a process", Some(id.group)),
            Work::Answer(_) => ("hearing what came of an errand", None),
            Work::GiveUp(group) => ("giving up an errand", Some(*group)),
            Work::Unsaved(group) | Work::WriteAgain(group) => ("having the record written", Some(*group)),
            Work::Look(_) => ("looking for what is left of processes", None),
            Work::Accept(group, _) => ("accepting a release", Some(*group)),
            Work::Orphans(_) => ("looking at orphans", None),
            Work::Tend => ("seeing to the threads of apps", None),
            Work::Reload(_) => ("having the configuration read", None),
            Work::Try(_) => ("having a program tried that is to take over", None),
            Work::Leave => ("having another program take over", None),
            Work::Late(_) => ("coming back", None),
            Work::End => ("ending", None),
        };
        Doing { what, group }
    }
}

fn what<W>(step: &Step<W>) -> &'static str {
    match step {
        Step::Resolve { .. } => "looking at a release",
        Step::Spawn { .. } => "starting a process",
        Step::Serve { .. } => "putting a process in service",
        Step::Grant { .. } => "handing over what waits",
        Step::Drain { .. } | Step::Outlasts { .. } | Step::Cut { .. } => "draining a process",
        Step::Signal { .. } => "sending a signal to a process",
        Step::Gone { .. } => "clearing up after a process",
        Step::WalkEnded { .. } => "ending a restart",
    }
}

impl Restart {
    /// From now on this is what the thread is at, for who finds that it does not turn.
    pub(super) fn begins(&self, doing: Doing) {
        self.shared.table.lock().turns.begins(doing);
    }

    /// Some work is done.
    pub(super) fn has_done(&mut self, doing: Doing) {
        if let Some(took) = self.pulse.sleeps(None, Instant::now()) {
            let words = doing.words(|group| self.shared.catalog().app(group).name.to_string());
            log::warn!("{words} took {:.1} s of the thread that starts and ends processes: all others waited for it", took.as_secs_f64());
        }
    }

    /// A step that was slow has been named; what it is to others is the same as a stop.
    pub(super) fn late(&mut self, lost: Lost) {
        self.put_off_preparing(lost.since.elapsed());
        if !lost.in_turn {
            log::warn!("rota did not run for {:.1} s; what became due meanwhile is looked at first", lost.time.as_secs_f64());
        }
    }
}
