//! Where a request came from: what a trusted proxy says of it in header fields, read once, so that every spelling of it that an app may
//! read can be written anew and says the same.
//!
//! A malformed value of a trusted proxy is dropped and refuses nothing. It is most likely what the client sent, passed on or appended to; the
//! proxy's own word stands behind it, and an app that is told less is safe, while a refusal would be a fault that visitors see and that only
//! the proxy's operator can mend.

use std::net::{IpAddr, SocketAddr};

use super::fields::Field;
use super::head::{self, Fields, is_token, list, trim};
use super::trust::TrustedProxies;

/// Who asked, and how, as far as it is known.
#[derive(Clone, Debug)]
pub struct Origin<'b> {
    /// The connection's other end; None: a Unix socket.
    pub peer: Option<IpAddr>,
    /// What the peer says is believed.
    pub is_trusted: bool,
    /// Where the request was before it came to the peer, the client first. What stands before the client is only its own word.
    pub before: Vec<IpAddr>,
    /// The nearest address that is no trusted proxy's; of a request that only trusted ones have touched, the farthest. None: a Unix socket.
    pub client: Option<IpAddr>,
    /// `http`, `https`, `ws` or `wss`: what the client spoke.
    pub scheme: &'b str,
    /// What the client asked for; None: what Host says.
    pub host: Option<&'b str>,
    pub port: Option<&'b str>,
}

impl<'b> Origin<'b> {
    /// Of a request whose peer is nobody's proxy.
    pub const fn of_peer(peer: Option<IpAddr>, scheme: &'b str) -> Self {
        Self { peer, is_trusted: false, before: Vec::new(), client: peer, scheme, host: None, port: None }
    }

    /// `scheme`: what the peer speaks to us.
    pub fn of_request(fields: &Fields<'_, 'b>, peer: Option<IpAddr>, scheme: &'b str, trusted: &TrustedProxies) -> Self {
        if !trusted.contains(peer) {
            return Self::of_peer(peer, scheme);
        }
        let mut origin = Self { is_trusted: true, ..Self::of_peer(peer, scheme) };
        // Proxies that set the one field often pass the client's other: X-Forwarded-For alone counts where it is, as most of them set that.
        origin.before = addresses(fields.values(Field::ForwardedFor));
        let hops = if origin.before.is_empty() { hops(fields.values(Field::ForwardedHops)) } else { Vec::new() };
        origin.before.extend(hops.iter().map(|(address, _)| *address));
        if origin.before.is_empty() {
            origin.before.extend(fields.iter().filter(|(_, name, _)| is_real_ip(name)).filter_map(|(_, _, value)| address(value)).last());
        }
        let client = origin.before.iter().rposition(|address| !trusted.contains(Some(*address))).unwrap_or(0);
        origin.client = origin.before.get(client).copied().or(peer);
        // The nearest proxy's word is the last one, be it in a line of its own or behind a comma.
        let last = |field| fields.values(field).flat_map(list).last();
        // Forwarded says for each hop what it was: that of the client was written by the trusted proxy that it came to.
        let hop = hops.get(client).map(|(_, hop)| hop);
        let scheme_said = hop.and_then(|hop| hop.proto).or_else(|| last(Field::ForwardedProto));
        origin.scheme = scheme_said.and_then(known_scheme).unwrap_or(scheme);
        origin.host = hop.and_then(|hop| hop.host).or_else(|| last(Field::ForwardedHost)).and_then(head::authority);
        let of_host = origin.host.filter(|host| !host.ends_with(']')).and_then(|host| host.rsplit_once(':')).map(|(_, port)| port);
        origin.port = last(Field::ForwardedPort).and_then(port).filter(|port| of_host.is_none_or(|of_host| of_host == *port));
        origin
    }

    /// Every address that the request came from, the peer's last.
    pub fn hops(&self) -> impl Iterator<Item = IpAddr> {
        self.before.iter().copied().chain(self.peer)
    }

    /// Whether another name for the client's address says what we say.
    pub fn is_client(&self, value: &[u8]) -> bool {
        self.client.is_some() && address(value) == self.client
    }

    /// The client spoke TLS, as far as those say whose word counts.
    pub fn is_secure(&self) -> bool {
        matches!(self.scheme, "https" | "wss")
    }

    /// Whether another name for the scheme says what we say.
    pub fn is_scheme(&self, value: &[u8]) -> bool {
        match value.to_ascii_lowercase().as_slice() {
            b"on" | b"1" | b"true" => self.is_secure(),
            b"off" | b"0" | b"false" => !self.is_secure(),
            word => word == self.scheme.as_bytes(),
        }
    }
}

fn is_real_ip(name: &str) -> bool {
    name.eq_ignore_ascii_case("X-Real-IP")
}

/// Of several lines of X-Forwarded-For, as if it were one. What is left of a member that is no address is dropped with it: nobody trusted
/// can have written it there, and what is right of it was written by those who are.
fn addresses<'v>(lines: impl Iterator<Item = &'v [u8]>) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for member in lines.flat_map(list).filter(|member| !member.is_empty()) {
        match address(member) {
            Some(address) => all.push(address),
            None => all.clear(),
        }
    }
    nearest(all)
}

fn nearest<T>(mut all: Vec<T>) -> Vec<T> {
    all.drain(..all.len().saturating_sub(HOPS));
    all
}

/// `192.0.2.1`, `2001:db8::1`, `[2001:db8::1]`, the first and the last perhaps with a port, which is dropped.
fn address(value: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(value).ok()?;
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse::<IpAddr>().ok().or_else(in_brackets).or_else(with_port).map(|address| address.to_canonical())
}

fn known_scheme(word: &[u8]) -> Option<&'static str> {
    ["http", "https", "ws", "wss"].into_iter().find(|scheme| word.eq_ignore_ascii_case(scheme.as_bytes()))
}

fn port(digits: &[u8]) -> Option<&str> {
    let is_port = (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) && digits[0] != b'0';
    std::str::from_utf8(digits).ok().filter(|text| is_port && text.parse::<u16>().is_ok())
}

/// One element of Forwarded (RFC 7239 4).
#[derive(Debug, Default)]
struct Hop<'b> {
    node: Option<&'b [u8]>,
    proto: Option<&'b [u8]>,
    host: Option<&'b [u8]>,
}

/// As [`addresses`], of the lines of Forwarded: each with the address in its `for`. Of a line that cannot be read to its end nobody can say
/// where its elements begin.
fn hops<'b>(lines: impl Iterator<Item = &'b [u8]>) -> Vec<(IpAddr, Hop<'b>)> {
    let mut all = Vec::new();
    for line in lines {
        let mut rest = trim(line);
        while !rest.is_empty() {
            let Some((hop, behind)) = hop(rest) else {
                all.clear();
                break;
            };
            match hop.node.and_then(address) {
                Some(address) => all.push((address, hop)),
                // `unknown`, a name of its own making, or no word of whom: a proxy that hides what was before it.
                None => all.clear(),
            }
            rest = trim(behind);
        }
    }
    nearest(all)
}

/// The first element, and what is behind its comma. None: it cannot be read.
fn hop(bytes: &[u8]) -> Option<(Hop<'_>, &[u8])> {
    let mut hop = Hop::default();
    let mut rest = bytes;
    loop {
        let (name, value, behind) = pair(rest)?;
        let slots = [(&b"for"[..], &mut hop.node), (b"proto", &mut hop.proto), (b"host", &mut hop.host)];
        let slot = slots.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        // RFC 7239 4: each parameter at most once.
        if slot.is_some_and(|(_, slot)| slot.replace(value).is_some()) {
            return None;
        }
        match trim(behind).split_first() {
            Some((b';', behind)) => rest = behind,
            Some((b',', behind)) => return Some((hop, behind)),
            None => return Some((hop, &[])),
            Some(_) => return None,
        }
    }
}

/// `name=value` or `name="value"`, and what is behind it. Nothing of what we look for has a backslash in it.
fn pair(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let token = |bytes: &[u8]| bytes.iter().take_while(|byte| is_token(**byte)).count();
    let bytes = trim(bytes);
    let (name, rest) = bytes.split_at(token(bytes));
    let rest = rest.strip_prefix(b"=").filter(|_| !name.is_empty())?;
    match rest.strip_prefix(b"\"") {
        Some(quoted) => {
            let end = quoted.iter().position(|byte| matches!(byte, b'"' | b'\\')).filter(|end| quoted[*end] == b'"')?;
            Some((name, &quoted[..end], &quoted[end + 1..]))
        }
        None => {
            let (value, rest) = rest.split_at(token(rest));
            (!value.is_empty()).then_some((name, value, rest))
        }
    }
}

/// As many hops as no route has; of a longer list the nearest.
const HOPS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{HeadLimits, HeaderRoom, parse_request};
    use crate::http::trust::Network;

    /// Trusts 10.0.0.0/8 and Unix sockets. Client, what was before the peer, scheme, host, port.
    fn told(peer: &str, fields: &str) -> (String, String, String) {
        let networks = vec![Network::parse("10.0.0.0/8").unwrap()];
        let trusted = TrustedProxies { networks, unix: true };
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", fields.replace('|', "\r\n"));
        let mut room = HeaderRoom::new();
        let limits = HeadLimits { bytes: 8192, headers: 100, target: 1000 };
        let (head, _) = parse_request(text.as_bytes(), &limits, &mut room).unwrap().expect("whole");
        let origin = Origin::of_request(&head.fields, peer.parse().ok(), "http", &trusted);
        let before: Vec<String> = origin.before.iter().map(IpAddr::to_string).collect();
        let way = [origin.scheme, origin.host.unwrap_or("-"), origin.port.unwrap_or("-")].join(" ");
        (origin.client.map_or("-".to_owned(), |client| client.to_string()), before.join(" "), way)
    }

    fn client(fields: &str) -> String {
        told("10.0.0.1", fields).0
    }

    fn before(fields: &str) -> String {
        told("10.0.0.1", fields).1
    }

    fn way(fields: &str) -> String {
        told("10.0.0.1", fields).2
    }

    #[test]
    fn of_others_nothing_is_believed() {
        let fields = "X-Forwarded-For: 192.0.2.1|X-Forwarded-Proto: https|X-Forwarded-Host: b|X-Forwarded-Port: 1|Forwarded: for=192.0.2.1";
        assert_eq!(told("192.0.2.9", fields), ("192.0.2.9".into(), String::new(), "http - -".into()));
        assert_eq!(told("::ffff:10.0.0.1", fields).0, "192.0.2.1");
        assert_eq!(told("a Unix socket", fields), ("192.0.2.1".into(), "192.0.2.1".into(), "https b 1".into()));
    }

    #[test]
    fn the_client_is_the_nearest_address_that_is_no_proxys() {
        assert_eq!(client("X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.2"), "192.0.2.1");
        assert_eq!(client("X-Forwarded-For: 6.6.6.6|X-Forwarded-For: 192.0.2.1|X-Forwarded-For: 10.0.0.2"), "192.0.2.1");
        assert_eq!(client("X-Forwarded-For: 10.0.0.3, 10.0.0.2"), "10.0.0.3");
        assert_eq!(client("X-Forwarded-For: 192.0.2.1, ::ffff:10.0.0.2"), "192.0.2.1");
        assert_eq!(client("X-Other: 1"), "10.0.0.1");
        assert_eq!(told("a Unix socket", "X-Other: 1").0, "-");
    }

    #[test]
    fn addresses_are_read_in_every_spelling_and_written_in_one() {
        let list = "X-Forwarded-For: 192.0.2.1:80,, [2001:DB8:0::1]:80 ,\t[2001:db8::2],2001:db8::3, ::ffff:192.0.2.2,";
        assert_eq!(before(list), "192.0.2.1 2001:db8::1 2001:db8::2 2001:db8::3 192.0.2.2");
    }

    #[test]
    fn what_is_left_of_a_word_that_is_no_address_is_dropped_with_it() {
        for bad in ["unknown", "_x", "evil\"", "1.2.3", "1.2.3.4 5.6.7.8", "1.2.3.4:99999", "[1.2.3.4]", "::1%1", "1.2.3.4;x", "\u{e9}"] {
            assert_eq!(before(&format!("X-Forwarded-For: 6.6.6.6, {bad}, 192.0.2.1")), "192.0.2.1", "{bad}");
            assert_eq!(before(&format!("X-Forwarded-For: 6.6.6.6|X-Forwarded-For: {bad}")), "", "{bad}");
        }
        let long = vec!["6.6.6.6"; 100].join(", ");
        assert_eq!(before(&format!("X-Forwarded-For: {long}, 192.0.2.1")).split(' ').count(), 32);
        assert_eq!(client(&format!("X-Forwarded-For: {long}, 192.0.2.1")), "192.0.2.1");
    }

    #[test]
    fn scheme_host_and_port_are_the_nearest_proxys_word_if_they_are_one() {
        assert_eq!(way("X-Forwarded-Proto: HTTPS|X-Forwarded-Host: b:8443|X-Forwarded-Port: 8443"), "https b:8443 8443");
        assert_eq!(way("X-Forwarded-Proto: http|X-Forwarded-Proto: https"), "https - -");
        assert_eq!(way("X-Forwarded-Proto: http, https|X-Forwarded-Host: evil, b"), "https b -");
        assert_eq!(way("X-Forwarded-Proto: gopher|X-Forwarded-Host: a/b|X-Forwarded-Port: 065"), "http - -");
        assert_eq!(way("X-Forwarded-Proto: https x|X-Forwarded-Host: a b|X-Forwarded-Port: 65536"), "http - -");
        assert_eq!(way("X-Forwarded-Proto:|X-Forwarded-Host:|X-Forwarded-Port:"), "http - -");
    }

    #[test]
    fn forwarded_counts_where_there_is_no_x_forwarded_for() {
        let said = "Forwarded: for=192.0.2.1;Proto=https;host=\"b:8443\";by=_x, For=\"[2001:db8::1]:80\";proto=http , for=10.0.0.2";
        assert_eq!(told("10.0.0.1", said), ("2001:db8::1".into(), "192.0.2.1 2001:db8::1 10.0.0.2".into(), "http - -".into()));
        assert_eq!(way("Forwarded: for=192.0.2.1;proto=https;host=\"b:8443\", for=10.0.0.2;proto=http;host=c"), "https b:8443 -");
        assert_eq!(way("Forwarded: for=192.0.2.1;proto=https|X-Forwarded-Proto: http"), "https - -");
        assert_eq!(way("Forwarded: for=192.0.2.1|X-Forwarded-Proto: https"), "https - -");
        let both = "X-Forwarded-For: 192.0.2.1|Forwarded: for=6.6.6.6;proto=https;host=evil";
        assert_eq!(told("10.0.0.1", both), ("192.0.2.1".into(), "192.0.2.1".into(), "http - -".into()));
    }

    #[test]
    fn a_forwarded_that_cannot_be_read_hides_what_is_left_of_it() {
        for bad in [
            "for=6.6.6.6;for=6.6.6.7",
            "for=\"6.6.6.6",
            "for=\"6.6.6.6\\\"\"",
            "for=6.6.6.6 proto=http",
            "for",
            "for=",
            "=6.6.6.6",
            "for =6.6.6.6",
            "for=6.6.6.6;;proto=http",
            "for=6.6.6.6;",
            ", for=6.6.6.6",
            "for=unknown",
            "for=_hidden",
            "by=6.6.6.6",
            "for=[::1]",
        ] {
            assert_eq!(before(&format!("Forwarded: for=6.6.6.5|Forwarded: {bad}|Forwarded: for=192.0.2.1")), "192.0.2.1", "{bad}");
            assert_eq!(before(&format!("Forwarded: {bad}")), "", "{bad}");
        }
        assert_eq!(before("Forwarded: for=6.6.6.6, for=unknown, for=192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn x_real_ip_counts_where_nothing_else_says_it() {
        assert_eq!(client("X-Real-IP: 192.0.2.1"), "192.0.2.1");
        assert_eq!(client("X-Real-IP: 192.0.2.1, 192.0.2.2"), "10.0.0.1");
        assert_eq!(client("X-Client-IP: 192.0.2.1"), "10.0.0.1");
        assert_eq!(client("X-Real-IP: 6.6.6.6|X-Forwarded-For: 192.0.2.1"), "192.0.2.1");
    }
}
