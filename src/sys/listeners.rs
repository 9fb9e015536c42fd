//! Who listens where, on TCP.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::descent::{Look, Seen, Unit, user_of};

/// Whose the listening sockets of a port are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerOwner {
    /// Ours, on these addresses, sorted.
    Ours(Vec<IpAddr>),
    /// Others' alone, on these addresses.
    Foreign(Vec<IpAddr>),
    /// There is none, or /proc does not say whose.
    Unknown,
}

/// Who listens on `port`, where `unit` should. Without a listener it costs no look at processes.
pub fn listener_owner(port: u16, unit: &Unit) -> ListenerOwner {
    let listeners: Vec<Listening> = listening().into_iter().filter(|listening| listening.addr.port() == port).collect();
    if listeners.is_empty() {
        return ListenerOwner::Unknown;
    }
    let (inodes, all_read) = sockets_of(unit);
    let addresses = |is_ours: bool| {
        let of = listeners.iter().filter(|listening| inodes.contains(&listening.inode) == is_ours).map(|listening| listening.addr.ip());
        let mut addresses: Vec<IpAddr> = of.collect();
        addresses.sort();
        addresses.dedup();
        addresses
    };
    let ours = addresses(true);
    match ours.is_empty() {
        false => ListenerOwner::Ours(ours),
        true if all_read => ListenerOwner::Foreign(addresses(false)),
        true => ListenerOwner::Unknown,
    }
}

/// A socket is one of `unit`'s. Err: not all of what its processes have open could be read; the users that they are, and `unit`'s.
pub fn owns_socket(unit: &Unit, inode: u64) -> Result<bool, HashSet<u32>> {
    let (inodes, all_read) = sockets_of(unit);
    let users = || Look::now().of(unit).iter().filter_map(|one| user_of(one.pid)).chain([unit.uid]).collect();
    match inodes.contains(&inode) {
        false if !all_read => Err(users()),
        owns => Ok(owns),
    }
}

/// Users whose sockets listen on a port.
pub fn listening_users(port: u16) -> Vec<u32> {
    listening().into_iter().filter(|listening| listening.addr.port() == port).map(|listening| listening.uid).collect()
}

/// Where the processes of an app listen on TCP.
pub fn listening_ports(unit: &Unit) -> Vec<SocketAddr> {
    let (inodes, _) = sockets_of(unit);
    let mut ports: Vec<SocketAddr> =
        listening().into_iter().filter(|listening| inodes.contains(&listening.inode)).map(|listening| listening.addr).collect();
    ports.sort();
    ports.dedup();
    ports
}

pub(super) struct Listening {
    pub(super) addr: SocketAddr,
    /// Who made the socket.
    pub(super) uid: u32,
    pub(super) inode: u64,
}

/// All listening TCP sockets of this network namespace.
pub(super) fn listening() -> Vec<Listening> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| File::open(path).ok());
    tables.flat_map(|table| listening_in(BufReader::new(table))).collect()
}

/// The kernel lists the listening sockets first (Documentation/networking/proc_net_tcp.rst). What is behind them is not read: on a busy
/// machine that is a line for each of tens of thousands of closed connections, and takes it seconds to write.
fn listening_in(table: impl BufRead) -> Vec<Listening> {
    let lines = table.lines().map_while(Result::ok).skip(1);
    lines.take_while(|line| is_listening(line)).filter_map(|line| listening_line(&line)).collect()
}

fn is_listening(line: &str) -> bool {
    line.split_ascii_whitespace().nth(3) == Some("0A")
}

/// `sl local_address rem_address st ... inode` of a listening socket.
fn listening_line(line: &str) -> Option<Listening> {
    let mut words = line.split_ascii_whitespace();
    let local = words.nth(1)?;
    words.nth(1)?;
    let uid = words.nth(3)?.parse().ok()?;
    let inode = words.nth(1)?.parse().ok()?;
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Groups of four bytes in the byte order of the machine.
    let word = |at: usize| Some(u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    let ip = if address.len() == 8 {
        IpAddr::V4(Ipv4Addr::from(word(0)?))
    } else {
        let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
        IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))
    };
    Some(Listening { addr: SocketAddr::new(ip, port), uid, inode })
}

/// Inodes of the sockets that a process and all that comes of it have open, and whether all of their descriptors could be read.
fn sockets_of(unit: &Unit) -> (HashSet<u64>, bool) {
    let (mut inodes, mut all_read) = (HashSet::new(), true);
    for Seen { pid, .. } in Look::now().of(unit) {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            all_read = false;
            continue;
        };
        let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        inodes.extend(links.filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()));
    }
    (inodes, all_read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Read};

    #[test]
    fn a_listener_of_ours_is_ours_and_that_of_others_is_not() {
        let us = Unit::of_leader(std::process::id()).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listener_owner(port, &us), ListenerOwner::Ours(vec![Ipv4Addr::LOCALHOST.into()]));
        assert!(listening_ports(&us).contains(&listener.local_addr().unwrap()));
        assert_eq!(listening_users(port), [rustix::process::geteuid().as_raw()]);
        let everywhere = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let everywhere = everywhere.local_addr().unwrap().port();
        assert_eq!(listener_owner(everywhere, &us), ListenerOwner::Ours(vec![Ipv4Addr::UNSPECIFIED.into()]));
        let nobody = Unit { leader: 0x7fff_fff0, ..us };
        assert_eq!(listener_owner(port, &nobody), ListenerOwner::Foreign(vec![Ipv4Addr::LOCALHOST.into()]));
    }

    #[test]
    fn of_the_table_only_the_listening_sockets_are_read() {
        let line = |port: &str, state: &str| {
            format!("   0: 0100007F:{port} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 77 1\n")
        };
        let table = format!("  sl  local_address ...\n{}{}", line("1F90", "0A"), line("1F91", "06"));
        // More of it cannot be had: whoever asks for it is told so.
        let table = io::BufReader::with_capacity(1, table.as_bytes().chain(Unreadable));
        let found = listening_in(table);
        assert_eq!(found.iter().map(|one| (one.addr.to_string(), one.inode)).collect::<Vec<_>>(), [("127.0.0.1:8080".to_owned(), 77)]);
    }

    struct Unreadable;

    impl Read for Unreadable {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("what is behind the first connection was read")
        }
    }
}
