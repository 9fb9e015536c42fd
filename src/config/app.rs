//! One app: `[app.NAME]` of rota.toml or a file of apps.d. Core: text only.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::access::access_log;
use super::command::Told;
use super::keys::{APP_ACCESS_LOG, APP_BAKE, APP_BUFFER, APP_DRAIN, APP_LIMITS, APP_QUEUE, APP_READY, APP_STICKY, APP_STOP, APP_TIMEOUTS};
use super::report::{Mistake, Place, PlacedApp};
use super::section::{SOCKET_PATH_MAX, Section, Value, Zero};
use super::sizes::{PROCESSES_MAX, sizes};
use super::units::GIB;
use super::{
    AppConfig, AppTimeouts, BakeConfig, Bind, BufferConfig, DrainConfig, FilesConfig, LeaderPolicy, OnFailure, PublicFiles, QueueConfig,
    ReadyConfig, Route, Sizes, StartConfig, StopConfig, StopSignal, attributes, command, errors, lifespan, operators, routes,
};
use crate::http::fields::{ALIKE, is_alias};
use crate::http::head::is_token;
use crate::ids::AppName;

/// `section` stands where the app's name is written. None, after noting it, when that is no name.
pub fn app(name: &str, section: &Section<'_>) -> Option<PlacedApp> {
    let good_name = AppName::new(name);
    if let Err(bad) = &good_name {
        section.source.note(Mistake::error(section.place.clone(), bad.to_string()));
    }
    let (routes, route_places) = routes::routes(section).into_iter().unzip::<Route, Place, Vec<_>, Vec<_>>();
    let (stops, limits) = (section.table("stop", &APP_STOP), section.table("limits", &APP_LIMITS));
    let timeouts = timeouts(&section.table("timeouts", &APP_TIMEOUTS));
    let start = start(name, section, &stops, &limits);
    let errors = errors::of_app(section, &start);
    let config = AppConfig {
        start,
        routes,
        processes: section.get("processes").map_or_else(Sizes::default, |value| sizes(&value)),
        queue: queue(&section.table("queue", &APP_QUEUE)),
        ready: section.get("ready").map_or_else(ReadyConfig::default, |value| ready(&value)),
        warmup: section.get("warmup").map_or_else(Vec::new, |value| value.one_or_more().iter().filter_map(probe_path).collect()),
        probation: section.duration("probation", Zero::Allowed, Duration::from_secs(2)),
        drain: drain(&section.table("drain", &APP_DRAIN)),
        stop: stop(&stops),
        on_failure: section.choice("on_failure", &POLICIES, OnFailure::Resist),
        surge: section.number("surge", 0..=PROCESSES_MAX, 1),
        leader: section.choice("leader", &LEADERS, LeaderPolicy::Overlap),
        sticky: section.get("sticky").and_then(|value| sticky(&value, name)),
        is_sticky_said: section.get("sticky").is_some(),
        bake: section.get("bake").and_then(|value| bake(&value)),
        lifespan: lifespan::lifespan(section, &limits),
        cpu: limits.get("cpu").and_then(|value| lifespan::cpu(&value)),
        survivors: section.truth("survivors", false),
        restart_file: section.get("restart_file").and_then(|value| restart_file(&value)),
        watch: section.truth("watch", false),
        log: section.get("log").and_then(|value| log(&value)),
        log_rate: section.number("log_rate", 0..=1_000_000_000, 10_000),
        access_log: section.get("access_log").map(|value| access_log(&value, &APP_ACCESS_LOG)),
        request_timeout: section.get("request_timeout").and_then(|value| request_timeout(&value, &timeouts)),
        timeouts,
        buffer: buffer(&section.table("buffer", &APP_BUFFER)),
        max_body: limits.size("body", 0..=1024 * GIB, GIB),
        errors,
        friendly_errors: section.truth("friendly_errors", false),
        files: files(section),
        underscore_headers: section.get("underscore_headers").map_or_else(Vec::new, |value| underscore_headers(&value)),
        operators: section.get("operators").map_or_else(Vec::new, |value| operators::operators(&value)),
        // Last, so that the other keys of an app with a bad name are read as well.
        name: good_name.ok()?,
    };
    Some(PlacedApp { config, place: section.place.clone(), route_places })
}

/// The mistake of an app whose sockets would have paths that no address can hold: `run_dir/APP/NUMBER-SERIAL/app.sock`.
pub fn long_socket_paths(app: &AppConfig, run_dir: &Path, place: &Place) -> Option<Mistake> {
    match app.start.bind {
        // Where none is said, the start finds out, and checks what it got.
        Some(Bind::Port) | None => return None,
        Some(Bind::Unix | Bind::Fd) => {}
    }
    let process = format!("{PROCESSES_MAX}-{}", u32::MAX);
    let longest: PathBuf = run_dir.join(app.name.as_str()).join(process).join("app.sock");
    let length = longest.as_os_str().len();
    if length <= SOCKET_PATH_MAX {
        return None;
    }
    let message = format!("the sockets of app {} would have paths of up to {length} bytes; Linux takes {SOCKET_PATH_MAX}", app.name);
    let surplus = length - SOCKET_PATH_MAX;
    Some(Mistake::error(place.clone(), message).help(format!("shorten the app's name or server.run_dir by {surplus}")))
}

fn start(name: &str, section: &Section<'_>, stop: &Section<'_>, limits: &Section<'_>) -> StartConfig {
    let Told { command, bind, env } = command::told(section);
    if section.get("root").is_none() {
        let mistake = Mistake::error(section.place.clone(), format!("app {name:?} has no root"));
        section.source.note(mistake.help("add it, for example: root = \"/srv/blog/current\""));
    }
    StartConfig {
        command,
        root: section.get("root").and_then(|value| value.absolute_path()).unwrap_or_default(),
        bind,
        env_files: section.get("env_file").map_or_else(Vec::new, |value| env_files(&value)),
        env,
        user: section.get("user").and_then(|value| value.text()).map(str::to_owned),
        group: section.get("group").and_then(|value| value.text()).map(str::to_owned),
        concurrency: section.get("concurrency").and_then(|value| value.number(1..=10_000)),
        stop_signal: stop.get("signal").and_then(|value| value.choice(&SIGNALS)),
        attributes: attributes::attributes(section, limits),
    }
}

/// One or a list.
fn env_files(value: &Value<'_>) -> Vec<PathBuf> {
    value.one_or_more().iter().filter_map(|item| item.text().map(PathBuf::from)).collect()
}

/// `"journal"`, or a file.
fn log(value: &Value<'_>) -> Option<PathBuf> {
    match value.text()? {
        "journal" => None,
        path if path.starts_with('/') => Some(PathBuf::from(path)),
        text => {
            let help = "\"journal\", or the absolute path of a file";
            value.note(value.error(format!("{} cannot be {text:?}", value.name)).help(help));
            None
        }
    }
}

fn queue(section: &Section<'_>) -> QueueConfig {
    QueueConfig {
        max: section.number("max", 0..=100_000, 100),
        timeout: section.duration("timeout", Zero::Refused, Duration::from_secs(30)),
    }
}

impl Default for ReadyConfig {
    fn default() -> Self {
        Self { path: "/".to_owned(), status: None, timeout: Duration::from_secs(60) }
    }
}

/// A path alone, or a table.
fn ready(value: &Value<'_>) -> ReadyConfig {
    let default = ReadyConfig::default();
    if !value.is_table() {
        return ReadyConfig { path: probe_path(value).unwrap_or_default(), ..default };
    }
    let section = value.table(&APP_READY);
    ReadyConfig {
        path: section.get("path").and_then(|value| probe_path(&value)).unwrap_or(default.path),
        status: section.get("status").and_then(|value| value.number(200..=599)),
        timeout: section.duration("timeout", Zero::Refused, default.timeout),
    }
}

/// It is written into a request line: a slash and no space or control character.
fn probe_path(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    if text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Some(text.to_owned());
    }
    let help = "begin with a slash, as \"/up\", without spaces";
    value.note(value.error(format!("{} cannot be asked for: {text:?}", value.name)).help(help));
    None
}

/// A time alone, or a table. No time: it is off.
fn bake(value: &Value<'_>) -> Option<BakeConfig> {
    let default = BakeConfig { time: Duration::from_secs(10), max_5xx: 5, max_refused: 50, max_slowdown: 3 };
    let bake = if value.is_table() {
        let section = value.table(&APP_BAKE);
        BakeConfig {
            time: section.duration("time", Zero::Allowed, default.time),
            max_5xx: section.number("max_5xx", 0..=100, default.max_5xx),
            max_refused: section.number("max_refused", 0..=100, default.max_refused),
            max_slowdown: section.number("max_slowdown", 1..=1000, default.max_slowdown),
        }
    } else {
        BakeConfig { time: value.duration(Zero::Allowed)?, ..default }
    };
    (!bake.time.is_zero()).then_some(bake)
}

/// True or false, or a table with the cookie's name. Names are tokens (RFC 6265 4.1.1); ours is the app's own, so that apps under one host do
/// not take each other's.
fn sticky(value: &Value<'_>, app: &str) -> Option<String> {
    let own = || format!("rota_{app}");
    if !value.is_table() {
        return value.truth()?.then(own);
    }
    let Some(cookie) = value.table(&APP_STICKY).get("cookie") else { return Some(own()) };
    let name = cookie.text()?;
    if !name.bytes().all(is_token) {
        cookie.note(cookie.error(format!("{} cannot be {name:?}", cookie.name)).help("letters, digits and the like, as \"route\""));
        return None;
    }
    Some(name.to_owned())
}

fn drain(section: &Section<'_>) -> DrainConfig {
    DrainConfig {
        timeout: section.duration("timeout", Zero::Allowed, Duration::from_secs(60)),
        longest: section.duration("longest", Zero::Allowed, Duration::from_secs(600)),
        upgraded: section.duration("upgraded", Zero::Allowed, Duration::from_secs(10)),
    }
}

fn stop(section: &Section<'_>) -> StopConfig {
    StopConfig { timeout: section.duration("timeout", Zero::Allowed, Duration::from_secs(10)) }
}

/// The name of a file: what ends in a slash or in dots is a directory, whose changes say nothing.
fn restart_file(value: &Value<'_>) -> Option<PathBuf> {
    let text = value.text()?;
    if matches!(text.rsplit('/').next(), Some("" | "." | "..")) {
        let help = "name a file in it, as \"tmp/restart.txt\"";
        value.note(value.error(format!("{} is a directory: {text:?}", value.name)).help(help));
        return None;
    }
    Some(PathBuf::from(text))
}

fn files(section: &Section<'_>) -> FilesConfig {
    FilesConfig {
        public: section.get("public").map_or(PublicFiles::Unsaid, |value| public(&value)),
        public_links: section.truth("public_links", false),
        sendfile_root: section.get("sendfile_root").and_then(|value| value.absolute_path()),
    }
}

/// Names of headers. What apps would take for a header that rota answers for is none of them.
fn underscore_headers(value: &Value<'_>) -> Vec<String> {
    let items = value.one_or_more();
    if items.len() > UNDERSCORE_HEADERS_MAX {
        value.note(value.error(format!("{} has more than {UNDERSCORE_HEADERS_MAX} names", value.name)));
    }
    let name = |item: &Value<'_>| {
        let name = item.text()?;
        let refused = |what: &str, help: &str| item.note(item.error(format!("{name:?} {what}")).help(help.to_owned()));
        if name.is_empty() || !name.bytes().all(is_token) {
            refused("is no header's name", "letters, digits, _ and -, as \"X_Auth\"");
        } else if !name.contains(ALIKE) {
            refused("has no underscore and no dot", "headers without them are passed on anyway");
        } else if is_alias(name) {
            refused("is what apps take for a header that only rota may set", "have the client send another name");
        } else {
            return Some(name.to_owned());
        }
        None
    };
    items.iter().filter_map(name).collect()
}

/// A directory, or false. A root is no such directory: its configuration, programs and secrets would be there for everybody.
fn public(value: &Value<'_>) -> PublicFiles {
    if !value.is_text() {
        if value.truth() == Some(true) {
            value.note(value.error("public is a directory, or false").help("name it, as \"public\", or leave the key out"));
        }
        return PublicFiles::Off;
    }
    let Some(path) = value.text().map(PathBuf::from) else { return PublicFiles::Off };
    if path.components().any(|part| matches!(part, Component::ParentDir | Component::CurDir)) || path.parent().is_none() {
        value.note(
            value.error(format!("{} is no directory of public files: {:?}", value.name, path)).help("name one in the root, as \"public\""),
        );
        return PublicFiles::Off;
    }
    PublicFiles::In(path)
}

fn timeouts(section: &Section<'_>) -> AppTimeouts {
    AppTimeouts {
        app: section.duration("app", Zero::Refused, Duration::from_secs(60)),
        tunnel: section.duration("tunnel", Zero::Refused, Duration::from_secs(3600)),
        pooled: section.duration("pooled", Zero::Allowed, Duration::from_millis(1500)),
    }
}

fn request_timeout(value: &Value<'_>, timeouts: &AppTimeouts) -> Option<Duration> {
    let limit = value.duration(Zero::Refused)?;
    if limit > timeouts.app {
        let message = format!("timeouts.app ends a request that is silent for {:?}, before request_timeout does", timeouts.app);
        let help = "set timeouts.app to as much: it gives the slot back at once, and replaces no process";
        value.note(Mistake::warning(value.place.clone(), message).help(help));
    }
    Some(limit)
}

fn buffer(section: &Section<'_>) -> BufferConfig {
    BufferConfig { request: section.truth("request", true), response: section.truth("response", true) }
}

/// Each header with an underscore is looked up among them.
const UNDERSCORE_HEADERS_MAX: usize = 32;

const POLICIES: [(&str, OnFailure); 3] =
    [("resist", OnFailure::Resist), ("rollback", OnFailure::Rollback), ("continue", OnFailure::Continue)];

const LEADERS: [(&str, LeaderPolicy); 2] = [("overlap", LeaderPolicy::Overlap), ("exclusive", LeaderPolicy::Exclusive)];

const SIGNALS: [(&str, StopSignal); 6] = {
    use StopSignal::{Hup, Int, Quit, Term, Usr1, Usr2};
    [(Term.word(), Term), (Int.word(), Int), (Quit.word(), Quit), (Hup.word(), Hup), (Usr1.word(), Usr1), (Usr2.word(), Usr2)]
};
