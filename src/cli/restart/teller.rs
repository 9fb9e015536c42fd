//! How a restart is told: a line that is rewritten in place, plain lines, or JSON. Knows no socket; writes to what it is given.

use std::io::Write;
use std::time::Instant;

use crate::cli::say::{Live, Paint};
use crate::cli::status::has_changed;
use crate::cli::table::{harmless, output_lines, span};
use crate::cli::walk::{left, place, room};
use crate::control::proto::{Asked, Finishing, OutcomeKind, Planned, Progress, Reply, WalkEnd, reply_line};
use crate::ids::{AppName, Number};
use crate::printable::counted;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A terminal of so many columns.
    Live { width: usize },
    /// A line for each change.
    Plain,
    /// Only what was asked for.
    NoWait,
    /// The replies as they are.
    Json,
}

/// Tells replies.
#[derive(Debug)]
pub struct Teller<W> {
    live: Live<W>,
    look: Look,
    paint: Paint,
    /// What the live line shows, and when it was heard.
    shown: Option<(Progress, Instant)>,
    /// Why the old process goes first was said, for this one.
    room_said: Option<(AppName, Option<Number>)>,
}

impl<W: Write> Teller<W> {
    pub fn new(out: W, look: Look, paint: Paint) -> Self {
        Self { live: Live::new(out), look, paint, shown: None, room_said: None }
    }

    pub fn tell(&mut self, reply: &Reply, now: Instant) {
        if self.look == Look::Json {
            return self.live.say(&String::from_utf8_lossy(&reply_line(reply)));
        }
        match reply {
            Reply::Asked { walks, config } => {
                if !walks.is_empty() && config.as_ref().and_then(has_changed) == Some(true) {
                    self.live.say("the files of the configuration have changed and were not read; rota reload reads them\n");
                }
                self.asked(walks);
            }
            Reply::Progress(progress) => self.progress(progress, now),
            Reply::Ended(end) => self.ended(end),
            Reply::Plan { changes, warnings, dry_run } => self.plan(changes, warnings, *dry_run),
            // Those are not about a restart, or said on stderr.
            _ => self.end_line(),
        }
    }

    /// Time passed: the seconds of the live line move.
    pub fn tick(&mut self, now: Instant) {
        if let (Look::Live { width }, Some((progress, heard))) = (self.look, &self.shown) {
            let line = live_line(progress, now.saturating_duration_since(*heard).as_secs_f64(), width);
            self.live.rewrite(&line, width);
        }
    }

    /// The terminal has so many columns now.
    pub fn resize(&mut self, columns: usize) {
        if let Look::Live { width } = &mut self.look {
            *width = columns;
        }
    }

    /// Leaves the live line as it is; what follows begins in the next.
    pub fn end_line(&mut self) {
        self.live.end_line();
    }

    fn asked(&mut self, walks: &[Asked]) {
        let names: Vec<String> = walks.iter().map(|walk| format!("{} {}", walk.app, walk.generation)).collect();
        match self.look {
            Look::Live { width } => {
                let all = format!("{}: asked for", names.join(", "));
                let line = if all.chars().count() < width { all } else { format!("{}: asked for", counted(names.len(), "app")) };
                self.live.rewrite(&line, width);
            }
            Look::NoWait => names.iter().for_each(|name| self.live.say(&format!("{name}: asked for; rota status shows how it goes\n"))),
            Look::Plain => names.iter().for_each(|name| self.live.say(&format!("{name}: asked for\n"))),
            Look::Json => {}
        }
    }

    /// What a reload changes.
    fn plan(&mut self, changes: &[Planned], warnings: &[String], dry_run: bool) {
        for line in warnings.iter().chain(changes.iter().map(|change| &change.line)) {
            self.live.say(&format!("{}\n", harmless(line)));
        }
        match (changes.is_empty(), dry_run) {
            (true, _) => self.live.say("the files say what is in force; nothing changes\n"),
            (false, true) => self.live.say("nothing of this was done; rota reload does it\n"),
            (false, false) => {}
        }
    }

    fn progress(&mut self, progress: &Progress, now: Instant) {
        self.say_room(progress);
        match self.look {
            Look::Live { .. } => {
                self.shown = Some((progress.clone(), now));
                self.tick(now);
            }
            Look::Plain | Look::NoWait => self.live.say(&format!("{}\n", step_line(progress))),
            Look::Json => {}
        }
    }

    /// In a line that stays, once for each process.
    fn say_room(&mut self, progress: &Progress) {
        let Some(room) = room(progress) else {
            self.room_said = None;
            return;
        };
        let about = (progress.app.clone(), progress.number);
        if self.room_said.as_ref() != Some(&about) {
            let number = progress.number.map(|number| format!("process {number}: ")).unwrap_or_default();
            self.live.say(&format!("{} {}: {number}{room}\n", progress.app, progress.generation));
            self.room_said = Some(about);
        }
    }

    fn ended(&mut self, end: &WalkEnd) {
        self.shown = self.shown.take().filter(|(progress, _)| progress.app != end.app);
        self.live.say(&end_text(end, self.paint));
    }
}

/// `blog g8: 2 of 4 replaced; process 3: boot`
fn step_line(progress: &Progress) -> String {
    let back = if progress.kind == "back" { "rolling back, " } else { "" };
    format!("{} {}: {back}{}", progress.app, progress.generation, place(progress))
}

/// The same with a bar, the time that it has taken and the time left, `later` seconds after it was said; as much of that as there is room for.
fn live_line(progress: &Progress, later: f64, width: usize) -> String {
    let (done, of) = (usize::from(progress.replaced), usize::from(progress.of).max(1));
    let filled = BAR * done.min(of) / of;
    let bar = format!("[{}{}] ", "#".repeat(filled), ".".repeat(BAR - filled));
    let step = format!("{} {}", step_line(progress), span(progress.phase_seconds + later));
    let all = span(progress.seconds + later);
    let left = left(progress, later);
    let times = left.as_ref().map_or_else(|| format!(" ({all} in all)"), |left| format!(" ({all} in all, {left})"));
    let short = left.map_or_else(String::new, |left| format!(" ({left})"));
    let fits = |line: &String| line.chars().count() < width;
    let lines = [format!("{bar}{step}{times}"), format!("{bar}{step}{short}"), format!("{step}{short}")];
    lines.into_iter().find(fits).unwrap_or(step)
}

/// One sentence; what serves if it failed, and the last output of the process that did.
fn end_text(end: &WalkEnd, paint: Paint) -> String {
    let mut text = outcome_text(end, paint);
    for Finishing { number, generation, sessions, seconds } in &end.finishing {
        let what = if *sessions == 1 { "1 request".to_owned() } else { format!("{sessions} requests") };
        text.push_str(&format!(
            "  {}/{number} {generation} still finishes {what}, for {} at most (drain.longest)\n",
            end.app,
            span(*seconds)
        ));
    }
    if let Some(why) = &end.not_written {
        let warning = paint.warn("not written down");
        text.push_str(&format!("  {warning}: {}; until that is mended a start of rota would not know of this\n", harmless(why)));
    }
    text
}

fn outcome_text(end: &WalkEnd, paint: Paint) -> String {
    let (walk, after, why) = (format!("{} {}", end.app, end.generation), span(end.seconds), harmless(&end.message));
    match end.outcome {
        OutcomeKind::Done => {
            let serving = end.serving.as_deref().map(|serving| format!(" ({})", harmless(serving))).unwrap_or_default();
            let done = if end.but.is_some() { paint.warn("done") } else { paint.good("done") };
            format!("{walk}: {done} in {after}: {why}{serving}\n")
        }
        OutcomeKind::Failed => format!("{walk}: {} after {after}: {why}\n", paint.bad("FAILED")) + &aftermath(end),
        OutcomeKind::RolledBack => format!("{walk}: {} after {after}: {why}\n", paint.bad("ROLLED BACK")) + &aftermath(end),
        OutcomeKind::Aborted => {
            let serves = match end.serving.as_deref().map(harmless) {
                Some(serving) if end.replaced.is_none_or(|replaced| replaced == 0) => format!("  the old release serves ({serving})\n"),
                Some(serving) => format!("  the old release serves again ({serving})\n"),
                None => String::new(),
            };
            format!("{walk}: {} after {after}: {}\n{serves}", paint.warn("called off"), why.trim_start_matches("aborted, "))
        }
        OutcomeKind::Superseded | OutcomeKind::Stopped => format!("{walk}: {why} after {after}\n"),
    }
}

/// What serves after a failure, and the last output of the process that failed.
fn aftermath(end: &WalkEnd) -> String {
    let serves = match end.serving.as_deref().map(harmless) {
        None => "nothing serves; it is tried again".to_owned(),
        Some(serving) if end.outcome == OutcomeKind::RolledBack => format!("the old release serves again ({serving})"),
        // It went on past those that failed, and what it replaced was accepted.
        Some(serving) if serving.starts_with(&format!("{} ", end.generation)) => {
            let left: Vec<String> = end.skipped.iter().map(ToString::to_string).collect();
            format!("the old release still serves as {}; all others are new ({serving})", left.join(", "))
        }
        Some(serving) => match end.replaced {
            None | Some(0) => format!("the old release still serves ({serving})"),
            Some(replaced) => format!("the old release still serves ({serving}), beside {replaced} of {}", end.generation),
        },
    };
    let mut text = format!("  {serves}\n");
    let lost = end.lost.as_deref().map(|lost| format!("  {}\n", harmless(lost)));
    if !end.output.is_empty() {
        let whose = end.at.map(|at| format!(" of process {at}")).unwrap_or_default();
        text.push_str(&format!("  the last output{whose}:\n{}", output_lines(&end.output, 2)));
    }
    // Last: it is what has to be done.
    text + &lost.unwrap_or_default()
}

/// Characters of the bar.
const BAR: usize = 12;

#[cfg(test)]
mod tests;
