//! What the commands of the control socket do: they read the pool table, or put into it what is wanted.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::control::proto::{
    AppHistory, AppStatus, Asked, Broken, ConfigRead, Finishing, InHand, NotListening, Pausing, Progress, Reply, SCHEMA, StatusReply,
    WalkEnd, seconds,
};
use crate::control::server::rights::Guest;
use crate::control::server::{COLLECTING, Detached, Operator, Reloaded, Ticket, WalkReport, Wish};
use crate::handoff::Mailbox;
use crate::ids::{AppName, Generation, GroupId, Number, ProcessId};
use crate::metrics::gather;
use crate::metrics::page::Form;
use crate::operators::{Person, Strangers};
use crate::pool::{Aim, Group, GroupView, Trigger};
use crate::reload;
use crate::samples::{self, Asker, Sample};
use crate::table::{Shared, State, ToThread};
use crate::upgrade::trial;
use crate::wicket::ToWicket;

#[derive(Debug)]
pub struct Operations {
    pub(super) shared: Arc<Shared>,
    started: Instant,
    /// How often another program has taken over since then.
    pub upgrades: u32,
    /// How often the server was told to stop.
    pub stop_asked: u32,
    /// Asks the sampler.
    pub(super) sampler: Sender<Asker>,
    /// None: nothing was to be asked there so far.
    pub(super) wicket: Option<Mailbox<ToWicket>>,
    /// Requests that had ended when somebody asked for the traffic, and since when there have been so many.
    pub(super) ended: (u64, Instant),
    /// A reload that is asked for and not heard of.
    reload: Option<(Ticket, Instant)>,
    /// What came of reloads, until whoever asked takes it or has gone.
    reloaded: HashMap<Ticket, (Instant, Result<Reloaded, String>)>,
    /// Another program is asked for to take over, and has not.
    upgrade: Option<Ticket>,
    /// Why it has not, until whoever asked takes it.
    not_upgraded: Option<(Ticket, String)>,
    /// The group whose members may look.
    looks: Option<u32>,
    strangers: Strangers,
    /// Peers of the control socket that were looked up, until whoever asked takes them or has gone.
    known: HashMap<Ticket, (Instant, Person)>,
    /// Questions to other threads that are open.
    questions: HashMap<Ticket, Question>,
    last_ticket: u64,
}

#[derive(Debug)]
struct Question {
    since: Instant,
    about: About,
}

#[derive(Debug)]
enum About {
    /// What requests are in hand.
    Requests {
        /// Threads that have not answered.
        silent: Vec<(ProcessId, String)>,
        requests: Vec<InHand>,
    },
    /// How everything is.
    Status {
        /// None: all.
        app: Option<AppName>,
        /// What the processes take. None: not said yet.
        samples: Option<Arc<HashMap<u32, Sample>>>,
    },
    /// What is counted.
    Metrics { form: Form, samples: Option<Arc<HashMap<u32, Sample>>> },
}

impl Operations {
    /// `looks`: the group whose members may look.
    pub fn new(shared: Arc<Shared>, looks: Option<u32>) -> io::Result<Self> {
        let sampler = samples::start(shared.clone())?;
        Ok(Self {
            shared,
            started: Instant::now(),
            upgrades: 0,
            stop_asked: 0,
            sampler,
            wicket: None,
            ended: (0, Instant::now()),
            reload: None,
            reloaded: HashMap::new(),
            upgrade: None,
            not_upgraded: None,
            looks,
            strangers: Strangers::default(),
            known: HashMap::new(),
            questions: HashMap::new(),
            last_ticket: 0,
        })
    }

    fn find(&self, state: &State, app: &str) -> Result<GroupId, String> {
        if let Some(group) = state.pool.find(app) {
            return Ok(group);
        }
        if let Some(broken) = self.shared.catalog().broken.iter().find(|broken| broken.app.name == app) {
            return Err(format!("{app} is not served: {}; mend that, then: rota reload", broken.app.why));
        }
        let known: Vec<String> = state.pool.groups().filter(|group| !group.is_removed()).map(|group| group.app().to_string()).collect();
        Err(format!("there is no app \"{app}\"; there is {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") }))
    }

    pub fn started(&self) -> Instant {
        self.started
    }

    /// For so long it has run, with other programs before this one.
    pub fn has_run(&mut self, time: Duration, upgrades: u32) {
        (self.started, self.upgrades) = (self.started.checked_sub(time).unwrap_or(self.started), upgrades);
    }

    /// No other program has taken over.
    pub fn not_upgraded(&mut self, ticket: Ticket, why: String) {
        self.upgrade = None;
        self.not_upgraded = Some((ticket, why));
    }

    /// An I/O thread says what it has in hand.
    pub fn heard(&mut self, ticket: Ticket, process: ProcessId, requests: Vec<InHand>) {
        if let Some(Question { about: About::Requests { silent, requests: known }, .. }) = self.questions.get_mut(&ticket) {
            silent.retain(|(silent, _)| *silent != process);
            known.extend(requests);
        }
    }

    /// The sampler says what the processes take.
    pub fn sampled(&mut self, ticket: Ticket, sampled: Arc<HashMap<u32, Sample>>) {
        if let Some(Question { about: About::Status { samples, .. } | About::Metrics { samples, .. }, .. }) =
            self.questions.get_mut(&ticket)
        {
            *samples = Some(sampled);
        }
    }

    /// Somebody was looked up.
    pub fn is_known(&mut self, ticket: Ticket, person: Person, now: Instant) {
        self.known.insert(ticket, (now, person));
        self.strangers.is_known(&self.shared);
    }

    /// The configuration was read, and what it changes is done. Err: it was not, for these mistakes.
    pub fn reloaded(&mut self, ticket: Ticket, reloaded: Result<Reloaded, String>, now: Instant) {
        if self.reload.is_some_and(|(asked, _)| asked == ticket) {
            self.reload = None;
        }
        match &reloaded {
            Ok(_) => {}
            Err(why) => why.lines().for_each(|line| log::error!("reload: {line}")),
        }
        self.reloaded.insert(ticket, (now, reloaded));
    }

    /// For a new question.
    fn ticket(&mut self, now: Instant) -> Ticket {
        self.questions.retain(|_, question| now < question.since + QUESTION_KEPT);
        self.reloaded.retain(|_, (since, _)| now < *since + QUESTION_KEPT);
        self.known.retain(|_, (since, _)| now < *since + QUESTION_KEPT);
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// What a command may change, if the server is not stopping.
    fn change(&self, app: &str) -> Result<(MutexGuard<'_, State>, GroupId), String> {
        if self.stop_asked > 0 {
            return Err("the server is stopping".to_owned());
        }
        let state = self.shared.table.lock();
        let group = self.find(&state, app)?;
        Ok((state, group))
    }

    /// The release that a rollback goes to, if it is on the disk, which the errand that prepares the walk will see; None: something is under way,
    /// and is called off instead.
    fn previous(&self, app: &str) -> Result<Option<PathBuf>, String> {
        let state = self.shared.table.lock();
        let group = self.find(&state, app)?;
        if state.pool.group(group).can_abort() {
            return Ok(None);
        }
        let previous = state.records[group.index()].earlier.last().cloned();
        previous.map(Some).ok_or_else(|| format!("{app}: no release before this one is known; `rota deploy {app} DIR` takes any"))
    }

    /// `samples`: by pid, as far as they are known.
    pub(super) fn status(&self, app: Option<&AppName>, samples: &HashMap<u32, Sample>, now: Instant) -> StatusReply {
        let state = self.shared.table.lock();
        // Of one that is taken out what is left of its processes is told.
        let is_gone = |group: &Group<_>| group.is_removed() && group.ids(false).next().is_none();
        let wanted = state.pool.groups().filter(|group| app.is_none_or(|app| app == group.app()) && !is_gone(group));
        let views: Vec<(GroupId, GroupView)> = wanted.map(|group| (group.id(), group.view(now))).collect();
        let releases = state.releases.clone();
        let recorded = |(group, _): &(GroupId, GroupView)| {
            let not_written = state.not_written.get(group).map(|(why, _)| why.clone());
            let survivors = state.survivors.get(group).copied().unwrap_or_default();
            Recorded {
                passed_over: state.records[group.index()].passed_over.clone(),
                not_written,
                lost: state.say_lost(*group),
                removed: state.pool.group(*group).is_removed(),
                survivors,
            }
        };
        let recorded: Vec<Recorded> = views.iter().map(recorded).collect();
        let not_listening = state.not_listening.clone();
        drop(state);
        let directory = |group, generation| releases.get(&(group, generation)).map(|release| release.root.display().to_string());
        // What serves, or what is being tried where nothing does.
        let newest = |(group, view): &(GroupId, GroupView)| {
            let generations = view.good.into_iter().chain(view.walk.as_ref().map(|walk| walk.generation));
            generations.into_iter().find_map(|generation| releases.get(&(*group, generation)).cloned())
        };
        let started: Vec<_> = views.iter().map(newest).collect();
        let catalog = self.shared.catalog();
        let roots: Vec<String> = views.iter().map(|(group, _)| catalog.app(*group).start.root.display().to_string()).collect();
        let mut apps: Vec<AppStatus> =
            views.into_iter().map(|(group, view)| AppStatus::new(view, |generation| directory(group, generation))).collect();
        for ((app, release), root) in apps.iter_mut().zip(started).zip(roots) {
            app.root = root;
            app.command = release.as_ref().map(|release| shell_words::join(&release.command));
            app.detected = release.and_then(|release| release.detected.clone());
        }
        for (app, Recorded { passed_over, not_written, lost, removed, survivors }) in apps.iter_mut().zip(recorded) {
            app.passed_over = passed_over.map(|path| path.display().to_string());
            app.not_written = not_written;
            app.lost = lost;
            app.removed = removed;
            app.survivors = survivors;
        }
        for process in apps.iter_mut().flat_map(|app| &mut app.processes) {
            let sample = process.pid.and_then(|pid| samples.get(&pid));
            process.cpu = sample.map(|sample| sample.cpu);
            process.memory = sample.map(|sample| sample.memory);
            process.children = sample.map(|sample| sample.children);
        }
        StatusReply {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime: now.saturating_duration_since(self.started).as_secs_f64().round(),
            listen: catalog.server.listen.iter().map(ToString::to_string).collect(),
            not_listening: not_listening.into_iter().map(|not| NotListening { at: not.at, message: not.why }).collect(),
            broken: catalog.broken.iter().map(|broken| Broken { app: broken.app.name.clone(), message: broken.app.why.clone() }).collect(),
            config: Some(self.config()),
            config_changed: None,
            drained: self.shared.drained.load(Ordering::Relaxed),
            connections: self.shared.connections.open(),
            spooled: self.shared.spool.bytes(),
            apps,
        }
    }
}

/// What the table knows of an app besides its group.
struct Recorded {
    passed_over: Option<PathBuf>,
    not_written: Option<String>,
    lost: Option<String>,
    removed: bool,
    survivors: usize,
}

fn pausing<W>(group: &Group<W>, now: Instant) -> Option<Pausing> {
    let (_, left) = group.view(now).pause?;
    Some(Pausing { app: group.app().clone(), sessions: group.sessions(), waiting: group.queue_len(), left_seconds: seconds(left) })
}

/// The directory of a generation.
fn release(state: &State, group: GroupId, generation: Generation) -> Option<String> {
    state.releases.get(&(group, generation)).map(|release| release.root.display().to_string())
}

impl Operator for Operations {
    fn has_guests(&self) -> bool {
        self.looks.is_some() || !self.shared.catalog().operators.is_empty()
    }

    fn introduce(&mut self, peer: (u32, u32), now: Instant) -> Ticket {
        let ticket = self.ticket(now);
        self.strangers.ask(&self.shared, ticket, peer, now);
        ticket
    }

    fn introduced(&mut self, ticket: Ticket) -> Option<Guest> {
        let (_, person) = self.known.remove(&ticket)?;
        let rights = self.shared.catalog().operators.rights(&person, self.looks);
        Some(Guest { person, rights })
    }

    fn ask_status(&mut self, app: Option<&str>, now: Instant) -> Result<Ticket, String> {
        let state = self.shared.table.lock();
        let app = app.map(|app| self.find(&state, app).map(|group| state.pool.group(group).app().clone())).transpose()?;
        drop(state);
        let ticket = self.ticket(now);
        self.questions.insert(ticket, Question { since: now, about: About::Status { app, samples: None } });
        // A sampler that is gone says nothing in time, and the rest is told all the same.
        let _ = self.sampler.send(Asker::Master(ticket));
        Ok(ticket)
    }

    fn ask_metrics(&mut self, form: Form, now: Instant) -> Ticket {
        let ticket = self.ticket(now);
        self.questions.insert(ticket, Question { since: now, about: About::Metrics { form, samples: None } });
        let _ = self.sampler.send(Asker::Master(ticket));
        ticket
    }

    fn walk(&mut self, wish: Wish<'_>, now: Instant) -> Result<Vec<Asked>, String> {
        if self.stop_asked > 0 {
            return Err("the server is stopping".to_owned());
        }
        let previous = match wish {
            Wish::Rollback { app } => self.previous(app)?,
            Wish::Restart { .. } | Wish::Deploy { .. } | Wish::Abort { .. } => None,
        };
        let mut state = self.shared.table.lock();
        let one = |state: &mut State, app: &str, aim: Aim| {
            let group = self.find(state, app)?;
            Ok::<_, String>(vec![(group, state.pool.group_mut(group).restart(Trigger::Command, aim, now))])
        };
        let abort = |state: &mut State, group: GroupId| {
            let aborted = state.pool.group_mut(group).abort();
            aborted.map(|generation| vec![(group, generation)]).map_err(|why| format!("{}: {why}", state.pool.group(group).app()))
        };
        let asked = match wish {
            Wish::Restart { app: Some(app), at_once: false } => one(&mut state, app, Aim::Root)?,
            Wish::Restart { app: Some(app), at_once: true } => one(&mut state, app, Aim::AllAtOnce)?,
            Wish::Restart { app: None, at_once: false } => state.pool.restart_all(Trigger::Command, now),
            Wish::Restart { app: None, at_once: true } => return Err("name the app that is to restart all at once".to_owned()),
            Wish::Deploy { app, directory } if directory.is_absolute() => one(&mut state, app, Aim::Deploy(Arc::from(directory)))?,
            Wish::Deploy { directory, .. } => return Err(format!("{} is no absolute path", directory.display())),
            Wish::Rollback { app } => match previous {
                Some(previous) => one(&mut state, app, Aim::Rollback(Arc::from(previous)))?,
                None => {
                    let group = self.find(&state, app)?;
                    abort(&mut state, group)?
                }
            },
            Wish::Abort { app } => {
                let group = self.find(&state, app)?;
                abort(&mut state, group)?
            }
        };
        let asked = asked.into_iter().map(|(group, generation)| Asked { app: state.pool.group(group).app().clone(), generation }).collect();
        drop(state);
        self.shared.table.notify();
        Ok(asked)
    }

    fn history(&mut self, app: Option<&str>) -> Result<Vec<AppHistory>, String> {
        let state = self.shared.table.lock();
        let only = app.map(|app| self.find(&state, app)).transpose()?;
        let wanted = state.pool.groups().filter(|group| only.is_none_or(|only| only == group.id()));
        let records: Vec<_> = wanted.map(|group| (group.app().clone(), state.records[group.id().index()].clone())).collect();
        drop(state);
        let histories = records.into_iter().map(|(app, record)| AppHistory {
            app,
            good: record.good.clone(),
            earlier: record.earlier.clone(),
            entries: record.history.iter().cloned().collect(),
        });
        Ok(histories.collect())
    }

    fn pause(&mut self, app: &str, seconds: Option<f64>, now: Instant) -> Result<Pausing, String> {
        let (mut state, group) = self.change(app)?;
        let group = state.pool.group_mut(group);
        let time = match seconds {
            None => group.queue_timeout(),
            Some(seconds) => Duration::try_from_secs_f64(seconds)
                .ok()
                .filter(|time| !time.is_zero() && *time <= LONGEST_PAUSE)
                .ok_or_else(|| format!("{seconds} s is no time to pause an app for: more than 0, at most {} s", LONGEST_PAUSE.as_secs()))?,
        };
        group.pause(now + time, now);
        let pausing = pausing(group, now).ok_or("the server is stopping")?;
        drop(state);
        self.shared.table.notify();
        Ok(pausing)
    }

    fn pausing(&mut self, app: &AppName, now: Instant) -> Option<Pausing> {
        let state = self.shared.table.lock();
        let group = state.pool.find(app.as_str())?;
        pausing(state.pool.group(group), now)
    }

    fn resume(&mut self, app: &str, now: Instant) -> Result<Reply, String> {
        let (mut state, group) = self.change(app)?;
        let group = state.pool.group_mut(group);
        let waiting = group.queue_len();
        let held = group.view(now).pause.filter(|_| group.resume(now));
        let (held, _) = held.ok_or_else(|| format!("{app} is not paused"))?;
        let resumed = Reply::Resumed { app: group.app().clone(), seconds: seconds(held), waiting };
        drop(state);
        self.shared.table.notify();
        Ok(resumed)
    }

    fn detach(&mut self, app: &str, number: Number, now: Instant) -> Result<Detached, String> {
        let (mut state, group) = self.change(app)?;
        if let Some(lost) = state.say_lost(group).filter(|_| state.pool.group(group).keeps_all()) {
            return Err(format!("{app}/{number} stays: {lost}"));
        }
        let group = state.pool.group_mut(group);
        let serving = group.serving_at(number).filter(|_| group.recycle(number).is_some());
        let (id, pid) = serving.ok_or_else(|| format!("no process serves as {app}/{number}"))?;
        let detached = Detached { app: group.app().clone(), number, pid, id, asked: now };
        drop(state);
        self.shared.table.notify();
        Ok(detached)
    }

    fn is_detached(&mut self, detached: &Detached, now: Instant) -> Option<Option<u32>> {
        let state = self.shared.table.lock();
        let group = state.pool.group(detached.id.group);
        if group.has(detached.id) {
            return None;
        }
        // With surge = 0 the new one is started when the old one is gone.
        group.in_place_at(detached.number, now).map(|serving| serving.and_then(|(_, pid)| pid))
    }

    fn stays(&mut self, detached: &Detached, now: Instant) -> Option<String> {
        let state = self.shared.table.lock();
        let Detached { app, number, asked, id, .. } = detached;
        let group = state.pool.group(id.group);
        let serves = group.serving_at(*number).is_some_and(|(serves, _)| serves == *id);
        let (name, failure, ago) = group.view(now).last_failure.filter(|_| serves)?;
        let why = state.say_lost(id.group).unwrap_or_else(|| "it is tried again".to_owned());
        let failed = name.number == *number && now.checked_sub(ago).is_some_and(|at| at >= *asked);
        failed.then(|| format!("{app}/{number} stays, for its replacement did not start: {failure}; {why}"))
    }

    fn ask_requests(&mut self, app: Option<&str>, draining: bool, now: Instant) -> Result<Ticket, String> {
        let ticket = self.ticket(now);
        let state = self.shared.table.lock();
        let only = app.map(|app| self.find(&state, app)).transpose()?;
        let (mut silent, mut wakes) = (Vec::new(), Vec::new());
        for group in state.pool.groups().filter(|group| only.is_none_or(|only| only == group.id())) {
            for id in group.ids(draining) {
                if let Some(wake) = state.tell(id, ToThread::Tell(ticket)) {
                    wakes.push(wake);
                    silent.push((id, group.name_of(id).map_or_else(String::new, |name| name.to_string())));
                }
            }
        }
        drop(state);
        for wake in wakes {
            wake.wake();
        }
        self.questions.insert(ticket, Question { since: now, about: About::Requests { silent, requests: Vec::new() } });
        Ok(ticket)
    }

    fn answer(&mut self, ticket: Ticket, now: Instant) -> Option<Reply> {
        let Question { since, about } = self.questions.get(&ticket)?;
        let has_spoken = match about {
            About::Requests { silent, .. } => silent.is_empty(),
            About::Status { samples, .. } | About::Metrics { samples, .. } => samples.is_some(),
        };
        if !has_spoken && now < *since + COLLECTING {
            return None;
        }
        Some(match self.questions.remove(&ticket)?.about {
            About::Requests { silent, mut requests } => {
                requests.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
                Reply::Requests { requests, silent: silent.into_iter().map(|(_, name)| name).collect() }
            }
            About::Metrics { form, samples } => Reply::Metrics { text: gather::text(&self.shared, samples.as_deref(), form, now) },
            About::Status { app, samples } => Reply::Status(Box::new(self.status(app.as_ref(), &samples.unwrap_or_default(), now))),
        })
    }

    fn progress(&mut self, app: &AppName, generation: Generation, now: Instant) -> WalkReport {
        let state = self.shared.table.lock();
        // Also of one that was taken out of the configuration meanwhile.
        let Some(group) = state.pool.groups().find(|group| group.app() == app) else { return WalkReport::Waiting };
        let id = group.id();
        if let Some(outcome) = group.outcome(generation) {
            let view = group.view(now);
            let first_serving = || view.processes.iter().find(|process| process.state == "serving").map(|process| process.name.generation);
            let serving = view.good.or_else(first_serving).map(|good| format!("{good} {}", release(&state, id, good).unwrap_or_default()));
            let not_written = state.not_written.get(&id).map(|(why, _)| why.clone());
            let finishing = view.processes.iter().filter_map(Finishing::of).collect();
            let lost = state.say_lost(id);
            return WalkReport::Ended(WalkEnd { finishing, not_written, lost, ..WalkEnd::new(app, generation, outcome, serving) });
        }
        match group.view(now).walk {
            Some(walk) if walk.generation == generation => WalkReport::Underway(Progress::new(app, &walk)),
            Some(_) | None => WalkReport::Waiting,
        }
    }

    fn reload(&mut self, dry_run: bool, now: Instant) -> Result<Ticket, String> {
        if self.stop_asked > 0 {
            return Err("the server is stopping".to_owned());
        }
        if let Some((_, since)) = self.reload {
            let seconds = now.saturating_duration_since(since).as_secs();
            return Err(format!("the configuration is being read already, for {seconds} s"));
        }
        let ticket = self.ticket(now);
        self.reload = Some((ticket, now));
        let mut state = self.shared.table.lock();
        (state.reload, state.reloading) = (Some(reload::Asked { ticket, dry_run }), true);
        drop(state);
        self.shared.table.notify();
        Ok(ticket)
    }

    fn config(&self) -> ConfigRead {
        ConfigRead { file: self.shared.config_path.clone(), stamp: self.shared.config_stamp.load(Ordering::Relaxed) }
    }

    fn has_reloaded(&mut self, ticket: Ticket) -> Option<Result<Reloaded, String>> {
        self.reloaded.remove(&ticket).map(|(_, reloaded)| reloaded)
    }

    fn drain(&mut self, drained: bool) -> Result<(), String> {
        let server = &self.shared.catalog().server;
        if drained && server.health.is_none() && server.agent.is_none() {
            return Err("neither server.health nor server.agent is there: no balancer would hear of it".to_owned());
        }
        self.shared.drained.store(drained, Ordering::Relaxed);
        Ok(())
    }

    fn drained(&mut self, now: Instant) -> Reply {
        let server = &self.shared.catalog().server;
        Reply::Drained {
            drained: self.shared.drained.load(Ordering::Relaxed),
            health: server.health.clone().unwrap_or_default(),
            agent: server.agent,
            traffic: self.traffic(now),
        }
    }

    fn upgrade(&mut self, program: Option<PathBuf>, now: Instant) -> Result<Ticket, String> {
        if self.stop_asked > 0 {
            return Err("the server is stopping".to_owned());
        }
        if self.upgrade.is_some() {
            return Err("another program is about to take over already".to_owned());
        }
        let ticket = self.ticket(now);
        self.upgrade = Some(ticket);
        self.shared.table.lock().upgrade = Some(trial::Asked { ticket, program });
        self.shared.table.notify();
        Ok(ticket)
    }

    fn has_not_upgraded(&mut self, ticket: Ticket) -> Option<String> {
        self.not_upgraded.take_if(|(of, _)| *of == ticket).map(|(_, why)| why)
    }

    fn stop(&mut self) {
        self.stop_asked += 1;
    }
}

/// Who wants to pause an app for longer stops it.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// A question whose client has gone is forgotten.
const QUESTION_KEPT: Duration = Duration::from_secs(60);
