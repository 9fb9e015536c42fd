//! Faults of rota's own, and what others make large or strange: a thread that ends takes the server with it, one that stands still is not fed as
//! if it turned, and neither names nor output forge lines or fill the disk.

use std::fs;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::site::{Site, kill};
use crate::wait::{self, millis, secs};
use crate::wire;

const APP: &str = "concurrency = 4\nbind = \"unix\"\nprobation = \"1ms\"\nlog = \"AT/app.log\"\n";

fn prepare(keys: &str) -> Site {
    let site = Site::prepare(&format!("{APP}{keys}"));
    let config = site.path("rota.toml");
    let text = fs::read_to_string(&config).unwrap().replace("AT/", &format!("{}/", site.path("").display()));
    fs::write(&config, text).unwrap();
    // Not all threads have root's rights, and each looks for what it is to do wrong.
    fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    site.release("1", "");
    site.flip("1");
    site
}

#[test]
fn a_thread_that_panics_takes_the_server_with_it_and_says_so() {
    for name in ["rota-restart", "rota-log", "rota-samples", "rota-master"] {
        let mut site = prepare("").serve();
        fs::write(site.path("panic"), name).unwrap();
        match name {
            "rota-restart" => kill(site.serving(1)[0], Signal::KILL),
            "rota-log" | "rota-master" => drop(wire::get(site.addr, "/print?text=a")),
            "rota-samples" => drop(site.rota(&["status"])),
            _ => {}
        }
        assert_eq!(site.wait_end(secs(20)), None, "{name}: ended by a signal");
        let last = format!("the thread {name} panicked: asked for by a test; rota ends, so that its supervisor starts it anew");
        let log = site.log();
        assert!(log.lines().last().is_some_and(|line| line.ends_with(&last)), "{name}: {log}");
        wait::until("its apps have ended with it", secs(20), || site.left().is_empty());
    }
}

/// What the server says to its supervisor within a time.
fn is_fed(supervisor: &UnixDatagram, within: Duration) -> bool {
    let until = std::time::Instant::now() + within;
    loop {
        let mut word = [0; 512];
        let left = until.saturating_duration_since(std::time::Instant::now());
        supervisor.set_read_timeout(Some(left.max(millis(1)))).unwrap();
        match supervisor.recv(&mut word) {
            Ok(count) if word[..count] == *b"WATCHDOG=1" => return true,
            // How it is, and that it is ready.
            Ok(_) if !left.is_zero() => {}
            Ok(_) => return false,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return false,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_watchdog_is_fed_while_master_and_restart_thread_turn() {
    let mut site = prepare("processes = 2\n");
    // Of no file, which the master's user might not get to.
    let name = format!("rota-it-notify-{}", std::process::id());
    let supervisor = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let mut command = site.command(&["serve"]);
    // Every 100 ms.
    command.env("NOTIFY_SOCKET", format!("@{name}")).env("WATCHDOG_USEC", "400000").env_remove("WATCHDOG_PID");
    let log = fs::File::create(site.path("log")).unwrap();
    site.launch_by(command, Stdio::from(log.try_clone().unwrap()), Stdio::from(log));
    site.wait_served();
    for feeding in 0..5 {
        assert!(is_fed(&supervisor, secs(20)), "nothing happens, which is no standing still: {feeding}");
    }
    fs::write(site.path("panic"), "hang rota-restart").unwrap();
    // Something to do, on the way to which it stops.
    kill(site.serving(1)[0], Signal::KILL);
    wait::until("it is not fed while the restart thread stands still", secs(20), || !is_fed(&supervisor, millis(500)));
    wait::until("that is said", secs(20), || site.log().contains("the restart thread has done nothing for 100ms"));
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200, "the other process answers");
    fs::remove_file(site.path("panic")).unwrap();
    assert!(is_fed(&supervisor, secs(20)), "it turns again");
    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(20)), Some(0));
}

#[test]
fn no_name_of_a_directory_makes_a_line_of_its_own() {
    let mut site = prepare("");
    let name = "2\n<0>forged: \x1b[2J";
    site.release(name, "");
    fs::write(site.path("releases").join(name).join("VERSION"), "2").unwrap();
    site.flip(name);
    let mut command = site.command(&["serve"]);
    command.env("JOURNAL_STREAM", "1:2");
    let log = fs::File::create(site.path("log")).unwrap();
    site.launch_by(command, Stdio::from(log.try_clone().unwrap()), Stdio::from(log));
    site.wait_served();
    let log = site.log();
    assert!(log.contains("2\\n<0>forged: \\u{1b}[2J"), "{log}");
    for line in log.lines() {
        assert!(["<3>", "<4>", "<6>"].iter().any(|priority| line.starts_with(priority)), "{line:?}");
    }
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    let odd = config.replace("/current\"", "/gone\\nok: all is well\\u001b[2J\"");
    assert_ne!(odd, config);
    fs::write(site.path("rota.toml"), odd).unwrap();
    let checked = site.rota(&["check"]);
    let said = checked.err + &checked.out;
    assert!(said.contains("gone\\nok: all is well\\u{1b}[2J"), "{said}");
    assert!(!said.contains('\x1b') && !said.lines().any(|line| line.starts_with("ok: all")), "{said}");
}

#[test]
fn what_failing_processes_print_does_not_fill_the_record() {
    let line = "head -c 8190 /dev/zero | tr '\\\\0' '\\\\033'; echo";
    let mut site = Site::with_app(&format!("command = [\"sh\", \"-c\", \"for i in $(seq 45); do {line}; done; exit 1\"]"), "");
    site.release("1", "");
    site.flip("1");
    site.launch();
    wait::until("the first start has failed", secs(60), || site.log().contains("exit status 1"));
    for _ in 0..3 {
        site.rota(&["restart", "app"]);
    }
    let written = fs::read_to_string(site.path("state/app.json")).unwrap();
    let entries = written.matches("\"generation\":").count();
    assert!(entries >= 3, "{entries} entries");
    assert!(written.len() < entries * 40 * 1024, "{} bytes of {entries} entries", written.len());
    assert!(written.contains("bytes more)"), "a line that was cut says so");
}
