//! On which address of its port the app is asked: where its own processes listen. On the I/O thread of the process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::IoThread;
use crate::sys::{self, ListenerOwner, Unit};

impl IoThread {
    /// Another process answers where the app was asked, and the app listens on another address of the port.
    pub(super) fn ask_elsewhere(&mut self, port: u16, addresses: &[IpAddr], upstream_key: usize) {
        self.upstreams.close(upstream_key);
        self.move_to(port, addresses);
        let now = self.desk.now;
        if let Some(probe) = &mut self.probe {
            probe.upstream = None;
            probe.next = now + probe.pause;
        }
    }

    /// Where the app's own processes listen on its port, if not where it was asked.
    pub(super) fn look_for_listener(&mut self, port: u16) {
        if let ListenerOwner::Ours(addresses) = sys::listener_owner(port, &self.unit) {
            self.move_to(port, &addresses);
        }
    }

    fn move_to(&mut self, port: u16, addresses: &[IpAddr]) {
        let Some(probe) = &mut self.probe else { return };
        let Some(address) = addresses.iter().copied().filter_map(reached_at).find(|address| *address != probe.address) else { return };
        probe.address = address;
        self.upstreams.move_to(SocketAddr::new(address, port));
    }

    /// Says where the app listens, where that is not what it was told. `address`: of its listener.
    pub(super) fn note_address(&self, port: u16, address: IpAddr) {
        let (name, pid, at) = (&self.name, self.pid, SocketAddr::new(address, port));
        if address.is_unspecified() {
            log::warn!("{name} pid {pid}: listens on every address, not on 127.0.0.1 alone: port {port} can be reached from outside");
        } else if !address.to_canonical().is_loopback() {
            log::warn!("{name} pid {pid}: listens on {at}, not on 127.0.0.1: it can be reached from outside, past rota");
        } else if address.to_canonical() != IpAddr::V4(Ipv4Addr::LOCALHOST) {
            log::info!("{name} pid {pid}: listens on {at}, not on 127.0.0.1, and is asked there");
        }
    }
}

/// Where a listener on this address is reached from this machine. None: by no plain address (a link's own, RFC 4007).
fn reached_at(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        IpAddr::V4(address) if address.is_unspecified() => Some(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(address) if address.is_unspecified() => Some(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V6(address) if address.segments()[0] & 0xffc0 == 0xfe80 => None,
        other => Some(other),
    }
}

/// The one of an app's listening addresses that answers on `asked`: the same, else a wildcard.
pub(super) fn chosen(asked: IpAddr, addresses: &[IpAddr]) -> Option<IpAddr> {
    let same = addresses.iter().find(|address| address.to_canonical() == asked);
    // A wildcard of IPv6 takes IPv4 too, unless it was told not to.
    let wildcard = || addresses.iter().find(|address| address.is_unspecified() && (address.is_ipv6() || asked.is_ipv4()));
    same.or_else(wildcard).copied()
}

/// Where the process listens instead, if anywhere: the usual cause is a port written into the code.
pub(super) fn elsewhere(last: String, port: Option<u16>, unit: &Unit) -> String {
    let own = sys::listening_ports(unit);
    let others: Vec<String> = own.iter().filter(|addr| Some(addr.port()) != port).map(SocketAddr::to_string).collect();
    if !others.is_empty() {
        let help = if port.is_some() { "the variable PORT says where it should" } else { "the variable SOCKET says where it should" };
        return format!("{last}; it listens on {}: {help}", others.join(", "));
    }
    let Some(port) = port else { return last };
    match sys::listener_owner(port, unit) {
        ListenerOwner::Foreign(addresses) => {
            let others: Vec<String> = addresses.iter().map(|address| SocketAddr::new(*address, port).to_string()).collect();
            format!("{last}; on {} another process does, which is not the app's", others.join(", "))
        }
        ListenerOwner::Ours(_) if !own.is_empty() => {
            let own: Vec<String> = own.iter().map(SocketAddr::to_string).collect();
            format!("{last} at an address that can be asked; it listens on {}", own.join(", "))
        }
        ListenerOwner::Ours(_) | ListenerOwner::Unknown => last,
    }
}
