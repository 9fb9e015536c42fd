//! The record of the app on the disk, as a reader who knows nothing of rota's code finds it.

use std::fs;

use crate::site::Site;

/// `state_dir/app.json`. Releases by their versions: the last part of their directories.
#[derive(Clone, Debug)]
pub struct Record {
    pub generation: u64,
    pub good: Option<String>,
    pub earlier: Vec<String>,
    pub passed_over: Option<String>,
    pub tried: Option<String>,
    pub history: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub generation: u64,
    pub kind: String,
    pub trigger: String,
    pub release: Option<String>,
    pub outcome: String,
}

impl Record {
    /// Err: it is not there, or not whole.
    pub fn read(site: &Site) -> Result<Self, String> {
        let bytes = fs::read(site.path("state/app.json")).map_err(|error| format!("app.json: {error}"))?;
        let json: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| format!("app.json: {error}:\n{}", String::from_utf8_lossy(&bytes)))?;
        if site.path("state/app.json.bad").exists() {
            return Err("a record was moved aside".to_owned());
        }
        Self::of(&json).ok_or_else(|| format!("app.json has not what it should: {json}"))
    }

    fn of(json: &serde_json::Value) -> Option<Self> {
        let entry = |entry: &serde_json::Value| {
            Some(Entry {
                generation: entry["generation"].as_u64()?,
                kind: entry["kind"].as_str()?.to_owned(),
                trigger: entry["trigger"].as_str()?.to_owned(),
                release: version(&entry["release"]),
                outcome: entry["outcome"].as_str()?.to_owned(),
            })
        };
        Some(Self {
            generation: json["generation"].as_u64()?,
            good: version(&json["good"]),
            earlier: json["earlier"].as_array()?.iter().filter_map(version).collect(),
            passed_over: version(&json["passed_over"]),
            tried: version(&json["tried"]),
            history: json["history"].as_array()?.iter().map(entry).collect::<Option<_>>()?,
        })
    }

    /// A release that root names now and nobody has asked for.
    pub fn is_new(&self, version: &str) -> bool {
        [&self.good, &self.passed_over, &self.tried].into_iter().all(|known| known.as_deref() != Some(version))
    }

    /// Generations in the history rise: none is told twice. Err: those that do not.
    pub fn check_history(&self) -> Result<(), String> {
        let wrong = self.history.windows(2).find(|pair| pair[0].generation >= pair[1].generation);
        wrong.map_or(Ok(()), |pair| Err(format!("the history is out of order, or tells one walk twice: {pair:?}")))
    }
}

fn version(path: &serde_json::Value) -> Option<String> {
    path.as_str().and_then(|path| path.rsplit('/').next()).map(str::to_owned)
}
