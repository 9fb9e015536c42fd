//! Orders to rota in a storm: each is given and not waited for; at the end every one has to have been answered as documented.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use super::plan::{How, Order, Release};
use crate::site::Site;
use crate::wait::{self, secs};

/// The orders of a schedule.
#[derive(Debug, Default)]
pub struct Orders {
    given: Vec<(String, Child)>,
    /// Versions of the releases, and what they do.
    pub releases: BTreeMap<String, &'static str>,
}

/// The walks whose end was told: generation and outcome.
pub type Told = Vec<(u64, String)>;

impl Orders {
    /// Writes a release directory.
    pub fn release(&mut self, site: &Site, release: Release) -> String {
        let version = (self.releases.len() + 1).to_string();
        site.release(&version, release.0);
        fs::create_dir(site.path("releases").join(&version).join("tmp")).unwrap();
        self.releases.insert(version.clone(), release.0);
        version
    }

    pub fn give(&mut self, order: &Order, site: &Site) {
        match order {
            Order::Deploy(release) => {
                let version = self.release(site, *release);
                let directory = site.path("releases").join(&version).display().to_string();
                self.command(site, &["deploy", "app", &directory]);
            }
            Order::Flip(release, how) => {
                let version = self.release(site, *release);
                site.flip(&version);
                match how {
                    How::Command => self.command(site, &["restart", "app"]),
                    How::Blocking => self.command(site, &["restart", "app", "--blocking"]),
                    How::Signal => site.signal(Signal::USR2),
                    How::File => touch(site),
                }
            }
            Order::Restart => self.command(site, &["restart"]),
            Order::Rollback => self.command(site, &["rollback", "app"]),
            Order::Abort => self.command(site, &["abort", "app"]),
            Order::Pause { millis } => say(site, &format!("\"do\":\"pause\",\"app\":\"app\",\"seconds\":{}", *millis as f64 / 1000.0)),
            Order::Resume => say(site, "\"do\":\"resume\",\"app\":\"app\""),
            Order::Detach { number } => say(site, &format!("\"do\":\"detach\",\"app\":\"app\",\"number\":{number}")),
        }
    }

    fn command(&mut self, site: &Site, arguments: &[&str]) {
        let mut command = site.command(arguments);
        command.arg("--json").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.given.push((arguments.join(" "), command.spawn().unwrap()));
    }

    /// Waits for the end of all; Err: one has none, or not a documented one.
    pub fn collect(&mut self) -> Result<Told, String> {
        let mut told = Told::new();
        for (what, mut child) in self.given.drain(..) {
            let ended = wait::becomes_so(secs(60), &mut || child.try_wait().is_ok_and(|status| status.is_some()));
            if !ended {
                let _ = child.kill();
            }
            let output = child.wait_with_output().unwrap();
            let (out, err) = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
            let documented = matches!(output.status.code(), Some(0 | 1 | 4..=8));
            if !ended || !documented {
                return Err(format!("rota {what}: ended {ended} with {:?}\n{out}{err}", output.status));
            }
            let replies = out.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let ends = replies.filter(|reply| reply["event"] == "ended");
            told.extend(ends.map(|end| (end["generation"].as_u64().unwrap_or(0), end["outcome"].as_str().unwrap_or("").to_owned())));
        }
        Ok(told)
    }
}

impl Drop for Orders {
    fn drop(&mut self) {
        for (_, child) in &mut self.given {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One request on the control socket, and what is answered in a short time; a server that is stopped or short of descriptors says nothing.
fn say(site: &Site, what: &str) {
    let Ok(mut stream) = UnixStream::connect(site.path("run/control.sock")) else { return };
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let _ = stream.write_all(format!("{{\"v\":1,{what}}}\n").as_bytes());
    let _ = stream.read(&mut [0; 1024]);
}

fn touch(site: &Site) {
    let file = fs::File::options().create(true).append(true).open(site.path("current/tmp/restart.txt")).unwrap();
    file.set_modified(SystemTime::now()).unwrap();
}
