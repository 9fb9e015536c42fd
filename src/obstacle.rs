//! Who has what a process needed alone and did not get: a port, a lock, a pid file. Asked when a start has failed, on the I/O thread of the
//! process that did; reads /proc, and takes the lock for names only.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use crate::config::AppConfig;
use crate::credentials;
use crate::detect::background;
use crate::detect::complaint::{self, Complaint};
use crate::ids::{ProcessId, ProcessName};
use crate::pool::{Exit, FailureKind, Obstacle};
use crate::sys::{self, Look, Unit};
use crate::table::Shared;

/// The process that failed.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    pub shared: &'a Shared,
    pub id: ProcessId,
    pub name: &'a ProcessName,
    pub app: &'a AppConfig,
    /// It was to listen there.
    pub port: Option<u16>,
    pub unit: &'a Unit,
}

/// A process that has something.
struct Holder {
    pid: u32,
    /// A process of rota's.
    name: Option<ProcessName>,
}

impl Failed<'_> {
    /// None: its last lines complain of nothing, or nobody has what they complain of.
    pub fn obstacle(&self, output: &[String]) -> Option<Obstacle> {
        match complaint::find(output)? {
            Complaint::Address { ports } if self.port.is_some_and(|port| ports.contains(&port)) => {
                let port = self.port?;
                Some(Obstacle::OwnPort { port, by: self.listener(port).map(|holder| self.called(&holder)).or_else(|| another_user(port)) })
            }
            Complaint::Address { ports } => {
                let named = ports.into_iter().find_map(|port| Some((port, self.listener(port)?)));
                let (port, holder) = named.or_else(|| self.second_port())?;
                Some(self.held(&format!("port {port}"), &holder))
            }
            Complaint::Runs { pids, files } => {
                let root = self.root();
                let of_file = || files.iter().find_map(|file| pid_in(&root.join(file)));
                let pid = pids.into_iter().find(|pid| sys::is_alive(*pid)).or_else(|| of_file().filter(|pid| sys::is_alive(*pid)))?;
                let what = files.first().map_or("its pid file", |file| file.strip_prefix(&format!("{}/", root.display())).unwrap_or(file));
                Some(self.held_so(what, &self.holder(pid), ", or start it without a pid file (-P, --pid)"))
            }
            Complaint::Lock { paths, pids } => self.lock(&paths, &pids),
        }
    }

    /// It has ended; what it left behind listens in its place, or it meant to leave it. None: it left nothing of that kind.
    pub fn background(&self, exit: Exit, command: &[String]) -> Option<Obstacle> {
        // Whoever is there at first may be gone in a moment, with another in its place.
        (0..LOOKS).find_map(|_| self.left_behind(exit, command))
    }

    fn left_behind(&self, exit: Exit, command: &[String]) -> Option<Obstacle> {
        let members = Look::now().of(self.unit);
        let listens = || self.port.and_then(sys::listener).filter(|pid| members.iter().any(|one| one.pid == *pid));
        let left = || members.iter().find(|one| one.session != self.unit.leader).or(members.first()).map(|one| one.pid);
        let pid = listens().or_else(|| left().filter(|_| exit == Exit::Status(0)))?;
        let program = sys::program_of(pid)?;
        Some(Obstacle::Background { program, pid, helps: background::advice(command) })
    }

    /// Another process answers where this one should listen.
    pub fn stranger(&self, port: u16) -> FailureKind {
        let Some(holder) = self.listener(port) else {
            return match another_user(port) {
                by @ Some(_) => FailureKind::PortTaken { port, by },
                None => FailureKind::WrongListener(format!("port {port} is answered by a process that is not the app's")),
            };
        };
        let by = self.called(&holder);
        // Its own, put into the background, would do the same again.
        match holder.name.is_none() && sys::descends_from(holder.pid, std::process::id()) {
            true => FailureKind::WrongListener(format!("port {port} is answered by {by}, of which nothing says whose it is")),
            false => FailureKind::PortTaken { port, by: Some(by) },
        }
    }

    fn lock(&self, paths: &[String], pids: &[u32]) -> Option<Obstacle> {
        let locks = sys::file_locks();
        let own = self.own();
        let others = |pid: u32| !own.contains(&pid);
        for path in paths {
            let Some(inode) = fs::metadata(path).ok().filter(|found| found.is_file()).map(|found| found.ino()) else { continue };
            let held = locks.iter().find(|(of, pid)| *of == inode && others(*pid)).map(|(_, pid)| *pid);
            if let Some(pid) = held {
                return Some(self.held(&format!("the lock of {path}"), &self.holder(pid)));
            }
        }
        if let Some(pid) = pids.iter().copied().find(|pid| others(*pid) && sys::is_alive(*pid)) {
            let what = paths.first().map_or_else(|| "the lock".to_owned(), |path| format!("the lock of {path}"));
            return Some(self.held(&what, &self.holder(pid)));
        }
        // No file is named: what another process of this app has locked.
        let mut of_app = locks.into_iter().filter(|(_, pid)| others(*pid)).map(|(inode, pid)| (inode, self.holder(pid)));
        let (inode, holder) = of_app.find(|(_, holder)| holder.name.as_ref().is_some_and(|name| name.app == self.name.app))?;
        let what = sys::open_file(holder.pid, inode).map_or_else(|| "a lock".to_owned(), |path| format!("the lock of {}", path.display()));
        Some(self.held(&what, &holder))
    }

    /// A port that another process of this app has beside the one it was given.
    fn second_port(&self) -> Option<(u16, Holder)> {
        let others: Vec<Arc<Unit>> = {
            let state = self.shared.table.lock();
            let of_app = state.units.iter().filter(|(id, _)| id.group == self.id.group && **id != self.id);
            of_app.map(|(_, unit)| unit.clone()).collect()
        };
        others.into_iter().find_map(|unit| {
            let given = sys::variable_of(unit.leader, "PORT").and_then(|port| port.parse::<u16>().ok());
            let mut others = sys::listening_ports(&unit).into_iter().map(|addr| addr.port());
            let port = others.find(|port| Some(*port) != given && Some(*port) != self.port)?;
            Some((port, self.holder(unit.leader)))
        })
    }

    fn listener(&self, port: u16) -> Option<Holder> {
        let own = self.own();
        sys::listener(port).filter(|pid| !own.contains(pid)).map(|pid| self.holder(pid))
    }

    /// Who belongs to the process itself, which may have ended.
    fn own(&self) -> Vec<u32> {
        let members = Look::now().of(self.unit).into_iter().map(|one| one.pid);
        members.chain([self.unit.leader]).collect()
    }

    fn holder(&self, pid: u32) -> Holder {
        let units: Vec<(ProcessId, Arc<Unit>)> = {
            let state = self.shared.table.lock();
            state.units.iter().map(|(id, unit)| (*id, unit.clone())).collect()
        };
        let look = Look::now();
        let owner = units.into_iter().find(|(_, unit)| look.of(unit).iter().any(|one| one.pid == pid)).map(|(id, _)| id);
        let state = self.shared.table.lock();
        Holder { pid, name: owner.and_then(|id| state.pool.group(id.group).name_of(id)) }
    }

    /// The directory that it was started in.
    fn root(&self) -> PathBuf {
        let state = self.shared.table.lock();
        state.releases.get(&(self.id.group, self.name.generation)).map_or_else(PathBuf::new, |release| release.root.clone())
    }

    fn held(&self, what: &str, holder: &Holder) -> Obstacle {
        self.held_so(what, holder, "")
    }

    /// `or`: what helps too.
    fn held_so(&self, what: &str, holder: &Holder, or: &str) -> Obstacle {
        let name = holder.name.as_ref().filter(|name| name.app == self.name.app);
        let helps = match name {
            Some(name) if name.generation == self.name.generation => {
                "one process alone can have it: processes = 1 with surge = 0, or one of its own for each (ROTA_PROCESS is its number)"
            }
            Some(name) if name.number.is_leader() && self.app.processes.max > 1 => {
                "surge = 0 ends the old one before the new one is started; leader = \"exclusive\" where the leader alone needs it"
            }
            Some(_) => "surge = 0 ends the old one before the new one is started",
            None => "that has to end, or this app has to use another",
        };
        Obstacle::Held(format!("{what} is held by {}; {helps}{or}", self.called(holder)))
    }

    /// `process 1 of g3 (pid 4711)`, `shop/2 g7 (pid 4712)`, `python3 (pid 4713)`
    fn called(&self, holder: &Holder) -> String {
        let Holder { pid, name } = holder;
        match name {
            Some(name) if name.app == self.name.app => format!("process {} of {} (pid {pid})", name.number, name.generation),
            Some(name) => format!("{name} (pid {pid})"),
            None => format!("{} (pid {pid})", sys::program_of(*pid).unwrap_or_else(|| "another program".to_owned())),
        }
    }
}

/// Whose processes a thread that acts for the app's user may not look at. None: the port is not theirs alone.
fn another_user(port: u16) -> Option<String> {
    let app = credentials::acts_for()?;
    let users = sys::listening_users(port);
    (!users.is_empty() && !users.contains(&app)).then(|| format!("a program of uid {}", users[0]))
}

/// The number that a pid file has. Opened so that a FIFO of that name holds up nobody.
fn pid_in(path: &Path) -> Option<u32> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = fs::File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(PID_FILE).read_to_string(&mut text).ok()?;
    text.split_whitespace().next()?.parse().ok().filter(|pid| *pid > 1)
}

/// Bytes of a pid file that are read.
const PID_FILE: u64 = 64;
/// For a program that puts itself into the background in two steps.
const LOOKS: usize = 3;
