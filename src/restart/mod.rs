//! The restart thread: asks the pool for the next step and does it. All fork/exec, all signals to apps, all reaping.
//!
//! It waits on the table's condition variable with the nearest deadline and never sleeps inside a step, so that a slow drain of one group
//! holds up nothing else. It must live as long as rota: the processes' parent-death signal is tied to the thread that started them
//! (prctl(2), PR_SET_PDEATHSIG).

mod deployments;
pub mod env_file;
pub mod environment;
mod folders;
pub mod interpreter;
pub mod keeper;
pub mod memory;
pub mod release;
pub mod shim;
pub mod spawn;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::StopSignal;
use crate::conn::Conn;
use crate::dispatch;
use crate::http::cut::Cut;
use crate::ids::{Generation, GroupId, ProcessId, ProcessName};
use crate::io_thread;
use crate::pool::{Claim, Exit, Failure, FailureKind, Signal, SignalTo, Step, WhyCut, span};
use crate::records::disk::Store;
use crate::sys;
use crate::table::{Shared, ToMaster, ToThread};
use keeper::Keeper;
use spawn::{LaunchRequest, Launched, PrivateDir};

/// The thread's own books.
struct Restart {
    shared: Arc<Shared>,
    /// The program that the shim and the keeper are part of: this one, whatever has become of its file.
    program: PathBuf,
    /// Soft limit of descriptors that rota was started with; the apps get it back.
    nofile: u64,
    keeper: Option<Keeper>,
    /// None: nothing can be written down.
    store: Option<Store>,
    living: HashMap<ProcessId, Living>,
    /// Of each app the generation that its record has as good.
    written: HashMap<GroupId, Generation>,
    /// What [`sys::kills_for_memory`] said when it was asked last.
    kills_for_memory: Option<u64>,
    /// By when it meant to look at the table again.
    due_back: Option<Instant>,
}

/// What this thread keeps of a process that is not gone.
struct Living {
    pid: u32,
    name: ProcessName,
    stop: StopSignal,
    nice: i32,
    /// Its socket's directory, removed with this.
    _dir: PrivateDir,
}

/// Starts the thread. It ends when the pool is stopped.
pub fn start(shared: Arc<Shared>, nofile: u64, store: Option<Store>) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("rota-restart".to_owned()).stack_size(STACK).spawn(move || {
        let program = PathBuf::from("/proc/self/exe");
        let mut restart = Restart {
            shared,
            program,
            nofile,
            keeper: None,
            store,
            living: HashMap::new(),
            written: HashMap::new(),
            kills_for_memory: sys::kills_for_memory(),
            due_back: None,
        };
        restart.run();
    })
}

/// What there is to do.
enum Work {
    Step(Step<Box<Conn>>),
    Reap,
    /// It need not stand aside any more.
    StepUp(ProcessId),
    /// Leaders are gone; is anything left of their groups?
    Look(Vec<(ProcessId, u32)>),
    /// A generation has proved itself after its walk had ended: it was overtaken.
    Accept(GroupId, Generation),
    /// A record is not on the disk, and some time has passed.
    WriteAgain(GroupId),
    /// It comes this much later than it meant to.
    Late(Duration),
    End,
}

impl Restart {
    fn run(&mut self) {
        if let Err(error) = sys::become_subreaper() {
            log::warn!("PR_SET_CHILD_SUBREAPER: {error}; orphans of apps will not come back to rota");
        }
        self.keep();
        loop {
            match self.next() {
                Work::Step(step) => self.act(step),
                Work::Reap => self.reap(),
                Work::StepUp(id) => self.step_up(id),
                Work::Look(lingering) => self.look(&lingering),
                Work::Accept(group, generation) => self.accept(group, generation),
                Work::WriteAgain(group) => self.write_again(group),
                Work::Late(by) => {
                    log::warn!("rota did not run for {:.1} s; what became due meanwhile is looked at first", by.as_secs_f64())
                }
                Work::End => break,
            }
        }
        self.shared.table.lock().finished = true;
        self.shared.tell_master();
    }

    fn next(&mut self) -> Work {
        let shared = self.shared.clone();
        let mut state = shared.table.lock();
        let mut looked = false;
        loop {
            let now = Instant::now();
            if let Some(due) = self.due_back.replace(now).filter(|due| now > *due + LATE) {
                state.pool.groups_mut().for_each(|group| group.put_off(due, now + AFTER_SLEEP));
                return Work::Late(now - due);
            }
            if std::mem::take(&mut state.child_ended) {
                return Work::Reap;
            }
            // Before the step that lets it serve.
            if let Some(id) = state.through_boot.pop() {
                return Work::StepUp(id);
            }
            if let Some(step) = state.pool.next_step(now) {
                return Work::Step(step);
            }
            // A walk that was done has been told by now, and its release written down.
            let good = state.pool.groups().filter_map(|group| Some((group.id(), group.good()?)));
            if let Some((group, good)) = good.into_iter().find(|(group, good)| self.written.get(group) != Some(good)) {
                return Work::Accept(group, good);
            }
            let again = state.not_written.iter().map(|(group, (_, at))| (*at, *group)).min();
            if let Some((_, group)) = again.filter(|(at, _)| *at <= now) {
                return Work::WriteAgain(group);
            }
            if state.pool.is_stopped() {
                return Work::End;
            }
            let lingering: Vec<_> = state.pool.groups().flat_map(|group| group.lingering()).collect();
            if !lingering.is_empty() && looked {
                return Work::Look(lingering);
            }
            looked = true;
            let mut deadline = state.pool.next_deadline().into_iter().chain(again.map(|(at, _)| at)).min();
            if !lingering.is_empty() {
                deadline = Some(deadline.map_or(now + LOOK, |at| at.min(now + LOOK)));
            }
            self.due_back = deadline;
            state = shared.table.wait(state, deadline, now);
        }
    }

    fn act(&mut self, step: Step<Box<Conn>>) {
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
        let (pid, slots) = (process.pid, process.slots);
        // Before its thread runs: what that reports is of a process that the table knows.
        let mut state = self.shared.table.lock();
        let group = state.pool.group_mut(id.group);
        group.has_slots(id, slots);
        group.spawned(id, pid, Instant::now());
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
        let pids: Vec<u32> = self.living.iter().filter(|(of, _)| of.group == id.group).map(|(_, living)| living.pid).collect();
        let Some(found) = memory::shortage(&pids) else { return true };
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
        let request = LaunchRequest {
            program: &self.program,
            name: name.clone(),
            release: &release,
            run_dir: &self.shared.server.run_dir,
            serial: id.serial,
            nofile: self.nofile,
            aside,
        };
        let nice = release.attributes.nice.unwrap_or_else(sys::own_nice);
        let Launched { pid, endpoint, stdout, stderr, report, dir } = spawn::launch(&request)?;
        if let Some(keeper) = &mut self.keeper
            && let Err(error) = keeper.born(pid)
        {
            log::error!("keeper: {error}; starting another");
            self.keep();
        }
        self.living.insert(id, Living { pid, name: name.clone(), stop: release.stop, nice, _dir: dir });
        let (slots, credentials) = (release.concurrency, release.credentials.clone());
        self.shared.uploads[id.group.index()].has_slots(slots, self.shared.app(id.group).processes.min);
        Ok(io_thread::Process { id, name: name.clone(), pid, endpoint, slots, stdout, stderr, report, aside, credentials })
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
        let drain = &self.shared.app(id.group).drain;
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

    fn signal(&mut self, id: ProcessId, pid: u32, to: SignalTo, what: Signal) {
        let signal = match what {
            Signal::Stop => stop_signal(self.living.get(&id).map_or(StopSignal::Term, |living| living.stop)),
            Signal::Kill => sys::KILL,
        };
        if what == Signal::Stop && to == SignalTo::Leader {
            let nice = self.living.get(&id).map_or_else(sys::own_nice, |living| living.nice);
            sys::step_back(pid, nice);
        }
        let sent = match to {
            SignalTo::Leader => sys::signal_process(pid, signal),
            SignalTo::Group => sys::signal_group(pid, signal),
        };
        let whom = match to {
            SignalTo::Leader => "",
            SignalTo::Group => " and its group",
        };
        match (what, sent) {
            (Signal::Stop, Ok(())) => log::info!("{} pid {pid}: told to stop{whom}", self.name(id)),
            (Signal::Kill, Ok(())) => log::warn!("{} pid {pid}: killed{whom}", self.name(id)),
            // It has ended in this very moment; its exit follows.
            (Signal::Stop | Signal::Kill, Err(error)) => log::debug!("{} pid {pid}: signal: {error}", self.name(id)),
        }
    }

    fn gone(&mut self, id: ProcessId, name: &ProcessName) {
        let thread = self.shared.table.lock().threads.remove(&id);
        if let Some(Ok(wake)) = thread.map(|thread| thread.send(ToThread::Gone)) {
            wake.wake();
        }
        if let Some(living) = self.living.remove(&id) {
            if let Some(keeper) = &mut self.keeper
                && let Err(error) = keeper.gone(living.pid)
            {
                log::error!("keeper: {error}; starting another");
                self.keep();
            }
            log::info!("{name} pid {}: gone", living.pid);
        }
        self.close_folders(id.group);
    }

    /// Takes the ends of all children that have ended, ours and the orphans that came to us.
    fn reap(&mut self) {
        while let Some((pid, exit)) = sys::reap_any() {
            let id = self.living.iter().find(|(_, living)| living.pid == pid).map(|(id, _)| *id);
            match id {
                Some(id) => self.ended(id, pid, exit),
                None if self.keeper.as_ref().is_some_and(|keeper| keeper.pid() == pid) => {
                    log::error!("keeper: it ended with {exit}; starting another");
                    self.keep();
                }
                None => log::debug!("pid {pid}, an orphan of an app: {exit}"),
            }
        }
    }

    fn ended(&mut self, id: ProcessId, pid: u32, exit: Exit) {
        let known = std::mem::replace(&mut self.kills_for_memory, sys::kills_for_memory());
        let out_of_memory = matches!(exit, Exit::Signal { signal: 9, .. }) && self.kills_for_memory > known;
        let mut state = self.shared.table.lock();
        // Its thread reads what it printed last, and reports the end with what it had in hand.
        let told = state.tell(id, ToThread::Exited(exit, out_of_memory));
        if told.is_none() {
            log::info!("{} pid {pid}: {exit}", self.name(id));
            state.pool.group_mut(id.group).exited(id, exit, Vec::new(), Instant::now());
        }
        drop(state);
        if let Some(wake) = told {
            wake.wake();
        }
    }

    /// A nice value can be made smaller by root alone.
    fn step_up(&self, id: ProcessId) {
        if let Some(living) = self.living.get(&id) {
            sys::step_up(living.pid, living.nice);
        }
    }

    fn look(&mut self, lingering: &[(ProcessId, u32)]) {
        for (id, pgid) in lingering {
            if sys::group_is_empty(*pgid) {
                self.shared.table.lock().pool.group_mut(id.group).group_empty(*id, Instant::now());
            }
        }
    }

    /// Starts the process that ends the apps when rota is killed.
    fn keep(&mut self) {
        self.keeper = match Keeper::start(&self.program, self.living.values().map(|living| living.pid)) {
            Ok(keeper) => Some(keeper),
            Err(error) => {
                log::error!("keeper: {error}; if rota is killed, children of its apps may stay");
                None
            }
        };
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

fn stop_signal(signal: StopSignal) -> sys::Signal {
    match signal {
        StopSignal::Term => sys::Signal::TERM,
        StopSignal::Int => sys::Signal::INT,
        StopSignal::Quit => sys::Signal::QUIT,
        StopSignal::Hup => sys::Signal::HUP,
        StopSignal::Usr1 => sys::Signal::USR1,
        StopSignal::Usr2 => sys::Signal::USR2,
    }
}

/// A thread that comes later than this was kept from running: by SIGSTOP, by a machine that slept, or by a disk.
const LATE: Duration = Duration::from_secs(1);
/// What happened meanwhile is heard within this time; only then limits count again.
const AFTER_SLEEP: Duration = Duration::from_secs(1);
/// How often a group whose leader is gone is looked at.
const LOOK: Duration = Duration::from_millis(20);
const STACK: usize = 512 * 1024;
