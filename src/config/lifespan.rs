//! After what a process is replaced: the keys `max_requests` and `max_age`. Core: text only.

use super::Lifespan;
use super::section::{Section, Zero};

pub fn lifespan(section: &Section<'_>) -> Lifespan {
    Lifespan {
        requests: section.get("max_requests").and_then(|value| value.number(1..=MANY)),
        age: section.get("max_age").and_then(|value| value.duration(Zero::Refused)),
    }
}

/// Who means more means none.
const MANY: u64 = 1_000_000_000_000;
