//! The new program is asked beforehand, as a child, whether it could take over: it gets the configuration in force and the state of the table as they
//! are, executed with the same words as later, and answers with a line. On an errand of its own.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::carrier::Carrier;
use crate::control::server::Ticket;
use crate::credentials::Rights;
use crate::errands::{self, Answer};
use crate::last_word;
use crate::printable::clean;
use crate::sys;
use crate::table::Shared;

/// Somebody wants another program in the place of this one.
#[derive(Clone, Debug)]
pub struct Asked {
    pub ticket: Ticket,
    /// None: the one that stands where this one was started from.
    pub program: Option<PathBuf>,
}

/// A program that could take over.
#[derive(Debug)]
pub struct Able {
    pub path: PathBuf,
    /// Opened: what was tried is what is executed.
    pub program: File,
    pub rota: String,
}

/// Its answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Word {
    /// Its version.
    pub rota: String,
    /// Why it could not. None: it could.
    pub why: Option<String>,
}

/// Tries the program; the restart thread is told. `state`: text of a [`Left`](super::left::Left) that is only to be tried.
pub fn start(shared: Arc<Shared>, asked: Asked, state: String) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(THREAD.to_owned()).stack_size(STACK);
    let work = move || {
        last_word::fault(THREAD);
        Rights::Restart.keep_or_warn();
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| attempt(asked.program.as_deref(), state.as_bytes())));
        let tried = tried.unwrap_or_else(|panic| Err(format!("trying it panicked: {}", crate::logging::panic_text(&*panic))));
        errands::answer(&shared, Answer::Tried(asked.ticket, tried.map(Box::new)));
    };
    thread.spawn(work).map(drop)
}

/// Where this program was started from, whatever stands there now.
pub fn own_path() -> io::Result<PathBuf> {
    // As it was called, which may be a link that leads elsewhere now; where it was searched for, what the kernel says.
    let called = std::env::args_os().next().map(PathBuf::from).filter(|called| called.components().count() > 1);
    if let Some(called) = called.map(std::path::absolute).transpose()?.filter(|called| called.exists()) {
        return Ok(called);
    }
    let path = std::fs::read_link("/proc/self/exe")?;
    // So the kernel says that another file has come into its place (proc(5)).
    let shown = path.to_str().and_then(|path| path.strip_suffix(" (deleted)"));
    Ok(shown.map_or(path.clone(), PathBuf::from))
}

/// How an opened program is executed.
pub fn command(program: &impl AsFd, path: &Path) -> Command {
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_fd().as_raw_fd()));
    command.arg0(path).args(words());
    command
}

/// What this process was started with, and that there is something to be taken over.
fn words() -> impl Iterator<Item = std::ffi::OsString> {
    let own = std::env::args_os().skip(1).filter(|word| word != FLAG);
    own.chain(std::iter::once(FLAG.into()))
}

fn attempt(path: Option<&Path>, state: &[u8]) -> Result<Able, String> {
    let path = match path {
        Some(path) => path.to_owned(),
        None => own_path().map_err(|error| format!("/proc/self/exe: {error}"))?,
    };
    let named = |why: String| format!("{}: {why}", path.display());
    let program = File::open(&path).map_err(|error| named(error.to_string()))?;
    judge(&program).map_err(&named)?;
    let (carrier, from) = Carrier::pair().map_err(|error| format!("socketpair: {error}"))?;
    carrier.state(state).map_err(|error| format!("memfd: {error}"))?;
    drop(carrier);
    let said = ask(&program, &path, from).map_err(&named)?;
    let last = said.lines().rev().find_map(|line| serde_json::from_str::<Word>(line).ok());
    match last {
        Some(Word { rota, why: None }) => Ok(Able { path, program, rota }),
        Some(Word { rota, why: Some(why) }) => Err(named(format!("rota {rota} cannot take over: {why}"))),
        None => Err(named(format!("it does not say that it could take over; it says: {}", shown(&said)))),
    }
}

/// Err: it can be no rota.
fn judge(program: &File) -> Result<(), String> {
    let found = program.metadata().map_err(|error| error.to_string())?;
    if !found.is_file() {
        return Err("is no file".to_owned());
    }
    let mut magic = [0; 4];
    let read = program.read_at(&mut magic, 0).map_err(|error| error.to_string())?;
    if &magic[..read] != b"\x7fELF" {
        return Err("is no program: it does not begin as one (ELF)".to_owned());
    }
    Ok(())
}

/// All that it says before it ends, within a time.
fn ask(program: &File, path: &Path, from: OwnedFd) -> Result<String, String> {
    let (ours, its) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|error| format!("pipe: {error}"))?;
    let errors = its.try_clone().map_err(|error| format!("pipe: {error}"))?;
    let mut command = command(program, path);
    command.stdin(Stdio::from(from)).stdout(Stdio::from(its)).stderr(Stdio::from(errors));
    // What rota is told, by systemd too, is not for it.
    command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
    let child = command.spawn().map_err(|error| format!("cannot be executed: {error}"))?;
    drop(command);
    // The restart thread reaps it, as any child that is nobody's.
    let child = sys::start_of(child.id()).and_then(|start| sys::Handle::open(child.id(), start));
    let said = hear(ours, Instant::now() + TIME);
    if let (Err(_), Some(child)) = (&said, child) {
        child.signal(sys::KILL);
    }
    said
}

fn hear(ours: OwnedFd, until: Instant) -> Result<String, String> {
    let (mut said, mut pipe) = (Vec::new(), File::from(ours));
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut ready = [PollFd::new(&pipe, PollFlags::IN)];
        let time = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut ready, Some(&time)) {
            Ok(0) if left.is_zero() => return Err(format!("has not answered within {} s", TIME.as_secs())),
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(format!("poll: {error}")),
        }
        let mut piece = [0; 4096];
        match pipe.read(&mut piece) {
            Ok(0) => return Ok(String::from_utf8_lossy(&said).into_owned()),
            Ok(count) => said.extend_from_slice(&piece[..count]),
            Err(error) => return Err(format!("its answer: {error}")),
        }
        if said.len() > MOST {
            return Err(format!("says more than {MOST} bytes, and not that it could take over"));
        }
    }
}

fn shown(said: &str) -> String {
    let mut shown = clean(said.trim().as_bytes());
    crate::printable::shorten(&mut shown, SHOWN);
    if shown.is_empty() { "nothing".to_owned() } else { shown }
}

/// `rota serve` is to take over what it finds at its standard input.
pub const FLAG: &str = "--taking-over";
const THREAD: &str = "rota-upgrade";
const STACK: usize = 512 * 1024;
/// It reads what it is given, and no disk but for the pages of errors.
const TIME: Duration = Duration::from_secs(10);
const MOST: usize = 64 * 1024;
const SHOWN: usize = 2000;
