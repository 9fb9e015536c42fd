//! Ports for servers that are told theirs: of those that Linux gives to nobody by itself (ip(7), ip_local_port_range: from 32768 on). One that
//! was bound and let go could be an outgoing connection's a moment later.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A free address that is given out once by this test program.
pub fn free() -> SocketAddr {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Programs that run beside each other begin far from each other.
    let begin = std::process::id().wrapping_mul(977);
    let ports = (0..COUNT).map(|_| FIRST + begin.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % COUNT);
    let mut addrs = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port as u16)));
    addrs.find(|addr| TcpListener::bind(addr).is_ok()).expect("a free port")
}
