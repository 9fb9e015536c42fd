//! A place to start processes in, and a started process that ends with its test.

use std::cell::Cell;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rota::config::{Bind, SpawnAttributes, StartConfig};
use rota::errands::pace::Pace;
use rota::ids::{AppName, Generation, Number, ProcessName};
use rota::pool::{Failure, FailureKind};
use rota::restart::release::{self, Release};
use rota::restart::shim::ShimError;
use rota::restart::spawn::{LaunchRequest, Launched, launch};
use rota::sys::{self, Handle, Look, Unit};
use rustix::process::{Pid, WaitOptions};

use crate::wait::{secs, until};

pub const ROTA: &str = env!("CARGO_BIN_EXE_rota");
pub const NOFILE: u64 = 200;

/// Directories of one test, which other users can get to.
#[derive(Debug)]
pub struct Stage {
    dir: tempfile::TempDir,
    pub run_dir: PathBuf,
    serial: Cell<u32>,
    /// What executes itself as the shim.
    pub program: PathBuf,
}

impl Stage {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        Self { run_dir: dir.path().join("run"), dir, serial: Cell::new(0), program: ROTA.into() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A release in `root/` of the stage.
    pub fn release(&self, command: &[&str], bind: Bind) -> Release {
        self.release_of(command, bind, None)
    }

    pub fn release_of(&self, command: &[&str], bind: Bind, user: Option<&str>) -> Release {
        let start = StartConfig {
            command: Some(command.iter().map(|word| (*word).to_owned()).collect()),
            root: self.path("root"),
            bind: Some(bind),
            env_files: Vec::new(),
            env: Vec::new(),
            user: user.map(str::to_owned),
            group: None,
            concurrency: None,
            stop_signal: None,
            attributes: SpawnAttributes::default(),
        };
        release::resolve(&start, &Pace::of_command(), &[], Path::to_owned).unwrap()
    }

    pub fn start(&self, release: &Release) -> App {
        App { launched: self.launch(release).unwrap() }
    }

    /// In `run_dir/blog/2-1-RANDOM`, then `2-2-RANDOM` ...
    pub fn launch(&self, release: &Release) -> Result<Launched, Failure> {
        self.serial.set(self.serial.get() + 1);
        let name = ProcessName { app: AppName::new("blog").unwrap(), number: Number(2), generation: Generation(7) };
        launch(&LaunchRequest {
            program: &self.program,
            name,
            release,
            run_dir: &self.run_dir,
            serial: self.serial.get(),
            nofile: NOFILE,
            aside: false,
            survivors: false,
            cgroup: None,
        })
    }
}

/// A started process; it and its session end with this value.
#[derive(Debug)]
pub struct App {
    pub launched: Launched,
}

impl App {
    pub fn pid(&self) -> u32 {
        self.launched.unit.leader
    }

    pub fn unit(&self) -> &Unit {
        &self.launched.unit
    }

    /// Waits until the program runs, and has settled down to wait for something.
    pub fn runs(&mut self, program: &str) {
        let report = self.report();
        assert!(report.is_empty(), "{}", String::from_utf8_lossy(&report));
        until(&format!("pid {} is {program} and waits", self.pid()), secs(20), || {
            let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
            status.starts_with(&format!("Name:\t{program}\n")) && status.contains("\nState:\tS")
        });
    }

    /// What the shim says why it did not execute the program.
    pub fn refused(&mut self) -> FailureKind {
        let report = self.report();
        assert!(!report.is_empty(), "it was executed");
        ShimError::parse(&report).into_failure_kind()
    }

    fn report(&mut self) -> Vec<u8> {
        let mut report = Vec::new();
        self.launched.report.set_nonblocking(false).unwrap();
        self.launched.report.set_read_timeout(Some(secs(20))).unwrap();
        self.launched.report.read_to_end(&mut report).unwrap();
        report
    }

    /// A file of /proc/PID.
    pub fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid())).unwrap()
    }

    /// A field of /proc/PID/status.
    pub fn status(&self, field: &str) -> String {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {field} in {status}")).trim().to_owned()
    }

    pub fn variable(&self, name: &str) -> Option<String> {
        let prefix = format!("{name}=");
        self.proc("environ").split('\0').find_map(|variable| variable.strip_prefix(&prefix).map(str::to_owned))
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = sys::signal_child(self.pid(), sys::KILL);
        end_session(self.pid());
        // Other tests have children too: only this one is waited for.
        let _ = rustix::process::waitpid(Pid::from_raw(self.pid() as i32), WaitOptions::empty());
    }
}

/// Kills the members of a session.
pub fn end_session(session: u32) {
    let gone = Unit { leader: session, start: 0, dir: PathBuf::new(), uid: 0, survivors: false, cgroup: None };
    let unit = Unit::of_leader(session).unwrap_or(gone);
    for handle in Look::now().of(&unit).iter().filter_map(Handle::of) {
        handle.signal(sys::KILL);
    }
}

pub fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Changing users takes root; tests/run is root in CI.
pub fn we_are_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("not run: only root may start a process as another user");
    }
    root
}
