//! What a client is told when rota itself has to answer: the form that it asks for, the operator's page, and, only where that is switched on,
//! why the app does not work.

use std::fs;

use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire::{self, Reply, Wire, kept};

const APP: &str = "hosts = \"test\"\nconcurrency = 8\nbind = \"unix\"\nprobation = \"1ms\"\nlimits.body = \"1M\"\ntimeouts.app = \"1s\"\n\
                   server.timeouts.head = \"500ms\"\nserver.timeouts.body = \"500ms\"\nserver.spool_max = \"100K\"\n";

/// What a client accepts, and the media type of what it gets.
const FORMS: [(&str, &str); 4] = [
    ("", "text/plain; charset=utf-8"),
    ("Accept: */*\r\n", "text/plain; charset=utf-8"),
    ("Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n", "text/html; charset=utf-8"),
    ("Accept: application/json, text/html;q=0.5\r\n", "application/problem+json"),
];

/// The answer to a request that is written with `ACCEPT` where that field goes.
fn ask(site: &Site, request: &str, accept: &str) -> Reply {
    let mut wire = Wire::connect(site.addr).unwrap();
    let reply = wire.ask(&request.replace("ACCEPT", accept)).unwrap();
    // The body is as long as the head says: what is behind it is the next answer, or the end.
    match reply.keep {
        true => assert_eq!(wire.ask(&kept("/")).unwrap().text(), "1", "{request}"),
        false => assert_eq!(String::from_utf8(wire.read_to_end().unwrap()).unwrap(), "", "{request}"),
    }
    reply
}

/// A GET as a browser sends it.
fn browse(site: &Site, host: &str, target: &str) -> Reply {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nACCEPTConnection: close\r\n\r\n");
    ask(site, &request, FORMS[2].0)
}

fn id(reply: &Reply) -> String {
    let id = reply.field("X-Request-Id").unwrap_or_else(|| panic!("{}", reply.head));
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    id.to_owned()
}

/// The body says this status in the form that was asked for, and of the request nothing but its id.
#[track_caller]
fn expect_form(reply: &Reply, status: u16, media_type: &str) {
    let text = reply.text();
    assert_eq!((reply.status, reply.field("Content-Type")), (status, Some(media_type)), "{text}");
    assert_eq!((reply.field("Cache-Control"), reply.field("X-Content-Type-Options")), (Some("no-store"), Some("nosniff")));
    assert!(text.contains(&id(reply)) && !text.contains("mirror") && text.len() < 1536, "{text}");
    let phrase = reply.head.lines().next().unwrap()[13..].to_owned();
    if media_type == "application/problem+json" {
        let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&problem["status"], &problem["title"], &problem["type"]), (&status.into(), &phrase.into(), &"about:blank".into()));
    } else {
        assert_eq!(text.starts_with("<!DOCTYPE html>"), media_type.starts_with("text/html"));
        assert!(text.contains(&format!("{status} {phrase}")) && !text.contains("://"), "{text}");
    }
}

#[test]
fn a_refused_request_is_told_in_the_form_that_its_client_asks_for() {
    let site = Site::start(APP);
    let post =
        |fields: &str, body: &str| format!("POST /echo?mirror HTTP/1.1\r\nHost: test\r\nX-Mirror: mirror\r\nACCEPT{fields}\r\n\r\n{body}");
    let table = [
        (417, false, "GET /mirror HTTP/1.1\r\nHost: test\r\nACCEPTExpect: mirror\r\n\r\n".to_owned()),
        (400, false, post("Transfer-Encoding: chunked", "mirror\r\n")),
        (404, false, "GET /mirror HTTP/1.1\r\nHost: mirror\r\nACCEPT\r\n".to_owned()),
        (408, false, post("Content-Length: 20", "mirror")),
        (413, false, post("Content-Length: 2000000", "mirror")),
        (501, false, post("Transfer-Encoding: gzip", "")),
        (502, true, "GET /garbage?mirror HTTP/1.1\r\nHost: test\r\nX-Request-Id: mirror\r\nACCEPT\r\n".to_owned()),
        (504, true, "GET /never?mirror HTTP/1.1\r\nHost: test\r\nACCEPT\r\n".to_owned()),
        (507, false, post("Content-Length: 900000", &"mirror".repeat(40_000))),
    ];
    for (status, keep, request) in &table {
        for (accept, media_type) in FORMS {
            let reply = ask(&site, request, accept);
            expect_form(&reply, *status, media_type);
            assert_eq!(reply.keep, *keep, "{request}");
            if request.starts_with("GET ") {
                let head = ask(&site, &request.replacen("GET ", "HEAD ", 1), accept);
                assert_eq!((head.status, head.keep, head.body.len()), (*status, *keep, 0));
                assert_eq!(head.field("Content-Type"), Some(media_type));
                assert_eq!(head.field("Content-Length"), reply.field("Content-Length"));
            }
        }
    }
}

#[test]
fn a_full_queue_is_told_in_every_form_and_keeps_the_connection() {
    let site = Site::start(&APP.replace("concurrency = 8", "concurrency = 1\nqueue.max = 0").replace("timeouts.app = \"1s\"", ""));
    let mut held = Wire::connect(site.addr).unwrap();
    held.send(kept("/hold?name=gate&mark=held").as_bytes()).unwrap();
    wait::until("it is with the app", secs(10), || site.marks() == ["held"]);
    for (accept, media_type) in FORMS {
        let mut wire = Wire::connect(site.addr).unwrap();
        for _ in 0..2 {
            let reply = wire.ask(&format!("GET /mirror HTTP/1.1\r\nHost: test\r\n{accept}\r\n")).unwrap();
            expect_form(&reply, 503, media_type);
            assert_eq!((reply.keep, reply.field("Retry-After")), (true, Some("1")));
        }
    }
    site.open("gate");
}

#[test]
fn a_head_that_is_not_whole_or_no_head_is_told_in_plain_text() {
    let site = Site::start(APP);
    let accept = FORMS[2].0;
    let long = "mirror".repeat(2000);
    let table = [
        (400, format!("GET /mirror HTTP/1.1\r\n{accept}Bad Name: mirror\r\n\r\n")),
        (405, format!("CONNECT mirror:80 HTTP/1.1\r\nHost: mirror:80\r\n{accept}\r\n")),
        (408, format!("GET /mirror HTTP/1.1\r\nHost: test\r\n{accept}")),
        (414, format!("GET /{long} HTTP/1.1\r\nHost: test\r\n{accept}\r\n")),
        (431, format!("GET /mirror HTTP/1.1\r\nHost: test\r\n{accept}{}\r\n", format!("X: {long}\r\n").repeat(3))),
        (505, format!("GET /mirror HTTP/2.0\r\nHost: test\r\n{accept}\r\n")),
    ];
    for (status, request) in &table {
        let reply = ask(&site, request, "");
        let text = reply.text();
        assert_eq!((reply.status, reply.keep, reply.field("X-Request-Id")), (*status, false, None));
        assert_eq!((reply.field("Content-Type"), reply.field("Cache-Control")), (Some("text/plain; charset=utf-8"), Some("no-store")));
        assert!(text.starts_with(&format!("{status} ")) && !text.contains("mirror"), "{text}");
    }
}

/// A page of an app, or of the server, for the statuses that have one.
fn with_pages() -> Site {
    let pages = "errors.502 = \"app-502.html\"\nerrors.413 = \"app-413.json\"\n\
                 server.errors.502 = \"server-502.html\"\nserver.errors.404 = \"server-404.txt\"\nserver.errors.414 = \"server-414.html\"\n";
    let mut site = Site::prepare(&format!("{APP}{pages}"));
    // Larger than what a socket takes at once.
    let large = "x".repeat(200 * 1024);
    let bodies = [
        ("app-502.html", "<p>of the app"),
        ("app-413.json", "{\"too\":\"large\"}"),
        ("server-502.html", "<p>of the server"),
        ("server-404.txt", large.as_str()),
        ("server-414.html", "<p>too long"),
    ];
    bodies.iter().for_each(|(name, body)| fs::write(site.path(name), body).unwrap());
    let other = format!(
        "\n[app.other]\nhosts = \"other\"\nroot = \"{}\"\ncommand = [\"sh\", \"-c\", \"exit 1\"]\nqueue.max = 0\nerrors.503 = \"app-502.html\"\n{}",
        site.path("current").display(),
        if rustix::process::geteuid().is_root() { "user = \"root\"\n" } else { "" },
    );
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    fs::write(site.path("rota.toml"), config + &other).unwrap();
    site.release("1", "");
    site.flip("1");
    site.launch();
    wait::until("the app answers", secs(20), || wire::get(site.addr, "/").is_ok_and(|reply| reply.status == 200));
    site
}

#[test]
fn an_operators_page_is_sent_instead_of_ours_the_apps_before_the_servers() {
    let site = with_pages();
    let broken = "GET /garbage HTTP/1.1\r\nHost: test\r\nACCEPT\r\n";
    for (accept, media_type) in FORMS {
        let reply = ask(&site, broken, accept);
        id(&reply);
        assert_eq!((reply.status, reply.keep, reply.field("Cache-Control")), (502, true, Some("no-store")));
        if media_type == "application/problem+json" {
            expect_form(&reply, 502, media_type);
        } else {
            assert_eq!((reply.text().as_str(), reply.field("Content-Type")), ("<p>of the app", Some("text/html; charset=utf-8")));
        }
        let head = ask(&site, &broken.replace("GET", "HEAD"), accept);
        assert_eq!((head.body.len(), head.field("Content-Length")), (0, reply.field("Content-Length")));
        let json = ask(&site, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2000000\r\nACCEPT\r\n", accept);
        assert_eq!((json.text().as_str(), json.field("Content-Type")), ("{\"too\":\"large\"}", Some("application/json")));
    }
    let nobodys = browse(&site, "nobody", "/");
    assert_eq!((nobodys.status, nobodys.body.len(), nobodys.field("Content-Type")), (404, 200 * 1024, Some("text/plain; charset=utf-8")));
    // No page for this status.
    expect_form(&browse(&site, "test", "/never"), 504, "text/html; charset=utf-8");
    // Its head was not looked at any further.
    let long = ask(&site, &kept(&format!("/{}", "x".repeat(10_000))), "");
    assert_eq!((long.status, long.text().as_str()), (414, "<p>too long"));
    // An app without a page for 502 has the server's, and its own for 503.
    assert_eq!(browse(&site, "other", "/").text(), "<p>of the app");
}

#[test]
fn what_an_app_answers_itself_is_left_as_it_is() {
    let site = with_pages();
    for status in [404, 413, 502, 503] {
        let reply = ask(&site, &kept(&format!("/status?n={status}")), "");
        assert_eq!((reply.status, reply.text().as_str()), (status, "as asked\n"));
    }
}

#[test]
fn a_page_outlives_the_release_and_its_own_file() {
    let site = with_pages();
    fs::remove_file(site.path("app-502.html")).unwrap();
    fs::remove_file(site.path("current")).unwrap();
    assert_eq!(ask(&site, "GET /garbage HTTP/1.1\r\nHost: test\r\n\r\n", "").text(), "<p>of the app");
}

#[test]
fn a_page_that_cannot_be_read_is_said_before_anything_starts() {
    let mut site = Site::prepare("errors.502 = \"none.html\"\n");
    site.release("1", "");
    site.flip("1");
    let missing = format!("error: errors.502: {}: No such file or directory", site.path("none.html").display());
    let said = site.rota(&["check"]);
    assert!(said.expect(1).err.contains(&missing), "{}", said.err);
    fs::write(site.path("none.html"), vec![b'x'; 256 * 1024 + 1]).unwrap();
    let said = site.rota(&["check"]);
    assert!(said.expect(1).err.contains("is larger than 256K"), "{}", said.err);
    site.launch();
    assert_eq!(site.wait_end(secs(20)), Some(1));
}

/// Prints a traceback, in colour and with a byte that is no UTF-8, and ends.
const BROKEN: &str = "[\"sh\", \"-c\", \"printf 'Traceback:\\\\n\\\\033[31m<script>alert(1)</script>\\\\033[0m \\\\377 in /srv/secret.py\\\\n' >&2; exit 7\"]";

/// Two apps: `app` ends at boot, `other` serves release 1.
fn broken(friendly: bool) -> Site {
    let mut site =
        Site::with_app(&format!("command = {BROKEN}\nhosts = \"app\"\nqueue.timeout = \"500ms\"\nfriendly_errors = {friendly}"), "");
    let fixture = std::env::current_exe().unwrap().display().to_string();
    let other = format!(
        "\n[app.other]\nhosts = \"test\"\nroot = \"{at}/current\"\ncommand = [{fixture:?}, \"--exact\", \"fixture::fixture_app\", \"--nocapture\"]\n\
         friendly_errors = true\nconcurrency = 1\nqueue.max = 0\n{user}env = {{ FIXTURE_DIR = \"{at}/shared\", IT_SITE = \"{at}\" }}\n",
        at = site.path("").display().to_string().trim_end_matches('/'),
        user = if rustix::process::geteuid().is_root() { "user = \"root\"\n" } else { "" },
    );
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    fs::write(site.path("rota.toml"), config + &other).unwrap();
    site.release("1", "");
    site.flip("1");
    site.launch();
    wait::until("the other answers", secs(20), || wire::get(site.addr, "/").is_ok_and(|reply| reply.status == 200));
    wait::until("the first has failed", secs(20), || site.rota(&["status", "app"]).out.contains("exited with status 7"));
    site
}

#[test]
fn a_friendly_page_says_why_an_app_does_not_start() {
    let site = broken(true);
    let root = fs::canonicalize(site.path("current")).unwrap().display().to_string();
    let request = "GET /mirror HTTP/1.1\r\nHost: app\r\nACCEPTConnection: close\r\n\r\n";
    let page = ask(&site, request, FORMS[2].0);
    let text = page.text();
    assert_eq!((page.status, page.field("Content-Type")), (504, Some("text/html; charset=utf-8")));
    assert!(text.contains("app/1 g1: exited with status 7 after ") && text.contains(", before it was ready"), "{text}");
    assert!(text.contains("<dd>none serves</dd>") && text.contains(&format!("<dd>{root}</dd>")) && text.contains("<dd>sh -c "), "{text}");
    assert!(text.contains(" ago</dd>") && text.contains("<dt>retry</dt><dd>") || text.contains("<dt>progress</dt><dd>"), "{text}");
    assert!(text.contains("<pre>Traceback:\n&lt;script&gt;alert(1)&lt;/script&gt; \\xff in /srv/secret.py\n</pre>"), "{text}");
    assert!(!text.contains("<script") && !text.contains("mirror") && text.contains(&id(&page)), "{text}");

    let json = ask(&site, request, FORMS[3].0);
    let problem: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert!(problem["why"]["failure"].as_str().unwrap().starts_with("app/1 g1: exited with status 7"), "{problem}");
    assert_eq!((&problem["why"]["release"], &problem["output"][0]), (&root.into(), &"Traceback:".into()));

    let plain = ask(&site, request, "").text();
    assert!(plain.contains("\nfailure: app/1 g1: exited with status 7") && plain.contains("\n  | Traceback:\n"), "{plain}");
    let head = ask(&site, &request.replace("GET", "HEAD"), "");
    assert_eq!((head.status, head.body.len()), (504, 0));
    // What `rota status` says is in the page, word for word.
    let status = site.status();
    let message = status["apps"][0]["last_failure"]["message"].as_str().unwrap().split(" after ").next().unwrap().to_owned();
    assert!(text.contains(&message), "{message}: {text}");
}

#[test]
fn a_page_that_is_not_friendly_says_nothing_of_it() {
    let site = broken(false);
    let request = "GET / HTTP/1.1\r\nHost: app\r\nACCEPTConnection: close\r\n\r\n";
    for (accept, media_type) in FORMS {
        let reply = ask(&site, request, accept);
        expect_form(&reply, 504, media_type);
        let all = format!("{}{}", reply.head, reply.text());
        for secret in ["Traceback", "script>", "secret", "exited", "status 7", "releases", "rota", "g1", env!("CARGO_PKG_VERSION")] {
            assert!(!all.contains(secret), "{secret}: {all}");
        }
    }
}

#[test]
fn the_trouble_of_one_app_is_not_told_to_the_clients_of_another() {
    let site = broken(true);
    let mut held = Wire::connect(site.addr).unwrap();
    held.send(kept("/hold?name=gate&mark=held").as_bytes()).unwrap();
    wait::until("it is with the app", secs(10), || site.marks() == ["held"]);
    let request = "GET / HTTP/1.1\r\nHost: test\r\nACCEPTConnection: close\r\n\r\n";
    let text = ask(&site, request, FORMS[2].0).text();
    assert!(text.contains("<dd>other</dd>") && text.contains("<dd>the app&#39;s queue is full</dd>"), "{text}");
    assert!(text.contains("<dd>1 of 1 serve, concurrency 1</dd>"), "{text}");
    assert!(!text.contains("Traceback") && !text.contains("exited"), "{text}");
    site.open("gate");
    assert_eq!(held.reply(false).unwrap().text(), "1");
    // Nor to those who ask for no app at all.
    let nobody = Wire::connect(site.addr).unwrap().ask("GET / HTTP/1.1\r\nHost: nobody\r\nAccept: text/html\r\n\r\n").unwrap();
    expect_form(&nobody, 404, "text/html; charset=utf-8");
}

#[test]
fn an_app_whose_first_start_goes_on_says_so() {
    let mut site = Site::prepare("queue.timeout = \"500ms\"\nfriendly_errors = true\nbind = \"unix\"");
    site.release("1", "boot_waits");
    site.flip("1");
    site.launch();
    wait::until("it boots", secs(20), || site.rota(&["status"]).out.contains("starting"));
    let page = browse(&site, "test", "/");
    let text = page.text();
    assert_eq!(page.status, 504);
    assert!(text.contains("<dt>progress</dt><dd>start of g1 for ") && text.contains(": process 1: boot for "), "{text}");
    assert!(!text.contains("<dt>failure") && !text.contains("<pre>"), "{text}");
    site.open("boot-1");
    site.wait_served();
}
