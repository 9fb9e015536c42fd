//! The arrows between modules point one way: `ids ← core ← shell ← main`. Core knows no socket, thread, clock or log.

use std::fs;
use std::path::{Path, PathBuf};

/// Where core stands, relative to src/.
const CORE: [&str; 15] = [
    "ids.rs",
    "moment.rs",
    "bytes.rs",
    "config",
    "detect",
    "http",
    "pool",
    "records",
    "router.rs",
    "deadlines.rs",
    "printable.rs",
    "visitor.rs",
    "path_text.rs",
    "control/proto.rs",
    "control/proto",
];

/// Modules of the crate that core may use.
const CORE_MAY_USE: [&str; 13] =
    ["ids", "moment", "bytes", "path_text", "config", "detect", "http", "pool", "records", "router", "deadlines", "printable", "visitor"];

/// What core must not touch. `config::load` reads files, so files are not in the list.
const NOT_IN_CORE: [&str; 12] = [
    "std::thread",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os::unix::net",
    "std::process::",
    "std::sync::Mutex",
    "Instant::now",
    "SystemTime::now",
    "mio::",
    "rustix::",
    "socket2::",
    "log::",
];

/// Without files of tests.
fn source_files(dir: &Path) -> Vec<PathBuf> {
    if dir.file_stem().is_some_and(|stem| stem == "tests") || !dir.exists() {
        return Vec::new();
    }
    if dir.is_file() {
        return vec![dir.to_owned()];
    }
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).flat_map(|path| source_files(&path)).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files
}

/// The code of a file without comments and without its tests, with line numbers.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.split("//").next().unwrap_or_default().to_owned()));
    lines.collect()
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn core_uses_core_only() {
    let mut wrong = Vec::new();
    for file in CORE.iter().flat_map(|core| source_files(&src().join(core))) {
        for (number, line) in code(&file) {
            for used in line.split("crate::").skip(1) {
                let module: String = used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                if !CORE_MAY_USE.contains(&module.as_str()) {
                    wrong.push(format!("{}:{number}: core uses {module}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn core_touches_no_socket_thread_clock_or_log() {
    let mut wrong = Vec::new();
    for file in CORE.iter().flat_map(|core| source_files(&src().join(core))) {
        for (number, line) in code(&file) {
            for word in NOT_IN_CORE.iter().filter(|word| line.contains(*word)) {
                wrong.push(format!("{}:{number}: {word}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nobody_below_the_command_line_uses_it() {
    let below = source_files(&src()).into_iter().filter(|file| !file.starts_with(src().join("cli")) && !file.ends_with("main.rs"));
    let wrong: Vec<String> = below
        .flat_map(|file| code(&file).into_iter().map(move |(number, line)| (file.clone(), number, line)))
        .filter(|(_, _, line)| line.contains("crate::cli"))
        .map(|(file, number, _)| format!("{}:{number}", file.display()))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_pool_is_behind_the_only_mutex_of_the_server() {
    let mutexes: Vec<String> = source_files(&src())
        .into_iter()
        // The demonstration's load is a client with threads of its own.
        .filter(|file| !file.starts_with(src().join("cli/demo")))
        .flat_map(|file| code(&file).into_iter().map(move |(number, line)| (file.clone(), number, line)))
        .filter(|(_, _, line)| line.contains("Mutex<") || line.contains("RwLock<"))
        .map(|(file, number, _)| format!("{}:{number}", file.strip_prefix(src()).unwrap().display()))
        .collect();
    assert!(mutexes.len() == 1 && mutexes[0].starts_with("table.rs"), "{mutexes:?}");
}

/// Of Cargo.toml's Debian package: what it is made of is there, but for what is built.
#[test]
fn what_the_package_takes_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let assets = text.lines().filter_map(|line| line.strip_prefix("    [\"")?.split('"').next());
    let (built, kept): (Vec<&str>, Vec<&str>) = assets.partition(|asset| asset.starts_with("target/"));
    assert!(built.len() > 5 && kept.len() > 5, "{built:?} {kept:?}");
    let lost: Vec<&&str> =
        kept.iter().filter(|asset| !root.join(asset.trim_end_matches("/*").trim_end_matches("/*.md")).exists()).collect();
    assert!(lost.is_empty(), "{lost:?}");
    let build = fs::read_to_string(root.join("conf/deb/build")).unwrap();
    let made =
        |asset: &&str| asset.rsplit('/').next().is_some_and(|name| name == "rota" || build.contains(name) || build.contains("$shell"));
    assert!(built.iter().all(made), "{built:?}");
}

#[test]
fn a_file_says_first_what_it_does() {
    let silent: Vec<String> = source_files(&src())
        .into_iter()
        .filter(|file| !fs::read_to_string(file).unwrap().starts_with("//!"))
        .map(|file| file.display().to_string())
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}

/// Paths below src/ in the map: `pool/walk.rs`, `errands/`. A newcomer goes where it says.
#[test]
fn what_the_map_names_is_there() {
    let text = fs::read_to_string(src().join("lib.rs")).unwrap();
    let map = text.lines().filter_map(|line| line.strip_prefix("//!"));
    let code: Vec<&str> = map.flat_map(|line| line.split('`').skip(1).step_by(2)).collect();
    let named: Vec<&str> =
        code.into_iter().filter(|code| code.ends_with(".rs") || code.ends_with('/')).filter(|code| *code != "/").collect();
    assert!(named.len() > 40, "{named:?}");
    let lost: Vec<&&str> = named.iter().filter(|name| !src().join(name).exists()).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

/// Opens what has a name: only in files that know why what lies there cannot hold them up, or be somebody else's choice.
#[test]
fn files_are_opened_where_it_is_known_who_decides_what_they_are() {
    let opens = ["File::open(", "fs::read(", "fs::read_to_string(", "OpenOptions::new", "File::create(", "fs::write(", "fs::copy("];
    let mut found: Vec<String> = source_files(&src())
        .into_iter()
        .filter(|file| code(file).iter().any(|(_, line)| opens.iter().any(|open| line.contains(open))))
        .map(|file| file.strip_prefix(src()).unwrap().display().to_string())
        .collect();
    found.sort();
    let known: Vec<&str> = OPENS.iter().map(|(file, _)| *file).collect();
    assert_eq!(found, known, "what a configuration names is read through src/named_file.rs, what an app names by an errand");
}

/// Files that open others by their names, and what those are.
const OPENS: [(&str, &str); 23] = [
    ("cli/check/front.rs", "/proc"),
    ("cli/check/starts.rs", "/etc/passwd, /etc/group, /proc"),
    ("cli/check/unit.rs", "systemd's"),
    ("cli/demo/app.rs", "the demo's"),
    ("cli/demo/place.rs", "the demo's"),
    ("cli/init.rs", "made anew, for who asks"),
    ("cli/passenger/memory.rs", "/proc"),
    ("cli/up.rs", "what it has made itself"),
    ("errands/watch.rs", "/proc"),
    ("last_word.rs", "of a test"),
    ("lock_file.rs", "behind safe_open::make_directory"),
    ("records/disk.rs", "in a directory that lock_file.rs has taken"),
    ("restart/leaving.rs", "the program that runs, by /proc"),
    ("restart/memory.rs", "/proc, /sys"),
    ("restart/shim.rs", "/proc"),
    ("sys.rs", "/proc"),
    ("sys/cgroup.rs", "/proc, /sys"),
    ("sys/held.rs", "/proc"),
    ("sys/listeners.rs", "/proc"),
    ("sys/nice.rs", "/proc"),
    ("sys/patience.rs", "/proc, with patience"),
    ("sys/stat.rs", "/proc"),
    ("upgrade/trial.rs", "the program that root names, to be executed"),
];
