//! Starting a process, the parent's side. On the restart thread only: the child's parent-death signal is tied to the thread that starts it.
//!
//! rota executes itself as a small shim ([`super::shim`]) that turns into the app: no code of ours runs between fork and exec of a threaded
//! program. The shim gets what it needs, and a socket if there is one to hand on, over a socket pair that is its standard input, and says
//! there what went wrong; end of file means that the app is running.

use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Type};

use super::environment::{self, Place};
use super::private_dir::{PrivateDir, SOCKET};
use super::release::Release;
use crate::config::{Bind, SpawnAttributes};
use crate::ids::ProcessName;
use crate::pool::{Failure, FailureKind};
use crate::socket_file;
use crate::sys::{self, Unit};

/// Where a process can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    Unix(#[serde(with = "crate::path_text")] PathBuf),
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
    dir.give_away(&opened, release.user.as_ref()).map_err(|error| format!("{}: {error}", dir.path().display()))?;
    let place = match &endpoint {
        Endpoint::Unix(path) => Place { dir: dir.path(), socket: Some(path), port: None },
        Endpoint::Tcp(addr) => Place { dir: dir.path(), socket: None, port: Some(addr.port()) },
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
    let unit = Unit {
        leader: pid,
        start,
        dir: dir.path().to_owned(),
        uid,
        survivors: request.survivors,
        cgroup: request.cgroup.map(Path::to_owned),
    };
    Ok(Launched { unit, endpoint, stdout, stderr, report, dir })
}

/// rota's own variables, those that are text.
fn own_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
}

fn reserve(release: &Release, dir: &PrivateDir) -> Result<Reserved, String> {
    let path = dir.path().join(SOCKET);
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

const ORDER_TIMEOUT: Duration = Duration::from_secs(5);
const BACKLOG: i32 = 1024;
