//! `rota __spawn`: the child's side of a start. Single-threaded; reads its orders, becomes what the app needs, and executes the app.
//!
//! The order of steps matters: what rota was started with is closed before a descriptor is received, so that 3 is free; descriptors and limits
//! while still root, then the user for good, and only then the parent-death signal, which a change of user would clear (prctl(2)); after it the
//! parent is looked at once more, in case it died before.

use std::ffi::CString;
use std::fs;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::sys::signal::SigSet;
use nix::unistd::{Gid, Uid};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::FdFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};

use super::interpreter;
use super::spawn::ShimOrder;
use crate::config::{OOM_SCORE_ABOVE, ResourceLimit};
use crate::pool::FailureKind;
use crate::sys;

/// Why the app was not executed; sent to the parent as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct ShimError {
    kind: ErrorKind,
    text: String,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum ErrorKind {
    Command,
    User,
    Other,
}

impl ShimError {
    /// Reads what the shim said; a message that cannot be read is passed on as it is.
    pub fn parse(message: &[u8]) -> Self {
        serde_json::from_slice(message)
            .unwrap_or_else(|_| Self { kind: ErrorKind::Other, text: String::from_utf8_lossy(message).into_owned() })
    }

    pub fn into_failure_kind(self) -> FailureKind {
        match self.kind {
            ErrorKind::Command => FailureKind::Command(self.text),
            ErrorKind::User => FailureKind::User(self.text),
            ErrorKind::Other => FailureKind::Spawn(self.text),
        }
    }
}

/// Runs until the app takes its place. Returns the exit status for when that fails.
pub fn run() -> u8 {
    let parent = match take_stdin() {
        Ok(parent) => parent,
        Err(error) => {
            eprintln!("rota __spawn is for rota itself: {error}");
            return 2;
        }
    };
    let error = become_app(&parent);
    let message = serde_json::to_vec(&error).unwrap_or_default();
    // A parent that is gone needs no report.
    let _ = (&parent).write_all(&message);
    127
}

/// The socket to the parent, out of the way of the app's descriptors; standard input becomes /dev/null.
fn take_stdin() -> io::Result<UnixStream> {
    let parent = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), FIRST_FREE)?;
    let null = rustix::fs::openat(CWD, "/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(UnixStream::from(parent))
}

fn become_app(parent: &UnixStream) -> ShimError {
    match close_strangers(parent).map_err(|error| other("/proc/self/fd", &error)).and_then(|()| prepare(parent)) {
        Ok((order, _socket)) => execute(&order),
        Err(error) => error,
    }
}

/// Everything but the execution. What it gives back must live until then.
fn prepare(parent: &UnixStream) -> Result<(ShimOrder, Option<OwnedFd>), ShimError> {
    let (mut order, socket) = receive_order(parent).map_err(|error| other("orders", &error))?;
    if let Some(group) = &order.cgroup {
        sys::cgroup::join(group).map_err(|error| other(&format!("control group {}", group.display()), &error))?;
    }
    rustix::process::setsid().map_err(|error| other("setsid", &error.into()))?;
    let attributes = order.attributes.clone();
    // The session that has just been made is a scheduling group of its own, with the value 0 whatever rota's is.
    let nice = attributes.nice.unwrap_or_else(sys::own_nice);
    if attributes.nice.is_some() || nice != 0 {
        sys::be_nice(nice).map_err(|error| other(&format!("nice {nice}"), &error))?;
    }
    if order.aside {
        sys::step_back(std::process::id(), sys::own_nice());
    }
    reset_signals().map_err(|error| other("signals", &error))?;
    rustix::process::umask(Mode::from_raw_mode(attributes.umask));
    let socket = if order.pass_socket {
        let socket = socket.ok_or_else(|| other("orders", &io::ErrorKind::NotFound.into()))?;
        order.env.push(("LISTEN_PID".to_owned(), std::process::id().to_string()));
        Some(as_third(socket).map_err(|error| other("descriptor 3", &error))?)
    } else {
        socket
    };
    be_killed_before_rota(attributes.oom_score_adj)?;
    limit_resources(order.nofile, &attributes.rlimits)?;
    if attributes.no_new_privs {
        rustix::thread::set_no_new_privs(true).map_err(|error| other("no_new_privs", &error.into()))?;
    }
    if let Some((name, uid, gid)) = &order.user {
        let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
        own_output(uid, gid).map_err(|error| other("output pipes", &error))?;
        become_user(name, uid, gid)?;
    }
    keep_no_rights().map_err(|error| other("capabilities", &error))?;
    std::env::set_current_dir(&order.root).map_err(|error| other(&format!("root {}", order.root.display()), &error))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| other("PR_SET_PDEATHSIG", &error.into()))?;
    let alive = rustix::process::getppid().map(Pid::as_raw_nonzero).is_some_and(|pid| pid.get().unsigned_abs() == order.parent);
    if !alive {
        return Err(other("parent", &io::Error::other("rota has ended")));
    }
    Ok((order, socket))
}

fn execute(order: &ShimOrder) -> ShimError {
    let Some((program, arguments)) = order.command.split_first() else {
        return ShimError { kind: ErrorKind::Command, text: "command: it is empty".to_owned() };
    };
    let path = order.env.iter().rfind(|(key, _)| key == "PATH").map_or("/bin:/usr/bin", |(_, value)| value);
    if let Some(text) = interpreter::problem(&order.command, interpreter::Place { root: &order.root, path }) {
        return ShimError { kind: ErrorKind::Command, text };
    }
    let env = order.env.iter().map(|(key, value)| (key, value));
    let error = Command::new(program).args(arguments).env_clear().envs(env).exec();
    let hint = match error.kind() {
        io::ErrorKind::NotFound if program.contains('/') => format!(" (looked in {})", order.root.display()),
        io::ErrorKind::NotFound => format!(" (looked in PATH {path})"),
        _ => String::new(),
    };
    ShimError { kind: ErrorKind::Command, text: format!("{program}: {error}{hint}") }
}

/// One line of JSON, perhaps in several pieces, with at most one descriptor.
fn receive_order(parent: &UnixStream) -> io::Result<(ShimOrder, Option<OwnedFd>)> {
    let mut text = vec![0; FIRST_PIECE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::net::recvmsg(parent, &mut [IoSliceMut::new(&mut text)], &mut with, RecvFlags::CMSG_CLOEXEC)?.bytes;
    text.truncate(got);
    let socket = with.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let mut piece = [0; 4096];
    while text.last() != Some(&b'\n') {
        match (&*parent).read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if text.len() > MAX_ORDER => return Err(io::ErrorKind::InvalidData.into()),
            count => text.extend_from_slice(&piece[..count]),
        }
    }
    Ok((serde_json::from_slice(&text)?, socket))
}

/// An ignored signal and a blocked one stay so over an exec (execve(2)), a handled one does not: so every ignored one gets a handler. ILL, FPE
/// and SEGV stay as they are: a handler that returns from those would loop, so signal-hook panics when asked for one.
fn reset_signals() -> io::Result<()> {
    SigSet::empty().thread_set_mask()?;
    let status = fs::read_to_string("/proc/self/status")?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let ignored = ignored.ok_or(io::ErrorKind::InvalidData)?;
    // 32 and 33 are the C library's own (signal(7)): it refuses them here, and sets them anew in the program that needs them.
    let stays = |signal: &i32| [32, 33].contains(signal) || signal_hook::consts::FORBIDDEN.contains(signal);
    for signal in (1..=64).filter(|signal| ignored >> (signal - 1) & 1 == 1 && !stays(signal)) {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

/// The socket as descriptor 3, which stays open over the exec.
fn as_third(socket: OwnedFd) -> io::Result<OwnedFd> {
    let third = if socket.as_raw_fd() == 3 { socket } else { rustix::io::fcntl_dupfd_cloexec(&socket, 3)? };
    if third.as_raw_fd() != 3 {
        return Err(io::Error::other("it is in use"));
    }
    rustix::io::fcntl_setfd(&third, FdFlags::empty())?;
    Ok(third)
}

/// Closes what rota was started with beyond the standard streams; rota's own are close-on-exec.
fn close_strangers(parent: &UnixStream) -> io::Result<()> {
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for fd in open {
        if fd > 2 && fd != parent.as_raw_fd() {
            // The directory's own descriptor is in the list and already closed.
            let _ = nix::unistd::close(fd);
        }
    }
    Ok(())
}

/// Short of memory the kernel is to end an app, which rota replaces, and not rota, with which all apps end. A rota that is spared
/// (OOMScoreAdjust= of its unit) spares no app. Raising the score needs no privilege.
fn be_killed_before_rota(score: Option<i32>) -> Result<(), ShimError> {
    if let Some(score) = score {
        return fs::write(OOM_SCORE, score.to_string()).map_err(|error| other(&format!("oom_score_adj {score}"), &error));
    }
    // Where /proc cannot be written to, no app asked for it.
    if let Some(own) = sys::oom_score() {
        let _ = fs::write(OOM_SCORE, (own.max(0) + OOM_SCORE_ABOVE).min(1000).to_string());
    }
    Ok(())
}

/// `nofile`: the soft limit of descriptors unless there is one of the app's own.
fn limit_resources(nofile: u64, limits: &[(ResourceLimit, Option<u64>)]) -> Result<(), ShimError> {
    // rota has raised its own.
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
    let soft = hard.map_or(nofile, |hard| hard.min(nofile));
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: hard })
        .map_err(|error| other("RLIMIT_NOFILE", &error.into()))?;
    for (limit, value) in limits {
        let shown = value.map_or("unlimited".to_owned(), |value| value.to_string());
        rustix::process::setrlimit(sys::resource(*limit), Rlimit { current: *value, maximum: *value })
            .map_err(|error| other(&format!("{limit} {shown}"), &error.into()))?;
    }
    Ok(())
}

/// To open /dev/stderr is to open the pipe anew, which takes the rights of a file: without this, logging to it fails for any user but rota's.
fn own_output(uid: Uid, gid: Gid) -> io::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid.as_raw()), rustix::fs::Gid::from_raw(gid.as_raw()));
    if rustix::process::geteuid().is_root() {
        rustix::fs::fchown(rustix::stdio::stdout(), Some(uid), Some(gid))?;
        rustix::fs::fchown(rustix::stdio::stderr(), Some(uid), Some(gid))?;
    }
    Ok(())
}

fn become_user(name: &str, uid: Uid, gid: Gid) -> Result<(), ShimError> {
    if nix::unistd::geteuid() == uid && nix::unistd::getegid() == gid && !uid.is_root() {
        return Ok(());
    }
    let failed = |step: &str, error: nix::Error| ShimError { kind: ErrorKind::User, text: format!("user {name}: {step}: {error}") };
    let c_name = CString::new(name).map_err(|_| failed("name", nix::Error::EINVAL))?;
    // In this order: afterwards there is no right to the others.
    nix::unistd::initgroups(&c_name, gid).map_err(|error| failed("initgroups", error))?;
    nix::unistd::setgid(gid).map_err(|error| failed("setgid", error))?;
    nix::unistd::setuid(uid).map_err(|error| failed("setuid", error))?;
    if !uid.is_root() && nix::unistd::setuid(Uid::from_raw(0)).is_ok() {
        return Err(ShimError { kind: ErrorKind::User, text: format!("user {name}: root could be had back") });
    }
    Ok(())
}

/// What rota was given for itself (AmbientCapabilities= of its unit, capabilities(7)) would stay over the exec, and is not the app's.
fn keep_no_rights() -> io::Result<()> {
    let sets = rustix::thread::capabilities(None)?;
    // With the inheritable ones the ambient ones go.
    Ok(rustix::thread::set_capabilities(None, CapabilitySets { inheritable: CapabilitySet::empty(), ..sets })?)
}

fn other(step: &str, error: &io::Error) -> ShimError {
    ShimError { kind: ErrorKind::Other, text: format!("{step}: {error}") }
}

/// Where the socket to the parent is put, so that descriptor 3 stays free.
const FIRST_FREE: i32 = 10;
const OOM_SCORE: &str = "/proc/self/oom_score_adj";
const FIRST_PIECE: usize = 64 * 1024;
const MAX_ORDER: usize = 4 * 1024 * 1024;
