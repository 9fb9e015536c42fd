//! What waits in the queues of the apps: its clients are watched here.

use super::Master;
use crate::dispatch;
use crate::http::refusal::Refusal;
use crate::pool::WaitId;

impl Master {
    /// The client of a waiting request has sent its last, and is taken for one that has left. Bytes behind the request are nothing to us; its end
    /// is. A request that is no longer in the queue is not found: fine. A client that only is done sending looks the same over TCP as one that has
    /// closed, until something is written to it, and what waits here has nothing to be written. Of the two it is taken for the one that has left:
    /// browsers and proxies close by the thousand when an app is slow, and an app that works its way through requests that nobody waits for gets no
    /// faster.
    pub(super) fn leaves_queue(&mut self, id: WaitId) {
        let mut state = self.shared.table.lock();
        let mut groups = state.pool.groups_mut();
        let left = groups.find_map(|group| group.leave(id).map(|conn| (conn, group.wakes_restart(self.desk.now))));
        drop(groups);
        drop(state);
        if left.is_some_and(|(_, wakes)| wakes) {
            self.shared.table.notify();
        }
    }

    /// Answers the requests that have waited too long.
    pub(super) fn queues(&mut self) {
        let mut state = self.shared.table.lock();
        let (mut old, mut wakes) = (Vec::new(), false);
        for group in state.pool.groups_mut() {
            let expired = group.expire(self.desk.now);
            wakes |= !expired.is_empty() && group.wakes_restart(self.desk.now);
            old.extend(expired);
        }
        drop(state);
        if wakes {
            self.shared.table.notify();
        }
        for conn in old {
            let Some(conn) = dispatch::unwatch(&self.shared, conn) else { continue };
            let key = self.put_back(conn);
            self.refuse(key, &Refusal::QueueTimeout);
        }
    }
}
