//! What must be true of an app by the books of the world alone.

use std::time::Instant;

use rota::config::OnFailure;
use rota::ids::{Generation, Number};
use rota::pool::Outcome;

use super::books::{App, Check, LEADER, OF_LATE, Proc, Request, ensure};

impl App {
    /// What holds after every change.
    pub fn check(&self) -> Check {
        let (there, numbers, surge) = (self.counted().count(), self.wanted_numbers(), usize::from(self.settings.surge));
        ensure!(there <= self.max() + surge, "{there} processes, {} may be, surge {surge}", self.max());
        let where_wanted = self.counted().filter(|proc| numbers.contains(&proc.number)).count();
        ensure!(where_wanted <= self.bound(), "{where_wanted} processes for {} wanted, surge {surge}", numbers.len());
        ensure!((self.min()..=self.max()).contains(&numbers.len()), "{} processes are wanted", numbers.len());
        let leaders = self.there().filter(|proc| proc.number == LEADER).count();
        ensure!(leaders <= 1 || !self.is_exclusive(), "{leaders} processes of number 1");
        for proc in self.outlasting() {
            let twins = self.outlasting().filter(|other| other.number == proc.number).count();
            ensure!(twins <= 1, "{twins} processes of number {} outlast their drains", proc.number);
            let alone = self.is_exclusive() && proc.number == LEADER;
            ensure!(surge > 0 && !alone && proc.is_leaving(), "{:?} outlasts its drain", proc.id);
        }
        for proc in self.there() {
            ensure!(proc.claims <= self.settings.concurrency, "{:?} has {} sessions", proc.id, proc.claims);
            ensure!(
                !proc.serving
                    || proc.dying
                    || proc.claims == self.settings.concurrency
                    || self.first_for(proc.number).is_none()
                    || self.paused.is_some(),
                "a request waits beside a free slot"
            );
            let twins = self.serving().filter(|other| other.number == proc.number).count();
            ensure!(twins <= 1, "{twins} processes serve as number {}", proc.number);
        }
        ensure!(self.waiting.len() <= self.settings.queue_max, "{} requests wait", self.waiting.len());
        Ok(())
    }

    /// What the restart thread must have seen to when it has just looked.
    /// `room`: how many more there may be on the machine; `boots`: one more may boot.
    pub fn check_seen_to(&self, now: Instant, room: usize, boots: bool) -> Check {
        ensure!(self.paused.is_none_or(|until| now < until), "the app is held for too long");
        if self.ending {
            return Ok(());
        }
        let begins = self.resolving.is_some() || self.pending.as_ref().is_none_or(|pending| pending.in_turn);
        ensure!(begins, "{:?} waits for nothing", self.pending);
        let of_use = |proc: &Proc| {
            let wanted = self.good == Some(proc.generation) || self.walk == Some(proc.generation);
            wanted && proc.is_coming() && !self.has_failed(proc.generation, proc.number)
        };
        let waits = self.there().find(|proc| proc.ready.is_some() && of_use(proc));
        ensure!(waits.is_none() || self.serving().count() > 0, "{waits:?} is ready and nothing serves");
        let may = boots && (room > 0 || self.counted().count() < self.wanted());
        let (Some(good), true) = (self.good, self.counted().count() < self.bound() && may) else { return Ok(()) };
        // The good release has not failed for so long, and nothing else has ended at this number, that nothing holds its start up.
        let no_failure = !self.ended_of_late(now).any(|proc| proc.failed && proc.generation == good);
        for number in self.wanted_numbers() {
            // Crashes in a row are counted from one process to the next, also over one that was only recycled.
            let recycled = self.procs.iter().any(|proc| proc.number == number && self.may_be_replaced(proc, now));
            let calm = no_failure && !recycled && self.ended_of_late(now).filter(|proc| proc.number == number).count() <= 1;
            let emptied = self.taken_out.contains(&number) || self.postponed == Some(number) || self.is_at_once();
            let alone = self.is_exclusive() && number == LEADER;
            let leaves = (emptied || alone) && self.there().any(|proc| proc.number == number || proc.outlasts);
            let target = self.walk.filter(|walk| emptied || self.accepts(*walk, now));
            let is_filled = self.there().any(|proc| proc.is_coming() && (proc.generation == good || Some(proc.generation) == target));
            ensure!(!self.is_missing(number) || leaves || !calm || is_filled, "number {number} is missing and nothing is started");
        }
        let next = (1..=self.settings.processes.max).map(Number).find(|number| !self.wanted_numbers().contains(number));
        // What makes room is filled first, and one that failed of late is waited for.
        let others = self.taken_out.is_empty() && self.postponed.is_none() && !self.is_at_once();
        let calm = no_failure && self.ended_of_late(now).filter(|proc| Some(proc.number) == next).count() <= 1;
        // One boot at a time of the good release.
        let boots = self.there().any(|proc| proc.is_coming() && proc.generation == good);
        let leader_leaves = self.is_exclusive() && next == Some(LEADER) && self.there().any(|proc| proc.number == LEADER);
        let waits = self.paused.is_none() && next.is_some_and(|next| self.first_for(next).is_some()) && !leader_leaves;
        let grows = waits && !boots && others && calm && next.is_some() && !self.is_one_coming() && room > 0;
        ensure!(
            !grows || self.there().filter(|proc| proc.is_leaving()).count() > 0,
            "a request waits for one more process, and none is started"
        );
        Ok(())
    }

    pub fn ended_of_late(&self, now: Instant) -> impl Iterator<Item = &Proc> {
        self.procs.iter().filter(move |proc| proc.ended.is_some_and(|ended| now < ended + OF_LATE))
    }

    /// What holds when nothing has happened for a long time.
    pub fn check_at_rest(&self) -> Check {
        ensure!(self.walk.is_none(), "the walk to {:?} has not ended", self.walk);
        for (generation, outcome) in &self.asked {
            ensure!(outcome.is_some(), "nobody was told how {generation} ended");
        }
        ensure!(self.waiting.is_empty(), "{} requests still wait", self.waiting.len());
        let open = self.requests.iter().filter(|request| !matches!(request, Request::Over)).count();
        ensure!(open == 0, "{open} requests have not ended");
        ensure!(self.paused.is_none(), "the app is still held");
        if self.ending {
            ensure!(self.there().count() == 0, "{} processes are left", self.there().count());
            return Ok(());
        }
        let (there, serving) = (self.there().count(), self.serving().count());
        // With an age that processes may not reach there is always one that is replaced.
        let out = if self.settings.lifespan.age.is_none() { 0 } else { usize::from(self.may_go_first()) };
        let (least, most) =
            (self.wanted().saturating_sub(out), if self.settings.lifespan.age.is_none() { self.wanted() } else { self.bound() });
        ensure!(there <= most && serving >= least, "{serving} of {there} processes serve, {} are wanted", self.wanted());
        let worn = self.serving().find(|proc| self.must_be_replaced(proc));
        ensure!(worn.is_none(), "{worn:?} was to be replaced");
        let good = self.good.ok_or("nothing was ever accepted")?;
        let mixed = self.serving().any(|proc| proc.generation != good);
        let last_failed = self.last_walked().is_some_and(|outcome| match outcome {
            Outcome::Failed { .. } => true,
            Outcome::Done
            | Outcome::Turned(_)
            | Outcome::RolledBack { .. }
            | Outcome::Superseded { .. }
            | Outcome::Aborted { .. }
            | Outcome::Stopped => false,
        });
        let may_mix = match self.settings.on_failure {
            OnFailure::Resist | OnFailure::Continue => last_failed,
            OnFailure::Rollback => false,
        };
        ensure!(!mixed || may_mix, "generations are mixed with no reason: {:?}", self.asked);
        Ok(())
    }

    /// How the last walk ended whose release could be resolved: a request that failed before that changes nothing.
    fn last_walked(&self) -> Option<&Outcome> {
        let walked = |generation: &Generation| self.releases.contains_key(generation);
        self.asked.iter().rev().find(|(generation, _)| walked(generation)).and_then(|(_, outcome)| outcome.as_ref())
    }
}
