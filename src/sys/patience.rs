//! What /proc says of a process's environment and pages is read under a lock of its memory, which the process can hold for as long as it likes: by
//! a page of a file system of its own that never answers, and a change of its memory that waits behind that. Whoever reads it waits a moment and
//! no longer. The thread that does not come back ends with that process, which is not asked again meanwhile; what others are asked has places of
//! its own. What was not read is [`Said::Unknown`], and no number.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender};

use super::stat::start_of;
use super::table_of_its_own;
use crate::credentials::Rights;
use crate::seccomp;

/// A process: its number and its start.
type Whom = (u32, u64);

/// Who pays when one of its processes does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// What comes of this leader.
    Unit(u32),
    /// Orphans of a user: whose they are is yet to be found out.
    User(u32),
}

/// What came of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Text(Vec<u8>),
    /// There is no such process any more.
    Gone,
    /// It may not be read, or the kernel has no such file, now and later.
    Refused,
    /// It does not come, or rota lacks what it takes to read it.
    Unknown,
}

/// The beginning of /proc/PID/`file` of a process.
pub fn read(whom: Whom, whose: Whose, file: &'static str, most: u64) -> Said {
    thread_local! {
        static READS: RefCell<Reads> = RefCell::default();
    }
    READS.with_borrow_mut(|reads| reads.wait_for(whom, whose, move || look(whom, file, most))).unwrap_or(Said::Unknown)
}

fn look(whom: Whom, file: &str, most: u64) -> Said {
    let read = || -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        File::open(format!("/proc/{}/{file}", whom.0))?.take(most).read_to_end(&mut text)?;
        Ok(text)
    };
    let read = read();
    // Behind it: if it is still the one that was meant, it was so in between.
    let is_it = || start_of(whom.0) == Some(whom.1);
    match read {
        Ok(text) if is_it() => Said::Text(text),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) && is_it() => Said::Refused,
        Ok(_) => Said::Gone,
        Err(error) if error.kind() == ErrorKind::NotFound || is_gone(&error) => Said::Gone,
        Err(_) => Said::Unknown,
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

type Job = Box<dyn FnOnce() + Send>;

/// Those that one thread has asked for.
#[derive(Debug, Default)]
struct Reads {
    /// Of those that have not come back.
    late: Vec<Late>,
    /// Before this nobody waits for any of theirs as long again.
    rests: Vec<(Whose, Instant)>,
    /// A thread that this one has started, and that has come back.
    reader: Option<Sender<Job>>,
}

#[derive(Debug)]
struct Late {
    whom: Whom,
    whose: Whose,
    is_back: Arc<AtomicBool>,
}

impl Reads {
    /// None: it takes too long, or too many of its have not come back.
    fn wait_for<T: Send + 'static>(&mut self, whom: Whom, whose: Whose, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let patience = self.patience(whom, whose)?;
        let (done, answer) = crossbeam_channel::bounded(1);
        let back = Arc::new(AtomicBool::new(false));
        let is_back = back.clone();
        let job = Box::new(move || {
            let _ = done.send(work());
            back.store(true, Ordering::Release);
        });
        let reader = self.hand_over(job).ok()?;
        match answer.recv_timeout(patience) {
            Ok(result) => {
                self.reader = Some(reader);
                Some(result)
            }
            Err(RecvTimeoutError::Timeout) => {
                self.late.push(Late { whom, whose, is_back });
                self.rests.push((whose, Instant::now() + REST));
                None
            }
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// How long to wait. None: not at all.
    fn patience(&mut self, whom: Whom, whose: Whose) -> Option<Duration> {
        let now = Instant::now();
        self.late.retain(|late| !late.is_back.load(Ordering::Acquire));
        self.rests.retain(|(_, until)| *until > now);
        let is_away = self.late.iter().any(|late| late.whom == whom);
        if is_away || self.late.iter().filter(|late| late.whose == whose).count() >= MOST {
            return None;
        }
        Some(if self.rests.iter().any(|(resting, _)| *resting == whose) { LESS } else { PATIENCE })
    }

    /// To the thread that has come back, or to a new one; gives whom it was handed to.
    fn hand_over(&mut self, job: Job) -> io::Result<Sender<Job>> {
        let job = match self.reader.take() {
            Some(reader) => match reader.send_timeout(job, TURN) {
                Ok(()) => return Ok(reader),
                Err(SendTimeoutError::Timeout(job) | SendTimeoutError::Disconnected(job)) => job,
            },
            None => job,
        };
        // Without a place to wait in: what is handed over is in hand, and not lost when the thread ends just now.
        let (reader, jobs) = crossbeam_channel::bounded(0);
        std::thread::Builder::new().name("proc".to_owned()).stack_size(STACK).spawn(move || work_off(&jobs))?;
        reader.send(job).map_err(|_| ErrorKind::BrokenPipe)?;
        Ok(reader)
    }
}

fn work_off(jobs: &Receiver<Job>) {
    // One that does not come back would keep all that rota has open, behind its end too.
    table_of_its_own();
    Rights::Sampler.keep_or_warn();
    seccomp::restrict();
    while let Ok(job) = jobs.recv_timeout(IDLE) {
        job();
    }
}

/// A read takes microseconds; one of many gigabytes' page tables some hundred milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);
/// For those of whom another has just taken longer, so that nobody's processes take more than a tenth of the time of whoever asks.
const LESS: Duration = Duration::from_millis(20);
const REST: Duration = Duration::from_secs(5);
/// Of each that pays.
const MOST: usize = 8;
/// One look asks many, one after the other.
const IDLE: Duration = Duration::from_secs(1);
/// For a thread that has given its answer to wait for the next question.
const TURN: Duration = Duration::from_millis(20);
const STACK: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use std::fs;

    /// One that does not come back until the end of the sender.
    fn stuck(reads: &mut Reads, whom: Whom, whose: Whose, until: &Receiver<()>) -> Option<bool> {
        let until = until.clone();
        reads.wait_for(whom, whose, move || until.recv().is_ok())
    }

    #[test]
    fn what_does_not_come_back_is_not_asked_again_and_takes_nobody_else_s_place() {
        let (mut reads, bad, good) = (Reads::default(), Whose::Unit(1), Whose::Unit(2));
        let (free, until) = crossbeam_channel::bounded::<()>(0);
        assert_eq!(stuck(&mut reads, (10, 1), bad, &until), None);
        let begun = Instant::now();
        for _ in 0..100 {
            assert_eq!(stuck(&mut reads, (10, 1), bad, &until), None, "it is away");
        }
        assert!(begun.elapsed() < PATIENCE);
        assert_eq!(reads.late.len(), 1, "one thread");
        for pid in 11..30 {
            assert_eq!(stuck(&mut reads, (pid, 1), bad, &until), None);
        }
        assert_eq!(reads.late.len(), MOST);
        assert_eq!(reads.wait_for((30, 1), bad, || 7), None, "too many of its are away");
        assert_eq!(reads.wait_for((31, 1), good, || 7), Some(7));
        drop(free);
        let deadline = Instant::now() + 20 * PATIENCE;
        while !reads.late.iter().all(|late| late.is_back.load(Ordering::Acquire)) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(reads.wait_for((10, 1), bad, || 7), Some(7));
    }

    #[test]
    fn whoever_made_somebody_wait_is_not_waited_for_as_long_again_at_once_and_is_asked_all_the_same() {
        let mut reads = Reads::default();
        let (_free, until) = crossbeam_channel::bounded::<()>(0);
        assert_eq!(stuck(&mut reads, (10, 1), Whose::User(1), &until), None);
        assert_eq!(reads.patience((11, 1), Whose::User(1)), Some(LESS));
        assert_eq!(reads.patience((12, 1), Whose::User(2)), Some(PATIENCE));
        assert_eq!(reads.patience((10, 1), Whose::User(2)), None);
    }

    #[test]
    fn one_thread_reads_for_one_that_asks_again_and_again_and_has_no_descriptors_of_ours() {
        let mut reads = Reads::default();
        let ours = tempfile::tempfile().unwrap();
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&ours);
        let mut asked = |pid| {
            let look = move || {
                let own = fs::read_link("/proc/thread-self").unwrap();
                (own, fs::read_link(format!("/proc/thread-self/fd/{descriptor}")).is_ok())
            };
            reads.wait_for((pid, 1), Whose::Unit(1), look).unwrap()
        };
        let (reader, has_ours) = asked(1);
        assert!(!has_ours);
        assert!((2..20).all(|pid| asked(pid).0 == reader));
        assert!(fs::read_link(format!("/proc/thread-self/fd/{descriptor}")).is_ok());
    }

    #[test]
    fn of_a_process_that_is_there_it_comes_and_of_another_not() {
        let us = (std::process::id(), start_of(std::process::id()).unwrap());
        let Said::Text(text) = read(us, Whose::Unit(us.0), "environ", 1 << 18) else { panic!() };
        assert!(text.split(|byte| *byte == 0).any(|one| one.starts_with(b"PATH=")));
        assert!(matches!(read(us, Whose::Unit(us.0), "environ", 3), Said::Text(text) if text.len() == 3));
        assert_eq!(read(us, Whose::Unit(us.0), "no-such-file", 3), Said::Refused);
        assert_eq!(read((us.0, us.1 + 1), Whose::Unit(us.0), "environ", 3), Said::Gone);
        assert_eq!(read((0, 0), Whose::Unit(0), "environ", 3), Said::Gone);
        assert!(is_gone(&Errno::SRCH.into()) && !is_gone(&Errno::MFILE.into()));
    }
}
