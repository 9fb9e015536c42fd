//! Apps of different users on one machine: what each of them gets, and what it does not get to see of the other.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;

use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire::Wire;

/// Users of every Debian; neither is in a group of the other.
const ONE: &str = "daemon";
const TWO: &str = "nobody";
const NOBODY: u32 = 65534;

/// Answers `GET /PATH` with what it gets of a file, a directory or a socket, and `GET /?NAME` with a variable. Other users may not get to this
/// test binary; perl is everybody's.
const LOOKS: &str = r#"
use Socket;
$| = 1;
$SIG{PIPE} = "IGNORE";
socket(my $server, AF_UNIX, SOCK_STREAM, 0) or die $!;
bind($server, sockaddr_un($ENV{SOCKET})) or die $!;
listen($server, 64) or die $!;
print "secret line of $ENV{ROTA_APP}\n";
while (accept(my $client, $server)) {
    my ($head, $answer) = ("", "");
    while ($head !~ /\r\n\r\n/) { sysread($client, $head, 4096, length $head) or last }
    my ($path) = $head =~ /^GET (\S+)/ or next;
    if ($path eq "/") { $answer = "up" }
    elsif ($path =~ /^\/\?(.*)/) { $answer = $ENV{$1} // "unset" }
    elsif (-S $path || $path =~ /sock$/) {
        socket(my $other, AF_UNIX, SOCK_STREAM, 0);
        $answer = connect($other, sockaddr_un($path)) ? "connected" : "refused: $!";
    }
    elsif (opendir(my $dir, $path)) { $answer = "listed: " . join " ", readdir $dir }
    elsif (open(my $file, "<", $path)) { local $/; $answer = "read: " . <$file> }
    else { $answer = "refused: $!" }
    syswrite($client, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " . length($answer) . "\r\n\r\n$answer");
    close $client;
}
"#;

/// The apps `app` of one user and `other` of another, each with a log file and a file of variables that only root may read.
fn two() -> Site {
    let site = Site::prepare("");
    let at = site.path("").display().to_string().trim_end_matches('/').to_owned();
    let app = |name: &str, user: &str| {
        fs::write(site.path(&format!("{name}.env")), format!("SECRET=of-{name}\n")).unwrap();
        fs::set_permissions(site.path(&format!("{name}.env")), fs::Permissions::from_mode(0o600)).unwrap();
        format!(
            "[app.{name}]\nroot = \"{at}/current\"\nuser = \"{user}\"\nhosts = \"{name}\"\ncommand = [\"perl\", \"look\"]\nbind = \"unix\"\n\
             probation = \"1ms\"\nlog = \"{at}/{name}.log\"\nenv_file = \"{at}/{name}.env\"\nenv = {{ IT_SITE = \"{at}\" }}\n"
        )
    };
    let server = format!(
        "[server]\nlisten = \"{}\"\ncontrol = \"{at}/run/control.sock\"\nspool_dir = \"{at}/spool\"\nstate_dir = \"{at}/state\"\n\
         access_log = {{ file = \"{at}/access.log\" }}\n",
        site.addr
    );
    fs::write(site.path("rota.toml"), format!("{server}{}{}", app("app", ONE), app("other", TWO))).unwrap();
    // As it is where servers have their directories: closed is what must be.
    fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    site.release("1", "");
    fs::write(site.path("releases/1/look"), LOOKS).unwrap();
    site.flip("1");
    site
}

fn ask(site: &Site, app: &str, target: &str) -> String {
    let reply =
        Wire::connect(site.addr).unwrap().ask(&format!("GET {target} HTTP/1.1\r\nHost: {app}\r\nConnection: close\r\n\r\n")).unwrap();
    assert_eq!(reply.status, 200, "{target}: {}", reply.text());
    reply.text()
}

fn pid(site: &Site, app: usize) -> u64 {
    site.status()["apps"][app]["processes"][0]["pid"].as_u64().unwrap()
}

/// The only directory in another.
fn only(dir: &Path) -> String {
    let names: Vec<String> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    dir.join(&names[0]).display().to_string()
}

#[test]
fn an_app_sees_nothing_of_the_app_of_another_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut site = two();
    site.launch();
    let up = |app: usize| site.status()["apps"][app]["processes"][0]["state"] == "serving";
    wait::until("the control socket answers", secs(20), || site.rota(&["status"]).status == Some(0));
    wait::until("both serve", secs(20), || up(0) && up(1));
    wait::until("their starts are written down", secs(20), || {
        site.path("state/app.json").exists() && site.path("state/other.json").exists()
    });
    wait::until("what they print is written", secs(20), || {
        fs::read_to_string(site.path("app.log")).is_ok_and(|text| text.contains("secret line"))
    });
    assert_eq!((ask(&site, "app", "/?SECRET"), ask(&site, "other", "/?SECRET")), ("of-app".to_owned(), "of-other".to_owned()));

    let (own, of_app) = (only(&site.path("run/other")), only(&site.path("run/app")));
    let at = |name: &str| site.path(name).display().to_string();
    // It can look, and reaches what is its own.
    assert!(ask(&site, "other", &own).starts_with("listed: "), "{}", ask(&site, "other", &own));
    assert_eq!(ask(&site, "other", &format!("{own}/app.sock")), "connected");
    assert!(ask(&site, "other", &at("rota.toml")).starts_with("read: [server]"));
    let secrets = [
        of_app.clone(),
        format!("{of_app}/app.sock"),
        at("run/app"),
        at("run/control.sock"),
        at("state/app.json"),
        at("state/other.json"),
        at("app.log"),
        at("other.log"),
        at("access.log"),
        at("app.env"),
        at("other.env"),
        format!("/proc/{}/environ", pid(&site, 0)),
        format!("/proc/{}/fd", pid(&site, 0)),
        format!("/proc/{}/environ", site.pid()),
        format!("/proc/{}/fd", site.pid()),
    ];
    for secret in &secrets {
        assert_eq!(ask(&site, "other", secret), "refused: Permission denied", "{secret}");
    }
    let modes = ["state/app.json", "app.log", "access.log", "run/control.sock"]
        .map(|name| fs::metadata(site.path(name)).unwrap().permissions().mode() & 0o777);
    assert_eq!(modes, [0o600, 0o640, 0o640, 0o600]);
    for (app, user) in [(0, ONE), (1, TWO)] {
        let status = fs::read_to_string(format!("/proc/{}/status", pid(&site, app))).unwrap();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        let user = nix_ids(user);
        assert_eq!((field("Uid:"), field("Groups:")), ([user.0.as_str(); 4].join("\t"), user.1));
    }
    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(40)), Some(0));
    let log = site.log();
    assert!(!log.contains("of-app") && !log.contains("of-other"), "a secret is in the log: {log}");
}

#[test]
fn what_lies_where_others_may_write_is_not_used() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let theirs = |name: &str| {
        let site = Site::prepare("");
        site.release("1", "");
        site.flip("1");
        fs::create_dir(site.path("theirs")).unwrap();
        std::os::unix::fs::chown(site.path("theirs"), Some(NOBODY), None).unwrap();
        let config = fs::read_to_string(site.path("rota.toml")).unwrap();
        let (own, foreign) = (site.path(name), site.path("theirs").join(name));
        fs::write(site.path("rota.toml"), config.replace(&format!("\"{}", own.display()), &format!("\"{}", foreign.display()))).unwrap();
        site
    };
    // What serves does not depend on a record.
    let site = theirs("state").serve();
    assert!(
        site.log().contains("/theirs belongs to uid 65534") && site.log().contains("will not know which release served"),
        "{}",
        site.log()
    );
    assert!(!site.path("theirs/state/app.json").exists());
    // Commands do on the control socket.
    let mut site = theirs("run/control.sock");
    site.launch();
    assert_eq!(site.wait_end(secs(20)), Some(1));
    assert!(site.log().contains("server.control ") && site.log().contains("/theirs belongs to uid 65534"), "{}", site.log());
}

/// uid and primary group, as text, from /etc/passwd.
fn nix_ids(user: &str) -> (String, String) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.starts_with(&format!("{user}:"))).unwrap();
    let fields: Vec<&str> = line.split(':').collect();
    (fields[2].to_owned(), fields[3].to_owned())
}

/// The fields 19 of stat of all its threads, and its scheduling group's value (proc(5), sched(7)).
fn nice(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        Some(stat.rsplit_once(')')?.1.split_whitespace().nth(16)?.to_owned())
    };
    let mut all: Vec<String> = tasks.filter_map(of).collect();
    all.extend(fs::read_to_string(format!("/proc/{pid}/autogroup")).ok().and_then(|text| Some(text.trim().rsplit_once(' ')?.1.to_owned())));
    all.dedup();
    all
}

#[test]
fn a_process_that_stood_aside_while_it_booted_ends_at_its_own_nice_value() {
    let root = rustix::process::geteuid().is_root();
    // One can step back by ten, one by less, and one, which only root may have, from the other side.
    for (own, aside) in [("3", "13"), ("12", "19"), ("-4", "6")] {
        if own.starts_with('-') && !root {
            continue;
        }
        let site = Site::start(&format!("nice = {own}\nprobation = \"1ms\""));
        // Whoever is not root gives its scheduling group a value when others give none.
        let first = site.serving(1)[0];
        assert!(nice(first) == [own] || !root && nice(first)[0] == own, "{:?}", nice(first));
        site.release("2", "hang_at_boot");
        site.flip("2");
        site.rota(&["restart", "app", "--no-wait"]).expect(0);
        if root {
            let boots = || site.processes().into_iter().find(|(_, _, pid, state)| state == "starting" && *pid > 0).map(|process| process.2);
            let booting = wait::found("it boots", secs(10), boots);
            wait::until("it has stepped back", secs(10), || nice(booting) == [aside]);
        }
        site.rota(&["abort", "app"]).expect(0);
        site.deploy("3", "").expect(0);
        let serves = site.serving(3)[0];
        wait::until("it has its own nice value", secs(10), || nice(serves) == [own]);
    }
}

#[test]
fn whoever_is_not_root_is_told_what_cannot_be_before_anything_is_started() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let site = Site::prepare("");
    let program = site.own_program();
    let run = |verb: &str, keys: &str| {
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\ncontrol = \"{at}/theirs/control.sock\"\nspool_dir = \"/tmp\"\nstate_dir = \"{at}/theirs/state\"\n\
             [app.app]\ncommand = \"sleep 1000\"\nroot = \"/\"\n{keys}\n",
            at = site.path("").display()
        );
        fs::write(site.path("rota.toml"), config).unwrap();
        fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        let _ = fs::create_dir(site.path("theirs"));
        std::os::unix::fs::chown(site.path("theirs"), Some(NOBODY), None).unwrap();
        let mut command = std::process::Command::new(&program);
        command.arg(verb).arg("--config").arg(site.path("rota.toml")).current_dir("/").stdin(Stdio::null()).uid(NOBODY).gid(NOBODY);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (keys, what) in [
        ("user = \"daemon\"", "only root can start processes as user \"daemon\""),
        ("group = \"daemon\"", "only root can start processes with group \"daemon\""),
        ("nice = -5", "nice = -5: only root (CAP_SYS_NICE) may give less than "),
        ("oom_score_adj = -999", "oom_score_adj = -999: only root (CAP_SYS_RESOURCE) may give less than "),
        (
            "limits.nofile = 1073741824",
            "limits.nofile = 1073741824: only root (CAP_SYS_RESOURCE) may give more than the hard limit, which is ",
        ),
    ] {
        let (status, said) = run("serve", keys);
        assert!(status == Some(1) && said.contains(what), "{keys}: {status:?} {said}");
        let (_, said) = run("check", keys);
        assert!(said.contains(what), "{keys}: {said}");
    }
    // Root itself is not another user, and not left out by mistake.
    site.rota(&["check"]).expect(1);
    let said = site.rota(&["serve"]);
    assert!(
        said.expect(1).err.contains("app app: names no user: add user = \"NAME\", or user = \"root\" if that is meant"),
        "{}",
        said.err
    );
}
