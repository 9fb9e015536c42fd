//! The threads that look after the files of apps: started with each app that there is, and anew where one could not be started, or its app has
//! another user. On the restart thread, which has the rights that they give up.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Restart;
use crate::errands::{files, lookout};
use crate::ids::GroupId;
use crate::table::Shared;

/// Starts the thread of an app, if it has to have one and has none.
type Start = fn(&Arc<Shared>, GroupId) -> io::Result<()>;

impl Restart {
    /// Starts those that are missing.
    pub(super) fn tend(&mut self) {
        let kinds: [(&str, Start); 2] = [("watches its files", lookout::start), ("opens its files", files::start)];
        self.tend_at = None;
        for (group, app) in self.shared.catalog().apps() {
            for (what, start) in kinds {
                if let Err(error) = start(&self.shared, group) {
                    log::error!("{}: a thread that {what}: {error}; tried again in {} s", app.name, AGAIN.as_secs());
                    self.tend_at = Some(Instant::now() + AGAIN);
                }
            }
        }
    }
}

const AGAIN: Duration = Duration::from_secs(10);
