//! Requests that are for the process that their client was with.

use super::*;

impl Rig {
    fn asks_for(&mut self, number: u16, what: &'static str) -> Admission<&'static str> {
        let (id, now) = (WaitId(self.waits), self.now);
        self.waits += 1;
        self.group().admit(Wish::Number(Number(number)), id.into(), what, now)
    }

    /// It gets a slot at once: on whom.
    fn gets(&mut self, number: u16, what: &'static str) -> (Claim, String) {
        match self.asks_for(number, what) {
            Admission::Claimed(claim, _) => {
                let process = self.short(claim.process());
                (claim, process)
            }
            other => panic!("{what} got no slot: {other:?}"),
        }
    }

    fn queues(&mut self, number: u16, what: &'static str) {
        let admission = self.asks_for(number, what);
        assert!(matches!(admission, Admission::Queued), "{admission:?}");
    }
}

#[test]
fn a_client_comes_back_to_its_process_whatever_the_others_have_free() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(3), concurrency: 5, ..SETTINGS });
    let on: Vec<String> = (0..5).map(|_| rig.gets(2, "a").1).collect();
    assert_eq!(on, ["2 g1"; 5]);
}

#[test]
fn it_waits_for_its_process_and_others_pass_it_by() {
    let mut rig = Rig::serving(SETTINGS);
    let (first, _) = rig.gets(1, "a");
    rig.queues(1, "b");
    let other = rig.claim("c");
    assert_eq!(rig.short(other.process()), "2 g1", "who is for none has what is free");
    rig.wait("d");
    assert_eq!(rig.finish(other).map(|(_, what)| what), Some("d"), "b came first, and is not for this one");
    assert_eq!(rig.finish(first).map(|(_, what)| what), Some("b"));
}

#[test]
fn among_those_that_may_have_a_slot_the_first_that_came_has_it() {
    let mut rig = Rig::serving(SETTINGS);
    let ((one, _), (two, _)) = (rig.gets(1, "a"), rig.gets(2, "b"));
    rig.queues(2, "c");
    rig.wait("d");
    rig.queues(1, "e");
    let (one, what) = rig.finish(one).unwrap();
    assert_eq!(what, "d");
    assert_eq!(rig.finish(two).map(|(_, what)| what), Some("c"));
    assert_eq!(rig.finish(one).map(|(_, what)| what), Some("e"));
}

#[test]
fn the_successor_of_its_process_takes_it_over_waiting_or_not() {
    let mut rig = Rig::serving(SETTINGS);
    let (held, _) = rig.gets(1, "a");
    rig.queues(1, "b");
    rig.restart();
    rig.steps();
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(2.0), ["serve 1 g2, drain 1 g1, grant b"]);
    assert!(rig.finish(held).is_none());
    rig.queues(1, "c");
}

#[test]
fn without_its_process_it_goes_where_there_is_room() {
    let mut rig = Rig::serving(SETTINGS);
    rig.exits("1 g1", 137);
    assert_eq!(rig.gets(1, "a").1, "2 g1");
    for number in [0, 3, u16::MAX] {
        rig.queues(number, "b");
    }
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 1 g1"]);
    rig.ready("1 g1");
    assert_eq!(rig.steps(), ["serve 1 g1, grant b"], "a number that there is not binds nothing");
}

#[test]
fn what_waited_for_a_process_that_ends_waits_for_any_in_its_turn() {
    let mut rig = Rig::serving(SETTINGS);
    let ((_lost, _), (held, _)) = (rig.gets(1, "a"), rig.gets(2, "b"));
    rig.queues(1, "c");
    rig.wait("d");
    rig.leader_exits("1 g1", 137);
    rig.steps();
    assert_eq!(rig.finish(held).map(|(_, what)| what), Some("c"));
}

#[test]
fn what_waited_for_a_process_that_ends_has_a_free_slot_at_once() {
    let mut rig = Rig::serving(SETTINGS);
    let (_lost, _) = rig.gets(1, "a");
    rig.queues(1, "b");
    rig.exits("1 g1", 137);
    assert_eq!(rig.steps(), ["grant b", "gone 1 g1", "spawn 1 g1"]);
}

#[test]
fn what_waits_for_one_process_keeps_the_bounds_of_the_queue() {
    let mut rig = Rig::serving(SETTINGS);
    let _held = rig.gets(1, "a");
    (0..3).for_each(|_| rig.queues(1, "b"));
    assert!(matches!(rig.asks_for(1, "c"), Admission::Full("c")));
    rig.after(30.0);
    let now = rig.now;
    assert_eq!(rig.group().expire(now), ["b", "b", "b"]);
}

#[test]
fn a_pause_holds_it_too_and_its_end_gives_each_its_own() {
    let mut rig = Rig::serving(SETTINGS);
    let now = rig.now;
    rig.group().pause(now + Duration::from_secs(5), now);
    rig.queues(2, "a");
    rig.queues(2, "b");
    rig.queues(1, "c");
    assert_eq!(rig.steps_for(5.0), ["grant c a"]);
    assert_eq!(rig.group().queue_len(), 1);
}
