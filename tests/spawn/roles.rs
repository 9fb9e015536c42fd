//! What this binary is when it starts itself: a parent in a bad state that may be killed, and apps that listen. They are tests only in form.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use nix::sys::signal::{SigSet, Signal};
use rota::config::Bind;
use rota::restart::keeper::Keeper;

use crate::stage::{ROTA, Stage, end_session};

/// A process that has started an app as rota does, and its app.
#[derive(Debug)]
pub struct Parent {
    process: Child,
    /// It ends at the end of file.
    _stdin: ChildStdin,
    /// Holds what it makes: killed, it cannot clear that away.
    _dir: tempfile::TempDir,
    pub app: u32,
    pub keeper: u32,
}

impl Parent {
    /// `state`: what bash does before it becomes the parent.
    pub fn start(state: &str, app: &[&str], bind: &str) -> Self {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{state}\nexec \"$@\""), "bash"]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "roles::parent", "--ignored", "--nocapture", "--quiet"]);
        command.env("SPAWN_TEST_APP", serde_json::to_string(app).unwrap()).env("SPAWN_TEST_BIND", bind);
        let dir = tempfile::tempdir().unwrap();
        let mut process = command.env("TMPDIR", dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = process.stdin.take().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        let said = stdout.lines().map(Result::unwrap).find_map(|line| Some(line.split_once("started ")?.1.to_owned()));
        let said = said.expect("the parent did not start its app");
        let (app, keeper) = said.split_once(' ').unwrap();
        Self { process, _stdin: stdin, _dir: dir, app: app.parse().unwrap(), keeper: keeper.parse().unwrap() }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        end_session(self.app);
    }
}

#[test]
#[ignore = "a role, started by other tests"]
fn parent() {
    let app: Vec<String> = serde_json::from_str(&std::env::var("SPAWN_TEST_APP").unwrap()).unwrap();
    let bind = if std::env::var("SPAWN_TEST_BIND").unwrap() == "fd" { Bind::Fd } else { Bind::Unix };
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGUSR2);
    blocked.add(Signal::SIGTERM);
    blocked.thread_block().unwrap();
    // Not every place allows it.
    let _ = fs::write("/proc/self/oom_score_adj", "-10");
    let mut keeper = Keeper::start(Path::new(ROTA), None, std::iter::empty()).unwrap();
    let stage = Stage::new();
    let words: Vec<&str> = app.iter().map(String::as_str).collect();
    let mut app = stage.start(&stage.release(&words, bind));
    keeper.born(app.unit()).unwrap();
    app.runs(words[0]);
    println!("started {} {}", app.pid(), keeper.pid());
    let _ = std::io::stdin().read(&mut [0]);
}

/// A process of an app's user that puts a symlink in the place of each socket `DIR/2-N-RANDOM/app.sock`, as soon as it can. Ends with this
/// value.
#[derive(Debug)]
pub struct Swapper(Child);

impl Swapper {
    pub fn start(dir: &Path, to: &Path, uid: u32, gid: u32) -> Self {
        // Another user may not get to this test binary; perl is everybody's (and part of every Debian).
        let mut command = Command::new("perl");
        command.args(["-e", SWAP]).arg(dir).arg(to).uid(uid).gid(gid);
        let mut process = command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        process.stdout.take().unwrap().read_exact(&mut ready).unwrap();
        Self(process)
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Nothing between the two system calls that matter: the window is between two of root's.
const SWAP: &str = r#"
    my ($dir, $to) = @ARGV;
    $| = 1;
    print "ready\n";
    my %seen;
    for (;;) {
        opendir(my $names, $dir) or next;
        for my $name (grep { /^2-/ && !$seen{$_}++ } readdir $names) {
            my ($place, $turns) = ("$dir/$name/app.sock", 0);
            until (unlink($place) && symlink($to, $place)) {
                # Too late for this one.
                last if ++$turns > 20000;
            }
        }
    }
"#;

/// Command line of an app that listens where it is told and says hello to everybody.
pub fn listening_app() -> [String; 4] {
    let us = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    [us, "--exact".to_owned(), "roles::listens".to_owned(), "--ignored".to_owned()]
}

#[test]
#[ignore = "a role, started by other tests"]
fn listens() {
    if let Ok(port) = std::env::var("PORT") {
        let address = if std::env::current_dir().unwrap().join("everywhere").exists() { "0.0.0.0" } else { "127.0.0.1" };
        let listener = TcpListener::bind(format!("{address}:{port}")).unwrap();
        listener.incoming().for_each(|stream| stream.unwrap().write_all(b"hello").unwrap());
    } else if let Ok(path) = std::env::var("SOCKET") {
        let listener = UnixListener::bind(path).unwrap();
        listener.incoming().for_each(|stream| stream.unwrap().write_all(b"hello").unwrap());
    } else {
        let listener = listenfd::ListenFd::from_env().take_unix_listener(0).unwrap().unwrap();
        listener.incoming().for_each(|stream| stream.unwrap().write_all(b"hello").unwrap());
    }
}
