//! What rota tells whoever started it (systemd, or a test), rota as the first process of a container, and `rota up`.

use std::fs;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::ports;
use crate::site::{Site, kill};
use crate::wait::{self, secs};
use crate::wire;

/// What was said so far.
struct Ear {
    socket: UnixDatagram,
    said: Vec<String>,
}

impl Ear {
    fn at(socket: UnixDatagram) -> Self {
        socket.set_nonblocking(true).unwrap();
        Self { socket, said: Vec::new() }
    }

    fn listen(&mut self) -> &[String] {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.recv(&mut buffer) {
                Ok(count) => self.said.extend(String::from_utf8_lossy(&buffer[..count]).lines().map(str::to_owned)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return &self.said,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits for a line that begins so, behind the first `from` lines; gives its place.
    fn hears(&mut self, begin: &str, from: usize) -> usize {
        let found = wait::becomes_so(secs(40), &mut || self.listen().iter().skip(from).any(|line| line.starts_with(begin)));
        assert!(found, "{begin} was not said: {:?}", self.said);
        from + self.said[from..].iter().position(|line| line.starts_with(begin)).unwrap()
    }

    fn has_heard(&mut self, line: &str) -> bool {
        self.listen().iter().any(|said| said == line)
    }
}

fn launch(site: &mut Site, notify: &str, arguments: &[&str]) {
    let mut command = site.command(arguments);
    command.env("NOTIFY_SOCKET", notify);
    let log = fs::File::create(site.path("log")).unwrap();
    site.launch_by(command, Stdio::from(log.try_clone().unwrap()), Stdio::from(log));
}

fn prepare(behaviour: &str) -> Site {
    let site = Site::prepare("processes = 2\nprobation = \"1ms\"\nbind = \"unix\"");
    site.release("1", behaviour);
    site.flip("1");
    site
}

#[test]
fn a_server_is_ready_when_its_apps_have_started_and_says_what_it_does_until_it_stops() {
    let mut site = prepare("boot_waits");
    let path = site.path("notify");
    let mut ear = Ear::at(UnixDatagram::bind(&path).unwrap());
    launch(&mut site, &path.display().to_string(), &["serve"]);
    let extended = ear.hears("EXTEND_TIMEOUT_USEC=", 0);
    let micros: u64 = ear.said[extended].rsplit('=').next().unwrap().parse().unwrap();
    assert!(micros >= 30_000_000, "{micros}");
    ear.hears("STATUS=serves 0 of 1 app; app: start of g1, 0 of 2, 1 boot", 0);
    assert!(!ear.has_heard("READY=1"), "{:?}", ear.said);
    site.open("boot-1");
    let ready = ear.hears("READY=1", 0);
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
    ear.hears("STATUS=serves 1 of 1 app", ready);

    site.release("2", "boot_waits");
    site.flip("2");
    site.rota(&["restart", "app", "--no-wait"]).expect(0);
    let at = ear.listen().len();
    ear.hears("STATUS=serves 1 of 1 app; app: restart of g2, 0 of 2, 1 boot", at.saturating_sub(2));
    site.open("boot-2");

    // A reload by signal is a time of its own.
    let at = ear.listen().len();
    site.signal(Signal::HUP);
    let reloading = ear.hears("RELOADING=1", at);
    assert!(ear.said[reloading + 1].strip_prefix("MONOTONIC_USEC=").is_some_and(|micros| micros.parse::<u64>().is_ok()), "{:?}", ear.said);
    ear.hears("READY=1", reloading);
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    fs::write(site.path("rota.toml"), format!("{config}\n[nothing]\n")).unwrap();
    let at = ear.listen().len();
    site.signal(Signal::HUP);
    let reloading = ear.hears("RELOADING=1", at);
    let ready = ear.hears("READY=1", reloading);
    ear.hears("STATUS=reload refused: ", ready);

    let at = ear.listen().len();
    site.signal(Signal::TERM);
    ear.hears("STOPPING=1", at);
    assert_eq!(site.wait_end(secs(40)), Some(0));
}

#[test]
fn a_reload_by_signal_is_over_when_what_it_restarts_has_restarted() {
    let mut site = prepare("");
    let path = site.path("notify");
    let mut ear = Ear::at(UnixDatagram::bind(&path).unwrap());
    launch(&mut site, &path.display().to_string(), &["serve"]);
    ear.hears("READY=1", 0);
    site.release("2", "boot_waits");
    site.flip("2");
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    fs::write(site.path("rota.toml"), config.replace("bind = \"unix\"", "bind = \"unix\"\nnice = 1")).unwrap();
    let at = ear.listen().len();
    site.signal(Signal::HUP);
    let reloading = ear.hears("RELOADING=1", at);
    ear.hears("EXTEND_TIMEOUT_USEC=", reloading);
    ear.hears("STATUS=serves 1 of 1 app; app: restart of g2, 0 of 2, 1 boot", reloading);
    assert!(!ear.said[reloading..].contains(&"READY=1".to_owned()), "{:?}", ear.said);
    site.open("boot-2");
    ear.hears("READY=1", reloading);
}

#[test]
fn an_app_that_does_not_start_keeps_nobody_from_being_ready() {
    let mut site = prepare("exit_at_boot 3");
    let path = site.path("notify");
    let mut ear = Ear::at(UnixDatagram::bind(&path).unwrap());
    launch(&mut site, &path.display().to_string(), &["serve"]);
    ear.hears("READY=1", 0);
    assert!(site.log().contains("exit status 3"), "it had its try: {}", site.log());
}

#[test]
fn who_only_wants_to_know_of_the_listeners_is_told_at_once_by_an_abstract_name() {
    let mut site = prepare("hang_at_boot");
    let name = format!("rota-it-{}-{}", std::process::id(), site.addr.port());
    let mut ear = Ear::at(UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap());
    launch(&mut site, &format!("@{name}"), &["serve", "--ready", "listening"]);
    ear.hears("READY=1", 0);
    assert!(std::net::TcpStream::connect(site.addr).is_ok());
    assert_eq!(site.serving(1).len(), 0);
}

#[test]
fn as_the_first_process_of_a_container_it_reaps_what_is_left_to_it_and_ends_by_term() {
    // Only root can have processes counted from 1.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut site = prepare("leaves_sessions");
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(env!("CARGO_BIN_EXE_rota"));
    command.arg("serve").arg("--config").arg(site.path("rota.toml"));
    let log = fs::File::create(site.path("log")).unwrap();
    site.launch_by(command, Stdio::from(log.try_clone().unwrap()), Stdio::from(log));
    wait::until("the app answers", secs(60), || wire::get(site.addr, "/").is_ok_and(|reply| reply.status == 200));
    let inside = children(site.pid());
    assert_eq!(inside.len(), 1, "unshare has one child, which is process 1 there");
    let rota = |arguments: &[&str]| {
        let mut command = Command::new("nsenter");
        command.args(["--pid", "--mount", "--target", &inside[0].to_string(), env!("CARGO_BIN_EXE_rota")]).args(arguments);
        let output = command.arg("--config").arg(site.path("rota.toml")).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let status = || serde_json::from_str::<serde_json::Value>(&rota(&["status", "--json"])).unwrap();
    wait::until("both serve", secs(40), || status()["apps"][0]["walk"].is_null());
    assert_eq!(status()["pid"], 1);
    let outside = site.rota(&["status"]);
    assert!(outside.status == Some(1) && outside.err.contains("commands are taken from where rota runs"), "{outside:?}");
    // Somebody comes in from outside, leaves a process behind, and that ends.
    let nsenter = |script: &str| {
        let status =
            Command::new("nsenter").args(["--pid", "--mount", "--target", &inside[0].to_string(), "sh", "-c", script]).status().unwrap();
        assert!(status.success());
    };
    nsenter("for one in 1 2; do (perl -e 'select undef, undef, undef, 0.2' &); done");
    let zombies = || children(inside[0]).into_iter().filter(|pid| state(*pid) == Some('Z')).count();
    wait::until("what was left to it has ended", secs(20), || children(inside[0]).iter().all(|pid| !is(*pid, "perl")));
    wait::until("nothing is left dead", secs(20), || zombies() == 0);
    rota(&["restart", "app"]);
    wait::until("nothing is left dead", secs(20), || zombies() == 0);
    kill(inside[0], Signal::TERM);
    assert_eq!(site.wait_end(secs(40)), Some(0));
    assert!(site.log().contains("listens on"), "{}", site.log());
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let all = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok()).collect::<String>();
    if all.is_empty() { &text } else { &all }.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn state(pid: u32) -> Option<char> {
    fs::read_to_string(format!("/proc/{pid}/stat")).ok()?.rsplit_once(") ")?.1.chars().next()
}

fn is(pid: u32, name: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
}

/// A server of `rota up`, which is ended whatever comes of the test.
struct Up(Child);

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn up(directory: &Path, temporary: &Path, arguments: &[&str]) -> (Up, std::path::PathBuf) {
    let said = temporary.with_extension("said");
    let out = fs::File::create(&said).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rota"));
    command.arg("up").arg(directory).args(arguments).env("TMPDIR", temporary).stdin(Stdio::null());
    command.env("IT_SITE", temporary).stdout(Stdio::from(out.try_clone().unwrap())).stderr(Stdio::from(out));
    (Up(command.spawn().unwrap()), said)
}

/// A Procfile's app.
fn app(dir: &Path) {
    fs::create_dir(dir).unwrap();
    fs::write(dir.join("Procfile"), "web: perl says.pl\n").unwrap();
    let says = r#"use Socket; socket(my $s, AF_INET, SOCK_STREAM, 0) or die; setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
        bind($s, sockaddr_in($ENV{PORT}, INADDR_LOOPBACK)) or die "bind: $!"; listen($s, 64) or die;
        while (accept(my $c, $s)) { my $h = ""; while ($h !~ /\r\n\r\n/) { sysread($c, $h, 4096, length $h) or last }
        syswrite($c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nup"); close $c }"#;
    fs::write(dir.join("says.pl"), says).unwrap();
}

#[test]
fn an_app_is_served_without_any_file_and_nothing_is_left_of_it() {
    let dir = tempfile::Builder::new().prefix("rup-").tempdir_in("/tmp").unwrap();
    let (root, temporary) = (dir.path().join("shop"), dir.path().join("t"));
    app(&root);
    fs::create_dir(&temporary).unwrap();
    let addr = ports::free();
    let (mut server, said) = up(&root, &temporary, &["--listen", &addr.to_string()]);
    wait::until("it answers", secs(40), || wire::get(addr, "/").is_ok_and(|reply| reply.text() == "up"));
    let text = fs::read_to_string(&said).unwrap();
    assert!(
        text.contains("shop: runs perl says.pl, by the web line of the Procfile") && text.contains(&format!("http://{addr}/")),
        "{text}"
    );
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 1, "its directory");
    kill(server.0.id(), Signal::INT);
    let status = wait::found("it ends", secs(40), || server.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{}", fs::read_to_string(&said).unwrap());
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "nothing is left");
    let needle = format!("IT_SITE={}", temporary.display());
    let left = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        fs::read(entry.path().join("environ")).unwrap_or_default().split(|byte| *byte == 0).any(|variable| variable == needle.as_bytes())
    });
    assert_eq!(left.count(), 0, "no process is left");
}

#[test]
fn a_directory_that_cannot_be_served_says_why_and_a_port_that_is_taken_too() {
    let dir = tempfile::Builder::new().prefix("rup-").tempdir_in("/tmp").unwrap();
    let (root, temporary) = (dir.path().join("shop"), dir.path().join("t"));
    fs::create_dir(&root).unwrap();
    fs::create_dir(&temporary).unwrap();
    let ends = |arguments: &[&str]| {
        let (mut server, said) = up(&root, &temporary, arguments);
        let status = wait::found("it ends", secs(40), || server.0.try_wait().unwrap());
        (status.code(), fs::read_to_string(said).unwrap())
    };
    let (status, said) = ends(&[]);
    assert!(status == Some(1) && said.contains("shop"), "{said}");
    fs::remove_dir(&root).unwrap();
    app(&root);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (status, said) = ends(&["--listen", &taken.local_addr().unwrap().to_string()]);
    assert!(status == Some(1) && said.contains("in use"), "{said}");
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "nothing is left");
}
