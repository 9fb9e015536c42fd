//! What belongs to a process of an app, by descent: whatever it started, and what that started, in whatever session and group it is now.
//!
//! The kernel says who started whom only as long as both live. An orphan of one of rota's children comes to rota (it is their subreaper); whose
//! it is, is known by its session, which somebody of the unit began, by its control group, or by its environment, which names the private
//! directory of the process that it comes of. All of that is read in one look at all processes.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cgroup;
use super::patience::{self, Said, Whose};
use super::stat::{GROUP, PARENT, RSS, SESSION, START, Stat, UTIME, numbers_in};

/// A process of an app with all that comes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// The process that rota started. It leads a session, and its number is nobody else's as long as rota did not reap it.
    pub leader: u32,
    /// When it was started, in ticks since the machine was.
    pub start: u64,
    /// Its private directory. Empty: its environment names none.
    pub dir: PathBuf,
    pub uid: u32,
    /// What has left its session may outlive it.
    pub survivors: bool,
    /// Its control group, where rota may make them.
    pub cgroup: Option<PathBuf>,
}

/// A process that is there, no zombie, and what the kernel says of it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub pid: u32,
    pub parent: u32,
    pub group: u32,
    pub session: u32,
    /// In ticks since the machine was started. No other process has the same number and start.
    pub start: u64,
    /// Processor time in ticks of 10 ms, user and system, its own and that of its children that have ended and were waited for.
    pub ticks: u64,
    /// Bytes that are in memory, shared pages in full: never less than [`known_share`].
    pub resident: u64,
}

impl Unit {
    /// Of a process that has no private directory. None: there is none of this number.
    pub fn of_leader(leader: u32) -> Option<Self> {
        let start = Stat::read(leader)?.field(START)?;
        Some(Self { leader, start, dir: PathBuf::new(), uid: user_of(leader)?, survivors: false, cgroup: None })
    }

    /// An environment names the directory.
    fn is_named_in(&self, environment: &[u8]) -> bool {
        let dir = self.dir.as_os_str().as_bytes();
        let value = |variable: &[u8]| variable.iter().position(|byte| *byte == b'=').map(|at| at + 1);
        let mut values = environment.split(|byte| *byte == 0).filter_map(|variable| variable.get(value(variable)?..));
        !dir.is_empty() && values.any(|value| value.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")))
    }
}

/// All processes, as they were in one look.
#[derive(Debug)]
pub struct Look {
    all: Vec<Seen>,
    by_parent: HashMap<u32, Vec<usize>>,
    /// Nobody was left out: descriptors may be short.
    is_whole: bool,
    /// Whose children orphans are; None: anybody's.
    reaper: Option<u32>,
    /// What is in it comes of rota, or of whoever started it.
    own_session: u32,
    /// Of those of which it was asked for.
    environments: RefCell<HashMap<u32, Said>>,
    /// Leaders of units whose control group could not be read.
    unread: RefCell<HashSet<u32>>,
}

impl Look {
    pub fn now() -> Self {
        Self::new(Some(std::process::id()))
    }

    /// When rota is gone: orphans have gone to whom the system gives them.
    pub fn without_rota() -> Self {
        Self::new(None)
    }

    fn new(reaper: Option<u32>) -> Self {
        let numbers = numbers_in("/proc");
        // At least this process is there.
        let mut is_whole = !numbers.is_empty();
        let mut all: Vec<Seen> = Vec::with_capacity(numbers.len());
        for pid in numbers {
            match seen(pid) {
                Ok(one) => all.extend(one),
                Err(_) => is_whole = false,
            }
        }
        all.sort_unstable_by_key(|one| one.pid);
        let mut by_parent: HashMap<u32, Vec<usize>> = HashMap::new();
        for (at, one) in all.iter().enumerate() {
            by_parent.entry(one.parent).or_default().push(at);
        }
        let own_session = Stat::read(std::process::id()).and_then(|stat| stat.field(SESSION)).unwrap_or(0);
        Self {
            all,
            by_parent,
            is_whole,
            reaper,
            own_session: u32::try_from(own_session).unwrap_or(0),
            environments: RefCell::default(),
            unread: RefCell::default(),
        }
    }

    /// Who was not found of a unit was not there.
    pub fn is_whole_for(&self, unit: &Unit) -> bool {
        self.is_whole && !self.unread.borrow().contains(&unit.leader)
    }

    /// The process itself, if it lives, and all that comes of it.
    pub fn of(&self, unit: &Unit) -> Vec<Seen> {
        self.of_and(unit, &[])
    }

    /// The same, where these (number and start) are known to have come of it.
    pub fn of_and(&self, unit: &Unit, known: &[(u32, u64)]) -> Vec<Seen> {
        let mut found = Found { look: self, unit, at: HashSet::new(), sessions: HashSet::new() };
        // Of one that has left its session may be left, unless its number was given to another.
        let left = [(unit.leader, unit.start)].into_iter().chain(known.iter().copied());
        found.sessions.extend(left.filter(|(pid, start)| self.find(*pid).is_none_or(|one| one.start == *start)).map(|(pid, _)| pid));
        let grouped: HashSet<u32> = unit.cgroup.iter().flat_map(|group| self.members_of(group, unit.leader)).collect();
        for (at, one) in self.all.iter().enumerate() {
            let is_leader = (one.pid, one.start) == (unit.leader, unit.start);
            if is_leader || grouped.contains(&one.pid) || known.contains(&(one.pid, one.start)) || found.is_orphan_of_it(one) {
                found.add(at);
            }
        }
        loop {
            let before = found.at.len();
            for (at, one) in self.all.iter().enumerate() {
                if !found.at.contains(&at) && found.is_in_session_of_it(one) {
                    found.add(at);
                }
            }
            if found.at.len() == before {
                break;
            }
        }
        let mut found: Vec<Seen> = found.at.into_iter().map(|at| self.all[at]).collect();
        found.sort_unstable_by_key(|one| one.pid);
        found
    }

    fn members_of(&self, group: &Path, leader: u32) -> Vec<u32> {
        let members = cgroup::members(group);
        if members.is_err() {
            self.unread.borrow_mut().insert(leader);
        }
        members.unwrap_or_default()
    }

    fn find(&self, pid: u32) -> Option<&Seen> {
        self.all.binary_search_by_key(&pid, |one| one.pid).ok().map(|at| &self.all[at])
    }

    fn is_named_by(&self, one: &Seen, unit: &Unit) -> bool {
        let mut environments = self.environments.borrow_mut();
        let read = || patience::read((one.pid, one.start), Whose::User(unit.uid), "environ", MOST_OF_ENVIRONMENT);
        match environments.entry(one.pid).or_insert_with(read) {
            Said::Text(environment) => unit.is_named_in(environment),
            // What may not be read names nobody.
            Said::Gone | Said::Refused | Said::Unknown => false,
        }
    }

    /// Of these it is not known whether they are of the unit: they may be, and their environment does not come.
    pub fn doubtful(&self, unit: &Unit) -> Vec<u32> {
        let environments = self.environments.borrow();
        let unknown = environments.iter().filter(|(_, said)| **said == Said::Unknown).map(|(pid, _)| *pid);
        unknown.filter(|pid| self.find(*pid).is_some_and(|one| one.start >= unit.start) && user_of(*pid) == Some(unit.uid)).collect()
    }

    /// All of it that has to end with it.
    pub fn to_end(&self, unit: &Unit, known: &[(u32, u64)]) -> Vec<Seen> {
        let mut found = self.of_and(unit, known);
        found.retain(|one| !unit.survivors || one.session == unit.leader);
        found
    }

    /// Children of rota that are none of these, nor what comes of them.
    pub fn orphans(&self, apart_from: &HashSet<u32>) -> Vec<Seen> {
        let ours = self.reaper.and_then(|reaper| self.by_parent.get(&reaper)).into_iter().flatten().map(|at| self.all[*at]);
        ours.filter(|one| !apart_from.contains(&one.pid)).collect()
    }
}

/// What was found of a unit so far.
struct Found<'a> {
    look: &'a Look,
    unit: &'a Unit,
    at: HashSet<usize>,
    /// Sessions that somebody of it began.
    sessions: HashSet<u32>,
}

impl Found<'_> {
    /// With all that comes of it. Not by recursion: how long the line is decides the app.
    fn add(&mut self, at: usize) {
        let mut to_add = vec![at];
        while let Some(at) = to_add.pop() {
            if !self.at.insert(at) {
                continue;
            }
            let one = self.look.all[at];
            // Before it has a session of its own it is in rota's. What is 0 is outside of this container.
            if one.session != 0 && one.session != self.look.own_session {
                self.sessions.insert(one.session);
            }
            let children = self.look.by_parent.get(&one.pid).into_iter().flatten().copied();
            to_add.extend(children.filter(|child| self.look.all[*child].start >= one.start));
        }
    }

    fn is_in_session_of_it(&self, one: &Seen) -> bool {
        let is_in_it = self.sessions.contains(&one.session) && one.start >= self.unit.start && Some(one.pid) != self.look.reaper;
        // One whose session was begun by another than the leader, that is gone: the number may have been given to a stranger meanwhile.
        is_in_it && (one.session == self.unit.leader || self.began(one.session) || user_of(one.pid) == Some(self.unit.uid))
    }

    fn is_orphan_of_it(&self, one: &Seen) -> bool {
        let is_orphan = one.start >= self.unit.start && self.look.reaper.is_none_or(|reaper| one.parent == reaper);
        is_orphan && user_of(one.pid) == Some(self.unit.uid) && self.look.is_named_by(one, self.unit)
    }

    /// The one that began a session is there and found.
    fn began(&self, session: u32) -> bool {
        self.look.all.binary_search_by_key(&session, |one| one.pid).is_ok_and(|at| self.at.contains(&at))
    }
}

/// Err: it is there, or may be, and cannot be read.
fn seen(pid: u32) -> io::Result<Option<Seen>> {
    // One file, one read: most of those that are looked at belong to others.
    match Stat::open(pid) {
        Ok(stat) => Ok(stat.filter(Stat::lives).and_then(|stat| read(pid, &stat))),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn read(pid: u32, stat: &Stat) -> Option<Seen> {
    let number = |field: usize| stat.field(field).and_then(|number| u32::try_from(number).ok());
    let ticks = (UTIME..UTIME + 4).filter_map(|field| stat.field(field)).sum();
    let resident = stat.field(RSS)? * rustix::param::page_size() as u64;
    Some(Seen {
        pid,
        parent: number(PARENT)?,
        group: number(GROUP)?,
        session: number(SESSION)?,
        start: stat.field(START)?,
        ticks,
        resident,
    })
}

/// Whom it runs as.
pub fn user_of(pid: u32) -> Option<u32> {
    Some(fs::metadata(format!("/proc/{pid}")).ok()?.uid())
}

/// What the kernel reports processor time in (proc(5); sysconf(_SC_CLK_TCK) is 100 on every Linux).
pub const TICKS_PER_SECOND: f64 = 100.0;

/// Bytes that a process of the unit of `leader` is known to take, shared pages by its share (PSS). It is found by a walk through the page tables,
/// tens of milliseconds for gigabytes, which holds up the process too. None: that is not known now. Of one that may not be read at all it is what
/// is resident.
pub fn known_share(one: &Seen, leader: u32) -> Option<u64> {
    match patience::read((one.pid, one.start), Whose::Unit(leader), "smaps_rollup", ROLLUP) {
        Said::Text(rollup) => share_in(str::from_utf8(&rollup).ok()?),
        Said::Gone => Some(0),
        Said::Refused => Some(one.resident),
        Said::Unknown => None,
    }
}

fn share_in(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()? * 1024)
}

const MOST_OF_ENVIRONMENT: u64 = 256 * 1024;
/// It has some twenty lines.
const ROLLUP: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    /// A shell in a session of its own, with a private directory, that prints the number of each process that it leaves.
    fn shell(script: &str, dir: &str) -> (Child, Unit, Vec<u32>) {
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", script]).env("XDG_RUNTIME_DIR", dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let unit = Unit { dir: dir.into(), ..Unit::of_leader(child.id()).unwrap() };
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).take_while(|line| line != "done");
        let pids = lines.map(|line| line.parse().unwrap()).collect();
        (child, unit, pids)
    }

    /// Of those that are left by `script`, how many belong to the shell; then all are ended.
    fn found_of(script: &str, dir: &str, look: fn() -> Look) -> (usize, usize) {
        let (mut child, unit, pids) = shell(script, dir);
        let members = look().of(&unit);
        let found = members.iter().filter(|one| pids.contains(&one.pid)).count();
        for handle in members.iter().filter_map(crate::sys::Handle::of) {
            handle.signal(crate::sys::KILL);
        }
        let look = look();
        for handle in pids.iter().filter_map(|pid| crate::sys::Handle::of(look.find(*pid)?)) {
            handle.signal(crate::sys::KILL);
        }
        let _ = child.kill();
        let _ = child.wait();
        (found, pids.len())
    }

    #[test]
    fn what_descends_from_an_app_is_the_app_s_in_a_session_of_its_own_too() {
        let script = "setsid sleep 60 & echo $!; while [ \"$(ps -o sess= -p $! | tr -d ' ')\" = $$ ]; do :; done; echo done; read _";
        assert_eq!(found_of(script, "/run/rota-test/1", Look::now), (1, 1));
    }

    #[test]
    fn an_orphan_is_known_by_the_directory_that_its_environment_names() {
        let script = "setsid sh -c 'setsid sleep 60 >/dev/null & echo $!'; echo done; read _";
        assert_eq!(found_of(script, "/run/rota-test/2", Look::without_rota), (1, 1));
        assert_eq!(found_of(script, "", Look::without_rota).0, 0);
    }

    #[test]
    fn a_name_that_another_s_begins_with_is_not_that_one() {
        let unit = Unit { leader: 1, start: 0, dir: "/run/rota/blog/1".into(), uid: 0, survivors: false, cgroup: None };
        assert!(unit.is_named_in(b"A=1\0XDG_RUNTIME_DIR=/run/rota/blog/1\0"));
        assert!(unit.is_named_in(b"PIDFILE=/run/rota/blog/1/server.pid"));
        assert!(!unit.is_named_in(b"XDG_RUNTIME_DIR=/run/rota/blog/12\0B=x/run/rota/blog/1"));
    }

    #[test]
    fn nobody_is_gone_of_a_control_group_that_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let look = Look::now();
        let unit = Unit { cgroup: Some(dir.path().to_owned()), ..Unit::of_leader(std::process::id()).unwrap() };
        look.of(&unit);
        assert!(look.is_whole_for(&unit), "it is gone");
        fs::create_dir(dir.path().join("cgroup.procs")).unwrap();
        look.of(&unit);
        assert!(!look.is_whole_for(&unit));
    }

    #[test]
    fn we_use_memory() {
        let us = Unit::of_leader(std::process::id()).unwrap();
        let own = *Look::now().of(&us).iter().find(|one| one.pid == us.leader).unwrap();
        let share = known_share(&own, us.leader).unwrap();
        assert_eq!(known_share(&Seen { start: own.start + 1, ..own }, us.leader), Some(0), "it is gone, whoever has its number");
        assert!(share > 100_000 && own.resident >= share / 2, "{share} of {own:?}");
    }
}
