//! What there is to be seen: each family of metrics with its type, its labels and what it says. docs/metrics.md has the same table. The names of
//! counters are without their `_total`.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        }
    }
}

#[derive(Debug)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    /// The end of its name.
    pub unit: Option<&'static str>,
    pub labels: &'static [&'static str],
    /// A sentence without a full stop.
    pub help: &'static str,
}

const fn family(name: &'static str, kind: Kind, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind, unit: None, labels, help }
}

impl Family {
    const fn in_unit(self, unit: &'static str) -> Self {
        Self { unit: Some(unit), ..self }
    }

    /// As a query names it, or the beginning of that for a histogram.
    pub fn queried(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.name),
            Kind::Info => format!("{}_info", self.name),
            Kind::Gauge | Kind::Histogram => self.name.to_owned(),
        }
    }
}

pub const REQUESTS: Family = family(
    "rota_requests",
    Kind::Counter,
    &["app", "by", "code"],
    "Requests that have ended, by who answered (app: a process of it; file: rota, from a file; rota: rota instead of the app; nobody) and class of the status (2xx; none: no answer)",
);
pub const FAILURES: Family = family(
    "rota_request_failures",
    Kind::Counter,
    &["app", "cause", "blame"],
    "Requests without an answer of the app, or without a whole one, by why that was and who has to change something",
);
pub const REFUSED: Family = family(
    "rota_refused_heads",
    Kind::Counter,
    &["cause", "blame"],
    "Heads and connections that were refused before they were a request of an app, by why that was and who has to change something",
);
pub const DURATION: Family = family(
    "rota_request_duration_seconds",
    Kind::Histogram,
    &["app"],
    "From the whole head of a request until the client had taken its answer",
)
.in_unit("seconds");
pub const WITH_APP: Family = family(
    "rota_request_app_duration_seconds",
    Kind::Histogram,
    &["app"],
    "How long the process had a request that had it last, until its answer was whole",
)
.in_unit("seconds");
pub const QUEUED: Family = family(
    "rota_request_queue_duration_seconds",
    Kind::Histogram,
    &["app"],
    "How long a request waited for a process, once it was whole; of those that got one",
)
.in_unit("seconds");
pub const RECEIVED: Family =
    family("rota_request_body_bytes", Kind::Counter, &["app"], "Bytes of request bodies, without chunk sizes").in_unit("bytes");
pub const SENT: Family =
    family("rota_response_bytes", Kind::Counter, &["app"], "Bytes of answers that clients have taken, with heads and chunk sizes")
        .in_unit("bytes");
pub const IN_FLIGHT: Family = family("rota_requests_in_flight", Kind::Gauge, &["app"], "Requests that are with the app");
pub const SLOTS: Family = family("rota_slots", Kind::Gauge, &["app"], "Requests that the processes that serve take at a time");
pub const QUEUE_LENGTH: Family = family("rota_queue_length", Kind::Gauge, &["app"], "Requests that wait for a process");
pub const QUEUE_LIMIT: Family = family("rota_queue_limit", Kind::Gauge, &["app"], "Requests that may wait at most: queue.max");
pub const QUEUE_AGE: Family =
    family("rota_queue_age_seconds", Kind::Gauge, &["app"], "How long the first of the queue has waited; 0: none waits").in_unit("seconds");
pub const PROCESSES: Family = family("rota_processes", Kind::Gauge, &["app", "state"], "Processes of the app, by state");
pub const WANTED: Family = family("rota_processes_wanted", Kind::Gauge, &["app"], "Processes that there are to be");
pub const STARTS: Family = family("rota_process_starts", Kind::Counter, &["app"], "Processes that were started");
pub const PROCESS_FAILURES: Family = family(
    "rota_process_failures",
    Kind::Counter,
    &["app", "cause"],
    "Processes that failed, and releases that could not be started from, by how",
);
pub const WALKS: Family =
    family("rota_walks", Kind::Counter, &["app", "outcome"], "Starts, restarts, deployments and rollbacks that have ended, by how");
pub const WALKING: Family =
    family("rota_walk_running", Kind::Gauge, &["app"], "1: a start, restart, deployment or rollback is under way; 0: none is");
pub const RESISTS: Family =
    family("rota_resists", Kind::Gauge, &["app"], "1: the app resists a release that failed, and the one before serves");
pub const PAUSED: Family = family("rota_paused", Kind::Gauge, &["app"], "1: the app is paused by rota pause");
pub const GENERATION: Family =
    family("rota_generation", Kind::Gauge, &["app"], "The last generation that was accepted; absent: none was yet");
pub const MEMORY: Family = family(
    "rota_memory_bytes",
    Kind::Gauge,
    &["app"],
    "What the app's processes take with all that comes of them, shared memory by its share; absent: not known in time",
)
.in_unit("bytes");
pub const CONNECTIONS: Family = family("rota_connections", Kind::Gauge, &[], "Open connections of clients, idle ones too");
pub const CONNECTIONS_LIMIT: Family =
    family("rota_connections_limit", Kind::Gauge, &[], "Connections that there may be: limits.connections");
pub const ACCEPTED: Family = family("rota_connections_accepted", Kind::Counter, &[], "Connections of clients that were taken");
pub const SPOOL: Family = family("rota_spool_bytes", Kind::Gauge, &[], "Bytes of bodies that wait in temporary files").in_unit("bytes");
pub const SPOOL_LIMIT: Family = family("rota_spool_limit_bytes", Kind::Gauge, &[], "What there may be of them: spool_max").in_unit("bytes");
pub const BROKEN: Family = family("rota_broken_apps", Kind::Gauge, &[], "Apps that are not served for a mistake in their description");
pub const DRAINED: Family = family("rota_drained", Kind::Gauge, &[], "1: balancers are told to go, by rota drain");
pub const STARTED: Family =
    family("rota_start_time_seconds", Kind::Gauge, &[], "When rota was started, in seconds since 1970").in_unit("seconds");
pub const BUILD: Family = family("rota_build", Kind::Info, &["version"], "The rota that runs");

/// In the order in which they are printed.
pub const ALL: [&Family; 32] = [
    &REQUESTS,
    &FAILURES,
    &REFUSED,
    &DURATION,
    &WITH_APP,
    &QUEUED,
    &RECEIVED,
    &SENT,
    &IN_FLIGHT,
    &SLOTS,
    &QUEUE_LENGTH,
    &QUEUE_LIMIT,
    &QUEUE_AGE,
    &PROCESSES,
    &WANTED,
    &STARTS,
    &PROCESS_FAILURES,
    &WALKS,
    &WALKING,
    &RESISTS,
    &PAUSED,
    &GENERATION,
    &MEMORY,
    &CONNECTIONS,
    &CONNECTIONS_LIMIT,
    &ACCEPTED,
    &SPOOL,
    &SPOOL_LIMIT,
    &BROKEN,
    &DRAINED,
    &STARTED,
    &BUILD,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of the table in docs/metrics.md.
    fn rows() -> Vec<String> {
        let code = |word: &&str| format!("`{word}`");
        let row = |family: &&Family| {
            let labels: Vec<String> = family.labels.iter().map(code).collect();
            format!("| `{}` | {} | {} | {} |", family.queried(), family.kind.word(), labels.join(", "), family.help)
        };
        ALL.iter().map(row).collect()
    }

    #[test]
    fn the_document_has_every_metric() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let is_row = |line: &&str| line.starts_with("| `rota_");
        if std::env::var_os("ROTA_WRITE").is_some() {
            let first = text.lines().position(|line| is_row(&line)).unwrap();
            let mut lines: Vec<String> = text.lines().filter(|line| !is_row(line)).map(str::to_owned).collect();
            lines.splice(first..first, rows());
            std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        } else {
            assert_eq!(text.lines().filter(is_row).collect::<Vec<_>>(), rows(), "ROTA_WRITE=1 cargo test --lib metrics writes it");
        }
    }

    /// As a query names them.
    fn queries(family: &Family) -> Vec<String> {
        match family.kind {
            Kind::Histogram => ["bucket", "sum", "count"].iter().map(|end| format!("{}_{end}", family.name)).collect(),
            Kind::Counter | Kind::Gauge | Kind::Info => vec![family.queried()],
        }
    }

    #[test]
    fn the_dashboard_and_the_document_ask_for_what_there_is() {
        let known: Vec<String> = ALL.iter().flat_map(|family| queries(family)).collect();
        let dashboard: serde_json::Value = serde_json::from_str(include_str!("../../conf/grafana-dashboard.json")).unwrap();
        let panels = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
        let panels: Vec<&str> = panels.map(|target| target["expr"].as_str().unwrap()).collect();
        assert!(panels.len() > 20, "{panels:?}");
        let document = include_str!("../../docs/metrics.md");
        let document: Vec<&str> = document.split("```promql").skip(1).map(|block| block.split("```").next().unwrap()).collect();
        assert_eq!(document.len(), 1);
        for text in panels.iter().chain(&document) {
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("rota_"));
            let words: Vec<&str> = words.collect();
            assert!(!words.is_empty(), "{text}");
            for word in words {
                assert!(known.iter().any(|known| known == word), "{word}: {text}");
            }
        }
        let asked = panels.concat();
        let unseen: Vec<&str> = ALL.iter().filter(|family| !asked.contains(family.name)).map(|family| family.name).collect();
        assert!(unseen.is_empty(), "on no panel: {unseen:?}");
    }

    #[test]
    fn names_are_as_the_conventions_want_them() {
        for (at, family) in ALL.iter().enumerate() {
            let Family { name, kind, unit, labels, help } = family;
            assert!(name.starts_with("rota_") && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(!["_total", "_count", "_sum", "_bucket", "_info", "_created"].iter().any(|end| name.ends_with(end)), "{name}");
            assert!(unit.is_none_or(|unit| name.ends_with(&format!("_{unit}"))), "{name}");
            assert_eq!(unit.is_none(), !name.ends_with("_seconds") && !name.ends_with("_bytes"), "{name}");
            assert!(*kind != Kind::Histogram || !labels.contains(&"le"), "{name}");
            assert!(help.len() > 10 && !help.ends_with('.') && !help.contains(['\n', '\\']), "{name}");
            assert!(ALL[at + 1..].iter().all(|other| other.name != *name), "{name}");
        }
    }
}
