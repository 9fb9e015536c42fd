//! The restart thread: asks the pool for the next step and does it. All fork/exec, all signals to apps, all reaping.
//!
//! It waits on the table's condition variable with the nearest deadline and never sleeps inside a step, so that a slow drain of one group
//! holds up nothing else. It must live as long as rota: the processes' parent-death signal is tied to the thread that started them
//! (prctl(2), PR_SET_PDEATHSIG). It is the main thread: [`run`].

mod deployments;
mod ending;
pub mod env_file;
pub mod environment;
mod folders;
mod groups;
pub mod interpreter;
pub mod keeper;
mod keeping;
mod leaving;
pub mod memory;
mod owned;
mod preparing;
pub mod private_dir;
pub mod release;
mod saved;
mod saving;
pub mod shim;
pub mod spawn;
mod tending;
mod work;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::about;
use crate::config::StopSignal;
use crate::conn::Conn;
use crate::credentials::Rights;
use crate::deadlines::Pulse;
use crate::dispatch;
use crate::errands::Answer;
use crate::http::cut::Cut;
use crate::ids::{Generation, GroupId, ProcessId, ProcessName};
use crate::io_thread;
use crate::last_word;
use crate::pool::{Claim, Failure, FailureKind, Step, WhyCut, span};
use crate::record_writer::Bell;
use crate::reload;
use crate::sys::cgroup::Tree;
use crate::sys::{self, Unit};
use crate::table::{Shared, State, ToMaster, ToThread};
use groups::Bare;
use keeping::Keeping;
use leaving::Leaving;
pub use owned::MOST_HELD;
use owned::{Owned, Survivors};
use preparing::Preparing;
use private_dir::PrivateDir;
pub use saved::{Queues, SavedProcesses, TakenUp};
use saving::Saves;
use spawn::{LaunchRequest, Launched};
pub use work::Doing;
use work::Work;

/// The thread's own books.
struct Restart {
    shared: Arc<Shared>,
    /// The program that the shim and the keeper are part of: this one, whatever has become of its file.
    program: PathBuf,
    /// Soft limit of descriptors that rota was started with; the apps get it back.
    nofile: u64,
    keeping: Keeping,
    /// None: rota may make no control groups here.
    tree: Option<Tree>,
    /// Control groups that are to be removed.
    bare: Bare,
    /// What has outlived its process and may.
    survivors: Vec<Survivors>,
    /// Wakes who has records written down.
    writer: Bell,
    saves: HashMap<GroupId, Saves>,
    /// Errands that prepare a walk, of each app one at most.
    preparing: HashMap<GroupId, Preparing>,
    /// Apps of which an errand opens public directories.
    opening: HashSet<GroupId>,
    living: HashMap<ProcessId, Living>,
    /// Of each app the generation that its record has as good.
    written: HashMap<GroupId, Generation>,
    /// Of the catalog whose apps are looked after.
    edition: u64,
    /// A thread that looks after one could not be started.
    tend_at: Option<Instant>,
    /// What [`sys::kills_for_memory`] said when it was asked last.
    kills_for_memory: Option<u64>,
    pulse: Pulse,
    /// What it did last.
    has_reaped: bool,
    /// When orphans are looked for that have ended behind a process that is held, or that were too many at a time.
    orphans_due: Option<Instant>,
    /// Processes that could not be given their own nice value yet, when it is tried again, and how often still.
    below: Vec<(Instant, ProcessId, u32)>,
    /// When that was done last.
    orphans_seen: Option<Instant>,
    /// When the last process was gone of a server that is to end.
    stopped: Option<Instant>,
    /// Another program that could take over, and is to.
    leaving: Option<Leaving>,
}

/// What this thread keeps of a process that is not gone.
struct Living {
    pid: u32,
    name: ProcessName,
    stop: StopSignal,
    nice: i32,
    owned: Owned,
    /// Its socket's directory.
    dir: PrivateDir,
}

/// What it begins with.
#[derive(Debug)]
pub struct Begin {
    /// Soft limit of descriptors that rota was started with.
    pub nofile: u64,
    /// What another program has left.
    pub taken_up: Option<TakenUp>,
}

/// Does its work on the calling thread, which is the main one, until the pool is stopped or the server has ended without it. The apps' processes are
/// children of this very thread (prctl(2), PR_SET_PDEATHSIG), and what executes another program in the place of this one has to be the same one,
/// in each of a row of them: that makes it the main thread. `taken_up`: what another program has left.
pub fn run(shared: Arc<Shared>, nofile: u64, writer: Bell, taken_up: Option<TakenUp>) {
    last_word::watch_over(NAME, move || {
        // An instrumented program is not the file that the kernel runs (bench/instructions).
        let program = std::env::var_os("ROTA_FAULT_SHIM").map_or_else(|| PathBuf::from("/proc/self/exe"), PathBuf::from);
        let mut restart = Restart {
            edition: shared.catalog_edition(),
            tend_at: None,
            shared,
            program,
            nofile,
            keeping: Keeping::default(),
            tree: None,
            bare: Bare::default(),
            survivors: Vec::new(),
            writer,
            saves: HashMap::new(),
            preparing: HashMap::new(),
            opening: HashSet::new(),
            living: HashMap::new(),
            written: HashMap::new(),
            kills_for_memory: sys::kills_for_memory(),
            pulse: Pulse::new(Instant::now()),
            has_reaped: false,
            orphans_due: None,
            below: Vec::new(),
            orphans_seen: None,
            stopped: None,
            leaving: None,
        };
        match taken_up {
            Some(taken_up) => restart.take_up(taken_up),
            None => restart.begin_anew(),
        }
        restart.run();
        let state = restart.shared.table.lock();
        state.pool.is_stopped() || state.has_ended
    });
}

impl Restart {
    fn run(&mut self) {
        Rights::Restart.keep_or_warn();
        if let Err(error) = sys::become_subreaper() {
            log::warn!("PR_SET_CHILD_SUBREAPER: {error}; orphans of apps will not come back to rota");
        }
        self.tend();
        loop {
            last_word::fault(NAME);
            let work = self.next();
            let doing = work.doing();
            self.begins(doing);
            match work {
                Work::Step(step) => self.act(step),
                Work::Reap => self.reap(),
                Work::Keep => self.keep(),
                Work::StepUp(id, tries) => self.step_up(id, tries),
                Work::Answer(answer) => self.hear(answer),
                Work::GiveUp(group) => self.give_up(group),
                Work::Unsaved(group) => self.stop_waiting(group, saving::SAVED_IN),
                Work::Look(lingering) => self.look(&lingering),
                Work::Orphans(orphans) => self.tell_orphans(orphans),
                Work::Reload(asked) => self.reload(asked),
                Work::Try(asked) => self.try_program(asked),
                Work::Leave => self.leave(),
                Work::Tend => self.tend(),
                Work::Accept(group, generation) => self.accept(group, generation),
                Work::WriteAgain(group) => self.write_again(group),
                Work::Late(lost) => self.late(lost),
                Work::End => break,
            }
            self.has_done(doing);
        }
        self.stop_all_waiting();
        if let Some(tree) = &self.tree {
            tree.fell();
        }
        self.shared.table.lock().finished = true;
        self.shared.tell_master();
    }

    /// Nothing is there that another program has left.
    fn begin_anew(&mut self) {
        self.plant();
        self.keep();
        self.sweep_leftovers();
    }

    fn next(&mut self) -> Work {
        let shared = self.shared.clone();
        let mut state = shared.table.lock();
        let mut looked = false;
        loop {
            state.turns.take();
            let now = Instant::now();
            if let Some(lost) = self.pulse.wakes(false, now) {
                state.pool.groups_mut().for_each(|group| group.put_off(lost.since, now + AFTER_SLEEP));
                return Work::Late(lost);
            }
            if state.has_ended {
                return Work::End;
            }
            let is_to_reap = state.child_ended || self.orphans_due.is_some_and(|at| at <= now);
            // Not twice in a row: an app can have more children end than are reaped, and others wait for their steps.
            if is_to_reap && !std::mem::take(&mut self.has_reaped) {
                return self.reaps(&mut state);
            }
            if self.keeping.due().is_some_and(|at| at <= now) {
                return Work::Keep;
            }
            // Before the step that lets it serve.
            if let Some(id) = state.through_boot.pop() {
                return Work::StepUp(id, STEPS_UP);
            }
            if let Some(due) = self.below.iter().position(|(at, _, _)| *at <= now) {
                let (_, id, tries) = self.below.swap_remove(due);
                return Work::StepUp(id, tries);
            }
            if let Some(answer) = state.answers.pop_front() {
                return Work::Answer(answer);
            }
            let edition = std::mem::replace(&mut self.edition, self.shared.catalog_edition());
            if edition != self.edition || std::mem::take(&mut state.tend) || self.tend_at.is_some_and(|at| at <= now) {
                return Work::Tend;
            }
            if let Some(asked) = state.reload.take() {
                return Work::Reload(asked);
            }
            if let Some(asked) = state.upgrade.take() {
                return Work::Try(asked);
            }
            if self.may_leave(&state, now) {
                return Work::Leave;
            }
            if let Some(step) = state.pool.next_step(now) {
                return Work::Step(step);
            }
            if let Some(orphans) = state.orphans.take() {
                return Work::Orphans(orphans);
            }
            // A walk that was done has been told by now, and its release written down.
            let good = state.pool.groups().filter_map(|group| Some((group.id(), group.good()?)));
            if let Some((group, good)) = good.into_iter().find(|(group, good)| self.written.get(group) != Some(good)) {
                return Work::Accept(group, good);
            }
            if let Some(group) = self.overdue(now) {
                return Work::GiveUp(group);
            }
            if let Some(group) = self.unsaved(now) {
                return Work::Unsaved(group);
            }
            let again = state.not_written.iter().map(|(group, (_, at))| (*at, *group)).min();
            if let Some((_, group)) = again.filter(|(at, _)| *at <= now) {
                return Work::WriteAgain(group);
            }
            let ends = state.pool.is_stopped().then(|| *self.stopped.get_or_insert(now) + LAST_SWEEP);
            if ends.is_some_and(|at| at <= now || (state.sweeps.is_empty() && !self.is_saving())) {
                return Work::End;
            }
            let lingering: Vec<_> = state.pool.groups().flat_map(|group| group.lingering()).map(|(id, _)| id).collect();
            if !lingering.is_empty() && (looked || is_to_reap) {
                return Work::Look(lingering);
            }
            if is_to_reap {
                return self.reaps(&mut state);
            }
            looked = true;
            let mut deadline = state.pool.next_deadline().into_iter().chain(again.map(|(at, _)| at)).chain(self.orphans_due).min();
            deadline = deadline.into_iter().chain(ends).chain(self.waits()).chain(self.tend_at).chain(self.leaves_at(now)).min();
            if !lingering.is_empty() {
                deadline = Some(deadline.map_or(now + LOOK, |at| at.min(now + LOOK)));
            }
            self.pulse.sleeps(deadline, Instant::now());
            state = shared.table.wait(state, deadline, now);
        }
    }

    fn reaps(&mut self, state: &mut State) -> Work {
        state.child_ended = false;
        self.orphans_due = None;
        self.has_reaped = true;
        Work::Reap
    }

    /// Of what others do for this thread: when it is not waited for any longer.
    fn waits(&self) -> impl Iterator<Item = Instant> {
        let prepared = self.preparing.values().filter_map(Preparing::deadline);
        let saved = self.saves.values().filter_map(Saves::deadline);
        prepared.chain(saved).chain(self.below.iter().map(|(at, _, _)| *at)).chain(self.keeping.due())
    }

    fn reload(&self, asked: reload::Asked) {
        if let Err(error) = reload::start(self.shared.clone(), asked) {
            reload::give_up(&self.shared, asked, format!("a thread that reads the configuration: {error}"));
        }
    }

    fn hear(&mut self, answer: Answer) {
        let group = match &answer {
            Answer::Prepared(group, ..) | Answer::Opened(group, ..) | Answer::Saved(group, ..) | Answer::Found(group, ..) => Some(*group),
            Answer::Tried(..) => None,
        };
        let _works = group.map(|group| about::works_for(&self.shared.ledger(group).about));
        match answer {
            Answer::Prepared(group, generation, result) => self.prepared(group, generation, result),
            Answer::Opened(group, opened) => self.opened(group, opened),
            Answer::Saved(group, serial, result) => self.saved(group, serial, result),
            Answer::Found(group, before) => self.found(group, *before),
            Answer::Tried(ticket, tried) => self.tried(ticket, tried),
        }
        self.shared.tell_master();
    }

    fn act(&mut self, step: Step<Box<Conn>>) {
        let _works = step.group().map(|group| about::works_for(&self.shared.ledger(group).about));
        match step {
            Step::Resolve { group, ask } => self.resolve(group, &ask),
            Step::Spawn { id, name } => self.spawn(id, name),
            Step::Serve { id, granted, drains } => self.serve(id, granted, drains),
            Step::Grant { granted } => self.hand_over(granted, None),
            Step::Drain { id, why } => {
                log::info!("{}: draining: {why}", self.name(id));
                self.say_why(id);
                self.tell(id, ToThread::Drain);
            }
            Step::Outlasts { id, sessions } => self.outlasts(id, sessions),
            Step::Cut { id, why } => {
                log::warn!("{}: {why}; what it still has is cut", self.name(id));
                self.tell(id, ToThread::Cut(cut_of(why)));
            }
            Step::Signal { id, pid, to, what } => self.signal(id, pid, to, what),
            Step::Gone { id, name } => self.gone(id, &name),
            Step::WalkEnded { group, ask, outcome } => self.walk_ended(group, &ask, outcome),
        }
        self.shared.tell_master();
    }

    fn spawn(&mut self, id: ProcessId, name: ProcessName) {
        if !self.has_memory(id, &name) {
            return;
        }
        let process = match self.launch(id, &name) {
            Ok(launched) => launched,
            Err(failure) => return self.not_started(id, &name, failure),
        };
        let (pid, slots, unit) = (process.unit.leader, process.slots, process.unit.clone());
        // Before its thread runs: what that reports is of a process that the table knows.
        let mut state = self.shared.table.lock();
        let group = state.pool.group_mut(id.group);
        group.has_slots(id, slots);
        group.spawned(id, pid, Instant::now());
        state.units.insert(id, unit);
        drop(state);
        match io_thread::start(self.shared.clone(), process) {
            Ok(thread) => {
                self.shared.table.lock().threads.insert(id, thread);
                log::info!("{name} pid {pid}: started");
            }
            // It is stopped and reaped as any other.
            Err(error) => {
                let kind = FailureKind::Spawn(format!("I/O thread: {error}"));
                self.not_started(id, &name, Failure { kind, output: Vec::new() });
            }
        }
    }

    /// False: there is not enough for one more process beside those that are there. The old one goes first, or nothing is started that could
    /// be done without.
    fn has_memory(&self, id: ProcessId, name: &ProcessName) -> bool {
        let units: Vec<&Unit> = self.living.iter().filter(|(of, _)| of.group == id.group).map(|(_, living)| living.owned.unit()).collect();
        let Some(found) = memory::shortage(&units) else { return true };
        let mut state = self.shared.table.lock();
        let group = state.pool.group_mut(id.group);
        let (postponed, one_more) = (group.postpone(id, found.clone()), group.is_one_more(id));
        drop(state);
        if one_more {
            let kind = FailureKind::Spawn(format!("{found}: those that are there have to do"));
            self.not_started(id, name, Failure { kind, output: Vec::new() });
            return false;
        }
        match postponed {
            true => log::warn!("{name}: {found}: the old process goes first, requests wait meanwhile"),
            false => log::warn!("{name}: {found}: started all the same, there is no older one that could go first"),
        }
        !postponed
    }

    fn not_started(&self, id: ProcessId, name: &ProcessName, failure: Failure) {
        log::error!("{name}: {failure}");
        self.shared.table.lock().pool.group_mut(id.group).start_failed(id, failure, Instant::now());
    }

    fn launch(&mut self, id: ProcessId, name: &ProcessName) -> Result<io_thread::Process, Failure> {
        let (release, aside) = {
            let state = self.shared.table.lock();
            (state.releases.get(&(id.group, name.generation)).cloned(), state.pool.group(id.group).any_serving())
        };
        let Some(release) = release else {
            return Err(Failure { kind: FailureKind::Release(format!("{} has no release", name.generation)), output: Vec::new() });
        };
        let branch = self.branch(id, name);
        let catalog = self.shared.catalog();
        let request = LaunchRequest {
            program: &self.program,
            name: name.clone(),
            release: &release,
            run_dir: &catalog.server.run_dir,
            serial: id.serial,
            nofile: self.nofile,
            aside,
            survivors: catalog.app(id.group).survivors,
            cgroup: branch.path(),
        };
        let nice = release.attributes.nice.unwrap_or_else(sys::own_nice);
        let Launched { unit, endpoint, stdout, stderr, report, dir } = spawn::launch(&request)?;
        let pid = unit.leader;
        let unit = Arc::new(unit);
        let owned = Owned::new(unit.clone());
        self.living.insert(id, Living { pid, name: name.clone(), stop: release.stop, nice, owned, dir });
        branch.take_up();
        self.tell_keeper(|keeper| keeper.born(&unit));
        let (slots, credentials) = (release.concurrency, release.credentials.clone());
        catalog.ledger(id.group).uploads.has_slots(slots, catalog.app(id.group).processes.min);
        let (stdout, stderr, report) = (Some(stdout), Some(stderr), Some(report));
        Ok(io_thread::Process { id, name: name.clone(), unit, endpoint, slots, stdout, stderr, report, aside, credentials })
    }

    fn serve(&mut self, id: ProcessId, granted: Vec<(Claim, Box<Conn>)>, drains: Option<ProcessId>) {
        self.hand_over(granted, drains);
        match drains {
            Some(old) => {
                log::info!("{}: serving; {}: draining", self.name(id), self.name(old));
                self.say_why(old);
            }
            None => log::info!("{}: serving", self.name(id)),
        }
    }

    /// Of a process that leaves though its release stays.
    fn say_why(&self, id: ProcessId) {
        let worn = self.shared.table.lock().pool.group(id.group).worn(id);
        if let (Some(worn), Some(living)) = (worn, self.living.get(&id)) {
            // Its name is also the one of its successor.
            log::info!("{} pid {}: replaced {worn}", living.name, living.pid);
        }
    }

    fn outlasts(&self, id: ProcessId, sessions: u32) {
        let drain = self.shared.app(id.group).drain.clone();
        let (name, longest) = (self.name(id), span(drain.longest.as_secs_f64()));
        let what = if sessions == 1 { "1 request".to_owned() } else { format!("{sessions} requests") };
        log::info!(
            "{name}: {what} not done at drain.timeout may be finished, {longest} after the drain began (drain.longest); nothing waits for that"
        );
    }

    fn hand_over(&mut self, granted: Vec<(Claim, Box<Conn>)>, drains: Option<ProcessId>) {
        let state = self.shared.table.lock();
        let (mut wakes, mut returned) = (Vec::new(), Vec::new());
        for (claim, conn) in granted {
            match state.hand_over(conn, claim) {
                Ok(wake) => wakes.push(wake),
                Err(back) => returned.push(back),
            }
        }
        wakes.extend(drains.and_then(|old| state.tell(old, ToThread::Drain)));
        drop(state);
        // Its thread has just ended: the slots go back, and the master finds the connections another place.
        for (conn, claim) in returned {
            dispatch::give_back_unused(&self.shared, claim, Instant::now());
            wakes.extend(self.shared.master.send(ToMaster::Conn(conn)));
        }
        for wake in wakes {
            wake.wake();
        }
    }

    /// A nice value can be made smaller by root alone.
    fn step_up(&mut self, id: ProcessId, tries: u32) {
        let is_below = self.living.get(&id).is_some_and(|living| !sys::step_up(living.pid, living.nice));
        if is_below && tries > 0 {
            self.below.push((Instant::now() + STEP_UP_AGAIN, id, tries - 1));
        }
    }

    fn tell(&self, id: ProcessId, message: ToThread) {
        let told = self.shared.table.lock().tell(id, message);
        if let Some(wake) = told {
            wake.wake();
        }
    }

    fn name(&self, id: ProcessId) -> String {
        self.living.get(&id).map_or_else(|| "a process that is gone".to_owned(), |living| living.name.to_string())
    }
}

/// What those are told whose requests are cut.
fn cut_of(why: WhyCut) -> Cut {
    match why {
        WhyCut::Timeout(_) => Cut::DrainTimeout,
        WhyCut::Longest => Cut::DrainLongest,
        WhyCut::Room | WhyCut::Younger => Cut::DrainRoom,
        WhyCut::Now => Cut::Stopped,
    }
}

/// What happened meanwhile is heard within this time; only then limits count again.
const AFTER_SLEEP: Duration = Duration::from_secs(1);
/// A scheduling group gets its value later than others that ask for theirs (`sys::step_up`).
const STEP_UP_AGAIN: Duration = Duration::from_millis(130);
const STEPS_UP: u32 = 50;
/// How often a group whose leader is gone is looked at.
const LOOK: Duration = Duration::from_millis(20);
const NAME: &str = "rota-restart";
/// For records, and for what the last processes left on the disk; the next start of rota removes the rest.
const LAST_SWEEP: Duration = Duration::from_secs(1);
