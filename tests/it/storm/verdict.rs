//! After a storm: everything has come to rest, nothing is left over, and every answer was one that may be.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use super::orders::Told;
use super::plan::Plan;
use crate::killed::Record;
use crate::site::Site;
use crate::tally::{Result_, Tally};
use crate::wait::{self, secs};
use crate::wire::{self, Trouble};

/// What rota itself holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    pub descriptors: usize,
    pub threads: usize,
}

impl Census {
    pub fn of(site: &Site) -> Self {
        let entries = |what: &str| fs::read_dir(format!("/proc/{}/{what}", site.pid())).into_iter().flatten().flatten();
        // Those that read /proc for others come when somebody asks for the status, and go after a second.
        let stays = |task: &fs::DirEntry| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim_end() != "proc");
        Self { descriptors: entries("fd").count(), threads: entries("task").filter(stays).count() }
    }

    /// Of a server that has nothing in hand: connections that the first requests left behind are closed by then.
    pub fn at_rest(site: &Site) -> Self {
        let mut last = (Self::of(site), Instant::now());
        wait::until("the server holds the same for a while", secs(20), || {
            let now = Self::of(site);
            if now != last.0 {
                last = (now, Instant::now());
            }
            last.1.elapsed() > 3 * POOLED
        });
        last.0
    }

    /// What the descriptors are, for the report of a failure.
    fn describe(site: &Site) -> String {
        let links = fs::read_dir(format!("/proc/{}/fd", site.pid())).into_iter().flatten();
        let mut links: Vec<String> =
            links.filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.display().to_string())).collect();
        links.sort();
        links.join(" ")
    }
}

/// One release serves with as many processes as wanted, and nothing else is there.
pub fn at_rest(site: &Site, plan: &Plan, version: &str, before: Census) -> Result<(), String> {
    let mut seen = String::new();
    let rests = wait::becomes_so(secs(30), &mut || {
        let status = site.rota(&["status", "--json"]);
        let Ok(json) = serde_json::from_str::<serde_json::Value>(&status.out) else { return false };
        let app = &json["apps"][0];
        let processes = app["processes"].as_array().cloned().unwrap_or_default();
        let generation = app["generation"].clone();
        let good = processes.iter().filter(|process| process["state"] == "serving" && process["generation"] == generation).count();
        let left = site.left();
        let census = Census::of(site);
        seen = format!(
            "walk {}, {} processes of which {good} serve {generation}, {} wanted; left {left:?}; {census:?}, {before:?} before\n{}",
            app["walk"],
            processes.len(),
            plan.processes,
            Census::describe(site),
        );
        let whole = app["walk"].is_null() && processes.len() == plan.processes && good == plan.processes;
        whole && left.len() == plan.processes && census == before
    });
    if !rests {
        return Err(format!("it does not come to rest: {seen}"));
    }
    for _ in 0..2 * plan.processes {
        let answer = wire::get(site.addr, "/").map(|reply| (reply.status, reply.text()));
        if answer != Ok((200, version.to_owned())) {
            return Err(format!("{answer:?} is served, {version} should be"));
        }
    }
    Ok(())
}

/// Each generation has one place in the history, with the outcome that its caller was told.
pub fn history(site: &Site, told: &Told) -> Result<(), String> {
    let record = Record::read(site)?;
    let mut outcomes = BTreeMap::new();
    for entry in &record.history {
        if let Some(other) = outcomes.insert(entry.generation, entry.outcome.clone()) {
            return Err(format!("g{} is told twice: {other} and {}", entry.generation, entry.outcome));
        }
    }
    let missing: Vec<u64> = (1..=record.generation).filter(|generation| !outcomes.contains_key(generation)).collect();
    if !missing.is_empty() {
        return Err(format!("of {} generations these are not in the history: {missing:?}", record.generation));
    }
    let wrong = told.iter().find(|(generation, outcome)| outcomes.get(generation) != Some(outcome));
    wrong.map_or(Ok(()), |(generation, outcome)| {
        Err(format!("g{generation}: {outcome} was told, {:?} is in the history", outcomes.get(generation)))
    })
}

/// Every request was answered by a release that may serve, or as documented for the faults of this plan.
pub fn answers(plan: &Plan, tally: &Tally, never: &[String]) -> Result<(), String> {
    let wrong: Vec<String> = tally.results().filter(|(_, result, _)| !may_be(plan, result)).map(|what| format!("{what:?}")).collect();
    if !wrong.is_empty() {
        return Err(format!("undocumented for {:?}: {}\n{tally}", plan.faults().collect::<Vec<_>>(), wrong.join(", ")));
    }
    let versions = tally.version_names();
    match versions.iter().find(|version| never.contains(version)) {
        Some(version) => Err(format!("release {version} answered, no process of which is ever ready")),
        None => Ok(()),
    }
}

fn may_be(plan: &Plan, result: &Result_) -> bool {
    let dies = plan.has("app process killed") || plan.steps.iter().any(|(_, step)| format!("{step:?}").contains("dies_after"));
    match result {
        Result_::Ok | Result_::Ended => true,
        // The process died with the request, which may not be sent again; or every process was gone.
        Result_::Status(502 | 503) if dies || plan.has("descriptors short") => true,
        Result_::Trouble(Trouble::Cut) => dies,
        Result_::Status(507) => plan.has("disk full") || plan.has("descriptors short"),
        Result_::Status(_) | Result_::Trouble(_) | Result_::WrongBody => false,
    }
}

/// How long rota keeps a connection to an app that nobody uses.
pub const POOLED: Duration = Duration::from_millis(100);
