//! What an operator meets in the first hour: addresses that come later, a typo in one app's file, a second server by mistake.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use rustix::process::Signal;

use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire::{self, Wire};

/// The status line's number for a request to a host.
fn asked(site: &Site, host: &str) -> u16 {
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).unwrap().status
}

/// A file of apps.d beside the site's rota.toml.
fn app_file(site: &Site, name: &str, text: &str) {
    fs::create_dir_all(site.path("apps.d")).unwrap();
    fs::write(site.path(&format!("apps.d/{name}.toml")), text).unwrap();
}

/// As the site's own app, with other hosts.
fn sibling(site: &Site, keys: &str) -> String {
    let user = if rustix::process::geteuid().is_root() { "user = \"root\"\n" } else { "" };
    let (at, fixture) = (site.path("").display().to_string(), std::env::current_exe().unwrap());
    format!(
        "root = \"{at}current\"\ncommand = [{fixture:?}, \"--exact\", \"fixture::fixture_app\", \"--nocapture\"]\n{user}{keys}\n\
         [env]\nFIXTURE_DIR = \"{at}shared\"\nIT_SITE = \"{}\"\n",
        at.trim_end_matches('/')
    )
}

fn ready(app: &str) -> Site {
    let site = Site::prepare(app);
    site.release("1", "");
    site.flip("1");
    site
}

fn listen_on(site: &Site, more: &str) {
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    let listen = format!("listen = [\"{}\", {more}]", site.addr);
    fs::write(site.path("rota.toml"), config.replace(&format!("listen = [\"{}\"]", site.addr), &listen)).unwrap();
}

#[test]
fn what_cannot_be_listened_on_yet_is_taken_when_it_comes_and_the_others_serve_at_once() {
    let site = ready("");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let late = taken.local_addr().unwrap();
    let socket = site.path("later/http.sock");
    listen_on(&site, &format!("\"{late}\", \"unix:{}\"", socket.display()));
    let site = site.serve();
    let status = site.status();
    let waits: Vec<&str> = status["not_listening"].as_array().unwrap().iter().map(|not| not["at"].as_str().unwrap()).collect();
    assert_eq!(waits, [late.to_string(), format!("unix:{}", socket.display())]);
    assert!(
        site.rota(&["status"]).out.contains(&format!("NOT LISTENING on {late}: Address already in use")),
        "{}",
        site.rota(&["status"]).out
    );
    assert!(site.log().contains(&format!("server.listen {late}: Address already in use")), "{}", site.log());

    drop(taken);
    fs::create_dir(site.path("later")).unwrap();
    wait::until("it listens on the port", secs(20), || wire::get(late, "/").is_ok_and(|reply| reply.status == 200));
    wait::until("it listens on the socket", secs(20), || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    wait::until("the status says so", secs(20), || site.status()["not_listening"].as_array().unwrap().is_empty());
}

#[test]
fn with_nothing_but_taken_places_it_does_not_start() {
    let mut site = ready("");
    let _taken = TcpListener::bind(site.addr).unwrap();
    site.launch();
    assert_eq!(site.wait_end(secs(20)), Some(1));
    assert!(site.log().contains("Address already in use"), "{}", site.log());
}

#[test]
fn a_typo_in_one_app_s_file_costs_that_app_alone_and_takes_its_requests_nowhere_else() {
    let site = ready("");
    app_file(&site, "shop", &sibling(&site, "hosts = \"shop.test\"\nprocesess = 2"));
    // No TOML at all behind its first lines.
    app_file(&site, "wiki", &format!("hosts = [\"wiki.test\"]\nroot = \"/srv\ncommand = {}", "\"x\""));
    let site = site.serve();
    assert_eq!(["any.test", "shop.test", "wiki.test"].map(|host| asked(&site, host)), [200, 503, 503]);
    let broken = site.status()["broken"].clone();
    let names: Vec<&str> = broken.as_array().unwrap().iter().map(|app| app["app"].as_str().unwrap()).collect();
    assert_eq!(names, ["shop", "wiki"]);
    let shop = broken[0]["message"].as_str().unwrap();
    // Behind `user`, where it has one.
    let line = if rustix::process::geteuid().is_root() { 5 } else { 4 };
    assert!(shop.contains(&format!("apps.d/shop.toml:{line}:1: unknown key \"procesess\"")), "{shop}");
    assert!(site.rota(&["status"]).out.contains("NOT SERVED: shop: "), "{}", site.rota(&["status"]).out);
    assert!(site.log().contains("shop is not served, its requests are answered 503"), "{}", site.log());
    assert!(site.log().contains("shop: 1 request was answered 503"), "{}", site.log());

    site.rota(&["restart", "app"]).expect(0);
    let said = site.rota(&["restart", "shop"]);
    assert!(said.expect(1).err.contains("shop is not served: "), "{}", said.err);
    site.rota(&["check"]).expect(1);
}

#[test]
fn commands_find_their_server_whatever_is_wrong_in_the_configuration() {
    let site = ready("").serve();
    app_file(&site, "shop", "hosts = [");
    site.rota(&["status"]).expect(0);
    site.rota(&["restart", "app"]).expect(0);
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    for broken in ["\n[app.wiki]\nrooot = 5\n", "\n[app.wiki]\nroot = \"\n", "\n[server.limits]\nhead = \"much\"\n"] {
        fs::write(site.path("rota.toml"), format!("{config}{broken}")).unwrap();
        site.rota(&["status"]).expect(0);
    }
}

#[test]
fn an_app_whose_user_there_is_not_fails_alone_and_is_tried_again() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let site = ready("");
    let shop = sibling(&site, "hosts = \"shop.test\"").replace("user = \"root\"", "user = \"no-such-user-here\"");
    app_file(&site, "shop", &shop);
    let site = site.serve();
    assert_eq!(asked(&site, "any.test"), 200);
    let message = || site.status()["apps"][1]["last_failure"]["message"].as_str().unwrap_or_default().to_owned();
    wait::until("the status says why", secs(20), || message().contains("no-such-user-here"));
    let page = site.rota(&["status", "shop"]).out;
    assert!(page.contains("cannot start: no user \"no-such-user-here\""), "{page}");
    let failures = || site.status()["apps"][1]["backoff"]["failures"].as_u64().unwrap_or_default();
    wait::until("it is tried again", secs(30), || failures() >= 2);
}

#[test]
fn a_restart_of_all_goes_past_apps_that_never_worked() {
    let site = ready("");
    let exits = "user = \"root\"\nroot = \"/\"\ncommand = [\"false\"]\n";
    let exits = if rustix::process::geteuid().is_root() { exits.to_owned() } else { exits.replace("user = \"root\"\n", "") };
    app_file(&site, "b-exits", &format!("{exits}hosts = \"exits.test\""));
    app_file(&site, "b-exits-asked", &format!("{exits}hosts = \"asked.test\"\nprocesses = {{ min = 0, max = 1 }}"));
    app_file(
        &site,
        "b-hangs",
        &format!("{}\nready.timeout = \"1s\"", exits.replace("\"false\"", "\"sleep\", \"600\"") + "hosts = \"hangs.test\""),
    );
    app_file(&site, "b-user", &format!("{}hosts = \"user.test\"", exits.replace("\"root\"", "\"no-such-user-here\"")));
    app_file(&site, "b-typo", &format!("{exits}hosts = \"typo.test\"\nprocesess = 2"));
    app_file(&site, "held", &sibling(&site, "hosts = \"held.test\""));
    app_file(&site, "last", &sibling(&site, "hosts = \"last.test\""));
    let site = site.serve();
    wait::until("those that can serve", secs(30), || ["any.test", "held.test", "last.test"].iter().all(|host| asked(&site, host) == 200));
    site.rota(&["pause", "held"]).expect(0);
    for generation in [2, 3] {
        let said = site.rota(&["restart"]);
        said.expect(4);
        for name in ["app", "held", "last"] {
            assert!(said.out.contains(&format!("{name} g{generation}: done in ")), "{}", said.out);
        }
        for name in ["b-exits", "b-exits-asked", "b-hangs"] {
            assert!(said.out.contains(&format!("{name} g{generation}: FAILED after ")), "{}", said.out);
        }
    }
}

#[test]
fn a_second_server_in_the_same_directories_is_refused_with_the_pid_of_the_first() {
    let site = ready("").serve();
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    let at = site.path("").display().to_string();
    let elsewhere = config.replace(&site.addr.to_string(), "127.0.0.1:0").replace("control.sock", "control2.sock");
    let pid = format!("pid {}", site.pid());
    for (what, text) in [
        ("the same", config.clone()),
        ("run_dir", elsewhere.replace("/state\"", "/state2\"")),
        ("state_dir", elsewhere.replace(&format!("{at}run"), &format!("{at}run2"))),
        (
            "server.control",
            config.replace("/state\"", "/state3\"").replace(&format!("run_dir = \"{at}"), &format!("run_dir = \"{at}none/")),
        ),
    ] {
        fs::write(site.path("rota.toml"), text).unwrap();
        let said = site.rota(&["serve"]);
        assert!(said.expect(1).err.contains(&pid), "{what}: {}", said.err);
    }
    fs::write(site.path("rota.toml"), config).unwrap();
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
}

#[test]
fn a_state_directory_that_was_removed_is_taken_again_and_written_anew() {
    let site = ready("").serve();
    site.deploy("2", "").expect(0);
    let state = site.path("state");
    let record = || fs::read_to_string(state.join("app.json")).unwrap_or_default();
    let before = record();
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    let at = site.path("").display().to_string();
    let other = config.replace(&site.addr.to_string(), "127.0.0.1:0").replace("control.sock", "control2.sock");
    let other = other.replace(&format!("{at}run"), &format!("{at}run2"));
    fs::write(site.path("other.toml"), other).unwrap();
    let remove: [(&str, &dyn Fn()); 3] = [
        ("removed", &|| fs::remove_dir_all(&state).unwrap()),
        ("moved away, and made anew", &|| {
            fs::rename(&state, site.path("state-before")).unwrap();
            fs::create_dir(&state).unwrap();
        }),
        ("emptied", &|| fs::read_dir(&state).unwrap().for_each(|entry| fs::remove_file(entry.unwrap().path()).unwrap())),
    ];
    for (what, remove) in remove {
        remove();
        wait::until("its record is there again", secs(20), || record() == before);
        let said = std::process::Command::new(env!("CARGO_BIN_EXE_rota"))
            .arg("serve")
            .arg("--config")
            .arg(site.path("other.toml"))
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(
            said.status.code() == Some(1) && err.contains(&format!("another rota, pid {}, has server.state_dir", site.pid())),
            "{what}: {err}"
        );
    }
    wait::until("nothing is left to be written", secs(20), || site.status()["apps"][0]["not_written"].is_null());
    let mut site = site;
    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(20)), Some(0));
    assert!(!state.join(".lock").exists());
}

#[test]
fn a_run_directory_that_was_removed_comes_back_and_no_request_is_lost_meanwhile() {
    let site = ready("bind = \"unix\"");
    let socket = site.path("run/http.sock");
    listen_on(&site, &format!("\"unix:{}\"", socket.display()));
    let site = site.serve();
    let pids = site.serving(1);
    fs::remove_dir_all(site.path("run")).unwrap();
    for _ in 0..20 {
        assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
        std::thread::sleep(Duration::from_millis(50));
    }
    wait::until("it can be talked to", secs(20), || site.rota(&["status"]).status == Some(0));
    wait::until("it listens on its socket again", secs(20), || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    assert_eq!(site.serving(1), pids);
    site.rota(&["restart", "app"]).expect(0);
    assert!(site.log().contains("somebody removed files of this rota; made anew: "), "{}", site.log());
    // And a second time.
    fs::remove_dir_all(site.path("run")).unwrap();
    wait::until("it can be talked to again", secs(20), || site.rota(&["status"]).status == Some(0));
    let said = site.rota(&["serve"]);
    assert!(said.expect(1).err.contains(&format!("pid {}", site.pid())), "{}", said.err);
}

/// The answer of the health path, asked for as a balancer does: without a Host.
fn health(site: &Site, request: &str) -> (u16, String) {
    let reply = Wire::connect(site.addr).unwrap().ask(&format!("{request}Connection: close\r\n\r\n")).unwrap();
    (reply.status, reply.text())
}

const PLAIN: &str = "GET /rota-health HTTP/1.0\r\n";

#[test]
fn the_health_path_says_how_rota_is_and_how_an_app_is() {
    let site = ready("server.health = \"/rota-health\"\nhosts = \"app.test\"");
    app_file(
        &site,
        "shop",
        &sibling(&site, "hosts = \"shop.test\"\nready = { path = \"/\", timeout = \"1s\" }").replace("fixture_app\"", "none\""),
    );
    app_file(&site, "wiki", "hosts = \"wiki.test\"");
    let mut site = site;
    site.launch();
    wait::until("the health path says that the app serves", secs(60), || {
        std::net::TcpStream::connect(site.addr).is_ok() && health(&site, PLAIN).0 == 200
    });
    let of = |host: &str| health(&site, &format!("GET /rota-health HTTP/1.1\r\nHost: {host}\r\n"));
    assert_eq!(of("app.test"), (200, "ok\n".to_owned()));
    assert_eq!(of("shop.test"), (503, "no process of the app serves\n".to_owned()));
    assert_eq!(of("wiki.test"), (503, "the app is not served\n".to_owned()));
    assert_eq!(of("127.0.0.1").0, 200);
    assert_eq!(health(&site, "OPTIONS /rota-health HTTP/1.0\r\n").0, 200);
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(b"HEAD /rota-health HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n").unwrap();
    let head = wire.reply(true).unwrap();
    assert_eq!((head.status, head.text().as_str()), (200, ""));

    site.rota(&["pause", "app", "--for", "60s"]).expect(0);
    assert_eq!((health(&site, PLAIN).0, of("app.test").0), (200, 200));
    site.rota(&["resume", "app"]).expect(0);
    site.rota(&["drain"]).expect(0);
    assert_eq!((health(&site, PLAIN), asked(&site, "app.test")), ((503, "drained\n".to_owned()), 200));
    assert!(site.rota(&["status"]).out.contains("DRAINED: "), "{}", site.rota(&["status"]).out);
    site.rota(&["undrain"]).expect(0);
    assert_eq!(health(&site, PLAIN).0, 200);

    // Held by a request, it stops for a while, in which whoever is connected is told.
    let mut kept = Wire::connect(site.addr).unwrap();
    kept.ask("GET /rota-health HTTP/1.1\r\nHost: app.test\r\n\r\n").unwrap();
    site.signal(rustix::process::Signal::TERM);
    wait::until("it stops", secs(10), || site.log().contains("stopping: "));
    let reply = kept.ask("GET /rota-health HTTP/1.1\r\nHost: app.test\r\n\r\n").unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (503, "stopping\n"));
    assert_eq!(site.wait_end(secs(60)), Some(0));
}

#[test]
fn without_the_key_every_path_is_the_app_s() {
    let site = ready("").serve();
    let own = wire::get(site.addr, "/rota-health").unwrap();
    assert!(own.text().starts_with("GET /rota-health HTTP/1.1\r\n"), "the fixture shows what it got: {}", own.text());
    assert!(site.rota(&["drain"]).expect(1).err.contains("neither server.health nor server.agent is there"));
}

#[test]
fn what_an_app_prints_without_end_is_cut_and_counted_and_another_is_not() {
    let site = ready("log_rate = 5").serve();
    (0..40).for_each(|number| assert_eq!(wire::get(site.addr, &format!("/print?text=line-{number}")).unwrap().status, 200));
    wait::until("it is said at once", secs(10), || site.log().contains("app: it printed log_rate = 5 lines within 30 s"));
    assert!(site.log().lines().filter(|line| line.contains(" stdout: ")).count() <= 5, "{}", site.log());
    wait::until("they are counted when the time is up", secs(60), || site.log().contains(" lines dropped in 30 s"));
}

#[test]
fn log_files_that_are_renamed_without_a_signal_lose_nothing() {
    let site = ready("log = \"@/app.log\"\naccess_log = { format = \"combined\", file = \"@/access.log\" }");
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    fs::write(site.path("rota.toml"), config.replace('@', site.path("").to_str().unwrap().trim_end_matches('/'))).unwrap();
    let site = site.serve();
    let ask = |name: &str| assert_eq!(wire::get(site.addr, &format!("/print?text={name}")).unwrap().status, 200);
    let read = |name: &str| fs::read_to_string(site.path(name)).unwrap_or_default();
    ask("before");
    wait::until("it is in both", secs(20), || read("app.log").contains("before") && read("access.log").contains("before"));
    for name in ["app.log", "access.log"] {
        fs::rename(site.path(name), site.path(&format!("{name}.1"))).unwrap();
    }
    let mut asked = 0;
    wait::until("the new files have what came later", secs(20), || {
        asked += 1;
        ask(&format!("later-{asked}"));
        ["app.log", "access.log"].iter().all(|name| read(name).contains("later"))
    });
    wait::until("the last line is there", secs(20), || read("app.log").contains(&format!("later-{asked}")));
    for name in ["app.log", "access.log"] {
        let all = read(&format!("{name}.1")) + &read(name);
        let lost: Vec<u32> = (1..=asked).filter(|number| !all.contains(&format!("later-{number}"))).collect();
        assert!(lost.is_empty(), "{name}: {lost:?} of {asked}");
    }
}

#[test]
fn a_log_file_that_cannot_be_opened_keeps_nothing_from_being_served() {
    let site = ready("log = \"@/later/app.log\"");
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    fs::write(site.path("rota.toml"), config.replace('@', site.path("").to_str().unwrap().trim_end_matches('/'))).unwrap();
    let site = site.serve();
    assert!(site.log().contains("/later/app.log: "), "{}", site.log());
    fs::create_dir(site.path("later")).unwrap();
    wait::until("its lines are in it", secs(20), || {
        wire::get(site.addr, "/print?text=here").unwrap();
        fs::read_to_string(site.path("later/app.log")).unwrap_or_default().contains("here")
    });
}

#[test]
fn detach_without_a_surge_is_done_when_the_new_one_serves() {
    let site = ready("surge = 0\nprocesses = 2").serve();
    let before = site.serving(1);
    let said = site.rota(&["detach", "app", "1"]);
    assert!(said.expect(0).out.contains(" serves in its place"), "{}", said.out);
    let after = site.serving(1);
    assert!(after.len() == 2 && !after.contains(&before[0]), "{before:?} {after:?}");
}

/// What bash offers for a command line.
fn offered(site: &Site, line: &[&str]) -> Vec<String> {
    let script = site.path("completions");
    if !script.exists() {
        fs::write(&script, site.rota(&["completions", "bash"]).out).unwrap();
    }
    let config = site.path("rota.toml").display().to_string();
    let words: Vec<String> = ["rota", "--config", &config].iter().chain(line).map(|word| format!("{word:?}")).collect();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_rota")).parent().unwrap().display().to_string();
    let ask = format!(
        "PATH={program:?}:$PATH; source {:?}; COMP_WORDS=({}); COMP_CWORD={}; COMP_LINE=\"${{COMP_WORDS[*]}}\"; \
         _rota_with_apps rota {:?} {:?}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        words.join(" "),
        words.len() - 1,
        line[line.len() - 1],
        line.get(line.len().wrapping_sub(2)).unwrap_or(&""),
    );
    let output = std::process::Command::new("bash").args(["-c", &ask]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

#[test]
fn the_shell_completes_the_names_of_apps() {
    let site = ready("");
    app_file(&site, "shop", &sibling(&site, "hosts = \"shop.test\""));
    // Without a server, as the files have them.
    assert_eq!(offered(&site, &["restart", ""]), ["app", "shop"]);
    let site = site.serve();
    assert_eq!(offered(&site, &["restart", ""]), ["app", "shop"]);
    assert_eq!(offered(&site, &["logs", "sh"]), ["shop"]);
    assert_eq!(offered(&site, &["rest"]), ["restart"]);
    assert!(!offered(&site, &["status", "--"]).contains(&"app".to_owned()));
    assert!(!offered(&site, &["deploy", "app", ""]).contains(&"shop".to_owned()), "its directory comes next");
}

#[test]
fn the_shell_offers_what_can_stand_there_and_no_option_that_nobody_begins() {
    let site = ready("processes = 2").serve();
    site.wait_served();
    assert_eq!(offered(&site, &["detach", "app", ""]), ["1", "2"]);
    // Nothing more can stand there.
    for line in [
        &["detach", "app", "1", ""][..],
        &["restart", "app", ""],
        &["logs", "app", ""],
        &["stop", ""],
        &["man", ""],
        &["pause", "app", "--for", ""],
    ] {
        assert_eq!(offered(&site, line), [""; 0], "{line:?}");
    }
    assert_eq!(offered(&site, &["logs", "-n", "5", "ap"]), ["app"], "a number is no app");
    assert_eq!(offered(&site, &["completions", "b"]), ["bash"]);
    assert_eq!(offered(&site, &["--color", "al"]), ["always"]);
    assert!(offered(&site, &["detach", "app", "--no"]).contains(&"--no-wait".to_owned()));
    let verbs = offered(&site, &[""]);
    assert!(verbs.contains(&"status".to_owned()) && !verbs.iter().any(|word| word.starts_with(['-', '_'])), "{verbs:?}");
    let directories = offered(&site, &["deploy", "app", &format!("{}rel", site.path("").display())]);
    assert_eq!(directories, [site.path("releases").display().to_string()]);
}

#[test]
fn of_several_apps_each_has_a_line_and_one_alone_has_all() {
    let site = ready("");
    app_file(&site, "shop", &sibling(&site, "hosts = \"shop.test\""));
    let site = site.serve();
    let page = site.rota(&["status"]).out;
    assert!(page.lines().all(|line| line.chars().count() <= 80) && page.contains("all of one: rota status APP"), "{page}");
    assert!(page.lines().any(|line| line.starts_with("app ") && line.ends_with("  serves")), "{page}");
    let page = site.rota(&["status", "shop"]).out;
    assert!(page.contains("\nshop  ") && page.contains("queue 0 of 100"), "{page}");
}
