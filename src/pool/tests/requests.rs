//! Slots, the queue, and which process a request goes to.

use super::*;

#[test]
fn a_request_before_the_first_process_waits_and_is_granted_when_it_serves() {
    let mut rig = Rig::new(SETTINGS);
    assert_eq!(rig.steps(), ["resolve g1", "spawn 1 g1"]);
    for what in ["a", "b", "c"] {
        rig.wait(what);
    }
    let now = rig.now;
    assert!(matches!(rig.group().admit(Wish::Anywhere, WaitId(0).into(), "d", now), Admission::Full("d")));
    rig.ready("1 g1");
    assert_eq!(rig.steps(), ["serve 1 g1, grant a", "spawn 2 g1"]);
    rig.ready("2 g1");
    assert_eq!(rig.steps(), ["serve 2 g1, grant b"]);
    assert_eq!(rig.view().queue_refused, 1);
}

#[test]
fn a_slot_that_is_given_back_goes_to_the_first_that_waits() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    let claim = rig.claim("a");
    rig.wait("b");
    rig.wait("c");
    let (claim, next) = rig.finish(claim).unwrap();
    assert_eq!(next, "b");
    let (claim, next) = rig.finish(claim).unwrap();
    assert_eq!(next, "c");
    assert!(rig.finish(claim).is_none());
}

#[test]
fn a_client_that_left_is_not_granted_anything() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    let claim = rig.claim("a");
    let left = rig.wait("b");
    rig.wait("c");
    assert_eq!(rig.group().leave(left), Some("b"));
    assert_eq!(rig.group().leave(left), None);
    assert_eq!(rig.finish(claim).unwrap().1, "c");
}

#[test]
fn what_waits_too_long_is_handed_out_once() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    let _claim = rig.claim("a");
    rig.wait("b");
    let deadline = rig.group().queue_deadline().unwrap();
    assert_eq!(deadline - rig.now, SETTINGS.queue_timeout);
    assert_eq!(rig.group().expire(deadline), ["b"]);
    assert_eq!(rig.group().expire(deadline), [""; 0]);
    assert_eq!((rig.group().queue_deadline(), rig.view().queue_expired), (None, 1));
}

#[test]
fn home_is_kept_while_it_has_a_slot_and_left_when_it_has_none() {
    let mut rig = Rig::serving(Settings { concurrency: 2, ..SETTINGS });
    let (home, now) = (rig.id("2 g1"), rig.now);
    let places: Vec<ProcessId> = (0..3)
        .map(|_| match rig.group().admit(Wish::Home(home), WaitId(0).into(), "a", now) {
            Admission::Claimed(claim, _) => claim.process(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(places, [home, home, rig.id("1 g1")]);
}

#[test]
fn the_least_used_is_chosen_and_equals_take_turns() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(3), concurrency: 9, ..SETTINGS });
    let mut names = Vec::new();
    for _ in 0..6 {
        let claim = rig.claim("a");
        names.push(rig.short(claim.process()));
    }
    names.sort();
    assert_eq!(names, ["1 g1", "1 g1", "2 g1", "2 g1", "3 g1", "3 g1"]);
    // All idle: one after another too, so that a quiet app does not wear out its first process.
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(3), concurrency: 9, ..SETTINGS });
    let mut names = Vec::new();
    for _ in 0..3 {
        let claim = rig.claim("a");
        names.push(rig.short(claim.process()));
        rig.finish(claim);
    }
    names.sort();
    assert_eq!(names, ["1 g1", "2 g1", "3 g1"]);
}

#[test]
fn a_release_with_fewer_slots_gets_its_share_and_no_more() {
    let mut rig = Rig::serving(Settings { concurrency: 9, ..SETTINGS });
    rig.restart();
    rig.steps();
    let new = rig.id("1 g2");
    rig.group().has_slots(new, 2);
    rig.swap("1 g2", "1 g1");
    // What serves keeps the slots that it has.
    rig.group().has_slots(new, 5);
    let mut names = Vec::new();
    for _ in 0..11 {
        let claim = rig.claim("a");
        names.push(rig.short(claim.process()));
    }
    let expected = ["1 g2", "2 g1", "2 g1", "2 g1", "2 g1", "2 g1", "1 g2", "2 g1", "2 g1", "2 g1", "2 g1"];
    assert_eq!(names, expected, "a half is more than four ninths and less than five");
    let slots: Vec<u32> = rig.view().processes.iter().filter(|process| process.state == "serving").map(|process| process.slots).collect();
    assert_eq!(slots, [9, 2]);
    let now = rig.now;
    assert!(matches!(rig.group().admit(Wish::Anywhere, WaitId(0).into(), "a", now), Admission::Queued));
}

#[test]
fn ties_go_to_the_newest_generation() {
    let mut rig = Rig::serving(Settings { concurrency: 9, ..SETTINGS });
    rig.restart();
    rig.steps();
    rig.swap("1 g2", "1 g1");
    for _ in 0..4 {
        let claim = rig.claim("a");
        assert_eq!(rig.short(claim.process()), "1 g2");
        rig.finish(claim);
    }
}

#[test]
fn a_claim_on_a_process_that_is_gone_ends_without_a_trace() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    let claim = rig.claim("a");
    rig.wait("b");
    rig.exits("1 g1", 139);
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 1 g1"]);
    assert!(rig.finish(claim).is_none());
    rig.ready("1 g1");
    assert_eq!(rig.steps(), ["serve 1 g1, grant b"]);
}

#[test]
fn a_session_that_ends_on_a_draining_process_grants_nothing() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    let (claim, other) = (rig.claim("a"), rig.wait("b"));
    rig.restart();
    rig.steps();
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(2.0), ["serve 1 g2, drain 1 g1, grant b"]);
    assert_eq!(rig.group().leave(other), None);
    assert!(!rig.wakes_restart());
    assert!(rig.finish(claim).is_none());
    assert!(rig.wakes_restart());
    assert_eq!(rig.steps(), ["stop leader 1 g1"]);
    assert!(!rig.wakes_restart());
}

#[test]
fn a_connection_without_a_claim_is_hosted_by_what_serves_or_will() {
    let mut rig = Rig::new(SETTINGS);
    assert_eq!(rig.group().host(None), None);
    rig.steps();
    assert_eq!(rig.group().host(None), Some(rig.id("1 g1")));
    rig.ready("1 g1");
    rig.steps();
    let (first, second) = (rig.id("1 g1"), rig.id("2 g1"));
    assert_eq!(rig.group().host(None), Some(first));
    assert_eq!(rig.group().host(Some(first)), Some(second));
    // Full or not: it has no request yet that needs a slot.
    let _claim = rig.claim("a");
    assert_eq!(rig.group().host(None), Some(first));
}

#[test]
fn sessions_are_counted_by_how_they_ended() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    for ended in [Ended::Answered(200), Ended::Answered(404), Ended::Answered(502), Ended::AppFailed, Ended::Cut, Ended::Unused] {
        let (claim, now) = (rig.claim("a"), rig.now);
        rig.group().finish(claim, ended, now);
    }
    let process = &rig.view().processes[0];
    assert_eq!((process.sessions, process.processed, process.errors), (0, 5, 2));
}
