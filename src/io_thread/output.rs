//! What a process prints: by line into rota's log, and the last lines kept for error reports. On the process's I/O thread; never blocks.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::ids::ProcessName;

/// Standard output and standard error of one process.
#[derive(Debug)]
pub struct Pipes {
    name: ProcessName,
    pipes: [Pipe; 2],
    tokens: [Token; 2],
    /// Of both streams, oldest first.
    tail: VecDeque<String>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Pipe {
    stream: &'static str,
    /// None: it has ended.
    fd: Option<OwnedFd>,
    lines: Lines,
}

impl Pipes {
    pub fn new(name: ProcessName, stdout: OwnedFd, stderr: OwnedFd, registry: &Registry, tokens: [Token; 2]) -> io::Result<Self> {
        for (fd, token) in [&stdout, &stderr].into_iter().zip(tokens) {
            registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        }
        let pipe = |stream, fd| Pipe { stream, fd: Some(fd), lines: Lines::default() };
        Ok(Self { name, pipes: [pipe("stdout", stdout), pipe("stderr", stderr)], tokens, tail: VecDeque::new(), buffer: vec![0; BUFFER] })
    }

    /// Something can be read. True: there is more than one turn takes.
    pub fn event(&mut self, token: Token) -> bool {
        match self.tokens.iter().position(|known| *known == token) {
            Some(index) => self.read(index),
            None => false,
        }
    }

    /// Reads what is there now, at most about 1 MiB of each stream; an unfinished last line counts as a line.
    pub fn drain(&mut self) {
        for index in 0..self.pipes.len() {
            for _ in 0..DRAIN_TURNS {
                if !self.read(index) {
                    break;
                }
            }
            let pipe = &mut self.pipes[index];
            pipe.lines.flush(&mut |line| print(&self.name, pipe.stream, line, &mut self.tail));
        }
    }

    /// The last lines, oldest first.
    pub fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }

    fn read(&mut self, index: usize) -> bool {
        let pipe = &mut self.pipes[index];
        for _ in 0..READS {
            let Some(fd) = &pipe.fd else { return false };
            match rustix::io::read(fd, &mut self.buffer[..]) {
                Ok(0) => pipe.fd = None,
                Ok(count) => pipe.lines.feed(&self.buffer[..count], &mut |line| print(&self.name, pipe.stream, line, &mut self.tail)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return false,
                Err(error) => {
                    log::debug!("{} {}: {error}", self.name, pipe.stream);
                    pipe.fd = None;
                }
            }
        }
        true
    }
}

fn print(name: &ProcessName, stream: &str, line: &[u8], tail: &mut VecDeque<String>) {
    let text = clean(line);
    log::info!("{name} {stream}: {text}");
    if tail.len() == TAIL {
        tail.pop_front();
    }
    tail.push_back(text);
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
pub struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Gives each whole line to `line`, without its end; one that is longer than 8 KiB is given in pieces.
    pub fn feed(&mut self, bytes: &[u8], line: &mut impl FnMut(&[u8])) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            self.give(&bytes[start..end], line);
            start = end + 1;
        }
        self.rest.extend_from_slice(&bytes[start..]);
        while self.rest.len() >= MAX_LINE {
            let rest = self.rest.split_off(MAX_LINE);
            line(&std::mem::replace(&mut self.rest, rest));
        }
    }

    /// Gives what has no end yet.
    pub fn flush(&mut self, line: &mut impl FnMut(&[u8])) {
        if !self.rest.is_empty() {
            line(&std::mem::take(&mut self.rest));
        }
    }

    fn give(&mut self, end: &[u8], line: &mut impl FnMut(&[u8])) {
        let joined;
        let whole = if self.rest.is_empty() {
            end
        } else {
            self.rest.extend_from_slice(end);
            joined = std::mem::take(&mut self.rest);
            &joined
        };
        let whole = whole.strip_suffix(b"\r").unwrap_or(whole);
        if whole.is_empty() {
            line(whole);
        }
        whole.chunks(MAX_LINE).for_each(line);
    }
}

/// One line of text that does nothing to a terminal or a log: control characters and what turns the direction of writing are escaped.
pub fn clean(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let harmless = |c: char| c == '\t' || is_harmless(c);
    if text.chars().all(harmless) {
        return text.into_owned();
    }
    text.chars().map(|c| if harmless(c) { c.to_string() } else { c.escape_default().to_string() }).collect()
}

/// Neither a control character nor one that turns the direction of writing or ends a line.
pub fn is_harmless(c: char) -> bool {
    !(c.is_control() || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

const BUFFER: usize = 16 * 1024;
/// Reads of one stream before others have their turn.
const READS: usize = 4;
const DRAIN_TURNS: usize = 16;
const MAX_LINE: usize = 8 * 1024;
/// Lines kept for error reports: a traceback of the usual length.
const TAIL: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.feed(piece, &mut |line| out.push(String::from_utf8_lossy(line).into_owned()));
        }
        lines.flush(&mut |line| out.push(String::from_utf8_lossy(line).into_owned()));
        out
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_come() {
        assert_eq!(lines(&[b"one\r\ntwo\n\nfour"]), ["one", "two", "", "four"]);
        assert_eq!(lines(&[b"on", b"e\r", b"\ntwo\n", b"\nfo", b"ur"]), ["one", "two", "", "four"]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_nothing_is_lost() {
        let long = vec![b'x'; 3 * MAX_LINE + 5];
        let cut = lines(&[&long, b"\nend"]);
        assert_eq!(cut.iter().map(String::len).collect::<Vec<_>>(), [MAX_LINE, MAX_LINE, MAX_LINE, 5, 3]);
    }

    #[test]
    fn what_would_move_the_cursor_is_escaped() {
        assert_eq!(clean(b"\x1b[2Jhi\tthere\x07\xe2\x80\xae"), "\\u{1b}[2Jhi\tthere\\u{7}\\u{202e}");
        assert_eq!(clean("\u{200f}a\u{61c}".as_bytes()), "\\u{200f}a\\u{61c}");
    }
}
