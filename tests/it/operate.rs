//! Starting, stopping, killing and asking the server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::site::{Site, kill};
use crate::tally::Result_;
use crate::traffic::{ALL, Kind, Load};
use crate::wait::{self, millis, secs};
use crate::wire::{self, Trouble, Wire, kept};

const APP: &str = "processes = 2\nconcurrency = 16\nbind = \"unix\"\nprobation = \"100ms\"\ndrain.timeout = \"10s\"";

fn small() -> Vec<Kind> {
    ALL.into_iter().filter(|(name, _)| matches!(*name, "fresh" | "kept" | "post" | "upload" | "long")).collect()
}

/// Ends the server under load by `stop`; every request that was accepted has been answered.
fn loses_nothing(stop: impl FnOnce(&Site)) {
    let mut site = Site::start(APP);
    let load = Load::start(site.addr, &small());
    std::thread::sleep(millis(700));
    stop(&site);
    assert_eq!(site.wait_end(secs(20)), Some(0), "its exit status");
    let tally = load.stop();
    eprintln!("{tally}");
    let after = |kind: &str| tally.of(kind, &Result_::Trouble(Trouble::Refused));
    let refused: usize = small().iter().map(|(kind, _)| after(kind)).sum();
    assert_eq!(tally.failed(), refused, "something else than a refused connection after the end:\n{tally}");
    assert!(site.left().is_empty(), "left: {:?}", site.left());
    assert!(!site.path("run/control.sock").exists());
}

#[test]
fn term_under_load_loses_nothing() {
    loses_nothing(|site| site.signal(Signal::TERM));
}

#[test]
fn the_stop_command_loses_nothing_and_waits_for_the_end() {
    loses_nothing(|site| {
        let said = site.rota(&["stop"]);
        said.expect(0);
        assert!(said.out.starts_with("stopping") && said.out.ends_with("stopped\n"), "{}", said.out);
    });
}

#[test]
fn a_second_signal_ends_it_now() {
    let mut site = Site::start(&APP.replace("10s", "600s"));
    let addr = site.addr;
    let held = std::thread::spawn(move || wire::get(addr, "/hold?name=never&mark=held"));
    wait::until("the request is with the app", secs(10), || site.marks().contains(&"held".to_owned()));
    site.signal(Signal::TERM);
    std::thread::sleep(millis(200));
    site.signal(Signal::TERM);
    site.wait_end(secs(10));
    let _ = held.join();
    wait::until("no process is left", secs(10), || site.left().is_empty());
}

#[test]
fn a_killed_server_leaves_no_process_of_its_apps() {
    let mut site = Site::prepare(APP);
    site.release("1", "leaves_children\nignores_term");
    site.flip("1");
    site = site.serve();
    assert!(site.left().len() >= 6, "two processes with two children each: {:?}", site.left());
    site.signal(Signal::KILL);
    site.wait_end(secs(5));
    wait::until("no process is left", secs(10), || site.left().is_empty());
}

#[test]
fn a_server_that_was_killed_can_be_started_again() {
    let mut site = Site::start(APP);
    site.signal(Signal::KILL);
    site.wait_end(secs(5));
    wait::until("no process is left", secs(10), || site.left().is_empty());
    let site = site.serve();
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
}

#[test]
fn a_second_server_on_the_same_control_socket_is_refused_and_the_first_goes_on() {
    let site = Site::start(APP);
    let said = site.rota(&["serve"]);
    said.expect(1);
    assert!(said.err.contains("another rota, pid "), "{}", said.err);
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
    site.rota(&["status"]).expect(0);
}

/// The reading of a head has a fault that the tests can ask for. Fresh connections are with the master, kept ones with an I/O thread.
#[test]
fn a_panic_over_what_a_client_sent_costs_its_connection_only() {
    let site = Site::start(APP);
    let mut others: Vec<Wire> = (0..8).map(|_| Wire::connect(site.addr).unwrap()).collect();
    for wire in &mut others {
        assert_eq!(wire.ask(&kept("/")).unwrap().status, 200);
    }
    let mut dripping = Wire::connect(site.addr).unwrap();
    dripping.send(b"GET / HTTP/1.1\r\n").unwrap();
    let before = site.serving(1);
    assert!(wire::get(site.addr, "/__panic_head").is_err());
    assert!(others.pop().unwrap().ask(&kept("/__panic_head")).is_err());
    for wire in &mut others {
        assert_eq!(wire.ask(&kept("/")).unwrap().status, 200);
    }
    assert_eq!(dripping.ask("Host: test\r\n\r\n").unwrap().status, 200);
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
    assert_eq!(site.serving(1), before);
    assert_eq!(site.log().matches("reading its request panicked (asked for)").count(), 2);
}

#[test]
fn an_io_thread_that_panics_costs_its_own_connections_only() {
    let site = Site::start(APP);
    let mut kept_ones: Vec<Wire> = (0..16).map(|_| Wire::connect(site.addr).unwrap()).collect();
    for wire in &mut kept_ones {
        wire.ask(&kept("/")).unwrap();
    }
    let before = site.serving(1);
    assert!(wire::get(site.addr, "/__panic").is_err());
    wait::until("its process is replaced", secs(10), || {
        let serving = site.serving(1);
        serving.len() == 2 && serving != before
    });
    let answered = kept_ones.iter_mut().filter_map(|wire| wire.ask(&kept("/")).ok()).count();
    assert!((1..16).contains(&answered), "{answered} of 16 connections outlived the panic of one of two threads");
    assert!(site.log().contains("its I/O thread panicked"));
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
}

#[test]
fn thirty_restarts_leave_no_descriptor_and_no_thread_behind() {
    let site = Site::start(APP);
    let census = || {
        let count = |what: &str| std::fs::read_dir(format!("/proc/{}/{what}", site.pid())).unwrap().count();
        (count("fd"), count("task"))
    };
    site.rota(&["restart"]).expect(0);
    wait::until("it is at rest", secs(10), || census().1 == 8);
    let before = census();
    for _ in 0..30 {
        site.rota(&["restart", "app"]).expect(0);
    }
    wait::until("as many descriptors and threads as before", secs(10), || census() == before);
}

#[test]
fn a_process_starts_with_a_clean_slate() {
    for (bind, count) in [("unix", 3), ("fd", 4)] {
        let site = Site::start(&APP.replace("\"unix\"", &format!("{bind:?}")));
        let pid: u32 = wire::get(site.addr, "/pid").unwrap().text().parse().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let mask = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
        };
        // 32 and 33 are the C library's; a Rust program ignores PIPE by itself.
        assert_eq!((mask("SigBlk"), mask("SigIgn") & !(3 << 31) & !(1 << 12)), (0, 0), "{status}");
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<u32> = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(2).take(2).map(|n| n.parse().unwrap()).collect();
        assert_eq!(fields, [pid, pid], "its own process group and session");
        // Its listening socket and the connections that it has accepted are its own.
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        let links: Vec<String> = fds.map(|fd| std::fs::read_link(fd.unwrap().path()).unwrap_or_default().display().to_string()).collect();
        let pipes = links.iter().filter(|link| link.starts_with("pipe:") || *link == "/dev/null").count();
        let strangers: Vec<&String> =
            links.iter().filter(|link| !link.starts_with("socket:") && !link.starts_with("pipe:") && *link != "/dev/null").collect();
        assert!(strangers.is_empty() && pipes == 3, "{links:?} ({count} expected at its start)");
    }
}

#[test]
fn what_takes_the_place_of_the_program_s_file_is_not_executed_by_the_server_that_runs() {
    let mut site = Site::prepare("processes = 1");
    site.release("1", "");
    site.flip("1");
    let program = site.own_program();
    let mut command = Command::new(&program);
    command.args(["serve", "--config"]).arg(site.path("rota.toml"));
    let log = fs::File::create(site.path("log")).unwrap();
    site.launch_by(command, Stdio::from(log.try_clone().unwrap()), Stdio::from(log));
    site.wait_served();
    let other = site.path("other");
    fs::write(&other, format!("#!/bin/sh\ntouch {}\n", site.path("executed").display())).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&other, &program).unwrap();
    site.deploy("2", "").expect(0);
    fs::remove_file(&program).unwrap();
    site.deploy("3", "").expect(0);
    assert!(!site.path("executed").exists());
}

#[test]
fn commands_without_a_server_say_so() {
    let site = Site::prepare(APP);
    for command in ["status", "restart", "stop"] {
        let said = site.rota(&[command]);
        said.expect(3);
        assert!(said.err.contains("no rota answers on"), "{}", said.err);
    }
}

#[test]
fn a_broken_configuration_is_told_whole_and_serves_nothing() {
    let site = Site::prepare("proceses = 4\nconcurrency = \"many\"");
    for command in ["check", "serve"] {
        let said = site.rota(&[command]);
        said.expect(1);
        assert!(said.err.contains("proceses") && said.err.contains("processes") && said.err.contains("concurrency"), "{}", said.err);
    }
}

#[test]
fn quit_writes_the_state_to_the_log_and_the_log_names_process_and_stream() {
    let site = Site::start(APP);
    site.signal(Signal::QUIT);
    wait::until("the state is in the log", secs(5), || site.log().contains("state: app: queue 0/100"));
    let pid = site.serving(1)[0];
    assert!(site.log().contains(&format!("app/1 g1 pid {pid} stdout: fixture 1 listens on ")), "{}", site.log());
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
}

#[test]
fn a_restart_of_an_app_that_is_not_there_names_those_that_are() {
    let site = Site::start(APP);
    let said = site.rota(&["restart", "blog"]);
    said.expect(1);
    assert!(said.err.contains("there is no app \"blog\"; there is app"), "{}", said.err);
}

#[test]
fn a_restart_whose_server_is_killed_is_told() {
    let mut site = Site::start(APP);
    site.release("2", "boot_delay 5000");
    site.flip("2");
    let mut command =
        site.command(&["restart", "app"]).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    wait::until("the walk is under way", secs(5), || !site.status()["apps"][0]["walk"].is_null());
    site.signal(Signal::KILL);
    site.wait_end(secs(5));
    let status = wait::found("the command ends", secs(10), || command.try_wait().unwrap());
    assert_eq!(status.code(), Some(7));
    kill(command.id(), Signal::KILL);
    std::thread::sleep(Duration::from_millis(10));
}

/// A slip of the pen in `listen`, and a name that another server has taken over.
#[test]
fn only_its_own_listening_sockets_are_removed() {
    let mut site = Site::prepare("processes = 1\nbind = \"unix\"");
    site.release("1", "");
    site.flip("1");
    let (file, socket) = (site.path("precious"), site.path("http.sock"));
    fs::write(&file, "x").unwrap();
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    let listening = |site: &Site, path: &Path| {
        fs::write(site.path("rota.toml"), config.replacen("listen = [", &format!("listen = [\"unix:{}\", ", path.display()), 1)).unwrap();
    };
    listening(&site, &file);
    let said = site.rota(&["serve"]);
    assert_ne!(said.status, Some(0));
    assert!(said.err.contains(&format!("unix:{}: is there already and is no socket", file.display())), "{}", said.err);
    assert_eq!(fs::read_to_string(&file).unwrap(), "x");

    listening(&site, &socket);
    site = site.serve();
    let _theirs = UnixListener::bind(site.path("theirs")).unwrap();
    fs::rename(site.path("theirs"), &socket).unwrap();
    site.rota(&["stop"]).expect(0);
    site.wait_end(secs(20));
    assert!(socket.exists(), "it is another server's by now");
}
