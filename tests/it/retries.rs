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

/// A request that ends the process that gets it, and what comes after it on the same connection.
fn is_told_and_ends_no_other(site: &Site) {
    let mut wire = Wire::connect(site.addr).unwrap();
    let reply = wire.ask(&kept("/crash-once?name=get&mark=get")).unwrap();
    assert_eq!((reply.status, reply.keep, reached(site, "get")), (502, true, 1));
    for _ in 0..3 {
        assert_eq!(wire.ask(&kept("/")).unwrap().text(), "1");
    }
}

#[test]
fn a_get_that_ends_its_process_is_not_given_to_another() {
    is_told_and_ends_no_other(&without_kept_connections(2));
}

#[test]
fn a_get_that_ends_its_process_on_a_kept_connection_is_not_given_to_another() {
    is_told_and_ends_no_other(&Site::start(TWO));
}

#[test]
fn a_put_whose_process_is_killed_is_sent_again_with_its_whole_body() {
    let site = without_kept_connections(1);
    let body = crate::bytes::pattern(0, 300_000);
    let mut wire = Wire::connect(site.addr).unwrap();
    let head = format!("PUT /echo?gate=put&mark=put HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
    wire.send(head.as_bytes()).unwrap();
    wire.send(&body).unwrap();
    wait::until("it is with the app", secs(10), || reached(&site, "put") == 1);
    kill(site.serving(1)[0], Signal::KILL);
    wait::until("it has been sent again", secs(10), || reached(&site, "put") == 2);
    site.open("put");
    assert_eq!(wire.reply(false).unwrap().text(), receipt(&body));
}

#[test]
fn who_was_in_hand_beside_a_request_that_ends_its_process_is_answered_by_another() {
    let site = Site::start(TWO);
    std::thread::scope(|scope| {
        let gets: Vec<_> = (0..8).map(|_| scope.spawn(|| wire::get(site.addr, "/hold?name=gate&mark=held"))).collect();
        wait::until("all are with the app", secs(10), || reached(&site, "held") == 8);
        assert_eq!(wire::get(site.addr, "/crash?mark=deadly").unwrap().status, 502);
        wait::until("four have been sent again", secs(10), || reached(&site, "held") == 12);
        site.open("gate");
        for get in gets {
            assert_eq!(get.join().unwrap().unwrap().status, 200);
        }
    });
    assert_eq!((reached(&site, "held"), reached(&site, "deadly")), (12, 1));
}

#[test]
fn what_ended_two_processes_is_not_given_to_the_last_one_that_serves() {
    let site = Site::start(TWO);
    // The next ones are long in coming.
    std::fs::write(site.path("releases/1/BEHAVIOUR"), "boot_waits").unwrap();
    for round in 1..=2 {
        assert_eq!(wire::get(site.addr, "/crash?mark=deadly").unwrap().status, 502);
        assert_eq!(reached(&site, "deadly"), round);
        if round == 1 {
            site.open("boot-1");
            wait::until("it is replaced", secs(20), || site.serving(1).len() == 2);
            std::fs::remove_file(site.path("shared/open-boot-1")).unwrap();
        }
    }
    for _ in 0..3 {
        assert_eq!(wire::get(site.addr, "/crash?other=query&mark=deadly").unwrap().status, 502);
        assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
    }
    assert_eq!(reached(&site, "deadly"), 2, "the last one is not risked");
    site.open("boot-1");
    wait::until("it is replaced", secs(20), || site.serving(1).len() == 2);
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

#[test]
fn a_restart_beside_a_visitor_whose_request_ends_processes_is_no_bad_release() {
    let site = Site::start(TWO);
    assert_eq!(wire::get(site.addr, "/crash").unwrap().status, 502);
    wait::until("it is replaced", secs(20), || site.serving(1).len() == 2);
    let serving = || site.processes().iter().filter(|(_, _, _, state)| *state == "serving").count();
    let said = std::thread::scope(|scope| {
        let restart = scope.spawn(|| site.rota(&["restart", "app"]));
        for _ in 0..4 {
            wait::until("two serve", secs(30), || serving() == 2);
            assert_eq!(wire::get(site.addr, "/crash?again").unwrap().status, 502);
        }
        restart.join().expect("a command does not panic")
    });
    said.expect(0);
    assert!(site.status()["apps"][0]["resists"].is_null());
}

/// A server that has children, as gunicorn, puma or node have: one of them is not the process, which lives on. It takes its time to take note
/// of the end of one, so that it is no race who sees that first.
const PREFORK: &str = "
import os, socket, time
server = socket.socket(socket.AF_UNIX); server.bind(os.environ['SOCKET']); server.listen()
def work():
    while True:
        conn, _ = server.accept()
        asked = conn.recv(65536)
        if b'/die' in asked:
            open(os.environ['FIXTURE_DIR'] + '/marks', 'a').write('deadly\\n')
            os.abort()
        conn.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 1\\r\\nConnection: close\\r\\n\\r\\n1'); conn.close()
while True:
    if os.fork() == 0: work()
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT); time.sleep(1); os.wait()
";

#[test]
fn a_get_that_ends_a_child_of_its_process_is_not_given_to_another() {
    let python = crate::real_apps::python("python");
    let app = format!("processes = 2\nconcurrency = 1\nbind = \"unix\"\ncommand = \"{python} prefork.py\"");
    let site = Site::with_app(&app, "");
    site.release("1", "");
    std::fs::write(site.path("releases/1/prefork.py"), PREFORK).unwrap();
    site.flip("1");
    let site = site.serve();
    let before = site.serving(1);
    assert_eq!(wire::get(site.addr, "/die").unwrap().status, 502);
    assert_eq!(reached(&site, "deadly"), 1);
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
    assert_eq!(site.serving(1), before, "its server has begun another child");
    assert!(site.log().contains(": a child of it ended (signal 6"), "{}", site.log());
}
