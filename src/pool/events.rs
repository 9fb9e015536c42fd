//! What happened to processes: each event is booked where it belongs, and may come in any state. What follows from it is `next_step`'s.

use super::backoff::PortTries;
use super::group::LastFailure;
use super::process::Process;
use super::*;

impl<W> Group<W> {
    // ── processes (restart thread, and the process's own I/O thread) ──

    /// Its release says how many sessions it can have at a time. To be told before it serves.
    pub fn has_slots(&mut self, id: ProcessId, slots: u32) {
        if let Some(process) = self.find_mut(id).filter(|process| process.is_coming()) {
            process.slots = slots;
        }
    }

    pub fn spawned(&mut self, id: ProcessId, pid: u32, now: Instant) {
        let _ = now;
        if let Some(process) = self.find_mut(id) {
            process.pid = Some(pid);
        }
        self.checked();
    }

    /// What its probe is answered, which does not make it ready; false: that is known.
    pub fn saw(&mut self, id: ProcessId, answer: Option<String>) -> bool {
        let Some(process) = self.find_mut(id).filter(|process| process.saw != answer) else { return false };
        process.saw = answer;
        true
    }

    /// The probe was answered.
    pub fn ready(&mut self, id: ProcessId, now: Instant) {
        if let Some(process) = self.find_mut(id)
            && let State::Starting { .. } = process.state
        {
            process.state = State::Ready { since: now };
            let took = now.saturating_duration_since(process.created);
            let number = process.number;
            self.learn_boot(took);
            self.place_mut(number).ports = PortTries::default();
        }
        self.checked();
    }

    /// It will not become ready (no pid: it was never started), or cannot go on because its I/O thread is gone. A living one is stopped.
    pub fn start_failed(&mut self, id: ProcessId, failure: Failure, now: Instant) {
        self.lost(id, now, |_| failure, Process::stop);
    }

    /// It was in service and cannot serve: it refuses connections, or its I/O thread is gone. It is stopped and replaced.
    pub fn broken(&mut self, id: ProcessId, kind: FailureKind, now: Instant) {
        self.lost(id, now, |_| Failure { kind, output: Vec::new() }, Process::stop);
    }

    /// The leader ended with nothing in hand. `output`: its last lines, for the failure's report.
    pub fn exited(&mut self, id: ProcessId, exit: Exit, output: Vec<String>, now: Instant) {
        self.died(id, Death::new(exit, output), now);
    }

    /// `had`: what it had in hand; `visitors`: that ended processes of another release too.
    pub(super) fn leader_ended(&mut self, id: ProcessId, death: Death, had: String, visitors: bool, now: Instant) {
        let Death { exit, output, obstacle, .. } = death;
        self.explain_refusal(id, exit, &output);
        let kind = |process: &Process| {
            let after = now.saturating_duration_since(process.ready_at().unwrap_or(process.created));
            match process.proven {
                true => FailureKind::Crashed { exit, after, had },
                false => FailureKind::Exited { exit, after, in_probation: process.ready_at().is_some(), had },
            }
        };
        self.lost_to(visitors, id, now, |process| Failure { kind: kind(process).with(obstacle), output }, Process::leader_ended);
    }

    /// A process that refused connections has ended: that is why, and what it printed may say more.
    fn explain_refusal(&mut self, id: ProcessId, exit: Exit, output: &[String]) {
        let name = self.name_of(id);
        if let Some(LastFailure { of, failure, .. }) = &mut self.last_failure
            && name.as_ref() == Some(of)
            && failure.output.is_empty()
            && let FailureKind::Refused(what) = &failure.kind
        {
            failure.kind = FailureKind::Refused(format!("{what}; it ended with {exit}"));
            failure.output = output.to_vec();
        }
    }

    /// Nothing is left of its process group (asked after `exited`).
    pub fn group_empty(&mut self, id: ProcessId, now: Instant) {
        if let Some(process) = self.find_mut(id)
            && process.leader_gone()
        {
            process.state = State::Ended { since: now };
        }
        self.checked();
    }

    /// Processes whose leader is gone and whose group may have members left: (id, pgid).
    pub fn lingering(&self) -> impl Iterator<Item = (ProcessId, u32)> {
        let lingering = |process: &&Process| process.leader_gone() && !process.has_ended();
        self.processes.iter().filter(lingering).filter_map(|process| Some((process.id, process.pid?)))
    }

    /// rota did not run from `from` on (it was stopped, or the machine was). What happened meanwhile is still to be heard: limits of processes
    /// that were reached then are reached at `until`.
    pub fn put_off(&mut self, from: Instant, until: Instant) {
        let limits = self.limits();
        self.processes.iter_mut().for_each(|process| process.put_off(&limits, from, until));
        if let Some(walk) = &mut self.walk {
            walk.put_off(from, until);
        }
        self.checked();
    }

    pub(super) fn lost(
        &mut self,
        id: ProcessId,
        now: Instant,
        why: impl FnOnce(&Process) -> Failure,
        end: impl FnOnce(&mut Process, Instant),
    ) {
        self.lost_to(false, id, now, why, end);
    }

    /// A process comes to its end, as `end` books it. Nobody's fault when it was on its way out; a failed start before it had proved
    /// itself, or while its release is watched; a crash after that, and again a failed start when it is not the first in this place.
    /// `visitors`: the doing of a visitor, and only a crash.
    fn lost_to(
        &mut self,
        visitors: bool,
        id: ProcessId,
        now: Instant,
        why: impl FnOnce(&Process) -> Failure,
        end: impl FnOnce(&mut Process, Instant),
    ) {
        self.prove(now);
        let Some(process) = self.find_mut(id) else { return };
        let (number, generation) = (process.number, process.generation);
        let failure = (!process.is_leaving()).then(|| why(process));
        let uptime = process.ready_at().filter(|_| process.proven).map(|ready| now.saturating_duration_since(ready));
        match process.pid {
            Some(_) => end(process, now),
            None => process.state = State::Ended { since: now },
        }
        // Nothing is known against the release: it is started again, with another port.
        if failure.as_ref().is_some_and(|failure| matches!(failure.kind, FailureKind::PortTaken { .. }))
            && self.place_mut(number).ports.again(generation)
        {
            return self.checked();
        }
        let watched = self.walk.as_ref().is_some_and(|walk| walk.target == generation && walk.trial().is_some());
        if let Some(failure) = failure {
            self.has_failed(number, generation, failure.clone(), now);
            let pardoned = visitors && self.is_pardoned(generation);
            match uptime.filter(|_| !watched).or(pardoned.then_some(Duration::ZERO)) {
                Some(uptime) => {
                    let crashes = &mut self.place_mut(number).crashes;
                    crashes.add(generation, uptime, now);
                    // Once may be chance. A release that is still on its way in and does it again would take out what works.
                    let again = crashes.count > 1 && !pardoned;
                    let comes_in = self.walk.as_ref().is_some_and(|walk| walk.target == generation && walk.back.is_none());
                    if again && comes_in && self.good.is_some() {
                        self.start_failure(number, generation, failure, now);
                    }
                }
                None => self.start_failure(number, generation, failure, now),
            }
        }
        self.checked();
    }
}
