//! What apps print: line by line into rota's own log, or into the file that the app names. On the I/O threads; waits for no disk.

use std::sync::Arc;

use jiff::Timestamp;

use crate::config::Config;
use crate::ids::{GroupId, ProcessName};
use crate::log_files::{LogFiles, SinkId, Sinks};

/// Where the lines of each app go.
#[derive(Debug)]
pub struct AppLog {
    /// By [`GroupId`]. None: rota's own log.
    sinks: Vec<Option<SinkId>>,
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
pub fn open(config: &Config, sinks: &mut Sinks) -> Result<Vec<Option<SinkId>>, String> {
    let open = |app: &crate::config::AppConfig| {
        let Some(path) = &app.log else { return Ok(None) };
        let opened = sinks.open(Some(path), &format!("log of {}", app.name));
        opened.map(Some).map_err(|error| format!("app {}: log {}: {error}", app.name, path.display()))
    };
    config.apps.iter().map(open).collect()
}

impl AppLog {
    pub fn new(sinks: Vec<Option<SinkId>>, files: Arc<LogFiles>) -> Self {
        Self { sinks, files }
    }

    pub fn write(&self, app: GroupId, line: &Line<'_>) {
        match self.sinks.get(app.index()).copied().flatten() {
            Some(sink) => self.files.push(sink, in_file(Timestamp::now(), line).into_bytes()),
            // It has a time of its own.
            None => log::info!("{}", text(line)),
        }
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
    use crate::ids::{AppName, Generation, Number};

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
