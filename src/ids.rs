//! Names of the things rota keeps books on. Each prints itself the same way in the log, the status and errors.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Name of an app: 1 to 32 of `a-z 0-9 - _`, beginning with a letter or digit. It is part of socket paths (107 bytes at most), hence the bound.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppName(Arc<str>);

/// Why a text is no app name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadAppName(String);

impl AppName {
    pub fn new(text: &str) -> Result<Self, BadAppName> {
        let bytes = text.as_bytes();
        let well_formed = (1..=32).contains(&bytes.len())
            && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
            && bytes[0].is_ascii_alphanumeric();
        if well_formed { Ok(Self(Arc::from(text))) } else { Err(BadAppName(text.to_owned())) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for BadAppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is no app name: 1 to 32 of a-z, 0-9, - and _, beginning with a letter or digit", self.0)
    }
}

impl std::error::Error for BadAppName {}

impl TryFrom<String> for AppName {
    type Error = BadAppName;
    fn try_from(text: String) -> Result<Self, BadAppName> {
        Self::new(&text)
    }
}

impl From<AppName> for String {
    fn from(name: AppName) -> String {
        name.0.to_string()
    }
}

/// Number of the restart that a process was started by; the first start is 1.
#[derive(Default, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl Generation {
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}", self.0)
    }
}

/// Place of a process in its group, 1 to N. A replacement takes the number of the one it replaces.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Number(pub u16);

impl Number {
    /// The first of a group's numbers is its leader's.
    pub fn is_leader(self) -> bool {
        self.0 == 1
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Index of a group in the pool.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupId(pub u16);

impl GroupId {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One OS process of an app for as long as rota runs: serials are never used again, so a stale id finds nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ProcessId {
    pub group: GroupId,
    pub serial: u32,
}

/// What people call a process: `blog/2 g7`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ProcessName {
    pub app: AppName,
    pub number: Number,
    pub generation: Generation,
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {}", self.app, self.number, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_name_is_short_and_plain() {
        for good in ["blog", "a", "9lives", "shop-eu_2"] {
            assert_eq!(AppName::new(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(33);
        for bad in ["", "-a", "_a", "Blog", "a/b", "a.b", "..", "a b", long.as_str()] {
            assert!(AppName::new(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_process_name_reads_as_in_the_log() {
        let name = ProcessName { app: AppName::new("blog").unwrap(), number: Number(2), generation: Generation(7) };
        assert_eq!(name.to_string(), "blog/2 g7");
    }
}
