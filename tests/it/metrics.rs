//! What rota counts, as `rota metrics` and the port of `server.metrics` say it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::ports;
use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire::{self, Wire, kept};

const APP: &str = "processes = 1\nconcurrency = 8\nbind = \"unix\"\nprobation = \"1ms\"";

/// Each line that is no comment: what stands before its value, and that.
type Seen = BTreeMap<String, f64>;

fn read(text: &str) -> Seen {
    let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap());
    samples.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

fn seen(site: &Site) -> Seen {
    read(&site.rota(&["metrics"]).expect(0).out)
}

/// By how much they have grown, of those that have.
fn grown(before: &Seen, after: &Seen, families: &[&str]) -> Vec<(String, f64)> {
    let of_them = after.iter().filter(|(name, _)| families.iter().any(|family| name.starts_with(family)));
    let by = of_them.map(|(name, value)| (name.clone(), value - before.get(name).copied().unwrap_or(0.0)));
    by.filter(|(_, by)| *by != 0.0).collect()
}

/// No counter is less than it was.
#[track_caller]
fn never_less(before: &Seen, after: &Seen) {
    let counts = |name: &str| ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.split('{').next().unwrap().ends_with(end));
    for (name, value) in before.iter().filter(|(name, _)| counts(name)) {
        assert!(after.get(name).is_some_and(|now| now >= value), "{name}: {value}, then {:?}", after.get(name));
    }
}

fn named(name: &str, labels: &str) -> String {
    format!("{name}{{app=\"app\",{labels}}}")
}

#[test]
fn each_request_is_counted_once_by_what_became_of_it() {
    for log in ["", "\naccess_log = \"json\""] {
        each_is_counted_once(log);
    }
}

fn each_is_counted_once(log: &str) {
    let site =
        Site::prepare(&format!("{APP}\nbuffer.request = true\npublic = \"public\"\ntimeouts.app = \"300ms\"\nlimits.body = \"1K\"{log}"));
    site.release("1", "");
    fs::create_dir(site.path("releases").join("1/public")).unwrap();
    fs::write(site.path("releases").join("1/public/a.txt"), "of a file").unwrap();
    site.flip("1");
    let site = site.serve();
    let before = seen(&site);
    let mut wire = Wire::connect(site.addr).unwrap();
    for (request, status) in [("/", 200), ("/status?n=204", 204), ("/status?n=301", 301), ("/status?n=404", 404), ("/status?n=500", 500)] {
        assert_eq!(wire.ask(&kept(request)).unwrap().status, status, "{request}");
    }
    assert_eq!(wire.ask(&kept("/a.txt")).unwrap().text(), "of a file");
    let body = "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 700\r\n\r\n";
    wire.send(&[body.as_bytes(), &[b'x'; 700]].concat()).unwrap();
    assert_eq!(wire.reply(false).unwrap().status, 200);
    let bytes = wire.ask(&kept("/bytes?n=300000")).unwrap();
    assert_eq!(bytes.body.len(), 300_000);
    // Refused by rota.
    assert_eq!(Wire::connect(site.addr).unwrap().ask(&body.replace("700", "5000")).unwrap().status, 413);
    assert_eq!(Wire::connect(site.addr).unwrap().ask(&kept("/never?")).unwrap().status, 504);
    assert!(wire::raw(site.addr, b"nonsense\r\n\r\n").unwrap().starts_with("HTTP/1.1 400 "));
    // The client leaves in the middle of its body.
    let mut leaves = Wire::connect(site.addr).unwrap();
    leaves.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 700\r\n\r\nabc").unwrap();
    drop(leaves);
    let nobody = named("rota_requests_total", "by=\"nobody\",code=\"none\"");
    wait::until("it is counted", secs(20), || seen(&site)[&nobody] > before[&nobody]);
    let after = seen(&site);
    never_less(&before, &after);
    let expected = [
        (named("rota_requests_total", "by=\"app\",code=\"2xx\""), 4.0),
        (named("rota_requests_total", "by=\"app\",code=\"3xx\""), 1.0),
        (named("rota_requests_total", "by=\"app\",code=\"4xx\""), 1.0),
        (named("rota_requests_total", "by=\"app\",code=\"5xx\""), 1.0),
        (named("rota_requests_total", "by=\"file\",code=\"2xx\""), 1.0),
        (nobody, 1.0),
        (named("rota_requests_total", "by=\"rota\",code=\"4xx\""), 1.0),
        (named("rota_requests_total", "by=\"rota\",code=\"5xx\""), 1.0),
    ];
    assert_eq!(grown(&before, &after, &["rota_requests_total"]), expected);
    let expected = [
        (named("rota_request_failures_total", "cause=\"app_silent\",blame=\"app\""), 1.0),
        (named("rota_request_failures_total", "cause=\"body_too_large\",blame=\"client\""), 1.0),
        (named("rota_request_failures_total", "cause=\"client_left\",blame=\"client\""), 1.0),
    ];
    assert_eq!(grown(&before, &after, &["rota_request_failures"]), expected);
    assert_eq!(
        grown(&before, &after, &["rota_refused_heads"]),
        [("rota_refused_heads_total{cause=\"bad_request\",blame=\"client\"}".to_owned(), 1.0)]
    );
    let by = |name: &str| after[&format!("{name}{{app=\"app\"}}")] - before[&format!("{name}{{app=\"app\"}}")];
    assert!((700.0..=703.0).contains(&by("rota_request_body_bytes_total")), "{}", by("rota_request_body_bytes_total"));
    assert_eq!(by("rota_request_duration_seconds_count"), 10.0, "all but the file");
    // Neither the file nor the bodies that were too large or not whole had a process.
    assert_eq!((by("rota_request_app_duration_seconds_count"), by("rota_request_queue_duration_seconds_count")), (8.0, 8.0));
    assert!(by("rota_request_app_duration_seconds_sum") >= 0.3, "one was silent for 300 ms");
    assert!((301_000.0..340_000.0).contains(&by("rota_response_bytes_total")), "{}", by("rota_response_bytes_total"));
    assert!(by("rota_requests_in_flight") <= 1.0);
}

#[test]
fn counters_outlive_processes_restarts_and_reloads() {
    let site = Site::start(APP);
    for _ in 0..5 {
        assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
    }
    let mut last = seen(&site);
    let two_hundreds = named("rota_requests_total", "by=\"app\",code=\"2xx\"");
    let mut asked = last[&two_hundreds];
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    let reloaded = |text: String| {
        fs::write(site.path("rota.toml"), text).unwrap();
        site.rota(&["reload"]).expect(0);
    };
    let steps: [&dyn Fn(); 4] = [
        &|| {
            site.rota(&["restart", "app"]).expect(0);
        },
        &|| reloaded(config.replace("concurrency = 8", "concurrency = 4\naccess_log = \"json\"")),
        &|| {
            // It goes, with all its processes, and comes back.
            reloaded(config.replace("[app.app", "[app.other"));
            wait::until("it is gone", secs(30), || !site.rota(&["metrics"]).out.contains("app=\"app\""));
            reloaded(config.clone());
            wait::until("it is back", secs(30), || wire::get(site.addr, "/status?n=404").is_ok_and(|reply| reply.status == 404));
        },
        &|| {
            crate::site::kill(
                u32::try_from(site.status()["apps"][0]["processes"][0]["pid"].as_u64().unwrap()).unwrap(),
                rustix::process::Signal::KILL,
            );
            wait::until("another serves", secs(30), || seen(&site)[&named("rota_process_failures_total", "cause=\"crashed\"")] == 1.0);
            site.wait_served();
        },
    ];
    for (number, step) in steps.iter().enumerate() {
        step();
        let now = seen(&site);
        never_less(&last, &now);
        assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
        let after = seen(&site);
        assert!(after[&two_hundreds] >= asked + 1.0, "step {number}");
        (asked, last) = (after[&two_hundreds], after);
    }
    assert_eq!(last["rota_process_failures_total{app=\"app\",cause=\"crashed\"}"], 1.0);
}

#[test]
fn what_happens_to_processes_is_counted() {
    let site = Site::start(&format!("{APP}\non_failure = \"resist\""));
    let before = seen(&site);
    assert_eq!((before["rota_processes{app=\"app\",state=\"serving\"}"], before["rota_process_starts_total{app=\"app\"}"]), (1.0, 1.0));
    assert_eq!(before["rota_walks_total{app=\"app\",outcome=\"done\"}"], 1.0, "the first start");
    assert!(before["rota_memory_bytes{app=\"app\"}"] > 1e5);
    site.deploy("2", "").expect(0);
    site.deploy("3", "exit_at_boot 1").expect(4);
    let after = seen(&site);
    let expected = [
        ("rota_process_failures_total{app=\"app\",cause=\"exited\"}".to_owned(), 1.0),
        ("rota_process_starts_total{app=\"app\"}".to_owned(), 2.0),
        ("rota_resists{app=\"app\"}".to_owned(), 1.0),
        ("rota_walks_total{app=\"app\",outcome=\"done\"}".to_owned(), 1.0),
        ("rota_walks_total{app=\"app\",outcome=\"failed\"}".to_owned(), 1.0),
    ];
    assert_eq!(grown(&before, &after, &["rota_process_", "rota_walks", "rota_resists"]), expected);
    site.rota(&["pause", "app", "--for", "60s"]).expect(0);
    let mut waits = Wire::connect(site.addr).unwrap();
    waits.send(kept("/").as_bytes()).unwrap();
    wait::until("it waits", secs(20), || seen(&site)["rota_queue_length{app=\"app\"}"] == 1.0);
    let paused = seen(&site);
    assert_eq!((paused["rota_paused{app=\"app\"}"], paused["rota_drained"]), (1.0, 0.0));
    assert!(paused["rota_connections"] >= 1.0 && paused["rota_connections_accepted_total"] >= 2.0);
    site.rota(&["resume", "app"]).expect(0);
    assert_eq!(waits.reply(false).unwrap().status, 200);
}

#[test]
fn nothing_of_a_client_is_a_label() {
    let site = Site::start(APP);
    let names = |site: &Site| -> Vec<String> { seen(site).into_keys().collect() };
    let ask = |number: usize| {
        let request = format!(
            "M{number} /path-{number}?\"}} 1 HTTP/1.1\r\nHost: host-{number}.test\r\nUser-Agent: x\"}}\\n{number}\r\nX-Request-Id: {number}\r\nConnection: close\r\n\r\n"
        );
        wire::raw(site.addr, request.as_bytes()).unwrap();
        wire::raw(site.addr, format!("GET /status?n={} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", 200 + number).as_bytes())
            .unwrap();
    };
    (0..5).for_each(ask);
    let once = names(&site);
    (5..80).for_each(ask);
    assert_eq!(names(&site), once);
    assert!(once.iter().all(|name| !name.contains("path-") && !name.contains("host-")), "{once:?}");
}

#[test]
fn what_is_printed_is_well_formed_and_all_there_is() {
    let site = Site::start(APP);
    let text = site.rota(&["metrics"]).expect(0).out.clone();
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    let described: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(|line| line.split_once(' ').unwrap()).collect();
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap();
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `rota_")?.split_once("` | "));
    let rows: Vec<(String, &str)> = rows.map(|(name, rest)| (format!("rota_{name}"), rest.split(" | ").next().unwrap())).collect();
    let queried = |(name, kind): &(&str, &'static str)| match *kind {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => (*name).to_owned(),
    };
    assert_eq!(described.len(), rows.len());
    let mut at = "";
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").map(|line| line.split_once(' ').unwrap()) {
            let kind = ["counter", "gauge", "histogram", "info"].into_iter().find(|known| *known == kind).unwrap();
            assert!(kinds.insert(name, kind).is_none(), "{name} twice");
            assert!(rows.contains(&(queried(&(name, kind)), kind)), "{name}: {rows:?}");
            at = name;
        } else if let Some(rest) = line.strip_prefix("# HELP ").or(line.strip_prefix("# UNIT ")) {
            assert_eq!(rest.split(' ').next(), Some(at), "{line}");
        } else {
            let name = line.split(['{', ' ']).next().unwrap();
            let end = name.strip_prefix(at).unwrap_or_else(|| panic!("{line}: below {at}"));
            let right: &[&str] = match kinds[at] {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_sum", "_count"],
                "info" => &["_info"],
                _ => &[""],
            };
            assert!(right.contains(&end), "{line}");
        }
    }
}

#[test]
fn promtool_finds_nothing() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/promtool");
    let mut promtool = Command::new(if own.exists() { own.as_path() } else { Path::new("promtool") });
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut promtool) = promtool.spawn() else { return println!("there is no promtool here: tests/setup gets it") };
    let site = Site::start(APP);
    assert_eq!(wire::get(site.addr, "/crash").unwrap().status, 502);
    site.wait_served();
    let text = site.rota(&["metrics", "--prometheus"]).expect(0).out.clone();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

/// Head and body of what is answered there.
fn scrape(at: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn the_port_answers_scrapers_and_holds_up_nobody() {
    let at = ports::free();
    let site = Site::start(&format!("{APP}\nserver.metrics = \"{at}\""));
    let (head, older) = scrape(at, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    assert!(
        older.contains("\n# TYPE rota_requests_total counter\n") || older.starts_with("# TYPE rota_requests_total counter\n"),
        "{older}"
    );
    assert!(read(&older)["rota_memory_bytes{app=\"app\"}"] > 1e5, "{older}");
    let (head, newer) =
        scrape(at, "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n\r\n");
    assert!(head.contains("\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"), "{head}");
    assert!(newer.ends_with("# EOF\n"));
    let (head, nothing) = scrape(at, "HEAD /metrics HTTP/1.0\r\n\r\n");
    assert_eq!((head.split("\r\n").next(), nothing.as_str()), (Some("HTTP/1.1 200 OK"), ""));
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "404 Not Found"),
        ("DELETE /metrics HTTP/1.1\r\n\r\n".to_owned(), "405 Method Not Allowed"),
        ("\x16\x03\x01\x02\r\n\r\n".to_owned(), "400 Bad Request"),
    ] {
        assert_eq!(scrape(at, &request).0.split("\r\n").next(), Some(format!("HTTP/1.1 {status}").as_str()), "{request:?}");
    }
    // Those who say nothing, half of it, or too much, and those who do not read.
    let begun = Instant::now();
    let mut strangers: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(at).unwrap()).collect();
    for (number, stranger) in strangers.iter_mut().enumerate() {
        let _ = match number % 3 {
            0 => Ok(()),
            1 => stranger.write_all(b"GET /metrics HTTP/1.1\r\nHost: "),
            _ => {
                stranger.write_all("GET /metrics HTTP/1.1\r\nX: ".to_owned().as_bytes()).and_then(|()| stranger.write_all(&[b'x'; 20_000]))
            }
        };
    }
    assert!(scrape(at, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").1.contains("rota_build_info"));
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
    assert!(begun.elapsed() < secs(20));
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", site.pid())).unwrap().count();
    let held = descriptors();
    wait::until("nobody is waited for", secs(30), || descriptors() + 20 < held || held < 60);
    // Gone with the configuration.
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    fs::write(site.path("rota.toml"), config.replace(&format!("metrics = \"{at}\"\n"), "")).unwrap();
    site.rota(&["reload"]).expect(0);
    wait::until("nobody is there any more", secs(20), || TcpStream::connect(at).is_err());
}
