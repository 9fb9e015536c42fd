//! The pool by example: each test is one story, told by the steps that the table names.

mod change;
mod deaths;
mod deployments;
mod failures;
mod leader;
mod machine;
mod outlast;
mod requests;
mod restarts;
mod room;
mod save;
mod sizes;
mod status;
mod sticky;
mod stopping;
mod wear;

use super::*;

/// One app `blog` and its world: every spawn succeeds at once, every release resolves unless said otherwise.
struct Rig {
    pool: Pool<&'static str>,
    group: GroupId,
    now: Instant,
    /// Processes by their short names, `"2 g7"`; the pid of a process is its serial plus 100.
    ids: Vec<(String, ProcessId)>,
    releases: Result<(), Failure>,
    spawns: Result<(), Failure>,
    /// The next spawn finds memory short.
    memory: Option<String>,
    waits: u64,
    /// Several apps: the name of a process begins with its app's.
    names_apps: bool,
}

const SETTINGS: Settings = Settings {
    processes: Sizes::fixed(2),
    concurrency: 1,
    queue_max: 3,
    queue_timeout: Duration::from_secs(30),
    ready_timeout: Duration::from_secs(60),
    probation: Duration::from_secs(2),
    drain_timeout: Duration::from_secs(30),
    drain_longest: Duration::from_secs(600),
    stop_timeout: Duration::from_secs(10),
    on_failure: OnFailure::Resist,
    surge: 1,
    leader: LeaderPolicy::Overlap,
    bake: None,
    lifespan: UNLIMITED,
};

const UNLIMITED: Lifespan = Lifespan { requests: None, age: None, memory: None, memory_hard: None, processes: None };

impl Rig {
    fn new(settings: Settings) -> Self {
        Self::of(Limits::default(), [("blog", settings)])
    }

    /// Several apps under limits. Their processes have the app's name before their own: `"blog/2 g7"`.
    fn of<const APPS: usize>(limits: Limits, apps: [(&str, Settings); APPS]) -> Self {
        let (mut pool, now) = (Pool::with_limits(limits), Instant::now());
        let add = |(name, settings)| pool.add(AppName::new(name).unwrap(), settings, Generation(1), now);
        let group = apps.map(add)[0];
        Self { pool, group, now, ids: Vec::new(), releases: Ok(()), spawns: Ok(()), memory: None, waits: 0, names_apps: APPS > 1 }
    }

    /// All of generation 1 serve and have proved themselves.
    fn serving(settings: Settings) -> Self {
        let processes = settings.processes.min;
        let mut rig = Self::new(settings);
        rig.steps();
        for number in 1..=processes {
            rig.ready(&format!("{number} g1"));
            rig.steps();
        }
        rig.after(2.0);
        assert_eq!(rig.steps(), ["g1: every process is replaced"]);
        rig
    }

    fn group(&mut self) -> &mut Group<&'static str> {
        self.pool.group_mut(self.group)
    }

    fn id(&self, name: &str) -> ProcessId {
        self.ids.iter().rev().find(|(other, _)| other == name).unwrap_or_else(|| panic!("no process {name}")).1
    }

    fn short(&self, id: ProcessId) -> String {
        self.ids.iter().find(|(_, other)| *other == id).map(|(name, _)| name.clone()).unwrap()
    }

    /// The stories that follow are of this app.
    fn turn_to(&mut self, app: &str) {
        self.group = self.pool.find(app).unwrap();
    }

    fn called(&self, name: &ProcessName) -> String {
        let short = format!("{} {}", name.number, name.generation);
        if self.names_apps { format!("{}/{short}", name.app) } else { short }
    }

    fn after(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    /// What is to be done now, one line each.
    fn steps(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(step) = self.pool.next_step(self.now) {
            lines.push(self.carry_out(step));
            self.pool.check().unwrap();
            assert!(lines.len() < 100, "no end of steps: {lines:#?}");
        }
        assert!(self.pool.next_deadline().is_none_or(|deadline| deadline > self.now), "it would be asked again and again");
        lines
    }

    /// As [`Rig::steps`], and the slots that requests got.
    fn steps_and_claims(&mut self) -> (Vec<String>, Vec<Claim>) {
        let (mut lines, mut claims) = (Vec::new(), Vec::new());
        while let Some(mut step) = self.pool.next_step(self.now) {
            let granted =
                if let Step::Serve { granted, .. } | Step::Grant { granted } = &mut step { std::mem::take(granted) } else { vec![] };
            let names = granted.iter().map(|(_, waiting)| format!(", grant {waiting}")).collect::<String>();
            lines.push(self.carry_out(step) + &names);
            claims.extend(granted.into_iter().map(|(claim, _)| claim));
        }
        (lines, claims)
    }

    /// Goes from deadline to deadline, for `seconds` in all.
    fn steps_for(&mut self, seconds: f64) -> Vec<String> {
        let end = self.now + Duration::from_secs_f64(seconds);
        let mut lines = self.steps();
        while let Some(deadline) = self.pool.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = deadline;
            lines.extend(self.steps());
        }
        self.now = end;
        lines
    }

    fn carry_out(&mut self, step: Step<&'static str>) -> String {
        let now = self.now;
        match step {
            Step::Resolve { ask, group } => {
                let result = self.releases.clone();
                self.pool.group_mut(group).resolved(ask.generation, result, now);
                format!("resolve {}", ask.generation)
            }
            Step::Spawn { id, name } => {
                let short = self.called(&name);
                let group = id.group;
                self.ids.push((short.clone(), id));
                if let Some(found) = self.memory.take()
                    && self.pool.group_mut(group).postpone(id, found.clone())
                {
                    return format!("no memory for {short}: {found}");
                }
                match self.spawns.clone() {
                    Ok(()) => self.pool.group_mut(group).spawned(id, id.serial + 100, now),
                    Err(failure) => self.pool.group_mut(group).start_failed(id, failure, now),
                }
                format!("spawn {short}")
            }
            Step::Serve { id, granted, drains } => {
                let mut line = format!("serve {}", self.short(id));
                if let Some(drains) = drains {
                    line += &format!(", drain {}", self.short(drains));
                }
                for (claim, waiting) in granted {
                    assert_eq!(claim.process(), id);
                    line += &format!(", grant {waiting}");
                }
                line
            }
            Step::Grant { granted } => granted.iter().fold("grant".to_owned(), |line, (_, waiting)| line + " " + waiting),
            Step::Drain { id, why: WhyDrain::Replaced | WhyDrain::Ends } => format!("drain {}", self.short(id)),
            Step::Drain { id, why } => format!("drain {}: {why}", self.short(id)),
            Step::Outlasts { id, sessions } => format!("{} outlasts its drain with {sessions}", self.short(id)),
            Step::Cut { id, why } => format!("cut {}: {why}", self.short(id)),
            Step::Signal { id, pid, to, what } => {
                assert_eq!(pid, id.serial + 100);
                format!("{what:?} {to:?} {}", self.short(id)).to_lowercase()
            }
            Step::Gone { id, .. } => format!("gone {}", self.short(id)),
            Step::WalkEnded { ask, outcome, group } => {
                let line = format!("{}: {outcome}", ask.generation);
                self.pool.group_mut(group).announce(ask.generation, outcome);
                line
            }
        }
    }

    fn restart(&mut self) -> Generation {
        let now = self.now;
        self.group().restart(Trigger::Command, Aim::Root, now)
    }

    fn ready(&mut self, name: &str) {
        let (id, now) = (self.id(name), self.now);
        self.pool.group_mut(id.group).ready(id, now);
    }

    fn start_failed(&mut self, name: &str, kind: FailureKind) {
        let (id, now) = (self.id(name), self.now);
        self.pool.group_mut(id.group).start_failed(id, Failure { kind, output: Vec::new() }, now);
    }

    /// The leader ends; others of its group stay.
    fn leader_exits(&mut self, name: &str, status: i32) {
        let (id, now) = (self.id(name), self.now);
        self.pool.group_mut(id.group).exited(id, Exit::Status(status), Vec::new(), now);
    }

    fn group_empty(&mut self, name: &str) {
        let (id, now) = (self.id(name), self.now);
        self.pool.group_mut(id.group).group_empty(id, now);
    }

    /// The process ends with all its children.
    fn exits(&mut self, name: &str, status: i32) {
        self.leader_exits(name, status);
        self.group_empty(name);
    }

    /// One number is replaced in good order, from the readiness of its new process on.
    fn swap(&mut self, new: &str, old: &str) -> Vec<String> {
        self.ready(new);
        let mut lines = self.steps_for(2.0);
        self.exits(old, 0);
        lines.extend(self.steps());
        lines
    }

    fn claim(&mut self, what: &'static str) -> Claim {
        let now = self.now;
        match self.group().admit(Wish::Anywhere, WaitId(0).into(), what, now) {
            Admission::Claimed(claim, _) => claim,
            other => panic!("{what} got no slot: {other:?}"),
        }
    }

    fn wait(&mut self, what: &'static str) -> WaitId {
        let now = self.now;
        self.waits += 1;
        let id = WaitId(self.waits);
        match self.group().admit(Wish::Anywhere, id.into(), what, now) {
            Admission::Queued => id,
            other => panic!("{what} does not wait: {other:?}"),
        }
    }

    fn finish(&mut self, claim: Claim) -> Option<(Claim, &'static str)> {
        let now = self.now;
        self.pool.group_mut(claim.process().group).finish(claim, Ended::Answered(200), now)
    }

    fn wakes_restart(&mut self) -> bool {
        let now = self.now;
        self.group().wakes_restart(now)
    }

    fn view(&mut self) -> GroupView {
        let now = self.now;
        self.group().view(now)
    }

    /// Every process in the table and its state: `"1 g2 serving"`.
    fn table(&mut self) -> Vec<String> {
        let line = |process: &ProcessView| format!("{} {} {}", process.name.number, process.name.generation, process.state);
        self.view().processes.iter().map(line).collect()
    }
}

fn no_memory() -> Failure {
    Failure { kind: FailureKind::Spawn("fork: Cannot allocate memory (os error 12)".to_owned()), output: Vec::new() }
}
