//! Bytes of messages, written without the machinery of `std::fmt`, which costs some hundred instructions for each value.

use std::io::Write;
use std::net::IpAddr;

pub fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// A field line.
pub fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

pub fn content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

pub fn decimal(out: &mut Vec<u8>, number: u64) {
    let (mut digits, mut at, mut left) = ([0u8; 20], 20, number);
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// 32 digits.
pub fn hex(out: &mut Vec<u8>, number: u128) {
    let mut digits = [0u8; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
    out.extend_from_slice(&digits);
}

pub fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let (mut text, mut length) = ([0u8; 16], 0);
            for octet in address.octets() {
                for (place, least) in [(100, 100), (10, 10), (1, 0)] {
                    if octet >= least {
                        text[length] = b'0' + octet / place % 10;
                        length += 1;
                    }
                }
                text[length] = b'.';
                length += 1;
            }
            out.extend_from_slice(&text[..length - 1]);
        }
        IpAddr::V6(address) => {
            let written = write!(out, "{address}");
            debug_assert!(written.is_ok(), "writing to memory does not fail");
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    fn text(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b"x".to_vec();
        put(&mut out);
        String::from_utf8(out).unwrap()[1..].to_owned()
    }

    #[test]
    fn what_is_written_is_what_std_would_write() {
        for number in [0, 1, 9, 10, 99, 100, 1_234_567_890, u64::MAX] {
            assert_eq!(text(|out| decimal(out, number)), number.to_string());
        }
        for number in [0, 1, 0xabc, u128::MAX, u128::MAX / 17 * 3] {
            assert_eq!(text(|out| hex(out, number)), format!("{number:032x}"));
        }
        let octets = (0..=255u8).map(|octet| IpAddr::from([octet, 0, octet, 255 - octet]));
        let others = ["::1", "2001:db8::42:0:1", "::ffff:192.0.2.7"].map(|text| text.parse().unwrap());
        for known in octets.chain(others) {
            assert_eq!(text(|out| address(out, known)), known.to_string());
        }
    }
}
