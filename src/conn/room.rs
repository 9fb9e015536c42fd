//! The room for bodies in files: how much there is, who has how much of it, and who has to leave when others find none.
//!
//! Nobody is kept from what nobody else needs: one client may have nearly all of it. A little is always left to those that have less than
//! their share, a quarter for a client and half for an app, and a little to requests and to answers each. Whoever finds nothing waits a moment, and
//! the others make room: those of a client or an app beyond its share, then any, and of them first whose bytes would take longest at
//! the pace of the last seconds, the largest and slowest. Whose body is whole and waits for its app is left alone.
//!
//! The counts are shared by the threads of the connections. Who leaves the master decides, which has the books ([`Books`]); each thread makes its
//! own leave ([`Holding::must_leave`]).

mod kept;

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender};
use serde::{Deserialize, Serialize};

use super::pace::Pace;
use super::spool::SpoolError;
use super::spool_place::SpoolPlace;
use crate::handoff::Mailbox;
use crate::ids::GroupId;
use crate::table::ToMaster;
use crate::visitor::Visitor;

/// Where the files go, how many bytes they may hold together, and who has them.
#[derive(Debug)]
pub struct SpoolSpace {
    place: SpoolPlace,
    max: AtomicU64,
    /// What each file counts for at least, so that there are never more of them than there are descriptors for them.
    least: AtomicU64,
    /// Bytes in files.
    bytes: AtomicU64,
    /// What they count for.
    used: AtomicU64,
    of_kinds: [AtomicU64; 2],
    /// By [`GroupId`].
    of_apps: ArcSwap<Vec<Arc<AtomicU64>>>,
    /// By a hash that nobody can foresee: clients that fall together are one, which few do.
    visits: Box<[Visit]>,
    hasher: RandomState,
    /// To the books.
    entered: Sender<Arc<Holder>>,
    entries: Receiver<Arc<Holder>>,
    /// When somebody last asked for room, in milliseconds after `since`.
    asked: AtomicU64,
    since: Instant,
    /// Until then somebody within his share lacks room, in milliseconds after `since`.
    short_until: AtomicU64,
    /// When the lack of room was last spoken of: in seconds after `since`, plus one; 0: never.
    told: AtomicU64,
    /// None: in tests.
    master: Option<Mailbox<ToMaster>>,
}

/// Whose bytes they are.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Claimant {
    pub visitor: Visitor,
    /// None: an answer of rota's own.
    pub group: Option<GroupId>,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Request,
    Answer,
}

/// All that have room, for whoever decides who leaves.
#[derive(Debug, Default)]
pub struct Books {
    holders: Vec<Arc<Holder>>,
    /// Those that have gone are forgotten when there are so many.
    sweep_at: usize,
}

/// Somebody finds no room for so many bytes.
#[derive(Debug)]
pub struct Need {
    asker: Holder,
    bytes: u64,
}

/// What a client has in all.
#[derive(Debug)]
struct Visit {
    counted: AtomicU64,
    pace: Pace,
}

/// What one body has.
#[derive(Debug)]
struct Holder {
    claimant: Claimant,
    /// In the file.
    bytes: AtomicU64,
    /// What they count for.
    counted: AtomicU64,
    /// Its place among the visits.
    visit: usize,
    pace: Pace,
    /// All of it has come.
    is_whole: AtomicBool,
    must_leave: AtomicBool,
}

/// The place of one body in the books; its bytes are given back with it.
#[derive(Debug)]
pub struct Holding {
    space: Arc<SpoolSpace>,
    holder: Arc<Holder>,
}

impl SpoolSpace {
    /// `files`: so many at most.
    pub fn new(place: impl Into<SpoolPlace>, max: u64, files: usize, apps: usize, master: Option<Mailbox<ToMaster>>) -> Self {
        let (entered, entries) = crossbeam_channel::unbounded();
        let since = Instant::now();
        Self {
            place: place.into(),
            max: AtomicU64::new(max),
            least: AtomicU64::new(least(max, files)),
            bytes: AtomicU64::new(0),
            used: AtomicU64::new(0),
            of_kinds: Default::default(),
            of_apps: ArcSwap::from_pointee((0..apps).map(|_| Arc::default()).collect()),
            visits: (0..VISITS).map(|_| Visit { counted: AtomicU64::new(0), pace: Pace::new(since) }).collect(),
            hasher: RandomState::new(),
            entered,
            entries,
            asked: AtomicU64::new(0),
            since,
            short_until: AtomicU64::new(0),
            told: AtomicU64::new(0),
            master,
        }
    }

    /// There is so much room from now on, and there are so many apps; what has some keeps it. `files`: so many at most.
    pub fn resize(&self, max: u64, files: usize, apps: usize) {
        self.max.store(max, Relaxed);
        self.least.store(least(max, files), Relaxed);
        let mut of_apps = self.of_apps.load().to_vec();
        of_apps.resize_with(apps, Arc::default);
        self.of_apps.store(Arc::new(of_apps));
    }

    fn max(&self) -> u64 {
        self.max.load(Relaxed)
    }

    /// A file without a name.
    pub fn open_file(&self) -> io::Result<File> {
        self.place.open()
    }

    pub fn place(&self) -> &SpoolPlace {
        &self.place
    }

    /// Bytes in files now.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// A place in the books, and so many bytes.
    pub fn enter(self: &Arc<Self>, claimant: &Claimant, bytes: u64) -> Result<Holding, SpoolError> {
        let holder = Arc::new(Holder::new(*claimant, self.place_of(claimant.visitor)));
        self.reserve(&holder, bytes)?;
        Ok(self.hold(holder, bytes))
    }

    /// Somebody has so many bytes from now on, which are counted.
    fn hold(self: &Arc<Self>, holder: Arc<Holder>, bytes: u64) -> Holding {
        // The books have gone with the master.
        let _ = self.entered.send(holder.clone());
        if let Some(master) = self.master.as_ref().filter(|_| self.entries.len() > ENTRIES) {
            master.wake().wake();
        }
        let holding = Holding { space: self.clone(), holder };
        // Whoever has just come is not slow.
        holding.moved(usize::try_from(bytes).unwrap_or(usize::MAX));
        holding
    }

    /// Whether what one read brings can still be kept of somebody who has nothing in a file yet.
    pub fn has_room(&self, kind: Kind) -> bool {
        self.used() + ONE_READ <= self.max() && self.of_kind(kind).load(Relaxed) + ONE_READ <= self.most_of_kind()
    }

    /// Others are asked to leave for somebody who has nothing in a file yet.
    pub fn ask_for_room(&self, claimant: &Claimant) {
        self.ask(&Holder::new(*claimant, self.place_of(claimant.visitor)), ONE_READ);
    }

    /// Whether a client has its share and more, and takes long for it: what it asks for besides is not worth a slot that others wait for.
    pub fn has_enough(&self, visitor: Visitor, now: Instant) -> bool {
        let visit = &self.visits[self.place_of(visitor)];
        let counted = visit.counted.load(Relaxed);
        counted > self.max() / 4 && held(counted, &visit.pace, PACE_BEYOND, now) >= HELD_BEYOND
    }

    /// Says that there is no room: once, and again when it has been so for a while.
    pub fn tell(&self, error: &SpoolError) {
        let (now, told) = (self.since.elapsed().as_secs() + 1, self.told.load(Relaxed));
        let is_due = told == 0 || now >= told + TOLD_PAUSE.as_secs();
        if is_due && self.told.compare_exchange(told, now, Relaxed, Relaxed).is_ok() {
            log::warn!("large bodies: {error}; request bodies are answered 507, answers wait for their clients");
        }
    }

    fn place_of(&self, visitor: Visitor) -> usize {
        self.hasher.hash_one(visitor) as usize % self.visits.len()
    }

    fn visit(&self, holder: &Holder) -> &Visit {
        &self.visits[holder.visit]
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn of_kind(&self, kind: Kind) -> &AtomicU64 {
        &self.of_kinds[usize::from(kind == Kind::Answer)]
    }

    fn of_app(&self, claimant: &Claimant) -> Option<Arc<AtomicU64>> {
        self.of_apps.load().get(claimant.group?.index()).cloned()
    }

    fn most_of_kind(&self) -> u64 {
        self.max() - self.max() / 16
    }

    /// What those that have their share and more may fill: the rest is for the others.
    fn most_beyond_share(&self) -> u64 {
        most_of_one(self.max())
    }

    /// Its client has its share, and with so many bytes more than that.
    fn is_beyond(&self, holder: &Holder, bytes: u64) -> bool {
        self.visit(holder).counted.load(Relaxed) + bytes > self.max() / 4
    }

    fn is_app_beyond(&self, holder: &Holder, bytes: u64) -> bool {
        // Of one app alone it is all.
        self.of_apps.load().len() > 1 && self.of_app(&holder.claimant).is_some_and(|used| used.load(Relaxed) + bytes > self.max() / 2)
    }

    fn may_grow(&self, holder: &Holder, bytes: u64) -> bool {
        let most = if self.is_beyond(holder, bytes) || self.is_app_beyond(holder, bytes) {
            if self.millis() < self.short_until.load(Relaxed) {
                return false;
            }
            self.most_beyond_share()
        } else {
            self.max()
        };
        self.used() + bytes <= most && self.of_kind(holder.claimant.kind).load(Relaxed) + bytes <= self.most_of_kind()
    }

    fn reserve(&self, holder: &Holder, whole: u64) -> Result<(), SpoolError> {
        if whole > self.most_beyond_share() {
            return Err(SpoolError::TooLarge);
        }
        let has = whole.max(holder.bytes.load(Relaxed));
        let bytes = has.max(self.least.load(Relaxed)).saturating_sub(holder.counted.load(Relaxed));
        let within = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.max());
        if !self.may_grow(holder, bytes) || self.used.fetch_update(Relaxed, Relaxed, within).is_err() {
            self.ask(holder, bytes);
            return Err(SpoolError::Full);
        }
        self.count(holder, |used| used.fetch_add(bytes, Relaxed));
        self.bytes.fetch_add(has - holder.bytes.swap(has, Relaxed), Relaxed);
        Ok(())
    }

    fn give_back(&self, holder: &Holder) {
        let counted = holder.counted.load(Relaxed);
        self.used.fetch_sub(counted, Relaxed);
        self.count(holder, |used| used.fetch_sub(counted, Relaxed));
        self.bytes.fetch_sub(holder.bytes.load(Relaxed), Relaxed);
    }

    /// Changes all in which a holder counts, but for `used`.
    fn count(&self, holder: &Holder, change: impl Fn(&AtomicU64) -> u64) {
        let of_app = self.of_app(&holder.claimant);
        let counters = [&holder.counted, &self.visit(holder).counted, self.of_kind(holder.claimant.kind)];
        for used in counters.into_iter().chain(of_app.as_deref()) {
            change(used);
        }
    }

    /// Somebody finds no room: others are to make some.
    fn ask(&self, asker: &Holder, bytes: u64) {
        let is_beyond = self.is_beyond(asker, bytes) || self.is_app_beyond(asker, bytes);
        // Downloads of one client that are more than its share wait for one another: it takes what it takes.
        if is_beyond && asker.claimant.kind == Kind::Answer {
            return;
        }
        let now = self.millis();
        if !is_beyond {
            self.short_until.store(now + SHORT, Relaxed);
        }
        let asked = self.asked.load(Relaxed);
        let is_due = now >= asked + ASK_AGAIN && self.asked.compare_exchange(asked, now, Relaxed, Relaxed).is_ok();
        if let Some(master) = self.master.as_ref().filter(|_| is_due) {
            let need = Need { asker: Holder::new(asker.claimant, asker.visit), bytes };
            if let Ok(wake) = master.send(ToMaster::MakeRoom(need)) {
                wake.wake();
            }
        }
    }
}

impl Books {
    /// Takes in those that have come.
    pub fn take_in(&mut self, space: &SpoolSpace) {
        while let Ok(holder) = space.entries.try_recv() {
            self.holders.push(holder);
        }
        if self.holders.len() >= self.sweep_at {
            self.sweep();
            self.sweep_at = 2 * self.holders.len() + SWEEP_AT_LEAST;
        }
    }

    fn sweep(&mut self) {
        self.holders.retain(|holder| Arc::strong_count(holder) > 1);
    }

    /// Chooses who leaves so that there is what is needed. False: nobody.
    pub fn make_room(&mut self, space: &SpoolSpace, need: &Need, now: Instant) -> bool {
        self.take_in(space);
        self.sweep();
        let Need { asker, bytes } = need;
        let (beyond, app_beyond) = (space.is_beyond(asker, *bytes), space.is_app_beyond(asker, *bytes));
        let going: u64 = self.holders.iter().filter(|it| it.must_leave.load(Relaxed)).map(|it| it.counted.load(Relaxed)).sum();
        let of_kind = space.of_kind(asker.claimant.kind).load(Relaxed);
        let most = if beyond || app_beyond { space.most_beyond_share() } else { space.max() };
        let in_all = (space.used() + bytes).saturating_sub(most);
        let in_kind = (of_kind + bytes).saturating_sub(space.most_of_kind());
        // A little more, so that the next one need not ask.
        let mut missing = (in_all.max(in_kind) + space.max() / 64).saturating_sub(going);
        let is_asked = |it: &Holder| {
            let same_kind = in_kind == 0 || it.claimant.kind == asker.claimant.kind;
            let same_owner = match (beyond, app_beyond) {
                (true, _) => it.visit == asker.visit,
                (false, true) => it.claimant.group == asker.claimant.group,
                (false, false) => true,
            };
            same_kind && same_owner && !it.is_whole.load(Relaxed) && !it.must_leave.load(Relaxed)
        };
        let mut asked: Vec<(bool, u64, &Arc<Holder>)> = Vec::new();
        for it in self.holders.iter().filter(|it| is_asked(it)) {
            let is_beyond = space.is_beyond(it, 0) || space.is_app_beyond(it, 0);
            let (window, least) = if is_beyond { (PACE_BEYOND, HELD_BEYOND) } else { (PACE, HELD) };
            let held = held(it.counted.load(Relaxed), &it.pace, window, now);
            if held >= least {
                asked.push((is_beyond, held, it));
            }
        }
        asked.sort_unstable_by_key(|(is_beyond, held, _)| std::cmp::Reverse((*is_beyond, *held)));
        let mut any = false;
        for (_, _, it) in asked.into_iter().take(LEAVE_AT_ONCE) {
            if missing == 0 {
                break;
            }
            missing = missing.saturating_sub(it.counted.load(Relaxed));
            it.must_leave.store(true, Relaxed);
            any = true;
        }
        any
    }
}

impl Holder {
    fn new(claimant: Claimant, visit: usize) -> Self {
        let (bytes, counted) = (AtomicU64::new(0), AtomicU64::new(0));
        let pace = Pace::new(Instant::now());
        Self { claimant, bytes, counted, visit, pace, is_whole: AtomicBool::new(false), must_leave: AtomicBool::new(false) }
    }
}

/// For how many seconds so many bytes are held, at the pace of the last seconds.
fn held(bytes: u64, pace: &Pace, window: u64, now: Instant) -> u64 {
    bytes / pace.over(window, now).max(1)
}

impl Holding {
    /// Has so many bytes in all; not less than it had, also if they could not be written.
    pub fn grow_to(&self, bytes: u64) -> Result<(), SpoolError> {
        self.space.reserve(&self.holder, bytes)
    }

    /// Its client has sent or taken so many.
    pub fn moved(&self, bytes: usize) {
        let now = Instant::now();
        for pace in [&self.holder.pace, &self.space.visit(&self.holder).pace] {
            pace.add(bytes as u64, now);
        }
    }

    /// All of it has come, and its client is waited for no more.
    pub fn is_whole(&self) {
        self.holder.is_whole.store(true, Relaxed);
        self.holder.must_leave.store(false, Relaxed);
    }

    /// Others need its room.
    pub fn must_leave(&self) -> bool {
        self.holder.must_leave.load(Relaxed)
    }

    /// Whether what one read brings can still be kept.
    pub fn has_room(&self) -> bool {
        self.space.may_grow(&self.holder, ONE_READ)
    }

    pub fn ask_for_room(&self) {
        self.space.ask(&self.holder, ONE_READ);
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.space.give_back(&self.holder);
    }
}

/// What each file counts for at least.
fn least(max: u64, files: usize) -> u64 {
    max.div_ceil(files.max(1) as u64)
}

/// What one body may take of so much room, at most (bytes).
pub fn most_of_one(max: u64) -> u64 {
    max - max / 8
}

/// What may come before anyone looks again whether there is room: a read of the app's socket with its chunk framing, and what was in memory.
const ONE_READ: u64 = 512 * 1024;
/// Between two words about a lack of room.
const TOLD_PAUSE: Duration = Duration::from_secs(10);
/// For so long after somebody within his share found no room the others take no more (ms).
const SHORT: u64 = 1000;
/// Between two looks for those that can leave, each of which is one at all (ms).
const ASK_AGAIN: u64 = 10;
/// The pace of those beyond their share, and of the others, is that of so many seconds. A client of the radio kind may stand still for a few.
const PACE_BEYOND: u64 = 2;
const PACE: u64 = 8;
/// Whoever would be done with its bytes sooner, in seconds, may stay.
const HELD_BEYOND: u64 = 10;
const HELD: u64 = 60;
/// How many leave at a time, at most.
const LEAVE_AT_ONCE: usize = 64;
/// Clients are told apart by so many places.
const VISITS: usize = 1024;
/// So many new entries are waited with; the master takes them in whenever it runs.
const ENTRIES: usize = 1024;
const SWEEP_AT_LEAST: usize = 1024;

#[cfg(test)]
mod tests;
