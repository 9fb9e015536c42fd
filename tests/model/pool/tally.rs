//! What the schedules went through.

use std::fmt;
use std::ops::{AddAssign, Index};

/// Something that a sweep must have seen at least once, or the schedules no longer reach it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Saw {
    Restart,
    Joined,
    AtOnce,
    Deploy,
    Done,
    Failed,
    RolledBack,
    Superseded,
    Aborted,
    /// Called off when something of it served already.
    AbortedHalfWay,
    Watched,
    Baked,
    Spawn,
    /// A boot beside another one of the same release.
    Batch,
    Postponed,
    TakenOut,
    /// The leader, of which there must not be two.
    LeaderTakenOut,
    Swap,
    Recycled,
    /// Replaced because its time was over.
    WornOut,
    /// Killed for its memory.
    TooHeavy,
    Cut,
    Outlasts,
    /// One that outlasted its drain was cut.
    CutAtLast,
    Kill,
    Step,
    Request,
    Waited,
    /// For one process, which is full.
    Bound,
    Refused,
    Paused,
    /// A hold that nobody ended.
    PauseRanOut,
    Granted,
    /// The first process of all, for a request.
    FirstForARequest,
    Grown,
    Shrunk,
    /// An idle process went for another app's.
    MadeRoom,
    /// No room for both: the old one went first.
    LeftFirst,
    /// It boots in the place of one that is late.
    BesideLate,
}

const ALL: [Saw; 39] = [
    Saw::Restart,
    Saw::Joined,
    Saw::AtOnce,
    Saw::Deploy,
    Saw::Done,
    Saw::Failed,
    Saw::RolledBack,
    Saw::Superseded,
    Saw::Aborted,
    Saw::AbortedHalfWay,
    Saw::Watched,
    Saw::Baked,
    Saw::Spawn,
    Saw::Batch,
    Saw::Postponed,
    Saw::TakenOut,
    Saw::LeaderTakenOut,
    Saw::Swap,
    Saw::Recycled,
    Saw::WornOut,
    Saw::TooHeavy,
    Saw::Cut,
    Saw::Outlasts,
    Saw::CutAtLast,
    Saw::Kill,
    Saw::Step,
    Saw::Request,
    Saw::Waited,
    Saw::Bound,
    Saw::Refused,
    Saw::Paused,
    Saw::PauseRanOut,
    Saw::Granted,
    Saw::FirstForARequest,
    Saw::Grown,
    Saw::Shrunk,
    Saw::MadeRoom,
    Saw::LeftFirst,
    Saw::BesideLate,
];

#[derive(Clone, Copy)]
pub struct Tally([u64; ALL.len()]);

impl Default for Tally {
    fn default() -> Self {
        Self([0; ALL.len()])
    }
}

impl Tally {
    pub fn saw(&mut self, what: Saw) {
        self.0[what as usize] += 1;
    }

    pub fn saw_everything(&self) -> bool {
        self.0.iter().all(|count| *count > 0)
    }
}

impl Index<Saw> for Tally {
    type Output = u64;

    fn index(&self, what: Saw) -> &u64 {
        &self.0[what as usize]
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, other)| *sum += other);
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(ALL.iter().map(|what| (what, self[*what]))).finish()
    }
}
