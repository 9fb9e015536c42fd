//! What a process prints: by line into its log ([`crate::app_log`]), and the last lines kept for error reports. On the process's I/O thread; never blocks.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use serde::{Deserialize, Serialize};

use super::tail::Tail;
use crate::app_log::{Line, Stream};
use crate::ids::{GroupId, ProcessName};
use crate::printable::{clean, kind_of, without_looks};
use crate::table::Shared;
use crate::upgrade::pack::{Pack, Place};

/// Standard output and standard error of one process.
#[derive(Debug)]
pub struct Pipes {
    pipes: [Pipe; 2],
    tokens: [Token; 2],
    printed: Printed,
    buffer: Vec<u8>,
}

/// Where the lines of a process go.
#[derive(Debug)]
pub struct Printed {
    shared: Arc<Shared>,
    app: GroupId,
    name: ProcessName,
    pid: u32,
    /// Of both streams.
    tail: Tail,
    /// Of the lines since somebody asked ([`kind_of`]); None: nobody asks any more.
    kinds: Option<Vec<u64>>,
}

#[derive(Debug)]
struct Pipe {
    stream: Stream,
    /// None: it has ended.
    fd: Option<OwnedFd>,
    lines: Lines,
}

impl Printed {
    pub fn new(shared: Arc<Shared>, app: GroupId, name: ProcessName, pid: u32) -> Self {
        Self { shared, app, name, pid, tail: Tail::default(), kinds: Some(Vec::new()) }
    }

    fn line(&mut self, stream: Stream, line: &[u8], continues: bool) {
        let text = clean(&without_looks(line));
        if self.shared.catalog().logs.app.write(self.app, &Line { name: &self.name, pid: self.pid, stream, continues, text: &text }) {
            // It says how many were dropped when the time is up.
            self.shared.tell_master();
        }
        if let Some(kinds) = self.kinds.as_mut().filter(|kinds| kinds.len() < KINDS) {
            kinds.push(kind_of(&text));
        }
        self.tail.push(text);
    }
}

impl Pipes {
    /// Of standard output and standard error; None: that has ended.
    pub fn new(printed: Printed, [stdout, stderr]: [Option<OwnedFd>; 2], registry: &Registry, tokens: [Token; 2]) -> io::Result<Self> {
        for (fd, token) in [&stdout, &stderr].into_iter().zip(tokens) {
            if let Some(fd) = fd {
                registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
            }
        }
        let pipe = |stream, fd| Pipe { stream, fd, lines: Lines::default() };
        Ok(Self { pipes: [pipe(Stream::Stdout, stdout), pipe(Stream::Stderr, stderr)], tokens, printed, buffer: vec![0; BUFFER] })
    }

    pub fn save<'a>(&'a self, pack: &mut Pack<'a>) -> SavedPipes {
        let [stdout, stderr] = self.pipes.each_ref();
        let mut place = |pipe: &'a Pipe| pipe.fd.as_ref().map(|fd| pack.put(fd.as_fd()));
        SavedPipes {
            places: [place(stdout), place(stderr)],
            lines: [stdout.lines.clone(), stderr.lines.clone()],
            tail: self.printed.tail.clone(),
            kinds: self.printed.kinds.clone(),
        }
    }

    /// What was known besides the pipes themselves.
    pub fn take_up(&mut self, saved: SavedPipes) {
        let SavedPipes { places: _, lines, tail, kinds } = saved;
        for (pipe, lines) in self.pipes.iter_mut().zip(lines) {
            pipe.lines = lines;
        }
        (self.printed.tail, self.printed.kinds) = (tail, kinds);
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
            pipe.lines.flush(&mut |line, continues| self.printed.line(pipe.stream, line, continues));
        }
    }

    /// The last lines, oldest first; what repeats itself is there once.
    pub fn tail(&self) -> Vec<String> {
        self.printed.tail.lines()
    }

    /// The kinds of the lines that were printed since this was asked last.
    pub fn take_kinds(&mut self) -> Vec<u64> {
        self.printed.kinds.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Nobody will ask for kinds again.
    pub fn forget_kinds(&mut self) {
        self.printed.kinds = None;
    }

    fn read(&mut self, index: usize) -> bool {
        let pipe = &mut self.pipes[index];
        for _ in 0..READS {
            let Some(fd) = &pipe.fd else { return false };
            match rustix::io::read(fd, &mut self.buffer[..]) {
                Ok(0) => pipe.fd = None,
                Ok(count) => {
                    let print = &mut |line: &[u8], continues: bool| self.printed.line(pipe.stream, line, continues);
                    pipe.lines.feed(&self.buffer[..count], print);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return false,
                Err(error) => {
                    log::debug!("{} {:?}: {error}", self.printed.name, pipe.stream);
                    pipe.fd = None;
                }
            }
        }
        true
    }
}

/// What is left of both to the next rota.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedPipes {
    pub places: [Option<Place>; 2],
    lines: [Lines; 2],
    tail: Tail,
    kinds: Option<Vec<u64>>,
}

/// Cuts bytes into lines. CR, LF and CR LF each end one; what a progress bar draws over with CR is a line too, unless it is empty.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Lines {
    #[serde(with = "crate::bytes")]
    rest: Vec<u8>,
    /// Of the line that `rest` is of, this much has been given already.
    has_begun: bool,
    /// The last byte was a CR: what follows it says whether it ends the line alone.
    after_cr: bool,
}

impl Lines {
    /// Gives each whole line to `line`, without its end. One that is longer than 8 KiB is given in pieces, with true for all but the first.
    pub fn feed(&mut self, bytes: &[u8], line: &mut impl FnMut(&[u8], bool)) {
        let mut start = 0;
        for end in memchr::memchr2_iter(b'\r', b'\n', bytes) {
            self.add(&bytes[start..end], line);
            match bytes[end] {
                b'\r' => self.after_cr = true,
                _ => self.end(line),
            }
            start = end + 1;
        }
        self.add(&bytes[start..], line);
    }

    /// The line is whole.
    fn end(&mut self, line: &mut impl FnMut(&[u8], bool)) {
        if !(self.rest.is_empty() && self.has_begun) {
            line(&self.rest, self.has_begun);
        }
        self.rest.clear();
        (self.has_begun, self.after_cr) = (false, false);
    }

    /// Gives what has no end yet.
    pub fn flush(&mut self, line: &mut impl FnMut(&[u8], bool)) {
        if self.rest.is_empty() {
            (self.has_begun, self.after_cr) = (false, false);
        } else {
            self.end(line);
        }
    }

    /// Pieces of a line, at most 8 KiB of which wait for its end.
    fn add(&mut self, bytes: &[u8], line: &mut impl FnMut(&[u8], bool)) {
        if bytes.is_empty() {
            return;
        }
        if self.after_cr {
            self.flush(line);
        }
        self.rest.extend_from_slice(bytes);
        while self.rest.len() > MAX_LINE {
            let rest = self.rest.split_off(cut(&self.rest));
            line(&std::mem::replace(&mut self.rest, rest), std::mem::replace(&mut self.has_begun, true));
        }
    }
}

/// Where a line of more than [`MAX_LINE`] bytes is cut: before an escape sequence that may not be whole, else between two characters, if it is
/// of any.
fn cut(line: &[u8]) -> usize {
    let is_inside = |at: &usize| line[*at] & 0b1100_0000 == 0b1000_0000;
    if let Some(escape) = memchr::memrchr(b'\x1b', &line[MAX_LINE - SEQUENCE..MAX_LINE]) {
        return MAX_LINE - SEQUENCE + escape;
    }
    (MAX_LINE - 3..=MAX_LINE).rev().find(|at| !is_inside(at)).unwrap_or(MAX_LINE)
}

const BUFFER: usize = 16 * 1024;
/// Reads of one stream before others have their turn.
const READS: usize = 4;
const DRAIN_TURNS: usize = 16;
const MAX_LINE: usize = 8 * 1024;
/// A colour is shorter (bytes).
const SEQUENCE: usize = 32;
/// Lines between two tries of a probe that are told apart.
const KINDS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(fed: &[&[u8]]) -> Vec<(String, bool)> {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        let mut line = |line: &[u8], continues: bool| out.push((String::from_utf8_lossy(line).into_owned(), continues));
        fed.iter().for_each(|piece| lines.feed(piece, &mut line));
        lines.flush(&mut line);
        out
    }

    fn lines(fed: &[&[u8]]) -> Vec<String> {
        pieces(fed).into_iter().map(|(line, continues)| (line, assert!(!continues)).0).collect()
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_come() {
        assert_eq!(lines(&[b"one\r\ntwo\n\nfour"]), ["one", "two", "", "four"]);
        assert_eq!(lines(&[b"on", b"e\r", b"\ntwo\n", b"\nfo", b"ur"]), ["one", "two", "", "four"]);
    }

    #[test]
    fn a_progress_bar_is_lines_and_a_line_end_of_two_bytes_is_one() {
        let said = b"10%\r50%\r100%\r\ndone\r\r\n\r\n\rlast\r";
        let expected = ["10%", "50%", "100%", "done", "", "last"];
        assert_eq!(lines(&[said]), expected);
        for cut in 0..=said.len() {
            assert_eq!(lines(&[&said[..cut], &said[cut..]]), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = said.chunks(1).collect();
        assert_eq!(lines(&bytes), expected);
    }

    #[test]
    fn a_long_line_is_cut_before_a_colour_and_not_in_it() {
        let long = format!("{}\x1b[38;2;255;100;0mred", "x".repeat(MAX_LINE - 5));
        let (first, rest) = long.split_at(MAX_LINE - 5);
        assert_eq!(pieces(&[long.as_bytes()]), [(first.to_owned(), false), (rest.to_owned(), true)]);
        // Nothing but what begins a colour is cut as any line.
        let escapes = "\x1b".repeat(3 * MAX_LINE);
        assert_eq!(pieces(&[escapes.as_bytes()]).iter().map(|(line, _)| line.len()).sum::<usize>(), 3 * MAX_LINE);
    }

    #[test]
    fn a_line_that_is_too_long_goes_on_and_nothing_is_lost() {
        let long = vec![b'x'; 3 * MAX_LINE + 5];
        let sizes = |fed: &[&[u8]]| pieces(fed).iter().map(|(line, continues)| (line.len(), *continues)).collect::<Vec<_>>();
        let expected = [(MAX_LINE, false), (MAX_LINE, true), (MAX_LINE, true), (5, true), (3, false)];
        assert_eq!(sizes(&[&long, b"\nend"]), expected);
        assert_eq!(sizes(&[&[&long[..], b"\nend"].concat()]), expected);
        assert_eq!(sizes(&[&long[..MAX_LINE], b"\n", b"end"]), [(MAX_LINE, false), (3, false)]);
    }

    #[test]
    fn a_long_line_is_cut_between_two_characters() {
        let long = format!("{}\u{20ac}\u{20ac}", "x".repeat(MAX_LINE - 1));
        assert_eq!(pieces(&[long.as_bytes()]), [("x".repeat(MAX_LINE - 1), false), ("\u{20ac}\u{20ac}".to_owned(), true)]);
        let none = vec![0x80; MAX_LINE + 1];
        assert_eq!(pieces(&[&none]).len(), 2);
    }
}
