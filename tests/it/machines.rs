//! More than one machine: what balancers are told of a rota that is drained, that stops and that starts; two of them behind HAProxy and behind
//! nginx, as the documents have it, each in turn drained and started anew under load.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal};

use crate::documents::configuration;
use crate::ports;
use crate::site::Site;
use crate::traffic::{ALL, Kind, Load, names};
use crate::wait::{self, secs};
use crate::wire::{self, Wire, kept};

const APP: &str = "processes = 1\nconcurrency = 50\nbind = \"unix\"\nprobation = \"1ms\"";

/// A rota with a health path, and an agent at the address behind it.
fn machine(keys: &str) -> (Site, SocketAddr) {
    let agent = ports::free();
    (Site::start(&format!("{APP}\nserver.health = \"/rota-health\"\nserver.agent = \"{agent}\"\n{keys}")), agent)
}

/// What the agent says; nothing: nobody is there.
fn told(agent: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(agent).ok()?;
    stream.set_read_timeout(Some(secs(20))).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn health(site: &Site) -> u16 {
    wire::get(site.addr, "/rota-health").unwrap().status
}

#[test]
fn the_agent_says_how_rota_is_and_a_reload_leaves_it_drained() {
    let (mut site, agent) = machine("");
    assert_eq!((told(agent).as_deref(), health(&site)), (Some("ready up\n"), 200));
    let said = site.rota(&["drain"]);
    assert_eq!(said.expect(0).out, format!("drained: /rota-health answers 503, the agent on {agent} says drain; rota undrain ends it\n"));
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    fs::write(site.path("rota.toml"), config.replace("processes = 1", "processes = 2")).unwrap();
    site.rota(&["reload"]).expect(0);
    assert_eq!((told(agent).as_deref(), health(&site)), (Some("drain\n"), 503));
    assert_eq!((site.status()["drained"].as_bool(), wire::get(site.addr, "/").unwrap().status), (Some(true), 200));
    site.rota(&["undrain"]).expect(0);
    assert_eq!((told(agent).as_deref(), health(&site)), (Some("ready up\n"), 200));

    // A request holds it.
    let mut held = Wire::connect(site.addr).unwrap();
    held.send(b"GET /hold?name=gate&mark=held HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    wait::until("it is with the app", secs(20), || site.marks() == ["held"]);
    site.signal(Signal::TERM);
    wait::until("it stops", secs(20), || site.log().contains("stopping: "));
    assert_eq!(told(agent).as_deref(), Some("maint\n"));
    site.open("gate");
    assert_eq!(held.reply(false).unwrap().status, 200);
    assert_eq!(site.wait_end(secs(60)), Some(0));
    assert_eq!(told(agent), None);
    site.launch();
    site.wait_served();
    assert_eq!(told(agent).as_deref(), Some("ready up\n"), "a rota that is started is not drained");
}

#[test]
fn the_agent_says_down_where_no_app_serves() {
    let agent = ports::free();
    let mut site = Site::prepare(&format!("{APP}\nready.timeout = \"2s\"\nserver.agent = \"{agent}\""));
    site.release("1", "exit_at_boot 1");
    site.flip("1");
    site.launch();
    wait::until("it says so", secs(60), || told(agent).is_some_and(|line| line == "ready down#no process of any app serves\n"));
}

#[test]
fn the_agent_comes_and_goes_by_a_reload_and_its_port_keeps_nobody_from_being_served() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (agent, other) = (taken.local_addr().unwrap(), ports::free());
    let site = Site::start(&format!("{APP}\nserver.agent = \"{agent}\""));
    assert!(site.log().contains(&format!("server.agent {agent}: Address already in use")), "{}", site.log());
    drop(taken);
    wait::until("it is tried again", secs(20), || told(agent).as_deref() == Some("ready up\n"));
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    fs::write(site.path("rota.toml"), config.replace(&agent.to_string(), &other.to_string())).unwrap();
    let said = site.rota(&["reload"]);
    assert!(said.expect(0).out.ends_with("server: agent: at once\n"), "{}", said.out);
    wait::until("the other port is asked", secs(20), || told(other).as_deref() == Some("ready up\n"));
    assert_eq!(told(agent), None);
    fs::write(site.path("rota.toml"), config.replace(&format!("agent = \"{agent}\"\n"), "")).unwrap();
    site.rota(&["reload"]).expect(0);
    wait::until("nothing is asked any more", secs(20), || told(other).is_none());
    assert_eq!(
        site.rota(&["drain"]).expect(1).err,
        "rota: neither server.health nor server.agent is there: no balancer would hear of it\n"
    );
}

#[test]
fn who_asks_the_agent_and_stays_holds_up_nobody() {
    let (site, agent) = machine("");
    let strangers: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(agent).unwrap()).collect();
    let mut talker = TcpStream::connect(agent).unwrap();
    let _ = talker.write_all(&vec![b'x'; 1 << 20]);
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(told(agent).as_deref(), Some("ready up\n"));
        assert_eq!(Wire::connect(site.addr).unwrap().ask(&kept("/")).unwrap().status, 200);
    }
    // What HAProxy's agent-send sends first.
    let mut stream = TcpStream::connect(agent).unwrap();
    stream.write_all(b"blog\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "ready up\n");
    assert!(begun.elapsed() < secs(20));
    // All are gone within their time, though they hold their side open.
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", site.pid())).unwrap().count();
    let held = descriptors();
    wait::until("nobody is waited for", secs(20), || descriptors() + 20 < held || held < 100);
    drop(strangers);
}

#[test]
fn a_drain_is_waited_for_until_nothing_comes_and_for_no_longer_than_that() {
    let (site, _) = machine("");
    let mut held = Wire::connect(site.addr).unwrap();
    held.send(b"GET /hold?name=gate&mark=held HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    wait::until("it is with the app", secs(20), || site.marks() == ["held"]);
    let said = site.rota(&["drain", "--wait", "--quiet", "100ms", "--for", "500ms"]);
    assert!(said.expect(9).err.contains("not quiet after 0.5 s: 1 request is with an app; it stays drained"), "{}", said.err);
    let waiting = site.command(&["drain", "--wait", "--quiet", "500ms", "--for", "60s"]).stdout(Stdio::piped()).spawn().unwrap();
    // What asks for the health is no request.
    assert_eq!(health(&site), 503);
    site.open("gate");
    assert_eq!(held.reply(false).unwrap().status, 200);
    let output = waiting.wait_with_output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(out.contains("\nquiet: no request came for 0.5 s; "), "{out}");
}

#[test]
fn a_request_for_a_file_is_one_that_a_drain_waits_for() {
    let site = Site::prepare(&format!("{APP}\npublic = \"public\"\nserver.health = \"/rota-health\""));
    site.release("1", "");
    fs::create_dir(site.path("releases").join("1/public")).unwrap();
    fs::write(site.path("releases").join("1/public/a.txt"), "of a file").unwrap();
    site.flip("1");
    let site = site.serve();
    let mut waiting = site.command(&["drain", "--wait", "--quiet", "2s", "--for", "5s"]).stderr(Stdio::piped()).spawn().unwrap();
    while waiting.try_wait().unwrap().is_none() {
        assert_eq!(wire::get(site.addr, "/a.txt").unwrap().text(), "of a file");
    }
    let output = waiting.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(9), "{said}");
    assert!(said.contains("requests came until a moment ago"), "{said}");
}

/// A balancer, which ends with the processes that it has started.
struct Balancer(Child);

impl Balancer {
    fn start(command: &mut Command, addr: SocketAddr) -> Self {
        let balancer = Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        wait::until("the balancer serves", secs(30), || wire::get(addr, "/").is_ok_and(|reply| reply.status == 200));
        balancer
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let _ = self.0.wait();
    }
}

/// Those that end by themselves in a moment, or are begun again by their client.
fn kinds() -> Vec<Kind> {
    ALL.into_iter().filter(|(name, _)| ["fresh", "kept", "post", "upload", "long"].contains(name)).collect()
}

/// Requests that this machine has answered: who gets some is in.
fn served(site: &Site) -> u64 {
    let processes = &site.status()["apps"][0]["processes"];
    processes.as_array().unwrap().iter().map(|process| process["processed"].as_u64().unwrap()).sum()
}

fn gets_requests(site: &Site) {
    let before = served(site);
    wait::until("requests come to this machine", secs(60), || served(site) > before + 5);
}

/// Ends this machine, and starts it anew.
fn restart(site: &mut Site) {
    site.rota(&["stop"]).expect(0);
    assert_eq!(site.wait_end(secs(60)), Some(0));
    site.launch();
    site.wait_served();
}

/// State of a server, as HAProxy's statistics have it.
fn state_at_haproxy(socket: &Path, server: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(b"show stat\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let row = text.lines().find(|line| line.starts_with(&format!("machines,{server},"))).unwrap();
    row.split(',').nth(17).unwrap().to_owned()
}

#[test]
fn each_machine_in_turn_is_drained_and_restarted_behind_haproxy() {
    let (one, two) = (machine(""), machine(""));
    let (addr, socket) = (ports::free(), one.0.path("haproxy.sock"));
    // The documents' own, with the places of this machine.
    let config = configuration("haproxy", "agent-check").replace(":8089", &addr.to_string()).replace(" agent-port 9001", "");
    let with_agent = |(site, agent): &(Site, SocketAddr)| format!("{} agent-port {}", site.addr, agent.port());
    let config = config.replace("192.0.2.10:80", &with_agent(&one)).replace("192.0.2.11:80", &with_agent(&two));
    let path = one.0.path("haproxy.cfg");
    let head = format!("global\n  stats socket {} level admin\n", socket.display());
    let times = "defaults\n    timeout connect 5s\n    timeout client 30s\n    timeout server 30s\n";
    fs::write(&path, format!("{head}{}", config.replacen("defaults\n", times, 1))).unwrap();
    let _balancer = Balancer::start(Command::new("/usr/sbin/haproxy").args(["-db", "-f"]).arg(&path), addr);
    let load = Load::start(addr, &kinds());
    let mut machines = [("one", one.0), ("two", two.0)];
    machines.iter().for_each(|(_, site)| gets_requests(site));
    for (name, site) in &mut machines {
        site.rota(&["drain", "--wait", "--quiet", "1s", "--for", "60s"]).expect(0);
        assert!(state_at_haproxy(&socket, name).starts_with("DRAIN"), "{}", state_at_haproxy(&socket, name));
        restart(site);
        wait::until("it is taken back", secs(60), || state_at_haproxy(&socket, name) == "UP");
        gets_requests(site);
        // Without a drain before it: from its first moment it says that it stops.
        restart(site);
        wait::until("it is taken back", secs(60), || state_at_haproxy(&socket, name) == "UP");
        gets_requests(site);
    }
    load.stop().expect_no_failure(&names(&kinds()));
}

#[test]
fn each_machine_in_turn_is_restarted_behind_nginx_and_drained_where_it_is_told() {
    let (one, two) = (machine("").0, machine("").0);
    let (addr, at) = (ports::free(), one.path("nginx"));
    fs::create_dir(&at).unwrap();
    let dir = at.display();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let temporary: String =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {dir}/{kind};\n")).concat();
    let own = configuration("nginx", "upstream machines").replace("listen 80;", &format!("listen {addr};"));
    let own = own.replace("192.0.2.10:80", &one.addr.to_string()).replace("192.0.2.11:80", &two.addr.to_string());
    let head = format!("{user} daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/log;\nevents {{}}\n");
    let write = |own: &str| fs::write(at.join("nginx.conf"), format!("{head}http {{ access_log off; {temporary}\n{own}\n}}\n")).unwrap();
    write(&own);
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-p").arg(&at).arg("-c").arg(at.join("nginx.conf")).arg("-e").arg(at.join("log"));
    let balancer = Balancer::start(&mut command, addr);
    let mut machines = [one, two];
    // A reload of nginx closes the kept connections of its clients.
    let fresh: Vec<Kind> = kinds().into_iter().filter(|(name, _)| *name != "kept").collect();
    let load = Load::start(addr, &fresh);
    machines.iter().for_each(gets_requests);
    for site in &mut machines {
        let server = format!("server {} ", site.addr);
        write(&own.replace(&server, &format!("{server}down ")));
        balancer.signal(Signal::HUP);
        site.rota(&["drain", "--wait", "--quiet", "1s", "--for", "60s"]).expect(0);
        restart(site);
        write(&own);
        balancer.signal(Signal::HUP);
        gets_requests(site);
    }
    load.stop().expect_no_failure(&names(&fresh));
    // Nobody tells nginx: its connections are refused, and it asks the other machine.
    let load = Load::start(addr, &kinds());
    machines.iter().for_each(gets_requests);
    for site in &mut machines {
        restart(site);
        // Connections of before the start may come through; nginx itself takes it back after fail_timeout, which is in whole seconds.
        let begun = Instant::now();
        wait::until("nginx has taken it back", secs(60), || begun.elapsed() > secs(4));
        gets_requests(site);
    }
    load.stop().expect_no_failure(&names(&kinds()));
}
