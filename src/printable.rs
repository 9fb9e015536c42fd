//! Text of others that is shown in a terminal or written to a log. Core: no I/O.

use std::borrow::Cow;
use std::fmt::Display;
use std::hash::{DefaultHasher, Hasher};

/// One line of text that does nothing to a terminal or a log: control characters and what turns the direction of writing are escaped, and so
/// are bytes that are no UTF-8 (`\xff`).
pub fn clean(line: &[u8]) -> String {
    let harmless = |c: char| c == '\t' || is_harmless(c);
    let mut clean = String::with_capacity(line.len());
    for chunk in line.utf8_chunks() {
        if chunk.valid().chars().all(harmless) {
            clean.push_str(chunk.valid());
        } else {
            chunk.valid().chars().for_each(|c| if harmless(c) { clean.push(c) } else { clean.extend(c.escape_default()) });
        }
        clean.extend(chunk.invalid().iter().flat_map(|byte| format!("\\x{byte:02x}").into_bytes()).map(char::from));
    }
    clean
}

/// Without what gives text a look and does nothing else (ECMA-48): colours and weights (`ESC [ ... m`, 24-bit ones too), character sets
/// (`ESC ( B`), erasing to the end of a line (`ESC [ K`), a hidden cursor (`ESC [ ? 25 l`), links (`ESC ] 8 ; ...`), of which the text stays.
/// What does more, as a cleared screen, a title or a clipboard that is written to, stays, so that it is seen.
pub fn without_looks(line: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(ESCAPE, line) else { return Cow::Borrowed(line) };
    let mut plain = line[..first].to_vec();
    let mut rest = &line[first..];
    while let Some(byte) = rest.first() {
        let look = if *byte == ESCAPE { look(rest) } else { 0 };
        if look == 0 {
            plain.push(*byte);
        }
        rest = &rest[look.max(1)..];
    }
    Cow::Owned(plain)
}

/// How long the sequence is that begins here; 0: it is none of a look.
fn look(bytes: &[u8]) -> usize {
    match bytes.get(1) {
        Some(b'[') => {
            let parameters = bytes[2..].iter().take(SEQUENCE).take_while(|byte| matches!(byte, b'0'..=b'?')).count();
            let end = 2 + parameters;
            match (bytes.get(end), &bytes[2..end]) {
                (Some(b'm'), parameters) if parameters.iter().all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':')) => end + 1,
                (Some(b'K'), [] | [b'0'..=b'2']) | (Some(b'h' | b'l'), b"?25") => end + 1,
                _ => 0,
            }
        }
        Some(b'(' | b')') if matches!(bytes.get(2), Some(b'0' | b'A' | b'B')) => 3,
        Some(b']') if bytes[2..].starts_with(b"8;") => {
            let body = bytes[2..].iter().take(LINK).take_while(|byte| !byte.is_ascii_control()).count();
            match &bytes[2 + body..] {
                [0x07, ..] => 2 + body + 1,
                [ESCAPE, b'\\', ..] => 2 + body + 2,
                _ => 0,
            }
        }
        _ => 0,
    }
}

/// Neither a control character nor one that turns the direction of writing or ends a line.
pub fn is_harmless(c: char) -> bool {
    !(c.is_control() || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

/// The last of these lines, as many as have so many bytes together; a line that has too many alone ends with how many are missing.
pub fn last_of(mut lines: Vec<String>, most: usize) -> Vec<String> {
    lines.iter_mut().for_each(|line| shorten(line, most / 4));
    let mut left = most;
    let fits = |line: &&String| left.checked_sub(line.len()).map(|rest| left = rest).is_some();
    let kept = lines.iter().rev().take_while(fits).count();
    lines.split_off(lines.len() - kept)
}

/// A text of more than so many bytes ends with how many are missing.
pub fn shorten(text: &mut String, most: usize) {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let missing = text.len() - end;
        *text = format!("{} ... ({} more)", &text[..end], counted(missing, "byte"));
    }
}

/// `1 line`, `2 lines`, `0 processes`.
pub fn counted<N: Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    let end = match noun {
        _ if number == N::from(1) => "",
        _ if noun.ends_with('s') => "es",
        _ => "s",
    };
    format!("{number} {noun}{end}")
}

/// `1 line was`, `2 lines were`.
pub fn counted_past<N: Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    let verb = if number == N::from(1) { "was" } else { "were" };
    format!("{} {verb}", counted(number, noun))
}

/// Lines of one kind differ in numbers only: times, pids, durations, addresses.
pub fn kind_of(line: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    for word in line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.contains(|c: char| c.is_ascii_digit())) {
        hasher.write(word.as_bytes());
        hasher.write_u8(b' ');
    }
    hasher.finish()
}

/// Lines that are the same again and again, numbers aside, are there once, the last time, and counted: a traceback at each try of a probe is one
/// traceback.
pub fn fold(lines: &[String]) -> Vec<String> {
    let kinds: Vec<u64> = lines.iter().map(|line| kind_of(line)).collect();
    let (mut out, mut end) = (Vec::new(), lines.len());
    while end > 0 {
        let times = |period: usize| {
            let block = &kinds[end - period..end];
            kinds[..end].rchunks_exact(period).take_while(|other| *other == block).count()
        };
        let (period, times) = (1..=end / 2).map(|period| (period, times(period))).find(|(_, times)| *times > 1).unwrap_or((1, 1));
        if times > 1 {
            let what = if period == 1 { "this line".to_owned() } else { format!("these {period} lines") };
            out.push(format!("({what} {times} times)"));
        }
        let block = end - period..end;
        out.extend(lines[block.clone()].iter().rev().cloned());
        end -= period * times;
        // What is left of a block whose beginning is gone.
        if times > 1 && end < period && kinds[block].ends_with(&kinds[..end]) {
            end = 0;
        }
    }
    out.reverse();
    out
}

const ESCAPE: u8 = 0x1b;
/// Parameters of one sequence, and the longest link (bytes): more is no look.
const SEQUENCE: usize = 64;
const LINK: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_said_in_the_singular() {
        assert_eq!([0_u32, 1, 2].map(|number| counted(number, "line")), ["0 lines", "1 line", "2 lines"]);
        assert_eq!([1_u64, 30].map(|number| counted(number, "process")), ["1 process", "30 processes"]);
        assert_eq!([1_usize, 3].map(|number| counted_past(number, "request")), ["1 request was", "3 requests were"]);
    }

    #[test]
    fn a_look_is_dropped_and_its_text_stays() {
        for (line, plain) in [
            ("\x1b[32mINFO\x1b[39m listening\x1b[m", "INFO listening"),
            ("\x1b[38;2;255;100;0mtrue\x1b[0m \x1b[38:2::1:2:3mcolour\x1b[1;4m", "true colour"),
            ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x07 end", "link end"),
            ("\x1b[2K\x1b[?25l10%\x1b[K\x1b[?25h", "10%"),
            ("\x1b(B\x1b[mplain", "plain"),
            ("caf\u{e9} \x1b[31m\u{20ac}", "caf\u{e9} \u{20ac}"),
        ] {
            assert_eq!(String::from_utf8_lossy(&without_looks(line.as_bytes())), plain, "{line:?}");
        }
    }

    #[test]
    fn what_does_more_than_a_look_stays_and_is_seen() {
        for line in [
            "\x1b[2J\x1b[H wipe",
            "\x1b]0;title\x07 attack",
            "\x1b]52;c;aGk=\x07",
            "\x1b]8;;no end",
            "\x1b[1A\x1b[6n\x1b[?1049h",
            "\x1b[>4;1m",
            "\x1b[3",
            "\x1b",
            "\x1bc",
            "\x1b[\x1b",
        ] {
            assert_eq!(without_looks(line.as_bytes()), line.as_bytes(), "{line:?}");
            assert!(!clean(&without_looks(line.as_bytes())).contains('\x1b'));
        }
        // What is left when a look is taken out must not make another one.
        assert_eq!(clean(&without_looks(b"\x1b\x1b[0m[31mx")), "\\u{1b}[31mx");
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_such() {
        assert_eq!(clean(b"a\xff\x00\xe2\x82b\xc3\xa9"), "a\\xff\\u{0}\\xe2\\x82b\u{e9}");
    }

    #[test]
    fn what_would_move_the_cursor_is_escaped() {
        assert_eq!(clean(b"\x1b[2Jhi\tthere\x07\xe2\x80\xae"), "\\u{1b}[2Jhi\tthere\\u{7}\\u{202e}");
        assert_eq!(clean("\u{200f}a\u{61c}".as_bytes()), "\\u{200f}a\\u{61c}");
    }

    #[test]
    fn lines_of_a_kind_differ_in_numbers() {
        let of = |time: &str, pid: u32| kind_of(&format!("127.0.0.1 - - [30/Nov/2026 {time}] \"GET / HTTP/1.1\" 500 - {pid}"));
        assert_eq!(of("02:33:11", 7), of("12:01:44", 70001));
        assert_ne!(kind_of("loaded users"), kind_of("loaded orders"));
    }

    #[test]
    fn the_last_lines_are_kept_and_a_long_one_says_what_is_missing() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(last_of(lines("a bb ccc"), 100), ["a", "bb", "ccc"]);
        assert_eq!(last_of(lines("aaaa bbbb cccc dddd"), 16), ["aaaa", "bbbb", "cccc", "dddd"]);
        assert_eq!(last_of(lines("aaaa bbbb cccc dddd d"), 16), ["bbbb", "cccc", "dddd", "d"]);
        assert_eq!(
            last_of(lines(&format!("a {}", "x".repeat(40))), 100),
            ["a".to_owned(), format!("{} ... (15 bytes more)", "x".repeat(25))]
        );
        let mut text = "a\u{20ac}\u{20ac}".to_owned();
        shorten(&mut text, 5);
        assert_eq!(text, "a\u{20ac} ... (3 bytes more)");
    }

    #[test]
    fn what_repeats_itself_is_there_once_and_counted() {
        let folded = |text: &str| fold(&text.split(' ').map(str::to_owned).collect::<Vec<_>>()).join(" ");
        assert_eq!(folded("a b c"), "a b c");
        assert_eq!(folded("boot b b b"), "boot b (this line 3 times)");
        assert_eq!(folded("a b a b a b"), "a b (these 2 lines 3 times)");
        assert_eq!(folded("y z x y z x y z"), "x y z (these 3 lines 2 times)");
        assert_eq!(folded("boot x y x y end"), "boot x y (these 2 lines 2 times) end");
        let log: Vec<String> = (0..40).map(|second| format!("[02:33:{second:02}] \"GET / HTTP/1.1\" 500 -")).collect();
        assert_eq!(fold(&log), ["[02:33:39] \"GET / HTTP/1.1\" 500 -", "(this line 40 times)"]);
    }
}
