//! Where the events of an event stream end (WHATWG HTML, "Server-sent events", 9.2.5 and 9.2.6). Core.
//!
//! An event ends with a blank line; a line ends with LF, CR or CRLF. What a stream ends in the middle of, its reader drops.

use serde::{Deserialize, Serialize};

use super::framing::ResponseBody;
use super::head::ResponseHead;
use super::streaming;

/// Follows the body of an event stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Events {
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Place {
    /// Between two events. `after_cr`: a LF that comes next is still part of the blank line.
    Between { after_cr: bool },
    /// Inside a line.
    Line,
    /// At the start of a line that belongs to an event.
    NextLine { after: LineEnd },
    /// Behind a blank line's CR where the line before ended with CRLF: the LF is waited for, since readers that look for CRLF CRLF would
    /// not see the end of the event without it.
    BlankCr,
    /// The body is encoded: its lines cannot be seen.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum LineEnd {
    Lf,
    Cr,
    CrLf,
}

/// Follows a response that is an event stream; None: it is none. One of a declared length ends by itself and is a response like any other.
pub fn of_response(head: &ResponseHead<'_, '_>, body: &ResponseBody) -> Option<Events> {
    match body {
        ResponseBody::Chunked | ResponseBody::UntilClose => {}
        ResponseBody::None | ResponseBody::Length(_) => return None,
    }
    let is_stream = streaming::media_types(head).any(|essence| essence.eq_ignore_ascii_case(b"text/event-stream"));
    let mut encodings = head.fields.iter().filter(|(_, name, _)| name.eq_ignore_ascii_case("content-encoding"));
    let is_plain = encodings.all(|(_, _, value)| value.eq_ignore_ascii_case(b"identity"));
    is_stream.then(|| if is_plain { Events::new() } else { Events { place: Place::Unknown } })
}

impl Events {
    #[allow(clippy::new_without_default)] // the start of a stream is no default
    pub fn new() -> Self {
        Self { place: Place::Between { after_cr: false } }
    }

    /// Whether the stream stands between two events.
    pub fn is_between(&self) -> bool {
        matches!(self.place, Place::Between { .. })
    }

    /// All of `bytes` goes by.
    pub fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.step(*byte);
        }
    }

    /// `bytes` go by up to the next end of an event, which may be where the stream stands already. Gives how many did; None: all did, and no
    /// event ended.
    pub fn pass_to_end(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            match (self.place, byte) {
                // The rest of a blank line.
                (Place::Between { after_cr: true }, b'\n') => {
                    self.step(b'\n');
                    return Some(at + 1);
                }
                (Place::Between { .. }, _) => return Some(at),
                // The blank line was a CR alone after all.
                (Place::BlankCr, byte) if *byte != b'\n' => {
                    self.place = Place::Between { after_cr: false };
                    return Some(at);
                }
                (Place::Line | Place::NextLine { .. } | Place::BlankCr | Place::Unknown, _) => self.step(*byte),
            }
        }
        self.is_between().then_some(bytes.len())
    }

    fn step(&mut self, byte: u8) {
        self.place = match (self.place, byte) {
            (Place::Unknown, _) => Place::Unknown,
            (Place::Line, b'\n') => Place::NextLine { after: LineEnd::Lf },
            (Place::Line, b'\r') => Place::NextLine { after: LineEnd::Cr },
            (Place::NextLine { after: LineEnd::Cr }, b'\n') => Place::NextLine { after: LineEnd::CrLf },
            (Place::NextLine { after: LineEnd::CrLf }, b'\r') => Place::BlankCr,
            (Place::NextLine { .. } | Place::Between { .. } | Place::BlankCr, b'\n') => Place::Between { after_cr: false },
            (Place::NextLine { .. } | Place::Between { .. } | Place::BlankCr, b'\r') => Place::Between { after_cr: true },
            (Place::Line | Place::NextLine { .. } | Place::Between { .. } | Place::BlankCr, _) => Place::Line,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{HeaderRoom, parse_response};
    use crate::moment::left;

    /// `|` marks where an event has ended.
    fn marked(text: &str) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), vec![0]);
        for byte in text.bytes() {
            if byte == b'|' { ends.push(bytes.len()) } else { bytes.push(byte) }
        }
        (bytes, ends)
    }

    const STREAMS: [&str; 6] = [
        "id: 1\ndata: a\n\n|: comment\n\n|retry: 10\n\n|data: b\ndata: c\n\n|data: open\n",
        "id: 1\r\ndata: a\r\n\r\n|: comment\r\n\r\n|data: b\r\ndata: c\r\n\r\n|data: open\r\n",
        "id: 1\rdata: a\r\r|: comment\r\r|data: b\rdata: c\r\r|data: open\r",
        // More than one blank line, and ends of different kinds.
        "data: a\n\n|\n|\n|data: b\r\n\n|data: c\n\r|data: d",
        "\u{feff}data: a\n\n|data: b\n\n|",
        "\n|\n|data: a\n\n|",
    ];

    #[test]
    fn events_end_at_the_same_places_however_the_bytes_are_cut() {
        for stream in STREAMS {
            let (bytes, ends) = marked(stream);
            for cut in 0..=bytes.len() {
                let mut events = Events::new();
                events.pass(&bytes[..cut]);
                let mut events = left(&events);
                assert_eq!(events.is_between(), ends.contains(&cut), "{stream:?} at {cut}");
                let next = ends.iter().find(|end| **end >= cut).map(|end| end - cut);
                assert_eq!(events.pass_to_end(&bytes[cut..]), next, "{stream:?} from {cut}");
            }
        }
    }

    #[test]
    fn the_lf_of_a_blank_crlf_goes_with_its_event() {
        let mut events = Events::new();
        assert_eq!(events.pass_to_end(b""), Some(0), "the start of a stream");
        events.pass(b"data: a\r\n\r");
        assert!(!events.is_between(), "the LF is still to come");
        assert_eq!(events.pass_to_end(b"\ndata: b"), Some(1));
        let mut events = Events::new();
        events.pass(b"data: a\n\r");
        assert!(events.is_between());
        assert_eq!(events.pass_to_end(b"\ndata: b"), Some(1));
    }

    #[test]
    fn a_blank_line_that_was_a_cr_alone_is_known_by_what_follows() {
        let mut events = Events::new();
        events.pass(b"data: a\r\n\r");
        assert_eq!(events.pass_to_end(b"data: b"), Some(0));
        assert!(events.is_between());
    }

    fn follows(head: &str) -> Option<Events> {
        let mut room = HeaderRoom::new();
        let (head, _) = parse_response(head.as_bytes(), &mut room).unwrap().unwrap();
        of_response(&head, &crate::http::framing::response_body(&head, false).unwrap())
    }

    #[test]
    fn a_response_without_a_length_and_of_that_type_is_an_event_stream() {
        for content_type in ["text/event-stream", "Text/Event-Stream ;charset=utf-8"] {
            let events = follows(&format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"));
            assert!(events.is_some_and(|events| events.is_between()), "{content_type}");
            assert!(follows(&format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n")).is_some());
            assert!(follows(&format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: 9\r\n\r\n")).is_none());
        }
        assert!(follows("HTTP/1.1 200 OK\r\nContent-Type: text/event-streams\r\n\r\n").is_none());
        assert!(follows("HTTP/1.1 200 OK\r\n\r\n").is_none());
    }

    #[test]
    fn the_events_of_an_encoded_stream_cannot_be_seen() {
        let mut events = follows("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n").unwrap();
        assert_eq!(events.pass_to_end(b"\n\n\n"), None);
        assert!(!events.is_between());
    }
}
