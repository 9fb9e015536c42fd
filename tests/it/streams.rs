//! Event streams and WebSockets when their process is replaced: each ends where nothing is cut, with the end that its protocol has for that,
//! not all at once, and none holds the drain for longer than `drain.upgraded`.

use std::io::Write;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use crate::site::Site;
use crate::streaming::{Came, EventStream, Ws, raw_websocket};
use crate::wait::{self, millis, secs};
use crate::wire::{self, Trouble, Wire, kept};

/// What a stream that nothing else ends would hold its process for.
const DRAIN_TIMEOUT: Duration = secs(60);
/// As drain.upgraded: so long that a deployment is done before it, unless it waits for it.
const LONG: Duration = secs(50);

const APP: &str = "processes = 1\nconcurrency = 64\nbind = \"unix\"\nprobation = \"1ms\"";

/// An app whose streams have this long, and whose requests longer.
fn site(upgraded: Duration) -> Site {
    let (upgraded, timeout) = (upgraded.as_millis(), DRAIN_TIMEOUT.as_secs());
    Site::start(&format!("{APP}\ndrain.upgraded = \"{upgraded}ms\"\ndrain.timeout = \"{timeout}s\""))
}

/// Deploys release 2; how long that took.
fn deploy(site: &Site) -> Duration {
    let begin = Instant::now();
    site.deploy("2", "").expect(0);
    begin.elapsed()
}

/// The first bytes of the close frame that rota sends: FIN and opcode 8, a length, 1012.
fn is_restart_close(frame: &[u8]) -> bool {
    matches!(frame, [0x88, length, 0x03, 0xf4, reason @ ..] if usize::from(*length) == reason.len() + 2)
}

#[test]
fn every_stream_ends_between_two_messages_and_not_all_at_once() {
    const EACH: usize = 8;
    let upgraded = secs(3);
    let site = site(upgraded);
    let (tell, ends) = std::sync::mpsc::channel::<Instant>();
    let follow_ws = |tell: Sender<Instant>| {
        let mut ws = Ws::connect(site.addr, "/ws?push=5&size=200000&parts=10&pause=2").unwrap();
        assert_eq!(ws.next(), Ok(Came::Pushed));
        move || {
            let mut came = ws.next();
            while came == Ok(Came::Pushed) {
                came = ws.next();
            }
            tell.send(Instant::now()).unwrap();
            assert_eq!((came, ws.next()), (Ok(Came::Close(1012)), Ok(Came::End)));
        }
    };
    let follow_sse = |tell: Sender<Instant>| {
        let mut stream = EventStream::connect(site.addr, "/sse?ms=20", 0).unwrap();
        assert_eq!(stream.next(), Ok(Some(1)));
        move || {
            while stream.next().unwrap().is_some() {}
            tell.send(Instant::now()).unwrap();
            // The same connection goes on, and so does the stream, at another process.
            let last_id = stream.last_id;
            let request = format!("GET /sse?ms=20 HTTP/1.1\r\nHost: test\r\nLast-Event-ID: {last_id}\r\n\r\n");
            let mut stream = EventStream::open(stream.into_wire(), &request, last_id, "\n").unwrap();
            assert_eq!((stream.next(), stream.version()), (Ok(Some(last_id + 1)), "2"));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..EACH {
            scope.spawn(follow_ws(tell.clone()));
            scope.spawn(follow_sse(tell.clone()));
        }
        drop(tell);
        assert!(deploy(&site) < DRAIN_TIMEOUT, "the streams held it");
    });
    let mut ends: Vec<Instant> = ends.iter().collect();
    ends.sort();
    assert_eq!(ends.len(), 2 * EACH);
    let early = ends.iter().filter(|end| **end - ends[0] < upgraded / 10).count();
    assert!(early < EACH, "{early} of {} in the first tenth of the time", ends.len());
    assert!(!site.log().contains("it is cut"), "{}", site.log());
}

#[test]
fn a_message_under_way_is_finished_before_the_close_and_the_app_is_told_too() {
    let site = site(LONG);
    let mut ws = Ws::connect(site.addr, "/ws?push=10000&size=8000000&parts=40&pause=25&mark=ws").unwrap();
    wait::until("the message is under way", secs(10), || site.marks().contains(&"ws-pushed".to_owned()));
    std::thread::scope(|scope| {
        let deploy = scope.spawn(|| deploy(&site));
        assert_eq!(ws.next(), Ok(Came::Pushed), "8 MB in 40 frames");
        assert_eq!((ws.next(), ws.next()), (Ok(Came::Close(1012)), Ok(Came::End)));
        assert!(deploy.join().unwrap() < LONG);
    });
    wait::until("the app has a close frame", secs(5), || site.marks().contains(&"ws-1012".to_owned()));
    assert!(!site.log().contains("it is cut"), "{}", site.log());
}

#[test]
fn the_close_for_the_app_waits_for_the_end_of_the_frame_that_the_client_is_sending() {
    let site = site(LONG);
    let mut wire = raw_websocket(site.addr, "/ws?mark=ws");
    // A text frame of 5 bytes, masked with zeros, of which the last byte is missing.
    wire.send(b"\x81\x85\0\0\0\0hell").unwrap();
    std::thread::scope(|scope| {
        let deploy = scope.spawn(|| deploy(&site));
        let close = wire.take(2).and_then(|head| Ok([head.clone(), wire.take(usize::from(head[1]))?].concat())).unwrap();
        assert!(is_restart_close(&close), "{close:?}");
        // The echo of what the app still gets does not come any more; our close frame behind it does what the client has to do.
        wire.send(b"o\x88\x82\0\0\0\0\x03\xf4").unwrap();
        assert_eq!(wire.read_to_end(), Ok(Vec::new()));
        deploy.join().unwrap();
    });
    wait::until("the app has one close frame", secs(5), || site.marks() == ["ws", "ws-1012"]);
}

#[test]
fn a_client_that_does_not_answer_the_close_does_not_hold_the_drain() {
    let site = site(LONG);
    let mut wire = raw_websocket(site.addr, "/ws?push=5");
    assert!(deploy(&site) < LONG, "it waited for drain.upgraded");
    let all = wire.read_to_end().unwrap();
    let close = all.iter().rposition(|byte| *byte == 0x88).expect("a close frame");
    assert!(is_restart_close(&all[close..]), "the last that came: {:?}", &all[close..]);
    assert!(!site.log().contains("it is cut"), "{}", site.log());
}

#[test]
fn an_app_that_does_not_answer_the_close_does_not_hold_the_drain() {
    let site = site(LONG);
    let mut ws = Ws::connect(site.addr, "/ws?push=5&deaf=1").unwrap();
    std::thread::scope(|scope| {
        let deploy = scope.spawn(|| deploy(&site));
        let mut came = ws.next();
        while came == Ok(Came::Pushed) {
            came = ws.next();
        }
        assert_eq!((came, ws.next()), (Ok(Came::Close(1012)), Ok(Came::End)));
        assert!(deploy.join().unwrap() < LONG, "it waited for drain.upgraded");
    });
}

#[test]
fn a_client_that_reads_nothing_is_cut_at_the_limit_and_the_log_says_so() {
    let site = site(secs(1));
    let mut wire = raw_websocket(site.addr, "/ws?push=0&size=50000000&parts=500&mark=ws");
    wait::until("messages are under way", secs(10), || site.marks().contains(&"ws-pushed".to_owned()));
    assert!(deploy(&site) < DRAIN_TIMEOUT, "it held the drain");
    let log = site.log();
    assert!(
        log.contains("GET /ws?push=0&size=50000000&parts=500&mark=ws: WebSocket still there at the end of drain.upgraded; it is cut"),
        "{log}"
    );
    // The beginning of a message, and no more than that.
    let came = wire.read_to_end();
    assert!(came.as_ref().map_or_else(|trouble| *trouble == Trouble::Reset, |bytes| bytes.len() < 50_000_000), "{came:?}");
}

#[test]
fn a_websocket_that_its_client_has_begun_to_close_is_left_to_its_two_sides() {
    let site = site(secs(1));
    let mut wire = raw_websocket(site.addr, "/ws?deaf=1&mark=ws");
    wire.send(b"\x88\x82\0\0\0\0\x03\xe8").unwrap();
    wait::until("the app knows", secs(10), || site.marks().contains(&"ws-1000".to_owned()));
    deploy(&site);
    assert_eq!(wire.read_to_end(), Ok(Vec::new()), "no close frame but the app's, which does not come");
    assert!(site.log().contains("it is cut"), "{}", site.log());
}

#[test]
fn what_is_upgraded_to_something_else_has_until_the_limit() {
    let site = site(secs(1));
    let mut wire = Wire::connect(site.addr).unwrap();
    let reply = wire.ask("GET /upgrade HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n").unwrap();
    assert_eq!(reply.status, 101);
    std::thread::scope(|scope| {
        let deploy = scope.spawn(|| deploy(&site));
        wait::until("its process drains", secs(10), || site.processes().iter().any(|(_, _, _, state)| state == "draining"));
        wire.send(b"still there").unwrap();
        assert_eq!(wire.take(11).unwrap(), b"still there");
        deploy.join().unwrap();
    });
    assert!(wire::is_closed(&mut wire.stream, secs(5)));
}

#[test]
fn an_event_stream_ends_behind_an_event_whatever_its_line_ends_and_its_framing() {
    let site = site(secs(2));
    let mut streams = Vec::new();
    for (name, eol) in [("lf", "\n"), ("cr", "\r"), ("crlf", "\r\n")] {
        for framing in ["chunked", "close"] {
            for version in ["1.1", "1.0"] {
                let request = format!("GET /sse?ms=30&eol={name}&framing={framing} HTTP/{version}\r\nHost: test\r\n\r\n");
                let mut stream = EventStream::open(Wire::connect(site.addr).unwrap(), &request, 0, eol).unwrap();
                assert_eq!(stream.next(), Ok(Some(1)));
                streams.push((version, stream));
            }
        }
    }
    deploy(&site);
    for (version, mut stream) in streams {
        while stream.next().unwrap().is_some() {}
        // The end of the connection was the end of the stream, or the connection goes on.
        let next = stream.into_wire().ask(&kept("/")).map(|reply| reply.text());
        assert_eq!(next.is_ok(), version == "1.1", "{next:?}");
    }
    assert!(!site.log().contains("it is cut"), "{}", site.log());
}

#[test]
fn an_event_stream_in_the_middle_of_an_event_is_ended_at_the_limit_all_the_same() {
    let site = site(secs(1));
    let mut stream = EventStream::connect(site.addr, "/sse?ms=10&halt=3", 0).unwrap();
    while stream.last_id < 2 {
        stream.next().unwrap();
    }
    assert!(deploy(&site) < DRAIN_TIMEOUT);
    assert_eq!(stream.next(), Err(Trouble::Cut), "the half event is seen to be none");
    assert_eq!(stream.into_wire().ask(&kept("/")).unwrap().text(), "2", "the framing is whole");
    assert!(site.log().contains("event stream still there at the end of drain.upgraded; it is cut"), "{}", site.log());
}

#[test]
fn an_event_stream_of_a_declared_length_is_a_response_like_any_other() {
    let site = site(millis(200));
    let mut stream = EventStream::connect(site.addr, "/sse?ms=50&framing=length&n=30", 0).unwrap();
    assert_eq!(stream.next(), Ok(Some(1)));
    deploy(&site);
    while stream.last_id < 30 {
        assert!(stream.next().unwrap().is_some());
    }
}

#[test]
fn a_stream_that_begins_while_its_process_drains_is_sent_on_at_once() {
    let site = site(LONG);
    let mut held = Wire::connect(site.addr).unwrap();
    held.stream.write_all(kept("/hold?name=gate&mark=held&then=sse").as_bytes()).unwrap();
    wait::until("it is with the app", secs(10), || site.marks().contains(&"held".to_owned()));
    std::thread::scope(|scope| {
        let deploy = scope.spawn(|| deploy(&site));
        wait::until("its process drains", secs(10), || site.processes().iter().any(|(_, _, _, state)| state == "draining"));
        site.open("gate");
        let reply = held.reply(false).unwrap();
        assert_eq!((reply.version(), reply.keep), ("1", true));
        assert!(reply.body.is_empty() || reply.text().ends_with("\n\n"), "{:?}", reply.text());
        assert!(deploy.join().unwrap() < LONG);
    });
}

#[test]
fn a_server_that_stops_closes_its_streams_too() {
    let mut site = site(secs(2));
    let mut ws = Ws::connect(site.addr, "/ws").unwrap();
    let mut stream = EventStream::connect(site.addr, "/sse?ms=20", 0).unwrap();
    assert_eq!(stream.next(), Ok(Some(1)));
    site.signal(rustix::process::Signal::TERM);
    assert_eq!((ws.next(), ws.next()), (Ok(Came::Close(1012)), Ok(Came::End)));
    while stream.next().unwrap().is_some() {}
    assert_eq!(site.wait_end(LONG), Some(0), "it did not wait for drain.timeout");
}

#[test]
fn a_websocket_is_left_alone_as_long_as_nothing_drains() {
    let site = site(secs(1));
    let mut ws = Ws::connect(site.addr, "/ws?push=3&size=70000&parts=3").unwrap();
    let mut pushed = 0;
    for number in 0..50 {
        ws.send(&format!("{number}")).unwrap();
        loop {
            match ws.next().unwrap() {
                Came::Pushed => pushed += 1,
                Came::Text(text) => break assert_eq!(text, format!("{number}")),
                other => panic!("{other:?}"),
            }
        }
        std::thread::sleep(millis(2));
    }
    assert!(pushed > 0);
    // Frames that a hand has cut to pieces arrive as they were.
    let mut wire = raw_websocket(site.addr, "/ws");
    for byte in b"\x81\x85\0\0\0\0hello" {
        wire.send(&[*byte]).unwrap();
        std::thread::sleep(millis(1));
    }
    assert_eq!(wire.take(7).unwrap(), b"\x81\x05hello");
}
