//! Moments as people read them: the calendar day and the time in UTC, and how long ago that was.

use super::table::span;

/// `2026-11-24 12:03:11Z`, of seconds since 1970 (UTC). The days by H. Hinnant, <https://howardhinnant.github.io/date_algorithms.html>
/// (civil_from_days).
pub fn utc(at: u64) -> String {
    let (days, second) = (at / 86_400, at % 86_400);
    // Days since 0000-03-01: the leap day is the last of its year then.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// `3 h ago`: one unit. A moment that is yet to come, because a clock was set, is `just now`.
pub fn ago(at: u64, now: u64) -> String {
    match now.saturating_sub(at) {
        0..5 => "just now".to_owned(),
        seconds => {
            let two_units = span(seconds as f64);
            let words: Vec<&str> = two_units.split(' ').take(2).collect();
            format!("{} ago", words.join(" ").replace(".0", ""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against `date -u -d @SECONDS`.
    #[test]
    fn a_day_is_the_calendars() {
        let days = [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399, "2000-02-28 23:59:59Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (951_868_800, "2000-03-01 00:00:00Z"),
            (1_735_689_599, "2024-12-31 23:59:59Z"),
            (1_795_521_791, "2026-11-24 12:03:11Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
        ];
        for (at, text) in days {
            assert_eq!(utc(at), text);
        }
    }

    #[test]
    fn how_long_ago_has_one_unit() {
        let spans = [0, 7, 59, 192, 7500, 356_400];
        assert_eq!(
            spans.map(|span| ago(1_000_000, 1_000_000 + span)),
            ["just now", "7 s ago", "59 s ago", "3 min ago", "2 h ago", "4 d ago"]
        );
        assert_eq!(ago(1_000_000, 999_000), "just now");
    }
}
