//! All that belongs to one process: who there is, a signal to all of it, and whether something is left. On the restart thread.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::ids::GroupId;
use crate::sys::{self, Handle, Look, Seen, Signal, Unit};

#[derive(Debug)]
pub(super) struct Owned {
    unit: Arc<Unit>,
    /// It is a zombie that is held.
    pub leader_ended: bool,
    /// Number and start of those that have left its session: who they are is not always to be seen a second time.
    known: Vec<(u32, u64)>,
    /// Some of those that were there in the last look: as long as one of them lives nobody needs to look again.
    left: Vec<Handle>,
    killed: bool,
    /// May not be signalled by rota: what became another user where rota is not root.
    beyond: HashSet<(u32, u64)>,
    /// Since when nobody else is left but those of whom it is not known whether they came of it.
    doubts_since: Option<Instant>,
}

/// What has outlived a process of a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Survivors {
    pub group: GroupId,
    /// Number and start. None of them is signalled.
    pub left: Vec<(u32, u64)>,
    #[serde(with = "crate::path_text")]
    pub cgroup: Option<PathBuf>,
}

/// What is left to the next rota.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedOwned {
    pub unit: Unit,
    leader_ended: bool,
    known: Vec<(u32, u64)>,
    killed: bool,
}

impl Survivors {
    /// False: nobody is left.
    pub fn live(&mut self) -> bool {
        self.left.retain(|(pid, start)| sys::lives(*pid, *start));
        !self.left.is_empty()
    }
}

impl Owned {
    pub fn new(unit: Arc<Unit>) -> Self {
        Self { unit, leader_ended: false, known: Vec::new(), left: Vec::new(), killed: false, beyond: HashSet::new(), doubts_since: None }
    }

    /// What another rota knew of it, but that its end was heard of: that is heard again.
    pub fn known(unit: Arc<Unit>, saved: SavedOwned) -> Self {
        Self { known: saved.known, killed: saved.killed, leader_ended: saved.leader_ended, ..Self::new(unit) }
    }

    pub fn save(&self) -> SavedOwned {
        SavedOwned { unit: Unit::clone(&self.unit), leader_ended: self.leader_ended, known: self.known.clone(), killed: self.killed }
    }

    pub fn unit(&self) -> &Unit {
        &self.unit
    }

    /// All of it that lives.
    pub fn members(&self, look: &Look) -> Vec<Seen> {
        look.of_and(&self.unit, &self.known)
    }

    /// Who lives on when it is gone.
    pub fn outlived(&self, group: GroupId) -> Survivors {
        let left: Vec<(u32, u64)> = self.members(&Look::now()).iter().take(MOST_SURVIVORS).map(|one| (one.pid, one.start)).collect();
        Survivors { group, left, cgroup: self.unit.cgroup.clone() }
    }

    /// These have come of it too.
    pub fn add(&mut self, strays: &[Seen]) {
        for one in strays.iter().map(|one| (one.pid, one.start)) {
            if !self.known.contains(&one) && self.known.len() < MOST_KNOWN {
                self.known.push(one);
            }
        }
    }

    /// A signal to its group, and to each that is in none of its leader.
    pub fn tell(&mut self, signal: Signal) -> io::Result<()> {
        let look = Look::now();
        let members = self.find(&look);
        if members.is_empty() && look.is_whole_for(&self.unit) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let sent = sys::signal_group_of_child(self.unit.leader, signal);
        let is_in_group: HashSet<u32> = members.iter().filter(|one| one.group == self.unit.leader).map(|one| one.pid).collect();
        self.hold(&members);
        // One after the other: how many they are decides the app.
        for handle in members.iter().filter(|one| !is_in_group.contains(&one.pid)).filter_map(Handle::of) {
            handle.signal(signal);
        }
        sent
    }

    /// Nothing of it is to live on. What forks meanwhile is met in the next round, or in the next look.
    pub fn kill(&mut self) -> io::Result<()> {
        self.killed = true;
        let sent = sys::signal_group_of_child(self.unit.leader, sys::KILL);
        // Where there is one it has everybody, and nobody forks past it.
        if !self.unit.survivors {
            self.unit.cgroup.as_deref().map(sys::cgroup::kill);
        }
        let mut known = HashSet::new();
        for _ in 0..ROUNDS {
            let look = Look::now();
            let members = self.find(&look);
            if members.is_empty() && known.is_empty() && look.is_whole_for(&self.unit) {
                return Err(io::ErrorKind::NotFound.into());
            }
            self.hold(&members);
            let refused = members.iter().filter_map(Handle::of).filter(|handle| !handle.signal(sys::KILL));
            self.beyond.extend(refused.map(|handle| (handle.pid, handle.start)));
            let is_new = members.iter().filter(|one| known.insert((one.pid, one.start))).count() > 0;
            if !is_new {
                break;
            }
        }
        sent
    }

    /// Somebody who was there in the last look still is. It takes no look at other processes.
    pub fn has_any_left(&mut self) -> bool {
        self.left.retain(Handle::lives);
        !self.left.is_empty()
    }

    /// True: nobody is left. `name`: for the log.
    pub fn look(&mut self, look: &Look, name: &str) -> bool {
        let members = self.find(look);
        if members.is_empty() {
            return look.is_whole_for(&self.unit) && !self.doubts(look, name);
        }
        if self.killed {
            let before = self.beyond.len();
            let _ = self.kill();
            if self.beyond.len() > before {
                let pids: Vec<String> = self.beyond.iter().map(|(pid, _)| pid.to_string()).collect();
                log::warn!("{name}: pid {} may not be killed by rota, and stays: it has become another user", pids.join(", "));
            }
        } else {
            self.hold(&members);
        }
        false
    }

    /// Somebody may have come of it whose environment /proc does not give: waited for, and not for ever.
    fn doubts(&mut self, look: &Look, name: &str) -> bool {
        let doubtful = if self.unit.survivors { Vec::new() } else { look.doubtful(&self.unit) };
        let now = Instant::now();
        if doubtful.is_empty() || now < *self.doubts_since.get_or_insert(now) + DOUBT {
            return !doubtful.is_empty();
        }
        let pids: Vec<String> = doubtful.iter().map(u32::to_string).collect();
        log::warn!("{name}: pid {} may have come of it, which /proc does not say; it is not waited for any longer", pids.join(", "));
        false
    }

    /// All of it that rota may and shall end.
    fn find(&mut self, look: &Look) -> Vec<Seen> {
        let members = look.to_end(&self.unit, &self.known);
        let have_left: Vec<Seen> = members.iter().filter(|one| one.session != self.unit.leader).copied().collect();
        self.add(&have_left);
        members.into_iter().filter(|one| !self.beyond.contains(&(one.pid, one.start))).collect()
    }

    fn hold(&mut self, members: &[Seen]) {
        self.left = members.iter().take(MOST_HELD).filter_map(Handle::of).collect();
    }
}

const ROUNDS: usize = 8;
const DOUBT: Duration = Duration::from_secs(2);
/// Of each process of an app (`descriptors`).
pub const MOST_HELD: usize = 2;
/// That are counted.
const MOST_SURVIVORS: usize = 512;
const MOST_KNOWN: usize = 4096;
