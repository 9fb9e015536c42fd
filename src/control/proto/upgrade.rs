//! What is said of an upgrade in place.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Another program has taken over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upgraded {
    pub program: PathBuf,
    /// The version that served.
    pub from: String,
    /// The version that serves.
    pub to: String,
    /// For so long nobody was served.
    pub seconds: f64,
    /// Of apps; none of them was restarted.
    pub processes: usize,
    /// Of clients; all of them are as they were.
    pub connections: usize,
    /// Those of them that an app had a request of.
    pub requests: usize,
}
