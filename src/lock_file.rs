//! One server for a directory: whoever serves holds a lock on it (flock(2)) and on a file in it, in which its pid stands. The kernel gives both
//! back when that process ends, however it ends. The file is for whoever wants to know who it is, and for versions that locked it alone; a full
//! disk has no room for it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::safe_open;
use crate::upgrade::pack::{Pack, Place, Unpack};

/// The lock, until this is dropped.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
    directory: Locked,
    /// None: there is no room for it.
    file: Option<Locked>,
}

/// What is held, and whether the lock is on it.
#[derive(Debug)]
struct Locked {
    file: File,
    is_locked: bool,
}

/// Why there is no lock.
#[derive(Debug)]
pub enum NoLock {
    /// Another process has it, whose pid may be known.
    Held(Option<u32>),
    Io(io::Error),
}

impl NoLock {
    /// `another rota, pid 4711, has server.run_dir /run/rota`
    pub fn of(&self, key: &str, directory: &Path) -> String {
        let directory = directory.display();
        match self {
            NoLock::Held(Some(pid)) => format!("another rota, pid {pid}, has server.{key} {directory}"),
            NoLock::Held(None) => format!("another rota has server.{key} {directory}"),
            NoLock::Io(error) => format!("server.{key} {directory}: lock: {error}"),
        }
    }
}

impl LockFile {
    /// Of a directory, which is made (0755) if it is missing, where nobody else decides what stands (`safe_open::make_directory`). One whose
    /// process ends this very moment is waited for. `groups`: of the apps' users.
    pub fn take(directory: &Path, groups: &[u32]) -> Result<Self, NoLock> {
        let until = Instant::now() + PATIENCE;
        loop {
            match Self::try_take(directory, groups) {
                Err(NoLock::Held(_)) if Instant::now() < until => std::thread::sleep(PAUSE),
                taken => return taken,
            }
        }
    }

    /// As [`Self::take`], without waiting.
    pub fn try_take(directory: &Path, groups: &[u32]) -> Result<Self, NoLock> {
        safe_open::make_directory(directory, groups).map_err(NoLock::Io)?;
        let path = directory.join(NAME);
        let directory = File::open(directory).map_err(NoLock::Io)?;
        // Not every file system locks a directory; then the file has to do.
        let directory = match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Locked { file: directory, is_locked: true },
            Err(Errno::WOULDBLOCK) => return Err(NoLock::Held(open(&path).ok().as_mut().and_then(pid_in))),
            Err(_) => Locked { file: directory, is_locked: false },
        };
        let file = lock(&path, directory.is_locked)?;
        Ok(Self { path, directory, file })
    }

    /// Where its files were taken away, or stand in a directory that is another one now: takes them again. True: it is another directory.
    pub fn renew(&mut self, groups: &[u32]) -> Result<bool, NoLock> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let is_another = !is_same(directory, &self.directory.file);
        if is_another {
            // The file may be in the new directory by now, as where that came into the place of one of ours that was empty still: it would be held
            // by ourselves.
            self.file = None;
            *self = Self::try_take(directory, groups)?;
        } else {
            self.file = lock(&self.path, self.directory.is_locked)?;
        }
        Ok(is_another)
    }

    /// The directory and the file still stand in their places.
    pub fn is_there(&self) -> bool {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        is_same(directory, &self.directory.file) && self.file.as_ref().is_none_or(|file| is_same(&self.path, &file.file))
    }
}

/// What is left of a lock to the next rota, which has it with the descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedLock {
    #[serde(with = "crate::path_text")]
    path: PathBuf,
    directory: (Place, bool),
    file: Option<(Place, bool)>,
}

impl LockFile {
    pub fn save<'a>(&'a self, pack: &mut Pack<'a>) -> SavedLock {
        let Self { path, directory, file } = self;
        let mut save = |locked: &'a Locked| (pack.put(locked.file.as_fd()), locked.is_locked);
        SavedLock { path: path.clone(), directory: save(directory), file: file.as_ref().map(save) }
    }
}

impl SavedLock {
    pub fn restore(self, unpack: &mut Unpack) -> Result<LockFile, String> {
        let mut restore = |(place, is_locked)| Ok::<_, String>(Locked { file: File::from(unpack.take(place)?), is_locked });
        Ok(LockFile { path: self.path, directory: restore(self.directory)?, file: self.file.map(restore).transpose()? })
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if self.file.as_ref().is_some_and(|file| is_same(&self.path, &file.file)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Locks the file, which is made if it is missing. None: there is no room for it, and it is `dispensable`.
fn lock(path: &Path, dispensable: bool) -> Result<Option<Locked>, NoLock> {
    for _ in 0..TRIES {
        let mut file = match open(path) {
            Err(error) if dispensable && is_full(&error) => return Ok(None),
            opened => opened.map_err(NoLock::Io)?,
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(NoLock::Held(pid_in(&mut file))),
            Err(error) => return Err(NoLock::Io(error.into())),
        }
        // Whoever had it may have taken the file away in between.
        if is_same(path, &file) {
            match write_pid(&file) {
                Err(error) if !is_full(&error) => return Err(NoLock::Io(error)),
                _ => return Ok(Some(Locked { file, is_locked: true })),
            }
        }
    }
    Err(NoLock::Held(None))
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags.bits() as i32).open(path)
}

fn write_pid(file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What stands at the path, a symlink followed, is this.
fn is_same(path: &Path, file: &File) -> bool {
    let identity = |file: &fs::Metadata| (file.dev(), file.ino());
    let (found, ours) = (fs::metadata(path), file.metadata());
    matches!((&found, &ours), (Ok(found), Ok(ours)) if identity(found) == identity(ours))
}

/// What somebody else wrote there, if it is a pid.
fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_MAX).read_to_string(&mut text).ok()?;
    let digits = text.trim_end();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

const NAME: &str = ".lock";
/// For a server that has been told to end and still closes what it has.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);
/// A file that is taken away between its opening and the lock on it is made anew; who takes it away each time is no server.
const TRIES: u32 = 10;
/// Bytes of a pid and its line end.
const PID_MAX: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_and_the_other_is_told_who() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("made");
        let lock = LockFile::take(&directory, &[]).unwrap();
        assert!(matches!(LockFile::try_take(&directory, &[]), Err(NoLock::Held(Some(pid))) if pid == std::process::id()));
        drop(lock);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        LockFile::try_take(&directory, &[]).unwrap();
    }

    fn is_held(directory: &Path) -> bool {
        matches!(LockFile::try_take(directory, &[]), Err(NoLock::Held(_)))
    }

    #[test]
    fn a_file_that_was_taken_away_is_made_anew_and_nobody_else_has_the_directory_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let mut lock = LockFile::take(dir.path(), &[]).unwrap();
        assert!(lock.is_there());
        fs::remove_file(dir.path().join(NAME)).unwrap();
        assert!(!lock.is_there() && is_held(dir.path()));
        assert!(!lock.renew(&[]).unwrap());
        assert!(lock.is_there() && is_held(dir.path()));
    }

    #[test]
    fn of_a_directory_that_is_another_now_the_new_one_is_taken_and_another_s_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (place, away) = (dir.path().join("place"), dir.path().join("away"));
        let mut lock = LockFile::take(&place, &[]).unwrap();
        fs::rename(&place, &away).unwrap();
        assert!(!lock.is_there());
        let other = LockFile::try_take(&place, &[]).unwrap();
        assert!(matches!(lock.renew(&[]), Err(NoLock::Held(Some(_)))));
        drop(lock);
        assert!(other.is_there());
    }

    #[test]
    fn a_file_of_ours_that_stands_in_the_new_directory_is_no_other_server_s() {
        let dir = tempfile::tempdir().unwrap();
        let (place, away) = (dir.path().join("place"), dir.path().join("away"));
        let mut lock = LockFile::take(&place, &[]).unwrap();
        fs::rename(&place, &away).unwrap();
        fs::create_dir(&place).unwrap();
        fs::hard_link(away.join(NAME), place.join(NAME)).unwrap();
        assert!(!lock.is_there());
        assert!(lock.renew(&[]).unwrap());
        assert!(lock.is_there() && is_held(&place));
    }

    #[test]
    fn where_there_is_no_room_for_the_file_the_directory_is_locked_alone() {
        let dir = tempfile::tempdir().unwrap();
        let directory = File::open(dir.path()).unwrap();
        flock(&directory, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(matches!(LockFile::try_take(dir.path(), &[]), Err(NoLock::Held(None))));
        let lock = LockFile { path: dir.path().join(NAME), directory: Locked { file: directory, is_locked: true }, file: None };
        assert!(lock.is_there());
    }

    #[test]
    fn a_server_that_locked_the_file_alone_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let old = open(&dir.path().join(NAME)).unwrap();
        flock(&old, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(is_held(dir.path()));
        drop(old);
        LockFile::try_take(dir.path(), &[]).unwrap();
    }

    #[test]
    fn a_symlink_in_its_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let precious = dir.path().join("precious");
        fs::write(&precious, "1").unwrap();
        std::os::unix::fs::symlink(&precious, dir.path().join(NAME)).unwrap();
        assert!(matches!(LockFile::try_take(dir.path(), &[]), Err(NoLock::Io(_))));
        assert_eq!(fs::read_to_string(&precious).unwrap(), "1");
    }
}
