//! What the demo shows while it runs. On a terminal: what happened scrolls by, and below it stands a block that is drawn again in place.
//! Elsewhere: a plain line for each event and for each second. Knows nothing of where the figures come from.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::logging;

/// A place to show things. Dropping it gives the terminal its cursor back.
#[derive(Debug)]
pub struct Screen<W: Write> {
    out: W,
    look: Look,
    /// Lines of the block now on the terminal; the cursor stands in the line after them.
    drawn: usize,
    /// The second that the last plain line was for.
    second: Option<u64>,
}

/// How to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Plain,
    Live {
        /// Lines that the block may take.
        height: usize,
        /// Columns that its lines may take.
        width: usize,
        colour: bool,
    },
}

/// The figures of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    pub elapsed: Duration,
    pub total: Duration,
    pub requests: u64,
    pub failed: u64,
    /// Good answers of the last second by version.
    pub versions: Vec<(u32, u32)>,
    /// One short text for each process; empty if the server does not say.
    pub processes: Vec<String>,
    /// The command that runs, and what it said so far.
    pub command: Option<(String, Vec<String>)>,
}

impl Look {
    /// What suits the standard output.
    pub fn of_stdout() -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if dumb || !io::stdout().is_terminal() {
            return Self::Plain;
        }
        let (rows, columns) = match rustix::termios::tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
            _ => (24, 80),
        };
        let width = usize::min(columns, WIDTH) - 1;
        Self::Live { height: rows - 1, width, colour: logging::takes_colours(true) }
    }
}

impl<W: Write> Screen<W> {
    pub fn new(out: W, look: Look) -> Self {
        Self { out, look, drawn: 0, second: None }
    }

    /// True if what a command says is to be told line by line, because there is no block to show it in.
    pub fn is_plain(&self) -> bool {
        match self.look {
            Look::Plain => true,
            Look::Live { .. } => false,
        }
    }

    /// Lines that stay.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        let mut bytes = self.erased();
        for line in text.lines() {
            bytes.push_str(clean(line).trim_end());
            bytes.push('\n');
        }
        self.put(&bytes)
    }

    /// The figures of now.
    pub fn draw(&mut self, view: &View) -> io::Result<()> {
        match self.look {
            Look::Plain => {
                let second = view.elapsed.as_secs();
                if self.second == Some(second) {
                    return Ok(());
                }
                self.second = Some(second);
                self.put(&format!("{}\n", plain(view)))
            }
            Look::Live { height, width, colour } => {
                let lines = block(view, height, width);
                let mut bytes = self.erased();
                self.drawn = lines.len();
                for (paint, line) in lines {
                    match paint {
                        Some(code) if colour => {
                            let _ = writeln!(bytes, "\x1b[{code}m{line}\x1b[0m");
                        }
                        Some(_) | None => {
                            bytes.push_str(&line);
                            bytes.push('\n');
                        }
                    }
                }
                bytes.insert_str(0, HIDE_CURSOR);
                self.put(&bytes)
            }
        }
    }

    /// Takes the block away and gives the cursor back.
    pub fn close(&mut self) -> io::Result<()> {
        let mut bytes = self.erased();
        if !self.is_plain() {
            bytes.push_str(SHOW_CURSOR);
        }
        self.put(&bytes)
    }

    /// What takes the block off the terminal.
    fn erased(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r\x1b[J"),
        }
    }

    /// In one write, so that the terminal shows no half-drawn block.
    fn put(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        // If the output is gone there is no cursor to give back.
        let _ = self.close();
    }
}

/// A number with its thousands apart: `12,345`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn plain(view: &View) -> String {
    let mut line = format!("{:>6.1} s  {}", view.elapsed.as_secs_f32(), counts(view));
    let all = answers(view);
    for &(version, count) in &view.versions {
        let _ = write!(line, "  version {version}: {} %", percent(count, all));
    }
    line
}

/// The lines of the block, each with the colour it is painted in: head, versions, processes, and the end of what the command says.
fn block(view: &View, height: usize, width: usize) -> Vec<(Option<u8>, String)> {
    let time = format!("{:>5.1} s of about {} s", view.elapsed.as_secs_f32(), view.total.as_secs());
    let mut lines = vec![(None, String::new()), (if view.failed > 0 { Some(RED) } else { None }, format!("{time}    {}", counts(view)))];
    let all = answers(view);
    for &(version, count) in &view.versions {
        let paint = VERSION_COLOURS[version as usize % VERSION_COLOURS.len()];
        // Rounded up: who answers at all shows at least one mark.
        let marks = (count as usize * BAR).div_ceil(all.max(1) as usize);
        let bar = format!("{}{}", "#".repeat(marks), ".".repeat(BAR - marks));
        lines.push((Some(paint), format!("  version {version:<3} {bar} {:>3} %", percent(count, all))));
    }
    if !view.processes.is_empty() {
        lines.push((None, format!("  {}", view.processes.join("  "))));
    }
    if let Some((command, said)) = &view.command {
        lines.push((Some(BOLD), format!("  $ {command}")));
        let room = height.saturating_sub(lines.len()).min(SAID_MAX);
        lines.extend(said[said.len().saturating_sub(room)..].iter().map(|line| (None, format!("    {}", clean(line)))));
    }
    lines.truncate(height);
    for (_, line) in &mut lines {
        *line = line.chars().take(width).collect();
    }
    lines
}

fn counts(view: &View) -> String {
    format!("requests {}  failed {}  {} req/s", grouped(view.requests), grouped(view.failed), answers(view))
}

fn answers(view: &View) -> u32 {
    view.versions.iter().map(|&(_, count)| count).sum()
}

fn percent(count: u32, all: u32) -> u32 {
    (count * 100 + all / 2) / all.max(1)
}

/// A line from elsewhere must not move the cursor.
fn clean(line: &str) -> String {
    line.replace('\t', "    ").chars().filter(|c| !c.is_control()).collect()
}

const WIDTH: usize = 80;
/// Marks of a full bar.
const BAR: usize = 40;
/// Lines of a command's output in the block; more scroll out of it at the top.
const SAID_MAX: usize = 6;
const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const BOLD: u8 = 1;
const RED: u8 = 31;
/// Neighbouring versions differ; none is red.
const VERSION_COLOURS: [u8; 4] = [36, 32, 33, 35];

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: Look = Look::Live { height: 23, width: 79, colour: false };

    fn view() -> View {
        View {
            elapsed: Duration::from_millis(12_340),
            total: Duration::from_secs(30),
            requests: 6_021,
            failed: 0,
            versions: vec![(1, 405), (2, 135)],
            processes: vec!["1 g2 serving".into(), "2 g1 draining".into()],
            command: Some(("rota restart demo".into(), vec!["1 of 4 replaced".into(), "demo/2 g2: \x1b[2Jboots".into()])),
        }
    }

    fn shown(look: Look, show: impl FnOnce(&mut Screen<&mut Vec<u8>>) -> io::Result<()>) -> String {
        let mut bytes = Vec::new();
        show(&mut Screen::new(&mut bytes, look)).expect("a vector takes all");
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn without_a_terminal_there_is_one_line_a_second_and_one_for_each_event() {
        let text = shown(Look::Plain, |screen| {
            screen.draw(&view())?;
            screen.draw(&view())?;
            screen.say("version 2 is current")?;
            screen.draw(&View { elapsed: Duration::from_secs(13), versions: Vec::new(), ..view() })
        });
        assert_eq!(
            text,
            "  12.3 s  requests 6,021  failed 0  540 req/s  version 1: 75 %  version 2: 25 %\n\
             version 2 is current\n  13.0 s  requests 6,021  failed 0  0 req/s\n"
        );
    }

    #[test]
    fn on_a_terminal_the_block_is_drawn_over_itself_and_events_stay_above_it() {
        let text = shown(LIVE, |screen| {
            screen.draw(&view())?;
            screen.say("version 2 is current")?;
            screen.draw(&view())
        });
        let block = "\n 12.3 s of about 30 s    requests 6,021  failed 0  540 req/s\n\
                     \x20 version 1   ##############################..........  75 %\n\
                     \x20 version 2   ##########..............................  25 %\n\
                     \x20 1 g2 serving  2 g1 draining\n  $ rota restart demo\n    1 of 4 replaced\n    demo/2 g2: [2Jboots\n";
        let clear = "\x1b[8A\r\x1b[J";
        assert_eq!(text, format!("{HIDE_CURSOR}{block}{clear}version 2 is current\n{HIDE_CURSOR}{block}{clear}{SHOW_CURSOR}"), "{text}");
    }

    #[test]
    fn the_block_fits_a_small_terminal() {
        for (height, width) in [(0, 0), (1, 20), (5, 10), (7, 30)] {
            let lines = block(&view(), height, width);
            assert!(lines.len() <= height && lines.iter().all(|(_, line)| line.chars().count() <= width), "{lines:?}");
        }
    }

    #[test]
    fn a_version_with_a_single_answer_has_a_mark() {
        let lines = block(&View { versions: vec![(1, 539), (2, 1)], ..View::default() }, 23, 79);
        assert!(lines.iter().any(|(_, line)| line.starts_with("  version 2   #...")), "{lines:?}");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
