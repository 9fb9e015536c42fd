//! How large a record may become: bounded in each entry and as a whole, whatever an app prints and whoever wrote the file.

use std::collections::VecDeque;

use serde::Serialize;

use super::{Entry, OUTPUT, Record};
use crate::printable::{last_of, shorten};

impl Record {
    /// What is oldest goes until the file is at most `FILE` long: first what processes printed, then whole entries.
    pub fn fit(&mut self) {
        let history = std::mem::take(&mut self.history);
        let mut left = FILE.saturating_sub(size(self, 0));
        let (mut kept, mut has_room) = (VecDeque::with_capacity(history.len()), true);
        for mut entry in history.into_iter().rev() {
            has_room = has_room && size(&entry, 2) <= left;
            if !has_room {
                entry.output = Vec::new();
            }
            match left.checked_sub(size(&entry, 2)) {
                Some(rest) => left = rest,
                None => break,
            }
            kept.push_front(entry);
        }
        self.history = kept;
    }
}

impl Entry {
    pub(super) fn bound(&mut self) {
        self.output = last_of(std::mem::take(&mut self.output), OUTPUT);
        shorten(&mut self.message, MESSAGE);
        self.but.iter_mut().for_each(|but| shorten(but, MESSAGE));
    }
}

/// Bytes in the file, so many steps further in; what cannot be written down is told when it is written.
fn size(what: &impl Serialize, depth: usize) -> usize {
    let text = serde_json::to_vec_pretty(what).unwrap_or_default();
    let lines = memchr::memchr_iter(b'\n', &text).count() + 1;
    // And what stands between two.
    text.len() + lines * depth * INDENT + 2
}

/// serde_json's.
const INDENT: usize = 2;
/// A record, written down (bytes).
const FILE: usize = 1024 * 1024;
/// A sentence that names a path or two (bytes).
const MESSAGE: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Generation;

    fn entry(generation: u32, lines: usize) -> Entry {
        Entry {
            at: 0,
            generation: Generation(generation),
            kind: "restart".to_owned(),
            trigger: "command".to_owned(),
            release: None,
            outcome: "failed".to_owned(),
            message: "no \\ ".repeat(10_000),
            but: None,
            seconds: 0.0,
            output: vec!["\\u{1b}".repeat(8190); lines],
        }
    }

    #[test]
    fn a_record_of_failures_that_print_much_is_bounded_and_the_oldest_output_goes_first() {
        let mut record = Record::default();
        for generation in 0..300 {
            let mut entry = entry(generation, 45);
            entry.bound();
            assert!(entry.output.iter().map(String::len).sum::<usize>() <= OUTPUT);
            record.note(entry);
            assert!(serde_json::to_vec_pretty(&record).unwrap().len() <= FILE);
        }
        let newest = record.history.back().unwrap();
        assert!(newest.generation == Generation(299) && !newest.output.is_empty());
        let silent = record.history.iter().take_while(|entry| entry.output.is_empty()).count();
        let spoken = record.history.iter().rev().take_while(|entry| !entry.output.is_empty()).count();
        assert!(silent > 0 && spoken > 10 && silent + spoken == record.history.len(), "{silent} {spoken}");
    }
}
