//! Where the app listens: its directory, its port, its socket.

use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::process::Command;

use rota::config::Bind;
use rota::pool::{Failure, FailureKind};
use rota::restart::spawn::Endpoint;
use rota::sys::{self, ListenerOwner};
use socket2::{Domain, Socket, Type};

use crate::roles::{Swapper, listening_app};
use crate::stage::{App, Stage, mode, we_are_root};
use crate::wait::{found, secs};

fn listening(stage: &Stage, bind: Bind) -> App {
    let command = listening_app();
    stage.start(&stage.release(&command.each_ref().map(String::as_str), bind))
}

fn port(app: &App) -> SocketAddr {
    match &app.launched.endpoint {
        Endpoint::Tcp(addr) => *addr,
        Endpoint::Unix(path) => panic!("{}", path.display()),
    }
}

fn hello(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_private_directory_is_closed_to_others_and_has_a_name_that_nobody_knows_before() {
    let stage = Stage::new();
    let app = stage.start(&stage.release(&["sleep", "1000"], Bind::Unix));
    let dir = app.launched.dir.path().to_owned();
    let name = dir.strip_prefix(stage.path("run/blog")).unwrap().to_str().unwrap();
    assert!(name.starts_with("2-1-") && name.len() == "2-1-".len() + 8, "{name}");
    assert_eq!((mode(&dir), mode(&stage.path("run/blog")), mode(&stage.path("run"))), (0o700, 0o711, 0o711));
    assert_eq!(app.launched.endpoint, Endpoint::Unix(dir.join("app.sock")));
}

#[test]
fn of_a_start_that_comes_to_nothing_no_directory_is_left() {
    let mut stage = Stage::new();
    stage.program = stage.path("no-such-program");
    stage.launch(&stage.release(&["sleep", "1000"], Bind::Fd)).unwrap_err();
    assert_eq!(fs::read_dir(stage.path("run/blog")).unwrap().count(), 0);
}

#[test]
fn a_pid_file_stands_in_the_process_s_own_directory() {
    let stage = Stage::new();
    let app = listening(&stage, Bind::Unix);
    let dir = app.launched.dir.path().to_owned();
    let given = found("the program is executed", secs(20), || app.variable("PIDFILE"));
    assert_eq!(given, dir.join("server.pid").display().to_string());
}

/// Where the directory of the app should be stands something else.
fn is_refused(stage: &Stage) {
    let failure = stage.launch(&stage.release(&["sleep", "1000"], Bind::Unix)).unwrap_err();
    assert!(
        matches!(&failure, Failure { kind: FailureKind::Spawn(text), .. } if text.contains("that nobody else may write to")),
        "{failure:?}"
    );
}

#[test]
fn a_run_directory_that_others_could_have_made_is_refused() {
    let link = Stage::new();
    fs::create_dir_all(link.path("run")).unwrap();
    fs::create_dir_all(link.path("elsewhere")).unwrap();
    symlink(link.path("elsewhere"), link.path("run/blog")).unwrap();
    is_refused(&link);
    let open = Stage::new();
    fs::create_dir_all(open.path("run/blog")).unwrap();
    fs::set_permissions(open.path("run/blog"), fs::Permissions::from_mode(0o777)).unwrap();
    is_refused(&open);
    if we_are_root() {
        let foreign = Stage::new();
        fs::create_dir_all(foreign.path("run/blog")).unwrap();
        std::os::unix::fs::chown(foreign.path("run/blog"), Some(65534), None).unwrap();
        is_refused(&foreign);
    }
}

#[test]
fn a_socket_path_that_is_too_long_is_said_before_the_start() {
    let mut stage = Stage::new();
    stage.run_dir = stage.path(&"d".repeat(90));
    let failure = stage.launch(&stage.release(&["sleep", "1000"], Bind::Unix)).unwrap_err();
    assert!(matches!(&failure.kind, FailureKind::Spawn(text) if text.contains("SUN_LEN")), "{failure:?}");
}

#[test]
fn the_port_is_reserved_until_the_program_is_executed_and_then_the_app_s_own() {
    let mut stage = Stage::new();
    let gate = stage.path("gate");
    let script = format!("#!/bin/sh\nuntil [ -e {0}.open ]; do sleep 0.01; done\nexec {1} \"$@\"\n", gate.display(), crate::stage::ROTA);
    // By another process: a test beside this one that forks while the file is open for writing keeps it from being executed (ETXTBSY).
    let written = Command::new("sh").args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""]).arg(&gate).arg(script).status();
    assert!(written.unwrap().success());
    stage.program = gate;
    let mut app = listening(&stage, Bind::Port);
    let addr = port(&app);
    assert_eq!(addr.ip(), Ipv4Addr::LOCALHOST);
    let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    assert_eq!(other.bind(&addr.into()).unwrap_err().kind(), ErrorKind::AddrInUse);
    fs::write(stage.path("gate.open"), "").unwrap();
    let stream = found("the app listens", secs(20), || TcpStream::connect(addr).ok());
    assert_eq!(hello(stream), "hello");
    assert_eq!(sys::listener_owner(addr.port(), app.unit()), ListenerOwner::Ours(vec![Ipv4Addr::LOCALHOST.into()]));
    assert_eq!(sys::listening_ports(app.unit()), [addr]);
    assert_eq!(app.variable("PORT"), Some(addr.port().to_string()));
    app.launched.report.set_nonblocking(true).unwrap();
    assert_eq!(app.launched.report.read(&mut [0]).unwrap(), 0, "end of file says that the program runs");
}

#[test]
fn an_app_that_listens_everywhere_is_found_out() {
    let stage = Stage::new();
    fs::write(stage.path("root/everywhere"), "").unwrap();
    let app = listening(&stage, Bind::Port);
    let addr = port(&app);
    found("the app listens", secs(20), || TcpStream::connect(addr).ok());
    assert_eq!(sys::listener_owner(addr.port(), app.unit()), ListenerOwner::Ours(vec![Ipv4Addr::UNSPECIFIED.into()]));
}

#[test]
fn an_inherited_socket_takes_connections_before_the_app_runs_and_none_after_it() {
    let stage = Stage::new();
    let app = listening(&stage, Bind::Fd);
    let Endpoint::Unix(path) = app.launched.endpoint.clone() else { panic!("{:?}", app.launched.endpoint) };
    assert_eq!(mode(&path), 0o600);
    assert_eq!(hello(UnixStream::connect(&path).unwrap()), "hello");
    assert_eq!((app.variable("LISTEN_FDS"), app.variable("LISTEN_PID")), (Some("1".to_owned()), Some(app.pid().to_string())));
    // rota has no copy of it: without the app nobody listens.
    sys::signal_child(app.pid(), sys::KILL).unwrap();
    found("connections are refused", secs(20), || UnixStream::connect(&path).err());
}

#[test]
fn a_socket_of_the_app_s_own_is_where_it_is_told() {
    let stage = Stage::new();
    let app = listening(&stage, Bind::Unix);
    let Endpoint::Unix(path) = &app.launched.endpoint else { panic!("{:?}", app.launched.endpoint) };
    assert_eq!(hello(found("the app listens", secs(20), || UnixStream::connect(path).ok())), "hello");
}

#[test]
fn the_app_s_user_gets_its_directory_and_its_socket() {
    if !we_are_root() {
        return;
    }
    for bind in [Bind::Fd, Bind::Unix, Bind::Port] {
        let stage = Stage::new();
        let release = stage.release_of(&["sleep", "1000"], bind, Some("nobody"));
        let user = release.user.clone().unwrap();
        let app = stage.start(&release);
        let dir = app.launched.dir.path();
        let owner = |path: &std::path::Path| {
            let file = fs::symlink_metadata(path).unwrap();
            (file.uid(), file.gid())
        };
        assert_eq!((owner(dir), mode(dir)), ((user.uid, user.gid), 0o700), "{bind:?}");
        if bind == Bind::Fd {
            assert_eq!((owner(&dir.join("app.sock")), mode(&dir.join("app.sock"))), ((user.uid, user.gid), 0o600));
        }
    }
}

/// A directory as an earlier start left it, with links where root's socket was.
#[test]
fn what_the_app_s_user_left_in_its_old_directory_is_in_no_new_one_and_leads_nowhere() {
    if !we_are_root() {
        return;
    }
    let stage = Stage::new();
    let release = stage.release_of(&["sleep", "1000"], Bind::Fd, Some("nobody"));
    let user = release.user.clone().unwrap();
    fs::create_dir(stage.path("precious")).unwrap();
    fs::write(stage.path("precious/file"), "x").unwrap();
    let old = stage.path("run/blog/2-1");
    fs::create_dir_all(&old).unwrap();
    symlink(stage.path("precious/file"), old.join("app.sock")).unwrap();
    symlink(stage.path("precious"), old.join("dir")).unwrap();
    chown(&old, Some(user.uid), Some(user.gid)).unwrap();
    let app = stage.start(&release);
    assert_ne!(app.launched.dir.path(), old);
    let names: Vec<_> = fs::read_dir(app.launched.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["app.sock"]);
    let file = fs::metadata(stage.path("precious/file")).unwrap();
    assert_eq!((file.uid(), mode(&stage.path("precious/file"))), (0, 0o644));
}

/// As in CVE-2018-12026: between the making of the socket and the change of its mode or owner, its place was the app's user's to change.
#[test]
fn an_app_s_user_that_swaps_its_socket_for_a_link_moves_nothing_of_root_s() {
    if !we_are_root() {
        return;
    }
    let stage = Stage::new();
    let release = stage.release_of(&["sleep", "1000"], Bind::Fd, Some("nobody"));
    let user = release.user.clone().unwrap();
    let precious = stage.path("precious");
    fs::write(&precious, "x").unwrap();
    fs::set_permissions(&precious, fs::Permissions::from_mode(0o640)).unwrap();
    // It would have to guess names in a directory that it cannot list.
    fs::create_dir_all(stage.path("run/blog")).unwrap();
    let swapper = Swapper::start(&stage.path("run/blog"), &precious, user.uid, user.gid);
    let apps: Vec<App> = (0..STARTS).map(|_| stage.start(&release)).collect();
    let swapped = || apps.iter().filter(|app| fs::read_link(app.launched.dir.path().join("app.sock")).is_ok()).count();
    found("the swapper did what it is for", secs(20), || (swapped() > 0).then_some(()));
    drop(swapper);
    let file = fs::metadata(&precious).unwrap();
    assert_eq!((file.uid(), file.gid(), mode(&precious)), (0, 0, 0o640));
}

/// So many that with the old order of steps at least one was hit in nearly every run of the test, on two cores.
const STARTS: u32 = 300;
