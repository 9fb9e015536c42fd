//! Every process is owned: whatever descends from a process of an app ends with it, in whatever session it is, whoever its parent is now; with
//! control groups, which are used where the tests may make them, and without.

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::site::{Site, kill};
use crate::wait::{self, secs};

/// Answers on $PORT, and starts as many helpers as there are ways to leave a parent; each writes down what it is and its number.
const APP: &str = r#"
use POSIX; use Socket;
$| = 1;
my $pids = "$ENV{FIXTURE_DIR}/pids";
sub lives { open(my $f, ">>", $pids) or die; syswrite $f, "$_[0] $$\n"; close $f; exec "/bin/sleep", "100000" }
sub twice { my $work = shift; if (my $first = fork) { waitpid $first, 0; return } POSIX::setsid(); POSIX::_exit(0) if fork; $work->() }
my %ways = (
    group => sub { return if fork; lives("group") },
    own_session => sub { return if fork; POSIX::setsid(); lives("own_session") },
    own_group => sub { return if fork; setpgrp(0, 0); lives("own_group") },
    orphan => sub { my $first = fork; if ($first) { waitpid $first, 0; return } POSIX::_exit(0) if fork; lives("orphan") },
    daemon => sub { twice(sub { chdir "/"; open STDIN, "</dev/null"; open STDOUT, ">/dev/null"; open STDERR, ">/dev/null"; lives("daemon") }) },
    second_session => sub { twice(sub { POSIX::setsid(); lives("second_session") }) },
    deaf => sub { twice(sub { $SIG{TERM} = $SIG{HUP} = $SIG{INT} = "IGNORE"; lives("deaf") }) },
    many => sub { for (1 .. 200) { next if fork; POSIX::setsid(); $SIG{TERM} = "IGNORE"; lives("many") } },
    without_environment => sub { twice(sub { %ENV = (); lives("without_environment") }) },
    as_another => sub { return if fork; POSIX::setsid(); my @nobody = getpwnam("nobody"); POSIX::setuid($nobody[2]); lives("as_another") },
);
my %late;
for my $way (split / /, $ENV{WAYS}) { $ways{$way}->() }
sub listens { socket(my $s, AF_INET, SOCK_STREAM, 0) or die; setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
    bind($s, sockaddr_in($ENV{PORT}, INADDR_LOOPBACK)) or die "bind: $!"; listen($s, 64) or die; $s }
sub serves { my $s = shift;
    while (1) {
        accept(my $client, $s) or next;
        my $head = "";
        while ($head !~ /\r\n\r\n/) { sysread($client, $head, 4096, length $head) or last }
        my ($path) = $head =~ /^GET (\S+)/ or next;
        $ways{$1}->() if $path =~ m{^/(\w+)$};
        syswrite($client, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        close $client;
    } }
if (($ENV{SERVES} // "") eq "child") { my $p = fork; if ($p) { waitpid $p, 0; exit } POSIX::setsid() }
if (($ENV{SERVES} // "") eq "background") { my $p = fork; POSIX::_exit($ENV{STATUS} // 0) if $p; POSIX::setsid(); POSIX::_exit(0) if fork;
    open(my $f, ">>", $pids); syswrite $f, "background $$\n"; close $f;
    open STDIN, "</dev/null"; open STDOUT, ">/dev/null"; open STDERR, ">/dev/null" }
serves(listens());
"#;

const KEYS: &str = "bind = \"port\"\nprobation = \"100ms\"\nready.timeout = \"20s\"\n";
const WAYS: [&str; 8] = ["group", "own_session", "own_group", "orphan", "daemon", "second_session", "deaf", "without_environment"];

/// How rota finds what belongs to a process.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    /// With control groups where they can be had.
    Groups,
    Descent,
}

fn prepare(by: By, keys: &str, command: &str, env: &str) -> Site {
    let timeout = if keys.contains("stop.timeout") { "" } else { "stop.timeout = \"400ms\"\n" };
    let processes = if keys.contains("processes = 2") { "" } else { "processes = 1\n" };
    let mut site = Site::with_app(&format!("command = {command:?}\n{KEYS}{timeout}{processes}{keys}"), env);
    fs::create_dir(site.path("releases/1")).unwrap();
    fs::write(site.path("releases/1/app.pl"), APP).unwrap();
    site.flip("1");
    launch(&mut site, by);
    site
}

fn launch(site: &mut Site, by: By) {
    let mut command = site.command(&["serve"]);
    if by == By::Descent {
        command.env("ROTA_FAULT_NO_CGROUPS", "1");
    }
    let log = fs::File::options().create(true).append(true).open(site.path("log")).unwrap();
    site.launch_by(command, Stdio::from(log.try_clone().unwrap()), Stdio::from(log));
}

fn serve(by: By, keys: &str, ways: &[&str]) -> Site {
    let site = prepare(by, keys, "perl app.pl", &format!("WAYS = {:?}\n", ways.join(" ")));
    site.wait_served();
    site
}

/// Those that were written down and live, in words.
fn alive(site: &Site) -> Vec<String> {
    let text = fs::read_to_string(site.path("shared/pids")).unwrap_or_default();
    text.lines().filter(|line| line.split(' ').nth(1).is_some_and(lives)).map(str::to_owned).collect()
}

fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

fn wait_alive(site: &Site, what: &str, count: usize) {
    if !wait::becomes_so(secs(15), &mut || alive(site).len() == count) {
        panic!("{what}: {count} were to live, and these do: {:?}", alive(site));
    }
}

fn leader(site: &Site) -> u32 {
    site.serving(site.processes().last().unwrap().1)[0]
}

/// What an app has started ends with its process, however that ends, and with rota, however that ends.
fn all_of_it_ends(by: By) {
    let mut site = serve(by, "", &WAYS);
    wait_alive(&site, "at first", WAYS.len());
    for _ in 0..2 {
        site.rota(&["restart", "app"]).expect(0);
        wait_alive(&site, "behind a restart", WAYS.len());
    }
    let pid = leader(&site);
    kill(pid, Signal::KILL);
    wait::until("another serves", secs(15), || site.processes().iter().any(|(_, _, other, state)| *other != pid && state == "serving"));
    wait_alive(&site, "behind a crash", WAYS.len());
    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(20)), Some(0));
    assert_eq!(alive(&site), [""; 0], "behind the end of rota");

    launch(&mut site, by);
    site.wait_served();
    wait_alive(&site, "at the second start", WAYS.len());
    site.signal(Signal::KILL);
    site.wait_end(secs(20));
    // By its environment the keeper knows an orphan; of one that has none and was never seen with its parent nothing is known without rota.
    let left =
        || alive(&site).into_iter().filter(|one| by == By::Groups && has_groups(&site) || !one.starts_with("without_environment")).count();
    wait::until("the keeper has ended them", secs(15), || left() == 0);
    for one in alive(&site) {
        kill(one.split(' ').nth(1).unwrap().parse().unwrap(), Signal::KILL);
    }
}

/// The machine lets rota make control groups.
fn has_groups(site: &Site) -> bool {
    site.log().contains("each process has a control group")
}

#[test]
fn all_that_a_process_has_started_ends_with_it() {
    all_of_it_ends(By::Groups);
}

#[test]
fn all_that_a_process_has_started_ends_with_it_without_control_groups_too() {
    all_of_it_ends(By::Descent);
}

#[test]
fn of_two_processes_each_has_its_own() {
    for by in [By::Groups, By::Descent] {
        let site = serve(by, "processes = 2\n", &WAYS[..7]);
        wait_alive(&site, "of two", 14);
        let (_, _, pid, _) = site.processes().remove(0);
        let before = alive(&site);
        kill(pid, Signal::KILL);
        wait::until("it is replaced", secs(15), || {
            let processes = site.processes();
            processes.len() == 2 && processes.iter().all(|(_, _, other, state)| *other != pid && state == "serving")
        });
        wait_alive(&site, "of two again", 14);
        let stayed = alive(&site).iter().filter(|one| before.contains(one)).count();
        assert_eq!(stayed, 7, "{by:?}: the other's live on");
    }
}

#[test]
fn what_has_become_another_user_ends_as_well() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for by in [By::Groups, By::Descent] {
        let site = serve(by, "", &["as_another"]);
        fs::set_permissions(site.path("shared"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        wait::until("it is restarted", secs(20), || site.rota(&["restart", "app"]).status == Some(0));
        let mut site = site;
        site.signal(Signal::TERM);
        site.wait_end(secs(20));
        assert_eq!(alive(&site), [""; 0]);
    }
}

#[test]
fn the_status_counts_all_that_comes_of_a_process() {
    for by in [By::Groups, By::Descent] {
        let site = serve(by, "", &WAYS[..7]);
        wait_alive(&site, "at first", 7);
        let children = || site.status()["apps"][0]["processes"][0]["children"].as_u64();
        wait::until("all are counted", secs(15), || children() == Some(7));
    }
}

#[test]
fn a_listener_with_a_session_of_its_own_is_the_app_s() {
    for by in [By::Groups, By::Descent] {
        let site = prepare(by, "", "perl app.pl", "WAYS = \"\"\nSERVES = \"child\"\n");
        site.wait_served();
    }
}

/// One that puts itself into the background is named, with what helps, and stays behind no failure.
fn background(by: By, command: &str, env: &str, helps: &str) {
    let mut site = prepare(by, "", command, &format!("WAYS = \"\"\n{env}"));
    let said = |site: &Site| site.log().lines().any(|line| line.contains("went into the background (pid ") && line.contains(helps));
    wait::until("it is said", secs(20), || said(&site));
    let failure = || site.status()["apps"][0]["last_failure"].to_string();
    wait::until("the status says so", secs(10), || failure().contains("went into the background"));
    // Each try is one more of them; the one before is gone.
    let tries = || site.log().lines().filter(|line| line.contains("went into the background (pid ")).count();
    wait::until("it was tried again", secs(30), || {
        assert!(alive(&site).len() <= 1, "{:?}", alive(&site));
        tries() >= 3
    });
    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(20)), Some(0));
    assert_eq!(alive(&site), [""; 0]);
}

#[test]
fn a_command_that_goes_into_the_background_is_named_and_nothing_of_it_stays() {
    background(By::Groups, "perl app.pl --daemon", "SERVES = \"background\"\n", "drop --daemon");
    background(By::Descent, "perl app.pl", "SERVES = \"background\"\n", "it has to stay in the foreground");
}

#[test]
fn what_a_shell_puts_into_the_background_is_named() {
    let shell = "sh -c 'echo background $$ >>$FIXTURE_DIR/pids; perl app.pl & exit 0'";
    let site = prepare(By::Descent, "", shell, "WAYS = \"\"\n");
    wait::until("it is said", secs(20), || site.log().contains("perl went into the background (pid "));
}

#[test]
fn survivors_live_on_where_they_may_and_are_counted() {
    for by in [By::Groups, By::Descent] {
        let mut site = serve(by, "survivors = true\n", &["group", "daemon"]);
        wait_alive(&site, "at first", 2);
        site.rota(&["restart", "app"]).expect(0);
        wait_alive(&site, "behind a restart", 3);
        wait::until("it is counted", secs(10), || site.status()["apps"][0]["survivors"] == 1);
        site.signal(Signal::TERM);
        assert_eq!(site.wait_end(secs(20)), Some(0));
        let left = alive(&site);
        assert!(left.len() == 2 && left.iter().all(|one| one.starts_with("daemon ")), "{left:?}");
        for one in left {
            kill(one.split(' ').nth(1).unwrap().parse().unwrap(), Signal::KILL);
        }
    }
}

#[test]
fn a_process_with_too_many_processes_is_killed_and_named() {
    let site = prepare(By::Descent, "limits.processes = 20\n", "perl app.pl", "WAYS = \"\"\n");
    site.wait_served();
    for _ in 0..25 {
        crate::wire::get(site.addr, "/daemon").unwrap();
    }
    wait::until("it is named", secs(40), || site.log().contains("killed for its 26 processes: limits.processes is 20"));
    wait_alive(&site, "behind it", 0);
}

#[test]
fn nothing_is_left_of_the_control_groups() {
    let mut site = serve(By::Groups, "", &["daemon"]);
    if !has_groups(&site) {
        return;
    }
    let pid = leader(&site);
    let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let group = group.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned();
    assert!(group.ends_with("/app.1.1"), "{group}");
    let all = |name: &str| {
        let found = Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-name", name]).output().unwrap();
        String::from_utf8(found.stdout).unwrap().lines().count()
    };
    let base = group.split('/').rev().nth(1).unwrap().to_owned();
    site.rota(&["restart", "app"]).expect(0);
    assert_eq!(all(&base), 1);
    site.signal(Signal::KILL);
    site.wait_end(secs(20));
    wait::until("the keeper has removed them", secs(10), || all(&base) == 0);
    // A rota whose keeper was killed as well finds them, and starts all the same.
    launch(&mut site, By::Groups);
    site.wait_served();
    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(20)), Some(0));
    wait::until("they are gone", secs(10), || all(&base) == 0);
}

/// A descendant holds the end of its process up; until it is gone nobody else gets the number, which signals go to.
#[test]
fn a_process_that_has_ended_keeps_its_number_until_nothing_of_it_is_left() {
    for by in [By::Groups, By::Descent] {
        let site = serve(by, "stop.timeout = \"3s\"\n", &["deaf"]);
        let pid = leader(&site);
        kill(pid, Signal::KILL);
        let state = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
        };
        let held = || site.processes().iter().any(|(_, _, other, _)| *other == pid);
        wait::until("it is held", secs(10), || state() == Some('Z'));
        wait::until("it is gone", secs(20), || {
            let (is_held, state) = (held(), state());
            assert!(!is_held || state == Some('Z') || !held(), "{by:?}: in the table, and its number is free");
            state.is_none()
        });
        wait_alive(&site, "behind it", 1);
    }
}

/// How many of a kind a process has open.
fn open(pid: u32, kind: &str) -> usize {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    entries.filter(|entry| fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == kind)).count()
}

#[test]
fn a_process_with_many_others_takes_few_descriptors_while_it_ends() {
    for by in [By::Groups, By::Descent] {
        let site = serve(by, "stop.timeout = \"4s\"\n", &["many"]);
        wait_alive(&site, "at first", 200);
        let old = leader(&site);
        let rota = site.pid();
        let asked = site.command(&["restart", "app"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        wait::until("it is told to stop", secs(20), || site.log().contains("told to stop and its group"));
        let (mut most, mut asked) = (0, asked.unwrap());
        wait::until("it is gone", secs(40), || {
            most = most.max(open(rota, "anon_inode:[pidfd]"));
            !site.processes().iter().any(|(_, _, pid, _)| *pid == old)
        });
        assert!(most < 20, "{by:?}: {most} descriptors of processes");
        assert!(asked.wait().unwrap().success());
        wait_alive(&site, "those of the new one", 200);
    }
}

#[test]
fn a_start_of_which_nothing_comes_leaves_no_control_group() {
    let mut site = prepare(By::Groups, "", "perl app.pl", "WAYS = \"\"\n");
    site.wait_served();
    if !has_groups(&site) {
        return;
    }
    let group = fs::read_to_string(format!("/proc/{}/cgroup", leader(&site))).unwrap();
    let group = group.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned();
    let base = group.split('/').rev().nth(1).unwrap().to_owned();
    let groups = || {
        let script = format!("find /sys/fs/cgroup -type d -path '*/{base}/app.*'");
        let found = Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8(found.stdout).unwrap().lines().count()
    };
    assert_eq!(groups(), 1);
    // Nobody gets a private directory.
    fs::rename(site.path("run/app"), site.path("away")).unwrap();
    fs::write(site.path("run/app"), "").unwrap();
    for _ in 0..3 {
        site.rota(&["restart", "app"]).expect(4);
    }
    assert!(site.log().contains(&format!("{}", site.path("run/app").display())), "{}", site.log());
    assert_eq!(groups(), 1, "that of the process that serves");
    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(20)), Some(0));
}

/// The process that ends the apps when rota is killed.
fn keeper(site: &Site) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", site.pid())).unwrap_or_default();
    let tasks = fs::read_dir(format!("/proc/{}/task", site.pid())).unwrap().flatten();
    let of_tasks = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok()).collect::<String>();
    let is_keeper = |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(b"\0__keeper\0"));
    (children + &of_tasks).split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).find(is_keeper)
}

#[test]
fn a_keeper_that_could_not_be_started_is_started_later_and_knows_what_lives() {
    let mut site = Site::with_app(&format!("command = \"perl app.pl\"\n{KEYS}processes = 1\n"), "WAYS = \"daemon group\"\n");
    fs::create_dir(site.path("releases/1")).unwrap();
    fs::write(site.path("releases/1/app.pl"), APP).unwrap();
    site.flip("1");
    let log = fs::File::create(site.path("log")).unwrap();
    let mut command = site.command(&["serve"]);
    command.env("ROTA_FAULT_NO_CGROUPS", "1").env("ROTA_FAULT_SHIM", site.path("rota-later"));
    site.launch_by(command, Stdio::from(log.try_clone().unwrap()), Stdio::from(log));
    wait::until("it is said", secs(20), || site.log().contains("keeper: "));
    assert_eq!(keeper(&site), None);
    fs::copy(env!("CARGO_BIN_EXE_rota"), site.path("rota-new")).unwrap();
    fs::rename(site.path("rota-new"), site.path("rota-later")).unwrap();
    wait::until("there is one", secs(20), || keeper(&site).is_some());
    site.wait_served();
    wait_alive(&site, "at first", 2);
    // One that is killed again and again comes back as often.
    for _ in 0..3 {
        let old = wait::found("there is one", secs(20), || keeper(&site));
        kill(old, Signal::KILL);
        wait::until("there is another", secs(20), || keeper(&site).is_some_and(|new| new != old));
    }
    site.signal(Signal::KILL);
    site.wait_end(secs(20));
    wait::until("it has ended them", secs(20), || alive(&site).is_empty());
}
