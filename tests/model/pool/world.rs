//! The world around the pool: time, what is going to happen, and the calls that the server's threads make. A call that would wake the
//! restart thread does so here too, and no other: a forgotten wake or deadline strands the schedule.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use rota::ids::{AppName, Generation, ProcessId};
use rota::pool::{Admission, Claim, Ended, Exit, Failure, FailureKind, Pool, Settings, Trigger, WaitId};

use super::books::{App, Check, Request, ensure};
use super::rng::Rng;
use super::schedule::Tally;

#[derive(Debug)]
pub struct World {
    pub pool: Pool<u32>,
    pub apps: Vec<App>,
    pub rng: Rng,
    pub now: Instant,
    pub start: Instant,
    /// Since when nothing breaks any more that is not broken by its release, and every thread looks at once.
    pub calm: Option<Instant>,
    /// The next releases are good ones.
    pub good_releases: bool,
    /// The restart thread has been woken and has not looked yet.
    pub awake: bool,
    pub tally: Tally,
    pub talks: bool,
    future: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    planned: u64,
    pub pids: u32,
}

/// What is going to happen to a process (index in `App::procs`) or a request, at its time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Event {
    Ready { app: usize, proc: usize },
    GivenUp { app: usize, proc: usize },
    LeaderExits { app: usize, proc: usize, status: i32 },
    ChildrenExit { app: usize, proc: usize },
    Finished { app: usize, request: u32 },
}

impl World {
    pub fn new(seed: u64, talks: bool) -> Self {
        let now = Instant::now();
        Self {
            pool: Pool::new(),
            apps: Vec::new(),
            rng: Rng::new(seed),
            now,
            start: now,
            calm: None,
            good_releases: false,
            awake: true,
            tally: Tally::default(),
            talks,
            future: BinaryHeap::new(),
            planned: 0,
            pids: 1000,
        }
    }

    pub fn say(&self, line: impl FnOnce() -> String) {
        if self.talks {
            eprintln!("{:9.3}  {}", (self.now - self.start).as_secs_f64(), line());
        }
    }

    pub fn add(&mut self, settings: Settings) {
        let name = AppName::new(&format!("app{}", self.apps.len())).expect("a name");
        self.say(|| format!("{name} {settings:?}"));
        let id = self.pool.add(name, settings.clone(), self.now);
        self.apps.push(App::new(id, settings));
    }

    pub fn plan(&mut self, after_ms: u64, event: Event) {
        self.planned += 1;
        self.future.push(Reverse((self.now + Duration::from_millis(after_ms), self.planned, event)));
    }

    // ── time ──

    /// Lets time pass. Whatever falls due on the way happens, and wakes who waits for it.
    pub fn pass(&mut self, time: Duration) -> Check {
        let end = self.now + time;
        loop {
            self.look(self.calm.is_some())?;
            let event = self.future.peek().map(|Reverse((at, _, _))| *at);
            let deadline = self.pool.next_deadline();
            let expiry = self.pool.groups().filter_map(rota::pool::Group::queue_deadline).min();
            let next = [event, deadline, expiry].into_iter().flatten().min().filter(|next| *next <= end);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            if event == Some(next)
                && let Some(Reverse((_, _, event))) = self.future.pop()
            {
                self.happen(event)?;
            }
            if expiry == Some(next) {
                self.expire()?;
            }
            if deadline == Some(next) {
                self.awake = true;
            }
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Check {
        match event {
            Event::Ready { app, proc } => {
                let it = &self.apps[app].procs[proc];
                if it.leader && it.ended.is_none() && it.ready.is_none() {
                    let id = it.id;
                    self.say(|| format!("ready {id:?}"));
                    self.pool.group_mut(id.group).ready(id, self.now);
                    // The pool takes it for ready only when it has not told it to end.
                    if self.apps[app].procs[proc].first_signal.is_none() {
                        self.apps[app].procs[proc].ready = Some(self.now);
                    }
                    self.awake = true;
                }
                Ok(())
            }
            Event::GivenUp { app, proc } => {
                let it = &self.apps[app].procs[proc];
                let waits = it.leader && it.ready.is_none();
                if waits {
                    self.fail(app, proc, FailureKind::NotReady { after: self.apps[app].settings.ready_timeout, last: String::new() })
                } else {
                    Ok(())
                }
            }
            Event::LeaderExits { app, proc, status } => self.exit(app, proc, status),
            Event::ChildrenExit { app, proc } => {
                self.apps[app].procs[proc].children = false;
                self.awake = true;
                Ok(())
            }
            Event::Finished { app, request } => self.finish(app, request),
        }
    }

    // ── processes ──

    /// The I/O thread of a process says that it will not do.
    pub fn fail(&mut self, app: usize, proc: usize, kind: FailureKind) -> Check {
        let fell = self.apps[app].fell(proc, self.now);
        let it = &mut self.apps[app].procs[proc];
        let id = it.id;
        it.failed |= fell;
        it.ended.get_or_insert(self.now);
        it.serving = false;
        it.draining = None;
        self.say(|| format!("failed {id:?}: {kind}"));
        self.pool.group_mut(id.group).start_failed(id, Failure { kind, output: Vec::new() }, self.now);
        self.awake = true;
        self.release_claims(app, proc);
        self.check()
    }

    pub fn exit(&mut self, app: usize, proc: usize, status: i32) -> Check {
        let fell = self.apps[app].fell(proc, self.now);
        let it = &mut self.apps[app].procs[proc];
        if !it.leader {
            return Ok(());
        }
        let id = it.id;
        it.failed |= fell;
        it.leader = false;
        it.ended.get_or_insert(self.now);
        it.serving = false;
        self.say(|| format!("exit {id:?} status {status}"));
        self.pool.group_mut(id.group).exited(id, Exit::Status(status), Vec::new(), self.now);
        self.awake = true;
        self.release_claims(app, proc);
        self.check()
    }

    /// The I/O thread notices soon that its sessions are over, or much later.
    pub fn release_claims(&mut self, app: usize, proc: usize) {
        let id = self.apps[app].procs[proc].id;
        for request in self.claims_on(app, id) {
            let soon = if self.rng.percent(80) { self.rng.within(0, 20) } else { self.rng.within(0, 3_000) };
            self.plan(soon, Event::Finished { app, request });
        }
    }

    fn claims_on(&self, app: usize, id: ProcessId) -> Vec<u32> {
        let on = |request: &Request| matches!(request, Request::Claimed(claim) if claim.process() == id);
        (0..).zip(&self.apps[app].requests).filter(|(_, request)| on(request)).map(|(number, _)| number).collect()
    }

    // ── requests ──

    pub fn arrive(&mut self, app: usize) -> Check {
        let number = self.apps[app].requests.len() as u32;
        let ids: Vec<ProcessId> = self.apps[app].procs.iter().map(|proc| proc.id).collect();
        let home = if self.rng.percent(50) { self.rng.pick(&ids) } else { None };
        let books = &self.apps[app];
        let room = |proc: &&super::books::Proc| proc.serving && proc.claims < books.settings.concurrency;
        let best = books.procs.iter().filter(room).map(|proc| (proc.claims, Reverse(proc.generation))).min();
        let at_home = books.procs.iter().filter(room).any(|proc| Some(proc.id) == home);
        let id = WaitId(u64::from(number));
        match self.pool.group_mut(books.id).admit(home, id, number, self.now) {
            Admission::Claimed(claim, back) => {
                ensure!(back == number, "another request came back");
                let proc = &books.procs[books.index(claim.process())?];
                ensure!(room(&proc), "a claim on {:?}, which does not serve or is full", proc.id);
                ensure!(!at_home || Some(proc.id) == home, "home has room and was left");
                ensure!(at_home || best == Some((proc.claims, Reverse(proc.generation))), "not the best process was chosen");
                self.apps[app].requests.push(Request::Over);
                self.granted(app, claim, number)?;
            }
            Admission::Queued => {
                ensure!(best.is_none(), "a request waits beside a free slot");
                self.apps[app].requests.push(Request::Waiting { id, since: self.now });
                self.apps[app].waiting.push(number);
                self.tally.waited += 1;
            }
            Admission::Full(back) => {
                let coming = books.there().any(|proc| proc.serving || proc.is_coming());
                let full = books.waiting.len() == books.settings.queue_max || (books.ending && !coming);
                ensure!(back == number && full, "refused with {} waiting", books.waiting.len());
                self.apps[app].requests.push(Request::Over);
                self.tally.refused += 1;
            }
        }
        self.tally.requests += 1;
        self.check()
    }

    /// A slot was given to a request; how long it takes is chance.
    pub fn granted(&mut self, app: usize, claim: Claim, request: u32) -> Check {
        let proc = self.apps[app].index(claim.process())?;
        self.apps[app].procs[proc].claims += 1;
        self.apps[app].requests[request as usize] = Request::Claimed(claim);
        let takes = match self.rng.within(0, 99) {
            0..80 => self.rng.within(0, 400),
            80..97 => self.rng.within(400, 10_000),
            _ => self.rng.within(10_000, 60_000),
        };
        self.plan(takes, Event::Finished { app, request });
        Ok(())
    }

    /// A slot was given to one that waited: it must be the one that has waited longest.
    pub fn granted_from_queue(&mut self, app: usize, claim: Claim, request: u32) -> Check {
        let books = &mut self.apps[app];
        ensure!(books.waiting.first() == Some(&request), "request {request} overtook {:?}", books.waiting);
        books.waiting.remove(0);
        let proc = books.index(claim.process())?;
        ensure!(books.procs[proc].serving, "a slot of {:?}, which does not serve", claim.process());
        self.granted(app, claim, request)
    }

    pub fn finish(&mut self, app: usize, request: u32) -> Check {
        let over = std::mem::replace(&mut self.apps[app].requests[request as usize], Request::Over);
        let Request::Claimed(claim) = over else {
            // A second end of the same request was planned, or it still waits.
            self.apps[app].requests[request as usize] = over;
            return Ok(());
        };
        let ended = self.rng.pick(&[Ended::Answered(200), Ended::Answered(500), Ended::AppFailed, Ended::Cut, Ended::Unused]);
        let proc = self.apps[app].index(claim.process())?;
        self.apps[app].procs[proc].claims -= 1;
        self.apps[app].procs[proc].idle = self.now;
        let gone = self.apps[app].procs[proc].gone;
        let group = self.apps[app].id;
        let next = self.pool.group_mut(group).finish(claim, ended.unwrap_or(Ended::Unused), self.now);
        if let Some((claim, next)) = next {
            ensure!(!gone, "a process that is gone grants a slot");
            self.granted_from_queue(app, claim, next)?;
        }
        self.awake |= self.pool.group(group).wakes_restart();
        self.check()
    }

    pub fn leave(&mut self, app: usize) -> Check {
        let Some(request) = self.rng.pick(&self.apps[app].waiting) else { return Ok(()) };
        let over = std::mem::replace(&mut self.apps[app].requests[request as usize], Request::Over);
        let Request::Waiting { id, .. } = over else { return Err(format!("request {request} does not wait")) };
        self.apps[app].waiting.retain(|other| *other != request);
        let group = self.pool.group_mut(self.apps[app].id);
        ensure!(group.leave(id) == Some(request), "request {request} could not leave");
        ensure!(group.leave(id).is_none(), "request {request} left twice");
        self.awake |= group.wakes_restart();
        self.check()
    }

    fn expire(&mut self) -> Check {
        for app in 0..self.apps.len() {
            let group = self.pool.group_mut(self.apps[app].id);
            let expired = group.expire(self.now);
            self.awake |= group.wakes_restart();
            let limit = self.apps[app].settings.queue_timeout;
            let now = self.now;
            let is_old = |books: &App, request: &u32| matches!(books.requests[*request as usize], Request::Waiting { since, .. } if now >= since + limit);
            let old: Vec<u32> = self.apps[app].waiting.iter().copied().filter(|request| is_old(&self.apps[app], request)).collect();
            ensure!(expired == old, "expired {expired:?}, too old were {old:?}");
            self.give_up(app, &expired);
        }
        self.check()
    }

    fn give_up(&mut self, app: usize, requests: &[u32]) {
        for request in requests {
            self.apps[app].waiting.retain(|other| other != request);
            self.apps[app].requests[*request as usize] = Request::Over;
        }
    }

    // ── what people ask for ──

    pub fn restart(&mut self, app: usize) -> Generation {
        let generation = self.pool.group_mut(self.apps[app].id).restart(Trigger::Command, self.now);
        self.say(|| format!("restart app{app}: {generation}"));
        self.asked(app, generation);
        generation
    }

    pub fn restart_all(&mut self) {
        let asked = self.pool.restart_all(Trigger::Signal, self.now);
        self.say(|| format!("restart all: {asked:?}"));
        for (app, (_, generation)) in asked.into_iter().enumerate() {
            self.asked(app, generation);
        }
    }

    fn asked(&mut self, app: usize, generation: Generation) {
        self.tally.restarts += 1;
        self.apps[app].asked.entry(generation).or_insert(None);
        self.awake = true;
    }

    pub fn stop(&mut self, at_once: bool) {
        self.say(|| format!("stop, at once: {at_once}"));
        if at_once {
            self.pool.stop_now(self.now)
        } else {
            self.pool.stop(self.now)
        }
        for app in &mut self.apps {
            app.ending = true;
            app.ending_now |= at_once;
        }
        self.awake = true;
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

    // ── checks ──

    pub fn check(&self) -> Check {
        self.pool.check()?;
        self.apps.iter().try_for_each(App::check)
    }

    /// The status says what the world knows.
    pub fn check_views(&self) -> Check {
        for app in &self.apps {
            let view = self.pool.group(app.id).view(self.now);
            ensure!(view.processes.len() == app.there().count(), "the status shows {} processes", view.processes.len());
            for proc in app.there() {
                let name = self.pool.group(app.id).name_of(proc.id).ok_or("a process without a name")?;
                let shown = view
                    .processes
                    .iter()
                    .find(|shown| shown.name == name && shown.pid == proc.pid)
                    .ok_or(format!("{name} is not shown"))?;
                ensure!(shown.sessions == proc.claims, "{name} shows {} sessions, {} are so", shown.sessions, proc.claims);
                ensure!((shown.state == "serving") == proc.serving, "{name} is shown as {}", shown.state);
            }
            ensure!(view.queue_len == app.waiting.len() && view.good == app.good, "queue or good generation are shown wrongly");
            let untold = app.walk.is_some_and(|walk| self.pool.group(app.id).outcome(walk).is_some());
            ensure!(app.walk.is_none() || untold || view.walk.is_some(), "a walk is not shown");
        }
        Ok(())
    }
}
