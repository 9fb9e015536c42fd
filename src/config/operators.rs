//! `operators`: who may operate an app besides root and rota's own user. Core: text only; whether there are such users is looked for elsewhere.

use std::fmt;

use super::section::Value;

/// Prints itself as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorName {
    User(String),
    /// `@www`: its members.
    Group(String),
}

impl fmt::Display for OperatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => f.write_str(name),
            Self::Group(name) => write!(f, "@{name}"),
        }
    }
}

/// One or a list.
pub fn operators(value: &Value<'_>) -> Vec<OperatorName> {
    let items = value.one_or_more();
    if items.len() > OPERATORS_MAX {
        value.note(value.error(format!("{} has more than {OPERATORS_MAX} names", value.name)).help("name a group, as \"@deployers\""));
    }
    items.iter().filter_map(operator).collect()
}

fn operator(item: &Value<'_>) -> Option<OperatorName> {
    let text = item.text()?;
    let (name, group) = text.strip_prefix('@').map_or((text, false), |name| (name, true));
    // What passwd(5) cannot hold, and a number, which would be a name of its own there.
    let is_name = !name.is_empty()
        && name.bytes().all(|byte| byte > b' ' && byte != 0x7f && !b":,/@".contains(&byte))
        && !name.bytes().all(|byte| byte.is_ascii_digit());
    if !is_name {
        item.note(item.error(format!("{} cannot be {text:?}", item.name)).help("a user, as \"deploy\", or a group, as \"@www-data\""));
        return None;
    }
    Some(if group { OperatorName::Group(name.to_owned()) } else { OperatorName::User(name.to_owned()) })
}

/// Each has a place in the access list of the control socket's file.
const OPERATORS_MAX: usize = 32;
