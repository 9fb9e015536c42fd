//! Is the process ready? An HTTP answer below 500 to `ready.path` on its new socket says yes; a connect says nothing (many servers
//! listen before the app is loaded). Time can only say no. Then each path of `warmup` is asked for once; whatever it answers, it was asked.
//!
//! Also the spawn's own report: end of file when the program was executed, a sentence when it was not.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};

use super::upstream::Owner;
use super::{IoThread, Name};
use crate::config::AppConfig;
use crate::http::head::{self, HeaderRoom};
use crate::pool::{Failure, FailureKind};
use crate::restart::shim::ShimError;
use crate::restart::spawn::Endpoint;
use crate::sys::{self, ListenerOwner};

/// The question in progress.
#[derive(Debug)]
pub struct Probe {
    host: String,
    request: Vec<u8>,
    /// What is asked for.
    path: String,
    /// Still to be asked for.
    warmup: VecDeque<String>,
    /// None: whether it is ready is still the question. Else the status that the path of the warm-up was answered with, if it was.
    warming: Option<Option<u16>>,
    status: Option<u16>,
    timeout: Duration,
    port: Option<u16>,
    /// Which address of the port it is asked on.
    address: IpAddr,
    began: Instant,
    /// Not ready by then: it will not be.
    until: Instant,
    /// Until when it leaves the processor to those that serve; None: no longer.
    aside: Option<Instant>,
    /// When to try again, or to give up on the answer that is awaited.
    next: Instant,
    pause: Duration,
    upstream: Option<usize>,
    sent: usize,
    /// What the last try saw.
    last: String,
    /// Somebody took a request, whatever came of it.
    was_answered: bool,
}

/// The report of the spawn.
#[derive(Debug)]
pub struct Report {
    socket: mio::net::UnixStream,
    text: Vec<u8>,
}

impl Probe {
    pub fn new(app: &AppConfig, host: &str, endpoint: &Endpoint, aside: bool, now: Instant) -> Self {
        let path = app.ready.path.clone();
        let (port, last) = match endpoint {
            Endpoint::Tcp(addr) => (Some(addr.port()), format!("nothing listens on $PORT {}", addr.port())),
            Endpoint::Unix(_) => (None, "nothing listens on its socket".to_owned()),
        };
        Self {
            request: request(&path, host),
            host: host.to_owned(),
            path,
            warmup: app.warmup.iter().cloned().collect(),
            warming: None,
            status: app.ready.status,
            timeout: app.ready.timeout,
            port,
            address: Ipv4Addr::LOCALHOST.into(),
            began: now,
            until: now + app.ready.timeout,
            aside: aside.then_some(now + ASIDE),
            next: now + FIRST_TRY,
            pause: FIRST_TRY,
            upstream: None,
            sent: 0,
            last,
            was_answered: false,
        }
    }

    /// Nobody looked for so long: it may have become ready meanwhile.
    pub fn put_off(&mut self, by: Duration, now: Instant) {
        self.until = (self.until + by).max(now + AFTER_SLEEP);
        self.next = if self.upstream.is_some() { self.next + by } else { now };
    }

    pub fn next_deadline(&self) -> Instant {
        self.aside.map_or(self.next, |aside| self.next.min(aside)).min(self.until)
    }

    /// Goes on to the next path of the warm-up, at once. False: there is none.
    fn warm(&mut self, now: Instant) -> bool {
        let Some(path) = self.warmup.pop_front() else { return false };
        self.request = request(&path, &self.host);
        self.last = format!("the warm-up asked for {path}");
        self.path = path;
        self.warming = Some(None);
        self.next = now;
        self.upstream = None;
        true
    }

    fn accepts(&self, status: u16) -> bool {
        match self.status {
            Some(wanted) => status == wanted,
            None => status < 500,
        }
    }
}

fn request(path: &str, host: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: rota\r\nX-Forwarded-Proto: http\r\nConnection: close\r\n\r\n").into_bytes()
}

impl Report {
    pub fn new(socket: std::os::unix::net::UnixStream, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut socket = mio::net::UnixStream::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Self { socket, text: Vec::new() })
    }
}

impl IoThread {
    /// The spawn's report: the program runs, or it does not and why.
    pub(super) fn read_report(&mut self) {
        let Some(report) = &mut self.report else { return };
        let mut buffer = [0; 4096];
        loop {
            match report.socket.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) if report.text.len() < MAX_REPORT => report.text.extend_from_slice(&buffer[..count]),
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let text = std::mem::take(&mut report.text);
        self.report = None;
        if !text.is_empty() {
            self.start_failed(ShimError::parse(&text).into_failure_kind());
        }
    }

    /// Tries, gives up on an answer that does not come, or gives up altogether.
    pub(super) fn probe_deadline(&mut self) {
        let Some(probe) = &mut self.probe else { return };
        if self.desk.now >= probe.until {
            let (after, mut last) = (probe.timeout, probe.last.clone());
            if !probe.was_answered {
                last = elsewhere(last, probe.port, self.pid);
            }
            return self.start_failed(FailureKind::NotReady { after, last });
        }
        if probe.aside.take_if(|until| self.desk.now >= *until).is_some() {
            sys::step_up(self.pid, self.nice);
        }
        if self.desk.now < probe.next {
            return;
        }
        if let Some(upstream) = probe.upstream.take() {
            probe.last = format!("GET {} was not answered within {ANSWER_SECONDS} s", probe.path);
            probe.was_answered = true;
            self.upstreams.close(upstream);
        }
        match self.upstreams.open(Owner::Probe, self.poll.registry(), Name::upstream) {
            Ok(upstream) => {
                probe.upstream = Some(upstream);
                probe.sent = 0;
                // What a warm-up is for may take its time; `timeout` bounds it.
                probe.next = match probe.warming {
                    None => self.desk.now + Duration::from_secs(ANSWER_SECONDS),
                    Some(_) => probe.until,
                };
                self.probe_event(upstream);
            }
            Err(_) => self.probe_again(None),
        }
    }

    /// Something happened on the probe's connection.
    pub(super) fn probe_event(&mut self, upstream_key: usize) {
        let Some(probe) = &mut self.probe else { return self.upstreams.close(upstream_key) };
        let upstream = &mut self.upstreams.all[upstream_key];
        while probe.sent < probe.request.len() {
            match upstream.socket.write(&probe.request[probe.sent..]) {
                Ok(written) => probe.sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if probe.sent == 0 => return self.probe_again(None),
                Err(error) => return self.probe_again(Some(format!("the connection broke: {error}"))),
            }
        }
        let mut buffer = [0; 4096];
        loop {
            match upstream.socket.read(&mut buffer) {
                Ok(0) if probe.warming.is_some() => return self.warmed(upstream_key),
                Ok(0) => {
                    let last = format!("GET {} was closed without an answer", probe.path);
                    return self.probe_again(Some(last));
                }
                // The rest of the page: read out, so that the app has sent it whole.
                Ok(_) if matches!(probe.warming, Some(Some(_))) => continue,
                Ok(count) => upstream.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return self.probe_again(Some(format!("the connection broke: {error}"))),
            }
            let mut room = HeaderRoom::new();
            let status = match head::parse_response(&upstream.input, &mut room) {
                Ok(None) => continue,
                Ok(Some((head, _))) if head.status >= 200 => head.status,
                Ok(Some((_, used))) => {
                    upstream.input.drain(..used);
                    continue;
                }
                Err(bad) => {
                    let last = format!("GET {} was answered with what is no HTTP response: {}", probe.path, bad.reason());
                    return self.probe_again(Some(last));
                }
            };
            if let Some(answer) = &mut probe.warming {
                *answer = Some(status);
                continue;
            }
            if probe.accepts(status) {
                return self.answered(upstream_key);
            }
            let last = format!("GET {} answered {status}", probe.path);
            return self.probe_again(Some(last));
        }
    }

    fn probe_again(&mut self, last: Option<String>) {
        let Some(probe) = &mut self.probe else { return };
        if let (Some(_), Some(upstream)) = (probe.warming, probe.upstream) {
            return self.warmed(upstream);
        }
        if let Some(upstream) = probe.upstream.take() {
            self.upstreams.close(upstream);
        }
        match (last, probe.port) {
            (Some(last), _) => {
                probe.last = last;
                probe.was_answered = true;
            }
            // Nobody listens there: perhaps on another address of the port.
            (None, Some(port)) if probe.pause >= UNHURRIED => self.look_for_listener(port),
            (None, _) => {}
        }
        let Some(probe) = &mut self.probe else { return };
        probe.next = self.desk.now + probe.pause;
        probe.pause = (probe.pause * 3 / 2).min(LAST_TRY);
    }

    /// A path of the warm-up has been asked for.
    fn warmed(&mut self, upstream_key: usize) {
        let Some(probe) = &self.probe else { return };
        match probe.warming.flatten() {
            Some(status) if status < 500 => {}
            Some(status) => log::warn!("{} pid {}: warm-up: GET {} answered {status}", self.name, self.pid, probe.path),
            None => log::warn!("{} pid {}: warm-up: GET {} was not answered", self.name, self.pid, probe.path),
        }
        self.go_on_warming(upstream_key);
    }

    fn go_on_warming(&mut self, upstream_key: usize) {
        self.upstreams.close(upstream_key);
        let now = self.desk.now;
        match self.probe.as_mut().is_some_and(|probe| probe.warm(now)) {
            true => self.probe_deadline(),
            false => self.is_ready(),
        }
    }

    /// The answer is yes, if it is our process that gave it.
    fn answered(&mut self, upstream_key: usize) {
        let Some(probe) = &self.probe else { return };
        if let Some(port) = probe.port {
            match sys::listener_owner(port, self.pid) {
                ListenerOwner::Ours(addresses) => {
                    let Some(own) = chosen(probe.address, &addresses) else { return self.ask_elsewhere(port, &addresses, upstream_key) };
                    self.note_address(port, own);
                }
                ListenerOwner::Foreign(_) => {
                    self.upstreams.close(upstream_key);
                    return self
                        .start_failed(FailureKind::WrongListener(format!("port {port} is answered by a process that is not the app's")));
                }
                // Its books could not be read (hidepid, a container): nothing speaks against it.
                ListenerOwner::Unknown => {}
            }
        }
        self.go_on_warming(upstream_key);
    }

    /// Another process answers where the app was asked, and the app listens on another address of the port.
    fn ask_elsewhere(&mut self, port: u16, addresses: &[IpAddr], upstream_key: usize) {
        self.upstreams.close(upstream_key);
        self.move_to(port, addresses);
        let now = self.desk.now;
        if let Some(probe) = &mut self.probe {
            probe.upstream = None;
            probe.next = now + probe.pause;
        }
    }

    /// Where the app's own processes listen on its port, if not where it was asked.
    fn look_for_listener(&mut self, port: u16) {
        if let ListenerOwner::Ours(addresses) = sys::listener_owner(port, self.pid) {
            self.move_to(port, &addresses);
        }
    }

    fn move_to(&mut self, port: u16, addresses: &[IpAddr]) {
        let Some(probe) = &mut self.probe else { return };
        let Some(address) = addresses.iter().copied().filter_map(reached_at).find(|address| *address != probe.address) else { return };
        probe.address = address;
        self.upstreams.move_to(SocketAddr::new(address, port));
    }

    /// Says where the app listens, where that is not what it was told. `address`: of its listener.
    fn note_address(&self, port: u16, address: IpAddr) {
        let (name, pid, at) = (&self.name, self.pid, SocketAddr::new(address, port));
        if address.is_unspecified() {
            log::warn!("{name} pid {pid}: listens on every address, not on 127.0.0.1 alone: port {port} can be reached from outside");
        } else if !address.to_canonical().is_loopback() {
            log::warn!("{name} pid {pid}: listens on {at}, not on 127.0.0.1: it can be reached from outside, past rota");
        } else if address.to_canonical() != IpAddr::V4(Ipv4Addr::LOCALHOST) {
            log::info!("{name} pid {pid}: listens on {at}, not on 127.0.0.1, and is asked there");
        }
    }

    fn is_ready(&mut self) {
        let Some(probe) = self.probe.take() else { return };
        if probe.aside.is_some() {
            sys::step_up(self.pid, self.nice);
        }
        self.shared.table.lock().pool.group_mut(self.id.group).ready(self.id, self.desk.now);
        self.shared.table.notify();
        log::info!("{} pid {}: ready after {:.2} s", self.name, self.pid, (self.desk.now - probe.began).as_secs_f64());
    }

    fn start_failed(&mut self, kind: FailureKind) {
        self.probe = None;
        self.pipes.drain();
        let failure = Failure { kind, output: self.pipes.tail() };
        log::error!("{} pid {}: {failure}", self.name, self.pid);
        self.shared.table.lock().pool.group_mut(self.id.group).start_failed(self.id, failure, self.desk.now);
        self.shared.table.notify();
    }
}

/// Where a listener on this address is reached from this machine. None: by no plain address (a link's own, RFC 4007).
fn reached_at(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        IpAddr::V4(address) if address.is_unspecified() => Some(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(address) if address.is_unspecified() => Some(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V6(address) if address.segments()[0] & 0xffc0 == 0xfe80 => None,
        other => Some(other),
    }
}

/// The one of an app's listening addresses that answers on `asked`: the same, else a wildcard.
fn chosen(asked: IpAddr, addresses: &[IpAddr]) -> Option<IpAddr> {
    let same = addresses.iter().find(|address| address.to_canonical() == asked);
    // A wildcard of IPv6 takes IPv4 too, unless it was told not to.
    let wildcard = || addresses.iter().find(|address| address.is_unspecified() && (address.is_ipv6() || asked.is_ipv4()));
    same.or_else(wildcard).copied()
}

/// Where the process listens instead, if anywhere: the usual cause is a port written into the code.
fn elsewhere(last: String, port: Option<u16>, pid: u32) -> String {
    let own = sys::listening_ports(pid);
    let others: Vec<String> = own.iter().filter(|addr| Some(addr.port()) != port).map(SocketAddr::to_string).collect();
    if !others.is_empty() {
        let help = if port.is_some() { "the variable PORT says where it should" } else { "the variable SOCKET says where it should" };
        return format!("{last}; it listens on {}: {help}", others.join(", "));
    }
    let Some(port) = port else { return last };
    match sys::listener_owner(port, pid) {
        ListenerOwner::Foreign(addresses) => {
            let others: Vec<String> = addresses.iter().map(|address| SocketAddr::new(*address, port).to_string()).collect();
            format!("{last}; on {} another process does, which is not the app's", others.join(", "))
        }
        ListenerOwner::Ours(_) if !own.is_empty() => {
            let own: Vec<String> = own.iter().map(SocketAddr::to_string).collect();
            format!("{last} at an address that can be asked; it listens on {}", own.join(", "))
        }
        ListenerOwner::Ours(_) | ListenerOwner::Unknown => last,
    }
}

/// Enough for some tries.
const AFTER_SLEEP: Duration = Duration::from_secs(1);
/// On a machine that is busy all the time a boot would else take until `ready.timeout`.
const ASIDE: Duration = Duration::from_secs(5);
const FIRST_TRY: Duration = Duration::from_millis(10);
const LAST_TRY: Duration = Duration::from_millis(200);
/// From then on a try that finds nobody looks who listens on the port at all.
const UNHURRIED: Duration = Duration::from_millis(50);
/// A request that an app took and forgot is asked again after this.
const ANSWER_SECONDS: u64 = 10;
const MAX_REPORT: usize = 16 * 1024;
