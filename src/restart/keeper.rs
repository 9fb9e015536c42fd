//! The keeper: a tiny process that ends the apps when rota itself is killed.
//!
//! The parent-death signal reaches only the process that rota started, not what that started (`npm start` leaves its node behind). The keeper
//! reads from a pipe which process groups live; at the end of file rota is gone, and it kills what is left of each group and session.

use std::collections::HashSet;
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

use crate::sys;

/// The parent's side.
#[derive(Debug)]
pub struct Keeper {
    pid: u32,
    pipe: ChildStdin,
}

impl Keeper {
    /// Starts the process and tells it what lives.
    pub fn start(program: &Path, living: impl Iterator<Item = u32>) -> io::Result<Self> {
        let mut command = Command::new(program);
        // A group of its own: what stops rota's group does not stop it.
        command.arg("__keeper").env_clear().current_dir("/").process_group(0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let pipe = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let mut keeper = Self { pid: child.id(), pipe };
        for pgid in living {
            keeper.born(pgid)?;
        }
        Ok(keeper)
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// This process group lives. After an error this keeper is no more: start another.
    pub fn born(&mut self, pgid: u32) -> io::Result<()> {
        self.tell(&format!("+{pgid}\n"))
    }

    /// Nothing of it is left; its number may be given to others. After an error this keeper is no more: start another.
    pub fn gone(&mut self, pgid: u32) -> io::Result<()> {
        self.tell(&format!("-{pgid}\n"))
    }

    /// A short line is written whole or not at all (pipe(7), PIPE_BUF). A keeper that did not get one (it was stopped, and the pipe is full) is
    /// killed: else it would take the end of its pipe, when another replaces it, for the end of rota, and kill every app.
    fn tell(&mut self, line: &str) -> io::Result<()> {
        self.pipe.write_all(line.as_bytes()).inspect_err(|_| {
            let _ = sys::signal_process(self.pid, sys::KILL);
        })
    }
}

/// `rota __keeper`: reads until rota is gone.
pub fn run() -> u8 {
    // What is meant for rota, or for all of its unit or of its name, must not end the keeper before its time.
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2] {
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    let mut living = HashSet::new();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match (line.get(..1), line.get(1..).and_then(|pgid| pgid.parse::<u32>().ok())) {
            (Some("+"), Some(pgid)) => living.insert(pgid),
            (Some("-"), Some(pgid)) => living.remove(&pgid),
            _ => false,
        };
    }
    // In rounds: what forks just now is met by the next one, and a process that the kernel holds keeps no other alive.
    for _ in 0..ROUNDS {
        living.retain(|pgid| kill(*pgid));
        if living.is_empty() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    0
}

/// Kills a group and the session of the same number. True: something of them was left.
fn kill(pgid: u32) -> bool {
    let in_group = sys::signal_group(pgid, sys::KILL).is_ok();
    let members = sys::session_members(pgid);
    for pid in &members {
        let _ = sys::signal_process(*pid, sys::KILL);
    }
    in_group || !members.is_empty()
}

const ROUNDS: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);
