//! What a release answers at its readiness path, beside what the one before it did: one that serves and refuses everybody is not simply done.

use std::fmt;

use super::*;

/// What made a process ready.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answered {
    pub generation: Generation,
    pub path: String,
    pub status: u16,
}

/// The release before was answered with 2xx or 3xx, this one is with 4xx. `Display`: `GET / is answered 404 where g3 answered 200`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Turned {
    pub now: Answered,
    pub before: Answered,
}

impl Answered {
    /// None: nothing has changed for visitors, or another path is asked for.
    fn after(self, before: Option<&Answered>) -> Option<Turned> {
        let before = before.filter(|before| before.path == self.path && before.status < 400)?;
        (400..500).contains(&self.status).then(|| Turned { before: before.clone(), now: self })
    }
}

impl<W> Group<W> {
    /// A process is ready with this answer; to be told before [`Group::ready`].
    pub fn answered(&mut self, id: ProcessId, path: &str, status: u16) {
        if let Some(process) = self.find_mut(id) {
            process.answered = Some(Answered { generation: process.generation, path: path.to_owned(), status });
        }
    }

    /// What the release that serves is to be compared with when rota starts.
    pub fn remember(&mut self, before: Option<Answered>) {
        self.answered = before;
    }

    /// What is to be remembered: what the release that serves answers, or, where that is worse than it was, how it was before.
    pub fn to_remember(&self) -> Option<&Answered> {
        self.turned.as_ref().map(|turned| &turned.before).or(self.answered.as_ref())
    }

    /// What has become worse with a generation, by the worst answer of its processes.
    pub(super) fn turned(&self, generation: Generation) -> Option<(Number, Turned)> {
        let (number, worst) = self.worst_answer(generation)?;
        Some((number, worst.after(self.answered.as_ref())?))
    }

    /// The release of this generation is accepted.
    pub(super) fn accept_answer(&mut self, generation: Generation) {
        self.turned = self.turned(generation).map(|(_, turned)| turned);
        if let Some((_, answered)) = self.worst_answer(generation) {
            self.answered = Some(answered);
        }
    }

    fn worst_answer(&self, generation: Generation) -> Option<(Number, Answered)> {
        let of_it = self.processes.iter().filter(|process| process.generation == generation && !process.is_leaving());
        let answered = of_it.filter_map(|process| Some((process.number, process.answered.clone()?)));
        answered.max_by_key(|(_, answered)| answered.status)
    }
}

impl fmt::Display for Turned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { now, before } = self;
        write!(f, "GET {} is answered {} where {} answered {}", now.path, now.status, before.generation, before.status)
    }
}
