//! On which address of its port the app is asked: where its own processes listen. On the I/O thread of the process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

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

/// What was seen of a process that listens somewhere, and not where it is asked. It may be about to: many open another port first, so that this
/// is worth a word when it lasts, and no failure.
#[derive(Debug)]
pub(super) struct Elsewhere {
    /// Since when it is so.
    found: Option<(String, Instant)>,
    /// To be looked for again.
    look_at: Instant,
    is_said: bool,
}

impl Elsewhere {
    pub(super) fn new(now: Instant) -> Self {
        Self { found: None, look_at: now + LOOKS, is_said: false }
    }

    fn is_due(&self, now: Instant) -> bool {
        now >= self.look_at
    }

    fn saw(&mut self, found: Option<String>, now: Instant) {
        self.look_at = now + LOOKS;
        match found {
            Some(found) if self.found.as_ref().is_some_and(|(before, _)| *before == found) => {}
            found => self.found = found.map(|found| (found, now)),
        }
    }

    /// Where it listens, once that has lasted.
    pub(super) fn words(&self, now: Instant) -> Option<&str> {
        self.found.as_ref().filter(|(_, since)| now >= *since + LASTS).map(|(found, _)| found.as_str())
    }

    /// For the log, once.
    fn say_once(&mut self, now: Instant) -> Option<String> {
        let words = self.words(now).filter(|_| !self.is_said)?.to_owned();
        self.is_said = true;
        Some(words)
    }
}

impl IoThread {
    /// Nobody answers: whether the process listens somewhere else.
    pub(super) fn look_for_other_listeners(&mut self) {
        let now = self.desk.now;
        let Some(probe) = self.probe.as_mut().filter(|probe| !probe.was_answered) else { return };
        if probe.elsewhere.is_due(now) {
            probe.elsewhere.saw(elsewhere(probe.port, &self.unit), now);
        }
        if let Some(place) = probe.elsewhere.say_once(now) {
            let (seen, timeout) = (probe.seen.words(), probe.timeout.as_secs_f64());
            log::warn!("{} pid {}: not ready yet: {seen}; {place}; ready.timeout is {timeout} s", self.name, self.pid);
        }
    }
}

/// Where the process listens instead, if anywhere: the usual cause is a port written into the code.
pub(super) fn elsewhere(port: Option<u16>, unit: &Unit) -> Option<String> {
    let own = sys::listening_ports(unit);
    let named = |addresses: &[SocketAddr]| addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
    let others: Vec<SocketAddr> = own.iter().filter(|addr| Some(addr.port()) != port).copied().collect();
    if !others.is_empty() {
        let variable = if port.is_some() { "PORT" } else { "SOCKET" };
        return Some(format!("it listens on {}: the variable {variable} says where it should", named(&others)));
    }
    let port = port?;
    match sys::listener_owner(port, unit) {
        ListenerOwner::Foreign(addresses) => {
            let others: Vec<SocketAddr> = addresses.iter().map(|address| SocketAddr::new(*address, port)).collect();
            Some(format!("on {} another process does, which is not the app's", named(&others)))
        }
        // It listens where it can be asked, and does not answer, or has only just begun to.
        ListenerOwner::Ours(_) if own.iter().any(|at| reached_at(at.ip()).is_some()) => None,
        ListenerOwner::Ours(_) if !own.is_empty() => Some(format!("it listens on {}, where it cannot be asked", named(&own))),
        ListenerOwner::Ours(_) | ListenerOwner::Unknown => None,
    }
}

/// A look goes through all processes of the machine.
const LOOKS: Duration = Duration::from_secs(2);
/// It is said after so long: what listens in two places opens the second one sooner.
const LASTS: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_listens_instead_is_said_once_it_has_lasted() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut elsewhere = Elsewhere::new(start);
        assert!(!elsewhere.is_due(at(1)) && elsewhere.is_due(at(2)));
        elsewhere.saw(None, at(2));
        elsewhere.saw(Some("there".to_owned()), at(4));
        assert_eq!((elsewhere.say_once(at(6)), elsewhere.words(at(6)), elsewhere.is_due(at(5))), (None, None, false));
        elsewhere.saw(Some("there".to_owned()), at(7));
        assert_eq!((elsewhere.say_once(at(7)), elsewhere.say_once(at(9))), (Some("there".to_owned()), None));
        assert_eq!(elsewhere.words(at(9)), Some("there"));
        elsewhere.saw(None, at(10));
        assert_eq!(elsewhere.words(at(20)), None, "it is on its way again");
    }
}
