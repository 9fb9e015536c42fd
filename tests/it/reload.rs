//! `rota reload`: what the files change is done, nothing else is touched, and a mistake changes nothing. `ROTA_RELOADS=n`: an app comes and goes
//! so often under load.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::ports;
use crate::site::Site;
use crate::traffic::{ALL, Load, names};
use crate::wait::{self, millis, secs};
use crate::wire::{self, Wire};

/// A line of rota.toml is another one.
pub fn change(site: &Site, line: &str, other: &str) {
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    assert!(config.contains(line), "{line} in {config}");
    fs::write(site.path("rota.toml"), config.replace(line, other)).unwrap();
}

/// A file of apps.d, of an app that is served by the site's releases at these hosts.
pub fn app_file(site: &Site, name: &str, keys: &str) {
    let user = if rustix::process::geteuid().is_root() { "user = \"root\"\n" } else { "" };
    let (at, fixture) = (site.path("").display().to_string(), std::env::current_exe().unwrap());
    let text = format!(
        "root = \"{at}current\"\ncommand = [{fixture:?}, \"--exact\", \"fixture::fixture_app\", \"--nocapture\"]\n{user}{keys}\n\
         [env]\nFIXTURE_DIR = \"{at}shared\"\nIT_SITE = \"{}\"\n",
        at.trim_end_matches('/')
    );
    fs::create_dir_all(site.path("apps.d")).unwrap();
    fs::write(site.path(&format!("apps.d/{name}.toml")), text).unwrap();
}

/// The status line's number for a request to a host.
pub fn asked(addr: SocketAddr, host: &str) -> u16 {
    let mut wire = Wire::connect(addr).unwrap();
    wire.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).unwrap().status
}

fn pids(site: &Site) -> Vec<u32> {
    site.processes().into_iter().map(|(_, _, pid, _)| pid).collect()
}

#[test]
fn what_takes_effect_at_once_touches_no_process_and_no_connection() {
    let site = Site::start("processes = 2\nqueue.max = 50\n");
    let before = pids(&site);
    let mut kept = Wire::connect(site.addr).unwrap();
    assert_eq!(kept.ask(&wire::kept("/")).unwrap().status, 200);
    change(&site, "queue.max = 50", "queue.max = 7\nlimits.body = 10\nhosts = [\"app.test\"]");
    let plan = site.rota(&["reload", "--dry-run"]);
    let line = "app: hosts, queue.max, limits.body: at once\n";
    assert_eq!(plan.expect(0).out, format!("{line}nothing of this was done; rota reload does it\n"));
    assert_eq!((asked(site.addr, "other.test"), site.status()["apps"][0]["queue"]["max"].as_u64()), (200, Some(50)), "only said");
    assert_eq!(site.rota(&["reload"]).expect(0).out, line);
    assert_eq!((asked(site.addr, "other.test"), asked(site.addr, "app.test")), (404, 200));
    assert_eq!(site.status()["apps"][0]["queue"]["max"].as_u64(), Some(7));
    assert_eq!(kept.ask("POST /echo HTTP/1.1\r\nHost: app.test\r\nContent-Length: 11\r\n\r\n").unwrap().status, 413, "the same connection");
    assert_eq!(pids(&site), before);
    assert_eq!(site.rota(&["reload"]).expect(0).out, "the files say what is in force; nothing changes\n");
}

#[test]
fn what_processes_are_started_with_comes_by_a_walk_that_is_waited_for() {
    let site = Site::start("processes = 2\nnice = 1\n");
    let before = pids(&site);
    change(&site, "nice = 1", "nice = 2");
    let said = site.rota(&["reload"]);
    assert!(said.expect(0).out.starts_with("app: nice: by a rolling restart\napp g2: asked for\n"), "{}", said.out);
    assert!(said.out.contains("app g2: done"), "{}", said.out);
    assert_eq!(site.serving(2).len(), 2);
    assert!(pids(&site).iter().all(|pid| !before.contains(pid)));
    let nice = fs::read_to_string(format!("/proc/{}/stat", pids(&site)[0])).unwrap();
    assert_eq!(nice.rsplit(')').next().unwrap().split_whitespace().nth(16), Some("2"));
}

#[test]
fn a_walk_that_a_reload_asks_for_and_that_fails_is_told_and_the_old_processes_go_on() {
    let site = Site::start("ready.timeout = \"5s\"\nready.status = 200\n");
    let before = site.serving(1);
    change(&site, "ready.status = 200", "ready.status = 204");
    let said = site.rota(&["reload"]);
    assert_eq!(said.status, Some(4), "{}{}", said.out, said.err);
    assert_eq!((site.serving(1), asked(site.addr, "app.test")), (before, 200));
}

#[test]
fn apps_come_and_go_and_come_back_while_another_is_under_load() {
    let site = Site::start("");
    let load = Load::start(site.addr, &ALL);
    let before = pids(&site);
    // Of the app for every host, which takes larger bodies, or of the one that comes and goes.
    let posted = || {
        let mut wire = Wire::connect(site.addr).unwrap();
        wire.ask("POST /echo HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi").unwrap().status
    };
    let rounds = std::env::var("ROTA_RELOADS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    for round in 1..=rounds {
        app_file(&site, "shop", "hosts = [\"shop.test\"]\nprocesses = 2\nlimits.body = 1\n");
        let said = site.rota(&["reload"]);
        assert!(said.expect(0).out.starts_with("shop: added\n") && said.out.contains(": done"), "{round}: {}", said.out);
        assert_eq!((asked(site.addr, "shop.test"), posted()), (200, 413));
        fs::remove_file(site.path("apps.d/shop.toml")).unwrap();
        let said = site.rota(&["reload"]);
        assert_eq!(said.expect(0).out, "shop: removed: its requests are answered, then its processes end\n");
        assert_eq!(posted(), 200);
        site.rota(&["restart", "shop"]).expect(1);
    }
    wait::until("nothing is left of it", secs(60), || site.status()["apps"].as_array().unwrap().len() == 1);
    assert_eq!(pids(&site), before);
    load.stop().expect_no_failure(&names(&ALL));
}

#[test]
fn a_request_that_is_with_an_app_that_goes_is_answered() {
    let site = Site::start("hosts = [\"test\"]\n");
    app_file(&site, "shop", "hosts = [\"shop.test\"]\n");
    site.rota(&["reload"]).expect(0);
    let held = std::thread::scope(|scope| {
        let held = scope.spawn(|| {
            let mut wire = Wire::connect(site.addr).unwrap();
            wire.ask("GET /hold?name=gate&mark=here HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n").unwrap().status
        });
        wait::until("it is with the app", secs(30), || site.marks().contains(&"here".to_owned()));
        fs::remove_file(site.path("apps.d/shop.toml")).unwrap();
        site.rota(&["reload"]).expect(0);
        assert_eq!(asked(site.addr, "shop.test"), 404);
        let status = site.status();
        let removed = |name: &str| status["apps"].as_array().unwrap().iter().find(|app| app["app"] == name).unwrap()["removed"].clone();
        assert_eq!((removed("app"), removed("shop")), (false.into(), true.into()), "as long as there is something of it");
        assert!(site.rota(&["status"]).out.contains("REMOVED"));
        site.open("gate");
        held.join().unwrap()
    });
    assert_eq!(held, 200);
}

#[test]
fn a_mistake_in_any_file_changes_nothing_and_is_told_in_full() {
    let site = Site::start("queue.max = 50\n");
    let before = (pids(&site), fs::read_to_string(site.path("rota.toml")).unwrap());
    let shop = |keys: &str| {
        app_file(&site, "shop", &format!("hosts = [\"shop.test\"]\n{keys}\n"));
    };
    let broken: [(&str, &dyn Fn(), &str); 12] = [
        ("no TOML", &|| fs::write(site.path("rota.toml"), "[server\n").unwrap(), "rota.toml:1"),
        ("an unknown key", &|| change(&site, "queue.max = 50", "queue.mxa = 50"), "mxa"),
        ("a wrong kind", &|| change(&site, "queue.max = 50", "queue.max = \"50\""), "queue.max"),
        ("too large", &|| change(&site, "queue.max = 50", "queue.max = 100001"), "100000"),
        ("two mistakes", &|| change(&site, "queue.max = 50", "queue.max = -1\nnice = 77"), "nice"),
        ("no file", &|| fs::remove_file(site.path("rota.toml")).unwrap(), "cannot read this"),
        ("not to be read", &|| fs::create_dir_all(site.path("apps.d/shop.toml")).unwrap(), "cannot read this"),
        ("a mistake in another file", &|| shop("queue.mxa = 1"), "shop.toml"),
        ("no root", &|| fs::write(site.path("apps.d/shop.toml"), "command = \"x\"\n").unwrap(), "has no root"),
        ("no name", &|| fs::write(site.path("apps.d/Shop.toml"), "root = \"/\"\n").unwrap(), "is no app name"),
        ("the same requests twice", &|| app_file(&site, "shop", ""), "shop"),
        ("no such user", &|| shop("log = \"relative\""), "log cannot be"),
    ];
    for (what, break_it, says) in broken {
        fs::create_dir_all(site.path("apps.d")).unwrap();
        change(&site, "queue.max = 50", "queue.max = 50\nlog_rate = 7");
        break_it();
        let said = site.rota(&["reload", "--socket", site.path("run/control.sock").to_str().unwrap()]);
        assert_eq!(said.status, Some(1), "{what}: {}{}", said.out, said.err);
        assert!(said.err.contains(says) && !said.err.contains("\\x0a"), "{what}: {says} in {}", said.err);
        fs::remove_dir_all(site.path("apps.d")).unwrap();
        fs::write(site.path("rota.toml"), &before.1).unwrap();
        assert_eq!((pids(&site), asked(site.addr, "shop.test")), (before.0.clone(), 200), "{what}");
    }
    assert_eq!(site.rota(&["reload"]).expect(0).out, "the files say what is in force; nothing changes\n");
}

#[test]
fn listeners_open_and_close_and_nobody_who_has_connected_is_refused() {
    let site = Site::start("");
    let (other, socket) = (ports::free(), site.path("http.sock"));
    let own = format!("listen = [\"{}\"]", site.addr);
    let mut kept = Wire::connect(site.addr).unwrap();
    assert_eq!(kept.ask(&wire::kept("/")).unwrap().status, 200);
    change(&site, &own, &format!("listen = [\"{}\", \"{other}\", \"unix:{}\"]", site.addr, socket.display()));
    let said = site.rota(&["reload"]);
    assert_eq!(said.expect(0).out, format!("server: listens on {other}\nserver: listens on unix:{}\n", socket.display()));
    wait::until("both answer", secs(10), || wire::get(other, "/").is_ok_and(|reply| reply.status == 200) && socket.exists());
    let load = Load::start(other, &ALL);
    change(&site, &format!("\"{}\", ", site.addr), "");
    assert_eq!(site.rota(&["reload"]).expect(0).out, format!("server: listens on {} no more\n", site.addr));
    wait::until("the port is closed", secs(10), || std::net::TcpStream::connect(site.addr).is_err());

    assert_eq!(kept.ask(&wire::kept("/")).unwrap().status, 200, "who was there stays");
    let mode = || fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o666);
    change(&site, &format!("\"unix:{}\"", socket.display()), &format!("{{ address = \"unix:{}\", mode = \"0600\" }}", socket.display()));
    site.rota(&["reload"]).expect(0);
    wait::until("the socket is its owner's", secs(10), || mode() == 0o600);
    assert!(std::os::unix::net::UnixStream::connect(&socket).is_ok());
    std::thread::sleep(millis(200));
    load.stop().expect_no_failure(&names(&ALL));
    let listens: Vec<String> = site.status()["listen"].as_array().unwrap().iter().map(|at| at.as_str().unwrap().to_owned()).collect();
    assert_eq!(listens, [other.to_string(), format!("unix:{}", socket.display())]);
}

#[test]
fn an_address_in_the_way_of_the_one_before_is_taken_when_that_is_closed() {
    let site = Site::start("");
    let everywhere = format!("0.0.0.0:{}", site.addr.port());
    change(&site, &format!("listen = [\"{}\"]", site.addr), &format!("listen = [\"{everywhere}\"]"));
    let said = site.rota(&["reload"]);
    assert_eq!(said.expect(0).out, format!("server: listens on {everywhere}\nserver: listens on {} no more\n", site.addr));
    let other = SocketAddr::from(([127, 0, 0, 2], site.addr.port()));
    wait::until("it is there", secs(20), || wire::get(other, "/").is_ok_and(|reply| reply.status == 200));
    assert!(site.status()["not_listening"].as_array().unwrap().is_empty());
}

#[test]
fn nobody_is_refused_because_what_is_to_be_listened_on_instead_is_another_s() {
    let site = Site::start("");
    let (own, taken) = (format!("listen = [\"{}\"]", site.addr), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let at = taken.local_addr().unwrap();
    change(&site, &own, &format!("listen = [\"{at}\"]"));
    site.rota(&["reload"]).expect(0);
    wait::until("it is said", secs(20), || site.log().contains("stays open: nothing that is listened on in its place can be had yet"));
    assert_eq!(asked(site.addr, "test"), 200);
    drop(taken);
    wait::until("it is had", secs(20), || wire::get(at, "/").is_ok_and(|reply| reply.status == 200));
    wait::until("the old one is closed", secs(20), || std::net::TcpStream::connect(site.addr).is_err());
}

#[test]
fn the_last_app_goes_and_one_comes_again() {
    let site = Site::without_app("");
    let mut site = site;
    site.launch();
    wait::until("it is there", secs(30), || site.rota(&["status"]).status == Some(0));
    for round in 0..2 {
        app_file(&site, "shop", "");
        fs::create_dir_all(site.path("releases")).unwrap();
        if round == 0 {
            site.release("1", "");
            site.flip("1");
        }
        site.rota(&["reload"]).expect(0);
        assert_eq!(asked(site.addr, "shop.test"), 200);
        fs::remove_file(site.path("apps.d/shop.toml")).unwrap();
        site.rota(&["reload"]).expect(0);
        wait::until("nothing is left of it", secs(60), || site.status()["apps"].as_array().unwrap().is_empty());
    }
    assert_eq!(site.rota(&["restart", "shop"]).expect(1).err, "rota: there is no app \"shop\"; there is none\n");
}

#[test]
fn how_many_processes_there_are_follows_the_files() {
    let site = Site::start("processes = 1\n");
    let first = pids(&site);
    for (processes, other) in [(1, 3), (3, 2)] {
        change(&site, &format!("processes = {processes}\n"), &format!("processes = {other}\n"));
        site.rota(&["reload"]).expect(0);
        wait::until("there are as many", secs(60), || site.processes().len() == other && site.serving(1).len() == other);
    }
    assert!(pids(&site).contains(&first[0]));
}

#[test]
fn the_signal_reads_the_files_too_and_the_log_says_what_came_of_it() {
    let site = Site::start("queue.max = 50\n");
    change(&site, "queue.max = 50", "queue.max = 7");
    site.signal(Signal::HUP);
    wait::until("it is done", secs(30), || site.log().contains("reload: app: queue.max: at once"));
    change(&site, "queue.max = 7", "queue.mxa = 7");
    site.signal(Signal::HUP);
    wait::until("it is refused", secs(30), || site.log().contains("mxa"));
    assert_eq!((site.status()["apps"][0]["queue"]["max"].as_u64(), asked(site.addr, "test")), (Some(7), 200));
}

#[test]
fn logs_go_where_the_files_say_from_the_next_request_on() {
    let site = Site::start("");
    let path = site.path("access.log");
    let mut kept = Wire::connect(site.addr).unwrap();
    assert_eq!(kept.ask(&wire::kept("/?before")).unwrap().status, 200);
    change(&site, "[app.app]", &format!("[app.app]\naccess_log = {{ format = \"json\", file = \"{}\" }}", path.display()));
    assert_eq!(site.rota(&["reload"]).expect(0).out, "app: access_log: at once\n");
    assert_eq!(kept.ask(&wire::kept("/?after")).unwrap().status, 200);
    wait::until("the line is there", secs(10), || fs::read_to_string(&path).is_ok_and(|text| text.contains("/?after")));
    assert!(!fs::read_to_string(&path).unwrap().contains("/?before"));
}

#[test]
fn what_rota_is_started_with_stays_until_it_is_started_anew_and_is_said_each_time() {
    let site = Site::start("");
    change(&site, "[server]", &format!("[server]\nhealth = \"/up\"\nspool_dir = \"{}\"", site.path("shared").display()));
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    let double = format!("spool_dir = \"{}\"\n", site.path("spool").display());
    fs::write(site.path("rota.toml"), config.replacen(&double, "", 1)).unwrap();
    assert_eq!(site.rota(&["reload"]).expect(0).out, "server: health: at once\nserver: spool_dir: not before rota is started anew\n");
    assert_eq!(site.rota(&["reload"]).expect(0).out, "server: spool_dir: not before rota is started anew\n");
    assert_eq!(wire::get(site.addr, "/up").unwrap().text(), "ok\n");
}

/// Descriptors and threads of the server.
fn census(site: &Site) -> (usize, usize) {
    let count = |what: &str| fs::read_dir(format!("/proc/{}/{what}", site.pid())).unwrap().count();
    (count("fd"), count("task"))
}

#[test]
fn two_hundred_reloads_leave_nothing_behind() {
    let site = Site::start("hosts = [\"test\"]\nqueue.max = 50\n");
    let other = ports::free();
    let (own, both) = (format!("listen = [\"{}\"]", site.addr), format!("listen = [\"{}\", \"{other}\"]", site.addr));
    let log = site.path("access.log");
    let round = |number: usize| {
        match number % 4 {
            0 => app_file(&site, "shop", "hosts = [\"shop.test\"]\nprocesses.min = 0\nready.timeout = \"20s\"\n"),
            1 => change(&site, &own, &both),
            2 => {
                fs::remove_file(site.path("apps.d/shop.toml")).unwrap();
                change(
                    &site,
                    "queue.max = 50",
                    &format!("queue.max = 51\naccess_log = {{ file = \"{}\", format = \"json\" }}", log.display()),
                );
            }
            _ => {
                change(&site, &both, &own);
                change(
                    &site,
                    &format!("queue.max = 51\naccess_log = {{ file = \"{}\", format = \"json\" }}", log.display()),
                    "queue.max = 50",
                );
            }
        }
        let said = site.rota(&["reload", "--no-wait"]);
        assert_eq!(said.status, Some(0), "{number}: {}{}", said.out, said.err);
    };
    (0..8).for_each(round);
    let gone = || site.status()["apps"].as_array().unwrap().len() == 1 && site.left().len() <= 3;
    wait::until("the app is gone", secs(60), gone);
    let before = census(&site);
    (8..208).for_each(round);
    wait::until("the app is gone again", secs(60), gone);
    wait::until("nothing more is there than before", secs(30), || census(&site) <= before);
    assert_eq!(asked(site.addr, "test"), 200);
}

#[test]
fn who_restarts_or_looks_is_told_that_the_files_have_changed_and_were_not_read() {
    let site = Site::start("queue.max = 50\n");
    let says = |said: String| said.contains("have changed");
    assert!(!says(site.rota(&["status"]).expect(0).out.clone()) && !says(site.rota(&["restart", "app"]).expect(0).out.clone()));
    assert_eq!(site.status()["config_changed"], false);
    change(&site, "queue.max = 50", "queue.max = 7");
    assert!(says(site.rota(&["status"]).expect(0).out.clone()) && says(site.rota(&["restart", "app"]).expect(0).out.clone()));
    assert_eq!(site.status()["config_changed"], true);
    site.rota(&["reload", "--dry-run"]).expect(0);
    assert_eq!(site.status()["config_changed"], true, "it was only looked at");
    site.rota(&["reload"]).expect(0);
    assert_eq!(site.status()["config_changed"], false);
    // Another file, and one that says the same.
    app_file(&site, "shop", "hosts = [\"shop.test\"]\nprocesses.min = 0\n");
    assert_eq!(site.status()["config_changed"], true);
    fs::remove_file(site.path("apps.d/shop.toml")).unwrap();
    change(&site, "queue.max = 7", "queue.max  =  7");
    assert_eq!(site.rota(&["reload"]).expect(0).out, "the files say what is in force; nothing changes\n");
    assert_eq!(site.status()["config_changed"], false);
}
