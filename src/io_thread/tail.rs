//! The last lines that a process printed, for reports of its end: few in number and in bytes, whatever it prints.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::printable::{fold, shorten};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tail {
    /// Oldest first.
    lines: VecDeque<String>,
    bytes: usize,
}

impl Tail {
    pub fn push(&mut self, mut line: String) {
        shorten(&mut line, LINE);
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES || self.bytes > BYTES {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len());
        }
    }

    /// What repeats itself is there once.
    pub fn lines(&self) -> Vec<String> {
        fold(&Vec::from(self.lines.clone()))
    }
}

/// A traceback of the usual length.
const LINES: usize = 40;
/// Escapes make a control character up to six bytes long.
const BYTES: usize = crate::records::OUTPUT;
const LINE: usize = BYTES / 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_bytes_are_bounded_and_the_last_ones_stay() {
        let mut tail = Tail::default();
        for number in 0..100 {
            tail.push(format!("{}{number}", "\\u{1b}".repeat(8190)));
        }
        assert!(tail.bytes <= BYTES && tail.lines().iter().map(String::len).sum::<usize>() <= BYTES);
        for word in ["a", "b", "c"].iter().cycle().take(300) {
            tail.push(format!("{word}{}", tail.lines.len()));
        }
        assert_eq!(tail.lines.len(), LINES);
        assert_eq!(tail.bytes, tail.lines.iter().map(String::len).sum::<usize>());
        tail.push("the end".to_owned());
        assert_eq!(tail.lines().last().map(String::as_str), Some("the end"));
    }
}
