//! The app servers: how each is told to run one process, to listen where rota says, and to end cleanly. Tried with the versions that the
//! tests install; the stop signal is the one at which a request in hand is completed.

use super::{Detected, Missing, Reasons};
use crate::config::{Bind, StopSignal};

/// One app server.
#[derive(Debug)]
pub(super) struct Server {
    /// Name of the program and of the package.
    pub program: &'static str,
    flags: &'static [&'static str],
    /// Where it listens unless that is asked for.
    bind: Bind,
    unix: &'static [&'static str],
    port: &'static [&'static str],
    /// None: it takes no socket that listens already.
    fd: Option<&'static [&'static str]>,
    pub stop: StopSignal,
    pub concurrency: u32,
    pub reasons: Reasons,
}

impl Server {
    /// `program`: what is executed, up to the server itself. `app`: what the server is told to serve, last.
    pub fn start(&self, program: &[&str], app: &[&str], asked: Option<Bind>, why: String) -> Result<Detected, Missing> {
        let bind = asked.unwrap_or(self.bind);
        let listen = match bind {
            Bind::Unix => self.unix,
            Bind::Port => self.port,
            Bind::Fd => self.fd.ok_or_else(|| Missing(format!("bind = \"fd\": {} takes no such socket; leave bind out", self.program)))?,
        };
        let words = program.iter().chain(self.flags).chain(listen).chain(app);
        Ok(Detected {
            command: words.map(|word| (*word).to_owned()).collect(),
            bind,
            stop: self.stop,
            concurrency: self.concurrency,
            why,
            reasons: self.reasons,
            sticky: None,
            alone: None,
            warnings: Vec::new(),
        })
    }
}

/// The server that a command line names.
pub(super) fn named(words: &[String]) -> Option<&'static Server> {
    let file_name = |word: &str| word.rsplit('/').next().unwrap_or_default().to_owned();
    words.iter().find_map(|word| ALL.into_iter().find(|server| server.program == file_name(word)))
}

const TERM_COMPLETES: &str = "it completes what it has in hand";
const THREADS: &str = "as many as its threads: more would wait inside it, where no other process can take them";
const EVENT_LOOP: &str = "one thread handles many requests at a time";

pub(super) const GUNICORN: Server = Server {
    program: "gunicorn",
    // It closes an idle connection after 2 s unless told, and cuts requests 30 s after the signal.
    flags: &["--workers", "1", "--threads", "5", "--keep-alive", "5", "--graceful-timeout", "30"],
    // Over a Unix socket REMOTE_ADDR is empty, which `ipaddress` and an inet column of a database refuse; over a port it is 127.0.0.1.
    bind: Bind::Port,
    unix: &["--bind", "unix:$SOCKET"],
    port: &["--bind", "127.0.0.1:$PORT"],
    fd: Some(&[]),
    stop: StopSignal::Term,
    concurrency: 5,
    reasons: Reasons {
        command: "one worker with threads: rota starts as many of these as processes says; idle connections are kept longer than rota keeps them",
        stop: TERM_COMPLETES,
        concurrency: THREADS,
    },
};

pub(super) const WAITRESS: Server = Server {
    program: "waitress-serve",
    flags: &["--threads=5", "--trusted-proxy-headers=x-forwarded-for x-forwarded-host x-forwarded-proto"],
    // A socket that only rota can reach is better than a port; REMOTE_ADDR is what rota says of the client.
    bind: Bind::Unix,
    unix: &["--trusted-proxy=localhost", "--unix-socket=$SOCKET"],
    port: &["--trusted-proxy=127.0.0.1", "--listen=127.0.0.1:$PORT"],
    fd: None,
    stop: StopSignal::Int,
    concurrency: 5,
    reasons: Reasons {
        command: "it believes what rota says of the client",
        stop: "at TERM it cuts what it has in hand",
        concurrency: THREADS,
    },
};

pub(super) const UVICORN: Server = Server {
    program: "uvicorn",
    // It believes X-Forwarded-For and -Proto of those whom the variable FORWARDED_ALLOW_IPS names, which rota sets.
    flags: &["--no-access-log"],
    bind: Bind::Unix,
    unix: &["--uds", "$SOCKET"],
    port: &["--host", "127.0.0.1", "--port", "$PORT"],
    fd: Some(&["--fd", "3"]),
    stop: StopSignal::Term,
    concurrency: 100,
    reasons: Reasons {
        command: "one process: rota starts as many as processes says, and has an access log of its own",
        stop: TERM_COMPLETES,
        concurrency: EVENT_LOOP,
    },
};

pub(super) const HYPERCORN: Server = Server {
    program: "hypercorn",
    // It cuts requests 3 s after the signal unless told.
    flags: &["--graceful-timeout", "30"],
    // Over a Unix socket it knows no client, and `request.client.host` of Starlette fails.
    bind: Bind::Port,
    unix: &["--bind", "unix:$SOCKET"],
    port: &["--bind", "127.0.0.1:$PORT"],
    fd: Some(&["--bind", "fd://3"]),
    stop: StopSignal::Term,
    concurrency: 100,
    reasons: Reasons {
        command: "what is in hand when it stops has as long as drain.timeout; for the client's address and scheme the app needs its ProxyFixMiddleware",
        stop: TERM_COMPLETES,
        concurrency: EVENT_LOOP,
    },
};

pub(super) const DAPHNE: Server = Server {
    program: "daphne",
    flags: &["--proxy-headers"],
    bind: Bind::Unix,
    unix: &["-u", "$SOCKET"],
    port: &["-b", "127.0.0.1", "-p", "$PORT"],
    fd: None,
    stop: StopSignal::Term,
    concurrency: 100,
    reasons: Reasons {
        command: "it believes what rota says of the client",
        stop: "it cuts what it has in hand at any signal; rota sends it when there is nothing left",
        concurrency: EVENT_LOOP,
    },
};

pub(super) const PUMA: Server = Server {
    program: "puma",
    flags: &["-w", "0", "-t", "5:5"],
    bind: Bind::Unix,
    unix: &["-b", "unix://$SOCKET"],
    port: &["-b", "tcp://127.0.0.1:$PORT"],
    fd: None,
    stop: StopSignal::Term,
    concurrency: 5,
    reasons: Reasons {
        command: "no cluster: rota starts as many as processes says, and a cluster whose app does not load never gives up",
        stop: TERM_COMPLETES,
        concurrency: THREADS,
    },
};

pub(super) const UNICORN: Server = Server {
    program: "unicorn",
    flags: &[],
    bind: Bind::Unix,
    unix: &["-l", "$SOCKET"],
    port: &["-l", "127.0.0.1:$PORT"],
    fd: None,
    stop: StopSignal::Quit,
    concurrency: 1,
    reasons: Reasons {
        command: "one worker: rota starts as many as processes says",
        stop: "at TERM it cuts what it has in hand",
        concurrency: "a worker handles one request at a time",
    },
};

const ALL: [&Server; 7] = [&GUNICORN, &WAITRESS, &UVICORN, &HYPERCORN, &DAPHNE, &PUMA, &UNICORN];
