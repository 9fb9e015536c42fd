//! The keeper: a tiny process that ends the apps when rota itself is killed.
//!
//! The parent-death signal reaches only the process that rota started, not what that started (`npm start` leaves its node behind). The keeper
//! reads from a pipe which processes live; at the end of file rota is gone, and it kills what is left of each and of all that came of it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use crate::sys::cgroup::Tree;
use crate::sys::{self, Handle, Look, Unit};

/// What the keeper is told, as a line of JSON.
#[derive(Debug, Serialize, Deserialize)]
enum Told<'a> {
    /// Where the control groups are.
    Tree(Cow<'a, Tree>),
    /// This process lives.
    Born(Cow<'a, Unit>),
    /// Number and start of orphans that have come to rota.
    Orphans(Vec<(u32, u64)>),
    /// Nothing is left of the one of this leader; its number may be given to others.
    Gone(u32),
}

/// The parent's side.
#[derive(Debug)]
pub struct Keeper {
    pid: u32,
    pipe: ChildStdin,
}

impl Keeper {
    /// Starts the process and tells it what lives.
    pub fn start<'a>(program: &Path, tree: Option<&Tree>, living: impl Iterator<Item = &'a Unit>) -> io::Result<Self> {
        let mut command = Command::new(program);
        // A group of its own: what stops rota's group does not stop it.
        command.arg("__keeper").env_clear().current_dir("/").process_group(0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let pipe = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let mut keeper = Self { pid: child.id(), pipe };
        if let Some(tree) = tree {
            keeper.tell(&Told::Tree(Cow::Borrowed(tree)))?;
        }
        for unit in living {
            keeper.born(unit)?;
        }
        Ok(keeper)
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// At its end rota is gone.
    pub fn pipe(&self) -> &ChildStdin {
        &self.pipe
    }

    /// This process lives. After an error this keeper is no more: start another.
    pub fn born(&mut self, unit: &Unit) -> io::Result<()> {
        self.tell(&Told::Born(Cow::Borrowed(unit)))
    }

    /// Nothing of it is left; its number may be given to others. After an error this keeper is no more: start another.
    pub fn gone(&mut self, leader: u32) -> io::Result<()> {
        self.tell(&Told::Gone(leader))
    }

    /// These, and no others, are orphans that have come to rota. After an error this keeper is no more: start another.
    pub fn orphans(&mut self, orphans: &[(u32, u64)]) -> io::Result<()> {
        self.tell(&Told::Orphans(orphans.iter().copied().take(MOST_ORPHANS).collect()))
    }

    /// A short line is written whole or not at all (pipe(7), PIPE_BUF). A keeper that did not get one (it was stopped, and the pipe is full) is
    /// killed: else it would take the end of its pipe, when another replaces it, for the end of rota, and kill every app.
    fn tell(&mut self, what: &Told<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.pipe.write_all(&line).inspect_err(|_| {
            let _ = sys::signal_child(self.pid, sys::KILL);
        })
    }
}

/// `rota __keeper`: reads until rota is gone.
pub fn run() -> u8 {
    // What is meant for rota, or for all of its unit or of its name, must not end the keeper before its time.
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2] {
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    let (mut tree, mut orphans, mut living) = (None, Vec::new(), HashMap::<u32, Unit>::new());
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match serde_json::from_str(&line) {
            Ok(Told::Tree(told)) => tree = Some(told.into_owned()),
            Ok(Told::Born(unit)) => drop(living.insert(unit.leader, unit.into_owned())),
            Ok(Told::Orphans(told)) => orphans = told,
            Ok(Told::Gone(leader)) => drop(living.remove(&leader)),
            Err(_) => {}
        }
    }
    let mut living: Vec<(Unit, Vec<(u32, u64)>)> = living.into_values().map(|unit| (unit, Vec::new())).collect();
    let own = std::process::id();
    for handle in orphans.into_iter().filter(|(pid, _)| *pid != own).filter_map(|(pid, start)| Handle::open(pid, start)) {
        handle.signal(sys::KILL);
    }
    // In rounds: what forks just now is met by the next one, and a process that the kernel holds keeps no other alive.
    for _ in 0..ROUNDS {
        let look = Look::without_rota();
        living.retain_mut(|(unit, known)| kill(&look, unit, known));
        if living.is_empty() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    if let Some(tree) = tree {
        // rota is still on its way out of it.
        for _ in 0..ROUNDS {
            if tree.fell() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
    }
    0
}

/// Kills all that is left of a process. True: something was.
fn kill(look: &Look, unit: &Unit, known: &mut Vec<(u32, u64)>) -> bool {
    if !unit.survivors {
        unit.cgroup.as_deref().map(sys::cgroup::kill);
    }
    let members = look.to_end(unit, known);
    for handle in members.iter().filter_map(Handle::of) {
        handle.signal(sys::KILL);
    }
    // Whom it came of dies with it, and is not to be asked again.
    known.extend(members.iter().map(|one| (one.pid, one.start)));
    known.sort_unstable();
    known.dedup();
    known.truncate(MOST_KNOWN);
    let is_left = !members.is_empty() || !look.is_whole_for(unit) || !look.doubtful(unit).is_empty();
    if !is_left {
        unit.cgroup.as_deref().map(sys::cgroup::remove);
    }
    is_left
}

const ROUNDS: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);
const MOST_KNOWN: usize = 65_536;
/// In a line that the pipe takes whole.
const MOST_ORPHANS: usize = 100;
