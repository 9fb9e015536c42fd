//! A walk over one parsed TOML file: tables and values that know their place and collect what is wrong. Core: no I/O.
//!
//! A getter that finds a wrong value notes the mistake and answers with the default, so that one pass finds everything; the caller
//! throws the result away when there was a mistake.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Keys, Role};
use super::load::Reader;
use super::report::{Mistake, Place, Severity, SourceFile};
use super::units;

/// One file and what was found in it. The notes are in a cell because tables and values of one file are walked side by side.
pub struct Source<'t> {
    pub file: &'t SourceFile,
    pub role: Role,
    /// Reads what the file names.
    pub reader: &'t dyn Reader,
    mistakes: RefCell<Vec<Mistake>>,
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("file", &self.file.path).field("mistakes", &self.mistakes).finish_non_exhaustive()
    }
}

impl<'t> Source<'t> {
    pub fn new(file: &'t SourceFile, role: Role, reader: &'t dyn Reader) -> Self {
        Self { file, role, reader, mistakes: RefCell::default() }
    }

    pub fn note(&self, mistake: Mistake) {
        self.mistakes.borrow_mut().push(mistake);
    }

    pub fn place(&self, span: Range<usize>) -> Place {
        Place::of(self.file, span)
    }

    /// Notes so far.
    pub fn count(&self) -> usize {
        self.mistakes.borrow().len()
    }

    /// Of those noted after the first `before`.
    pub fn first_error(&self, before: usize) -> Option<Mistake> {
        self.mistakes.borrow().iter().skip(before).find(|mistake| mistake.severity == Severity::Error).cloned()
    }

    pub fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes.into_inner()
    }
}

/// One table, or the lack of one: then every getter gives the default.
#[derive(Debug)]
pub struct Section<'t> {
    pub source: &'t Source<'t>,
    /// Of its name in the file.
    pub place: Place,
    keys: &'static Keys,
    /// What stands before a key in messages: empty, or `queue.`.
    prefix: String,
    entries: Option<&'t DeTable<'t>>,
}

impl<'t> Section<'t> {
    /// Notes every key of `entries` that is not one of `keys`.
    pub fn new(source: &'t Source<'t>, place: Place, keys: &'static Keys, entries: Option<&'t DeTable<'t>>) -> Self {
        let section = Self { source, place, keys, prefix: String::new(), entries };
        section.note_unknown_keys();
        section
    }

    pub fn get(&self, key: &'static str) -> Option<Value<'t>> {
        debug_assert!(self.keys.has(key), "keys lists {key} in {:?}", self.keys.table);
        let value = self.entries?.get(key)?;
        Some(Value::new(self.source, format!("{}{key}", self.prefix), value))
    }

    /// A table under this one; a value that is no table is noted.
    pub fn table(&self, key: &'static str, keys: &'static Keys) -> Section<'t> {
        self.get(key).map_or_else(
            || Self { source: self.source, place: self.place.clone(), keys, prefix: String::new(), entries: None },
            |value| value.table(keys),
        )
    }

    pub fn duration(&self, key: &'static str, zero: Zero, default: Duration) -> Duration {
        self.get(key).and_then(|value| value.duration(zero)).unwrap_or(default)
    }

    pub fn size(&self, key: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        self.get(key).and_then(|value| value.size(range)).unwrap_or(default)
    }

    /// A whole number in a range that fits `N`.
    pub fn number<N: TryFrom<u64>>(&self, key: &'static str, range: RangeInclusive<u64>, default: N) -> N {
        self.get(key).and_then(|value| value.number(range)).unwrap_or(default)
    }

    pub fn choice<C: Copy>(&self, key: &'static str, choices: &[(&'static str, C)], default: C) -> C {
        self.get(key).and_then(|value| value.choice(choices)).unwrap_or(default)
    }

    pub fn truth(&self, key: &'static str, default: bool) -> bool {
        self.get(key).and_then(|value| value.truth()).unwrap_or(default)
    }

    fn note_unknown_keys(&self) {
        for (key, _) in self.entries.into_iter().flatten() {
            let name: &str = key.get_ref();
            if !self.keys.has(name) {
                let mistake = Mistake::error(self.source.place(key.span()), format!("unknown key {name:?}"));
                self.source.note(mistake.help(keys::advice(name, self.keys, self.source.role)));
            }
        }
    }
}

/// Whether a time may be none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    Allowed,
    Refused,
}

/// One value with the name of its key. Readers return None after noting why.
#[derive(Clone, Debug)]
pub struct Value<'t> {
    pub source: &'t Source<'t>,
    /// `queue.max`.
    pub name: String,
    pub place: Place,
    inner: &'t DeValue<'t>,
}

impl<'t> Value<'t> {
    fn new(source: &'t Source<'t>, name: String, value: &'t Spanned<DeValue<'t>>) -> Self {
        Self { source, name, place: source.place(value.span()), inner: value.get_ref() }
    }

    /// Begins a mistake at this value.
    pub fn error(&self, message: impl Into<String>) -> Mistake {
        Mistake::error(self.place.clone(), message)
    }

    pub fn note(&self, mistake: Mistake) {
        self.source.note(mistake);
    }

    pub fn is_table(&self) -> bool {
        self.inner.is_table()
    }

    pub fn is_array(&self) -> bool {
        self.inner.is_array()
    }

    pub fn is_text(&self) -> bool {
        self.inner.is_str()
    }

    /// As [`Self::table`] for a table that names begin anew in, and that is pointed at by its key. None where it is no table: then there
    /// is no use in missing its keys.
    pub fn table_at(&self, place: Place, keys: &'static Keys) -> Option<Section<'t>> {
        let section = self.table(keys);
        section.entries.is_some().then_some(Section { place, prefix: String::new(), ..section })
    }

    /// An empty section where it is no table.
    pub fn table(&self, keys: &'static Keys) -> Section<'t> {
        let entries = self.inner.as_table();
        if entries.is_none() {
            let known = keys.names().join(", ");
            self.note(self.error(format!("{} is a table, not {}", self.name, self.kind())).help(format!("its keys: {known}")));
        }
        let prefix = format!("{}.", self.name);
        let section = Section { source: self.source, place: self.place.clone(), keys, prefix, entries };
        section.note_unknown_keys();
        section
    }

    /// The entries of a table with keys of the user's choice, in the order of the file: key, its place, value.
    pub fn entries(&self) -> Vec<(&'t str, Place, Value<'t>)> {
        let Some(table) = self.inner.as_table() else {
            self.note(self.error(format!("{} is a table, not {}", self.name, self.kind())));
            return Vec::new();
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let named = |(key, value): (&'t Spanned<_>, _)| -> (&'t str, Place, Value<'t>) {
            let key_text: &std::borrow::Cow<'t, str> = key.get_ref();
            let name = format!("{}.{key_text}", self.name);
            (key_text.as_ref(), self.source.place(key.span()), Value::new(self.source, name, value))
        };
        entries.into_iter().map(named).collect()
    }

    pub fn text(&self) -> Option<&'t str> {
        let text = self.inner.as_str();
        match text {
            None => self.note(self.error(format!("{} is a text in quotes, not {}", self.name, self.kind()))),
            Some("") => self.note(self.error(format!("{} is empty", self.name))),
            Some(text) if text.contains('\0') => self.note(self.error(format!("{} holds a NUL character", self.name))),
            Some(_) => return text,
        }
        None
    }

    /// A text as it is (perhaps empty), a number or a truth value as it is written.
    pub fn as_text(&self) -> Option<String> {
        let text = match self.inner {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(truth) => truth.to_string(),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                self.note(self.error(format!("{} is {}", self.name, self.kind())).help("write it as a text in quotes"));
                return None;
            }
        };
        if text.contains('\0') {
            self.note(self.error(format!("{} holds a NUL character", self.name)));
            return None;
        }
        Some(text)
    }

    /// As [`Self::any_number`]; an empty list is noted.
    pub fn one_or_more(&self) -> Vec<Value<'t>> {
        let items = self.any_number();
        if items.is_empty() {
            self.note(self.error(format!("{} is an empty list", self.name)).help("name at least one, or leave the key out"));
        }
        items
    }

    /// One value, or the items of a list. The items are not read yet.
    pub fn any_number(&self) -> Vec<Value<'t>> {
        let Some(items) = self.inner.as_array() else {
            return vec![self.clone()];
        };
        items.iter().map(|item| Value::new(self.source, self.name.clone(), item)).collect()
    }

    pub fn duration(&self, zero: Zero) -> Option<Duration> {
        if let DeValue::Integer(number) = self.inner {
            let text = units::digits(number.as_str()).map_or("30s".to_owned(), |number| format!("{number}s"));
            self.note(self.error(format!("{} is a time and needs a unit", self.name)).help(format!("write {text:?}")));
            return None;
        }
        let text = self.text()?;
        let time = units::duration(text);
        match time {
            Some(Duration::ZERO) if zero == Zero::Refused => self.note(self.error(format!("{} must be more than no time", self.name))),
            Some(_) => {}
            None => {
                let help = match units::digits(text) {
                    Some(_) => format!("add the unit: \"{text}s\""),
                    None => "a number and a unit, at most a year: \"250ms\", \"30s\", \"5m\" or \"1h\"".to_owned(),
                };
                self.note(self.error(format!("{} is no time: {text:?}", self.name)).help(help));
            }
        }
        time
    }

    pub fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let size = match self.inner {
            DeValue::Integer(_) => self.integer()?,
            DeValue::String(_) => units::size(self.text()?),
            DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                self.note(self.error(format!("{} is a size, not {}", self.name, self.kind())).help(SIZES));
                return None;
            }
        };
        match size {
            Some(size) if range.contains(&size) => return Some(size),
            None if self.is_text() => self.note(self.error(format!("{} is no size: {}", self.name, self.written())).help(SIZES)),
            Some(_) | None => {
                let (least, most) = (units::size_text(*range.start()), units::size_text(*range.end()));
                self.note(self.error(format!("{} must be from {least} to {most}, not {}", self.name, self.written())));
            }
        }
        None
    }

    pub fn number<N: TryFrom<u64>>(&self, range: RangeInclusive<u64>) -> Option<N> {
        let number = self.integer()?;
        let in_range = number.filter(|number| range.contains(number));
        if in_range.is_none() {
            let (least, most) = range.into_inner();
            self.note(self.error(format!("{} must be from {least} to {most}, not {}", self.name, self.written())));
        }
        N::try_from(in_range?).ok()
    }

    /// A whole number that may be negative.
    pub fn signed(&self, range: RangeInclusive<i32>) -> Option<i32> {
        let DeValue::Integer(number) = self.inner else {
            self.note(self.error(format!("{} is a whole number, not {}", self.name, self.kind())));
            return None;
        };
        let in_range = i32::from_str_radix(number.as_str(), number.radix()).ok().filter(|number| range.contains(number));
        if in_range.is_none() {
            let (least, most) = range.into_inner();
            self.note(self.error(format!("{} must be from {least} to {most}, not {}", self.name, self.written())));
        }
        in_range
    }

    pub fn choice<C: Copy>(&self, choices: &[(&'static str, C)]) -> Option<C> {
        let text = self.text()?;
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*choice);
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let help = match keys::nearest(text.trim_start_matches("SIG"), &words) {
            Some((word, _)) => format!("did you mean {word:?}?"),
            None => format!("one of {words:?}").replace(['[', ']'], ""),
        };
        self.note(self.error(format!("{} cannot be {text:?}", self.name)).help(help));
        None
    }

    pub fn truth(&self) -> Option<bool> {
        let truth = self.inner.as_bool();
        if truth.is_none() {
            let mistake = self.error(format!("{} is true or false, not {}", self.name, self.kind()));
            let quoted = self.inner.as_str().filter(|text| matches!(*text, "true" | "false"));
            self.note(match quoted {
                Some(text) => mistake.help(format!("without the quotes: {text}")),
                None => mistake,
            });
        }
        truth
    }

    pub fn absolute_path(&self) -> Option<PathBuf> {
        let path = PathBuf::from(self.text()?);
        if !path.is_absolute() {
            let help = "begin with a slash: rota does not run in the directory you are in now";
            self.note(self.error(format!("{} must be an absolute path", self.name)).help(help));
            return None;
        }
        Some(path)
    }

    /// As [`Self::absolute_path`], and short enough for the address of a Unix socket.
    pub fn socket_path(&self) -> Option<PathBuf> {
        let path = self.absolute_path()?;
        let length = path.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            self.note(self.error(format!("{} is a socket path of {length} bytes; Linux takes {SOCKET_PATH_MAX}", self.name)));
            return None;
        }
        Some(path)
    }

    /// Some(None): a whole number that is negative or has more than 64 bits.
    fn integer(&self) -> Option<Option<u64>> {
        let DeValue::Integer(number) = self.inner else {
            self.note(self.error(format!("{} is a whole number, not {}", self.name, self.kind())));
            return None;
        };
        Some(u64::from_str_radix(number.as_str(), number.radix()).ok())
    }

    /// As in the file.
    fn written(&self) -> &'t str {
        self.place.position.as_ref().map_or("", |position| &self.source.file.text[position.span.clone()])
    }

    fn kind(&self) -> &'static str {
        match self.inner {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time of day",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }
}

const SIZES: &str = "bytes, or a number and a unit: \"64K\", \"512M\" or \"1G\"";

/// `sun_path` of unix(7) holds 108 bytes, the last of them NUL.
pub const SOCKET_PATH_MAX: usize = 107;
