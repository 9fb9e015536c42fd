//! `operators` of an app: whether there are such users and groups, and what they come to.

use crate::config::{AppConfig, OperatorName, Severity};
use crate::restart::release;

use super::starts::named_user_problem;
use super::{Problem, group_problem};

/// Users and groups that there are not, which may change.
pub fn unknown(app: &AppConfig) -> Vec<Problem> {
    let problem = |operator: &OperatorName| match operator {
        OperatorName::User(name) => named_user_problem(name),
        OperatorName::Group(name) => group_problem(name),
    };
    app.operators.iter().filter_map(problem).map(|(severity, text)| (severity, format!("operators: {text}"))).collect()
}

/// An app whose processes are operators: what has taken it over chooses what another runs.
pub fn apps_among_them(app: &AppConfig, apps: &[AppConfig]) -> Vec<Problem> {
    let group = |name: &str| nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
    let of_apps: Vec<_> = apps.iter().filter_map(|other| Some((other, release::user(&other.start).ok().flatten()?))).collect();
    let about = |operator: &OperatorName| {
        let is_one = |user: &release::Identity| match operator {
            OperatorName::User(name) => user.name == *name,
            OperatorName::Group(name) => group(name).is_some_and(|gid| user.gid == gid || user.groups().contains(&gid)),
        };
        let (other, user) = of_apps.iter().find(|(_, user)| user.uid != 0 && is_one(user))?;
        let text =
            format!("operators: {operator} is {} too, whom app {} runs as: what it does, {operator} may do here", user.name, other.name);
        Some((Severity::Warning, text))
    };
    app.operators.iter().filter_map(about).collect()
}
