//! Clients of the simulated world: they come, wait, are answered, and leave.

use std::cmp::Reverse;

use rota::ids::{Number, ProcessId};
use rota::pool::{Admission, Claim, Ended, WaitId, Wish};

use super::books::{App, Check, Proc, Release, Request, ensure};
use super::tally::Saw;
use super::world::{Event, World};

impl World {
    pub fn arrive(&mut self, app: usize) -> Check {
        let number = self.apps[app].requests.len() as u32;
        let ids: Vec<ProcessId> = self.apps[app].procs.iter().map(|proc| proc.id).collect();
        let home = if self.rng.percent(50) { self.rng.pick(&ids) } else { None };
        let (sticks, wished) = (self.rng.percent(25), Number(self.rng.within(0, 5) as u16));
        let wish = match home {
            _ if sticks => Wish::Number(wished),
            Some(home) => Wish::Home(home),
            None => Wish::Anywhere,
        };
        let books = &self.apps[app];
        let room = |proc: &&Proc| proc.serving && !proc.dying && proc.claims < books.settings.concurrency;
        let best = books.procs.iter().filter(room).map(|proc| (proc.claims, Reverse(proc.generation))).min();
        let bound = Some(wished).filter(|number| sticks && books.serves_at(*number));
        let at_home = !sticks && books.procs.iter().filter(room).any(|proc| Some(proc.id) == home);
        let id = WaitId(u64::from(number));
        let held = books.paused.is_some();
        match self.pool.group_mut(books.id).admit(wish, id.into(), number, self.now) {
            Admission::Claimed(claim, back) => {
                ensure!(back == number, "another request came back");
                ensure!(!held, "a request begins though the app is held");
                let proc = &books.procs[books.index(claim.process())?];
                ensure!(room(&proc), "a claim on {:?}, which does not serve or is full", proc.id);
                ensure!(!at_home || Some(proc.id) == home, "home has room and was left");
                ensure!(bound.is_none_or(|bound| proc.number == bound), "its process serves, and it is on {:?}", proc.id);
                ensure!(
                    bound.is_some() || at_home || best == Some((proc.claims, Reverse(proc.generation))),
                    "not the best process was chosen"
                );
                self.apps[app].requests.push(Request::Over);
                self.granted(app, claim, number)?;
            }
            Admission::Queued => {
                let free = books.procs.iter().filter(room).any(|proc| bound.is_none_or(|bound| proc.number == bound));
                ensure!(!free || held, "a request waits beside a free slot");
                if let Some(bound) = bound {
                    self.apps[app].bound.insert(number, bound);
                    self.tally.saw(Saw::Bound);
                }
                self.apps[app].requests.push(Request::Waiting { id, since: self.now });
                self.apps[app].waiting.push(number);
                self.tally.saw(Saw::Waited);
                self.awake |= self.pool.group(self.apps[app].id).is_to_grow(self.now);
            }
            Admission::InPlaceOf(other) => return Err(format!("request {other} is refused for another of the same client")),
            Admission::Full(back) => {
                let coming = books.there().any(|proc| proc.serving || proc.is_coming());
                let full = books.waiting.len() == books.settings.queue_max || (books.ending && !coming);
                ensure!(back == number && full, "refused with {} waiting", books.waiting.len());
                self.apps[app].requests.push(Request::Over);
                self.tally.saw(Saw::Refused);
            }
        }
        self.tally.saw(Saw::Request);
        self.check()
    }

    /// A slot was given to a request; how long it takes is chance.
    pub fn granted(&mut self, app: usize, claim: Claim, request: u32) -> Check {
        let proc = self.apps[app].index(claim.process())?;
        self.apps[app].procs[proc].claims += 1;
        self.apps[app].requests[request as usize] = Request::Claimed { claim, since: self.now };
        let release = self.apps[app].releases.get(&self.apps[app].procs[proc].generation);
        let late = if release == Some(&Release::Slow) { 1_500 } else { 0 };
        let takes = late
            + match self.rng.within(0, 99) {
                0..80 => self.rng.within(0, 400),
                80..97 => self.rng.within(400, 10_000),
                _ => self.rng.within(10_000, 60_000),
            };
        self.plan(takes, Event::Finished { app, request });
        Ok(())
    }

    /// A slot was given to one that waited: it must be the one that has waited longest of those that this process may serve. What waits for
    /// one that is gone may be among them already.
    pub fn granted_from_queue(&mut self, app: usize, claim: Claim, request: u32) -> Check {
        let books = &mut self.apps[app];
        ensure!(books.paused.is_none_or(|until| until <= self.now), "a request is granted a slot though the app is held");
        let proc = books.index(claim.process())?;
        let place = |wanted: u32| books.waiting.iter().position(|other| *other == wanted).unwrap_or(usize::MAX);
        let (here, first) = (place(request), books.first_for(books.procs[proc].number).map_or(usize::MAX, place));
        let of_gone = books.bound.get(&request).is_some_and(|number| !books.serves_at(*number));
        ensure!(here == first || (of_gone && here < first), "request {request} overtook {:?}, {:?}", books.waiting, books.bound);
        books.unqueue(request);
        ensure!(books.procs[proc].serving && !books.procs[proc].dying, "a slot of {:?}, which does not serve", claim.process());
        self.granted(app, claim, request)
    }

    pub fn finish(&mut self, app: usize, request: u32) -> Check {
        let over = std::mem::replace(&mut self.apps[app].requests[request as usize], Request::Over);
        let Request::Claimed { claim, since } = over else {
            // A second end of the same request was planned, or it still waits.
            self.apps[app].requests[request as usize] = over;
            return Ok(());
        };
        let proc = self.apps[app].index(claim.process())?;
        let ended = self.how_it_ends(app, proc);
        let (books, now) = (&mut self.apps[app], self.now);
        let it = &mut books.procs[proc];
        it.claims -= 1;
        it.idle = now;
        let (gone, generation) = (it.gone, it.generation);
        it.processed += u64::from(ended != Ended::Unused);
        it.errors += u64::from(matches!(ended, Ended::Answered(500..) | Ended::AppFailed));
        if let (false, Some(trial)) = (gone, &mut books.trial) {
            trial.answer(generation, ended, now.saturating_duration_since(since));
        }
        let group = books.id;
        let next = self.pool.group_mut(group).finish(claim, ended, now);
        if let Some((claim, next)) = next {
            ensure!(!gone, "a process that is gone grants a slot");
            self.granted_from_queue(app, claim, next)?;
        }
        self.awake |= self.pool.group(group).wakes_restart(self.now);
        self.check()
    }

    fn how_it_ends(&mut self, app: usize, proc: usize) -> Ended {
        let it = &self.apps[app].procs[proc];
        if it.ended.is_some() {
            return if self.rng.percent(80) { Ended::AppFailed } else { Ended::Unused };
        }
        let errs = self.apps[app].releases.get(&it.generation) == Some(&Release::Errs);
        match self.rng.within(0, 99) {
            0..60 if errs => Ended::Answered(500),
            0..3 => Ended::Unused,
            3..6 => Ended::Cut,
            6..9 if self.calm.is_none() => Ended::Answered(502),
            9..11 if self.calm.is_none() => Ended::AppFailed,
            _ => Ended::Answered(200),
        }
    }

    pub fn leave(&mut self, app: usize) -> Check {
        let Some(request) = self.rng.pick(&self.apps[app].waiting) else { return Ok(()) };
        let over = std::mem::replace(&mut self.apps[app].requests[request as usize], Request::Over);
        let Request::Waiting { id, .. } = over else { return Err(format!("request {request} does not wait")) };
        self.apps[app].unqueue(request);
        let group = self.pool.group_mut(self.apps[app].id);
        ensure!(group.leave(id) == Some(request), "request {request} could not leave");
        ensure!(group.leave(id).is_none(), "request {request} left twice");
        self.awake |= group.wakes_restart(self.now);
        self.check()
    }

    pub fn expire(&mut self) -> Check {
        for app in 0..self.apps.len() {
            let group = self.pool.group_mut(self.apps[app].id);
            let expired = group.expire(self.now);
            self.awake |= group.wakes_restart(self.now);
            let limit = self.apps[app].settings.queue_timeout;
            let now = self.now;
            let is_old = |books: &App, request: &u32| match books.requests[*request as usize] {
                Request::Waiting { since, .. } => now >= since + limit,
                Request::Claimed { .. } | Request::Over => false,
            };
            let old: Vec<u32> = self.apps[app].waiting.iter().copied().filter(|request| is_old(&self.apps[app], request)).collect();
            ensure!(expired == old, "expired {expired:?}, too old were {old:?}");
            self.give_up(app, &expired);
        }
        self.check()
    }

    fn give_up(&mut self, app: usize, requests: &[u32]) {
        for request in requests {
            self.apps[app].unqueue(*request);
            self.apps[app].requests[*request as usize] = Request::Over;
        }
    }

    /// The shell refuses what waits when nobody is left to serve it.
    pub fn drain_queues(&mut self) -> Check {
        for app in 0..self.apps.len() {
            let left = self.pool.group_mut(self.apps[app].id).drain_queue();
            ensure!(left == self.apps[app].waiting, "left {left:?}, waiting {:?}", self.apps[app].waiting);
            self.give_up(app, &left);
        }
        self.check()
    }
}
