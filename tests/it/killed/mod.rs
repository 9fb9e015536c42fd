//! rota itself killed at random instants of deployments, and started again: what it serves then is the release that was accepted last, never
//! one that was only tried, and the record on the disk is whole.
//!
//! One site lives through all kills. `ROTA_KILLS=1000` asks for more of them, `ROTA_SEED` for other choices.

mod first;
mod moment;
mod record;

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::seed::{self, Rng};
use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire;
use moment::{Moment, Writes};
pub use record::Record;

const APP: &str = "processes = 2\nconcurrency = 16\nbind = \"unix\"\nprobation = \"30ms\"\nready.timeout = \"3s\"\nstop.timeout = \"200ms\"\non_failure = \"resist\"\nsurge = 1";
const GOOD: [&str; 3] = ["", "boot_delay 20", "ignores_term"];
const BROKEN: [&str; 4] = ["exit_at_boot 1", "hang_at_boot", "answers 500", HALF];
/// The first of two processes is replaced.
const HALF: &str = "process=2 exit_at_boot 1";

#[test]
fn whenever_rota_is_killed_it_serves_again_what_was_accepted_last() {
    let seed = seed::number("ROTA_SEED").unwrap_or(1);
    let kills = seed::number("ROTA_KILLS").unwrap_or(25);
    let mut world = World::new(seed);
    for _ in 0..kills {
        world.round();
    }
    println!("seed {seed}: {kills} kills of rota, {} starts that served what was accepted last; by what they hit:", world.served);
    for (phase, count) in &world.phases {
        println!("  {phase:<44} {count:>5}");
    }
}

/// The site, and what is known about it.
struct World {
    seed: u64,
    rng: Rng,
    site: Site,
    round: u64,
    /// Every release, and what it does.
    releases: BTreeMap<String, &'static str>,
    /// What `current` names.
    root: String,
    /// What a deployment of a good release took.
    usual: Duration,
    /// The log of the rota that was killed, for the report of a failure.
    killed_log: String,
    served: u64,
    phases: BTreeMap<String, u64>,
}

/// What is under way when rota is killed.
struct Deployment {
    /// None: nothing is asked for.
    arguments: Vec<String>,
    /// What is to be served when it is done.
    target: String,
    /// What `current` names from then on.
    root: Option<String>,
    /// It is a start of rota that is interrupted, not a command.
    start: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let site = Site::start(APP);
        let mut world = Self {
            seed,
            rng: Rng::new(seed),
            site,
            round: 0,
            releases: BTreeMap::from([("1".to_owned(), "")]),
            root: "1".to_owned(),
            usual: Duration::ZERO,
            killed_log: String::new(),
            served: 0,
            phases: BTreeMap::new(),
        };
        let began = Instant::now();
        let version = world.new_release(true);
        world.site.rota(&["deploy", "app", &world.directory(&version)]).expect(0);
        world.usual = began.elapsed();
        world
    }

    #[track_caller]
    fn must(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            let lines: Vec<&str> = self.killed_log.lines().collect();
            let log = lines[lines.len().saturating_sub(60)..].join("\n");
            let (seed, round) = (self.seed, self.round);
            panic!("ROTA_SEED={seed}, kill {round}: {}\n── the log of the rota that was killed ──\n{log}\n", what());
        }
    }

    #[track_caller]
    fn sound<T>(&self, result: Result<T, String>) -> T {
        result.unwrap_or_else(|what| {
            self.must(false, || what);
            unreachable!("must does not return")
        })
    }

    fn directory(&self, version: &str) -> String {
        self.site.path("releases").join(version).display().to_string()
    }

    fn new_release(&mut self, good: bool) -> String {
        let version = (self.releases.len() + 1).to_string();
        let behaviour = self.rng.pick(if good { &GOOD[..] } else { &BROKEN[..] }).unwrap();
        self.site.release(&version, behaviour);
        self.releases.insert(version.clone(), behaviour);
        version
    }

    fn works(&self, version: &str) -> bool {
        GOOD.contains(&self.releases[version])
    }

    /// One kill, and the start after it.
    fn round(&mut self) {
        self.round += 1;
        let before = self.sound(Record::read(&self.site));
        let deployment = self.choose(&before);
        let moment = Moment::choose(&mut self.rng, self.usual);
        let done = self.carry_out(&deployment, moment);
        let after = self.sound(Record::read(&self.site));
        self.sound(after.check_history());
        self.judge(&before, &deployment, done, &after);
        self.count(&before, &deployment, done, &after);
        self.start_again(&after);
    }

    fn choose(&mut self, before: &Record) -> Deployment {
        let good = before.good.clone().expect("one was accepted before the first kill");
        let version = match self.rng.within(0, 99) {
            0..55 => self.new_release(true),
            55..85 => self.new_release(false),
            // Again one that served, failed, or was cut short.
            _ => {
                let known: Vec<String> = self.releases.keys().cloned().collect();
                self.rng.pick(&known).unwrap()
            }
        };
        let command = |verb: &str| vec![verb.to_owned(), "app".to_owned()];
        let directory = self.directory(&version);
        match self.rng.within(0, 99) {
            0..40 => {
                let arguments = [command("deploy"), vec![directory]].concat();
                Deployment { arguments, target: version, root: None, start: false }
            }
            40..70 => {
                // A restart stays with what a command chose, for as long as root names what was passed over then.
                let target = if before.passed_over.as_ref() == Some(&version) { good } else { version.clone() };
                Deployment { arguments: command("restart"), target, root: Some(version), start: false }
            }
            70..85 if !before.earlier.is_empty() => {
                let target = before.earlier.last().cloned().expect("it is not empty");
                Deployment { arguments: command("rollback"), target, root: None, start: false }
            }
            70..95 => Deployment { arguments: Vec::new(), target: good, root: None, start: true },
            _ => Deployment { arguments: Vec::new(), target: version.clone(), root: Some(version), start: false },
        }
    }

    /// Carries it out up to the kill. True: the command had reported it as done.
    fn carry_out(&mut self, deployment: &Deployment, moment: Moment) -> bool {
        let flip = |world: &mut Self| {
            if let Some(version) = &deployment.root {
                world.site.flip(version);
                world.root.clone_from(version);
            }
        };
        if deployment.start {
            self.end();
            self.site.launch();
            let delay = self.rng.within(0, self.usual.as_micros() as u64);
            std::thread::sleep(Duration::from_micros(delay));
            self.end();
            return false;
        }
        if deployment.arguments.is_empty() {
            self.end();
            flip(self);
            return false;
        }
        flip(self);
        let arguments: Vec<&str> = deployment.arguments.iter().map(String::as_str).collect();
        let writes = Writes::of(&self.site.path("state"));
        let mut command = self.site.command(&arguments);
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // The moment itself is what is chosen here: there is nothing to wait for.
        let output = match moment {
            Moment::After(delay) => {
                std::thread::sleep(delay);
                self.end();
                command.wait_with_output()
            }
            Moment::Write { nth, event, then } => {
                writes.wait(nth, event, self.usual * 3);
                std::thread::sleep(then);
                self.end();
                command.wait_with_output()
            }
            Moment::Told(then) => {
                let output = command.wait_with_output();
                std::thread::sleep(then);
                self.end();
                output
            }
        };
        output.unwrap().status.code() == Some(0)
    }

    /// Kills rota, and waits until nothing of the site is left: the keeper's work.
    fn end(&mut self) {
        self.site.signal(Signal::KILL);
        self.site.wait_end(secs(10));
        self.killed_log = self.site.log();
        let empty = wait::becomes_so(secs(10), &mut || self.site.left().is_empty());
        self.must(empty, || format!("processes were left when rota was killed: {:?}", self.site.left()));
    }

    /// What the record says must be what happened.
    fn judge(&self, before: &Record, deployment: &Deployment, done: bool, after: &Record) {
        let (old, target) = (before.good.clone(), Some(deployment.target.clone()));
        let may_be_target = self.works(&deployment.target) && !deployment.arguments.is_empty();
        let caught_up = deployment.start && before.is_new(&self.root) && after.good.as_ref() == Some(&self.root) && self.works(&self.root);
        self.must(after.good == old || (may_be_target && after.good == target) || caught_up, || {
            format!("the record says that {:?} is good; it was {old:?}, and {target:?} was under way", after.good)
        });
        self.must(!done || after.good == target, || {
            format!("{target:?} was reported as done, and the record says that {:?} is good", after.good)
        });
        self.must(!done || self.works(&deployment.target), || format!("{target:?} is broken and was reported as done"));
        self.must(after.generation >= before.generation, || "the generation went back".to_owned());
    }

    fn count(&mut self, before: &Record, deployment: &Deployment, done: bool, after: &Record) {
        let phase = self.phase(before, deployment, done, after);
        *self.phases.entry(phase).or_default() += 1;
    }

    /// How far the walk was, from the log and the record.
    fn phase(&self, before: &Record, deployment: &Deployment, done: bool, after: &Record) -> String {
        if deployment.arguments.is_empty() {
            return if deployment.start { "a start of rota" } else { "nothing under way; root changed after it" }.to_owned();
        }
        if done {
            return "reported as done".to_owned();
        }
        let generation = before.generation + 1;
        let last = |what: &str| self.killed_log.lines().filter(|line| line.contains(&format!(" g{generation}{what}"))).count();
        let of_walk = |what: &str| {
            let name = format!(" g{generation} pid ");
            self.killed_log.lines().any(|line| line.contains("app/") && line.contains(&name) && line.contains(what))
        };
        let written = after.history.iter().any(|entry| entry.generation == generation);
        match (last(": every process is replaced"), last(": failed"), last(": serving")) {
            (1.., _, _) if written => "accepted and written down, not told".to_owned(),
            (1.., _, _) => "accepted, being written down".to_owned(),
            (_, 1.., _) => "failed".to_owned(),
            (_, _, replaced @ 1..) => format!("{replaced} of 2 replaced"),
            _ if of_walk(": ready after") => "the first in probation".to_owned(),
            _ if of_walk(": started") => "the first boots".to_owned(),
            _ if last(": from") > 0 && after.generation == before.generation => "resolved, being written down".to_owned(),
            _ if last(": from") > 0 => "resolved and written down".to_owned(),
            _ => "not resolved yet".to_owned(),
        }
    }

    /// rota comes back with what the record says, and deploys what root names only if nobody has asked for that before.
    fn start_again(&mut self, record: &Record) {
        let good = record.good.clone().expect("one was accepted before the first kill");
        self.reconfigure();
        self.site.launch();
        let addr = self.site.addr;
        let mut first = None;
        let answers = wait::becomes_so(secs(20), &mut || {
            first = wire::get(addr, "/").ok().filter(|reply| reply.status == 200).map(|reply| reply.text());
            first.is_some()
        });
        self.must(answers, || format!("rota does not serve again; its log:\n{}", self.site.log()));
        let first = first.expect("it answers");
        self.must(first == good, || format!("{first} is served first, {good} was accepted last; {record:?}"));
        let catches_up = record.is_new(&self.root);
        let settled = self.settle(record.generation, catches_up);
        self.sound(settled.check_history());
        let serves = if catches_up && self.works(&self.root) { self.root.clone() } else { good };
        let (is, log) = (settled.good.clone(), self.site.log());
        self.must(is.as_ref() == Some(&serves), || format!("{is:?} is good after the start, {serves} should be; root names {}", self.root));
        self.must(catches_up == log.contains("which is new: deploying it"), || {
            format!("root names {}, which is new: {catches_up}; {record:?}\n{log}", self.root)
        });
        // With `on_failure = "resist"` what a walk had replaced before it failed stays.
        let half = catches_up && self.releases[&self.root] == HALF;
        for _ in 0..4 {
            let answer = wire::get(addr, "/").map(|reply| (reply.status, reply.text()));
            let right = |version: &String| answer == Ok((200, version.clone()));
            self.must(right(&serves) || (half && right(&self.root)), || format!("{answer:?} is served, {serves} should be"));
        }
        self.served += 1;
    }

    /// Walks take other ways from now on.
    fn reconfigure(&mut self) {
        let file = self.site.path("rota.toml");
        let (policy, surge) = (self.rng.pick(&["resist", "rollback"]).unwrap(), self.rng.within(0, 1));
        let line = |line: &str| match line.split(" = ").next() {
            Some("on_failure") => format!("on_failure = {policy:?}\n"),
            Some("surge") => format!("surge = {surge}\n"),
            _ => format!("{line}\n"),
        };
        let config: String = fs::read_to_string(&file).unwrap().lines().map(line).collect();
        fs::write(file, config).unwrap();
    }

    /// The record when the start, and the deployment of what is new, have ended.
    fn settle(&self, older: u64, catches_up: bool) -> Record {
        let mut settled = None;
        let ended = wait::becomes_so(secs(20), &mut || {
            settled = Record::read(&self.site).ok().filter(|record| {
                let newer: Vec<_> = record.history.iter().filter(|entry| entry.generation > older).collect();
                let started = newer.iter().any(|entry| entry.kind == "start" && entry.outcome == "done");
                let deployed = newer.iter().any(|entry| entry.kind == "deploy" && entry.trigger == "boot");
                started && (deployed || !catches_up)
            });
            settled.is_some()
        });
        self.must(ended, || format!("the start has not ended; {:?}\n{}", Record::read(&self.site), self.site.log()));
        // Nothing more comes by itself. Whoever asks now makes the very next generation.
        let idle = wait::becomes_so(secs(20), &mut || self.site.status()["apps"][0]["walk"].is_null());
        self.must(idle, || format!("something is still under way:\n{}", self.site.log()));
        settled.expect("it has ended")
    }
}
