//! Which thread of rota is who for the kernel, and what a hostile app can do to them: nothing. As root only; the apps run as users of every Debian.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire::Wire;

const APP: &str = "daemon";
const APP_UID: u32 = 1;
const NOBODY: u32 = 65534;

/// `GET /attack/PID` tries on each thread of a process what a user may do to its own, and answers with what was not refused. `POST` answers
/// the length of the body, `GET /file/PATH` names a file to send in its place, all else is answered "up".
const HOSTILE: &str = r#"
use Socket;
$| = 1;
$SIG{PIPE} = "IGNORE";
my %n = (NUMBERS);
my @worked;
# 1: EPERM, 13: EACCES
sub try {
    my ($what, @call) = @_;
    $! = 0;
    my $got = syscall(shift @call, @call);
    push @worked, "$what ($got $!)" unless $got == -1 && ($! == 1 || $! == 13);
    return $got;
}
sub attack {
    # As a number: a text would be passed by its address.
    my $pid = $_[0] + 0;
    @worked = ();
    my @tids = map { m{/(\d+)$}; $1 + 0 } glob "/proc/$pid/task/*";
    my ($own, $there) = ("x" x 8, 0x400000);
    my ($local, $remote) = (pack("PQ", $own, 8), pack("QQ", $there, 8));
    my ($limits, $mask, $param) = (pack("QQ", 3, 3), pack("Q", 1), pack("l", 0));
    for my $tid (@tids) {
        my $name = "$tid";
        if (open(my $comm, "<", "/proc/$pid/task/$tid/comm")) { chomp($name = <$comm>) }
        # What it could trace only it could wait for.
        try("$name: ptrace attach", $n{ptrace}, 16, $tid, 0, 0) unless $name eq "sleep";
        try("$name: ptrace seize", $n{ptrace}, 0x4206, $tid, 0, 0) unless $name eq "sleep";
        try("$name: process_vm_readv", $n{process_vm_readv}, $tid, $local, 1, $remote, 1, 0);
        try("$name: process_vm_writev", $n{process_vm_writev}, $tid, $local, 1, $remote, 1, 0);
        try("$name: prlimit", $n{prlimit64}, $tid, 7, $limits, 0);
        try("$name: kcmp", $n{kcmp}, $$, $tid, 2, 0, 0);
        try("$name: setpriority", $n{setpriority}, 0, $tid, 19);
        try("$name: sched_setaffinity", $n{sched_setaffinity}, $tid, 8, $mask);
        try("$name: sched_setscheduler", $n{sched_setscheduler}, $tid, 5, $param);
        try("$name: ioprio_set", $n{ioprio_set}, 1, $tid, 3 << 13);
        for my $file (qw(mem environ maps smaps auxv syscall stack io)) {
            if (open(my $opened, "<", "/proc/$pid/task/$tid/$file")) {
                push @worked, "$name: $file" if defined sysread($opened, my $bytes, 1);
            }
        }
        for my $file (qw(mem comm oom_score_adj autogroup sched timerslack_ns)) {
            my $path = -e "/proc/$pid/task/$tid/$file" ? "/proc/$pid/task/$tid/$file" : "/proc/$tid/$file";
            push @worked, "$name: writes $file" if open(my $opened, "+<", $path) and syswrite($opened, "500");
        }
        for my $dir (qw(fd fdinfo map_files)) {
            push @worked, "$name: $dir" if opendir(my $opened, "/proc/$tid/$dir");
        }
        push @worked, "$name: exe" if defined readlink "/proc/$pid/task/$tid/exe";
        push @worked, "$name: root" if opendir(my $opened, "/proc/$pid/task/$tid/root/");
        for my $signal (0, 19, 9) {
            try("$name: kill $signal", $n{kill}, $tid, $signal);
            try("$name: tgkill $signal", $n{tgkill}, $pid, $tid, $signal);
        }
        for my $flags (0, 0200) {
            my $fd = syscall($n{pidfd_open}, $flags ? $tid : $pid, $flags);
            next if $fd < 0;
            try("$name: pidfd_send_signal", $n{pidfd_send_signal}, $fd, 9, 0, 0);
            try("$name: pidfd_getfd", $n{pidfd_getfd}, $fd, 0, 0);
        }
    }
    return @worked ? join "\n", @worked : "nothing on " . @tids . " threads";
}
socket(my $server, AF_UNIX, SOCK_STREAM, 0) or die $!;
bind($server, sockaddr_un($ENV{SOCKET})) or die $!;
listen($server, 64) or die $!;
while (accept(my $client, $server)) {
    my ($head, $answer, $more) = ("", "up", "");
    while ($head !~ /\r\n\r\n/) { sysread($client, $head, 4096, length $head) or last }
    if (my ($pid) = $head =~ m{^GET /attack/(\d+)}) { $answer = attack($pid) }
    if (my ($path) = $head =~ m{^GET /file(/\S+)}) { $more = "X-Sendfile: $path\r\n" }
    if (my ($length) = $head =~ /^content-length: (\d+)/mi) {
        $head =~ s/^.*?\r\n\r\n//s;
        while (length $head < $length) { sysread($client, $head, 65536, length $head) or last }
        $answer = length $head;
    }
    syswrite($client, "HTTP/1.1 200 OK\r\nConnection: close\r\n${more}Content-Length: " . length($answer) . "\r\n\r\n$answer");
    close $client;
}
"#;

/// System calls by name (syscalls(2)), as this machine has them.
fn numbers() -> String {
    let numbers: [(&str, u32); 14] = match std::env::consts::ARCH {
        "x86_64" => [
            ("kill", 62),
            ("tgkill", 234),
            ("pidfd_open", 434),
            ("pidfd_send_signal", 424),
            ("pidfd_getfd", 438),
            ("ptrace", 101),
            ("process_vm_readv", 310),
            ("process_vm_writev", 311),
            ("prlimit64", 302),
            ("kcmp", 312),
            ("setpriority", 141),
            ("sched_setaffinity", 203),
            ("sched_setscheduler", 144),
            ("ioprio_set", 251),
        ],
        // asm-generic/unistd.h
        _ => [
            ("kill", 129),
            ("tgkill", 131),
            ("pidfd_open", 434),
            ("pidfd_send_signal", 424),
            ("pidfd_getfd", 438),
            ("ptrace", 117),
            ("process_vm_readv", 270),
            ("process_vm_writev", 271),
            ("prlimit64", 261),
            ("kcmp", 272),
            ("setpriority", 140),
            ("sched_setaffinity", 122),
            ("sched_setscheduler", 119),
            ("ioprio_set", 30),
        ],
    };
    numbers.map(|(name, number)| format!("{name} => {number}")).join(", ")
}

/// The app `app` of a user that is not root, with these keys more.
fn hostile(keys: &str) -> Site {
    let site = Site::prepare("");
    let at = site.path("").display().to_string().trim_end_matches('/').to_owned();
    let config = format!(
        "[server]\nlisten = \"{}\"\ncontrol = \"{at}/run/control.sock\"\nspool_dir = \"{at}/spool\"\nstate_dir = \"{at}/state\"\n\
         [app.app]\nroot = \"{at}/current\"\nuser = \"{APP}\"\ncommand = [\"perl\", \"hostile\"]\nbind = \"unix\"\nprobation = \"1ms\"\n\
         env = {{ IT_SITE = \"{at}\" }}\n{keys}",
        site.addr
    );
    fs::write(site.path("rota.toml"), config.replace("AT", &at)).unwrap();
    fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    site.release("1", "");
    fs::write(site.path("releases/1/hostile"), HOSTILE.replace("NUMBERS", &numbers())).unwrap();
    site.flip("1");
    site
}

fn get(site: &Site, target: &str) -> (u16, String) {
    let reply = Wire::connect(site.addr).unwrap().ask(&format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).unwrap();
    (reply.status, reply.text())
}

/// What the kernel says of each thread of a process, by name.
fn threads(pid: u32) -> Vec<(String, BTreeMap<String, String>)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let of = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let field = |line: &str| line.split_once(":\t").map(|(name, value)| (name.to_owned(), value.replace('\t', " ").trim().to_owned()));
        let fields: BTreeMap<String, String> = status.lines().filter_map(field).collect();
        Some((fields["Name"].clone(), fields))
    };
    tasks.filter_map(of).collect()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn an_app_can_do_nothing_to_a_thread_of_rota() {
    if !is_root() {
        return;
    }
    let site = hostile("processes = 2\n").serve();
    let threads = threads(site.pid()).len();
    let (status, worked) = get(&site, &format!("/attack/{}", site.pid()));
    assert_eq!((status, worked), (200, format!("nothing on {threads} threads")));
    assert_eq!(get(&site, "/"), (200, "up".to_owned()), "rota lives");
    // All of that can be done to a process of the app's own user.
    let mut own = Command::new("sleep").arg("60").uid(APP_UID).gid(APP_UID).spawn().unwrap();
    let (_, worked) = get(&site, &format!("/attack/{}", own.id()));
    let _ = own.kill();
    let _ = own.wait();
    for what in ["process_vm_readv", "prlimit", "setpriority", "sched_setaffinity", "maps", "fd", "kill 9"] {
        assert!(worked.contains(&format!("sleep: {what}")), "{what} of {worked}");
    }
}

#[test]
fn a_thread_that_acts_for_an_app_has_its_user_for_files_and_no_rights() {
    if !is_root() {
        return;
    }
    let site = hostile("").serve();
    let io = threads(site.pid()).into_iter().find(|(name, _)| name.starts_with("io app/1")).expect("an I/O thread").1;
    assert!(!io["Uid"].split(' ').take(3).any(|uid| uid == APP_UID.to_string()), "{}", io["Uid"]);
    assert_eq!(io["Uid"].split(' ').nth(3), Some("1"));
    assert_eq!(io["Gid"].split(' ').nth(3), Some("1"));
    assert_eq!((io["Groups"].as_str(), io["NoNewPrivs"].as_str()), ("1", "1"));
    assert!(io["Seccomp"] == "2" || site.log().contains("seccomp: "), "{}", io["Seccomp"]);
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(io[set], "0000000000000000", "{set}");
    }
}

#[test]
fn large_bodies_find_a_place_whoever_may_write_to_the_spool() {
    if !is_root() {
        return;
    }
    for mode in [0o700, 0o755, 0o1777] {
        let mut site = hostile("");
        fs::set_permissions(site.path("spool"), fs::Permissions::from_mode(mode)).unwrap();
        site.launch();
        site.wait_served();
        for _ in 0..2 {
            let body = "x".repeat(300_000);
            let request = format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let reply = Wire::connect(site.addr).unwrap().ask(&request).unwrap();
            assert_eq!((reply.status, reply.text()), (200, "300000".to_owned()), "spool_dir has mode {mode:o}");
        }
        site.signal(Signal::TERM);
        assert_eq!(site.wait_end(secs(40)), Some(0));
        assert_eq!(fs::read_dir(site.path("spool")).unwrap().count(), 0, "nothing is left in it");
    }
}

#[test]
fn a_spool_directory_that_was_removed_is_there_again_for_each_app() {
    if !is_root() {
        return;
    }
    let site = hostile("");
    chown(site.path("spool"), None, Some(4)).unwrap();
    fs::set_permissions(site.path("spool"), fs::Permissions::from_mode(0o710)).unwrap();
    let site = site.serve();
    let body = "x".repeat(300_000);
    let request = format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let takes = || Wire::connect(site.addr).unwrap().ask(&request).is_ok_and(|reply| reply.status == 200);
    assert!(takes());
    let spool = site.path("spool");
    fs::remove_dir_all(&spool).unwrap();
    wait::until("rota has made it anew", secs(20), takes);
    let found = fs::metadata(&spool).unwrap();
    assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o710, 0, 4));
    // What is in it alone; and all of it, of which somebody makes another himself.
    fs::remove_dir_all(spool.join(format!(".rota-{APP_UID}"))).unwrap();
    wait::until("the app has its own again", secs(20), takes);
    fs::rename(&spool, site.path("away")).unwrap();
    let _ = fs::create_dir(&spool);
    let own = spool.join(format!(".rota-{APP_UID}"));
    wait::until("there is another", secs(20), || own.exists() && takes());
    let own = fs::metadata(own).unwrap();
    assert_eq!((own.mode() & 0o7777, own.uid()), (0o700, APP_UID));
    assert!(site.log().contains("somebody removed files of this rota; made anew: "), "{}", site.log());
}

#[test]
fn of_the_files_of_others_an_app_has_sent_what_it_could_read() {
    if !is_root() {
        return;
    }
    let site = hostile("sendfile_root = \"AT/files\"\n");
    fs::create_dir_all(site.path("files/closed")).unwrap();
    for (name, mode, owner) in [
        ("open", 0o644, 0),
        ("own", 0o600, APP_UID),
        ("roots", 0o600, 0),
        ("others", 0o640, NOBODY),
        // Everybody's, in a directory that is not.
        ("closed/inside", 0o644, 0),
    ] {
        let path = site.path("files").join(name);
        fs::write(&path, name).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
    }
    fs::set_permissions(site.path("files/closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let site = site.serve();
    let at = site.path("files").display().to_string();
    for name in ["open", "own"] {
        assert_eq!(get(&site, &format!("/file{at}/{name}")), (200, name.to_owned()));
    }
    for name in ["roots", "others", "closed/inside"] {
        let (status, text) = get(&site, &format!("/file{at}/{name}"));
        assert!(status == 502 && !text.contains(name), "{name}: {status} {text}");
    }
}

#[test]
fn a_process_that_stood_aside_steps_up_though_its_thread_may_not_let_it() {
    if !is_root() {
        return;
    }
    let site = hostile("nice = 3\n").serve();
    site.flip("1");
    site.rota(&["restart", "app"]).expect(0);
    let pid = site.serving(2)[0];
    let nice = || {
        fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().to_owned()
    };
    wait::until("it has its own nice value", secs(10), || nice() == "3");
}

#[test]
fn what_rota_was_given_for_itself_reaches_no_app() {
    if !is_root() {
        return;
    }
    // As systemd starts a rota that is not root, with AmbientCapabilities=CAP_NET_BIND_SERVICE.
    let mut site = hostile("");
    let config = fs::read_to_string(site.path("rota.toml")).unwrap().replace(&format!("user = \"{APP}\"\n"), "");
    let config = config.replace("AT", "").replace("\"perl\", \"hostile\"", "\"perl\", \"says\"");
    fs::write(site.path("rota.toml"), config).unwrap();
    let says = HOSTILE.replace("NUMBERS", &numbers()).replace("my ($head, $answer, $more) = (\"\", \"up\", \"\");", SAYS);
    fs::write(site.path("releases/1/says"), says).unwrap();
    for name in ["run", "spool", "state"] {
        let _ = fs::create_dir(site.path(name));
        chown(site.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let program = site.own_program();
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service"];
    let mut command = Command::new("setpriv");
    command.args(user).arg(program).args(["serve", "--config"]).arg(site.path("rota.toml")).current_dir("/");
    let log = fs::File::create(site.path("log")).unwrap();
    site.launch_by(command, Stdio::from(log.try_clone().unwrap()), Stdio::from(log));
    site.wait_served();
    assert_eq!(
        get(&site, "/").1,
        "CapInh:\t0000000000000000 CapPrm:\t0000000000000000 CapEff:\t0000000000000000 CapAmb:\t0000000000000000"
    );
    let own = threads(site.pid()).into_iter().find(|(name, _)| name == "rota").unwrap().1;
    assert_ne!(own["CapEff"], "0000000000000000", "rota has its own");
}

/// Answers with the sets of capabilities of the process.
const SAYS: &str = r#"
    open(my $status, "<", "/proc/self/status");
    my ($head, $answer, $more) = ("", join(" ", map { chomp; $_ } grep { /^Cap(Inh|Prm|Eff|Amb)/ } <$status>), "");
"#;

#[test]
fn configuration_that_others_may_write_is_refused() {
    if !is_root() {
        return;
    }
    let mut site = hostile("");
    fs::create_dir(site.path("apps.d")).unwrap();
    let at = site.path("").display().to_string();
    let planted = site.path("apps.d/planted.toml");
    let table = format!("root = \"{at}\"\nuser = \"root\"\nhosts = \"planted\"\ncommand = \"sleep 1000\"\n");
    fs::write(&planted, table).unwrap();
    site.rota(&["check"]).expect(0);
    for (mode, owner, why) in [(0o666, 0, "anybody may write to "), (0o644, APP_UID, "belongs to uid 1: rota, which runs as root, would ")]
    {
        fs::set_permissions(&planted, fs::Permissions::from_mode(mode)).unwrap();
        chown(&planted, Some(owner), None).unwrap();
        let said = site.rota(&["check"]);
        assert!(said.expect(1).err.contains(why) && said.err.contains("planted.toml"), "{}", said.err);
    }
    // The others are served.
    site.launch();
    site.wait_served();
    assert!(site.log().contains("planted is not served") && site.log().contains("belongs to uid 1"), "{}", site.log());
    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(40)), Some(0));
    // What is everybody's is none.
    fs::set_permissions(site.path("rota.toml"), fs::Permissions::from_mode(0o666)).unwrap();
    for verb in ["check", "serve"] {
        let said = site.rota(&[verb]);
        assert!(said.expect(1).err.contains("anybody may write to "), "{verb}: {}", said.err);
    }
    fs::set_permissions(site.path("rota.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(site.rota(&["check"]).expect(1).err.contains("anybody may write to "));
}

#[test]
fn a_unix_socket_is_for_whom_the_configuration_names() {
    if !is_root() {
        return;
    }
    let site = hostile("");
    let at = site.path("").display().to_string().trim_end_matches('/').to_owned();
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    let sockets = format!(
        "listen = [\"{}\", \"unix:{at}/all.sock\", {{ address = \"unix:{at}/group.sock\", group = \"{APP}\" }}, \
         {{ address = \"unix:{at}/mode.sock\", mode = \"0600\" }}]\n",
        site.addr
    );
    fs::write(site.path("rota.toml"), config.replace(&format!("listen = \"{}\"\n", site.addr), &sockets)).unwrap();
    let site = site.serve();
    let of = |name: &str| {
        let found = fs::metadata(site.path(name)).unwrap();
        (found.mode() & 0o777, found.gid())
    };
    assert_eq!([of("all.sock"), of("group.sock"), of("mode.sock")], [(0o666, 0), (0o660, APP_UID), (0o600, 0)]);
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    fs::write(site.path("rota.toml"), config.replace("[server]\n", "[server]\ntrusted_proxies = [\"unix\"]\n")).unwrap();
    let said = site.rota(&["check"]);
    assert!(said.expect(0).err.contains(&format!("unix:{at}/all.sock: everybody on this machine may connect")), "{}", said.err);
    assert!(!said.err.contains("group.sock"), "{}", said.err);
    fs::write(site.path("rota.toml"), config.replace(&format!("group = \"{APP}\""), "group = \"no-such-group\"")).unwrap();
    assert!(site.rota(&["check"]).expect(1).err.contains("there is no group \"no-such-group\""));
}

#[test]
fn a_file_is_looked_for_by_a_thread_that_acts_for_its_app() {
    if !is_root() {
        return;
    }
    let other = "[app.other]\nroot = \"AT/current\"\nuser = \"nobody\"\nhosts = \"other\"\ncommand = [\"perl\", \"hostile\"]\nbind = \"unix\"\n\
                 probation = \"1ms\"\nenv = { IT_SITE = \"AT\" }\npublic = \"public\"\n";
    let site = hostile(&format!("public = \"public\"\n{other}"));
    fs::create_dir(site.path("releases/1/public")).unwrap();
    for (name, owner) in [("ones.txt", APP_UID), ("theirs.txt", NOBODY)] {
        let path = site.path("releases/1/public").join(name);
        fs::write(&path, name).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
    }
    let site = site.serve();
    wait::until("both serve", secs(20), || site.status()["apps"][1]["processes"][0]["state"] == "serving");
    let ask = |wire: &mut Wire, host: &str, path: &str| wire.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap().text();
    for _ in 0..2 {
        // As a proxy does that keeps its connections: wherever one is, each file is read by whose app may.
        let mut wire = Wire::connect(site.addr).unwrap();
        for (host, path, text) in [
            ("a", "/", "up"),
            ("other", "/theirs.txt", "theirs.txt"),
            ("a", "/ones.txt", "ones.txt"),
            ("other", "/", "up"),
            ("a", "/ones.txt", "ones.txt"),
            ("a", "/theirs.txt", "up"),
            ("other", "/theirs.txt", "theirs.txt"),
        ] {
            assert_eq!(ask(&mut wire, host, path), text, "{host} {path}");
        }
    }
}

/// What SECURITY.md says of threads: their names, who they are, who they are for files, their capabilities, and whether there is a filter.
fn promised() -> Vec<(Vec<String>, [String; 4])> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/SECURITY.md")).unwrap();
    let table = text.lines().skip_while(|line| !line.starts_with("| thread | is ")).skip(2).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let names = cells[0].split('`').skip(1).step_by(2);
        let names = names.map(|name| name.replace("APP", "app").replace("/N", "/1").replace("USER", APP)).collect();
        (names, [1, 2, 3, 4].map(|at| cells[at].to_owned()))
    };
    table.map(row).collect()
}

/// linux/capability.h
fn bits(names: &str) -> u64 {
    const NAMES: [(&str, u32); 12] = [
        ("chown", 0),
        ("dac_override", 1),
        ("dac_read_search", 2),
        ("fowner", 3),
        ("kill", 5),
        ("setgid", 6),
        ("setuid", 7),
        ("net_bind_service", 10),
        ("net_admin", 12),
        ("sys_ptrace", 19),
        ("sys_admin", 21),
        ("sys_nice", 23),
    ];
    let bit = |name: &str| match name {
        "none" => 0,
        name => 1 << NAMES.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name}")).1,
    };
    names.split(", ").map(bit).sum()
}

/// Why a thread is not what is promised of it; None: it is.
fn breach(thread: &BTreeMap<String, String>, [is, files, capabilities, filter]: &[String; 4], own: &str, log: &str) -> Option<String> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let rota = passwd.lines().find_map(|line| line.strip_prefix("rota:")?.split(':').nth(1));
    let uid = if is == "rota" { rota.unwrap_or("0") } else { "0" };
    let of_files = match files.as_str() {
        "root" => "0".to_owned(),
        "rota" => rota.unwrap_or("65533").to_owned(),
        _ => APP_UID.to_string(),
    };
    let expected = format!("{uid} {uid} {uid} {of_files}");
    let set = format!("{:016x}", bits(capabilities) & u64::from_str_radix(own, 16).unwrap());
    let nothing = format!("{:016x}", 0);
    let mut wanted = vec![("Uid", expected), ("CapEff", set.clone()), ("CapPrm", set), ("CapInh", nothing.clone()), ("CapAmb", nothing)];
    wanted.push(("NoNewPrivs", if capabilities.contains("kill") { "0" } else { "1" }.to_owned()));
    if !log.contains("seccomp: ") {
        wanted.push(("Seccomp", if filter == "yes" { "2" } else { "0" }.to_owned()));
    }
    wanted.iter().find(|(what, wanted)| thread[*what] != *wanted).map(|(what, wanted)| format!("{what}: {}, not {wanted}", thread[*what]))
}

#[test]
fn each_thread_has_the_rights_that_are_promised_of_it() {
    if !is_root() {
        return;
    }
    let site = hostile("public = \"public\"\nlog = \"AT/app.log\"\n").serve();
    let promised = promised();
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap().to_owned();
    let names: Vec<&String> = promised.iter().flat_map(|(names, _)| names).collect();
    // What comes and goes is held by a disk that does not answer.
    fs::create_dir(site.path("dead")).unwrap();
    let dead = crate::app_trees::Dead::mount(&site.path("dead"));
    let passing =
        ["rota-errand", "rota-upgrade", "rota-who", "app: prepare", "app: open", "app: sweep", "as daemon", "proc", "rota-reload"];
    let mut waits = Vec::new();
    if dead.is_some() {
        std::os::unix::fs::symlink("dead/release", site.path("next")).unwrap();
        fs::rename(site.path("next"), site.path("current")).unwrap();
        std::os::unix::fs::symlink("dead", site.path("apps.d")).unwrap();
        waits.extend(
            [&["restart", "app"][..], &["reload"]]
                .map(|asked| site.command(asked).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()),
        );
    }
    let expected =
        |name: &str| !passing.contains(&name) || (dead.is_some() && ["app: prepare", "as daemon", "rota-reload"].contains(&name));
    let wrong = || {
        let (threads, log) = (threads(site.pid()), site.log());
        let mut wrong: Vec<String> = names.iter().filter(|name| expected(name)).map(|name| (*name).clone()).collect();
        for (name, thread) in &threads {
            let row = promised.iter().find(|(names, _)| names.contains(name));
            let breach = row.map_or_else(|| Some("nothing is said of it".to_owned()), |(_, row)| breach(thread, row, &own, &log));
            wrong.retain(|missing| missing != name);
            wrong.extend(breach.map(|breach| format!("{name}: {breach}")));
        }
        wrong
    };
    let until = std::time::Instant::now() + secs(15);
    while !wrong().is_empty() && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(wrong(), [""; 0]);
    drop(dead);
    for mut asked in waits {
        let _ = asked.wait();
    }
}

#[test]
fn the_master_has_none_of_root_s_rights_and_listens_late_all_the_same() {
    if !is_root() {
        return;
    }
    // A port that only root may take, and that another has at first.
    let late = "127.55.66.77:998";
    let other = std::net::TcpListener::bind(late).unwrap();
    let mut site = hostile("");
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    fs::write(
        site.path("rota.toml"),
        config.replace("listen = \"", &format!("listen = [\"{late}\", \"")).replace("\"\ncontrol", "\"]\ncontrol"),
    )
    .unwrap();
    site.launch();
    site.wait_served();
    let master = threads(site.pid()).into_iter().find(|(name, _)| name == "rota-master").expect("the master").1;
    let rota = fs::read_to_string("/etc/passwd").unwrap().lines().any(|line| line.starts_with("rota:"));
    if !rota {
        assert_eq!((master["Uid"].as_str(), master["Gid"].as_str()), ("0 0 0 65533", "0 0 0 65533"));
    }
    assert_ne!(master["Uid"].split(' ').nth(3), Some("0"));
    assert_eq!(master["NoNewPrivs"], "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(master[set], "0000000000000000", "{set}");
    }
    drop(other);
    wait::until("the port is taken", secs(20), || Wire::connect(late.parse().unwrap()).is_ok());
    // A body that waits where no process can take it.
    fs::remove_file(site.path("run/control.sock")).unwrap();
    wait::until("the control socket is made anew", secs(20), || site.rota(&["status"]).status == Some(0));
    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(40)), Some(0));
    let left = |name: &str| fs::read_dir(site.path(name)).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert!(left("spool").is_empty() && !site.path("run/control.sock").exists() && !site.path("run/.lock").exists(), "{:?}", left("run"));
}
