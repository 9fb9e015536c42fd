//! Handing something to another event loop: a channel and a `Waker` as one thing.
//!
//! The sender wakes the receiver only when that sleeps: [`Inbox::before_sleep`] says so and then looks once more, so that a message sent in
//! between is found by one side or the other. Sending is no system call and may be done under the table's lock; [`Wake::wake`] is one
//! and is done after it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender};
use mio::{Registry, Token, Waker};

/// The sending side; cheap to clone.
#[derive(Debug)]
pub struct Mailbox<T> {
    messages: Sender<T>,
    wake: Wake,
    turns: Arc<AtomicU64>,
}

/// The receiving side, owned by the event loop.
#[derive(Debug)]
pub struct Inbox<T> {
    messages: Receiver<T>,
    asleep: Arc<AtomicBool>,
    /// How many times it woke.
    turns: Arc<AtomicU64>,
    /// With the last sender the wake-up would go too, even one that has been given (eventfd(2): closed is gone from the poll).
    _waker: Arc<Waker>,
}

/// A wake-up that is owed to a receiver.
#[must_use = "the receiver may be asleep"]
#[derive(Clone, Debug)]
pub struct Wake {
    asleep: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

/// Makes both sides; the waker's events come with `token`.
pub fn mailbox<T>(registry: &Registry, token: Token) -> io::Result<(Mailbox<T>, Inbox<T>)> {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let asleep = Arc::new(AtomicBool::new(false));
    let waker = Arc::new(Waker::new(registry, token)?);
    let wake = Wake { asleep: asleep.clone(), waker: waker.clone() };
    let turns = Arc::new(AtomicU64::new(0));
    let mailbox = Mailbox { messages: sender, wake, turns: turns.clone() };
    Ok((mailbox, Inbox { messages: receiver, asleep, turns, _waker: waker }))
}

impl<T> Mailbox<T> {
    /// Puts a message in. A receiver that is gone gives it back.
    pub fn send(&self, message: T) -> Result<Wake, T> {
        match self.messages.send(message) {
            Ok(()) => Ok(self.wake.clone()),
            Err(refused) => Err(refused.0),
        }
    }

    /// The turn that the receiver is in. None: it sleeps.
    pub fn turn(&self) -> Option<u64> {
        (!self.wake.asleep.load(Ordering::Relaxed)).then(|| self.turns.load(Ordering::Relaxed))
    }

    /// A wake-up without a message.
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self { messages: self.messages.clone(), wake: self.wake.clone(), turns: self.turns.clone() }
    }
}

impl Wake {
    /// Wakes the receiver unless it is awake and will look anyway.
    pub fn wake(self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            // The only cause is a counter that is full, and then the receiver wakes.
            log::debug!("waking an event loop: {error}");
        }
    }
}

impl<T> Inbox<T> {
    /// Says that the loop is about to sleep. True: something has come in meanwhile, do not sleep.
    pub fn before_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        !self.messages.is_empty()
    }

    /// The loop is awake: whoever sends now need not wake it.
    pub fn after_sleep(&self) {
        // Nobody else writes it.
        self.turns.store(self.turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.asleep.store(false, Ordering::SeqCst);
    }

    pub fn take(&self) -> Option<T> {
        self.messages.try_recv().ok()
    }
}

/// What a poll gave: true: a signal ended it, and there are no events (epoll_wait(2)). Without a poll a loop cannot go on.
pub fn slept(polled: io::Result<()>) -> bool {
    match polled {
        Ok(()) => false,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
        Err(error) => panic!("epoll_wait: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::time::Duration;

    #[test]
    fn a_message_to_a_sleeping_loop_wakes_it_once() {
        let mut poll = Poll::new().unwrap();
        let (mailbox, inbox) = mailbox::<u32>(poll.registry(), Token(9)).unwrap();
        assert!(!inbox.before_sleep());
        let sender = std::thread::spawn(move || {
            mailbox.send(1).unwrap().wake();
            mailbox.send(2).unwrap().wake();
        });
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
        assert_eq!(events.iter().map(|event| event.token()).collect::<Vec<_>>(), [Token(9)]);
        sender.join().unwrap();
        inbox.after_sleep();
        assert_eq!((inbox.take(), inbox.take(), inbox.take()), (Some(1), Some(2), None));
    }

    #[test]
    fn a_message_that_came_before_the_sleep_is_seen() {
        let poll = Poll::new().unwrap();
        let (mailbox, inbox) = mailbox::<u32>(poll.registry(), Token(9)).unwrap();
        mailbox.send(1).unwrap().wake();
        assert!(inbox.before_sleep());
    }

    #[test]
    fn a_receiver_that_is_gone_gives_the_message_back() {
        let poll = Poll::new().unwrap();
        let (mailbox, inbox) = mailbox::<u32>(poll.registry(), Token(9)).unwrap();
        drop(inbox);
        assert_eq!(mailbox.send(5).unwrap_err(), 5);
    }
}
