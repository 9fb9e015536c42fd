//! After what a process is replaced: the keys `max_requests`, `max_age`, `memory_limit` and `memory_limit_hard`. Core: text only.

use super::Lifespan;
use super::section::{Section, Zero};
use super::units::{GIB, MIB, size_text};

pub fn lifespan(section: &Section<'_>) -> Lifespan {
    let size = |key| section.get(key).and_then(|value| value.size(MIB..=MOST * GIB));
    let (memory, hard) = (size("memory_limit"), size("memory_limit_hard"));
    if let (Some(soft), Some(most), Some(value)) = (memory, hard, section.get("memory_limit_hard"))
        && most <= soft
    {
        let message = format!("memory_limit_hard must be more than memory_limit, which is {}", size_text(soft));
        value.note(value.error(message).help("at memory_limit another process is started first, and this one needs room meanwhile"));
    }
    Lifespan {
        requests: section.get("max_requests").and_then(|value| value.number(1..=MANY)),
        age: section.get("max_age").and_then(|value| value.duration(Zero::Refused)),
        memory,
        memory_hard: hard,
    }
}

/// Who means more means none.
const MANY: u64 = 1_000_000_000_000;
const MOST: u64 = 1024 * 1024;
