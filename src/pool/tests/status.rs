//! What the status shows at each moment of a walk.

use super::*;

fn phase(rig: &mut Rig) -> (Option<u16>, &'static str, u64, u16) {
    let walk = rig.view().walk.expect("a walk is under way");
    (walk.at.map(|number| number.0), walk.phase, walk.phase_for.as_secs(), walk.replaced)
}

#[test]
fn a_walk_shows_what_it_has_in_hand_and_since_when() {
    let mut rig = Rig::serving(SETTINGS);
    let claim = rig.claim("a");
    rig.restart();
    assert_eq!(phase(&mut rig), (None, "wait", 0, 0));
    let Some(Step::Resolve { ask: Ask { generation, .. }, .. }) = rig.pool.next_step(rig.now) else { panic!("nothing to resolve") };
    assert_eq!(phase(&mut rig), (None, "resolve", 0, 0));
    let now = rig.now;
    rig.group().resolved(generation, Ok(()), now);
    rig.steps();
    rig.after(3.0);
    assert_eq!(phase(&mut rig), (Some(1), "boot", 3, 0));
    rig.ready("1 g2");
    rig.steps();
    rig.after(1.0);
    assert_eq!(phase(&mut rig), (Some(1), "probation", 1, 0));
    rig.steps_for(1.0);
    rig.after(7.0);
    assert_eq!(phase(&mut rig), (Some(1), "drain", 7, 1));
    rig.finish(claim);
    rig.steps();
    rig.after(2.0);
    assert_eq!(phase(&mut rig), (Some(1), "stop", 2, 1));
    rig.exits("1 g1", 0);
    rig.steps();
    assert_eq!(phase(&mut rig), (Some(2), "boot", 0, 1));
    rig.ready("2 g2");
    rig.steps();
    rig.exits("2 g1", 0);
    rig.steps();
    rig.after(1.0);
    assert_eq!(phase(&mut rig), (Some(2), "probation", 1, 2));
    rig.steps_for(1.0);
    assert_eq!(rig.view().walk, None);
}

#[test]
fn a_first_release_that_failed_shows_when_it_is_tried_again_though_no_process_is_wanted() {
    let mut rig = Rig::new(Settings { processes: Sizes { min: 0, ..Sizes::fixed(1) }, ..SETTINGS });
    rig.steps();
    assert_eq!(rig.view().walk, None, "it waits for the first request");
    rig.wait("a");
    for _ in 0..2 {
        rig.steps_for(1.0);
        rig.exits("1 g1", 1);
        rig.steps();
    }
    rig.after(0.5);
    assert_eq!(phase(&mut rig), (None, "backoff", 0, 0));
    let view = rig.view();
    assert_eq!(view.backoff.map(|backoff| (backoff.failures, backoff.retry_in.as_millis())), Some((2, 1500)));
    assert!(view.last_failure.is_some());
    let now = rig.now;
    assert_eq!(rig.group().leave(WaitId(1)), Some("a"));
    rig.now = now + Duration::from_secs(5);
    rig.steps();
    assert_eq!(phase(&mut rig), (None, "wait", 5, 0), "for a request");
    // One that was asked for, too.
    rig.restart();
    rig.steps();
    rig.exits("1 g2", 1);
    rig.steps();
    rig.after(1.0);
    assert_eq!(phase(&mut rig), (None, "wait", 1, 0));
}

#[test]
fn a_process_shows_its_state_its_age_and_its_work() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    let claim = rig.claim("a");
    rig.after(8.0);
    let view = rig.view();
    let process = &view.processes[0];
    assert_eq!(process.name.to_string(), "blog/1 g1");
    assert_eq!((process.state, process.state_for.as_secs(), process.age.as_secs()), ("serving", 10, 10));
    assert_eq!((process.sessions, process.processed, process.last_used), (1, 0, None));
    rig.finish(claim);
    rig.after(1.0);
    let view = rig.view();
    let process = &view.processes[0];
    assert_eq!((process.sessions, process.processed, process.last_used), (0, 1, Some(Duration::from_secs(1))));
}

#[test]
fn a_queue_shows_its_length_and_the_age_of_its_first() {
    let mut rig = Rig::new(SETTINGS);
    rig.wait("a");
    rig.after(4.0);
    rig.wait("b");
    let view = rig.view();
    assert_eq!((view.queue_len, view.queue_max, view.queue_age), (2, 3, Some(Duration::from_secs(4))));
}
