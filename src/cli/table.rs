//! Text for people: columns, durations, sizes.

/// Rows under a heading; every column as wide as its widest cell, numbers (`>` before the heading) to the right.
pub fn table(heading: &[&str], rows: &[Vec<String>], indent: usize) -> String {
    let right: Vec<bool> = heading.iter().map(|name| name.starts_with('>')).collect();
    let names: Vec<String> = heading.iter().map(|name| name.trim_start_matches('>').to_owned()).collect();
    let all = || std::iter::once(&names).chain(rows);
    let width = |column: usize| all().map(|row| row.get(column).map_or(0, |cell| cell.chars().count())).max().unwrap_or(0);
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let mut text = String::new();
    for row in all() {
        let mut line = " ".repeat(indent);
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column] - cell.chars().count());
            let (before, after) = if right[column] { (pad.as_str(), "") } else { ("", pad.as_str()) };
            line.push_str(&format!("{}{before}{cell}{after}", if column == 0 { "" } else { "  " }));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `0.8 s`, `12 s`, `3m 12s`, `2h 5m`, `4d 3h`.
pub fn span(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{}m {}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h {}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d {}h", whole / 86_400, whole / 3600 % 24),
    }
}

/// `512 B`, `66 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 10.0 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_and_words_to_the_left() {
        let rows = vec![vec!["1".to_owned(), "serving".to_owned()], vec!["12".to_owned(), "up".to_owned()]];
        assert_eq!(table(&[">#", "state"], &rows, 2), "   #  state\n   1  serving\n  12  up\n");
    }

    #[test]
    fn spans_and_sizes_are_short() {
        assert_eq!([0.84, 12.6, 192.0, 7500.0, 356_400.0].map(span), ["0.8 s", "12 s", "3m 12s", "2h 5m", "4d 3h"]);
        assert_eq!([512, 1536, 69_206_016].map(size), ["512 B", "1.5 KiB", "66 MiB"]);
    }
}
