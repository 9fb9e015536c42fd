//! What the members of `server.control_group` may do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::site::{Said, Site};

/// Groups of every Debian, and a user who is in none of them.
const DAEMON: u32 = 1;
const NOGROUP: u32 = 65534;
const NOBODY: u32 = 65534;

#[test]
fn the_group_looks_and_does_not_operate_and_others_do_neither() {
    // Only root can become another user.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let site = Site::start("server.control_group = \"daemon\"\nprocesses = 1");
    let program = site.own_program();
    // A directory of the test's is closed to others; one of a server's is not.
    fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o711)).unwrap();
    let run = |group: u32, arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).arg("--config").arg(site.path("rota.toml")).current_dir("/").stdin(Stdio::null());
        let output = command.uid(NOBODY).gid(group).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    };
    for look in [&["status", "--json"][..], &["history", "app"], &["requests"]] {
        run(DAEMON, look).expect(0);
        assert_ne!(run(NOGROUP, look).status, Some(0), "{look:?}");
    }
    for operate in [&["restart", "app"][..], &["pause", "app"], &["stop"]] {
        let said = run(DAEMON, operate);
        assert!(said.status != Some(0) && said.err.contains("uid 65534 may only look"), "{operate:?}: {said:?}");
    }
    assert_eq!(site.status()["apps"][0]["generation"], 1);
    site.rota(&["restart", "app"]).expect(0);
}
