//! What the app finds when it runs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use rota::config::{Bind, ResourceLimit, SpawnAttributes};
use rota::restart::release::Release;
use rustix::process::Pid;

use crate::roles::Parent;
use crate::stage::{NOFILE, Stage, mode, we_are_root};
use crate::wait::{secs, until};

#[test]
fn the_pid_is_that_of_the_program_although_the_command_executes_another() {
    let stage = Stage::new();
    let mut app = stage.start(&stage.release(&["sh", "-c", "exec sleep 1000"], Bind::Unix));
    app.runs("sleep");
    assert_eq!(app.proc("cmdline"), "sleep\x001000\x00");
}

#[test]
fn an_app_leads_its_session_in_its_release_with_the_limits_it_is_given() {
    let stage = Stage::new();
    let mut app = stage.start(&stage.release(&["sleep", "1000"], Bind::Unix));
    app.runs("sleep");
    let pid = Pid::from_raw(app.pid() as i32).unwrap();
    assert_eq!((rustix::process::getsid(Some(pid)).unwrap(), rustix::process::getpgid(Some(pid)).unwrap()), (pid, pid));
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", app.pid())).unwrap(), stage.path("root"));
    assert_eq!(app.variable("PWD").map(PathBuf::from), Some(stage.path("root")));
    assert_eq!(fs::read_link(format!("/proc/{}/fd/0", app.pid())).unwrap(), PathBuf::from("/dev/null"));
    assert_eq!(app.status("Umask"), "0022");
    let limits = app.proc("limits");
    let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")).and_then(|line| line.split_whitespace().next());
    assert_eq!(soft, Some(NOFILE.to_string().as_str()));
}

#[test]
fn descriptors_are_0_to_2_whatever_rota_was_started_with() {
    let parent = Parent::start("exec 3</dev/null 7</dev/null", &["sleep", "1000"], "unix");
    assert_eq!(descriptors(parent.app), [0, 1, 2]);
}

#[test]
fn an_inherited_socket_is_descriptor_3_even_if_rota_was_started_with_another_3() {
    let parent = Parent::start("exec 3</dev/null 7</dev/null", &["sleep", "1000"], "fd");
    assert_eq!(descriptors(parent.app), [0, 1, 2, 3]);
    assert!(fs::read_link(format!("/proc/{}/fd/3", parent.app)).unwrap().to_str().unwrap().starts_with("socket:"));
}

#[test]
fn no_signal_is_blocked_or_ignored_although_rota_was_started_so() {
    // The parent blocks two more.
    let parent = Parent::start(r#"trap "" HUP INT USR1 PIPE RTMIN"#, &["sleep", "1000"], "unix");
    let status = fs::read_to_string(format!("/proc/{}/status", parent.app)).unwrap();
    let mask = |field: &str| {
        let text = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        u64::from_str_radix(text.trim(), 16).unwrap()
    };
    // glibc's posix_spawn leaves its own two, 32 and 33, ignored in every child.
    let glibc = 0b11 << (32 - 1);
    assert_eq!((mask("SigBlk:"), mask("SigIgn:") & !glibc), (0, 0), "{status}");
}

#[test]
fn a_signal_that_cannot_be_reset_stops_no_start() {
    let parent = Parent::start(r#"trap "" FPE SEGV"#, &["sleep", "1000"], "unix");
    assert!(is_alive(parent.app));
}

#[test]
fn the_directories_above_let_the_app_through_under_any_umask() {
    let parent = Parent::start("umask 077", &["sleep", "1000"], "unix");
    let environ = fs::read_to_string(format!("/proc/{}/environ", parent.app)).unwrap();
    let dir = environ.split('\0').find_map(|variable| variable.strip_prefix("XDG_RUNTIME_DIR=")).map(PathBuf::from).unwrap();
    let modes: Vec<String> = dir.ancestors().take(3).map(|dir| format!("{:o}", mode(dir))).collect();
    assert_eq!(modes, ["700", "711", "711"]);
}

#[test]
fn the_oom_killer_may_take_an_app_of_a_rota_that_it_spares() {
    let parent = Parent::start("", &["sleep", "1000"], "unix");
    let score = |pid: u32| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse::<i32>().unwrap();
    if score(parent.pid()) >= 0 {
        eprintln!("not run: only with CAP_SYS_RESOURCE may a process be spared");
        return;
    }
    assert_eq!(score(parent.app), 100);
}

#[test]
fn an_app_is_killed_before_rota_when_memory_is_short() {
    let stage = Stage::new();
    let own: i32 = fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    let mut app = stage.start(&stage.release(&["sleep", "1000"], Bind::Unix));
    app.runs("sleep");
    assert_eq!(app.proc("oom_score_adj").trim(), (own.max(0) + 100).min(1000).to_string());
    let attributes = SpawnAttributes { oom_score_adj: Some(777), ..SpawnAttributes::default() };
    let mut app = stage.start(&Release { attributes, ..stage.release(&["sleep", "1000"], Bind::Unix) });
    app.runs("sleep");
    assert_eq!(app.proc("oom_score_adj").trim(), "777");
}

#[test]
fn an_app_is_held_to_what_its_configuration_says() {
    let stage = Stage::new();
    let rlimits = vec![
        (ResourceLimit::Nofile, Some(64)),
        (ResourceLimit::Nproc, Some(900)),
        (ResourceLimit::Core, Some(0)),
        (ResourceLimit::Fsize, Some(1 << 20)),
        (ResourceLimit::Memlock, Some(4096)),
        (ResourceLimit::Stack, Some(1 << 20)),
    ];
    let attributes = SpawnAttributes { umask: 0o027, nice: Some(7), oom_score_adj: None, no_new_privs: true, rlimits };
    let mut app = stage.start(&Release { attributes, ..stage.release(&["sleep", "1000"], Bind::Unix) });
    app.runs("sleep");
    assert_eq!((app.status("Umask"), app.status("NoNewPrivs")), ("0027".to_owned(), "1".to_owned()));
    assert_eq!(nice(app.pid()), 7);
    let limits = app.proc("limits");
    for (name, value) in [
        ("Max open files", "64"),
        ("Max processes", "900"),
        ("Max core file size", "0"),
        ("Max file size", "1048576"),
        ("Max locked memory", "4096"),
        ("Max stack size", "1048576"),
    ] {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        assert_eq!(line.split_whitespace().take(2).collect::<Vec<_>>(), [value, value], "{name}: soft and hard");
    }
    // Of the scheduling group of its session, where there are such.
    if let Ok(autogroup) = fs::read_to_string(format!("/proc/{}/autogroup", app.pid())) {
        assert!(autogroup.trim().ends_with("nice 7"), "{autogroup}");
    }
}

#[test]
fn what_is_not_configured_stays_as_rota_has_it() {
    let stage = Stage::new();
    let mut app = stage.start(&stage.release(&["sleep", "1000"], Bind::Unix));
    app.runs("sleep");
    assert_eq!((app.status("NoNewPrivs"), nice(app.pid())), ("0".to_owned(), nice(std::process::id())));
    let own = fs::read_to_string("/proc/self/limits").unwrap();
    let others = |text: &str| text.lines().filter(|line| !line.starts_with("Max open files")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(others(&app.proc("limits")), others(&own));
}

#[test]
fn an_app_s_user_has_all_of_its_groups_and_none_of_root_s() {
    if !we_are_root() {
        return;
    }
    let stage = Stage::new();
    let mut release = stage.release_of(&["sleep", "1000"], Bind::Unix, Some("daemon"));
    let user = release.user.as_mut().unwrap();
    user.gid = 33;
    let expected = user.groups();
    // As whoever started rota may be in any.
    let before = rustix::process::getgroups().unwrap();
    rustix::thread::set_thread_groups(&[rustix::fs::Gid::from_raw(0), rustix::fs::Gid::from_raw(4)]).unwrap();
    let mut app = stage.start(&release);
    rustix::thread::set_thread_groups(&before).unwrap();
    app.runs("sleep");
    let mut groups: Vec<u32> = app.status("Groups").split_whitespace().map(|gid| gid.parse().unwrap()).collect();
    groups.sort();
    assert_eq!(groups, expected.iter().copied().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>());
    assert!(groups.contains(&33) && !groups.contains(&0) && !groups.contains(&4), "{groups:?}");
    assert_eq!(app.status("Gid"), ["33"; 4].join("\t"));
}

#[test]
fn limits_that_only_root_may_set_are_set_before_root_is_left() {
    if !we_are_root() {
        return;
    }
    let stage = Stage::new();
    // Root in a container has not always all of root's rights.
    let all = rota::sys::has_capability(rustix::thread::CapabilitySet::SYS_RESOURCE);
    let attributes = SpawnAttributes {
        nice: Some(-3),
        oom_score_adj: all.then_some(-10),
        rlimits: if all { vec![(ResourceLimit::Memlock, None)] } else { Vec::new() },
        ..SpawnAttributes::default()
    };
    let mut app = stage.start(&Release { attributes, ..stage.release_of(&["sleep", "1000"], Bind::Unix, Some("nobody")) });
    app.runs("sleep");
    assert_eq!(nice(app.pid()), -3);
    if all {
        assert_eq!(app.proc("oom_score_adj").trim(), "-10");
        let limits = app.proc("limits");
        assert!(limits.lines().any(|line| line.starts_with("Max locked memory         unlimited")), "{limits}");
    }
}

#[test]
fn root_becomes_the_user_of_the_app_for_good() {
    if !we_are_root() {
        return;
    }
    let stage = Stage::new();
    let release = stage.release_of(&["sleep", "1000"], Bind::Unix, Some("nobody"));
    let user = release.user.clone().unwrap();
    let mut app = stage.start(&release);
    app.runs("sleep");
    assert_eq!(app.status("Uid"), [user.uid.to_string().as_str(); 4].join("\t"));
    assert_eq!(app.status("Gid"), [user.gid.to_string().as_str(); 4].join("\t"));
    assert_eq!(app.status("Groups"), user.gid.to_string());
    assert_eq!((app.status("CapPrm"), app.status("CapEff")), ("0000000000000000".to_owned(), "0000000000000000".to_owned()));
    assert_eq!((app.variable("USER"), app.variable("HOME")), (Some("nobody".to_owned()), user.home.to_str().map(str::to_owned)));
    let dir = app.launched.dir.path();
    assert_eq!((mode(dir), owner(dir)), (0o700, user.uid));
}

#[test]
fn another_user_may_open_dev_stderr() {
    if !we_are_root() {
        return;
    }
    let stage = Stage::new();
    let mut app = stage.start(&stage.release_of(&["sh", "-c", "echo hello >/dev/stderr; exec sleep 1000"], Bind::Unix, Some("nobody")));
    app.runs("sleep");
    let stderr = std::fs::File::from(app.launched.stderr.try_clone().unwrap());
    let mut line = String::new();
    BufReader::new(stderr).read_line(&mut line).unwrap();
    assert_eq!(line, "hello\n");
}

#[test]
fn the_death_of_its_parent_kills_the_leader() {
    let mut parent = Parent::start("", &["sleep", "1000"], "unix");
    let keeper = parent.keeper;
    // Without the keeper it is the parent-death signal alone.
    rota::sys::signal_child(keeper, rota::sys::KILL).unwrap();
    parent.kill();
    until("the app has ended", secs(20), || !is_alive(parent.app));
}

/// Field 19 of stat (proc(5)).
fn nice(pid: u32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split_whitespace().nth(16).unwrap().parse().unwrap()
}

fn descriptors(pid: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let mut open: Vec<u32> = entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    open.sort();
    open
}

/// Exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn owner(path: &std::path::Path) -> u32 {
    std::os::unix::fs::MetadataExt::uid(&fs::symlink_metadata(path).unwrap())
}
