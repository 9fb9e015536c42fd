//! The way that the kernel takes along a path (path_resolution(7)), step by step: which symlinks it follows, where it ends, and in which
//! directories a change would make it go elsewhere. Each step is one from the directory that it has come to, held open, so that it costs the same
//! however long the way is, and there are `STEPS_MAX` of them at most. Reads the disk; keeps nothing.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// A moment of the file system's clock: seconds and nanoseconds since the epoch.
pub type Stamp = (i64, i64);

/// A symlink on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its own place, without symlinks.
    pub at: PathBuf,
    /// As written in it.
    pub to: PathBuf,
}

/// One walk along a path.
#[derive(Debug)]
pub struct Way {
    /// In the order in which they were followed.
    pub links: Vec<Link>,
    /// When the last of them was put where it is (st_ctime, which rename(2) sets on the file systems in use).
    pub switched: Option<Stamp>,
    pub end: End,
    /// It was not followed to its end, which is further than this looks.
    pub is_too_long: bool,
}

/// Where a walk ends.
#[derive(Debug)]
pub enum End {
    /// Something is there; its place without symlinks.
    At(PathBuf, Found),
    /// The directory is there, and nothing of that name in it.
    NoEntry,
    /// A directory before the last step is missing, or cannot be looked into.
    Broken(Errno),
}

/// What stands at the end of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub is_directory: bool,
    pub device: u64,
    pub inode: u64,
    pub modified: Stamp,
}

/// A directory whose changes matter to a way: its place, and itself.
#[derive(Clone, Copy, Debug)]
pub enum Spot<'p> {
    /// It is only passed through: it matters when it is moved or removed itself.
    Passed(&'p Path, BorrowedFd<'p>),
    /// What this name in it stands for matters too: a symlink, or what is missing.
    Named(&'p Path, BorrowedFd<'p>, &'p OsStr),
    /// The last step, whatever is there.
    Last(&'p Path, BorrowedFd<'p>, &'p OsStr),
}

impl Way {
    /// Walks along an absolute path. `mark` hears of each spot before what is there is read, so that whoever arms a watch there misses
    /// no change after it.
    pub fn walk(path: &Path, mark: &mut dyn FnMut(Spot<'_>)) -> Self {
        let mut way = Self { links: Vec::new(), switched: None, end: End::Broken(Errno::NOENT), is_too_long: false };
        // It is broken where it cannot be followed: the watch on its directory tells of a change.
        way.end = way.follow(path, mark).unwrap_or_else(End::Broken);
        way
    }

    /// Where a path leads, without symlinks, as realpath(3) says it.
    pub fn real(path: &Path) -> io::Result<PathBuf> {
        let way = Self::walk(path, &mut |_| {});
        match way.end {
            _ if way.is_too_long => Err(io::Error::other(format!("there are more than {STEPS_MAX} directories and links on its way"))),
            End::At(place, _) => Ok(place),
            End::NoEntry => Err(Errno::NOENT.into()),
            End::Broken(error) => Err(error.into()),
        }
    }

    fn follow(&mut self, path: &Path, mark: &mut dyn FnMut(Spot<'_>)) -> Result<End, Errno> {
        let root = || rustix::fs::openat(CWD, "/", ITSELF, Mode::empty());
        let (mut place, mut here) = (PathBuf::from("/"), root()?);
        let mut steps = steps(path);
        let mut taken = 0;
        while let Some(step) = steps.pop() {
            taken += 1;
            if taken > STEPS_MAX {
                self.is_too_long = true;
                return Err(Errno::LOOP);
            }
            if step == ".." {
                place.pop();
                here = open(&here, &step)?;
                continue;
            }
            let mut next = look(&here, &step);
            if steps.is_empty() || !next.as_ref().is_ok_and(|(_, stat)| kind(stat) == FileType::Directory) {
                let here = here.as_fd();
                mark(if steps.is_empty() { Spot::Last(&place, here, &step) } else { Spot::Named(&place, here, &step) });
                next = look(here, &step);
            }
            let (fd, stat) = match next {
                Ok(next) => next,
                Err(Errno::NOENT) if steps.is_empty() => return Ok(End::NoEntry),
                Err(error) => return Err(error),
            };
            let own_place = place.join(&step);
            match kind(&stat) {
                FileType::Symlink if self.links.len() == LINKS_MAX => return Err(Errno::LOOP),
                FileType::Symlink => {
                    let to = rustix::fs::readlinkat(&fd, "", Vec::new())?;
                    let to = PathBuf::from(OsString::from_vec(to.into_bytes()));
                    if to.is_absolute() {
                        (place, here) = (PathBuf::from("/"), root()?);
                    }
                    steps.extend(self::steps(&to));
                    self.switched = self.switched.max(Some((stat.st_ctime, stat.st_ctime_nsec as i64)));
                    self.links.push(Link { at: own_place, to });
                }
                FileType::Directory => {
                    mark(Spot::Passed(&own_place, fd.as_fd()));
                    (place, here) = (own_place, fd);
                }
                _ if steps.is_empty() => return Ok(End::At(own_place, Found::of(&stat))),
                _ => return Err(Errno::NOTDIR),
            }
        }
        let stat = rustix::fs::fstat(&here)?;
        Ok(End::At(place, Found::of(&stat)))
    }
}

impl Found {
    fn of(stat: &Stat) -> Self {
        Self {
            is_directory: kind(stat) == FileType::Directory,
            device: stat.st_dev,
            inode: stat.st_ino,
            modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
        }
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn open(at: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(at, name, ITSELF, Mode::empty())
}

fn look(at: impl AsFd, name: &OsStr) -> Result<(OwnedFd, Stat), Errno> {
    let fd = open(at, name)?;
    let stat = rustix::fs::fstat(&fd)?;
    Ok((fd, stat))
}

/// The steps of a path, the last one first.
fn steps(path: &Path) -> Vec<OsString> {
    let steps = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut steps: Vec<OsString> = steps.collect();
    steps.reverse();
    steps
}

/// Whatever it is, a symlink too.
const ITSELF: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Where the kernel gives up with ELOOP.
const LINKS_MAX: usize = 40;
/// Directories and symlinks on one way. Forty links through paths of two thousand directories are no way that anybody means.
const STEPS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// The way and the spots on it, as "passed D", "named D/N" and "last D/N", from `dir` on.
    fn walk(dir: &Path, path: &str) -> (Way, Vec<String>) {
        let mut spots = Vec::new();
        let way = Way::walk(&dir.join(path), &mut |spot| {
            let (word, at) = match spot {
                Spot::Passed(at, _) => ("passed", at.to_owned()),
                Spot::Named(at, _, name) => ("named", at.join(name)),
                Spot::Last(at, _, name) => ("last", at.join(name)),
            };
            if let Ok(at) = at.strip_prefix(dir) {
                spots.push(format!("{word} {}", at.display()));
            }
        });
        (way, spots)
    }

    fn dir() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(dir.path()).unwrap();
        (dir, path)
    }

    fn end(way: &Way) -> Option<PathBuf> {
        match &way.end {
            End::At(at, _) => Some(at.clone()),
            End::NoEntry | End::Broken(_) => None,
        }
    }

    #[test]
    fn every_symlink_on_the_way_is_named_and_directories_are_passed() {
        let (_dir, dir) = dir();
        fs::create_dir_all(dir.join("disk/releases/41/tmp")).unwrap();
        symlink(dir.join("disk"), dir.join("blog")).unwrap();
        symlink("releases/41", dir.join("disk/current")).unwrap();
        fs::write(dir.join("disk/releases/41/tmp/restart.txt"), "").unwrap();
        let (way, spots) = walk(&dir, "blog/current/tmp/restart.txt");
        assert_eq!(end(&way), Some(dir.join("disk/releases/41/tmp/restart.txt")));
        let links: Vec<_> = way.links.iter().map(|link| (link.at.clone(), link.to.clone())).collect();
        assert_eq!(links, [(dir.join("blog"), dir.join("disk")), (dir.join("disk/current"), "releases/41".into())]);
        let expected = [
            "passed ",
            "named blog",
            "passed ",
            "passed disk",
            "named disk/current",
            "passed disk/releases",
            "passed disk/releases/41",
            "passed disk/releases/41/tmp",
            "last disk/releases/41/tmp/restart.txt",
        ];
        assert_eq!(spots, expected);
    }

    #[test]
    fn the_last_step_is_marked_also_when_it_is_a_directory() {
        let (_dir, dir) = dir();
        fs::create_dir_all(dir.join("releases/41")).unwrap();
        symlink("releases/41", dir.join("current")).unwrap();
        let (way, spots) = walk(&dir, "current");
        assert_eq!(end(&way), Some(dir.join("releases/41")));
        assert_eq!(spots, ["passed ", "last current", "passed releases", "last releases/41", "passed releases/41"]);
    }

    #[test]
    fn what_is_missing_is_named_in_the_nearest_directory_that_is_there() {
        let (_dir, dir) = dir();
        let (way, spots) = walk(&dir, "a/b/restart.txt");
        assert!(matches!(way.end, End::Broken(_)), "{way:?}");
        assert_eq!(spots, ["passed ", "named a"]);
        fs::create_dir_all(dir.join("a/b")).unwrap();
        let (way, spots) = walk(&dir, "a/b/restart.txt");
        assert!(matches!(way.end, End::NoEntry), "{way:?}");
        assert_eq!(spots, ["passed ", "passed a", "passed a/b", "last a/b/restart.txt"]);
    }

    #[test]
    fn a_symlink_to_what_is_missing_has_the_missing_step_named() {
        let (_dir, dir) = dir();
        symlink("releases/43", dir.join("current")).unwrap();
        fs::create_dir(dir.join("releases")).unwrap();
        let (way, spots) = walk(&dir, "current/tmp/restart.txt");
        assert!(matches!(way.end, End::Broken(_)), "{way:?}");
        assert_eq!(spots, ["passed ", "named current", "passed releases", "named releases/43"]);
    }

    #[test]
    fn dots_and_loops_go_where_the_kernel_goes() {
        let (_dir, dir) = dir();
        fs::create_dir_all(dir.join("releases/41")).unwrap();
        fs::create_dir(dir.join("shared")).unwrap();
        symlink("releases/41", dir.join("current")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        let (way, _) = walk(&dir, "./current/../../shared");
        assert_eq!(end(&way), Some(dir.join("shared")));
        let (way, _) = walk(&dir, "loop/x");
        assert!(matches!(way.end, End::Broken(_)), "{way:?}");
        fs::write(dir.join("file"), "").unwrap();
        let (way, _) = walk(&dir, "file/x");
        assert!(matches!(way.end, End::Broken(_)), "{way:?}");
    }
    #[test]
    fn a_way_of_links_through_deep_directories_is_given_up_after_so_many_steps() {
        let (_dir, dir) = dir();
        let deep = "d/".repeat(150);
        fs::create_dir_all(dir.join(&deep)).unwrap();
        fs::write(dir.join("far"), "").unwrap();
        symlink(format!("{deep}{}far", "../".repeat(150)), dir.join("once")).unwrap();
        let (way, spots) = walk(&dir, "once");
        assert!(matches!(way.end, End::Broken(_)) && way.is_too_long && spots.len() <= 201, "{}", spots.len());
        let (way, _) = walk(&dir, &deep);
        assert!(matches!(way.end, End::At(..)) && !way.is_too_long, "{way:?}");
    }
}
