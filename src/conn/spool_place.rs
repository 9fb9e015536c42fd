//! Where temporary files are made: in `server.spool_dir`, by threads that act for the users of apps ([`crate::credentials`]). For a user that may
//! make none there, rota makes a directory in it while it is root, and holds that open: to get there by its path nobody needs a right.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::credentials::{self, Credentials};
use crate::sys;

/// The directory, and those in it, by uid.
#[derive(Debug)]
pub struct SpoolPlace {
    dir: PathBuf,
    own: Vec<(u32, OwnedFd)>,
}

impl From<PathBuf> for SpoolPlace {
    fn from(dir: PathBuf) -> Self {
        Self { dir, own: Vec::new() }
    }
}

impl SpoolPlace {
    /// Before any thread acts for one of these users. What cannot be made is said, and is missing when the user needs it.
    pub fn of_users(dir: &Path, users: &[Credentials]) -> Self {
        let mut place = Self::from(dir.to_owned());
        for user in users {
            let tried = user.on_a_thread(|| sys::open_unlinked_temp(CWD, dir));
            if !tried.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
                continue;
            }
            match make(dir, user) {
                Ok(made) => place.own.push((user.uid(), made)),
                Err(error) => log::error!("server.spool_dir {}: for large bodies of user {}: {error}", dir.display(), user.name()),
            }
        }
        place
    }

    /// A file without a name for whom the calling thread acts for.
    pub fn open(&self) -> io::Result<std::fs::File> {
        let own = credentials::acts_for().and_then(|uid| self.own.iter().find(|(of, _)| *of == uid));
        match own {
            Some((_, own)) => sys::open_unlinked_temp(own.as_fd(), Path::new(".")),
            None => sys::open_unlinked_temp(CWD, &self.dir),
        }
    }

    /// Takes away what it made.
    pub fn remove(&self) {
        for (uid, _) in &self.own {
            // Whatever somebody else put into it is not ours to take away.
            let _ = std::fs::remove_dir(self.dir.join(name(*uid)));
        }
    }
}

/// The user's own directory in `dir`, which nobody but root may write to: else the user could have made files there.
fn make(dir: &Path, user: &Credentials) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let above = rustix::fs::open(dir, flags.difference(OFlags::NOFOLLOW), Mode::empty())?;
    let name = name(user.uid());
    let fresh = match rustix::fs::mkdirat(&above, &name, Mode::RWXU) {
        Ok(()) => true,
        // Of a rota that was killed.
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    let made = rustix::fs::openat(&above, &name, flags, Mode::empty())?;
    if fresh {
        rustix::fs::chownat(&made, "", Some(Uid::from_raw(user.uid())), Some(Gid::from_raw(user.gid())), AtFlags::EMPTY_PATH)?;
    }
    let found = rustix::fs::fstat(&made)?;
    match found.st_uid == user.uid() && Mode::from_raw_mode(found.st_mode) == Mode::RWXU {
        true => Ok(made),
        false => Err(io::Error::other(format!("{name} in it is not a directory of uid {} alone", user.uid()))),
    }
}

fn name(uid: u32) -> String {
    format!(".rota-{uid}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restart::release;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn who_may_make_no_file_there_has_a_directory_of_its_own_there() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let user = Credentials::of(&release::identity("nobody", None).unwrap());
        for (mode, own) in [(0o1777, false), (0o755, true), (0o700, true)] {
            let dir = tempfile::tempdir().unwrap();
            let spool = dir.path().join("spool");
            fs::create_dir(&spool).unwrap();
            fs::set_permissions(&spool, fs::Permissions::from_mode(mode)).unwrap();
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
            for _ in 0..2 {
                // Twice: as it is found after a rota that was killed.
                let place = SpoolPlace::of_users(&spool, std::slice::from_ref(&user));
                let file = user.on_a_thread(|| place.open()).unwrap();
                assert_eq!((file.metadata().unwrap().uid(), file.metadata().unwrap().nlink()), (user.uid(), 0));
                place.open().unwrap();
                let made = fs::metadata(spool.join(".rota-65534")).ok().map(|made| (made.uid(), made.mode() & 0o777));
                assert_eq!(made, own.then_some((user.uid(), 0o700)), "{mode:o}");
            }
            SpoolPlace::of_users(&spool, std::slice::from_ref(&user)).remove();
            assert_eq!(fs::read_dir(&spool).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_directory_that_somebody_else_made_there_is_not_taken() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let user = Credentials::of(&release::identity("nobody", None).unwrap());
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".rota-65534")).unwrap();
        let place = SpoolPlace::of_users(dir.path(), std::slice::from_ref(&user));
        assert_eq!(user.on_a_thread(|| place.open()).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
