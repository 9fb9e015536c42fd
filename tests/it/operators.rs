//! What `operators` of an app may do, as users of every Debian, and what they may not. As root only.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::site::{Said, Site};
use crate::wait::{self, secs};
use crate::wire::Wire;

/// Users, with their groups of the same name and number.
const GAMES: u32 = 5;
const NEWS: u32 = 9;
const NOBODY: u32 = 65534;

/// Answers with the name of its release. Other users may not get to this test binary; perl is everybody's.
const SAYS: &str = r#"
use Socket;
use Cwd;
$SIG{PIPE} = "IGNORE";
socket(my $server, AF_UNIX, SOCK_STREAM, 0) or die $!;
bind($server, sockaddr_un($ENV{SOCKET})) or die $!;
listen($server, 64) or die $!;
my $answer = getcwd();
while (accept(my $client, $server)) {
    my $head = "";
    while ($head !~ /\r\n\r\n/) { sysread($client, $head, 4096, length $head) or last }
    syswrite($client, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " . length($answer) . "\r\n\r\n$answer");
    close $client;
}
"#;

/// `app` with these operators, and `other`, which user news operates.
fn config(site: &Site, operators: &str) {
    let at = site.path("").display().to_string().trim_end_matches('/').to_owned();
    let app = |name: &str, operators: &str| {
        format!(
            "[app.{name}]\nroot = \"{at}/current\"\nuser = \"daemon\"\nhosts = \"{name}\"\ncommand = [\"perl\", \"says\"]\nbind = \"unix\"\n\
             probation = \"1ms\"\nlog = \"{at}/{name}.log\"\noperators = {operators}\nenv = {{ IT_SITE = \"{at}\" }}\n"
        )
    };
    let server = format!(
        "[server]\nlisten = \"{}\"\ncontrol = \"{at}/run/control.sock\"\nspool_dir = \"{at}/spool\"\nstate_dir = \"{at}/state\"\nhealth = \"/up\"\n",
        site.addr
    );
    fs::write(site.path("rota.toml"), format!("{server}{}{}", app("app", operators), app("other", "\"news\""))).unwrap();
}

fn release(site: &Site, version: &str) {
    site.release(version, "");
    fs::write(site.path("releases").join(version).join("says"), SAYS).unwrap();
}

fn prepare(operators: &str) -> Site {
    let site = Site::prepare("");
    config(&site, operators);
    // As it is where servers have their directories.
    fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    site.own_program();
    release(&site, "1");
    site.flip("1");
    site
}

fn start(operators: &str) -> Site {
    let mut site = prepare(operators);
    serve(&mut site);
    site
}

fn serve(site: &mut Site) {
    site.launch();
    wait::until("the control socket answers", secs(20), || site.rota(&["status"]).status == Some(0));
    let serves =
        |app: usize| site.status()["apps"][app]["processes"][0]["state"] == "serving" && site.status()["apps"][app]["walk"].is_null();
    wait::until("both serve", secs(20), || serves(0) && serves(1));
}

fn by(site: &Site, uid: u32, arguments: &[&str]) -> Said {
    let mut command = Command::new(site.path("rota"));
    command.args(arguments).arg("--config").arg(site.path("rota.toml")).current_dir("/").stdin(Stdio::null());
    let output = command.uid(uid).gid(uid).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn serves(site: &Site) -> String {
    let reply = Wire::connect(site.addr).unwrap().ask("GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n").unwrap();
    reply.text().rsplit('/').next().unwrap_or_default().to_owned()
}

#[test]
fn an_operator_operates_his_app_and_nothing_else() {
    if !is_root() {
        return;
    }
    // One by name, one by its group.
    let site = start("[\"games\", \"@lp\"]");
    release(&site, "2");
    let two = site.path("releases/2").display().to_string();
    for (uid, name) in [(GAMES, "games"), (7, "lp")] {
        let said = by(&site, uid, &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&said.expect(0).out).unwrap();
        let apps: Vec<&str> = status["apps"].as_array().unwrap().iter().map(|app| app["app"].as_str().unwrap()).collect();
        assert_eq!(apps, ["app"]);
        for his in [
            &["restart", "app"][..],
            &["deploy", "app", &two],
            &["rollback", "app"],
            &["pause", "app"],
            &["resume", "app"],
            &["requests"],
            &["history"],
            &["status", "app"],
        ] {
            by(&site, uid, his).expect(0);
        }
        assert_eq!(serves(&site), "1");
        let history = by(&site, uid, &["history", "--json"]);
        assert!(history.expect(0).out.contains("\"app\"") && !history.out.contains("other"), "{}", history.out);
        let abort = by(&site, uid, &["abort", "app"]);
        assert!(!abort.err.contains("may"), "it is his to call off, and there is nothing: {}", abort.err);
        let root = "that is for root and the user that rota runs as";
        let needed = "operators of [app.other] would have to name";
        for (others, why) in [
            (&["restart", "other"][..], format!("{name} may restart app, not other: {needed} {name}")),
            (&["deploy", "other", &two], format!("{name} may deploy app, not other: {needed} {name}")),
            (&["pause", "other"], format!("{name} may pause app, not other: {needed} {name}")),
            (&["status", "other"], format!("{name} may look at app, not other: {needed} {name}")),
            (&["restart"], format!("{name} may restart app, not all apps")),
            (&["detach", "app", "1"], format!("{name} may operate app, not detach app/1: {root}")),
            (&["drain"], format!("{name} may operate app, not drain this rota: {root}")),
            (&["reload"], format!("{name} may operate app, not reload this rota: {root}")),
            (&["stop"], format!("{name} may operate app, not stop this rota: {root}")),
        ] {
            let said = by(&site, uid, others);
            assert!(said.status == Some(1) && said.err.contains(&why), "{others:?}: {said:?}");
        }
        assert!(site.log().contains(&format!("of {name} (uid {uid})")), "who it was is in the log: {}", site.log());
    }
    // Of anybody else the kernel lets nothing through.
    let stranger = by(&site, NOBODY, &["status"]);
    assert!(stranger.status == Some(1) && stranger.err.contains("operators of an app may"), "{stranger:?}");
    assert_eq!(site.status()["apps"][1]["generation"], 1);
}

#[test]
fn a_member_of_a_group_operates_as_the_list_of_users_has_it() {
    // A group of this machine with a member for whom it is not the first one.
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let uid = |name: &str| passwd.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))?.split(':').nth(1)?.parse::<u32>().ok());
    let member = groups.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let uid = uid(fields.get(3)?.split(',').next()?).filter(|uid| *uid != 0)?;
        Some((fields[0].to_owned(), fields[2].parse::<u32>().ok()?, uid))
    });
    let Some((group, gid, uid)) = member.filter(|_| is_root()) else { return };
    let site = start(&format!("\"@{group}\""));
    let mut command = Command::new(site.path("rota"));
    command.args(["restart", "app", "--config"]).arg(site.path("rota.toml")).current_dir("/").stdin(Stdio::null());
    // As a login has it: all groups for the kernel, which lets it connect.
    let script = format!("exec setpriv --reuid={uid} --regid={uid} --groups={gid} -- \"$@\"");
    let mut login = Command::new("sh");
    login.args(["-c", &script, "sh"]).arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    let output = login.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn who_operates_changes_by_a_reload_at_once() {
    if !is_root() {
        return;
    }
    let site = start("\"games\"");
    by(&site, GAMES, &["status", "app"]).expect(0);
    assert!(by(&site, NEWS, &["status", "app"]).err.contains("news may look at other, not app"));
    config(&site, "\"news\"");
    let plan = site.rota(&["reload"]);
    assert!(plan.expect(0).out.contains("app: operators: at once"), "{}", plan.out);
    by(&site, NEWS, &["restart", "app"]).expect(0);
    wait::until("the kernel knows it", secs(10), || by(&site, GAMES, &["status"]).err.contains("permission denied"));
    // Somebody cleaned up: the socket that is made in its place is theirs, too.
    fs::remove_file(site.path("run/control.sock")).unwrap();
    wait::until("it is made anew", secs(20), || by(&site, NEWS, &["status", "app"]).status == Some(0));
    assert_eq!(by(&site, GAMES, &["status"]).status, Some(1));
}

#[test]
fn the_app_s_user_has_to_get_to_what_an_operator_deploys() {
    if !is_root() {
        return;
    }
    let site = start("\"games\"");
    release(&site, "2");
    // Of somebody else: what lies in it is none of the app's business, although it is open itself.
    fs::create_dir(site.path("theirs")).unwrap();
    fs::rename(site.path("releases/2"), site.path("theirs/2")).unwrap();
    chown(site.path("theirs"), Some(NEWS), Some(NEWS)).unwrap();
    fs::set_permissions(site.path("theirs"), fs::Permissions::from_mode(0o700)).unwrap();
    let secret = site.path("theirs/2").display().to_string();
    let said = by(&site, GAMES, &["deploy", "app", &secret]);
    assert!(said.status == Some(4) && said.out.contains("ermission denied"), "{said:?}");
    assert_eq!(serves(&site), "1");
    // Where the app's user gets and the operator does not.
    fs::set_permissions(site.path("theirs"), fs::Permissions::from_mode(0o750)).unwrap();
    chown(site.path("theirs"), Some(NEWS), Some(1)).unwrap();
    by(&site, GAMES, &["deploy", "app", &secret]).expect(0);
    assert_eq!(serves(&site), "2");
}

#[test]
fn an_operator_who_connects_and_says_nothing_holds_nobody_up() {
    if !is_root() {
        return;
    }
    let site = start("[\"games\", \"lp\"]");
    let socket = site.path("run/control.sock");
    // Connects so often, says nothing and stays until its input ends.
    let script = "use Socket; my @s; for (1..40) { socket(my $s, AF_UNIX, SOCK_STREAM, 0); connect($s, sockaddr_un($ARGV[0])) or die $!; push @s, $s } $| = 1; print qq(up\\n); <STDIN>";
    let mut flood = Command::new("perl");
    flood.args(["-e", script]).arg(&socket).uid(GAMES).gid(GAMES).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut flood = flood.spawn().unwrap();
    let mut up = String::new();
    BufReader::new(flood.stdout.take().unwrap()).read_line(&mut up).unwrap();
    assert_eq!(up, "up\n");
    let own = by(&site, GAMES, &["status"]);
    assert!(own.status == Some(1) && own.err.contains("busy"), "{own:?}");
    by(&site, 7, &["restart", "app"]).expect(0);
    site.rota(&["restart", "app"]).expect(0);
    assert!(UnixStream::connect(&socket).is_ok());
    drop(flood.stdin.take());
    flood.wait().unwrap();
    wait::until("its places are free", secs(20), || by(&site, GAMES, &["status"]).status == Some(0));
}

#[test]
fn a_list_of_users_that_does_not_answer_holds_up_whoever_has_to_be_looked_up_and_nobody_else() {
    if !is_root() {
        return;
    }
    let site = start("\"games\"");
    fs::write(site.path("panic"), "hang rota-who").unwrap();
    std::thread::scope(|scope| {
        let asks = scope.spawn(|| by(&site, GAMES, &["restart", "app"]));
        let tasks = || fs::read_dir(format!("/proc/{}/task", site.pid())).unwrap().flatten().map(|task| task.path());
        let is_it = |task: &std::path::PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "rota-who");
        let thread = wait::found("it is being looked up", secs(20), || tasks().find(is_it));
        let status = fs::read_to_string(thread.join("status")).unwrap();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        assert_eq!(field("CapEff:"), "0000000000000000", "it has none of root's rights");
        assert!(field("Seccomp:") == "2" || site.log().contains("seccomp: "), "{status}");
        site.rota(&["restart", "app"]).expect(0);
        let said = asks.join().unwrap();
        assert!(said.status == Some(1) && said.err.contains("was not found out within 5 s"), "{said:?}");
    });
    fs::remove_file(site.path("panic")).unwrap();
    wait::until("it answers again", secs(20), || by(&site, GAMES, &["restart", "app"]).status == Some(0));
}

#[test]
fn an_operator_that_there_is_not_costs_no_site() {
    if !is_root() {
        return;
    }
    let mut site = prepare("[\"games\", \"no-such-user\"]");
    let check = site.rota(&["check"]);
    assert!(check.expect(1).err.contains("app app: operators: there is no user \"no-such-user\""), "{}", check.err);
    serve(&mut site);
    assert!(site.log().contains("operators: there is no user \"no-such-user\""), "{}", site.log());
    by(&site, GAMES, &["restart", "app"]).expect(0);
    let reload = site.rota(&["reload"]);
    assert!(reload.status == Some(1) && reload.err.contains("there is no user \"no-such-user\""), "{reload:?}");
}

#[test]
fn a_log_that_an_operator_may_not_read_says_how_he_comes_to_that() {
    if !is_root() {
        return;
    }
    let site = start("\"games\"");
    let said = by(&site, GAMES, &["logs", "app"]);
    assert!(said.status == Some(1) && said.err.contains("permission denied: root") && said.err.contains("usermod -aG"), "{said:?}");
}
