//! Starting a process, the parent's side. On the restart thread only: the child's parent-death signal is tied to the thread that starts it.
//!
//! rota executes itself as a small shim ([`super::shim`]) that turns into the app: no code of ours runs between fork and exec of a threaded
//! program. The shim gets what it needs, and a socket if there is one to hand on, over a socket pair that is its standard input, and says
//! there what went wrong; end of file means that the app is running.

use std::fs;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Type};

use super::environment::{self, Place};
use super::release::{Identity, Release};
use crate::config::{Bind, SpawnAttributes};
use crate::ids::ProcessName;
use crate::pool::{Failure, FailureKind};
use crate::socket_file;
use crate::sys::{self, Unit};

/// Where a process can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// What to start.
#[derive(Debug)]
pub struct LaunchRequest<'a> {
    /// The rota program, for the shim.
    pub program: &'a Path,
    pub name: ProcessName,
    pub release: &'a Release,
    pub run_dir: &'a Path,
    pub serial: u32,
    /// Soft limit of descriptors for an app that has none of its own.
    pub nofile: u64,
    /// Others serve meanwhile, and go before it on the processor.
    pub aside: bool,
    pub survivors: bool,
    /// The control group that it is to join.
    pub cgroup: Option<&'a Path>,
}

/// A process that has been started. Nobody waits for it but the restart thread.
#[derive(Debug)]
pub struct Launched {
    pub unit: Unit,
    pub endpoint: Endpoint,
    /// Both non-blocking.
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    /// Non-blocking. End of file: the program runs. Else a [`super::shim::ShimError`].
    pub report: UnixStream,
    pub dir: PrivateDir,
}

/// The process's directory `run_dir/APP/NUMBER-SERIAL`, mode 0700, removed with this value. It is rota's until all that rota makes in it is
/// there.
#[derive(Debug)]
pub struct PrivateDir {
    path: PathBuf,
}

/// What the shim is told, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ShimOrder {
    pub parent: u32,
    pub command: Vec<String>,
    pub root: PathBuf,
    pub env: Vec<(String, String)>,
    /// Name, uid, gid.
    pub user: Option<(String, u32, u32)>,
    /// Soft limit of descriptors where the attributes have none.
    pub nofile: u64,
    pub attributes: SpawnAttributes,
    /// A socket comes with the order; the app gets it as descriptor 3. Else it is only held until the app is executed.
    pub pass_socket: bool,
    pub aside: bool,
    pub cgroup: Option<PathBuf>,
}

/// Starts a process; returns when the shim has its orders.
pub fn launch(request: &LaunchRequest<'_>) -> Result<Launched, Failure> {
    start(request).map_err(|text| Failure { kind: FailureKind::Spawn(text), output: Vec::new() })
}

/// The socket that goes to the child, and where the app is reached.
struct Reserved {
    socket: Option<OwnedFd>,
    endpoint: Endpoint,
}

fn start(request: &LaunchRequest<'_>) -> Result<Launched, String> {
    let release = request.release;
    let (dir, opened) = PrivateDir::create(request.run_dir, &request.name, request.serial)?;
    let Reserved { socket, endpoint } = reserve(release, &dir)?;
    // Last: from here on the app's user may put anything anywhere in it.
    give_away(&opened, release.user.as_ref()).map_err(|error| format!("{}: {error}", dir.path.display()))?;
    let place = match &endpoint {
        Endpoint::Unix(path) => Place { dir: &dir.path, socket: Some(path), port: None },
        Endpoint::Tcp(addr) => Place { dir: &dir.path, socket: None, port: Some(addr.port()) },
    };
    let order = ShimOrder {
        parent: std::process::id(),
        command: environment::command(release, &place),
        root: release.root.clone(),
        env: environment::variables(own_environment(), &request.name, release, &place),
        user: release.user.as_ref().map(|user| (user.name.clone(), user.uid, user.gid)),
        nofile: request.nofile,
        attributes: release.attributes.clone(),
        pass_socket: release.bind == Bind::Fd,
        aside: request.aside,
        cgroup: request.cgroup.map(Path::to_owned),
    };
    let step = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let (report, childs) = UnixStream::pair().map_err(step("socketpair"))?;
    let (stdout, childs_stdout) = io::pipe().map_err(step("pipe"))?;
    let (stderr, childs_stderr) = io::pipe().map_err(step("pipe"))?;
    let (stdout, stderr) = (OwnedFd::from(stdout), OwnedFd::from(stderr));
    for pipe in [&stdout, &stderr] {
        rustix::io::ioctl_fionbio(pipe, true).map_err(|error| format!("pipe: {error}"))?;
    }
    let mut command = Command::new(request.program);
    command.arg("__spawn").env_clear().current_dir("/");
    command.stdin(Stdio::from(OwnedFd::from(childs))).stdout(childs_stdout).stderr(childs_stderr);
    let child = command.spawn().map_err(step("fork"))?;
    let pid = child.id();
    // It is there, if need be as a zombie. Without its orders it ends.
    let start = sys::start_of(pid).ok_or_else(|| format!("/proc/{pid}/stat cannot be read"))?;
    // The shim reads at once; the limit is for one that was killed or stopped before it did.
    report.set_write_timeout(Some(ORDER_TIMEOUT)).map_err(step("socketpair"))?;
    let sent = send_order(&report, &order, socket.as_ref());
    // Our copy would take connections that nobody accepts.
    drop(socket);
    if let Err(error) = sent.and_then(|()| report.set_nonblocking(true)) {
        let _ = sys::signal_child(pid, sys::KILL);
        return Err(format!("orders to the shim: {error}"));
    }
    let uid = release.user.as_ref().map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid);
    let unit =
        Unit { leader: pid, start, dir: dir.path.clone(), uid, survivors: request.survivors, cgroup: request.cgroup.map(Path::to_owned) };
    Ok(Launched { unit, endpoint, stdout, stderr, report, dir })
}

/// rota's own variables, those that are text.
fn own_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
}

fn reserve(release: &Release, dir: &PrivateDir) -> Result<Reserved, String> {
    let path = dir.path.join(SOCKET);
    match release.bind {
        Bind::Unix => {
            // Each server words this in its own way, most of them badly.
            std::os::unix::net::SocketAddr::from_pathname(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(Reserved { socket: None, endpoint: Endpoint::Unix(path) })
        }
        Bind::Port => {
            let reserve = || -> io::Result<(OwnedFd, SocketAddr)> {
                let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM.cloexec(), None)?;
                // Bound and not listening: nobody else is given the port, and the app may bind it too.
                socket.set_reuse_address(true)?;
                socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
                let addr = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
                Ok((socket.into(), addr))
            };
            let (socket, addr) = reserve().map_err(|error| format!("a free port on 127.0.0.1: {error}"))?;
            Ok(Reserved { socket: Some(socket), endpoint: Endpoint::Tcp(addr) })
        }
        Bind::Fd => {
            let mode = Mode::RUSR | Mode::WUSR;
            let socket = socket_file::listen(&path, mode, BACKLOG).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(Reserved { socket: Some(socket.into()), endpoint: Endpoint::Unix(path) })
        }
    }
}

fn send_order(to: &UnixStream, order: &ShimOrder, socket: Option<&OwnedFd>) -> io::Result<()> {
    let mut text = serde_json::to_vec(order)?;
    text.push(b'\n');
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    let fds = socket.map(|socket| [socket.as_fd()]);
    if let Some(fds) = &fds
        && !with.push(SendAncillaryMessage::ScmRights(fds))
    {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let sent = rustix::net::sendmsg(to, &[IoSlice::new(&text)], &mut with, SendFlags::NOSIGNAL)?;
    let mut to = to;
    to.write_all(&text[sent..])
}

impl PrivateDir {
    /// The directory, and itself opened, whatever comes to stand at its path.
    fn create(run_dir: &Path, name: &ProcessName, serial: u32) -> Result<(Self, OwnedFd), String> {
        let app = run_dir.join(name.app.as_str());
        let own_name = format!("{}-{serial}", name.number);
        let path = app.join(&own_name);
        let create = || -> io::Result<OwnedFd> {
            if let Some(above) = run_dir.parent() {
                fs::create_dir_all(above)?;
            }
            let run = own_dir(CWD, run_dir, run_dir)?;
            let app = own_dir(run.as_fd(), Path::new(name.app.as_str()), &app)?;
            // Left by a rota that was killed, and the app's user's since: std walks down with openat(2), so a link in it is removed, not
            // followed.
            if fs::symlink_metadata(&path).is_ok() {
                fs::remove_dir_all(&path)?;
            }
            // Nobody else may write to the directory above: what is made here is what is opened.
            rustix::fs::mkdirat(&app, &own_name, Mode::RWXU)?;
            let opened = open_dir(app.as_fd(), Path::new(&own_name))?;
            // Also under a umask that would forbid it.
            rustix::fs::fchmod(&opened, Mode::RWXU)?;
            Ok(opened)
        };
        let opened = create().map_err(|error| format!("{}: {error}", path.display()))?;
        Ok((Self { path }, opened))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            log::debug!("{}: {error}", self.path.display());
        }
    }
}

/// Makes a process's directory, and the socket in it if there is one, the user's. As long as the directory is ours nobody can put another
/// file in the socket's place, so it goes last (CVE-2018-12026 was a symlink that an app put in such a place).
fn give_away(dir: &OwnedFd, user: Option<&Identity>) -> io::Result<()> {
    let Some(user) = user else { return Ok(()) };
    let (uid, gid) = (Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
    match rustix::fs::chownat(dir, SOCKET, uid, gid, AtFlags::SYMLINK_NOFOLLOW) {
        // The app makes it, or listens on a port.
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(rustix::fs::fchown(dir, uid, gid)?)
}

/// A directory that is ours and no symlink, made if it is missing (CVE-2014-1831 was a directory that somebody else had made first). `path`
/// is how errors call it.
fn own_dir(above: BorrowedFd<'_>, name: &Path, path: &Path) -> io::Result<OwnedFd> {
    let fresh = match rustix::fs::mkdirat(above, name, Mode::RWXU) {
        Ok(()) => true,
        Err(rustix::io::Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
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
    if fresh {
        // Others may pass through, to directories that they own, and see nothing; also under a umask that would forbid it.
        rustix::fs::fchmod(&opened, Mode::RWXU | Mode::XGRP | Mode::XOTH)?;
    }
    Ok(opened)
}

/// The directory `name` itself; a symlink or another kind of file is an error.
fn open_dir(above: BorrowedFd<'_>, name: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(above, name, flags, Mode::empty())?)
}

const ORDER_TIMEOUT: Duration = Duration::from_secs(5);
const BACKLOG: i32 = 1024;
/// Of the app, in its directory.
const SOCKET: &str = "app.sock";
