//! Files that rota sends itself: of the releases' public directories, and those that the app names. `?mark=` says whether a request reached
//! the app all the same.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::bytes::receipt;
use crate::site::Site;
use crate::wait::{self, millis, secs};
use crate::wire::{self, Reply, Trouble, Wire};
use crate::wrk::Wrk;

pub const APP: &str = "processes = 2\nconcurrency = 16\nbind = \"unix\"\nprobation = \"100ms\"\nqueue.max = 1000\npublic = \"public\"";
pub const CSS: &str = "body { color: red }\n";

impl Site {
    /// Release 1 with these public files, served.
    pub fn with_files(app: &str, files: &[(&str, &[u8])]) -> Site {
        let site = Site::prepare(app);
        site.release("1", "");
        site.public("1", files);
        site.flip("1");
        site.serve()
    }

    pub fn public(&self, version: &str, files: &[(&str, &[u8])]) {
        for (name, bytes) in files {
            let path = self.path("releases").join(version).join("public").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    pub fn public_path(&self, name: &str) -> std::path::PathBuf {
        self.path("releases/1/public").join(name)
    }

    pub fn ask(&self, request: &str) -> Reply {
        Wire::connect(self.addr).unwrap().ask(&request.replace('\n', "\r\n")).unwrap()
    }

    /// GET of a target with these fields, one a line.
    pub fn get(&self, target: &str, fields: &str) -> Reply {
        self.ask(&format!("GET {target} HTTP/1.1\nHost: test\n{fields}\n"))
    }
}

#[test]
fn a_file_is_answered_without_the_app_and_everything_else_is_the_apps() {
    let files: &[(&str, &[u8])] =
        &[("app.css", CSS.as_bytes()), ("docs/index.html", b"<h1>"), ("empty.txt", b""), ("a b.txt", b"blank"), ("no-type", b"?")];
    let site = Site::with_files(APP, files);
    for (target, content_type, body) in [
        ("/app.css?mark=file", "text/css; charset=utf-8", CSS),
        ("/docs/?mark=file", "text/html; charset=utf-8", "<h1>"),
        ("/empty.txt?mark=file", "text/plain; charset=utf-8", ""),
        ("/a%20b.txt?mark=file", "text/plain; charset=utf-8", "blank"),
        ("/no-type?mark=file", "application/octet-stream", "?"),
    ] {
        let reply = site.get(target, "");
        assert_eq!((reply.status, reply.text().as_str(), reply.field("Content-Type")), (200, body, Some(content_type)), "{target}");
        assert_eq!(reply.field("Content-Length"), Some(body.len().to_string().as_str()));
        assert!(reply.keep && reply.field("ETag").is_some() && reply.field("Last-Modified").is_some(), "{}", reply.head);
        assert_eq!((reply.field("Accept-Ranges"), reply.field("Cache-Control")), (Some("bytes"), None));
        let head = site.ask(&format!("HEAD {target} HTTP/1.1\nHost: test\n\n"));
        let without_date =
            |reply: &Reply| reply.head.lines().filter(|line| !line.starts_with("Date: ")).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(without_date(&head), without_date(&reply), "{target}");
    }
    assert_eq!(site.marks(), [""; 0]);
    for (i, request) in [
        "POST /app.css?mark=MARK HTTP/1.1\nHost: test\nContent-Length: 0\n\n",
        "PUT /app.css?mark=MARK HTTP/1.1\nHost: test\nContent-Length: 2\n\nhi",
        "DELETE /app.css?mark=MARK HTTP/1.1\nHost: test\n\n",
        "OPTIONS /app.css?mark=MARK HTTP/1.1\nHost: test\n\n",
        "GET /app.css?mark=MARK HTTP/1.1\nHost: test\nContent-Length: 2\n\nhi",
        "GET /none.css?mark=MARK HTTP/1.1\nHost: test\n\n",
        "GET /?mark=MARK HTTP/1.1\nHost: test\n\n",
    ]
    .iter()
    .enumerate()
    {
        site.ask(&request.replace("MARK", &format!("m{i}")));
        assert_eq!(site.marks().len(), i + 1, "{request}");
    }
}

#[test]
fn conditions_and_ranges_on_one_kept_connection() {
    let site = Site::with_files(APP, &[("ten.txt", b"0123456789"), ("app-1a2b3c4d.css", CSS.as_bytes())]);
    let first = site.get("/ten.txt", "");
    let (etag, modified) = (first.field("ETag").unwrap(), first.field("Last-Modified").unwrap());
    let mut wire = Wire::connect(site.addr).unwrap();
    for (fields, status, body) in [
        (format!("If-None-Match: {etag}"), 304, ""),
        (format!("If-None-Match: \"x\", W/{etag}"), 304, ""),
        ("If-None-Match: \"x\"".to_owned(), 200, "0123456789"),
        (format!("If-Modified-Since: {modified}"), 304, ""),
        ("If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT".to_owned(), 200, "0123456789"),
        ("If-Match: \"x\"".to_owned(), 412, ""),
        ("If-Unmodified-Since: Sun, 09 Sep 2001 01:46:40 GMT".to_owned(), 412, ""),
        ("Range: bytes=2-4".to_owned(), 206, "234"),
        ("Range: bytes=-3".to_owned(), 206, "789"),
        ("Range: bytes=10-".to_owned(), 416, ""),
        ("Range: bytes=0-0,5-5".to_owned(), 200, "0123456789"),
        (format!("Range: bytes=5-\r\nIf-Range: {etag}"), 206, "56789"),
        (format!("Range: bytes=5-\r\nIf-Range: {modified}"), 206, "56789"),
        ("Range: bytes=5-\r\nIf-Range: \"x\"".to_owned(), 200, "0123456789"),
    ] {
        let reply = wire.ask(&format!("GET /ten.txt HTTP/1.1\r\nHost: test\r\n{fields}\r\n\r\n")).unwrap();
        assert_eq!((reply.status, reply.text().as_str(), reply.keep), (status, body, true), "{fields}\n{}", reply.head);
        assert_eq!(reply.field("ETag"), Some(etag), "{fields}");
        match status {
            206 => assert!(reply.field("Content-Range").unwrap().ends_with("/10"), "{}", reply.head),
            416 => assert_eq!(reply.field("Content-Range"), Some("bytes */10")),
            304 => assert_eq!((reply.field("Content-Length"), reply.field("Content-Type")), (None, None)),
            _ => assert_eq!(reply.field("Content-Range"), None),
        }
    }
    let built = site.get("/app-1a2b3c4d.css", "");
    assert_eq!(built.field("Cache-Control"), Some("public, max-age=31536000, immutable"));
    let old = site.ask("GET /ten.txt HTTP/1.0\nConnection: keep-alive\n\n");
    assert_eq!((old.field("Connection"), old.text().as_str()), (Some("keep-alive"), "0123456789"));
    assert_eq!(site.ask("GET /ten.txt HTTP/1.0\n\n").field("Connection"), Some("close"));
}

#[test]
fn pipelined_requests_for_files_and_for_the_app_are_answered_in_their_order() {
    let big: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let site = Site::with_files(APP, &[("big.bin", &big), ("app.css", CSS.as_bytes())]);
    let mut wire = Wire::connect(site.addr).unwrap();
    let targets = ["/app.css", "/", "/big.bin", "/app.css", "/big.bin", "/", "/app.css"];
    wire.send(targets.map(wire::kept).concat().as_bytes()).unwrap();
    for target in targets {
        let expected: &[u8] = match target {
            "/big.bin" => &big,
            "/app.css" => CSS.as_bytes(),
            _ => b"1",
        };
        let reply = wire.reply(false).unwrap();
        assert!(reply.status == 200 && reply.body == expected, "{target}: {}", reply.head);
    }
}

#[test]
fn no_path_and_no_link_leads_out_and_the_app_is_asked_instead() {
    let site = Site::prepare(APP);
    site.release("1", "");
    site.public("1", &[("a/b.txt", b"in"), (".env", b"hidden"), ("a/.git/config", b"hidden"), (".well-known/x", b"known")]);
    fs::write(site.path("releases/1/secret"), "secret").unwrap();
    for (target, link) in [("../secret", "out.txt"), ("/etc/passwd", "passwd.txt"), ("..", "up"), ("a/b.txt", "inside.txt")] {
        symlink(target, site.public_path(link)).unwrap();
    }
    rustix::fs::mkfifoat(rustix::fs::CWD, site.public_path("fifo.txt"), rustix::fs::Mode::RUSR).unwrap();
    site.flip("1");
    let site = site.serve();
    for (i, path) in [
        "/out.txt",
        "/passwd.txt",
        "/up/secret",
        "/fifo.txt",
        "/../secret",
        "/a/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/a/%2e%2e/a/b.txt",
        "/a%2fb.txt",
        "//a/b.txt",
        "/a//b.txt",
        "/./a/b.txt",
        "/a\\b.txt",
        "/a%5cb.txt",
        "/a/b.txt%00",
        "/a/b.txt%",
        "/.env",
        "/%2eenv",
        "/a/.git/config",
    ]
    .iter()
    .enumerate()
    {
        let reply = site.get(&format!("{path}?mark=m{i}"), "");
        assert_eq!((reply.status, site.marks().len()), (404, i + 1), "{path}: {}", reply.head);
    }
    for (path, body) in [("/inside.txt", "in"), ("/.well-known/x", "known"), ("/a/b%2etxt", "in")] {
        assert_eq!(site.get(path, "").text(), body, "{path}");
    }
    let site = Site::prepare("public = \"public\"\npublic_links = true");
    site.release("1", "");
    site.public("1", &[("a.txt", b"in")]);
    fs::write(site.path("shared/photo.jpg"), "photo").unwrap();
    symlink("../../../shared", site.public_path("uploads")).unwrap();
    site.flip("1");
    assert_eq!(site.serve().get("/uploads/photo.jpg", "").text(), "photo");
}

#[test]
fn compressed_siblings_go_to_those_who_take_them() {
    let site = Site::with_files(
        APP,
        &[
            ("app.js", b"plain"),
            ("app.js.br", b"brotli"),
            ("app.js.gz", b"gzipped"),
            ("only.css", b"plain"),
            ("only.css.gz", b"gzipped"),
            ("a.png", b"plain"),
            ("a.png.gz", b"gzipped"),
        ],
    );
    let mut tags = Vec::new();
    for (target, accept, coding, body) in [
        ("/app.js", "", None, "plain"),
        ("/app.js", "gzip, deflate, br", Some("br"), "brotli"),
        ("/app.js", "gzip", Some("gzip"), "gzipped"),
        ("/app.js", "br;q=0, gzip;q=0", None, "plain"),
        ("/app.js", "br;q=0.1, gzip;q=0.2", Some("gzip"), "gzipped"),
        ("/only.css", "br, gzip", Some("gzip"), "gzipped"),
        ("/only.css", "br", None, "plain"),
        ("/a.png", "gzip", None, "plain"),
        ("/app.js.gz", "gzip", None, "gzipped"),
    ] {
        let fields = if accept.is_empty() { String::new() } else { format!("Accept-Encoding: {accept}\n") };
        let reply = site.get(target, &fields);
        assert_eq!((reply.text().as_str(), reply.field("Content-Encoding")), (body, coding), "{target} {accept}");
        let text = !target.contains("png") && !target.ends_with("gz");
        assert_eq!(reply.field("Vary"), text.then_some("Accept-Encoding"), "{target}");
        if target == "/app.js" {
            assert_eq!(reply.field("Content-Type"), Some("text/javascript; charset=utf-8"));
            tags.push(reply.field("ETag").unwrap().to_owned());
        }
    }
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2] && tags[0] == tags[3], "{tags:?}");
}

#[test]
fn a_compressed_sibling_that_is_older_or_empty_is_not_sent() {
    let files: &[(&str, &[u8])] =
        &[("old.css", b"new"), ("old.css.br", b"older"), ("old.css.gz", b"as old"), ("full.css", b"full"), ("full.css.gz", b"")];
    let site = Site::with_files(APP, files);
    let changed = |name: &str, seconds: u64| {
        let file = fs::File::options().write(true).open(site.public_path(name)).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + secs(seconds)).unwrap();
    };
    changed("old.css", 1_700_000_010);
    changed("old.css.br", 1_700_000_000);
    changed("old.css.gz", 1_700_000_009);
    for (target, accept, coding, body) in
        [("/old.css", "br, gzip", Some("gzip"), "as old"), ("/old.css", "br", None, "new"), ("/full.css", "gzip", None, "full")]
    {
        let reply = site.get(target, &format!("Accept-Encoding: {accept}\n"));
        assert_eq!((reply.text().as_str(), reply.field("Content-Encoding")), (body, coding), "{target} {accept}");
    }
}

fn curl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("curl").args(["-sS", "--fail", "--max-time", "30"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn curl_resumes_decompresses_and_revalidates() {
    let bytes: Vec<u8> = (0..500_000u32).map(|i| (i * 7 % 253) as u8).collect();
    let site = Site::with_files(APP, &[("a.bin", &bytes), ("a.txt", b"compress me, compress me, compress me\n")]);
    let gzip = Command::new("gzip").arg("-k").arg(site.public_path("a.txt")).status().unwrap();
    assert!(gzip.success());
    let url = |name: &str| format!("http://{}/{name}", site.addr);
    let (part, tag) = (site.path("part"), site.path("tag"));
    let (part, tag) = (part.to_str().unwrap(), tag.to_str().unwrap());
    fs::write(part, &bytes[..123_456]).unwrap();
    curl(&["-C", "-", "-o", part, &url("a.bin")]);
    assert!(fs::read(part).unwrap() == bytes);
    assert!(curl(&["-r", "1000-1999", &url("a.bin")]) == bytes[1000..2000]);
    assert_eq!(curl(&["--compressed", &url("a.txt")]), b"compress me, compress me, compress me\n");
    assert_eq!(curl(&["-o", "/dev/null", "-w", "%{http_code}", "--etag-save", tag, &url("a.bin")]), b"200");
    assert_eq!(curl(&["-o", "/dev/null", "-w", "%{http_code}", "--etag-compare", tag, &url("a.bin")]), b"304");
    assert_eq!(curl(&["-o", "/dev/null", "-w", "%{http_code}", "-z", part, &url("a.bin")]), b"304");
}

/// Much more than the sockets' buffers take.
const LARGE: usize = 32 * 1024 * 1024;

fn large() -> Vec<u8> {
    (0..LARGE as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A client that has read the head of `/large.bin` and nothing more.
fn stalled(site: &Site) -> Wire {
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(wire::kept("/large.bin").as_bytes()).unwrap();
    let head = wire.head().unwrap();
    assert!(head.contains(&format!("\r\nContent-Length: {LARGE}\r\n")), "{head}");
    wire
}

#[test]
fn a_slow_reader_holds_up_nobody_is_not_buffered_and_gets_every_byte_over_a_restart() {
    let large = large();
    let site = Site::with_files(APP, &[("large.bin", &large), ("app.css", CSS.as_bytes())]);
    let mut slow: Vec<Wire> = (0..4).map(|_| stalled(&site)).collect();
    for _ in 0..50 {
        assert_eq!((site.get("/app.css", "").text().as_str(), site.get("/", "").text().as_str()), (CSS, "1"));
    }
    let memory = fs::read_to_string(format!("/proc/{}/status", site.pid())).unwrap();
    let anonymous = memory.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap().trim().trim_end_matches(" kB");
    assert!(anonymous.parse::<usize>().unwrap() * 1024 < LARGE, "{anonymous} kB for {} readers", slow.len());
    assert_eq!(site.status()["spooled"], 0);
    site.deploy("2", "").expect(0);
    for wire in &mut slow {
        assert!(wire.take(LARGE).unwrap() == large);
        assert_eq!(wire.ask(&wire::kept("/")).unwrap().text(), "2");
    }
}

#[test]
fn a_file_that_is_replaced_is_sent_as_it_was_and_one_that_shrinks_is_cut_visibly() {
    let large = large();
    let site = Site::with_files(APP, &[("large.bin", &large)]);
    let mut wire = stalled(&site);
    fs::write(site.path("new"), "new").unwrap();
    fs::rename(site.path("new"), site.public_path("large.bin")).unwrap();
    assert_eq!(site.get("/large.bin", "").text(), "new");
    assert!(wire.take(LARGE).unwrap() == large);

    fs::write(site.public_path("large.bin"), &large).unwrap();
    let mut wire = stalled(&site);
    fs::File::options().write(true).open(site.public_path("large.bin")).unwrap().set_len(LARGE as u64 / 2).unwrap();
    let trouble = wire.take(LARGE).unwrap_err();
    assert!(matches!(trouble, Trouble::Cut | Trouble::Reset), "{trouble:?}");
    wait::until("the log says so", secs(5), || site.log().contains("a file became shorter while it was sent"));
}

#[test]
fn a_client_that_takes_nothing_is_given_up_after_the_write_timeout() {
    let site = Site::with_files(&format!("{APP}\nserver.timeouts.write = \"1s\""), &[("large.bin", &large())]);
    let mut wire = stalled(&site);
    wait::until("its connection is closed", secs(20), || site.status()["connections"] == 0);
    assert!(wire.take(LARGE).is_err());
}

#[test]
fn files_are_served_while_no_process_is_ready_and_no_slot_is_free() {
    let site = Site::prepare("processes = 1\nconcurrency = 1\nbind = \"unix\"\npublic = \"public\"");
    site.release("1", "boot_waits");
    let large = large();
    site.public("1", &[("app.css", CSS.as_bytes()), ("large.bin", &large)]);
    site.flip("1");
    let mut site = site;
    site.launch();
    // In the queue it would wait for the app.
    let css = || {
        let mut wire = Wire::connect(site.addr).unwrap();
        wire.stream.set_read_timeout(Some(millis(500))).unwrap();
        wire.ask(&wire::kept("/app.css")).is_ok_and(|reply| reply.text() == CSS)
    };
    wait::until("rota listens", secs(10), || std::net::TcpStream::connect(site.addr).is_ok());
    // Until the release is resolved the file would be the app's to answer.
    wait::until("the file is served", secs(20), css);
    let mut slow = stalled(&site);
    let mut kept = Wire::connect(site.addr).unwrap();
    for _ in 0..3 {
        assert_eq!(kept.ask(&wire::kept("/app.css")).unwrap().text(), CSS);
    }
    site.open("boot-1");
    site.wait_served();
    assert!(slow.take(LARGE).unwrap() == large);
    assert_eq!(kept.ask(&wire::kept("/")).unwrap().text(), "1");
    std::thread::scope(|scope| {
        let held = scope.spawn(|| wire::get(site.addr, "/hold?name=gate&mark=held"));
        wait::until("the only slot is taken", secs(10), || site.marks() == ["held"]);
        assert!(css());
        assert_eq!(kept.ask(&wire::kept("/app.css")).unwrap().text(), CSS);
        site.open("gate");
        held.join().unwrap().unwrap();
    });
}

#[test]
fn restarts_under_a_load_of_files_lose_none() {
    let site = Site::with_files(APP, &[("app.css", CSS.as_bytes()), ("large-1a2b3c4d.bin", &vec![7; 300_000])]);
    let loads = ["/app.css", "/large-1a2b3c4d.bin"].map(|path| Wrk::start(site.addr, path));
    for version in ["2", "3", "4"] {
        site.release(version, "");
        site.public(version, &[("app.css", CSS.as_bytes())]);
        site.flip(version);
        site.rota(&["restart", "app"]).expect(0);
    }
    for load in loads {
        assert!(load.stop_clean() > 100);
    }
}

/// An answer of the app with these fields and this body.
fn answer(fields: &str, body: &str) -> String {
    wire::raw_answer(&[&format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())], 0)
}

fn sendfile_site() -> (Site, tempfile::TempDir) {
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("report.pdf"), "0123456789").unwrap();
    fs::create_dir(files.path().join("a b")).unwrap();
    fs::write(files.path().join("a b/large.bin"), large()).unwrap();
    fs::write(files.path().join("a b/report.pdf"), "small").unwrap();
    symlink("/etc/passwd", files.path().join("link")).unwrap();
    (Site::start(&format!("{APP}\nsendfile_root = {:?}", files.path())), files)
}

#[test]
fn a_file_that_the_app_names_is_sent_in_its_place() {
    let (site, files) = sendfile_site();
    let path = |name: &str| files.path().join(name).display().to_string();
    let fields = format!(
        "X-Sendfile: {}\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"r.pdf\"\r\nCache-Control: private\r\n",
        path("report.pdf")
    );
    // What the app sends as a body, in whichever framing, goes nowhere.
    let chunked = format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n5\r\nwrong\r\n0\r\n\r\n");
    let mut wire = Wire::connect(site.addr).unwrap();
    for target in [answer(&fields, ""), answer(&fields, "wrong"), wire::raw_answer(&[&chunked], 0)] {
        let reply = wire.ask(&wire::kept(&target)).unwrap();
        assert_eq!((reply.status, reply.text().as_str(), reply.keep), (200, "0123456789", true), "{}", reply.head);
        assert!(!reply.head.to_ascii_lowercase().contains("sendfile") && !reply.head.contains(&path("")), "{}", reply.head);
        assert_eq!(reply.field("Content-Type"), Some("application/pdf"));
        assert_eq!(reply.field("Content-Disposition"), Some("attachment; filename=\"r.pdf\""));
        assert_eq!((reply.field("Cache-Control"), reply.field("Content-Length")), (Some("private"), Some("10")));
        let etag = reply.field("ETag").unwrap();
        for (asked, status, body) in [
            ("Range: bytes=3-5".to_owned(), 206, "345"),
            ("Range: bytes=30-".to_owned(), 416, ""),
            (format!("If-None-Match: {etag}"), 304, ""),
            ("If-Match: \"x\"".to_owned(), 412, ""),
        ] {
            let reply = wire.ask(&format!("GET {target} HTTP/1.1\r\nHost: test\r\n{asked}\r\n\r\n")).unwrap();
            assert_eq!((reply.status, reply.text().as_str(), reply.keep), (status, body, true), "{asked}: {}", reply.head);
        }
    }
    let old = site.ask(&format!("GET {} HTTP/1.0\n\n", answer(&fields, "")));
    assert_eq!((old.field("Connection"), old.text().as_str()), (Some("close"), "0123456789"));
    let to_head = wire::raw_answer(&[&format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n")], 0);
    let head = wire.ask(&format!("HEAD {to_head} HTTP/1.1\r\nHost: test\r\n\r\n")).unwrap();
    assert_eq!((head.status, head.field("Content-Length")), (200, Some("10")));
    // The app's own validator is the one that counts; another status is kept, with all of the file.
    let own = format!("X-Sendfile: {}\r\nETag: \"own\"\r\n", path("report.pdf"));
    let reply = wire.ask(&format!("GET {} HTTP/1.1\r\nHost: test\r\nIf-None-Match: \"own\"\r\n\r\n", answer(&own, ""))).unwrap();
    assert_eq!((reply.status, reply.field("ETag"), reply.head.matches("ETag").count()), (304, Some("\"own\""), 1));
    let other = wire::raw_answer(&[&format!("HTTP/1.1 403 No\r\n{fields}Content-Length: 0\r\n\r\n")], 0);
    let reply = wire.ask(&format!("GET {other} HTTP/1.1\r\nHost: test\r\nRange: bytes=0-1\r\n\r\n")).unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (403, "0123456789"));
    // By URI, and more than a socket takes at once.
    for encoded in ["/a%20b/report.pdf", "/a%20b%2Freport.pdf?x"] {
        let reply = wire.ask(&wire::kept(&answer(&format!("X-Accel-Redirect: {encoded}\r\n"), ""))).unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "small"), "{encoded}");
    }
    let reply = wire.ask(&wire::kept(&answer("X-Accel-Redirect: /a%20b/large.bin\r\n", ""))).unwrap();
    assert!(reply.status == 200 && reply.body == large() && !reply.head.contains("Accel"), "{}", reply.head);
    assert_eq!(wire.ask(&wire::kept("/")).unwrap().text(), "1");
}

#[test]
fn what_lies_outside_is_missing_or_named_without_leave_is_a_502() {
    let (site, files) = sendfile_site();
    let root = files.path().display().to_string();
    for fields in [
        "X-Sendfile: /etc/passwd\r\n".to_owned(),
        format!("X-Sendfile: {root}/../../etc/passwd\r\n"),
        format!("X-Sendfile: {root}//etc/passwd\r\n"),
        format!("X-Sendfile: {root}/link\r\n"),
        format!("X-Sendfile: {root}/none\r\n"),
        format!("X-Sendfile: {root}/a b\r\n"),
        format!("X-Sendfile: {root}/report.pdf\r\nX-Sendfile: {root}/report.pdf\r\n"),
        "X-Accel-Redirect: /../etc/passwd\r\n".to_owned(),
        "X-Accel-Redirect: /%2e%2e/etc/passwd\r\n".to_owned(),
        "X-Accel-Redirect: http://other/\r\n".to_owned(),
    ] {
        let reply = site.get(&answer(&fields, "secret"), "");
        assert!(reply.status == 502 && reply.text().starts_with("502 Bad Gateway\n") && !reply.text().contains("secret"), "{fields}");
        assert!(!reply.head.contains(&root) && !reply.head.contains("passwd"), "{}", reply.head);
    }
    let log = site.log();
    assert!(log.contains("X-Sendfile: /etc/passwd: not beneath sendfile_root") && log.contains("/none: no such file"), "{log}");
    let site = Site::start(APP);
    let reply = site.get(&answer("X-Sendfile: /etc/hostname\r\n", "x"), "");
    assert_eq!(reply.status, 502);
    assert!(site.log().contains("sendfile_root is not set"), "{}", site.log());
    // Of a client they are nothing.
    let seen = site.get("/headers", "X-Sendfile: /a\nX-Accel-Redirect: /b\nX-Sendfile-Type: X-Accel-Redirect\nX-Accel-Mapping: /=/\n");
    assert!(!seen.text().contains("X-Sendfile") && !seen.text().contains("X-Accel"), "{}", seen.text());
}

/// What is malformed behind its head is answered by another, and the file must not come behind that: it would be the next answer.
#[test]
fn a_file_that_a_malformed_answer_names_is_sent_behind_no_other() {
    let (site, files) = sendfile_site();
    let broken =
        format!("HTTP/1.1 200 OK\r\nX-Sendfile: {}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", files.path().join("report.pdf").display());
    let mut wire = Wire::connect(site.addr).unwrap();
    let reply = wire.ask(&wire::kept(&wire::raw_answer(&[&broken], 0))).unwrap();
    assert_eq!((reply.status, reply.keep), (502, true), "{}", reply.head);
    let next = wire.ask(&wire::kept("/")).unwrap();
    assert_eq!((next.status, next.text().as_str()), (200, "1"), "{}", next.head);
}

#[test]
fn the_slot_is_free_while_a_named_file_is_sent() {
    let (site, _files) = sendfile_site();
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(wire::kept(&answer("X-Accel-Redirect: /a%20b/large.bin\r\n", "")).as_bytes()).unwrap();
    wire.head().unwrap();
    let busy = || site.status()["apps"][0]["processes"].as_array().unwrap().iter().map(|p| p["sessions"].as_u64().unwrap()).sum::<u64>();
    wait::until("no request is with the app", secs(10), || busy() == 0);
    assert!(wire.take(LARGE).unwrap() == large());
}

/// nginx over the same directory.
struct Nginx {
    child: std::process::Child,
    addr: std::net::SocketAddr,
}

impl Nginx {
    fn start(dir: &Path, public: &Path) -> Nginx {
        let addr = crate::ports::free();
        let at = dir.display();
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        // RFC 9239 has replaced the type that it gives to programs.
        let types = fs::read_to_string("/etc/nginx/mime.types").unwrap().replace("application/javascript", "text/javascript");
        let config = format!(
            "{user} daemon off; master_process off; pid {at}/pid; error_log {at}/error.log; events {{ }}
             http {{ {types} default_type application/octet-stream; access_log off; charset utf-8; charset_types *; gzip_static on; gzip_vary on;
             client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;
             if_modified_since before; server {{ listen {addr}; root {}; }} }}",
            public.display()
        );
        fs::write(dir.join("nginx.conf"), config).unwrap();
        let mut command = Command::new("nginx");
        command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
        command.args(["-c", dir.join("nginx.conf").to_str().unwrap(), "-e", dir.join("error.log").to_str().unwrap()]);
        let child = command.spawn().expect("nginx is installed: run tests/setup");
        wait::until("nginx answers", secs(10), || wire::get(addr, "/").is_ok());
        Nginx { child, addr }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What two servers can be compared by: the entity tags are each one's own.
fn essence(reply: &Reply) -> Vec<String> {
    let fields = ["Content-Type", "Content-Length", "Last-Modified", "Content-Range", "Content-Encoding"];
    let mut essence = vec![reply.status.to_string()];
    essence.extend(fields.iter().filter_map(|name| Some(format!("{name}: {}", reply.field(name)?))));
    if reply.status == 200 && reply.field("Content-Encoding").is_none() {
        essence.push(format!("Accept-Ranges: {:?}", reply.field("Accept-Ranges")));
    }
    essence.push(format!("length and CRC {}", receipt(&reply.body)));
    essence
}

/// Where they differ:
/// - nginx sets `charset` by a list, which here has all types; of JSON and pictures rota says none. So text alone is compared.
/// - Of a refused request (412, 416) and of 404 nginx sends a page; rota an empty body, and what is no file is the app's.
/// - Several ranges: nginx sends multipart/byteranges, rota the whole.
/// - A 206: nginx leaves Accept-Ranges out. Of what it sends compressed it has no ranges.
/// - `bytes=5-3` and `bytes=x`: nginx answers 416, rota the whole; RFC 9110 14.2 leaves both open.
/// - Vary: nginx says it where there is a compressed sibling, rota of all text, so as not to look for one that the client does not take.
/// - HEAD with Range: nginx answers 206, rota 200, as RFC 9110 14.2 defines Range for GET alone.
/// - A directory without its slash: nginx answers 301, rota 308, and where there is no index it is the app's.
/// - Accept-Encoding `gzip;q=1, identity`: nginx never weighs against identity.
/// - An empty file with Range: nginx ignores it, rota says 416 (14.1.1: no range of it can be satisfied).
#[test]
fn nginx_answers_the_same() {
    let text = "compress me, compress me\n".repeat(50);
    let files: &[(&str, &[u8])] = &[
        ("a.txt", b"0123456789"),
        ("docs/index.html", b"<h1>docs</h1>"),
        ("x.js", text.as_bytes()),
        ("x.js.gz", b"not really gzip"),
        ("a b.css", CSS.as_bytes()),
        ("large.txt", &vec![b'x'; 100_000]),
    ];
    let site = Site::with_files(APP, files);
    let dir = tempfile::tempdir().unwrap();
    let nginx = Nginx::start(dir.path(), &site.public_path(""));
    let modified = site.get("/a.txt", "").field("Last-Modified").unwrap().to_owned();
    let mut differ = Vec::new();
    for (method, target) in [
        ("GET", "/a.txt"),
        ("HEAD", "/a.txt"),
        ("GET", "/a.txt?x=/../y"),
        ("GET", "/a%2Etxt"),
        ("GET", "/docs/"),
        ("GET", "/a%20b.css"),
        ("GET", "/large.txt"),
        ("GET", "/x.js"),
    ] {
        for fields in [
            "",
            "Range: bytes=0-0\r\n",
            "Range: bytes=2-4\r\n",
            "Range: bytes=-3\r\n",
            "Range: bytes=5-\r\n",
            "Range: lines=1-2\r\n",
            "Range: bytes=1-99999999\r\n",
            "Accept-Encoding: gzip\r\n",
            "Accept-Encoding: gzip;q=0\r\n",
            "Accept-Encoding: deflate, gzip;q=0.5\r\n",
            "If-Modified-Since: MODIFIED\r\n",
            "If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT\r\n",
            "If-Modified-Since: Fri, 09 Sep 2101 01:46:40 GMT\r\n",
            "If-Modified-Since: nonsense\r\n",
            "If-Unmodified-Since: MODIFIED\r\n",
            "If-None-Match: \"x\"\r\n",
            "If-None-Match: *\r\n",
            "If-None-Match: ETAG\r\n",
            "If-None-Match: \"x\", W/ETAG\r\n",
            "If-None-Match: \"x\"\r\nIf-Modified-Since: MODIFIED\r\n",
            "If-Match: ETAG\r\n",
            "If-Match: *\r\n",
            "If-Range: ETAG\r\nRange: bytes=2-4\r\n",
            "If-Range: \"x\"\r\nRange: bytes=2-4\r\n",
            "If-Range: MODIFIED\r\nRange: bytes=2-4\r\n",
        ] {
            if method == "HEAD" && fields.contains("Range") {
                continue;
            }
            let ask = |addr| {
                let etag = wire::get(addr, target).unwrap().field("ETag").unwrap().to_owned();
                let fields = fields.replace("MODIFIED", &modified).replace("ETAG", &etag);
                essence(&Wire::connect(addr).unwrap().ask(&format!("{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")).unwrap())
            };
            let (ours, theirs) = (ask(site.addr), ask(nginx.addr));
            if ours != theirs {
                differ.push(format!("{method} {target} {fields:?}:\n  rota  {ours:?}\n  nginx {theirs:?}"));
            }
        }
    }
    // The status alone, where nginx has a page of its own.
    for fields in
        ["Range: bytes=10-\r\n", "Range: bytes=-0\r\n", "If-Match: \"x\"\r\n", "If-Unmodified-Since: Sun, 09 Sep 2001 01:46:40 GMT\r\n"]
    {
        let ask = |addr| Wire::connect(addr).unwrap().ask(&format!("GET /a.txt HTTP/1.1\r\nHost: test\r\n{fields}\r\n")).unwrap();
        let (ours, theirs) = (ask(site.addr), ask(nginx.addr));
        if ours.status != theirs.status || ours.field("Content-Range") != theirs.field("Content-Range") {
            differ.push(format!("{fields:?}:\n  rota  {}\n  nginx {}", ours.head, theirs.head));
        }
    }
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
}
