//! Who has a port, a lock, a file: what /proc says of processes that are not ours. Asked when a start has failed; each answer may be of a moment
//! ago.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::descent::user_of;
use super::listeners::listening;
use super::patience::{self, Said, Whose};
use super::stat::{PARENT, Stat, numbers_in, start_of};
use crate::printable::clean;

/// The process that listens on a port; None: nobody does, or that may not be seen.
pub fn listener(port: u16) -> Option<u32> {
    let inodes: Vec<u64> = listening().into_iter().filter(|one| one.addr.port() == port).map(|one| one.inode).collect();
    if inodes.is_empty() {
        return None;
    }
    let names: Vec<PathBuf> = inodes.iter().map(|inode| format!("socket:[{inode}]").into()).collect();
    numbers_in("/proc").into_iter().find(|pid| descriptors(*pid).any(|path| fs::read_link(path).is_ok_and(|link| names.contains(&link))))
}

/// Files that are locked: inode and holder (proc_locks(5)). A lock whose holder the kernel does not name is left out.
pub fn file_locks() -> Vec<(u64, u32)> {
    let text = fs::read_to_string("/proc/locks").unwrap_or_default();
    text.lines().filter_map(lock_line).collect()
}

/// `1: POSIX  ADVISORY  WRITE 4711 fd:01:1234567 0 EOF`; one that waits has `->` behind its number.
fn lock_line(line: &str) -> Option<(u64, u32)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let kind = words.next().filter(|word| *word != "->")?;
    let (pid, file) = (words.nth(2)?.parse().ok()?, words.next()?);
    (kind != "LEASE").then_some((file.rsplit(':').next()?.parse().ok()?, pid))
}

/// The path at which a process has this file open.
pub fn open_file(pid: u32, inode: u64) -> Option<PathBuf> {
    let is_it = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.is_file() && found.ino() == inode);
    descriptors(pid).find(is_it).and_then(|path| fs::read_link(path).ok())
}

/// It is there, and no zombie.
pub fn is_alive(pid: u32) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.lives())
}

/// `ancestor` started it, or one that did.
pub fn descends_from(pid: u32, ancestor: u32) -> bool {
    let parent = |pid: &u32| Stat::read(*pid)?.field(PARENT)?.try_into().ok();
    std::iter::successors(Some(pid), parent).take(GENERATIONS).skip(1).any(|one| one == ancestor)
}

/// Its name, at most 15 bytes (proc(5), comm).
pub fn program_of(pid: u32) -> Option<String> {
    Some(clean(fs::read(format!("/proc/{pid}/comm")).ok()?.trim_ascii_end()))
}

/// A variable that a process was started with.
pub fn variable_of(pid: u32, name: &str) -> Option<String> {
    let said = patience::read((pid, start_of(pid)?), Whose::User(user_of(pid)?), "environ", MOST_OF_ENVIRONMENT);
    let Said::Text(text) = said else { return None };
    let found = text.split(|byte| *byte == 0).find_map(|one| one.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    Some(String::from_utf8_lossy(found).into_owned())
}

fn descriptors(pid: u32) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().map(|entry| entry.path()).take(DESCRIPTORS)
}

/// Looked at: of ancestors, of descriptors of one process.
const GENERATIONS: usize = 64;
const DESCRIPTORS: usize = 10_000;
const MOST_OF_ENVIRONMENT: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_have_is_ours() {
        let us = std::process::id();
        let listener_of_ours = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(listener(listener_of_ours.local_addr().unwrap().port()), Some(us));
        assert!(is_alive(us) && !is_alive(u32::MAX));
        assert!(descends_from(us, std::os::unix::process::parent_id()) && !descends_from(us, us));
        assert!(program_of(us).is_some_and(|name| !name.is_empty()));
        assert_eq!(variable_of(us, "PATH"), std::env::var("PATH").ok());
    }

    #[test]
    fn a_lock_is_read_with_its_file_and_its_holder() {
        assert_eq!(lock_line("1: POSIX  ADVISORY  WRITE 4711 fd:01:1234567 0 EOF"), Some((1_234_567, 4711)));
        assert_eq!(lock_line("2: FLOCK  ADVISORY  WRITE 705 00:13:16421 0 EOF"), Some((16_421, 705)));
        assert_eq!(lock_line("2: -> FLOCK  ADVISORY  WRITE 706 00:13:16421 0 EOF"), None);
        assert_eq!(lock_line("3: OFDLCK ADVISORY  WRITE -1 00:13:16422 0 EOF"), None);
        let file = tempfile::NamedTempFile::new().unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let inode = file.as_file().metadata().unwrap().ino();
        assert!(file_locks().contains(&(inode, std::process::id())));
        assert_eq!(open_file(std::process::id(), inode), Some(file.path().to_owned()));
    }
}
