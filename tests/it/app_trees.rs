//! A hostile app beside a good one: whatever it puts into its own directories, the visitors of the good one and its repair do not notice, and
//! nothing is read or sent that its user could not read. The apps are those of two users, as on a server.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::site::{Site, kill};
use crate::wait::{self, secs};
use crate::wire::Wire;

/// As `daemon`, of every Debian; neither is in a group of the other.
const GOOD: &str = "nobody";

/// Answers `GET /NAME` with what the file NAME of its directory says, `GET /?NAME` with a variable, and anything else with "up". A file
/// `at-boot` is executed first.
const APP: &str = r#"
use Socket;
$| = 1;
$SIG{PIPE} = "IGNORE";
if (-e "at-boot") { do "./at-boot" or die "at-boot: $@ $!" }
socket(my $server, AF_UNIX, SOCK_STREAM, 0) or die $!;
bind($server, sockaddr_un($ENV{SOCKET})) or die $!;
listen($server, 64) or die $!;
while (accept(my $client, $server)) {
    my ($head, $answer) = ("", "up");
    while ($head !~ /\r\n\r\n/) { sysread($client, $head, 4096, length $head) or last }
    my ($path) = $head =~ /^GET (\S+)/ or next;
    my $more = "";
    if ($path =~ /^\/\?(.*)/) { $answer = $ENV{$1} // "unset" }
    if ($path =~ /^\/send\/(.*)/) { $more = "X-Sendfile: $1\r\n" }
    syswrite($client, "HTTP/1.1 200 OK\r\n${more}Connection: close\r\nContent-Length: " . length($answer) . "\r\n\r\n$answer");
    close $client;
}
"#;

/// `evil`, whose directories are its user's, with these keys; and `good`, of another user.
struct Two {
    site: Site,
}

impl Two {
    /// None: only root can have two users.
    fn prepare(evil: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let site = Site::without_app("");
        fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        let at = site.path("").display().to_string().trim_end_matches('/').to_owned();
        let common = format!("bind = \"unix\"\nprobation = \"1ms\"\nenv = {{ IT_SITE = \"{at}\" }}\n");
        let command = if evil.contains("command = none") { "" } else { "command = [\"perl\", \"app\"]\n" };
        let evil = evil.replace("command = none\n", "").replace("AT", &at);
        let config = fs::read_to_string(site.path("rota.toml")).unwrap();
        let apps = format!(
            "[app.good]\nroot = \"{at}/good\"\nuser = \"{GOOD}\"\nhosts = \"good\"\ncommand = [\"perl\", \"app\"]\n{common}\
             [app.evil]\nroot = \"{at}/evil/current\"\nuser = \"daemon\"\nhosts = \"evil\"\n{command}{common}{evil}"
        );
        fs::write(site.path("rota.toml"), config + &apps).unwrap();
        for name in ["good", "evil", "evil/1", "evil/1/tmp"] {
            fs::create_dir(site.path(name)).unwrap();
        }
        fs::write(site.path("good/app"), APP).unwrap();
        fs::write(site.path("evil/1/app"), APP).unwrap();
        symlink("1", site.path("evil/current")).unwrap();
        let two = Self { site };
        two.own("evil");
        Some(two)
    }

    fn launch(mut self) -> Self {
        self.site.launch();
        self
    }

    fn serve(self) -> Self {
        let two = self.launch();
        wait::until("both apps answer", secs(60), || two.answers("good") && two.answers("evil"));
        wait::until("their first walks have ended", secs(60), || (0..2).all(|app| two.site.status()["apps"][app]["walk"].is_null()));
        two
    }

    fn path(&self, name: &str) -> PathBuf {
        self.site.path(name)
    }

    /// Makes all that is there the evil user's.
    fn own(&self, name: &str) {
        let status = Command::new("chown").args(["-hR", "daemon:daemon"]).arg(self.path(name)).status().unwrap();
        assert!(status.success());
    }

    /// Does something as the evil user in its directory, in perl.
    fn as_evil(&self, script: &str) {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=1", "--regid=1", "--clear-groups", "perl", "-e", script]);
        let output = command.current_dir(self.path("evil")).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn get(&self, app: &str, target: &str) -> (u16, String) {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {app}\r\nConnection: close\r\n\r\n");
        let reply = Wire::connect(self.site.addr).and_then(|mut wire| wire.ask(&request));
        reply.map_or((0, String::new()), |reply| (reply.status, reply.text()))
    }

    fn answers(&self, app: &str) -> bool {
        self.get(app, "/") == (200, "up".to_owned())
    }

    /// What the status says of an app.
    fn app(&self, app: &str) -> serde_json::Value {
        let status = self.site.status();
        status["apps"].as_array().unwrap().iter().find(|one| one["app"] == app).cloned().unwrap_or_default()
    }

    /// The nice value of a thread of rota by its name, as long as that is (proc(5), /proc/PID/stat).
    fn nice_of(&self, name: &str) -> Option<i64> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.site.pid())).unwrap().flatten();
        let mut stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
        let stat = stats.find(|stat| stat.contains(&format!("({name})")))?;
        stat.rsplit_once(") ")?.1.split(' ').nth(16)?.parse().ok()
    }

    /// The serving process of an app.
    fn pid(&self, app: &str) -> Option<u32> {
        let of = self.app(app);
        let serving = of["processes"].as_array().unwrap().iter().find(|process| process["state"] == "serving")?;
        serving["pid"].as_u64().map(|pid| pid as u32)
    }

    /// The good app's process is killed, and comes back while whatever the evil one has begun goes on.
    fn good_is_repaired(&self) {
        let old = self.pid("good").unwrap();
        kill(old, Signal::KILL);
        wait::until("the good app is repaired", secs(10), || self.answers("good") && self.pid("good").is_some_and(|pid| pid != old));
    }

    /// The slowest of some requests to the good app.
    fn slowest(&self, time: Duration) -> Duration {
        let (begun, mut slowest) = (Instant::now(), Duration::ZERO);
        while begun.elapsed() < time {
            let asked = Instant::now();
            assert!(self.answers("good"));
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    }

    fn ends(mut self) {
        self.site.signal(Signal::TERM);
        assert_eq!(self.site.wait_end(secs(15)), Some(0));
    }
}

/// The names in a directory.
fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir)
        .map_or_else(|_| Vec::new(), |entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
}

const NEST: &str = "my $depth = DEPTH; chdir $ENV{XDG_RUNTIME_DIR}; for (1 .. $depth) { mkdir 'a'; chdir 'a' } chdir $dir;";

#[test]
fn directories_nested_in_a_private_directory_end_neither_the_server_nor_its_next_start() {
    let Some(two) = Two::prepare("") else { return };
    let nest = NEST.replace("DEPTH", "6000");
    fs::write(two.path("evil/1/at-boot"), format!("use Cwd; my $dir = getcwd(); {nest} 1")).unwrap();
    let mut two = two.serve();
    let first = names(&two.path("run/evil"));
    assert_eq!(first.len(), 1);
    kill(two.pid("evil").unwrap(), Signal::KILL);
    wait::until("the evil app is repaired", secs(30), || two.answers("evil"));
    wait::until("what it left is removed", secs(90), || names(&two.path("run/evil")).iter().all(|name| !first.contains(name)));
    assert!(two.answers("good"));
    // What a killed rota leaves is the next one's to remove.
    let left = names(&two.path("run/evil"));
    two.site.signal(Signal::KILL);
    two.site.wait_end(secs(20));
    wait::until("its processes have ended", secs(20), || two.site.left().is_empty());
    assert!(names(&two.path("run/evil")).contains(&left[0]));
    let two = two.serve();
    wait::until("what an earlier rota left is removed", secs(30), || names(&two.path("run/evil")).iter().all(|name| !left.contains(name)));
    two.ends();
}

#[test]
fn a_private_directory_full_of_files_holds_up_no_repair_and_no_end() {
    let Some(two) = Two::prepare("") else { return };
    let fill = "for (1 .. 60000) { open my $f, '>', \"$ENV{XDG_RUNTIME_DIR}/$_\"; } 1";
    fs::write(two.path("evil/1/at-boot"), fill).unwrap();
    let two = two.serve();
    kill(two.pid("evil").unwrap(), Signal::KILL);
    two.good_is_repaired();
    two.ends();
}

#[test]
fn links_and_directories_behind_a_restart_file_are_nobody_else_s_affair() {
    let Some(two) = Two::prepare("restart_file = \"tmp/restart.txt\"\nwatch = true\n") else { return };
    let two = two.serve();
    let before = two.slowest(secs(1));
    // 37 links, each through 1,900 directories: every one of them a step of the way.
    let at = two.path("evil/x").display().to_string();
    two.as_evil(&format!(
        "mkdir 'x'; chdir 'x'; for (1 .. 1900) {{ mkdir 'd' or die $!; chdir 'd' or die $! }} mkdir 'l0'; \
         for my $n (1 .. 37) {{ my $m = $n - 1; symlink('{at}/' . 'd/' x 1900 . \"l$m\", \"l$n\") or die $! }} \
         chdir '{at}/../1' or die $!; rename('tmp', 'old') or die $!; symlink('{at}/' . 'd/' x 1900 . 'l37', 'tmp') or die $!;"
    ));
    for _ in 0..20 {
        two.as_evil("chdir '1'; rename('tmp', 'away') or die $!; rename('away', 'tmp') or die $!;");
    }
    let during = two.slowest(secs(2));
    assert!(during < before + secs(2), "a visitor of the other app waited {during:?}, and {before:?} before");
    two.good_is_repaired();
    two.ends();
}

#[test]
fn a_tree_without_end_is_looked_at_with_a_budget_and_nobody_waits_for_that() {
    let Some(two) = Two::prepare("command = none\n") else { return };
    fs::write(two.path("evil/1/Procfile"), "web: perl app\n").unwrap();
    let two = two.serve();
    two.as_evil(
        "chdir '1'; rename 'Procfile', 'old'; mkdir 'package'; open my $m, '>', 'manage.py'; \
         for my $name (qw(__init__ wsgi asgi app main settings)) { open my $f, '>', \"package/$name.py\"; print $f \"\\n\" x (1 << 20) } \
         symlink('package', \"link$_\") for 1 .. 9000;",
    );
    let asked = two.site.command(&["restart", "evil"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    two.good_is_repaired();
    let said = asked.wait_with_output().unwrap();
    assert_eq!(said.status.code(), Some(4));
    assert!(two.site.log().contains("; say it: command = "), "{}", two.site.log());
    assert!(two.answers("evil"));
    two.ends();
}

/// A file system that never answers, mounted for as long as the value lives.
pub struct Dead {
    at: PathBuf,
    /// Of one that nobody serves.
    device: Option<fs::File>,
    /// What it was asked and did not answer.
    asked: Arc<AtomicUsize>,
}

impl Dead {
    /// None: that may not be done here.
    pub fn mount(at: &Path) -> Option<Self> {
        let device = Self::device(at)?;
        Some(Self { at: at.to_owned(), device: Some(device), asked: Arc::default() })
    }

    /// One whose server has begun to work, and takes what it is asked: whoever asks it does not end when he is killed.
    pub fn mount_deaf(at: &Path) -> Option<Self> {
        let device = Self::device(at)?;
        let mut served = device.try_clone().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let heard = asked.clone();
        std::thread::spawn(move || {
            let mut asked = vec![0; 1 << 18];
            while let Ok(count) = served.read(&mut asked) {
                // fuse_in_header: length, opcode, unique. FUSE_INIT is answered with version 7.31 and nothing else.
                if count >= 16 && asked[4..8] == 26u32.to_ne_bytes() {
                    let mut answer = vec![0; 80];
                    answer[..4].copy_from_slice(&80u32.to_ne_bytes());
                    answer[8..16].copy_from_slice(&asked[8..16]);
                    answer[16..20].copy_from_slice(&7u32.to_ne_bytes());
                    answer[20..24].copy_from_slice(&31u32.to_ne_bytes());
                    answer[36..40].copy_from_slice(&4096u32.to_ne_bytes());
                    served.write_all(&answer).unwrap();
                } else {
                    heard.fetch_add(1, Ordering::AcqRel);
                }
            }
        });
        Some(Self { at: at.to_owned(), device: None, asked })
    }

    /// Mounted.
    fn device(at: &Path) -> Option<fs::File> {
        let device = fs::File::options().read(true).write(true).open("/dev/fuse").ok()?;
        let mut command = Command::new("mount");
        command.args(["-i", "-t", "fuse", "-o", "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other", "dead"]).arg(at);
        let mounted = command.stdin(Stdio::from(device.try_clone().unwrap())).stderr(Stdio::null()).status().ok()?;
        mounted.success().then_some(device)
    }
}

impl Drop for Dead {
    fn drop(&mut self) {
        // Whoever waits is told that it is gone: by the end of its last server, or because somebody says so.
        self.device = None;
        let _ = Command::new("umount").args(["-f", "-l"]).arg(&self.at).status();
    }
}

#[test]
fn an_app_on_a_disk_that_is_gone_is_given_up_by_name_and_the_others_go_on() {
    let Some(two) = Two::prepare("restart_file = \"tmp/restart.txt\"\n") else { return };
    let two = two.serve();
    fs::create_dir(two.path("dead")).unwrap();
    let Some(dead) = Dead::mount(&two.path("dead")) else {
        println!("no right to mount: there is no disk that is gone");
        return;
    };
    two.as_evil("symlink('../dead/release', 'next') or die $!; rename('next', 'current') or die $!;");
    let asked = two.site.command(&["restart", "evil"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait::until("what waits for the disk stands aside", secs(10), || two.nice_of("evil: prepare") == Some(10));
    two.good_is_repaired();
    let said = asked.wait_with_output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    let at = two.path("evil/current").display().to_string();
    assert!(said.status.code() == Some(4) && two.site.log().contains(&format!("g2 was not prepared within 20 s: finding {at}")), "{text}");
    two.site.rota(&["restart", "evil"]).expect(4);
    assert!(two.site.log().contains(&format!("nothing can be prepared, as g2 is finding {at} for ")), "{}", two.site.log());
    assert!(two.answers("evil") && two.answers("good"));
    let lost = |app: &str| two.app(app)["lost"].as_str().map(str::to_owned);
    let silent = |lost: Option<String>| lost.is_some_and(|lost| lost.contains("or of what root names has not answered for "));
    wait::until("the status says that the disk does not answer", secs(30), || silent(lost("evil")));
    assert_eq!(lost("good"), None);
    drop(dead);
    two.as_evil("symlink('1', 'next') or die $!; rename('next', 'current') or die $!;");
    wait::until("it can be prepared again", secs(30), || two.site.rota(&["restart", "evil"]).status == Some(0));
    two.ends();
}

/// The state of a thread of a process by its name (proc(5)): `D` waits and cannot be killed.
fn state_of(pid: u32, name: &str) -> Option<char> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    let states = stats.filter(|stat| stat.contains(&format!("({name})"))).filter_map(|stat| stat.rsplit_once(") ")?.1.chars().next());
    states.max_by_key(|state| *state == 'D')
}

/// A thread that a disk holds does not end with rota, and keeps open what is in its table.
#[test]
fn a_rota_that_is_killed_while_a_disk_is_gone_leaves_nothing_that_the_next_one_needs() {
    let Some(two) = Two::prepare("restart_file = \"tmp/restart.txt\"\n") else { return };
    let two = two.serve();
    fs::create_dir(two.path("dead")).unwrap();
    let Some(dead) = Dead::mount_deaf(&two.path("dead")) else {
        println!("no right to mount: there is no disk that is gone");
        return;
    };
    two.as_evil("symlink('../dead/release', 'next') or die $!; rename('next', 'current') or die $!;");
    let mut asked = two.site.command(&["restart", "evil"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let rota = two.site.pid();
    wait::until("the disk holds a thread", secs(20), || dead.asked.load(Ordering::Acquire) > 0);
    two.site.signal(Signal::KILL);
    wait::until("the keeper has ended the apps", secs(20), || two.site.left().is_empty());
    let _ = asked.wait();
    assert_eq!(state_of(rota, "as daemon"), Some('D'), "something of the killed one is left");
    let two = two.launch();
    wait::until("the good app answers", secs(60), || two.answers("good"));
    drop(dead);
    two.ends();
}

#[test]
fn a_record_that_the_disk_does_not_take_holds_up_its_own_app_and_is_said() {
    let Some(two) = Two::prepare("") else { return };
    let two = two.serve();
    // Opening it waits for a reader, as a disk that hangs would.
    rustix::fs::mknodat(rustix::fs::CWD, two.path("state/evil.json.new"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let asked = two.site.command(&["restart", "evil"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait::until("the walk has begun", secs(10), || two.site.log().contains("evil g2: from "));
    two.good_is_repaired();
    let said = asked.wait_with_output().unwrap();
    assert_eq!(said.status.code(), Some(0));
    assert!(two.site.log().contains("the record is not on the disk after 20 s"), "{}", two.site.log());
    two.ends();
}

#[test]
fn what_the_app_s_user_cannot_read_is_never_run_set_or_opened() {
    let keys = "command = none\nenv_file = \".env\"\nrestart_file = \"tmp/restart.txt\"\n";
    let Some(two) = Two::prepare(keys) else { return };
    fs::write(two.path("evil/1/Procfile"), "web: perl app\n").unwrap();
    fs::write(two.path("evil/1/.env"), "OWN=1\n").unwrap();
    two.own("evil");
    // Root's, as a deployment tool leaves it: everybody may read the program, and nobody the secrets.
    fs::create_dir(two.path("shop")).unwrap();
    fs::write(two.path("shop/app"), APP).unwrap();
    fs::write(two.path("shop/Procfile"), "web: perl app\n").unwrap();
    fs::write(two.path("shop/.env"), "SHOP_PASSWORD=root-only-secret\n").unwrap();
    fs::set_permissions(two.path("shop/.env"), fs::Permissions::from_mode(0o600)).unwrap();
    // Another user's, whose Procfile is his own.
    fs::create_dir(two.path("theirs")).unwrap();
    fs::write(two.path("theirs/Procfile"), "web: perl app secret-argument\n").unwrap();
    fs::set_permissions(two.path("theirs/Procfile"), fs::Permissions::from_mode(0o600)).unwrap();
    chown(two.path("theirs/Procfile"), Some(65534), Some(65534)).unwrap();
    let two = two.serve();
    assert_eq!(two.get("evil", "/?OWN").1, "1");
    for (to, said) in [("../shop", "shop/.env: user daemon may not read it; "), ("../theirs", "nothing in ")] {
        two.as_evil(&format!("symlink('{to}', 'next') or die $!; rename('next', 'current') or die $!;"));
        two.site.rota(&["restart", "evil"]).expect(4);
        assert!(two.site.log().contains(said), "{}", two.site.log());
        assert_eq!((two.get("evil", "/?SHOP_PASSWORD").1, two.get("evil", "/?OWN").1), ("unset".to_owned(), "1".to_owned()));
    }
    assert!(!two.site.log().contains("secret"), "{}", two.site.log());
    two.ends();
}

#[test]
fn a_file_of_the_operator_s_that_only_root_may_read_is_read_where_root_put_it() {
    let Some(two) = Two::prepare("env_file = \"AT/etc/evil.env\"\n") else { return };
    fs::create_dir(two.path("etc")).unwrap();
    fs::write(two.path("etc/evil.env"), "KEY=of-root\n").unwrap();
    fs::set_permissions(two.path("etc/evil.env"), fs::Permissions::from_mode(0o600)).unwrap();
    let two = two.serve();
    assert_eq!(two.get("evil", "/?KEY").1, "of-root");
    two.ends();
}

#[test]
fn a_procfile_that_leads_to_a_terminal_gives_the_server_none() {
    let Some(mut two) = Two::prepare("command = none\n") else { return };
    fs::write(two.path("evil/1/Procfile"), "web: perl app\n").unwrap();
    let log = fs::File::create(two.path("log")).unwrap();
    let mut command = Command::new("setsid");
    command.arg(env!("CARGO_BIN_EXE_rota")).arg("serve").arg("--config").arg(two.path("rota.toml"));
    two.site.launch_by(command, Stdio::from(log.try_clone().unwrap()), Stdio::from(log));
    wait::until("both apps answer", secs(60), || two.answers("good") && two.answers("evil"));
    // Evil's own, for as long as this process lives: ptmx(4), TIOCSPTLCK and TIOCGPTN.
    let script = "open my $t, '+<', '/dev/ptmx' or die $!; my ($no, $n) = (pack('i', 0), pack('I', 0)); \
                  ioctl($t, 0x40045431, $no) && ioctl($t, 0x80045430, $n) or die $!; chdir 'evil/1'; unlink 'Procfile'; \
                  symlink('/dev/pts/' . unpack('I', $n), 'Procfile') or die $!; $| = 1; print 'linked'; sleep 60;";
    let mut command = Command::new("setpriv");
    command.args(["--reuid=1", "--regid=1", "--clear-groups", "perl", "-e", script]).current_dir(two.path(""));
    let mut terminal = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut linked = [0; 6];
    terminal.stdout.take().unwrap().read_exact(&mut linked).unwrap();
    two.site.rota(&["restart", "evil"]).expect(4);
    let stat = fs::read_to_string(format!("/proc/{}/stat", two.site.pid())).unwrap();
    let tty = stat.rsplit(')').next().unwrap().split_ascii_whitespace().nth(4).unwrap();
    let _ = (terminal.kill(), terminal.wait());
    assert_eq!(tty, "0", "rota has a terminal: {stat}");
    two.ends();
}

/// A file of another user's home, which everybody could read that got there.
const PRIVATE: &str = "private invoice";

#[test]
fn what_the_app_s_user_cannot_reach_is_never_sent() {
    for links in ["true", "false"] {
        let keys = format!("public = \"public\"\npublic_links = {links}\nsendfile_root = \"AT/evil/files\"\n");
        let Some(two) = Two::prepare(&keys) else { return };
        for name in ["home/public", "evil/files", "evil/1/public/locked"] {
            fs::create_dir_all(two.path(name)).unwrap();
        }
        for name in ["home/invoice.pdf", "home/public/invoice.pdf", "evil/1/public/locked/invoice.pdf"] {
            fs::write(two.path(name), PRIVATE).unwrap();
        }
        for name in ["evil/1/public/own.txt", "evil/files/own.txt"] {
            fs::write(two.path(name), "own").unwrap();
        }
        symlink("../../../home", two.path("evil/1/public/link")).unwrap();
        symlink(two.path("home"), two.path("evil/1/public/absolute")).unwrap();
        two.own("evil");
        for (name, user) in [("home", 65534), ("evil/1/public/locked", 0)] {
            chown(two.path(name), Some(user), Some(user)).unwrap();
            fs::set_permissions(two.path(name), fs::Permissions::from_mode(0o700)).unwrap();
        }
        let two = two.serve();
        let at = two.path("evil").display().to_string();
        let none_is_sent = |when: &str| {
            for target in ["/invoice.pdf", "/link/invoice.pdf", "/absolute/invoice.pdf", "/locked/invoice.pdf"] {
                for _ in 0..3 {
                    assert_eq!(two.get("evil", target).1, "up", "{when}: {target} with public_links = {links}");
                }
            }
            let sent = two.get("evil", &format!("/send/{at}/files/invoice.pdf"));
            assert!(sent.0 == 502 && !sent.1.contains(PRIVATE), "{when}: {sent:?}");
        };
        assert_eq!((two.get("evil", "/own.txt").1, two.get("evil", &format!("/send/{at}/files/own.txt")).1), ("own".into(), "own".into()));
        none_is_sent("at first");
        two.as_evil("rename('files', 'mine') or die $!; symlink('../home', 'files') or die $!;");
        two.site.rota(&["restart", "evil"]).expect(0);
        none_is_sent("behind a swapped sendfile_root");
        two.as_evil("symlink('../home', 'next') or die $!; rename('next', 'current') or die $!;");
        two.site.rota(&["restart", "evil"]).expect(4);
        none_is_sent("behind a switched current");
        assert_eq!(two.get("evil", "/own.txt").1, "own");
        two.ends();
    }
}

#[test]
fn files_of_an_app_without_a_process_are_sent_and_a_disk_that_is_gone_holds_up_nobody_else() {
    let Some(two) = Two::prepare("public = \"public\"\nprocesses = { min = 0, max = 1 }\n") else { return };
    fs::create_dir_all(two.path("evil/1/public/dead")).unwrap();
    let large = crate::bytes::pattern(0, 3 << 20);
    fs::write(two.path("evil/1/public/large.bin"), &large).unwrap();
    fs::write(two.path("evil/1/public/own.txt"), "own").unwrap();
    fs::write(two.path("evil/1/public/secret.txt"), PRIVATE).unwrap();
    two.own("evil");
    chown(two.path("evil/1/public/secret.txt"), Some(0), Some(0)).unwrap();
    fs::set_permissions(two.path("evil/1/public/secret.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    let two = two.launch();
    wait::until("the good app answers", secs(60), || two.answers("good"));
    wait::until("the evil app's release is known", secs(60), || two.site.log().contains("evil g1: from "));
    wait::until("its files are sent", secs(20), || two.get("evil", "/own.txt").1 == "own");
    let request = "GET /large.bin HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n";
    let reply = Wire::connect(two.site.addr).and_then(|mut wire| wire.ask(request)).unwrap();
    assert!(reply.status == 200 && reply.body == large, "{} bytes", reply.body.len());
    assert_eq!(two.pid("evil"), None, "no process was started for that");
    if let Some(_dead) = Dead::mount(&two.path("evil/1/public/dead")) {
        let mut waits = Wire::connect(two.site.addr).unwrap();
        waits.send(b"GET /dead/file.txt HTTP/1.1\r\nHost: evil\r\n\r\n").unwrap();
        for _ in 0..20 {
            assert!(two.answers("good"));
        }
        two.good_is_repaired();
    }
    assert_eq!(two.get("evil", "/secret.txt").1, "up", "the app is started for it, and answers itself");
    two.ends();
}
