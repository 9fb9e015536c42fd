//! What the processes take, read from /proc by a thread of its own: memory of those that have a limit, again and again; processor, memory and
//! children of all when somebody looks at the status. Where the kernel counts the processes and nothing else has a limit it sleeps until then.
//!
//! The share of a process in memory (PSS) is found by a walk through its page tables, which takes tens of milliseconds where gigabytes are
//! resident: too long for an event loop, and for the thread that repairs crashes. Here too it is read only when what is resident, whose number
//! is there at once and never less, is beyond a limit.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::control::server::Ticket;
use crate::credentials::Rights;
use crate::handoff::Mailbox;
use crate::ids::ProcessId;
use crate::last_word;
use crate::pool::{Living, ToWeigh};
use crate::seccomp;
use crate::sys::{self, Look, Seen, Unit};
use crate::table::{Shared, ToMaster};
use crate::wicket::ToWicket;

/// What one process of an app takes, with all that comes of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Percent of one core, since an earlier look.
    pub cpu: f64,
    /// Bytes, shared ones by their share.
    pub memory: u64,
    pub children: usize,
}

/// Who asks what all take.
#[derive(Debug)]
pub enum Asker {
    /// Answered by [`ToMaster::Samples`].
    Master(Ticket),
    /// Answered by [`ToWicket::Samples`].
    Wicket(Mailbox<ToWicket>),
}

impl Asker {
    fn tell(self, shared: &Shared, samples: Arc<HashMap<u32, Sample>>) {
        let wake = match self {
            Self::Master(ticket) => shared.master.send(ToMaster::Samples(ticket, samples)).ok(),
            Self::Wicket(wicket) => wicket.send(ToWicket::Samples(samples)).ok(),
        };
        if let Some(wake) = wake {
            wake.wake();
        }
    }
}

/// Starts the thread. It ends when nobody can ask any more.
pub fn start(shared: Arc<Shared>) -> io::Result<Sender<Asker>> {
    let (asks, asked) = crossbeam_channel::unbounded();
    last_word::start(NAME, STACK, move || {
        Rights::Sampler.keep_or_warn();
        seccomp::restrict();
        Sampler { shared, asked, seen: HashMap::new(), orphans: Vec::new(), rests: HashMap::new() }.run();
        true
    })?;
    Ok(asks)
}

struct Sampler {
    shared: Arc<Shared>,
    asked: Receiver<Asker>,
    seen: HashMap<ProcessId, Ticks>,
    /// Children of rota that are no leaders, as they were told: number and start.
    orphans: Vec<(u32, u64)>,
    /// Processes whose share is not read again before this.
    rests: HashMap<ProcessId, Instant>,
}

/// Processor time at two earlier looks, and when.
#[derive(Clone, Copy)]
struct Ticks {
    before: (u64, Instant),
    last: (u64, Instant),
}

impl Ticks {
    /// The younger one that is old enough to say something.
    fn base(&self, now: Instant) -> (u64, Instant) {
        if now.saturating_duration_since(self.last.1) >= WINDOW { self.last } else { self.before }
    }

    fn and(self, ticks: u64, now: Instant) -> Self {
        if now.saturating_duration_since(self.last.1) >= WINDOW { Self { before: self.last, last: (ticks, now) } } else { self }
    }
}

impl Sampler {
    fn run(&mut self) {
        let mut look = Some(Instant::now() + self.first());
        loop {
            if look.is_some_and(|at| at <= Instant::now()) {
                look = self.weigh().map(|pause| Instant::now() + pause);
            }
            let asked = match look {
                Some(at) => self.asked.recv_deadline(at),
                None => self.asked.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match asked {
                Ok(asker) => {
                    last_word::fault(NAME);
                    self.survey(asker);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn first(&self) -> Duration {
        if self.has_limits() { NEAR } else { FAR }
    }

    fn has_limits(&self) -> bool {
        self.shared.catalog().apps().any(|(_, app)| app.lifespan.least_memory().is_some())
    }

    /// Compares processes with their limits; gives the time until the next look. None: the kernel sees to all of them.
    fn weigh(&mut self) -> Option<Duration> {
        let state = self.shared.table.lock();
        let targets: Vec<ToWeigh> = state.pool.groups().flat_map(|group| group.to_weigh()).collect();
        let kernel_counts = state.controllers.as_ref().is_some_and(|controllers| controllers.iter().any(|one| one == "pids"));
        drop(state);
        if kernel_counts && !self.has_limits() {
            return None;
        }
        let members = self.members(targets.iter().map(|target| target.id));
        self.rests.retain(|id, _| targets.iter().any(|target| target.id == *id));
        let mut near = false;
        for target in targets {
            let Some(own) = members.get(&target.id) else { continue };
            let resident: u64 = own.iter().map(|one| one.resident).sum();
            let (count, most) = (own.len() as u64, target.processes.unwrap_or(u64::MAX));
            near |= count >= most / 2;
            if count > most {
                self.tell_count(&target, count);
            }
            let Some(limit) = target.limit else { continue };
            near |= resident >= limit / 2;
            let begun = Instant::now();
            if resident < limit || self.rests.get(&target.id).is_some_and(|until| begun < *until) {
                continue;
            }
            // What is not known is no number: the least that it takes for certain is held against the limit.
            let known: Vec<u64> = own.iter().filter_map(|one| sys::known_share(one, target.pid)).collect();
            // The walk holds up the process too: a hundredth of the time at most.
            let done = Instant::now();
            self.rests.insert(target.id, done + 100 * (done - begun));
            if !known.is_empty() {
                self.tell_weight(&target, known.iter().sum(), done);
            }
        }
        Some(if near { NEAR } else { FAR })
    }

    fn tell_count(&self, target: &ToWeigh, count: u64) {
        let mut state = self.shared.table.lock();
        let group = state.pool.group_mut(target.id.group);
        let too_many = group.has_processes(target.id, count, Instant::now());
        let name = group.name_of(target.id);
        drop(state);
        self.shared.table.notify();
        if let (Some(failure), Some(name)) = (too_many, name) {
            log::error!("{name} pid {}: {failure}", target.pid);
        }
    }

    fn tell_weight(&self, target: &ToWeigh, memory: u64, now: Instant) {
        let mut state = self.shared.table.lock();
        let group = state.pool.group_mut(target.id.group);
        let too_much = group.weighed(target.id, memory, now);
        let name = group.name_of(target.id);
        drop(state);
        self.shared.table.notify();
        if let (Some(failure), Some(name)) = (too_much, name) {
            log::error!("{name} pid {}: {failure}", target.pid);
        }
    }

    /// What all processes take, for everybody who asks by now.
    fn survey(&mut self, asker: Asker) {
        let processes: Vec<Living> = self.shared.table.lock().pool.groups().flat_map(|group| group.living()).collect();
        self.seen.retain(|id, _| processes.iter().any(|process| process.id == *id));
        let now = Instant::now();
        let is_known = |process: &Living| self.recent(process.id, now).is_some() || now < process.created + LATELY;
        if !processes.iter().all(is_known) {
            self.look(&processes);
            std::thread::sleep(WINDOW);
        }
        let (members, shares) = self.look(&processes);
        let begun = Instant::now();
        let sample = |(process, cpu): (&Living, f64)| {
            let own = members.get(&process.id)?;
            // Whoever waits for the status has its numbers in time, if need be too large ones.
            let memory = own.iter().map(|one| if begun.elapsed() < PATIENCE { share(one, process.pid) } else { one.resident }).sum();
            Some((process.pid, Sample { cpu, memory, children: own.len().checked_sub(1)? }))
        };
        let samples: Arc<HashMap<u32, Sample>> = Arc::new(processes.iter().zip(shares).filter_map(sample).collect());
        for asker in std::iter::once(asker).chain(self.asked.try_iter()) {
            asker.tell(&self.shared, samples.clone());
        }
    }

    /// Who belongs to each process, in one look.
    fn members(&mut self, of: impl Iterator<Item = ProcessId>) -> HashMap<ProcessId, Vec<Seen>> {
        let (units, has_groups): (Vec<(ProcessId, Arc<Unit>)>, bool) = {
            let state = self.shared.table.lock();
            (of.filter_map(|id| Some((id, state.units.get(&id)?.clone()))).collect(), state.controllers.is_some())
        };
        if units.is_empty() {
            return HashMap::new();
        }
        let look = Look::now();
        if !has_groups {
            // Of whom the keeper would know nothing when rota is killed.
            self.tell_orphans(&look, &units.iter().map(|(_, unit)| unit.leader).collect());
        }
        units.into_iter().map(|(id, unit)| (id, look.of(&unit))).collect()
    }

    fn tell_orphans(&mut self, look: &Look, leaders: &HashSet<u32>) {
        let orphans: Vec<(u32, u64)> = look.orphans(leaders).iter().map(|one| (one.pid, one.start)).collect();
        if orphans != self.orphans {
            self.shared.table.lock().orphans = Some(orphans.clone());
            self.shared.table.notify();
            self.orphans = orphans;
        }
    }

    /// Who belongs to each process, and the share of a core that each process has had since it was looked at before.
    fn look(&mut self, processes: &[Living]) -> (HashMap<ProcessId, Vec<Seen>>, Vec<f64>) {
        let members = self.members(processes.iter().map(|process| process.id));
        let groups: HashMap<ProcessId, PathBuf> = {
            let state = self.shared.table.lock();
            processes.iter().filter_map(|process| Some((process.id, state.units.get(&process.id)?.cgroup.clone()?))).collect()
        };
        let now = Instant::now();
        let mut shares = Vec::new();
        for process in processes {
            // The kernel's count has those that came and went, too.
            let counted = groups.get(&process.id).and_then(|group| sys::cgroup::ticks(group));
            let ticks = counted.unwrap_or_else(|| members.get(&process.id).into_iter().flatten().map(|one| one.ticks).sum());
            let born = (0, process.created);
            let seen = self.recent(process.id, now).unwrap_or(Ticks { before: born, last: born });
            let (before, since) = seen.base(now);
            let used = u64::saturating_sub(ticks, before) as f64 / sys::TICKS_PER_SECOND;
            let time = now.saturating_duration_since(since).as_secs_f64();
            shares.push(if time > 0.0 { (used / time * 1000.0).round() / 10.0 } else { 0.0 });
            self.seen.insert(process.id, seen.and(ticks, now));
        }
        (members, shares)
    }

    fn recent(&self, id: ProcessId, now: Instant) -> Option<Ticks> {
        self.seen.get(&id).copied().filter(|seen| now.saturating_duration_since(seen.last.1) <= LATELY)
    }
}

/// For whoever looks at it, and for nothing that is decided by it.
fn share(one: &Seen, leader: u32) -> u64 {
    sys::known_share(one, leader).unwrap_or(one.resident)
}

/// Between two looks at processes with a limit, when one has half of it, and when none has.
const NEAR: Duration = Duration::from_secs(5);
const FAR: Duration = Duration::from_secs(15);
/// The least time in which ticks of 10 ms say something.
const WINDOW: Duration = Duration::from_millis(200);
/// What was seen longer ago says nothing about now.
const LATELY: Duration = Duration::from_secs(60);
/// For all shares of one survey.
const PATIENCE: Duration = Duration::from_secs(1);
const NAME: &str = "rota-samples";
const STACK: usize = 128 * 1024;
