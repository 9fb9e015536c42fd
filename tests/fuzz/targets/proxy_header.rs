//! PROXY headers: the same verdict in any cut, that of a plain reading of HAProxy's document, and bounded.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rota::http::proxy_header::{self, Source};

pub fn check(bytes: &[u8]) {
    let whole = proxy_header::parse(bytes);
    let plain = plain(bytes);
    match whole {
        Ok(Some(read)) => {
            assert_eq!(plain, Some(read), "{}", bytes.escape_ascii());
            assert_eq!(proxy_header::parse(&bytes[..read.1]), whole, "what follows is none of its business");
        }
        Ok(None) => {
            assert_eq!(plain, None, "{}", bytes.escape_ascii());
            assert!(bytes.len() < LARGEST, "a header that is too large is refused before it ends");
        }
        Err(_) => assert_eq!(plain, None, "{}", bytes.escape_ascii()),
    }
    for cut in super::cuts(bytes) {
        match (proxy_header::parse(&bytes[..cut]), whole) {
            (Ok(Some(early)), Ok(Some(late))) => assert_eq!(early, late, "cut at {cut}"),
            (Ok(None), Ok(Some((_, length)))) => assert!(cut < length, "cut at {cut}: it was whole"),
            (Err(_), Err(_)) | (Ok(None), Ok(None) | Err(_)) => {}
            (early, late) => panic!("cut at {cut}: {early:?}, then {late:?}"),
        }
    }
}

/// What a whole header says. None: it is none, or not whole.
fn plain(bytes: &[u8]) -> Option<(Source, usize)> {
    if bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n") { version_2(bytes) } else { version_1(bytes) }
}

fn version_1(bytes: &[u8]) -> Option<(Source, usize)> {
    let end = bytes.iter().take(107).position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&bytes[..=end]).ok()?.strip_suffix("\r\n")?;
    let words: Vec<&str> = line.split(' ').collect();
    let port = |text: &str| text.parse::<u16>().ok().is_some_and(|port| port.to_string() == text);
    let source = match words[..] {
        ["PROXY", "UNKNOWN", ..] => Source::Socket,
        ["PROXY", "TCP4", source, destination, from, to] if port(from) && port(to) => {
            destination.parse::<Ipv4Addr>().ok()?;
            Source::Address(IpAddr::V4(source.parse().ok()?))
        }
        ["PROXY", "TCP6", source, destination, from, to] if port(from) && port(to) => {
            destination.parse::<Ipv6Addr>().ok()?;
            Source::Address(unmapped(source.parse().ok()?))
        }
        _ => return None,
    };
    Some((source, end + 1))
}

fn version_2(bytes: &[u8]) -> Option<(Source, usize)> {
    let (command, family) = (*bytes.get(12)?, *bytes.get(13)?);
    let length = usize::from(*bytes.get(14)?) * 256 + usize::from(*bytes.get(15)?);
    let body = bytes.get(16..16 + length)?;
    let source = match (command, family) {
        _ if length > 2048 => return None,
        (0x20, _) | (0x21, 0) => Source::Socket,
        (0x21, 0x11) if length >= 12 => Source::Address(IpAddr::from(*body.first_chunk::<4>()?)),
        (0x21, 0x21) if length >= 36 => Source::Address(unmapped(Ipv6Addr::from(*body.first_chunk::<16>()?))),
        (0x21, 0x31) if length >= 216 => Source::Socket,
        _ => return None,
    };
    Some((source, 16 + length))
}

/// An IPv4 address in the clothes of IPv6 is that IPv4 address.
fn unmapped(address: Ipv6Addr) -> IpAddr {
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}

/// Of version 2, with the largest length (bytes).
const LARGEST: usize = 16 + 2048;
