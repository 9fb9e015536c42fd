//! Failed starts, crashes, and what the policies make of them.

use super::*;

const CRASHED: &str = "exited with status 1 after 0.00 s, before it was ready";

#[test]
fn resist_ends_the_walk_keeps_what_serves_and_starts_only_the_good_release() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    rig.steps();
    rig.exits("1 g2", 1);
    assert_eq!(rig.steps(), [format!("g2: failed at process 1, 0 replaced: {CRASHED}"), "gone 1 g2".to_owned()]);
    assert_eq!(rig.table(), ["1 g1 serving", "2 g1 serving"]);
    assert_eq!(rig.view().resists.unwrap().generation, Generation(2));
    assert_eq!(rig.pool.next_deadline(), None, "nothing is tried again");
    rig.exits("2 g1", 139);
    assert_eq!(rig.steps(), ["gone 2 g1", "spawn 2 g1"]);
    rig.ready("2 g1");
    assert_eq!(rig.steps(), ["serve 2 g1"]);
}

#[test]
fn a_file_that_changes_starts_no_restart_at_once_behind_two_that_failed() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    for (generation, waits) in [(2, None), (3, Some(1)), (4, Some(2)), (5, Some(4))] {
        rig.restart();
        rig.steps();
        rig.exits(&format!("1 g{generation}"), 1);
        rig.steps();
        let now = rig.now;
        let waited = rig.group().restart_by_file_waits().map(|at| at.duration_since(now).as_secs());
        assert_eq!(waited, waits, "behind g{generation}");
    }
    assert_eq!(rig.restart(), Generation(6));
    rig.steps();
    rig.swap("1 g6", "1 g1");
    assert_eq!(rig.group().restart_by_file_waits(), None, "one that works ends that");
}

#[test]
fn a_newer_release_that_works_ends_the_resistance() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    rig.restart();
    rig.steps();
    rig.exits("1 g2", 1);
    rig.steps();
    assert_eq!(rig.restart(), Generation(3));
    rig.steps();
    rig.swap("1 g3", "1 g1");
    assert_eq!(rig.group().outcome(Generation(3)), Some(&Outcome::Done));
    assert_eq!(rig.view().resists, None);
}

#[test]
fn resist_in_the_middle_leaves_both_generations_and_fills_gaps_from_the_good_one() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    rig.steps();
    rig.swap("1 g2", "1 g1");
    rig.start_failed("2 g2", FailureKind::NotReady { after: Duration::from_secs(60), last: "GET / answered 500".to_owned() });
    assert_eq!(rig.steps(), ["g2: failed at process 2, 1 replaced: not ready after 60 s (GET / answered 500)", "stop leader 2 g2"]);
    rig.exits("2 g2", 143);
    assert_eq!(rig.steps(), ["gone 2 g2"]);
    assert_eq!(rig.table(), ["2 g1 serving", "1 g2 serving"]);
    rig.exits("1 g2", 1);
    assert_eq!(rig.steps(), ["gone 1 g2", "spawn 1 g1"]);
}

#[test]
fn rollback_at_the_third_of_four_walks_the_replaced_ones_back() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(4), on_failure: OnFailure::Rollback, ..SETTINGS });
    rig.restart();
    rig.steps();
    rig.swap("1 g2", "1 g1");
    rig.swap("2 g2", "2 g1");
    rig.exits("3 g2", 1);
    assert_eq!(rig.steps(), ["gone 3 g2", "spawn 1 g1"]);
    assert_eq!(rig.view().walk.unwrap().kind, "back");
    rig.ready("1 g1");
    assert_eq!(rig.steps(), ["serve 1 g1, drain 1 g2", "stop leader 1 g2"], "the good release needs no probation");
    rig.exits("1 g2", 0);
    assert_eq!(rig.steps(), ["gone 1 g2", "spawn 2 g1"]);
    rig.swap("2 g1", "2 g2");
    assert_eq!(rig.table(), ["3 g1 serving", "4 g1 serving", "1 g1 serving", "2 g1 serving"]);
    let Some(Outcome::RolledBack { at: Number(3), replaced: 2, .. }) = rig.group().outcome(Generation(2)) else {
        panic!("{:?}", rig.group().outcome(Generation(2)))
    };
    assert_eq!(rig.view().good, Some(Generation(1)));
    assert!(rig.view().resists.is_some());
}

#[test]
fn a_start_of_the_good_release_that_fails_while_walking_back_is_tried_again() {
    let mut rig = Rig::serving(Settings { on_failure: OnFailure::Rollback, ..SETTINGS });
    rig.restart();
    rig.steps();
    rig.swap("1 g2", "1 g1");
    rig.exits("2 g2", 1);
    assert_eq!(rig.steps(), ["gone 2 g2", "spawn 1 g1"]);
    rig.exits("1 g1", 1);
    assert_eq!(rig.steps(), ["gone 1 g1"]);
    assert_eq!(rig.view().walk.unwrap().phase, "backoff");
    assert_eq!(rig.steps_for(1.0), ["spawn 1 g1"]);
    rig.swap("1 g1", "1 g2");
    assert!(matches!(rig.group().outcome(Generation(2)), Some(Outcome::RolledBack { .. })));
}

#[test]
fn a_rollback_that_is_superseded_still_says_that_it_had_failed() {
    let mut rig = Rig::serving(Settings { on_failure: OnFailure::Rollback, ..SETTINGS });
    rig.restart();
    rig.steps();
    rig.swap("1 g2", "1 g1");
    rig.exits("2 g2", 1);
    rig.restart();
    assert_eq!(rig.steps(), ["gone 2 g2", "resolve g3", &format!("g2: failed at process 2, 1 replaced: {CRASHED}"), "spawn 1 g3"]);
}

#[test]
fn continue_leaves_the_number_that_failed_and_walks_on() {
    let mut rig = Rig::serving(Settings { on_failure: OnFailure::Continue, ..SETTINGS });
    rig.restart();
    rig.steps();
    rig.exits("1 g2", 1);
    assert_eq!(rig.steps(), ["gone 1 g2", "spawn 2 g2"]);
    let steps = rig.swap("2 g2", "2 g1");
    assert_eq!(steps.last().unwrap(), &format!("g2: 1 replaced, not replaced: 1; process 1: {CRASHED}"));
    assert_eq!(rig.table(), ["1 g1 serving", "2 g2 serving"]);
    assert_eq!(rig.view().good, Some(Generation(2)));
    rig.exits("1 g1", 1);
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 1 g2"]);
}

#[test]
fn continue_past_every_number_accepts_nothing() {
    let mut rig = Rig::serving(Settings { on_failure: OnFailure::Continue, ..SETTINGS });
    rig.restart();
    rig.steps();
    rig.exits("1 g2", 1);
    rig.steps();
    rig.exits("2 g2", 1);
    assert_eq!(rig.steps(), ["gone 2 g2", &format!("g2: 0 replaced, not replaced: 1, 2; process 1: {CRASHED}")]);
    assert_eq!(rig.view().good, Some(Generation(1)));
}

#[test]
fn a_first_start_that_fails_is_tried_again_after_one_two_and_four_seconds() {
    let mut rig = Rig::new(SETTINGS);
    rig.spawns = Err(no_memory());
    assert_eq!(rig.steps(), ["resolve g1", "spawn 1 g1", "gone 1 g1"]);
    assert_eq!(rig.view().backoff.unwrap().retry_in, Duration::from_secs(1));
    assert_eq!(rig.view().walk.unwrap().phase, "backoff");
    assert_eq!(rig.steps_for(1.0), ["spawn 1 g1", "gone 1 g1"]);
    assert_eq!(rig.steps_for(1.9), [""; 0]);
    assert_eq!(rig.steps_for(0.1), ["spawn 1 g1", "gone 1 g1"]);
    assert_eq!(rig.view().backoff.unwrap(), BackoffView { failures: 3, retry_in: Duration::from_secs(4) });
    assert_eq!(rig.view().last_failure.unwrap().1, no_memory());
    rig.spawns = Ok(());
    assert_eq!(rig.steps_for(4.0), ["spawn 1 g1"]);
    rig.ready("1 g1");
    assert_eq!(rig.steps(), ["serve 1 g1", "spawn 2 g1"]);
}

#[test]
fn a_first_release_that_cannot_be_resolved_is_tried_again_until_it_can() {
    let mut rig = Rig::new(SETTINGS);
    rig.releases = Err(Failure { kind: FailureKind::Release("root: No such file or directory".to_owned()), output: Vec::new() });
    assert_eq!(rig.steps_for(3.5), ["resolve g1", "resolve g1", "resolve g1"]);
    rig.releases = Ok(());
    assert_eq!(rig.steps_for(4.0), ["resolve g1", "spawn 1 g1"]);
}

#[test]
fn a_restart_supersedes_a_first_start_that_fails() {
    let mut rig = Rig::new(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    rig.spawns = Err(no_memory());
    rig.steps_for(20.0);
    rig.spawns = Ok(());
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g2", "g1: superseded by g2", "spawn 1 g2"]);
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(2.0), ["serve 1 g2", "g2: every process is replaced"]);
}

#[test]
fn a_restart_does_not_wait_for_the_backoff_of_the_release_it_replaces() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    rig.spawns = Err(no_memory());
    rig.exits("1 g1", 1);
    rig.steps_for(20.0);
    rig.spawns = Ok(());
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g2", "spawn 1 g2"]);
    rig.ready("1 g2");
    assert_eq!(rig.steps(), ["serve 1 g2"], "there is nothing else to serve");
}

#[test]
fn a_proven_process_that_crashes_is_replaced_at_once_and_again_and_again_with_patience() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    let mut waits = Vec::new();
    for _ in 0..5 {
        rig.exits("1 g1", 139);
        assert_eq!(rig.steps()[0], "gone 1 g1");
        waits.push(rig.view().backoff.map_or(0, |backoff| backoff.retry_in.as_secs()));
        rig.steps_for(*waits.last().unwrap() as f64);
        rig.ready("1 g1");
        rig.steps_for(5.0);
    }
    assert_eq!(waits, [0, 1, 2, 4, 8]);
    rig.after(60.0);
    rig.exits("1 g1", 139);
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 1 g1"]);
}

#[test]
fn processes_that_crash_together_are_all_replaced_without_a_wait() {
    let mut rig = Rig::serving(SETTINGS);
    rig.exits("1 g1", 137);
    rig.exits("2 g1", 137);
    assert_eq!(rig.steps(), ["gone 1 g1", "gone 2 g1", "spawn 1 g1"]);
    rig.ready("1 g1");
    assert_eq!(rig.steps(), ["serve 1 g1", "spawn 2 g1"]);
}

#[test]
fn the_good_release_that_dies_in_its_probation_is_backed_off_from_and_never_resisted() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    rig.exits("1 g1", 1);
    rig.steps();
    rig.ready("1 g1");
    rig.steps();
    rig.after(0.5);
    rig.exits("1 g1", 1);
    assert_eq!(rig.steps(), ["gone 1 g1"]);
    assert_eq!(rig.view().backoff.unwrap().failures, 1);
    assert_eq!(rig.view().resists, None);
    assert_eq!(rig.view().last_failure.unwrap().1.to_string(), "exited with status 1 0.50 s after it was ready, within its probation");
    assert_eq!(rig.steps_for(1.0), ["spawn 1 g1"]);
    rig.ready("1 g1");
    rig.steps_for(2.0);
    assert_eq!(rig.view().backoff, None);
    // It has proved itself: the next failure is the first again.
    rig.after(60.0);
    rig.exits("1 g1", 1);
    rig.steps();
    rig.exits("1 g1", 1);
    rig.steps();
    assert_eq!(rig.view().backoff.unwrap().failures, 1);
}

#[test]
fn a_new_process_that_dies_in_its_probation_fails_the_walk_before_anything_is_replaced() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    rig.steps();
    rig.ready("1 g2");
    rig.steps();
    rig.after(1.9);
    rig.exits("1 g2", 1);
    assert_eq!(
        rig.steps(),
        ["g2: failed at process 1, 0 replaced: exited with status 1 1.90 s after it was ready, within its probation", "gone 1 g2"]
    );
    assert_eq!(rig.table(), ["1 g1 serving", "2 g1 serving"]);
}

#[test]
fn the_last_new_process_that_dies_in_its_probation_fails_the_walk_and_is_filled_from_the_good_release() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    rig.steps();
    rig.swap("1 g2", "1 g1");
    rig.ready("2 g2");
    rig.steps();
    rig.exits("2 g1", 0);
    rig.steps();
    rig.after(1.0);
    rig.exits("2 g2", 1);
    assert_eq!(
        rig.steps(),
        [
            "g2: failed at process 2, 1 replaced: exited with status 1 1.00 s after it was ready, within its probation",
            "gone 2 g2",
            "spawn 2 g1"
        ]
    );
}

#[test]
fn a_process_that_dies_while_its_replacement_starts_strands_nothing() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    rig.restart();
    rig.steps();
    rig.exits("1 g1", 137);
    assert_eq!(rig.steps(), ["gone 1 g1"], "its replacement is on its way");
    rig.wait("a");
    rig.ready("1 g2");
    assert_eq!(rig.steps(), ["serve 1 g2, grant a"]);
    assert_eq!(rig.steps_for(2.0), ["g2: every process is replaced"]);
}

#[test]
fn a_process_that_dies_while_its_replacement_starts_does_not_end_the_probation_when_others_serve() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    rig.steps();
    rig.exits("1 g1", 137);
    assert_eq!(rig.steps(), ["gone 1 g1"]);
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(1.9), [""; 0]);
    assert_eq!(rig.steps_for(0.1), ["serve 1 g2", "spawn 2 g2"]);
}

#[test]
fn both_the_old_process_and_its_replacement_may_die() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    rig.restart();
    rig.steps();
    rig.exits("1 g1", 137);
    rig.exits("1 g2", 1);
    assert_eq!(rig.steps(), [&format!("g2: failed at process 1, 0 replaced: {CRASHED}"), "gone 1 g1", "gone 1 g2", "spawn 1 g1"]);
}

#[test]
fn another_process_that_dies_before_the_new_release_is_proven_is_filled_from_the_good_one() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    rig.steps();
    rig.exits("2 g1", 137);
    assert_eq!(rig.steps(), ["gone 2 g1", "spawn 2 g1"]);
    rig.ready("2 g1");
    assert_eq!(rig.steps(), ["serve 2 g1"]);
    assert_eq!(rig.swap("1 g2", "1 g1").last().unwrap(), "spawn 2 g2");
}

#[test]
fn another_process_that_dies_after_the_new_release_is_proven_is_filled_from_that() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(3), ..SETTINGS });
    rig.restart();
    rig.steps();
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(2.0), ["serve 1 g2, drain 1 g1", "stop leader 1 g1"]);
    rig.exits("3 g1", 137);
    assert_eq!(rig.steps(), ["gone 3 g1", "spawn 3 g2"]);
    rig.ready("3 g2");
    assert_eq!(rig.steps(), ["serve 3 g2"], "the old process of 1 still drains");
    rig.exits("1 g1", 0);
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 2 g2"]);
}

#[test]
fn an_io_thread_that_says_nothing_is_given_up_five_seconds_after_its_time() {
    let mut rig = Rig::new(SETTINGS);
    rig.steps();
    assert_eq!(rig.steps_for(64.9), [""; 0]);
    assert_eq!(rig.steps_for(0.1), ["stop leader 1 g1"]);
    assert_eq!(rig.view().last_failure.unwrap().1.to_string(), "not ready after 65 s (no answer from its I/O thread)");
}

#[test]
fn a_process_whose_io_thread_panicked_is_replaced_like_a_crashed_one() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    rig.start_failed("1 g1", FailureKind::Thread("index out of bounds".to_owned()));
    assert_eq!(rig.steps(), ["stop leader 1 g1", "spawn 1 g1"]);
}

#[test]
fn news_of_a_process_that_is_gone_changes_nothing() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    let old = rig.id("1 g1");
    rig.exits("1 g1", 1);
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 1 g1"]);
    let now = rig.now;
    rig.group().ready(old, now);
    rig.group().start_failed(old, no_memory(), now);
    rig.group().exited(old, Exit::Status(0), Vec::new(), now);
    rig.group().group_empty(old, now);
    assert_eq!(rig.steps(), [""; 0]);
    assert_eq!(rig.table(), ["1 g1 starting"]);
}

#[test]
fn a_process_that_refused_connections_because_it_died_shows_how_it_died() {
    let mut rig = Rig::serving(SETTINGS);
    let (id, now) = (rig.ids[0].1, rig.now);
    rig.group().broken(id, FailureKind::Refused("it refuses connections".to_owned()), now);
    rig.group().exited(id, Exit::Signal { signal: 9, core: false }, vec!["last words".to_owned()], now);
    let (_, failure, _) = rig.group().view(now).last_failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Refused("it refuses connections; it ended with signal 9".to_owned()));
    assert_eq!(failure.output, ["last words"]);
}

#[test]
fn seed_16_a_watched_release_that_no_number_could_start_ends_its_walk() {
    let bake = Some(BakeConfig { time: Duration::from_secs(10), max_5xx: 5, max_refused: 50, max_slowdown: 3 });
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), on_failure: OnFailure::Continue, bake, ..SETTINGS });
    rig.restart();
    rig.steps();
    rig.exits("1 g2", 1);
    assert_eq!(
        rig.steps().last().unwrap(),
        "g2: 0 replaced, not replaced: 1; process 1: exited with status 1 after 0.00 s, before it was ready"
    );
}

#[test]
fn of_a_walk_that_failed_and_was_tried_again_one_answer_is_kept() {
    let mut rig = Rig::new(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    rig.steps();
    rig.restart();
    rig.steps();
    rig.exits("1 g1", 143);
    rig.exits("1 g2", 1);
    rig.steps_for(1.0);
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(2.0).last().unwrap(), "g2: every process is replaced");
    let of_g2 = |(generation, _): &&(Generation, Outcome)| *generation == Generation(2);
    let kept: Vec<String> = rig.group().outcomes.iter().filter(of_g2).map(|(_, outcome)| outcome.to_string()).collect();
    assert_eq!(kept, [format!("failed at process 1, 0 replaced: {CRASHED}")]);
}

#[test]
fn a_number_at_which_two_of_a_release_fail_is_skipped_once() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), on_failure: OnFailure::Continue, ..SETTINGS });
    rig.restart();
    rig.steps();
    rig.exits("1 g1", 137);
    rig.steps();
    rig.ready("1 g2");
    assert_eq!(rig.steps(), ["serve 1 g2"], "there is nothing else to serve");
    let (first, now) = (rig.id("1 g2"), rig.now);
    assert_eq!(rig.group().recycle(Number(1)), Some(first));
    assert_eq!(rig.steps(), ["spawn 1 g2"]);
    rig.group().exited(first, Exit::Status(1), Vec::new(), now);
    rig.group().group_empty(first, now);
    rig.exits("1 g2", 1);
    let steps = rig.steps();
    assert!(steps.iter().any(|step| step.starts_with("g2: 0 replaced, not replaced: 1; process 1: ")), "{steps:?}");
    assert!(steps.contains(&"spawn 1 g1".to_owned()), "{steps:?}");
}

#[test]
fn a_new_release_that_crashes_twice_in_one_place_after_its_probation_does_not_go_in() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    rig.steps();
    rig.swap("1 g2", "1 g1");
    rig.exits("1 g2", 1);
    assert_eq!(rig.steps_for(1.0), ["gone 1 g2"], "one process boots at a time");
    rig.ready("2 g2");
    assert_eq!(rig.steps(), ["serve 2 g2, drain 2 g1", "stop leader 2 g1", "spawn 1 g2"]);
    rig.exits("2 g1", 0);
    rig.steps_for(3.0);
    rig.exits("2 g2", 1);
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(3.0), ["gone 2 g2", "serve 1 g2", "spawn 2 g2"], "once in each place may be chance");
    rig.exits("1 g2", 1);
    let lines = rig.steps();
    assert_eq!(lines[0], "g2: failed at process 1, 0 replaced: exited with status 1 3.00 s after it was ready");
    assert_eq!(lines[1..], ["gone 1 g2", "stop leader 2 g2", "spawn 1 g1"]);
    assert_eq!(rig.view().good, Some(Generation(1)));
}

#[test]
fn a_probation_that_ended_while_rota_did_not_run_is_not_passed_before_rota_has_looked() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    rig.steps();
    rig.ready("1 g2");
    assert!(rig.steps().is_empty());
    let from = rig.now + Duration::from_secs(1);
    rig.after(10.0);
    let until = rig.now + Duration::from_secs(1);
    rig.group().put_off(from, until);
    assert!(rig.steps().is_empty());
    rig.exits("1 g2", 1);
    assert!(rig.steps()[0].starts_with("g2: failed at process 1, 0 replaced"));
}

#[test]
fn a_port_that_was_taken_is_tried_again_and_makes_no_release_bad() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    let fails = |rig: &mut Rig| {
        let (id, now) = (rig.id("1 g2"), rig.now);
        let kind = FailureKind::PortTaken { port: 41234, by: Some("x (pid 7)".to_owned()) };
        rig.group().start_failed(id, Failure { kind, output: Vec::new() }, now);
    };
    rig.restart();
    rig.steps();
    for _ in 0..3 {
        fails(&mut rig);
        assert_eq!(rig.steps(), ["stop leader 1 g2"]);
        rig.exits("1 g2", 0);
        assert_eq!(rig.steps(), ["gone 1 g2", "spawn 1 g2"]);
    }
    fails(&mut rig);
    let why = "g2: failed at process 1, 0 replaced: its port 41234 was taken by x (pid 7) before it listened there";
    assert_eq!(rig.steps(), [why, "stop leader 1 g2"]);
    assert_eq!(rig.view().resists, None);
    assert_eq!(rig.table()[0], "1 g1 serving");
}
