//! All that belongs to one process: who there is, a signal to all of it, and whether something is left. On the restart thread.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::ids::GroupId;
use crate::sys::{self, Handle, Look, Seen, Signal, Unit};

#[derive(Debug)]
pub(super) struct Owned {
    unit: Arc<Unit>,
    /// It is a zombie that is held.
    pub leader_ended: bool,
    /// Number and start of those that have left its session: who they are is not always to be seen a second time.
    known: Vec<(u32, u64)>,
    /// Who was there in the last look.
    left: Vec<Handle>,
    killed: bool,
    /// May not be signalled by rota: what became another user where rota is not root.
    beyond: HashSet<(u32, u64)>,
}

/// What has outlived a process of a group.
#[derive(Debug)]
pub(super) struct Survivors {
    pub group: GroupId,
    pub left: Vec<Handle>,
    cgroup: Option<PathBuf>,
}

impl Survivors {
    /// False: nobody is left.
    pub fn live(&mut self) -> bool {
        self.left.retain(Handle::lives);
        if self.left.is_empty() {
            self.cgroup.as_deref().map(sys::cgroup::remove);
        }
        !self.left.is_empty()
    }
}

impl Owned {
    pub fn new(unit: Arc<Unit>) -> Self {
        Self { unit, leader_ended: false, known: Vec::new(), left: Vec::new(), killed: false, beyond: HashSet::new() }
    }

    pub fn unit(&self) -> &Unit {
        &self.unit
    }

    /// All of it that lives.
    pub fn members(&self, look: &Look) -> Vec<Seen> {
        look.of_and(&self.unit, &self.known)
    }

    /// Who lives on when it is gone.
    pub fn outlived(&self, group: GroupId) -> Option<Survivors> {
        let left: Vec<Handle> = self.members(&Look::now()).iter().take(MOST_HELD).filter_map(Handle::of).collect();
        (!left.is_empty()).then(|| Survivors { group, left, cgroup: self.unit.cgroup.clone() })
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
        if members.is_empty() && look.is_whole() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let sent = sys::signal_group_of_child(self.unit.leader, signal);
        let is_in_group: HashSet<u32> = members.iter().filter(|one| one.group == self.unit.leader).map(|one| one.pid).collect();
        self.hold(&members);
        for handle in self.left.iter().filter(|handle| !is_in_group.contains(&handle.pid)) {
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
            if members.is_empty() && known.is_empty() && look.is_whole() {
                return Err(io::ErrorKind::NotFound.into());
            }
            self.hold(&members);
            let refused = self.left.iter().filter(|handle| !handle.signal(sys::KILL));
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
            return look.is_whole();
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
/// Descriptors for what is waited for; the rest is met when these are gone.
const MOST_HELD: usize = 512;
const MOST_KNOWN: usize = 4096;
