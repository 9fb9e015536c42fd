//! A record as it stands in a file, which a broken disk, an older version and a person with an editor may have written: what no rota can have
//! meant is not understood, and what is too much is cut.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::Path;

use serde::Deserializer;
use serde::de::{SeqAccess, Visitor};

use super::{EARLIER_KEPT, ENTRIES_KEPT, Entry, FORMAT, Record};
use crate::ids::Generation;

/// Why there is no record.
#[derive(Debug)]
pub enum Unread {
    Io(io::Error),
    NotUnderstood(String),
}

/// Not as a whole: one that an older version has written may be large.
pub fn read(file: impl io::Read) -> Result<Record, Unread> {
    let mut record: Record = serde_json::from_reader(file).map_err(|error| match error.io_error_kind() {
        Some(kind) => Unread::Io(io::Error::from(kind)),
        None => Unread::NotUnderstood(error.to_string()),
    })?;
    if record.format != FORMAT {
        return Err(Unread::NotUnderstood(format!("format {} is not understood, {FORMAT} is", record.format)));
    }
    if record.last() > LAST {
        return Err(Unread::NotUnderstood(format!("{} cannot be", record.last())));
    }
    if let Some(long) = record.paths().map(|path| path.as_os_str().len()).find(|length| *length > PATH) {
        return Err(Unread::NotUnderstood(format!("it names a directory by {long} bytes")));
    }
    let surplus = record.earlier.len().saturating_sub(EARLIER_KEPT);
    record.earlier.drain(..surplus);
    record.answered = record.answered.filter(|answered| answered.path.len() <= PATH);
    Ok(record)
}

impl Record {
    /// The highest generation that it names.
    fn last(&self) -> Generation {
        let answered = self.answered.iter().map(|answered| answered.generation);
        self.history.iter().map(|entry| entry.generation).chain(answered).fold(self.generation, Generation::max)
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let single = [Some(&self.root), self.good.as_ref(), self.passed_over.as_ref(), self.tried.as_ref()];
        let all = single.into_iter().flatten().chain(&self.earlier);
        all.chain(self.history.iter().filter_map(|entry| entry.release.as_ref())).map(AsRef::as_ref)
    }
}

/// Each entry is bounded when it is read: a file of a version that kept everything may be a hundred times as long.
pub(super) fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VecDeque<Entry>, D::Error> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = VecDeque<Entry>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("entries")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut kept = VecDeque::new();
            while let Some(mut entry) = entries.next_element::<Entry>()? {
                entry.bound();
                if kept.len() == ENTRIES_KEPT {
                    kept.pop_front();
                }
                kept.push_back(entry);
            }
            Ok(kept)
        }
    }
    deserializer.deserialize_seq(Entries)
}

/// A restart each second for a hundred years: a number beyond it was never given, and the next ones would not fit.
const LAST: Generation = Generation(u32::MAX - (1 << 20));
/// As long as the kernel takes one (path_resolution(7)).
const PATH: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

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

    fn of(record: &Record) -> Result<Record, Unread> {
        read(&*serde_json::to_vec_pretty(record).unwrap())
    }

    #[test]
    fn a_file_of_a_version_that_kept_everything_is_read_and_cut() {
        let history = (0..250).map(|generation| entry(generation, 3)).collect();
        let old = Record { format: FORMAT, history, ..Record::default() };
        assert!(serde_json::to_vec_pretty(&old).unwrap().len() > 30 * 1024 * 1024);
        let read = of(&old).unwrap();
        assert_eq!(read.history.len(), ENTRIES_KEPT);
        let read = read.of_root(&old.root);
        assert_eq!(read.history.back().unwrap().generation, Generation(249));
        assert!(serde_json::to_vec_pretty(&read).unwrap().len() <= 1024 * 1024);
    }

    #[test]
    fn what_no_rota_has_written_is_not_understood_and_too_much_is_cut() {
        let known = || Record { format: FORMAT, ..Record::default() };
        let why = |record: &Record| match of(record) {
            Err(Unread::NotUnderstood(why)) => why,
            other => panic!("{other:?}"),
        };
        let highest = Generation(u32::MAX);
        let cannot_be = "g4294967295 cannot be";
        assert_eq!(why(&Record { generation: highest, ..known() }), cannot_be);
        assert_eq!(why(&Record { history: [entry(u32::MAX, 0)].into(), ..known() }), cannot_be);
        assert_eq!(why(&Record { good: Some("x".repeat(5000).into()), ..known() }), "it names a directory by 5000 bytes");
        let earlier = (0..1000).map(|number| format!("/srv/{number}").into()).collect();
        let many = of(&Record { earlier, ..known() }).unwrap();
        assert_eq!(many.earlier.len(), EARLIER_KEPT);
        assert_eq!(many.earlier.last().unwrap(), Path::new("/srv/999"));
    }
}
