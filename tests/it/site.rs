//! A server under test: its directory, its releases, its process, and the commands that a user gives it. Everything that it started is gone
//! when the value is dropped, also when the test fails; its log is printed then.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::ports;
use crate::wait::{self, secs};
use crate::wire;

/// One server with one app, `app`.
#[derive(Debug)]
pub struct Site {
    dir: tempfile::TempDir,
    pub addr: SocketAddr,
    server: Option<Child>,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    #[track_caller]
    pub fn expect(&self, status: i32) -> &Self {
        assert_eq!(self.status, Some(status), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}

impl Site {
    /// Serves release 1, which behaves well, with these lines in the app's table (`processes = 4` ...).
    pub fn start(app: &str) -> Self {
        let site = Self::prepare(app);
        site.release("1", "");
        site.flip("1");
        site.serve()
    }

    /// Writes the configuration; release and server are the test's business.
    pub fn prepare(app: &str) -> Self {
        let fixture = std::env::current_exe().unwrap();
        let command = format!("command = [{:?}, \"--exact\", \"fixture::fixture_app\", \"--nocapture\"]\n", fixture.display().to_string());
        Self::with_app(&format!("{command}{app}"), "")
    }

    /// As [`Site::prepare`] for an app of any kind: the whole of its table but root, user and env.
    pub fn with_app(app: &str, env: &str) -> Self {
        let keys = |line: &&str| !line.trim_start().starts_with("server.");
        let (own, server): (Vec<&str>, Vec<&str>) = app.lines().partition(keys);
        let server: String = server.iter().map(|line| format!("{}\n", line.trim_start().trim_start_matches("server."))).collect();
        let site = Self::without_app(&server);
        let at = site.dir.path().display();
        // Every load has streams, and every drain ends some: soon, unless that is what the test is about.
        let drain = if app.contains("drain.upgraded") { "" } else { "drain.upgraded = \"1s\"\n" };
        let user = if rustix::process::geteuid().is_root() { "user = \"root\"\n" } else { "" };
        let table = format!(
            "\n[app.app]\nroot = \"{at}/current\"\n{user}{drain}{}\n[app.app.env]\nFIXTURE_DIR = \"{at}/shared\"\nIT_SITE = \"{at}\"\n{env}",
            own.join("\n")
        );
        let config = fs::read_to_string(site.path("rota.toml")).unwrap() + &table;
        fs::write(site.path("rota.toml"), config).unwrap();
        site
    }

    /// A configuration with these lines more in `[server]`, and no app.
    pub fn without_app(server: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("rota-it-").tempdir().unwrap();
        let addr = ports::free();
        for name in ["releases", "shared", "spool"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let at = dir.path().display();
        let config = format!(
            "[server]\nlisten = [\"{addr}\"]\ncontrol = \"{at}/run/control.sock\"\nrun_dir = \"{at}/run\"\nspool_dir = \"{at}/spool\"\nstate_dir = \"{at}/state\"\n{server}"
        );
        fs::write(dir.path().join("rota.toml"), config).unwrap();
        Self { dir, addr, server: None }
    }

    /// Starts the server and waits until the app answers.
    pub fn serve(mut self) -> Self {
        self.launch();
        self.wait_served();
        self
    }

    /// Waits until the app answers and its first start has ended.
    pub fn wait_served(&self) {
        let addr = self.addr;
        wait::until("the app answers", secs(60), || wire::get(addr, "/").is_ok_and(|reply| reply.status == 200));
        wait::until("all processes have proved themselves", secs(60), || self.status()["apps"][0]["walk"].is_null());
    }

    /// Starts the server and waits for nothing.
    pub fn launch(&mut self) {
        let log = fs::File::create(self.path("log")).unwrap();
        self.launch_into(Stdio::from(log.try_clone().unwrap()), Stdio::from(log));
    }

    /// As [`Site::launch`], with standard output and error of the test's choice.
    pub fn launch_into(&mut self, stdout: Stdio, stderr: Stdio) {
        self.launch_by(self.command(&["serve"]), stdout, stderr);
    }

    /// As [`Site::launch_into`], by a command of the test's choice.
    pub fn launch_by(&mut self, mut command: Command, stdout: Stdio, stderr: Stdio) {
        command.env("ROTA_FAULT_PANIC", self.path("panic")).env("ROTA_FAULT_MEMORY", self.path("memory"));
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        self.server = Some(command.spawn().unwrap());
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the release directory `releases/VERSION` of the fixture.
    pub fn release(&self, version: &str, behaviour: &str) {
        let dir = self.path("releases").join(version);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("VERSION"), version).unwrap();
        fs::write(dir.join("BEHAVIOUR"), behaviour).unwrap();
    }

    /// Points `current` at a release, in one step.
    pub fn flip(&self, version: &str) {
        let link = self.path("next");
        std::os::unix::fs::symlink(self.path("releases").join(version), &link).unwrap();
        fs::rename(&link, self.path("current")).unwrap();
    }

    /// A new release, and the restart command's whole answer.
    pub fn deploy(&self, version: &str, behaviour: &str) -> Said {
        self.release(version, behaviour);
        self.flip(version);
        self.rota(&["restart", "app"])
    }

    /// Runs a command of rota's to its end.
    pub fn rota(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rota"));
        command.args(arguments).arg("--config").arg(self.path("rota.toml"));
        command
    }

    /// The program in the site's own directory: one to replace, and one that other users get to.
    pub fn own_program(&self) -> PathBuf {
        let program = self.path("rota");
        fs::copy(env!("CARGO_BIN_EXE_rota"), &program).unwrap();
        program
    }

    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("the server was started").id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// Waits for the server's end; its exit status, None if a signal ended it.
    pub fn wait_end(&mut self, limit: Duration) -> Option<i32> {
        let server = self.server.as_mut().expect("the server was started");
        wait::found("the server ends", limit, || server.try_wait().unwrap()).code()
    }

    pub fn status(&self) -> serde_json::Value {
        let said = self.rota(&["status", "--json"]);
        said.expect(0);
        serde_json::from_str(&said.out).unwrap()
    }

    /// The app's processes in the status: (number, generation, pid, state).
    pub fn processes(&self) -> Vec<(u64, u64, u32, String)> {
        let status = self.status();
        let processes = status["apps"][0]["processes"].as_array().unwrap();
        let one = |process: &serde_json::Value| {
            let number = |key: &str| process[key].as_u64().unwrap_or_default();
            (number("number"), number("generation"), number("pid") as u32, process["state"].as_str().unwrap().to_owned())
        };
        processes.iter().map(one).collect()
    }

    /// How many requests wait in the queue.
    pub fn waiting(&self) -> u64 {
        self.status()["apps"][0]["queue"]["length"].as_u64().unwrap()
    }

    /// Pids of the serving processes of a generation.
    pub fn serving(&self, generation: u64) -> Vec<u32> {
        self.processes().into_iter().filter(|(_, g, _, state)| *g == generation && state == "serving").map(|(_, _, pid, _)| pid).collect()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// What reached an app with `?mark=`.
    pub fn marks(&self) -> Vec<String> {
        fs::read_to_string(self.path("shared/marks")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Of each process of the fixture: its app, the most connections that rota held to it at a time, and how many it opened.
    pub fn connections(&self) -> Vec<(String, u64, u64)> {
        connections(self.dir.path())
    }

    /// Lets `/hold?name=NAME` answer.
    pub fn open(&self, name: &str) {
        fs::write(self.path("shared").join(format!("open-{name}")), "").unwrap();
    }

    /// Processes that have this site's directory in their environment: whatever was started for it.
    pub fn left(&self) -> Vec<u32> {
        of_site(self.dir.path())
    }
}

/// Pids of the processes that were started for a site.
fn of_site(dir: &Path) -> Vec<u32> {
    let needle = format!("IT_SITE={}", dir.display());
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_ours = |pid: &u32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|variable| variable == needle.as_bytes())
    };
    pids.filter(is_ours).collect()
}

fn connections(dir: &Path) -> Vec<(String, u64, u64)> {
    let files = fs::read_dir(dir.join("shared")).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let one = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_prefix("connections-")?.rsplit_once('-')?.0.to_owned();
        let text = fs::read_to_string(&path).ok()?;
        // A process that was killed while it wrote has left it empty.
        let (most, all) = text.split_once(' ')?;
        Some((name, most.parse().ok()?, all.parse().ok()?))
    };
    files.filter_map(one).collect()
}

/// What the fixture saw of its server ([`crate::fixture`]): never more connections to a process than requests at a time and one to look
/// whether it is ready, and nothing that no server may do.
fn verdict(dir: &Path) {
    let config = fs::read_to_string(dir.join("rota.toml")).unwrap_or_default();
    // Of several apps the most: none has more than it may where each is given the same.
    let of_line = |line: &str| line.strip_prefix("concurrency = ")?.parse().ok();
    let concurrency: u64 = config.lines().filter_map(of_line).max().unwrap_or(100);
    for (app, most, _) in connections(dir) {
        assert!(most <= concurrency + 1, "{app}: {most} connections at a time to a process that takes {concurrency} requests");
    }
    let complaints = fs::read_to_string(dir.join("shared/complaints")).unwrap_or_default();
    assert!(complaints.is_empty(), "the app complains:\n{complaints}");
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            if std::thread::panicking() {
                let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let _ = writeln!(std::io::stderr(), "── the server's log ──\n{}", lines[lines.len().saturating_sub(120)..].join("\n"));
            }
            let _ = server.kill();
            let _ = server.wait();
        }
        let gone = wait::becomes_so(secs(10), &mut || of_site(self.dir.path()).is_empty());
        if !gone {
            let left = of_site(self.dir.path());
            for pid in &left {
                kill(*pid, Signal::KILL);
            }
            assert!(std::thread::panicking(), "processes were left after the server was killed: {left:?}");
        }
        if !std::thread::panicking() {
            verdict(self.dir.path());
        }
    }
}

pub fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).expect("a pid");
    // It may have ended in this very moment.
    let _ = rustix::process::kill_process(pid, signal);
}
