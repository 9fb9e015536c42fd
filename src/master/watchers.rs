//! For those who watch rota and decide where requests go: what there is of requests, and the wicket where they ask.

use std::time::{Duration, Instant};

use super::operator::Operations;
use crate::catalog::Catalog;
use crate::control::proto::{Traffic, seconds};
use crate::pool::Group;
use crate::wicket::{self, ToWicket};

impl Operations {
    /// Whoever waits for quiet asks again and again, so that a request that had no process, as one for a file, is seen to have ended since.
    pub(super) fn traffic(&mut self, now: Instant) -> Traffic {
        let ended = self.shared.catalog().ledgers().map(|(_, app)| app.ledger.meter.sums().answers.iter().sum::<u64>()).sum();
        if self.ended.0 != ended {
            self.ended = (ended, now);
        }
        let state = self.shared.table.lock();
        let requests = state.pool.groups().map(Group::sessions).sum();
        let waiting = state.pool.groups().map(Group::queue_len).sum();
        let last = state.pool.groups().filter_map(Group::last_used).max();
        drop(state);
        let is_quiet = requests == 0 && waiting == 0;
        let since = last.map_or(self.ended.1, |last| last.max(self.ended.1));
        let quiet = if is_quiet { now.saturating_duration_since(since) } else { Duration::ZERO };
        Traffic { requests, waiting, connections: self.shared.connections.open(), quiet_seconds: seconds(quiet) }
    }

    /// What is asked of rota itself is asked where the configuration in force says.
    pub(super) fn open_wicket(&mut self, catalog: &Catalog) {
        match &self.wicket {
            Some(wicket) => {
                if let Ok(wake) = wicket.send(ToWicket::Reloaded) {
                    wake.wake();
                }
            }
            None if wicket::is_wanted(catalog) => match wicket::start(self.shared.clone(), self.sampler.clone()) {
                Ok(mailbox) => self.wicket = Some(mailbox),
                Err(error) => log::error!("thread rota-wicket: {error}; nothing is asked there; the next rota reload tries it again"),
            },
            None => {}
        }
    }
}
