//! The access log: one line for each request, written when it ends, however it ends. Where it is counted is known here too.
//!
//! Whoever ends a request ([`crate::conn::Conn::end_request`]) makes its line and hands it to [`LogFiles`].

mod line;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::config::{AccessLogConfig, AppConfig, LogFormat};
use crate::http::refusal::Refusal;
use crate::ids::{AppName, Generation, GroupId, Number};
use crate::log_files::{LogFiles, SinkId, Sinks};
use crate::metrics::meter::Meter;
pub use line::Line;

/// Which requests are logged, where and how.
#[derive(Debug)]
pub struct AccessLog {
    outputs: Outputs,
    files: Arc<LogFiles>,
    /// Where they are counted, by [`GroupId`].
    meters: Vec<Arc<Meter>>,
    /// Where heads are that became no request of an app.
    strays: Arc<Meter>,
}

/// Where the lines go. None: they are not written.
#[derive(Debug)]
pub struct Outputs {
    /// By [`GroupId`].
    apps: Vec<(AppName, Option<Output>)>,
    /// Of requests that are for no app.
    server: Option<Output>,
}

/// One way to log.
#[derive(Clone, Copy, Debug)]
struct Output {
    format: LogFormat,
    sink: SinkId,
}

/// What becomes of a request, noted while it goes on: a few numbers, whether it is logged or not.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Entry {
    /// The process that it was sent to last.
    pub process: Option<(Number, Generation)>,
    /// Of the head that went to the client; 0: none has.
    pub status: u16,
    /// The answer, ours or the app's, is whole as far as we are concerned.
    pub is_whole: bool,
    /// Why we refused or cut it.
    #[serde(with = "cause")]
    pub cause: Option<Refusal>,
    pub by: By,
    /// Bytes that its connection's socket had taken before it.
    pub sent_before: u64,
    /// Bytes of heads that went to the client, interim ones too.
    heads: u64,
    /// It was whole and wanted a slot.
    #[serde(with = "crate::moment::option")]
    wanted: Option<Instant>,
    #[serde(with = "crate::moment::option")]
    begun: Option<Instant>,
    #[serde(with = "crate::moment::option")]
    pub begun_last: Option<Instant>,
    #[serde(with = "crate::moment::option")]
    pub answered: Option<Instant>,
}

/// A cause in what is left to another rota, by its word: what exactly was wrong with a request is said where it is found.
mod cause {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::http::refusal::Refusal;

    pub fn serialize<S: Serializer>(cause: &Option<Refusal>, serializer: S) -> Result<S::Ok, S::Error> {
        cause.as_ref().map(Refusal::label).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Refusal>, D::Error> {
        let word = Option::<String>::deserialize(deserializer)?;
        Ok(word.and_then(|word| Refusal::all().find(|cause| cause.label() == word)))
    }
}

/// Who answered a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    /// A process of the app, or nobody if there was no answer.
    #[default]
    App,
    /// rota, from a file of the app.
    File,
    /// rota, instead of the app.
    Rota,
}

impl By {
    pub const ALL: [By; 3] = [By::App, By::File, By::Rota];

    pub fn word(self) -> &'static str {
        match self {
            By::App => "app",
            By::File => "file",
            By::Rota => "rota",
        }
    }
}

impl Entry {
    /// `sent`: what its connection's socket has taken so far.
    pub fn new(sent: u64) -> Self {
        Self { sent_before: sent, ..Self::default() }
    }

    pub fn wants_slot(&mut self, now: Instant) {
        self.wanted.get_or_insert(now);
    }

    pub fn begins(&mut self, number: Number, generation: Generation, now: Instant) {
        self.process = Some((number, generation));
        self.begun.get_or_insert(now);
        self.begun_last = Some(now);
    }

    /// Heads went to the client. `status`: one of them was final.
    pub fn heads_sent(&mut self, bytes: usize, status: Option<u16>) {
        self.heads += bytes as u64;
        self.status = status.unwrap_or(self.status);
    }

    /// rota has answered it instead of the app, with a head of so many bytes.
    pub fn refused(&mut self, bytes: usize, status: u16) {
        self.by = By::Rota;
        self.heads_sent(bytes, Some(status));
    }

    /// rota has answered it from a file.
    pub fn sends_file(&mut self, bytes: usize, status: u16) {
        self.by = By::File;
        self.heads_sent(bytes, Some(status));
    }

    /// A final head of an answer went to the client.
    pub fn has_begun(&self) -> bool {
        self.status != 0
    }

    /// The app's part is over.
    pub fn answered(&mut self, now: Instant) {
        self.is_whole = true;
        self.answered = Some(now);
    }

    pub fn queued(&self) -> Option<Duration> {
        Some(self.begun?.saturating_duration_since(self.wanted?))
    }

    /// How long the process had it that had it last.
    pub fn with_app(&self, now: Instant) -> Option<Duration> {
        Some(self.answered.unwrap_or(now).saturating_duration_since(self.begun_last?))
    }

    /// Bytes that are not of a head, chunk sizes counted, among those that the connection's socket has taken: nginx's `$body_bytes_sent`.
    pub fn body_sent(&self, sent: u64) -> u64 {
        sent.saturating_sub(self.sent_before).saturating_sub(self.heads)
    }
}

impl Outputs {
    /// Opens every file that the configuration names. `apps`: by [`GroupId`].
    pub fn open<'a>(of_server: &AccessLogConfig, apps: impl Iterator<Item = &'a AppConfig>, sinks: &mut Sinks) -> Result<Self, String> {
        let server = output(of_server, "server.access_log", sinks)?;
        let mut of_apps = Vec::new();
        for app in apps {
            let own = app.access_log.as_ref().map(|own| own_output(own, &app.name, sinks)).transpose()?;
            of_apps.push((app.name.clone(), own.unwrap_or(server)));
        }
        Ok(Self { apps: of_apps, server })
    }
}

impl AccessLog {
    pub fn new(outputs: Outputs, files: Arc<LogFiles>, meters: Vec<Arc<Meter>>, strays: Arc<Meter>) -> Self {
        Self { outputs, files, meters, strays }
    }

    pub fn strays(&self) -> &Arc<Meter> {
        &self.strays
    }

    /// Where requests of an app are counted, logged or not.
    pub fn meter(&self, app: GroupId) -> &Meter {
        &self.meters[app.index()]
    }

    /// Whether the requests of an app are logged; of none: those that are for no app.
    pub fn is_on(&self, app: Option<GroupId>) -> bool {
        self.output(app).is_some()
    }

    pub fn app_name(&self, app: GroupId) -> &AppName {
        &self.outputs.apps[app.index()].0
    }

    pub fn write(&self, app: Option<GroupId>, line: &Line<'_>) {
        if let Some(output) = self.output(app) {
            self.files.push(output.sink, line.text(output.format));
        }
    }

    /// A head that was refused, or as much of it as there is. `sent`: bytes of the answer's body.
    pub fn write_refused(&self, head: &[u8], client: Option<IpAddr>, refusal: &Refusal, sent: u64) {
        self.strays.refuse(refusal);
        if self.is_on(None) {
            self.write(None, &Line::of_refused(head, client, refusal, sent));
        }
    }

    fn output(&self, app: Option<GroupId>) -> Option<Output> {
        app.map_or(self.outputs.server, |app| self.outputs.apps[app.index()].1)
    }
}

/// A file of one app's that cannot be opened keeps no other app from being served.
fn own_output(config: &AccessLogConfig, app: &AppName, sinks: &mut Sinks) -> Result<Option<Output>, String> {
    match config {
        AccessLogConfig::On { format, file: Some(path) } => {
            Ok(Some(Output { format: *format, sink: sinks.open_or_wait(path, "access log") }))
        }
        AccessLogConfig::On { file: None, .. } | AccessLogConfig::Off => output(config, &format!("app {app}: access_log"), sinks),
    }
}

/// `key` names the place in the configuration.
fn output(config: &AccessLogConfig, key: &str, sinks: &mut Sinks) -> Result<Option<Output>, String> {
    let AccessLogConfig::On { format, file } = config else { return Ok(None) };
    let path = file.as_deref();
    let name = || path.map_or("standard output".into(), Path::to_string_lossy);
    let sink = sinks.open(path, "access log").map_err(|error| format!("{key} {}: {error}", name()))?;
    Ok(Some(Output { format: *format, sink }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_request_that_was_sent_twice_are_those_of_the_first_wait_and_the_last_try() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut entry = Entry::default();
        assert_eq!((entry.queued(), entry.with_app(at(9))), (None, None));
        for (wants, begins) in [(10, 15), (30, 50)] {
            entry.wants_slot(at(wants));
            entry.begins(Number(1), Generation(2), at(begins));
        }
        assert_eq!(entry.queued(), Some(Duration::from_millis(5)));
        assert_eq!(entry.with_app(at(70)), Some(Duration::from_millis(20)), "still there");
        entry.answered(at(60));
        assert_eq!(entry.with_app(at(70)), Some(Duration::from_millis(10)));
    }

    #[test]
    fn the_bytes_of_a_body_are_those_that_went_out_without_heads_and_earlier_requests() {
        let mut entry = Entry::new(100);
        entry.heads_sent(30, None);
        entry.heads_sent(20, Some(200));
        assert_eq!((entry.status, entry.body_sent(1150)), (200, 1000));
        assert_eq!(entry.body_sent(140), 0, "not even the heads went out");
    }
}
