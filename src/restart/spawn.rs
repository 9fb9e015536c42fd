//! Starting a process, the parent's side. On the restart thread only: the child's parent-death signal is tied to the thread that starts it.
//!
//! rota executes itself as a small shim ([`super::shim`]) that turns into the app: no code of ours runs between fork and exec of a threaded
//! program. The shim gets what it needs, and a socket if there is one to hand on, over a socket pair that is its standard input, and says
//! there what went wrong; end of file means that the app is running.

use std::fs;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Type};

use super::environment::{self, Place};
use super::release::{Identity, Release};
use crate::config::Bind;
use crate::ids::ProcessName;
use crate::pool::{Failure, FailureKind};

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
    /// Soft limit of descriptors for the app.
    pub nofile: u64,
}

/// A process that has been started. Nobody waits for it but [`crate::sys::reap_any`].
#[derive(Debug)]
pub struct Launched {
    pub pid: u32,
    pub endpoint: Endpoint,
    /// Both non-blocking.
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    /// Non-blocking. End of file: the program runs. Else a [`super::shim::ShimError`].
    pub report: UnixStream,
    pub dir: PrivateDir,
}

/// The process's directory `run_dir/APP/NUMBER-SERIAL`, mode 0700 of the app's user, removed with this value.
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
    pub nofile: u64,
    /// A socket comes with the order; the app gets it as descriptor 3. Else it is only held until the app is executed.
    pub pass_socket: bool,
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
    let dir = PrivateDir::create(request.run_dir, &request.name, request.serial, release.user.as_ref())?;
    let Reserved { socket, endpoint } = reserve(release, &dir)?;
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
        pass_socket: release.bind == Bind::Fd,
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
    // The shim reads at once; the limit is for one that was killed or stopped before it did.
    report.set_write_timeout(Some(ORDER_TIMEOUT)).map_err(step("socketpair"))?;
    let sent = send_order(&report, &order, socket.as_ref());
    // Our copy would take connections that nobody accepts.
    drop(socket);
    if let Err(error) = sent.and_then(|()| report.set_nonblocking(true)) {
        let _ = crate::sys::signal_process(pid, crate::sys::KILL);
        return Err(format!("orders to the shim: {error}"));
    }
    Ok(Launched { pid, endpoint, stdout, stderr, report, dir })
}

/// rota's own variables, those that are text.
fn own_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
}

fn reserve(release: &Release, dir: &PrivateDir) -> Result<Reserved, String> {
    let path = dir.path.join("app.sock");
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
            let listen = || -> io::Result<OwnedFd> {
                let listener = UnixListener::bind(&path)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
                own(&path, release.user.as_ref())?;
                rustix::net::listen(listener.as_fd(), BACKLOG)?;
                Ok(listener.into())
            };
            let socket = listen().map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(Reserved { socket: Some(socket), endpoint: Endpoint::Unix(path) })
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
    fn create(run_dir: &Path, name: &ProcessName, serial: u32, user: Option<&Identity>) -> Result<Self, String> {
        let app = run_dir.join(name.app.as_str());
        let path = app.join(format!("{}-{serial}", name.number));
        let create = || -> io::Result<()> {
            if let Some(above) = run_dir.parent() {
                fs::create_dir_all(above)?;
            }
            make_own_dir(run_dir)?;
            make_own_dir(&app)?;
            // Left by a rota that was killed.
            if fs::symlink_metadata(&path).is_ok() {
                fs::remove_dir_all(&path)?;
            }
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            own(&path, user)
        };
        create().map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path })
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

/// A directory that is ours and no symlink, made if it is missing (CVE-2014-1831 was a directory that somebody else had made first).
fn make_own_dir(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        // Others may pass through, to directories that they own, and see nothing; also under a umask that would forbid it.
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(0o711))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let found = fs::symlink_metadata(path)?;
    let us = rustix::process::geteuid().as_raw();
    if !found.is_dir() || found.uid() != us || found.mode() & 0o022 != 0 {
        let text = format!("{} must be a directory of uid {us} that nobody else may write to", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(())
}

fn own(path: &Path, user: Option<&Identity>) -> io::Result<()> {
    match user {
        Some(user) => std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid)),
        None => Ok(()),
    }
}

const ORDER_TIMEOUT: Duration = Duration::from_secs(5);
const BACKLOG: i32 = 1024;
