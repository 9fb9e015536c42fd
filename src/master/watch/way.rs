//! The way that the kernel takes along a path (path_resolution(7)), step by step: which symlinks it follows, where it ends, and in which
//! directories a change would make it go elsewhere. Reads the disk; keeps nothing.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

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
}

/// Where a walk ends.
#[derive(Debug)]
pub enum End {
    /// Something is there; its place without symlinks.
    At(PathBuf, Metadata),
    /// The directory is there, and nothing of that name in it.
    NoEntry,
    /// A directory before the last step is missing, or cannot be looked into.
    Broken,
}

/// A directory whose changes matter to a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot<'p> {
    /// It is only passed through: it matters when it is moved or removed itself.
    Passed(&'p Path),
    /// What this name in it stands for matters too: a symlink, or what is missing.
    Named(&'p Path, &'p OsStr),
    /// The last step, whatever is there.
    Last(&'p Path, &'p OsStr),
}

impl Way {
    /// Walks along an absolute path. `mark` hears of each spot before what is there is read, so that whoever arms a watch there misses
    /// no change after it.
    pub fn walk(path: &Path, mark: &mut dyn FnMut(Spot<'_>)) -> Self {
        let mut way = Self { links: Vec::new(), switched: None, end: End::Broken };
        let mut here = PathBuf::from("/");
        let mut steps = steps(path);
        let mut metadata = fs::symlink_metadata(&here);
        while let Some(step) = steps.pop() {
            if step == ".." {
                here.pop();
                metadata = fs::symlink_metadata(&here);
                continue;
            }
            let place = here.join(&step);
            metadata = fs::symlink_metadata(&place);
            if steps.is_empty() || !metadata.as_ref().is_ok_and(Metadata::is_dir) {
                mark(if steps.is_empty() { Spot::Last(&here, &step) } else { Spot::Named(&here, &step) });
                metadata = fs::symlink_metadata(&place);
            }
            match &metadata {
                Ok(found) if found.is_symlink() => {
                    if way.links.len() == LINKS_MAX {
                        return way;
                    }
                    // Replaced in this very moment: the watch on its directory tells.
                    let Ok(to) = fs::read_link(&place) else { return way };
                    if to.is_absolute() {
                        here = PathBuf::from("/");
                    }
                    steps.extend(self::steps(&to));
                    way.switched = way.switched.max(Some((found.ctime(), found.ctime_nsec())));
                    way.links.push(Link { at: place, to });
                    metadata = fs::symlink_metadata(&here);
                }
                Ok(found) if found.is_dir() => {
                    mark(Spot::Passed(&place));
                    here = place;
                }
                Ok(_) if steps.is_empty() => here = place,
                Err(error) if steps.is_empty() && error.kind() == io::ErrorKind::NotFound => {
                    way.end = End::NoEntry;
                    return way;
                }
                Ok(_) | Err(_) => return way,
            }
        }
        if let Ok(metadata) = metadata {
            way.end = End::At(here, metadata);
        }
        way
    }
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

/// Where the kernel gives up with ELOOP.
const LINKS_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// The way and the spots on it, as "passed D", "named D/N" and "last D/N", from `dir` on.
    fn walk(dir: &Path, path: &str) -> (Way, Vec<String>) {
        let mut spots = Vec::new();
        let way = Way::walk(&dir.join(path), &mut |spot| {
            let (word, at) = match spot {
                Spot::Passed(at) => ("passed", at.to_owned()),
                Spot::Named(at, name) => ("named", at.join(name)),
                Spot::Last(at, name) => ("last", at.join(name)),
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
            End::NoEntry | End::Broken => None,
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
        assert!(matches!(way.end, End::Broken), "{way:?}");
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
        assert!(matches!(way.end, End::Broken), "{way:?}");
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
        assert!(matches!(way.end, End::Broken), "{way:?}");
        fs::write(dir.join("file"), "").unwrap();
        let (way, _) = walk(&dir, "file/x");
        assert!(matches!(way.end, End::Broken), "{way:?}");
    }
}
