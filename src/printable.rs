//! Text of others that is shown in a terminal or written to a log. Core: no I/O.

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

/// Neither a control character nor one that turns the direction of writing or ends a line.
pub fn is_harmless(c: char) -> bool {
    !(c.is_control() || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
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

#[cfg(test)]
mod tests {
    use super::*;

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
