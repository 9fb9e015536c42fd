//! Lines of the control socket, both ways: never a panic, what is read and written again is the same, and an error is bounded by its line.

use rota::control::proto::{self, Reply};

pub fn check(bytes: &[u8]) {
    match proto::parse_request(bytes) {
        Ok(request) => {
            let line = one_line(proto::request_line(&request));
            let again = proto::parse_request(&line).expect("it was written by us");
            assert_eq!(without_fractions(&proto::request_line(&again)), without_fractions(&proto::request_line(&request)));
        }
        Err(message) => {
            assert!(message.len() <= GROWTH * bytes.len() + WORDS, "{} bytes about a line of {}", message.len(), bytes.len());
            let reply = Reply::Error { message };
            assert_eq!(proto::parse_reply(&one_line(proto::reply_line(&reply))).ok(), Some(reply));
        }
    }
    if let Ok(reply) = proto::parse_reply(bytes) {
        let line = one_line(proto::reply_line(&reply));
        let again = proto::parse_reply(&line).expect("it was written by us");
        assert_eq!(without_fractions(&proto::reply_line(&again)), without_fractions(&proto::reply_line(&reply)));
    }
}

/// Without its end, which is the only one.
fn one_line(mut line: Vec<u8>) -> Vec<u8> {
    assert_eq!(line.pop(), Some(b'\n'));
    assert!(!line.contains(&b'\n'), "{}", line.escape_ascii());
    line
}

/// Numbers with a fraction are read to within their last bit: they may differ.
fn without_fractions(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c));
    words
        .map(|word| if word.starts_with(|c: char| c.is_ascii_digit() || c == '-') && word.contains(['.', 'e']) { "~" } else { word })
        .collect()
}

/// A byte that is shown escaped, twice.
const GROWTH: usize = 12;
/// What is understood, and the words around it (bytes).
const WORDS: usize = 1024;
