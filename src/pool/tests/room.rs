//! Old processes that go before their replacement is started: `surge = 0`, short memory, all at once. Each story but the first two was
//! found by the model, under the seed that it names.

use super::*;

const SHORT: &str = "96 MiB free, 128 MiB needed";

fn recycle(rig: &mut Rig, number: u16) {
    assert!(rig.group().recycle(Number(number)).is_some());
}

fn restart(rig: &mut Rig, aim: Aim) -> Generation {
    let now = rig.now;
    rig.group().restart(Trigger::Command, aim, now)
}

#[test]
fn without_a_surge_the_old_one_goes_first() {
    let mut rig = Rig::serving(Settings { surge: 0, ..SETTINGS });
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g2", "drain 1 g1", "stop leader 1 g1"]);
    rig.exits("1 g1", 0);
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 1 g2"]);
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(2.0), ["serve 1 g2", "drain 2 g1", "stop leader 2 g1"]);
}

#[test]
fn where_memory_is_short_the_old_one_goes_first() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    rig.memory = Some(SHORT.to_owned());
    let no_memory = format!("no memory for 1 g2: {SHORT}");
    assert_eq!(rig.steps(), ["resolve g2", &no_memory, "drain 1 g1", "stop leader 1 g1"]);
    assert_eq!(rig.view().walk.unwrap().makes_room.as_deref(), Some(SHORT));
    rig.exits("1 g1", 0);
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 1 g2"]);
}

#[test]
fn seed_2_all_at_once_no_number_waits_for_another() {
    let mut rig = Rig::serving(Settings { surge: 0, ..SETTINGS });
    restart(&mut rig, Aim::AllAtOnce);
    assert_eq!(rig.steps(), ["resolve g2", "drain 1 g1", "stop leader 1 g1", "drain 2 g1", "stop leader 2 g1"]);
    assert_eq!(rig.view().walk.unwrap().makes_room, None, "it is not for want of room");
    rig.exits("2 g1", 0);
    assert_eq!(rig.steps(), ["gone 2 g1", "spawn 1 g2"], "there is a place, and its old one takes no requests");
}

#[test]
fn a_crash_at_another_number_is_repaired_while_one_makes_room() {
    let mut rig = Rig::serving(Settings { surge: 0, ..SETTINGS });
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g2", "drain 1 g1", "stop leader 1 g1"]);
    rig.exits("2 g1", 137);
    assert_eq!(rig.steps(), ["gone 2 g1", "spawn 2 g1"]);
}

#[test]
fn seed_87_nothing_is_taken_out_while_another_is_missing() {
    let mut rig = Rig::serving(Settings { surge: 0, ..SETTINGS });
    rig.exits("2 g1", 137);
    recycle(&mut rig, 1);
    assert_eq!(rig.steps(), ["gone 2 g1", "spawn 2 g1"]);
    rig.ready("2 g1");
    assert_eq!(rig.steps(), ["serve 2 g1", "drain 1 g1", "stop leader 1 g1"]);
}

#[test]
fn seed_56_a_walk_does_not_wait_for_what_made_room_before_it() {
    let mut rig = Rig::serving(SETTINGS);
    recycle(&mut rig, 2);
    let Some(Step::Spawn { id, .. }) = rig.pool.next_step(rig.now) else { panic!("nothing is recycled") };
    assert!(rig.group().postpone(id, SHORT.to_owned()));
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g2", "spawn 1 g2"]);
}

#[test]
fn a_second_recycling_does_not_hold_up_the_first() {
    let mut rig = Rig::serving(SETTINGS);
    recycle(&mut rig, 2);
    let Some(Step::Spawn { id, .. }) = rig.pool.next_step(rig.now) else { panic!("nothing is recycled") };
    assert!(rig.group().postpone(id, SHORT.to_owned()));
    recycle(&mut rig, 1);
    assert_eq!(rig.steps(), ["drain 2 g1", "stop leader 2 g1"]);
}

#[test]
fn what_was_called_off_while_memory_was_looked_at_makes_no_room() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    assert!(matches!(rig.pool.next_step(rig.now), Some(Step::Resolve { .. })));
    let now = rig.now;
    rig.group().resolved(Generation(2), Ok(()), now);
    let Some(Step::Spawn { id, .. }) = rig.pool.next_step(now) else { panic!("nothing is started") };
    assert_eq!(rig.group().abort(), Ok(Generation(2)));
    assert!(rig.group().postpone(id, SHORT.to_owned()), "it is not to be started");
    assert!(rig.group().makes_room.is_none());
    assert_eq!(rig.steps(), ["g2: aborted, nothing was replaced"]);
}
