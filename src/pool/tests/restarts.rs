//! First starts and rolling restarts that go well, and requests that meet them.

use super::*;

#[test]
fn the_first_start_boots_one_after_another_and_each_serves_at_once() {
    let mut rig = Rig::new(SETTINGS);
    assert_eq!(rig.steps(), ["resolve g1", "spawn 1 g1"]);
    rig.ready("1 g1");
    assert_eq!(rig.steps(), ["serve 1 g1", "spawn 2 g1"]);
    rig.after(0.5);
    rig.ready("2 g1");
    assert_eq!(rig.steps(), ["serve 2 g1"]);
    assert_eq!(rig.steps_for(1.9), [""; 0]);
    assert_eq!(rig.steps_for(0.1), ["g1: every process is replaced"]);
    assert_eq!(rig.pool.next_deadline(), None);
}

#[test]
fn a_restart_replaces_one_process_after_another_the_first_on_probation() {
    let mut rig = Rig::serving(SETTINGS);
    assert_eq!(rig.restart(), Generation(2));
    assert_eq!(rig.steps(), ["resolve g2", "spawn 1 g2"]);
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(1.9), [""; 0]);
    assert_eq!(rig.steps_for(0.1), ["serve 1 g2, drain 1 g1", "stop leader 1 g1"]);
    rig.exits("1 g1", 0);
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 2 g2"]);
    rig.ready("2 g2");
    assert_eq!(rig.steps(), ["serve 2 g2, drain 2 g1", "stop leader 2 g1"]);
    rig.exits("2 g1", 0);
    assert_eq!(rig.steps(), ["gone 2 g1"]);
    assert_eq!(rig.steps_for(2.0), ["g2: every process is replaced"]);
    assert_eq!(rig.view().good, Some(Generation(2)));
}

#[test]
fn a_drain_waits_for_its_sessions_then_cuts_them_and_then_goes_on_regardless() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), drain_longest: Duration::ZERO, ..SETTINGS });
    let claim = rig.claim("a");
    rig.restart();
    rig.steps();
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(2.0), ["serve 1 g2, drain 1 g1"]);
    assert_eq!(rig.steps_for(29.9), [""; 0]);
    assert_eq!(rig.steps_for(0.1), ["cut 1 g1: drain.timeout has passed, and no more time can be had: drain.longest is no longer"]);
    assert_eq!(rig.steps_for(0.9), [""; 0]);
    assert_eq!(rig.steps_for(0.1), ["stop leader 1 g1"]);
    assert!(rig.finish(claim).is_none());
}

#[test]
fn a_process_that_ignores_the_stop_signal_is_killed_with_its_group() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    rig.restart();
    rig.steps();
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(2.0), ["serve 1 g2, drain 1 g1", "stop leader 1 g1"]);
    assert_eq!(rig.steps_for(9.9), [""; 0]);
    assert_eq!(rig.steps_for(0.1), ["kill group 1 g1"]);
    assert_eq!(rig.steps_for(3600.0), [""; 0]);
    rig.leader_exits("1 g1", 137);
    assert_eq!(rig.steps(), [""; 0]);
    rig.group_empty("1 g1");
    assert_eq!(rig.steps(), ["gone 1 g1", "g2: every process is replaced"]);
}

#[test]
fn what_a_leader_leaves_behind_is_stopped_waited_for_and_killed() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    rig.restart();
    rig.steps();
    rig.ready("1 g2");
    rig.steps_for(2.0);
    rig.after(4.0);
    rig.leader_exits("1 g1", 0);
    assert_eq!(rig.steps(), ["stop group 1 g1"]);
    let old = rig.id("1 g1");
    assert_eq!(rig.group().lingering().collect::<Vec<_>>(), [(old, old.serial + 100)]);
    assert_eq!(rig.steps_for(5.9), [""; 0]);
    assert_eq!(rig.steps_for(0.1), ["kill group 1 g1"]);
    rig.group_empty("1 g1");
    assert_eq!(rig.steps(), ["gone 1 g1", "g2: every process is replaced"]);
    assert_eq!(rig.group().lingering().count(), 0);
}

#[test]
fn requests_that_come_before_the_first_has_begun_make_one_generation() {
    let mut rig = Rig::serving(SETTINGS);
    let generations: Vec<Generation> = (0..10).map(|_| rig.restart()).collect();
    assert_eq!(generations, [Generation(2); 10]);
}

#[test]
fn ten_restarts_in_a_row_end_in_one_generation() {
    let mut rig = Rig::serving(SETTINGS);
    for generation in 2..=11 {
        assert_eq!(rig.restart(), Generation(generation));
        rig.steps();
    }
    for generation in 2..=10 {
        let by = Generation(generation + 1);
        assert_eq!(rig.group().outcome(Generation(generation)), Some(&Outcome::Superseded { by }));
    }
    assert_eq!(rig.table(), ["1 g1 serving", "2 g1 serving", "1 g2 stopping"]);
    rig.exits("1 g2", 143);
    assert_eq!(rig.steps(), ["gone 1 g2", "spawn 1 g11"]);
    assert_eq!(rig.swap("1 g11", "1 g1").last().unwrap(), "spawn 2 g11");
    rig.swap("2 g11", "2 g1");
    assert_eq!(rig.group().outcome(Generation(11)), Some(&Outcome::Done));
    assert_eq!(rig.table(), ["1 g11 serving", "2 g11 serving"]);
}

#[test]
fn a_restart_that_supersedes_replaces_also_what_the_old_one_put_in_service() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    rig.steps();
    rig.swap("1 g2", "1 g1");
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g3", "g2: superseded by g3", "stop leader 2 g2"]);
    rig.exits("2 g2", 0);
    assert_eq!(rig.steps(), ["gone 2 g2", "spawn 1 g3"]);
    assert_eq!(rig.swap("1 g3", "1 g2"), ["serve 1 g3, drain 1 g2", "stop leader 1 g2", "gone 1 g2", "spawn 2 g3"]);
    rig.swap("2 g3", "2 g1");
    assert_eq!(rig.table(), ["1 g3 serving", "2 g3 serving"]);
}

#[test]
fn a_release_that_cannot_be_resolved_leaves_everything_as_it_was_and_the_walk_under_way() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    rig.steps();
    rig.releases = Err(Failure { kind: FailureKind::Release("current: No such file or directory".to_owned()), output: Vec::new() });
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g3", "g3: failed at process 1, 0 replaced: no release to start: current: No such file or directory"]);
    assert_eq!(rig.view().resists, None);
    assert_eq!(rig.swap("1 g2", "1 g1").last().unwrap(), "spawn 2 g2");
}

#[test]
fn a_request_during_the_resolving_of_another_is_one_of_its_own() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    let Some(Step::Resolve { ask: Ask { generation, .. }, .. }) = rig.pool.next_step(rig.now) else { panic!("nothing to resolve") };
    assert_eq!(rig.restart(), Generation(3));
    assert!(rig.pool.next_step(rig.now).is_none(), "two releases are resolved at once");
    let now = rig.now;
    rig.group().resolved(generation, Ok(()), now);
    assert_eq!(rig.steps(), ["resolve g3", "g2: superseded by g3", "spawn 1 g3"]);
}

#[test]
fn a_restart_of_all_walks_one_group_after_another() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    let shop = rig.pool.add(AppName::new("shop").unwrap(), Settings { processes: Sizes::fixed(1), ..SETTINGS }, Generation(1), rig.now);
    let blog = std::mem::replace(&mut rig.group, shop);
    rig.steps();
    rig.ready("1 g1");
    assert_eq!(rig.steps_for(2.0), ["serve 1 g1", "g1: every process is replaced"]);
    let now = rig.now;
    let asked = rig.pool.restart_all(Trigger::Signal, now);
    assert_eq!(asked, [(blog, Generation(2)), (shop, Generation(2))]);
    assert_eq!(rig.pool.restart_all(Trigger::Signal, now), asked, "asking again joins");
    rig.group = blog;
    assert_eq!(rig.steps(), ["resolve g2", "spawn 1 g2"]);
    assert_eq!(rig.pool.group(shop).view(now).walk.unwrap().phase, "wait");
    rig.ready("1 g2");
    rig.steps_for(2.0);
    let old = rig.ids[0].1;
    rig.now += Duration::from_secs(1);
    let now = rig.now;
    rig.group().exited(old, Exit::Status(0), Vec::new(), now);
    rig.group().group_empty(old, now);
    let Some(Step::Gone { .. }) = rig.pool.next_step(now) else { panic!("the old process stays") };
    let Some(Step::WalkEnded { .. }) = rig.pool.next_step(now) else { panic!("the walk has not ended") };
    rig.group = shop;
    assert_eq!(rig.steps(), ["resolve g2", "spawn 1 g2"]);
}

#[test]
fn an_app_that_never_had_a_good_release_keeps_no_other_from_its_turn() {
    for processes in [Sizes::fixed(1), Sizes { min: 0, ..Sizes::fixed(1) }] {
        let mut rig = Rig::of(Limits::default(), [("broken", Settings { processes, ..SETTINGS }), ("shop", SETTINGS)]);
        rig.steps();
        if processes.min > 0 {
            rig.exits("broken/1 g1", 1);
        }
        for name in ["shop/1 g1", "shop/2 g1"] {
            rig.ready(name);
            rig.steps();
        }
        rig.steps_for(2.0);
        for (generation, older) in [("g2", "g1"), ("g3", "g2")] {
            let now = rig.now;
            let asked = rig.pool.restart_all(Trigger::Command, now);
            rig.steps();
            if processes.min > 0 {
                // The one before was being tried again.
                rig.exits(&format!("broken/1 {older}"), 143);
                rig.steps();
            }
            rig.exits(&format!("broken/1 {generation}"), 1);
            let steps = rig.steps();
            let failed = format!("{generation}: failed at process 1, 0 replaced: exited with status 1 after 0.00 s, before it was ready");
            assert!(steps.contains(&failed), "{steps:#?}");
            assert!(steps.contains(&format!("spawn shop/1 {generation}")), "{steps:#?}");
            for number in 1..=2 {
                rig.ready(&format!("shop/{number} {generation}"));
                rig.steps_for(2.0);
                rig.exits(&format!("shop/{number} {older}"), 0);
                rig.steps();
            }
            let (shop, generation) = asked[1];
            assert_eq!(rig.pool.group(shop).outcome(generation), Some(&Outcome::Done));
        }
    }
}

#[test]
fn an_app_whose_good_release_does_not_start_any_more_keeps_no_other_from_its_turn() {
    for called_off in [false, true] {
        let settings = Settings { on_failure: OnFailure::Rollback, ..SETTINGS };
        let mut rig = Rig::of(Limits::default(), [("blog", settings), ("shop", SETTINGS)]);
        rig.steps();
        for name in ["blog/1 g1", "shop/1 g1", "blog/2 g1", "shop/2 g1"] {
            rig.ready(name);
            rig.steps();
        }
        rig.steps_for(2.0);
        let now = rig.now;
        rig.pool.restart_all(Trigger::Command, now);
        rig.steps();
        rig.swap("blog/1 g2", "blog/1 g1");
        if called_off {
            rig.group().abort().unwrap();
            assert_eq!(rig.steps(), ["stop leader blog/2 g2"]);
        }
        rig.exits("blog/2 g2", 1);
        let back = rig.steps();
        assert!(back.contains(&"spawn blog/1 g1".to_owned()), "{back:#?}");
        rig.exits("blog/1 g1", 3);
        assert_eq!(rig.steps_for(1.0), ["gone blog/1 g1", "spawn blog/1 g1"], "once is no more than bad luck");
        assert_eq!(rig.group().outcome(Generation(2)), None);
        rig.exits("blog/1 g1", 3);
        let told = rig.steps();
        let why = if called_off { "exited with status 3 after 0.00 s" } else { "exited with status 1 after 0.00 s" };
        assert!(told.iter().any(|line| line.starts_with("g2: failed at process ") && line.contains(why)), "{told:#?}");
        assert!(told.contains(&"spawn shop/1 g2".to_owned()), "{told:#?}");
        // It goes on going back, and the first answer stands.
        let again = rig.steps_for(2.0);
        assert!(again.contains(&"spawn blog/1 g1".to_owned()), "{again:#?}");
        rig.ready("blog/1 g1");
        rig.steps();
        rig.exits("blog/1 g2", 0);
        let done = rig.steps_for(2.0);
        assert!(done.iter().any(|line| line.starts_with("g2: ") && line.contains("rolled back")), "{done:#?}");
        assert!(matches!(rig.group().outcome(Generation(2)), Some(Outcome::Failed { .. })));
        assert_eq!(rig.view().walk, None);
    }
}

#[test]
fn an_app_for_which_there_is_no_room_keeps_no_other_from_its_turn() {
    let blog = Settings { processes: Sizes { min: 0, ..Sizes::fixed(1) }, ..SETTINGS };
    let mut rig = Rig::of(Limits { processes: 2, ..Limits::default() }, [("blog", blog), ("shop", SETTINGS)]);
    rig.steps();
    for name in ["shop/1 g1", "shop/2 g1"] {
        rig.ready(name);
        rig.steps();
    }
    rig.steps_for(2.0);
    let now = rig.now;
    rig.pool.restart_all(Trigger::Command, now);
    let steps = rig.steps();
    assert!(steps.contains(&"drain shop/1 g1".to_owned()), "{steps:#?}");
}

#[test]
fn a_direct_restart_does_not_wait_for_its_turn() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    let shop = rig.pool.add(AppName::new("shop").unwrap(), Settings { processes: Sizes::fixed(1), ..SETTINGS }, Generation(1), rig.now);
    let blog = std::mem::replace(&mut rig.group, shop);
    rig.steps();
    rig.ready("1 g1");
    rig.steps_for(2.0);
    let now = rig.now;
    rig.pool.restart_all(Trigger::Signal, now);
    rig.group = blog;
    assert_eq!(rig.steps(), ["resolve g2", "spawn 1 g2"]);
    rig.group = shop;
    assert_eq!(rig.restart(), Generation(2), "it joins the request that waits");
    assert_eq!(rig.steps(), ["resolve g2", "spawn 1 g2"]);
}

#[test]
fn what_changed_before_a_restart_was_asked_for_comes_in_with_it() {
    let mut rig = Rig::serving(SETTINGS);
    let changed = rig.now;
    assert!(!rig.group().was_asked_after(changed));
    rig.steps_for(0.1);
    rig.restart();
    assert!(rig.group().was_asked_after(changed));
    let changed = rig.now;
    assert!(!rig.group().was_asked_after(changed), "in the same moment: nobody knows which came first");
    rig.steps_for(0.1);
    rig.restart();
    assert!(rig.group().was_asked_after(changed), "asked again while it walks");
}

#[test]
fn seed_11_boots_side_by_side_may_be_superseded() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(4), surge: 2, ..SETTINGS });
    rig.restart();
    rig.steps();
    rig.swap("1 g2", "1 g1");
    assert_eq!(rig.table()[3..], ["1 g2 serving", "2 g2 starting", "3 g2 starting"]);
    rig.restart();
    assert_eq!(rig.steps()[..4], ["resolve g3", "g2: superseded by g3", "stop leader 2 g2", "stop leader 3 g2"]);
}

#[test]
fn seed_15_a_first_start_that_is_being_resolved_cannot_be_called_off() {
    let mut rig = Rig::new(SETTINGS);
    assert!(matches!(rig.pool.next_step(rig.now), Some(Step::Resolve { .. })));
    assert!(!rig.group().can_abort());
    assert_eq!(rig.group().abort(), Err(NoAbort::FirstStart));
}
