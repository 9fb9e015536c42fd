//! The room for large bodies, when one client wants all of it: the others find theirs, and nobody who is alone is kept from any.

use std::time::Duration;

use crate::bytes::{pattern, receipt};
use crate::site::Site;
use crate::wait::{self, millis, secs};
use crate::wire::{self, Trouble, Wire, kept};

const APP: &str = "bind = \"unix\"\nprobation = \"1ms\"\nserver.spool_max = \"10M\"\n";
const SPOOL: usize = 10 << 20;

fn upload(site: &Site, from: &str, bytes: usize) -> Result<u16, Trouble> {
    let mut wire = Wire::connect_from(from, site.addr)?;
    wire.send(format!("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {bytes}\r\n\r\n").as_bytes())?;
    let body = pattern(0, bytes);
    // The answer may come, and the connection end, before all is sent.
    let _ = wire.send(&body);
    let reply = wire.reply(false)?;
    assert!(reply.status != 200 || reply.text() == receipt(&body));
    Ok(reply.status)
}

/// A body that comes quickly but for its last bytes, of which one comes now and then, until the value is dropped.
struct Hog {
    wire: Wire,
}

impl Hog {
    fn new(site: &Site, from: &str, bytes: usize) -> Self {
        let mut wire = Wire::connect_from(from, site.addr).unwrap();
        wire.send(format!("PUT /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {bytes}\r\n\r\n").as_bytes()).unwrap();
        wire.stream.set_write_timeout(Some(millis(500))).unwrap();
        let _ = wire.send(&pattern(0, bytes - 1000));
        Self { wire }
    }

    fn drip(&mut self) {
        let _ = self.wire.send(b"x");
    }
}

#[test]
fn whoever_sends_much_and_then_a_byte_now_and_then_keeps_nobody_from_room() {
    // One that wants all, one that is content with what one may have, and some that have all together; of the visitor's address and of others.
    for sizes in [vec![SPOOL - 80_000], vec![SPOOL / 8 * 7 - 2000], vec![3_000_000, 3_000_000, 2_900_000], vec![150_000; 60]] {
        for from in ["127.0.0.1", "127.0.0.2"] {
            let site = Site::start(APP);
            let mut hogs: Vec<Hog> = sizes.iter().map(|bytes| Hog::new(&site, from, *bytes)).collect();
            for _ in 0..5 {
                hogs.iter_mut().for_each(Hog::drip);
                let (count, first) = (sizes.len(), sizes[0]);
                assert_eq!(upload(&site, "127.0.0.1", 200_000), Ok(200), "beside {count} of {first} bytes, from {from}");
            }
        }
    }
}

#[test]
fn a_client_alone_may_have_nearly_all_and_a_body_that_never_fits_is_told_at_once() {
    let site = Site::start(APP);
    assert_eq!(upload(&site, "127.0.0.1", SPOOL / 8 * 7 - 1000), Ok(200));
    assert_eq!(upload(&site, "127.0.0.1", SPOOL / 8 * 7 + 1000), Ok(507));
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(format!("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {SPOOL}\r\n\r\n").as_bytes()).unwrap();
    let reply = wire.reply(false).unwrap();
    assert_eq!(reply.status, 507, "nobody has to send it first");
}

/// Reads nothing of its answer, and has little room for it.
fn slow_reader(site: &Site, from: &str, bytes: usize) -> Wire {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    socket.bind(&std::net::SocketAddr::new(from.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&site.addr.into()).unwrap();
    let mut wire = Wire::over(socket.into()).unwrap();
    wire.send(kept(&format!("/bytes?n={bytes}")).as_bytes()).unwrap();
    wire
}

#[test]
fn slow_readers_hold_no_slot_when_they_have_filled_the_room() {
    let site = Site::start(&format!("{APP}concurrency = 4\nprocesses = 1\nserver.access_log = \"combined\"\n"));
    let _readers: Vec<Wire> = (0..40).map(|_| slow_reader(&site, "127.0.0.2", 4 << 20)).collect();
    // Each of the readers has had its slot, or has been cut.
    for _ in 0..10 {
        assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
    }
    wait::until("all have had their slot", secs(60), || site.waiting() == 0);
    for _ in 0..10 {
        assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
        assert_eq!(upload(&site, "127.0.0.1", 200_000), Ok(200));
    }
    let said = "the client took its answer too slowly, and others needed its room of server.spool_max";
    assert!(site.log().contains(said));
}

#[test]
fn readers_that_take_their_answers_are_not_cut_for_those_that_do_not() {
    let site = Site::start(&format!("{APP}concurrency = 4\nprocesses = 1\n"));
    let _readers: Vec<Wire> = (0..20).map(|_| slow_reader(&site, "127.0.0.2", 4 << 20)).collect();
    for _ in 0..5 {
        let mut wire = slow_reader(&site, "127.0.0.1", 3 << 20);
        let mut taken = 0;
        while taken < 3 << 20 {
            let piece = wire.some().unwrap();
            assert!(!piece.is_empty(), "cut after {taken} bytes");
            taken += piece.len();
        }
    }
}

#[test]
fn a_body_that_began_quickly_and_drips_is_a_408() {
    let site = Site::start(&format!("{APP}server.timeouts.body = \"1s\"\nserver.limits.body_rate = \"1K\"\n"));
    let mut hog = Hog::new(&site, "127.0.0.1", 1 << 20);
    hog.wire.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let reply = wait::found("it is told", secs(30), || {
        hog.drip();
        hog.wire.reply(false).ok()
    });
    assert_eq!((reply.status, reply.keep), (408, false));
}
