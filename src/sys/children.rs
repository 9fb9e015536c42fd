//! rota's children: how they ended, and signals to them. A child that has ended keeps its number until [`reap`]; so a signal to one that was
//! not reaped, or to the group that it leads, reaches nobody else. Only the restart thread reaps.

use std::io;

use nix::sys::wait::{Id, WaitPidFlag};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus};

use super::stat::{PARENT, Stat, as_pid, numbers_in};
use crate::pool::Exit;

/// Orphans of our children become ours (prctl(2), PR_SET_CHILD_SUBREAPER).
pub fn become_subreaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// How a child has ended; it stays a zombie. None: it lives, or is no child of ours.
pub fn ended(pid: u32) -> Option<Exit> {
    wait(pid, WaitIdOptions::NOWAIT)
}

/// Gives the number of a child that has ended back. None: it lives, or is no child of ours.
pub fn reap(pid: u32) -> Option<Exit> {
    wait(pid, WaitIdOptions::empty())
}

fn wait(pid: u32, how: WaitIdOptions) -> Option<Exit> {
    let pid = as_pid(pid).ok()?;
    loop {
        match rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | how) {
            Ok(status) => return status.as_ref().and_then(exit),
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

fn exit(status: &WaitIdStatus) -> Option<Exit> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(status), _) => Some(Exit::Status(status)),
        (None, Some(signal)) => Some(Exit::Signal { signal, core: status.dumped() }),
        (None, None) => None,
    }
}

/// Whether children are zombies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnyEnded {
    None,
    /// The first of them: as long as it is not reaped the system names no other.
    First(u32),
    /// There is one, and the system does not name it.
    Nameless,
}

pub fn any_ended() -> AnyEnded {
    match nix::sys::wait::waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT) {
        Ok(status) => status.pid().map_or(AnyEnded::None, |pid| AnyEnded::First(pid.as_raw().unsigned_abs())),
        // A signal that nix has no name for.
        Err(nix::errno::Errno::EINVAL) => AnyEnded::Nameless,
        Err(_) => AnyEnded::None,
    }
}

/// All children that are zombies, by a look at all processes.
pub fn zombies() -> Vec<u32> {
    let own = u64::from(std::process::id());
    let is_ours = |pid: &u32| Stat::read(*pid).is_some_and(|stat| stat.field(PARENT) == Some(own) && !stat.lives());
    numbers_in("/proc").into_iter().filter(is_ours).collect()
}

/// To a child that was not reaped.
pub fn signal_child(pid: u32, signal: Signal) -> io::Result<()> {
    Ok(rustix::process::kill_process(as_pid(pid)?, signal)?)
}

/// To every process of the group that such a child leads.
pub fn signal_group_of_child(pid: u32, signal: Signal) -> io::Result<()> {
    Ok(rustix::process::kill_process_group(as_pid(pid)?, signal)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_child_keeps_its_number_until_it_is_reaped() {
        let mut child = Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while ended(child.id()).is_none() && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!((ended(child.id()), ended(child.id())), (Some(Exit::Status(3)), Some(Exit::Status(3))));
        assert!(zombies().contains(&child.id()));
        assert!(signal_child(child.id(), Signal::TERM).is_ok());
        assert_eq!((reap(child.id()), reap(child.id())), (Some(Exit::Status(3)), None));
        assert!(signal_child(child.id(), Signal::TERM).is_err());
        assert!(child.wait().is_err(), "nobody else has waited for it");
    }
}
