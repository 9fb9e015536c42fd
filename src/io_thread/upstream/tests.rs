//! Which connections to an app are kept, and for what.

use std::os::unix::net::{UnixListener, UnixStream};

use super::*;

const CLIENT: Owner = Owner::Client(0);

/// An app that accepts, and rota's side of its connections.
struct Rig {
    poll: mio::Poll,
    listener: UnixListener,
    upstreams: Upstreams,
    now: Instant,
    _dir: tempfile::TempDir,
}

impl Rig {
    fn of(slots: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let upstreams = Upstreams::new(Endpoint::Unix(path), Duration::from_secs(60), slots);
        Self { poll: mio::Poll::new().unwrap(), listener, upstreams, now: Instant::now(), _dir: dir }
    }

    fn open(&mut self) -> (usize, UnixStream) {
        let key = self.upstreams.open(CLIENT, self.poll.registry(), Token).unwrap();
        (key, self.listener.accept().unwrap().0)
    }

    /// So many that were in use at the same time and idle since then, the app's sides of them.
    fn idle(&mut self, count: usize, since: Duration) -> Vec<UnixStream> {
        let opened: Vec<_> = (0..count).map(|_| self.open()).collect();
        let idle_since = self.now.checked_sub(since).unwrap();
        opened.iter().for_each(|(key, _)| self.upstreams.keep(*key, idle_since));
        opened.into_iter().map(|(_, stream)| stream).collect()
    }
}

const LONG: Duration = Duration::from_secs(1);

#[test]
fn a_new_one_takes_the_place_of_an_idle_one() {
    let mut rig = Rig::of(3);
    let _app = rig.idle(3, LONG);
    for left in [2, 1, 0] {
        let _app = rig.open();
        assert_eq!((rig.upstreams.all.len(), rig.upstreams.idle.len()), (3, left));
    }
}

#[test]
fn one_is_left_to_idle_until_the_app_has_shown_that_it_holds_it() {
    let mut rig = Rig::of(3);
    let _app = rig.idle(1, Duration::ZERO);
    let _more = rig.open();
    assert_eq!(rig.upstreams.idle.len(), 1);
    rig.upstreams.idle[0].1 -= LONG;
    assert_eq!(rig.upstreams.reuse_at_once(CLIENT), None, "it has idled for long itself");
    let _more = rig.open();
    assert_eq!((rig.upstreams.all.len(), rig.upstreams.idle.len()), (2, 0));
}

#[test]
fn one_that_was_closed_unseen_carries_nothing() {
    let mut rig = Rig::of(3);
    let _old = rig.idle(1, LONG);
    let (key, app) = rig.open();
    rig.upstreams.keep(key, Instant::now() + LONG);
    assert_eq!(rig.upstreams.reuse_at_once(CLIENT), Some(key), "the app has held the other one");
    rig.upstreams.keep(key, Instant::now() + LONG);
    drop(app);
    assert_eq!(rig.upstreams.reuse_at_once(CLIENT), None);
    assert_eq!((rig.upstreams.habit, rig.upstreams.all.len()), (Habit::Hasty, 1));
}
