//! One rota is replaced by the next, in the midst of whatever is under way: the table, what waits and what is in hand go through JSON. What the
//! same schedule does without that tells what it has to do.

use std::collections::HashMap;
use std::time::Duration;

use rota::ids::{AppName, GroupId, ProcessId};
use rota::moment::counted_from;
use rota::pool::{CameOver, Claim, Group, Pool, Saved, Waiting};

use super::books::{Check, Request, ensure};
use super::rng::Rng;
use super::world::World;

/// How often, and what all comes to.
#[derive(Debug, Default)]
pub struct Upgrades {
    /// When there is one is no part of the schedule.
    moments: Option<Rng>,
    /// Every step, and what is to be seen after it; None: nobody compares.
    pub trace: Option<Vec<String>>,
    pub count: u64,
}

impl Upgrades {
    pub fn never() -> Self {
        Self { trace: Some(Vec::new()), ..Self::default() }
    }

    pub fn often(seed: u64) -> Self {
        Self { moments: Some(Rng::new(!seed)), ..Self::never() }
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }
}

impl World {
    pub fn note_views(&mut self) {
        let (pool, now) = (&self.pool, self.now);
        self.upgrades.note(|| {
            let views: Vec<_> = pool.groups().map(|group| group.view(now)).collect();
            format!("{:?} {views:?}", pool.next_deadline())
        });
    }

    pub fn is_perhaps_replaced(&mut self) -> Check {
        let Some(moments) = &mut self.upgrades.moments else { return Ok(()) };
        if !moments.percent(20) {
            return Ok(());
        }
        let reference = self.start + Duration::from_nanos(moments.within(0, 1 << 42));
        self.say(|| "  the next rota".to_owned());
        counted_from(reference, || self.is_replaced()).map_err(|what| format!("the next rota: {what}"))?;
        self.upgrades.count += 1;
        self.check()
    }

    fn is_replaced(&mut self) -> Check {
        let json = |error: serde_json::Error| error.to_string();
        let text = serde_json::to_string(&self.pool.save()?).map_err(json)?;
        let waiting: Vec<Vec<&Waiting<u32>>> = self.pool.groups().map(|group| group.waiting().collect()).collect();
        let waiting = serde_json::to_string(&waiting).map_err(json)?;
        let saved: Saved<Group<u32>> = serde_json::from_str(&text).map_err(json)?;
        let number = |app: &AppName| self.pool.find(app.as_str());
        let (mut pool, numbers) = Pool::restore(saved, number)?;
        for (group, waiting) in (0..).zip(serde_json::from_str::<Vec<Vec<Waiting<u32>>>>(&waiting).map_err(json)?) {
            let group = numbers.group(GroupId(group))?;
            waiting.into_iter().for_each(|waiting| pool.group_mut(group).wait_again(waiting));
        }
        let mut claims: HashMap<ProcessId, u32> = HashMap::new();
        let requests = self.apps.iter_mut().flat_map(|app| &mut app.requests);
        for claim in requests.filter_map(|request| if let Request::Claimed { claim, .. } = request { Some(claim) } else { None }) {
            let again: Claim = serde_json::from_str(&serde_json::to_string(claim).map_err(json)?).map_err(json)?;
            let again = again.numbered(&numbers)?;
            ensure!(again == *claim, "{claim:?} came over as {again:?}");
            *claims.entry(again.process()).or_default() += 1;
            *claim = again;
        }
        let CameOver { differs, granted } = pool.came_over(&claims, self.now);
        ensure!(differs.is_empty() && granted.is_empty(), "{differs:?}, granted {granted:?}");
        self.pool = pool;
        let again = serde_json::to_string(&self.pool.save()?).map_err(json)?;
        ensure!(again == text, "saved again it is\n{again}\nand was\n{text}");
        Ok(())
    }
}
