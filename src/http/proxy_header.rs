//! The PROXY protocol, versions 1 and 2: the address of the client in front of the bytes of its connection (HAProxy's
//! doc/proxy-protocol.txt). Read once, before the first request, from peers that are trusted; who that is, is not decided here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who the header says that the connection is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Address(IpAddr),
    /// The proxy itself (LOCAL: a health check), or it does not know, or no address of IP: the socket's own peer counts.
    Socket,
}

/// The connection does not begin with a PROXY header, and is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoProxyHeader(&'static str);

impl NoProxyHeader {
    pub fn reason(&self) -> &'static str {
        self.0
    }
}

/// `Ok(None)`: not yet whole. `Ok(Some((source, n)))`: it took the first `n` bytes.
pub fn parse(bytes: &[u8]) -> Result<Option<(Source, usize)>, NoProxyHeader> {
    if begins(bytes, SIGNATURE) {
        binary(bytes)
    } else if begins(bytes, WORD) {
        line(bytes)
    } else {
        Err(NoProxyHeader("it does not begin with a PROXY header"))
    }
}

/// Whether `bytes` begin with `word`, as far as there are any.
fn begins(bytes: &[u8], word: &[u8]) -> bool {
    bytes.iter().zip(word).all(|(one, other)| one == other)
}

/// Version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 51234 443` and CRLF.
fn line(bytes: &[u8]) -> Result<Option<(Source, usize)>, NoProxyHeader> {
    let within = &bytes[..bytes.len().min(LINE_MAX)];
    let Some(lf) = memchr::memchr(b'\n', within) else {
        return if bytes.len() < LINE_MAX { Ok(None) } else { Err(NoProxyHeader("a PROXY line of more than 107 bytes")) };
    };
    let malformed = NoProxyHeader("a malformed PROXY line");
    let text = within[..lf].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok()).ok_or(malformed)?;
    let text = text.strip_prefix("PROXY ").ok_or(malformed)?;
    // What stands behind UNKNOWN is ignored (2.1).
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return Ok(Some((Source::Socket, lf + 1)));
    }
    let mut words = text.split(' ');
    let mut word = || words.next().ok_or(malformed);
    let family = word()?;
    let (source, destination) = (address(family, word()?).ok_or(malformed)?, address(family, word()?));
    let ports_are_good = is_port(word()?) && is_port(word()?);
    if destination.is_none() || !ports_are_good || words.next().is_some() {
        return Err(malformed);
    }
    Ok(Some((Source::Address(source), lf + 1)))
}

fn address(family: &str, text: &str) -> Option<IpAddr> {
    match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical()),
        _ => None,
    }
}

fn is_port(text: &str) -> bool {
    let is_plain = text == "0" || !text.starts_with('0');
    is_plain && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// Version 2: signature, version and command, family, length, addresses, and further values that are skipped (2.2).
fn binary(bytes: &[u8]) -> Result<Option<(Source, usize)>, NoProxyHeader> {
    // Refused as soon as it is seen: of a length that will be refused nothing is waited for.
    if bytes.get(12).is_some_and(|byte| !matches!(*byte, VERSION_2_LOCAL | VERSION_2_PROXY)) {
        return Err(NoProxyHeader("a PROXY header of another version or command"));
    }
    let Some((start, rest)) = bytes.split_first_chunk::<16>() else { return Ok(None) };
    let [.., command, family, high, low] = *start;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > BINARY_MAX {
        return Err(NoProxyHeader("a PROXY header of more than 16 + 2048 bytes"));
    }
    let addresses = match (command, family) {
        (VERSION_2_LOCAL, _) | (_, UNSPECIFIED) => 0,
        (_, TCP4) => 12,
        (_, TCP6) => 36,
        (_, UNIX) => 216,
        _ => return Err(NoProxyHeader("a PROXY header of a family that is no stream")),
    };
    if length < addresses {
        return Err(NoProxyHeader("a PROXY header too short for its addresses"));
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let source = match (addresses, body) {
        (12, [a, b, c, d, ..]) => Source::Address(IpAddr::from([*a, *b, *c, *d])),
        (36, body) => match body.first_chunk::<16>() {
            Some(octets) => Source::Address(IpAddr::from(*octets).to_canonical()),
            None => Source::Socket,
        },
        _ => Source::Socket,
    };
    Ok(Some((source, 16 + length)))
}

const WORD: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of the longest line of version 1, CRLF among them (2.1).
const LINE_MAX: usize = 107;
/// Bytes behind the first 16 of version 2: the largest addresses (216) and room for what load balancers add, certificates' names among it.
const BINARY_MAX: usize = 2048;
const VERSION_2_LOCAL: u8 = 0x20;
const VERSION_2_PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX: u8 = 0x31;

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Source {
        Source::Address(text.parse().unwrap())
    }

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, body].concat()
    }

    /// Addresses and ports of TCP over IPv4 and IPv6.
    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 200, 34, 1, 187];
    fn v6(source: &str) -> Vec<u8> {
        let source: Ipv6Addr = source.parse().unwrap();
        [&source.octets()[..], &[0; 16], &[200, 34, 1, 187]].concat()
    }

    fn good() -> Vec<(Vec<u8>, Source)> {
        let line = |text: &str| text.as_bytes().to_vec();
        let tlv = [&V4[..], &[0x04, 0, 3, 0, 0, 0], &[0xff; 1000]].concat();
        vec![
            (line("PROXY TCP4 192.0.2.1 198.51.100.1 51234 443\r\n"), from("192.0.2.1")),
            (line("PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n"), from("255.255.255.255")),
            (line("PROXY TCP6 2001:db8::1 ::1 51234 443\r\n"), from("2001:db8::1")),
            (line("PROXY TCP6 ::ffff:192.0.2.1 ::1 51234 443\r\n"), from("192.0.2.1")),
            (line("PROXY UNKNOWN\r\n"), Source::Socket),
            (line(&format!("PROXY UNKNOWN {} {} 65535 65535\r\n", ["ffff"; 8].join(":"), ["ffff"; 8].join(":"))), Source::Socket),
            (v2(0x21, TCP4, &V4), from("192.0.2.1")),
            (v2(0x21, TCP4, &tlv), from("192.0.2.1")),
            (v2(0x21, TCP6, &v6("2001:db8::1")), from("2001:db8::1")),
            (v2(0x21, TCP6, &v6("::ffff:192.0.2.1")), from("192.0.2.1")),
            (v2(0x21, UNIX, &[0; 216]), Source::Socket),
            (v2(0x21, UNSPECIFIED, &[]), Source::Socket),
            (v2(0x20, UNSPECIFIED, &[]), Source::Socket),
            (v2(0x20, TCP4, &V4), Source::Socket),
            (v2(0x20, 0x99, &[1; 7]), Source::Socket),
            (v2(0x21, TCP4, &[V4.as_slice(), &[0; BINARY_MAX - 12]].concat()), from("192.0.2.1")),
        ]
    }

    #[test]
    fn a_header_names_the_source_and_takes_its_own_bytes_only() {
        for (bytes, source) in good() {
            let with_request = [&bytes, &b"GET / HTTP/1.1\r\n"[..]].concat();
            assert_eq!(parse(&with_request), Ok(Some((source, bytes.len()))), "{:?}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn a_header_cut_at_any_byte_is_not_yet_whole() {
        for (bytes, source) in good() {
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "{:?} cut at {cut}", String::from_utf8_lossy(&bytes));
            }
            assert_eq!(parse(&bytes), Ok(Some((source, bytes.len()))));
        }
    }

    #[test]
    fn a_line_that_differs_in_anything_is_none() {
        for text in [
            "GET / HTTP/1.1\r\n",
            "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            " PROXY UNKNOWN\r\n",
            "PROXYUNKNOWN\r\n",
            "PROXY\r\n",
            "PROXY \r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY UNKNOWN\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
            "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4\t192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP6 fe80::1%1 ::1 1 2\r\n",
            "PROXY TCP6 [::1] ::1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 +2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2  2\r\n",
            "PROXY TCP4 192.0.2.1 x 1 2\r\n",
            "\r\n\r\n\0\r\nQUIT ",
            "\r\nGET / HTTP/1.1\r\n",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(parse(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 \xff\r\n").is_err());
    }

    #[test]
    fn a_line_is_bounded_whether_it_ends_or_not() {
        let line = |bytes: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(bytes - 16)).into_bytes();
        assert_eq!(parse(&line(LINE_MAX)), Ok(Some((Source::Socket, LINE_MAX))));
        assert!(parse(&line(LINE_MAX + 1)).is_err());
        assert_eq!(parse(&line(LINE_MAX + 1)[..LINE_MAX - 1]), Ok(None));
        assert!(parse(&line(LINE_MAX + 1)[..LINE_MAX]).is_err());
    }

    #[test]
    fn a_binary_header_is_refused_as_soon_as_it_cannot_be_one() {
        for (command, family, body) in [
            (0x11, TCP4, &V4[..]),
            (0x22, TCP4, &V4),
            (0x31, TCP4, &V4),
            (0x21, 0x12, &V4),
            (0x21, 0x10, &V4),
            (0x21, 0x41, &V4),
            (0x21, TCP4, &V4[..11]),
            (0x21, TCP6, &V4),
            (0x21, UNIX, &[0; 215]),
            (0x21, TCP4, &[0; BINARY_MAX + 1]),
            (0x20, UNSPECIFIED, &[0; BINARY_MAX + 1]),
        ] {
            assert!(parse(&v2(command, family, body)[..16]).is_err(), "{command:#x} {family:#x} {}", body.len());
        }
        assert!(parse(&v2(0x11, TCP4, &V4)[..13]).is_err());
    }
}
