//! The load of the demo: a steady stream of requests from inside, every reply checked.
//!
//! One thread per connection: it plays the visitors and is no part of the server. It only measures; counting is in `tally`.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::client::{Client, Failure};

/// Visitors at work. They leave when it is finished or dropped; either waits for the requests under way, at most the time
/// limit of one.
#[derive(Debug)]
pub struct Load {
    samples: Receiver<Sample>,
    halted: Arc<AtomicBool>,
    visitors: Vec<JoinHandle<()>>,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When it was due. A reply that is late makes the next request late, and that wait counts as well: nothing slow goes unmeasured.
    pub due: Instant,
    pub took: Duration,
    pub answer: Result<Answer, Failure>,
}

/// Who gave a good reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub version: u32,
    /// 1 to N.
    pub process: u16,
}

/// The versions that may answer.
#[derive(Debug, Default)]
pub struct Versions {
    offered: Mutex<Vec<u32>>,
    floor: AtomicU32,
}

impl Versions {
    /// From now on `version` may answer.
    pub fn offer(&self, version: u32) {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).push(version);
    }

    /// Requests sent from now on are to be answered by `version` or a newer one.
    pub fn settle(&self, version: u32) {
        self.floor.store(version, Ordering::SeqCst);
    }

    /// To be read before the request is sent.
    fn floor(&self) -> u32 {
        self.floor.load(Ordering::SeqCst)
    }

    fn judge(&self, version: u32, floor: u32) -> Result<(), Failure> {
        if !self.offered.lock().unwrap_or_else(PoisonError::into_inner).contains(&version) {
            Err(Failure::WrongBody)
        } else if version < floor {
            Err(Failure::OldVersion)
        } else {
            Ok(())
        }
    }
}

impl Load {
    /// Starts [`KEPT`] visitors that keep their connection and [`FRESH`] that make a new one for each request.
    pub fn start(address: SocketAddr, versions: &Arc<Versions>) -> io::Result<Self> {
        let (sender, samples) = mpsc::channel();
        let mut load = Self { samples, halted: Arc::default(), visitors: Vec::new() };
        let visitors = (0..KEPT).map(|n| (n, KEPT, true)).chain((0..FRESH).map(|n| (n, FRESH, false)));
        for (n, of, keep) in visitors {
            let every = if keep { KEPT_EVERY } else { FRESH_EVERY };
            let visitor = Visitor {
                client: Client::new(address, keep),
                every,
                // Spread evenly, so that they do not all come at the same moment.
                first: Instant::now() + every * n / of,
                versions: Arc::clone(versions),
                halted: Arc::clone(&load.halted),
                samples: sender.clone(),
            };
            // A failure here drops `load`, which waits for those already started.
            load.visitors.push(thread::Builder::new().name(format!("visitor {n}")).spawn(move || visitor.stay())?);
        }
        Ok(load)
    }

    /// What has been measured since the last call.
    pub fn samples(&self) -> impl Iterator<Item = Sample> {
        self.samples.try_iter()
    }

    /// No new requests. Waits for those under way and gives what was not yet fetched.
    pub fn finish(mut self) -> Vec<Sample> {
        self.join();
        self.samples.try_iter().collect()
    }

    fn join(&mut self) {
        self.halted.store(true, Ordering::Relaxed);
        for visitor in self.visitors.drain(..) {
            // A visitor that panicked has said so on stderr.
            let _ = visitor.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.join();
    }
}

struct Visitor {
    client: Client,
    every: Duration,
    first: Instant,
    versions: Arc<Versions>,
    halted: Arc<AtomicBool>,
    samples: Sender<Sample>,
}

impl Visitor {
    fn stay(mut self) {
        let mut due = self.first;
        loop {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if self.halted.load(Ordering::Relaxed) {
                return;
            }
            let floor = self.versions.floor();
            let answer = self.client.ask(Instant::now() + REPLY_LIMIT).and_then(|page| {
                self.versions.judge(page.version, floor)?;
                Ok(Answer { version: page.version, process: page.process })
            });
            if self.samples.send(Sample { due, took: due.elapsed(), answer }).is_err() {
                return;
            }
            due += self.every;
        }
    }
}

/// Visitors that keep their connection, 60 requests a second each.
pub const KEPT: u32 = 8;
const KEPT_EVERY: Duration = Duration::from_micros(16_667);
/// Visitors that connect anew for each request, 30 a second each. Together 540 requests a second, a fraction of what one core can do:
/// the demo is about losing none, and has to leave room for the boots on a machine with one core.
pub const FRESH: u32 = 2;
const FRESH_EVERY: Duration = Duration::from_micros(33_333);
/// From sending a request to the end of its reply; a thousand times what the app needs.
const REPLY_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::super::app::{self, Page};
    use super::*;
    use std::net::TcpListener;

    /// The demo's app on a TCP port, as process `1` with whatever version is current.
    fn app(version: &Arc<AtomicU32>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let version = Arc::clone(version);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, version) = (stream.expect("a connection"), Arc::clone(&version));
                thread::spawn(move || app::converse(&mut stream, || Page { version: version.load(Ordering::SeqCst), process: 1, pid: 7 }));
            }
        });
        address
    }

    fn wait_for(load: &Load, wanted: impl Fn(&Sample) -> bool) {
        let limit = Instant::now() + Duration::from_secs(20);
        while !load.samples().any(|sample| wanted(&sample)) {
            assert!(Instant::now() < limit, "it never came");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn an_old_version_fails_only_after_it_was_replaced_and_an_unknown_one_always() {
        let versions = Versions::default();
        versions.offer(1);
        versions.offer(2);
        let before = versions.floor();
        assert_eq!(versions.judge(1, before), Ok(()));
        assert_eq!(versions.judge(3, before), Err(Failure::WrongBody));
        versions.settle(2);
        assert_eq!(versions.judge(1, before), Ok(()), "it was sent before");
        assert_eq!(versions.judge(1, versions.floor()), Err(Failure::OldVersion));
        assert_eq!(versions.judge(2, versions.floor()), Ok(()));
    }

    #[test]
    fn the_load_asks_the_app_and_sees_which_version_answers() {
        let version = Arc::new(AtomicU32::new(1));
        let versions = Arc::new(Versions::default());
        versions.offer(1);
        let load = Load::start(app(&version), &versions).expect("threads");
        wait_for(&load, |sample| sample.answer == Ok(Answer { version: 1, process: 1 }));
        version.store(2, Ordering::SeqCst);
        wait_for(&load, |sample| sample.answer == Err(Failure::WrongBody));
        versions.offer(2);
        wait_for(&load, |sample| sample.answer == Ok(Answer { version: 2, process: 1 }));
        versions.settle(3);
        wait_for(&load, |sample| sample.answer == Err(Failure::OldVersion));
        load.finish();
    }
}
