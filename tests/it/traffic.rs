//! The traffic of a deployment test: every kind at once, each client checking every byte of every answer. Bounded in rate, so that a machine
//! of two cores can keep up and nothing fails for lack of time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::bytes::{pattern, receipt};
use crate::streaming::{Came, EventStream, Ws};
use crate::tally::{Result_, Tally};
use crate::wire::{Reply, Trouble, Wire, kept};

/// A load that runs until it is stopped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    /// Of each client, but for those whose requests go on until somebody ends them.
    counted: Vec<Arc<AtomicUsize>>,
    clients: Vec<JoinHandle<Tally>>,
}

/// One kind of traffic: a name and what one client does again and again.
pub type Kind = (&'static str, fn(&mut Client) -> ());

/// All kinds.
pub const ALL: [Kind; 12] = [
    ("fresh", fresh),
    ("kept", keep_alive),
    ("pipelined", pipelined),
    ("post", post),
    ("upload", upload),
    ("paced", paced),
    ("slow reader", slow_reader),
    ("long", long),
    ("http/1.0", http10),
    ("expect", expect),
    ("sse", sse),
    ("websocket", websocket),
];

pub fn names(kinds: &[Kind]) -> Vec<&'static str> {
    kinds.iter().map(|(name, _)| *name).collect()
}

/// How many clients of a kind a load has for each time that the kind is in its list.
pub fn copies(kind: &str) -> usize {
    if matches!(kind, "fresh" | "kept" | "long") { 3 } else { 1 }
}

impl Load {
    /// One client of each kind, and more of the small ones.
    pub fn start(addr: SocketAddr, kinds: &[Kind]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut counted, mut clients) = (Vec::new(), Vec::new());
        for (name, work) in kinds {
            for _ in 0..copies(name) {
                let (stop, own, name, work) = (stop.clone(), Arc::<AtomicUsize>::default(), *name, *work);
                if !matches!(name, "sse" | "websocket") {
                    counted.push(own.clone());
                }
                clients.push(std::thread::spawn(move || {
                    let mut client = Client { addr, kind: name, stop, counted: own, wire: None, tally: Tally::default() };
                    while !client.stopped() {
                        work(&mut client);
                    }
                    client.tally
                }));
            }
        }
        Self { stop, counted, clients }
    }

    /// How many requests each client whose requests end by themselves has counted so far.
    pub fn counted(&self) -> Vec<usize> {
        self.counted.iter().map(|counted| counted.load(Ordering::SeqCst)).collect()
    }

    /// Ends it after the requests in hand; the whole count.
    pub fn stop(mut self) -> Tally {
        self.stop.store(true, Ordering::SeqCst);
        let mut tally = Tally::default();
        for client in std::mem::take(&mut self.clients) {
            tally.add(client.join().expect("a client does not panic"));
        }
        tally
    }
}

impl Drop for Load {
    /// A test that panics leaves nobody asking.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// One client of a load.
pub struct Client {
    addr: SocketAddr,
    kind: &'static str,
    stop: Arc<AtomicBool>,
    counted: Arc<AtomicUsize>,
    /// The kept connection.
    wire: Option<Wire>,
    tally: Tally,
}

impl Client {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn count(&mut self, sent: Instant, outcome: Result<Reply, Trouble>, right: impl Fn(&Reply) -> bool) {
        let result = match &outcome {
            Ok(reply) if reply.status != 200 => Result_::Status(reply.status),
            Ok(reply) if right(reply) => Result_::Ok,
            Ok(_) => Result_::WrongBody,
            Err(trouble) => Result_::Trouble(trouble.clone()),
        };
        if let Ok(reply) = &outcome
            && reply.status == 200
        {
            self.tally.saw(sent, reply.version());
        }
        if result != Result_::Ok {
            // A failing server is not hammered.
            std::thread::sleep(Duration::from_millis(20));
        }
        self.tally.count(self.kind, result);
        self.counted.fetch_add(1, Ordering::SeqCst);
    }

    /// A request on the kept connection, which is opened anew when it has ended.
    fn on_kept(&mut self, request: &str) -> Result<Reply, Trouble> {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::connect(self.addr)?,
        };
        let reply = wire.ask(request)?;
        if reply.keep {
            self.wire = Some(wire);
        }
        Ok(reply)
    }

    /// The end of a stream.
    fn streamed(&mut self, ended: Result<Result_, Trouble>) {
        let result = ended.unwrap_or_else(Result_::Trouble);
        if !matches!(result, Result_::Ok | Result_::Ended) {
            pause(20);
        }
        self.tally.count(self.kind, result);
    }

    fn once(&self, work: impl FnOnce(&mut Wire) -> Result<Reply, Trouble>) -> Result<Reply, Trouble> {
        work(&mut Wire::connect(self.addr)?)
    }
}

/// A small answer's body is the version that its head names.
fn is_version(reply: &Reply) -> bool {
    !reply.version().is_empty() && reply.text() == reply.version()
}

fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

fn fresh(client: &mut Client) {
    let sent = Instant::now();
    let reply = crate::wire::get(client.addr, "/");
    client.count(sent, reply, is_version);
    pause(8);
}

fn keep_alive(client: &mut Client) {
    let sent = Instant::now();
    let reply = client.on_kept(&kept("/"));
    client.count(sent, reply, is_version);
    pause(5);
}

fn pipelined(client: &mut Client) {
    let mut wire = match client.wire.take().map_or_else(|| Wire::connect(client.addr), Ok) {
        Ok(wire) => wire,
        Err(trouble) => return client.count(Instant::now(), Err(trouble), is_version),
    };
    let sent = Instant::now();
    let mut going = wire.send(kept("/").repeat(5).as_bytes());
    for _ in 0..5 {
        let reply = going.clone().and_then(|()| wire.reply(false));
        if let Err(trouble) = &reply {
            going = Err(trouble.clone());
        }
        client.count(sent, reply, is_version);
    }
    if going.is_ok() {
        client.wire = Some(wire);
    }
    pause(20);
}

fn post(client: &mut Client) {
    let body = pattern(0, 16 * 1024);
    let sent = Instant::now();
    let reply = client.once(|wire| {
        wire.send(format!("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes())?;
        wire.send(&body)?;
        wire.reply(false)
    });
    client.count(sent, reply, |reply| reply.text() == receipt(&body));
    pause(20);
}

fn upload(client: &mut Client) {
    let body = pattern(0, 1024 * 1024);
    let sent = Instant::now();
    let reply = client.once(|wire| {
        wire.send(format!("PUT /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes())?;
        wire.send(&body)?;
        wire.reply(false)
    });
    client.count(sent, reply, |reply| reply.text() == receipt(&body));
    pause(50);
}

/// A chunked upload that takes two seconds.
fn paced(client: &mut Client) {
    let body = pattern(0, 20 * 1000);
    let sent = Instant::now();
    let reply = client.once(|wire| {
        wire.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        for piece in body.chunks(1000) {
            wire.send(format!("{:x}\r\n", piece.len()).as_bytes())?;
            wire.send(piece)?;
            wire.send(b"\r\n")?;
            pause(100);
        }
        wire.send(b"0\r\n\r\n")?;
        wire.reply(false)
    });
    client.count(sent, reply, |reply| reply.text() == receipt(&body));
}

/// 10 MiB, read over about two seconds.
fn slow_reader(client: &mut Client) {
    const BYTES: usize = 10 * 1024 * 1024;
    let sent = Instant::now();
    let reply = client.once(|wire| {
        wire.send(format!("GET /bytes?n={BYTES} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").as_bytes())?;
        pause(300);
        let mut all = Vec::with_capacity(BYTES + 1000);
        let mut buffer = vec![0; 128 * 1024];
        loop {
            match std::io::Read::read(&mut wire.stream, &mut buffer) {
                Ok(0) => break,
                Ok(count) => all.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Err(Trouble::Reset),
                Err(_) => return Err(Trouble::Timeout),
            }
            pause(10);
        }
        let end = all.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or(Trouble::Closed)? + 4;
        let head = String::from_utf8_lossy(&all[..end]).into_owned();
        let status = head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let body = all.split_off(end);
        if status == 200 && body.len() < BYTES {
            return Err(Trouble::Cut);
        }
        Ok(Reply { status, head, body, keep: false })
    });
    client.count(sent, reply, |reply| reply.body == pattern(0, BYTES));
}

fn long(client: &mut Client) {
    let sent = Instant::now();
    let reply = client.on_kept(&kept("/sleep?ms=800"));
    client.count(sent, reply, is_version);
}

fn http10(client: &mut Client) {
    let sent = Instant::now();
    let reply = client.once(|wire| wire.ask("GET / HTTP/1.0\r\n\r\n"));
    client.count(sent, reply, is_version);
    pause(20);
}

fn expect(client: &mut Client) {
    let body = pattern(0, 3000);
    let sent = Instant::now();
    let reply = client.once(|wire| {
        wire.send(
            format!("PUT /echo HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
        )?;
        let go = wire.take(b"HTTP/1.1 100 Continue\r\n\r\n".len())?;
        if go != b"HTTP/1.1 100 Continue\r\n\r\n" {
            return Err(Trouble::Garbled(String::from_utf8_lossy(&go).into_owned()));
        }
        wire.send(&body)?;
        wire.reply(false)
    });
    client.count(sent, reply, |reply| reply.text() == receipt(&body));
    pause(20);
}

/// Follows an event stream over all its ends: no event is missed, none comes twice.
fn sse(client: &mut Client) {
    let mut last_id = 0;
    while !client.stopped() {
        let sent = Instant::now();
        let ended = EventStream::connect(client.addr, "/sse?ms=20", last_id).and_then(|mut stream| {
            client.tally.saw(sent, stream.version());
            while !client.stopped() {
                if stream.next()?.is_none() {
                    return Ok(Result_::Ended);
                }
                last_id = stream.last_id;
                if last_id.is_multiple_of(10) {
                    client.tally.count(client.kind, Result_::Ok);
                }
            }
            Ok(Result_::Ok)
        });
        client.streamed(ended);
    }
}

/// Talks, and is talked to, over one WebSocket after the other.
fn websocket(client: &mut Client) {
    while !client.stopped() {
        let sent = Instant::now();
        let ended = Ws::connect(client.addr, "/ws?push=30&size=100000&parts=5&pause=1").and_then(|mut ws| {
            client.tally.saw(sent, &ws.version);
            for number in 0.. {
                if client.stopped() {
                    break;
                }
                let text = format!("message {number}").repeat(50);
                ws.send(&text)?;
                loop {
                    match ws.next()? {
                        Came::Pushed => {}
                        Came::Text(echo) if echo == text => break client.tally.count(client.kind, Result_::Ok),
                        Came::Text(_) => return Ok(Result_::WrongBody),
                        Came::Close(1012) => return if ws.next()? == Came::End { Ok(Result_::Ended) } else { Ok(Result_::WrongBody) },
                        Came::Close(_) | Came::End => return Err(Trouble::Closed),
                    }
                }
                pause(20);
            }
            Ok(Result_::Ok)
        });
        client.streamed(ended);
    }
}
