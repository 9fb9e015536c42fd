//! Deployments as their user sees them: a release by its name, back again, called off, watched, warmed up, with little memory; and what
//! is remembered when rota itself is killed.

use std::fs;

use rustix::process::Signal;

use crate::site::{Said, Site, kill};
use crate::tally::Result_;
use crate::traffic::{ALL, Kind, Load};
use crate::wait::{self, millis, secs};
use crate::wire;

const APP: &str = "processes = 2\nconcurrency = 16\nbind = \"unix\"\nprobation = \"100ms\"\nqueue.max = 1000";

impl Site {
    fn release_path(&self, version: &str) -> String {
        self.path("releases").join(version).display().to_string()
    }

    /// `rota deploy` of a new release, without a flip of `current`.
    fn deploy_by_name(&self, version: &str, behaviour: &str) -> Said {
        self.release(version, behaviour);
        self.rota(&["deploy", "app", &self.release_path(version)])
    }

    fn answer(&self) -> String {
        wire::get(self.addr, "/").unwrap().text()
    }

    /// Every answer of the next requests.
    fn answers(&self) -> Vec<String> {
        let mut all: Vec<String> = (0..20).map(|_| self.answer()).collect();
        all.sort();
        all.dedup();
        all
    }

    fn history(&self) -> Vec<(String, String)> {
        let record: serde_json::Value = serde_json::from_slice(&fs::read(self.path("state/app.json")).unwrap()).unwrap();
        let text = |entry: &serde_json::Value, key: &str| entry[key].as_str().unwrap().to_owned();
        record["history"].as_array().unwrap().iter().map(|entry| (text(entry, "kind"), text(entry, "outcome"))).collect()
    }

    /// As after a power failure: killed, and started again.
    fn crash_and_serve(mut self) -> Self {
        self.signal(Signal::KILL);
        self.wait_end(secs(5));
        wait::until("no process is left", secs(10), || self.left().is_empty());
        self.serve()
    }
}

fn small() -> Vec<Kind> {
    ALL.into_iter().filter(|(name, _)| matches!(*name, "fresh" | "kept" | "post")).collect()
}

fn under_load(site: &Site, deploy: impl FnOnce() -> Said) -> Said {
    let load = Load::start(site.addr, &small());
    let said = deploy();
    std::thread::sleep(millis(200));
    load.stop().expect_no_failure(&[]);
    said
}

#[test]
fn a_release_is_deployed_by_its_name_and_rolled_back_and_a_restart_stays_with_it() {
    let site = Site::start(APP);
    under_load(&site, || site.deploy_by_name("2", "")).expect(0);
    assert_eq!(site.answers(), ["2"]);
    under_load(&site, || site.rota(&["rollback", "app"])).expect(0);
    assert_eq!(site.answers(), ["1"]);
    site.rota(&["restart", "app"]).expect(0);
    assert_eq!(site.answers(), ["1"]);
    site.rota(&["deploy", "app", &site.release_path("2")]).expect(0);
    site.rota(&["restart", "app"]).expect(0);
    assert_eq!(site.answers(), ["2"], "root still names release 1, which was passed over");
    site.release("3", "");
    site.flip("3");
    site.rota(&["restart", "app"]).expect(0);
    assert_eq!(site.answers(), ["3"], "root names something new");
    let kinds: Vec<String> = site.history().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["start", "deploy", "rollback", "restart", "deploy", "restart", "restart"]);
}

#[test]
fn a_rollback_needs_a_release_to_go_to() {
    let site = Site::start(APP);
    let said = site.rota(&["rollback", "app"]);
    said.expect(1);
    assert!(said.err.contains("no release before this one is known"), "{}", said.err);
    let said = site.rota(&["deploy", "app", "/no/such/directory"]);
    said.expect(1);
    assert!(said.err.contains("/no/such/directory"), "{}", said.err);
    assert_eq!(site.answers(), ["1"]);
}

#[test]
fn rollback_at_the_third_of_four_ends_in_one_version_and_the_history_tells_it() {
    let app = APP.replace("processes = 2", "processes = 4") + "\non_failure = \"rollback\"";
    let site = Site::start(&app);
    let said = under_load(&site, || site.deploy_by_name("2", "process=3 exit_at_boot 1"));
    said.expect(5);
    assert!(said.out.contains("failed at process 3, 2 replaced and rolled back"), "{}", said.out);
    assert_eq!(site.answers(), ["1"]);
    assert_eq!(site.serving(1).len(), 4);
    assert_eq!(site.history().last().unwrap(), &("deploy".to_owned(), "rolled_back".to_owned()));
}

#[test]
fn a_walk_that_is_called_off_ends_in_the_old_version() {
    let site = Site::start(&APP.replace("processes = 2", "processes = 4"));
    site.release("2", "process=3 hang_at_boot");
    site.flip("2");
    let waiting = site.command(&["restart", "app"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    wait::until("two are replaced", secs(20), || site.serving(2).len() == 2);
    under_load(&site, || site.rota(&["abort", "app"])).expect(0);
    let waited = waiting.wait_with_output().unwrap();
    assert_eq!(waited.status.code(), Some(8), "{}", String::from_utf8_lossy(&waited.stdout));
    assert_eq!(site.answers(), ["1"]);
    assert_eq!(site.serving(1).len(), 4);
    let said = site.rota(&["abort", "app"]);
    said.expect(1);
    assert!(said.err.contains("nothing is under way"), "{}", said.err);
}

#[test]
fn a_release_that_serves_errors_is_taken_back_after_one_process() {
    let site = Site::start(&format!("{APP}\nbake = \"30s\""));
    site.release("2", "fails_after 2");
    site.flip("2");
    let load = Load::start(site.addr, &small());
    let said = site.rota(&["restart", "app"]);
    said.expect(5);
    assert!(said.out.contains("did worse than the release before it"), "{}", said.out);
    let tally = load.stop();
    assert!(tally.failed() > 0, "nobody met the bad release");
    assert_eq!(tally.failed(), small().iter().map(|(kind, _)| tally.of(kind, &Result_::Status(500))).sum::<usize>(), "{tally}");
    assert_eq!(site.answers(), ["1"]);
}

#[test]
fn a_good_release_is_watched_and_let_in() {
    let site = Site::start(&format!("{APP}\nbake = \"500ms\""));
    under_load(&site, || site.deploy_by_name("2", "")).expect(0);
    assert_eq!(site.answers(), ["2"]);
}

#[test]
fn a_new_process_is_asked_for_the_warm_up_before_it_serves() {
    let app = format!("{APP}\nwarmup = [\"/?mark=one\", \"/status?n=500&mark=two\", \"/bytes?n=100000&mark=three\"]");
    let site = Site::start(&app.replace("processes = 2", "processes = 1"));
    assert_eq!(site.marks(), ["one", "two", "three"]);
    site.deploy_by_name("2", "").expect(0);
    assert_eq!(site.marks().len(), 6);
}

#[test]
fn without_surge_one_process_is_replaced_in_its_place_and_requests_wait() {
    let site = Site::start(&format!("{APP}\nsurge = 0").replace("processes = 2", "processes = 1"));
    let said = under_load(&site, || site.deploy_by_name("2", "boot_delay 300"));
    said.expect(0);
    assert_eq!(site.answers(), ["2"]);
}

#[test]
fn short_memory_takes_the_old_process_out_first_and_says_so() {
    let site = Site::start(APP);
    fs::write(site.path("memory"), "1000").unwrap();
    let said = under_load(&site, || site.deploy_by_name("2", ""));
    said.expect(0);
    assert!(site.log().contains("the old process goes first"), "{}", site.log());
    assert_eq!(site.answers(), ["2"]);
}

#[test]
fn all_at_once_loses_nothing_either() {
    let site = Site::start(APP);
    site.release("2", "boot_delay 200");
    site.flip("2");
    under_load(&site, || site.rota(&["restart", "app", "--blocking"])).expect(0);
    assert_eq!(site.answers(), ["2"]);
}

#[test]
fn what_served_serves_again_after_rota_was_killed() {
    let site = Site::start(APP);
    site.deploy_by_name("2", "").expect(0);
    let site = site.crash_and_serve();
    assert_eq!(site.answers(), ["2"], "root names release 1");
    site.rota(&["rollback", "app"]).expect(0);
    let site = site.crash_and_serve();
    assert_eq!(site.answers(), ["1"]);
}

#[test]
fn a_release_that_was_refused_is_not_started_by_a_restart_of_rota() {
    let site = Site::start(APP);
    site.deploy("2", "exit_at_boot 1").expect(4);
    let site = site.crash_and_serve();
    assert_eq!(site.answers(), ["1"]);
    wait::until("that is said", secs(10), || site.log().contains("which was tried before"));
}

#[test]
fn a_flip_while_rota_was_not_there_is_deployed_after_the_old_release_serves() {
    let mut site = Site::start(APP);
    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(20)), Some(0));
    site.release("2", "");
    site.flip("2");
    site = site.serve();
    wait::until("the new release serves", secs(20), || site.answers() == ["2"]);
    wait::until("its deployment is over", secs(20), || site.history().last() == Some(&("deploy".to_owned(), "done".to_owned())));
}

#[test]
fn generations_go_on_where_they_were() {
    let site = Site::start(APP);
    site.deploy_by_name("2", "").expect(0);
    let site = site.crash_and_serve();
    assert_eq!(site.status()["apps"][0]["generation"], 3);
}

#[test]
fn a_record_that_cannot_be_read_is_moved_aside_and_root_is_served() {
    let site = Site::start(APP);
    site.deploy_by_name("2", "").expect(0);
    fs::write(site.path("state/app.json"), "{\"format\": 1, \"root\": ").unwrap();
    let site = site.crash_and_serve();
    assert_eq!(site.answers(), ["1"]);
    assert!(site.log().contains("app.json.bad"), "{}", site.log());
}

/// The directory is replaced by a file: as with a full disk, nothing can be written there.
#[test]
fn a_record_that_cannot_be_written_is_told_and_written_when_it_can_be() {
    let site = Site::start(APP);
    fs::rename(site.path("state"), site.path("elsewhere")).unwrap();
    fs::write(site.path("state"), "").unwrap();
    let said = under_load(&site, || site.deploy_by_name("2", ""));
    said.expect(0);
    assert!(said.out.contains("not written down: ") && said.out.contains("/state is no directory"), "{}", said.out);
    assert!(site.status()["apps"][0]["not_written"].is_string());
    assert_eq!(site.answers(), ["2"]);
    fs::remove_file(site.path("state")).unwrap();
    fs::rename(site.path("elsewhere"), site.path("state")).unwrap();
    wait::until("it is written", secs(30), || site.status()["apps"][0]["not_written"].is_null());
    let site = site.crash_and_serve();
    assert_eq!(site.answers(), ["2"]);
}

/// The nice values of all threads of a process, and of its scheduling group: fields 19 of stat (proc(5), sched(7)).
fn nice(pid: u32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap().path().join("stat"));
    let of = |stat: std::path::PathBuf| {
        let stat = fs::read_to_string(stat).unwrap_or_default();
        stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().nth(16).unwrap().parse().unwrap())
    };
    let mut all: Vec<i32> = tasks.filter_map(of).collect();
    let group = fs::read_to_string(format!("/proc/{pid}/autogroup")).ok();
    all.extend(group.and_then(|text| Some(text.trim().rsplit_once(' ')?.1.parse::<i32>().unwrap())));
    all.dedup();
    all
}

/// Its own nice value as root only: nobody else can take one back. The tests may have been started by nice(1).
#[test]
fn a_process_that_boots_leaves_the_processor_to_those_that_serve() {
    let site = Site::start(&APP.replace("processes = 2", "processes = 1"));
    let own = rustix::process::getpriority_process(None).unwrap();
    assert_eq!(nice(site.serving(1)[0]), [own]);
    site.release("2", "hang_at_boot");
    site.flip("2");
    site.rota(&["restart", "app", "--no-wait"]).expect(0);
    let booting = wait::found("it boots", secs(10), || {
        site.processes().into_iter().find(|(_, _, pid, state)| state == "starting" && *pid > 0).map(|(_, _, pid, _)| pid)
    });
    if rustix::process::geteuid().is_root() {
        wait::until("it has stepped back", secs(10), || nice(booting) == [(own + 10).min(19)]);
    }
    site.rota(&["abort", "app"]).expect(0);
    site.deploy("3", "").expect(0);
    let serves = site.serving(3)[0];
    wait::until("what serves is where it belongs", secs(10), || nice(serves) == [own]);
}

#[test]
fn what_is_started_by_a_rota_that_is_nice_is_nice_from_its_first_moment() {
    let mut site = Site::prepare(&APP.replace("processes = 2", "processes = 1"));
    site.release("1", "");
    site.flip("1");
    let rota = site.command(&["serve"]);
    let mut nicely = std::process::Command::new("nice");
    nicely.args(["-n", "3"]).arg(rota.get_program()).args(rota.get_args());
    let log = fs::File::create(site.path("log")).unwrap();
    site.launch_by(nicely, log.try_clone().unwrap().into(), log.into());
    site.wait_served();
    let less = (rustix::process::getpriority_process(None).unwrap() + 3).min(19);
    assert_eq!(nice(site.serving(1)[0]), [less]);
    site.deploy("2", "").expect(0);
    let serves = site.serving(2)[0];
    wait::until("a later one is as nice", secs(10), || nice(serves) == [less]);
}

#[test]
fn the_directory_of_what_serves_goes_and_that_is_said_and_its_processes_are_kept() {
    let site = Site::start("processes = 2\nbind = \"unix\"\nprobation = \"50ms\"\nmax_requests = 5");
    let directory = site.path("releases/1");
    std::fs::rename(&directory, site.path("releases/away")).unwrap();
    let said = format!("the directory {} of g1 is gone: what dies now cannot be started again; 2 processes serve", directory.display());
    wait::until("the log says so", secs(20), || site.log().contains(&said));
    assert!(site.status()["apps"][0]["lost"].as_str().is_some_and(|lost| lost.contains(&said)));
    let before = site.serving(1);
    for _ in 0..40 {
        assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
    }
    let detached = site.rota(&["detach", "app", "1"]);
    detached.expect(1);
    assert_eq!(site.serving(1), before);
    kill(before[0], Signal::KILL);
    let failure = || site.status()["apps"][0]["last_failure"]["message"].as_str().unwrap_or_default().to_owned();
    let missing = directory.display().to_string();
    wait::until("the start names it", secs(20), || failure().contains(&missing));
    // It comes back, and so does the process.
    std::fs::rename(site.path("releases/away"), &directory).unwrap();
    wait::until("both serve", secs(60), || site.serving(1).len() == 2);
    wait::until("it is known", secs(20), || site.status()["apps"][0]["lost"].is_null());
}

#[test]
fn a_release_that_fails_in_the_directory_of_what_serves_is_said_to_be_there() {
    let site = Site::start("processes = 2\nbind = \"unix\"\nprobation = \"50ms\"");
    let behaviour = site.path("releases/1/BEHAVIOUR");
    std::fs::write(&behaviour, "exit_at_boot 1").unwrap();
    let said = site.rota(&["restart", "app"]);
    said.expect(4);
    let sentence = "g1 and g2 are the same directory ";
    let kept = "from which the last start failed; what dies is started from what is there now; 2 processes that serve are kept until";
    for text in [&said.out, &site.log(), &site.rota(&["status"]).out.replace("\n    ", " ").replace("\n  ", " ")] {
        assert!(text.contains(sentence) && text.contains(kept), "{text}");
        assert!(!text.contains("what dies is started from it"), "{text}");
    }
    assert_eq!(said.out.lines().last().map(|line| line.contains(sentence)), Some(true), "the last line: {}", said.out);
    std::fs::write(&behaviour, "").unwrap();
    site.rota(&["restart", "app"]).expect(0);
    assert!(site.status()["apps"][0]["lost"].is_null());
}

#[test]
fn one_restart_that_failed_for_what_is_mended_since_keeps_nothing_for_good() {
    let site = Site::start("processes = 2\nbind = \"unix\"\nprobation = \"50ms\"\nmax_requests = 20");
    let behaviour = site.path("releases/1/BEHAVIOUR");
    fs::write(&behaviour, "exit_at_boot 1").unwrap();
    site.rota(&["restart", "app"]).expect(4);
    fs::write(&behaviour, "").unwrap();
    let before = site.serving(1);
    for _ in 0..60 {
        wire::get(site.addr, "/").unwrap();
    }
    wait::until("what is worn is replaced", secs(60), || {
        site.serving(1).len() == 2 && site.serving(1).iter().all(|pid| !before.contains(pid))
    });
    wait::until("nothing is lost", secs(20), || site.status()["apps"][0]["lost"].is_null());
    wait::until("the log says so", secs(20), || site.log().contains("since it failed works: nothing is kept for that any more"));
    site.rota(&["detach", "app", "1"]).expect(0);
}
