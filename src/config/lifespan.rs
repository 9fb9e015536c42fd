//! After what a process is replaced or killed: the keys `max_requests`, `max_age`, `memory_limit`, `memory_limit_hard`, `limits.processes` and
//! `limits.cpu`. Core: text only.

use super::Lifespan;
use super::section::{Section, Value, Zero};
use super::units::{GIB, MIB, digits, size_text};

/// `limits`: the app's table of that name.
pub fn lifespan(section: &Section<'_>, limits: &Section<'_>) -> Lifespan {
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
        processes: Some(limits.number("processes", 2..=1 << 22, PROCESSES)),
    }
}

/// Percent of one processor: `"150%"`.
pub fn cpu(value: &Value<'_>) -> Option<u32> {
    let text = value.text()?;
    let percent = text.strip_suffix('%').and_then(digits).and_then(|percent| u32::try_from(percent).ok());
    let percent = percent.filter(|percent| (1..=MOST_CPU).contains(percent));
    if percent.is_none() {
        let help = "percent of one processor, as \"50%\" or \"150%\"";
        value.note(value.error(format!("{} cannot be {text:?}", value.name)).help(help));
    }
    percent
}

/// Who means more means none.
const MANY: u64 = 1_000_000_000_000;
/// No web app has as many at a time; a fork bomb has them in a moment.
const PROCESSES: u64 = 512;
/// Of 1024 processors.
const MOST_CPU: u32 = 102_400;
const MOST: u64 = 1024 * 1024;
