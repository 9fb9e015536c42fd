//! The sockets that clients connect to.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use mio::event::Source;
use mio::{Interest, Registry, Token};
use rustix::fs::{Gid, Mode};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockFilter, SockRef, TcpKeepalive, Type};

use super::porter::Door;
use crate::config::{Listen, ListenConfig, SocketAccess};
use crate::conn::socket::Socket;
use crate::safe_open;
use crate::socket_file::SocketFile;
use crate::upgrade::pack::{Pack, Place, Unpack};

/// One listening socket.
#[derive(Debug)]
pub struct Listener {
    pub config: ListenConfig,
    socket: Listening,
    /// Connections may be waiting (edge-triggered).
    pub ready: bool,
}

#[derive(Debug)]
enum Listening {
    /// It was taken out.
    Closed,
    Tcp(mio::net::TcpListener),
    Unix(mio::net::UnixListener),
}

/// What is left of one to the next rota.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedListener {
    config: ListenConfig,
    socket: Option<Place>,
}

impl SavedListener {
    pub fn restore(self, unpack: &mut Unpack) -> Result<Listener, String> {
        let socket = match (self.socket.map(|place| unpack.take(place)).transpose()?, &self.config.at) {
            (None, _) => Listening::Closed,
            (Some(socket), Listen::Tcp(_)) => Listening::Tcp(mio::net::TcpListener::from_std(socket.into())),
            (Some(socket), Listen::Unix(_)) => Listening::Unix(mio::net::UnixListener::from_std(socket.into())),
        };
        Ok(Listener { config: self.config, socket, ready: true })
    }
}

/// What is not open yet, and why.
pub type Waiting = Vec<(ListenConfig, io::Error)>;

/// Opens what can be opened now; the others, each with why not, may come to be there. Err: nothing would ever be listened to, or it never can.
/// `groups`: of the apps' users.
pub fn open_all(configs: &[ListenConfig], groups: &[u32]) -> Result<(Vec<(Listener, Door)>, Waiting), String> {
    let (mut open, mut waiting, mut in_use) = (Vec::new(), Vec::new(), None);
    for config in configs {
        match Listener::bind(config, groups) {
            Ok((listener, file)) => open.push((listener, Door { config: config.clone(), file })),
            Err(error) => {
                let named = format!("server.listen {config}: {error}");
                match lack(&error) {
                    Lack::Address => {}
                    Lack::Place => drop(in_use.get_or_insert(named)),
                    Lack::Forever => return Err(named),
                }
                waiting.push((config.clone(), error));
            }
        }
    }
    match in_use.filter(|_| open.is_empty()) {
        Some(in_use) => Err(in_use),
        None => Ok((open, waiting)),
    }
}

/// Why a listener cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// An interface that comes up after us: waited for, even if there is nothing else to listen on.
    Address,
    /// Another server is there, or the directory of a socket is not, or is somebody else's: worth to be waited for where we serve elsewhere meanwhile.
    Place,
    Forever,
}

/// ip(7), ipv6(7), unix(7).
pub fn lack(error: &io::Error) -> Lack {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => Lack::Address,
        _ if error.raw_os_error() == Some(ENODEV) => Lack::Address,
        io::ErrorKind::AddrInUse | io::ErrorKind::NotFound => Lack::Place,
        // Not the kernel's: a way that others have a say in, who shall not keep the rest from being served.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => Lack::Place,
        _ => Lack::Forever,
    }
}

impl Listener {
    /// With the file of a Unix socket, which is made only where nobody else decides what stands. `groups`: of the apps' users.
    pub fn bind(config: &ListenConfig, groups: &[u32]) -> io::Result<(Self, Option<SocketFile>)> {
        let at = &config.at;
        let (socket, file) = match at {
            Listen::Tcp(addr) => {
                let open = |addr: &SocketAddr| {
                    socket2::Socket::new(Domain::for_address(*addr), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))
                };
                let mut addr = *addr;
                let socket = match open(&addr) {
                    // A machine without IPv6: every address means every IPv4 one.
                    Err(error) if error.raw_os_error() == Some(EAFNOSUPPORT) && addr.ip().is_unspecified() => {
                        addr.set_ip(Ipv4Addr::UNSPECIFIED.into());
                        open(&addr)?
                    }
                    opened => opened?,
                };
                socket.set_reuse_address(true)?;
                // Accepted sockets inherit it: answers in two parts do not wait for an acknowledgement, at no call per connection.
                socket.set_tcp_nodelay(true)?;
                // So too: what a slow client does not take waits in its file, not in megabytes of the kernel's memory. It can do without.
                if let Err(error) = socket.set_tcp_notsent_lowat(UNSENT) {
                    log::warn!("server.listen {}: slow clients cost the kernel more memory: TCP_NOTSENT_LOWAT: {error}", config.at);
                }
                // And so too: a stream may be silent for an hour, and a client that has vanished without a word is found out.
                let keepalive = TcpKeepalive::new().with_time(SILENT).with_interval(PROBE_EACH).with_retries(PROBES);
                if let Err(error) = socket.set_tcp_keepalive(&keepalive) {
                    log::warn!("server.listen {}: who vanishes during a silent stream is not noticed: SO_KEEPALIVE: {error}", config.at);
                }
                if addr.is_ipv6() {
                    socket.set_only_v6(!addr.ip().is_unspecified())?;
                }
                socket.bind(&addr.into())?;
                socket.listen(BACKLOG)?;
                (Listening::Tcp(mio::net::TcpListener::from_std(socket.into())), None)
            }
            Listen::Unix(path) => {
                let SocketAccess { mode, group } = &config.door;
                safe_open::check_way(path, groups)?;
                let (listener, file) = SocketFile::bind(path, mode_of(*mode, group.is_some()), BACKLOG)?;
                if group.is_some() {
                    share(&file, *mode, group.as_deref())?;
                }
                (Listening::Unix(mio::net::UnixListener::from_std(listener)), Some(file))
            }
        };
        Ok((Self { config: config.clone(), socket, ready: true }, file))
    }

    pub fn save<'a>(&'a self, pack: &mut Pack<'a>) -> SavedListener {
        let socket = match &self.socket {
            Listening::Closed => None,
            Listening::Tcp(socket) => Some(pack.put(socket.as_fd())),
            Listening::Unix(socket) => Some(pack.put(socket.as_fd())),
        };
        SavedListener { config: self.config.clone(), socket }
    }

    /// In its place stays one on which nobody ever comes.
    pub fn take(&mut self) -> Self {
        let socket = std::mem::replace(&mut self.socket, Listening::Closed);
        self.ready = false;
        Self { config: self.config.clone(), socket, ready: true }
    }

    pub fn is_open(&self) -> bool {
        !matches!(self.socket, Listening::Closed)
    }

    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match &mut self.socket {
            Listening::Tcp(socket) => socket.deregister(registry),
            Listening::Unix(socket) => socket.deregister(registry),
            Listening::Closed => Ok(()),
        }
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.socket {
            Listening::Closed => Ok(()),
            Listening::Tcp(socket) => socket.register(registry, token, Interest::READABLE),
            Listening::Unix(socket) => socket.register(registry, token, Interest::READABLE),
        }
    }

    /// For [`turn_away`]; None: it is enough that its file is taken away.
    pub fn handle(&self) -> Option<OwnedFd> {
        match &self.socket {
            Listening::Tcp(socket) => socket.as_fd().try_clone_to_owned().ok(),
            Listening::Unix(_) | Listening::Closed => None,
        }
    }

    /// The next connection that waits, with the address it comes from.
    pub fn accept(&self) -> io::Result<(Socket, Option<std::net::IpAddr>)> {
        match &self.socket {
            Listening::Tcp(socket) => socket.accept().map(|(stream, addr)| (Socket::Tcp(stream), Some(addr.ip().to_canonical()))),
            Listening::Unix(socket) => socket.accept().map(|(stream, _)| (Socket::Unix(stream), None)),
            Listening::Closed => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// Lets no further connection begin, while those that have begun can still be accepted: closing a listener resets what waits in its
/// backlog, and whoever gets in between the last accept and the close would be lost. A dropped SYN (filter run on the TCP header,
/// socket(7) SO_ATTACH_FILTER) is sent again by the client a second later, when the port is closed or a new server listens. Some kernels ask for
/// CAP_NET_ADMIN.
pub fn turn_away(socket: &OwnedFd) {
    if let Err(error) = SockRef::from(socket).attach_filter(&NO_SYN) {
        log::warn!("server.listen: a connection may be lost at its end: SO_ATTACH_FILTER: {error}");
    }
}

/// Makes the file of a socket those users'.
pub fn share(file: &SocketFile, mode: Option<u32>, group: Option<&str>) -> io::Result<()> {
    let own = || Ok(rustix::process::getegid());
    file.share(group.map_or_else(own, gid)?, mode_of(mode, group.is_some()))
}

/// Whoever may reach the directory may connect, as with a port.
fn mode_of(mode: Option<u32>, has_group: bool) -> Mode {
    let otherwise = if has_group { FOR_GROUP } else { FOR_ALL };
    mode.map_or(otherwise, Mode::from_bits_truncate)
}

/// Err: there is no such group.
pub fn gid(name: &str) -> io::Result<Gid> {
    let named = |error: nix::Error| io::Error::other(format!("group {name}: {error}"));
    let found = nix::unistd::Group::from_name(name).map_err(named)?;
    found.map(|group| Gid::from_raw(group.gid.as_raw())).ok_or_else(|| io::Error::other(format!("there is no group {name:?}")))
}

/// Read and write, for everybody.
const FOR_ALL: Mode = Mode::from_bits_retain(0o666);
/// For the owner and a group.
const FOR_GROUP: Mode = Mode::from_bits_retain(0o660);
/// socket(2): the machine does not speak this address family.
const EAFNOSUPPORT: i32 = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
/// The interface of a link-local address.
const ENODEV: i32 = rustix::io::Errno::NODEV.raw_os_error();
/// The kernel lowers it to net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// Bytes that the kernel takes for a client beyond what it has sent already (tcp(7), TCP_NOTSENT_LOWAT): two pieces of a large body, so that a
/// fast client never waits for us.
const UNSENT: u32 = 128 << 10;
/// After so long without a byte the kernel asks a client whether it is there (tcp(7), TCP_KEEPIDLE), so often and that many times.
const SILENT: Duration = Duration::from_secs(60);
const PROBE_EACH: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;
/// Load the flags of the TCP header (RFC 9293 3.1); SYN among them: drop, else: keep whole.
const NO_SYN: [SockFilter; 4] = [
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x45, 0, 1, 0x02),
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: &str) -> ListenConfig {
        ListenConfig { at: Listen::Tcp(address.parse().unwrap()), proxy_protocol: false, door: SocketAccess::default() }
    }

    #[test]
    fn an_address_that_is_not_there_is_waited_for_also_alone() {
        // RFC 5737: of no machine.
        let (open, waiting) = open_all(&[tcp("198.51.100.7:8080")], &[]).unwrap();
        assert_eq!((open.len(), waiting.len(), lack(&waiting[0].1)), (0, 1, Lack::Address));
    }

    #[test]
    fn a_place_that_is_taken_is_waited_for_beside_another_only() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken_at = tcp(&taken.local_addr().unwrap().to_string());
        assert!(open_all(std::slice::from_ref(&taken_at), &[]).unwrap_err().contains("in use"));
        assert!(open_all(&[taken_at.clone(), tcp("198.51.100.7:8080")], &[]).unwrap_err().contains("in use"));
        let (open, waiting) = open_all(&[taken_at, tcp("127.0.0.1:0")], &[]).unwrap();
        assert_eq!((open.len(), lack(&waiting[0].1)), (1, Lack::Place));
    }
}
