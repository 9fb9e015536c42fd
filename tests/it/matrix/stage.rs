//! One cell under way: the server, the load, and what has been deployed and said so far.

use std::time::{Duration, Instant};

use crate::site::{Said, Site, kill};
use crate::tally::Tally;
use crate::traffic::{Kind, Load};
use crate::wait::{self, millis, secs};

use super::cells::Cell;
use super::judge::Span;

#[derive(Debug)]
pub struct Stage<'a> {
    pub cell: &'a Cell,
    pub site: Site,
    load: Load,
    /// Releases so far; each has a version of its own.
    releases: u32,
    /// The versions that serve between two restarts: one, or two after a release that failed half-way.
    serving: Vec<String>,
    pub spans: Vec<Span>,
    /// Restarts that were asked for, ten triggers of one release being one.
    pub deployments: usize,
    pub statuses: Vec<i32>,
    pub kills: usize,
}

/// What the group is after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub old: usize,
    pub new: usize,
}

impl<'a> Stage<'a> {
    /// The first release serves, and the load has begun.
    pub fn set(cell: &'a Cell, kinds: &[Kind]) -> Self {
        let site = Site::prepare(&cell.config());
        site.release("1", cell.row.behaviour());
        site.flip("1");
        let site = site.serve();
        let load = Load::start(site.addr, kinds);
        let serving = vec!["1".to_owned()];
        let (spans, statuses) = (Vec::new(), Vec::new());
        let stage = Self { cell, site, load, releases: 1, serving, spans, deployments: 0, statuses, kills: 0 };
        stage.see_traffic();
        stage
    }

    pub fn counted(&self) -> usize {
        self.load.counted().iter().sum()
    }

    /// The server goes on; the count of the whole load.
    pub fn end(self) -> (Tally, Vec<Span>, Site) {
        (self.load.stop(), self.spans, self.site)
    }

    /// Something happens under load that ends with the group as `act` says; `new` is what it deploys. All of it is waited for: the right
    /// processes serve, and nothing else of this site is alive.
    pub fn span(&mut self, new: &str, act: impl FnOnce(&mut Self) -> Left) {
        let began = Instant::now();
        let before = self.newest();
        let left = act(self);
        let told = Instant::now();
        let old = std::mem::take(&mut self.serving);
        let both = || old.iter().cloned().chain([new.to_owned()]).collect::<Vec<_>>();
        let (during, after) = match left {
            // None of it ever had a request.
            Left { new: 0, .. } => (old.clone(), old),
            Left { old: 0, .. } => (both(), vec![new.to_owned()]),
            Left { .. } => (both(), both()),
        };
        self.serving = after.clone();
        self.spans.push(Span { began, told, during, after });
        self.settle(before, left);
        self.see_traffic();
    }

    /// In the last span this version may have answered too: it was replaced again before the end.
    pub fn also_during(&mut self, version: &str) {
        self.spans.last_mut().expect("a span has ended").during.push(version.to_owned());
    }

    /// Writes the next release and points `current` at it; its version.
    pub fn release(&mut self, behaviour: &str) -> String {
        let version = self.write(behaviour);
        self.site.flip(&version);
        version
    }

    /// As [`Stage::release`]; its process `number` does not boot until [`open`] says so.
    pub fn gated(&mut self, number: usize) -> String {
        self.release(&format!("process={number} boot_waits"))
    }

    /// Writes the next release; its version.
    pub fn write(&mut self, behaviour: &str) -> String {
        self.releases += 1;
        let version = self.releases.to_string();
        self.site.release(&version, behaviour);
        version
    }

    /// A release that works, and the restart's whole answer.
    pub fn good_release(&mut self) {
        let version = self.release(self.cell.row.behaviour());
        self.span(&version, |stage| {
            let said = stage.site.rota(&["restart", "app"]);
            stage.note(&said, 0)
        });
    }

    /// A restart has ended; what is left when all went well.
    #[track_caller]
    pub fn note(&mut self, said: &Said, status: i32) -> Left {
        self.deployments += 1;
        said.expect(status);
        self.statuses.push(status);
        Left { old: 0, new: self.cell.processes }
    }

    /// Kills a process in the middle of a walk.
    pub fn fault(&self, pid: u32) {
        assert!(self.walks(), "the walk had ended before the fault");
        kill(pid, rustix::process::Signal::KILL);
    }

    pub fn walks(&self) -> bool {
        !self.site.status()["apps"][0]["walk"].is_null()
    }

    pub fn newest(&self) -> u64 {
        self.site.processes().iter().map(|(_, generation, _, _)| *generation).max().expect("a group is never empty here")
    }

    /// Pids of processes of generations after `generation` in a state.
    pub fn newer(&self, generation: u64, state: &str) -> Vec<u32> {
        let is_it = |(_, g, pid, s): &(u64, u64, u32, String)| *g > generation && s == state && *pid > 0;
        self.site.processes().iter().filter(|process| is_it(process)).map(|(_, _, pid, _)| *pid).collect()
    }

    /// Waits until the group is what it should be, and nothing else is left of what was started.
    fn settle(&self, before: u64, left: Left) {
        let mut seen = String::new();
        let settled = wait::becomes_so(SETTLED, &mut || {
            let processes = self.site.processes();
            let newest = processes.iter().map(|(_, generation, _, _)| *generation).max().unwrap_or_default();
            let of = |wanted: &dyn Fn(u64) -> bool| processes.iter().filter(|(_, g, _, state)| state == "serving" && wanted(*g)).count();
            let is = Left { old: of(&|g| g <= before), new: of(&|g| g > before && g == newest) };
            let strays = strays(&self.site, &processes.iter().map(|(_, _, pid, _)| *pid).collect::<Vec<_>>());
            seen = format!("{processes:?}, strays {strays:?}, walk {}", self.walks());
            is == left && processes.len() == self.cell.processes && strays.is_empty() && !self.walks()
        });
        assert!(settled, "{}: not {left:?} within {SETTLED:?}: {seen}", self.cell);
    }

    /// Waits until every client but the slowest has had some more answers.
    fn see_traffic(&self) {
        let from = self.counted();
        wait::until("requests are answered", secs(30), || self.counted() >= from + ANSWERS);
    }

    /// Waits until no client has in hand what it had before. A request that meets a second death is told so, and that is right: it could
    /// be what kills them.
    pub fn see_every_client(&self) {
        let from = self.load.counted();
        wait::until("every client has an answer", secs(60), || self.load.counted().iter().zip(&from).all(|(now, then)| now > then));
    }
}

/// Processes that were started for this site and belong to no session of these leaders.
fn strays(site: &Site, leaders: &[u32]) -> Vec<u32> {
    // One that ended while we looked is none. From /proc, which has a number (0) where the leader is outside this container; field 6 (proc(5)).
    let session = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(3)?.parse::<u32>().ok()
    };
    site.left().into_iter().filter(|pid| session(pid).is_some_and(|session| !leaders.contains(&session))).collect()
}

/// Keeps a request in an old process, so that the walk cannot be over before the test wants it to be.
pub fn holding<T>(stage: &mut Stage, work: impl FnOnce(&mut Stage, &dyn Fn(&Stage)) -> T) -> T {
    let name = format!("gate{}", stage.deployments);
    let (addr, target) = (stage.site.addr, format!("/hold?name={name}&mark={name}"));
    let old = stage.serving[0].clone();
    let held = std::thread::spawn(move || crate::wire::get(addr, &target));
    wait::until("the held request is with an app", secs(20), || stage.site.marks().contains(&name));
    let done = work(stage, &|stage: &Stage| stage.site.open(&name));
    let reply = held.join().expect("a client does not panic").unwrap_or_else(|trouble| panic!("the held request: {trouble:?}"));
    assert_eq!((reply.status, reply.text()), (200, old), "the held request");
    done
}

/// Lets the gated process of a release boot.
pub fn open(site: &Site, version: &str) {
    site.open(&format!("boot-{version}"));
}

/// Ten triggers in one second, evenly.
pub fn pace(began: Instant, turn: u32) {
    std::thread::sleep((began + TENTH * turn).saturating_duration_since(Instant::now()));
}

/// Answers that show traffic: more than the clients have in hand at once.
const ANSWERS: usize = 100;
const TENTH: Duration = millis(100);
const SETTLED: Duration = secs(20);
