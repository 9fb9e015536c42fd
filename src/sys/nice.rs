//! Nice values and scheduling groups: who goes first on the processor.

use std::fs;
use std::io;

use rustix::process::Resource;

use super::stat::{SESSION, Stat, as_pid, numbers_in};

/// The nice value of this process.
pub fn own_nice() -> i32 {
    rustix::process::getpriority_process(None).unwrap_or(0)
}

/// The least nice value that this process may give without the right to any (setrlimit(2), RLIMIT_NICE).
pub fn least_nice() -> i32 {
    let ceiling = rustix::process::getrlimit(Resource::Nice).current.map_or(-20, |limit| 20 - limit.min(40).cast_signed() as i32);
    own_nice().min(ceiling)
}

/// Gives this process, the leader of its session, a nice value that it keeps, and its session the same one: a session is a scheduling group of
/// its own where the kernel makes them (sched(7), autogroup), and then the group's value decides against others.
pub fn be_nice(nice: i32) -> io::Result<()> {
    rustix::process::setpriority_process(None, nice)?;
    for _ in 0..TRIES {
        if give_group("self", nice) {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// False: it is to be tried again. Without autogroups there is no such file; where there are, all that are not root may give a value once in a
/// tenth of a second, together (sched(7)).
fn give_group(session: &str, nice: i32) -> bool {
    let given = fs::write(format!("/proc/{session}/autogroup"), nice.to_string());
    !given.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// A session leaves the processor to those that serve, until [`step_up`]: a boot and an end take all they can get, which visitors would
/// notice on a machine with one or two. Its threads have the nice value `own`, or what they added to it. That of the session's scheduling group
/// anybody can take back; that of its threads, which counts where groups are made otherwise, only root can. What fails here stops nothing.
pub fn step_back(session: u32, own: i32) {
    if !leads_its_session(session) {
        return;
    }
    let by = aside(own);
    give_group(&session.to_string(), own + by);
    renice(session, |nice| (own..own + by).contains(&nice).then_some(nice + by));
}

/// Undoes [`step_back`]. What the app set itself beside it stays. False: its scheduling group has to be tried again.
pub fn step_up(session: u32, own: i32) -> bool {
    if !leads_its_session(session) {
        return true;
    }
    let by = aside(own);
    renice(session, |nice| (by > 0 && nice >= own + by).then_some(nice - by));
    give_group(&session.to_string(), own)
}

/// A process that is stopped before it has a session of its own is still in rota's, whose scheduling group everybody else is in, too. Its number
/// is read from /proc: in a container it is 0 where the leader is outside, a value that getsid(2) has no type for.
fn leads_its_session(pid: u32) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.field(SESSION) == Some(pid.into()))
}

/// How far a session with this nice value can step back: no value is above 19 (nice(2)).
fn aside(own: i32) -> i32 {
    ASIDE.min(19 - own)
}

/// Linux keeps nice values thread by thread. `change` does not change what it made itself: a thread that is started meanwhile by one that
/// was not reached yet is found in the second look.
fn renice(session: u32, change: impl Fn(i32) -> Option<i32>) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for _ in 0..2 {
        for thread in members_of_session(session).flat_map(|pid| numbers_in(&format!("/proc/{pid}/task"))) {
            let Ok(thread) = as_pid(thread) else { continue };
            if let Some(nice) = rustix::process::getpriority_process(Some(thread)).ok().and_then(&change) {
                let _ = rustix::process::setpriority_process(Some(thread), nice);
            }
        }
    }
}

/// The processes of a session.
fn members_of_session(session: u32) -> impl Iterator<Item = u32> {
    let is_member = move |pid: &u32| Stat::read(*pid).is_some_and(|stat| stat.field(SESSION) == Some(session.into()));
    numbers_in("/proc").into_iter().filter(is_member)
}

/// So much more leaves a tenth of a processor that others want as well (sched(7)): what boots or ends goes on, and keeps to its limits.
const ASIDE: i32 = 10;

const TRIES: u32 = 4;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_session_of_its_own_yet_steps_nobody_back() {
        let autogroup = || fs::read_to_string("/proc/self/autogroup").unwrap_or_default();
        let before = autogroup();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        step_back(child.id(), own_nice());
        let after = autogroup();
        let _ = child.kill();
        let _ = child.wait();
        assert_eq!(after, before);
    }
}
