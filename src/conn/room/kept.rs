//! Room that a body had in the rota before this one.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Claimant, Holder, Holding, SpoolSpace};

impl SpoolSpace {
    /// A place in the books for so many bytes that are in a file already: they are not refused, however little room there is. `is_whole`: all of
    /// the body has come.
    pub fn enter_again(self: &Arc<Self>, claimant: &Claimant, bytes: u64, is_whole: bool) -> Holding {
        let holder = Arc::new(Holder::new(*claimant, self.place_of(claimant.visitor)));
        let counted = bytes.max(self.least.load(Relaxed));
        self.used.fetch_add(counted, Relaxed);
        self.count(&holder, |used| used.fetch_add(counted, Relaxed));
        self.bytes.fetch_add(bytes, Relaxed);
        holder.bytes.store(bytes, Relaxed);
        holder.is_whole.store(is_whole, Relaxed);
        self.hold(holder, bytes)
    }
}

impl Holding {
    pub fn claimant(&self) -> Claimant {
        self.holder.claimant
    }

    /// All of the body has come.
    pub fn has_all(&self) -> bool {
        self.holder.is_whole.load(Relaxed)
    }
}
