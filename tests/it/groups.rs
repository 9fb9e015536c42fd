//! What the kernel holds a process to by its control group (cgroups(7), version 2), where the controllers can be had: a machine that has them for
//! version 1 alone shows nothing of this. tests/vm/run starts one that has them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use crate::site::Site;
use crate::wait::{self, millis, secs};
use crate::wire;

/// Answers on $PORT. /bomb starts processes for as long as it may, /eat takes 400 MiB, /spin takes a processor.
const APP: &str = r#"
use Socket;
socket(my $s, AF_INET, SOCK_STREAM, 0) or die; setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
bind($s, sockaddr_in($ENV{PORT}, INADDR_LOOPBACK)) or die "bind: $!"; listen($s, 64) or die;
$SIG{CHLD} = "IGNORE";
while (1) {
    accept(my $client, $s) or next;
    my $head = "";
    while ($head !~ /\r\n\r\n/) { sysread($client, $head, 4096, length $head) or last }
    my ($path) = $head =~ /^GET (\S+)/ or next;
    my $said = "ok";
    if ($path eq "/bomb") { my $count = 0; while (defined(my $child = fork)) { $child or exec "/bin/sleep", "1000"; ++$count < 2000 or last } $said = $count }
    if ($path eq "/eat") { my @all; push @all, "x" x 10_000_000 for 1 .. 40; }
    if ($path eq "/spin" && !fork) { close $s; 1 while 1 }
    syswrite($client, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " . length($said) . "\r\n\r\n$said");
    close $client;
}
"#;

/// None, and said so: there are no such controllers for rota here.
fn serve(keys: &str, controller: &str) -> Option<Site> {
    let mut site = Site::with_app(&format!("command = \"perl app.pl\"\nbind = \"port\"\nprobation = \"100ms\"\n{keys}"), "");
    fs::create_dir(site.path("releases/1")).unwrap();
    fs::write(site.path("releases/1/app.pl"), APP).unwrap();
    site.flip("1");
    let log = fs::File::create(site.path("log")).unwrap();
    site.launch_by(site.command(&["serve"]), Stdio::from(log.try_clone().unwrap()), Stdio::from(log));
    site.wait_served();
    let has = site.log().lines().any(|line| line.split_once("limits of the kernel's: ").is_some_and(|(_, all)| all.contains(controller)));
    if !has {
        println!("SKIPPED: rota may have no control groups with the controller {controller} here");
    }
    has.then_some(site)
}

fn pids(site: &Site) -> Vec<u32> {
    site.processes().into_iter().map(|(_, _, pid, _)| pid).collect()
}

/// The directory of a process's group.
fn group(pid: u32) -> PathBuf {
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let below = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap().to_owned();
    let tops = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
    tops.iter().map(|top| top.join(&below)).find(|dir| dir.join("cgroup.procs").exists()).unwrap()
}

fn number(file: &Path, key: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("no {key:?} in {text}"));
    line.trim().parse().unwrap()
}

#[test]
fn a_fork_bomb_ends_where_its_limit_is_and_the_others_serve() {
    let Some(mut site) = serve("processes = 2\nlimits.processes = 20\n", "pids") else { return };
    let answer = wire::get(site.addr, "/bomb").unwrap();
    let started: u64 = answer.text().parse().unwrap();
    assert!((20..=160).contains(&started), "{started} were started");
    let bombed = pids(&site).into_iter().map(group).find(|group| number(&group.join("pids.current"), "") > 20).unwrap();
    assert!(number(&bombed.join("pids.events"), "max ") > 0);
    for _ in 0..10 {
        assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
    }
    site.rota(&["restart", "app"]).expect(0);
    wait::until("all of it has ended, and its group with it", secs(20), || !bombed.exists());
    site.signal(rustix::process::Signal::TERM);
    assert_eq!(site.wait_end(secs(30)), Some(0));
}

#[test]
fn what_takes_too_much_memory_at_once_is_killed_alone_and_named() {
    let Some(site) = serve("processes = 2\nmemory_limit_hard = \"100M\"\n", "memory") else { return };
    let before = pids(&site);
    let answer = wire::get(site.addr, "/eat");
    assert!(answer.as_ref().is_ok_and(|answer| answer.status == 502), "{answer:?}");
    wait::until("it is replaced", secs(20), || site.processes().iter().filter(|(_, _, _, state)| state == "serving").count() == 2);
    let stayed = pids(&site).iter().filter(|pid| before.contains(pid)).count();
    assert_eq!(stayed, 1, "{}", site.log());
    let said = || site.log().lines().any(|line| line.contains("for its memory") && line.contains("memory_limit_hard"));
    wait::until("it is said", secs(10), said);
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
}

#[test]
fn a_process_has_as_much_of_a_processor_as_its_limit_says() {
    let Some(site) = serve("processes = 1\nlimits.cpu = \"20%\"\n", "cpu") else { return };
    wire::get(site.addr, "/spin").unwrap();
    let stat = group(pids(&site)[0]).join("cpu.stat");
    let (used, since) = (number(&stat, "usage_usec "), Instant::now());
    wait::until("it was held back for a while", secs(60), || {
        std::thread::sleep(millis(100));
        since.elapsed() >= secs(3) && number(&stat, "nr_throttled ") > 10
    });
    let share = (number(&stat, "usage_usec ") - used) as f64 / since.elapsed().as_micros() as f64;
    assert!(share < 0.3, "{share} of a processor");
    wait::until("the status says so", secs(20), || {
        let cpu = site.status()["apps"][0]["processes"][0]["cpu"].as_f64().unwrap_or(0.0);
        (1.0..40.0).contains(&cpu)
    });
}
