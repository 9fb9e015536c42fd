//! What a client sees of an app that dies, stops or talks nonsense: another process's answer where that is safe, else an error, never half an
//! answer that looks whole, and never a second POST.

use rustix::process::Signal;

use crate::bytes::receipt;
use crate::site::{Site, kill};
use crate::wait::{self, secs};
use crate::wire::{self, Reply, Trouble, Wire, kept};

const TWO: &str = "processes = 2\nconcurrency = 8\nbind = \"unix\"\nprobation = \"100ms\"";

fn post(site: &Site, target: &str) -> Result<Reply, Trouble> {
    Wire::connect(site.addr)?.ask(&format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello"))
}

/// How often a request with this mark reached an app.
fn reached(site: &Site, mark: &str) -> usize {
    site.marks().iter().filter(|known| *known == mark).count()
}

/// No connection to the app is kept for long: each request has its own.
fn without_kept_connections(processes: usize) -> Site {
    let app = TWO.replace("processes = 2", &format!("processes = {processes}"));
    Site::start(&format!("{app}\ntimeouts.pooled = \"10ms\""))
}

/// Requests that kill the first process that gets them, and what comes after them on the same connection.
fn is_answered_by_another(site: &Site) {
    let mut wire = Wire::connect(site.addr).unwrap();
    let reply = wire.ask(&kept("/crash-once?name=get&mark=get")).unwrap();
    assert_eq!((reply.status, reply.text(), reply.keep), (200, receipt(b""), true));
    assert_eq!(reached(site, "get"), 2);
    for _ in 0..3 {
        assert_eq!(wire.ask(&kept("/")).unwrap().text(), "1");
    }
}

fn is_sent_again_with_its_whole_body(site: &Site) {
    let body = crate::bytes::pattern(0, 300_000);
    let mut wire = Wire::connect(site.addr).unwrap();
    let head = format!("PUT /crash-once?name=put&mark=put HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
    wire.send(head.as_bytes()).unwrap();
    wire.send(&body).unwrap();
    assert_eq!(wire.reply(false).unwrap().text(), receipt(&body));
    assert_eq!(reached(site, "put"), 2);
}

#[test]
fn a_get_whose_process_dies_is_answered_by_another() {
    is_answered_by_another(&without_kept_connections(2));
}

#[test]
fn a_get_whose_process_dies_on_a_kept_connection_is_answered_by_another() {
    is_answered_by_another(&Site::start(TWO));
}

#[test]
fn a_put_is_sent_again_with_its_whole_body() {
    is_sent_again_with_its_whole_body(&without_kept_connections(2));
}

#[test]
fn a_put_whose_process_dies_on_a_kept_connection_is_sent_again_with_its_whole_body() {
    is_sent_again_with_its_whole_body(&Site::start(TWO));
}

#[test]
fn a_get_that_kills_every_process_kills_two_at_most() {
    let site = without_kept_connections(3);
    assert_eq!(wire::get(site.addr, "/crash?mark=deadly").unwrap().status, 502);
    assert_eq!(reached(&site, "deadly"), 2);
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
}

#[test]
fn a_get_that_kills_every_process_kills_two_at_most_also_on_a_kept_connection() {
    let site = Site::start(&TWO.replace("processes = 2", "processes = 3"));
    assert_eq!(wire::get(site.addr, "/crash?mark=deadly").unwrap().status, 502);
    assert_eq!(reached(&site, "deadly"), 2);
}

#[test]
fn a_post_reaches_an_app_once_whatever_becomes_of_it() {
    let site = Site::start(&TWO.replace("processes = 2", "processes = 4"));
    for (path, mark) in [("/crash", "a"), ("/crash-in-head", "b"), ("/hang-up", "c"), ("/garbage", "d")] {
        let reply = post(&site, &format!("{path}?mark={mark}")).unwrap();
        assert_eq!((reply.status, reached(&site, mark)), (502, 1), "{path}");
    }
}

#[test]
fn the_requests_of_a_process_that_is_killed_go_to_the_other() {
    let site = Site::start(TWO);
    std::thread::scope(|scope| {
        let gets: Vec<_> = (0..8).map(|_| scope.spawn(|| wire::get(site.addr, "/hold?name=gate&mark=held"))).collect();
        wait::until("all are with the app", secs(10), || reached(&site, "held") == 8);
        kill(site.serving(1)[0], Signal::KILL);
        wait::until("four have been sent again", secs(10), || reached(&site, "held") == 12);
        site.open("gate");
        for get in gets {
            assert_eq!(get.join().unwrap().unwrap().status, 200);
        }
    });
    assert_eq!(reached(&site, "held"), 12);
}
