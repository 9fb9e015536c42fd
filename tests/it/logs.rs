//! What an app prints: into its file or rota's log, whole, line by line, and never at anybody's cost.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use rustix::process::Signal;

use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire::{self, Wire, kept};

const APP: &str = "bind = \"unix\"\nprobation = \"1ms\"\n";

/// The fixture, after a shell has done `first`. `AT/` in the keys is the site's directory.
fn prepare(first: &str, keys: &str) -> Site {
    let fixture = std::env::current_exe().unwrap().display().to_string();
    let script = format!("{first}\nexec \"$@\"");
    let command =
        format!("command = [\"sh\", \"-c\", {script:?}, \"sh\", {fixture:?}, \"--exact\", \"fixture::fixture_app\", \"--nocapture\"]\n");
    let site = Site::with_app(&format!("{command}{APP}{keys}"), "");
    let config = site.path("rota.toml");
    let text = fs::read_to_string(&config).unwrap().replace("AT/", &format!("{}/", site.path("").display()).replace("//", "/"));
    fs::write(config, text).unwrap();
    site.release("1", "");
    site.flip("1");
    site
}

fn text(site: &Site, name: &str) -> String {
    fs::read_to_string(site.path(name)).unwrap_or_default()
}

fn stop(site: &mut Site) {
    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(40)), Some(0));
}

/// What an app printed without its end, a long line, and what is no text.
const ODD: &str = r"perl -e 'print STDERR qq(\e[31mred\e[0m\xff\e[2J\n), qq(x) x 20000, qq(\n10%\r100%\r\n)'";

#[test]
fn each_line_says_when_which_process_and_which_stream_and_none_moves_a_cursor() {
    let mut site = prepare(ODD, "log = \"AT/app.log\"").serve();
    let pid = site.serving(1)[0];
    stop(&mut site);
    let log = text(&site, "app.log");
    let lines: Vec<&str> = log.lines().collect();
    let (times, rest): (Vec<&str>, Vec<&str>) = lines.iter().map(|line| line.split_once(' ').unwrap()).unzip();
    // 2026-11-24T18:40:59.123Z
    assert!(times.iter().all(|time| time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T'), "{times:?}");
    assert!(times.is_sorted(), "{times:?}");
    let of = |stream: &str| -> Vec<String> {
        let head = format!("app/1 g1 pid {pid} {stream}: ");
        rest.iter().filter_map(|line| line.strip_prefix(&head).map(str::to_owned)).collect()
    };
    assert_eq!(of("stderr")[0], "red\\xff\\u{1b}[2J", "a colour is dropped, and nothing that does more");
    assert_eq!(of("stderr")[1], "x".repeat(8192));
    assert_eq!(of("stderr+"), ["x".repeat(8192), "x".repeat(20000 - 2 * 8192)], "one line, in three pieces");
    assert_eq!(of("stderr")[2..4], ["10%", "100%"], "drawn over each other");
    assert!(of("stdout").iter().any(|line| line.starts_with("fixture 1 listens on ")), "{log}");
    assert_eq!(lines.len(), of("stderr").len() + of("stderr+").len() + of("stdout").len(), "{log}");
    assert!(!site.log().contains(" stdout: "), "it has a file of its own: {}", site.log());
    assert_eq!(fs::metadata(site.path("app.log")).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn usr1_begins_a_new_file_and_no_line_is_lost() {
    let mut site = prepare("", "log = \"AT/app.log\"").serve();
    fs::rename(site.path("app.log"), site.path("app.log.1")).unwrap();
    site.signal(Signal::USR1);
    wait::until("the file is there again", secs(10), || site.path("app.log").exists());
    site.deploy("2", "").expect(0);
    stop(&mut site);
    assert!(text(&site, "app.log.1").contains(" app/1 g1 pid ") && text(&site, "app.log.1").contains(" stdout: fixture 1 listens on "));
    assert!(text(&site, "app.log").contains(" app/1 g2 pid ") && text(&site, "app.log").contains(" stdout: fixture 2 listens on "));
    assert!(!text(&site, "app.log.1").contains("fixture 2") && !text(&site, "app.log").contains("fixture 1"));
}

/// 40 MB in lines, in the background; then there is the file `shared/flooded`.
const FLOOD: &str = "(perl -e 'print qq(x) x 999, qq(\\n) for 1..40000'; touch $FIXTURE_DIR/flooded) &";

/// Requests are answered meanwhile, and the app gets rid of what it prints.
fn is_not_held_up(site: &Site) {
    let mut wire = Wire::connect(site.addr).unwrap();
    let mut answered = 0;
    wait::until("the app has printed all that it wanted", secs(60), || {
        assert_eq!(wire.ask(&kept("/")).unwrap().status, 200);
        answered += 1;
        site.path("shared/flooded").exists()
    });
    assert!(answered > 0);
    site.rota(&["status"]).expect(0);
}

#[test]
fn a_flood_into_a_pipe_that_nobody_reads_holds_nobody_up_and_is_counted() {
    let mut site = prepare(FLOOD, "log = \"AT/pipe\"");
    rustix::fs::mknodat(rustix::fs::CWD, site.path("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    site.launch();
    wait::until("the app answers", secs(20), || wire::get(site.addr, "/").is_ok_and(|reply| reply.status == 200));
    is_not_held_up(&site);
    stop(&mut site);
    let log = site.log();
    assert!(log.contains("log of app ") && log.contains("/pipe: ") && log.contains(" lines were dropped: nobody reads it"), "{log}");
}

#[test]
fn a_flood_onto_a_full_disk_costs_its_lines_and_none_of_the_access_log() {
    let mut site = prepare(FLOOD, "log = \"/dev/full\"\naccess_log = { file = \"AT/access.log\" }");
    site.launch();
    wait::until("the app answers", secs(20), || wire::get(site.addr, "/").is_ok_and(|reply| reply.status == 200));
    is_not_held_up(&site);
    for number in 0..20 {
        assert_eq!(wire::get(site.addr, &format!("/?number={number}")).unwrap().status, 200);
    }
    stop(&mut site);
    let log = site.log();
    assert!(log.contains("log of app /dev/full: ") && log.contains(" dropped: No space left on device"), "{log}");
    assert_eq!(text(&site, "access.log").matches("/?number=").count(), 20);
}

#[test]
fn a_flood_into_rota_s_own_log_holds_nobody_up() {
    let mut site = prepare(FLOOD, "log_rate = 0");
    site.launch();
    wait::until("the app answers", secs(20), || wire::get(site.addr, "/").is_ok_and(|reply| reply.status == 200));
    is_not_held_up(&site);
    stop(&mut site);
    let log = site.log();
    let printed = log.lines().filter(|line| line.contains(" stdout: xxx")).count();
    // What the fixture prints meanwhile may come in between.
    assert!(printed >= 40_000 || log.contains(" dropped here: nobody read the log"), "{printed} lines");
}

#[test]
fn what_a_user_of_an_app_could_lead_elsewhere_is_not_opened() {
    let launched = |site: &mut Site, why: &str| {
        site.launch();
        site.wait_served();
        assert!(site.log().contains(why), "{}", site.log());
        stop(site);
        let said = site.rota(&["check"]);
        assert!(said.expect(1).err.contains("log "), "{}", said.err);
    };
    launched(&mut prepare("", "log = \"AT/missing/app.log\""), "/missing/app.log: No such file or directory");
    let mut link = prepare("", "log = \"AT/link\"");
    std::os::unix::fs::symlink("/etc/passwd", link.path("link")).unwrap();
    let before = fs::read_to_string("/etc/passwd").unwrap();
    link.launch();
    link.wait_served();
    stop(&mut link);
    assert_eq!(fs::read_to_string("/etc/passwd").unwrap(), before);
    assert!(link.log().contains("/link: a symbolic link is not followed"), "{}", link.log());
    if rustix::process::geteuid().is_root() {
        let mut theirs = prepare("", "log = \"AT/theirs/app.log\"");
        fs::create_dir(theirs.path("theirs")).unwrap();
        chown(theirs.path("theirs"), Some(65534), None).unwrap();
        launched(&mut theirs, "/theirs belongs to uid 65534");
        assert_eq!(fs::read_dir(theirs.path("theirs")).unwrap().count(), 0);
    }
}

#[test]
fn logs_shows_the_last_lines_and_follows_over_a_rotation() {
    let mut site = prepare("", "log = \"AT/app.log\"").serve();
    let said = site.rota(&["logs", "app", "-n", "1"]);
    said.expect(0);
    assert!(said.out.ends_with('\n') && said.out.lines().count() == 1 && said.out.contains(" app/1 g1 pid "), "{said:?}");
    let follows = site.path("followed");
    let out = fs::File::create(&follows).unwrap();
    let mut follower = site.command(&["logs", "app", "-f"]).stdin(std::process::Stdio::null()).stdout(out).spawn().unwrap();
    let followed = |what: &str| wait::until(what, secs(20), || fs::read_to_string(&follows).unwrap().contains(what));
    followed("fixture 1 listens on ");
    site.deploy("2", "").expect(0);
    followed("fixture 2 listens on ");
    fs::rename(site.path("app.log"), site.path("app.log.1")).unwrap();
    site.signal(Signal::USR1);
    wait::until("the file is there again", secs(10), || site.path("app.log").exists());
    site.deploy("3", "").expect(0);
    followed("fixture 3 listens on ");
    follower.kill().unwrap();
    follower.wait().unwrap();
    stop(&mut site);
    let journal = prepare("", "").rota(&["logs", "app"]);
    assert!(journal.expect(1).err.contains("journalctl -u rota -g '^app/'"), "{journal:?}");
    let unknown = site.rota(&["logs", "ap"]);
    assert!(unknown.expect(1).err.contains("there is no app \"ap\"; there is app"), "{unknown:?}");
}

#[test]
fn what_rota_says_about_an_app_that_answers_nonsense_is_bounded_and_counted() {
    let mut site = Site::start(APP);
    let nonsense = kept(&wire::raw_answer(&["nonsense"], 0));
    for _ in 0..600 {
        assert_eq!(Wire::connect(site.addr).unwrap().ask(&nonsense).unwrap().status, 502);
    }
    let said = || site.log().lines().filter(|line| line.contains(" app/1 g1 pid ") && line.contains("; answered 502")).count();
    assert!((1..=500).contains(&said()), "{} lines", said());
    assert!(site.log().contains("app: rota has said 500 lines about it within 30 s; more are dropped until these are over, and counted"));
    site.signal(Signal::TERM);
    site.wait_end(secs(20)).unwrap();
    assert!(site.log().contains(" dropped in 30 s that rota had to say about it"), "{}", site.log());
}
