//! The loads that wrk cannot make: an exact number of requests between two words from the driver, a constant rate that does not wait for
//! slow answers, and many connections that wait and must still be there. Blocking, one thread per connection where it says nothing else;
//! small GET requests only.
//!
//! bench-load hold --connections N [--requests R] HOST:PORT
//!   Opens N connections and does one request on each, prints `ready`, waits for a line; does R more requests on each, prints
//!   `done COUNT`, and keeps all connections until its input ends. R = 0 (default) uses one thread for any number of connections.
//! bench-load idle --connections N HOST:PORT
//!   Opens N connections and does one request on each, prints `ready`. For each line on its input every connection, a few at a
//!   time, does one more request, which must bring the same body as the very first: how many did and why others did not is printed as one JSON
//!   object. No connection is ever made again: one that is lost stays lost. Closes them and ends with its input.
//! bench-load rate --connections N --rate PER_SECOND [--fresh] [--host NAME] HOST:PORT
//!   Sends at a constant rate (with --fresh: each request on a connection of its own; --host: what Host names). A line on its input ends a phase: the figures
//!   of the phase are printed as one JSON object. The end of its input ends the program.
//!
//! Latency counts from the moment a request was due, not from when it could be sent: a stall is seen by every request that it
//! delayed, not only by those that were under way.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let result = Options::from_args().and_then(|options| match options.mode {
        Mode::Hold => hold(&options),
        Mode::Rate => rate(&options),
        Mode::Idle => idle(&options),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-load: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    mode: Mode,
    connections: u32,
    requests: u32,
    /// Requests a second, over all connections.
    rate: f64,
    fresh: bool,
    target: Arc<Target>,
}

/// Where requests go, and the two that there are.
struct Target {
    address: SocketAddr,
    keep: Vec<u8>,
    close: Vec<u8>,
}

impl Target {
    fn new(address: SocketAddr, host: &str) -> Self {
        let request = |more: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n{more}\r\n").into_bytes();
        Self { address, keep: request(""), close: request("Connection: close\r\n") }
    }
}

enum Mode {
    Hold,
    Rate,
    Idle,
}

impl Options {
    fn from_args() -> Result<Options, String> {
        let mut args = std::env::args().skip(1);
        let mode = match args.next().as_deref() {
            Some("hold") => Mode::Hold,
            Some("rate") => Mode::Rate,
            Some("idle") => Mode::Idle,
            Some(_) | None => return Err("first argument: hold, rate or idle".into()),
        };
        let (mut connections, mut requests, mut rate, mut fresh, mut address) = (1, 0, 1.0_f64, false, None);
        let mut host = "bench".to_owned();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--connections" => connections = number(&arg, args.next())?,
                "--requests" => requests = number(&arg, args.next())?,
                "--rate" => rate = number(&arg, args.next())?,
                "--fresh" => fresh = true,
                "--host" => host = number(&arg, args.next())?,
                text => address = Some(text.parse().map_err(|_| format!("{text}: no option and no HOST:PORT"))?),
            }
        }
        if connections == 0 || !rate.is_finite() || rate <= 0.0 {
            return Err("--connections and --rate must be above 0".into());
        }
        Ok(Options { mode, connections, requests, rate, fresh, target: Arc::new(Target::new(address.ok_or("no HOST:PORT given")?, &host)) })
    }
}

fn number<T: std::str::FromStr>(option: &str, value: Option<String>) -> Result<T, String> {
    value.and_then(|value| value.parse().ok()).ok_or(format!("{option} wants a number"))
}

fn hold(options: &Options) -> Result<(), String> {
    let (mut clients, _) = open(options)?;
    println!("ready");
    let mut lines = io::stdin().lines();
    if lines.next().is_none() {
        return Ok(());
    }
    if options.requests > 0 {
        std::thread::scope(|scope| {
            let threads: Vec<_> = clients
                .iter_mut()
                .map(|client| scope.spawn(|| (0..options.requests).try_for_each(|_| client.request(true).map(drop))))
                .collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("a client thread does not panic"))
        })?;
    }
    println!("done {}", u64::from(options.requests) * u64::from(options.connections));
    lines.for_each(drop);
    Ok(())
}

fn idle(options: &Options) -> Result<(), String> {
    let (clients, body) = open(options)?;
    let mut clients: Vec<Option<Client>> = clients.into_iter().map(Some).collect();
    println!("ready");
    for _ in io::stdin().lines() {
        let (mut answered, mut lost) = (0, BTreeMap::<String, u64>::new());
        for batch in clients.chunks_mut(BATCH) {
            let sent: Vec<_> = batch.iter_mut().map(|kept| kept.as_mut().ok_or("lost before".to_owned())?.send(true)).collect();
            for (kept, sent) in batch.iter_mut().zip(sent) {
                match sent.and_then(|()| kept.as_mut().ok_or("lost before")?.right_answer(&body)) {
                    Ok(()) => answered += 1,
                    Err(failure) => {
                        *lost.entry(failure).or_default() += 1;
                        *kept = None;
                    }
                }
            }
        }
        println!("{}", serde_json::json!({ "answered": answered, "lost": lost }));
    }
    Ok(())
}

/// The connections, each of which has done a request, and the body that the first of them got.
fn open(options: &Options) -> Result<(Vec<Client>, Vec<u8>), String> {
    let mut clients = Vec::new();
    let mut body = None;
    let all = options.connections as usize;
    while clients.len() < all {
        let first = clients.len();
        for number in first..all.min(first + BATCH) {
            let mut client = Client::connect(&options.target).map_err(|failure| format!("connection {number}: {failure}"))?;
            client.send(true).map_err(|failure| format!("first request of connection {number}: {failure}"))?;
            clients.push(client);
        }
        for (i, client) in clients[first..].iter_mut().enumerate() {
            let answer = client.answer().map_err(|failure| format!("first request of connection {}: {failure}", first + i))?;
            body.get_or_insert(answer.body);
        }
    }
    Ok((clients, body.unwrap_or_default()))
}

fn rate(options: &Options) -> Result<(), String> {
    let phase = Arc::new(Mutex::new(Phase::default()));
    let start = Arc::new(Barrier::new(options.connections as usize + 1));
    let every = Duration::from_secs_f64(f64::from(options.connections) / options.rate);
    for number in 0..options.connections {
        let (phase, start) = (Arc::clone(&phase), Arc::clone(&start));
        let (target, fresh) = (Arc::clone(&options.target), options.fresh);
        // Connections take turns: their requests are spread evenly over the time.
        let offset = every.mul_f64(f64::from(number) / f64::from(options.connections));
        std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(move || {
                start.wait();
                send_at_rate(&target, fresh, Instant::now() + offset, every, &phase);
            })
            .map_err(|error| format!("thread {number}: {error}"))?;
    }
    start.wait();
    for _ in io::stdin().lock().lines() {
        let ended = std::mem::take(&mut *phase.lock().unwrap_or_else(PoisonError::into_inner));
        println!("{}", ended.json());
    }
    Ok(())
}

/// One connection's share of the load; ends with the process.
fn send_at_rate(target: &Arc<Target>, fresh: bool, first: Instant, every: Duration, phase: &Mutex<Phase>) {
    let mut kept: Option<Client> = None;
    let mut due = first;
    loop {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let outcome = one_request(target, fresh, &mut kept);
        let latency = due.elapsed();
        let mut phase = phase.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => phase.latencies.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX)),
            Err(failure) => *phase.failures.entry(failure).or_default() += 1,
        }
        due += every;
    }
}

fn one_request(target: &Arc<Target>, fresh: bool, kept: &mut Option<Client>) -> Result<(), String> {
    let mut client = match kept.take() {
        Some(client) => client,
        None => Client::connect(target)?,
    };
    // An answer that asks to close is no failure: the next request gets a new connection.
    if client.request(!fresh)?.kept == Kept::Yes && !fresh {
        *kept = Some(client);
    }
    Ok(())
}

/// What happened since the last line of input.
#[derive(Default)]
struct Phase {
    /// Microseconds of each answered request.
    latencies: Vec<u32>,
    /// Failed requests by what the client saw.
    failures: BTreeMap<String, u64>,
}

impl Phase {
    /// Latencies in microseconds.
    fn json(mut self) -> serde_json::Value {
        self.latencies.sort_unstable();
        let at = |share: f64| {
            let place = (self.latencies.len() as f64 * share) as usize;
            self.latencies.get(place.min(self.latencies.len().saturating_sub(1)))
        };
        serde_json::json!({
            "answered": self.latencies.len(), "failures": self.failures,
            "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": self.latencies.last(),
        })
    }
}

#[derive(PartialEq)]
enum Kept {
    Yes,
    No,
}

struct Answer {
    kept: Kept,
    body: Vec<u8>,
}

/// One client connection. Failures are sentences without numbers that vary, so that they can be counted by their text.
struct Client {
    stream: TcpStream,
    target: Arc<Target>,
}

impl Client {
    fn connect(target: &Arc<Target>) -> Result<Client, String> {
        let named = |step: &str, error: &io::Error| format!("{step}: {}", error.kind());
        let stream = TcpStream::connect_timeout(&target.address, PATIENCE).map_err(|error| named("connect", &error))?;
        stream.set_nodelay(true).map_err(|error| named("TCP_NODELAY", &error))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| named("read timeout", &error))?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(|error| named("write timeout", &error))?;
        Ok(Client { stream, target: Arc::clone(target) })
    }

    /// One GET and its whole answer; a status other than 200 is a failure.
    fn request(&mut self, keep: bool) -> Result<Answer, String> {
        self.send(keep)?;
        self.answer()
    }

    fn send(&mut self, keep: bool) -> Result<(), String> {
        let request = if keep { &self.target.keep } else { &self.target.close };
        self.stream.write_all(request).map_err(|error| format!("send: {}", error.kind()))
    }

    /// An answer with this body, behind which the connection goes on.
    fn right_answer(&mut self, body: &[u8]) -> Result<(), String> {
        let answer = self.answer()?;
        match answer.kept {
            _ if answer.body != body => Err("another body than at first".into()),
            Kept::No => Err("the answer ends the connection".into()),
            Kept::Yes => Ok(()),
        }
    }

    fn answer(&mut self) -> Result<Answer, String> {
        let mut buffer = [0; 4096];
        let mut length = 0;
        loop {
            match self.stream.read(&mut buffer[length..]) {
                Ok(0) if length == 0 => return Err("closed without an answer".into()),
                Ok(0) => return Err("closed within the answer, or an answer above 4 KiB".into()),
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err("no answer in time".into()),
                Err(error) => return Err(format!("receive: {}", error.kind())),
            }
            if let Some(answer) = whole_answer(&buffer[..length])? {
                return Ok(answer);
            }
        }
    }
}

/// None: more must come. The answers of the benchmark's backend and of the proxies' error pages have a Content-Length.
fn whole_answer(bytes: &[u8]) -> Result<Option<Answer>, String> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head) = response.parse(bytes).map_err(|error| format!("answer: {error}"))? else { return Ok(None) };
    match response.code {
        Some(200) => {}
        Some(status) => return Err(format!("status {status}")),
        None => return Err("answer without a status".into()),
    }
    let field = |name: &str| response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value);
    let length: usize = field("content-length")
        .and_then(|value| std::str::from_utf8(value).ok()?.parse().ok())
        .ok_or("answer without a usable Content-Length")?;
    if bytes.len() < head + length {
        return Ok(None);
    }
    let kept = match field("connection") {
        Some(value) if value.eq_ignore_ascii_case(b"close") => Kept::No,
        Some(_) | None => Kept::Yes,
    };
    Ok(Some(Answer { kept, body: bytes[head..head + length].to_vec() }))
}

/// Requests of `hold` and `idle` that are under way at a time: no more than a proxy takes without a queue.
const BATCH: usize = 64;
/// For a connect, and for each wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
