//! Starts that fail: each kind says what it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rota::config::{Bind, ResourceLimit, SpawnAttributes};
use rota::pool::FailureKind;
use rota::restart::release::Release;

use crate::stage::{Stage, we_are_root};

fn refusal(stage: &Stage, command: &[&str]) -> FailureKind {
    stage.start(&stage.release(command, Bind::Unix)).refused()
}

fn script(stage: &Stage, first_line: &str, mode: u32) {
    fs::write(stage.path("root/start"), format!("{first_line}\nexec sleep 1000\n")).unwrap();
    fs::set_permissions(stage.path("root/start"), fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_program_that_is_not_there_is_named_with_the_path_that_was_searched() {
    let kind = refusal(&Stage::new(), &["no-such-program-here"]);
    assert!(
        matches!(&kind, FailureKind::Command(text) if text.starts_with("no-such-program-here: No such file") && text.contains("PATH")),
        "{kind:?}"
    );
}

#[test]
fn a_file_that_may_not_be_executed_is_another_mistake() {
    let stage = Stage::new();
    script(&stage, "#!/bin/sh", 0o644);
    let kind = refusal(&stage, &["./start"]);
    assert!(matches!(&kind, FailureKind::Command(text) if text.starts_with("./start: Permission denied")), "{kind:?}");
}

#[test]
fn a_script_whose_interpreter_is_missing_or_ends_in_cr_is_named_with_it() {
    let stage = Stage::new();
    for (first_line, expected) in [
        ("#!/no/such/interpreter", "asks for /no/such/interpreter, which is not there"),
        ("#!/usr/bin/env no-such-program-here", "asks for no-such-program-here, which is in no directory of PATH ("),
        ("#!/usr/bin/env sh\r", "is #!/usr/bin/env sh and a CR, as lines end on Windows"),
    ] {
        script(&stage, first_line, 0o755);
        let kind = refusal(&stage, &["./start"]);
        let expected = format!("{}: its first line {expected}", stage.path("root/start").display());
        assert!(matches!(&kind, FailureKind::Command(text) if text.starts_with(&expected)), "{kind:?}");
    }
}

#[test]
fn a_release_that_has_gone_since_it_was_resolved_is_named() {
    let stage = Stage::new();
    let release = stage.release(&["sleep", "1000"], Bind::Unix);
    fs::remove_dir(stage.path("root")).unwrap();
    let kind = stage.start(&release).refused();
    let root = stage.path("root");
    assert!(matches!(&kind, FailureKind::Spawn(text) if text.starts_with(&format!("root {}: No such file", root.display()))), "{kind:?}");
}

#[test]
fn what_the_kernel_does_not_grant_is_named_with_its_number() {
    let stage = Stage::new();
    let most: u64 = fs::read_to_string("/proc/sys/fs/nr_open").unwrap().trim().parse().unwrap();
    let rlimits = vec![(ResourceLimit::Nofile, Some(most + 1))];
    let attributes = SpawnAttributes { rlimits, ..SpawnAttributes::default() };
    let kind = stage.start(&Release { attributes, ..stage.release(&["sleep", "1000"], Bind::Unix) }).refused();
    let expected = format!("limits.nofile {}: Operation not permitted", most + 1);
    assert!(matches!(&kind, FailureKind::Spawn(text) if text.starts_with(&expected)), "{kind:?}");
}

#[test]
fn a_user_that_rota_may_not_become_is_refused() {
    let stage = Stage::new();
    let mut release = stage.release_of(&["sleep", "1000"], Bind::Unix, Some("nobody"));
    if we_are_root() {
        // The root of the release is closed to it.
        fs::set_permissions(stage.path("root"), fs::Permissions::from_mode(0o700)).unwrap();
        let kind = stage.start(&release).refused();
        assert!(matches!(&kind, FailureKind::Spawn(text) if text.contains("root: Permission denied")), "{kind:?}");
    } else {
        // Its directory could not be given to that user either: the shim alone is asked.
        release.user = release.user.map(|user| rota::restart::release::Identity { uid: rustix::process::geteuid().as_raw(), ..user });
        let kind = stage.start(&release).refused();
        assert!(matches!(&kind, FailureKind::User(_)), "{kind:?}");
    }
}
