//! Descriptors belong to a table that threads share, and a table is closed when the last of them has ended. A thread that does not come back from a
//! disk that is gone, or from a process that holds its memory, does not end when rota is killed either: what is in its table stays open, the lock
//! of the run directory, the listeners, the pipe by which the keeper knows that rota lives. So it gets one of its own, with nothing in it.

use std::fs;

use nix::sched::CloneFlags;

use super::stat::numbers_in;

/// The calling thread leaves the table of the others (unshare(2)), with its standard streams and the counters by which it wakes others. What it
/// holds open at this moment is closed, and nothing that it opens later can be handed on: to be called where a thread begins. False: that cannot be
/// done here, and nothing is closed.
///
/// Signals are for the other threads from then on: what a handler writes to, to wake whoever waits for signals, is not open here.
pub fn table_of_its_own() -> bool {
    if nix::sys::signal::SigSet::all().thread_block().is_err() {
        return false;
    }
    if nix::sched::unshare(CloneFlags::CLONE_FILES).is_err() {
        return false;
    }
    let is_kept = |descriptor: u32| {
        let wakes =
            || fs::read_link(format!("/proc/thread-self/fd/{descriptor}")).is_ok_and(|what| what.as_os_str() == "anon_inode:[eventfd]");
        descriptor <= STANDARD_ERROR || wakes()
    };
    for descriptor in numbers_in("/proc/thread-self/fd").into_iter().filter(|descriptor| !is_kept(*descriptor)) {
        let _ = nix::unistd::close(descriptor.cast_signed());
    }
    true
}

const STANDARD_ERROR: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_signal_is_for_a_thread_that_could_tell_nobody_of_it() {
        let blocked = std::thread::spawn(|| {
            assert!(table_of_its_own());
            let status = fs::read_to_string("/proc/thread-self/status").unwrap();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap().to_owned();
            u64::from_str_radix(&mask, 16).unwrap()
        });
        let blocked = blocked.join().unwrap();
        for signal in
            [signal_hook::consts::SIGHUP, signal_hook::consts::SIGTERM, signal_hook::consts::SIGCHLD, signal_hook::consts::SIGUSR2]
        {
            assert_ne!(blocked & 1 << (signal - 1), 0, "{signal} in {blocked:x}");
        }
    }
    use std::io::{ErrorKind, Read};
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_others_close_is_closed_although_the_thread_lives() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut poll = mio::Poll::new().unwrap();
        let wakes = mio::Waker::new(poll.registry(), mio::Token(7)).unwrap();
        let (end, until) = crossbeam_channel::bounded::<()>(0);
        let (begun, has_begun) = crossbeam_channel::bounded(1);
        let thread = std::thread::spawn(move || {
            begun.send(table_of_its_own()).unwrap();
            let _ = until.recv();
            wakes.wake().unwrap();
        });
        if !has_begun.recv().unwrap() {
            return drop(end);
        }
        assert_eq!(ours.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(theirs);
        assert_eq!(ours.read(&mut [0]).unwrap(), 0, "nobody has it open");
        drop(end);
        thread.join().unwrap();
        let mut events = mio::Events::with_capacity(1);
        poll.poll(&mut events, Some(std::time::Duration::from_secs(20))).unwrap();
        assert_eq!(events.iter().map(|event| event.token()).collect::<Vec<_>>(), [mio::Token(7)], "it wakes others");
    }
}
