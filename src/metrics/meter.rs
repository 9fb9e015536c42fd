//! The tallies of an app: one that anybody writes, and one for each thread that writes alone. They belong to the app: a process that goes leaves its
//! tally to one that comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use super::tally::{End, Sums, Tally, Together};
use crate::conn::Request;
use crate::http::refusal::Refusal;
use crate::ids::GroupId;

#[derive(Debug, Default)]
pub struct Meter {
    together: Tally,
    /// As many as threads of the app have lived at a time.
    places: ArcSwap<Vec<Arc<Place>>>,
}

#[derive(Debug, Default)]
struct Place {
    tally: Tally,
    is_taken: AtomicBool,
}

/// A tally that one thread has alone, until this is dropped.
#[derive(Debug)]
pub struct Share {
    pub group: GroupId,
    place: Arc<Place>,
}

impl Meter {
    /// For the calling thread to count alone.
    pub fn share(&self, group: GroupId) -> Share {
        let takes = |place: &&Arc<Place>| !place.is_taken.swap(true, Ordering::AcqRel);
        let place = self.places.load().iter().find(takes).cloned().unwrap_or_else(|| {
            let new = Arc::new(Place { tally: Tally::default(), is_taken: AtomicBool::new(true) });
            self.places.rcu(|places| places.iter().chain([&new]).cloned().collect::<Vec<_>>());
            new
        });
        Share { group, place }
    }

    /// By a thread that counts for many apps.
    pub fn count(&self, request: &Request, end: &End) {
        self.together.count::<Together>(request, end);
    }

    /// rota has answered from a file what is no request to whoever logs.
    pub fn sends_file(&self, status: u16, bytes: u64) {
        self.together.sends_file(status, bytes);
    }

    pub fn refuse(&self, refusal: &Refusal) {
        self.together.refuse(refusal);
    }

    /// All that was counted.
    pub fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        self.together.read(&mut sums);
        self.places.load().iter().for_each(|place| place.tally.read(&mut sums));
        sums
    }

    /// Goes on from what was counted before.
    pub fn put_back(&self, sums: &Sums) {
        self.together.put_back(sums);
    }
}

impl Share {
    #[inline]
    pub fn tally(&self) -> &Tally {
        &self.place.tally
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.place.is_taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_the_tally_of_another_and_what_was_counted_stays() {
        let meter = Meter::default();
        let (one, two) = (meter.share(GroupId(0)), meter.share(GroupId(0)));
        assert!(!Arc::ptr_eq(&one.place, &two.place));
        one.tally().refuse(&Refusal::QueueFull);
        two.tally().refuse(&Refusal::QueueFull);
        meter.refuse(&Refusal::QueueFull);
        drop(one);
        let three = meter.share(GroupId(0));
        three.tally().refuse(&Refusal::QueueFull);
        assert_eq!((meter.places.load().len(), meter.sums().causes[Refusal::QueueFull.number()]), (2, 4));
        drop((two, three));
    }
}
