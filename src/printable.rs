//! Text of others that is shown in a terminal or written to a log. Core: no I/O.

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
}
