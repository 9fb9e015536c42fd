//! Text of metrics, in the two forms in which it is asked for. OpenMetrics 1.0, and the text format of Prometheus (0.0.4), in which the metadata of a
//! counter has the name with `_total` and there is neither a unit nor an end.

use std::fmt::{Display, Write};

use super::families::{Family, Kind};
use super::tally::{BOUNDS, Spread};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    OpenMetrics,
    Prometheus,
}

impl Form {
    pub fn content_type(self) -> &'static str {
        match self {
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Form::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What a scraper takes. OpenMetrics where that is named and not with `q=0`, else what every scraper reads.
    pub fn wanted(accept: &str) -> Self {
        let is_it = |part: &str| {
            let mut parts = part.split(';').map(str::trim);
            let refused = |parameter: &str| parameter.strip_prefix("q=").is_some_and(|q| q.trim_matches(['0', '.']).is_empty());
            parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text")) && !parts.any(refused)
        };
        if accept.split(',').any(is_it) { Form::OpenMetrics } else { Form::Prometheus }
    }
}

/// A page that is being written.
#[derive(Debug)]
pub struct Page {
    form: Form,
    text: String,
}

/// A family of it that is being written. Writing to memory does not fail.
#[derive(Debug)]
pub struct Samples<'a> {
    page: &'a mut Page,
    family: &'static Family,
}

impl Page {
    pub fn new(form: Form) -> Self {
        Self { form, text: String::new() }
    }

    pub fn family(&mut self, family: &'static Family) -> Samples<'_> {
        let Family { name, kind, unit, help, .. } = family;
        let queried = family.queried();
        let (name, kind) = match (self.form, kind) {
            (Form::OpenMetrics, kind) => (*name, kind.word()),
            // There is no such type.
            (Form::Prometheus, Kind::Info) => (queried.as_str(), Kind::Gauge.word()),
            (Form::Prometheus, kind) => (queried.as_str(), kind.word()),
        };
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
        if let (Form::OpenMetrics, Some(unit)) = (self.form, unit) {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.text, "# HELP {name} {help}");
        Samples { page: self, family }
    }

    pub fn finish(mut self) -> String {
        if self.form == Form::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Samples<'_> {
    /// `labels`: the values of the family's labels.
    pub fn add(&mut self, labels: &[&str], value: impl Display) {
        let name = self.family.queried();
        self.line(&name, labels, None, value);
    }

    pub fn spread(&mut self, labels: &[&str], spread: &Spread) {
        let name = self.family.name;
        let mut within = 0;
        for (bound, count) in BOUNDS.iter().map(|nanos| Some(*nanos)).chain([None]).zip(spread.within) {
            within += count;
            let le = bound.map_or("+Inf".to_owned(), |nanos| format!("{:?}", seconds(nanos)));
            self.line(&format!("{name}_bucket"), labels, Some(&le), within);
        }
        self.line(&format!("{name}_sum"), labels, None, seconds(spread.nanos));
        self.line(&format!("{name}_count"), labels, None, within);
    }

    fn line(&mut self, name: &str, labels: &[&str], le: Option<&str>, value: impl Display) {
        debug_assert_eq!(labels.len(), self.family.labels.len(), "{name}");
        let text = &mut self.page.text;
        text.push_str(name);
        let named = self.family.labels.iter().zip(labels).map(|(name, value)| (*name, *value)).chain(le.map(|le| ("le", le)));
        for (at, (label, value)) in named.clone().enumerate() {
            text.push(if at == 0 { '{' } else { ',' });
            text.push_str(label);
            text.push_str("=\"");
            escape(value, text);
            text.push('"');
        }
        if named.count() > 0 {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}

/// A backslash, a quote and the end of a line have each two characters.
fn escape(value: &str, text: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::super::families::{DURATION, REQUESTS, SPOOL};
    use super::*;

    fn page(form: Form) -> String {
        let mut page = Page::new(form);
        page.family(&REQUESTS).add(&["a\"b\\c\nd", "app", "2xx"], 7);
        page.family(&SPOOL).add(&[], 0);
        let mut spread = Spread { nanos: 1_500_000_000, ..Spread::default() };
        (spread.within[1], spread.within[16]) = (2, 1);
        page.family(&DURATION).spread(&["blog"], &spread);
        page.finish()
    }

    #[test]
    fn open_metrics_have_units_and_an_end() {
        let text = page(Form::OpenMetrics);
        assert!(text.starts_with("# TYPE rota_requests counter\n# HELP rota_requests Requests that have ended"), "{text}");
        assert!(text.contains("\nrota_requests_total{app=\"a\\\"b\\\\c\\nd\",by=\"app\",code=\"2xx\"} 7\n"), "{text}");
        assert!(text.contains("# TYPE rota_spool_bytes gauge\n# UNIT rota_spool_bytes bytes\n# HELP"), "{text}");
        assert!(text.contains("\nrota_spool_bytes 0\n") && text.ends_with("\n# EOF\n"), "{text}");
    }

    #[test]
    fn the_older_form_has_neither_and_names_counters_as_they_are_queried() {
        let text = page(Form::Prometheus);
        assert!(text.starts_with("# TYPE rota_requests_total counter\n# HELP rota_requests_total Requests"), "{text}");
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
    }

    #[test]
    fn the_buckets_of_a_histogram_add_up() {
        let text = page(Form::OpenMetrics);
        for line in [
            "rota_request_duration_seconds_bucket{app=\"blog\",le=\"0.0005\"} 0",
            "rota_request_duration_seconds_bucket{app=\"blog\",le=\"0.001\"} 2",
            "rota_request_duration_seconds_bucket{app=\"blog\",le=\"60.0\"} 2",
            "rota_request_duration_seconds_bucket{app=\"blog\",le=\"+Inf\"} 3",
            "rota_request_duration_seconds_sum{app=\"blog\"} 1.5",
            "rota_request_duration_seconds_count{app=\"blog\"} 3",
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{line}\n{text}");
        }
    }

    #[test]
    fn who_asks_gets_the_form_that_he_names() {
        for (accept, form) in [
            ("", Form::Prometheus),
            ("*/*", Form::Prometheus),
            ("text/plain;version=0.0.4", Form::Prometheus),
            ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3,*/*;q=0.1", Form::OpenMetrics),
            ("text/plain, Application/OpenMetrics-Text", Form::OpenMetrics),
            ("application/openmetrics-text; q=0.0, text/plain", Form::Prometheus),
        ] {
            assert_eq!(Form::wanted(accept), form, "{accept}");
        }
    }
}
