//! Releases that do not work, and processes that are killed: nothing fails, what works goes on serving, and the command says what happened.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::site::{Said, Site, kill};
use crate::tally::{Result_, Tally};
use crate::traffic::{ALL, Load, names};
use crate::wait::{self, millis, secs};
use crate::wire;

const APP: &str = "processes = 4\nconcurrency = 16\nbind = \"unix\"\nprobation = \"500ms\"\nready.timeout = \"2s\"\nqueue.max = 1000";

/// Deploys a release that does not work, under full load: nothing fails and the old version serves.
fn refused(app: &str, behaviour: &str, status: i32) -> (Site, Said, Tally) {
    let site = Site::start(app);
    let load = Load::start(site.addr, &ALL);
    std::thread::sleep(millis(500));
    let said = site.deploy("2", behaviour);
    let told = Instant::now();
    std::thread::sleep(millis(500));
    let tally = load.stop();
    said.expect(status);
    tally.expect_no_failure(&names(&ALL));
    assert_eq!(tally.versions_since(told), ["1"], "the old version alone answers");
    (site, said, tally)
}

/// The pool is as it should be with release 1: an old process that is killed comes back from it, and a good release goes in.
fn is_resisting_and_recovers(site: &Site) {
    wait::until("four serve", secs(10), || site.serving(1).len() == 4);
    assert!(site.status()["apps"][0]["resists"]["generation"] == 2, "{}", site.status());
    let victim = site.serving(1)[0];
    kill(victim, Signal::KILL);
    wait::until("it is replaced from the old release", secs(10), || {
        let serving = site.serving(1);
        serving.len() == 4 && !serving.contains(&victim)
    });
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
    let load = Load::start(site.addr, &ALL);
    site.deploy("3", "").expect(0);
    let done = Instant::now();
    std::thread::sleep(millis(300));
    let tally = load.stop();
    tally.expect_no_failure(&[]);
    assert_eq!(tally.versions_since(done), ["3"]);
    assert!(site.status()["apps"][0]["resists"].is_null());
}

#[test]
fn a_release_that_exits_at_boot_is_resisted_with_its_traceback() {
    let (site, said, _) = refused(APP, "exit_at_boot 3", 4);
    assert!(said.out.contains("exited with status 3"), "{}", said.out);
    assert!(said.out.contains("ModuleNotFoundError: No module named 'left_out_of_2'"), "{}", said.out);
    assert!(said.out.contains("the old release still serves (g1 "), "{}", said.out);
    is_resisting_and_recovers(&site);
}

#[test]
fn a_release_that_exits_with_status_0_before_it_is_ready_has_failed_too() {
    let (_, said, _) = refused(APP, "exit_at_boot 0", 4);
    assert!(said.out.contains("exited with status 0"), "{}", said.out);
}

#[test]
fn a_release_that_hangs_at_boot_is_resisted_after_the_ready_timeout() {
    let (site, said, _) = refused(APP, "hang_at_boot", 4);
    assert!(said.out.contains("not ready after 2 s (nothing listens on its socket)"), "{}", said.out);
    is_resisting_and_recovers(&site);
}

#[test]
fn a_release_that_listens_on_a_wrong_port_is_told_where_it_listens() {
    let (_, said, _) = refused(&APP.replace("bind = \"unix\"", "bind = \"port\""), "wrong_port", 4);
    assert!(said.out.contains("nothing listens on $PORT") && said.out.contains("it listens on 127.0.0.1:"), "{}", said.out);
}

#[test]
fn a_release_that_listens_on_a_wrong_port_is_told_long_before_its_time_is_over() {
    let site =
        Site::start(&APP.replace("bind = \"unix\"", "bind = \"port\"").replace("ready.timeout = \"2s\"", "ready.timeout = \"300s\""));
    site.release("2", "wrong_port");
    site.flip("2");
    site.rota(&["restart", "--no-wait"]).expect(0);
    let walk = || site.status()["apps"][0]["walk"].clone();
    wait::until("the status says where it listens", secs(60), || {
        walk()["answer"]
            .as_str()
            .is_some_and(|answer| answer.starts_with("it listens on 127.0.0.1:") && answer.contains("the variable PORT"))
    });
    assert_eq!(walk()["phase"], "boot", "it may still come");
    let log = site.log();
    assert_eq!(log.matches("not ready yet: nothing listens on $PORT").count(), 1, "{log}");
    assert!(log.contains("; it listens on 127.0.0.1:"), "{log}");
}

#[test]
fn a_release_that_answers_500_to_the_probe_does_not_get_in() {
    let (_, said, _) = refused(APP, "answers 500", 4);
    assert!(said.out.contains("GET / answered 500"), "{}", said.out);
}

#[test]
fn a_release_that_dies_just_after_it_was_ready_does_not_get_in() {
    let (site, said, _) = refused(APP, "dies_after 100", 4);
    assert!(said.out.contains("within its probation"), "{}", said.out);
    is_resisting_and_recovers(&site);
}

#[test]
fn rollback_at_process_3_of_4_ends_in_one_version() {
    let app = format!("{APP}\non_failure = \"rollback\"");
    let (site, said, _) = refused(&app, "process=3 exit_at_boot 1", 5);
    assert!(said.out.contains("failed at process 3, 2 replaced and rolled back"), "{}", said.out);
    wait::until("four of the old generation serve", secs(10), || site.serving(1).len() == 4 && site.processes().len() == 4);
}

#[test]
fn resist_at_process_3_of_4_keeps_what_serves_and_replaces_from_the_old() {
    let site = Site::start(APP);
    let load = Load::start(site.addr, &ALL);
    let said = site.deploy("2", "process=3 exit_at_boot 1");
    said.expect(4);
    wait::until("two and two serve", secs(10), || (site.serving(1).len(), site.serving(2).len()) == (2, 2));
    // The new ones are of a release that is resisted: one that dies is replaced from the old one.
    let victim = site.serving(2)[0];
    let tally = load.stop();
    tally.expect_no_failure(&names(&ALL));
    kill(victim, Signal::KILL);
    wait::until("three and one serve", secs(10), || (site.serving(1).len(), site.serving(2).len()) == (3, 1));
}

#[test]
fn continue_replaces_what_it_can_and_says_which_it_could_not() {
    let site = Site::start(&format!("{APP}\non_failure = \"continue\""));
    let said = site.deploy("2", "process=2 exit_at_boot 1");
    said.expect(4);
    assert!(said.out.contains("not replaced: 2"), "{}", said.out);
    wait::until("three and one serve", secs(10), || (site.serving(1).len(), site.serving(2).len()) == (1, 3));
}

#[test]
fn a_release_directory_that_is_missing_changes_nothing() {
    let site = Site::start(APP);
    std::fs::remove_file(site.path("current")).unwrap();
    let said = site.rota(&["restart", "app"]);
    said.expect(4);
    assert!(said.out.contains("No such file or directory"), "{}", said.out);
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
    wait::until("four serve", secs(10), || site.serving(1).len() == 4);
}

#[test]
fn a_first_release_that_does_not_start_is_tried_again_and_superseded() {
    let mut site = Site::prepare(APP);
    site.release("1", "exit_at_boot 1");
    site.flip("1");
    site.launch();
    wait::until("a failure is shown", secs(10), || {
        site.rota(&["status"]).out.contains("ModuleNotFoundError: No module named 'left_out_of_1'")
    });
    site.deploy("2", "").expect(0);
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "2");
}

#[test]
fn a_broken_release_that_overtakes_the_first_start_leaves_what_serves() {
    let mut site = Site::prepare(&APP.replace("500ms", "3s"));
    site.release("1", "");
    site.flip("1");
    site.launch();
    wait::until("the first serves", secs(10), || wire::get(site.addr, "/").is_ok_and(|reply| reply.status == 200));
    let said = site.deploy("2", "exit_at_boot 1");
    said.expect(4);
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
    wait::until("four of the first serve", secs(30), || site.serving(1).len() == 4);
}

#[test]
fn a_restart_with_nothing_to_go_back_to_fails_in_time_and_is_tried_again() {
    let mut site = Site::prepare(APP);
    site.release("1", "exit_at_boot 1");
    site.flip("1");
    site.launch();
    wait::until("a failure is shown", secs(10), || site.rota(&["status"]).out.contains("last failure"));
    let said = site.deploy("2", "exit_at_boot 2");
    said.expect(4);
    assert!(said.out.contains("nothing serves"), "{}", said.out);
    std::fs::write(site.path("releases/2/BEHAVIOUR"), "").unwrap();
    wait::until("it is tried again", secs(20), || wire::get(site.addr, "/").is_ok_and(|reply| reply.text() == "2"));
}

/// Kills a process with KILL while the load runs. What it had in hand and may not be sent twice is lost, and only that.
fn killed(during_walk: bool, new_one: bool) {
    let site = Site::start(APP);
    let load = Load::start(site.addr, &ALL);
    std::thread::sleep(millis(500));
    if during_walk {
        site.release("2", "boot_delay 400");
        site.flip("2");
        std::thread::scope(|scope| {
            let restart = scope.spawn(|| site.rota(&["restart", "app"]));
            wait::until("the first is replaced", secs(10), || !site.serving(2).is_empty());
            // A new one that has outlived its probation: it is not the release's fault.
            let of = if new_one { 2 } else { 1 };
            std::thread::sleep(if new_one { Duration::from_millis(700) } else { Duration::ZERO });
            if let Some(victim) = site.serving(of).first() {
                kill(*victim, Signal::KILL);
            }
            restart.join().unwrap().expect(0);
        });
    } else {
        kill(site.serving(1)[0], Signal::KILL);
        wait::until("it is replaced", secs(10), || site.serving(1).len() == 4);
    }
    std::thread::sleep(millis(500));
    let tally = load.stop();
    eprintln!("{} requests\n{tally}", tally.total());
    // A POST that the dead process had begun on is told so; a response that had begun is seen to be cut.
    let unrepeatable = tally.of("post", &Result_::Status(502)) + tally.of("paced", &Result_::Status(502));
    let lost = |kind| -> usize {
        let ways = [wire::Trouble::Cut, wire::Trouble::Reset];
        ways.into_iter().map(|way| tally.of(kind, &Result_::Trouble(way))).sum()
    };
    let begun = lost("slow reader") + lost("sse") + lost("websocket");
    assert_eq!(tally.failed(), unrepeatable + begun, "{tally}");
    assert!(unrepeatable + begun <= 5, "one process had more in hand than it can have had:\n{tally}");
}

#[test]
fn a_process_that_is_killed_costs_no_request_that_can_be_sent_again() {
    killed(false, false);
}

#[test]
fn an_old_process_that_is_killed_during_the_walk_costs_nothing_else() {
    killed(true, false);
}

#[test]
fn a_new_process_that_is_killed_during_the_walk_costs_nothing_else() {
    killed(true, true);
}
