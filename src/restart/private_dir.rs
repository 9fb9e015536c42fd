//! The directory of a process: its socket, its XDG_RUNTIME_DIR, its pid file. Rota makes it and gives it to the app's user; what is in it from
//! then on is that user's affair, and removed by an errand ([`crate::errands::sweep`]).

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::rand::GetRandomFlags;

use super::release::Identity;
use crate::ids::ProcessName;

/// `run_dir/APP/NUMBER-SERIAL-RANDOM`, mode 0700. It is rota's until all that rota makes in it is there. Its name is a new one at each start:
/// nobody waits for the removal of an old one, or can have made it before.
#[derive(Debug)]
pub struct PrivateDir {
    path: PathBuf,
    /// Its end is somebody else's business.
    is_let_go: bool,
}

impl PrivateDir {
    /// The directory, and itself opened, whatever comes to stand at its path.
    pub(super) fn create(run_dir: &Path, name: &ProcessName, serial: u32) -> Result<(Self, OwnedFd), String> {
        let app = run_dir.join(name.app.as_str());
        let create = |own_name: &str| -> io::Result<OwnedFd> {
            if let Some(above) = run_dir.parent() {
                fs::create_dir_all(above)?;
            }
            let run = own_dir(CWD, run_dir, run_dir)?;
            let app = own_dir(run.as_fd(), Path::new(name.app.as_str()), &app)?;
            // Nobody else may write to the directory above: what is made here is what is opened.
            rustix::fs::mkdirat(&app, own_name, Mode::RWXU)?;
            let opened = open_dir(app.as_fd(), Path::new(own_name))?;
            // Also under a umask that would forbid it.
            rustix::fs::fchmod(&opened, Mode::RWXU)?;
            Ok(opened)
        };
        let own_name = format!("{}-{serial}-{:08x}", name.number, random().map_err(|error| format!("getrandom: {error}"))?);
        let path = app.join(&own_name);
        let opened = create(&own_name).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok((Self { path, is_let_go: false }, opened))
    }

    /// One that is there.
    pub(super) fn known(path: PathBuf) -> Self {
        Self { path, is_let_go: false }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is called in its app's directory, for whoever removes it.
    pub fn let_go(mut self) -> Option<String> {
        self.is_let_go = true;
        self.path.file_name()?.to_str().map(str::to_owned)
    }

    /// Makes it, and the socket in it if there is one, the user's. As long as the directory is ours nobody can put another file in the socket's
    /// place, so it goes last (CVE-2018-12026 was a symlink that an app put in such a place).
    pub(super) fn give_away(&self, opened: &OwnedFd, user: Option<&Identity>) -> io::Result<()> {
        let Some(user) = user else { return Ok(()) };
        let (uid, gid) = (Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
        match rustix::fs::chownat(opened, SOCKET, uid, gid, AtFlags::SYMLINK_NOFOLLOW) {
            // The app makes it, or listens on a port.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(rustix::fs::fchown(opened, uid, gid)?)
    }
}

impl Drop for PrivateDir {
    /// Of a start that came to nothing: there is rota's socket in it, or nothing.
    fn drop(&mut self) {
        if !self.is_let_go {
            let _ = fs::remove_file(self.path.join(SOCKET));
            if let Err(error) = fs::remove_dir(&self.path) {
                log::debug!("{}: {error}", self.path.display());
            }
        }
    }
}

fn random() -> Result<u32, Errno> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(u32::from_ne_bytes(bytes))
}

/// A directory that is ours and no symlink, made if it is missing (CVE-2014-1831 was a directory that somebody else had made first). `path`
/// is how errors call it.
fn own_dir(above: BorrowedFd<'_>, name: &Path, path: &Path) -> io::Result<OwnedFd> {
    let fresh = match rustix::fs::mkdirat(above, name, Mode::RWXU) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    let opened = our_dir_at(above, name, path)?;
    if fresh {
        // Others may pass through, to directories that they own, and see nothing; also under a umask that would forbid it.
        rustix::fs::fchmod(&opened, Mode::RWXU | Mode::XGRP | Mode::XOTH)?;
    }
    Ok(opened)
}

/// A directory that is there, ours, and no symlink.
pub fn our_dir(above: BorrowedFd<'_>, name: &Path) -> io::Result<OwnedFd> {
    our_dir_at(above, name, name)
}

fn our_dir_at(above: BorrowedFd<'_>, name: &Path, path: &Path) -> io::Result<OwnedFd> {
    let us = rustix::process::geteuid();
    let refused = || {
        let text = format!("{} must be a directory of uid {} that nobody else may write to", path.display(), us.as_raw());
        io::Error::new(io::ErrorKind::PermissionDenied, text)
    };
    let opened = open_dir(above, name).map_err(|error| match error.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied => refused(),
        _ => error,
    })?;
    let found = rustix::fs::fstat(&opened)?;
    let others = Mode::WGRP | Mode::WOTH;
    if found.st_uid != us.as_raw() || Mode::from_raw_mode(found.st_mode).intersects(others) {
        return Err(refused());
    }
    Ok(opened)
}

/// The directory `name` itself; a symlink or another kind of file is an error.
pub fn open_dir(above: BorrowedFd<'_>, name: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(above, name, flags, Mode::empty())?)
}

/// Of the app, in its directory.
pub(super) const SOCKET: &str = "app.sock";
