//! Several apps on one machine: who may start a process, and who makes room. The last stories were found by the model, under the seeds that
//! they name.

use super::*;

const IDLE: Duration = Duration::from_secs(300);

fn between(min: u16, max: u16) -> Settings {
    Settings { processes: Sizes { min, max, idle: IDLE }, ..SETTINGS }
}

fn at_most(processes: usize) -> Limits {
    Limits { processes, ..Limits::default() }
}

impl Rig {
    /// Everything that is started becomes ready at once and proves itself, until nothing is to be done.
    fn settle(&mut self) {
        loop {
            let lines = self.steps_for(2.0);
            let started = lines.iter().filter_map(|line| line.strip_prefix("spawn "));
            started.clone().for_each(|name| self.ready(name));
            for name in lines.iter().filter_map(|line| line.strip_prefix("stop leader ")) {
                self.exits(name, 0);
            }
            if lines.is_empty() {
                return;
            }
        }
    }

    fn held(&mut self, app: &str) -> Option<Limit> {
        self.turn_to(app);
        self.view().held.map(|(limit, _)| limit)
    }
}

#[test]
fn ten_apps_boot_no_more_at_a_time_than_may_and_the_first_ready_serves_first() {
    let limits = Limits { spawning: 2, ..Limits::default() };
    let apps = ["a", "b", "c", "d", "e"].map(|name| (name, between(1, 1)));
    let mut rig = Rig::of(limits, apps);
    let lines = rig.steps();
    assert_eq!(lines[5..], ["spawn a/1 g1", "spawn b/1 g1"]);
    assert_eq!(rig.held("c"), Some(Limit::Spawning));
    rig.ready("b/1 g1");
    assert_eq!(rig.steps(), ["serve b/1 g1", "spawn c/1 g1"]);
    rig.exits("a/1 g1", 1);
    assert_eq!(rig.steps(), ["gone a/1 g1", "spawn d/1 g1"]);
}

#[test]
fn whom_a_request_waits_for_boots_before_the_others() {
    let limits = Limits { spawning: 1, ..Limits::default() };
    let mut rig = Rig::of(limits, ["a", "b", "c"].map(|name| (name, between(1, 1))));
    rig.turn_to("c");
    rig.wait("for c");
    assert_eq!(rig.steps()[3..], ["spawn c/1 g1"]);
    rig.ready("c/1 g1");
    assert_eq!(rig.steps(), ["serve c/1 g1, grant for c", "spawn a/1 g1"]);
}

#[test]
fn the_idle_process_of_another_app_makes_room() {
    let mut rig = Rig::of(at_most(2), [("a", between(0, 2)), ("b", between(0, 2))]);
    rig.steps();
    for name in ["one", "two"] {
        rig.wait(name);
    }
    rig.steps();
    rig.ready("a/1 g1");
    let (_, mut claims) = rig.steps_and_claims();
    rig.steps_for(2.0);
    rig.ready("a/2 g1");
    claims.extend(rig.steps_and_claims().1);
    rig.steps_for(2.0);
    rig.turn_to("b");
    rig.wait("three");
    assert_eq!(rig.steps(), [""; 0], "both work");
    assert_eq!(rig.held("b"), Some(Limit::Processes));
    rig.turn_to("a");
    assert!(!rig.wakes_restart());
    rig.finish(claims.pop().unwrap());
    assert!(rig.wakes_restart(), "somebody must be told");
    assert_eq!(rig.steps(), ["drain a/2 g1: makes room for b", "stop leader a/2 g1"]);
    assert_eq!(rig.steps_for(5.0), [""; 0], "it is counted until it is gone, and no second one goes for the same request");
    rig.exits("a/2 g1", 0);
    assert_eq!(rig.steps(), ["gone a/2 g1", "spawn b/1 g1"]);
    rig.ready("b/1 g1");
    assert_eq!(rig.steps(), ["serve b/1 g1, grant three"]);
}

#[test]
fn an_app_without_a_process_goes_before_one_that_wants_more() {
    let mut rig = Rig::of(at_most(2), [("a", between(1, 3)), ("b", between(0, 1)), ("c", between(0, 1))]);
    rig.settle();
    rig.turn_to("c");
    rig.wait("for c");
    rig.steps();
    rig.ready("c/1 g1");
    let (_, mut claims) = rig.steps_and_claims();
    rig.steps_for(2.0);
    rig.turn_to("a");
    let _one = rig.claim("one");
    rig.wait("two");
    assert_eq!(rig.steps(), [""; 0]);
    rig.after(1.0);
    rig.turn_to("b");
    rig.wait("for b");
    assert_eq!(rig.steps(), [""; 0]);
    rig.finish(claims.remove(0));
    assert_eq!(rig.steps(), ["drain c/1 g1: makes room for b", "stop leader c/1 g1"]);
    rig.exits("c/1 g1", 0);
    assert_eq!(rig.steps(), ["gone c/1 g1", "spawn b/1 g1"]);
}

#[test]
fn what_died_finds_its_place_however_many_wait() {
    let mut rig = Rig::of(at_most(2), [("a", between(1, 3)), ("b", between(1, 1))]);
    rig.settle();
    rig.turn_to("a");
    let _one = rig.claim("one");
    rig.wait("two");
    assert_eq!(rig.steps(), [""; 0]);
    rig.exits("b/1 g1", 137);
    assert_eq!(rig.steps(), ["gone b/1 g1", "spawn b/1 g1"]);
}

#[test]
fn a_restart_where_there_is_no_room_takes_the_old_one_out_first() {
    let mut rig = Rig::of(at_most(2), [("a", between(1, 1)), ("b", between(1, 1))]);
    rig.settle();
    rig.turn_to("a");
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g2", "drain a/1 g1", "stop leader a/1 g1"]);
    assert_eq!(rig.view().walk.unwrap().makes_room.as_deref(), Some("max_processes = 2"));
    rig.exits("a/1 g1", 0);
    assert_eq!(rig.steps(), ["gone a/1 g1", "spawn a/1 g2"]);
    rig.ready("a/1 g2");
    assert_eq!(rig.steps_for(2.0), ["serve a/1 g2", "g2: every process is replaced"]);
}

#[test]
fn the_place_of_one_that_left_for_its_replacement_is_kept() {
    let mut rig = Rig::of(at_most(2), [("a", between(1, 1)), ("b", between(1, 3))]);
    rig.settle();
    rig.turn_to("b");
    let _one = rig.claim("one");
    rig.wait("two");
    rig.steps();
    rig.turn_to("a");
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g2", "drain a/1 g1", "stop leader a/1 g1"]);
    rig.exits("a/1 g1", 0);
    assert_eq!(rig.steps(), ["gone a/1 g1", "spawn a/1 g2"], "b has waited for longer");
}

#[test]
fn a_restart_takes_the_room_of_an_idle_process_before_its_own() {
    let mut rig = Rig::of(at_most(2), [("a", between(1, 1)), ("b", between(0, 1))]);
    rig.settle();
    rig.turn_to("b");
    rig.wait("for b");
    rig.steps();
    rig.ready("b/1 g1");
    let (_, mut claims) = rig.steps_and_claims();
    rig.steps_for(2.0);
    rig.finish(claims.remove(0));
    rig.turn_to("a");
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g2", "drain b/1 g1: makes room for a", "stop leader b/1 g1"]);
    rig.exits("b/1 g1", 0);
    assert_eq!(rig.steps(), ["gone b/1 g1", "spawn a/1 g2"]);
}

#[test]
fn a_request_that_leaves_is_not_waited_for_any_more() {
    let mut rig = Rig::of(at_most(2), [("a", between(1, 2)), ("b", between(1, 1))]);
    rig.settle();
    rig.turn_to("a");
    let _one = rig.claim("one");
    let two = rig.wait("two");
    assert_eq!(rig.steps(), [""; 0]);
    assert_eq!(rig.held("a"), Some(Limit::Processes));
    rig.group().leave(two);
    assert!(rig.wakes_restart());
    assert_eq!(rig.steps(), [""; 0]);
    assert_eq!(rig.held("a"), None);
}

#[test]
fn two_apps_that_take_turns_in_one_place_are_both_served() {
    let mut rig = Rig::of(at_most(1), [("a", between(0, 1)), ("b", between(0, 1))]);
    rig.steps();
    rig.turn_to("a");
    rig.wait("for a");
    rig.turn_to("b");
    rig.wait("for b");
    assert_eq!(rig.steps(), ["spawn a/1 g1"]);
    rig.ready("a/1 g1");
    let (lines, mut claims) = rig.steps_and_claims();
    assert_eq!(lines, ["serve a/1 g1, grant for a"], "what was started for a request serves it");
    assert_eq!(rig.steps_for(2.0), ["g1: every process is replaced"]);
    rig.finish(claims.remove(0));
    assert_eq!(rig.steps(), ["drain a/1 g1: makes room for b", "stop leader a/1 g1"]);
    rig.exits("a/1 g1", 0);
    assert_eq!(rig.steps(), ["gone a/1 g1", "spawn b/1 g1"]);
}

#[test]
fn seed_373_one_more_that_waits_for_room_holds_up_no_restart() {
    let mut rig = Rig::of(at_most(2), [("a", between(1, 2)), ("b", between(1, 1))]);
    rig.settle();
    rig.turn_to("a");
    let one = rig.claim("one");
    rig.wait("two");
    assert_eq!(rig.steps(), [""; 0]);
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g2", "drain a/1 g1"]);
    rig.finish(one);
    assert_eq!(rig.steps(), ["stop leader a/1 g1"]);
}

#[test]
fn seed_40381_one_that_is_tried_does_not_let_another_go() {
    let mut rig = Rig::of(at_most(4), [("a", between(2, 3)), ("b", between(0, 2))]);
    rig.settle();
    rig.turn_to("a");
    let (_one, two) = (rig.claim("one"), rig.claim("two"));
    rig.wait("three");
    assert_eq!(rig.steps(), ["spawn a/3 g1"]);
    rig.turn_to("b");
    rig.wait("first");
    assert_eq!(rig.steps(), ["spawn b/1 g1"]);
    rig.wait("second");
    rig.ready("b/1 g1");
    assert_eq!(rig.steps(), ["serve b/1 g1, grant first"]);
    // The request that the third was for goes to the second, which has nothing to do afterwards.
    let (three, _) = rig.finish(two).unwrap();
    rig.finish(three);
    assert_eq!(rig.steps(), [""; 0]);
    rig.exits("a/3 g1", 1);
    assert_eq!(rig.steps(), ["gone a/3 g1", "spawn b/2 g1"]);
    rig.turn_to("a");
    assert_eq!(rig.view().processes_wanted, 2);
}

/// Those that the steps start, in their order.
fn started(lines: &[String]) -> Vec<&str> {
    lines.iter().filter_map(|line| line.strip_prefix("spawn ")).collect()
}

#[test]
fn a_boot_that_is_late_gives_its_place_to_others_and_no_more_than_twice_as_many_boot() {
    let limits = Limits { spawning: 1, ..Limits::default() };
    let mut rig = Rig::of(limits, ["a", "b", "c"].map(|name| (name, between(1, 1))));
    assert_eq!(started(&rig.steps()), ["a/1 g1"]);
    assert_eq!(rig.steps_for(9.9), [""; 0]);
    assert_eq!(rig.held("b"), Some(Limit::Spawning));
    assert_eq!(rig.steps_for(0.2), ["spawn b/1 g1"]);
    assert_eq!(rig.steps_for(40.0), [""; 0], "two boot");
    assert_eq!(rig.held("c"), Some(Limit::Spawning));
    // It has gone on all the time.
    rig.ready("a/1 g1");
    assert_eq!(rig.steps(), ["serve a/1 g1", "spawn c/1 g1"]);
}

#[test]
fn how_long_a_boot_may_take_is_learned_from_those_that_went_well() {
    let limits = Limits { spawning: 1, ..Limits::default() };
    let mut rig = Rig::of(limits, ["a", "b"].map(|name| (name, between(1, 1))));
    rig.steps();
    rig.after(0.5);
    rig.ready("a/1 g1");
    rig.steps();
    rig.after(30.0);
    rig.ready("b/1 g1");
    rig.steps_for(5.0);
    rig.exits("a/1 g1", 1);
    assert_eq!(started(&rig.steps()), ["a/1 g1"]);
    rig.exits("b/1 g1", 1);
    assert_eq!(started(&rig.steps_for(1.9)), [""; 0]);
    assert_eq!(started(&rig.steps_for(0.2)), ["b/1 g1"], "twice half a second, and one");
    // What takes half a minute is given that.
    rig.turn_to("a");
    rig.start_failed("a/1 g1", FailureKind::Thread("gone".to_owned()));
    rig.exits("a/1 g1", 1);
    assert_eq!(started(&rig.steps_for(55.0)), [""; 0]);
}

#[test]
fn apps_that_hang_at_boot_hold_up_neither_the_repair_of_one_that_served_nor_its_restart() {
    let limits = Limits { spawning: 2, ..Limits::default() };
    let mut rig = Rig::of(limits, ["a", "b", "c"].map(|name| (name, between(1, 1))));
    rig.steps();
    rig.ready("a/1 g1");
    rig.steps_for(5.0);
    // Both are tried again and again.
    for _ in 0..3 {
        for name in ["b/1 g1", "c/1 g1"] {
            rig.start_failed(name, FailureKind::NotReady { after: Duration::from_secs(60), last: String::new() });
            rig.steps();
            rig.exits(name, 1);
        }
        assert_eq!(started(&rig.steps_for(61.0)), ["b/1 g1", "c/1 g1"]);
    }
    rig.turn_to("a");
    rig.restart();
    assert_eq!(started(&rig.steps()), ["a/1 g2"]);
    rig.exits("a/1 g1", 1);
    assert_eq!(started(&rig.steps()), [""; 0], "what comes in will serve there");
    rig.ready("a/1 g2");
    rig.steps_for(5.0);
    rig.exits("a/1 g2", 1);
    assert_eq!(started(&rig.steps()), ["a/1 g2"]);
}

#[test]
fn what_served_boots_before_what_never_did_and_a_try_after_a_failure_comes_last() {
    let limits = Limits { spawning: 1, ..Limits::default() };
    let mut rig = Rig::of(limits, ["a", "b", "c", "d"].map(|name| (name, between(1, 1))));
    rig.turn_to("d");
    rig.wait("for d");
    rig.steps();
    for name in ["d/1 g1", "a/1 g1"] {
        rig.ready(name);
        rig.steps();
    }
    // d has proved itself. b boots, c and d wait; b fails and is to be tried again soon.
    rig.steps_for(3.0);
    rig.exits("d/1 g1", 1);
    rig.steps();
    rig.turn_to("b");
    rig.wait("for b");
    rig.exits("b/1 g1", 1);
    let mut order = Vec::new();
    for _ in 0..3 {
        let name = started(&rig.steps_for(0.6))[0].to_owned();
        rig.ready(&name);
        order.push(name);
    }
    assert_eq!(order, ["d/1 g1", "c/1 g1", "b/1 g1"]);
}
