//! System calls and /proc behind safe names. No policy: what a number means is the caller's business.

mod held;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, WaitOptions};
use rustix::thread::CapabilitySet;

pub use held::{descends_from, file_locks, is_alive, listener, open_file, program_of, session_of, variable_of};
pub use rustix::process::Signal;

/// Cannot be caught.
pub const KILL: Signal = Signal::KILL;

use crate::config::ResourceLimit;
use crate::pool::Exit;

/// Orphans of our children become ours (prctl(2), PR_SET_CHILD_SUBREAPER).
pub fn become_subreaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// The end of any child that has ended; None: no other has.
pub fn reap_any() -> Option<(u32, Exit)> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let exit = match (status.exit_status(), status.terminating_signal()) {
                    (Some(status), _) => Exit::Status(status),
                    (None, Some(signal)) => Exit::Signal { signal, core: status.as_raw() & 0x80 != 0 },
                    // Stopped or continued: not an end.
                    (None, None) => continue,
                };
                return Some((pid.as_raw_nonzero().get().unsigned_abs(), exit));
            }
            Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// How a process of a session other than its leader is ending, or has ended and was not waited for yet; None: none is. A status that may not be
/// read is 0.
pub fn ending_child(session: u32) -> Option<Exit> {
    let ends = |pid: u32| {
        let stat = Stat::read(pid).filter(|_| pid != session)?;
        let ends = stat.field(SESSION) == Some(session.into()) && stat.field(FLAGS)? & EXITING != 0;
        let code = i32::try_from(stat.field(EXIT_CODE).unwrap_or(0)).unwrap_or(0);
        // As wait(2) has it.
        let signal = code & 0x7f;
        let exit = if signal == 0 { Exit::Status(code >> 8 & 0xff) } else { Exit::Signal { signal, core: code & 0x80 != 0 } };
        ends.then_some(exit)
    };
    numbers_in("/proc").into_iter().find_map(ends)
}

/// How many processes the kernel has killed for memory since the machine was started (proc(5), /proc/vmstat).
pub fn kills_for_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
}

pub fn signal_process(pid: u32, signal: Signal) -> io::Result<()> {
    Ok(rustix::process::kill_process(as_pid(pid)?, signal)?)
}

/// To every process of a group.
pub fn signal_group(pgid: u32, signal: Signal) -> io::Result<()> {
    Ok(rustix::process::kill_process_group(as_pid(pgid)?, signal)?)
}

/// No process is left in the group, not even a zombie.
pub fn group_is_empty(pgid: u32) -> bool {
    as_pid(pgid).is_ok_and(|pid| rustix::process::test_kill_process_group(pid) == Err(Errno::SRCH))
}

/// What the kernel calls a limit (setrlimit(2)).
pub fn resource(limit: ResourceLimit) -> Resource {
    match limit {
        ResourceLimit::Nofile => Resource::Nofile,
        ResourceLimit::Nproc => Resource::Nproc,
        ResourceLimit::Core => Resource::Core,
        ResourceLimit::Fsize => Resource::Fsize,
        ResourceLimit::Memlock => Resource::Memlock,
        ResourceLimit::Stack => Resource::Stack,
    }
}

/// The hard limit of this process; None: there is none.
pub fn hard_limit(limit: ResourceLimit) -> Option<u64> {
    rustix::process::getrlimit(resource(limit)).maximum
}

/// How gladly the kernel ends this process when it is short of memory (proc(5), oom_score_adj). None: it does not say.
pub fn oom_score() -> Option<i32> {
    fs::read_to_string("/proc/self/oom_score_adj").ok()?.trim().parse().ok()
}

/// Raises the soft limit of open descriptors to the hard one; gives what it was.
pub fn raise_nofile() -> io::Result<u64> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.current.unwrap_or(u64::MAX))
}

/// A file without a name that ends with its descriptor (open(2), O_TMPFILE), in the directory `dir` seen from `at`.
pub fn open_unlinked_temp(at: BorrowedFd<'_>, dir: &Path) -> io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::openat(at, dir, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
        Ok(file) => Ok(file.into()),
        // Not every file system has it.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
            let mut random = [0u8; 16];
            rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
            let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            let path = dir.join(format!(".rota-{name}"));
            let file = rustix::fs::openat(at, &path, OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC, mode)?;
            rustix::fs::unlinkat(at, &path, AtFlags::empty())?;
            Ok(file.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Whose the listening sockets of a port are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerOwner {
    /// Ours, on these addresses, sorted.
    Ours(Vec<IpAddr>),
    /// Others' alone, on these addresses.
    Foreign(Vec<IpAddr>),
    /// There is none, or /proc does not say whose.
    Unknown,
}

/// Who listens on `port`, where `session` is the session of the process that should. Without a listener it costs no look at processes.
pub fn listener_owner(port: u16, session: u32) -> ListenerOwner {
    let listeners: Vec<Listening> = listening().into_iter().filter(|listening| listening.addr.port() == port).collect();
    if listeners.is_empty() {
        return ListenerOwner::Unknown;
    }
    let (inodes, all_read) = sockets_of_app(session);
    let addresses = |is_ours: bool| {
        let of = listeners.iter().filter(|listening| inodes.contains(&listening.inode) == is_ours).map(|listening| listening.addr.ip());
        let mut addresses: Vec<IpAddr> = of.collect();
        addresses.sort();
        addresses.dedup();
        addresses
    };
    let ours = addresses(true);
    match ours.is_empty() {
        false => ListenerOwner::Ours(ours),
        true if all_read => ListenerOwner::Foreign(addresses(false)),
        true => ListenerOwner::Unknown,
    }
}

/// Users whose sockets listen on a port.
pub fn listening_users(port: u16) -> Vec<u32> {
    listening().into_iter().filter(|listening| listening.addr.port() == port).map(|listening| listening.uid).collect()
}

/// Where the processes of an app listen on TCP.
pub fn listening_ports(session: u32) -> Vec<SocketAddr> {
    let (inodes, _) = sockets_of_app(session);
    let mut ports: Vec<SocketAddr> =
        listening().into_iter().filter(|listening| inodes.contains(&listening.inode)).map(|listening| listening.addr).collect();
    ports.sort();
    ports.dedup();
    ports
}

/// The processes of a session.
pub fn session_members(session: u32) -> Vec<u32> {
    members_of(&[session]).into_iter().map(|member| member.pid).collect()
}

/// A process of a session, and what the kernel says of it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub session: u32,
    pub pid: u32,
    /// Processor time in ticks of 10 ms, user and system, its own and that of its children that have ended and were waited for.
    pub ticks: u64,
    /// Bytes that are in memory, shared pages in full: never less than [`process_share`].
    pub resident: u64,
}

/// The processes of some sessions, found in one look at all processes.
pub fn members_of(sessions: &[u32]) -> Vec<Member> {
    let member = |pid: u32| {
        // One file, one read: most of those that are looked at belong to others.
        let stat = Stat::read(pid)?;
        let session = u32::try_from(stat.field(SESSION)?).ok().filter(|session| sessions.contains(session))?;
        let ticks = (UTIME..UTIME + 4).filter_map(|field| stat.field(field)).sum();
        Some(Member { session, pid, ticks, resident: stat.field(RSS)? * rustix::param::page_size() as u64 })
    };
    if sessions.is_empty() {
        return Vec::new();
    }
    numbers_in("/proc").into_iter().filter_map(member).collect()
}

/// What the kernel reports processor time in (proc(5); sysconf(_SC_CLK_TCK) is 100 on every Linux).
pub const TICKS_PER_SECOND: f64 = 100.0;

/// Bytes that a process takes, shared pages by its share (PSS). It is found by a walk through the page tables, tens of milliseconds for
/// gigabytes, which holds up the process too. None: it is gone, or that may not be read.
pub fn process_share(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()? * 1024)
}

/// The nice value of this process.
pub fn own_nice() -> i32 {
    rustix::process::getpriority_process(None).unwrap_or(0)
}

/// The least nice value that this process may give without the right to any (setrlimit(2), RLIMIT_NICE).
pub fn least_nice() -> i32 {
    let ceiling = rustix::process::getrlimit(Resource::Nice).current.map_or(-20, |limit| 20 - limit.min(40).cast_signed() as i32);
    own_nice().min(ceiling)
}

/// In effect (capabilities(7)).
pub fn has_capability(capability: CapabilitySet) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// Gives this process, the leader of its session, a nice value that it keeps, and its session the same one: a session is a scheduling group of
/// its own where the kernel makes them (sched(7), autogroup), and then the group's value decides against others.
pub fn be_nice(nice: i32) -> io::Result<()> {
    rustix::process::setpriority_process(None, nice)?;
    // Without autogroups there is no such file.
    let _ = fs::write("/proc/self/autogroup", nice.to_string());
    Ok(())
}

/// A session leaves the processor to those that serve, until [`step_up`]: a boot and an end take all they can get, which visitors would
/// notice on a machine with one or two. Its threads have the nice value `own`, or what they added to it. That of the session's scheduling group
/// anybody can take back; that of its threads, which counts where groups are made otherwise, only root can. What fails here stops nothing.
pub fn step_back(session: u32, own: i32) {
    if !leads_its_session(session) {
        return;
    }
    let by = aside(own);
    let _ = fs::write(format!("/proc/{session}/autogroup"), (own + by).to_string());
    renice(session, |nice| (own..own + by).contains(&nice).then_some(nice + by));
}

/// Undoes [`step_back`]. What the app set itself beside it stays.
pub fn step_up(session: u32, own: i32) {
    if !leads_its_session(session) {
        return;
    }
    let by = aside(own);
    let _ = fs::write(format!("/proc/{session}/autogroup"), own.to_string());
    renice(session, |nice| (by > 0 && nice >= own + by).then_some(nice - by));
}

/// A process that is stopped before it has a session of its own is still in rota's, whose scheduling group everybody else is in, too. Its number
/// is read from /proc: in a container it is 0 where the leader is outside, a value that getsid(2) has no type for.
fn leads_its_session(pid: u32) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.field(SESSION) == Some(pid.into()))
}

/// How far a session with this nice value can step back: no value is above 19 (nice(2)).
fn aside(own: i32) -> i32 {
    ASIDE.min(19 - own)
}

/// Linux keeps nice values thread by thread. `change` does not change what it made itself: a thread that is started meanwhile by one that
/// was not reached yet is found in the second look.
fn renice(session: u32, change: impl Fn(i32) -> Option<i32>) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for _ in 0..2 {
        for thread in session_members(session).into_iter().flat_map(|pid| numbers_in(&format!("/proc/{pid}/task"))) {
            let Ok(thread) = as_pid(thread) else { continue };
            if let Some(nice) = rustix::process::getpriority_process(Some(thread)).ok().and_then(&change) {
                let _ = rustix::process::setpriority_process(Some(thread), nice);
            }
        }
    }
}

fn numbers_in(directory: &str) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// So much more leaves a tenth of a processor that others want as well (sched(7)): what boots or ends goes on, and keeps to its limits.
const ASIDE: i32 = 10;

fn as_pid(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// The kernel is taking a process apart, all of its threads: what it had open is closed behind this (exit(2); PF_EXITING in sched.h).
/// A process of which /proc says nothing although it is there is taken for one that lives.
pub fn is_exiting(pid: u32) -> bool {
    match Stat::read(pid) {
        Some(stat) => stat.field(FLAGS).is_some_and(|flags| flags & EXITING != 0),
        None => as_pid(pid).is_ok_and(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH)),
    }
}

/// The beginning of /proc/PID/stat.
struct Stat {
    text: [u8; 512],
    /// Behind the name, which may hold anything.
    from: usize,
    to: usize,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        // One read: the fields that are asked for are among the first 512 bytes.
        let mut text = [0; 512];
        let to = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut text).ok()?;
        let from = text[..to].iter().rposition(|byte| *byte == b')')? + 1;
        Some(Self { text, from, to })
    }

    /// Field `number`, from 1, as in proc(5); from the state on.
    fn field(&self, number: usize) -> Option<u64> {
        str::from_utf8(&self.text[self.from..self.to]).ok()?.split_ascii_whitespace().nth(number - 3)?.parse().ok()
    }
}

struct Listening {
    addr: SocketAddr,
    /// Who made the socket.
    uid: u32,
    inode: u64,
}

/// All listening TCP sockets of this network namespace.
fn listening() -> Vec<Listening> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| File::open(path).ok());
    tables.flat_map(|table| listening_in(BufReader::new(table))).collect()
}

/// The kernel lists the listening sockets first (Documentation/networking/proc_net_tcp.rst). What is behind them is not read: on a busy
/// machine that is a line for each of tens of thousands of closed connections, and takes it seconds to write.
fn listening_in(table: impl BufRead) -> Vec<Listening> {
    let lines = table.lines().map_while(Result::ok).skip(1);
    lines.take_while(|line| is_listening(line)).filter_map(|line| listening_line(&line)).collect()
}

fn is_listening(line: &str) -> bool {
    line.split_ascii_whitespace().nth(3) == Some("0A")
}

/// `sl local_address rem_address st ... inode` of a listening socket.
fn listening_line(line: &str) -> Option<Listening> {
    let mut words = line.split_ascii_whitespace();
    let local = words.nth(1)?;
    words.nth(1)?;
    let uid = words.nth(3)?.parse().ok()?;
    let inode = words.nth(1)?.parse().ok()?;
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Groups of four bytes in the byte order of the machine.
    let word = |at: usize| Some(u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    let ip = if address.len() == 8 {
        IpAddr::V4(Ipv4Addr::from(word(0)?))
    } else {
        let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
        IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))
    };
    Some(Listening { addr: SocketAddr::new(ip, port), uid, inode })
}

/// The processes of a session, and all that descend from them, in whatever session they are now.
fn members_and_descendants(session: u32) -> HashSet<u32> {
    let look = |pid: u32| {
        let stat = Stat::read(pid)?;
        let (parent, own) = (u32::try_from(stat.field(PARENT)?).ok()?, u32::try_from(stat.field(SESSION)?).ok()?);
        Some((pid, parent, own))
    };
    let all: Vec<(u32, u32, u32)> = numbers_in("/proc").into_iter().filter_map(look).collect();
    let mut found: HashSet<u32> = all.iter().filter(|(_, _, own)| *own == session).map(|(pid, _, _)| *pid).collect();
    loop {
        let before = found.len();
        found.extend(all.iter().filter(|(_, parent, _)| found.contains(parent)).map(|(pid, _, _)| *pid).collect::<Vec<_>>());
        if found.len() == before {
            return found;
        }
    }
}

/// Inodes of the sockets that an app's processes have open, and whether all of their descriptors could be read.
fn sockets_of_app(session: u32) -> (HashSet<u64>, bool) {
    let (mut inodes, mut all_read) = (HashSet::new(), true);
    for pid in members_and_descendants(session) {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            all_read = false;
            continue;
        };
        let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        inodes.extend(links.filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()));
    }
    (inodes, all_read)
}

/// Fields of /proc/PID/stat (proc(5)).
const PARENT: usize = 4;
const SESSION: usize = 6;
const FLAGS: usize = 9;
/// PF_EXITING, the same on every Linux.
const EXITING: u64 = 4;
const UTIME: usize = 14;
const RSS: usize = 24;
const EXIT_CODE: usize = 52;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};

    #[test]
    fn a_listener_of_our_session_is_ours_and_init_s_is_not() {
        let session = Stat::read(std::process::id()).unwrap().field(SESSION).unwrap() as u32;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listener_owner(port, session), ListenerOwner::Ours(vec![Ipv4Addr::LOCALHOST.into()]));
        assert!(listening_ports(session).contains(&listener.local_addr().unwrap()));
        assert_eq!(listening_users(port), [rustix::process::geteuid().as_raw()]);
        let everywhere = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let everywhere = everywhere.local_addr().unwrap().port();
        assert_eq!(listener_owner(everywhere, session), ListenerOwner::Ours(vec![Ipv4Addr::UNSPECIFIED.into()]));
        let nobody = 0x7fff_fff0;
        assert_eq!(listener_owner(port, nobody), ListenerOwner::Foreign(vec![Ipv4Addr::LOCALHOST.into()]));
    }

    #[test]
    fn what_descends_from_an_app_is_the_app_s_in_a_session_of_its_own_too() {
        // A session that is not this process's: the shell's, whose child leaves it.
        let mut shell = std::process::Command::new("setsid");
        let mut shell = shell.args(["sh", "-c", "setsid sleep 60 & wait"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        let session = shell.id();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let has_left = || {
            let all = members_and_descendants(session);
            all.len() > session_members(session).len() && session_members(session).contains(&session)
        };
        while !has_left() && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        let found = has_left();
        for pid in members_and_descendants(session) {
            let _ = signal_process(pid, KILL);
        }
        let _ = shell.wait();
        assert!(found);
    }

    #[test]
    fn what_has_no_session_of_its_own_yet_steps_nobody_back() {
        let autogroup = || fs::read_to_string("/proc/self/autogroup").unwrap_or_default();
        let before = autogroup();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        step_back(child.id(), own_nice());
        let after = autogroup();
        let _ = child.kill();
        let _ = child.wait();
        assert_eq!(after, before);
    }

    #[test]
    fn of_the_table_only_the_listening_sockets_are_read() {
        let line = |port: &str, state: &str| {
            format!("   0: 0100007F:{port} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 77 1\n")
        };
        let table = format!("  sl  local_address ...\n{}{}", line("1F90", "0A"), line("1F91", "06"));
        // More of it cannot be had: whoever asks for it is told so.
        let table = io::BufReader::with_capacity(1, table.as_bytes().chain(Unreadable));
        let found = listening_in(table);
        assert_eq!(found.iter().map(|one| (one.addr.to_string(), one.inode)).collect::<Vec<_>>(), [("127.0.0.1:8080".to_owned(), 77)]);
    }

    struct Unreadable;

    impl Read for Unreadable {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("what is behind the first connection was read")
        }
    }

    #[test]
    fn a_temporary_file_has_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = open_unlinked_temp(rustix::fs::CWD, dir.path()).unwrap();
        file.write_all(b"x").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), dir.path().read_dir().unwrap().count()), ("x", 0));
    }

    #[test]
    fn we_use_memory() {
        let own = std::process::id();
        let session = Stat::read(own).unwrap().field(SESSION).unwrap() as u32;
        let member = members_of(&[session]).into_iter().find(|member| member.pid == own).unwrap();
        let share = process_share(own).unwrap();
        assert!(share > 100_000 && member.resident >= share / 2, "{share} of {member:?}");
    }
}
