//! The control socket's server, in the master's poll: bounded in clients, bytes and time, so that an admin command never holds the server up.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};

use super::proto::{Asked, Ended, MAX_REQUEST, Progress, Reply, Request, Status, parse_request};
use crate::ids::{AppName, Generation};

/// What the commands ask of the server.
pub trait Operator {
    fn status(&mut self, app: Option<&str>, now: Instant) -> Result<Status, String>;
    fn restart(&mut self, app: Option<&str>, now: Instant) -> Result<Vec<Asked>, String>;
    fn walk(&mut self, app: &AppName, generation: Generation, now: Instant) -> Walk;
    fn stop(&mut self);
}

/// Where a walk that somebody waits for is.
#[derive(Debug)]
pub enum Walk {
    /// Its turn has not come.
    Waiting,
    Underway(Progress),
    Ended(Ended),
}

/// The listening socket and its clients.
#[derive(Debug)]
pub struct ControlServer {
    path: PathBuf,
    listener: UnixListener,
    first_token: usize,
    /// By token.
    clients: Vec<Option<Client>>,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// A request must be there by then; None: it was.
    request_by: Option<Instant>,
    follows: Vec<Follows>,
    ends: Ends,
}

/// When a client's connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// Not before its request is answered.
    Later,
    /// When its output is written.
    Written,
    /// With the server.
    WithServer,
}

/// A walk that a client waits for.
#[derive(Debug)]
struct Follows {
    walk: Asked,
    last: Option<Progress>,
    ended: bool,
}

impl ControlServer {
    /// Binds the socket, mode 0600. It may use `tokens` tokens from `first_token` on. A file that a killed server left behind is replaced; a
    /// server that answers is an error.
    pub fn bind(path: &Path, first_token: usize, tokens: usize) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
        }
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another rota answers there")),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let clients = (1..tokens).map(|_| None).collect();
        Ok(Self { path: path.to_owned(), listener, first_token, clients })
    }

    pub fn register(&mut self, registry: &Registry) -> io::Result<()> {
        self.listener.register(registry, Token(self.first_token), Interest::READABLE)
    }

    pub fn event<O: Operator>(&mut self, token: Token, registry: &Registry, operator: &mut O, now: Instant) {
        match (token.0 - self.first_token).checked_sub(1) {
            None => self.accept(registry, now),
            Some(index) => self.serve(index, operator, now),
        }
    }

    /// The pool changed: whoever waits for a walk is told how it stands.
    pub fn changed<O: Operator>(&mut self, operator: &mut O, now: Instant) {
        for index in 0..self.clients.len() {
            let Some(client) = &mut self.clients[index] else { continue };
            if client.follows.iter().any(|follows| !follows.ended) {
                client.follow(operator, now);
                self.write(index);
            }
        }
    }

    /// Drops clients that asked for nothing in time.
    pub fn tick(&mut self, now: Instant) {
        for client in &mut self.clients {
            if client.as_ref().is_some_and(|client| client.request_by.is_some_and(|by| now >= by)) {
                *client = None;
            }
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.clients.iter().flatten().filter_map(|client| client.request_by).min()
    }

    fn accept(&mut self, registry: &Registry, now: Instant) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream, registry, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return log::warn!("control socket: accept: {error}"),
            }
        }
    }

    fn admit(&mut self, mut stream: UnixStream, registry: &Registry, now: Instant) {
        // The mode of the file keeps others out; root may connect to anything and is let in.
        let peer = rustix::net::sockopt::socket_peercred(stream.as_fd()).map(|peer| peer.uid);
        if !peer.is_ok_and(|uid| uid.is_root() || uid == rustix::process::geteuid()) {
            return log::warn!("control socket: a client of another user was turned away");
        }
        let Some(index) = self.clients.iter().position(Option::is_none) else {
            return log::warn!("control socket: {} clients are connected; another was turned away", self.clients.len());
        };
        if stream.register(registry, Token(self.first_token + 1 + index), Interest::READABLE | Interest::WRITABLE).is_ok() {
            let (input, output) = (Vec::new(), Vec::new());
            let request_by = Some(now + REQUEST_LIMIT);
            self.clients[index] = Some(Client { stream, input, output, request_by, follows: Vec::new(), ends: Ends::Later });
        }
    }

    fn serve<O: Operator>(&mut self, index: usize, operator: &mut O, now: Instant) {
        let Some(Some(client)) = self.clients.get_mut(index) else { return };
        if !client.read() {
            self.clients[index] = None;
            return;
        }
        if client.request_by.is_some() {
            if let Some(end) = client.input.iter().position(|byte| *byte == b'\n') {
                client.request_by = None;
                let line: Vec<u8> = client.input.drain(..=end).collect();
                client.answer(&line[..end], operator, now);
            } else if client.input.len() > MAX_REQUEST {
                client.request_by = None;
                client.last_word(&Reply::Error { message: format!("a request of more than {MAX_REQUEST} bytes") });
            }
        }
        self.write(index);
    }

    /// Writes what waits; drops a client that is done, gone, or does not read.
    fn write(&mut self, index: usize) {
        let Some(Some(client)) = self.clients.get_mut(index) else { return };
        let written = client.flush();
        let too_slow = client.output.len() > MAX_OUTPUT;
        if too_slow {
            log::info!("control socket: a client did not read {MAX_OUTPUT} bytes and was dropped");
        }
        if !written || too_slow || (client.output.is_empty() && client.ends == Ends::Written) {
            self.clients[index] = None;
        }
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Client {
    /// Reads what is there. False: the client has gone.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                // Its last request may have come with the end.
                Ok(0) => return self.request_by.is_some() && self.input.contains(&b'\n') && self.ends == Ends::Later,
                Ok(count) if self.input.len() <= MAX_REQUEST => self.input.extend_from_slice(&buffer[..count]),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    fn answer<O: Operator>(&mut self, line: &[u8], operator: &mut O, now: Instant) {
        match parse_request(line) {
            Err(message) => self.last_word(&Reply::Error { message }),
            Ok(Request::Status { app }) => match operator.status(app.as_deref(), now) {
                Ok(status) => self.last_word(&Reply::Status(Box::new(status))),
                Err(message) => self.last_word(&Reply::Error { message }),
            },
            Ok(Request::Restart { app, wait }) => match operator.restart(app.as_deref(), now) {
                Ok(walks) if wait => {
                    self.follows = walks.iter().map(|walk| Follows { walk: walk.clone(), last: None, ended: false }).collect();
                    self.say(&Reply::Asked { walks });
                    self.follow(operator, now);
                }
                Ok(walks) => self.last_word(&Reply::Asked { walks }),
                Err(message) => self.last_word(&Reply::Error { message }),
            },
            Ok(Request::Stop) => {
                operator.stop();
                self.say(&Reply::Stopping);
                self.ends = Ends::WithServer;
            }
        }
    }

    fn follow<O: Operator>(&mut self, operator: &mut O, now: Instant) {
        let mut follows = std::mem::take(&mut self.follows);
        for follows in follows.iter_mut().filter(|follows| !follows.ended) {
            match operator.walk(&follows.walk.app, follows.walk.generation, now) {
                Walk::Waiting => {}
                Walk::Underway(progress) => {
                    if follows.last.as_ref().is_none_or(|last| progress.has_moved(last)) {
                        self.say(&Reply::Progress(progress.clone()));
                        follows.last = Some(progress);
                    }
                }
                Walk::Ended(ended) => {
                    self.say(&Reply::Ended(Box::new(ended)));
                    follows.ended = true;
                }
            }
        }
        if follows.iter().all(|follows| follows.ended) {
            self.ends = Ends::Written;
        }
        self.follows = follows;
    }

    fn last_word(&mut self, reply: &Reply) {
        self.say(reply);
        self.ends = Ends::Written;
    }

    fn say(&mut self, reply: &Reply) {
        match serde_json::to_writer(&mut self.output, reply) {
            Ok(()) => self.output.push(b'\n'),
            Err(error) => log::error!("control socket: {error}"),
        }
    }

    /// False: the client has gone.
    fn flush(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(written) => drop(self.output.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}

/// A client that asks for nothing for this long is dropped.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// What may wait for a client that does not read (bytes); the largest status of 100 processes is below it.
const MAX_OUTPUT: usize = 1024 * 1024;
