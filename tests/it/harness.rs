//! The tests' own parts against each other, with no rota between them: the fixture app serves every kind of traffic, misbehaves as its
//! release says, and a client counts each loss by its name. A load that could not fail would prove nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::ports;
use crate::site::kill;
use crate::tally::{Result_, Tally};
use crate::traffic::{ALL, Load, names};
use crate::wait::{self, millis, secs};
use crate::wire::{self, Trouble, Wire};
use crate::wrk::Wrk;

/// The fixture app run by hand, listening on a port.
struct Alone {
    dir: tempfile::TempDir,
    addr: SocketAddr,
    child: Child,
}

impl Alone {
    fn start(behaviour: &str) -> Alone {
        let dir = release(behaviour);
        let addr = ports::free();
        let mut command = app(dir.path());
        let child = command.env("PORT", addr.port().to_string()).spawn().unwrap();
        Alone { dir, addr, child }
    }

    fn ready(self) -> Alone {
        wait::until("the fixture answers", secs(10), || wire::get(self.addr, "/").is_ok_and(|reply| reply.status == 200));
        self
    }

    fn end(&mut self) -> ExitStatus {
        wait::found("the fixture ends", secs(10), || self.child.try_wait().unwrap())
    }

    fn printed(&self) -> String {
        fs::read_to_string(self.dir.path().join("printed")).unwrap()
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn release(behaviour: &str) -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("rota-alone-").tempdir().unwrap();
    fs::write(dir.path().join("VERSION"), "1").unwrap();
    fs::write(dir.path().join("BEHAVIOUR"), behaviour).unwrap();
    dir
}

/// Not yet told where to listen; what it prints goes to the file `printed`.
fn app(dir: &Path) -> Command {
    let printed = fs::File::create(dir.join("printed")).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "fixture::fixture_app", "--nocapture"]).current_dir(dir).env("FIXTURE_DIR", dir).env("ROTA_PROCESS", "1");
    for name in ["PORT", "HOST", "SOCKET", "LISTEN_FDS", "LISTEN_PID"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(printed.try_clone().unwrap()).stderr(printed);
    command
}

/// A server that does `work` with each connection, once the client's request head has come.
fn server(work: fn(&mut std::net::TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    // Ends with the test binary: it holds nothing that anyone waits for.
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            work(&mut stream);
        }
    });
    addr
}

fn load_for(addr: SocketAddr, kind: &str, time: Duration) -> Tally {
    let kinds: Vec<_> = ALL.iter().copied().filter(|(name, _)| *name == kind).collect();
    assert_eq!(kinds.len(), 1, "no traffic is called {kind}");
    let load = Load::start(addr, &kinds);
    std::thread::sleep(time);
    load.stop()
}

#[test]
fn every_kind_of_traffic_is_served_whole_by_the_fixture_alone() {
    let alone = Alone::start("").ready();
    let load = Load::start(alone.addr, &ALL);
    std::thread::sleep(secs(1));
    let tally = load.stop();
    tally.expect_no_failure(&names(&ALL));
}

#[test]
fn each_loss_has_its_name() {
    let nobody = ports::free();
    assert_eq!(wire::get(nobody, "/").unwrap_err(), Trouble::Refused);

    let alone = Alone::start("").ready();
    assert_eq!(wire::get(alone.addr, "/hang-up").unwrap_err(), Trouble::Closed);
    assert!(matches!(wire::get(alone.addr, "/garbage"), Err(Trouble::Garbled(_) | Trouble::Cut)));
    let mut wire = Wire::connect(alone.addr).unwrap();
    wire.stream.set_read_timeout(Some(millis(50))).unwrap();
    assert_eq!(wire.ask(&wire::kept("/never")).unwrap_err(), Trouble::Timeout);

    for (path, trouble) in
        [("/crash", Trouble::Closed), ("/crash-in-head", Trouble::Cut), ("/crash-in-body", Trouble::Cut), ("/crash-in-chunk", Trouble::Cut)]
    {
        let alone = Alone::start("").ready();
        assert_eq!(wire::get(alone.addr, path).unwrap_err(), trouble, "{path}");
    }

    let resets = server(|stream| {
        // A close with a linger of zero sends RST.
        socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    assert_eq!(wire::get(resets, "/").unwrap_err(), Trouble::Reset);
}

#[test]
fn a_server_that_closes_kept_connections_without_a_word_is_caught() {
    let alone = Alone::start("close_each").ready();
    let tally = load_for(alone.addr, "kept", millis(300));
    let lost = tally.of("kept", &Result_::Trouble(Trouble::Closed)) + tally.of("kept", &Result_::Trouble(Trouble::Reset));
    assert!(lost > 0 && lost == tally.failed(), "{tally}");
}

#[test]
fn an_answer_of_the_right_length_with_one_wrong_byte_is_caught() {
    let wrong = server(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Version: 12\r\nContent-Length: 2\r\nConnection: close\r\n\r\n13");
    });
    let tally = load_for(wrong, "fresh", millis(100));
    assert!(tally.failed() > 0 && tally.failed() == tally.of("fresh", &Result_::WrongBody), "{tally}");
}

#[test]
fn an_upload_that_lost_a_byte_is_caught() {
    // The receipt of 16 KiB less one byte.
    let short = crate::bytes::receipt(&crate::bytes::pattern(0, 16 * 1024 - 1));
    let alone = Alone::start("").ready();
    let mut wire = Wire::connect(alone.addr).unwrap();
    wire.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 16383\r\n\r\n").unwrap();
    wire.send(&crate::bytes::pattern(0, 16 * 1024 - 1)).unwrap();
    let reply = wire.reply(false).unwrap();
    assert_eq!(reply.text(), short);
    assert_ne!(reply.text(), crate::bytes::receipt(&crate::bytes::pattern(0, 16 * 1024)));
}

#[test]
fn a_503_among_good_answers_fails_the_count() {
    let mut tally = Tally::default();
    (0..1000).for_each(|_| tally.count("fresh", Result_::Ok));
    tally.expect_no_failure(&["fresh"]);
    tally.count("fresh", Result_::Status(503));
    assert!(std::panic::catch_unwind(|| tally.expect_no_failure(&["fresh"])).is_err());
}

#[test]
fn a_kind_of_traffic_that_took_no_part_fails_the_count() {
    let mut tally = Tally::default();
    tally.count("fresh", Result_::Ok);
    assert!(std::panic::catch_unwind(|| tally.expect_no_failure(&["fresh", "upload"])).is_err());
}

#[test]
fn the_fixture_dies_at_boot_with_a_traceback_and_the_status_asked_for() {
    let mut alone = Alone::start("exit_at_boot 7");
    assert_eq!(alone.end().code(), Some(7));
    assert!(alone.printed().contains("ModuleNotFoundError: No module named 'left_out_of_1'"), "{}", alone.printed());
}

#[test]
fn the_fixture_hangs_or_listens_elsewhere_when_told_to() {
    let hangs = Alone::start("hang_at_boot");
    wait::until("it has come to hang", secs(10), || hangs.printed().contains("hangs at boot"));
    assert_eq!(wire::get(hangs.addr, "/").unwrap_err(), Trouble::Refused);
    let wrong = Alone::start("wrong_port");
    wait::until("it listens somewhere", secs(10), || wrong.printed().contains("which is wrong"));
    assert_eq!(wire::get(wrong.addr, "/").unwrap_err(), Trouble::Refused);
}

#[test]
fn the_fixture_dies_only_after_its_first_answer() {
    let mut alone = Alone::start("dies_after 1");
    wait::until("it has answered", secs(10), || wire::get(alone.addr, "/").is_ok());
    assert_eq!(alone.end().code(), Some(3));
}

#[test]
fn the_fixture_ends_by_term_unless_it_ignores_it() {
    let mut polite = Alone::start("").ready();
    kill(polite.child.id(), Signal::TERM);
    assert_eq!(polite.end().code(), None, "ended by the signal");
    let mut deaf = Alone::start("ignores_term").ready();
    kill(deaf.child.id(), Signal::TERM);
    assert_eq!(wire::get(deaf.addr, "/").unwrap().text(), "1");
    assert!(deaf.child.try_wait().unwrap().is_none());
}

#[test]
fn a_connection_that_idles_is_closed_when_the_release_says_so() {
    let alone = Alone::start("close_idle 50").ready();
    let mut wire = Wire::connect(alone.addr).unwrap();
    assert_eq!(wire.ask(&wire::kept("/")).unwrap().status, 200);
    assert!(wire::is_closed(&mut wire.stream, secs(5)));
}

#[test]
fn a_held_request_is_answered_when_the_test_opens_its_gate() {
    let alone = Alone::start("").ready();
    std::thread::scope(|scope| {
        let held = scope.spawn(|| wire::get(alone.addr, "/hold?name=gate&mark=here"));
        let marks = alone.dir.path().join("marks");
        wait::until("it is with the app", secs(10), || fs::read_to_string(&marks).is_ok_and(|text| text == "here\n"));
        assert!(!held.is_finished());
        fs::write(alone.dir.path().join("open-gate"), "").unwrap();
        assert_eq!(held.join().unwrap().unwrap().text(), "1");
    });
}

#[test]
fn the_fixture_listens_on_a_path_and_on_an_inherited_descriptor() {
    let dir = release("");
    let path = dir.path().join("s");
    let mut child = app(dir.path()).env("SOCKET", &path).spawn().unwrap();
    wait::until("it listens", secs(10), || UnixStream::connect(&path).is_ok());
    assert!(ask_unix(&path).ends_with("\r\n\r\n1"));
    child.kill().unwrap();
    child.wait().unwrap();

    let inherited = dir.path().join("i");
    let listener = OwnedFd::from(UnixListener::bind(&inherited).unwrap());
    let fixture = app(dir.path());
    // The shell moves its standard input to descriptor 3 and becomes the app: the pid stays.
    let mut shell = Command::new("sh");
    shell.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\" 3<&0 </dev/null"]).arg(fixture.get_program()).args(fixture.get_args());
    shell.current_dir(dir.path()).env("FIXTURE_DIR", dir.path()).env_remove("PORT").env_remove("SOCKET").stdin(listener);
    let mut child = shell.stdout(Stdio::null()).spawn().unwrap();
    assert!(ask_unix(&inherited).ends_with("\r\n\r\n1"));
    child.kill().unwrap();
    child.wait().unwrap();
}

fn ask_unix(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(secs(10))).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn wrk_sees_bad_statuses_and_closed_connections() {
    for behaviour in ["answers 500", "close_each"] {
        let alone = Alone::start(behaviour);
        wait::until("the fixture answers", secs(10), || wire::get(alone.addr, "/").is_ok());
        let wrk = Wrk::start(alone.addr, "/bytes?n=10");
        std::thread::sleep(millis(300));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wrk.stop_clean())).is_err(), "{behaviour} was not seen");
    }
    let alone = Alone::start("").ready();
    let wrk = Wrk::start(alone.addr, "/bytes?n=10");
    std::thread::sleep(millis(300));
    assert!(wrk.stop_clean() > 0);
}
