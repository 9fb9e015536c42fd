//! What requests have with an app, left to the next rota between any two of their steps: neither side sees anything of it.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::*;
use crate::catalog::{self, Catalog};
use crate::config::{self, SourceFile};
use crate::conn::intake::{self, Next};
use crate::conn::socket::Socket;
use crate::conn::{Conn, Phase};
use crate::handoff::{Inbox, mailbox};
use crate::ids::{AppName, Generation, Number, ProcessId, ProcessName};
use crate::io_thread::{Process, WAKER};
use crate::moment::counted_from;
use crate::pool::{Step, Wish};
use crate::restart::spawn::Endpoint;
use crate::sys::Unit;
use crate::table::{Shared, ToMaster};
use crate::upgrade::pack::Unpack;

/// An app that accepts, the thread of its process, and whether that is replaced wherever it can be.
struct Rig {
    shared: Arc<Shared>,
    id: ProcessId,
    thread: IoThread,
    events: Events,
    listener: UnixListener,
    is_replaced: bool,
    dir: tempfile::TempDir,
    _inbox: Inbox<ToMaster>,
    _poll: Poll,
}

/// The other side of a connection.
struct Peer(UnixStream);

impl Peer {
    fn says(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// All that has come.
    fn hears(&mut self) -> String {
        let mut all = Vec::new();
        let _ = self.0.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    }
}

impl Rig {
    fn new(is_replaced: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let app = "[app.a]\ncommand = \"run\"\nroot = \"/\"\nbind = \"unix\"\nprocesses = 1\nrequest_timeout = \"20s\"\n";
        let text = format!("[server]\nspool_dir = {:?}\n{app}", dir.path());
        let loaded = config::parse(&[SourceFile { path: "rota.toml".into(), text }]).unwrap();
        let poll = Poll::new().unwrap();
        let (master, inbox) = mailbox(poll.registry(), Token(0)).unwrap();
        let (watch, catalog) = (poll.registry().try_clone().unwrap(), Catalog::open(loaded.config, loaded.sources).unwrap());
        let shared = Shared::new(catalog, std::path::Path::new("rota.toml"), |_| Err("not here".to_owned()), master, watch);
        let shared = Arc::new(shared);
        shared.ledger(GroupId(0)).uploads.has_slots(4, 1);
        let id = serving(&shared);
        let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let thread = thread(&shared, id, dir.path().join("socket"));
        Self { shared, id, thread, events: Events::with_capacity(64), listener, is_replaced, dir, _inbox: inbox, _poll: poll }
    }

    fn client(&mut self) -> Peer {
        let (client, socket) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        client.set_nonblocking(true).unwrap();
        let socket = Socket::Unix(mio::net::UnixStream::from_std(socket));
        let log = self.shared.catalog().logs.access.clone();
        self.thread.take_in(Conn::new(socket, None, Phase::Head, &self.shared.connections, Arc::default(), log));
        Peer(client)
    }

    /// The connection that rota has opened to the app.
    fn app(&mut self) -> Peer {
        let (stream, _) = self.listener.accept().expect("rota asks the app");
        stream.set_nonblocking(true).unwrap();
        Peer(stream)
    }

    /// What the thread does about what has come; then it is replaced, perhaps, and looks at everything.
    fn runs(&mut self) {
        self.turns();
        if self.is_replaced {
            self.is_left();
            self.turns();
        }
    }

    fn turns(&mut self) {
        for _ in 0..20 {
            let thread = &mut self.thread;
            thread.poll.poll(&mut self.events, Some(Duration::ZERO)).unwrap();
            if let Some(by) = thread.desk.begin(false) {
                thread.put_off(by);
            }
            for event in &self.events {
                thread.event(event);
            }
            thread.take_messages();
            thread.pass_deadlines();
            thread.catch_up();
        }
    }

    fn is_left(&mut self) {
        let now = self.thread.desk.now;
        let mut pack = Pack::default();
        let text = counted_from(now, || serde_json::to_string(&self.thread.save_clients(&mut pack)).unwrap());
        let mut unpack = Unpack::new(pack.fds().iter().map(|fd| fd.try_clone_to_owned().unwrap()).collect());
        self.thread = thread(&self.shared, self.id, self.dir.path().join("socket"));
        let saved: SavedClients<'_> = counted_from(now, || serde_json::from_str(&text).unwrap());
        let mut heir = Heir { unpack: &mut unpack, shared: &self.shared, groups: &Some, share: &mut |_| Arc::default() };
        self.thread.restore_clients(saved, &mut heir);
    }

    /// Slots that are taken, connections to the app, and those of them that idle.
    fn has(&self) -> (u32, usize, bool) {
        let state = self.shared.table.lock();
        let taken = state.pool.group(self.id.group).view(self.thread.desk.now).processes[0].sessions;
        (taken, self.thread.upstreams.all.len(), self.thread.upstreams.next_deadline().is_some())
    }
}

/// The one process of the app, in service.
fn serving(shared: &Shared) -> ProcessId {
    let (now, mut state) = (Instant::now(), shared.table.lock());
    state.pool.add(AppName::new("a").unwrap(), catalog::settings(&shared.app(GroupId(0))), Generation(1), now);
    loop {
        match state.pool.next_step(now) {
            Some(Step::Resolve { group, ask }) => state.pool.group_mut(group).resolved(ask.generation, Ok(()), now),
            Some(Step::Spawn { id, .. }) => {
                let group = state.pool.group_mut(id.group);
                group.has_slots(id, 4);
                group.spawned(id, std::process::id(), now);
                group.ready(id, now);
            }
            Some(Step::Serve { id, .. }) => return id,
            other => panic!("{other:?}"),
        }
    }
}

fn thread(shared: &Arc<Shared>, id: ProcessId, socket: PathBuf) -> IoThread {
    let poll = Poll::new().unwrap();
    let (_, inbox) = mailbox(poll.registry(), WAKER).unwrap();
    let unit = Unit { leader: std::process::id(), start: 0, dir: PathBuf::new(), uid: 0, survivors: false, cgroup: None };
    let pipe = || rustix::pipe::pipe().unwrap().0;
    let process = Process {
        id,
        name: ProcessName { app: AppName::new("a").unwrap(), number: Number(1), generation: Generation(1) },
        unit: Arc::new(unit),
        endpoint: Endpoint::Unix(socket),
        slots: 4,
        stdout: Some(pipe()),
        stderr: Some(pipe()),
        report: Some(UnixStream::pair().unwrap().0),
        aside: false,
        credentials: None,
    };
    let mut thread = IoThread::new(shared.clone(), process, poll, inbox).unwrap();
    (thread.probe, thread.report) = (None, None);
    thread
}

/// The story of a thread that stays, and of one that is replaced between every two steps.
fn both(story: impl Fn(&mut Rig)) {
    for is_replaced in [false, true] {
        story(&mut Rig::new(is_replaced));
    }
}

/// What comes between a text's first line and its body is the business of others.
fn body(text: &str) -> &str {
    text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}")).1
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_request_that_the_app_thinks_about_is_answered_and_both_connections_are_used_again() {
    both(|rig| {
        let mut client = rig.client();
        for piece in [&GET[..7], &GET[7..]] {
            rig.runs();
            client.says(piece);
        }
        rig.runs();
        let mut app = rig.app();
        assert!(app.hears().starts_with("GET / HTTP/1.1\r\n"));
        assert_eq!(rig.has(), (1, 1, false));
        rig.runs();
        for piece in ["HTTP/1.1 200 OK\r\nContent-", "Length: 11\r\n\r\nhello", " ", "world"] {
            app.says(piece);
            rig.runs();
        }
        assert_eq!(body(&client.hears()), "hello world");
        assert_eq!(rig.has(), (0, 1, true));
        client.says(GET);
        rig.runs();
        assert!(app.hears().starts_with("GET / HTTP/1.1\r\n"), "the connection that idled");
        app.says("HTTP/1.1 204 None\r\n\r\n");
        rig.runs();
        assert!(client.hears().starts_with("HTTP/1.1 204"));
        assert_eq!(rig.has(), (0, 1, true));
    });
}

#[test]
fn a_websocket_goes_on_both_ways_in_the_middle_of_a_frame() {
    both(|rig| {
        let mut client = rig.client();
        client.says("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        rig.runs();
        let mut app = rig.app();
        app.hears();
        app.says("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\u{1}\u{5}he");
        rig.runs();
        assert_eq!(body(&client.hears()), "\u{1}\u{5}he");
        for round in 0..3 {
            client.says("to the app");
            app.says("to the client");
            rig.runs();
            assert_eq!((&*app.hears(), &*client.hears()), ("to the app", "to the client"), "round {round}");
        }
        assert_eq!(rig.has(), (1, 1, false));
        drop(app);
        rig.runs();
        assert_eq!(rig.has(), (0, 0, false));
        assert_eq!(client.0.read(&mut [0]).unwrap(), 0, "the end");
    });
}

#[test]
fn an_event_stream_goes_on_and_ends_with_its_client() {
    both(|rig| {
        let mut client = rig.client();
        client.says(GET);
        rig.runs();
        let mut app = rig.app();
        app.says("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        for event in ["data: 1\n\n", "data: 2", "\n\ndata"] {
            rig.runs();
            client.hears();
            app.says(event);
            rig.runs();
            assert_eq!(client.hears(), format!("{:x}\r\n{event}\r\n", event.len()));
        }
        drop(client);
        rig.runs();
        assert_eq!(rig.has(), (0, 0, false));
    });
}

#[test]
fn an_upload_that_goes_to_the_app_as_it_comes_goes_on() {
    both(|rig| {
        let mut client = rig.client();
        client.says("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n");
        rig.runs();
        let mut app = rig.app();
        let head = app.hears();
        assert!(head.contains("100-continue"), "{head}");
        app.says("HTTP/1.1 100 Continue\r\n\r\n");
        // It is doubted for a moment.
        let (began, mut word) = (Instant::now(), String::new());
        while word.is_empty() && began.elapsed() < Duration::from_secs(10) {
            rig.runs();
            word = client.hears();
        }
        assert_eq!(word, "HTTP/1.1 100 Continue\r\n\r\n");
        let mut came = 0;
        for _ in 0..10 {
            client.says(&"x".repeat(10_000));
            rig.runs();
            came += app.hears().len();
        }
        assert_eq!(came, 100_000);
        app.says("HTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n");
        rig.runs();
        assert!(client.hears().starts_with("HTTP/1.1 201"));
        assert_eq!(rig.has(), (0, 1, true));
    });
}

#[test]
fn a_client_that_takes_its_answer_slowly_gets_all_of_it() {
    both(|rig| {
        let mut client = rig.client();
        client.says(GET);
        rig.runs();
        let mut app = rig.app();
        app.says("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        let mut got = String::new();
        for _ in 0..10 {
            app.says(&"y".repeat(100_000));
            rig.runs();
        }
        assert_eq!(rig.has(), (0, 1, true), "the app is done with it");
        while got.len() < 1_000_000 {
            let part = client.hears();
            assert!(!part.is_empty(), "{} bytes, and no more", got.len());
            got += &part;
            rig.runs();
        }
        assert_eq!(body(&got), "y".repeat(1_000_000));
        client.says(GET);
        rig.runs();
        assert!(!app.hears().is_empty());
    });
}

#[test]
fn a_request_that_nobody_waits_for_any_more_keeps_its_slot_until_the_app_is_done() {
    both(|rig| {
        let mut client = rig.client();
        client.says(GET);
        rig.runs();
        let mut app = rig.app();
        app.hears();
        let (key, _) = rig.thread.clients.iter().next().unwrap();
        rig.thread.end_overdue(key);
        rig.runs();
        assert!(client.hears().starts_with("HTTP/1.1 504 "));
        app.says("still at it");
        rig.runs();
        assert_eq!((rig.has(), rig.thread.overdue[0].received), ((1, 1, false), 11));
        drop(app);
        rig.runs();
        assert_eq!((rig.has(), rig.thread.overdue.len()), ((0, 0, false), 0));
    });
}

#[test]
fn one_that_has_its_slot_and_has_not_begun_begins() {
    both(|rig| {
        let (mut client, socket) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        client.write_all(GET.as_bytes()).unwrap();
        let socket = Socket::Unix(mio::net::UnixStream::from_std(socket));
        let log = rig.shared.catalog().logs.access.clone();
        let mut conn = Conn::new(socket, None, Phase::Head, &rig.shared.connections, Arc::default(), log);
        assert_eq!(intake::advance(&mut conn, &mut rig.thread.desk.turn(&rig.shared, 0)), Next::Slot);
        let claim = rig.shared.table.lock().pool.group_mut(rig.id.group).claim(Wish::Anywhere, Instant::now()).unwrap();
        rig.thread.granted.push_back((conn, claim));
        if rig.is_replaced {
            rig.is_left();
        }
        rig.turns();
        assert!(rig.app().hears().starts_with("GET / HTTP/1.1\r\n"));
    });
}

#[test]
fn one_that_the_app_hung_up_on_waits_for_the_verdict_as_long_as_it_had_to() {
    both(|rig| {
        let mut client = rig.client();
        client.says("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
        rig.runs();
        rig.app().hears();
        rig.runs();
        let is_judged =
            |rig: &Rig| rig.thread.clients.iter().any(|(_, client)| client.session.as_ref().is_some_and(|it| it.closed.is_some()));
        assert_eq!(rig.has().1, 0);
        let began = Instant::now();
        while is_judged(rig) && began.elapsed() < Duration::from_secs(10) {
            rig.runs();
        }
        assert!(client.hears().starts_with("HTTP/1.1 502 "));
        assert_eq!(rig.has(), (0, 0, false));
    });
}
