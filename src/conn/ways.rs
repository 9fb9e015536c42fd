//! Links that lead out of a public directory: which of them are followed. Looked at once, by the errand that prepares a
//! release, with the rights of its user, and by `rota check`, which names the others.
//!
//! Capistrano and its like link what outlives a release into it: `public/uploads` is a link to `/srv/blog/shared/uploads`. Such a link is safe
//! where it was there before a process of the release ran and stays in what is the app's own. One that the app makes later, of an archive that
//! a visitor has sent, is never followed: whoever can make it could have any file of the app's for it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::folders::{Folder, Links, Way};
use crate::credentials;
use crate::http::static_file::{is_hidden, withheld};

/// What is the app's own: the directory above `releases/` where its releases stand there and its root is a link beside them, else the release.
#[derive(Debug)]
pub struct Tree {
    /// Without symlinks, and as the configuration has it.
    paths: [PathBuf; 2],
    fd: OwnedFd,
    owner: u32,
    /// Seen from the tree; empty: it is the tree.
    release: PathBuf,
}

/// A link that leads out of a public directory.
#[derive(Debug)]
pub struct Link {
    /// Seen from the directory.
    pub name: PathBuf,
    /// What is written in it.
    pub target: PathBuf,
    pub way: Result<Way, Refused>,
}

/// What of a public directory is not sent, or not by its plain name.
#[derive(Debug, Default)]
pub struct Contents {
    /// That lead out of it.
    pub links: Vec<Link>,
    /// Files whose names are the app's, and why.
    pub withheld: Vec<(PathBuf, &'static str)>,
}

impl Link {
    /// A sentence about one that is not followed. `public`: as it is to be called.
    pub fn refusal(&self, public: &Path) -> Option<String> {
        let why = self.way.as_ref().err()?;
        let (at, target) = (public.join(&self.name), self.target.display());
        Some(format!("{} is a link to {target}, {why}; it is not followed: public_links = true follows every link", at.display()))
    }
}

/// Why a link is not followed. `Display` goes on a sentence that begins with where it leads.
#[derive(Debug)]
pub enum Refused {
    /// Of this tree.
    Outside(PathBuf),
    /// There the public directory itself is.
    HoldsPublic,
    OtherRelease,
    /// A file, and not one of those that outlive releases.
    FileOfRelease,
    /// It stands deeper than the first level, where an app may have put it.
    Deep,
    /// Names of the app's own affairs.
    Private(&'static str),
    Owner(PathBuf, u32),
    NotReadable(PathBuf),
    NotThere,
    Broken(Errno),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Outside(tree) => write!(f, "outside of {}", tree.display()),
            Refused::HoldsPublic => f.write_str("where the public directory itself is"),
            Refused::OtherRelease => f.write_str("in another release"),
            Refused::FileOfRelease => f.write_str("a file of the release that is not public"),
            Refused::Deep => f.write_str("from below the first level of public, where the app may have made it itself"),
            Refused::Private(why) => write!(f, "which is not for everybody: {why}"),
            Refused::Owner(path, uid) => write!(f, "and {} belongs to uid {uid}, who is neither root nor the app's user", path.display()),
            Refused::NotReadable(path) => write!(f, "and the app's user may not read {}", path.display()),
            Refused::NotThere => f.write_str("which is not there"),
            Refused::Broken(error) => write!(f, "and {error}"),
        }
    }
}

/// Opens the public directory of a release, itself perhaps a link that may be followed, and looks at what is in it.
pub fn open(tree: &Tree, release: &Path, public: &Path) -> io::Result<(Folder, Contents)> {
    let folder = match Folder::new(Some(release), public, Links::Beneath) {
        Err(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) && !public.is_absolute() => {
            let landed = tree.follow(&tree.release, public).and_then(|landed| tree.judge(landed, None, false));
            let landed = landed.map_err(|why| io::Error::other(format!("it leads out of its release, {why}")))?;
            let path = tree.paths[0].join(&landed.path);
            landed.into_way(Vec::new(), path).folder
        }
        opened => opened?,
    };
    let contents = contents(tree, &folder);
    Ok((folder, contents))
}

/// The links are those that the kernel does not follow, because they lead out of the directory or say where they lead from `/` on.
fn contents(tree: &Tree, public: &Folder) -> Contents {
    let real = &public.paths[1];
    let (found, withheld) = scan(real);
    let Ok(below) = real.strip_prefix(&tree.paths[0]) else { return Contents { links: Vec::new(), withheld } };
    let leads_out = |name: &PathBuf| public.leads_out(name.as_os_str().as_bytes());
    let link = |name: PathBuf| {
        let is_deep = name.components().nth(1).is_some();
        let at = below.join(name.parent().unwrap_or(Path::new("")));
        let own_name = Path::new(name.file_name().unwrap_or_default());
        let landed = tree.follow(&at, own_name).and_then(|landed| tree.judge(landed, Some(below), is_deep));
        let way = landed.map(|landed| {
            let path = tree.paths[0].join(&landed.path);
            landed.into_way(name.as_os_str().as_bytes().to_vec(), path)
        });
        Link { target: fs::read_link(real.join(&name)).unwrap_or_default(), name, way }
    };
    Contents { links: found.into_iter().filter(leads_out).take(LINKS_OUT).map(link).collect(), withheld }
}

/// The links in a directory, and the names in it that are never sent. Level by level, so that a full directory hides nothing above it.
fn scan(public: &Path) -> (Vec<PathBuf>, Vec<(PathBuf, &'static str)>) {
    let (mut links, mut kept_back, mut entries) = (Vec::new(), Vec::new(), ENTRIES);
    let mut level = vec![PathBuf::new()];
    for depth in 1..=DEPTH {
        let mut next = Vec::new();
        for below in &level {
            for entry in fs::read_dir(public.join(below)).into_iter().flatten().flatten().take(entries) {
                entries -= 1;
                let name = below.join(entry.file_name());
                let bytes = name.as_os_str().as_bytes();
                let Ok(kind) = entry.file_type() else { continue };
                match withheld(bytes) {
                    _ if is_hidden(bytes) && bytes != WELL_KNOWN => {}
                    Some(why) => kept_back.push((name, why)),
                    None if kind.is_symlink() => links.push(name),
                    None if kind.is_dir() && depth < DEPTH => next.push(name),
                    None => {}
                }
            }
        }
        level = next;
    }
    (links, kept_back)
}

/// Where a link led.
struct Landed {
    /// Seen from the tree, without symlinks.
    path: PathBuf,
    fd: OwnedFd,
    /// A file: the directory that it is in.
    within: Option<OwnedFd>,
}

impl Landed {
    fn into_way(self, name: Vec<u8>, path: PathBuf) -> Way {
        match self.within {
            None => Way { name, folder: Folder::held(self.fd, path), file: None },
            Some(within) => {
                let file = path.file_name().map(|file| file.as_bytes().to_vec());
                Way { name, folder: Folder::held(within, path.parent().unwrap_or(&path).to_owned()), file }
            }
        }
    }
}

impl Tree {
    /// `configured`: the app's root, of which `release` is, or was, where it leads to; that has no symlinks.
    pub fn of(configured: &Path, release: &Path) -> io::Result<Self> {
        let above = release.ancestors().find(|path| path.parent().is_some_and(|above| above.file_name() == Some(OsStr::new("releases"))));
        let above = above.and_then(|path| path.parent()?.parent());
        let is_beside = |link: &Path, tree: &Path| {
            link.is_symlink() && link.parent().is_some_and(|parent| fs::canonicalize(parent).is_ok_and(|parent| parent == tree))
        };
        let link = above.and_then(|tree| configured.ancestors().find(|link| is_beside(link, tree)));
        let paths = match (above, link) {
            (Some(tree), Some(link)) => [tree.to_owned(), link.parent().unwrap_or(tree).to_owned()],
            _ => [release.to_owned(), configured.to_owned()],
        };
        let fd = rustix::fs::open(&paths[0], OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let owner = rustix::fs::fstat(&fd)?.st_uid;
        let release = release.strip_prefix(&paths[0]).unwrap_or(Path::new("")).to_owned();
        Ok(Self { paths, fd, owner, release })
    }

    /// Step by step, so that nothing outside of the tree is even looked at, and each directory that is come to is judged. `at` has no symlinks.
    fn follow(&self, at: &Path, name: &Path) -> Result<Landed, Refused> {
        let mut way: Vec<(OsString, OwnedFd)> = Vec::new();
        for part in at {
            let within = way.last().map_or(self.fd.as_fd(), |(_, fd)| fd.as_fd());
            let fd = rustix::fs::openat(within, part, DIRECTORY, Mode::empty()).map_err(Refused::Broken)?;
            way.push((part.to_owned(), fd));
        }
        let mut ahead = parts(name.as_os_str().as_bytes());
        let mut links = 0;
        while let Some(part) = ahead.pop() {
            if part == ".." {
                way.pop().ok_or_else(|| self.outside())?;
                continue;
            }
            let within = way.last().map_or(self.fd.as_fd(), |(_, fd)| fd.as_fd());
            let fd = match rustix::fs::openat(within, &part, ANYTHING, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT | Errno::NOTDIR) => return Err(Refused::NotThere),
                Err(error) => return Err(Refused::Broken(error)),
            };
            let stat = rustix::fs::fstat(&fd).map_err(Refused::Broken)?;
            let path: PathBuf = way.iter().map(|(name, _)| name.as_os_str()).chain([part.as_os_str()]).collect();
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink if links == LINKS => return Err(Refused::Broken(Errno::LOOP)),
                FileType::Symlink => {
                    links += 1;
                    let target = rustix::fs::readlinkat(&fd, "", Vec::new()).map_err(Refused::Broken)?;
                    let mut target = Path::new(OsStr::from_bytes(target.as_bytes()));
                    if target.is_absolute() {
                        way.clear();
                        let below = self.paths.iter().find_map(|tree| target.strip_prefix(tree).ok());
                        target = below.ok_or_else(|| self.outside())?;
                    }
                    ahead.extend(parts(target.as_os_str().as_bytes()));
                }
                FileType::Directory => {
                    self.is_safe(&path, &fd, &stat)?;
                    way.push((part, fd));
                }
                FileType::RegularFile if ahead.is_empty() => {
                    self.is_safe(&path, &fd, &stat)?;
                    let within =
                        way.pop().map_or_else(|| self.fd.try_clone(), |(_, fd)| Ok(fd)).map_err(|_| Refused::Broken(Errno::MFILE))?;
                    return Ok(Landed { path, fd, within: Some(within) });
                }
                _ => return Err(Refused::NotThere),
            }
        }
        let path: PathBuf = way.iter().map(|(name, _)| name.as_os_str()).collect();
        let (_, fd) = way.pop().ok_or(Refused::HoldsPublic)?;
        Ok(Landed { path, fd, within: None })
    }

    /// What is come to has to be of somebody who has a say in the app anyway, and the app's to read, as the kernel sees it: nobody gets more out of
    /// rota than of the app.
    fn is_safe(&self, path: &Path, fd: &OwnedFd, stat: &Stat) -> Result<(), Refused> {
        let user = credentials::acts_for().unwrap_or_else(|| rustix::process::geteuid().as_raw());
        let shown = || self.paths[0].join(path);
        if ![0, user, self.owner].contains(&stat.st_uid) {
            return Err(Refused::Owner(shown(), stat.st_uid));
        }
        let opened = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => rustix::fs::openat(fd, ".", DIRECTORY, Mode::empty()),
            // A regular one, by its descriptor.
            _ => rustix::fs::open(format!("/proc/thread-self/fd/{}", fd.as_raw_fd()), READ, Mode::empty()),
        };
        match opened {
            Err(Errno::ACCESS) => Err(Refused::NotReadable(shown())),
            _ => Ok(()),
        }
    }

    /// Whether a place that a link led to is meant for everybody. `public`: seen from the tree; None: the link is that directory's own name.
    fn judge(&self, landed: Landed, public: Option<&Path>, is_deep: bool) -> Result<Landed, Refused> {
        let path = landed.path.as_path();
        let of_release = path.strip_prefix(&self.release).ok();
        let is_shared = of_release.is_none() && path.starts_with(SHARED);
        if public.unwrap_or(&self.release).starts_with(path) {
            return Err(Refused::HoldsPublic);
        }
        if public.is_some_and(|public| path.starts_with(public)) {
            return Ok(landed);
        }
        let below = match of_release {
            Some(below) => below,
            None if path.starts_with("releases") => return Err(Refused::OtherRelease),
            None => path,
        };
        let bytes = below.as_os_str().as_bytes();
        if bytes.split(|byte| *byte == b'/').any(|name| name.starts_with(b".") && name != WELL_KNOWN) {
            return Err(Refused::Private("a name in its path begins with a dot"));
        }
        if let Some(why) = withheld(bytes) {
            return Err(Refused::Private(why));
        }
        if below.components().any(|part| matches!(part, Component::Normal(name) if PRIVATE.iter().any(|private| name == *private))) {
            return Err(Refused::Private("it has settings, a database, logs or what a process left"));
        }
        if landed.within.is_some() && !is_shared {
            return Err(Refused::FileOfRelease);
        }
        if is_deep && !is_shared {
            return Err(Refused::Deep);
        }
        Ok(landed)
    }

    fn outside(&self) -> Refused {
        Refused::Outside(self.paths[0].clone())
    }
}

/// Of a path, the first one last, to be taken from behind.
fn parts(path: &[u8]) -> Vec<OsString> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    parts.rev().map(|part| OsString::from_vec(part.to_vec())).collect()
}

const ANYTHING: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const DIRECTORY: OFlags = ANYTHING.union(OFlags::DIRECTORY);
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
/// What is meant to be seen although it begins with a dot (RFC 8615): certificates are proved by it.
const WELL_KNOWN: &[u8] = b".well-known";
/// Capistrano's name of what outlives releases.
const SHARED: &str = "shared";
/// Directories of an app that hold its own affairs, whatever leads there.
const PRIVATE: [&str; 8] = ["config", "db", "log", "logs", "tmp", "pids", "private", "node_modules"];
/// Entries of a public directory that are looked at: some milliseconds.
const ENTRIES: usize = 5_000;
/// Levels of it.
const DEPTH: usize = 3;
/// Each that is followed is held open.
const LINKS_OUT: usize = 32;
/// On one way; more are a circle.
const LINKS: usize = 20;

#[cfg(test)]
mod tests;
