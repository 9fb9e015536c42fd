//! The ends of a server that are not plain: a request in hand, one that never ends, apps that will not go.

use rustix::process::Signal;

use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire::{self, Trouble};

const APP: &str = "processes = 2\nconcurrency = 16\nbind = \"unix\"\nprobation = \"1ms\"";

#[test]
fn a_request_in_hand_is_answered_before_the_server_ends() {
    let mut site = Site::start(APP);
    let (addr, shared) = (site.addr, site.path("shared"));
    let held = std::thread::spawn(move || wire::get(addr, "/hold?name=gate&mark=held"));
    wait::until("the app has it", secs(10), || site.marks() == ["held"]);
    site.signal(Signal::TERM);
    wait::until("nobody is let in any more", secs(10), || wire::get(addr, "/").is_err_and(|trouble| trouble == Trouble::Refused));
    std::fs::write(shared.join("open-gate"), "").unwrap();
    assert_eq!(held.join().unwrap().unwrap().text(), "1");
    assert_eq!(site.wait_end(secs(10)), Some(0));
}

#[test]
fn a_stop_is_bounded_by_the_drain_limit() {
    let mut site = Site::start(&format!("{APP}\ndrain.timeout = \"300ms\""));
    let addr = site.addr;
    let stuck = std::thread::spawn(move || wire::get(addr, "/never?mark=stuck"));
    wait::until("the app has it", secs(10), || site.marks() == ["stuck"]);
    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(10)), Some(0));
    assert!(stuck.join().unwrap().is_ok_and(|reply| reply.status == 504) || site.log().contains("cut"), "{}", site.log());
}

#[test]
fn kill_9_of_rota_leaves_neither_deaf_apps_nor_their_children_behind() {
    let mut site = Site::prepare(APP);
    site.release("1", "ignores_term\nleaves_children");
    site.flip("1");
    site = site.serve();
    assert!(site.left().len() >= 6, "two processes, each with children");
    site.signal(Signal::KILL);
    assert_eq!(site.wait_end(secs(10)), None);
    wait::until("all of them are gone", secs(10), || site.left().is_empty());
}
