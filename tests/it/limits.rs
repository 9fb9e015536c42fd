//! Each limit on what a client may do, short: what it is told, and that nothing of it is held any longer. How long a limit takes is not
//! measured, only that it comes and that it does not come to those who keep within it.

use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::path::PathBuf;
use std::process::Stdio;

use crate::site::Site;
use crate::wait::{self, millis, secs};
use crate::wire::{self, Reply, Trouble, Wire, kept};

const APP: &str = "concurrency = 8\nbind = \"unix\"\nprobation = \"1ms\"\n";

fn site(keys: &str) -> Site {
    Site::start(&format!("{APP}{keys}"))
}

/// Sends a piece every `pause` milliseconds until there is an answer.
fn drip(wire: &mut Wire, piece: &str, pause: u64) -> Result<Reply, Trouble> {
    wire.stream.set_read_timeout(Some(millis(pause))).unwrap();
    for _ in 0..20_000 / pause {
        // It may have been answered and closed by now.
        let _ = wire.send(piece.as_bytes());
        match wire.reply(false) {
            Err(Trouble::Timeout) => {}
            answer => return answer,
        }
    }
    Err(Trouble::Timeout)
}

/// How many descriptors the server has.
fn descriptors(site: &Site) -> usize {
    fs::read_dir(format!("/proc/{}/fd", site.pid())).unwrap().count()
}

/// How many answers and bodies have a file of the server's.
fn spooled(site: &Site) -> usize {
    let spool = site.path("spool");
    let open = fs::read_dir(format!("/proc/{}/fd", site.pid())).unwrap();
    let is_file = |link: PathBuf| link.starts_with(&spool) && link.to_string_lossy().ends_with(" (deleted)");
    open.filter(|entry| fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(is_file)).count()
}

#[test]
fn a_head_has_one_limit_from_its_first_byte_however_it_drips() {
    let site = site("server.timeouts.head = \"500ms\"");
    for earlier in [0, 1] {
        let mut wire = Wire::connect(site.addr).unwrap();
        for _ in 0..earlier {
            assert_eq!(wire.ask(&kept("/")).unwrap().status, 200);
        }
        wire.send(b"GET /?mark=slow HTTP/1.1\r\nHost: test\r\n").unwrap();
        let reply = drip(&mut wire, "X: 1\r\n", 50).unwrap();
        assert_eq!((reply.status, reply.keep), (408, false), "behind {earlier} requests");
    }
    assert_eq!(site.marks(), [""; 0]);
}

#[test]
fn a_connection_that_asks_nothing_is_closed_without_a_word() {
    let site = site("server.timeouts.head = \"500ms\"\nserver.timeouts.keepalive = \"500ms\"");
    let mut silent = Wire::connect(site.addr).unwrap();
    assert_eq!(silent.read_to_end().unwrap(), b"");
    let mut kept_one = Wire::connect(site.addr).unwrap();
    for _ in 0..2 {
        assert_eq!(kept_one.ask(&kept("/")).unwrap().status, 200);
    }
    assert_eq!(kept_one.read_to_end().unwrap(), b"");
}

#[test]
fn a_body_that_stands_still_is_a_408() {
    let site = site("server.timeouts.body = \"500ms\"");
    for begun in ["", "x"] {
        let mut wire = Wire::connect(site.addr).unwrap();
        wire.send(format!("POST /echo?mark=still HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n{begun}").as_bytes()).unwrap();
        let reply = wire.reply(false).unwrap();
        assert_eq!((reply.status, reply.keep), (408, false));
    }
    assert_eq!(site.marks(), [""; 0]);
}

#[test]
fn a_body_below_the_least_rate_is_a_408_though_it_never_stands_still() {
    let keys = "server.timeouts.body = \"1s\"\nserver.limits.body_rate = \"1K\"";
    let mut site = Site::prepare(&format!("{APP}{keys}"));
    site.release("1", "");
    site.flip("1");
    let mut command = site.command(&["serve"]);
    command.env("RUST_LOG", "debug");
    let log = fs::File::create(site.path("log")).unwrap();
    site.launch_by(command, Stdio::from(log.try_clone().unwrap()), Stdio::from(log));
    site.wait_served();
    for (framing, piece) in [("Content-Length: 100000", "x"), ("Transfer-Encoding: chunked", "1;of=many\r\nx\r\n")] {
        let mut wire = Wire::connect(site.addr).unwrap();
        wire.send(format!("POST /echo?mark=slow HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n").as_bytes()).unwrap();
        let reply = drip(&mut wire, piece, 100).unwrap();
        assert_eq!((reply.status, reply.keep), (408, false), "{framing}");
    }
    // Twice the time of timeouts.body, and more than the rate.
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(b"POST /echo?mark=steady HTTP/1.1\r\nHost: test\r\nContent-Length: 20480\r\n\r\n").unwrap();
    for _ in 0..20 {
        std::thread::sleep(millis(100));
        wire.send(&[b'x'; 1024]).unwrap();
    }
    assert_eq!(wire.reply(false).unwrap().status, 200);
    assert_eq!(site.marks(), ["steady"]);
    // The reason is the rate, and not that it stood still.
    assert_eq!(site.log().matches("408 (the body came slower than limits.body_rate)").count(), 2);
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_cut() {
    let site = site("server.timeouts.write = \"500ms\"");
    let bytes = 20 * 1024 * 1024;
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(kept(&format!("/bytes?n={bytes}")).as_bytes()).unwrap();
    wait::until("the rest of the answer waits on the disk", secs(10), || spooled(&site) == 1);
    wait::until("it does not wait for ever", secs(20), || spooled(&site) == 0);
    assert!(matches!(wire.reply(false), Err(Trouble::Cut | Trouble::Reset)));
}

#[test]
fn a_tunnel_ends_when_nothing_has_passed_for_its_time() {
    let site = site("timeouts.tunnel = \"1s\"");
    let mut wire = Wire::connect(site.addr).unwrap();
    let upgrade = "GET /upgrade HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    assert_eq!(wire.ask(upgrade).unwrap().status, 101);
    for _ in 0..10 {
        wire.send(b"x").unwrap();
        assert_eq!(wire.take(1).unwrap(), b"x");
        std::thread::sleep(millis(200));
    }
    assert!(wire::is_closed(&mut wire.stream, secs(20)));
}

/// Connections with a request in hand, until the gate `held` opens.
fn held(site: &Site, count: usize) -> Vec<Wire> {
    let one = |_| {
        let mut wire = Wire::connect(site.addr).unwrap();
        wire.send(kept("/hold?name=held&mark=held").as_bytes()).unwrap();
        wire
    };
    let wires = (0..count).map(one).collect();
    wait::until("all are in hand", secs(20), || site.marks().len() == count);
    wires
}

#[test]
fn connections_beyond_the_limit_are_told_and_not_held() {
    let site = Site::start(&format!("{APP}concurrency = 10\nserver.limits.connections = 10").replacen("concurrency = 8\n", "", 1));
    let mut within = held(&site, 10);
    wait::until("there is no place", secs(20), || wire::get(site.addr, "/").is_ok_and(|reply| reply.status == 503));
    let before = descriptors(&site);
    let mut beyond: Vec<Wire> = (0..300).map(|_| Wire::connect(site.addr).unwrap()).collect();
    for wire in &mut beyond {
        let reply = wire.reply(false).unwrap();
        assert_eq!((reply.status, reply.keep, reply.field("Retry-After")), (503, false, Some("1")));
        assert_eq!(wire.some().unwrap(), b"", "and closed");
    }
    // Less than the five seconds for which a connection lingers.
    wait::until("none of them is held", secs(3), || descriptors(&site) <= before + 5);
    site.open("held");
    for wire in &mut within {
        assert_eq!(wire.reply(false).unwrap().status, 200);
        assert_eq!(wire.ask(&kept("/")).unwrap().status, 200);
    }
    drop(within);
    wait::until("their places are free", secs(10), || wire::get(site.addr, "/").is_ok_and(|reply| reply.status == 200));
    assert_eq!(site.log().matches("limits.connections is reached").count(), 1);
}

#[test]
fn a_request_that_was_sent_at_once_is_told_too() {
    let site = site("server.limits.connections = 1");
    let _within = held(&site, 1);
    for _ in 0..20 {
        assert_eq!(wire::get(site.addr, "/").unwrap().status, 503);
    }
}

#[test]
fn a_client_has_its_share_of_the_connections() {
    let site = site("server.limits.per_client = 2");
    let mut two: Vec<Wire> = (0..2).map(|_| Wire::connect(site.addr).unwrap()).collect();
    for wire in &mut two {
        assert_eq!(wire.ask(&kept("/")).unwrap().status, 200);
    }
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 503);
    // The other two are with a process's thread by now: it is there that the place is given back.
    drop(two.pop());
    wait::until("its place is free", secs(10), || wire::get(site.addr, "/").is_ok_and(|reply| reply.status == 200));
    assert_eq!(two[0].ask(&kept("/")).unwrap().status, 200);
}

#[test]
fn a_body_for_which_there_is_no_room_is_a_507() {
    let site = site("server.spool_max = \"100K\"");
    let upload = |bytes: usize| {
        let mut wire = Wire::connect(site.addr).unwrap();
        wire.send(format!("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {bytes}\r\n\r\n").as_bytes()).unwrap();
        // The answer may come, and the connection end, before all is sent.
        let _ = wire.send(&crate::bytes::pattern(0, bytes));
        wire.reply(false).map(|reply| (reply.status, reply.keep))
    };
    assert_eq!(upload(1024 * 1024), Ok((507, false)));
    assert_eq!(upload(80 * 1024), Ok((200, true)), "what was taken is given back");
    // Memory needs no room on the disk.
    assert_eq!(upload(10 * 1024), Ok((200, true)));
    assert!(site.log().contains("server.spool_max is reached"));
}

const TOO_LARGE: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1073741824\r\n\r\n";

#[test]
fn what_a_refused_client_still_sends_is_read_up_to_a_bound() {
    let site = site("limits.body = \"10K\"");
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(TOO_LARGE.as_bytes()).unwrap();
    let piece = vec![b'x'; 64 * 1024];
    let sent = (0..4096).take_while(|_| wire.stream.write_all(&piece).is_ok()).count() * piece.len();
    // 16 MiB, and what the two sockets hold.
    assert!((16 << 20..64 << 20).contains(&sent), "{sent} bytes were taken");
}

#[test]
fn a_refused_client_that_goes_silent_is_let_go() {
    let site = site("limits.body = \"10K\"\ntimeouts.pooled = \"0s\"");
    let mut before = 0;
    wait::until("nothing else is going on", secs(10), || {
        std::thread::sleep(millis(300));
        std::mem::replace(&mut before, descriptors(&site)) == before
    });
    let mut wire = Wire::connect(site.addr).unwrap();
    assert_eq!(wire.ask(TOO_LARGE).unwrap().status, 413);
    assert!(descriptors(&site) > before, "it is given time to take its answer");
    wait::until("its socket is not held", secs(30), || descriptors(&site) <= before);
    // Nobody is there to take it: a reset comes back.
    wait::until("it is told", secs(10), || wire.send(b"x").is_err());
}

/// 128 fields and 64 KiB; the app adds two fields of its own and the status line.
#[test]
fn an_answer_with_a_head_beyond_its_bounds_is_a_502() {
    let site = site("");
    let mut wire = Wire::connect(site.addr).unwrap();
    for (n, size, status) in [(126, 1, 200), (127, 1, 502), (1, 65_000, 200), (1, 65_536, 502), (100, 700, 502), (1, 10_000_000, 502)] {
        let reply = wire.ask(&kept(&format!("/many-fields?n={n}&size={size}"))).unwrap();
        assert_eq!((reply.status, reply.keep), (status, true), "{n} fields of {size} bytes");
    }
    assert_eq!(wire.ask(&kept("/")).unwrap().text(), "1");
}

#[test]
fn a_client_that_is_done_sending_is_answered_by_a_free_slot() {
    let site = site("");
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(kept("/?mark=half").as_bytes()).unwrap();
    wire.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(wire.reply(false).unwrap().status, 200);
    assert_eq!(wire.read_to_end().unwrap(), b"");
    assert_eq!(site.marks(), ["half"]);
}
