//! Requests that were in hand when their process ended: which are sent again, what a death says of a release, whom the last process is kept for.

use super::*;

const ABORT: Exit = Exit::Signal { signal: 6, core: false };
const KILLED: Exit = Exit::Signal { signal: 9, core: false };

impl Rig {
    /// `name` ends, with these in hand, the last one the newest. Whether each may be sent again.
    fn dies_with(&mut self, name: &str, exit: Exit, lines: &[&str]) -> Vec<bool> {
        let (id, now) = (self.id(name), self.now);
        let since = |at: usize| now - Duration::from_millis(100) + Duration::from_millis(at as u64);
        let hand = |(at, line): (usize, &&str)| Hand { line: (*line).to_owned(), id: Some(format!("{at:x}")), since: since(at) };
        let hands = lines.iter().enumerate().map(hand).collect();
        let again = self.pool.group_mut(id.group).died(id, Death { hands, ..Death::new(exit, Vec::new()) }, now);
        self.group_empty(name);
        again
    }

    fn may_risk(&mut self, name: &str, line: &str) -> Result<(), u32> {
        let (id, now) = (self.id(name), self.now);
        self.group().may_risk(line, id, now)
    }
}

#[test]
fn what_was_in_hand_alone_is_not_sent_again_unless_somebody_else_ended_the_process() {
    for exit in [ABORT, Exit::Signal { signal: 11, core: true }, Exit::Status(0), Exit::Status(1), Exit::Status(128 + 6)] {
        assert_eq!(Rig::serving(SETTINGS).dies_with("1 g1", exit, &["GET /die"]), [false], "{exit}");
    }
    for exit in [KILLED, Exit::Signal { signal: 15, core: false }, Exit::Status(128 + 9), Exit::Status(128 + 15)] {
        assert_eq!(Rig::serving(SETTINGS).dies_with("1 g1", exit, &["GET /die"]), [true], "{exit}");
    }
}

#[test]
fn a_process_that_the_kernel_killed_for_memory_took_it_itself() {
    let mut rig = Rig::serving(SETTINGS);
    let (id, now) = (rig.id("1 g1"), rig.now);
    let hands = vec![Hand { line: "GET /export".to_owned(), id: None, since: now }];
    let death = Death { out_of_memory: true, hands, ..Death::new(KILLED, Vec::new()) };
    assert_eq!(rig.group().died(id, death, now), [false]);
    let (_, failure, _) = rig.view().last_failure.unwrap();
    assert_eq!(failure.to_string(), "killed by signal 9 2.00 s after it was ready, while it had GET /export");
}

#[test]
fn of_several_the_newest_is_suspected_and_what_was_there_at_another_death() {
    let mut rig = Rig::serving(SETTINGS);
    assert_eq!(rig.dies_with("1 g1", ABORT, &["GET /a", "GET /b?x=1", "GET /die"]), [true, true, false]);
    let failure = rig.view().last_failure.unwrap().1.to_string();
    assert!(failure.ends_with("while it had GET /die (id 2), GET /b?x=1 (id 1), GET /a (id 0)"), "{failure}");
    // One of them was it.
    assert_eq!(rig.dies_with("2 g1", ABORT, &["GET /b?x=2", "GET /c", "GET /d", "GET /e"]), [false, true, true, false]);
    let failure = rig.view().last_failure.unwrap().1.to_string();
    assert!(failure.ends_with("while it had GET /e (id 3), GET /d (id 2), GET /c (id 1) and 1 more"), "{failure}");
}

#[test]
fn one_that_is_seen_to_end_gets_nothing_more() {
    let mut rig = Rig::serving(SETTINGS);
    let id = rig.id("1 g1");
    rig.group().dying(id);
    let claim = rig.claim("first");
    assert_eq!(rig.short(claim.process()), "2 g1");
    rig.wait("second");
}

#[test]
fn what_ended_two_in_a_row_does_not_get_the_last_one() {
    let mut rig = Rig::serving(SETTINGS);
    rig.dies_with("1 g1", ABORT, &["GET /die?visitor=1"]);
    assert_eq!(rig.may_risk("2 g1", "GET /die"), Ok(()), "once may be chance");
    rig.steps();
    rig.ready("1 g1");
    rig.steps();
    rig.dies_with("1 g1", ABORT, &["GET /die?visitor=2"]);
    assert_eq!(rig.may_risk("2 g1", "GET /die?visitor=3"), Err(2));
    assert_eq!(rig.may_risk("2 g1", "GET /"), Ok(()));
    // Where another serves it gets one.
    rig.steps_for(1.0);
    rig.ready("1 g1");
    rig.steps_for(2.0);
    assert_eq!(rig.may_risk("2 g1", "GET /die"), Ok(()));
    assert_eq!(rig.may_risk("1 g1", "GET /die"), Err(2), "both at a time are not risked");
    // What is answered is forgiven, and what is long ago forgotten.
    rig.dies_with("1 g1", ABORT, &["GET /die"]);
    assert_eq!(rig.may_risk("2 g1", "GET /die"), Err(3));
    rig.group().survived("GET /die?visitor=4");
    assert_eq!(rig.may_risk("2 g1", "GET /die"), Ok(()));
    let now = rig.now + Duration::from_secs(601);
    assert!(!rig.group().has_suspects(now));
}

#[test]
fn an_app_of_one_process_gets_whatever_comes() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    for _ in 0..3 {
        rig.dies_with("1 g1", ABORT, &["GET /die"]);
        rig.steps_for(5.0);
        rig.ready("1 g1");
        rig.steps();
    }
    assert_eq!(rig.may_risk("1 g1", "GET /die"), Ok(()));
}

/// A restart beside a visitor whose request ends processes, up to a new process that died of it after `seconds` in service.
fn restart_beside_a_visitor(seconds: f64, of_the_old: &str) -> Rig {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    rig.restart();
    rig.steps();
    // The old one ends, so that the new one serves before it has proved itself.
    rig.dies_with("1 g1", ABORT, &[of_the_old]);
    rig.steps();
    rig.ready("1 g2");
    rig.steps();
    rig.after(seconds);
    rig.dies_with("1 g2", ABORT, &["GET /die"]);
    rig
}

#[test]
fn a_release_is_not_to_blame_for_a_visitor_who_ended_the_one_before_it_too() {
    let mut rig = restart_beside_a_visitor(0.5, "GET /die?again");
    let steps = rig.steps();
    assert!(!steps.iter().any(|step| step.contains("failed")), "{steps:?}");
    assert!(rig.view().resists.is_none());
    let Some(WalkView { generation: Generation(2), .. }) = rig.view().walk else { panic!("the walk has ended: {steps:?}") };
}

#[test]
fn a_release_that_dies_of_what_the_one_before_it_answers_is_bad() {
    let mut rig = restart_beside_a_visitor(0.5, "GET /other");
    let steps = rig.steps();
    assert!(steps.iter().any(|step| step.contains("g2: failed at process 1")), "{steps:?}");
    assert!(rig.view().resists.is_some());
}

#[test]
fn a_release_that_every_visitor_ends_is_bad_in_the_end() {
    let mut rig = restart_beside_a_visitor(0.5, "GET /die");
    for death in 1..30 {
        let mut steps = rig.steps();
        while !steps.iter().any(|step| step.contains("g2: failed")) && !rig.table().iter().any(|line| line.ends_with("starting")) {
            steps.extend(rig.steps_for(1.0));
        }
        if steps.iter().any(|step| step.contains("g2: failed")) {
            assert!(death > 3, "so soon: {steps:?}");
            return;
        }
        let coming = rig.table().into_iter().find(|line| line.ends_with("starting")).unwrap();
        let name = coming.trim_end_matches(" starting").to_owned();
        rig.ready(&name);
        rig.steps();
        rig.dies_with(&name, ABORT, &["GET /die"]);
        if name == "1 g1" {
            rig.steps();
        }
    }
    panic!("it goes on for ever: {:?}", rig.table());
}
