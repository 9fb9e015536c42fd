//! rota itself does not run for a while (SIGSTOP; a machine that was suspended): what became due meanwhile is not held against an app before
//! rota has looked at it.

use std::process::Stdio;

use rustix::process::Signal;

use crate::site::Site;
use crate::traffic::{ALL, Load};
use crate::wait::{self, secs};
use crate::wire;

/// Longer than `ready.timeout` and what the table gives on top of it.
const ASLEEP: std::time::Duration = secs(8);

const APP: &str = "processes = 1\nconcurrency = 4\nbind = \"unix\"\nready.timeout = \"1s\"";

/// Deploys release 2, and stops rota for a while as soon as its log says so.
fn sleep_over(site: &Site, behaviour: &str, when: &str) -> std::process::Output {
    site.release("2", behaviour);
    site.flip("2");
    let mut command = site.command(&["restart", "app"]);
    let waiting = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait::until(when, secs(20), || site.log().lines().any(|line| line.contains(" g2 ") && line.contains(when)));
    site.signal(Signal::STOP);
    std::thread::sleep(ASLEEP);
    site.signal(Signal::CONT);
    waiting.wait_with_output().unwrap()
}

#[test]
fn a_process_that_became_ready_while_rota_slept_is_ready() {
    let site = Site::start(&format!("{APP}\nprobation = \"50ms\""));
    let load = Load::start(site.addr, &ALL[..2]);
    let output = sleep_over(&site, "boot_delay 500", "started");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "2");
    load.stop().expect_no_failure(&[]);
}

#[test]
fn a_process_that_died_in_its_probation_while_rota_slept_has_not_proved_itself() {
    let site = Site::start(&format!("{APP}\nprobation = \"2s\""));
    let output = sleep_over(&site, "dies_after 1000", "ready after");
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
}
