//! The world around the pool: time, what is going to happen, and the calls that the server's threads make. A call that would wake the
//! restart thread does so here too, and no other: a forgotten wake or deadline strands the schedule.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

use rota::ids::{AppName, Generation};
use rota::pool::{FailureKind, Limits, Pool, Settings};

use super::books::{App, Check, FIRST, ensure};
use super::rng::Rng;
use super::tally::{Saw, Tally};
use super::upgrades::Upgrades;

#[derive(Debug)]
pub struct World {
    pub pool: Pool<u32>,
    pub limits: Limits,
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
    /// What was asked of all apps, in its order.
    pub turns: Vec<(usize, Generation)>,
    /// Apps whose hold was ended by somebody.
    pub resumed: BTreeSet<usize>,
    pub upgrades: Upgrades,
}

/// How a schedule is run; no part of it.
#[derive(Debug)]
pub struct Told {
    pub start: Instant,
    pub talks: bool,
    pub upgrades: Upgrades,
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
    pub fn new(seed: u64, limits: Limits, told: Told) -> Self {
        let Told { start: now, talks, upgrades } = told;
        Self {
            pool: Pool::with_limits(limits),
            limits,
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
            turns: Vec::new(),
            resumed: BTreeSet::new(),
            upgrades,
        }
    }

    pub fn say(&self, line: impl FnOnce() -> String) {
        if self.talks {
            eprintln!("{:9.3}  {}", (self.now - self.start).as_secs_f64(), line());
        }
    }

    pub fn add(&mut self, settings: Settings, short: u64) {
        let name = AppName::new(&format!("app{}", self.apps.len())).expect("a name");
        self.say(|| format!("{name} {settings:?} short {short}"));
        let id = self.pool.add(name, settings.clone(), FIRST, self.now);
        let limited = self.limits.processes < usize::MAX;
        self.apps.push(App { limited, ..App::new(id, settings, short) });
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

    // ── checks ──

    pub fn check(&self) -> Check {
        self.pool.check()?;
        self.apps.iter().try_for_each(App::check)?;
        let there: usize = self.apps.iter().map(|app| app.there().count()).sum();
        ensure!(there <= self.limits.processes, "{there} processes on the machine");
        let booting: usize = self.apps.iter().map(App::booting).sum();
        ensure!(booting <= self.limits.boots(), "{booting} processes boot at once");
        Ok(())
    }

    /// How many more processes there may be than are there or wanted.
    pub fn room(&self) -> usize {
        self.limits.processes - self.apps.iter().map(App::share).sum::<usize>()
    }

    /// One more may boot, whoever it is.
    pub fn boots(&self) -> bool {
        self.apps.iter().map(App::booting).sum::<usize>() < self.limits.spawning
    }

    /// One more boots: no others are in its way but those that may be late.
    pub fn check_boots(&mut self) -> Check {
        let booting = self.apps.iter().map(App::booting).sum::<usize>();
        let in_time = self.apps.iter().map(|app| app.boots_in_time(self.now)).sum::<usize>();
        ensure!(in_time < self.limits.spawning, "{in_time} that cannot be late boot already");
        if booting >= self.limits.spawning {
            self.tally.saw(Saw::BesideLate);
        }
        Ok(())
    }

    /// Where there is no room for what a request waits for, nothing is kept that could make it.
    pub fn check_nobody_waits_for_nothing(&self) -> Check {
        let leaving = self.apps.iter().flat_map(App::there).any(|proc| proc.is_leaving());
        let waits = |app: &&App| !app.ending && app.paused.is_none() && !app.waiting.is_empty() && app.there().count() == 0;
        let able = |app: &&App| app.good.is_some() && app.ended_of_late(self.now).next().is_none();
        let Some(app) = self.apps.iter().filter(waits).find(able).filter(|_| self.room() == 0 && self.boots() && !leaving) else {
            return Ok(());
        };
        let others = self.apps.iter().filter(|other| other.id != app.id && other.walk.is_none());
        let idle = others.filter_map(|other| other.longest_idle()).next();
        ensure!(idle.is_none(), "{:?} has a request that waits and no room, and {idle:?} stays", app.id);
        Ok(())
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
                let counted = (shown.processed, shown.errors);
                ensure!(counted == (proc.processed, proc.errors), "{name} shows {counted:?} of {} and {}", proc.processed, proc.errors);
            }
            ensure!(view.queue_len == app.waiting.len() && view.good == app.good, "queue or good generation are shown wrongly");
            ensure!(view.pause.is_some() == app.paused.is_some(), "a hold is shown wrongly");
            // When it has just been woken the end of a walk may be still to tell.
            let hidden = app.walk == Some(FIRST) && app.wanted() == 0;
            ensure!(app.walk.is_none() || self.awake || hidden || view.walk.is_some(), "a walk is not shown");
        }
        Ok(())
    }
}
