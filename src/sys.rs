//! System calls and /proc behind safe names. No policy: what a number means is the caller's business.

pub mod cgroup;
mod children;
mod descent;
mod diag;
mod held;
mod listeners;
mod nice;
mod patience;
mod pidfd;
mod stat;
mod table_of_its_own;

use std::fs::{self, File};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};
use rustix::thread::CapabilitySet;

use crate::config::ResourceLimit;

pub use children::{AnyEnded, any_ended, become_subreaper, ended, reap, signal_child, signal_group_of_child, zombies};
pub use descent::{Look, Seen, TICKS_PER_SECOND, Unit, known_share, user_of};
pub use diag::{Asker, Listener};
pub use held::{descends_from, file_locks, is_alive, listener, open_file, program_of, variable_of};
pub use listeners::{ListenerOwner, listener_owner, listening_ports, listening_users, owns_socket};
pub use nice::{be_nice, least_nice, own_nice, step_back, step_up};
pub use patience::Whose;
pub use pidfd::Handle;
pub use rustix::process::Signal;
pub use stat::{ending_child, is_exiting, lives, start_of};
pub use table_of_its_own::table_of_its_own;

/// Cannot be caught.
pub const KILL: Signal = Signal::KILL;

/// How many processes the kernel has killed for memory since the machine was started (proc(5), /proc/vmstat).
pub fn kills_for_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
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
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => open_and_unlink(at, dir),
        Err(error) => Err(error.into()),
    }
}

/// It has a name for a moment, in which whoever the thread acts for could open it: so nobody may, and whether somebody has made that otherwise is
/// looked at when the name is gone.
fn open_and_unlink(at: BorrowedFd<'_>, dir: &Path) -> io::Result<File> {
    let mut random = [0u8; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = dir.join(format!(".rota-{name}"));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::openat(at, &path, flags, Mode::empty())?;
    rustix::fs::unlinkat(at, &path, AtFlags::empty())?;
    is_ours_alone(&rustix::fs::fstat(&file)?)
        .then(|| file.into())
        .ok_or_else(|| io::Error::other("somebody has changed a temporary file in the moment in which it had a name"))
}

fn is_ours_alone(stat: &rustix::fs::Stat) -> bool {
    stat.st_mode & 0o7777 == 0 && stat.st_nlink == 0 && stat.st_size == 0
}

/// In effect (capabilities(7)).
pub fn has_capability(capability: CapabilitySet) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};

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
    fn one_that_had_a_name_could_be_opened_by_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = open_and_unlink(rustix::fs::CWD, dir.path()).unwrap();
        assert!(is_ours_alone(&rustix::fs::fstat(&file).unwrap()));
        file.write_all(b"x").unwrap();
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
        rustix::fs::fchmod(&file, Mode::RUSR).unwrap();
        assert!(!is_ours_alone(&rustix::fs::fstat(&file).unwrap()));
    }
}
