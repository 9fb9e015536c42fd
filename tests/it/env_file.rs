//! Variables from files: read at each restart, kept until the next one, and never shown.

use std::fs;

use rustix::process::Signal;

use crate::site::{Site, kill};
use crate::wait::{self, secs};
use crate::wire;

const APP: &str = "bind = \"unix\"\nprobation = \"1ms\"\n";

/// A file of the site's directory and one of the release.
fn serve() -> Site {
    let site = Site::prepare(APP);
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    let file = site.path("shared/app.env").display().to_string();
    let config = config.replace("[app.app]\n", &format!("[app.app]\nenv_file = [{file:?}, \".env\"]\n"));
    fs::write(site.path("rota.toml"), config.replace("[app.app.env]\n", "[app.app.env]\nOWN = \"env\"\n")).unwrap();
    write(&site, "A=1\nB='one\ntwo'\nOWN=file\nC=shared\n");
    release(&site, "1", "C=release\n");
    site.flip("1");
    site.serve()
}

fn write(site: &Site, text: &str) {
    fs::write(site.path("shared/app.env"), text).unwrap();
}

fn release(site: &Site, version: &str, env: &str) {
    site.release(version, "");
    fs::write(site.path("releases").join(version).join(".env"), env).unwrap();
}

fn variable(site: &Site, name: &str) -> Option<String> {
    let env = wire::get(site.addr, "/env").unwrap().text();
    env.lines().find_map(|line| line.strip_prefix(&format!("{name}=")).map(str::to_owned))
}

#[test]
fn a_file_is_read_at_each_restart_and_kept_until_the_next_one() {
    let site = serve();
    let all = ["A", "B", "C", "OWN"].map(|name| variable(&site, name));
    assert_eq!(all, ["1", "one", "release", "env"].map(|value| Some(value.to_owned())), "env wins, then the later file");
    // What is on the disk by now is for the next restart.
    write(&site, "A=2\n");
    let old = site.serving(1)[0];
    kill(old, Signal::KILL);
    wait::until("it is replaced", secs(20), || site.serving(1).first().is_some_and(|pid| *pid != old));
    assert_eq!(variable(&site, "A").as_deref(), Some("1"));
    site.rota(&["restart", "app"]).expect(0);
    assert_eq!((variable(&site, "A").as_deref(), variable(&site, "B")), (Some("2"), None));
}

#[test]
fn variables_that_others_may_write_start_nothing() {
    let site = serve();
    let set = |name: &str, mode: u32| fs::set_permissions(site.path(name), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    for (name, mode) in [("shared/app.env", 0o666), ("shared", 0o777), ("releases/1/.env", 0o606), ("releases", 0o757)] {
        let before = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(site.path(name)).unwrap().permissions());
        set(name, mode);
        let why = format!("anybody may write to {} (mode {mode:04o})", site.path(name).display());
        let checked = site.rota(&["check"]);
        assert!(checked.status == Some(1) && checked.err.contains(&why), "{}", checked.err);
        let restarted = site.rota(&["restart", "app"]);
        assert!(restarted.status == Some(4) && format!("{restarted:?}").contains(&why), "{restarted:?}");
        set(name, before);
    }
    site.rota(&["check"]).expect(0);
    site.rota(&["restart", "app"]).expect(0);
}

#[test]
fn a_file_that_is_wrong_fails_the_restart_with_its_line_and_without_its_text() {
    let site = serve();
    let path = site.path("shared/app.env").display().to_string();
    for (text, what) in [
        ("A=2\nPASSWORD hunter2\n", "line 2: there is no \"=\""),
        ("PASSWORD='hunter2\n", "line 1: a single quote is not closed"),
        ("PASSWORD=x\nSOCKET=/hunter2\n", "line 2: rota sets this variable itself"),
    ] {
        write(&site, text);
        let said = site.rota(&["restart", "app"]);
        assert!(
            said.expect(4).err.contains(&format!("env_file {path}: {what}")) || said.out.contains(&format!("env_file {path}: {what}")),
            "{said:?}"
        );
        let checked = site.rota(&["check"]);
        assert!(checked.expect(1).err.contains(&format!("app app: env_file {path}: {what}")), "{}", checked.err);
        assert!(!format!("{said:?}{checked:?}{}", site.log()).contains("hunter2"), "{}", site.log());
        assert_eq!(variable(&site, "A").as_deref(), Some("1"));
    }
    fs::remove_file(site.path("shared/app.env")).unwrap();
    let said = site.rota(&["restart", "app"]);
    said.expect(4);
    assert!(site.log().contains(&format!("env_file {path}: No such file or directory")), "{}", site.log());
    write(&site, "A=3\n");
    site.rota(&["restart", "app"]).expect(0);
    assert_eq!(variable(&site, "A").as_deref(), Some("3"));
}
