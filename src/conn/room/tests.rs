//! Who has room, and who leaves.

use std::collections::HashSet;
use std::path::PathBuf;

use super::*;

const MAX: u64 = 1_600_000;

/// In which the clients of these tests do not fall together.
fn space() -> Arc<SpoolSpace> {
    loop {
        let space = Arc::new(SpoolSpace::new(PathBuf::new(), MAX, 100, 2, None));
        let places: HashSet<usize> = (1..=30).map(|visitor| space.place_of(Visitor::V4(visitor))).collect();
        if places.len() == 30 {
            return space;
        }
    }
}

fn of(visitor: u32, group: u16, kind: Kind) -> Claimant {
    Claimant { visitor: Visitor::V4(visitor), group: Some(GroupId(group)), kind }
}

/// Finds no room, and others are asked.
fn asks(space: &Arc<SpoolSpace>, claimant: &Claimant, bytes: u64, now: Instant) {
    assert!(matches!(space.enter(claimant, bytes), Err(SpoolError::Full)));
    let asker = Holder::new(*claimant, space.place_of(claimant.visitor));
    Books::default().make_room(space, &Need { asker, bytes }, now);
}

/// When whoever has moved nothing since now has stood still for long.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(100)
}

#[test]
fn whoever_is_alone_has_nearly_all_and_leaves_a_rest_to_others() {
    let space = space();
    let one = space.enter(&of(1, 0, Kind::Request), most_of_one(MAX)).unwrap();
    assert!(matches!(one.grow_to(most_of_one(MAX) + 1), Err(SpoolError::TooLarge)));
    assert!(matches!(space.enter(&of(1, 0, Kind::Request), 16_000), Err(SpoolError::Full)), "of the same client");
    let rest: Vec<_> = (2..20).map_while(|visitor| space.enter(&of(visitor, 1, Kind::Request), 50_000).ok()).collect();
    assert_eq!(rest.len(), 2, "the last is for answers");
    asks(&space, &of(20, 1, Kind::Request), 50_000, Instant::now());
    assert!(!one.must_leave(), "it has just come");
    let _answer = space.enter(&of(30, 1, Kind::Answer), 100_000).unwrap();
}

#[test]
fn the_largest_and_slowest_of_those_beyond_their_share_leaves_first() {
    let space = space();
    let large = space.enter(&of(1, 0, Kind::Request), 500_000).unwrap();
    let larger = space.enter(&of(2, 0, Kind::Request), 800_000).unwrap();
    let (quick, small) = (space.enter(&of(3, 1, Kind::Request), 100_000).unwrap(), space.enter(&of(4, 1, Kind::Request), 80_000).unwrap());
    quick.holder.pace.add(100_000, later());
    asks(&space, &of(5, 1, Kind::Request), 100_000, later());
    assert_eq!([&large, &larger, &quick, &small].map(Holding::must_leave), [false, true, false, false]);
    drop(larger);
    let _new = space.enter(&of(5, 1, Kind::Request), 100_000).unwrap();
    assert!(!space.may_grow(&large.holder, 1000), "as long as others lack room");
}

#[test]
fn a_client_beyond_its_share_makes_room_for_its_uploads_itself() {
    let space = space();
    let others = space.enter(&of(1, 1, Kind::Request), 300_000).unwrap();
    let mine: Vec<_> = (0..5).map(|_| space.enter(&of(2, 0, Kind::Request), 220_000).unwrap()).collect();
    let leave = || mine.iter().filter(|holding| holding.must_leave()).count();
    asks(&space, &of(2, 0, Kind::Request), 100_000, later());
    assert_eq!((others.must_leave(), leave()), (false, 1));
}

#[test]
fn a_client_has_enough_when_it_has_its_share_and_does_not_take_it() {
    let space = space();
    let (large, small) = (space.enter(&of(1, 0, Kind::Answer), 500_000).unwrap(), space.enter(&of(2, 0, Kind::Answer), 300_000).unwrap());
    let has_enough = |visitor, now| space.has_enough(Visitor::V4(visitor), now);
    assert!(!has_enough(1, Instant::now()), "it has just come");
    assert_eq!([1, 2, 3].map(|visitor| has_enough(visitor, later())), [true, false, false]);
    space.visit(&large.holder).pace.add(200_000, later());
    assert!(!has_enough(1, later()), "it takes it");
    drop(small);
}

#[test]
fn a_body_that_is_whole_is_left_alone_and_one_that_would_be_done_soon_too() {
    let space = space();
    let whole = space.enter(&of(1, 0, Kind::Request), 700_000).unwrap();
    let quick = space.enter(&of(2, 1, Kind::Request), 700_000).unwrap();
    whole.is_whole();
    quick.holder.pace.add(700_000, later());
    asks(&space, &of(3, 1, Kind::Request), 150_000, later());
    assert!(!whole.must_leave() && !quick.must_leave());
    assert!(space.enter(&of(3, 1, Kind::Answer), 100_000).is_ok());
}

#[test]
fn there_are_no_more_files_than_descriptors_for_them() {
    let space = space();
    let files: Vec<_> = (0..200).map_while(|visitor| space.enter(&of(visitor, 0, Kind::Request), 1).ok()).collect();
    assert!(files.len() <= 100, "{}", files.len());
    assert_eq!(space.bytes(), files.len() as u64);
    drop(files);
    assert_eq!((space.bytes(), space.used()), (0, 0));
}
