//! Every key there is, by table, and what to say about one that is not: the one place to add a key to. Core: text only.

/// The keys of one kind of table.
#[derive(Debug)]
pub struct Keys {
    /// Path of the table in rota.toml without the app's name: `server.timeouts`, `app.queue`; empty for the top.
    pub table: &'static str,
    pub keys: &'static [&'static str],
}

pub const TOP: Keys = Keys { table: "", keys: &["server", "app"] };
pub const SERVER: Keys = Keys {
    table: "server",
    keys: &[
        "listen",
        "control",
        "control_group",
        "run_dir",
        "spool_dir",
        "spool_max",
        "state_dir",
        "trusted_proxies",
        "access_log",
        "timeouts",
        "limits",
        "max_processes",
        "max_spawning",
        "health",
        "errors",
    ],
};
pub const SERVER_LISTEN: Keys = Keys { table: "server.listen", keys: &["address", "proxy_protocol", "mode", "group"] };
pub const SERVER_ACCESS_LOG: Keys = Keys { table: "server.access_log", keys: &["format", "file"] };
pub const SERVER_TIMEOUTS: Keys = Keys { table: "server.timeouts", keys: &["head", "body", "keepalive", "write"] };
pub const SERVER_LIMITS: Keys =
    Keys { table: "server.limits", keys: &["head", "headers", "target", "body_rate", "connections", "per_client"] };
pub const APP: Keys = Keys {
    table: "app",
    keys: &[
        "command",
        "root",
        "bind",
        "env",
        "env_file",
        "user",
        "group",
        "umask",
        "nice",
        "oom_score_adj",
        "no_new_privs",
        "hosts",
        "path",
        "processes",
        "concurrency",
        "queue",
        "ready",
        "warmup",
        "probation",
        "drain",
        "stop",
        "on_failure",
        "surge",
        "leader",
        "sticky",
        "bake",
        "max_requests",
        "max_age",
        "memory_limit",
        "memory_limit_hard",
        "survivors",
        "restart_file",
        "watch",
        "log",
        "log_rate",
        "access_log",
        "public",
        "public_links",
        "sendfile_root",
        "underscore_headers",
        "timeouts",
        "request_timeout",
        "buffer",
        "limits",
        "errors",
        "friendly_errors",
    ],
};
pub const APP_PROCESSES: Keys = Keys { table: "app.processes", keys: &["min", "max", "idle"] };
pub const APP_QUEUE: Keys = Keys { table: "app.queue", keys: &["max", "timeout"] };
pub const APP_READY: Keys = Keys { table: "app.ready", keys: &["path", "status", "timeout"] };
pub const APP_DRAIN: Keys = Keys { table: "app.drain", keys: &["timeout", "longest", "upgraded"] };
pub const APP_STOP: Keys = Keys { table: "app.stop", keys: &["signal", "timeout"] };
pub const APP_STICKY: Keys = Keys { table: "app.sticky", keys: &["cookie"] };
pub const APP_BAKE: Keys = Keys { table: "app.bake", keys: &["time", "max_5xx", "max_refused", "max_slowdown"] };
pub const APP_ACCESS_LOG: Keys = Keys { table: "app.access_log", keys: &["format", "file"] };
pub const APP_TIMEOUTS: Keys = Keys { table: "app.timeouts", keys: &["app", "tunnel", "pooled"] };
pub const APP_BUFFER: Keys = Keys { table: "app.buffer", keys: &["request", "response"] };
pub const APP_LIMITS: Keys =
    Keys { table: "app.limits", keys: &["body", "processes", "cpu", "nofile", "nproc", "core", "fsize", "memlock", "stack"] };

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
    let near = nearest(unknown, here.keys);
    if let Some((key, 0 | 1)) = near {
        return format!("did you mean {key:?}?");
    }
    let homes: Vec<String> = ALL.iter().filter(|keys| keys.keys.contains(&unknown)).map(|keys| home(keys, role)).collect();
    if !homes.is_empty() {
        return format!("this key belongs {}", homes.join(" or "));
    }
    if let Some((key, _)) = near {
        return format!("did you mean {key:?}?");
    }
    // A misspelt key in the wrong table: only when it is hardly misspelt, or any word would find a home.
    for keys in ALL {
        if let Some((key, 0 | 1)) = nearest(unknown, keys.keys) {
            return format!("did you mean {key:?}? It belongs {}", home(keys, role));
        }
    }
    format!("known here: {}", here.keys.join(", "))
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
