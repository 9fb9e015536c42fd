//! A server that has run out of descriptors.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire::{self, Wire};

/// Processor time of a process so far, in hundredths of a second (proc(5)).
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_ascii_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn without_descriptors_the_server_waits_and_does_not_spin_and_serves_again_when_it_has_some() {
    let site = Site::start("processes = 1");
    let open = fs::read_dir(format!("/proc/{}/fd", site.pid())).unwrap();
    let open: BTreeSet<u64> = open.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    // A new one is the lowest that is free: ten more than it has.
    let most = (0..).filter(|number| !open.contains(number)).nth(10).unwrap();
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    prlimit(Pid::from_raw(site.pid() as i32), Resource::Nofile, limit).unwrap();
    let half = |_| {
        let mut wire = Wire::connect(site.addr).unwrap();
        wire.send(b"GET / HTTP/1.1\r\n").unwrap();
        wire
    };
    let clients: Vec<Wire> = (0..60).map(half).collect();
    let said = || site.log().matches("WARN  accept on ").count();
    wait::until("there are no more descriptors", secs(20), || said() > 0);
    let (since, before) = (Instant::now(), ticks(site.pid()));
    // Not for anything to happen: the time in which it would spin.
    std::thread::sleep(secs(2));
    let (used, percent) = (ticks(site.pid()) - before, 10);
    assert!(u128::from(used) * 10 * 100 <= since.elapsed().as_millis() * percent, "{used} hundredths of a second in {:?}", since.elapsed());
    assert_eq!(said(), 1, "it is said once, not at each try");
    drop(clients);
    wait::until("it serves again", secs(20), || wire::get(site.addr, "/").is_ok_and(|reply| reply.status == 200));
}
