//! The sockets that clients connect to.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::event::Source;
use mio::{Interest, Registry, Token};
use rustix::fs::Mode;
use socket2::{Domain, Protocol, SockFilter, SockRef, TcpKeepalive, Type};

use crate::config::{Listen, ListenConfig};
use crate::conn::socket::Socket;
use crate::socket_file::SocketFile;

/// One listening socket.
#[derive(Debug)]
pub struct Listener {
    pub at: Listen,
    /// Its connections begin with a PROXY header.
    pub proxy_protocol: bool,
    socket: Listening,
    /// Connections may be waiting (edge-triggered).
    pub ready: bool,
}

#[derive(Debug)]
enum Listening {
    Tcp(mio::net::TcpListener),
    Unix(mio::net::UnixListener, SocketFile),
}

impl Listener {
    pub fn bind(config: &ListenConfig) -> io::Result<Self> {
        let at = &config.at;
        let socket = match at {
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
                Listening::Tcp(mio::net::TcpListener::from_std(socket.into()))
            }
            Listen::Unix(path) => {
                // Whoever may reach the directory may connect, as with a port.
                let (listener, file) = SocketFile::bind(path, FOR_ALL, BACKLOG)?;
                Listening::Unix(mio::net::UnixListener::from_std(listener), file)
            }
        };
        Ok(Self { at: at.clone(), proxy_protocol: config.proxy_protocol, socket, ready: true })
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.socket {
            Listening::Tcp(socket) => socket.register(registry, token, Interest::READABLE),
            Listening::Unix(socket, _) => socket.register(registry, token, Interest::READABLE),
        }
    }

    /// Lets no further connection begin, while those that have begun can still be accepted: closing a listener resets what waits in its
    /// backlog, and whoever gets in between the last accept and the close would be lost. A dropped SYN (filter run on the TCP header,
    /// socket(7) SO_ATTACH_FILTER) is sent again by the client a second later, when the port is closed or a new server listens.
    pub fn turn_away(&self) {
        match &self.socket {
            Listening::Tcp(socket) => {
                if let Err(error) = SockRef::from(socket).attach_filter(&NO_SYN) {
                    log::warn!("server.listen {}: a connection may be lost at its end: SO_ATTACH_FILTER: {error}", self.at);
                }
            }
            Listening::Unix(_, file) => file.remove(),
        }
    }

    /// The next connection that waits, with the address it comes from.
    pub fn accept(&self) -> io::Result<(Socket, Option<std::net::IpAddr>)> {
        match &self.socket {
            Listening::Tcp(socket) => socket.accept().map(|(stream, addr)| (Socket::Tcp(stream), Some(addr.ip().to_canonical()))),
            Listening::Unix(socket, _) => socket.accept().map(|(stream, _)| (Socket::Unix(stream), None)),
        }
    }
}

/// Read and write, for everybody.
const FOR_ALL: Mode = Mode::from_bits_retain(0o666);
/// socket(2): the machine does not speak this address family.
const EAFNOSUPPORT: i32 = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
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
