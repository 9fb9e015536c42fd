//! All threads that have something to leave stand still, so that what they have is one picture: each is told to stand, says that it does, saves when
//! it is its turn, and goes on when it is told to. A program that is executed in between is the end of all of them (execve(2)).
//!
//! Nobody sends anything to anybody while all stand; what was sent before lies in mailboxes, and is saved with them.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde::Serialize;
use serde_json::value::RawValue;

use super::carrier::Carrier;
use super::pack::Pack;
use crate::moment;

/// What a thread has saved.
#[derive(Debug)]
pub struct Part {
    /// How many descriptors it has sent.
    pub fds: u32,
    pub state: Box<RawValue>,
}

/// What a thread has to leave.
pub trait Leaves {
    type Saved<'a>: Serialize
    where
        Self: 'a;

    /// What lies in its mailbox, which gets no more, is its own from now on.
    fn gather(&mut self);

    /// Err: it has not all in its hands just now.
    fn save<'a>(&'a self, pack: &mut Pack<'a>) -> Result<Self::Saved<'a>, String>;
}

#[derive(Debug)]
enum Order {
    Save(Arc<Carrier>, Instant),
    GoOn,
}

/// For a thread, which stands by it.
#[derive(Debug)]
pub struct Still {
    stands: Sender<()>,
    orders: Receiver<Order>,
    saved: Sender<Result<Part, String>>,
}

/// For whoever tells it.
#[derive(Debug)]
pub struct Standing {
    stands: Receiver<()>,
    orders: Sender<Order>,
    saved: Receiver<Result<Part, String>>,
}

pub fn stand() -> (Still, Standing) {
    let ((stands, does), (orders, orders_of), (saved, saved_by)) = (bounded(1), bounded(1), bounded(1));
    (Still { stands, orders: orders_of, saved }, Standing { stands: does, orders, saved: saved_by })
}

impl Still {
    /// Until it is told to go on, or whoever told it to stand is gone.
    pub fn keep(self, thread: &mut impl Leaves) {
        if self.stands.send(()).is_err() {
            return;
        }
        while let Ok(Order::Save(carrier, reference)) = self.orders.recv() {
            thread.gather();
            let _ = self.saved.send(save(thread, &carrier, reference));
        }
    }
}

/// Saves what a thread has: its descriptors are sent, its state is given. Nothing of it is changed.
pub fn save<T: Leaves>(thread: &T, carrier: &Carrier, reference: Instant) -> Result<Part, String> {
    let mut pack = Pack::default();
    let saved = thread.save(&mut pack)?;
    let state = moment::counted_from(reference, || serde_json::value::to_raw_value(&saved)).map_err(|error| error.to_string())?;
    carrier.descriptors(pack.fds()).map_err(|error| format!("{} descriptors: {error}", pack.fds().len()))?;
    Ok(Part { fds: pack.fds().len() as u32, state })
}

impl Standing {
    /// It stands. Err: it does not by `until`, or it has ended.
    pub fn wait(&self, until: Instant) -> Result<(), &'static str> {
        self.stands.recv_deadline(until).map_err(|error| match error {
            RecvTimeoutError::Timeout => "does not stand still",
            RecvTimeoutError::Disconnected => "has ended",
        })
    }

    /// Its part, which it has sent the descriptors of.
    pub fn save(&self, carrier: &Arc<Carrier>, reference: Instant) -> Result<Part, String> {
        self.orders.send(Order::Save(carrier.clone(), reference)).map_err(|_| "has ended".to_owned())?;
        self.saved.recv().map_err(|_| "has ended".to_owned())?
    }

    pub fn go_on(self) {
        let _ = self.orders.send(Order::GoOn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    struct Counter(u32, std::fs::File);

    impl Leaves for Counter {
        type Saved<'a> = u32;

        fn gather(&mut self) {
            self.0 += 1;
        }

        fn save<'a>(&'a self, pack: &mut Pack<'a>) -> Result<u32, String> {
            pack.put(std::os::fd::AsFd::as_fd(&self.1));
            Ok(self.0)
        }
    }

    #[test]
    fn a_thread_stands_saves_and_goes_on() {
        let (still, standing) = stand();
        let thread = std::thread::spawn(move || {
            let mut counter = Counter(7, std::fs::File::open("/dev/null").unwrap());
            still.keep(&mut counter);
            counter.0
        });
        standing.wait(Instant::now() + Duration::from_secs(20)).unwrap();
        let (carrier, from) = Carrier::pair().unwrap();
        let carrier = Arc::new(carrier);
        let part = standing.save(&carrier, Instant::now()).unwrap();
        assert_eq!((part.fds, part.state.get()), (1, "8"));
        standing.go_on();
        assert_eq!(thread.join().unwrap(), 8);
        drop(carrier);
        assert_eq!(crate::upgrade::carrier::Received::read(&from).unwrap().descriptors.len(), 1);
    }

    #[test]
    fn one_that_does_not_stand_or_has_ended_is_told_from_the_other() {
        let (still, standing) = stand();
        assert_eq!(standing.wait(Instant::now() + Duration::from_millis(1)), Err("does not stand still"));
        drop(still);
        assert_eq!(standing.wait(Instant::now() + Duration::from_secs(20)), Err("has ended"));
    }
}
