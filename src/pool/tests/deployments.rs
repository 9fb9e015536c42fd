//! What deployments have beyond a plain restart: other aims, calling off, watching, room, holding, one process alone.

use super::*;

fn deploy(directory: &str) -> Aim {
    Aim::Deploy(Arc::from(Path::new(directory)))
}

impl Rig {
    fn ask(&mut self, aim: Aim) -> Generation {
        let now = self.now;
        self.group().restart(Trigger::Command, aim, now)
    }

    fn outcome(&mut self, generation: u32) -> Option<Outcome> {
        self.group().outcome(Generation(generation)).cloned()
    }

    /// So many requests are answered like this by the process of `number`.
    fn answers(&mut self, number: u16, count: usize, status: u16, millis: u64) {
        let (id, _) = self.group().serving_at(Number(number)).unwrap();
        for _ in 0..count {
            let now = self.now;
            let claim = self.group().claim(Wish::Home(id), now).unwrap();
            assert_eq!(claim.process(), id);
            assert!(self.group().finish(claim, Ended::Answered(status), now + Duration::from_millis(millis)).is_none());
        }
    }
}

#[test]
fn requests_for_the_same_release_are_joined_and_one_for_another_supersedes() {
    let mut rig = Rig::serving(SETTINGS);
    assert_eq!((rig.ask(deploy("/a")), rig.ask(deploy("/a"))), (Generation(2), Generation(2)));
    assert_eq!(rig.ask(deploy("/b")), Generation(3));
    assert_eq!(rig.steps(), ["g2: superseded by g3", "resolve g3", "spawn 1 g3"]);
    assert_eq!(rig.outcome(2), Some(Outcome::Superseded { by: Generation(3) }));
}

#[test]
fn an_outcome_is_known_only_when_it_is_announced() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    rig.restart();
    rig.steps();
    rig.ready("1 g2");
    rig.steps_for(2.0);
    rig.exits("1 g1", 0);
    assert!(matches!(rig.pool.next_step(rig.now), Some(Step::Gone { .. })));
    let Some(Step::WalkEnded { ask, outcome, .. }) = rig.pool.next_step(rig.now) else { panic!("the walk has not ended") };
    assert_eq!(rig.outcome(2), None, "it is not written down yet");
    rig.group().announce(ask.generation, outcome);
    assert_eq!(rig.outcome(2), Some(Outcome::Done));
}

#[test]
fn a_walk_that_is_called_off_is_walked_back() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    rig.steps();
    rig.swap("1 g2", "1 g1");
    assert_eq!(rig.group().abort(), Ok(Generation(2)));
    assert_eq!(rig.steps(), ["stop leader 2 g2"]);
    assert_eq!(rig.view().walk.unwrap().kind, "back");
    rig.exits("2 g2", 143);
    assert_eq!(rig.steps(), ["gone 2 g2", "spawn 1 g1"]);
    assert_eq!(rig.group().abort(), Ok(Generation(2)), "it is on its way back already");
    let lines = rig.swap("1 g1", "1 g2");
    assert_eq!(lines.last().unwrap(), "g2: aborted, 1 replaced and rolled back");
    assert_eq!(rig.table(), ["2 g1 serving", "1 g1 serving"]);
    assert!(rig.view().resists.is_none());
    assert_eq!(rig.group().abort(), Err(NoAbort::NothingUnderWay));
}

#[test]
fn what_has_not_begun_is_called_off_at_once_and_a_first_start_is_not() {
    let mut rig = Rig::new(SETTINGS);
    rig.steps();
    assert_eq!(rig.group().abort(), Err(NoAbort::FirstStart));
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    assert_eq!(rig.group().abort(), Ok(Generation(2)));
    assert_eq!(rig.steps(), ["g2: aborted, nothing was replaced"]);
    rig.restart();
    rig.steps();
    assert_eq!(rig.group().abort(), Ok(Generation(3)));
    assert_eq!(rig.steps(), ["stop leader 1 g3"]);
    rig.exits("1 g3", 143);
    assert_eq!(rig.steps(), ["gone 1 g3", "g3: aborted, nothing was replaced"]);
}

const BAKE: BakeConfig = BakeConfig { time: Duration::from_secs(10), max_5xx: 5, max_refused: 50, max_slowdown: 3 };

/// The first process of g2 serves and is watched.
fn baking(settings: Settings) -> Rig {
    let mut rig = Rig::serving(Settings { bake: Some(BAKE), concurrency: 2, ..settings });
    rig.restart();
    rig.steps();
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(2.0), ["serve 1 g2, drain 1 g1", "stop leader 1 g1"]);
    rig.exits("1 g1", 0);
    assert_eq!(rig.steps(), ["gone 1 g1"]);
    assert_eq!(rig.view().walk.unwrap().phase, "bake");
    rig
}

#[test]
fn a_release_that_does_as_well_as_the_old_one_is_let_in_when_its_time_is_over() {
    let mut rig = baking(SETTINGS);
    rig.answers(1, 50, 200, 5);
    rig.answers(2, 50, 200, 5);
    assert_eq!(rig.steps_for(9.9), [""; 0]);
    assert_eq!(rig.steps_for(0.1), ["spawn 2 g2"]);
    assert_eq!(rig.swap("2 g2", "2 g1").last().unwrap(), "g2: every process is replaced");
}

#[test]
fn a_release_that_answers_with_errors_is_taken_back_also_by_resist() {
    for on_failure in [OnFailure::Resist, OnFailure::Rollback] {
        let mut rig = baking(Settings { on_failure, ..SETTINGS });
        rig.answers(2, 50, 200, 5);
        rig.answers(1, 19, 500, 5);
        assert_eq!(rig.steps(), [""; 0], "too few to judge");
        rig.answers(1, 1, 500, 5);
        assert_eq!(rig.steps(), ["spawn 1 g1"]);
        let lines = rig.swap("1 g1", "1 g2");
        assert_eq!(
            lines.last().unwrap(),
            "g2: failed at process 1, 1 replaced and rolled back: did worse than the release before it: \
             20 of its 20 answers failed, 0 of 50 of the release before it in the same time"
        );
        assert_eq!(rig.view().resists.unwrap().generation, Generation(2));
        assert_eq!(rig.table(), ["2 g1 serving", "1 g1 serving"]);
    }
}

/// A process of g1 that was ready with 200 serves, and one of g2 is ready with this answer.
fn turning(settings: Settings, path: &str, status: u16) -> Rig {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..settings });
    rig.group().remember(Some(Answered { generation: Generation(1), path: "/".to_owned(), status: 200 }));
    rig.restart();
    rig.steps();
    let id = rig.id("1 g2");
    rig.group().answered(id, path, status);
    rig.ready("1 g2");
    rig
}

#[test]
fn a_release_that_refuses_what_the_one_before_it_answered_is_done_and_says_so() {
    for (path, status, but) in [
        ("/", 404, ", but GET / is answered 404 where g1 answered 200"),
        ("/", 401, ", but GET / is answered 401 where g1 answered 200"),
        ("/", 302, ""),
        ("/up", 404, ""),
    ] {
        let mut rig = turning(SETTINGS, path, status);
        rig.steps_for(2.0);
        rig.exits("1 g1", 0);
        assert_eq!(rig.steps().last().unwrap(), &format!("g2: every process is replaced{but}"));
        assert_eq!(rig.view().turned.map(|turned| format!(", but {turned}")).unwrap_or_default(), but);
        // What is compared after the next start of rota is how it was; of a release that was better, how it is.
        assert_eq!(rig.group().to_remember().unwrap().status, if but.is_empty() { status } else { 200 });
    }
}

#[test]
fn what_was_refused_before_is_no_news() {
    let mut rig = turning(SETTINGS, "/", 403);
    rig.steps_for(2.0);
    rig.exits("1 g1", 0);
    rig.steps();
    rig.restart();
    rig.steps();
    let id = rig.id("1 g3");
    rig.group().answered(id, "/", 404);
    rig.ready("1 g3");
    rig.steps_for(2.0);
    rig.exits("1 g2", 0);
    assert_eq!(rig.steps().last().unwrap(), "g3: every process is replaced");
    assert_eq!(rig.view().turned, None);
}

#[test]
fn a_watched_release_that_refuses_what_was_answered_never_serves() {
    let mut rig = turning(Settings { bake: Some(BAKE), ..SETTINGS }, "/", 404);
    assert_eq!(rig.steps(), ["stop leader 1 g2"]);
    rig.exits("1 g2", 0);
    let end = "g2: failed at process 1, 0 replaced and rolled back: did worse than the release before it: GET / is answered 404 where g1 answered 200";
    assert_eq!(rig.steps(), ["gone 1 g2", end]);
    assert_eq!(rig.table(), ["1 g1 serving"]);
}

#[test]
fn one_that_is_deployed_before_the_first_has_proved_itself_is_compared_all_the_same() {
    let mut rig = Rig::new(Settings { processes: Sizes::fixed(1), bake: Some(BAKE), ..SETTINGS });
    rig.steps();
    let id = rig.id("1 g1");
    rig.group().answered(id, "/", 200);
    rig.ready("1 g1");
    rig.steps();
    rig.after(1.0);
    rig.restart();
    rig.steps();
    let id = rig.id("1 g2");
    rig.group().answered(id, "/", 400);
    rig.ready("1 g2");
    let mut lines = rig.steps_for(1.5);
    rig.exits("1 g2", 0);
    lines.extend(rig.steps());
    assert!(lines.last().unwrap().ends_with("GET / is answered 400 where g1 answered 200"), "{lines:?}");
    assert_eq!(rig.table(), ["1 g1 serving"]);
}

#[test]
fn continue_says_once_that_it_goes_on_past_a_refusal() {
    let mut rig = turning(Settings { bake: Some(BAKE), on_failure: OnFailure::Continue, ..SETTINGS }, "/", 404);
    rig.steps_for(1.0);
    let (_, failure, ago) = rig.view().last_failure.unwrap();
    assert!(matches!(failure.kind, FailureKind::Baked(_)) && ago >= Duration::from_secs(1), "{failure} {ago:?}");
}

#[test]
fn continue_goes_on_past_a_breach() {
    let mut rig = baking(Settings { on_failure: OnFailure::Continue, ..SETTINGS });
    rig.answers(1, 20, 500, 5);
    assert_eq!(rig.steps(), ["spawn 2 g2"]);
    assert!(matches!(rig.view().last_failure.unwrap().1.kind, FailureKind::Baked(_)));
}

#[test]
fn a_process_that_crashes_while_it_is_watched_is_a_failed_release() {
    let mut rig = baking(SETTINGS);
    rig.after(5.0);
    rig.exits("1 g2", 1);
    let lines = rig.steps();
    assert!(lines[0].starts_with("g2: failed at process 1, 0 replaced: exited with status 1"), "{lines:?}");
    assert_eq!(lines[1..], ["gone 1 g2", "spawn 1 g1"]);
}

#[test]
fn a_single_process_is_watched_alone_before_the_walk_is_done() {
    let mut rig = baking(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    assert_eq!(rig.steps_for(9.9), [""; 0]);
    assert_eq!(rig.steps_for(0.1), ["g2: every process is replaced"]);
}

#[test]
fn without_surge_the_old_process_goes_first_and_its_place_waits_for_the_new_one() {
    let mut rig = Rig::serving(Settings { surge: 0, ..SETTINGS });
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g2", "drain 1 g1", "stop leader 1 g1"]);
    rig.exits("1 g1", 0);
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 1 g2"]);
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(2.0), ["serve 1 g2", "drain 2 g1", "stop leader 2 g1"]);
    rig.exits("2 g1", 0);
    assert_eq!(rig.steps(), ["gone 2 g1", "spawn 2 g2"]);
    rig.ready("2 g2");
    assert_eq!(rig.steps_for(2.0), ["serve 2 g2", "g2: every process is replaced"]);
}

#[test]
fn without_surge_a_release_that_fails_costs_one_place_for_one_try() {
    let mut rig = Rig::serving(Settings { surge: 0, ..SETTINGS });
    rig.restart();
    rig.steps();
    rig.exits("1 g1", 0);
    rig.steps();
    rig.exits("1 g2", 1);
    let lines = rig.steps();
    assert!(lines[0].starts_with("g2: failed at process 1, 0 replaced"), "{lines:?}");
    assert_eq!(lines[1..], ["gone 1 g2", "spawn 1 g1"]);
}

#[test]
fn with_a_larger_surge_several_boot_once_the_release_is_proven() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(4), surge: 2, ..SETTINGS });
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g2", "spawn 1 g2"]);
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(2.0), ["serve 1 g2, drain 1 g1", "stop leader 1 g1", "spawn 2 g2"]);
    rig.exits("1 g1", 0);
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 3 g2"]);
    rig.ready("3 g2");
    assert_eq!(rig.steps(), ["serve 3 g2, drain 3 g1", "stop leader 3 g1"]);
}

#[test]
fn short_memory_lets_the_old_process_go_first() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    rig.memory = Some("12 MiB left".to_owned());
    assert_eq!(rig.steps(), ["resolve g2", "no memory for 1 g2: 12 MiB left", "drain 1 g1", "stop leader 1 g1"]);
    assert_eq!(rig.view().walk.unwrap().makes_room.as_deref(), Some("12 MiB left"));
    rig.exits("1 g1", 0);
    rig.memory = Some("there is no older one to go".to_owned());
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 1 g2"]);
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(2.0), ["serve 1 g2", "spawn 2 g2"], "each start looks anew");
}

#[test]
fn all_at_once_takes_everything_out_and_starts_everything() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(2), surge: 1, ..SETTINGS });
    rig.ask(Aim::AllAtOnce);
    assert_eq!(rig.steps(), ["resolve g2", "drain 1 g1", "stop leader 1 g1", "drain 2 g1", "stop leader 2 g1", "spawn 1 g2"]);
    rig.exits("1 g1", 0);
    rig.exits("2 g1", 0);
    assert_eq!(rig.steps(), ["gone 1 g1", "gone 2 g1", "spawn 2 g2"]);
    rig.wait("a");
    rig.ready("2 g2");
    assert_eq!(rig.steps(), ["serve 2 g2, grant a"]);
    rig.ready("1 g2");
    rig.steps();
    assert_eq!(rig.steps_for(2.0), ["g2: every process is replaced"]);
}

#[test]
fn all_at_once_may_be_overtaken_while_all_boot() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(2), surge: 0, ..SETTINGS });
    rig.ask(Aim::AllAtOnce);
    rig.steps();
    rig.exits("1 g1", 0);
    rig.exits("2 g1", 0);
    rig.steps();
    assert_eq!(rig.table(), ["1 g2 starting", "2 g2 starting"]);
    rig.restart();
    let lines = rig.steps();
    assert!(lines.contains(&"g2: superseded by g3".to_owned()), "{lines:?}");
    rig.exits("1 g2", 0);
    rig.exits("2 g2", 0);
    rig.steps();
    rig.ready("1 g1");
    rig.steps();
    assert_eq!(rig.table(), ["1 g1 serving", "2 g3 starting"], "the release that is known to work serves at once");
}

#[test]
fn a_walk_that_is_called_off_while_memory_is_looked_at_makes_no_room() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    rig.steps();
    rig.ready("1 g2");
    rig.after(2.0);
    let id = loop {
        match rig.pool.next_step(rig.now) {
            Some(Step::Spawn { id, .. }) => break id,
            Some(step) => drop(rig.carry_out(step)),
            None => rig.exits("1 g1", 0),
        }
    };
    rig.group().abort().unwrap();
    assert!(rig.group().postpone(id, "short".to_owned()));
    assert_eq!(rig.steps(), ["spawn 1 g1"]);
    rig.swap("1 g1", "1 g2");
    assert_eq!(rig.group().outcome(Generation(2)), Some(&Outcome::Aborted { replaced: 1 }));
}

#[test]
fn while_an_app_is_held_requests_wait_and_afterwards_they_are_served_in_their_order() {
    let mut rig = Rig::serving(SETTINGS);
    let claim = rig.claim("in hand");
    let now = rig.now;
    assert!(rig.group().pause(now + Duration::from_secs(20), now));
    rig.wait("a");
    rig.wait("b");
    rig.wait("c");
    assert_eq!(rig.group().sessions(), 1);
    assert!(rig.finish(claim).is_none(), "its slot is not granted");
    assert_eq!(rig.group().sessions(), 0);
    assert_eq!(rig.steps(), [""; 0]);
    assert!(rig.group().resume(now));
    assert_eq!(rig.steps(), ["grant a b"]);
    assert!(!rig.group().resume(now), "it is not paused any more");
}

#[test]
fn a_hold_ends_by_itself() {
    let mut rig = Rig::serving(SETTINGS);
    let now = rig.now;
    rig.group().pause(now + Duration::from_secs(20), now);
    rig.wait("a");
    assert_eq!(rig.steps_for(19.9), [""; 0]);
    assert_eq!(rig.steps_for(0.1), ["grant a"]);
}

#[test]
fn a_walk_goes_on_while_the_app_is_held() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    let now = rig.now;
    rig.group().pause(now + Duration::from_secs(60), now);
    rig.wait("a");
    rig.restart();
    rig.steps();
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(2.0), ["serve 1 g2, drain 1 g1", "stop leader 1 g1"], "nothing is granted");
    let now = rig.now;
    rig.group().resume(now);
    assert_eq!(rig.steps(), ["grant a"]);
}

#[test]
fn one_process_is_replaced_by_one_of_the_same_release() {
    let mut rig = Rig::serving(SETTINGS);
    let old = rig.id("2 g1");
    assert_eq!(rig.group().recycle(Number(2)), Some(old));
    assert_eq!(rig.steps(), ["spawn 2 g1"]);
    rig.ready("2 g1");
    assert_eq!(rig.steps(), ["serve 2 g1, drain 2 g1", "stop leader 2 g1"]);
    let now = rig.now;
    rig.group().exited(old, Exit::Status(0), Vec::new(), now);
    rig.group().group_empty(old, now);
    assert_eq!(rig.steps(), ["gone 2 g1"]);
    assert!(!rig.group().has(old));
    assert_eq!(rig.table(), ["1 g1 serving", "2 g1 serving"]);
    assert_eq!(rig.steps_for(60.0), [""; 0]);
}

#[test]
fn the_time_that_is_left_is_told_after_the_last_walk_s_pace() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    rig.steps();
    rig.after(1.0);
    rig.swap("1 g2", "1 g1");
    rig.after(1.0);
    rig.swap("2 g2", "2 g1");
    rig.restart();
    rig.steps();
    assert_eq!(rig.view().walk.unwrap().left, Some(Duration::from_secs(6)));
    rig.after(2.0);
    assert_eq!(rig.view().walk.unwrap().left, Some(Duration::from_secs(4)));
    rig.after(9.0);
    assert_eq!(rig.view().walk.unwrap().left, Some(Duration::from_secs(3)), "one is not begun yet");
}

/// A release is put into the directory of the good one, and does not start.
fn fails_in_place(settings: Settings) -> Rig {
    fails_in_place_with(settings, FailureKind::Thread("gone".to_owned()))
}

fn fails_in_place_with(settings: Settings, kind: FailureKind) -> Rig {
    let mut rig = Rig::serving(settings);
    rig.restart();
    rig.steps();
    rig.group().goes_in_place(Generation(2));
    rig.start_failed("1 g2", kind);
    let steps = rig.steps();
    assert!(steps.iter().any(|step| step.starts_with("g2: failed at process 1, 0 replaced")), "{steps:?}");
    rig.exits("1 g2", 1);
    rig.steps();
    rig
}

#[test]
fn what_serves_out_of_a_directory_that_is_gone_is_kept_by_every_rule() {
    let sizes = Sizes { min: 1, max: 2, idle: Duration::from_secs(5) };
    let lifespan = Lifespan {
        age: Some(Duration::from_secs(100)),
        memory: Some(1 << 30),
        requests: Some(1),
        memory_hard: Some(1 << 31),
        processes: None,
    };
    for on_failure in [OnFailure::Resist, OnFailure::Rollback] {
        let mut rig = fails_in_place(Settings { on_failure, processes: sizes, lifespan, ..SETTINGS });
        assert_eq!(rig.group().loss(), Some(Lost::InPlace(Generation(2))));
        assert!(rig.group().saw_directory(Generation(1), Some(Lost::Gone)));
        let (id, now) = (rig.id("1 g1"), rig.now);
        rig.group().weighed(id, 1 << 30, now);
        let claim = rig.claim("one");
        rig.finish(claim);
        assert_eq!(rig.group().recycle(Number(1)), None);
        assert_eq!(rig.steps_for(1_000.0), [""; 0], "{on_failure:?}");
        assert_eq!(rig.table(), ["1 g1 serving"]);
        // What nobody could do without ends it all the same.
        let now = rig.now;
        assert!(rig.group().weighed(id, 1 << 31, now).is_some());
    }
}

#[test]
fn what_was_to_be_replaced_stays_when_its_directory_goes_and_is_replaced_by_the_next_release() {
    let mut rig = Rig::serving(SETTINGS);
    rig.group().recycle(Number(1));
    assert!(rig.group().saw_directory(Generation(1), Some(Lost::Gone)));
    assert!(!rig.group().saw_directory(Generation(1), Some(Lost::Gone)), "no news");
    assert_eq!(rig.steps_for(10.0), [""; 0]);
    assert!(rig.group().saw_directory(Generation(1), None));
    assert!(rig.group().saw_directory(Generation(1), Some(Lost::Replaced)));
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g2", "spawn 1 g2"]);
    for (new, old) in [("1 g2", "1 g1"), ("2 g2", "2 g1")] {
        rig.ready(new);
        rig.steps_for(2.0);
        rig.exits(old, 0);
        rig.steps_for(2.0);
    }
    assert_eq!(rig.group().good(), Some(Generation(2)));
    assert_eq!(rig.group().loss(), None);
    assert!(!rig.group().saw_directory(Generation(1), Some(Lost::Gone)), "it was looked at before");
}

#[test]
fn after_a_failure_in_place_what_is_worn_is_replaced_by_what_has_proved_itself_and_that_shows_that_the_files_are_good() {
    let sizes = Sizes { min: 1, max: 2, idle: Duration::from_secs(5) };
    let lifespan = Lifespan { requests: Some(1), ..UNLIMITED };
    let mut rig = fails_in_place(Settings { processes: sizes, lifespan, ..SETTINGS });
    let said = "g1 and g2 are the same directory /srv, from which the last start failed; what dies is started from what is there now; ";
    let say = |rig: &mut Rig| rig.group().say_loss("/srv");
    assert_eq!(say(&mut rig).unwrap(), format!("{said}1 process that serves is kept until a start succeeds"));
    assert_eq!(rig.steps_for(1_000.0), [""; 0], "idleness ends nothing");
    let old = rig.id("1 g1");
    let claim = rig.claim("one");
    rig.finish(claim);
    assert_eq!(rig.steps(), ["spawn 1 g1"]);
    // A failing one costs nothing, and where memory is short it is the new one that does not come.
    let new = rig.id("1 g1");
    assert_ne!(new, old);
    assert!(!rig.group().postpone(new, "short".to_owned()));
    assert!(rig.group().is_one_more(new));
    rig.start_failed("1 g1", FailureKind::Thread("gone".to_owned()));
    assert!(rig.group().serving_at(Number(1)).is_some_and(|(serves, _)| serves == old));
    assert!(rig.group().loss().is_some());
    let now = rig.now;
    rig.group().exited(new, Exit::Status(1), Vec::new(), now);
    rig.group().group_empty(new, now);
    assert!(rig.steps_for(3.0).contains(&"spawn 1 g1".to_owned()));
    rig.ready("1 g1");
    assert_eq!(rig.steps(), [""; 0], "it has not proved itself");
    assert!(rig.group().serving_at(Number(1)).is_some_and(|(serves, _)| serves == old));
    let steps = rig.steps_for(60.0);
    assert!(steps.contains(&"serve 1 g1, drain 1 g1".to_owned()), "{steps:?}");
    assert_eq!((rig.group().loss(), rig.group().take_mended(), rig.group().take_mended()), (None, Some(Generation(2)), None));
}

#[test]
fn what_comes_back_after_a_crash_is_not_what_was_there_before_and_lifts_the_loss_when_it_has_proved_itself() {
    let mut rig = fails_in_place(SETTINGS);
    let kept = |rig: &mut Rig| rig.group().say_loss("/srv").unwrap();
    assert!(kept(&mut rig).ends_with("2 processes that serve are kept until a start succeeds"));
    rig.exits("2 g1", 1);
    assert!(rig.steps_for(60.0).contains(&"spawn 2 g1".to_owned()));
    rig.ready("2 g1");
    assert_eq!(rig.steps(), ["serve 2 g1"]);
    assert!(kept(&mut rig).ends_with("; 1 process that serves is kept until a start succeeds"));
    rig.steps_for(60.0);
    assert_eq!(rig.group().loss(), None);
    // A directory that is gone is no matter of a start.
    assert!(rig.group().saw_directory(Generation(1), Some(Lost::Gone)));
    rig.steps_for(60.0);
    assert_eq!(rig.group().loss(), Some(Lost::Gone));
}

#[test]
fn a_cause_that_is_named_is_said_before_what_is_kept() {
    let held = FailureKind::Thread("gone".to_owned()).with(Some(Obstacle::Held("port 8080 is held by process 1 of g1".to_owned())));
    let rig = fails_in_place_with(SETTINGS, held);
    let said = rig.pool.groups().next().unwrap().say_loss("/srv").unwrap();
    let cause = "port 8080 is held by process 1 of g1; 2 processes that serve are kept until a start succeeds";
    assert!(said.starts_with("g2 failed: ") && said.ends_with(cause), "{said}");
}
