//! Where the frames and messages of a WebSocket begin and end (RFC 6455 5.2), and the close frame. Core.
//!
//! Payloads are nobody's business here: bytes go by and are counted. Extensions that mark messages in the reserved bits (RFC 7692) change
//! nothing about it.

use serde::{Deserialize, Serialize};

use super::fields::Field;
use super::head::{ResponseHead, list};

/// Follows one direction of a WebSocket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Frames {
    place: Place,
    /// A message in several frames has begun and has not ended.
    in_message: bool,
    close_seen: bool,
}

/// What something may be put in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// Only control frames may come between the frames of one message (RFC 6455 5.4).
    Frame,
    Message,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Place {
    /// Between two frames.
    Start,
    /// The second byte of a header is next.
    Second {
        control: bool,
    },
    /// `left` bytes of an extended length are still to come.
    Length {
        left: u8,
        length: u64,
        masked: bool,
    },
    /// `left` bytes of the masking key are still to come.
    Mask {
        left: u8,
        length: u64,
    },
    Payload {
        left: u64,
    },
    /// What came is no WebSocket frame: nothing is known from here on.
    Lost,
}

impl Frames {
    #[allow(clippy::new_without_default)] // the start of a stream is no default
    pub fn new() -> Self {
        Self { place: Place::Start, in_message: false, close_seen: false }
    }

    /// Whether the direction stands at such a boundary.
    pub fn is_at(&self, boundary: Boundary) -> bool {
        self.place == Place::Start && (boundary == Boundary::Frame || !self.in_message)
    }

    /// A close frame has begun: by the protocol the last of this direction (RFC 6455 5.5.1).
    pub fn close_seen(&self) -> bool {
        self.close_seen
    }

    /// All of `bytes` goes by.
    pub fn pass(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            at += self.take(&bytes[at..]);
        }
    }

    /// `bytes` go by up to the next boundary, which may be where the direction stands already. Gives how many did; None: all did, and there
    /// was none.
    pub fn pass_to(&mut self, boundary: Boundary, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while !self.is_at(boundary) {
            if at == bytes.len() {
                return None;
            }
            at += self.take(&bytes[at..]);
        }
        Some(at)
    }

    /// Takes one byte of a header or all that there is of a payload; gives how many bytes. `bytes` is not empty.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let byte = bytes[0];
        self.place = match self.place {
            Place::Start => self.first(byte),
            // RFC 6455 5.5: a control frame has at most 125 bytes.
            Place::Second { control: true } if byte & 0x7f > 125 => Place::Lost,
            Place::Second { .. } => match (byte & 0x7f, byte & 0x80 != 0) {
                (126, masked) => Place::Length { left: 2, length: 0, masked },
                (127, masked) => Place::Length { left: 8, length: 0, masked },
                (length, masked) => after_length(u64::from(length), masked),
            },
            // RFC 6455 5.2: the most significant bit of a length of 64 bits is 0.
            Place::Length { left: 8, .. } if byte & 0x80 != 0 => Place::Lost,
            Place::Length { left: 1, length, masked } => after_length(length << 8 | u64::from(byte), masked),
            Place::Length { left, length, masked } => Place::Length { left: left - 1, length: length << 8 | u64::from(byte), masked },
            Place::Mask { left: 1, length } => payload(length),
            Place::Mask { left, length } => Place::Mask { left: left - 1, length },
            Place::Payload { left } => {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                self.place = payload(left - taken as u64);
                return taken;
            }
            Place::Lost => return bytes.len(),
        };
        1
    }

    /// FIN, the reserved bits and the opcode.
    fn first(&mut self, byte: u8) -> Place {
        let last = byte & 0x80 != 0;
        match (byte & 0x0f, self.in_message) {
            (0, true) | (1 | 2, false) => {
                self.in_message = !last;
                Place::Second { control: false }
            }
            (opcode @ 8..=10, _) if last => {
                self.close_seen |= opcode == CLOSE;
                Place::Second { control: true }
            }
            _ => Place::Lost,
        }
    }
}

fn after_length(length: u64, masked: bool) -> Place {
    if masked { Place::Mask { left: 4, length } } else { payload(length) }
}

fn payload(left: u64) -> Place {
    if left == 0 { Place::Start } else { Place::Payload { left } }
}

/// Whether a 101 switches to the WebSocket protocol.
pub fn is_chosen(head: &ResponseHead<'_, '_>) -> bool {
    head.fields.values(Field::Upgrade).flat_map(list).any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
}

/// Writes a close frame: to a client without a mask, to a server with one (RFC 6455 5.1). `reason`: at most 123 bytes.
pub fn write_close(out: &mut Vec<u8>, code: u16, reason: &str, mask: Option<[u8; 4]>) {
    debug_assert!(reason.len() <= 123, "a control frame has at most 125 bytes");
    let length = reason.len() as u8 + 2;
    let payload = code.to_be_bytes().into_iter().chain(reason.bytes());
    out.push(0x80 | CLOSE);
    match mask {
        None => {
            out.push(length);
            out.extend(payload);
        }
        Some(mask) => {
            out.push(0x80 | length);
            out.extend_from_slice(&mask);
            out.extend(payload.zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        }
    }
}

/// "Service Restart": the client may come back at once (IANA registry of WebSocket close codes).
pub const SERVICE_RESTART: u16 = 1012;

const CLOSE: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::left;

    /// A frame, its length written in the shortest form.
    fn frame(first: u8, length: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
        let bit = if mask.is_some() { 0x80 } else { 0 };
        let mut frame = vec![first];
        match length {
            0..126 => frame.push(bit | length as u8),
            126..65_536 => {
                frame.push(bit | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(bit | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(mask.into_iter().flatten());
        // Bytes that look like headers, to whoever loses count.
        frame.extend((0..length).map(|i| [0x81, 0x88, 0x00, 0x7f][i % 4]));
        frame
    }

    /// All kinds of frames in order; whether the bytes behind each are at a message boundary.
    fn script(mask: Option<[u8; 4]>) -> Vec<(Vec<u8>, bool)> {
        vec![
            (frame(0x81, 0, mask), true),
            (frame(0x82, 125, mask), true),
            (frame(0xc1, 126, mask), true),
            (frame(0x01, 200, mask), false),
            (frame(0x89, 4, mask), false),
            (frame(0x00, 0, mask), false),
            (frame(0x00, 300, mask), false),
            (frame(0x8a, 125, mask), false),
            (frame(0x80, 3, mask), true),
            (frame(0x89, 0, mask), true),
            (frame(0x82, 65_600, mask), true),
            (frame(0x02, 1, mask), false),
            (frame(0x80, 0, mask), true),
        ]
    }

    fn bytes_of(script: &[(Vec<u8>, bool)]) -> Vec<u8> {
        script.iter().flat_map(|(frame, _)| frame.clone()).collect()
    }

    /// Where boundaries are, from the start on.
    fn boundaries(script: &[(Vec<u8>, bool)], boundary: Boundary) -> Vec<usize> {
        let mut at = 0;
        let ends = script.iter().filter_map(|(frame, whole)| {
            at += frame.len();
            (boundary == Boundary::Frame || *whole).then_some(at)
        });
        std::iter::once(0).chain(ends).collect()
    }

    #[test]
    fn boundaries_are_the_same_however_the_bytes_are_cut() {
        for mask in [None, Some([0x81, 0, 0x88, 0xff])] {
            let script = script(mask);
            let bytes = bytes_of(&script);
            for boundary in [Boundary::Frame, Boundary::Message] {
                let expected = boundaries(&script, boundary);
                for cut in 0..=bytes.len() {
                    let mut frames = Frames::new();
                    frames.pass(&bytes[..cut]);
                    assert_eq!(frames.is_at(boundary), expected.contains(&cut), "{boundary:?} at {cut}");
                    let next = expected.iter().find(|at| **at >= cut).copied();
                    assert_eq!(frames.pass_to(boundary, &bytes[cut..]), next.map(|at| at - cut), "{boundary:?} from {cut}");
                    assert!(!frames.close_seen());
                }
            }
        }
    }

    #[test]
    fn byte_by_byte_is_the_same_as_at_once_also_when_it_is_left_to_the_next_rota_at_each() {
        let script = script(Some([1, 2, 3, 4]));
        let bytes = bytes_of(&script);
        let expected = boundaries(&script, Boundary::Message);
        let mut frames = Frames::new();
        for (at, byte) in bytes.iter().enumerate() {
            assert_eq!(frames.is_at(Boundary::Message), expected.contains(&at), "at {at}");
            frames.pass(&[*byte]);
            frames = left(&frames);
        }
        assert!(frames.is_at(Boundary::Message));
    }

    #[test]
    fn a_close_frame_is_remembered_from_its_first_byte_on_also_inside_a_message() {
        for before in [frame(0x81, 5, None), frame(0x01, 5, None)] {
            let close = frame(0x88, 2, None);
            let mut frames = Frames::new();
            frames.pass(&before);
            assert!(!frames.close_seen());
            for byte in close {
                frames.pass(&[byte]);
                assert!(frames.close_seen());
            }
            assert!(frames.is_at(Boundary::Frame));
        }
    }

    #[test]
    fn what_is_no_frame_has_no_boundary_ever_after() {
        let mut too_long = vec![0x82, 127, 0x80];
        too_long.extend([0; 7]);
        for (what, bytes) in [
            ("a continuation of nothing", frame(0x80, 3, None)),
            ("a message inside a message", [frame(0x01, 3, None), frame(0x81, 3, None)].concat()),
            ("a control frame in pieces", frame(0x09, 3, None)),
            ("a large control frame", frame(0x89, 126, None)),
            ("an opcode of nobody", frame(0x83, 3, None)),
            ("a length of 64 bits", too_long),
            ("HTTP", b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        ] {
            let mut frames = Frames::new();
            frames.pass(&bytes);
            frames.pass(&frame(0x81, 0, None));
            assert!(!frames.is_at(Boundary::Frame) && !frames.is_at(Boundary::Message), "{what}");
            assert_eq!(frames.pass_to(Boundary::Frame, &[0x81, 0]), None, "{what}");
        }
    }

    #[test]
    fn a_close_frame_that_is_written_reads_back() {
        let mut plain = Vec::new();
        write_close(&mut plain, SERVICE_RESTART, "restart", None);
        assert_eq!(plain, b"\x88\x09\x03\xf4restart");
        let (mut masked, mask) = (Vec::new(), [9, 8, 7, 6]);
        write_close(&mut masked, SERVICE_RESTART, "restart", Some(mask));
        assert_eq!(masked[..6], [0x88, 0x89, 9, 8, 7, 6]);
        let payload: Vec<u8> = masked[6..].iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        assert_eq!(payload, plain[2..]);
        for frame in [plain, masked] {
            let mut frames = Frames::new();
            assert_eq!(frames.pass_to(Boundary::Message, &frame), Some(0));
            frames.pass(&frame);
            assert!(frames.close_seen() && frames.is_at(Boundary::Message));
        }
    }
}
