//! Real app servers as their users run them: gunicorn, uvicorn, puma and node, each through a good release, one that does not start, a
//! killed process, and a good one again. What is not installed is an error, never a skip: run tests/setup.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::site::{Site, kill};
use crate::tally::{Result_, Tally};
use crate::traffic::{ALL, Kind, Load, names};
use crate::wait::{self, millis, secs};
use crate::wire;
use crate::wrk::Wrk;

/// One stack.
struct Stack {
    dir: &'static str,
    /// The app's table, without root and user.
    app: String,
    /// The file that a broken release breaks, what is put into it, and what the server says to that.
    breaks: (&'static str, &'static str, &'static str),
}

/// Everything but the largest body, for the four apps are small and slow, and but the streams, which they do not have.
fn kinds() -> Vec<Kind> {
    ALL.into_iter().filter(|(name, _)| !matches!(*name, "slow reader" | "sse" | "websocket")).collect()
}

/// Clients of ours, which look at every byte, and wrk, which is quick.
struct Visitors {
    load: Load,
    wrk: Wrk,
}

impl Visitors {
    fn start(site: &Site) -> Self {
        Self { load: Load::start(site.addr, &kinds()), wrk: Wrk::start(site.addr, "/bytes?n=10000") }
    }

    /// The whole count; wrk has no failure in it, or this panics.
    fn stop(self) -> Tally {
        let mut tally = self.load.stop();
        for _ in 0..self.wrk.stop_clean() {
            tally.count("wrk", Result_::Ok);
        }
        tally
    }
}

/// Requests that each stack must answer; more with ROTA_TEST_REQUESTS.
fn wanted() -> usize {
    std::env::var("ROTA_TEST_REQUESTS").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000)
}

fn manifest() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program of the environment that tests/setup makes.
pub fn python(program: &str) -> String {
    let venv = std::env::var_os("ROTA_TEST_VENV").map_or_else(|| manifest().join("target/test-venv"), PathBuf::from);
    let path = venv.join("bin").join(program);
    assert!(path.exists(), "{} is missing: run tests/setup", path.display());
    path.display().to_string()
}

fn installed(program: &str) -> String {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap()).map(|dir| dir.join(program)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{program} is missing: run tests/setup")).display().to_string()
}

const COMMON: &str = "processes = 4\nprobation = \"500ms\"\nready.timeout = \"30s\"\nqueue.max = 1000\n";

#[test]
fn flask_under_gunicorn_over_a_unix_socket() {
    let command = format!("{} -w 1 --threads 8 --graceful-timeout 30 -b unix:$SOCKET app:app", python("gunicorn"));
    through_everything(&Stack {
        dir: "flask_gunicorn",
        app: format!("command = \"{command}\"\nconcurrency = 8\n{COMMON}"),
        breaks: ("app.py", "import left_out\n", "ModuleNotFoundError: No module named 'left_out'"),
    });
}

#[test]
fn starlette_under_uvicorn_with_an_inherited_socket() {
    let command = format!("{} --fd 3 --no-access-log app:app", python("uvicorn"));
    through_everything(&Stack {
        dir: "starlette_uvicorn",
        app: format!("command = \"{command}\"\nbind = \"fd\"\nconcurrency = 100\n{COMMON}"),
        breaks: ("app.py", "import left_out\n", "ModuleNotFoundError: No module named 'left_out'"),
    });
}

#[test]
fn rack_under_puma_over_a_unix_socket() {
    let command = format!("{} -w 0 -t 5:5 -b unix://$SOCKET config.ru", installed("puma"));
    through_everything(&Stack {
        dir: "rack_puma",
        app: format!("command = \"{command}\"\nconcurrency = 5\n{COMMON}"),
        breaks: ("config.ru", "require \"left_out\"\n", "cannot load such file -- left_out"),
    });
}

#[test]
fn node_on_a_port() {
    let command = format!("{} app.js", installed("node"));
    through_everything(&Stack {
        dir: "node_http",
        app: format!("command = \"{command}\"\nbind = \"port\"\nconcurrency = 100\n{COMMON}"),
        breaks: ("app.js", "require('left_out');\n", "Cannot find module 'left_out'"),
    });
}

fn through_everything(stack: &Stack) {
    let site = Site::with_app(&stack.app, "");
    release(&site, stack, "1", false);
    site.flip("1");
    let site = site.serve();
    let mut all = Tally::default();

    // A good release.
    let load = Visitors::start(&site);
    std::thread::sleep(millis(1000));
    release(&site, stack, "2", false);
    site.flip("2");
    site.rota(&["restart", "app"]).expect(0);
    let done = Instant::now();
    std::thread::sleep(millis(1000));
    let tally = load.stop();
    tally.expect_no_failure(&names(&kinds()));
    assert_eq!(tally.versions_since(done), ["2"], "after it said done");
    all.add(tally);

    // One that does not start.
    let load = Visitors::start(&site);
    release(&site, stack, "3", true);
    site.flip("3");
    let said = site.rota(&["restart", "app"]);
    let told = Instant::now();
    std::thread::sleep(millis(1000));
    let tally = load.stop();
    said.expect(4);
    assert!(said.out.contains(stack.breaks.2), "{}", said.out);
    tally.expect_no_failure(&names(&kinds()));
    assert_eq!(tally.versions_since(told), ["2"], "the old version serves");
    all.add(tally);

    // A killed process comes back from the release that works.
    let victim = site.serving(2)[0];
    kill(victim, Signal::KILL);
    wait::until("it is replaced from the old release", secs(30), || site.serving(2).len() == 4 && !site.serving(2).contains(&victim));
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "2");

    // A good one again, and the rest of the requests.
    let load = Visitors::start(&site);
    release(&site, stack, "4", false);
    site.flip("4");
    site.rota(&["restart", "app"]).expect(0);
    let done = Instant::now();
    std::thread::sleep(Duration::from_millis(500));
    let tally = load.stop();
    tally.expect_no_failure(&names(&kinds()));
    assert_eq!(tally.versions_since(done), ["4"]);
    all.add(tally);
    let mut version = 4;
    while all.total() < wanted() {
        let load = Visitors::start(&site);
        version += 1;
        release(&site, stack, &version.to_string(), false);
        site.flip(&version.to_string());
        site.rota(&["restart", "app"]).expect(0);
        let tally = load.stop();
        tally.expect_no_failure(&[]);
        all.add(tally);
    }
    eprintln!("{}: {} requests, {} failed\n{all}", stack.dir, all.total(), all.failed());
}

fn release(site: &Site, stack: &Stack, version: &str, broken: bool) {
    let dir = site.path("releases").join(version);
    fs::create_dir(&dir).unwrap();
    for entry in fs::read_dir(manifest().join("tests/apps").join(stack.dir)).unwrap() {
        let from = entry.unwrap().path();
        if from.is_file() {
            fs::copy(&from, dir.join(from.file_name().unwrap())).unwrap();
        }
    }
    fs::write(dir.join("VERSION"), version).unwrap();
    if broken {
        let (file, text, _) = stack.breaks;
        fs::write(dir.join(file), text).unwrap();
    }
}
