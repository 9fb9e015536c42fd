//! The app's connections, seen from its side: never more than it takes requests at a time, none that a request waits behind, and no POST that
//! meets an app's end of one. What the fixture counts for every test is looked at in `site`.

use std::time::Duration;

use crate::site::Site;
use crate::wait::{self, millis, secs};
use crate::wire::{self, Wire, kept};

const THREE: &str = "concurrency = 3\nprobation = \"1ms\"\n";

fn post(target: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello")
}

/// So many clients at once, each with a connection of its own.
fn clients(site: &Site, count: usize, each: impl Fn(usize, &mut Wire) + Sync) {
    let each = &each;
    std::thread::scope(|scope| {
        for number in 0..count {
            scope.spawn(move || each(number, &mut Wire::connect(site.addr).unwrap()));
        }
    });
}

/// How many connections rota has opened to the app's one process.
fn opened(site: &Site) -> u64 {
    site.connections().iter().map(|(_, _, all)| all).sum()
}

fn most(site: &Site) -> u64 {
    site.connections().iter().map(|(_, most, _)| *most).max().unwrap()
}

fn posts_and_gets(bind: &str) {
    let site = Site::start(&format!("{THREE}bind = {bind:?}"));
    clients(&site, 8, |number, wire| {
        for turn in 0..40 {
            let request = if (number + turn) % 3 == 0 { kept("/") } else { post("/echo") };
            assert_eq!(wire.ask(&request).unwrap().status, 200);
        }
    });
    assert!(most(&site) <= 3, "{} at a time over {bind}", most(&site));
}

#[test]
fn posts_and_gets_hold_no_more_connections_than_the_process_takes_requests() {
    posts_and_gets("unix");
    posts_and_gets("port");
}

#[test]
fn uploads_that_go_to_the_app_as_they_come_hold_no_more_either() {
    let site = Site::start(&format!("{THREE}bind = \"unix\"\nbuffer.request = false"));
    clients(&site, 8, |_, wire| {
        for _ in 0..20 {
            assert_eq!(wire.ask(&post("/echo")).unwrap().status, 200);
        }
    });
    assert!(most(&site) <= 3, "{} at a time", most(&site));
}

#[test]
fn clients_that_leave_and_answers_that_say_close_hold_no_more_either() {
    let site = Site::start(&format!("{THREE}bind = \"unix\""));
    clients(&site, 8, |number, _| {
        for turn in 0..20 {
            let mut wire = Wire::connect(site.addr).unwrap();
            match (number + turn) % 3 {
                0 => wire.send(post("/sleep?ms=5").as_bytes()).unwrap(),
                1 => assert_eq!(wire.ask(&kept("/until-close")).unwrap().status, 200),
                _ => assert_eq!(wire.ask(&post("/echo")).unwrap().status, 200),
            }
        }
    });
    wait::until("nothing is in hand", secs(10), || site.status()["apps"][0]["processes"][0]["sessions"] == 0);
    assert!(most(&site) <= 3, "{} at a time", most(&site));
}

#[test]
fn a_post_waits_behind_no_idle_connection_of_an_app_that_has_a_thread_for_each() {
    // Idle ones would be kept for much longer than a request may take.
    let site = Site::prepare(&format!("{THREE}bind = \"unix\"\ntimeouts.pooled = \"60s\"\ntimeouts.app = \"10s\""));
    site.release("1", "threads 3");
    site.flip("1");
    let site = site.serve();
    clients(&site, 8, |number, wire| {
        for turn in 0..30 {
            let request = if (number + turn) % 10 == 0 { post("/echo") } else { kept("/") };
            assert_eq!(wire.ask(&request).unwrap().status, 200);
        }
        for _ in 0..30 {
            assert_eq!(wire.ask(&post("/echo")).unwrap().status, 200);
        }
    });
}

/// So many POSTs, each about when the app closes the connection that the one before has left behind.
fn race(bind: &str, closes_after: Duration) -> usize {
    let site = Site::prepare(&format!("concurrency = {CLIENTS}\nprobation = \"1ms\"\nbind = {bind:?}"));
    site.release("1", &format!("close_idle {}", closes_after.as_millis()));
    site.flip("1");
    let site = site.serve();
    clients(&site, CLIENTS, |number, wire| {
        for turn in 0..POSTS_OF_EACH {
            let place = number * POSTS_OF_EACH + turn;
            let reply = wire.ask(&post(&format!("/echo?mark=post-{place}")));
            let reply = reply.unwrap_or_else(|trouble| panic!("{bind}, {closes_after:?}, {place}: {trouble:?}"));
            assert_eq!(reply.status, 200, "{bind}, closes after {closes_after:?}, post {place}\n{}", site.log());
            // From 2 ms before to 3 ms after it: the app's thread wakes late rather than early.
            std::thread::sleep((closes_after + Duration::from_micros(50) * place as u32).saturating_sub(millis(2)));
        }
    });
    let mut marks = site.marks();
    marks.sort();
    marks.dedup();
    assert_eq!((marks.len(), site.marks().len()), (CLIENTS * POSTS_OF_EACH, CLIENTS * POSTS_OF_EACH), "each of them once");
    marks.len()
}

/// At each keep-alive time at once, each with a server of its own.
fn races(bind: &str) {
    let times = [3, 5, 10, 40, 150, 600, 1200, 2000].map(millis);
    let posts: usize = std::thread::scope(|scope| {
        let all = times.map(|time| scope.spawn(move || race(bind, time)));
        all.into_iter().map(|race| race.join().unwrap()).sum()
    });
    assert_eq!(posts, 800);
}

#[test]
fn no_post_is_lost_to_an_app_that_closes_an_idle_connection_that_very_moment_over_a_unix_socket() {
    races("unix");
}

#[test]
fn no_post_is_lost_to_an_app_that_closes_an_idle_connection_that_very_moment_over_a_port() {
    races("port");
}

/// A run of POSTs, one right behind the other; how many connections were opened for them.
fn opened_for_posts(site: &Site, wire: &mut Wire) -> u64 {
    let before = opened(site);
    for _ in 0..POSTS {
        assert_eq!(wire.ask(&post("/echo")).unwrap().status, 200);
    }
    opened(site) - before
}

/// What has been seen to hold idle connections gets a POST on one that has just answered.
fn wait_until_trusted(site: &Site, wire: &mut Wire) {
    wait::until("POSTs go on kept connections", secs(30), || opened_for_posts(site, wire) < POSTS);
}

#[test]
fn a_post_goes_on_a_connection_that_has_just_answered_once_the_app_was_seen_to_hold_them() {
    let site = Site::start(&format!("{THREE}bind = \"unix\""));
    let mut wire = Wire::connect(site.addr).unwrap();
    wait_until_trusted(&site, &mut wire);
}

#[test]
fn posts_have_connections_of_their_own_for_ever_after_the_app_has_closed_one_early() {
    let site = Site::start(&format!("{THREE}bind = \"unix\""));
    let mut wire = Wire::connect(site.addr).unwrap();
    wait_until_trusted(&site, &mut wire);
    // The first is closed right behind the answer before it.
    assert_eq!(wire.ask(&kept("/")).unwrap().status, 200);
    assert_eq!(wire.ask(&kept("/hang-up")).unwrap().status, 502);
    // Behind this one all that were opened before are counted.
    assert_eq!(wire.ask(&post("/echo")).unwrap().status, 200);
    for _ in 0..3 {
        assert_eq!(opened_for_posts(&site, &mut wire), POSTS);
        std::thread::sleep(millis(600));
    }
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
}

const CLIENTS: usize = 20;
const POSTS_OF_EACH: usize = 5;
const POSTS: u64 = 20;
