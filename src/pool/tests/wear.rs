//! Processes that have served their time.

use super::*;

/// So few that a tenth of them is no whole request: no process has less.
const FIVE: Settings = Settings { lifespan: Lifespan { requests: Some(5), ..UNLIMITED }, ..SETTINGS };

/// One after the other, of which each is chosen in turn.
fn requests(rig: &mut Rig, count: usize) {
    for _ in 0..count {
        let claim = rig.claim("a");
        rig.finish(claim);
    }
}

fn aged(seconds: u64) -> Settings {
    Settings { lifespan: Lifespan { age: Some(Duration::from_secs(seconds)), ..UNLIMITED }, ..SETTINGS }
}

#[test]
fn after_so_many_requests_another_takes_its_place_and_the_old_one_goes_on_until_then() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..FIVE });
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
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..aged(100) });
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
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..FIVE });
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
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..FIVE });
    rig.restart();
    rig.steps();
    rig.exits("1 g2", 1);
    rig.steps();
    requests(&mut rig, 5);
    assert_eq!(rig.steps(), ["spawn 1 g1"]);
}

#[test]
fn a_group_that_ends_replaces_nobody() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..FIVE });
    let last = rig.claim("a");
    let now = rig.now;
    rig.pool.stop(now);
    rig.steps();
    rig.finish(last);
    assert_eq!(rig.steps(), ["stop leader 1 g1"]);
}

#[test]
fn a_stuck_process_is_replaced_and_its_slot_goes_to_nobody() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
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

const MIB: u64 = 1 << 20;

/// 100 MiB, and 150 MiB at once; the limit of the first process is lower by less than 10 MiB.
fn weighed(rig: &mut Rig, mib: u64) -> Option<String> {
    let (id, now) = (rig.ids[0].1, rig.now);
    rig.group().weighed(id, mib * MIB, now).map(|failure| failure.to_string())
}

fn heavy() -> Rig {
    Rig::serving(Settings {
        processes: Sizes::fixed(1),
        lifespan: Lifespan { memory: Some(100 * MIB), memory_hard: Some(150 * MIB), ..UNLIMITED },
        ..SETTINGS
    })
}

#[test]
fn a_process_with_too_much_memory_is_replaced_and_with_far_too_much_killed() {
    let mut rig = heavy();
    let limit = rig.group().to_weigh().next().unwrap().limit.unwrap();
    assert!((90 * MIB..=100 * MIB).contains(&limit));
    assert_eq!(weighed(&mut rig, 89), None);
    assert_eq!(rig.steps(), [""; 0]);
    assert_eq!(weighed(&mut rig, 101), None);
    assert_eq!(rig.steps(), ["spawn 1 g1"]);
    let old = rig.ids[0].1;
    assert_eq!(rig.group().worn(old).unwrap().to_string(), "for its memory, 101 MiB");
    assert_eq!(rig.group().to_weigh().next().unwrap().limit, Some(150 * MIB), "only what kills is of interest now");
    assert_eq!(weighed(&mut rig, 151).as_deref(), Some("killed for its memory: 151 MiB, memory_limit_hard is 150 MiB"));
    assert_eq!(rig.steps(), ["kill group 1 g1"]);
    assert_eq!(weighed(&mut rig, 152), None, "once");
    rig.ready("1 g1");
    assert_eq!(rig.steps(), ["serve 1 g1"]);
    let (_, failure, _) = rig.view().last_failure.unwrap();
    assert!(matches!(failure.kind, FailureKind::Memory { .. }));
}

#[test]
fn a_process_with_more_processes_than_it_may_have_is_killed_once() {
    let lifespan = Lifespan { processes: Some(20), ..UNLIMITED };
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), lifespan, ..SETTINGS });
    let (id, now) = (rig.ids[0].1, rig.now);
    assert_eq!(rig.group().has_processes(id, 20, now), None);
    let failure = rig.group().has_processes(id, 1_021, now).unwrap();
    assert_eq!(failure.to_string(), "killed for its 1,021 processes: limits.processes is 20");
    assert_eq!(rig.steps(), ["kill group 1 g1", "spawn 1 g1"]);
    assert_eq!(rig.group().has_processes(id, 1_022, now), None);
}

#[test]
fn a_killed_process_crashed_and_its_end_is_no_second_failure() {
    let mut rig = heavy();
    weighed(&mut rig, 151);
    assert_eq!(rig.steps(), ["kill group 1 g1", "spawn 1 g1"]);
    let old = rig.ids[0].1;
    let now = rig.now;
    rig.group().exited(old, Exit::Signal { signal: 9, core: false }, Vec::new(), now);
    rig.group().group_empty(old, now);
    assert_eq!(rig.steps(), ["gone 1 g1"]);
    let (_, failure, _) = rig.view().last_failure.unwrap();
    assert!(matches!(failure.kind, FailureKind::Memory { .. }), "{failure}");
    assert!(rig.view().backoff.is_none(), "the first crash waits for nothing");
}

#[test]
fn a_process_that_takes_too_much_from_its_boot_on_lives_ten_times_as_long_as_that_took() {
    let mut rig = heavy();
    weighed(&mut rig, 101);
    rig.steps();
    rig.after(60.0);
    rig.ready("1 g1");
    rig.steps();
    let (old, now) = (rig.ids[0].1, rig.now);
    rig.group().exited(old, Exit::Status(0), Vec::new(), now);
    rig.group().group_empty(old, now);
    let (young, now) = (rig.id("1 g1"), rig.now);
    assert_eq!(rig.group().weighed(young, 120 * MIB, now), None);
    assert!(rig.group().worn(young).is_none());
    // Sixty seconds of boot.
    let spawns = |lines: Vec<String>| lines.iter().any(|line| line.starts_with("spawn"));
    assert!(!spawns(rig.steps_for(539.0)));
    assert!(spawns(rig.steps_for(1.1)), "without being weighed again");
}

#[test]
fn one_that_boots_or_drains_is_killed_for_its_memory_too() {
    let mut rig = heavy();
    rig.restart();
    rig.steps();
    let (booting, now) = (rig.id("1 g2"), rig.now);
    assert!(rig.group().weighed(booting, 151 * MIB, now).is_some());
    assert!(rig.steps().contains(&"kill group 1 g2".to_owned()));
    assert!(rig.view().resists.is_some(), "it is a start that failed");
}
