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

    /// This process group lives.
    pub fn born(&mut self, pgid: u32) -> io::Result<()> {
        self.pipe.write_all(format!("+{pgid}\n").as_bytes())
    }

    /// Nothing of it is left; its number may be given to others.
    pub fn gone(&mut self, pgid: u32) -> io::Result<()> {
        self.pipe.write_all(format!("-{pgid}\n").as_bytes())
    }
}

/// `rota __keeper`: reads until rota is gone.
pub fn run() -> u8 {
    // What is meant for rota's terminal or unit must not end it before its time.
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGHUP] {
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    let _ = rustix::process::setsid();
    let mut living = HashSet::new();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match (line.get(..1), line.get(1..).and_then(|pgid| pgid.parse::<u32>().ok())) {
            (Some("+"), Some(pgid)) => living.insert(pgid),
            (Some("-"), Some(pgid)) => living.remove(&pgid),
            _ => false,
        };
    }
    for pgid in living {
        end(pgid);
    }
    0
}

/// Kills a group and the session of the same number until nothing of them is left.
fn end(pgid: u32) {
    for _ in 0..ROUNDS {
        let in_group = sys::signal_group(pgid, sys::KILL).is_ok();
        let members = sys::session_members(pgid);
        for pid in &members {
            let _ = sys::signal_process(*pid, sys::KILL);
        }
        if !in_group && members.is_empty() {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

const ROUNDS: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);
