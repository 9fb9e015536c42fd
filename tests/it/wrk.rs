//! wrk as a client: it keeps a few connections busy as fast as it can, until it is stopped, and counts what went wrong.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::site::kill;

/// A running wrk.
#[derive(Debug)]
pub struct Wrk(Option<Child>);

impl Wrk {
    pub fn start(addr: SocketAddr, path: &str) -> Wrk {
        let mut command = Command::new("wrk");
        command.args(["-t1", "-c4", "-d600s", "--timeout", "20s"]).arg(format!("http://{addr}{path}"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        Wrk(Some(child.expect("wrk is installed: run tests/setup")))
    }

    /// How many requests were answered; panics with wrk's report when one was not, or not with 200.
    #[track_caller]
    pub fn stop_clean(mut self) -> usize {
        let child = self.0.take().expect("it is stopped once");
        // It ends its count and reports.
        kill(child.id(), Signal::INT);
        let output = child.wait_with_output().unwrap();
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        // Both lines are there only when there is something to say.
        assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
        let requests = report.lines().find_map(|line| line.trim().split_once(" requests in "));
        requests.and_then(|(count, _)| count.parse().ok()).unwrap_or_else(|| panic!("no count in wrk's report:\n{report}"))
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
