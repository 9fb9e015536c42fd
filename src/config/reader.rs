//! Reads one table of a configuration file: each key is asked for once, with its type; what nobody asked for is unknown. A mistake becomes a
//! finding and the default goes on, so that all mistakes of a file are found at once.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Findings;

/// A value and where it stands.
pub type Value<'t> = &'t Spanned<DeValue<'t>>;

/// One table.
#[derive(Debug)]
pub struct Reader<'t, 'f> {
    table: &'t DeTable<'t>,
    file: usize,
    /// `server`, `app.blog`, `app.blog.queue`: for messages.
    name: String,
    known: Vec<&'static str>,
    findings: &'f mut Findings,
}

impl<'t, 'f> Reader<'t, 'f> {
    pub fn new(table: &'t DeTable<'t>, file: usize, name: impl Into<String>, findings: &'f mut Findings) -> Self {
        Self { table, file, name: name.into(), known: Vec::new(), findings }
    }

    pub fn error(&mut self, span: Range<usize>, message: impl Into<String>, help: Option<&str>) {
        self.findings.add(self.file, span, message, help.map(str::to_owned));
    }

    /// The value of a key, which is known from now on.
    pub fn take(&mut self, key: &'static str) -> Option<Value<'t>> {
        self.known.push(key);
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    /// A sub-table, or nothing.
    pub fn table(&mut self, key: &'static str) -> Option<Reader<'t, '_>> {
        let value = self.take(key)?;
        let Some(table) = value.get_ref().as_table() else {
            self.wrong_type(key, value, "a table");
            return None;
        };
        Some(Reader::new(table, self.file, self.path(key), self.findings))
    }

    pub fn string(&mut self, key: &'static str) -> Option<(&'t str, Range<usize>)> {
        let value = self.take(key)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(key, value, "a string");
        }
        Some((text?, value.span()))
    }

    /// A string, or a list of them.
    pub fn strings(&mut self, key: &'static str) -> Option<Vec<(&'t str, Range<usize>)>> {
        let value = self.take(key)?;
        if let Some(text) = value.get_ref().as_str() {
            return Some(vec![(text, value.span())]);
        }
        let texts =
            value.get_ref().as_array().map(|array| array.iter().map(|item| Some((item.get_ref().as_str()?, item.span()))).collect());
        match texts {
            Some(Some(texts)) => Some(texts),
            Some(None) | None => {
                self.wrong_type(key, value, "a string or a list of strings");
                None
            }
        }
    }

    pub fn duration(&mut self, key: &'static str, default: Duration) -> Duration {
        let Some(value) = self.take(key) else { return default };
        match value.get_ref().as_str().map(duration) {
            Some(Some(duration)) => duration,
            Some(None) | None => {
                let message = format!("{} is no time", self.path(key));
                self.error(value.span(), message, Some("write \"250ms\", \"30s\", \"5m\" or \"1h\""));
                default
            }
        }
    }

    /// Bytes.
    pub fn size(&mut self, key: &'static str, default: u64) -> u64 {
        let Some(value) = self.take(key) else { return default };
        let bytes = match value.get_ref() {
            DeValue::String(text) => size(text),
            DeValue::Integer(number) if number.radix() == 10 => digits(number.as_str()),
            _ => None,
        };
        bytes.unwrap_or_else(|| {
            let message = format!("{} is no size", self.path(key));
            self.error(value.span(), message, Some("write \"64K\", \"512M\", \"1G\" or a number of bytes"));
            default
        })
    }

    pub fn integer(&mut self, key: &'static str, range: std::ops::RangeInclusive<u64>, default: u64) -> u64 {
        let Some(value) = self.take(key) else { return default };
        let Some(number) = value.get_ref().as_integer() else {
            self.wrong_type(key, value, "a number");
            return default;
        };
        match digits(number.as_str()).filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                let message = format!("{} must be from {} to {}", self.path(key), range.start(), range.end());
                self.error(value.span(), message, None);
                default
            }
        }
    }

    /// One of some words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&'static str, T)]) -> Option<T> {
        let (text, span) = self.string(key)?;
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let message = format!("{} cannot be \"{text}\"", self.path(key));
            let help =
                nearest(text, &words).map_or_else(|| format!("one of {}", words.join(", ")), |near| format!("did you mean \"{near}\"?"));
            self.error(span, message, Some(&help));
        }
        found
    }

    pub fn wrong_type(&mut self, key: &str, value: Value<'_>, wanted: &str) {
        let message = format!("{} must be {wanted}, not {}", self.path(key), article(value.get_ref().type_str()));
        self.error(value.span(), message, None);
    }

    /// `server.listen`
    pub fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// All keys have been asked for: the others are unknown. `elsewhere` tells where a key that is known in another place belongs.
    pub fn finish(self, elsewhere: impl Fn(&str) -> Option<&'static str>) {
        let known: HashSet<&str> = self.known.iter().copied().collect();
        for key in self.table.keys().filter(|key| !known.contains(key.get_ref().as_ref())) {
            let name = key.get_ref().as_ref();
            let help = elsewhere(name).map(|place| format!("this key belongs in {place}"));
            let help = help.or_else(|| nearest(name, &self.known).map(|near| format!("did you mean \"{near}\"?")));
            let place = if self.name.is_empty() { "at the top of the file".to_owned() } else { format!("in [{}]", self.name) };
            self.findings.add(self.file, key.span(), format!("unknown key \"{name}\" {place}"), help);
        }
    }
}

/// The known word that a mistyped one probably was meant to be.
pub fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    let distance = |known: &str| strsim::damerau_levenshtein(word, known);
    let near = known.iter().min_by_key(|known| distance(known))?;
    (distance(near) <= 1 + near.len() / 4).then_some(*near)
}

/// `"250ms"`, `"30s"`, `"5m"`, `"1h"`.
pub fn duration(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = (digits(&text[..at])?, &text[at..]);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    // A year: more is a mistake, and sums of instants stay in range.
    number.checked_mul(millis).filter(|millis| *millis <= 366 * 24 * 3_600_000).map(Duration::from_millis)
}

/// `"64K"`, `"512M"`, `"1G"`, `"100"` in bytes.
pub fn size(text: &str) -> Option<u64> {
    let (number, shift) = match text.as_bytes().last()? {
        b'K' | b'k' => (&text[..text.len() - 1], 10),
        b'M' | b'm' => (&text[..text.len() - 1], 20),
        b'G' | b'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits(number)?.checked_mul(1 << shift).filter(|bytes| *bytes <= i64::MAX as u64)
}

/// Digits and nothing else (Rust's own parser takes a sign).
pub fn digits(text: &str) -> Option<u64> {
    let text = text.replace('_', "");
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_digits_with_a_unit() {
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("1h"), Some(Duration::from_secs(3600)));
        for bad in ["", "5", "s", "+5s", "-5s", "5 s", "5S", "1.5s", "99999999999h", "18446744073709551616ms"] {
            assert_eq!(duration(bad), None, "{bad:?}");
        }
        assert_eq!(size("64K"), Some(65_536));
        assert_eq!(size("1G"), Some(1 << 30));
        for bad in ["", "K", "+5", "5T", "5 K", "99999999999G"] {
            assert_eq!(size(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_word_that_is_nearly_known_is_known() {
        assert_eq!(nearest("lisen", &["listen", "control"]), Some("listen"));
        assert_eq!(nearest("proceses", &["processes", "probation"]), Some("processes"));
        assert_eq!(nearest("banana", &["listen", "control"]), None);
    }
}
