//! As many processes as are needed: the first request starts the first, more come while requests wait, idle ones go, and all apps together
//! stay within what the machine allows.

use std::fs;
use std::time::Duration;

use crate::site::Site;
use crate::wait::{self, millis, secs};
use crate::wire::{self, Reply, Trouble, Wire, kept};

/// A process takes one request at a time.
const ONE_SLOT: &str = "concurrency = 1\nbind = \"unix\"\nprobation = \"100ms\"";

fn between(sizes: &str) -> String {
    format!("{ONE_SLOT}\nprocesses = {{ {sizes} }}")
}

/// A server whose app has no process.
fn idle_site(sizes: &str, behaviour: &str) -> Site {
    let mut site = Site::prepare(&between(sizes));
    site.release("1", behaviour);
    site.flip("1");
    site.launch();
    wait::until("the server is there", secs(10), || site.rota(&["status"]).status == Some(0));
    assert_eq!(site.left(), [0; 0], "nobody has asked for anything");
    site
}

/// A server with several apps, each with these keys, the host of its name and one release of the fixture.
fn site_of(server: &str, apps: &[(&str, &str)], behaviour: &str) -> Site {
    let mut site = Site::without_app(server);
    site.release("1", behaviour);
    site.flip("1");
    let at = site.path("");
    let at = at.to_str().unwrap().trim_end_matches('/');
    let fixture = std::env::current_exe().unwrap();
    let user = if rustix::process::geteuid().is_root() { "user = \"root\"\n" } else { "" };
    let mut config = fs::read_to_string(site.path("rota.toml")).unwrap();
    for (name, keys) in apps {
        config += &format!(
            "\n[app.{name}]\nroot = \"{at}/current\"\nhosts = \"{name}\"\n{user}{keys}\n\
             command = [{fixture:?}, \"--exact\", \"fixture::fixture_app\", \"--nocapture\"]\n\
             env = {{ FIXTURE_DIR = \"{at}/shared\", IT_SITE = \"{at}\" }}\n"
        );
    }
    fs::write(site.path("rota.toml"), config).unwrap();
    site.launch();
    wait::until("the server is there", secs(10), || site.rota(&["status"]).status == Some(0));
    site
}

/// Sends a request to an app by its name, and leaves it there.
fn ask(site: &Site, app: &str, target: &str) -> Wire {
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(format!("GET {target} HTTP/1.1\r\nHost: {app}\r\n\r\n").as_bytes()).unwrap();
    wire
}

fn hold(site: &Site, app: &str, gate: &str) -> Wire {
    let wire = ask(site, app, &format!("/hold?name={gate}&mark={gate}"));
    wait::until("it is with the app", secs(20), || site.marks().iter().any(|mark| mark == gate));
    wire
}

fn answer(wire: &mut Wire) -> Result<u16, Trouble> {
    wire.reply(false).map(|reply: Reply| reply.status)
}

fn of_app(site: &Site, app: &str) -> serde_json::Value {
    let status = site.status();
    status["apps"].as_array().unwrap().iter().find(|one| one["app"] == app).unwrap().clone()
}

/// The most that booted at the same time, by the apps' own word, and how many have booted.
fn boots(marks: &[String]) -> (usize, usize) {
    let (mut now, mut most, mut all) = (0, 0, 0);
    for mark in marks {
        if mark.starts_with("begins ") {
            now += 1;
            most = most.max(now);
        }
        if mark.starts_with("boots ") {
            now -= 1;
            all += 1;
        }
    }
    (most, all)
}

#[test]
fn the_first_request_starts_the_first_process_and_is_served_by_it() {
    let site = idle_site("min = 0, max = 2, idle = \"300ms\"", "boot_marks");
    let page = site.rota(&["status"]).out;
    assert!(page.contains("processes 0 of 0..2; the first starts with the first request"), "{page}");
    for round in 1..=2 {
        assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
        assert_eq!(boots(&site.marks()), (1, round));
        wait::until("it has left again", secs(10), || site.processes().is_empty());
        assert_eq!(site.left(), [0; 0]);
    }
    assert!(site.log().contains("had nothing to do for"), "{}", site.log());
}

#[test]
fn an_upload_may_be_the_first_request() {
    let site = idle_site("min = 0, max = 1", "");
    let body = crate::bytes::pattern(0, 300_000);
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 300000\r\n\r\n").unwrap();
    wire.send(&body).unwrap();
    assert_eq!(wire.reply(false).unwrap().text(), crate::bytes::receipt(&body));
}

#[test]
fn what_waits_for_the_first_process_is_served_in_order_and_what_left_is_not() {
    let site = idle_site("min = 0, max = 1", "boot_waits");
    let mut wires: Vec<Wire> = Vec::new();
    for place in 1..=5 {
        let mut wire = Wire::connect(site.addr).unwrap();
        wire.send(kept(&format!("/?mark={place}")).as_bytes()).unwrap();
        wait::until("it waits", secs(10), || site.waiting() == place);
        wires.push(wire);
    }
    drop(wires.remove(2));
    wait::until("it has left", secs(10), || site.waiting() == 4);
    site.open("boot-1");
    wires.iter_mut().for_each(|wire| assert_eq!(answer(wire), Ok(200)));
    assert_eq!(site.marks(), ["1", "2", "4", "5"]);
}

#[test]
fn it_grows_while_requests_wait_and_shrinks_to_the_least() {
    let site = Site::start(&between("min = 1, max = 3, idle = \"400ms\""));
    let mut held = ["a", "b", "c"].map(|gate| hold(&site, "test", gate));
    let mut waits = ask(&site, "test", "/?mark=d");
    wait::until("it waits", secs(10), || site.waiting() == 1);
    assert_eq!(site.serving(1).len(), 3, "there may be three");
    ["a", "b", "c"].iter().for_each(|gate| site.open(gate));
    held.iter_mut().for_each(|wire| assert_eq!(answer(wire), Ok(200)));
    assert_eq!(answer(&mut waits), Ok(200));
    wait::until("one is left", secs(10), || site.processes().len() == 1);
    let left = site.serving(1);
    // Several times longer than it takes to be idle for long.
    assert!(!wait::becomes_so(millis(1200), &mut || site.serving(1) != left), "it went below the least");
    assert_eq!(site.processes()[0].0, 1, "number 1 stays");
}

#[test]
fn one_more_that_does_not_start_hurts_nobody() {
    let site = Site::prepare(&between("min = 1, max = 3"));
    site.release("1", "process=2 exit_at_boot 1");
    site.flip("1");
    let site = site.serve();
    let addr = site.addr;
    let clients: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let mut wire = Wire::connect(addr).unwrap();
                (0..25).filter(|_| wire.ask(&kept("/sleep?ms=10")).is_ok_and(|reply| reply.status == 200)).count()
            })
        })
        .collect();
    let served: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(served, 100);
    wait::until("the other has failed", secs(20), || of_app(&site, "app")["last_failure"]["number"] == 2);
    let app = of_app(&site, "app");
    assert_eq!((&app["processes"][0]["number"], &app["resists"]), (&1.into(), &serde_json::Value::Null), "{app}");
}

#[test]
fn a_release_goes_into_an_app_without_a_process_when_it_has_started_one() {
    let site = idle_site("min = 0, max = 2, idle = \"300ms\"", "");
    site.deploy("2", "exit_at_boot 1").expect(4);
    site.deploy("3", "").expect(0);
    site.deploy("4", "exit_at_boot 1").expect(4);
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "3");
}

#[test]
fn apps_that_boot_together_take_turns() {
    let names: Vec<String> = (0..10).map(|n| format!("app{n}")).collect();
    let apps: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), ONE_SLOT)).collect();
    let processors = std::thread::available_parallelism().map_or(2, |number| number.get().max(2));
    for (key, most) in [("max_spawning = 3", 3), ("", processors)] {
        let site = site_of(key, &apps, "boot_marks\nboot_delay 150");
        for name in &names {
            assert_eq!(answer(&mut ask(&site, name, "/")), Ok(200), "{name}");
        }
        let (at_once, all) = boots(&site.marks());
        assert!(all == 10 && at_once <= most, "{key}: {at_once} at once, {all} in all");
        // One boots in the time that it takes to see that another is ready.
        assert!(at_once > 1, "{key}: {:?}", site.marks());
    }
}

#[test]
fn the_apps_together_have_no_more_processes_than_may_be_and_idle_ones_make_room() {
    let keys = format!("{}\nstop.timeout = \"700ms\"", between("min = 0, max = 2"));
    let site = site_of("max_processes = 2", &[("one", &keys), ("two", &keys)], "ignores_term");
    let mut held = ["a", "b"].map(|gate| hold(&site, "one", gate));
    let mut waits = ask(&site, "two", "/?mark=two");
    wait::until("it waits for room", secs(10), || of_app(&site, "two")["held"]["limit"] == "max_processes");
    let page = site.rota(&["status", "two"]).out;
    assert!(page.contains("to start one more process: there are as many processes as may"), "{page}");
    let before = site.left();
    site.open("b");
    assert_eq!(answer(&mut held[1]), Ok(200));
    // One of the two goes, which takes a while: until then it is counted.
    wait::until("the other is served", secs(20), || {
        let now = site.left();
        assert!(now.len() <= 2, "{now:?}, {before:?} before");
        site.marks().iter().any(|mark| mark == "two")
    });
    assert_eq!(answer(&mut waits), Ok(200));
    assert!(site.log().contains("makes room for two"), "{}", site.log());
    site.open("a");
    assert_eq!(answer(&mut held[0]), Ok(200));
}

#[test]
fn an_app_without_a_process_goes_before_one_that_wants_more() {
    let (more, none) = (between("min = 1, max = 3"), between("min = 0, max = 1"));
    let site = site_of("max_processes = 2", &[("more", &more), ("none", &none), ("other", &none)], "");
    let mut held = [hold(&site, "more", "a"), hold(&site, "other", "b")];
    let mut more = ask(&site, "more", "/?mark=more");
    wait::until("it waits for room", secs(10), || !of_app(&site, "more")["held"].is_null());
    let mut none = ask(&site, "none", "/?mark=none");
    wait::until("it waits for room", secs(10), || !of_app(&site, "none")["held"].is_null());
    site.open("b");
    assert_eq!((answer(&mut held[1]), answer(&mut none)), (Ok(200), Ok(200)));
    site.open("a");
    assert_eq!((answer(&mut held[0]), answer(&mut more)), (Ok(200), Ok(200)));
    let marks = site.marks();
    let place = |mark: &str| marks.iter().position(|one| one == mark);
    assert!(place("none") < place("more"), "{marks:?}");
}

#[test]
fn a_restart_where_there_is_no_room_loses_nothing() {
    let keys = format!("{ONE_SLOT}\nprocesses = 2");
    let site = site_of("max_processes = 2", &[("app", &keys)], "");
    wait::until("both serve", secs(20), || site.serving(1).len() == 2 && of_app(&site, "app")["walk"].is_null());
    let addr = site.addr;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let done = stop.clone();
    let client = std::thread::spawn(move || {
        let mut lost = Vec::new();
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            let mut wire = Wire::connect(addr).unwrap();
            wire.send(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n").unwrap();
            lost.extend(Some(answer(&mut wire)).filter(|answer| *answer != Ok(200)));
            std::thread::sleep(Duration::from_millis(5));
        }
        lost
    });
    site.rota(&["restart", "app"]).expect(0);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(client.join().unwrap(), []);
    assert_eq!(site.serving(2).len(), 2);
    assert!(site.log().contains("goes before its replacement is started"), "{}", site.log());
}
