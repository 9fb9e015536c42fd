//! `rota serve --taking-over`: goes on where another rota stood, which has executed this program (`crate::upgrade`). What it left is read and judged
//! as a whole before anything is touched, and given back if it cannot be taken up.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::fs::{CWD, Mode, OFlags};
use serde::Deserialize;

use super::Exit;
use super::serve::{ended, own_users, read_again, until_the_end};
use crate::catalog::Catalog;
use crate::config::{BrokenApp, Loaded};
use crate::conn::{Conn, Heir};
use crate::control::proto::{Reply, Upgraded};
use crate::control::server::control_group;
use crate::dispatch;
use crate::ids::{AppName, GroupId, ProcessId};
use crate::io_thread::{self, SavedThread};
use crate::master::supervisor::Ready;
use crate::master::upgrade::{SavedMaster, SavedPorter};
use crate::master::{Bound, Master, Porter};
use crate::moment;
use crate::named_file::Gate;
use crate::pool::{CameOver, FailureKind, Group, Waiting};
use crate::printable::counted;
use crate::record_writer::RecordWriter;
use crate::restart::{self, Queues, SavedProcesses, TakenUp};
use crate::table::{Shared, ToMaster};
use crate::upgrade::carrier::{Carrier, Received};
use crate::upgrade::left::{Configuration, Left, Of};
use crate::upgrade::pack::Unpack;
use crate::upgrade::trial::{self, Word};
use crate::visitor::Visitor;
use crate::{credentials, last_word, logging, sys};

pub fn run() -> Exit {
    let received = match Received::read(rustix::stdio::stdin()) {
        Ok(received) => received,
        Err(error) => {
            eprintln!("rota serve {} is for rota upgrade itself: standard input: {error}", trial::FLAG);
            return Exit::Usage;
        }
    };
    match Left::read(&received.state) {
        Ok(left) if left.is_trial => say(judge(&left).and_then(|()| would_open(&left)).err()),
        Ok(left) => take_over(received, left),
        Err(why) => give_back(&received, &[], &why),
    }
}

/// The answer of a trial.
fn say(why: Option<String>) -> Exit {
    let exit = if why.is_none() { Exit::Done } else { Exit::Bad };
    let word = Word { rota: env!("CARGO_PKG_VERSION").to_owned(), why };
    println!("{}", serde_json::to_string(&word).unwrap_or_default());
    exit
}

/// All that was left, read.
struct Parts<'a> {
    processes: SavedProcesses<'a, Group<Box<Conn>>>,
    porter: SavedPorter,
    master: SavedMaster<'a>,
    threads: Vec<(AppName, u32, SavedThread<'a>)>,
}

/// The descriptors of each part.
struct Descriptors {
    processes: Unpack,
    porter: Unpack,
    master: Unpack,
    threads: Vec<Unpack>,
}

/// Err: a part of this kind is missing, or cannot be read.
fn part<'a, T: Deserialize<'a>>(left: &'a Left, of: &Of) -> Result<T, String> {
    let part = left.parts.iter().find(|part| part.of == *of).ok_or_else(|| format!("{of} has left nothing"))?;
    serde_json::from_str(part.state.get()).map_err(|error| format!("what {of} has left: {error}"))
}

/// The configuration in force, as it was read; what could not be served then is not served now.
fn configuration(of: &Configuration) -> Result<Loaded, String> {
    let said = |report: crate::config::Report| report.to_string();
    let apps = of.sources.parse(&Gate::to_look()).map_err(said)?.config.apps;
    let gate = Gate::to_serve(restart::release::groups(apps.iter().map(|app| &app.start)));
    let mut loaded = of.sources.parse(&gate).map_err(said)?;
    let config = &mut loaded.config;
    for (name, why) in &of.broken {
        let is_it = |app: &crate::config::AppConfig| app.name.as_str() == name;
        if let Some(app) = config.apps.iter().position(is_it).map(|index| config.apps.remove(index)) {
            config.broken.push(BrokenApp { name: name.clone(), file: of.path.clone(), why: why.clone(), routes: app.routes });
        }
    }
    of.stays.clone().keep_in(&mut config.server);
    Ok(loaded)
}

/// Err: it could not be taken up.
fn judge(left: &Left) -> Result<(), String> {
    let loaded = configuration(&left.configuration)?;
    let apps: Vec<AppName> = loaded.config.apps.iter().map(|app| app.name.clone()).collect();
    moment::counted_from(left.reference(), || {
        part::<SavedProcesses<'_, Group<Box<Conn>>>>(left, &Of::Processes).and_then(|processes| processes.judge(&apps))
    })
}

/// Err: what is opened anew, log files and names of groups, cannot be had, so that nobody could take over: not this program, and not the one before.
fn would_open(left: &Left) -> Result<(), String> {
    let Loaded { config, sources, .. } = configuration(&left.configuration)?;
    config.server.control_group.as_deref().map(control_group).transpose()?;
    Catalog::open(config, sources).map(drop)
}

fn read(left: &Left) -> Result<Parts<'_>, String> {
    judge(left)?;
    moment::counted_from(left.reference(), || {
        let of_threads = left.parts.iter().filter_map(|part| match &part.of {
            Of::Thread(app, serial) => Some((app, serial, &part.of)),
            Of::Processes | Of::Porter | Of::Master => None,
        });
        let threads = of_threads.map(|(app, serial, of)| Ok((app.clone(), *serial, part(left, of)?)));
        let threads = threads.collect::<Result<_, String>>()?;
        Ok(Parts { processes: part(left, &Of::Processes)?, porter: part(left, &Of::Porter)?, master: part(left, &Of::Master)?, threads })
    })
}

/// The list, cut where its parts end. Err, with the list: it has not the length that they say.
fn share_out(left: &Left, fds: Vec<std::os::fd::OwnedFd>) -> Result<Descriptors, (Vec<std::os::fd::OwnedFd>, String)> {
    let said: usize = left.parts.iter().map(|part| part.fds as usize).sum();
    if said != fds.len() {
        let why = format!("{said} descriptors were left, and {} are there", fds.len());
        return Err((fds, why));
    }
    let mut descriptors =
        Descriptors { processes: Unpack::default(), porter: Unpack::default(), master: Unpack::default(), threads: Vec::new() };
    let mut fds = fds.into_iter();
    for part in &left.parts {
        let own = Unpack::that_keeps(fds.by_ref().take(part.fds as usize).collect());
        match part.of {
            Of::Processes => descriptors.processes = own,
            Of::Porter => descriptors.porter = own,
            Of::Master => descriptors.master = own,
            Of::Thread(..) => descriptors.threads.push(own),
        }
    }
    Ok(descriptors)
}

impl Descriptors {
    /// In the order of the parts.
    fn all<'a>(&'a self, left: &Left) -> Vec<BorrowedFd<'a>> {
        let mut threads = self.threads.iter();
        let of = |part: &crate::upgrade::left::LeftPart| match part.of {
            Of::Processes => Some(&self.processes),
            Of::Porter => Some(&self.porter),
            Of::Master => Some(&self.master),
            Of::Thread(..) => threads.next(),
        };
        left.parts.iter().filter_map(of).flat_map(Unpack::fds).collect()
    }

    /// Nothing is given back any more.
    fn let_go(&mut self) {
        let own = [&mut self.processes, &mut self.porter, &mut self.master];
        own.into_iter().chain(&mut self.threads).for_each(Unpack::let_go);
    }
}

fn take_over(mut received: Received, left: Left) -> Exit {
    // Of a program that is executed by its descriptor it is the number of that.
    if let Err(error) = rustix::thread::set_name(c"rota") {
        log::debug!("PR_SET_NAME: {error}");
    }
    logging::start(log::LevelFilter::Info);
    let null = rustix::fs::openat(CWD, "/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    if let Err(error) = null.and_then(rustix::stdio::dup2_stdin) {
        log::warn!("/dev/null: {error}");
    }
    let parts = match read(&left) {
        Ok(parts) => parts,
        Err(why) => return give_back_all(&received, &why),
    };
    let mut descriptors = match share_out(&left, std::mem::take(&mut received.descriptors)) {
        Ok(descriptors) => descriptors,
        Err((fds, why)) => {
            received.descriptors = fds;
            return give_back_all(&received, &why);
        }
    };
    let Parts { processes, porter, master, threads } = parts;
    let own = Own { processes, porter, listens: (master.control, master.listeners) };
    // As a test may want it, of whoever takes over first.
    let fault = if received.refusal.is_some() { Ok(()) } else { last_word::refusal("taking-over").map_err(|error| error.to_string()) };
    let begun = match fault.and_then(|()| Begun::begin(&left, own, &mut descriptors)) {
        Ok(begun) => begun,
        Err(why) => return give_back(&received, &descriptors.all(&left), &why),
    };
    // From here on there is no way back.
    descriptors.let_go();
    let refusal = received.refusal.take();
    drop(received);
    let hands = Hands { conns: master.conns, signals: master.signals, ran: (master.runs_for, master.upgrades), threads };
    ended(begun.go_on(&left, hands, descriptors, refusal))
}

/// What is taken up as a whole, or not at all.
struct Own<'a> {
    processes: SavedProcesses<'a, Group<Box<Conn>>>,
    porter: SavedPorter,
    listens: (crate::control::server::SavedControl, Vec<crate::master::SavedListener>),
}

/// What is taken up one by one.
struct Hands<'a> {
    conns: Vec<crate::conn::SavedConn<'a>>,
    signals: Vec<crate::signals::Event>,
    ran: (std::time::Duration, u32),
    threads: Vec<(AppName, u32, SavedThread<'a>)>,
}

/// A server that has everything but its connections and threads.
struct Begun<'a> {
    master: Master,
    porter: Porter,
    writer: RecordWriter,
    taken_up: TakenUp,
    numbers: crate::pool::Numbers,
    queues: Queues<'a>,
    nofile: u64,
}

impl<'a> Begun<'a> {
    fn begin(left: &Left, own: Own<'a>, descriptors: &mut Descriptors) -> Result<Self, String> {
        let loaded = configuration(&left.configuration)?;
        sys::raise_nofile().map_err(|error| format!("RLIMIT_NOFILE: {error}"))?;
        let (server, apps) = (loaded.config.server.clone(), loaded.config.apps.clone());
        // Which it is was said when the first one began.
        let _ = credentials::find_own(&own_users(&apps));
        let groups = restart::release::groups(apps.iter().map(|app| &app.start));
        let mut writer = RecordWriter::start(&server, &apps, groups).map_err(|error| format!("thread for records: {error}"))?;
        let bound = Bound::restore(&server, own.porter, &mut descriptors.porter, own.listens, &mut descriptors.master)?;
        let (master, porter) = Master::new(loaded, &left.configuration.path, read_again, bound, writer.bell())?;
        let shared = master.shared();
        shared.config_stamp.store(left.configuration.stamp, Ordering::Relaxed);
        let nofile = own.processes.nofile;
        let (taken_up, numbers, queues) = own.processes.take_up(shared, &mut descriptors.processes)?;
        writer.serve(shared);
        Ok(Self { master, porter, writer, taken_up, numbers, queues, nofile })
    }

    fn go_on(self, left: &Left, hands: Hands<'a>, mut descriptors: Descriptors, refusal: Option<String>) -> Result<(), String> {
        let Self { mut master, porter, writer, taken_up, numbers, queues, nofile } = self;
        let shared = master.shared().clone();
        let groups = |old: GroupId| numbers.group(old).ok();
        let mut conns: Vec<Box<Conn>> = Vec::new();
        let mut share = |visitor: Visitor| master.share_of(visitor);
        let mut heir = Heir { unpack: &mut descriptors.master, shared: &shared, groups: &groups, share: &mut share };
        for conn in hands.conns {
            conns.extend(or_lost("a connection", conn.restore(&mut heir)));
        }
        let (processes, mut threads) = (hands.threads.len(), Vec::new());
        for ((app, serial, thread), unpack) in hands.threads.into_iter().zip(&mut descriptors.threads) {
            let mut heir = Heir { unpack, shared: &shared, groups: &groups, share: &mut share };
            threads.extend(take_up_thread(&shared, &app, serial, thread, &mut heir));
        }
        let mut heir = Heir { unpack: &mut descriptors.processes, shared: &shared, groups: &groups, share: &mut share };
        for (group, waiting) in queues {
            let Waiting { who, since, bound, what } = waiting;
            if let Some(what) = or_lost("a request that waited", what.restore(&mut heir)) {
                shared.table.lock().pool.group_mut(group).wait_again(Waiting { who, since, bound, what });
            }
        }
        let claims = threads.iter().map(|(id, thread)| (*id, thread.claims)).collect();
        let requests = came_over(&shared, &claims);
        for (id, thread) in threads {
            if let Err(error) = thread.begin() {
                is_broken(&shared, id, error.to_string());
            }
        }
        let lasted = left.reference().elapsed();
        let connections = shared.connections.open();
        let to = env!("CARGO_PKG_VERSION").to_owned();
        let news = match refusal {
            None => {
                log::info!(
                    "upgrade: rota {to} serves in the place of rota {}: nobody was served for {lasted:?}; {}, {}, {} in hand",
                    left.rota,
                    counted(processes, "process"),
                    counted(connections, "connection"),
                    counted(requests, "request")
                );
                let program = trial::own_path().unwrap_or_default();
                let seconds = lasted.as_secs_f64();
                Reply::Upgraded(Upgraded { program, from: left.rota.clone(), to, seconds, processes, connections, requests })
            }
            Some(why) => {
                log::error!("upgrade: rota {to} serves again, after {lasted:?}: the other program gave all back: {why}");
                Reply::Error { message: why }
            }
        };
        let upgrades = hands.ran.1 + u32::from(matches!(news, Reply::Upgraded(_)));
        // Whoever started it knows that it is.
        master.is_ready_when(Ready::Listening);
        master.take_up(conns, hands.signals, (hands.ran.0, upgrades), news);
        drop(shared);
        until_the_end(master, porter, writer, restart::Begin { nofile, taken_up: Some(taken_up) })
    }
}

/// The I/O thread of a process, which has not begun. One that cannot be had again costs its connections, and the process is replaced.
fn take_up_thread(
    shared: &Arc<Shared>,
    app: &AppName,
    serial: u32,
    left: SavedThread<'_>,
    heir: &mut Heir<'_>,
) -> Option<(ProcessId, io_thread::TakenUp)> {
    let catalog = shared.catalog();
    let (group, config) = catalog.apps().find(|(_, config)| config.name == *app)?;
    let id = ProcessId { group, serial };
    let state = shared.table.lock();
    let (unit, release) = (state.units.get(&id).cloned(), state.releases.get(&(group, left.name().generation)).cloned());
    drop(state);
    let taken_up = match (unit, release) {
        (Some(unit), Some(release)) => left.process(id, unit, &release, heir).and_then(|process| {
            catalog.ledger(group).uploads.has_slots(process.slots, config.processes.min);
            io_thread::take_up(shared, process, left, heir)
        }),
        _ => Err("its process or its release was not left".to_owned()),
    };
    match taken_up {
        Ok(thread) => {
            shared.table.lock().threads.insert(id, thread.mailbox.clone());
            Some((id, thread))
        }
        Err(why) => {
            is_broken(shared, id, why);
            None
        }
    }
}

fn is_broken(shared: &Shared, id: ProcessId, why: String) {
    let mut state = shared.table.lock();
    state.threads.remove(&id);
    let group = state.pool.group_mut(id.group);
    let name = group.name_of(id).map_or_else(String::new, |name| name.to_string());
    group.broken(id, FailureKind::Thread(why.clone()), Instant::now());
    drop(state);
    log::error!("{name}: its thread could not be had again: {why}; its connections are lost, the process is replaced");
}

/// What came over is what the table counts; slots that are free go to who waits. Gives the number of requests that are with an app.
fn came_over(shared: &Shared, claims: &HashMap<ProcessId, u32>) -> usize {
    let now = Instant::now();
    let mut state = shared.table.lock();
    let CameOver { differs, granted } = state.pool.came_over(claims, now);
    let handed: Vec<_> = granted.into_iter().map(|(claim, conn)| state.hand_over(conn, claim)).collect();
    for group in state.pool.groups_mut() {
        shared.ledger(group.id()).has_suspects(group.has_suspects(now));
    }
    drop(state);
    for differs in differs {
        log::error!("upgrade: {differs}");
    }
    for handed in handed {
        match handed {
            Ok(wake) => wake.wake(),
            Err((conn, claim)) => {
                dispatch::give_back_unused(shared, claim, now);
                shared.master.send(ToMaster::Conn(conn)).into_iter().for_each(|wake| wake.wake());
            }
        }
    }
    claims.values().map(|claims| *claims as usize).sum()
}

fn or_lost<T>(what: &str, restored: Result<T, String>) -> Option<T> {
    restored.inspect_err(|why| log::error!("upgrade: {what} could not be taken up, and is closed: {why}")).ok()
}

fn give_back_all(received: &Received, why: &str) -> Exit {
    let fds: Vec<BorrowedFd<'_>> = received.descriptors.iter().map(std::os::fd::AsFd::as_fd).collect();
    give_back(received, &fds, why)
}

/// Executes the program that left all this, with all of it. It returns where that fails, or where that program has it back already.
fn give_back(received: &Received, descriptors: &[BorrowedFd<'_>], why: &str) -> Exit {
    log::error!("upgrade: rota {} cannot take over: {why}", env!("CARGO_PKG_VERSION"));
    if received.refusal.is_some() {
        log::error!("nor could the other program; the server ends, and its apps with it");
        return Exit::Bad;
    }
    let Some(program) = &received.program else { return Exit::Bad };
    let failed = |error: io::Error| {
        log::error!("upgrade: nothing could be given back: {error}; the server ends");
        Exit::Bad
    };
    let (carrier, from) = match Carrier::pair() {
        Ok(pair) => pair,
        Err(error) => return failed(error),
    };
    if let Err(error) = carrier.give_back(received, descriptors, why) {
        return failed(error);
    }
    if let Err(error) = rustix::stdio::dup2_stdin(&from) {
        return failed(error.into());
    }
    let shown = std::env::args_os().next().unwrap_or_default();
    failed(trial::command(program, shown.as_ref()).exec())
}
