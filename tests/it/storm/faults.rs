//! The faults, each with its end: whatever a schedule broke is whole again after [`Faults::heal`], also when the test fails.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

use super::plan::Fault;
use crate::seed::Rng;
use crate::site::{Site, kill};

/// What is broken now.
#[derive(Debug, Default)]
pub struct Faults {
    /// Limit of descriptors that rota had, and when it gets it back.
    descriptors: Option<(Rlimit, Instant)>,
    disk: Option<Instant>,
    memory: Option<Instant>,
    deaf: Vec<UnixStream>,
}

impl Faults {
    pub fn strike(&mut self, fault: &Fault, site: &Site, rng: &mut Rng) {
        let until = |millis: u64| Instant::now() + Duration::from_millis(millis);
        match fault {
            Fault::Kill => {
                let pids = site.left();
                if !pids.is_empty() {
                    kill(rng.pick(&pids).unwrap(), Signal::KILL);
                }
            }
            Fault::Freeze { millis } => {
                site.signal(Signal::STOP);
                std::thread::sleep(Duration::from_millis(*millis));
                site.signal(Signal::CONT);
            }
            Fault::Descriptors { spare, millis } => {
                let pid = Pid::from_raw(site.pid() as i32);
                // The limit is on the highest number, not on the count.
                let highest = numbers(&format!("/proc/{}/fd", site.pid())).max().unwrap_or(0);
                let old = prlimit(pid, Resource::Nofile, limit(highest + 1 + spare)).expect("prlimit");
                let (old, _) = self.descriptors.take().unwrap_or((old, Instant::now()));
                self.descriptors = Some((old, until(*millis)));
            }
            Fault::Disk { millis } => {
                for file in fills(site) {
                    fill(&file);
                }
                self.disk = Some(until(*millis));
            }
            Fault::Memory { millis } => {
                fs::write(site.path("memory"), "1000").unwrap();
                self.memory = Some(until(*millis));
            }
            Fault::Deaf { clients } => {
                for _ in 0..*clients {
                    // Refused when as many as rota takes are there already.
                    let Ok(mut stream) = UnixStream::connect(site.path("run/control.sock")) else { continue };
                    let asks = rng.pick(&["{\"v\":1,\"do\":\"status\"}\n", "{\"v\":1,\"do\":\"history\"}\n", WAITS]).unwrap();
                    stream.set_nonblocking(true).unwrap();
                    let _ = stream.write(asks.as_bytes());
                    self.deaf.push(stream);
                }
            }
        }
    }

    /// Ends what has lasted long enough.
    pub fn pass(&mut self, site: &Site) {
        let now = Instant::now();
        if self.descriptors.as_ref().is_some_and(|(_, until)| now >= *until) {
            self.descriptors_back(site);
        }
        if self.disk.is_some_and(|until| now >= until) {
            self.disk_back(site);
        }
        if self.memory.is_some_and(|until| now >= until) {
            self.memory_back(site);
        }
    }

    /// Ends everything.
    pub fn heal(&mut self, site: &Site) {
        site.signal(Signal::CONT);
        self.descriptors_back(site);
        self.disk_back(site);
        self.memory_back(site);
        self.deaf.clear();
    }

    fn descriptors_back(&mut self, site: &Site) {
        if let Some((old, _)) = self.descriptors.take() {
            prlimit(Pid::from_raw(site.pid() as i32), Resource::Nofile, old).expect("prlimit");
        }
    }

    fn disk_back(&mut self, site: &Site) {
        if self.disk.take().is_some() {
            fills(site).iter().for_each(|file| fs::remove_file(file).unwrap());
        }
    }

    fn memory_back(&mut self, site: &Site) {
        if self.memory.take().is_some() {
            fs::remove_file(site.path("memory")).unwrap();
        }
    }
}

/// Small file systems over the state and spool directories of a site, for as long as this lives. To be dropped before the site.
#[derive(Debug)]
pub struct SmallDisk(Vec<PathBuf>);

impl SmallDisk {
    pub fn over(site: &Site) -> Self {
        let _ = fs::create_dir(site.path("state"));
        let mut disk = Self(Vec::new());
        for (name, size) in [("state", "256k"), ("spool", "8m")] {
            mount(&site.path(name), size).expect("a mount went well before");
            disk.0.push(site.path(name));
        }
        disk
    }

    /// Whether file systems can be mounted here. Not to be able to is an error in CI, where everything is to be shown.
    pub fn is_possible() -> bool {
        let dir = tempfile::tempdir().unwrap();
        let why = match mount(dir.path(), "64k") {
            Ok(()) => return unmount(dir.path()),
            Err(why) => why,
        };
        assert!(std::env::var("CI").as_deref() != Ok("1"), "full disks cannot be shown: {why}");
        eprintln!("SKIPPED: full disks: {why}");
        false
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.0.iter().for_each(|path| {
            unmount(path);
        });
    }
}

fn mount(at: &Path, size: &str) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root can mount".to_owned());
    }
    let output = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size},mode=755"), "tmpfs"]).arg(at).output();
    let output = output.map_err(|error| format!("mount: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Lazily: a file that rota has open holds nothing up.
fn unmount(at: &Path) -> bool {
    Command::new("umount").arg("-l").arg(at).status().is_ok_and(|status| status.success())
}

fn fills(site: &Site) -> [PathBuf; 2] {
    ["state/fill", "spool/fill"].map(|name| site.path(name))
}

/// Writes until there is no room.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    for piece in [64 * 1024, 4096] {
        while file.write_all(&vec![0; piece]).is_ok() {}
    }
}

/// The hard limit stays as it is, which rota has from us.
fn limit(descriptors: u64) -> Rlimit {
    Rlimit { current: Some(descriptors), maximum: getrlimit(Resource::Nofile).maximum }
}

/// The names in a directory that are numbers.
pub fn numbers(directory: &str) -> impl Iterator<Item = u64> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

const WAITS: &str = "{\"v\":1,\"do\":\"restart\",\"app\":\"app\",\"wait\":true}\n";
