//! The log: one line per change of state, to standard error. Under systemd each line carries its priority (sd-daemon(3)) and no time, which the
//! journal adds; elsewhere a time and a level.
//!
//! Whoever writes a line is not held up by whoever reads it: what nobody reads is dropped, and counted.

use std::any::Any;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use env_logger::{Target, WriteStyle};
use log::{Level, LevelFilter};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{about, printable};

/// Starts the log. RUST_LOG (`debug`, `rota=debug`) overrides the level.
pub fn start(level: LevelFilter) {
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level).parse_default_env();
    builder.write_style(if takes_colours(io::stderr().is_terminal()) { WriteStyle::Always } else { WriteStyle::Never });
    builder.target(Target::Pipe(Box::new(Patient { out: io::stderr(), dropped: 0 })));
    builder.format(move |out, record| {
        for (level, text) in about::lines(record.level(), one_line(record)) {
            match journal {
                true => writeln!(out, "<{}>{text}", priority(level))?,
                false => {
                    let (time, style) = (out.timestamp_millis(), out.default_level_style(level));
                    writeln!(out, "{time} {style}{level:<5}{style:#} {text}")?;
                }
            }
        }
        Ok(())
    });
    // A second start (tests in one process) keeps the first.
    let _ = builder.try_init();
}

/// As sd-daemon(3) has it.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Whether what is written there may have colours that nobody asked for.
pub fn takes_colours(is_terminal: bool) -> bool {
    is_terminal && wants_colours(|name| std::env::var_os(name))
}

fn wants_colours(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    // https://no-color.org: when present and not empty.
    variable("NO_COLOR").is_none_or(|value| value.is_empty()) && variable("TERM").is_none_or(|term| term != "dumb")
}

/// A directory of somebody's may have a line end in its name, and behind it what looks like a line of ours with a priority of its own.
fn one_line(record: &log::Record<'_>) -> String {
    printable::clean(record.args().to_string().as_bytes())
}

/// What a panic that was caught said.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// Writes whole lines where there is room for them, and waits for room only a little: every thread of rota logs.
#[derive(Debug)]
struct Patient<W> {
    out: W,
    /// Lines since there was room last.
    dropped: u64,
}

impl<W: Write + AsFd> Patient<W> {
    /// False: there is no room.
    fn write_pieces(&mut self, bytes: &[u8], patience: Duration) -> bool {
        offer(&mut self.out, bytes, PIPE_BUF, patience).1.is_none()
    }
}

impl<W: Write + AsFd> Write for Patient<W> {
    /// One line, as the logger hands it over.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Who was not there a moment ago is not waited for again.
        let patience = if self.dropped == 0 { PATIENCE } else { Duration::ZERO };
        let told = self.dropped == 0 || {
            let dropped = format!("{} dropped here: nobody read the log\n", printable::counted_past(self.dropped, "line"));
            self.write_pieces(dropped.as_bytes(), patience)
        };
        if told {
            self.dropped = 0;
        }
        if !told || !self.write_pieces(line, patience) {
            self.dropped += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes `bytes`, so many at a time, each time that there is room for them within `patience`: how many went out, and what was in the way of the
/// others.
pub fn offer(out: &mut (impl Write + AsFd), bytes: &[u8], piece: usize, patience: Duration) -> (usize, Option<io::Error>) {
    let mut taken = 0;
    while taken < bytes.len() {
        if !has_room(out, patience) {
            return (taken, Some(io::Error::other("nobody reads it")));
        }
        let end = taken.saturating_add(piece).min(bytes.len());
        match out.write(&bytes[taken..end]) {
            Ok(0) => return (taken, Some(io::ErrorKind::WriteZero.into())),
            Ok(written) => taken += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (taken, Some(error)),
        }
    }
    (taken, None)
}

/// A file always has. Where it cannot be known the write tells.
fn has_room(out: &impl AsFd, patience: Duration) -> bool {
    let patience = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos().into() };
    poll(&mut [PollFd::new(out, PollFlags::OUT)], Some(&patience)).is_ok_and(|ready| ready > 0)
}

/// A reader that lives has read something by then; less than a second.
pub const PATIENCE: Duration = Duration::from_millis(20);
/// What a pipe with room takes without waiting for more (pipe(7)).
pub const PIPE_BUF: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_terminal_without_colours_gets_none_and_neither_does_who_wants_none() {
        let wants = |set: &[(&str, &str)]| {
            wants_colours(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value)))
        };
        assert!(wants(&[]) && wants(&[("TERM", "xterm-256color"), ("NO_COLOR", "")]));
        assert!(!wants(&[("TERM", "dumb")]) && !wants(&[("TERM", "xterm"), ("NO_COLOR", "1")]));
        assert!(!takes_colours(false));
    }

    #[test]
    fn what_nobody_reads_is_dropped_and_counted() {
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::pipe::fcntl_setpipe_size(&writer, 4 * PIPE_BUF).unwrap();
        let mut log = Patient { out: writer, dropped: 0 };
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        for _ in 0..30 {
            log.write_all(&line).unwrap();
        }
        let (dropped, mut written) = (log.dropped, vec![0; 64 * 1024]);
        let read = reader.read(&mut written).unwrap();
        assert!(dropped > 0 && read == (30 - dropped as usize) * line.len(), "{read} bytes were read, {dropped} lines dropped");
        log.write_all(b"again\n").unwrap();
        drop(log);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, format!("{dropped} lines were dropped here: nobody read the log\nagain\n"));
    }

    #[test]
    fn a_reader_that_is_gone_holds_nothing_up() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        Patient { out: writer, dropped: 0 }.write_all(b"a line\n").unwrap();
    }
}
