//! The cookie by which a client comes back to the process that it was with: that process's number, under the app's own name.

use std::io::Write;

use serde::{Deserialize, Serialize};

use super::fields::Field;
use super::head::{Fields, trim};
use crate::ids::Number;

/// What a request for an app with sticky sessions brings for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sticky {
    /// The process that the cookie names. None: there is no such cookie, or nothing of ours is in it.
    pub number: Option<Number>,
    /// The client came over https, so that the cookie need never go another way.
    pub is_secure: bool,
}

impl Sticky {
    /// `name`: of the cookie, in this very case (RFC 6265 5.4 has several of one name in the order of their paths: the first counts).
    pub fn of_request(fields: &Fields<'_, '_>, name: &str, is_secure: bool) -> Self {
        let lines = fields.iter().filter(|(field, known, _)| *field == Field::Other && known.eq_ignore_ascii_case("cookie"));
        let mut pairs = lines.flat_map(|(_, _, value)| value.split(|byte| *byte == b';')).map(trim);
        let number = pairs.find_map(|pair| number(pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?));
        Self { number, is_secure }
    }

    /// The line of the response of process `number`, if the client does not know of it yet.
    pub fn answer(&self, name: &str, number: Number, out: &mut Vec<u8>) {
        if self.number == Some(number) {
            return;
        }
        let secure = if self.is_secure { "; Secure" } else { "" };
        let written = write!(out, "Set-Cookie: {name}={number}; Path=/; HttpOnly; SameSite=Lax{secure}\r\n");
        debug_assert!(written.is_ok(), "writing to memory does not fail");
    }
}

/// As we write it: digits without a zero in front, of a number that a process can have.
fn number(value: &[u8]) -> Option<Number> {
    let is_ours = (1..=5).contains(&value.len()) && value[0] != b'0' && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_ours)?.parse().ok().map(Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{HeadLimits, HeaderRoom, parse_request};

    /// The number that these fields have under `rota_a`.
    fn said(fields: &str) -> Option<u16> {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", fields.replace('|', "\r\n"));
        let mut room = HeaderRoom::new();
        let limits = HeadLimits { bytes: 8192, headers: 100, target: 1000 };
        let (head, _) = parse_request(text.as_bytes(), &limits, &mut room).unwrap().expect("whole");
        Sticky::of_request(&head.fields, "rota_a", false).number.map(|number| number.0)
    }

    fn answered(knows: Option<u16>, is_secure: bool) -> String {
        let mut out = Vec::new();
        Sticky { number: knows.map(Number), is_secure }.answer("rota_a", Number(2), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_number_is_found_among_other_cookies_on_any_line() {
        for fields in [
            "Cookie: rota_a=2",
            "cookie: x=1; rota_a=2; y=rota_a=3",
            "Cookie:  x=1 ;rota_a=2\t;y",
            "Cookie: x=1|X-Other: rota_a=3|COOKIE: rota_a=2",
            "Cookie: rota_a=2; rota_a=3",
            "Cookie: rota_a=gone; rota_a=2",
            "Cookie: ;;; rota_a=2;",
        ] {
            assert_eq!(said(fields), Some(2), "{fields}");
        }
        assert_eq!(said("Cookie: rota_a=65535"), Some(65_535));
    }

    #[test]
    fn what_is_not_as_we_write_it_names_no_process() {
        for value in [
            "",
            "0",
            "02",
            "+2",
            "-2",
            " 2",
            "2 2",
            "\"2\"",
            "2.0",
            "0x2",
            "65536",
            "99999",
            "100000",
            "4294967298",
            "２",
            "2,3",
            "2\u{e9}",
        ] {
            assert_eq!(said(&format!("Cookie: rota_a={value}")), None, "{value:?}");
        }
        for fields in ["X-Other: 1", "Cookie: ROTA_A=2", "Cookie: rota_ab=2", "Cookie: xrota_a=2", "Cookie: rota_a", "Cookie: rota_a =2"] {
            assert_eq!(said(fields), None, "{fields}");
        }
    }

    #[test]
    fn a_cookie_cut_at_any_byte_names_its_digits_or_nothing() {
        let whole = "x=9; rota_a=213";
        for end in 0..=whole.len() {
            let digits = whole[..end].strip_prefix("x=9; rota_a=").and_then(|digits| digits.parse().ok());
            assert_eq!(said(&format!("Cookie: {}", &whole[..end])), digits, "{}", &whole[..end]);
        }
    }

    #[test]
    fn the_cookie_is_set_where_the_client_does_not_know_the_process() {
        let line = "Set-Cookie: rota_a=2; Path=/; HttpOnly; SameSite=Lax\r\n";
        assert_eq!((answered(None, false).as_str(), answered(Some(3), false).as_str()), (line, line));
        assert_eq!(answered(None, true), "Set-Cookie: rota_a=2; Path=/; HttpOnly; SameSite=Lax; Secure\r\n");
        assert_eq!((answered(Some(2), false), answered(Some(2), true)), (String::new(), String::new()));
    }
}
