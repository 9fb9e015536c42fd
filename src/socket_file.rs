//! Unix sockets and their files: made with their mode, known again by device and inode, removed only while they are ours and no others',
//! and an app's reached only while it is that.
//!
//! Nothing here waits, and nothing follows a symlink at the path itself.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::access_list;

/// The file of a listening socket of ours.
#[derive(Debug, Serialize, Deserialize)]
pub struct SocketFile {
    #[serde(with = "crate::path_text")]
    path: PathBuf,
    /// To know it again.
    identity: Identity,
}

/// Device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity(u64, u64);

impl SocketFile {
    /// A listening, non-blocking socket at `path` with exactly this mode. A socket that a killed server left behind is replaced. Errors,
    /// which do not name the path: `AddrInUse` for one that answers, `AlreadyExists` for a file that is no socket, what the kernel says.
    pub fn bind(path: &Path, mode: Mode, backlog: i32) -> io::Result<(UnixListener, Self)> {
        remove_stale(path)?;
        let socket = listen(path, mode, backlog)?;
        socket.set_nonblocking(true)?;
        let opened = open_itself(path)?;
        let file = opened.metadata()?;
        // bind(2) takes the umask off the mode; that of the whole program is not changed for it. Through the descriptor, so that it is this
        // file.
        if file.file_type().is_socket() && file.permissions().mode() & 0o777 != mode.bits() {
            fs::set_permissions(format!("/proc/thread-self/fd/{}", opened.as_raw_fd()), fs::Permissions::from_mode(mode.bits()))?;
        }
        Ok((socket, Self { path: path.to_owned(), identity: Identity::of(&file) }))
    }

    /// It still stands in its place.
    pub fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|file| Identity::of(&file) == self.identity)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it a group's, with this mode.
    pub fn share(&self, group: Gid, mode: Mode) -> io::Result<()> {
        let opened = open_itself(&self.path)?;
        if Identity::of(&opened.metadata()?) != self.identity {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "was replaced by another file"));
        }
        rustix::fs::chownat(&opened, "", None, Some(group), AtFlags::EMPTY_PATH)?;
        fs::set_permissions(format!("/proc/thread-self/fd/{}", opened.as_raw_fd()), fs::Permissions::from_mode(mode.bits()))
    }

    /// Lets these connect besides those whom this mode lets in, and nobody else.
    pub fn admit(&self, mode: Mode, users: &[u32], groups: &[u32]) -> io::Result<()> {
        let opened = open_itself(&self.path)?;
        if Identity::of(&opened.metadata()?) != self.identity {
            return Err(io::Error::new(ErrorKind::NotFound, "was replaced by another file"));
        }
        let itself = format!("/proc/thread-self/fd/{}", opened.as_raw_fd());
        if users.is_empty() && groups.is_empty() {
            match rustix::fs::removexattr(&itself, access_list::NAME) {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error.into()),
            }
            return fs::set_permissions(itself, fs::Permissions::from_mode(mode.bits()));
        }
        let list = access_list::of(mode.bits(), users, groups);
        Ok(rustix::fs::setxattr(&itself, access_list::NAME, &list, XattrFlags::empty())?)
    }

    /// Takes the file away, unless it is another server's by now.
    pub fn remove(&self) {
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

impl Identity {
    fn of(file: &fs::Metadata) -> Self {
        Self(file.dev(), file.ino())
    }
}

/// A listening, blocking socket. The mode is set on it before it gets its name, so that the file is never open to others (Linux: bind(2)
/// takes it from there, less the umask), and no path is followed for it.
pub fn listen(path: &Path, mode: Mode, backlog: i32) -> io::Result<UnixListener> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    rustix::fs::fchmod(&socket, mode)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// The file at `path`, also if it is a socket or a symlink, only to ask about it.
fn open_itself(path: &Path) -> io::Result<fs::File> {
    Ok(rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?.into())
}

/// The socket that an app's user makes and may swap for anything at any moment, reached as nothing but a socket of that user: a symlink, and
/// another's socket linked in there, would lead requests to whatever we may talk to.
#[derive(Debug)]
pub struct AppSocket {
    path: PathBuf,
    /// What stood at the path when it was looked at last. Held open, so that its inode stays its own.
    opened: Option<(Identity, fs::File)>,
}

impl AppSocket {
    /// `path` is in a directory of the app's user that is in one of ours.
    pub fn new(path: PathBuf) -> Self {
        Self { path, opened: None }
    }

    /// A new connection, which may still be waited for. `ConnectionRefused` if something else stands there; else what the kernel says.
    pub fn connect(&mut self) -> io::Result<mio::net::UnixStream> {
        let there = match fs::symlink_metadata(&self.path) {
            Ok(there) => Some(Identity::of(&there)),
            // Somebody cleaned up: what listened there listens still.
            Err(error) if error.kind() == ErrorKind::NotFound && self.opened.is_some() => None,
            Err(error) => return Err(error),
        };
        let opened = match self.opened.take().filter(|(identity, _)| there.is_none_or(|there| *identity == there)) {
            Some(opened) => opened,
            None => self.open()?,
        };
        let (_, file) = self.opened.insert(opened);
        mio::net::UnixStream::connect(format!("/proc/thread-self/fd/{}", file.as_raw_fd()))
    }

    fn open(&self) -> io::Result<(Identity, fs::File)> {
        let file = open_itself(&self.path)?;
        let found = file.metadata()?;
        let refused = |why: String| io::Error::new(ErrorKind::ConnectionRefused, format!("{} {why}", self.path.display()));
        if !found.file_type().is_socket() {
            return Err(refused("is no socket".to_owned()));
        }
        let user = fs::symlink_metadata(self.path.parent().unwrap_or(Path::new("/")))?.uid();
        // An app that runs as root, or as we do, can reach by itself what we can; it may also make its socket as another user.
        let may_not_have_it = user != 0 && user != rustix::process::geteuid().as_raw() && found.uid() != user;
        if may_not_have_it {
            return Err(refused(format!("belongs to uid {}, not to the app's uid {user}", found.uid())));
        }
        Ok((Identity::of(&found), file))
    }
}

/// Removes a socket that nobody listens on.
fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        // connect(2) refuses it as it refuses the socket of a dead server.
        Ok(file) if !file.file_type().is_socket() => {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "is there already and is no socket"));
        }
        Ok(file) => Identity::of(&file),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // Does not wait: a server with a full backlog is WouldBlock, and alive.
    match mio::net::UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
        answered => {
            let peer = answered.ok().and_then(|stream| rustix::net::sockopt::socket_peercred(&stream).ok());
            let who = peer.map_or_else(String::new, |peer| format!(" (pid {})", peer.pid.as_raw_nonzero()));
            return Err(io::Error::new(ErrorKind::AddrInUse, format!("another server answers there{who}")));
        }
    }
    // Another server may have put its own there meanwhile: then the bind says so.
    match fs::symlink_metadata(path) {
        Ok(file) if Identity::of(&file) == found => fs::remove_file(path),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_s_socket_is_reached_and_nothing_that_is_put_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sock");
        let mut app = AppSocket::new(path.clone());
        assert_eq!(app.connect().unwrap_err().kind(), ErrorKind::NotFound);
        let listener = UnixListener::bind(&path).unwrap();
        app.connect().unwrap();
        listener.accept().unwrap();

        let _precious = UnixListener::bind(dir.path().join("precious")).unwrap();
        fs::remove_file(&path).unwrap();
        app.connect().expect("its file is gone, and it still listens");
        listener.accept().unwrap();
        std::os::unix::fs::symlink(dir.path().join("precious"), &path).unwrap();
        let error = app.connect().unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::ConnectionRefused, format!("{} is no socket", path.display())));

        // The app listens anew, its old socket still open.
        fs::remove_file(&path).unwrap();
        let anew = UnixListener::bind(&path).unwrap();
        anew.set_nonblocking(true).unwrap();
        app.connect().unwrap();
        anew.accept().unwrap();
    }

    #[test]
    fn another_user_s_socket_that_is_linked_into_the_app_s_directory_is_not_reached() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (theirs, precious) = (dir.path().join("theirs"), dir.path().join("precious"));
        fs::create_dir(&theirs).unwrap();
        std::os::unix::fs::chown(&theirs, Some(4242), None).unwrap();
        let _precious = UnixListener::bind(&precious).unwrap();
        fs::hard_link(&precious, theirs.join("app.sock")).unwrap();
        let mut app = AppSocket::new(theirs.join("app.sock"));
        assert!(app.connect().unwrap_err().to_string().ends_with("belongs to uid 0, not to the app's uid 4242"));
        std::os::unix::fs::chown(&precious, Some(4242), None).unwrap();
        app.connect().unwrap();
    }

    const MODE: Mode = Mode::from_bits_retain(0o666);

    fn refusal(path: &Path) -> String {
        SocketFile::bind(path, MODE, 8).unwrap_err().to_string()
    }

    #[test]
    fn only_a_socket_that_nobody_answers_on_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "precious").unwrap();
        assert_eq!(refusal(&file), "is there already and is no socket");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(refusal(&link), "is there already and is no socket");
        fs::create_dir(dir.path().join("dir")).unwrap();
        assert_eq!(refusal(&dir.path().join("dir")), "is there already and is no socket");
        assert_eq!(fs::read_to_string(&link).unwrap(), "precious");

        let socket = dir.path().join("socket");
        let living = UnixListener::bind(&socket).unwrap();
        assert_eq!(refusal(&socket), format!("another server answers there (pid {})", std::process::id()));
        drop(living);
        SocketFile::bind(&socket, MODE, 8).unwrap();
    }

    #[test]
    fn the_mode_is_the_one_that_is_asked_for_whatever_the_umask() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o600, 0o666] {
            let path = dir.path().join(format!("{mode:o}"));
            let _bound = SocketFile::bind(&path, Mode::from_bits_retain(mode), 8).unwrap();
            assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        }
    }

    #[test]
    fn a_file_that_is_another_servers_by_now_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let (_listener, ours) = SocketFile::bind(&path, MODE, 8).unwrap();
        // Made beside it, so that it cannot have the same inode.
        let _theirs = UnixListener::bind(dir.path().join("theirs")).unwrap();
        fs::rename(dir.path().join("theirs"), &path).unwrap();
        drop(ours);
        assert!(path.exists());
    }
}
