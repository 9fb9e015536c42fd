//! Whether processes could be started as the configuration wants them: their users, and what the kernel grants only some.

use std::fs;
use std::path::Path;

use nix::unistd::{Gid, Uid, User};
use rustix::thread::CapabilitySet;

use super::{Finding, Problem, group_problem, operators};
use crate::config::{AppConfig, Config, ResourceLimit, Severity, SpawnAttributes, StartConfig, nearest};
use crate::errands::pace::Pace;
use crate::restart::{env_file, release};
use crate::sys;

/// What a process may ask of the kernel for its children (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privileges {
    pub is_root: bool,
    /// The least nice value that it may give.
    pub nice: i32,
    pub oom_score_adj: i32,
    /// It may raise hard limits.
    pub raises_limits: bool,
}

impl Privileges {
    /// Of this process.
    pub fn own() -> Self {
        let raises_limits = sys::has_capability(CapabilitySet::SYS_RESOURCE);
        Self {
            is_root: Uid::effective().is_root(),
            nice: if sys::has_capability(CapabilitySet::SYS_NICE) { -20 } else { sys::least_nice() },
            oom_score_adj: if raises_limits { -1000 } else { sys::oom_score().unwrap_or(-1000) },
            raises_limits,
        }
    }
}

/// What keeps apps from being started, now or for ever.
pub fn start_findings(config: &Config, privileges: &Privileges, forbidden: Severity) -> Vec<Finding> {
    findings(config, |app| [user_problems(app), right_problems(app, privileges, forbidden)].concat())
}

/// Users and groups that there are not, which may change.
pub fn user_findings(config: &Config) -> Vec<Finding> {
    findings(config, user_problems)
}

/// What rota may never do: as root each app names a user, so that no app runs as root by an omission; and nothing is asked for that every start
/// would fail of. `forbidden`: how bad it is that only another process may do something.
pub fn right_findings(config: &Config, privileges: &Privileges, forbidden: Severity) -> Vec<Finding> {
    findings(config, |app| right_problems(app, privileges, forbidden))
}

fn user_problems(app: &AppConfig) -> Vec<Problem> {
    user_problem(&app.start).into_iter().chain(app.start.group.as_deref().and_then(group_problem)).chain(operators::unknown(app)).collect()
}

fn right_problems(app: &AppConfig, privileges: &Privileges, forbidden: Severity) -> Vec<Problem> {
    let user = foreign_user(&app.start, privileges, forbidden);
    let group = app.start.group.as_deref().and_then(|group| foreign_group(group, privileges, forbidden));
    user.into_iter().chain(group).chain(attribute_problems(&app.start.attributes, privileges, forbidden)).collect()
}

fn findings(config: &Config, problems: impl Fn(&AppConfig) -> Vec<Problem>) -> Vec<Finding> {
    let finding = |app: &AppConfig, (severity, text)| Finding { severity, app: Some(app.name.clone()), text };
    config.apps.iter().flat_map(|app| problems(app).into_iter().map(|problem| finding(app, problem)).collect::<Vec<_>>()).collect()
}

/// The files of variables, as they are now. What is wrong with one is told without anything that is in it.
pub fn env_file_problem(app: &AppConfig, apps: &[AppConfig]) -> Option<Problem> {
    // A user that there is not is told elsewhere.
    let user = release::user(&app.start).ok()?;
    let problem = read_files(app, apps, user.as_ref())?.err()?;
    let is_other = user.is_some_and(|user| user.uid != Uid::effective().as_raw());
    let may_be_ours = is_other && !Uid::effective().is_root();
    Some((if may_be_ours { Severity::Warning } else { Severity::Error }, problem))
}

/// Names of what these files set; None: they cannot be read.
pub fn variables_of_files(app: &AppConfig, apps: &[AppConfig]) -> Option<Vec<String>> {
    let user = release::user(&app.start).ok()?;
    let variables = read_files(app, apps, user.as_ref())?.ok()?;
    Some(variables.into_iter().map(|(name, _)| name).collect())
}

/// None: there is no root to see them from.
fn read_files(app: &AppConfig, apps: &[AppConfig], user: Option<&release::Identity>) -> Option<Result<Vec<(String, String)>, String>> {
    let start = &app.start;
    let root = fs::canonicalize(&start.root).ok()?;
    let others = release::groups_of_others(apps.iter().map(|app| &app.start), user);
    let from = env_file::From { configured: &start.root, named: Some(&root), root: &root, others: &others };
    Some(env_file::read(&start.env_files, from, start.bind, user, &Pace::of_command()))
}

fn user_problem(start: &StartConfig) -> Option<Problem> {
    named_user_problem(start.user.as_deref()?)
}

pub fn named_user_problem(name: &str) -> Option<Problem> {
    match User::from_name(name) {
        Ok(Some(_)) => None,
        Ok(None) => Some((Severity::Error, format!("there is no user {name:?}{}", meant(name, Path::new("/etc/passwd"))))),
        Err(error) => Some((Severity::Error, format!("user {name:?} cannot be looked up: {error}"))),
    }
}

/// The user or group that was probably meant; `file`: passwd or group.
pub fn meant(name: &str, file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let known: Vec<&str> = text.lines().filter_map(|line| line.split(':').next()).filter(|known| !known.is_empty()).collect();
    nearest(name, &known).map_or(String::new(), |(known, _)| format!("; did you mean {known:?}?"))
}

/// One that rota may not become, or none at all.
fn foreign_user(start: &StartConfig, privileges: &Privileges, forbidden: Severity) -> Option<Problem> {
    let Some(name) = &start.user else {
        let text = "names no user: add user = \"NAME\", or user = \"root\" if that is meant";
        return privileges.is_root.then(|| (Severity::Error, text.to_owned()));
    };
    let user = User::from_name(name).ok().flatten()?;
    let is_other = !privileges.is_root && user.uid != Uid::effective();
    is_other.then(|| (forbidden, format!("only root can start processes as user {name:?}")))
}

/// Of a group that exists.
fn foreign_group(name: &str, privileges: &Privileges, forbidden: Severity) -> Option<Problem> {
    let group = nix::unistd::Group::from_name(name).ok().flatten()?;
    let is_other = !privileges.is_root && group.gid != Gid::effective();
    is_other.then(|| (forbidden, format!("only root can start processes with group {name:?}")))
}

fn attribute_problems(wanted: &SpawnAttributes, privileges: &Privileges, forbidden: Severity) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut forbid = |text: String| problems.push((forbidden, text));
    if let Some(nice) = wanted.nice.filter(|nice| *nice < privileges.nice) {
        forbid(format!("nice = {nice}: only root (CAP_SYS_NICE) may give less than {}", privileges.nice));
    }
    if let Some(score) = wanted.oom_score_adj.filter(|score| *score < privileges.oom_score_adj) {
        forbid(format!("oom_score_adj = {score}: only root (CAP_SYS_RESOURCE) may give less than {}", privileges.oom_score_adj));
    }
    for (limit, value) in &wanted.rlimits {
        let Some(hard) = sys::hard_limit(*limit).filter(|_| !privileges.raises_limits) else { continue };
        if value.is_none_or(|value| value > hard) {
            let value = value.map_or("\"unlimited\"".to_owned(), |value| value.to_string());
            forbid(format!("{limit} = {value}: only root (CAP_SYS_RESOURCE) may give more than the hard limit, which is {hard}"));
        }
    }
    let descriptors = wanted.rlimits.iter().find(|(limit, _)| *limit == ResourceLimit::Nofile).and_then(|(_, value)| *value);
    if let (Some(value), Some(most)) = (descriptors, most_descriptors())
        && value > most
    {
        problems.push((Severity::Error, format!("limits.nofile = {value}: the kernel gives {most} at most (sysctl fs.nr_open)")));
    }
    problems
}

fn most_descriptors() -> Option<u64> {
    fs::read_to_string("/proc/sys/fs/nr_open").ok()?.trim().parse().ok()
}
