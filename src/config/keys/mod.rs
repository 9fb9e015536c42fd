//! Every key there is, by table, and what people read of each: the one place to add a key to. `super::reference` makes conf/rota.toml,
//! docs/configuration.md and rota.toml(5) of it. Here too: what to say about a key that is not in it. Core: text only.

mod app;
mod parts;
mod server;

pub use app::APP;
pub use parts::{
    APP_ACCESS_LOG, APP_BAKE, APP_BUFFER, APP_DRAIN, APP_LIMITS, APP_PROCESSES, APP_QUEUE, APP_READY, APP_STICKY, APP_STOP, APP_TIMEOUTS,
};
pub use server::{SERVER, SERVER_ACCESS_LOG, SERVER_LIMITS, SERVER_LISTEN, SERVER_TIMEOUTS};

/// The keys of one kind of table.
#[derive(Debug)]
pub struct Keys {
    /// Path of the table in rota.toml without the app's name: `server.timeouts`, `app.queue`; empty for the top.
    pub table: &'static str,
    pub keys: &'static [Key],
}

/// A row of the table.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    /// What its value is: "time", "path or list".
    pub kind: &'static str,
    pub without: Without,
    /// The keys of a value that is a table; none, where its entries have names of the user's choice (`env`).
    pub inner: Option<&'static Keys>,
    /// The first sentence says what it is for; what follows is for whoever wants to know it exactly. Code is in `backticks`.
    pub meaning: &'static str,
    /// The heading of the keys from here on.
    pub heading: Option<&'static str>,
    pub effect: Effect,
}

/// When another value of a key takes effect, once the files are read again (`rota reload`). A key of a table: the later of its own and the
/// table's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    AtOnce,
    /// By listeners that are opened and closed.
    Listeners,
    /// For processes that are started from then on: by a rolling restart of the app.
    Restart,
    /// When rota is started anew.
    Start,
}

/// What holds where a key is not written. Values are as TOML writes them.
#[derive(Clone, Copy, Debug)]
pub enum Without {
    /// As if this were written.
    Default(&'static str),
    /// What no value says; and a value that changes it.
    Else { what: &'static str, example: &'static str },
    /// It is a mistake.
    Required { example: &'static str },
    /// It is a table: what holds is said of its keys.
    OfItsKeys,
}

impl Keys {
    pub fn has(&self, name: &str) -> bool {
        self.keys.iter().any(|key| key.name == name)
    }

    /// Of a key as it is written with dots, `limits.nofile`. None: there is no such key.
    pub fn effect(&self, name: &str) -> Option<Effect> {
        let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
        let key = self.keys.iter().find(|key| key.name == first)?;
        let inner = match (rest, key.inner) {
            (Some(rest), Some(inner)) => inner.effect(rest)?,
            (Some(_), None) | (None, _) => Effect::AtOnce,
        };
        Some(key.effect.max(inner))
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }
}

/// A key with a default that could be written down.
const fn is(name: &'static str, kind: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, without: Without::Default(default), inner: None, meaning, heading: None, effect: Effect::AtOnce }
}

/// A key without: off, or as something else has it.
const fn may(name: &'static str, kind: &'static str, what: &'static str, example: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, without: Without::Else { what, example }, inner: None, meaning, heading: None, effect: Effect::AtOnce }
}

/// A key without which nothing starts.
const fn must(name: &'static str, kind: &'static str, example: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, without: Without::Required { example }, inner: None, meaning, heading: None, effect: Effect::AtOnce }
}

/// A table of its own, which is written `name.key = ...`.
const fn table(name: &'static str, kind: &'static str, inner: &'static Keys, meaning: &'static str) -> Key {
    Key { name, kind, without: Without::OfItsKeys, inner: Some(inner), meaning, heading: None, effect: Effect::AtOnce }
}

/// One or more values, each of which may be a table.
const fn list(name: &'static str, kind: &'static str, default: &'static str, inner: &'static Keys, meaning: &'static str) -> Key {
    Key { name, kind, without: Without::Default(default), inner: Some(inner), meaning, heading: None, effect: Effect::AtOnce }
}

impl Key {
    const fn under(self, heading: &'static str) -> Self {
        Self { heading: Some(heading), ..self }
    }

    const fn walks(self) -> Self {
        Self { effect: Effect::Restart, ..self }
    }

    const fn listens(self) -> Self {
        Self { effect: Effect::Listeners, ..self }
    }

    const fn at_start(self) -> Self {
        Self { effect: Effect::Start, ..self }
    }
}

pub const TOP: Keys = Keys {
    table: "",
    keys: &[
        table("server", "table", &SERVER, "The server."),
        may("app", "table", "none", "{}", "One table for each app, `[app.NAME]`, with the keys of an app."),
    ],
};

/// All of the above, in the order in which a misplaced key is looked for.
pub const ALL: [&Keys; 18] = [
    &TOP,
    &SERVER,
    &SERVER_LISTEN,
    &SERVER_ACCESS_LOG,
    &SERVER_TIMEOUTS,
    &SERVER_LIMITS,
    &APP,
    &APP_PROCESSES,
    &APP_QUEUE,
    &APP_READY,
    &APP_DRAIN,
    &APP_STOP,
    &APP_STICKY,
    &APP_BAKE,
    &APP_ACCESS_LOG,
    &APP_TIMEOUTS,
    &APP_BUFFER,
    &APP_LIMITS,
];

/// What a file describes; it decides how the table of a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// rota.toml.
    Main,
    /// One file of apps.d: the keys of one app at its top.
    App,
}

/// What to do about `unknown`, found among the keys of `here`.
pub fn advice(unknown: &str, here: &Keys, role: Role) -> String {
    if role == Role::App && here.table == APP.table && unknown == "app" {
        return "this file describes one app, named as the file: its keys stand at the top, without [app.NAME]".to_owned();
    }
    let near = nearest(unknown, &here.names());
    if let Some((key, 0 | 1)) = near {
        return format!("did you mean {key:?}?");
    }
    let homes: Vec<String> = ALL.iter().filter(|keys| keys.has(unknown)).map(|keys| home(keys, role)).collect();
    if !homes.is_empty() {
        return format!("this key belongs {}", homes.join(" or "));
    }
    if let Some((key, _)) = near {
        return format!("did you mean {key:?}?");
    }
    // A misspelt key in the wrong table: only when it is hardly misspelt, or any word would find a home.
    for keys in ALL {
        if let Some((key, 0 | 1)) = nearest(unknown, &keys.names()) {
            return format!("did you mean {key:?}? It belongs {}", home(keys, role));
        }
    }
    format!("known here: {}", here.names().join(", "))
}

/// The candidate that `word` was probably meant to be, and how many letters are wrong; none when more than a third are.
pub fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<(&'c str, usize)> {
    let plain = word.to_lowercase().replace('-', "_");
    let distances = candidates.iter().map(|&candidate| (candidate, strsim::osa_distance(&plain, &candidate.to_lowercase())));
    // "wath" is as far from "path" as from "watch": hands slip less at the beginning of a word, which Jaro and Winkler's measure counts.
    let likeness = |candidate: &str| strsim::jaro_winkler(&plain, &candidate.to_lowercase());
    let (candidate, distance) = distances.min_by(|(a, x), (b, y)| x.cmp(y).then_with(|| likeness(b).total_cmp(&likeness(a))))?;
    (distance <= (candidate.len() / 3).max(1)).then_some((candidate, distance))
}

/// Where the keys of a table stand: "in [server.limits]".
fn home(keys: &Keys, role: Role) -> String {
    match (keys.table.split_once('.'), role) {
        (Some(("app", table)), Role::Main) => format!("in [app.NAME.{table}]"),
        (Some(("app", table)), Role::App) => format!("in [{table}]"),
        (Some(_), Role::Main) => format!("in [{}]", keys.table),
        (Some(_), Role::App) => format!("in [{}] of rota.toml", keys.table),
        (None, Role::Main) if keys.table == APP.table => "in [app.NAME]".to_owned(),
        (None, Role::App) if keys.table == APP.table => "at the top of this file".to_owned(),
        (None, Role::Main) if keys.table.is_empty() => "at the top of the file".to_owned(),
        (None, Role::App) if keys.table.is_empty() => "at the top of rota.toml".to_owned(),
        (None, Role::Main) => format!("in [{}]", keys.table),
        (None, Role::App) => format!("in [{}] of rota.toml", keys.table),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misplaced_key_is_told_its_table() {
        assert_eq!(advice("listen", &APP, Role::Main), "this key belongs in [server]");
        assert_eq!(advice("listen", &APP, Role::App), "this key belongs in [server] of rota.toml");
        assert_eq!(advice("command", &SERVER, Role::Main), "this key belongs in [app.NAME]");
        assert_eq!(advice("max", &APP, Role::App), "this key belongs in [processes] or in [queue]");
        assert_eq!(advice("head", &APP_TIMEOUTS, Role::Main), "this key belongs in [server.timeouts] or in [server.limits]");
        assert_eq!(advice("server", &APP, Role::App), "this key belongs at the top of rota.toml");
    }

    #[test]
    fn a_misspelt_key_in_the_wrong_table_is_told_both() {
        assert_eq!(advice("lisen", &APP, Role::Main), "did you mean \"listen\"? It belongs in [server]");
    }

    #[test]
    fn a_word_like_no_key_gets_the_list() {
        assert_eq!(advice("colour", &APP_QUEUE, Role::Main), "known here: max, timeout");
    }

    #[test]
    fn hyphens_and_capitals_are_no_distance() {
        assert_eq!(advice("on-failure", &APP, Role::Main), "did you mean \"on_failure\"?");
        assert_eq!(nearest("term", &["TERM", "INT"]), Some(("TERM", 0)));
    }
}
