//! Another program takes over (`rota upgrade`): it is tried, nothing that it would not see the end of is under way, all threads stand still, and
//! it is executed. On the restart thread, as the parent-death signals of the apps' processes hang on it (prctl(2)).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Restart;
use super::saved::Own;
use crate::control::server::Ticket;
use crate::master::ToPorter;
use crate::metrics::snapshot::Snapshot;
use crate::pool::Counts;
use crate::table::{State, ToMaster, ToThread};
use crate::upgrade::carrier::Carrier;
use crate::upgrade::left::{Configuration, FORMAT, Left, LeftPart, Of, Stays, clock};
use crate::upgrade::standstill::{self, Part, Standing, stand};
use crate::upgrade::trial::{self, Able};

/// A program that could take over.
#[derive(Debug)]
pub(super) struct Leaving {
    ticket: Ticket,
    able: Box<Able>,
    /// What is under way is not waited for any longer.
    until: Instant,
    /// It was tried to make all stand still, in vain; not again before this.
    again_at: Option<Instant>,
    tries: u32,
}

impl Restart {
    pub(super) fn try_program(&mut self, asked: trial::Asked) {
        let ticket = asked.ticket;
        let state = self.left(true, Vec::new()).and_then(|mut left| {
            let (carrier, _from) = Carrier::pair().map_err(|error| format!("socketpair: {error}"))?;
            // Its descriptors go nowhere: whether the text can be read is the question.
            let part = self.save_own(&carrier, Instant::now())?;
            left.parts.push(LeftPart { of: Of::Processes, fds: part.fds, state: part.state });
            serde_json::to_string(&left).map_err(|error| error.to_string())
        });
        let started = state.and_then(|state| trial::start(self.shared.clone(), asked, state).map_err(|error| format!("a thread: {error}")));
        if let Err(why) = started {
            self.not_upgraded(ticket, format!("it cannot be tried: {why}"));
        }
    }

    pub(super) fn tried(&mut self, ticket: Ticket, tried: Result<Box<Able>, String>) {
        match tried {
            Ok(able) => {
                log::info!("upgrade: {} is rota {} and could take over", able.path.display(), able.rota);
                self.leaving = Some(Leaving { ticket, able, until: Instant::now() + PATIENCE, again_at: None, tries: 0 });
            }
            Err(why) => self.not_upgraded(ticket, why),
        }
    }

    /// When [`Self::may_leave`] is to be asked again without a change of the table.
    pub(super) fn leaves_at(&self, now: Instant) -> Option<Instant> {
        self.leaving.as_ref().map(|leaving| leaving.again_at.unwrap_or(now + LOOK).min(leaving.until))
    }

    pub(super) fn may_leave(&self, state: &State, now: Instant) -> bool {
        let Some(leaving) = &self.leaving else { return false };
        let rests = leaving.again_at.is_some_and(|at| now < at);
        !rests && (now >= leaving.until || self.under_way(state, now).is_none())
    }

    /// What another program would not see the end of. None: nothing.
    fn under_way(&self, state: &State, now: Instant) -> Option<&'static str> {
        let catalog = self.shared.catalog();
        let reads_files = || catalog.ledgers().any(|(_, app)| !app.ledger.files.is_idle(now));
        let is_going = || catalog.ledgers().any(|(group, app)| app.is_removed && state.pool.group(group).ids(false).next().is_some());
        match () {
            () if !self.preparing.is_empty() || !self.opening.is_empty() => Some("a release is being prepared"),
            () if self.is_saving() => Some("a record is being written"),
            () if state.reloading => Some("the configuration is being read"),
            () if is_going() => Some("an app that was taken out is still draining"),
            () if self.shared.io_threads.load(Ordering::Acquire) != state.threads.len() => Some("a process is just gone"),
            () if reads_files() => Some("a file is being read"),
            () => None,
        }
    }

    /// Has the program take over. It returns if that has not come about.
    pub(super) fn leave(&mut self) {
        let Some(mut leaving) = self.leaving.take() else { return };
        let under_way = self.under_way(&self.shared.table.lock(), Instant::now());
        if let Some(what) = under_way {
            let why = format!("{what}, for {} s now: try again when that is done", PATIENCE.as_secs());
            return self.not_upgraded(leaving.ticket, why);
        }
        let why = match self.try_to_leave(&leaving) {
            Ok(never) => match never {},
            Err(NotLeft::Never(why)) => why,
            Err(NotLeft::Busy(why)) if leaving.tries >= TRIES => why,
            Err(NotLeft::Busy(why)) => {
                log::info!("upgrade: {why}; tried again");
                leaving.tries += 1;
                leaving.again_at = Some(Instant::now() + AGAIN);
                self.leaving = Some(leaving);
                return;
            }
        };
        self.not_upgraded(leaving.ticket, why);
    }

    fn not_upgraded(&self, ticket: Ticket, why: String) {
        log::error!("upgrade: {why}; nothing has changed");
        if let Ok(wake) = self.shared.master.send(ToMaster::NotUpgraded(ticket, why)) {
            wake.wake();
        }
    }

    fn try_to_leave(&self, leaving: &Leaving) -> Result<std::convert::Infallible, NotLeft> {
        let standing = self.all_stand()?;
        let left = self.leave_all(leaving, &standing);
        for (_, standing) in standing {
            standing.go_on();
        }
        left
    }

    /// Everybody is told to stand still, and does.
    fn all_stand(&self) -> Result<Vec<(Of, Standing)>, NotLeft> {
        let (mut standing, mut wakes) = (Vec::new(), Vec::new());
        let (porter, master) = (stand(), stand());
        let porters = self.shared.porter().map(|mailbox| mailbox.send(ToPorter::StandStill(porter.0)));
        wakes.extend(porters.and_then(Result::ok));
        standing.push((Of::Porter, porter.1));
        wakes.extend(self.shared.master.send(ToMaster::StandStill(master.0)));
        standing.push((Of::Master, master.1));
        let state = self.shared.table.lock();
        for (id, thread) in &state.threads {
            let (still, stands) = stand();
            wakes.extend(thread.send(ToThread::StandStill(Box::new(still))));
            standing.push((Of::Thread(state.pool.group(id.group).app().clone(), id.serial), stands));
        }
        drop(state);
        wakes.into_iter().for_each(|wake| wake.wake());
        let until = Instant::now() + STANDS_IN;
        let busy = standing.iter().find_map(|(of, standing)| standing.wait(until).err().map(|why| format!("{of} {why}")));
        match busy {
            None => Ok(standing),
            Some(why) => {
                standing.into_iter().for_each(|(_, standing)| standing.go_on());
                Err(NotLeft::Busy(why))
            }
        }
    }

    fn leave_all(&self, leaving: &Leaving, standing: &[(Of, Standing)]) -> Result<std::convert::Infallible, NotLeft> {
        let busy = |why: &str| Err(NotLeft::Busy(why.to_owned()));
        let reference = Instant::now();
        let state = self.shared.table.lock();
        // Since it was asked; nobody but errands can have done anything more.
        if let Some(what) = self.under_way(&state, reference) {
            return busy(what);
        }
        drop(state);
        if self.shared.stopping.load(Ordering::Relaxed) {
            return Err(NotLeft::Never("the server is stopping".to_owned()));
        }
        let failed = |step: &str| {
            let step = step.to_owned();
            move |error: io::Error| NotLeft::Never(format!("{step}: {error}"))
        };
        let (carrier, from) = Carrier::pair().map_err(failed("socketpair"))?;
        let carrier = Arc::new(carrier);
        let left_part = |of: &Of, part: Part| LeftPart { of: of.clone(), fds: part.fds, state: part.state };
        let mut parts = Vec::new();
        for (of, standing) in standing {
            let part = standing.save(&carrier, reference).map_err(|why| NotLeft::Busy(format!("{of}: {why}")))?;
            parts.push(left_part(of, part));
        }
        let own = self.save_own(&carrier, reference).map_err(NotLeft::Never)?;
        parts.push(left_part(&Of::Processes, own));
        self.shared.catalog().logs.files.flush();
        let mut left = self.left(false, parts).map_err(NotLeft::Never)?;
        left.clock = left.clock.saturating_sub(reference.elapsed());
        let text = serde_json::to_vec(&left).map_err(|error| NotLeft::Never(error.to_string()))?;
        carrier.state(&text).map_err(failed("memfd"))?;
        let own = File::open("/proc/self/exe").map_err(failed("/proc/self/exe"))?;
        carrier.program(&own.into()).map_err(failed("this program"))?;
        log::info!("upgrade: {} takes over, after {:?}", leaving.able.path.display(), reference.elapsed());
        Err(execute(leaving, &from))
    }

    /// What is left, with these parts of it.
    fn left(&self, is_trial: bool, parts: Vec<LeftPart>) -> Result<Left, String> {
        let catalog = self.shared.catalog();
        let configuration = Configuration {
            path: self.shared.config_path.clone(),
            sources: catalog.sources.clone(),
            stamp: self.shared.config_stamp.load(Ordering::Relaxed),
            stays: Stays::of(&catalog.server),
            broken: catalog.broken.iter().map(|broken| (broken.app.name.clone(), broken.app.why.clone())).collect(),
        };
        let rota = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Left { format: FORMAT, rota, is_trial, clock: clock(), configuration, parts })
    }

    fn save_own(&self, carrier: &Carrier, reference: Instant) -> Result<Part, String> {
        let mut counted = Snapshot::take(&self.shared);
        // The table has its own; connections that are taken up are counted as new ones.
        counted.apps.values_mut().for_each(|app| app.pool = Counts::default());
        counted.connections = counted.connections.saturating_sub(self.shared.connections.open() as u64);
        let state = self.shared.table.lock();
        standstill::save(&Own { restart: self, state: &state, counted }, carrier, reference)
    }
}

/// Why no other program has taken over.
#[derive(Debug)]
enum NotLeft {
    /// It may come about in a moment.
    Busy(String),
    Never(String),
}

/// It returns when that fails.
fn execute(leaving: &Leaving, from: &OwnedFd) -> NotLeft {
    let failed = |step: &str, error: io::Error| NotLeft::Never(format!("{step}: {error}"));
    let before = match rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) {
        Ok(before) => before,
        Err(error) => return failed("standard input", error.into()),
    };
    // Signals wait until the other program can take them, as on this thread always: before that they would end it.
    let error = match rustix::stdio::dup2_stdin(from) {
        Ok(()) => trial::command(&leaving.able.program, &leaving.able.path).exec(),
        Err(error) => error.into(),
    };
    let _ = rustix::stdio::dup2_stdin(&before);
    failed(&format!("{}: it cannot be executed", leaving.able.path.display()), error)
}

/// What is under way is waited for so long: a record that is written, a release that is prepared.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);
/// A turn of an event loop takes milliseconds.
const STANDS_IN: Duration = Duration::from_secs(1);
const TRIES: u32 = 10;
const AGAIN: Duration = Duration::from_millis(200);
