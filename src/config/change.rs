//! What another configuration would change, key by key, and how each change takes effect (`rota reload`). Values are compared as they are
//! understood: another spelling of the same is no change. Core: no I/O.

use std::fmt;

use super::keys::{APP, Effect, Keys as Table, SERVER};
use super::{AppConfig, ClientLimits, ClientTimeouts, Config, ListenConfig, MachineConfig, ServerConfig, SpawnAttributes, StartConfig};
use crate::ids::AppName;

/// What is to be done to get from one configuration to another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In the order of the apps' names, those of the server first.
    pub changes: Vec<Change>,
}

/// One of them. `Display` is a line without a full stop.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Of `[server]`.
    Server {
        keys: Vec<&'static str>,
        effect: Effect,
    },
    Opens(ListenConfig),
    Closes(ListenConfig),
    /// The same place, otherwise: with these settings, or none that need to be said.
    Relistens {
        listen: ListenConfig,
        settings: Vec<&'static str>,
    },
    Adds(AppName),
    Removes(AppName),
    App {
        app: AppName,
        keys: Vec<&'static str>,
        effect: Effect,
    },
    /// What serves is not what the files say: the restart of an earlier reload has failed, or was given up.
    Again(AppName),
}

impl Plan {
    /// From what is in force to what is wanted.
    pub fn between<'a>(old: &'a ServerConfig, apps: impl Iterator<Item = &'a AppConfig> + Clone, new: &Config) -> Self {
        let mut changes = Vec::new();
        let keys = server_keys(old, &new.server);
        changes.extend(by_effect(&keys, &SERVER).into_iter().map(|(keys, effect)| Change::Server { keys, effect }));
        let at = |listens: &'a [ListenConfig], listen: &ListenConfig| listens.iter().find(|other| other.at == listen.at);
        for listen in &new.server.listen {
            changes.extend(match at(&old.listen, listen) {
                None => Some(Change::Opens(listen.clone())),
                Some(before) if before != listen => Some(Change::Relistens { listen: listen.clone(), settings: differs(before, listen) }),
                Some(_) => None,
            });
        }
        let gone = old.listen.iter().filter(|listen| !new.server.listen.iter().any(|other| other.at == listen.at));
        changes.extend(gone.cloned().map(Change::Closes));
        let mut of_apps: Vec<(AppName, Change)> = Vec::new();
        for app in &new.apps {
            let Some(known) = apps.clone().find(|known| known.name == app.name) else {
                of_apps.push((app.name.clone(), Change::Adds(app.name.clone())));
                continue;
            };
            let keys = app_keys(known, app);
            let changed = by_effect(&keys, &APP).into_iter();
            of_apps.extend(changed.map(|(keys, effect)| (app.name.clone(), Change::App { app: app.name.clone(), keys, effect })));
        }
        let gone = apps.filter(|known| !new.apps.iter().any(|app| app.name == known.name));
        of_apps.extend(gone.map(|app| (app.name.clone(), Change::Removes(app.name.clone()))));
        of_apps.sort_by(|(one, _), (other, _)| one.cmp(other));
        changes.extend(of_apps.into_iter().map(|(_, change)| change));
        Self { changes }
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// This app is to be restarted, one process at a time.
    pub fn restarts(&self, name: &AppName) -> bool {
        let restarts = |change: &Change| match change {
            Change::App { app, effect: Effect::Restart, .. } | Change::Again(app) => app == name,
            _ => false,
        };
        self.changes.iter().any(restarts)
    }

    /// Of these apps the restart that came of an earlier reload has failed: it is tried again.
    pub fn try_again(&mut self, apps: impl IntoIterator<Item = AppName>) {
        let concerns = |change: &Change, name: &AppName| matches!(change, Change::Adds(app) | Change::Removes(app) if app == name);
        for app in apps {
            if !self.restarts(&app) && !self.changes.iter().any(|change| concerns(change, &app)) {
                self.changes.push(Change::Again(app));
            }
        }
    }
}

/// What is another one of two ways to listen at the same place.
fn differs(old: &ListenConfig, new: &ListenConfig) -> Vec<&'static str> {
    let ListenConfig { at: _, proxy_protocol, door } = old;
    let mut keys = Keys::default();
    keys.see("proxy_protocol", *proxy_protocol == new.proxy_protocol);
    keys.see("mode", door.mode == new.door.mode);
    keys.see("group", door.group == new.door.group);
    keys.0
}

/// The keys that take effect in the same way, together. `of`: the table that they are of.
fn by_effect(keys: &[&'static str], of: &Table) -> Vec<(Vec<&'static str>, Effect)> {
    // A key that the table does not have fails the test of this; a restart is never wrong.
    let effect = |key: &str| of.effect(key).unwrap_or(Effect::Restart);
    let mut effects: Vec<Effect> = keys.iter().map(|key| effect(key)).collect();
    effects.sort_unstable();
    effects.dedup();
    let together = |taken: Effect| (keys.iter().copied().filter(|key| effect(key) == taken).collect(), taken);
    effects.into_iter().map(together).collect()
}

/// Notes the keys whose values differ.
#[derive(Debug, Default)]
struct Keys(Vec<&'static str>);

impl Keys {
    fn see(&mut self, key: &'static str, is_same: bool) {
        if !is_same {
            self.0.push(key);
        }
    }
}

/// Those of `[server]` that differ, but for `listen`.
fn server_keys(old: &ServerConfig, new: &ServerConfig) -> Vec<&'static str> {
    // Named one by one, so that a key that is added cannot be forgotten here.
    let ServerConfig {
        listen: _,
        trusted_proxies,
        control,
        control_group,
        run_dir,
        spool_dir,
        state_dir,
        spool_max,
        access_log,
        timeouts,
        limits,
        machine,
        health,
        agent,
        metrics,
        errors,
    } = old;
    let mut keys = Keys::default();
    keys.see("trusted_proxies", *trusted_proxies == new.trusted_proxies);
    keys.see("health", *health == new.health);
    keys.see("agent", *agent == new.agent);
    keys.see("metrics", *metrics == new.metrics);
    keys.see("control", *control == new.control);
    keys.see("control_group", *control_group == new.control_group);
    keys.see("run_dir", *run_dir == new.run_dir);
    keys.see("state_dir", *state_dir == new.state_dir);
    keys.see("spool_dir", *spool_dir == new.spool_dir);
    keys.see("spool_max", *spool_max == new.spool_max);
    keys.see("access_log", *access_log == new.access_log);
    keys.see("errors", *errors == new.errors);
    let ClientTimeouts { head, body, keepalive, write } = timeouts;
    keys.see("timeouts.head", *head == new.timeouts.head);
    keys.see("timeouts.body", *body == new.timeouts.body);
    keys.see("timeouts.keepalive", *keepalive == new.timeouts.keepalive);
    keys.see("timeouts.write", *write == new.timeouts.write);
    let ClientLimits { head, headers, target, body_rate, connections, per_client } = limits;
    keys.see("limits.head", *head == new.limits.head);
    keys.see("limits.headers", *headers == new.limits.headers);
    keys.see("limits.target", *target == new.limits.target);
    keys.see("limits.body_rate", *body_rate == new.limits.body_rate);
    keys.see("limits.connections", *connections == new.limits.connections);
    keys.see("limits.per_client", *per_client == new.limits.per_client);
    let MachineConfig { processes, spawning } = machine;
    keys.see("max_processes", *processes == new.machine.processes);
    keys.see("max_spawning", *spawning == new.machine.spawning);
    keys.0
}

/// Those of an app that differ.
fn app_keys(old: &AppConfig, new: &AppConfig) -> Vec<&'static str> {
    let mut keys = Keys::default();
    start_keys(&old.start, &new.start, &mut keys);
    let AppConfig {
        name: _,
        start: _,
        routes,
        processes,
        queue,
        ready,
        warmup,
        probation,
        drain,
        stop,
        on_failure,
        surge,
        leader,
        sticky,
        is_sticky_said: _,
        bake,
        lifespan,
        cpu,
        survivors,
        restart_file,
        watch,
        log,
        log_rate,
        access_log,
        timeouts,
        request_timeout,
        buffer,
        max_body,
        errors,
        friendly_errors,
        files,
        underscore_headers,
        operators,
    } = old;
    fn parts<'a, T: PartialEq + 'a>(routes: &'a [super::Route], of: impl Fn(&'a super::Route) -> T + 'a) -> Vec<T> {
        let mut parts: Vec<T> = Vec::new();
        for part in routes.iter().map(of) {
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        parts
    }
    keys.see("hosts", parts(routes, |route| &route.host) == parts(&new.routes, |route| &route.host));
    keys.see("path", parts(routes, |route| &route.path) == parts(&new.routes, |route| &route.path));
    keys.see("processes", *processes == new.processes);
    keys.see("queue.max", queue.max == new.queue.max);
    keys.see("queue.timeout", queue.timeout == new.queue.timeout);
    keys.see("ready.path", ready.path == new.ready.path);
    keys.see("ready.status", ready.status == new.ready.status);
    keys.see("ready.timeout", ready.timeout == new.ready.timeout);
    keys.see("warmup", *warmup == new.warmup);
    keys.see("probation", *probation == new.probation);
    keys.see("drain.timeout", drain.timeout == new.drain.timeout);
    keys.see("drain.longest", drain.longest == new.drain.longest);
    keys.see("drain.upgraded", drain.upgraded == new.drain.upgraded);
    keys.see("stop.timeout", stop.timeout == new.stop.timeout);
    keys.see("on_failure", *on_failure == new.on_failure);
    keys.see("surge", *surge == new.surge);
    keys.see("leader", *leader == new.leader);
    keys.see("sticky", *sticky == new.sticky);
    keys.see("bake", *bake == new.bake);
    keys.see("max_requests", lifespan.requests == new.lifespan.requests);
    keys.see("max_age", lifespan.age == new.lifespan.age);
    keys.see("memory_limit", lifespan.memory == new.lifespan.memory);
    keys.see("memory_limit_hard", lifespan.memory_hard == new.lifespan.memory_hard);
    keys.see("limits.processes", lifespan.processes == new.lifespan.processes);
    keys.see("limits.cpu", *cpu == new.cpu);
    keys.see("limits.body", *max_body == new.max_body);
    keys.see("survivors", *survivors == new.survivors);
    keys.see("restart_file", *restart_file == new.restart_file);
    keys.see("watch", *watch == new.watch);
    keys.see("log", *log == new.log);
    keys.see("log_rate", *log_rate == new.log_rate);
    keys.see("access_log", *access_log == new.access_log);
    keys.see("timeouts.app", timeouts.app == new.timeouts.app);
    keys.see("timeouts.tunnel", timeouts.tunnel == new.timeouts.tunnel);
    keys.see("timeouts.pooled", timeouts.pooled == new.timeouts.pooled);
    keys.see("request_timeout", *request_timeout == new.request_timeout);
    keys.see("buffer.request", buffer.request == new.buffer.request);
    keys.see("buffer.response", buffer.response == new.buffer.response);
    keys.see("errors", *errors == new.errors);
    keys.see("friendly_errors", *friendly_errors == new.friendly_errors);
    keys.see("public", files.public == new.files.public);
    keys.see("public_links", files.public_links == new.files.public_links);
    keys.see("sendfile_root", files.sendfile_root == new.files.sendfile_root);
    keys.see("underscore_headers", *underscore_headers == new.underscore_headers);
    keys.see("operators", *operators == new.operators);
    keys.0
}

fn start_keys(old: &StartConfig, new: &StartConfig, keys: &mut Keys) {
    let StartConfig { command, root, bind, env_files, env, user, group, concurrency, stop_signal, attributes } = old;
    keys.see("command", *command == new.command);
    keys.see("root", *root == new.root);
    keys.see("bind", *bind == new.bind);
    keys.see("env_file", *env_files == new.env_files);
    keys.see("env", *env == new.env);
    keys.see("user", *user == new.user);
    keys.see("group", *group == new.group);
    keys.see("concurrency", *concurrency == new.concurrency);
    keys.see("stop.signal", *stop_signal == new.stop_signal);
    let SpawnAttributes { umask, nice, oom_score_adj, no_new_privs, rlimits } = attributes;
    keys.see("umask", *umask == new.attributes.umask);
    keys.see("nice", *nice == new.attributes.nice);
    keys.see("oom_score_adj", *oom_score_adj == new.attributes.oom_score_adj);
    keys.see("no_new_privs", *no_new_privs == new.attributes.no_new_privs);
    for (key, limit) in super::attributes::LIMITS {
        let of = |limits: &[(super::ResourceLimit, Option<u64>)]| limits.iter().find(|(of, _)| *of == limit).map(|(_, most)| *most);
        keys.see(key, of(rlimits) == of(&new.attributes.rlimits));
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { keys, effect } => write!(f, "server: {}: {effect}", keys.join(", ")),
            Self::Opens(listen) => write!(f, "server: listens on {listen}"),
            Self::Closes(listen) => write!(f, "server: listens on {listen} no more"),
            Self::Relistens { listen, settings } => write!(f, "server: listens on {listen} with another {}", settings.join(", ")),
            Self::Adds(app) => write!(f, "{app}: added"),
            Self::Removes(app) => write!(f, "{app}: removed: its requests are answered, then its processes end"),
            Self::App { app, keys, effect } => write!(f, "{app}: {}: {effect}", keys.join(", ")),
            Self::Again(app) => write!(f, "{app}: restarted again: what serves is not what the files say, as that has failed before"),
        }
    }
}

impl Effect {
    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::AtOnce | Self::Listeners => "at_once",
            Self::Restart => "restart",
            Self::Start => "start",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtOnce | Self::Listeners => "at once",
            Self::Restart => "by a rolling restart",
            Self::Start => "not before rota is started anew",
        })
    }
}
