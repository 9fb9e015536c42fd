//! What a process has in hand when its drain is over: it may be finished, and no walk waits for it.

use super::*;

/// A request is with process 1 of generation 1 when generation 2 takes its place, and its drain is over.
fn drained(settings: Settings) -> (Rig, Claim, Vec<String>) {
    let mut rig = Rig::serving(settings);
    let mut claim = rig.claim("a");
    if claim.process() != rig.id("1 g1") {
        let first = std::mem::replace(&mut claim, rig.claim("b"));
        rig.finish(first);
    }
    rig.restart();
    rig.steps();
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(2.0), ["serve 1 g2, drain 1 g1"]);
    assert_eq!(rig.steps_for(29.9), [""; 0]);
    let steps = rig.steps_for(0.1);
    (rig, claim, steps)
}

#[test]
fn the_walk_goes_on_and_ends_without_it() {
    let (mut rig, claim, steps) = drained(SETTINGS);
    assert_eq!(steps, ["1 g1 outlasts its drain with 1", "spawn 2 g2"]);
    rig.ready("2 g2");
    assert_eq!(rig.steps(), ["serve 2 g2, drain 2 g1", "stop leader 2 g1"]);
    rig.exits("2 g1", 0);
    assert_eq!(rig.steps_for(2.0), ["gone 2 g1", "g2: every process is replaced"]);
    assert_eq!(rig.table(), ["1 g1 draining", "1 g2 serving", "2 g2 serving"]);
    assert_eq!(rig.view().processes[0].outlasts, Some(Duration::from_secs(568)));
    rig.finish(claim);
    assert!(rig.wakes_restart());
    assert_eq!(rig.steps(), ["stop leader 1 g1"]);
    rig.exits("1 g1", 0);
    assert_eq!(rig.steps(), ["gone 1 g1"]);
}

#[test]
fn at_the_longest_it_is_cut() {
    let (mut rig, _claim, steps) = drained(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    assert_eq!(steps, ["1 g1 outlasts its drain with 1", "g2: every process is replaced"]);
    assert_eq!(rig.steps_for(569.9), [""; 0]);
    assert_eq!(rig.steps_for(0.1), ["cut 1 g1: drain.longest has passed"]);
    assert_eq!(rig.steps_for(1.0), ["stop leader 1 g1"]);
}

#[test]
fn of_one_number_the_younger_may_finish_and_the_older_goes() {
    let (mut rig, _old, _) = drained(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    let claim = rig.claim("b");
    assert_eq!(claim.process(), rig.id("1 g2"));
    rig.restart();
    rig.steps();
    rig.ready("1 g3");
    assert_eq!(rig.steps_for(2.0), ["serve 1 g3, drain 1 g2"]);
    assert_eq!(rig.steps_for(30.0), ["cut 1 g1: a younger process of its number is at the end of its drain"]);
    assert_eq!(rig.steps_for(1.0), ["stop leader 1 g1"]);
    rig.exits("1 g1", 0);
    assert_eq!(rig.steps(), ["gone 1 g1", "1 g2 outlasts its drain with 1", "g3: every process is replaced"]);
}

#[test]
fn where_there_must_not_be_one_more_it_is_cut() {
    let one = Settings { processes: Sizes::fixed(1), ..SETTINGS };
    let (_, _claim, steps) = drained(Settings { drain_longest: Duration::ZERO, ..one.clone() });
    assert_eq!(steps, ["cut 1 g1: drain.timeout has passed, and no more time can be had: drain.longest is no longer"]);
    for (settings, why) in [
        (Settings { surge: 0, ..one.clone() }, "surge = 0"),
        (Settings { leader: LeaderPolicy::Exclusive, ..one.clone() }, "leader = \"exclusive\""),
    ] {
        let mut rig = Rig::serving(settings);
        let _claim = rig.claim("a");
        rig.restart();
        assert_eq!(rig.steps(), ["resolve g2", "drain 1 g1"]);
        assert_eq!(rig.steps_for(30.0), [format!("cut 1 g1: drain.timeout has passed, and no more time can be had: {why}")]);
    }
}

#[test]
fn where_memory_is_short_it_is_cut_before_anything_is_started_beside_it() {
    let (mut rig, _claim, _) = drained(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    rig.steps_for(2.0);
    rig.memory = Some("96 MiB free".to_owned());
    rig.restart();
    let steps =
        ["resolve g3", "no memory for 1 g3: 96 MiB free", "cut 1 g1: a new process needs its room", "drain 1 g2", "stop leader 1 g2"];
    assert_eq!(rig.steps(), steps);
    rig.exits("1 g2", 0);
    assert_eq!(rig.steps_for(1.0), ["gone 1 g2", "stop leader 1 g1"]);
    rig.exits("1 g1", 0);
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 1 g3"]);
}

#[test]
fn it_is_one_of_those_that_there_may_be_on_the_machine() {
    let one = Settings { processes: Sizes::fixed(1), ..SETTINGS };
    let limits = Limits { processes: 2, spawning: 2 };
    let mut rig = Rig::of(limits, [("a", one)]);
    rig.steps();
    rig.ready("1 g1");
    rig.steps_for(2.0);
    let _claim = rig.claim("a");
    rig.restart();
    rig.steps();
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(32.0)[1], "1 g1 outlasts its drain with 1");
    rig.steps_for(2.0);
    // There is no room for a third: the one that serves leaves first, and the one that lasts goes for it.
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g3", "drain 1 g2", "cut 1 g1: a new process needs its room", "stop leader 1 g2"]);
}

#[test]
fn an_app_that_ends_waits_for_nothing_beyond_the_drain() {
    let (mut rig, _claim, _) = drained(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    rig.steps_for(2.0);
    let now = rig.now;
    rig.pool.stop(now);
    let ends = "cut 1 g1: drain.timeout has passed, and no more time can be had: the app ends";
    assert_eq!(rig.steps(), [ends, "drain 1 g2", "stop leader 1 g2"]);
}
