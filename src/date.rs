//! The Date field's value (RFC 9110 5.6.7), formatted once a second. One per thread.

use std::time::{Duration, Instant, SystemTime};

#[derive(Debug)]
pub struct Date {
    text: String,
    until: Option<Instant>,
}

impl Date {
    #[allow(clippy::new_without_default)] // it is made once per thread, never by default
    pub fn new() -> Self {
        Self { text: String::new(), until: None }
    }

    /// `Tue, 24 Nov 2026 08:32:36 GMT`; at most a second old.
    pub fn at(&mut self, now: Instant) -> &str {
        if self.until.is_none_or(|until| now >= until) {
            self.text = httpdate::fmt_http_date(SystemTime::now());
            self.until = Some(now + Duration::from_secs(1));
        }
        &self.text
    }
}
