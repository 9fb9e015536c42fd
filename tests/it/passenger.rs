//! rota under the names of Phusion Passenger's commands, as deploy scripts call them.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::site::{Said, Site};
use crate::wait::{self, secs};

/// `called` is a link to rota.
fn by_name(site: &Site, called: &str, arguments: &[&str]) -> Said {
    let link = site.path(called);
    if !link.exists() {
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rota"), &link).unwrap();
    }
    said(Command::new(link).args(arguments).arg("--config").arg(site.path("rota.toml")))
}

fn said(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

fn generation(site: &Site) -> u64 {
    site.status()["apps"][0]["generation"].as_u64().unwrap()
}

#[test]
fn restart_app_restarts_what_lies_under_a_path_and_does_not_wait() {
    let mut site = Site::start("probation = \"1ms\"");
    let root = site.path("current").display().to_string();
    let deploy_to = site.path("").display().to_string();
    let restart = |arguments: &[&str]| by_name(&site, "passenger-config", &[&["restart-app"], arguments].concat());
    for (number, arguments) in [
        // As capistrano-passenger has it.
        &[deploy_to.trim_end_matches('/'), "--ignore-app-not-running"][..],
        &[&root, "--rolling-restart", "--ignore-app-not-running", "--ignore-passenger-not-running"],
        &["--name", "app"],
        &[&format!("--name={root}")],
        &["--instance", "x", &root],
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(restart(arguments).expect(0).out, format!("Restarting {root}\n"));
        wait::until("it has restarted", secs(20), || generation(&site) == number as u64 + 2);
    }
    // The program is called so, whatever the file is.
    let mut called = Command::new(env!("CARGO_BIN_EXE_rota"));
    called.arg0("passenger-config").args(["restart-app", &root, "--config"]).arg(site.path("rota.toml"));
    said(&mut called).expect(0);
    wait::until("it has restarted", secs(20), || generation(&site) == 7);

    let nothing = restart(&["/nowhere"]);
    assert!(nothing.status == Some(1) && nothing.err.contains("no app under /nowhere"), "{nothing:?}");
    assert!(restart(&["/nowhere", "--ignore-app-not-running"]).expect(0).out.contains("no app under /nowhere"));
    // Nobody is there to be asked.
    let unnamed = restart(&[]);
    assert!(unnamed.status == Some(1) && unnamed.err.contains("usage: passenger-config restart-app"), "{unnamed:?}");
    assert_eq!(restart(&[&root, "--rolling"]).status, Some(1));
    assert_eq!(generation(&site), 7);

    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(40)), Some(0));
    let restart = |arguments: &[&str]| by_name(&site, "passenger-config", &[&["restart-app"], arguments].concat());
    let gone = restart(&[&root]);
    assert!(gone.status == Some(1) && gone.err.contains("not running"), "{gone:?}");
    restart(&[&root, "--ignore-passenger-not-running"]).expect(0);
}

#[test]
fn status_and_memory_are_laid_out_as_scripts_read_them() {
    let mut site = Site::start("processes = 2\nprobation = \"1ms\"");
    let root = site.path("current").display().to_string();
    let status = by_name(&site, "passenger-status", &[]);
    let text = &status.expect(0).out;
    for line in [
        "----------- General information -----------",
        "Max pool size : 2",
        "App groups    : 1",
        "Processes     : 2",
        "Requests in top-level queue : 0",
        "----------- Application groups -----------",
        &format!("{root}:"),
        &format!("  App root: {root}"),
        "  Requests in queue: 0",
    ] {
        assert!(text.lines().any(|known| known == line), "{line:?} is missing:\n{text}");
    }
    for pid in site.serving(1) {
        let line = text.lines().find(|line| line.starts_with(&format!("  * PID: {pid} "))).unwrap_or_else(|| panic!("{pid}:\n{text}"));
        assert!(line.contains("Sessions: 0 ") && line.contains("Processed: ") && line.contains("Uptime: "), "{line}");
    }
    assert!(!by_name(&site, "passenger-status", &["--no-header"]).expect(0).out.contains("Version"), "{text}");
    assert!(by_name(&site, "passenger-status", &["--show=requests"]).expect(0).out.starts_with('{'));
    let xml = by_name(&site, "passenger-status", &["--show=xml"]);
    assert!(xml.status == Some(1) && xml.err.contains("rota status --json"), "{xml:?}");
    let memory = by_name(&site, "passenger-memory-stats", &[]);
    assert!(memory.expect(0).out.contains("### Processes: 3\n"), "{}", memory.out);

    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(40)), Some(0));
    assert!(by_name(&site, "passenger-status", &[]).status == Some(1));
    assert!(by_name(&site, "passenger-memory-stats", &[]).expect(0).out.contains("### Processes: 0\n"));
}
