//! Settings that change while processes serve, and apps that are taken out of the configuration and come back.

use super::*;

fn fixed(processes: u16) -> Settings {
    Settings { processes: Sizes::fixed(processes), ..SETTINGS }
}

#[test]
fn more_processes_are_started_at_once_and_no_other_is_touched() {
    let mut rig = Rig::serving(fixed(1));
    rig.group().configure(fixed(3));
    assert_eq!(rig.steps(), ["spawn 2 g1"]);
    rig.ready("2 g1");
    assert_eq!(rig.steps(), ["serve 2 g1", "spawn 3 g1"]);
    rig.ready("3 g1");
    assert_eq!(rig.steps(), ["serve 3 g1"]);
    assert_eq!(rig.view().processes_wanted, 3);
}

#[test]
fn of_fewer_processes_those_with_the_highest_numbers_drain_and_finish_what_they_have() {
    let mut rig = Rig::serving(fixed(3));
    let one = rig.claim("one");
    let two = rig.claim("two");
    rig.group().configure(fixed(1));
    assert_eq!(rig.steps(), ["drain 2 g1: there are to be fewer", "drain 3 g1: there are to be fewer", "stop leader 3 g1"]);
    rig.exits("3 g1", 0);
    assert_eq!(rig.steps(), ["gone 3 g1"]);
    rig.finish(two);
    assert_eq!(rig.steps(), ["stop leader 2 g1"]);
    rig.exits("2 g1", 0);
    assert_eq!(rig.steps(), ["gone 2 g1"]);
    rig.finish(one);
    assert_eq!((rig.view().processes_wanted, rig.view().processes.len()), (1, 1));
}

#[test]
fn how_many_there_may_be_changes_once_a_walk_has_nothing_between_two_processes() {
    let mut rig = Rig::serving(fixed(2));
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g2", "spawn 1 g2"]);
    rig.group().configure(Settings { surge: 0, ..fixed(1) });
    assert_eq!(rig.steps(), [""; 0], "one more than two is on its way");
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(2.0)[..2], ["serve 1 g2, drain 1 g1", "stop leader 1 g1"]);
    rig.exits("1 g1", 0);
    assert_eq!(rig.steps()[..2], ["gone 1 g1", "drain 2 g1: there are to be fewer"]);
}

#[test]
fn a_shorter_queue_keeps_those_that_wait_and_takes_no_others() {
    let mut rig = Rig::serving(fixed(1));
    let one = rig.claim("one");
    for waiting in ["two", "three", "four"] {
        rig.wait(waiting);
    }
    rig.group().configure(Settings { queue_max: 1, ..fixed(1) });
    let now = rig.now;
    assert!(matches!(rig.group().admit(Wish::Anywhere, WaitId(99).into(), "five", now), Admission::Full("five")));
    let mut served = Vec::new();
    let mut claim = Some(one);
    while let Some(done) = claim.take() {
        if let Some((next, what)) = rig.group().finish(done, Ended::Answered(200), now) {
            served.push(what);
            claim = Some(next);
        }
    }
    assert_eq!(served, ["two", "three", "four"]);
}

#[test]
fn an_app_that_is_taken_out_answers_what_came_in_and_ends() {
    let mut rig = Rig::serving(fixed(1));
    let one = rig.claim("one");
    rig.wait("two");
    let now = rig.now;
    rig.group().take_out(now);
    assert_eq!(rig.steps(), [""; 0], "somebody waits");
    assert_eq!(rig.pool.find("blog"), None, "no command finds it");
    let (two, _) = rig.group().finish(one, Ended::Answered(200), now).unwrap();
    assert_eq!(rig.steps(), ["drain 1 g1"]);
    rig.finish(two);
    assert_eq!(rig.steps(), ["stop leader 1 g1"]);
    rig.exits("1 g1", 0);
    assert_eq!(rig.steps(), ["gone 1 g1"]);
    assert!(rig.group().is_stopped() && !rig.pool.is_stopped(), "others may come");
}

#[test]
fn an_app_that_comes_back_is_served_by_what_is_known_to_work_and_then_by_what_its_root_names() {
    let mut rig = Rig::serving(fixed(1));
    let (one, old, now) = (rig.claim("one"), rig.id("1 g1"), rig.now);
    rig.group().take_out(now);
    assert_eq!(rig.steps(), ["drain 1 g1"]);
    assert_eq!(rig.group().take_back(fixed(1), now), Generation(2));
    assert_eq!(rig.steps(), ["resolve g2", "spawn 1 g1"], "beside the one that still has a request");
    rig.ready("1 g1");
    assert_eq!(rig.steps(), ["serve 1 g1"]);
    rig.finish(one);
    rig.steps();
    rig.group().exited(old, Exit::Status(0), Vec::new(), now);
    rig.group().group_empty(old, now);
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 1 g2"]);
    assert_eq!(rig.pool.find("blog"), Some(rig.group));
}

#[test]
fn an_app_that_comes_back_before_it_ever_served_starts_as_for_the_first_time() {
    let mut rig = Rig::new(fixed(1));
    assert_eq!(rig.steps(), ["resolve g1", "spawn 1 g1"]);
    let now = rig.now;
    rig.group().take_out(now);
    rig.steps();
    rig.exits("1 g1", 0);
    rig.steps();
    assert!(rig.group().is_stopped() && !rig.pool.is_stopped(), "others may come");
    rig.group().take_back(fixed(1), now);
    assert_eq!(rig.steps(), ["resolve g2", "spawn 1 g2"]);
}

#[test]
fn lower_limits_over_all_end_nothing_and_let_nothing_more_begin() {
    let limits = |processes, spawning| Limits { processes, spawning };
    let mut rig = Rig::of(limits(9, 9), [("a", fixed(2)), ("b", fixed(2))]);
    assert_eq!(rig.steps().iter().filter(|line| line.starts_with("spawn")).count(), 2, "the first of each");
    rig.pool.limit(limits(4, 1));
    rig.pool.check().unwrap();
    rig.ready("a/1 g1");
    rig.ready("b/1 g1");
    assert_eq!(rig.steps().iter().filter(|line| line.starts_with("spawn")).count(), 1, "one boots at a time now");
}
