//! Is there memory for one more process? Compared before each start: what is free on the machine and in rota's control group, and what
//! the largest process of the app takes. Meeting the kernel's OOM killer costs more than a few requests that wait.

use std::fs;
use std::path::{Path, PathBuf};

use crate::sys::{self, Look, Seen, Unit};

/// Too little for one more process like the largest of these: what was found. None: enough, or nothing to compare.
pub fn shortage(units: &[&Unit]) -> Option<String> {
    let look = Look::now();
    let members: Vec<(u32, Vec<Seen>)> = units.iter().map(|unit| (unit.leader, look.of(unit))).collect();
    let largest = |size: fn(&Seen, u32) -> Option<u64>| {
        let of = members.iter().map(|(leader, members)| members.iter().filter_map(|one| size(one, *leader)).sum::<u64>());
        of.max().filter(|largest| *largest > 0)
    };
    let (available, of) = available()?;
    // What is resident is never less, and its number is there at once.
    if available >= largest(|one, _| Some(one.resident))? {
        return None;
    }
    // What is not known is no number.
    let largest = largest(sys::known_share)?;
    (available < largest).then(|| format!("{} MiB of memory are left {of}, the largest process takes {} MiB", mib(available), mib(largest)))
}

/// Bytes that can be had without swapping, and where they are counted.
fn available() -> Option<(u64, &'static str)> {
    // Tests make it short by writing a number into a file.
    if let Some(file) = std::env::var_os("ROTA_FAULT_MEMORY") {
        return Some((read_number(Path::new(&file))?, "as the test says"));
    }
    let machine =
        fs::read_to_string("/proc/meminfo").ok().and_then(|text| field(&text, "MemAvailable:")).map(|kib| (kib * 1024, "on the machine"));
    let group =
        fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| in_control_group(&text)).map(|left| (left, "in the control group"));
    machine.into_iter().chain(group).min_by_key(|(bytes, _)| *bytes)
}

/// What rota's control group and those above it leave, the least of all: version 2, or the memory controller of version 1
/// (cgroups(7)). What is only cached can be had too.
fn in_control_group(own: &str) -> Option<u64> {
    let lefts = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let path = path.trim_start_matches('/');
        match controllers {
            "" => least_left(Path::new("/sys/fs/cgroup"), path, ["memory.max", "memory.current", "inactive_file"]),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                let files = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"];
                least_left(Path::new("/sys/fs/cgroup/memory"), path, files)
            }
            _ => None,
        }
    });
    lefts.min()
}

fn least_left(top: &Path, path: &str, [limit, used, cached]: [&str; 3]) -> Option<u64> {
    let left = |group: &Path| {
        // "max" is no number: no limit.
        let limit = read_number(&group.join(limit))?;
        let cached = fs::read_to_string(group.join("memory.stat")).ok().and_then(|text| field(&text, cached)).unwrap_or(0);
        Some(limit.saturating_sub(read_number(&group.join(used))?.saturating_sub(cached)))
    };
    let own: PathBuf = top.join(path);
    own.ancestors().take_while(|group| group.starts_with(top)).filter_map(left).min()
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split_ascii_whitespace().next() == Some(name))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn mib(bytes: u64) -> u64 {
    bytes / (1024 * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_group_on_the_way_up_counts_and_the_cache_is_free() {
        let top = tempfile::tempdir().unwrap();
        let inner = top.path().join("system.slice/rota.service");
        fs::create_dir_all(&inner).unwrap();
        let write = |dir: &Path, max: &str, current: u64, cached: u64| {
            fs::write(dir.join("memory.max"), format!("{max}\n")).unwrap();
            fs::write(dir.join("memory.current"), format!("{current}\n")).unwrap();
            fs::write(dir.join("memory.stat"), format!("anon 1\ninactive_file {cached}\nfile 7\n")).unwrap();
        };
        let files = ["memory.max", "memory.current", "inactive_file"];
        write(&inner, "1000", 900, 300);
        assert_eq!(least_left(top.path(), "system.slice/rota.service", files), Some(400));
        write(&top.path().join("system.slice"), "1200", 1100, 0);
        assert_eq!(least_left(top.path(), "system.slice/rota.service", files), Some(100));
        write(&inner, "max", 900, 300);
        write(&top.path().join("system.slice"), "max", 1100, 0);
        assert_eq!(least_left(top.path(), "system.slice/rota.service", files), None);
    }

    #[test]
    fn this_machine_says_what_it_has() {
        assert!(available().is_some_and(|(bytes, _)| bytes > 0));
        assert_eq!(shortage(&[]), None, "nothing to compare with");
    }
}
