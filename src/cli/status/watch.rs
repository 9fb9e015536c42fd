//! `rota status --watch`: the page is drawn again and again on the alternate screen, which leaves what was on the terminal untouched. One
//! thread asks the server, one reads keys, one hears signals; only the main thread draws. On a pipe it is a page for each look.

use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;

use super::{Look, Trouble, fetch, pages, text};
use crate::cli::Exit;
use crate::cli::say::{Paint, complain, is_live, terminal_size};
use crate::cli::table::{cut, harmless, span};
use crate::control::client::ClientError;
use crate::control::proto::Reply;
use crate::printable::counted;

/// What the main thread waits for.
#[derive(Debug)]
pub(super) enum Heard {
    Look(Result<Reply, Trouble>),
    Key(u8),
    Signal(i32),
}

pub fn run(socket: &Path, look: &Look, every: Duration, paint: Paint) -> Exit {
    let (sender, heard) = unbounded();
    ask_again_and_again(socket, look, every, sender.clone());
    if look.json || !is_live() {
        return pages::print(&heard, look, paint);
    }
    let screen = match hear_signals(sender.clone()).and_then(|()| Screen::take()) {
        Ok(screen) => screen,
        Err(error) => return complain(&format!("the terminal: {error}"), Exit::Bad),
    };
    hear_keys(sender);
    let exit = draw_until_the_end(&heard, look, every, paint, screen);
    exit.unwrap_or_else(|why| complain(&why, Exit::Bad))
}

/// Err: what ended it, to be said when the terminal is as it was.
fn draw_until_the_end(heard: &Receiver<Heard>, look: &Look, every: Duration, paint: Paint, mut screen: Screen) -> Result<Exit, String> {
    let mut view = View { page: None, seen: Instant::now(), trouble: None };
    let (mut keys, mut top) = (Keys::default(), 0_usize);
    loop {
        let (rows, columns) = terminal_size();
        let page_of = rows.saturating_sub(3).max(1);
        match heard.recv_timeout(CLOCK) {
            Ok(Heard::Look(Ok(reply))) => {
                view = View { page: Some(reply), seen: Instant::now(), trouble: None };
            }
            Ok(Heard::Look(Err(Trouble::NoReply(error)))) => view.trouble = Some(words(&error)),
            // Not there any more, or never there: to go on would show an old page for ever.
            Ok(Heard::Look(Err(Trouble::Refused(message)))) => {
                if view.page.is_none() {
                    return Err(message);
                }
                view.trouble = Some(message);
            }
            Ok(Heard::Key(byte)) => match keys.press(byte) {
                Some(Press::End) => return Ok(Exit::Done),
                Some(Press::By(lines)) => top = top.saturating_add_signed(lines),
                Some(Press::Pages(pages)) => top = top.saturating_add_signed(pages * page_of as isize),
                Some(Press::Top) => top = 0,
                Some(Press::Bottom) => top = usize::MAX,
                None => continue,
            },
            Ok(Heard::Signal(SIGTERM | SIGHUP | SIGINT)) => return Ok(Exit::Done),
            Ok(Heard::Signal(SIGTSTP)) => screen = screen.stop_for_a_while().map_err(|error| format!("the terminal: {error}"))?,
            Ok(Heard::Signal(_)) => {}
            // The age of an old page moves.
            Err(RecvTimeoutError::Timeout) if view.trouble.is_some() => {}
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(Exit::Done),
        }
        let text = match &view.page {
            Some(reply) => text(reply, look, columns, paint).ok_or("the server answered something else")?,
            None => String::new(),
        };
        let note = view.note(every, paint);
        // Nobody sees it any more.
        let lines = frame(&text, &note, rows, columns, &mut top);
        if screen.draw(&lines).is_err() {
            return Ok(Exit::Done);
        }
    }
}

/// It may come back: not the question of a command that ends.
pub(super) fn words(error: &ClientError) -> String {
    match error {
        ClientError::NoServer { path } => format!("no server answers on {}", path.display()),
        ClientError::Denied { .. } | ClientError::Silent { .. } | ClientError::Garbled { .. } | ClientError::Io { .. } => error.to_string(),
    }
}

/// What is shown.
struct View {
    page: Option<Reply>,
    /// When the page came.
    seen: Instant,
    trouble: Option<String>,
}

impl View {
    /// The line at the bottom.
    fn note(&self, every: Duration, paint: Paint) -> String {
        match &self.trouble {
            None => paint.faint(&format!("every {}; q ends it", span(every.as_secs_f64()).replace(".0", ""))),
            Some(trouble) => {
                let trouble = paint.bad(&harmless(trouble));
                let age =
                    self.page.as_ref().map(|_| format!(" (seen {} ago)", span(self.seen.elapsed().as_secs_f64()))).unwrap_or_default();
                format!("{trouble}{age}; q ends it")
            }
        }
    }
}

/// Exactly what stands on a screen of so many rows and columns: the page from line `top` on, cut at the right and below, and the note in the
/// last line. `top` is put where the page has so many lines.
fn frame(page: &str, note: &str, rows: usize, columns: usize, top: &mut usize) -> Vec<String> {
    let lines: Vec<&str> = page.lines().collect();
    let room = rows.saturating_sub(2);
    let mut shown: Vec<String> = match lines.len() {
        count if count <= room => {
            *top = 0;
            lines.iter().map(|line| cut(line, columns)).collect()
        }
        count => {
            // One line says what is above and below.
            let whole = room.saturating_sub(1);
            *top = (*top).min(count - whole);
            let below = count - *top - whole;
            let more = match (*top, below) {
                (0, below) => format!("... {} below: space, arrows", counted(below, "more line")),
                (above, 0) => format!("... {} above", counted(above, "more line")),
                (above, below) => format!("... {} above, {below} below", counted(above, "more line")),
            };
            lines[*top..*top + whole].iter().map(|line| cut(line, columns)).chain([cut(&more, columns)]).collect()
        }
    };
    shown.resize(rows.saturating_sub(1), String::new());
    shown.push(cut(note, columns));
    shown.truncate(rows);
    shown
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Press {
    End,
    /// Down so many lines, or up.
    By(isize),
    Pages(isize),
    Top,
    Bottom,
}

/// Bytes of a terminal as keys: those of `less`, and the arrows and page keys (xterm's, ECMA-48 CSI).
#[derive(Debug, Default)]
struct Keys {
    /// Of an escape sequence that is not whole.
    begun: Vec<u8>,
}

impl Keys {
    fn press(&mut self, byte: u8) -> Option<Press> {
        if byte == 0x1b {
            self.begun = vec![byte];
            return None;
        }
        if self.begun.is_empty() {
            return match byte {
                b'q' | b'Q' => Some(Press::End),
                b'j' | b'\n' | b'\r' => Some(Press::By(1)),
                b'k' => Some(Press::By(-1)),
                b' ' | b'f' => Some(Press::Pages(1)),
                b'b' => Some(Press::Pages(-1)),
                b'g' => Some(Press::Top),
                b'G' => Some(Press::Bottom),
                _ => None,
            };
        }
        self.begun.push(byte);
        let is_whole = self.begun.len() > 2 && (byte.is_ascii_alphabetic() || byte == b'~');
        let begins = self.begun.len() == 2 && matches!(byte, b'[' | b'O');
        if !is_whole && (begins || self.begun.len() > 2 && self.begun.len() < LONGEST_KEY) {
            return None;
        }
        match std::mem::take(&mut self.begun).get(2..)? {
            b"A" => Some(Press::By(-1)),
            b"B" => Some(Press::By(1)),
            b"5~" => Some(Press::Pages(-1)),
            b"6~" => Some(Press::Pages(1)),
            b"H" | b"1~" => Some(Press::Top),
            b"F" | b"4~" => Some(Press::Bottom),
            _ => None,
        }
    }
}

/// The terminal while it is ours. Dropping it gives it back as it was.
struct Screen {
    /// Of stdin, when that is a terminal.
    before: Option<Termios>,
}

impl Screen {
    fn take() -> io::Result<Self> {
        let stdin = io::stdin();
        let mut screen = Self { before: None };
        if stdin.is_terminal() {
            let before = tcgetattr(&stdin)?;
            let mut keys = before.clone();
            // Keys come one by one and unseen; Ctrl-C and Ctrl-Z stay signals.
            keys.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            screen.before = Some(before);
            tcsetattr(&stdin, OptionalActions::Now, &keys)?;
        }
        put(ENTER)?;
        Ok(screen)
    }

    /// In one write and without clearing first, so that it does not flicker.
    fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        put(&drawn(lines))
    }

    /// Ctrl-Z: the shell gets its terminal, and we ours when we are told to go on.
    fn stop_for_a_while(self) -> io::Result<Self> {
        drop(self);
        kill_process(getpid(), Signal::STOP)?;
        Self::take()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // If the terminal is gone there is nothing to give back.
        let _ = put(LEAVE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// From the upper left corner; what the last picture had more is cleared. No line end behind the last line: it would scroll.
fn drawn(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| format!("{line}{CLEAR_RIGHT}")).collect();
    format!("{HOME}{}{CLEAR_BELOW}", lines.join("\r\n"))
}

fn put(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// The threads end with the process, or when nobody listens any more.
fn ask_again_and_again(socket: &Path, look: &Look, every: Duration, sender: Sender<Heard>) {
    let (socket, look) = (socket.to_owned(), look.clone());
    thread::spawn(move || {
        let mut next = Instant::now();
        while sender.send(Heard::Look(fetch(&socket, &look))).is_ok() {
            // A look that took longer than the interval is followed by the next at once, but not by those that were missed.
            next = (next + every).max(Instant::now());
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    });
}

fn hear_keys(sender: Sender<Heard>) {
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut byte = [0];
        while let Ok(1) = stdin.read(&mut byte) {
            if sender.send(Heard::Key(byte[0])).is_err() {
                return;
            }
        }
    });
}

fn hear_signals(sender: Sender<Heard>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGWINCH])?;
    thread::spawn(move || signals.forever().take_while(|signal| sender.send(Heard::Signal(*signal)).is_ok()).for_each(drop));
    Ok(())
}

/// The alternate screen, without a cursor (xterm's private modes 1049 and 25), and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// ECMA-48: CUP, EL, ED.
const HOME: &str = "\x1b[H";
const CLEAR_RIGHT: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
/// Bytes of an escape sequence; what is longer is no key.
const LONGEST_KEY: usize = 8;
/// How often the age of a page that cannot be renewed is drawn.
pub(super) const CLOCK: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn from(page: &str, rows: usize, columns: usize, mut top: usize) -> Vec<String> {
        frame(page, "q", rows, columns, &mut top)
    }

    #[test]
    fn a_page_that_fits_has_its_note_in_the_last_line() {
        assert_eq!(from("a\nb\n", 5, 10, 0), ["a", "b", "", "", "q"]);
        assert_eq!(from("a\nb\nc\n", 5, 10, 7), ["a", "b", "c", "", "q"]);
    }

    #[test]
    fn a_page_that_is_too_long_says_how_much_is_missing_and_scrolls() {
        assert_eq!(from("a\nb\nc\nd\n", 5, 50, 0), ["a", "b", "... 2 more lines below: space, arrows", "", "q"]);
        assert_eq!(from("a\nb\nc\nd\n", 5, 50, 1), ["b", "c", "... 1 more line above, 1 below", "", "q"]);
        let mut top = usize::MAX;
        assert_eq!(frame("a\nb\nc\nd\n", "q", 5, 50, &mut top), ["c", "d", "... 2 more lines above", "", "q"]);
        assert_eq!(top, 2);
        assert_eq!(from("a\nb\n", 3, 20, 0), ["... 2 more lines bel", "", "q"]);
    }

    #[test]
    fn keys_come_byte_by_byte() {
        let pressed = |bytes: &[u8]| {
            let mut keys = Keys::default();
            bytes.iter().filter_map(|byte| keys.press(*byte)).collect::<Vec<_>>()
        };
        assert_eq!(pressed(b"jk gGq"), [Press::By(1), Press::By(-1), Press::Pages(1), Press::Top, Press::Bottom, Press::End]);
        assert_eq!(pressed(b"\x1b[A\x1bOB\x1b[5~\x1b[6~"), [Press::By(-1), Press::By(1), Press::Pages(-1), Press::Pages(1)]);
        assert_eq!(pressed(b"\x1b[1;5Aq\x1b[99q\x1b\x1b[Hx"), [Press::End, Press::Top]);
    }

    #[test]
    fn no_screen_is_too_small() {
        for (rows, columns) in [(0, 0), (1, 1), (2, 3), (3, 80)] {
            let lines = from("abcdef\nb\nc\n", rows, columns, 1);
            assert!(lines.len() == rows && lines.iter().all(|line| line.chars().count() <= columns), "{lines:?}");
        }
    }

    #[test]
    fn a_picture_is_drawn_over_the_last_and_does_not_scroll() {
        assert_eq!(drawn(&["a".to_owned(), "b".to_owned()]), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
    }

    #[test]
    fn the_note_says_how_to_end_it_and_whether_anybody_answers() {
        let view = View { page: None, seen: Instant::now(), trouble: None };
        assert_eq!(view.note(Duration::from_secs(1), Paint(false)), "every 1 s; q ends it");
        let trouble = words(&ClientError::NoServer { path: PathBuf::from("/run/x") });
        let view = View { trouble: Some(trouble), ..view };
        assert_eq!(view.note(Duration::from_secs(1), Paint(false)), "no server answers on /run/x; q ends it");
    }
}
