//! Opening a file by its path as root, where others have a say about what stands there: a symlink or a renamed directory must not make root
//! write or read something that they could not (CVE-2016-1247 was a log that root opened in a directory of www-data).

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::credentials::Credentials;
use crate::restart::release::Identity;

/// Who may decide what is read, besides root and the user that rota runs as.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
    pub users: &'a [u32],
    /// These may not.
    pub groups: &'a [u32],
}

/// Opens a log to write behind what is in it; it is made if need be, for its owner to write and its group to read. Neither this nor a write to it
/// waits: a FIFO that nobody reads is opened all the same, and is full one day. `groups`: of the apps' users.
pub fn open_log(path: &Path, groups: &[u32]) -> io::Result<File> {
    let flags = OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY;
    match open(path, flags | OFlags::WRONLY | OFlags::CREATE, groups) {
        // fifo(7): for writing alone it can only be opened when somebody reads it.
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => open(path, flags | OFlags::RDWR, groups),
        other => other,
    }
}

/// Opens a file that is no symlink. As root only in a directory that nobody but root, or the user that rota runs as, can put it into, by a way
/// that nobody else can have laid. `groups`: may not write on that way; any other group is taken for one
/// of administrators, as Debian and Ubuntu have in /var/log.
pub fn open(path: &Path, flags: OFlags, groups: &[u32]) -> io::Result<File> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = Mode::from_raw_mode(0o640);
    let opened = if rustix::process::geteuid().is_root() {
        let (above, name) = trusted_directory(path, groups)?;
        let opened = rustix::fs::openat(&above, name, flags, mode);
        if let Ok(file) = &opened {
            is_trusted(&rustix::fs::fstat(file)?, path, &[])?;
        }
        opened
    } else {
        rustix::fs::openat(CWD, path, flags, mode)
    };
    match opened {
        Ok(file) => Ok(File::from(file)),
        Err(Errno::LOOP) => Err(io::Error::other("a symbolic link is not followed")),
        Err(error) => Err(error.into()),
    }
}

/// Whether [`open_log`] would refuse to look for the file where it is.
pub fn check_way(path: &Path, groups: &[u32]) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    trusted_directory(path, groups).map(|_| ())
}

/// Makes a directory (0755), and those that it is in, if they are missing. As root only where nobody else decides what stands: also that which is
/// there is then one that only root can have made, and in which nobody else may write.
pub fn make_directory(path: &Path, groups: &[u32]) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return DirBuilder::new().recursive(true).mode(0o755).create(path);
    }
    let path = std::path::absolute(path)?;
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let own = path.join("any");
    // From the top: each is judged before there is one in it.
    let mut above: Vec<&Path> = path.ancestors().filter(|path| path.file_name().is_some()).collect();
    while let Err(error) = check_way(&own, groups) {
        let Some(next) = above.pop().filter(|_| missing(&error)) else { return Err(error) };
        let (opened, name, _) = way(next, Trust { users: &[], groups })?;
        match rustix::fs::mkdirat(&opened, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether nobody but root, or the user that rota runs as, decides what is read from this file: neither by writing to it, nor by putting another
/// in its place or in that of a link that leads there. One that is not there has no writers. `groups`: as in [`open`].
pub fn check_writers(path: &Path, groups: &[u32]) -> io::Result<()> {
    check_writers_but(path, Trust { users: &[], groups })
}

/// As [`check_writers`], where others are trusted, too.
pub fn check_writers_but(path: &Path, trust: Trust<'_>) -> io::Result<()> {
    let mut path = std::path::absolute(path)?;
    for _ in 0..LINKS {
        let found = match way(&path, trust).and_then(|(above, name, _)| Ok(rustix::fs::statat(&above, name, AtFlags::SYMLINK_NOFOLLOW)?)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        is_trusted(&found, &path, trust.users)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
            return others_may_write(&found, &path, trust.groups);
        }
        path = path.parent().unwrap_or(Path::new("/")).join(std::fs::read_link(&path)?);
    }
    Err(io::Error::other(format!("{}: more than {LINKS} symbolic links", path.display())))
}

/// The directory of a file, opened, and the file's name in it. A symlink is followed where nobody else can have made it.
fn trusted_directory<'p>(path: &'p Path, groups: &[u32]) -> io::Result<(OwnedFd, &'p OsStr)> {
    let (opened, name, others) = way(path, Trust { users: &[], groups })?;
    let directory = || path.parent().unwrap_or(Path::new("/")).display();
    match others {
        Some(who) => Err(refused(format!("{who} may put a file into {}", directory()))),
        None => Ok((opened, name)),
    }
}

/// As [`trusted_directory`], and who else may make new files in it: in one that is sticky.
fn way<'p>(path: &'p Path, trust: Trust<'_>) -> io::Result<(OwnedFd, &'p OsStr, Option<String>)> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it ends in no name of a file"))?;
    let parts = |path: &Path| -> Vec<PathBuf> { path.components().rev().map(|part| PathBuf::from(part.as_os_str())).collect() };
    let mut ahead = parts(path.parent().unwrap_or(Path::new("/")));
    let (mut opened, mut so_far) = (rustix::fs::open("/", DIRECTORY, Mode::empty())?, PathBuf::from("/"));
    let (mut others, mut links) = (None, 0);
    while let Some(part) = ahead.pop() {
        match rustix::fs::openat(&opened, &part, DIRECTORY, Mode::empty()) {
            // Absolute where a link leads there.
            Ok(next) => {
                opened = next;
                so_far = if part.as_os_str() == ".." { so_far.parent().unwrap_or(Path::new("/")).to_owned() } else { so_far.join(&part) };
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let link = so_far.join(&part);
                is_trusted(&rustix::fs::statat(&opened, &part, AtFlags::SYMLINK_NOFOLLOW)?, &link, trust.users)?;
                let target = rustix::fs::readlinkat(&opened, &part, Vec::new());
                let target =
                    target.map_err(|_| io::Error::new(io::ErrorKind::NotADirectory, format!("{} is no directory", link.display())))?;
                links += 1;
                if links > LINKS {
                    return Err(io::Error::other(format!("{}: more than {LINKS} symbolic links", link.display())));
                }
                ahead.extend(parts(Path::new(OsStr::from_bytes(target.as_bytes()))));
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        let found = rustix::fs::fstat(&opened)?;
        is_trusted(&found, &so_far, trust.users)?;
        others = who_else_writes(&found, trust.groups);
        // In a sticky directory, as /tmp, nobody can take away what is there, and anybody can be first.
        if !Mode::from_raw_mode(found.st_mode).contains(Mode::SVTX) {
            others_may_write(&found, &so_far, trust.groups)?;
        }
    }
    Ok((opened, name, others))
}

fn who_else_writes(found: &Stat, groups: &[u32]) -> Option<String> {
    let mode = Mode::from_raw_mode(found.st_mode);
    if mode.contains(Mode::WOTH) {
        return Some("anybody".to_owned());
    }
    (mode.contains(Mode::WGRP) && groups.contains(&found.st_gid)).then(|| format!("gid {}, a group of an app's user,", found.st_gid))
}

/// An error that names them, what they may write to and its mode.
pub fn others_may_write(found: &Stat, path: &Path, groups: &[u32]) -> io::Result<()> {
    who_else_writes(found, groups)
        .map_or(Ok(()), |who| Err(refused(format!("{who} may write to {} (mode {:04o})", path.display(), found.st_mode & 0o7777))))
}

/// Whoever owns a thing can put another in its place, or change what it leads to. `users`: who may, besides root and the user that rota runs as.
fn is_trusted(found: &Stat, path: &Path, users: &[u32]) -> io::Result<()> {
    let us = rustix::process::geteuid();
    // In a user namespace of its own a program sees root as this one (user_namespaces(7)).
    let is_root_s = found.st_uid == 0 || !us.is_root() && found.st_uid == OVERFLOW;
    if is_root_s || found.st_uid == us.as_raw() || users.contains(&found.st_uid) {
        return Ok(());
    }
    if !users.is_empty() {
        let (path, mode) = (path.display(), found.st_mode & 0o7777);
        return Err(refused(format!("{path} (mode {mode:04o}) belongs to uid {}, who is neither root nor the app's user", found.st_uid)));
    }
    let rota = if us.is_root() { "rota, which runs as root," } else { "rota" };
    Err(refused(format!("{} belongs to uid {}: {rota} would write or read there what that user chooses", path.display(), found.st_uid)))
}

fn refused(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const OVERFLOW: u32 = 65534;
/// On one way; more are a circle.
const LINKS: usize = 20;

/// Does something on a thread of its own with the rights to files that a user of an app has, no more: the kernel judges, whatever symlinks lie on
/// the way.
pub fn as_user<T: Send>(user: &Identity, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    Credentials::of(user).on_a_thread(work)
}

/// As [`as_user`] where rota is root and the user is not, else as whoever calls.
pub fn as_app<T: Send>(user: Option<&Identity>, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    match user.filter(|user| user.uid != 0 && rustix::process::geteuid().is_root()) {
        Some(user) => as_user(user, work),
        None => work(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restart::release;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    const NOBODY: u32 = 65534;

    fn log(path: &Path) -> Result<(), String> {
        let mut file = open_log(path, &[NOBODY]).map_err(|error| error.to_string())?;
        file.write_all(b"line\n").map_err(|error| error.to_string())
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_log_is_made_for_its_owner_and_group_and_a_link_in_its_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        log(&path).unwrap();
        log(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "line\nline\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
        symlink(&path, dir.path().join("link")).unwrap();
        assert_eq!(log(&dir.path().join("link")).unwrap_err(), "a symbolic link is not followed");
    }

    #[test]
    fn root_opens_nothing_where_another_could_have_put_it() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["theirs", "open", "group", "admins", "sticky"] {
            fs::create_dir(at(name)).unwrap();
        }
        chown(at("theirs"), Some(NOBODY), None).unwrap();
        fs::create_dir(at("theirs/ours")).unwrap();
        mode(&at("open"), 0o777);
        chown(at("group"), None, Some(NOBODY)).unwrap();
        mode(&at("group"), 0o775);
        chown(at("admins"), None, Some(4)).unwrap();
        mode(&at("admins"), 0o775);
        mode(&at("sticky"), 0o1777);
        symlink(at("admins"), at("link")).unwrap();
        symlink(at("admins"), at("their-link")).unwrap();
        std::os::unix::fs::lchown(at("their-link"), Some(NOBODY), None).unwrap();
        symlink("admins/..", at("way")).unwrap();
        symlink("circle", at("circle")).unwrap();
        fs::write(at("admins/planted"), "").unwrap();
        chown(at("admins/planted"), Some(NOBODY), None).unwrap();
        for (path, why) in [
            ("theirs/log", "/theirs belongs to uid 65534"),
            ("theirs/ours/log", "/theirs belongs to uid 65534"),
            ("open/log", "anybody may write to "),
            ("group/log", "gid 65534, a group of an app's user, may write to "),
            ("sticky/log", "anybody may put a file into "),
            ("their-link/log", "/their-link belongs to uid 65534"),
            ("way/theirs/log", "/theirs belongs to uid 65534"),
            ("circle/log", "more than 20 symbolic links"),
            ("admins/planted/log", "/admins/planted belongs to uid 65534"),
            ("admins/planted", "/admins/planted belongs to uid 65534"),
        ] {
            let refused = log(&at(path)).err().unwrap_or_else(|| panic!("{path} was opened"));
            assert!(refused.contains(why), "{path}: {refused}");
        }
        for way in ["admins/log", "link/log", "way/way/admins/log"] {
            log(&at(way)).unwrap_or_else(|error| panic!("{way}: {error}"));
        }
        assert_eq!(fs::read_to_string(at("admins/log")).unwrap(), "line\nline\nline\n");
        fs::create_dir(at("sticky/ours")).unwrap();
        log(&at("sticky/ours/log")).unwrap();
    }

    #[test]
    fn what_others_may_write_is_not_read_whatever_leads_there() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["own", "open"] {
            fs::create_dir(at(name)).unwrap();
        }
        for (name, bits) in [("own/file", 0o644), ("own/everybodys", 0o666), ("own/admins", 0o664), ("open/file", 0o644)] {
            fs::write(at(name), "").unwrap();
            mode(&at(name), bits);
        }
        mode(&at("open"), 0o777);
        symlink("own/file", at("link")).unwrap();
        symlink("own/everybodys", at("link-to-everybodys")).unwrap();
        symlink(at("open/file"), at("own/link-out")).unwrap();
        symlink("circle", at("circle")).unwrap();
        let check = |name: &str, groups: &[u32]| check_writers(&at(name), groups).map_err(|error| error.to_string());
        for name in ["own/file", "link", "own/admins", "own/missing", "missing/file"] {
            check(name, &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for (name, why) in [
            ("own/everybodys", "anybody may write to "),
            ("link-to-everybodys", "/own/everybodys"),
            ("open/file", "anybody may write to "),
            ("own/link-out", "anybody may write to "),
            ("circle", "more than 20 symbolic links"),
        ] {
            let refused = check(name, &[]).unwrap_err();
            assert!(refused.contains(why), "{name}: {refused}");
        }
        let group = std::os::unix::fs::MetadataExt::gid(&fs::metadata(at("own/admins")).unwrap());
        assert!(check("own/admins", &[group]).unwrap_err().contains("a group of an app's user"));
        if rustix::process::geteuid().is_root() {
            chown(at("own/file"), Some(NOBODY), None).unwrap();
            assert!(check("own/file", &[]).unwrap_err().contains("/own/file belongs to uid 65534"));
        }
    }

    #[test]
    fn with_the_rights_of_a_user_only_what_the_user_may_read_is_read() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let user = release::identity("nobody", None).unwrap();
        let dir = tempfile::tempdir().unwrap();
        mode(dir.path(), 0o755);
        let at = |name: &str| dir.path().join(name);
        for (name, bits) in [("secret", 0o600), ("public", 0o644), ("root-s-group", 0o640)] {
            fs::write(at(name), name).unwrap();
            mode(&at(name), bits);
        }
        fs::create_dir(at("closed")).unwrap();
        fs::write(at("closed/file"), "").unwrap();
        mode(&at("closed"), 0o700);
        symlink(at("closed/file"), at("link")).unwrap();
        let read = |name: &str| as_user(&user, || fs::read_to_string(at(name))).map_err(|error| error.kind());
        assert_eq!(read("public").as_deref(), Ok("public"));
        for name in ["secret", "root-s-group", "closed/file", "link"] {
            assert_eq!(read(name), Err(io::ErrorKind::PermissionDenied), "{name}");
        }
        assert_eq!(fs::read_to_string(at("secret")).unwrap(), "secret", "this thread has its rights still");
    }
}
