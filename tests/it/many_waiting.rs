//! Very many requests that wait for one slot, and each that gets it fails at once.

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire::{Wire, kept};

const APP: &str = "processes = 1\nconcurrency = 1\nbind = \"unix\"\nprobation = \"1ms\"\nqueue = { max = 11000, timeout = \"10m\" }\n\
                   server.limits.connections = 12000\n";

/// As many as there may be descriptors, and no more than so many.
fn most(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let room = limit.maximum.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    wanted.min(room.saturating_sub(600))
}

/// So many requests wait behind one that the app has until the gate opens, which then does so.
fn waiting(site: &Site, then: &str, count: usize) -> (Wire, Vec<Wire>) {
    let mut holder = Wire::connect(site.addr).unwrap();
    holder.send(kept(&format!("/hold?name=gate&then={then}&mark=held")).as_bytes()).unwrap();
    wait::until("the slot is taken", secs(20), || site.marks() == ["held"]);
    let one = |_| {
        let mut wire = Wire::connect(site.addr).unwrap();
        wire.send(kept("/").as_bytes()).unwrap();
        wire
    };
    let wires: Vec<Wire> = (0..count).map(one).collect();
    wait::until("all wait", secs(60), || site.waiting() == count as u64);
    (holder, wires)
}

#[test]
fn ten_thousand_that_wait_outlive_an_app_whose_socket_is_none_any_more() {
    let site = Site::start(APP);
    let (mut holder, mut wires) = waiting(&site, "deaf", most(10_000));
    site.open("gate");
    assert_eq!(holder.reply(false).unwrap().status, 200);
    // The process is replaced by one that listens.
    for wire in &mut wires {
        assert_eq!(wire.reply(false).unwrap().status, 200);
    }
    assert!(!site.log().contains("panicked"));
}

#[test]
fn thousands_that_wait_are_told_when_there_is_no_descriptor_for_them_and_served_when_there_is() {
    let site = Site::start(APP);
    let (mut holder, mut wires) = waiting(&site, "close", most(3_000));
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = |current| prlimit(Pid::from_raw(site.pid() as i32), Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let old = limit(Some(10));
    site.open("gate");
    assert_eq!(holder.reply(false).unwrap().status, 200);
    for wire in &mut wires {
        let reply = wire.reply(false).unwrap();
        assert_eq!((reply.status, reply.keep), (503, true));
    }
    limit(old.current);
    assert_eq!(wires[0].ask(&kept("/")).unwrap().status, 200);
    assert!(site.log().contains("no connection to the app could be opened: Too many open files"));
}
