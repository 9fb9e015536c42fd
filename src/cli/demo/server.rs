//! The real server on the demo's stage: `rota serve` as a child, and `rota restart` and `rota status` as a user would type them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::command::{self, Running};
use super::place::{APP, Place};
use super::story::{Spoken, Stage};

/// A server that runs from [`Server::start`] until [`Server::stop`]; dropping it stops it as well.
#[derive(Debug)]
pub struct Server {
    exe: PathBuf,
    config: PathBuf,
    address: SocketAddr,
    child: Child,
}

impl Server {
    /// Writes the configuration and starts the server. It does not wait until it answers.
    pub fn start(place: &Place) -> io::Result<Self> {
        let exe = std::env::current_exe()?;
        // Free now, and taken again a moment later by the server.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        place.write_config(address, &exe, rustix::process::geteuid().is_root())?;
        let log = place.create_log()?;
        let mut serve = Command::new(&exe);
        serve.arg("serve").arg("--config").arg(place.config());
        serve.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // What a service manager told the demo does not concern the server.
        for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] {
            serve.env_remove(variable);
        }
        let child = command::own_group(&mut serve).spawn()?;
        Ok(Self { exe, config: place.config(), address, child })
    }

    /// Ends it. Gives false when it had to be killed.
    pub fn stop(&mut self) -> io::Result<bool> {
        command::stop(&mut self.child, PATIENCE)
    }

    fn command(&self, words: &[&str]) -> io::Result<Box<dyn Spoken>> {
        let running = Running::start(Command::new(&self.exe).args(words).arg("--config").arg(&self.config))?;
        Ok(Box::new(running))
    }
}

impl Stage for Server {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn restart(&mut self) -> io::Result<Box<dyn Spoken>> {
        self.command(&["restart", APP])
    }

    fn status(&mut self) -> io::Result<Box<dyn Spoken>> {
        self.command(&["status", "--json"])
    }

    fn gone(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(format!("rota serve ended: {}", command::exit(status))),
            Err(why) => Some(format!("rota serve: {why}")),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(why) = self.stop() {
            eprintln!("rota demo: rota serve (pid {}): {why}", self.child.id());
        }
    }
}

/// From SIGTERM to SIGKILL. The app ends at once and nothing is in flight, so this is long.
const PATIENCE: Duration = Duration::from_secs(8);
