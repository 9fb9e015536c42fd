//! Unix sockets and their files: made with their mode, known again by device and inode, and removed only while they are ours and no
//! others'.
//!
//! Nothing here waits, and nothing follows a symlink at the path itself.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

/// The file of a listening socket of ours.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// To know it again.
    identity: Identity,
}

/// Device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
            fs::set_permissions(format!("/proc/self/fd/{}", opened.as_raw_fd()), fs::Permissions::from_mode(mode.bits()))?;
        }
        Ok((socket, Self { path: path.to_owned(), identity: Identity::of(&file) }))
    }

    /// Takes the file away, unless it is another server's by now.
    pub fn remove(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| Identity::of(&file) == self.identity) {
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
        Ok(_) | Err(_) => return Err(io::Error::new(ErrorKind::AddrInUse, "another server answers there")),
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
        assert_eq!(refusal(&socket), "another server answers there");
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
