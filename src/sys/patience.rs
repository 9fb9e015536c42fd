//! What /proc says of a process's environment and pages is read under a lock of its memory, which the process can hold for as long as it likes: by
//! a page of a file system of its own that never answers, and a change of its memory that waits behind that. Whoever reads it waits a moment and
//! no longer; the thread that does not come back ends with that process.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// The beginning of /proc/PID/`file`. None: it is not there, may not be read, or does not come.
pub fn read(pid: u32, file: &'static str, most: u64) -> Option<Vec<u8>> {
    static AWAY: LazyLock<Away> = LazyLock::new(Away::default);
    AWAY.wait_for(move || {
        let mut text = Vec::new();
        File::open(format!("/proc/{pid}/{file}")).ok()?.take(most).read_to_end(&mut text).ok()?;
        Some(text)
    })?
}

/// Threads that have not come back.
#[derive(Debug, Default)]
struct Away(Arc<AtomicUsize>);

impl Away {
    /// None: it takes too long, or too many have not come back.
    fn wait_for<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let away = self.0.clone();
        if away.fetch_add(1, Ordering::Relaxed) >= MOST {
            away.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let (done, answer) = crossbeam_channel::bounded(1);
        let back = away.clone();
        let thread = std::thread::Builder::new().name("proc".to_owned()).stack_size(STACK).spawn(move || {
            let _ = done.send(work());
            back.fetch_sub(1, Ordering::Relaxed);
        });
        if thread.is_err() {
            away.fetch_sub(1, Ordering::Relaxed);
        }
        answer.recv_timeout(PATIENCE).ok()
    }
}

/// A read takes microseconds; one of many gigabytes' page tables some hundred milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);
/// So often, and no oftener, somebody waits in vain.
const MOST: usize = 8;
const STACK: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_come_back_is_left_after_a_moment_and_few_are_left_in_all() {
        let away = Away::default();
        assert_eq!(away.wait_for(|| 7), Some(7));
        let (free, stuck) = crossbeam_channel::bounded::<()>(0);
        for _ in 0..MOST {
            let stuck = stuck.clone();
            assert_eq!(away.wait_for(move || stuck.recv().is_ok()), None);
        }
        let begun = std::time::Instant::now();
        assert_eq!(away.wait_for(|| 7), None, "too many are away");
        assert!(begun.elapsed() < PATIENCE);
        drop(free);
        while away.0.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
        assert_eq!(away.wait_for(|| 7), Some(7));
    }

    #[test]
    fn of_a_process_that_is_there_it_comes_and_of_another_not() {
        let path = read(std::process::id(), "environ", 1 << 18).unwrap();
        assert!(path.split(|byte| *byte == 0).any(|one| one.starts_with(b"PATH=")));
        assert_eq!(read(std::process::id(), "environ", 3).unwrap().len(), 3);
        assert_eq!(read(0, "environ", 3), None);
    }
}
