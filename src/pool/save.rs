//! The table is left to the next rota as it is: what each group wants, has and remembers, whatever is under way. Times are those of
//! [`crate::moment`].
//!
//! Not in it: what waits in queues, and claims. Whoever has the connections saves them ([`Group::waiting`], [`Claim`]) and brings them back
//! ([`Group::wait_again`]): a session is counted in the table as it was, so that a claim which is restored is one that the table counts.
//! [`Pool::came_over`] is the end of it. Where the answer to a step does not come any more, it is named again ([`Group::resolve_again`]).
//!
//! What is missing, because an older rota did not know of it, is none where there need not be one (`Option`); anything else that is missing, or
//! that is not known, is an error.

use std::collections::HashMap;
use std::fmt;

use super::process::Process;
use super::*;

/// All groups, `G`, that are in the configuration, and what there is besides.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved<G> {
    format: Format,
    groups: Vec<G>,
    limits: Limits,
    wanted_limits: Limits,
    in_turn: VecDeque<(GroupId, Generation)>,
    is_ending: bool,
    #[serde(with = "crate::moment::option")]
    seen: Option<Instant>,
}

/// Which number a group has that was saved with another: apps have their numbers from the catalog.
#[derive(Clone, Debug, Default)]
pub struct Numbers(Vec<Option<GroupId>>);

/// What was to be set right when everything had come over; of a rota that made no mistake nothing.
#[derive(Debug)]
pub struct CameOver<W> {
    pub differs: Vec<Differs>,
    /// Slots that turned out to be free: to be handed over as those of [`Step::Grant`].
    pub granted: Vec<(Claim, W)>,
}

/// A process of which another number of sessions was saved than there are claims. `Display` is one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differs {
    pub process: ProcessName,
    pub saved: u32,
    pub claims: u32,
}

impl Numbers {
    pub fn group(&self, saved: GroupId) -> Result<GroupId, String> {
        self.0.get(saved.index()).copied().flatten().ok_or_else(|| format!("no app was saved with number {}", saved.0))
    }

    pub fn process(&self, saved: ProcessId) -> Result<ProcessId, String> {
        Ok(ProcessId { group: self.group(saved.group)?, serial: saved.serial })
    }

    fn note(&mut self, saved: GroupId, now: GroupId) -> Result<(), String> {
        if self.0.len() <= saved.index() {
            self.0.resize(saved.index() + 1, None);
        }
        match self.0[saved.index()].replace(now) {
            None => Ok(()),
            Some(_) => Err(format!("another app was saved with number {}, too", saved.0)),
        }
    }
}

impl Claim {
    /// One that was saved, in the table that was restored.
    pub fn numbered(self, numbers: &Numbers) -> Result<Self, String> {
        Ok(Self { process: numbers.process(self.process)?, ..self })
    }
}

impl<W> Pool<W> {
    /// To be saved as it is. Err: an app that is not in the configuration any more has not ended.
    pub fn save(&self) -> Result<Saved<&Group<W>>, String> {
        let Self { groups, limits, wanted_limits, in_turn, is_ending, seen } = self;
        if let Some((app, why)) = groups.iter().find_map(|group| Some((&group.app, group.is_left()?))) {
            return Err(format!("{app} was taken out of the configuration and has not ended: {why}"));
        }
        Ok(Saved {
            format: Format,
            groups: groups.iter().filter(|group| !group.is_removed).collect(),
            limits: *limits,
            wanted_limits: *wanted_limits,
            in_turn: in_turn.clone(),
            is_ending: *is_ending,
            seen: *seen,
        })
    }

    /// `number`: of an app now. Those that were saved have the first numbers; what is new is added behind them.
    pub fn restore(saved: Saved<Group<W>>, number: impl Fn(&AppName) -> Option<GroupId>) -> Result<(Self, Numbers), String> {
        let Saved { format: Format, groups, limits, wanted_limits, in_turn, is_ending, seen } = saved;
        let (mut numbers, count) = (Numbers::default(), groups.len());
        let mut placed: Vec<Option<Group<W>>> = std::iter::repeat_with(|| None).take(count).collect();
        for mut group in groups {
            let app = group.app.clone();
            let say = |what: String| format!("{app}: {what}");
            group.check_numbers().map_err(say)?;
            let id = number(&app).ok_or_else(|| say("it was saved, and is not in the configuration".to_owned()))?;
            numbers.note(group.id, id).map_err(say)?;
            let place = placed.get_mut(id.index()).ok_or_else(|| say(format!("its number is {}, {count} apps were saved", id.0)))?;
            group.is_numbered(id);
            if let Some(other) = place.replace(group) {
                return Err(say(format!("its number {} is that of {}", id.0, other.app)));
            }
        }
        let now = |(group, generation)| Some((numbers.group(group).ok()?, generation));
        let in_turn = in_turn.into_iter().filter_map(now).collect();
        let pool = Self { groups: placed.into_iter().flatten().collect(), limits, wanted_limits, in_turn, is_ending, seen };
        pool.check()?;
        Ok((pool, numbers))
    }

    /// All claims are there again, so many of each process, and all that waits. Where that is not what was counted, it is from now on.
    pub fn came_over(&mut self, claims: &HashMap<ProcessId, u32>, now: Instant) -> CameOver<W> {
        let (mut differs, mut granted) = (Vec::new(), Vec::new());
        for group in &mut self.groups {
            differs.extend(group.count_again(claims, now));
            group.queue.forget_absent();
            granted.extend((0..group.processes.len()).flat_map(|index| group.grant_all(index, now)));
            group.checked();
        }
        CameOver { differs, granted }
    }
}

impl<W> Group<W> {
    /// What waits, in the order of its coming.
    pub fn waiting(&self) -> impl Iterator<Item = &Waiting<W>> {
        self.queue.iter()
    }

    /// It waited when the table was saved: behind those that have come again before it, and since then.
    pub fn wait_again(&mut self, waiting: Waiting<W>) {
        self.queue.add(waiting);
    }

    /// The answer to [`Step::Resolve`] will not come: whoever was to give it is gone. That step is named again, unless another has been asked for.
    pub fn resolve_again(&mut self) {
        let Some(ask) = self.resolving.take() else { return };
        // A first start is asked for by its walk.
        if self.walk.as_ref().is_none_or(|walk| walk.asked() != ask.generation) {
            match &self.asked {
                None => self.asked = Some(ask),
                Some(newer) => {
                    let by = newer.generation;
                    self.settle(ask, Outcome::Superseded { by });
                }
            }
        }
        self.checked();
    }

    /// What is left of an app that was taken out of the configuration.
    fn is_left(&self) -> Option<String> {
        let (processes, waiting, untold) = (self.processes.len(), self.queue.len(), self.untold.len());
        let is_left = self.is_removed && processes + waiting + untold > 0;
        is_left.then(|| format!("{processes} of its processes are there, {waiting} requests wait, {untold} ends of walks are to be told"))
    }

    /// What is looked up by its number is there: all other rules ([`Group::check`]) rest on that.
    fn check_numbers(&self) -> Result<(), String> {
        let last = self.places.len();
        let is_wrong = |process: &&Process| {
            process.id.group != self.id
                || process.id.serial > self.last_serial
                || process.number.0 == 0
                || usize::from(process.number.0) > last
        };
        match self.processes.iter().find(is_wrong) {
            Some(Process { id, number, .. }) => Err(format!("process {number} with serial {} of app {} cannot be", id.serial, id.group.0)),
            None => Ok(()),
        }
    }

    /// Its number is another than before.
    fn is_numbered(&mut self, id: GroupId) {
        self.id = id;
        let processes = self.processes.iter_mut().map(|process| &mut process.id);
        processes.chain(self.deadly.risked.as_mut().map(|risked| &mut risked.id)).for_each(|process| process.group = id);
    }

    fn count_again(&mut self, claims: &HashMap<ProcessId, u32>, now: Instant) -> Vec<Differs> {
        let app = &self.app;
        let differs = self.processes.iter_mut().filter_map(|process| {
            let claims = claims.get(&process.id).copied().unwrap_or(0);
            let saved = std::mem::replace(&mut process.sessions, claims);
            (saved != claims).then(|| {
                process.idle = now;
                let process = ProcessName { app: app.clone(), number: process.number, generation: process.generation };
                Differs { process, saved, claims }
            })
        });
        differs.collect()
    }
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} sessions were saved, {} are there", self.process, self.saved, self.claims)
    }
}

/// Of the table; another one is not understood.
const FORMAT: u32 = 1;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
struct Format;

impl TryFrom<u32> for Format {
    type Error = String;

    fn try_from(format: u32) -> Result<Self, String> {
        if format == FORMAT { Ok(Self) } else { Err(format!("format {format} of the pool is not understood, {FORMAT} is")) }
    }
}

impl From<Format> for u32 {
    fn from(Format: Format) -> u32 {
        FORMAT
    }
}
