//! The access log: exactly one line for each request, whatever became of it, and nothing that a request waits for.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::site::Site;
use crate::tally::Tally;
use crate::traffic::{ALL, Kind, Load, names};
use crate::wait::{self, millis, secs};
use crate::wire::{self, Trouble, Wire, kept, raw_answer};

const APP: &str = "concurrency = 8\nbind = \"unix\"\nprobation = \"1ms\"\nqueue.max = 1000\n";
/// A request for any other is for no app.
const HOSTS: &str = "hosts = [\"test\", \"localhost\", \"127.0.0.1\"]\n";

/// A site whose configuration names files of its own directory as `AT/NAME`.
fn prepare(keys: &str) -> Site {
    let site = Site::prepare(keys);
    let config = site.path("rota.toml");
    let text = fs::read_to_string(&config).unwrap().replace("AT/", &format!("{}/", site.path("").display()));
    fs::write(config, text).unwrap();
    site.release("1", "");
    site.flip("1");
    site
}

fn serve(keys: &str) -> Site {
    prepare(keys).serve()
}

const JSON: &str = "server.access_log = { format = \"json\", file = \"AT/access.log\" }\n";

fn text(site: &Site, name: &str) -> String {
    fs::read_to_string(site.path(name)).unwrap_or_default()
}

fn parsed(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Begins a new file, so that it has nothing of the start; the old one is `NAME.TIMES`.
fn rotate(site: &Site, name: &str, times: usize) -> PathBuf {
    let (file, old) = (site.path(name), site.path(&format!("{name}.{times}")));
    fs::rename(&file, &old).unwrap();
    site.signal(Signal::USR1);
    wait::until("the file is there again", secs(10), || file.exists());
    old
}

fn stop(site: &mut Site) {
    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(40)), Some(0));
}

/// The kinds of traffic that are counted by request.
fn requests() -> Vec<Kind> {
    ALL.into_iter().filter(|(name, _)| !matches!(*name, "sse" | "websocket")).collect()
}

fn load(site: &Site, during: impl FnOnce()) -> Tally {
    let load = Load::start(site.addr, &requests());
    std::thread::sleep(millis(500));
    during();
    std::thread::sleep(millis(500));
    let tally = load.stop();
    tally.expect_no_failure(&names(&requests()));
    tally
}

fn send(site: &Site, bytes: &[u8]) -> Wire {
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(bytes).unwrap();
    wire
}

fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// What a line says of how a request ended.
fn ending(line: &Value) -> (u64, bool, &str) {
    (line["status"].as_u64().unwrap(), line["cut"].as_bool().unwrap(), line["cause"].as_str().unwrap_or("-"))
}

#[test]
fn each_ending_has_one_line_that_says_how() {
    let mut site = serve(&format!("{APP}{HOSTS}{JSON}processes = 2\nlimits.body = \"10K\""));
    rotate(&site, "access.log", 0);
    let get = |target: &str| wire::get(site.addr, target);

    assert_eq!(get("/bytes?n=1000&t=whole").unwrap().body.len(), 1000);
    assert_eq!(Wire::connect(site.addr).unwrap().ask("HEAD /bytes?n=1000&t=head HTTP/1.1\r\nHost: test\r\n\r\n").unwrap().status, 200);
    assert_eq!(get("/status?n=503&t=by-app").unwrap().status, 503);
    assert_eq!(get("/hints?t=hints").unwrap().text(), "after the hints\n");
    let mut pipelined = send(&site, [1, 2, 3].map(|n| kept(&format!("/bytes?n={n}00&t=pipelined-{n}"))).concat().as_bytes());
    for n in 1..=3 {
        assert_eq!(pipelined.reply(false).unwrap().body.len(), n * 100);
    }
    let mut upload = send(&site, b"POST /echo?t=expects HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    upload.head().unwrap();
    upload.send(b"x").unwrap();
    let receipt = upload.reply(false).unwrap().body.len();
    let mut socket = crate::streaming::Ws::connect(site.addr, "/ws?t=websocket").unwrap();
    socket.send("hello").unwrap();
    assert_eq!(socket.next().unwrap(), crate::streaming::Came::Text("hello".to_owned()));
    drop(socket);

    // Refused by us.
    let other =
        send(&site, b"GET /?t=no-app HTTP/1.1\r\nHost: other\r\nUser-Agent: seen\r\nX-Request-Id: mine\r\n\r\n").reply(false).unwrap();
    let no_app = other.body.len();
    assert_eq!(other.status, 404);
    assert_eq!(send(&site, b"GET /?t=bare-lf HTTP/1.1\nHost: test\r\n\r\n").reply(false).unwrap().status, 400);
    assert_eq!(
        send(&site, b"POST /echo?t=too-large HTTP/1.1\r\nHost: test\r\nContent-Length: 10241\r\n\r\n").reply(false).unwrap().status,
        413
    );

    // By the app's fault.
    assert_eq!(get("/garbage?t=garbage").unwrap().status, 502);
    let cut = raw_answer(&["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"], 0);
    assert!(matches!(get(&format!("{cut}&then=close&t=cut-by-app")), Err(Trouble::Cut | Trouble::Reset)));
    assert_eq!(get("/hang-up-once?name=x&t=again").unwrap().status, 200);

    // By the client's.
    let left = send(&site, kept("/hold?name=left&mark=left&t=left").as_bytes());
    wait::until("it is with the app", secs(10), || site.marks().contains(&"left".to_owned()));
    reset(&left.stream);
    drop(left);
    drop(send(&site, b"POST /echo?t=half-a-body HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nx"));
    let mut slow = send(&site, kept("/bytes?n=20000000&t=half-an-answer").as_bytes());
    slow.take(1000).unwrap();
    wait::until("the app is done with it", secs(10), || {
        site.processes().len() == 2 && site.status()["spooled"].as_u64() > Some(10_000_000)
    });
    reset(&slow.stream);
    drop(slow);
    site.open("left");
    stop(&mut site);

    let lines = parsed(&text(&site, "access.log"));
    let name = |line: &Value| line["target"].as_str().unwrap().split("t=").last().unwrap().to_owned();
    let mut expected = [
        ("whole", (200, false, "-")),
        ("head", (200, false, "-")),
        ("by-app", (503, false, "-")),
        ("hints", (200, false, "-")),
        ("pipelined-1", (200, false, "-")),
        ("pipelined-2", (200, false, "-")),
        ("pipelined-3", (200, false, "-")),
        ("expects", (200, false, "-")),
        ("websocket", (101, false, "-")),
        ("no-app", (404, false, "no app serves this host and path")),
        ("bare-lf", (400, false, "a line ends in LF without CR")),
        ("too-large", (413, false, "the body is larger than the app's limits.body")),
        ("garbage", (502, false, "not HTTP/1.0 or HTTP/1.1")),
        ("cut-by-app", (200, true, "the app closed the connection before its answer was whole")),
        ("again", (200, false, "-")),
        ("left", (499, true, "the client left")),
        ("half-a-body", (499, true, "the client left")),
        ("half-an-answer", (200, true, "the client left")),
    ];
    expected.sort_unstable();
    let mut endings: Vec<_> = lines.iter().map(|line| (name(line), ending(line))).collect();
    endings.sort_unstable();
    assert_eq!(endings, expected.map(|(name, how)| (name.to_owned(), how)));

    let line = |wanted: &str| lines.iter().find(|line| name(line) == wanted).unwrap();
    let bytes = |wanted: &str| line(wanted)["bytes"].as_u64().unwrap();
    let all = ["whole", "head", "hints", "pipelined-2", "expects", "no-app", "cut-by-app", "left", "half-a-body"].map(bytes);
    assert_eq!(all, [1000, 0, 16, 200, receipt as u64, no_app as u64, 3, 0, 0]);
    assert!((1000..20_000_000).contains(&bytes("half-an-answer")), "{}", bytes("half-an-answer"));
    assert!(bytes("websocket") >= 7, "a frame of five bytes at least");
    assert_eq!(line("again")["retries"], 1);
    let whole = line("whole");
    assert_eq!((&whole["app"], &whole["generation"], &whole["client"]), (&"app".into(), &1.into(), &"127.0.0.1".into()));
    assert!(whole["queue_ms"].is_f64() && whole["app_ms"].as_f64() <= whole["total_ms"].as_f64(), "{whole}");
    let refused = line("no-app");
    assert_eq!((&refused["user_agent"], &refused["host"]), (&"seen".into(), &"other".into()));
    assert!(["app", "process", "request_id", "queue_ms"].iter().all(|key| refused[key].is_null()), "{refused}");
}

#[test]
fn what_waits_for_a_slot_is_logged_when_it_is_refused_and_when_its_client_leaves() {
    let keys = "concurrency = 1\nbind = \"unix\"\nprobation = \"1ms\"\nqueue.max = 1\nqueue.timeout = \"1s\"\n";
    let mut site = serve(&format!("{keys}{JSON}"));
    rotate(&site, "access.log", 0);
    let mut held = send(&site, kept("/hold?name=gate&mark=held&t=held").as_bytes());
    wait::until("it is with the app", secs(10), || site.marks() == ["held"]);
    let leaves = send(&site, kept("/?t=leaves").as_bytes());
    wait::until("it waits", secs(10), || site.waiting() == 1);
    assert_eq!(wire::get(site.addr, "/?t=full").unwrap().status, 503);
    drop(leaves);
    wait::until("it has left", secs(10), || site.waiting() == 0);
    assert_eq!(wire::get(site.addr, "/?t=expires").unwrap().status, 504);
    site.open("gate");
    assert_eq!(held.reply(false).unwrap().status, 200);
    stop(&mut site);
    let mut endings: Vec<_> =
        parsed(&text(&site, "access.log")).iter().map(|line| (line["target"].clone(), line["status"].clone())).collect();
    endings.sort_by_key(|(target, _)| target.to_string());
    let expected = [("/?t=expires", 504), ("/?t=full", 503), ("/?t=leaves", 499), ("/hold?name=gate&mark=held&t=held", 200)];
    assert_eq!(endings, expected.map(|(target, status)| (target.into(), status.into())));
}

#[test]
fn a_load_over_restarts_and_rotations_has_exactly_as_many_lines_as_requests() {
    let mut site = serve(&format!("{APP}{JSON}processes = 2\nconcurrency = 16").replace("concurrency = 8\n", ""));
    rotate(&site, "access.log", 0);
    let mut files = vec![site.path("access.log")];
    let tally = load(&site, || {
        for version in ["2", "3"] {
            files.push(rotate(&site, "access.log", files.len()));
            site.deploy(version, "boot_delay 100").expect(0);
            files.push(rotate(&site, "access.log", files.len()));
        }
    });
    stop(&mut site);
    let lines: Vec<Value> = files.iter().flat_map(|file| parsed(&fs::read_to_string(file).unwrap())).collect();
    assert_eq!(lines.len(), tally.total(), "lines against what the clients counted:\n{tally}");
    let odd: Vec<_> = lines.iter().filter(|line| ending(line) != (200, false, "-")).collect();
    assert!(odd.is_empty(), "{odd:#?}");
    let mut ids: Vec<&str> = lines.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), lines.len(), "each of another request");
    for generation in 1..=3 {
        assert!(lines.iter().any(|line| line["generation"] == generation), "none of generation {generation}");
    }
}

#[test]
fn what_a_client_sends_stays_in_its_field_of_its_line() {
    let combined = "access_log = { file = \"AT/combined.log\" }\n";
    for (keys, name) in [(JSON.to_owned(), "access.log"), (format!("{combined}{}", JSON.replace("json", "combined")), "combined.log")] {
        let mut site = serve(&format!("{APP}{keys}"));
        rotate(&site, name, 0);
        let hostile = "x\" 200 0 \"-\\\" \t\u{85}\u{202e}\u{2028}\u{2066}caf\u{e9}";
        let request = format!("GET /?q=%0a%22&t=h HTTP/1.1\r\nHost: test\r\nUser-Agent: {hostile}\r\nReferer: {hostile}\r\n\r\n");
        assert_eq!(send(&site, request.as_bytes()).reply(false).unwrap().status, 200);
        let invalid = b"GET / HTTP/1.1\r\nHost: test\r\nUser-Agent: \xff\xc3 \xe2\x80\r\n\r\n";
        // It gets through; the fixture has no use for it.
        assert_eq!(send(&site, invalid).reply(false).unwrap().status, 400);
        let long = format!("GET /?{} HTTP/1.1\r\nHost: test\r\nUser-Agent: {}\r\n\r\n", "a".repeat(5000), "b".repeat(5000));
        assert_eq!(send(&site, long.as_bytes()).reply(false).unwrap().status, 200);
        stop(&mut site);
        let log = text(&site, name);
        let lines: Vec<&str> = log.split('\n').collect();
        assert_eq!((lines.len(), lines[3]), (4, ""), "{log:?}");
        assert!(log.chars().all(|c| c == '\n' || !c.is_control() && !"\u{202e}\u{2028}\u{2066}".contains(c)), "{log:?}");
        assert!(lines.iter().all(|line| line.len() < 4000) && lines[2].contains("aaa...") && lines[2].contains("bbb..."), "{log}");
        if name == "access.log" {
            assert_eq!(parsed(&log)[0]["user_agent"], hostile);
        } else {
            let fields = "\\x22 200 0 \\x22-\\x5C\\x22 \\x09\\xC2\\x85\\xE2\\x80\\xAE";
            assert!(lines[0].contains(fields) && lines[0].matches('"').count() == 8, "{log}");
        }
    }
}

#[test]
fn a_full_disk_costs_the_lines_and_no_request() {
    let mut site = serve(&format!("{APP}access_log = {{ format = \"json\", file = \"/dev/full\" }}"));
    load(&site, || ());
    stop(&mut site);
    let log = site.log();
    assert!(log.contains("access log /dev/full: ") && log.contains(" dropped: No space left on device"), "{log}");
}

#[test]
fn a_pipe_that_nobody_reads_holds_nothing_up() {
    let keys = format!("{APP}access_log = {{ file = \"AT/pipe\" }}");
    for has_reader in [false, true] {
        let mut site = prepare(&keys);
        let pipe = site.path("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        // One that never reads. Opened for both, it needs nobody at the other end.
        let reader = has_reader.then(|| fs::File::options().read(true).write(true).open(&pipe).unwrap());
        site = site.serve();
        let mut wire = Wire::connect(site.addr).unwrap();
        // Far more than a pipe of 64 KiB takes.
        for _ in 0..1500 {
            assert_eq!(wire.ask(&kept("/")).unwrap().status, 200);
        }
        stop(&mut site);
        drop(reader);
        let log = site.log();
        assert!(log.contains("/pipe: ") && log.contains(" lines were dropped: nobody reads it"), "{log}");
    }
}

#[test]
fn without_a_file_the_lines_go_to_standard_output_and_an_app_may_have_its_own() {
    let mut site =
        prepare(&format!("{APP}{HOSTS}server.access_log = \"combined\"\naccess_log = {{ format = \"json\", file = \"AT/own.log\" }}"));
    let (mut read, write) = std::io::pipe().unwrap();
    let log = fs::File::create(site.path("log")).unwrap();
    site.launch_into(Stdio::from(write), Stdio::from(log));
    site.wait_served();
    assert_eq!(wire::get(site.addr, "/?t=own").unwrap().status, 200);
    let refused = send(&site, b"GET /?t=nobody-s HTTP/1.1\r\nHost: other\r\n\r\n").reply(false).unwrap();
    let body = refused.body.len();
    assert_eq!(refused.status, 404);
    stop(&mut site);
    let mut printed = String::new();
    read.read_to_string(&mut printed).unwrap();
    let line = printed.strip_suffix('\n').unwrap();
    assert!(
        line.starts_with("127.0.0.1 - - [") && line.contains(&format!("] \"GET /?t=nobody-s HTTP/1.1\" 404 {body} \"-\" \"-\" app=- ")),
        "{printed}"
    );
    assert_eq!(parsed(&text(&site, "own.log")).iter().filter(|line| line["target"] == "/?t=own").count(), 1);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(site.path("own.log")).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn off_is_the_default_and_can_be_said() {
    for keys in ["", "server.access_log = \"json\"\naccess_log = \"off\""] {
        let mut site = serve(&format!("{APP}{keys}"));
        assert_eq!(wire::get(site.addr, "/?t=unlogged").unwrap().status, 200);
        site.signal(Signal::USR1);
        wait::until("there is nothing to reopen", secs(10), || site.log().contains("there is nothing to reopen"));
        stop(&mut site);
        assert!(!site.log().contains("unlogged"), "{}", site.log());
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_named_and_rota_does_not_start() {
    for (key, file, why) in [
        ("server.access_log", "AT/missing/access.log", "server.access_log AT/missing/access.log: No such file or directory"),
        ("server.access_log", "AT/run/..", "server.access_log AT/run/..: "),
        ("server.access_log", "AT/current", "server.access_log AT/current: a symbolic link is not followed"),
    ] {
        let mut site = prepare(&format!("{APP}{key} = {{ format = \"json\", file = \"{file}\" }}"));
        site.launch();
        assert_ne!(site.wait_end(secs(10)), Some(0));
        let why = why.replace("AT/", &format!("{}/", site.path("").display()));
        assert!(site.log().contains(&why), "{}", site.log());
    }
    let check = prepare(&format!("{APP}access_log = {{ file = \"AT/missing/access.log\" }}")).rota(&["check"]);
    check.expect(1);
    assert!(check.err.contains("app app: the directory of access_log "), "{}", check.err);
}

#[test]
fn a_file_that_cannot_be_opened_anew_leaves_the_old_one() {
    let mut site = serve(&format!("{APP}{}", JSON.replace("access.log", "shared/access.log")));
    let old = site.path("shared/old");
    fs::rename(site.path("shared/access.log"), &old).unwrap();
    fs::create_dir(site.path("shared/access.log")).unwrap();
    site.signal(Signal::USR1);
    wait::until("it is said", secs(10), || site.log().contains("lines go on into the file that is open"));
    assert_eq!(wire::get(site.addr, "/?t=after").unwrap().status, 200);
    stop(&mut site);
    assert_eq!(fs::read_to_string(old).unwrap().matches("t=after").count(), 1);
}

#[test]
fn a_connection_too_many_is_logged_when_it_asked_something() {
    let mut site = serve(&format!("{APP}{JSON}server.limits.connections = 1"));
    // An idle one would go for the newest.
    let mut within = Wire::connect(site.addr).unwrap();
    within.send(kept("/hold?name=gate&mark=held").as_bytes()).unwrap();
    wait::until("it is with the app", secs(10), || site.marks() == ["held"]);
    let mut many = 0;
    wait::until("one was seen", secs(10), || {
        many += 1;
        let _ = TcpStream::connect(site.addr).unwrap().write_all(kept("/?t=many").as_bytes());
        text(&site, "access.log").contains("t=many")
    });
    site.open("gate");
    assert_eq!(within.reply(false).unwrap().status, 200);
    stop(&mut site);
    let lines = parsed(&text(&site, "access.log"));
    let refused: Vec<_> = lines.iter().filter(|line| line["target"] == "/?t=many").collect();
    assert!((1..=many).contains(&refused.len()) && refused.iter().all(|line| line["status"] == 503), "{refused:?}");
}
