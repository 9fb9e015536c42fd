//! When rota is killed: after a time, or in the middle of writing its record, which is where acceptance happens.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use crate::seed::Rng;

/// What is waited for, and how long after it the kill comes.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// That long after the command was given.
    After(Duration),
    /// That long after an event on the record's file, the how-manieth of its kind.
    Write { nth: u64, event: Event, then: Duration },
    /// That long after the command said how it ended.
    Told(Duration),
}

/// What happens to the record: the new file is created, closed after its fsync, and takes the old one's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Created,
    Closed,
    Renamed,
}

impl Moment {
    /// `usual`: what a deployment takes.
    pub fn choose(rng: &mut Rng, usual: Duration) -> Self {
        let micros = |rng: &mut Rng, to: Duration| Duration::from_micros(rng.within(0, to.as_micros() as u64));
        match rng.within(0, 99) {
            0..50 => Moment::After(micros(rng, usual * 5 / 4)),
            50..90 => {
                // The first write says that the walk began, the second how it ended.
                let nth = if rng.percent(25) { 1 } else { 2 };
                let event = rng.pick(&[Event::Created, Event::Closed, Event::Renamed]).unwrap();
                Moment::Write { nth, event, then: if rng.percent(30) { Duration::ZERO } else { micros(rng, BURST) } }
            }
            _ => Moment::Told(micros(rng, BURST)),
        }
    }
}

/// A watch on the directory of the record. To be made before the command is given.
#[derive(Debug)]
pub struct Writes(OwnedFd);

impl Writes {
    pub fn of(directory: &Path) -> Self {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).expect("inotify");
        inotify::add_watch(&fd, directory, WatchFlags::CREATE | WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO).expect("inotify watch");
        Self(fd)
    }

    /// Waits for the `nth` event of this kind, at most for `limit`.
    pub fn wait(&self, nth: u64, wanted: Event, limit: Duration) {
        let (end, mut seen) = (Instant::now() + limit, 0);
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut reader = Reader::new(&self.0, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let is_it = match wanted {
                        // The temporary file is left over after a kill, and then only opened.
                        Event::Created => event.events().contains(ReadFlags::CREATE),
                        Event::Closed => event.events().contains(ReadFlags::CLOSE_WRITE),
                        Event::Renamed => event.events().contains(ReadFlags::MOVED_TO),
                    };
                    seen += u64::from(is_it);
                    if seen == nth {
                        return;
                    }
                }
                Err(rustix::io::Errno::AGAIN) => {
                    let left = end.saturating_duration_since(Instant::now());
                    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
                    let ready = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)).unwrap_or(0);
                    if ready == 0 && left.is_zero() {
                        return;
                    }
                }
                Err(error) => panic!("inotify: {error}"),
            }
        }
    }
}

/// A write of the record takes a fraction of this.
const BURST: Duration = Duration::from_millis(3);
