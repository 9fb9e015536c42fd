//! Numbers with units: times and sizes as people write them. Core: text in, value out.

use std::time::Duration;

/// Reads digits only and nothing else: Rust's own parsers take "+5". None: empty, another character, or more than 64 bits.
pub fn digits(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.bytes().try_fold(0u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Reads "250ms", "30s", "5m", "1h". None: something else, or longer than [`LONGEST`].
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text);
    let milliseconds_each = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let time = Duration::from_millis(digits(number)?.checked_mul(milliseconds_each)?);
    (time <= LONGEST).then_some(time)
}

/// Reads "512", "64K", "512M", "1G" as bytes, K being 1024. None: something else, or more than 64 bits.
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text);
    let bytes_each = match unit {
        "" => 1,
        "K" => KIB,
        "M" => MIB,
        "G" => GIB,
        _ => return None,
    };
    digits(number)?.checked_mul(bytes_each)
}

/// Writes what [`size`] reads, with the largest unit that leaves no fraction.
pub fn size_text(bytes: u64) -> String {
    for (each, unit) in [(GIB, "G"), (MIB, "M"), (KIB, "K")] {
        if bytes > 0 && bytes.is_multiple_of(each) {
            return format!("{}{unit}", bytes / each);
        }
    }
    bytes.to_string()
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// A year: added to an `Instant` it cannot overflow, and nobody means more.
pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

pub const KIB: u64 = 1024;
pub const MIB: u64 = 1024 * KIB;
pub const GIB: u64 = 1024 * MIB;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_digits_and_nothing_else() {
        assert_eq!(digits("0"), Some(0));
        assert_eq!(digits("18446744073709551615"), Some(u64::MAX));
        for bad in ["", "+5", "-5", " 5", "5 ", "0x5", "1_000", "5.0", "٣", "18446744073709551616"] {
            assert_eq!(digits(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(duration("1h"), Some(Duration::from_secs(3600)));
        assert_eq!(duration("0s"), Some(Duration::ZERO));
        assert_eq!(duration("8760h"), Some(LONGEST));
        for bad in ["", "30", "s", "30 s", "1h30m", "1.5s", "-1s", "+1s", "30S", "8761h", "99999999999999999999h", "18446744073709551615h"]
        {
            assert_eq!(duration(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_size_is_a_number_and_perhaps_a_unit() {
        for (text, bytes) in [("0", 0), ("512", 512), ("64K", 65_536), ("512M", 536_870_912), ("1G", 1_073_741_824)] {
            assert_eq!(size(text), Some(bytes));
            assert_eq!(size_text(bytes), text);
        }
        for bad in ["", "K", "64k", "64KB", "64 K", "1.5G", "-1", "18446744073709551615K"] {
            assert_eq!(size(bad), None, "{bad:?}");
        }
    }
}
