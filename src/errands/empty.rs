//! Removes what is in a directory that others could fill as they liked: no recursion, two descriptors at a time, and no more work than a budget
//! allows. With the credentials of the calling thread; no link is followed.
//!
//! What is nested is brought up to the top, level by level, so that depth costs no memory: 4,500 directories in one another are a queue of one.

use std::ffi::CStr;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

/// What a removal may cost.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Entries that are looked at.
    pub entries: u64,
    pub until: Instant,
}

/// Why something is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The budget is used up.
    Much,
    /// What the kernel says of the last thing that could not be removed.
    Refused(Errno),
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Left::Much => f.write_str("there is more in it than is removed at a time"),
            Left::Refused(error) => write!(f, "{error}"),
        }
    }
}

/// Empties `top`, which stays.
pub fn empty(top: &OwnedFd, mut budget: Budget) -> Result<(), Left> {
    // Whoever owns it may have taken his own rights away.
    let _ = rustix::fs::fchmod(top, Mode::RWXU);
    let mut work = Work { top: top.as_fd(), budget: &mut budget, named: 0, done: 0, refused: None };
    loop {
        let before = work.done;
        if work.look(top.as_fd(), None)? == 0 {
            return Ok(());
        }
        if work.done == before {
            return Err(work.refused.map_or(Left::Much, Left::Refused));
        }
    }
}

struct Work<'a> {
    top: BorrowedFd<'a>,
    budget: &'a mut Budget,
    /// Directories that were brought up so far: their names are numbers.
    named: u64,
    /// Entries that were removed or brought up.
    done: u64,
    refused: Option<Errno>,
}

impl Work<'_> {
    /// Looks at each entry of a directory once: `within` is its name in the top one, None: it is that. How many there were.
    fn look(&mut self, of: BorrowedFd<'_>, within: Option<&CStr>) -> Result<u64, Left> {
        let mut seen = 0;
        for entry in Dir::read_from(of).map_err(Left::Refused)? {
            let Ok(entry) = entry else { break };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            self.count()?;
            seen += 1;
            let done = match unlink(of, name) {
                Err(Errno::NOTEMPTY | Errno::EXIST) if within.is_some() => self.bring_up(of, name),
                Err(Errno::NOTEMPTY | Errno::EXIST) => self.open_up(name)?,
                done => done,
            };
            match done {
                Ok(()) => self.done += 1,
                // A directory is full because of something in it, which was said.
                Err(error) if error == Errno::NOTEMPTY && self.refused.is_some() => {}
                Err(error) => self.refused = Some(error),
            }
        }
        Ok(seen)
    }

    /// Empties a directory in the top one, and removes it. What is nested in it comes up.
    fn open_up(&mut self, name: &CStr) -> Result<Result<(), Errno>, Left> {
        let opened = match open(self.top, name) {
            Err(Errno::ACCESS) => {
                let _ = rustix::fs::chmodat(self.top, name, Mode::RWXU, AtFlags::empty());
                open(self.top, name)
            }
            opened => opened,
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        let _ = rustix::fs::fchmod(&opened, Mode::RWXU);
        self.look(opened.as_fd(), Some(name))?;
        Ok(rustix::fs::unlinkat(self.top, name, AtFlags::REMOVEDIR))
    }

    fn bring_up(&mut self, from: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        let mut moved = self.rename(from, name);
        if moved == Err(Errno::ACCESS) {
            // Its entry `..` is written, too.
            let _ = rustix::fs::chmodat(from, name, Mode::RWXU, AtFlags::empty());
            moved = self.rename(from, name);
        }
        moved
    }

    fn rename(&mut self, from: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        for _ in 0..NAMES {
            self.named += 1;
            match rustix::fs::renameat(from, name, self.top, format!(".rota-{}", self.named)) {
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::ISDIR) => {}
                moved => return moved,
            }
        }
        Err(Errno::EXIST)
    }

    fn count(&mut self) -> Result<(), Left> {
        self.budget.entries = self.budget.entries.checked_sub(1).ok_or(Left::Much)?;
        let looks = self.budget.entries.is_multiple_of(256) && Instant::now() >= self.budget.until;
        if looks { Err(Left::Much) } else { Ok(()) }
    }
}

/// A file, or an empty directory.
fn unlink(of: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(of, name, AtFlags::empty()) {
        // POSIX has EPERM for it (unlink(2)).
        Err(Errno::ISDIR | Errno::PERM) => rustix::fs::unlinkat(of, name, AtFlags::REMOVEDIR),
        done => done,
    }
}

fn open(of: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(of, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Names that somebody else may have taken.
const NAMES: usize = 100;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::time::Duration;

    use rustix::fs::CWD;

    use super::*;

    fn emptied(dir: &Path, entries: u64) -> Result<(), Left> {
        let top = open(CWD, &std::ffi::CString::new(dir.to_str().unwrap()).unwrap()).unwrap();
        empty(&top, Budget { entries, until: Instant::now() + Duration::from_secs(600) })
    }

    /// Made as an app would: a path of that length has no name.
    fn nest(dir: &Path, depth: usize) {
        let mut at = open(CWD, &std::ffi::CString::new(dir.to_str().unwrap()).unwrap()).unwrap();
        for _ in 0..depth {
            rustix::fs::mkdirat(&at, "a", Mode::RWXU).unwrap();
            rustix::fs::openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::empty()).unwrap();
            at = open(at.as_fd(), c"a").unwrap();
        }
    }

    #[test]
    fn nesting_costs_no_stack_and_no_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        nest(dir.path(), 5_000);
        let small = std::thread::Builder::new().stack_size(64 * 1024);
        let path = dir.path().to_owned();
        small.spawn(move || assert_eq!(emptied(&path, 1_000_000), Ok(()))).unwrap().join().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn links_are_removed_and_not_followed_and_closed_directories_are_opened() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| dir.path().join(name);
        fs::write(elsewhere.path().join("precious"), "").unwrap();
        fs::create_dir_all(at("closed/inner/deep")).unwrap();
        fs::create_dir(at(".rota-1")).unwrap();
        fs::write(at(".rota-1/x"), "").unwrap();
        symlink(elsewhere.path(), at("link")).unwrap();
        symlink(elsewhere.path(), at("closed/link")).unwrap();
        for closed in ["closed/inner/deep", "closed/inner", "closed", ""] {
            fs::set_permissions(at(closed), fs::Permissions::from_mode(0o000)).unwrap();
        }
        fs::set_permissions(at(""), fs::Permissions::from_mode(0o500)).unwrap();
        assert_eq!(emptied(dir.path(), 1000), Ok(()));
        assert!(elsewhere.path().join("precious").exists());
    }

    #[test]
    fn more_than_the_budget_is_left_and_the_next_time_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        nest(dir.path(), 100);
        for number in 0..100 {
            fs::write(dir.path().join(number.to_string()), "").unwrap();
        }
        assert_eq!(emptied(dir.path(), 150), Err(Left::Much));
        assert!(fs::read_dir(dir.path()).unwrap().count() > 0);
        assert_eq!(emptied(dir.path(), 1_000_000), Ok(()));
    }
}
