//! Processes that have served their time.

use super::*;

/// So few that a tenth of them is no whole request: no process has less.
const FIVE: Settings = Settings { lifespan: Lifespan { requests: Some(5), age: None }, ..SETTINGS };

/// One after the other, of which each is chosen in turn.
fn requests(rig: &mut Rig, count: usize) {
    for _ in 0..count {
        let claim = rig.claim("a");
        rig.finish(claim);
    }
}

fn aged(seconds: u64) -> Settings {
    Settings { lifespan: Lifespan { requests: None, age: Some(Duration::from_secs(seconds)) }, ..SETTINGS }
}

#[test]
fn after_so_many_requests_another_takes_its_place_and_the_old_one_goes_on_until_then() {
    let mut rig = Rig::serving(Settings { processes: 1, ..FIVE });
    requests(&mut rig, 4);
    assert!(!rig.wakes_restart());
    let in_hand = rig.claim("in hand");
    assert_eq!(rig.steps(), [""; 0]);
    rig.finish(in_hand);
    assert!(rig.wakes_restart());
    assert_eq!(rig.steps(), ["spawn 1 g1"]);
    assert!(!rig.wakes_restart(), "what is seen to already wakes nobody");
    let old = rig.ids[0].1;
    assert_eq!(rig.group().worn(old).unwrap().to_string(), "after 5 requests");
    assert_eq!(rig.view().processes[0].worn, Some(Worn::Requests(5)));
    requests(&mut rig, 1);
    rig.ready("1 g1");
    assert_eq!(rig.steps(), ["serve 1 g1, drain 1 g1", "stop leader 1 g1"]);
    let now = rig.now;
    rig.group().exited(old, Exit::Status(0), Vec::new(), now);
    rig.group().group_empty(old, now);
    assert_eq!(rig.steps(), ["gone 1 g1"]);
    requests(&mut rig, 4);
    assert_eq!(rig.steps(), [""; 0], "the new one counts from nothing");
}

#[test]
fn two_whose_time_is_over_go_one_after_the_other_also_with_room_for_both() {
    let mut rig = Rig::serving(Settings { surge: 2, ..FIVE });
    requests(&mut rig, 10);
    assert_eq!(rig.steps(), ["spawn 1 g1"]);
    let old = rig.ids[0].1;
    rig.ready("1 g1");
    assert_eq!(rig.steps(), ["serve 1 g1, drain 1 g1", "stop leader 1 g1"]);
    let now = rig.now;
    rig.group().exited(old, Exit::Status(0), Vec::new(), now);
    assert_eq!(rig.steps(), ["stop group 1 g1"]);
    rig.group().group_empty(old, now);
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 2 g1"]);
}

#[test]
fn age_counts_from_the_start_and_no_event_is_needed_for_it_to_be_over() {
    let mut rig = Rig::serving(Settings { processes: 1, ..aged(100) });
    let limit = super::super::wear::of_process(aged(100).lifespan, 1).age.unwrap().as_secs_f64();
    assert!((90.0..=100.0).contains(&limit));
    // Two seconds of probation have passed.
    assert_eq!(rig.steps_for(limit - 2.001), [""; 0]);
    assert_eq!(rig.steps_for(0.001), ["spawn 1 g1"]);
}

#[test]
fn during_a_walk_nobody_is_replaced_for_his_age_and_afterwards_whoever_is_too_old() {
    let mut rig = Rig::serving(aged(20));
    rig.restart();
    rig.steps();
    rig.swap("1 g2", "1 g1");
    rig.after(50.0);
    assert_eq!(rig.steps(), [""; 0], "the second of the walk still boots");
    rig.ready("2 g2");
    assert_eq!(rig.steps(), ["serve 2 g2, drain 2 g1", "stop leader 2 g1"]);
    rig.exits("2 g1", 0);
    assert_eq!(rig.steps_for(2.0), ["gone 2 g1", "g2: every process is replaced", "spawn 1 g2"]);
}

#[test]
fn a_replacement_that_does_not_start_is_waited_for_while_the_old_one_serves() {
    let mut rig = Rig::serving(Settings { processes: 1, ..FIVE });
    requests(&mut rig, 5);
    rig.spawns = Err(no_memory());
    assert_eq!(rig.steps(), ["spawn 1 g1", "gone 1 g1"]);
    assert_eq!(rig.table(), ["1 g1 serving"]);
    assert!(rig.view().resists.is_none(), "it is the good release");
    requests(&mut rig, 100);
    assert_eq!(rig.steps_for(0.9), [""; 0]);
    rig.spawns = Ok(());
    assert_eq!(rig.steps_for(0.1), ["spawn 1 g1"]);
}

#[test]
fn a_group_that_resists_replaces_from_the_release_that_works() {
    let mut rig = Rig::serving(Settings { processes: 1, ..FIVE });
    rig.restart();
    rig.steps();
    rig.exits("1 g2", 1);
    rig.steps();
    requests(&mut rig, 5);
    assert_eq!(rig.steps(), ["spawn 1 g1"]);
}

#[test]
fn a_group_that_ends_replaces_nobody() {
    let mut rig = Rig::serving(Settings { processes: 1, ..FIVE });
    let last = rig.claim("a");
    let now = rig.now;
    rig.pool.stop(now);
    rig.steps();
    rig.finish(last);
    assert_eq!(rig.steps(), ["stop leader 1 g1"]);
}

#[test]
fn a_stuck_process_is_replaced_and_its_slot_goes_to_nobody() {
    let mut rig = Rig::serving(Settings { processes: 1, ..SETTINGS });
    let stuck = rig.claim("a");
    rig.wait("b");
    let id = rig.id("1 g1");
    rig.group().stuck(id, Duration::from_secs(35));
    assert_eq!(rig.steps(), ["spawn 1 g1"]);
    assert_eq!(rig.group().worn(id).unwrap().to_string(), "because it was stuck in a request for 35 s");
    rig.ready("1 g1");
    assert_eq!(rig.steps(), ["serve 1 g1, drain 1 g1, grant b"]);
    assert!(rig.finish(stuck).is_none());
    assert_eq!(rig.steps(), ["stop leader 1 g1"]);
}

#[test]
fn a_process_that_is_stuck_in_a_walk_is_replaced_when_that_has_ended() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    rig.steps();
    rig.swap("1 g2", "1 g1");
    let (id, _claim) = (rig.id("1 g2"), rig.claim("a"));
    rig.group().stuck(id, Duration::from_secs(35));
    assert_eq!(rig.steps(), [""; 0], "the second of the walk boots");
    let lines = rig.swap("2 g2", "2 g1");
    assert!(lines.ends_with(&["g2: every process is replaced".to_owned(), "spawn 1 g2".to_owned()]), "{lines:?}");
}
