//! `rota init` in fresh apps, and `root` alone: what is written serves, what is detected serves, or the message says what to do. The app
//! servers are those that tests/setup installs; a missing one is an error.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire;

/// A site whose only app is the copy of `tests/apps/NAME` in `current`, with these programs in its own environment.
fn fresh(name: &str, installed: &[&str]) -> Site {
    let site = Site::without_app("");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps").join(name), &site.path("current"));
    fs::write(site.path("current/VERSION"), "1").unwrap();
    if !installed.is_empty() {
        fs::create_dir_all(site.path("current/.venv/bin")).unwrap();
    }
    for program in installed {
        symlink(environment().join("bin").join(program), site.path("current/.venv/bin").join(program)).unwrap();
    }
    site
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Where tests/setup put the Python packages.
fn environment() -> PathBuf {
    let venv =
        std::env::var_os("ROTA_TEST_VENV").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv"), PathBuf::from);
    assert!(venv.join("bin/waitress-serve").exists(), "{} lacks something: run tests/setup", venv.display());
    venv
}

fn init(site: &Site, more: &[&str]) -> crate::site::Said {
    let root = site.path("current").display().to_string();
    let mut words = vec!["init", &root, "--name", "app"];
    // The directories of a test are closed to other users.
    if rustix::process::geteuid().is_root() {
        words.extend(["--user", "root"]);
    }
    words.extend(more);
    site.rota(&words)
}

/// Starts the server; the variable leads to what is left of it.
fn serve(site: &mut Site) {
    let log = fs::File::create(site.path("log")).unwrap();
    let mut command = site.command(&["serve"]);
    command.env("IT_SITE", site.path(""));
    site.launch_by(command, Stdio::from(log.try_clone().unwrap()), Stdio::from(log));
    site.wait_served();
}

/// The answer to `/` with the file that init writes, and the command in it; then with `root` alone, which must come to the same.
#[track_caller]
fn serves(mut site: Site) -> (String, String) {
    init(&site, &[]).expect(0);
    serve(&mut site);
    let answer = wire::get(site.addr, "/").unwrap().text();
    let status = site.status();
    let command = status["apps"][0]["command"].as_str().unwrap().to_owned();
    let settings = |status: &serde_json::Value| {
        let app = &status["apps"][0];
        (app["command"].clone(), app["concurrency"].clone())
    };
    assert!(status["apps"][0]["detected"].is_null(), "{status}");
    site.rota(&["stop"]).expect(0);
    assert_eq!(site.wait_end(secs(20)), Some(0));
    assert!(!site.log().contains("killed"), "each ends at its own signal:\n{}", site.log());

    let user = if rustix::process::geteuid().is_root() { "user = \"root\"\n" } else { "" };
    fs::write(site.path("apps.d/app.toml"), format!("root = {:?}\n{user}processes = 2\nprobation = \"200ms\"\n", site.path("current")))
        .unwrap();
    let check = site.rota(&["check"]);
    let check = check.expect(0);
    serve(&mut site);
    let alone = site.status();
    assert_eq!(settings(&alone), settings(&status));
    let why = alone["apps"][0]["detected"].as_str().unwrap();
    assert!(check.out.contains(&format!("app app: runs {command}, by {why}\n")), "{}", check.out);
    let page = site.rota(&["status"]).out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(page.contains(&format!("runs {command}, by {why}")), "{page}");
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), answer);
    site.rota(&["restart", "app"]).expect(0);
    // The second start of the server was generation 2.
    assert_eq!(site.serving(3).len(), 2);
    (answer, command)
}

#[test]
fn flask_under_gunicorn() {
    let (answer, command) = serves(fresh("flask_gunicorn", &["gunicorn"]));
    assert_eq!(answer, "1");
    assert!(command.starts_with(".venv/bin/gunicorn ") && command.ends_with(" app:app"), "{command}");
}

#[test]
fn a_plain_wsgi_app_has_an_address_of_its_client() {
    for server in ["gunicorn", "waitress-serve"] {
        let site = fresh("flask_gunicorn", &[server]);
        let app = "import ipaddress\n\ndef application(environ, start_response):\n    address = ipaddress.ip_address(environ['REMOTE_ADDR'])\n    \
                   start_response('200 OK', [('Content-Type', 'text/plain')])\n    return [str(address).encode()]\n";
        fs::write(site.path("current/app.py"), app).unwrap();
        let (answer, command) = serves(site);
        assert_eq!(answer, "127.0.0.1", "{command}");
    }
}

#[test]
fn starlette_under_uvicorn() {
    let (answer, command) = serves(fresh("starlette_uvicorn", &["uvicorn", "gunicorn"]));
    assert_eq!((answer.as_str(), command.as_str()), ("1", ".venv/bin/uvicorn --no-access-log --uds '$SOCKET' app:app"));
}

#[test]
fn django_under_the_interface_of_the_server_that_it_has() {
    assert_eq!(serves(fresh("django", &["gunicorn"])).0, "wsgi");
    assert_eq!(serves(fresh("django", &["gunicorn", "uvicorn"])).0, "asgi");
}

#[test]
fn fastapi_under_hypercorn() {
    let (answer, command) = serves(fresh("fastapi", &["hypercorn"]));
    assert!(answer.contains("\"scheme\":\"http\"") && command.ends_with(" main:app"), "{answer} {command}");
}

#[test]
fn plain_wsgi_under_waitress_which_believes_what_rota_says() {
    let (answer, command) = serves(fresh("wsgi", &["waitress-serve"]));
    assert!(answer == "http" && command.ends_with(" wsgi:application"), "{answer} {command}");
}

#[test]
fn a_procfile_that_needs_a_shell() {
    let (answer, command) = serves(fresh("procfile", &[]));
    assert_eq!(answer, "from the Procfile");
    assert_eq!(command, "sh -c 'exec env GREETING=\"from the Procfile\" ${PYTHON:-python3} serve.py'");
}

#[test]
fn the_node_command_of_a_start_script() {
    let (answer, command) = serves(fresh("node_script", &[]));
    assert_eq!(answer, "from a script");
    assert_eq!(command, "env 'NODE_NO_WARNINGS=1' node server.js --greeting 'from a script'");
}

#[test]
fn npm_where_the_script_needs_it_is_said() {
    let site = fresh("node_npm", &[]);
    let said = init(&site, &["-o", "-"]);
    assert!(said.expect(0).err.contains("warning: npm stays between rota and the app"), "{}", said.err);
    let (answer, command) = serves(site);
    assert_eq!((answer.as_str(), command.as_str()), ("start", "npm start"));
}

#[test]
fn a_program_in_bin() {
    let (answer, command) = serves(fresh("program", &[]));
    assert_eq!((answer.as_str(), command.as_str()), ("from a program", "bin/server"));
}

#[test]
fn rack_under_the_server_that_is_locked() {
    for (server, expected) in
        [("puma", "bundle exec puma -w 0 -t 5:5 -b 'unix://$SOCKET'"), ("unicorn", "bundle exec unicorn -l '$SOCKET'")]
    {
        let site = fresh("rack_puma", &[]);
        let without = init(&site, &[]);
        assert!(without.expect(1).err.contains("bundle init && bundle add rack puma"), "{}", without.err);
        fs::write(site.path("current/Gemfile"), format!("source \"https://rubygems.org\"\ngem \"rack\"\ngem \"{server}\"\n")).unwrap();
        let mut bundle = Command::new("bundle");
        let bundle = bundle.args(["lock", "--local"]).current_dir(site.path("current")).output();
        let bundle = bundle.expect("bundle is missing: run tests/setup");
        assert!(bundle.status.success(), "{}", String::from_utf8_lossy(&bundle.stderr));
        let (answer, command) = serves(site);
        assert_eq!((answer.as_str(), command.as_str()), ("1", expected));
    }
}

#[test]
fn an_app_without_its_server_is_told_how_to_install_it() {
    let site = fresh("broken_python", &["python", "pip"]);
    let said = init(&site, &[]);
    let pip = site.path("current/.venv/bin/pip");
    assert!(
        said.expect(1).err.ends_with(&format!("gunicorn is not installed in .venv/bin; run: {} install gunicorn\n", pip.display())),
        "{}",
        said.err
    );
    assert!(!site.path("apps.d").exists(), "nothing was written");
    // What it says helps.
    symlink(environment().join("bin/gunicorn"), site.path("current/.venv/bin/gunicorn")).unwrap();
    assert_eq!(serves(site).0, "never served");
}

#[test]
fn an_app_without_a_start_script_is_told_how_to_have_one() {
    let site = fresh("broken_node", &[]);
    let said = init(&site, &[]);
    let root = site.path("current").display().to_string();
    let npm = ["--prefix", &root, "pkg", "set", "scripts.start=node web.js"];
    assert!(said.expect(1).err.contains("npm --prefix"), "{}", said.err);
    assert!(said.err.contains("pkg set scripts.start=\"node web.js\", or write: command = \"node web.js\""), "{}", said.err);
    assert!(Command::new("npm").args(npm).status().expect("npm is missing: run tests/setup").success());
    assert_eq!(serves(site).0, "never served");
}

#[test]
fn no_file_is_replaced_and_none_is_written_to_standard_output() {
    let site = fresh("program", &[]);
    let said = init(&site, &["-o", "-"]);
    said.expect(0);
    assert!(said.out.contains("\ncommand = \"bin/server\"\n") && !site.path("apps.d").exists(), "{}", said.out);
    let first = init(&site, &[]);
    assert!(first.expect(0).out.contains("apps.d/app.toml is written: runs bin/server, by the program bin/server"), "{}", first.out);
    assert_eq!(fs::read_to_string(site.path("apps.d/app.toml")).unwrap(), said.out);
    fs::write(site.path("apps.d/app.toml"), "# mine\n").unwrap();
    assert!(init(&site, &[]).expect(1).err.contains("is there already: --force replaces it"));
    assert_eq!(fs::read_to_string(site.path("apps.d/app.toml")).unwrap(), "# mine\n");
    init(&site, &["--force"]).expect(0);
    let usage = site.rota(&["init", "a", "b"]);
    usage.expect(2);
    let nowhere = site.rota(&["init", "/nowhere/at/all"]);
    assert!(nowhere.expect(1).err.contains("/nowhere/at/all: No such file"), "{}", nowhere.err);
}

#[test]
fn a_second_app_is_asked_for_its_hosts_and_the_first_keeps_what_nobody_else_takes() {
    let mut site = fresh("program", &[]);
    init(&site, &[]).expect(0);
    copy(&site.path("current"), &site.path("other"));
    let add = |site: &Site, directory: &str, more: &[&str]| {
        let root = site.path(directory).display().to_string();
        let user = if rustix::process::geteuid().is_root() { vec!["--user", "root"] } else { vec![] };
        site.rota(&[&["init", &root], more, &user[..]].concat())
    };
    let second = add(&site, "other", &[]);
    let file = site.path("apps.d/other.toml");
    let next = format!("next: write the site's names into hosts of {}, where other.invalid stands; then rota check", file.display());
    assert!(second.expect(0).out.contains(&next), "{}", second.out);
    let check = site.rota(&["check"]);
    let warning =
        "warning: app other: hosts: \"other.invalid\" is a place to fill in, which no visitor asks for: write the names of the site\n";
    assert_eq!((check.expect(0).err.as_str(), check.out.starts_with("ok, 1 warning: 2 apps")), (warning, true), "{}", check.out);
    let text = fs::read_to_string(&file).unwrap().replace("other.invalid", "other.test");
    fs::write(&file, text).unwrap();
    // A third whose directory is called as its site.
    copy(&site.path("current"), &site.path("shop.example.com/current"));
    let third = add(&site, "shop.example.com/current", &["--name", "shop"]);
    assert!(third.expect(0).out.contains("next: rota check"), "{}", third.out);
    assert_eq!(site.rota(&["check"]).expect(0).err, "");
    fs::write(site.path("other/VERSION"), "2").unwrap();
    serve(&mut site);
    let hosts: Vec<String> = site.status()["apps"].as_array().unwrap().iter().map(|app| app["app"].as_str().unwrap().to_owned()).collect();
    assert_eq!(hosts, ["app", "other", "shop"]);
}

#[test]
fn a_typo_in_another_app_s_file_is_named_and_the_new_file_is_right() {
    let site = fresh("program", &[]);
    fs::create_dir_all(site.path("apps.d")).unwrap();
    fs::write(site.path("apps.d/old.toml"), "root = \"/\"\nproceses = 2\n").unwrap();
    let said = init(&site, &[]);
    let warning = format!("warning: {}:2:1: unknown key \"proceses\"", site.path("apps.d/old.toml").display());
    assert!(said.expect(0).err.contains(&warning), "{}", said.err);
    assert!(said.out.contains("where app.invalid stands"), "{}", said.out);
    assert!(fs::read_to_string(site.path("apps.d/app.toml")).unwrap().contains("\nhosts = [\"app.invalid\"]\n"));
}

/// A release whose Procfile starts the fixture.
fn procfile(site: &Site, version: &str, line: &str) {
    site.release(version, "");
    fs::write(site.path("releases").join(version).join("Procfile"), format!("web: {line}\n")).unwrap();
}

fn fixture() -> String {
    format!("{} --exact fixture::fixture_app --nocapture", std::env::current_exe().unwrap().display())
}

#[test]
fn each_release_is_looked_at_and_one_in_which_nothing_is_found_changes_nothing() {
    let site = Site::with_app("processes = 2\n", "");
    procfile(&site, "1", &fixture());
    site.flip("1");
    let site = site.serve();
    let app = |site: &Site| site.status()["apps"][0].clone();
    assert_eq!((app(&site)["detected"].as_str(), app(&site)["concurrency"].as_u64()), (Some("the web line of the Procfile"), Some(100)));

    site.release("2", "");
    site.flip("2");
    let said = site.rota(&["restart", "app"]);
    said.expect(4);
    let release = site.path("releases/2").canonicalize().unwrap();
    assert!(
        said.out.contains(&format!("no command to start it: nothing in {} says how the app is started", release.display())),
        "{}",
        said.out
    );
    assert_eq!((wire::get(site.addr, "/").unwrap().text().as_str(), site.serving(1).len()), ("1", 2));
    // What was found for the first release is pinned: it is not looked for again.
    fs::remove_file(site.path("releases/1/Procfile")).unwrap();
    crate::site::kill(site.serving(1)[0], rustix::process::Signal::KILL);
    wait::until("it is replaced", secs(20), || site.serving(1).len() == 2);

    // Another kind of app, with another stop signal and number of slots.
    procfile(&site, "3", "./unicorn");
    let script = format!(
        "#!/bin/sh\ntrap 'echo quit >> {0}/shared/ended; kill $app' QUIT\ntrap 'echo term >> {0}/shared/ended; kill $app' TERM\n{1} &\napp=$!\nwait\nwait\n",
        site.path("").display(),
        fixture()
    );
    let unicorn = site.path("releases/3/unicorn");
    fs::write(&unicorn, script).unwrap();
    fs::set_permissions(&unicorn, fs::Permissions::from_mode(0o755)).unwrap();
    site.flip("3");
    site.rota(&["restart", "app"]).expect(0);
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "3");
    let slots: Vec<u64> = app(&site)["processes"].as_array().unwrap().iter().map(|process| process["slots"].as_u64().unwrap()).collect();
    assert_eq!((slots, app(&site)["command"].as_str()), (vec![1, 1], Some("./unicorn")));
    procfile(&site, "4", &fixture());
    site.flip("4");
    site.rota(&["restart", "app"]).expect(0);
    assert_eq!(fs::read_to_string(site.path("shared/ended")).unwrap(), "quit\nquit\n");
}

#[test]
fn what_the_configuration_says_wins_over_what_is_detected() {
    let site = Site::with_app("bind = \"unix\"\nconcurrency = 3\n", "");
    procfile(&site, "1", &fixture());
    site.flip("1");
    let site = site.serve();
    assert_eq!(site.status()["apps"][0]["processes"][0]["slots"], 3);
    assert!(fs::read_dir(site.path("run/app")).unwrap().any(|process| process.unwrap().path().join("app.sock").exists()));
}
