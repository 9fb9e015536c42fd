//! The directories that files are sent from, held open: looking a file up is one system call, and nothing outside of them can be reached.
//!
//! The restart thread opens them when a release is resolved or accepted and puts them into the table; each event loop has a copy of the list,
//! so that a request takes no lock. A loop opens what the kernel has in memory; what may take a disk is an errand's ([`crate::errands::files`]).

mod save;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::http::static_file::{FileFacts, looks_built};
use crate::ids::GroupId;
use crate::once::Said;
use crate::table::Shared;
pub use save::SavedFolders;

/// The directories of one app.
#[derive(Debug, Default)]
pub struct AppFolders {
    /// Of its releases, in the order in which they are asked.
    pub public: Vec<(Standing, Arc<Public>)>,
    /// Releases that have no public directory.
    pub without: Vec<PathBuf>,
    /// For X-Sendfile.
    pub sendfile: Option<Arc<Folder>>,
}

/// The public directory of a release.
#[derive(Debug)]
pub struct Public {
    /// Of the release.
    pub root: PathBuf,
    pub folder: Folder,
    /// Links in it that lead out of it and are followed.
    pub ways: Vec<Way>,
}

/// A link in a public directory, as it was when the release was resolved: it is not looked at again.
#[derive(Debug)]
pub struct Way {
    /// Of the link, seen from the public directory: `uploads`.
    pub name: Vec<u8>,
    /// Where it leads, or what that file is in.
    pub folder: Folder,
    /// None: to a directory.
    pub file: Option<Vec<u8>>,
}

/// What a release is to its app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It was accepted last, or there is none besides it: any file may be in it.
    Good,
    /// A page of it may be open somewhere, because it was accepted before that one, or a process of it is in service or on its way there. What
    /// has the name of a build's fruit may be in it: such a name means this file or none, whichever release is asked.
    Lends,
}

/// One directory.
#[derive(Debug)]
pub struct Folder {
    /// As configured, and without symlinks.
    pub paths: [PathBuf; 2],
    fd: OwnedFd,
    /// What the kernel has in memory of it is all that opening takes.
    is_local: bool,
    links: Links,
    /// What is there and is not sent, which the log says once.
    not_sent: Said,
}

/// Which symlinks in a directory are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Links {
    /// Those that stay in it.
    Beneath,
    /// All.
    Anywhere,
}

impl Links {
    fn resolve(self) -> ResolveFlags {
        match self {
            Links::Beneath => ResolveFlags::BENEATH,
            Links::Anywhere => ResolveFlags::empty(),
        }
    }
}

/// A regular file, open.
#[derive(Debug)]
pub struct Found {
    pub file: File,
    pub facts: FileFacts,
}

/// Whether a look may wait for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Only what the kernel has in memory is said, and of a file system of a local disk: what others answer for is asked for by opening (FUSE, NFS).
    None,
    Disk,
}

/// That takes a disk, perhaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Later;

/// What a name stands for in a directory.
enum Entry {
    File(Found),
    Directory,
}

/// What a name stands for in the public directories of an app.
#[derive(Debug)]
pub enum Named<'f, 'n> {
    /// A file; where it is, and its name there.
    File(&'f Folder, &'n [u8], Found),
    /// A directory that has an index.
    Directory,
}

impl AppFolders {
    /// The public directory of a release, which may have none; None: that is not known.
    pub fn public_of(&self, root: &Path) -> Option<Option<Arc<Public>>> {
        let open = self.public.iter().find(|(_, public)| public.root == root).map(|(_, public)| Some(public.clone()));
        open.or_else(|| self.without.iter().any(|without| without == root).then_some(None))
    }

    pub fn knows(&self, root: &Path) -> bool {
        self.public_of(root).is_some()
    }

    /// Looks for a public file: one system call when there is none, unless its name may be from another release.
    pub fn find<'f, 'n>(&'f self, name: &'n [u8], patience: Patience) -> Result<Option<Named<'f, 'n>>, Later>
    where
        'f: 'n,
    {
        for (standing, public) in &self.public {
            if *standing == Standing::Lends && !looks_built(name) {
                continue;
            }
            let (folder, name) = public.place(name);
            match folder.look(name, patience)? {
                Some(Entry::File(found)) => return Ok(Some(Named::File(folder, name, found))),
                Some(Entry::Directory) if folder.open(&[name, b"/index.html"].concat(), patience)?.is_some() => {
                    return Ok(Some(Named::Directory));
                }
                Some(Entry::Directory) | None => {}
            }
        }
        Ok(None)
    }
}

impl Public {
    /// The directory that a name is looked for in, and what it is called there.
    fn place<'f, 'n>(&'f self, name: &'n [u8]) -> (&'f Folder, &'n [u8])
    where
        'f: 'n,
    {
        let behind = |way: &'f Way| {
            let rest = name.strip_prefix(way.name.as_slice())?;
            match (&way.file, rest) {
                (Some(file), b"") => Some((&way.folder, file.as_slice())),
                (None, b"") => Some((&way.folder, b".".as_slice())),
                (None, [b'/', below @ ..]) => Some((&way.folder, below)),
                (Some(_) | None, _) => None,
            }
        };
        self.ways.iter().find_map(behind).unwrap_or((&self.folder, name))
    }
}

impl Folder {
    /// `within`: the directory that `path` is seen from, and must not lead out of, unless links may.
    pub fn new(within: Option<&Path>, path: &Path, links: Links) -> io::Result<Self> {
        let whole = within.map_or_else(|| path.to_owned(), |within| within.join(path));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = match within.filter(|_| !path.is_absolute()) {
            Some(within) => {
                let root = rustix::fs::open(within, flags, Mode::empty())?;
                open_in(root.as_fd(), path.as_os_str().as_bytes(), flags, links)?
            }
            None => rustix::fs::openat(CWD, path, flags, Mode::empty())?,
        };
        let real = std::fs::canonicalize(&whole)?;
        Ok(Self { paths: [whole, real], is_local: is_local(&fd), fd, links, not_sent: Said::default() })
    }

    /// The directory that `fd` is.
    pub fn held(fd: OwnedFd, path: PathBuf) -> Self {
        Self { paths: [path.clone(), path], is_local: is_local(&fd), fd, links: Links::Beneath, not_sent: Said::default() }
    }

    /// Whether it is a link that the kernel refuses to follow, as it leads out or begins with a slash.
    pub fn leads_out(&self, link: &[u8]) -> bool {
        let opened = open_in(self.fd.as_fd(), link, OFlags::PATH | OFlags::CLOEXEC, Links::Beneath);
        matches!(opened, Err(Errno::XDEV))
    }

    /// A regular file that the app may read; None: there is none. `name`: relative and plain (`static_file::of_path`).
    pub fn open(&self, name: &[u8], patience: Patience) -> Result<Option<Found>, Later> {
        Ok(match self.look(name, patience)? {
            Some(Entry::File(found)) => Some(found),
            Some(Entry::Directory) | None => None,
        })
    }

    fn look(&self, name: &[u8], patience: Patience) -> Result<Option<Entry>, Later> {
        // A FIFO must not hold us up, and a terminal not become ours, before fstat says that it is one (open(2)).
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = match patience {
            Patience::None if !self.is_local => return Err(Later),
            Patience::None => open_cached(self.fd.as_fd(), name, flags, self.links)?,
            Patience::Disk => open_in(self.fd.as_fd(), name, flags, self.links),
        };
        Ok(self.entry(name, opened))
    }

    fn entry(&self, name: &[u8], opened: Result<OwnedFd, Errno>) -> Option<Entry> {
        let fd = match opened {
            Ok(fd) => fd,
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::IO)) => {
                log::warn!("{}: opening {}: {error}", self.paths[0].display(), name.escape_ascii());
                return None;
            }
            // A link that leads out, or one of the kernel's own; on a kernel without openat2 any.
            Err(Errno::XDEV | Errno::LOOP) => {
                self.is_not_sent(
                    name,
                    "is, or is behind, a link that leads elsewhere and is not followed; public_links = true of the app follows it",
                );
                return None;
            }
            // The kernel has asked whether the app's user may: whoever can put a link or a name of a file into the app's hands gets no more out of
            // rota than out of the app.
            Err(Errno::ACCESS) => {
                self.is_not_sent(name, "is not readable by the app's user, and not sent");
                return None;
            }
            Err(_) => return None,
        };
        let stat = rustix::fs::fstat(&fd).ok()?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Some(Entry::Directory),
            _ => return None,
        }
        let modified = (u64::try_from(stat.st_mtime).unwrap_or(0), u32::try_from(stat.st_mtime_nsec).unwrap_or(0));
        Some(Entry::File(Found { file: fd.into(), facts: FileFacts { len: u64::try_from(stat.st_size).ok()?, modified } }))
    }
}

impl Folder {
    fn is_not_sent(&self, name: &[u8], why: &str) {
        let (here, name) = (self.paths[0].display().to_string(), name.escape_ascii().to_string());
        self.not_sent.once(&here, &name, log::Level::Warn, || format!("{here}: {name} {why}"));
    }
}

/// Opens what the kernel finds without a disk (openat2(2), Linux 5.12): nothing on the way is read, and nothing is of another file system, which may
/// be one that its owner answers for.
fn open_cached(dir: std::os::fd::BorrowedFd<'_>, name: &[u8], flags: OFlags, links: Links) -> Result<Result<OwnedFd, Errno>, Later> {
    let cached = ResolveFlags::NO_MAGICLINKS | ResolveFlags::CACHED | ResolveFlags::NO_XDEV | links.resolve();
    match rustix::fs::openat2(dir, name, flags, Mode::empty(), cached) {
        // EINVAL, ENOSYS, EPERM: of a kernel or a sandbox without it.
        Err(Errno::AGAIN | Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::PERM) => Err(Later),
        opened => Ok(opened),
    }
}

/// Of a file system whose files the kernel opens by itself once it knows them.
fn is_local(fd: &OwnedFd) -> bool {
    rustix::fs::fstatfs(fd).is_ok_and(|of| LOCAL.contains(&(of.f_type as u32)))
}

/// openat2(2), Linux 5.6; a kernel or a sandbox that does not have it: step by step, without any symlink.
fn open_in(dir: std::os::fd::BorrowedFd<'_>, name: &[u8], flags: OFlags, links: Links) -> Result<OwnedFd, Errno> {
    for _ in 0..TRIES {
        match rustix::fs::openat2(dir, name, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS | links.resolve()) {
            // Something on the way was renamed in this very moment.
            Err(Errno::AGAIN) => {}
            Err(Errno::NOSYS | Errno::PERM) => return open_by_steps(dir, name, flags, links),
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

fn open_by_steps(dir: std::os::fd::BorrowedFd<'_>, name: &[u8], flags: OFlags, links: Links) -> Result<OwnedFd, Errno> {
    if links == Links::Anywhere {
        return rustix::fs::openat(dir, name, flags, Mode::empty());
    }
    let (way, last) = match name.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (Some(&name[..slash]), &name[slash + 1..]),
        None => (None, name),
    };
    let mut within: Option<OwnedFd> = None;
    for step in way.into_iter().flat_map(|way| way.split(|byte| *byte == b'/')) {
        if step == b".." {
            return Err(Errno::XDEV);
        }
        let at = within.as_ref().map_or(dir, |fd| fd.as_fd());
        within = Some(rustix::fs::openat(at, step, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?);
    }
    let at = within.as_ref().map_or(dir, |fd| fd.as_fd());
    rustix::fs::openat(at, last, flags | OFlags::NOFOLLOW, Mode::empty())
}

/// An event loop's copy of the list.
#[derive(Debug, Default)]
pub struct Folders {
    edition: u64,
    by_group: Vec<Arc<AppFolders>>,
}

impl Folders {
    /// Looks whether the list has changed since.
    pub fn refresh(&mut self, shared: &Shared) {
        let edition = shared.folders_edition.load(Ordering::Acquire);
        if edition != self.edition {
            let new = shared.table.lock().folders.clone();
            // Behind the lock: the last one to have an old directory closes it.
            self.by_group = new;
            self.edition = edition;
        }
    }

    pub fn of(&self, group: GroupId) -> Option<&Arc<AppFolders>> {
        self.by_group.get(group.index())
    }
}

/// ext2 to ext4, xfs, btrfs, f2fs, bcachefs, zfs, tmpfs, ramfs, overlayfs, squashfs, erofs (linux/magic.h).
const LOCAL: [u32; 11] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0xf2f5_2010,
    0xca45_1a4e,
    0x2fc1_2fc1,
    0x0102_1994,
    0x8584_58f6,
    0x794c_7630,
    0x7371_7368,
    0xe0f5_e1e2,
];
/// In a directory that is being rearranged all the time.
const TRIES: usize = 8;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("public/sub")).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::write(dir.path().join("public/a"), "a").unwrap();
        fs::write(dir.path().join("public/sub/b"), "bb").unwrap();
        for (target, link) in [
            ("../secret", "public/out"),
            ("/etc/passwd", "public/absolute"),
            ("..", "public/up"),
            ("sub/b", "public/inside"),
            ("sub", "public/way"),
            ("/proc/self/fd/0", "public/magic"),
            ("loop", "public/loop"),
        ] {
            symlink(target, dir.path().join(link)).unwrap();
        }
        dir
    }

    type Open = fn(std::os::fd::BorrowedFd<'_>, &[u8], OFlags, Links) -> Result<OwnedFd, Errno>;

    #[test]
    fn no_name_and_no_link_leads_out_of_the_directory_with_and_without_openat2() {
        let dir = tree();
        let public = rustix::fs::open(dir.path().join("public"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        for open in [open_in as Open, open_by_steps] {
            let opens = |name: &str| open(public.as_fd(), name.as_bytes(), OFlags::RDONLY, Links::Beneath).is_ok();
            for name in ["a", "sub/b"] {
                assert!(opens(name), "{name}");
            }
            for name in ["out", "absolute", "up/secret", "../secret", "sub/../../secret", "/etc/passwd", "magic", "loop", "none", "a/b"] {
                assert!(!opens(name), "{name}");
            }
            let anywhere = open(public.as_fd(), b"out", OFlags::RDONLY, Links::Anywhere);
            assert!(anywhere.is_ok());
        }
        // Where the kernel can, a link that stays inside is followed.
        for name in ["inside", "way/b"] {
            assert!(open_in(public.as_fd(), name.as_bytes(), OFlags::RDONLY, Links::Beneath).is_ok(), "{name}");
        }
    }

    #[test]
    fn only_regular_files_are_found_and_a_fifo_holds_nobody_up() {
        let dir = tree();
        rustix::fs::mkfifoat(CWD, dir.path().join("public/fifo"), Mode::RUSR | Mode::WUSR).unwrap();
        let folder = Folder::new(Some(dir.path()), Path::new("public"), Links::Beneath).unwrap();
        assert_eq!(folder.open(b"sub/b", Patience::Disk).unwrap().unwrap().facts.len, 2);
        for name in ["fifo", "sub", "none"] {
            assert!(folder.open(name.as_bytes(), Patience::Disk).unwrap().is_none(), "{name}");
        }
    }

    #[test]
    fn a_public_directory_that_is_a_link_out_of_its_release_is_none_unless_links_may() {
        let dir = tree();
        fs::create_dir(dir.path().join("release")).unwrap();
        symlink(dir.path().join("public"), dir.path().join("release/public")).unwrap();
        let within = dir.path().join("release");
        let new = |links| Folder::new(Some(&within), Path::new("public"), links);
        assert!(new(Links::Beneath).is_err());
        assert!(new(Links::Anywhere).unwrap().open(b"a", Patience::Disk).unwrap().is_some());
        assert!(
            Folder::new(Some(&within), &dir.path().join("public"), Links::Beneath).unwrap().open(b"a", Patience::Disk).unwrap().is_some()
        );
    }

    #[test]
    fn what_the_app_s_user_may_not_read_is_not_sent() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let user = crate::restart::release::identity("nobody", None).unwrap();
        let dir = tree();
        fs::create_dir(dir.path().join("public/locked")).unwrap();
        for (name, mode) in [("", 0o755), ("public", 0o755), ("public/a", 0o644), ("public/sub/b", 0o640), ("public/locked", 0o700)] {
            fs::set_permissions(dir.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        fs::write(dir.path().join("public/locked/c"), "").unwrap();
        let folder = Folder::new(Some(dir.path()), Path::new("public"), Links::Beneath).unwrap();
        let opens =
            |name: &str| crate::safe_open::as_user(&user, || Ok(folder.open(name.as_bytes(), Patience::Disk).unwrap().is_some())).unwrap();
        assert_eq!([opens("a"), opens("sub/b"), opens("locked/c")], [true, false, false]);
        assert!(folder.open(b"locked/c", Patience::Disk).unwrap().is_some(), "root itself may");
        // What the user cannot reach is not even held open for him.
        let held = crate::safe_open::as_user(&user, || Folder::new(None, &dir.path().join("public/locked/.."), Links::Beneath));
        assert_eq!(held.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn other_releases_are_asked_for_what_a_build_may_have_made() {
        let folder = |files: &[&str]| {
            let dir = tempfile::tempdir().unwrap();
            files.iter().for_each(|name| fs::write(dir.path().join(name), "").unwrap());
            let folder = Folder::new(None, dir.path(), Links::Beneath).unwrap();
            (dir, folder)
        };
        let (_one, good) = folder(&["a.css"]);
        let (_two, coming) = folder(&["new.css", "page", "new-2222222a.css"]);
        let (_three, earlier) = folder(&["old.css", "old-3f9a1c.css", "page"]);
        let public = [(good, Standing::Good), (coming, Standing::Lends), (earlier, Standing::Lends)];
        let public = public.map(|(folder, standing)| (standing, Arc::new(Public { root: PathBuf::new(), folder, ways: Vec::new() })));
        let folders = AppFolders { public: public.into(), ..AppFolders::default() };
        for (name, found) in [
            ("a.css", true),
            ("new.css", false),
            ("new-2222222a.css", true),
            ("page", false),
            ("old.css", false),
            ("old-3f9a1c.css", true),
            ("none-3f9a1c.css", false),
        ] {
            assert_eq!(folders.find(name.as_bytes(), Patience::Disk).unwrap().is_some(), found, "{name}");
        }
    }

    #[test]
    fn without_patience_is_said_what_the_kernel_has_in_memory_of_a_local_disk() {
        let dir = tree();
        let mut folder = Folder::new(Some(dir.path()), Path::new("public"), Links::Beneath).unwrap();
        for (name, is_there) in [("a", true), ("sub/b", true), ("none", false), ("inside", true)] {
            folder.open(name.as_bytes(), Patience::Disk).unwrap();
            assert_eq!(folder.open(name.as_bytes(), Patience::None).unwrap().is_some(), is_there, "{name}");
        }
        // What leads to another file system may be any.
        assert!(folder.open(b"absolute", Patience::None).is_err());
        folder.is_local = false;
        assert!(folder.open(b"a", Patience::None).is_err());
        let proc = Folder::new(None, Path::new("/proc/self"), Links::Beneath).unwrap();
        assert!(proc.open(b"status", Patience::None).is_err(), "its files are made by opening them");
    }
}
