//! Boundaries of frames and messages: the same as a reader sees that has all the bytes, wherever they are cut.

use rota::http::websocket::{Boundary, Frames, write_close};

pub fn check(bytes: &[u8]) {
    let known = Known::of(bytes);
    for boundary in [Boundary::Frame, Boundary::Message] {
        let ends = known.ends(boundary);
        for cut in super::cuts(bytes) {
            let mut frames = Frames::new();
            super::pieces(&bytes[..cut]).into_iter().for_each(|piece| frames.pass(piece));
            assert_eq!(frames.is_at(boundary), ends.contains(&cut), "{boundary:?} at {cut}");
            assert_eq!(frames.close_seen(), known.close.is_some_and(|close| close < cut), "close at {cut}");
            let next = ends.iter().find(|end| **end >= cut).map(|end| end - cut);
            assert_eq!(frames.pass_to(boundary, &bytes[cut..]), next, "{boundary:?} from {cut}");
            assert_eq!(frames.is_at(boundary), next.is_some());
        }
    }
    writes_what_reads_back(bytes);
}

/// What a reader of RFC 6455 5.2 sees that goes from frame to frame over all the bytes.
#[derive(Default)]
struct Known {
    /// Where a frame has ended, and whether a message has too.
    ends: Vec<(usize, bool)>,
    /// The first byte of the first close frame.
    close: Option<usize>,
}

impl Known {
    fn of(bytes: &[u8]) -> Self {
        let mut known = Known { ends: vec![(0, true)], close: None };
        let (mut at, mut open) = (0, false);
        while at < bytes.len() {
            let (first, second) = (bytes[at], bytes.get(at + 1).copied());
            let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
            let is_control = opcode >= 8;
            let fits = match opcode {
                0 => open,
                1 | 2 => !open,
                8..=10 => fin,
                _ => false,
            };
            if !fits {
                break;
            }
            if opcode == 8 {
                known.close.get_or_insert(at);
            }
            let Some(second) = second else { break };
            let masked = second & 0x80 != 0;
            let short = usize::from(second & 0x7f);
            if is_control && short > 125 {
                break;
            }
            let extended = match short {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            let Some(length) = bytes.get(at + 2..at + 2 + extended) else { break };
            let length = if extended == 0 { short as u128 } else { length.iter().fold(0, |all, byte| all * 256 + u128::from(*byte)) };
            let end = (at + 2 + extended + if masked { 4 } else { 0 }) as u128 + length;
            if length >= 1 << 63 || end > bytes.len() as u128 {
                break;
            }
            if !is_control {
                open = !fin;
            }
            at = end as usize;
            known.ends.push((at, !open));
        }
        known
    }

    fn ends(&self, boundary: Boundary) -> Vec<usize> {
        self.ends.iter().filter(|(_, whole)| boundary == Boundary::Frame || *whole).map(|(at, _)| *at).collect()
    }
}

/// A close frame with a reason of these bytes, to either side, is one whole frame.
fn writes_what_reads_back(bytes: &[u8]) {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
    let code = u16::from(bytes.first().copied().unwrap_or_default()) * 256;
    for mask in [None, bytes.first_chunk().copied()] {
        let mut out = Vec::new();
        write_close(&mut out, code, &text, mask);
        let known = Known::of(&out);
        assert_eq!(known.ends, [(0, true), (out.len(), true)]);
        assert_eq!(known.close, Some(0));
    }
}
