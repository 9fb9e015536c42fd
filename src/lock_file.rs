//! One server for a directory: whoever serves holds a lock on a file in it (flock(2)), in which its pid stands. The kernel gives the lock back
//! when that process ends, however it ends.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};

/// The lock, until this is dropped.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
    file: File,
}

/// On the directories that one server has.
#[derive(Debug)]
pub struct Locks {
    pub run: LockFile,
    /// None: it serves without the directory, and remembers nothing.
    pub state: Option<LockFile>,
}

/// Why there is no lock.
#[derive(Debug)]
pub enum NoLock {
    /// Another process has it, whose pid may be known.
    Held(Option<u32>),
    Io(io::Error),
}

impl LockFile {
    /// Of a directory, which is made (0755) if it is missing. One whose process ends this very moment is waited for.
    pub fn take(directory: &Path) -> Result<Self, NoLock> {
        let until = Instant::now() + PATIENCE;
        loop {
            match Self::try_take(directory) {
                Err(NoLock::Held(_)) if Instant::now() < until => std::thread::sleep(PAUSE),
                taken => return taken,
            }
        }
    }

    /// As [`Self::take`], without waiting.
    pub fn try_take(directory: &Path) -> Result<Self, NoLock> {
        DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(NoLock::Io)?;
        let path = directory.join(NAME);
        for _ in 0..TRIES {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits() as i32);
            let mut file = options.open(&path).map_err(NoLock::Io)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(NoLock::Held(pid_in(&mut file))),
                Err(error) => return Err(NoLock::Io(error.into())),
            }
            let lock = Self { path: path.clone(), file };
            // Whoever had it may have taken the file away in between.
            if lock.is_there() {
                lock.write_pid().map_err(NoLock::Io)?;
                return Ok(lock);
            }
        }
        Err(NoLock::Held(None))
    }

    /// The file still stands in its place.
    pub fn is_there(&self) -> bool {
        let identity = |file: &fs::Metadata| (file.dev(), file.ino());
        let (found, ours) = (fs::symlink_metadata(&self.path), self.file.metadata());
        matches!((&found, &ours), (Ok(found), Ok(ours)) if identity(found) == identity(ours))
    }

    fn write_pid(&self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
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
        let lock = LockFile::take(&directory).unwrap();
        assert!(matches!(LockFile::try_take(&directory), Err(NoLock::Held(Some(pid))) if pid == std::process::id()));
        drop(lock);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        LockFile::try_take(&directory).unwrap();
    }

    #[test]
    fn a_file_that_was_taken_away_is_noticed_and_another_s_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let lock = LockFile::take(dir.path()).unwrap();
        assert!(lock.is_there());
        fs::remove_file(dir.path().join(NAME)).unwrap();
        assert!(!lock.is_there());
        let other = LockFile::try_take(dir.path()).unwrap();
        drop(lock);
        assert!(other.is_there());
    }

    #[test]
    fn a_symlink_in_its_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let precious = dir.path().join("precious");
        fs::write(&precious, "1").unwrap();
        std::os::unix::fs::symlink(&precious, dir.path().join(NAME)).unwrap();
        assert!(matches!(LockFile::try_take(dir.path()), Err(NoLock::Io(_))));
        assert_eq!(fs::read_to_string(&precious).unwrap(), "1");
    }
}
