//! Whose a listening TCP socket is, asked of the kernel for one address (sock_diag(7), `inet_diag`): two system calls, whatever runs on the
//! machine. It answers with the socket that a connection to that address would get at this moment.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use serde::{Deserialize, Serialize};

use super::listeners;

/// A socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Who made it.
    pub uid: u32,
    pub inode: u64,
}

/// Who listens there. Where the kernel has no such answers it is read from /proc, which takes longer.
#[derive(Debug, Default)]
pub struct Asker(State);

#[derive(Debug, Default)]
enum State {
    #[default]
    Fresh,
    Asks(OwnedFd),
    Reads,
}

impl Asker {
    /// None: nobody listens there.
    pub fn listener(&mut self, at: SocketAddr) -> Option<Listener> {
        if let State::Fresh = self.0 {
            self.0 = open().map_or(State::Reads, State::Asks);
        }
        if let State::Asks(socket) = &self.0 {
            match ask(socket, at) {
                Ok(found) => return found,
                Err(error) => {
                    log::debug!("sock_diag: {error}; /proc/net/tcp is read instead");
                    self.0 = State::Reads;
                }
            }
        }
        read(at)
    }
}

fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG))?)
}

fn ask(socket: &OwnedFd, at: SocketAddr) -> io::Result<Option<Listener>> {
    rustix::net::send(socket, &question(at), SendFlags::empty())?;
    // The kernel has answered when it has taken the question.
    let mut answer = [0; 512];
    let (_, count) = rustix::net::recv(socket, &mut answer, RecvFlags::empty())?;
    understand(&answer[..count])
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`: a socket that takes connections from anywhere (linux/inet_diag.h).
fn question(at: SocketAddr) -> [u8; 72] {
    let mut bytes = [0; 72];
    let mut put = |from: usize, what: &[u8]| bytes[from..from + what.len()].copy_from_slice(what);
    put(0, &72u32.to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &NLM_F_REQUEST.to_ne_bytes());
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    put(16, &[family.as_raw() as u8, TCP]);
    put(20, &u32::MAX.to_ne_bytes());
    put(24, &at.port().to_be_bytes());
    match at.ip() {
        IpAddr::V4(ip) => put(28, &ip.octets()),
        IpAddr::V6(ip) => put(28, &ip.octets()),
    }
    // Whichever it is (INET_DIAG_NOCOOKIE).
    put(64, &[0xff; 8]);
    bytes
}

/// `struct nlmsghdr` and `struct inet_diag_msg`, or an error.
fn understand(answer: &[u8]) -> io::Result<Option<Listener>> {
    let number = |from: usize| answer.get(from..from + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let no_answer = || io::Error::from(io::ErrorKind::InvalidData);
    match kind {
        Some(SOCK_DIAG_BY_FAMILY) => {
            let (uid, inode) = number(80).zip(number(84)).ok_or_else(no_answer)?;
            // What is left of a connection is nobody's.
            Ok((answer[17] == LISTEN).then_some(Listener { uid, inode: inode.into() }))
        }
        Some(NLMSG_ERROR) => {
            let error = Errno::from_raw_os_error(number(16).ok_or_else(no_answer)?.cast_signed().wrapping_neg());
            if error == Errno::NOENT { Ok(None) } else { Err(error.into()) }
        }
        _ => Err(no_answer()),
    }
}

/// The one at this address before one at every address.
fn read(at: SocketAddr) -> Option<Listener> {
    let found = listeners::listening().into_iter().filter(|one| one.addr.port() == at.port());
    let mut found: Vec<_> = found.filter(|one| one.addr.ip().to_canonical() == at.ip() || one.addr.ip().is_unspecified()).collect();
    found.sort_by_key(|one| one.addr.ip().is_unspecified());
    found.first().map(|one| Listener { uid: one.uid, inode: one.inode })
}

/// linux/sock_diag.h, linux/netlink.h, tcp_states.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const TCP: u8 = 6;
const LISTEN: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    fn inode(listener: &TcpListener) -> u64 {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
        link.to_str().unwrap().trim_start_matches("socket:[").trim_end_matches(']').parse().unwrap()
    }

    #[test]
    fn a_listener_is_known_by_its_user_and_its_inode_whichever_way_it_is_asked_for() {
        let mut asker = Asker::default();
        for bound in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(bound) else { continue };
            let own = Listener { uid: rustix::process::geteuid().as_raw(), inode: inode(&listener) };
            let mut at = listener.local_addr().unwrap();
            if at.ip().is_unspecified() {
                at.set_ip(if at.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
            }
            // A connection of it is not what is meant.
            let _connection = TcpStream::connect(at).unwrap();
            assert_eq!((asker.listener(at), read(at)), (Some(own), Some(own)), "{bound}");
            drop(listener);
            assert_eq!((asker.listener(at), read(at)), (None, None), "{bound}");
        }
        assert!(matches!(asker.0, State::Asks(_)), "the kernel answers");
    }

    #[test]
    fn a_port_that_is_bound_and_not_listened_on_is_nobody_s() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let at = socket.local_addr().unwrap().as_socket().unwrap();
        assert_eq!((Asker::default().listener(at), read(at)), (None, None));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for bytes in [&b""[..], &[0; 3], &[0; 16], &[0xff; 200]] {
            assert!(understand(bytes).is_err());
        }
        let mut cut = question(([127, 0, 0, 1], 80).into());
        assert!(understand(&cut).is_err(), "it is too short");
        cut[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        cut[16..20].copy_from_slice(&(-2i32).to_ne_bytes());
        assert_eq!(understand(&cut).unwrap(), None);
        cut[16..20].copy_from_slice(&(-12i32).to_ne_bytes());
        assert!(understand(&cut).is_err());
    }
}
