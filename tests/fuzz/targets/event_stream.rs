//! Ends of events: the same as a reader sees that has all the bytes, wherever they are cut.

use rota::http::event_stream::Events;

pub fn check(bytes: &[u8]) {
    let ends: Vec<usize> = (0..=bytes.len()).filter(|end| is_between(&bytes[..*end])).collect();
    for cut in super::cuts(bytes) {
        let mut events = Events::new();
        super::pieces(&bytes[..cut]).into_iter().for_each(|piece| events.pass(piece));
        assert_eq!(events.is_between(), ends.contains(&cut), "at {cut}");
        let next = ends_seen_with_what_follows(bytes, &ends, cut).map(|end| end - cut);
        assert_eq!(events.pass_to_end(&bytes[cut..]), next, "from {cut}");
        assert_eq!(events.is_between(), next.is_some());
    }
}

/// The first end from `cut` on. One at a CR goes on to the LF behind it; a blank CR alone behind CRLF is known by the byte that follows.
fn ends_seen_with_what_follows(bytes: &[u8], ends: &[usize], cut: usize) -> Option<usize> {
    (cut..=bytes.len()).find_map(|at| {
        let before = &bytes[..at];
        let next = bytes.get(at);
        let blank_cr = before.ends_with(b"\r\n\r") && !ends.contains(&at) && is_blank_behind_event(before);
        match next {
            Some(b'\n') if before.ends_with(b"\r") && ends.contains(&at) => Some(at + 1),
            Some(byte) if *byte != b'\n' && blank_cr => Some(at),
            _ => ends.contains(&at).then_some(at),
        }
    })
}

/// The CR at the end of `before` is a line of its own, that is, not of the line before.
fn is_blank_behind_event(before: &[u8]) -> bool {
    let (lines, rest) = lines(before);
    rest.is_empty() && lines.last().is_some_and(|(line, end)| line.is_empty() && *end == b"\r")
}

/// Whether a stream of these bytes stands between two events: at the start, or behind a blank line. Behind a blank CR whose line before
/// ended with CRLF it does not yet.
fn is_between(bytes: &[u8]) -> bool {
    let (lines, rest) = lines(bytes);
    match lines[..] {
        _ if !rest.is_empty() => false,
        [] => true,
        [.., (before, b"\r\n"), (b"", b"\r")] => before.is_empty(),
        [.., (last, _)] => last.is_empty(),
    }
}

type Lines<'a> = (Vec<(&'a [u8], &'a [u8])>, &'a [u8]);

/// The lines, each with its end (CRLF, LF or CR), and what stands behind the last one.
fn lines(bytes: &[u8]) -> Lines<'_> {
    let (mut lines, mut rest) = (Vec::new(), bytes);
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        let end = if rest[at..].starts_with(b"\r\n") { 2 } else { 1 };
        lines.push((&rest[..at], &rest[at..at + end]));
        rest = &rest[at + end..];
    }
    (lines, rest)
}
