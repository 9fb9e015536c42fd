//! `rota check` against directories made for each test.

use std::os::unix::net::UnixListener;

use nix::unistd::User;
use tempfile::TempDir;

use super::*;
use crate::config::SourceFile;

/// A directory with `app/bin/run` (executable), `app/notes` (not) and room for sockets.
fn machine() -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("app/bin")).unwrap();
    fs::write(dir.path().join("app/bin/run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(dir.path().join("app/bin/run"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(dir.path().join("app/notes"), "").unwrap();
    dir
}

const ROOT: Privileges = Privileges { is_root: true, nice: -20, oom_score_adj: -1000, raises_limits: true };
/// Who has no more than others.
const NOBODY: Privileges = Privileges { is_root: false, nice: 0, oom_score_adj: 0, raises_limits: false };

/// `DIR` in the text stands for the machine's directory.
fn config_of(dir: &TempDir, text: &str) -> Config {
    let text = text.replace("DIR", dir.path().to_str().unwrap());
    config::parse(&[SourceFile { path: "rota.toml".into(), text }]).unwrap().config
}

/// What is found, with the machine's directory written as DIR again.
fn texts(dir: &TempDir, findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| finding.to_string().replace(dir.path().to_str().unwrap(), "DIR")).collect()
}

const SERVER: &str = "[server]\nlisten = \"127.0.0.1:0\"\ncontrol = \"DIR/control.sock\"\nspool_dir = \"DIR\"\nstate_dir = \"DIR/state\"\n";

#[test]
fn a_machine_that_fits_is_summed_up_in_a_line() {
    let dir = machine();
    let me = User::from_uid(Uid::effective()).unwrap().unwrap().name;
    let text = format!("{SERVER}[app.blog]\ncommand = \"bin/run\"\nroot = \"DIR/app\"\nuser = \"{me}\"\n");
    let path = dir.path().join("rota.toml");
    fs::write(&path, text.replace("DIR", dir.path().to_str().unwrap())).unwrap();
    let outcome = check(&path, false);
    assert_eq!(outcome.complaints, "");
    assert_eq!(outcome.summary, "ok: 1 app, listens on 127.0.0.1:0");
    assert_eq!(outcome.errors, 0);
    assert_eq!(run(&path, false), Exit::Done);
}

#[test]
fn an_app_with_a_mistake_fails_and_is_not_looked_at() {
    let dir = machine();
    let path = dir.path().join("rota.toml");
    let text = format!("{SERVER}[app.blog]\ncommand = \"nothing\"\nroot = \"/nowhere\"\nprocesses = 0\n");
    fs::write(&path, text.replace("DIR", dir.path().to_str().unwrap())).unwrap();
    let outcome = check(&path, false);
    let expected = "\
error: processes must be from 1 to 100, not 0
 --> DIR/rota.toml:9:13
  |
9 | processes = 0
  |             ^
";
    assert_eq!(outcome.complaints.replace(dir.path().to_str().unwrap(), "DIR"), expected);
    assert_eq!(outcome.summary, "1 error, 0 warnings");
    assert_eq!(run(&path, false), Exit::Bad);
}

#[test]
fn no_file_hides_what_is_wrong_with_another() {
    let dir = machine();
    let (path, me) = (dir.path().join("rota.toml"), User::from_uid(Uid::effective()).unwrap().unwrap().name);
    fs::create_dir(dir.path().join("apps.d")).unwrap();
    let app = |name: &str, text: &str| {
        let text = text.replace("DIR", dir.path().to_str().unwrap());
        fs::write(dir.path().join("apps.d").join(format!("{name}.toml")), text).unwrap();
    };
    fs::write(dir.path().join("apps.d/bytes.toml"), b"root = \"\xff\"\n").unwrap();
    app("key", "root = \"DIR/app\"\nhosts = \"key.test\"\nproceses = 2\n");
    app("machine", &format!("root = \"DIR/missing\"\nhosts = \"machine.test\"\nuser = \"{me}\"\n"));
    app("quote", "root = \"DIR\nhosts = \"quote.test\"\n");
    app("user", "root = \"DIR/app\"\ncommand = \"bin/run\"\nhosts = \"user.test\"\nuser = \"no-such-user\"\n");
    let of_apps = [
        "cannot read this: stream did not contain valid UTF-8\n--> DIR/apps.d/bytes.toml",
        "unknown key \"proceses\"",
        "error: app machine: root DIR/missing: No such file or directory",
        "DIR/apps.d/quote.toml:1",
        "error: app user: there is no user \"no-such-user\"",
    ];
    // Whatever is wrong with the server's own file.
    let missing = "cannot read this: No such file or directory (os error 2)\n--> DIR/rota.toml";
    let mains = [
        (Some(SERVER), None),
        (Some("[server]\nlisten = 5\n"), Some("listen")),
        (Some("[server\n"), Some("DIR/rota.toml:1")),
        (None, Some(missing)),
    ];
    for (main, mistake) in mains {
        match main {
            Some(text) => fs::write(&path, text.replace("DIR", dir.path().to_str().unwrap())).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let outcome = check(&path, false);
        let complaints = outcome.complaints.replace(dir.path().to_str().unwrap(), "DIR");
        for expected in of_apps.into_iter().chain(mistake) {
            assert!(complaints.contains(expected), "{main:?}: {expected} is missing:\n{complaints}");
        }
        assert_eq!(outcome.errors, 5 + usize::from(mistake.is_some()), "{main:?}: {complaints}");
        assert_eq!(run(&path, false), Exit::Bad);
    }
}

#[test]
fn as_root_every_app_says_its_user() {
    let dir = machine();
    let config = config_of(
        &dir,
        "[app.a]\ncommand = \"x\"\nroot = \"/\"\nhosts = \"a\"\n\
         [app.b]\ncommand = \"x\"\nroot = \"/\"\nhosts = \"b\"\nuser = \"root\"\n\
         [app.c]\ncommand = \"x\"\nroot = \"/\"\nhosts = \"c\"\nuser = \"no-such-user\"\ngroup = \"no-such-group\"\n",
    );
    let expected = [
        "error: app a: names no user: add user = \"NAME\", or user = \"root\" if that is meant",
        "error: app c: there is no user \"no-such-user\"",
        "error: app c: there is no group \"no-such-group\"",
    ];
    assert_eq!(texts(&dir, &start_findings(&config, &ROOT, Severity::Error)), expected);
}

#[test]
fn a_user_that_is_nearly_one_is_told_which() {
    let dir = machine();
    let passwd = dir.path().join("passwd");
    fs::write(&passwd, "root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/sh\nblog:x:1000:1000::/:/bin/sh\n").unwrap();
    assert_eq!(starts::meant("blgo", &passwd), "; did you mean \"blog\"?");
    assert_eq!(starts::meant("www_data", &passwd), "; did you mean \"www-data\"?");
    assert_eq!(starts::meant("somebody", &passwd), "");
    assert_eq!(starts::meant("blgo", Path::new("/nowhere/at/all")), "");
}

#[test]
fn without_root_an_app_may_leave_its_user_out() {
    let dir = machine();
    let config = config_of(&dir, "[app.a]\ncommand = \"x\"\nroot = \"/\"\n");
    assert_eq!(start_findings(&config, &NOBODY, Severity::Error), []);
}

#[test]
fn what_only_root_could_do_is_named_with_its_number() {
    let dir = machine();
    let text = "[app.a]\ncommand = \"x\"\nroot = \"/\"\nnice = -5\noom_score_adj = -1\nlimits = { nofile = 2000000000, core = \"1K\", stack = \"unlimited\" }\n";
    let text = text.replace("2000000000", "1073741824");
    let config = config_of(&dir, &text);
    let nobody = texts(&dir, &start_findings(&config, &NOBODY, Severity::Error));
    assert_eq!(
        nobody[..2],
        [
            "error: app a: nice = -5: only root (CAP_SYS_NICE) may give less than 0",
            "error: app a: oom_score_adj = -1: only root (CAP_SYS_RESOURCE) may give less than 0",
        ]
    );
    let of_limit = "error: app a: limits.nofile = 1073741824: only root (CAP_SYS_RESOURCE) may give more than the hard limit, which is ";
    assert!(nobody[2].starts_with(of_limit), "{nobody:?}");
    let warned = start_findings(&config, &NOBODY, Severity::Warning);
    assert!(warned[..3].iter().all(|finding| finding.severity == Severity::Warning), "another may be asked about");
    let most = fs::read_to_string("/proc/sys/fs/nr_open").unwrap();
    let too_many = format!("error: app a: limits.nofile = 1073741824: the kernel gives {} at most (sysctl fs.nr_open)", most.trim());
    let root = Privileges { is_root: false, ..ROOT };
    assert_eq!(texts(&dir, &start_findings(&config, &root, Severity::Error)), [too_many]);
    let modest = text.replace("-5", "5").replace("-1\n", "1\n").replace("1073741824", "16").replace("\"unlimited\"", "\"64K\"");
    assert_eq!(start_findings(&config_of(&dir, &modest), &NOBODY, Severity::Error), []);
}

#[test]
fn only_root_becomes_another_user_or_has_another_group() {
    let dir = machine();
    let config = config_of(&dir, "[app.a]\ncommand = \"x\"\nroot = \"/\"\nuser = \"daemon\"\ngroup = \"daemon\"\n");
    let expected = ["only root can start processes as user \"daemon\"", "only root can start processes with group \"daemon\""];
    for (severity, word) in [(Severity::Error, "error"), (Severity::Warning, "warning")] {
        assert_eq!(texts(&dir, &start_findings(&config, &NOBODY, severity)), expected.map(|text| format!("{word}: app a: {text}")));
    }
    assert_eq!(start_findings(&config, &ROOT, Severity::Error), []);
}

#[test]
fn a_file_of_variables_and_a_log_are_looked_at() {
    let dir = machine();
    let found = |keys: &str| {
        let me = User::from_uid(Uid::effective()).unwrap().unwrap().name;
        let config = config_of(&dir, &format!("{SERVER}[app.a]\ncommand = \"bin/run\"\nroot = \"DIR/app\"\nuser = \"{me}\"\n{keys}\n"));
        texts(&dir, &machine_findings(&config))
    };
    fs::write(dir.path().join("app/env"), "A=1\nsecret\n").unwrap();
    assert_eq!(found("env_file = \"env\""), ["error: app a: env_file DIR/app/env: line 2: there is no \"=\""]);
    fs::write(dir.path().join("app/env"), "A=1\n").unwrap();
    assert_eq!(found("env_file = \"env\"\nlog = \"DIR/a.log\""), [""; 0]);
    assert_eq!(
        found("log = \"DIR/missing/a.log\""),
        ["error: app a: the directory of log DIR/missing: No such file or directory (os error 2)"]
    );
    if Uid::effective().is_root() {
        fs::create_dir(dir.path().join("theirs")).unwrap();
        std::os::unix::fs::chown(dir.path().join("theirs"), Some(65534), None).unwrap();
        let said = found("log = \"DIR/theirs/a.log\"");
        assert!(said[0].starts_with("error: app a: log DIR/theirs/a.log: DIR/theirs belongs to uid 65534: "), "{said:?}");
    }
}

#[test]
fn a_root_is_an_existing_directory() {
    assert_eq!(directory_problem("root", Path::new("/")), None);
    let (severity, text) = directory_problem("root", Path::new("/nowhere/at/all")).unwrap();
    assert_eq!(severity, Severity::Error);
    assert_eq!(text, "root /nowhere/at/all: No such file or directory (os error 2)");
    assert_eq!(directory_problem("root", Path::new("/dev/null")), Some((Severity::Error, "root /dev/null is no directory".to_owned())));
}

#[test]
fn a_command_that_nothing_says_is_looked_for_in_the_root() {
    let dir = machine();
    let findings = |root: &str, more: &str| {
        let text = format!("[app.a]\nroot = \"DIR/{root}\"\nenv.PATH = \"\"\n{more}");
        let config = config_of(&dir, &text);
        (texts(&dir, &apps_findings(&config.apps)), detected_line(&config.apps[0]))
    };
    let (said, line) = findings("app", "");
    assert!(said.len() == 1 && said[0].starts_with("error: app a: nothing in DIR/app says how the app is started"), "{said:?}");
    assert_eq!((line, findings("app", "command = \"bin/run\"")), (None, (vec![], None)));
    fs::write(dir.path().join("app/Procfile"), "web: bin/run --on 0.0.0.0:$PORT\n").unwrap();
    let (said, line) = findings("app", "");
    assert_eq!(said, ["warning: app a: it listens on every address, and so can be reached past rota; 127.0.0.1 is enough"]);
    assert_eq!(line.unwrap(), "app a: runs bin/run --on '0.0.0.0:$PORT', by the web line of the Procfile\n");
    fs::write(dir.path().join("app/Procfile"), "web: node app.js\n").unwrap();
    assert_eq!(findings("app", "").0, ["error: app a: command \"node\" is in no directory of PATH ()"]);
}

#[test]
fn a_command_is_looked_for_where_it_will_be_executed() {
    let dir = machine();
    let problem = |command: &str, path: &str| {
        let text = format!("[app.a]\ncommand = {command:?}\nroot = \"DIR/app\"\nenv.PATH = {path:?}\n");
        let apps = config_of(&dir, &text).apps;
        let problem = command_problems(&apps[0], &apps);
        problem.first().map(|(_, text)| text.replace(dir.path().to_str().unwrap(), "DIR"))
    };
    assert_eq!(problem("bin/run", ""), None);
    assert_eq!(problem("$ROOT/bin/run", ""), None);
    assert_eq!(problem("run", "/nowhere:DIR/app/bin"), None);
    assert_eq!(problem("run", "bin"), None);
    assert_eq!(problem("./notes", "").unwrap(), "command DIR/app/./notes is no executable file");
    assert_eq!(problem("bin/ran", "").unwrap(), "command DIR/app/bin/ran: No such file or directory (os error 2)");
    assert_eq!(problem("ran", "/nowhere").unwrap(), "command \"ran\" is in no directory of PATH (/nowhere)");
    let hint = "command \"run\" is in no directory of PATH (/nowhere); DIR/app has \"bin/run\": write that";
    assert_eq!(problem("run", "/nowhere").unwrap(), hint);
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let dir = machine();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = config_of(&dir, &format!("[server]\nlisten = \"{address}\"\ncontrol = \"DIR/control.sock\"\n"));
    let expected = format!("error: cannot listen on {address}: Address already in use (os error 98): another program listens there");
    assert_eq!(texts(&dir, &listen_findings(&config.server)), [expected]);
}

#[test]
fn the_ports_of_a_rota_that_runs_are_its_own() {
    let dir = machine();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let _control = UnixListener::bind(dir.path().join("control.sock")).unwrap();
    let config = config_of(&dir, &format!("[server]\nlisten = \"{address}\"\ncontrol = \"DIR/control.sock\"\n"));
    assert_eq!(listen_findings(&config.server), []);
}

#[test]
fn a_socket_file_left_behind_is_no_listener() {
    let dir = machine();
    let listen = Listen::Unix(dir.path().join("http.sock"));
    let listener = UnixListener::bind(dir.path().join("http.sock")).unwrap();
    assert!(listen_problem(&listen).is_some());
    drop(listener);
    assert_eq!(listen_problem(&listen), None);
}

#[test]
fn spool_dir_must_exist_and_run_dir_can_be_made() {
    let dir = machine();
    let config = config_of(&dir, "[server]\ncontrol = \"DIR/run/control.sock\"\nspool_dir = \"DIR/spool\"\nstate_dir = \"DIR/state\"\n");
    let found: Vec<Finding> = directory_problems(&config.server).into_iter().map(server_finding).collect();
    assert_eq!(texts(&dir, &found), ["error: spool_dir DIR/spool: No such file or directory (os error 2)"]);
}

#[test]
fn a_state_dir_that_cannot_be_made_is_said() {
    let dir = machine();
    let config = config_of(&dir, &SERVER.replace("DIR/state", "DIR/app/notes/state"));
    let found = machine_findings(&config);
    assert_eq!(texts(&dir, &found), ["error: state_dir DIR/app/notes: is no directory"]);
}

#[test]
fn a_public_directory_that_is_left_to_the_app_is_named_in_a_line_and_is_no_mistake() {
    let dir = machine();
    let line = |public: &str| {
        let config = config_of(&dir, &format!("[app.blog]\ncommand = \"bin/run\"\nroot = \"DIR/app\"\n{public}"));
        assert_eq!(texts(&dir, &apps_findings(&config.apps)), [""; 0]);
        public_line(&config.apps[0]).map(|line| line.replace(dir.path().to_str().unwrap(), "DIR"))
    };
    assert_eq!(line(""), None);
    fs::create_dir(dir.path().join("app/public")).unwrap();
    let expected =
        "app blog: DIR/app/public is left to the app; public = \"public\" sends its files, to everybody and without asking the app\n";
    assert_eq!(line("").as_deref(), Some(expected));
    assert_eq!((line("public = false"), line("public = \"public\"")), (None, None));
}

#[test]
fn what_of_a_public_directory_is_not_sent_is_named() {
    let dir = machine();
    let found = |more: &str| {
        let config = config_of(&dir, &format!("[app.blog]\ncommand = \"bin/run\"\nroot = \"DIR/app\"\npublic = \"public\"\n{more}"));
        texts(&dir, &apps_findings(&config.apps))
    };
    assert_eq!(found(""), [""; 0]);
    fs::create_dir(dir.path().join("app/public")).unwrap();
    std::os::unix::fs::symlink("/mnt/photos", dir.path().join("app/public/photos")).unwrap();
    fs::write(dir.path().join("app/public/dump.sql"), "").unwrap();
    let expected = [
        "warning: app blog: public: DIR/app/public/photos is a link to /mnt/photos, outside of DIR/app; it is not followed: public_links = true follows every link",
        "warning: app blog: public: DIR/app/public/dump.sql is never sent, and left to the app: it is a database or the dump of one",
    ];
    assert_eq!(found(""), expected);
    assert_eq!(found("public_links = true"), [""; 0]);
}

#[test]
fn an_app_that_keeps_logins_in_memory_is_told_to_be_sticky_unless_its_file_answers_that() {
    let dir = machine();
    fs::write(dir.path().join("app/package.json"), r#"{"dependencies": {"express-session": "1"}}"#).unwrap();
    fs::write(dir.path().join("app/node"), "").unwrap();
    fs::set_permissions(dir.path().join("app/node"), fs::Permissions::from_mode(0o755)).unwrap();
    let of = |more: &str| {
        let text = format!("{SERVER}[app.web]\ncommand = \"./node web.js\"\nroot = \"DIR/app\"\n{more}");
        let found = texts(&dir, &apps_findings(&config_of(&dir, &text).apps));
        found.into_iter().filter(|text| text.contains("sticky")).collect::<Vec<_>>()
    };
    let said = of("processes = 2\n");
    assert!(said.len() == 1 && said[0].starts_with("warning: app web: sticky = true is missing: express-session keeps logins"), "{said:?}");
    for silent in ["processes = 1\n", "processes = 2\nsticky = true\n", "processes = 2\nsticky = false\n"] {
        assert_eq!(of(silent), [""; 0], "{silent}");
    }
}
