//! Which of three forms of one and the same text a client wants: Accept of RFC 9110 12.5.1, for answers that rota makes itself.

use super::head::{list, trim};

/// How an answer of rota's own is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// For whoever does not say (curl), or wants none of ours: an error in a form that was not asked for is better than none.
    #[default]
    Plain,
    Html,
    /// `application/problem+json` (RFC 9457).
    Json,
}

impl Form {
    /// Of the values of all Accept fields, the best of the ranges that one of ours is in: by its q; of equals one that names a type rather
    /// than `*`, and of those the first. More than 32 are not looked at.
    pub fn wanted<'v>(values: impl Iterator<Item = &'v [u8]>) -> Self {
        let mut best = (0, Precision::All, Form::Plain);
        let ranges = values.flat_map(list).filter(|range| !range.is_empty()).take(RANGES);
        for (form, precision, weight) in ranges.filter_map(range) {
            if weight > 0 && (weight, precision) > (best.0, best.1) {
                best = (weight, precision, form);
            }
        }
        best.2
    }
}

/// How precisely a range says what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    All,
    Named,
}

/// The form that a media range asks for, and its q in thousandths. None: none of ours, or malformed.
fn range(text: &[u8]) -> Option<(Form, Precision, u16)> {
    let mut parts = text.split(|byte| *byte == b';').map(trim);
    let named = parts.next()?;
    let is = |known: &str| named.eq_ignore_ascii_case(known.as_bytes());
    let (form, precision) = match named {
        _ if is("text/html") => (Form::Html, Precision::Named),
        _ if is("application/json") || is("application/problem+json") => (Form::Json, Precision::Named),
        _ if is("text/plain") => (Form::Plain, Precision::Named),
        _ if is("*/*") || is("text/*") => (Form::Plain, Precision::All),
        _ => return None,
    };
    let q = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
    Some((form, precision, q.map_or(Some(1000), thousandths)?))
}

/// `qvalue` of RFC 9110 12.4.2: from 0 to 1 with at most three digits behind the point.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, digits) = match text {
        [whole] | [whole, b'.'] => (whole, &[][..]),
        [whole, b'.', digits @ ..] if digits.len() <= 3 => (whole, digits),
        _ => return None,
    };
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    let places = (0..3).map(|place| digits.get(place).map_or(Some(0), |byte| digit(*byte)));
    let fraction = places.into_iter().try_fold(0, |value, digit| Some(value * 10 + digit?))?;
    match whole {
        b'0' => Some(fraction),
        b'1' if fraction == 0 => Some(1000),
        _ => None,
    }
}

/// Browsers send a dozen.
const RANGES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &str) -> Form {
        Form::wanted([accept.as_bytes()].into_iter())
    }

    #[test]
    fn browsers_scripts_and_command_lines_get_what_they_can_read() {
        let firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";
        for (accept, form) in [
            (firefox, Form::Html),
            ("*/*", Form::Plain),
            ("", Form::Plain),
            ("application/json", Form::Json),
            ("application/problem+json, */*;q=0.1", Form::Json),
            ("application/json, text/plain, */*", Form::Json),
            ("application/json, text/javascript, */*; q=0.01", Form::Json),
            ("*/*, application/json", Form::Json),
            ("image/avif,image/webp,*/*;q=0.8", Form::Plain),
            ("image/png", Form::Plain),
        ] {
            assert_eq!(wanted(accept), form, "{accept}");
        }
        assert_eq!(Form::wanted(std::iter::empty()), Form::Plain);
    }

    #[test]
    fn the_highest_q_wins_and_of_equals_the_first_that_names_a_type() {
        for (accept, form) in [
            ("text/html;q=0.5, application/json", Form::Json),
            ("text/html, application/json;q=0.999", Form::Html),
            ("text/html, application/json", Form::Html),
            ("application/json, text/html", Form::Json),
            ("text/html;q=0.8, */*", Form::Plain),
            ("text/html;q=0, application/json;q=0.000", Form::Plain),
            ("TEXT/HTML ; level=1 ; Q=0.002, application/json;q=0.001", Form::Html),
        ] {
            assert_eq!(wanted(accept), form, "{accept}");
        }
        let lines = [&b"text/html;q=0.1"[..], b"application/json;q=0.2"];
        assert_eq!(Form::wanted(lines.into_iter()), Form::Json);
    }

    #[test]
    fn a_malformed_range_is_passed_over() {
        for q in ["", "x", "2", "1.001", "0.1234", "+1", "-1", "0,5", "1.0000", ".5", "0.x"] {
            assert_eq!(wanted(&format!("text/html;q={q}, application/json;q=0.001")), Form::Json, "{q}");
        }
        assert_eq!(wanted("\u{0},;,;;q=,\u{ff}/,text/html/x"), Form::Plain);
    }

    #[test]
    fn what_is_looked_at_is_bounded() {
        let far = "image/png,".repeat(RANGES) + "text/html";
        assert_eq!(wanted(&far), Form::Plain);
    }
}
