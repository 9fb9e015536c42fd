//! A control group for each process (cgroups(7), version 2), where rota may make them. What belongs to a process is then what the kernel says,
//! whatever its parents, sessions and environment are; it is killed at once, and held to limits.
//!
//! Where rota may: below the group that it was started in, if that is given to it (systemd's `Delegate=yes` marks the directory), if it is its
//! own user's, or if it is the top of what can be seen, as in a container. Groups of others are left alone. Only what was tried counts.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Where the groups of this rota are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Holds `main`, which rota itself is in, and a directory for each process.
    base: PathBuf,
    /// The group that rota was started in.
    above: PathBuf,
    /// What limits can be set, of [`CONTROLLERS`].
    pub controllers: Vec<String>,
}

/// What a group may take. None: as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Most {
    pub processes: Option<u64>,
    /// Bytes; beyond them all of the group is killed.
    pub memory: Option<u64>,
    /// Percent of one processor.
    pub cpu: Option<u32>,
}

impl Tree {
    /// Makes the groups of the rota with this run directory, and moves this process into one of them. Err: why that cannot be. What an earlier
    /// rota has left in them is killed, but for what `stays` by the name of its group.
    pub fn plant(run_dir: &Path, stays: impl Fn(&str) -> bool) -> Result<Self, String> {
        let above = own_group()?;
        let base = above.join(name_of(run_dir));
        let failed = |step: &str, path: &Path, error: &io::Error| format!("{step} {}: {error}", path.display());
        clear(&base, &stays);
        let main = base.join(MAIN);
        for dir in [&base, &main] {
            match fs::create_dir(dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed("mkdir", dir, &error)),
                Ok(()) | Err(_) => {}
            }
        }
        let mut tree = Self { base, above, controllers: Vec::new() };
        if let Err(error) = fs::write(main.join(PROCS), "0") {
            let why = failed("joining", &main, &error);
            tree.fell();
            return Err(why);
        }
        tree.controllers = CONTROLLERS.into_iter().filter(|controller| tree.enable(controller)).map(str::to_owned).collect();
        Ok(tree)
    }

    /// In both: a group can be limited in what the one above it hands on. That has no process of its own but for the top one.
    fn enable(&self, controller: &str) -> bool {
        let on = |dir: &Path| {
            let file = dir.join("cgroup.subtree_control");
            let is_on = || fs::read_to_string(&file).is_ok_and(|text| text.split_ascii_whitespace().any(|one| one == controller));
            is_on() || fs::write(&file, format!("+{controller}")).is_ok()
        };
        on(&self.above) && on(&self.base)
    }

    /// A group for one process. `name`: without a slash.
    pub fn branch(&self, name: &str, most: &Most) -> io::Result<PathBuf> {
        // Of one whose members live on an earlier rota may have left the name.
        let names = std::iter::once(name.to_owned()).chain((1..TRIES).map(|more| format!("{name}-{more}")));
        let mut free = names.map(|name| self.base.join(name)).filter(|dir| !dir.exists());
        let dir = free.next().ok_or(io::ErrorKind::AlreadyExists)?;
        fs::create_dir(&dir)?;
        // What could not be limited is nobody's.
        self.limit(&dir, most).inspect_err(|_| drop(fs::remove_dir(&dir)))?;
        Ok(dir)
    }

    fn limit(&self, dir: &Path, most: &Most) -> io::Result<()> {
        if self.has("pids")
            && let Some(most) = most.processes
        {
            fs::write(dir.join("pids.max"), most.to_string())?;
        }
        if self.has("memory")
            && let Some(most) = most.memory
        {
            fs::write(dir.join("memory.max"), most.to_string())?;
            // One of many killed leaves an app that is neither whole nor ended.
            fs::write(dir.join("memory.oom.group"), "1")?;
        }
        if self.has("cpu")
            && let Some(percent) = most.cpu
        {
            fs::write(dir.join("cpu.max"), format!("{} {PERIOD}", u64::from(percent) * PERIOD / 100))?;
        }
        Ok(())
    }

    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|one| one == controller)
    }

    /// Leaves the groups, and removes those that are empty. True: nothing of them is left.
    pub fn fell(&self) -> bool {
        let _ = fs::write(self.above.join(PROCS), "0");
        let _ = fs::remove_dir(self.base.join(MAIN));
        let _ = fs::remove_dir(&self.base);
        !self.base.exists()
    }
}

/// A controller can be had on this machine, by whom it lets.
pub fn machine_has(controller: &str) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let (_, at) = mount(&mounts).unwrap_or_default();
    let known = fs::read_to_string(Path::new(at).join("cgroup.controllers")).unwrap_or_default();
    !at.is_empty() && known.split_ascii_whitespace().any(|one| one == controller)
}

/// This process joins a group. To be done before it gives up root.
pub fn join(group: &Path) -> io::Result<()> {
    fs::write(group.join(PROCS), "0")
}

/// The processes of a group; none are in one that is gone. Err: it cannot be read now (descriptors may be short), and there may be some.
pub fn members(group: &Path) -> io::Result<Vec<u32>> {
    let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound || Errno::from_io_error(error) == Some(Errno::NODEV);
    let text = fs::read_to_string(group.join(PROCS)).or_else(|error| if is_gone(&error) { Ok(String::new()) } else { Err(error) })?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// Kills all of a group at once, and what forks meanwhile (Linux 5.14). False: that cannot be done here.
pub fn kill(group: &Path) -> bool {
    // Not made, where there is none.
    fs::File::options().write(true).open(group.join("cgroup.kill")).is_ok_and(|mut file| file.write_all(b"1").is_ok())
}

/// The kernel has killed a group because it took more than this (bytes). None: it has not.
pub fn killed_for_memory(group: &Path) -> Option<u64> {
    number(group, "memory.events", "oom_kill ").filter(|kills| *kills > 0)?;
    number(group, "memory.max", "")
}

/// Processor time that a group has had, with all that came and went in it, in ticks of 10 ms.
pub fn ticks(group: &Path) -> Option<u64> {
    number(group, "cpu.stat", "usage_usec ").map(|micros| micros / 10_000)
}

fn number(group: &Path, file: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(group.join(file)).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key))?.trim().parse().ok()
}

/// Removes the group of a process of which nothing is left.
pub fn remove(group: &Path) -> io::Result<()> {
    fs::remove_dir(group)
}

/// What an earlier rota has left: killed, and removed as soon as it is empty.
fn clear(base: &Path, stays: &impl Fn(&str) -> bool) {
    let groups = fs::read_dir(base).into_iter().flatten().flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    for group in groups {
        let path = group.path();
        let name = group.file_name().to_string_lossy().into_owned();
        if name != MAIN && !stays(&name) {
            kill(&path);
        }
        // A process takes a moment to end.
        for _ in 0..TRIES {
            if fs::remove_dir(&path).is_ok() || stays(&name) || name == MAIN {
                break;
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// The directory of the group that this process is in, if rota may make others below it.
fn own_group() -> Result<PathBuf, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let (own, mounts) = (read("/proc/self/cgroup")?, read("/proc/self/mountinfo")?);
    let (dir, is_top) = place(&own, &mounts).ok_or("no cgroup2 file system is mounted")?;
    let found = fs::metadata(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let us = rustix::process::geteuid().as_raw();
    let is_given = ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0; 4];
        rustix::fs::getxattr(&dir, *name, &mut value).is_ok_and(|length| value[..length] == *b"1")
    });
    match is_given || is_top || (us != 0 && found.uid() == us) {
        true => Ok(dir),
        false => Err(format!("{} is not given to rota (Delegate=yes)", dir.display())),
    }
}

/// The group of /proc/self/cgroup by its path in the file system, and whether it is the top of what can be seen.
fn place(own: &str, mounts: &str) -> Option<(PathBuf, bool)> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let (root, at) = mount(mounts)?;
    let below = Path::new(own).strip_prefix(root).ok()?;
    Some((Path::new(at).join(below), below.as_os_str().is_empty()))
}

/// What of version 2 is mounted, and where.
fn mount(mounts: &str) -> Option<(&str, &str)> {
    // `41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw` (proc_pid_mountinfo(5))
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut words = mount.split(' ');
        let (root, at) = (words.nth(3)?, words.next()?);
        (kind.split(' ').next() == Some("cgroup2")).then_some((root, at))
    })
}

/// `rota:-run-rota`: no two rotas have the same run directory.
fn name_of(run_dir: &Path) -> String {
    let name = run_dir.display().to_string().replace(|c: char| c == '/' || c.is_control(), "-");
    let skipped = name.char_indices().rev().nth(MOST_NAME).map_or(0, |(at, _)| at);
    format!("rota:{}", &name[skipped..])
}

pub const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];
const MAIN: &str = "main";
const PROCS: &str = "cgroup.procs";
/// Microseconds over which the share of a processor is counted.
const PERIOD: u64 = 100_000;
/// Of 255 bytes, with four in the longest character.
const MOST_NAME: usize = 60;
const TRIES: usize = 50;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_where_it_is_mounted() {
        let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let at = |own: &str, mounts: &str| place(own, mounts).map(|(path, top)| (path.display().to_string(), top));
        assert_eq!(at("0::/system.slice/rota.service\n", unified), Some(("/sys/fs/cgroup/system.slice/rota.service".to_owned(), false)));
        assert_eq!(at("0::/\n", unified), Some(("/sys/fs/cgroup/".to_owned(), true)));
        let hybrid =
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n41 31 0:38 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(at("4:memory:/x\n0::/a\n", hybrid), Some(("/sys/fs/cgroup/unified/a".to_owned(), false)));
        // A container without a name space of its own sees its own part alone.
        let part = "31 23 0:28 /docker/4711 /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(at("0::/docker/4711\n", part), Some(("/sys/fs/cgroup/".to_owned(), true)));
        assert_eq!(at("0::/elsewhere\n", part), None);
        assert_eq!(at("4:memory:/x\n", hybrid), None);
        assert_eq!(at("0::/\n", "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"), None);
    }

    #[test]
    fn limits_are_written_where_their_controller_is() {
        let dir = tempfile::tempdir().unwrap();
        let tree = |controllers: &[&str]| Tree {
            base: dir.path().to_owned(),
            above: dir.path().to_owned(),
            controllers: controllers.iter().map(|one| (*one).to_owned()).collect(),
        };
        let most = Most { processes: Some(4096), memory: Some(500 << 20), cpu: Some(150) };
        let group = tree(&CONTROLLERS).branch("blog.1.7", &most).unwrap();
        let read = |group: &Path, file: &str| fs::read_to_string(group.join(file)).ok();
        assert_eq!(read(&group, "pids.max").as_deref(), Some("4096"));
        assert_eq!(read(&group, "memory.max").as_deref(), Some("524288000"));
        assert_eq!(read(&group, "memory.oom.group").as_deref(), Some("1"));
        assert_eq!(read(&group, "cpu.max").as_deref(), Some("150000 100000"));
        // Its name is taken.
        let second = tree(&["memory"]).branch("blog.1.7", &Most { memory: None, ..most }).unwrap();
        assert!(second.ends_with("blog.1.7-1"));
        assert_eq!(fs::read_dir(&second).unwrap().count(), 0);
    }

    #[test]
    fn what_a_group_took_and_whether_it_was_killed_for_that_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(dir.path().join(file), text).unwrap();
        assert_eq!((ticks(dir.path()), killed_for_memory(dir.path())), (None, None));
        write("cpu.stat", "usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\n");
        write("memory.max", "524288000\n");
        write("memory.events", "low 0\nhigh 0\nmax 77\noom 1\noom_kill 0\noom_group_kill 0\n");
        assert_eq!((ticks(dir.path()), killed_for_memory(dir.path())), (Some(123), None));
        write("memory.events", "low 0\nhigh 0\nmax 77\noom 1\noom_kill 3\noom_group_kill 1\n");
        assert_eq!(killed_for_memory(dir.path()), Some(500 << 20));
    }

    #[test]
    fn a_group_that_cannot_be_read_is_not_taken_for_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(PROCS), "7\n8\n").unwrap();
        assert_eq!(members(dir.path()).unwrap(), [7, 8]);
        assert_eq!(members(&dir.path().join("gone")).unwrap(), [0; 0]);
        fs::remove_file(dir.path().join(PROCS)).unwrap();
        fs::create_dir(dir.path().join(PROCS)).unwrap();
        assert!(members(dir.path()).is_err());
    }

    #[test]
    fn a_name_has_no_slash_and_is_not_too_long() {
        assert_eq!(name_of(Path::new("/run/rota")), "rota:-run-rota");
        assert!(name_of(Path::new(&"/ä".repeat(300))).len() <= 255);
    }
}
