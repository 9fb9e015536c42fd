//! As many processes as are needed: started by requests that wait, gone when they have had nothing to do. The last stories were found by
//! the model, under the seeds that they name.

use super::*;

const IDLE: f64 = 300.0;

fn between(min: u16, max: u16) -> Settings {
    Settings { processes: Sizes { min, max, idle: Duration::from_secs_f64(IDLE) }, ..SETTINGS }
}

/// Two of at most three serve, and each has a session: `"one"` at number 1, `"two"` at number 2.
fn grown_to_two() -> (Rig, Claim, Claim) {
    let mut rig = Rig::serving(between(1, 3));
    let one = rig.claim("one");
    rig.wait("two");
    assert!(rig.grows());
    assert_eq!(rig.steps(), ["spawn 2 g1"]);
    rig.ready("2 g1");
    let (lines, mut claims) = rig.steps_and_claims();
    assert_eq!(lines, ["serve 2 g1, grant two"]);
    (rig, one, claims.remove(0))
}

impl Rig {
    fn grows(&mut self) -> bool {
        let now = self.now;
        self.group().is_to_grow(now)
    }
}

#[test]
fn nothing_is_started_before_the_first_request_which_is_then_served() {
    let mut rig = Rig::new(between(0, 2));
    assert_eq!(rig.steps(), ["resolve g1"]);
    let view = rig.view();
    assert_eq!((view.processes_wanted, view.walk), (0, None), "there is nothing that goes on");
    rig.wait("first");
    assert!(rig.grows());
    assert_eq!(rig.steps(), ["spawn 1 g1"]);
    rig.wait("second");
    assert!(!rig.grows(), "one is coming");
    assert_eq!(rig.steps(), [""; 0]);
    rig.ready("1 g1");
    assert_eq!(rig.steps(), ["serve 1 g1, grant first", "spawn 2 g1"]);
}

#[test]
fn the_last_process_leaves_when_nobody_came_for_long_and_the_next_request_starts_it_again() {
    let mut rig = Rig::new(between(0, 2));
    rig.steps();
    rig.wait("first");
    rig.steps();
    rig.ready("1 g1");
    let (_, mut claims) = rig.steps_and_claims();
    rig.steps_for(2.0);
    rig.after(1000.0);
    assert_eq!(rig.steps(), [""; 0], "it has a session");
    rig.finish(claims.remove(0));
    assert_eq!(rig.steps_for(IDLE - 0.1), [""; 0]);
    assert_eq!(rig.steps_for(0.1), ["drain 1 g1: had nothing to do for 5 min 0 s", "stop leader 1 g1"]);
    rig.wait("again");
    assert_eq!(rig.steps(), ["spawn 1 g1"], "beside the one that stops");
    rig.exits("1 g1", 0);
}

#[test]
fn one_more_at_a_time_is_started_while_a_request_waits_up_to_the_most() {
    let (mut rig, _one, _two) = grown_to_two();
    rig.wait("three");
    rig.wait("four");
    assert_eq!(rig.steps(), ["spawn 3 g1"]);
    rig.ready("3 g1");
    assert_eq!(rig.steps(), ["serve 3 g1, grant three"]);
    assert!(!rig.grows(), "there may be three");
    assert_eq!(rig.view().processes_wanted, 3);
}

#[test]
fn what_is_to_be_started_anyway_comes_before_one_more() {
    let mut rig = Rig::new(between(2, 3));
    rig.wait("one");
    assert_eq!(rig.steps(), ["resolve g1", "spawn 1 g1"]);
    rig.wait("two");
    rig.wait("three");
    rig.ready("1 g1");
    assert_eq!(rig.steps(), ["serve 1 g1, grant one", "spawn 2 g1"]);
    rig.ready("2 g1");
    assert_eq!(rig.steps(), ["serve 2 g1, grant two", "spawn 3 g1"]);
}

#[test]
fn a_request_that_left_needs_no_process() {
    let mut rig = Rig::serving(between(1, 3));
    let _one = rig.claim("one");
    let two = rig.wait("two");
    rig.group().leave(two);
    assert!(!rig.grows());
    assert_eq!(rig.steps(), [""; 0]);
}

#[test]
fn a_held_app_does_not_grow() {
    let mut rig = Rig::serving(between(1, 3));
    let (until, now) = (rig.now + Duration::from_secs(60), rig.now);
    rig.group().pause(until, now);
    rig.wait("one");
    assert_eq!(rig.steps(), [""; 0]);
    rig.group().resume(now);
    assert_eq!(rig.steps(), ["grant one"]);
}

#[test]
fn the_longest_idle_goes_first_number_1_last_and_never_below_the_least() {
    let (mut rig, one, two) = grown_to_two();
    rig.wait("three");
    rig.steps();
    rig.ready("3 g1");
    let (_, mut claims) = rig.steps_and_claims();
    rig.steps_for(2.0);
    rig.finish(one);
    rig.after(1.0);
    rig.finish(claims.remove(0));
    rig.after(1.0);
    rig.finish(two);
    assert_eq!(rig.steps_for(IDLE - 0.1), ["drain 3 g1: had nothing to do for 5 min 0 s", "stop leader 3 g1"]);
    rig.exits("3 g1", 0);
    assert_eq!(rig.steps_for(0.1), ["gone 3 g1", "drain 2 g1: had nothing to do for 5 min 0 s", "stop leader 2 g1"]);
    rig.exits("2 g1", 0);
    assert_eq!(rig.steps_for(10.0 * IDLE), ["gone 2 g1"]);
    assert_eq!(rig.table(), ["1 g1 serving"]);
}

#[test]
fn a_session_that_ends_between_two_looks_is_not_forgotten() {
    let (mut rig, _one, two) = grown_to_two();
    rig.steps_for(IDLE + 17.0);
    rig.steps();
    let looks_again = rig.pool.next_deadline().expect("it will be looked at");
    assert!(looks_again <= rig.now + Duration::from_secs_f64(IDLE), "nobody is woken by the end of a session");
    rig.finish(two);
    assert_eq!(rig.steps_for(IDLE - 0.1), [""; 0]);
    assert_eq!(rig.steps_for(0.1), ["drain 2 g1: had nothing to do for 5 min 0 s", "stop leader 2 g1"]);
}

#[test]
fn one_more_that_does_not_start_is_given_up_and_tried_again_while_something_waits() {
    let mut rig = Rig::serving(between(1, 3));
    let one = rig.claim("one");
    let two = rig.wait("two");
    rig.steps();
    rig.exits("2 g1", 1);
    assert_eq!(rig.steps(), ["gone 2 g1"]);
    assert_eq!(rig.view().processes_wanted, 1);
    assert_eq!(rig.steps_for(1.0), ["spawn 2 g1"], "something waits still");
    rig.exits("2 g1", 1);
    rig.steps();
    rig.group().leave(two);
    assert_eq!(rig.steps_for(100.0), [""; 0]);
    assert!(rig.finish(one).is_none());
    assert_eq!(rig.table(), ["1 g1 serving"]);
}

#[test]
fn one_more_is_of_the_good_release_while_a_walk_has_shown_nothing() {
    let mut rig = Rig::serving(between(1, 3));
    let _one = rig.claim("one");
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g2", "spawn 1 g2"]);
    rig.wait("two");
    assert_eq!(rig.steps(), ["spawn 2 g1"]);
    rig.ready("2 g1");
    assert_eq!(rig.steps(), ["serve 2 g1, grant two"]);
}

#[test]
fn a_restart_of_an_app_without_a_process_starts_one_which_leaves_again() {
    let mut rig = Rig::new(between(0, 2));
    rig.steps();
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g2", "g1: superseded by g2", "spawn 1 g2"]);
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(2.0), ["serve 1 g2", "g2: every process is replaced"]);
    assert_eq!(rig.group().good(), Some(Generation(2)));
    assert_eq!(rig.steps_for(IDLE), ["drain 1 g2: had nothing to do for 5 min 0 s", "stop leader 1 g2"]);
}

#[test]
fn a_restart_that_fails_leaves_an_app_without_a_process_as_it_was() {
    for on_failure in [OnFailure::Resist, OnFailure::Rollback, OnFailure::Continue] {
        let mut rig = Rig::new(Settings { on_failure, ..between(0, 2) });
        rig.steps();
        rig.restart();
        rig.steps();
        rig.ready("1 g2");
        rig.steps_for(2.0);
        rig.steps_for(IDLE);
        rig.exits("1 g2", 0);
        rig.steps();
        rig.restart();
        assert_eq!(rig.steps(), ["resolve g3", "spawn 1 g3"]);
        rig.exits("1 g3", 1);
        let lines = rig.steps();
        assert!(lines.iter().any(|line| line.starts_with("g3: ")), "{on_failure:?}: {lines:?}");
        assert_eq!(rig.steps_for(100.0), [""; 0], "{on_failure:?}");
        assert_eq!((rig.group().good(), rig.table()), (Some(Generation(2)), vec![]), "{on_failure:?}");
        rig.wait("first");
        assert_eq!(rig.steps(), ["spawn 1 g2"], "{on_failure:?}");
    }
}

#[test]
fn a_first_release_that_does_not_start_is_tried_while_somebody_waits() {
    let mut rig = Rig::new(between(0, 1));
    rig.steps();
    let first = rig.wait("first");
    assert_eq!(rig.steps(), ["spawn 1 g1"]);
    rig.exits("1 g1", 1);
    assert_eq!(rig.steps_for(1.0), ["gone 1 g1", "spawn 1 g1"]);
    rig.group().leave(first);
    rig.exits("1 g1", 1);
    assert_eq!(rig.steps_for(200.0), ["gone 1 g1"]);
}

#[test]
fn what_resists_keeps_what_it_has() {
    let (mut rig, one, two) = grown_to_two();
    rig.steps_for(2.0);
    rig.restart();
    rig.steps();
    rig.exits("1 g2", 1);
    rig.steps();
    let _ = (rig.finish(one), rig.finish(two));
    assert_eq!(rig.steps_for(3.0 * IDLE), [""; 0]);
    assert_eq!(rig.table(), ["1 g1 serving", "2 g1 serving"]);
}

#[test]
fn one_more_than_there_is_memory_for_is_not_started() {
    let mut rig = Rig::serving(between(1, 3));
    let _one = rig.claim("one");
    rig.wait("two");
    let now = rig.now;
    let Some(Step::Spawn { id, .. }) = rig.pool.next_step(now) else { panic!("one more is to be started") };
    assert!(!rig.group().postpone(id, "96 MiB free".to_owned()), "nothing could go for it");
    assert!(rig.group().is_one_more(id));
}

#[test]
fn seed_278_what_was_taken_out_for_its_replacement_is_not_made_up_for_by_one_more() {
    let mut rig = Rig::serving(Settings { surge: 0, processes: Sizes { min: 2, max: 3, idle: Duration::from_secs(300) }, ..SETTINGS });
    let (_one, _two) = (rig.claim("one"), rig.claim("two"));
    let now = rig.now;
    rig.group().restart(Trigger::Command, Aim::AllAtOnce, now);
    assert_eq!(rig.steps(), ["resolve g2", "drain 1 g1", "drain 2 g1"]);
    rig.wait("three");
    assert_eq!(rig.steps(), [""; 0]);
}

#[test]
fn seed_33147_a_crash_long_after_another_process_left_in_good_order_is_no_second_in_a_row() {
    let (mut rig, one, _two) = grown_to_two();
    rig.steps_for(2.0);
    rig.exits("2 g1", 137);
    assert_eq!(rig.steps(), ["gone 2 g1", "spawn 2 g1"]);
    rig.ready("2 g1");
    rig.steps_for(IDLE + 2.0);
    rig.exits("2 g1", 0);
    rig.wait("three");
    assert_eq!(rig.steps(), ["gone 2 g1", "spawn 2 g1"]);
    rig.ready("2 g1");
    rig.steps_for(2.0);
    rig.exits("2 g1", 137);
    assert_eq!(rig.steps(), ["gone 2 g1", "spawn 2 g1"], "at once");
    rig.finish(one);
}
