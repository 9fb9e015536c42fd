//! Is the process ready? An HTTP answer below 500 to `ready.path` on its new socket says yes; a connect says nothing (many servers
//! listen before the app is loaded), and an answer that a visitor would get 502 for is none ([`crate::http::answer`]). Time can only say no.
//! Then each path of `warmup` is asked for once; whatever it answers, it was asked.
//!
//! Also the spawn's own report: end of file when the program was executed, a sentence when it was not.

mod address;
mod end;
pub mod seen;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use serde::{Deserialize, Serialize};

use super::upstream::Owner;
use super::{IoThread, Name};
use crate::config::AppConfig;
use crate::http::answer::AnswerReader;
use crate::pool::FailureKind;
use crate::restart::shim::ShimError;
use crate::restart::spawn::Endpoint;
use crate::sys::{self, ListenerOwner, Look};
use crate::upgrade::pack::{Pack, Place};
use address::{Elsewhere, chosen, elsewhere};
use seen::{Saw, Seen};

/// The question in progress.
#[derive(Debug)]
pub struct Probe {
    host: String,
    request: Vec<u8>,
    /// What is asked for.
    path: String,
    /// Still to be asked for.
    warmup: VecDeque<String>,
    /// Whether it is ready is answered: a path of the warm-up is asked for.
    warming: bool,
    status: Option<u16>,
    /// What made it ready.
    ready: Option<u16>,
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
    /// Somebody took a request, whatever came of it.
    was_answered: bool,
    /// The answer of this try.
    answer: AnswerReader,
    /// What the tries saw.
    seen: Seen,
    elsewhere: Elsewhere,
    /// When the table was told what is answered.
    told: Option<Instant>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct SavedProbe {
    #[serde(with = "crate::moment")]
    began: Instant,
    #[serde(with = "crate::moment")]
    until: Instant,
    #[serde(with = "crate::moment::option")]
    aside: Option<Instant>,
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
        let (port, nothing) = match endpoint {
            Endpoint::Tcp(addr) => (Some(addr.port()), format!("nothing listens on $PORT {}", addr.port())),
            Endpoint::Unix(_) => (None, "nothing listens on its socket".to_owned()),
        };
        Self {
            request: request(&path, host),
            host: host.to_owned(),
            seen: Seen::new(&path, nothing, now),
            path,
            warmup: app.warmup.iter().cloned().collect(),
            warming: false,
            status: app.ready.status,
            ready: None,
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
            was_answered: false,
            answer: AnswerReader::new(now),
            elsewhere: Elsewhere::new(now),
            told: None,
        }
    }

    /// What is left of it to the next rota: it asks anew, within the same time.
    pub fn save(&self) -> SavedProbe {
        SavedProbe { began: self.began, until: self.until, aside: self.aside }
    }

    pub fn take_up(&mut self, saved: SavedProbe) {
        (self.began, self.until, self.aside) = (saved.began, saved.until, saved.aside);
    }

    /// Nobody looked for so long: it may have become ready meanwhile.
    pub fn put_off(&mut self, by: Duration, now: Instant) {
        self.until = (self.until + by).max(now + AFTER_SLEEP);
        self.next = if self.upstream.is_some() { self.next + by } else { now };
        self.seen.put_off(by);
    }

    pub fn next_deadline(&self) -> Instant {
        self.aside.map_or(self.next, |aside| self.next.min(aside)).min(self.until)
    }

    /// Goes on to the next path of the warm-up, at once. False: there is none.
    fn warm(&mut self, now: Instant) -> bool {
        let Some(path) = self.warmup.pop_front() else { return false };
        self.request = request(&path, &self.host);
        self.seen = Seen::new(&path, format!("the warm-up asked for {path}"), now);
        self.path = path;
        self.warming = true;
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

/// With what every visitor's request has: some apps answer 500 where it says of nobody whom it is for (SvelteKit's `getClientAddress`).
fn request(path: &str, host: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: rota\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: {host}\r\n\
         X-Forwarded-Proto: http\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

impl Report {
    pub fn new(socket: std::os::unix::net::UnixStream, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut socket = mio::net::UnixStream::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Self { socket, text: Vec::new() })
    }

    /// What was read of it is as good as all: it is short, and written at once.
    pub fn save<'a>(&'a self, pack: &mut Pack<'a>) -> Place {
        pack.put(self.socket.as_fd())
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
            let (last, after) = (probe.seen.summary(false), probe.timeout);
            let elsewhere = if probe.was_answered { None } else { elsewhere(probe.port, &self.unit) };
            return self.not_ready(elsewhere.map_or(last.clone(), |elsewhere| format!("{last}; {elsewhere}")), after);
        }
        let steps_up = probe.aside.take_if(|until| self.desk.now >= *until).is_some();
        let next = probe.next;
        if steps_up {
            self.step_up();
        }
        if self.desk.now < next {
            return;
        }
        let Some(probe) = &mut self.probe else { return };
        if probe.upstream.is_some() {
            // What came of its body was well-formed, and the rest may never end.
            if probe.answer.status().is_some() {
                return self.probe_answered();
            }
            let what = format!("GET {} was not answered within {ANSWER_SECONDS} s", probe.path);
            return self.probe_again(Some(Saw::Nothing(what)));
        }
        match self.upstreams.open(Owner::Probe, self.poll.registry(), Name::upstream) {
            Ok(upstream) => {
                probe.upstream = Some(upstream);
                probe.sent = 0;
                probe.answer = AnswerReader::new(self.desk.now);
                // What a warm-up is for may take its time; `timeout` bounds it.
                probe.next = if probe.warming { probe.until } else { self.desk.now + Duration::from_secs(ANSWER_SECONDS) };
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
                Err(error) => return self.probe_again(Some(Saw::Nothing(format!("the connection broke: {error}")))),
            }
        }
        let mut buffer = [0; 4096];
        loop {
            let had_head = probe.answer.status().is_some();
            let read = match upstream.socket.read(&mut buffer) {
                Ok(0) if !had_head && probe.answer.is_empty() => {
                    let what = format!("GET {} was closed without an answer", probe.path);
                    return self.probe_again(Some(Saw::Nothing(what)));
                }
                Ok(0) => probe.answer.end().map(|()| true),
                Ok(count) => probe.answer.feed(&buffer[..count]).map(|()| probe.answer.is_whole()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return self.probe_again(Some(Saw::Nothing(format!("the connection broke: {error}")))),
            };
            match read {
                Ok(true) => return self.probe_answered(),
                Ok(false) if !probe.warming && probe.answer.length() > ENOUGH_OF_BODY => return self.probe_answered(),
                Ok(false) => {}
                Err(malformed) => return self.probe_again(Some(Saw::Malformed(malformed))),
            }
            if !had_head && probe.answer.status().is_some() && !probe.warming {
                probe.next = self.desk.now + BODY_WAIT;
            }
        }
    }

    /// The answer is there, as far as it is waited for.
    fn probe_answered(&mut self) {
        let Some(probe) = &mut self.probe else { return };
        let (Some(status), Some(upstream)) = (probe.answer.status(), probe.upstream) else { return };
        let saw = Saw::Status { status, length: probe.answer.length() };
        if probe.warming {
            return self.warmed(upstream, &saw);
        }
        if !probe.accepts(status) {
            return self.probe_again(Some(saw));
        }
        probe.ready = Some(status);
        self.answered(upstream);
    }

    /// The try is over; another follows, unless it is clear what that would see. None: nobody listens, as before.
    fn probe_again(&mut self, saw: Option<Saw>) {
        let now = self.desk.now;
        let Some(probe) = &mut self.probe else { return };
        let upstream = probe.upstream.take();
        if let (true, Some(upstream)) = (probe.warming, upstream) {
            return self.warmed(upstream, &saw.unwrap_or_else(|| Saw::Nothing("the connection was refused".to_owned())));
        }
        if let Some(upstream) = upstream {
            self.upstreams.close(upstream);
        }
        match (saw, probe.port) {
            (Some(saw), _) => {
                probe.was_answered = true;
                probe.seen.add(saw, &self.pipes.take_kinds(), now);
            }
            // Nobody listens there: perhaps on another address of the port.
            (None, Some(port)) if probe.pause >= UNHURRIED => self.look_for_listener(port),
            (None, _) => {}
        }
        self.look_for_other_listeners();
        let Some(probe) = &mut self.probe else { return };
        if probe.seen.wants_ticks(now) {
            probe.seen.took(Look::now().of(&self.unit).iter().map(|one| one.ticks).sum(), now);
        }
        if let Some(said) = probe.seen.say_once(now) {
            log::warn!("{} pid {}: not ready yet: {said}; ready.timeout is {} s", self.name, self.pid, probe.timeout.as_secs_f64());
        }
        if probe.seen.is_hopeless(now) {
            let (last, after) = (probe.seen.summary(true), now.saturating_duration_since(probe.began));
            return self.not_ready(last, after);
        }
        probe.next = now + probe.pause;
        probe.pause = (probe.pause * 3 / 2).min(probe.seen.longest_pause(now));
        self.tell_answer();
    }

    /// A path of the warm-up has been asked for.
    fn warmed(&mut self, upstream_key: usize, saw: &Saw) {
        let Some(probe) = &self.probe else { return };
        let (name, pid, path) = (&self.name, self.pid, &probe.path);
        match saw {
            Saw::Status { status, .. } if *status < 500 => {}
            Saw::Status { status, .. } => log::warn!("{name} pid {pid}: warm-up: GET {path} answered {status}"),
            Saw::Nothing(_) => log::warn!("{name} pid {pid}: warm-up: GET {path} was not answered"),
            Saw::Malformed(what) => log::warn!("{name} pid {pid}: warm-up: GET {path}: the app's answer is malformed: {what}"),
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

    /// The status shows what is answered so far, whenever that is another answer, at most once a second.
    fn tell_answer(&mut self) {
        let now = self.desk.now;
        let Some(probe) = &mut self.probe else { return };
        if probe.told.is_some_and(|told| now < told + TOLD) {
            return;
        }
        let answer = probe.seen.answer().or_else(|| probe.elsewhere.words(now).map(str::to_owned));
        let changed = self.shared.table.lock().pool.group_mut(self.id.group).saw(self.id, answer);
        if changed {
            probe.told = Some(now);
            self.shared.tell_master();
        }
    }

    fn not_ready(&mut self, last: String, after: Duration) {
        self.start_failed(FailureKind::NotReady { after, last });
    }

    /// The answer is yes, if it is our process that gave it.
    fn answered(&mut self, upstream_key: usize) {
        let Some(probe) = &self.probe else { return };
        if let Some(port) = probe.port {
            match sys::listener_owner(port, &self.unit) {
                ListenerOwner::Ours(addresses) => {
                    let Some(own) = chosen(probe.address, &addresses) else { return self.ask_elsewhere(port, &addresses, upstream_key) };
                    self.note_address(port, own);
                }
                ListenerOwner::Foreign(_) => {
                    self.upstreams.close(upstream_key);
                    let kind = self.failed().stranger(port);
                    return self.start_failed(kind);
                }
                // Its books could not be read (hidepid, a container), or its listener was closed just now.
                ListenerOwner::Unknown => {}
            }
            if !self.knows_listener() {
                self.upstreams.close(upstream_key);
                let kind = self.failed().stranger(port);
                return self.start_failed(kind);
            }
        }
        self.go_on_warming(upstream_key);
    }
}

/// Enough for some tries.
const AFTER_SLEEP: Duration = Duration::from_secs(1);
/// On a machine that is busy all the time a boot would else take until `ready.timeout`.
const ASIDE: Duration = Duration::from_secs(5);
const FIRST_TRY: Duration = Duration::from_millis(10);
/// From then on a try that finds nobody looks who listens on the port at all.
const UNHURRIED: Duration = Duration::from_millis(50);
/// A body that stands still or does not end: what is there of it was well-formed.
const BODY_WAIT: Duration = Duration::from_secs(1);
/// Bytes of it that are looked at.
const ENOUGH_OF_BODY: u64 = 1 << 20;
const TOLD: Duration = Duration::from_secs(1);
/// A request that an app took and forgot is asked again after this.
const ANSWER_SECONDS: u64 = 10;
const MAX_REPORT: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    #[test]
    fn the_probe_names_a_client_as_every_request_does() {
        let asked = String::from_utf8(super::request("/up", "blog.example.org")).unwrap();
        assert!(asked.starts_with("GET /up HTTP/1.1\r\nHost: blog.example.org\r\n") && asked.ends_with("\r\n\r\n"), "{asked}");
        assert!(
            asked.contains("\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Host: blog.example.org\r\nX-Forwarded-Proto: http\r\n"),
            "{asked}"
        );
    }
}
