//! Where temporary files are made: in `server.spool_dir`, by threads that act for the users of apps ([`crate::credentials`]). For a user that may
//! make none there, rota makes a directory in it while it is root, and holds that open: to get there by its path nobody needs a right. Where
//! somebody has removed one of them, or all, the main thread makes them anew ([`crate::master::Porter`]).

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::credentials::{self, Credentials};
use crate::safe_open;
use crate::sys;

/// The directory, and those in it.
#[derive(Debug)]
pub struct SpoolPlace {
    dir: PathBuf,
    /// Mode, user and group that it had when rota started.
    like: Option<(u32, u32, u32)>,
    /// One that is taken out to be looked at and put back: no call of the system lies between.
    made: (Sender<Arc<Made>>, Receiver<Arc<Made>>),
}

/// What there is of it.
#[derive(Debug, Default)]
struct Made {
    users: Vec<Credentials>,
    /// Of the apps' users.
    groups: Vec<u32>,
    /// Device and inode of the directory.
    identity: Option<(u64, u64)>,
    /// Directories in it, by uid.
    own: Vec<(u32, OwnedFd)>,
}

impl From<PathBuf> for SpoolPlace {
    fn from(dir: PathBuf) -> Self {
        Self::holding(dir, Made::default())
    }
}

impl SpoolPlace {
    /// Before any thread acts for one of these users. What cannot be made is said, and is missing when the user needs it. `groups`: of the users of
    /// apps.
    pub fn of_users(dir: &Path, users: &[Credentials], groups: Vec<u32>) -> Self {
        let mut made = Made { users: users.to_vec(), groups, identity: identity(dir), own: Vec::new() };
        made.admit(dir, users);
        Self::holding(dir.to_owned(), made)
    }

    /// As [`Self::of_users`] for users that come later; those of before stay. On a thread that has root's rights.
    pub fn admit(&self, users: &[Credentials], groups: Vec<u32>) {
        let made = self.made();
        let own: io::Result<Vec<_>> = made.own.iter().map(|(uid, own)| Ok((*uid, own.try_clone()?))).collect();
        let own = match own {
            Ok(own) => own,
            Err(error) => return log::error!("server.spool_dir {}: for users of new apps: {error}", self.dir.display()),
        };
        let new: Vec<Credentials> = users.iter().filter(|user| !made.users.contains(user)).cloned().collect();
        let mut next = Made { users: made.users.clone(), groups, identity: made.identity, own };
        next.admit(&self.dir, &new);
        next.users.extend(new);
        let old = self.made.1.recv();
        self.put(Arc::new(next));
        drop(old);
    }

    fn holding(dir: PathBuf, made: Made) -> Self {
        let like = fs::metadata(&dir).ok().map(|found| (found.mode() & 0o7777, found.uid(), found.gid()));
        let place = Self { dir, like, made: crossbeam_channel::bounded(1) };
        place.put(Arc::new(made));
        place
    }

    /// A file without a name for whom the calling thread acts for.
    pub fn open(&self) -> io::Result<std::fs::File> {
        let made = self.made();
        let own = credentials::acts_for().and_then(|uid| made.own.iter().find(|(of, _)| *of == uid));
        match own {
            Some((_, own)) => sys::open_unlinked_temp(own.as_fd(), Path::new(".")),
            None => sys::open_unlinked_temp(CWD, &self.dir),
        }
    }

    /// There are directories in it.
    pub fn has_own(&self) -> bool {
        !self.made().own.is_empty()
    }

    /// All of it is as it was made.
    pub fn is_there(&self) -> bool {
        let made = self.made();
        let is_kept = |(_, own): &(u32, OwnedFd)| rustix::fs::fstat(own).is_ok_and(|found| found.st_nlink > 0);
        made.identity.is_some() && made.identity == identity(&self.dir) && made.own.iter().all(is_kept)
    }

    /// Makes the directory as it was, if it is missing where nobody else decides what stands, and in it one for each user that could make no file
    /// there. Err: what is missing still, as a sentence.
    pub fn make_anew(&self) -> Result<(), String> {
        let named = |error: io::Error| format!("server.spool_dir {}: {error}", self.dir.display());
        let Made { users, groups, .. } = &*self.made();
        if identity(&self.dir).is_none() {
            self.make_directory(groups).map_err(named)?;
        }
        let mode = fs::metadata(&self.dir).map_err(named)?.mode();
        let mut made = Made { users: users.clone(), groups: groups.clone(), identity: identity(&self.dir), own: Vec::new() };
        let everybody = Mode::WOTH | Mode::XOTH;
        // The main thread cannot try it as them: a directory more than is needed does no harm.
        let users = if Mode::from_raw_mode(mode).contains(everybody) { &[] } else { users.as_slice() };
        for user in users {
            made.add(&self.dir, user)?;
        }
        let old = self.made.1.recv();
        self.put(Arc::new(made));
        drop(old);
        Ok(())
    }

    fn make_directory(&self, groups: &[u32]) -> io::Result<()> {
        let (mode, uid, gid) = self.like.ok_or(io::ErrorKind::NotFound)?;
        safe_open::check_way(&self.dir, groups)?;
        rustix::fs::mkdir(&self.dir, Mode::RWXU)?;
        let made = rustix::fs::open(&self.dir, DIRECTORY, Mode::empty())?;
        let ours = rustix::process::geteuid().as_raw();
        if rustix::fs::fstat(&made)?.st_uid != ours {
            return Err(io::Error::other("somebody else has made it at the same time"));
        }
        if uid != ours || gid != rustix::process::getegid().as_raw() {
            rustix::fs::chownat(&made, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)?;
        }
        // Behind the change of owner, which takes bits away.
        let way = format!("/proc/thread-self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&made));
        fs::set_permissions(way, std::os::unix::fs::PermissionsExt::from_mode(mode))
    }

    fn made(&self) -> Arc<Made> {
        let made = self.made.1.recv().unwrap_or_default();
        self.put(made.clone());
        made
    }

    fn put(&self, made: Arc<Made>) {
        // There is room for the one that was taken out.
        let _ = self.made.0.send(made);
    }

    /// Takes away what it made.
    pub fn remove(&self) {
        for (uid, _) in &self.made().own {
            // Whatever somebody else put into it is not ours to take away.
            let _ = std::fs::remove_dir(self.dir.join(name(*uid)));
        }
    }
}

impl Made {
    /// For those that may make no file there.
    fn admit(&mut self, dir: &Path, users: &[Credentials]) {
        for user in users {
            let tried = user.on_a_thread(|| sys::open_unlinked_temp(CWD, dir));
            if tried.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
                && let Err(error) = self.add(dir, user)
            {
                log::error!("{error}");
            }
        }
    }

    /// Where root gives something away, nobody else may decide what stands.
    fn add(&mut self, dir: &Path, user: &Credentials) -> Result<(), String> {
        let made = safe_open::check_way(&dir.join(name(user.uid())), &self.groups).and_then(|()| make(dir, user));
        let made =
            made.map_err(|error| format!("server.spool_dir {}: for large bodies of user {}: {error}", dir.display(), user.name()))?;
        self.own.push((user.uid(), made));
        Ok(())
    }
}

fn identity(dir: &Path) -> Option<(u64, u64)> {
    fs::metadata(dir).ok().filter(|found| found.is_dir()).map(|found| (found.dev(), found.ino()))
}

/// The user's own directory in `dir`, which nobody but root may write to: else the user could have made files there.
fn make(dir: &Path, user: &Credentials) -> io::Result<OwnedFd> {
    let above = rustix::fs::open(dir, DIRECTORY.difference(OFlags::NOFOLLOW), Mode::empty())?;
    let name = name(user.uid());
    let fresh = match rustix::fs::mkdirat(&above, &name, Mode::RWXU) {
        Ok(()) => true,
        // Of a rota that was killed.
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    let made = rustix::fs::openat(&above, &name, DIRECTORY, Mode::empty())?;
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

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

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
                let place = SpoolPlace::of_users(&spool, std::slice::from_ref(&user), Vec::new());
                let file = user.on_a_thread(|| place.open()).unwrap();
                assert_eq!((file.metadata().unwrap().uid(), file.metadata().unwrap().nlink()), (user.uid(), 0));
                place.open().unwrap();
                let made = fs::metadata(spool.join(".rota-65534")).ok().map(|made| (made.uid(), made.mode() & 0o777));
                assert_eq!(made, own.then_some((user.uid(), 0o700)), "{mode:o}");
            }
            SpoolPlace::of_users(&spool, std::slice::from_ref(&user), Vec::new()).remove();
            assert_eq!(fs::read_dir(&spool).unwrap().count(), 0);
        }
    }

    #[test]
    fn what_somebody_removed_is_made_anew_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("spool");
        fs::create_dir(&spool).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        let user = is_root.then(|| Credentials::of(&release::identity("nobody", None).unwrap()));
        if is_root {
            std::os::unix::fs::chown(&spool, None, Some(2)).unwrap();
        }
        fs::set_permissions(&spool, fs::Permissions::from_mode(0o710)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let about = || fs::metadata(&spool).map(|found| (found.mode() & 0o7777, found.uid(), found.gid())).unwrap();
        let before = about();
        let place = SpoolPlace::of_users(&spool, user.as_slice(), Vec::new());
        assert!(place.is_there());
        let opens = || match &user {
            Some(user) => user.on_a_thread(|| place.open()).is_ok(),
            None => place.open().is_ok(),
        };
        // All of it; what is in it; and all of it, where somebody has made another.
        for (removed, by_another) in [("", false), (".rota-65534", false), ("", true)] {
            if removed.is_empty() || is_root {
                fs::remove_dir_all(spool.join(removed)).unwrap();
                if by_another {
                    fs::create_dir(&spool).unwrap();
                }
                assert!(!place.is_there());
            }
            if is_root {
                assert!(!opens(), "{removed:?} {by_another}");
            }
            place.make_anew().unwrap();
            assert!(place.is_there() && opens(), "{removed:?} {by_another}");
            assert!(by_another || about() == before, "{:?}", about());
        }
        if is_root {
            std::os::unix::fs::chown(&spool, Some(1), None).unwrap();
            fs::remove_dir(spool.join(".rota-65534")).unwrap();
            let refused = place.make_anew().unwrap_err();
            assert!(refused.contains("belongs to uid 1"), "in another's directory root makes nothing to be given away: {refused}");
        }
        // A way that another may lay is nobody's to make something on.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        fs::remove_dir_all(&spool).unwrap();
        assert_eq!(place.make_anew().is_err(), is_root);
    }

    #[test]
    fn a_directory_that_somebody_else_made_there_is_not_taken() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let user = Credentials::of(&release::identity("nobody", None).unwrap());
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".rota-65534")).unwrap();
        let place = SpoolPlace::of_users(dir.path(), std::slice::from_ref(&user), Vec::new());
        assert_eq!(user.on_a_thread(|| place.open()).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
