//! Text for people: columns, durations, sizes, and what an app printed made harmless. Plain values in, text out.

use std::fmt::Write;

pub use crate::pool::span;

/// Rows under a heading. A column is as wide as its widest cell; one whose heading begins with `>` stands to the right. Columns are two
/// spaces apart, lines begin with `indent` spaces, end without any, and each has its line end. Colours of a cell take no room.
pub fn table(heading: &[&str], rows: &[Vec<String>], indent: usize) -> String {
    let names: Vec<String> = heading.iter().map(|name| name.trim_start_matches('>').to_owned()).collect();
    let lines = || std::iter::once(&names).chain(rows);
    let width = |column: usize| lines().filter_map(|line| line.get(column)).map(|cell| shown_width(cell)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let mut text = String::new();
    for line in lines() {
        let cells = heading.iter().zip(line).zip(&widths).map(|((name, cell), width)| {
            let room = " ".repeat(width.saturating_sub(shown_width(cell)));
            if name.starts_with('>') { room + cell } else { cell.clone() + &room }
        });
        let cells: Vec<String> = cells.collect();
        text.push_str(&" ".repeat(indent));
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// How a table is made to fit a terminal.
#[derive(Clone, Copy, Debug)]
pub struct Fit<'a> {
    /// That a line may have at most; `usize::MAX`: any number.
    pub columns: usize,
    pub indent: usize,
    /// Names of columns that can be done without, the first one first.
    pub spare: &'a [&'a str],
    /// So much of the last column is to be seen at least, before others are left out for it.
    pub last: usize,
}

/// As [`table`], with as many columns as there is room for. Where that is not enough the end of the last one is cut, then of the first.
pub fn fitted(heading: &[&str], rows: &[Vec<String>], fit: &Fit<'_>) -> String {
    let name = |column: usize| heading[column].trim_start_matches('>');
    let widest = |column: usize| rows.iter().map(|row| shown_width(&row[column])).fold(name(column).len(), usize::max);
    let room = fit.columns.saturating_sub(fit.indent);
    let mut kept: Vec<usize> = (0..heading.len()).collect();
    let last = heading.len().saturating_sub(1);
    let beside_last = |kept: &[usize]| kept.iter().filter(|column| **column != last).map(|column| widest(*column) + GAP).sum::<usize>();
    for spare in fit.spare {
        if beside_last(&kept) + widest(last).min(fit.last) <= room {
            break;
        }
        kept.retain(|column| name(*column) != *spare);
    }
    let left = room.saturating_sub(beside_last(&kept));
    let of_last = left.max(widest(last).min(LEAST));
    let of_first = widest(0).saturating_sub(of_last - left).max(LEAST);
    let cell = |row: &[String], column: usize| match column {
        _ if column == last => shortened(&row[column], of_last),
        0 => shortened(&row[column], of_first),
        _ => row[column].clone(),
    };
    let heading: Vec<&str> = kept.iter().map(|column| heading[*column]).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| kept.iter().map(|column| cell(row, *column)).collect()).collect();
    table(&heading, &rows, fit.indent)
}

/// As wide as `width`, with dots for what is missing.
fn shortened(text: &str, width: usize) -> String {
    if shown_width(text) <= width { text.to_owned() } else { cut(text, width.saturating_sub(DOTS.len())) + DOTS }
}

/// The whole words of a line that fit, with dots for what is missing.
pub fn whole_words(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let room = width.saturating_sub(DOTS.len() + 1);
    let end = line.char_indices().nth(room + 1).map_or(line.len(), |(at, _)| at);
    match line[..end].rfind(' ') {
        Some(space) => format!("{} {DOTS}", line[..space].trim_end_matches([',', ';', ':', ' '])),
        None => shortened(line, width),
    }
}

/// Columns that a text takes; the escapes that colour it (ECMA-48, SGR) take none.
pub fn shown_width(text: &str) -> usize {
    let mut pieces = text.split("\x1b[");
    let first = pieces.next().map_or(0, |plain| plain.chars().count());
    let rest = pieces.map(|piece| piece.split_once('m').map_or(0, |(_, plain)| plain.chars().count()));
    first + rest.sum::<usize>()
}

/// The beginning of a line, as wide as fits; its colours end with it.
pub fn cut(line: &str, width: usize) -> String {
    if shown_width(line) <= width {
        return line.to_owned();
    }
    let (mut text, mut left, mut chars) = (String::new(), width, line.chars());
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            text.push(c);
            text.extend(chars.by_ref().take_while(|c| *c != 'm'));
            text.push('m');
        } else if left > 0 {
            text.push(c);
            left -= 1;
        } else {
            break;
        }
    }
    if line.contains('\x1b') { text + "\x1b[0m" } else { text }
}

/// A duration in a cell, at most four wide for 27 years: `0s`, `59s`, `3m`, `2h`, `4d`.
pub fn brief_span(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m", whole / 60),
        3600..86_400 => format!("{}h", whole / 3600),
        86_400.. => format!("{}d", whole / 86_400),
    }
}

/// Bytes: `512 B`, `9.5 KiB`, `66 MiB`.
pub fn size(bytes: u64) -> String {
    match scaled(bytes, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"]) {
        (value, unit) if unit == " B" || value >= 10.0 => format!("{value:.0}{unit}"),
        (value, unit) => format!("{value:.1}{unit}"),
    }
}

/// Bytes in a cell, as the configuration writes them: `512`, `9.5K`, `66M`.
pub fn brief_size(bytes: u64) -> String {
    size(bytes).replace(" B", "").replace("iB", "").replace(' ', "")
}

/// A number of things, exact up to six digits: `999999`, `1.2M`, `34M`.
pub fn count(number: u64) -> String {
    if number < 1_000_000 {
        return number.to_string();
    }
    match scaled(number, 1000.0, &["", "k", "M", "G", "T", "P"]) {
        (value, unit) if value >= 10.0 => format!("{value:.0}{unit}"),
        (value, unit) => format!("{value:.1}{unit}"),
    }
}

/// Rounded down, so that 1023.9 KiB is not said to be 1024 KiB.
fn scaled<'a>(number: u64, step: f64, units: &[&'a str]) -> (f64, &'a str) {
    let (mut value, mut unit) = (number as f64, 0);
    while value >= step && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let value = if value >= 10.0 { value.floor() } else { (value * 10.0).floor() / 10.0 };
    (value, units[unit])
}

/// Text that others wrote, so that it does nothing to a terminal: controls, and what turns the direction of writing, as escapes.
pub fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}');
        match c {
            '\t' => harmless.push_str("    "),
            c if c.is_control() && c.is_ascii() => {
                // Writing to a string does not fail.
                let _ = write!(harmless, "\\x{:02x}", u32::from(c));
            }
            c if c.is_control() || turns => harmless.extend(c.escape_unicode()),
            c => harmless.push(c),
        }
    }
    harmless
}

/// Each line of an app's output behind a bar.
pub fn output_lines(lines: &[String], indent: usize) -> String {
    lines.iter().map(|line| format!("{}| {}\n", " ".repeat(indent), harmless(line))).collect()
}

/// Words in lines of at most `width` characters, where they fit: the first begins with `indent` spaces, those after it with two more.
pub fn wrap(text: &str, indent: usize, width: usize) -> String {
    let (mut lines, mut line) = (String::new(), " ".repeat(indent));
    let mut is_empty = true;
    for word in text.split(' ') {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > width {
            lines.push_str(&line);
            lines.push('\n');
            line = " ".repeat(indent + 2);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines + &line + "\n"
}

/// Between two columns.
const GAP: usize = 2;
/// Of a name that is cut, so much stays.
const LEAST: usize = 12;
const DOTS: &str = "...";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_too_wide_does_without_the_columns_that_matter_least() {
        let rows = [vec!["a-name-of-an-app".to_owned(), "12".to_owned(), "3".to_owned(), "RESISTS g12".to_owned()]];
        let fit = |columns: usize| {
            fitted(&["app", ">done", ">up", "state"], &rows, &Fit { columns, indent: 0, spare: &["done", "up"], last: usize::MAX })
        };
        let whole = "app               done  up  state\na-name-of-an-app    12   3  RESISTS g12\n";
        assert_eq!((fit(usize::MAX).as_str(), fit(39).as_str()), (whole, whole));
        assert_eq!(fit(38), "app               up  state\na-name-of-an-app   3  RESISTS g12\n");
        assert_eq!(fit(30), "app               state\na-name-of-an-app  RESISTS g12\n");
        assert_eq!(fit(27), "app             state\na-name-of-a...  RESISTS g12\n");
    }

    #[test]
    fn a_sentence_that_is_too_long_ends_behind_a_word() {
        assert_eq!(whole_words("exited with status 1", 20), "exited with status 1");
        assert_eq!(whole_words("exited with status 12", 20), "exited with ...");
        assert_eq!(whole_words("exited, and nothing else", 15), "exited, and ...");
        assert_eq!(whole_words("exited, and nothing else", 14), "exited ...");
        assert_eq!(whole_words("/a/long/path/without/end", 12), "/a/long/p...");
    }

    #[test]
    fn numbers_stand_to_the_right_and_words_to_the_left() {
        let rows = [["1", "serving", "7"], ["12", "up", "1204"]].map(|row| row.map(str::to_owned).to_vec());
        let expected = "   #  state    done\n   1  serving     7\n  12  up       1204\n";
        assert_eq!(table(&[">#", "state", ">done"], &rows, 2), expected);
        assert_eq!(table(&["name"], &[], 0), "name\n");
    }

    #[test]
    fn colours_take_no_room() {
        assert_eq!(shown_width("\x1b[1;31mbad\x1b[0m x"), 5);
        let rows = [vec!["\x1b[32mup\x1b[0m".to_owned(), "1".to_owned()], vec!["down".to_owned(), "2".to_owned()]];
        assert_eq!(table(&["state", "n"], &rows, 0), "state  n\n\x1b[32mup\x1b[0m     1\ndown   2\n");
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 4), "abcd");
        assert_eq!(cut("a\x1b[32mbcd\x1b[0mef", 2), "a\x1b[32mb\x1b[0m");
    }

    #[test]
    fn spans_say_two_units_in_a_sentence_and_one_in_a_cell() {
        let spans = [0.0, 0.84, 9.96, 12.6, 59.9, 192.0, 7500.0, 356_400.0];
        assert_eq!(spans.map(span), ["0.0 s", "0.8 s", "9.9 s", "12 s", "59 s", "3 min 12 s", "2 h 5 min", "4 d 3 h"]);
        assert_eq!(spans.map(brief_span), ["0s", "0s", "9s", "12s", "59s", "3m", "2h", "4d"]);
    }

    #[test]
    fn sizes_and_counts_are_short_and_never_say_too_much() {
        let sizes = [0, 1023, 1024, 9780, 1_048_575, 69_206_016, 5 << 40];
        assert_eq!(sizes.map(size), ["0 B", "1023 B", "1.0 KiB", "9.5 KiB", "1023 KiB", "66 MiB", "5.0 TiB"]);
        assert_eq!(sizes.map(brief_size), ["0", "1023", "1.0K", "9.5K", "1023K", "66M", "5.0T"]);
        assert_eq!([0, 999_999, 1_250_000, 34_900_000].map(count), ["0", "999999", "1.2M", "34M"]);
        assert_eq!((size(u64::MAX), count(u64::MAX)), ("16777216 TiB".to_owned(), "18446P".to_owned()));
    }

    #[test]
    fn what_an_app_printed_does_nothing_to_a_terminal() {
        assert_eq!(harmless("plain, größer, 日本"), "plain, größer, 日本");
        assert_eq!(harmless("\x1b[2J\rgone\u{7f}\n"), "\\x1b[2J\\x0dgone\\x7f\\x0a");
        assert_eq!(harmless("\u{9b}2J \u{202e}txt.exe\u{2069}"), "\\u{9b}2J \\u{202e}txt.exe\\u{2069}");
        assert_eq!(harmless("\tat line 3"), "    at line 3");
    }

    #[test]
    fn long_sentences_go_on_in_the_next_line() {
        assert_eq!(wrap("one two three four", 2, 12), "  one two\n    three\n    four\n");
        assert_eq!(wrap("/a/path/that/is/longer x", 2, 12), "  /a/path/that/is/longer\n    x\n");
        assert_eq!(wrap("short", 2, 80), "  short\n");
    }
}
