//! What apps print: line by line into rota's own log, or into the file that the app names. On the I/O threads; waits for no disk.

pub mod rate;

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::about::aside;
use crate::config::AppConfig;
use crate::ids::{AppName, GroupId, ProcessName};
use crate::log_files::{LogFiles, SinkId, Sinks};
use crate::pool::thousands;
use rate::{Rate, Verdict, WHILE};

/// Where the lines of each app go.
#[derive(Debug)]
pub struct AppLog {
    /// By [`GroupId`]. None: rota's own log.
    sinks: Vec<Option<SinkId>>,
    /// By [`GroupId`]; of what goes into rota's own log.
    rates: Vec<(AppName, Rate)>,
    started: Instant,
    files: Arc<LogFiles>,
}

/// One line of a process.
#[derive(Debug)]
pub struct Line<'a> {
    pub name: &'a ProcessName,
    pub pid: u32,
    pub stream: Stream,
    /// The line before it, of the same stream, was cut here because it was too long.
    pub continues: bool,
    /// Without what would end a line or move a cursor.
    pub text: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Opens the file of each app that names one.
pub fn open<'a>(apps: impl Iterator<Item = &'a AppConfig>, sinks: &mut Sinks) -> Vec<Option<SinkId>> {
    let open = |app: &AppConfig| app.log.as_deref().map(|path| sinks.open_or_wait(path, &format!("log of {}", app.name)));
    apps.map(open).collect()
}

impl AppLog {
    pub fn new<'a>(apps: impl Iterator<Item = &'a AppConfig>, sinks: Vec<Option<SinkId>>, files: Arc<LogFiles>) -> Self {
        let rates = apps.map(|app| (app.name.clone(), Rate::new(app.log_rate))).collect();
        Self { sinks, rates, started: Instant::now(), files }
    }

    /// True: it is the first one that is dropped for a while, so that [`Self::next_deadline`] is another now.
    #[must_use]
    pub fn write(&self, app: GroupId, line: &Line<'_>) -> bool {
        if let Some(sink) = self.sinks.get(app.index()).copied().flatten() {
            self.files.push(sink, in_file(Timestamp::now(), line).into_bytes());
            return false;
        }
        let (name, rate) = &self.rates[app.index()];
        let (verdict, dropped) = rate.take(self.started.elapsed());
        tell(name, dropped);
        match verdict {
            // It has a time of its own.
            Verdict::Written => aside(|| log::info!("{}", text(line))),
            Verdict::FirstDropped => {
                let (limit, time) = (rate.limit(), WHILE.as_secs());
                aside(|| {
                    log::warn!(
                        "{name}: it printed log_rate = {limit} lines within {time} s; more are dropped until these are over, and counted"
                    );
                });
            }
            Verdict::Dropped => {}
        }
        verdict == Verdict::FirstDropped
    }

    /// When [`Self::tick`] has something to say.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.rates.iter().filter_map(|(_, rate)| rate.due()).min().map(|due| self.started + due)
    }

    /// Says what was dropped of apps that print no more.
    pub fn tick(&self, now: Instant) {
        let now = now.saturating_duration_since(self.started);
        for (name, rate) in &self.rates {
            if rate.due().is_some_and(|due| due <= now) {
                tell(name, rate.over(now));
            }
        }
    }

    /// Says all that was dropped: nothing comes any more.
    pub fn finish(&self) {
        self.rates.iter().for_each(|(name, rate)| tell(name, rate.due().and_then(|due| rate.over(due))));
    }
}

/// `blog: 12,345 lines dropped in 30 s`
fn tell(name: &AppName, dropped: Option<u64>) {
    if let Some(dropped) = dropped {
        let dropped = format!("{} line{}", thousands(dropped), if dropped == 1 { "" } else { "s" });
        let time = WHILE.as_secs();
        aside(|| {
            log::warn!("{name}: {dropped} dropped in {time} s; a file of its own has no log_rate: log = \"/var/log/rota/{name}.log\"")
        });
    }
}

/// `2026-11-24T18:40:59.123Z blog/2 g7 pid 4711 stdout: text` and a line end; the time is UTC (RFC 3339).
fn in_file(at: Timestamp, line: &Line<'_>) -> String {
    format!("{at:.3} {}\n", text(line))
}

/// A `+` behind the stream: the line before it goes on here.
fn text(line: &Line<'_>) -> String {
    let stream = match line.stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    let more = if line.continues { "+" } else { "" };
    format!("{} pid {} {stream}{more}: {}", line.name, line.pid, line.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Generation, Number};

    #[test]
    fn a_line_says_when_who_and_where() {
        let name = ProcessName { app: AppName::new("blog").unwrap(), number: Number(2), generation: Generation(7) };
        let line = |stream, continues| Line { name: &name, pid: 4711, stream, continues, text: "hello" };
        let at = "2026-11-24T18:40:59.1234Z".parse().unwrap();
        assert_eq!(in_file(at, &line(Stream::Stdout, false)), "2026-11-24T18:40:59.123Z blog/2 g7 pid 4711 stdout: hello\n");
        assert_eq!(in_file(at, &line(Stream::Stderr, true)), "2026-11-24T18:40:59.123Z blog/2 g7 pid 4711 stderr+: hello\n");
        let whole = "2026-11-24T18:40:59Z".parse().unwrap();
        assert!(in_file(whole, &line(Stream::Stdout, false)).starts_with("2026-11-24T18:40:59.000Z "), "all times are as long");
    }
}
