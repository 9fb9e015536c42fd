//! From text to a configuration: one function per table.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::reader::{self, Reader, Value};
use super::report::{Findings, Report, SourceFile};
use super::*;

/// Reads a whole configuration: the main file first, then the files of one app each.
pub fn parse(files: Vec<SourceFile>) -> Result<Config, Report> {
    let mut findings = Findings::default();
    let config = Parser { findings: &mut findings, apps: Vec::new(), routes: HashMap::new() }.files(&files);
    let findings = findings.into_sorted();
    if findings.is_empty() { Ok(config) } else { Err(Report { files, findings, unread: Vec::new() }) }
}

struct Parser<'f> {
    findings: &'f mut Findings,
    apps: Vec<(AppConfig, usize, Range<usize>)>,
    /// Which app has a host and path, for mistakes.
    routes: HashMap<String, String>,
}

impl Parser<'_> {
    fn files(mut self, files: &[SourceFile]) -> Config {
        let mut server = None;
        for (index, file) in files.iter().enumerate() {
            let (table, errors) = DeTable::parse_recoverable(&file.text);
            // One mistake of syntax makes others up.
            if let Some(error) = errors.first() {
                let span = error.span().unwrap_or(0..0);
                self.findings.add(index, span, format!("syntax: {}", error.message()), None);
                continue;
            }
            if index == 0 {
                server = Some(self.main_file(table.get_ref(), index, files));
            } else {
                self.app_file(table.get_ref(), index, &file.path, files);
            }
        }
        let server = server.unwrap_or_else(default_server);
        for (app, file, span) in &self.apps {
            let longest = format!("{}/{}/100-4294967295/app.sock", server.run_dir.display(), app.name);
            if longest.len() > MAX_SOCKET_PATH {
                let message = format!(
                    "the sockets of this app would have paths of up to {} bytes; the system takes {MAX_SOCKET_PATH}",
                    longest.len()
                );
                self.findings.add(*file, span.clone(), message, Some("choose a shorter name or a shorter server.run_dir".to_owned()));
            }
        }
        let mut apps: Vec<AppConfig> = self.apps.into_iter().map(|(app, _, _)| app).collect();
        apps.sort_by(|a, b| a.name.cmp(&b.name));
        Config { server, apps }
    }

    fn main_file(&mut self, table: &DeTable<'_>, file: usize, files: &[SourceFile]) -> ServerConfig {
        let mut top = Reader::new(table, file, "", self.findings);
        let server = top.table("server").map_or_else(default_server, read_server);
        let apps = top.take("app");
        if let Some(value) = apps
            && !value.get_ref().is_table()
        {
            top.wrong_type("app", value, "a table of apps");
        }
        top.finish(|key| {
            if SERVER_KEYS.contains(&key) {
                Some("[server]")
            } else if APP_KEYS.contains(&key) {
                Some("[app.NAME], or in a file apps.d/NAME.toml")
            } else {
                None
            }
        });
        for (name, value) in apps.and_then(|value| value.get_ref().as_table()).into_iter().flatten() {
            self.app(name.get_ref(), name.span(), value, file, files);
        }
        server
    }

    fn app_file(&mut self, table: &DeTable<'_>, file: usize, path: &Path, files: &[SourceFile]) {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        self.app_table(&name, 0..0, table, file, files);
    }

    fn app(&mut self, name: &str, span: Range<usize>, value: &Spanned<DeValue<'_>>, file: usize, files: &[SourceFile]) {
        match value.get_ref().as_table() {
            Some(table) => self.app_table(name, span, table, file, files),
            None => self.findings.add(file, value.span(), format!("app.{name} must be a table"), None),
        }
    }

    fn app_table(&mut self, name: &str, span: Range<usize>, table: &DeTable<'_>, file: usize, files: &[SourceFile]) {
        let parsed = match AppName::new(name) {
            Ok(parsed) => parsed,
            Err(error) => return self.findings.add(file, span, error.to_string(), None),
        };
        if let Some((_, other, _)) = self.apps.iter().find(|(app, _, _)| app.name == parsed) {
            let message = format!("app \"{name}\" is there twice: also in {}", files[*other].path.display());
            return self.findings.add(file, span, message, None);
        }
        let prefix = if file == 0 { format!("app.{name}") } else { String::new() };
        let app = read_app(Reader::new(table, file, prefix, self.findings), parsed, span.clone(), &mut self.routes);
        self.apps.push((app, file, span));
    }
}

fn default_server() -> ServerConfig {
    let mut findings = Findings::default();
    read_server(Reader::new(&DeTable::new(), 0, "server", &mut findings))
}

fn read_server(mut table: Reader<'_, '_>) -> ServerConfig {
    let listen = read_listen(&mut table);
    let control = table.string("control").map_or_else(|| PathBuf::from("/run/rota/control.sock"), |(path, _)| PathBuf::from(path));
    let beside = control.parent().map_or_else(|| PathBuf::from("/run/rota"), Path::to_owned);
    let run_dir = absolute(&mut table, "run_dir", beside);
    let spool_dir = absolute(&mut table, "spool_dir", PathBuf::from("/var/tmp"));
    let spool_max = table.size("spool_max", 1 << 30);
    let mut timeouts = ClientTimeouts { head: seconds(10), body: seconds(30), keepalive: seconds(75), write: seconds(60) };
    if let Some(mut table) = table.table("timeouts") {
        timeouts.head = table.duration("head", timeouts.head);
        timeouts.body = table.duration("body", timeouts.body);
        timeouts.keepalive = table.duration("keepalive", timeouts.keepalive);
        timeouts.write = table.duration("write", timeouts.write);
        table.finish(|key| ["app", "tunnel", "pooled"].contains(&key).then_some("[app.NAME.timeouts]"));
    }
    let mut limits = ClientLimits { head: 32 * 1024, headers: 100, target: 8 * 1024, connections: 10_000 };
    if let Some(mut table) = table.table("limits") {
        // More than a read brings would be looked at again and again.
        limits.head = as_usize(table.size("head", limits.head as u64).min(1 << 20));
        limits.headers = as_usize(table.integer("headers", 1..=128, limits.headers as u64));
        limits.target = as_usize(table.size("target", limits.target as u64).min(1 << 20));
        limits.connections = as_usize(table.integer("connections", 1..=1_000_000, limits.connections as u64));
        table.finish(|key| (key == "body").then_some("[app.NAME.limits]"));
    }
    table.finish(|key| APP_KEYS.contains(&key).then_some("[app.NAME], or in a file apps.d/NAME.toml"));
    ServerConfig { listen, control, run_dir, spool_dir, spool_max, timeouts, limits }
}

fn read_listen(table: &mut Reader<'_, '_>) -> Vec<Listen> {
    let Some(texts) = table.strings("listen") else { return vec![any_address(80)] };
    let mut listen = Vec::new();
    for (text, span) in &texts {
        match parse_listen(text) {
            Some(at) if listen.contains(&at) => table.error(span.clone(), format!("server.listen names {text} twice"), None),
            Some(at) => listen.push(at),
            None => {
                let help = "write \"127.0.0.1:8080\", \"[::1]:8080\", \":8080\" (every address, v4 and v6) or \"unix:/path\"";
                table.error(span.clone(), format!("server.listen: \"{text}\" is no place to listen on"), Some(help));
            }
        }
    }
    listen
}

fn parse_listen(text: &str) -> Option<Listen> {
    if let Some(path) = text.strip_prefix("unix:") {
        return path.starts_with('/').then(|| Listen::Unix(PathBuf::from(path)));
    }
    let port = |text: &str| reader::digits(text).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    if let Some(port) = port(text.strip_prefix(':').unwrap_or(text)) {
        return Some(any_address(port));
    }
    text.parse().ok().filter(|addr: &SocketAddr| addr.port() > 0).map(Listen::Tcp)
}

/// `[::]` takes IPv4 as well; without IPv6 on the machine the bind falls back (see the master's listeners).
fn any_address(port: u16) -> Listen {
    Listen::Tcp(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port))
}

fn read_app(mut table: Reader<'_, '_>, name: AppName, span: Range<usize>, taken: &mut HashMap<String, String>) -> AppConfig {
    let command = read_command(&mut table, &span);
    let root = match table.string("root") {
        Some((root, at)) if !root.starts_with('/') => {
            let message = format!("{} must be an absolute path", table.path("root"));
            table.error(at, message, None);
            PathBuf::from("/")
        }
        Some((root, _)) => PathBuf::from(root),
        None => {
            if table.take("root").is_none() {
                table.error(span.clone(), format!("app \"{name}\" has no root: the directory that it runs in"), None);
            }
            PathBuf::from("/")
        }
    };
    let binds = [("port", Bind::Port), ("unix", Bind::Unix), ("fd", Bind::Fd)];
    let bind = table.choice("bind", &binds).unwrap_or_else(|| {
        let names_socket = command.iter().any(|word| word.contains("$SOCKET") || word.contains("${SOCKET}"));
        if names_socket { Bind::Unix } else { Bind::Port }
    });
    let env = read_env(&mut table);
    let user = table.string("user").map(|(text, _)| text.to_owned());
    let group = table.string("group").map(|(text, _)| text.to_owned());
    let start = StartConfig { command, root, bind, env, user, group };
    let routes = read_routes(&mut table, &name, &span, taken);
    let processes = table.integer("processes", 1..=100, 1) as u16;
    let concurrency = table.integer("concurrency", 1..=10_000, 100) as u32;
    let mut queue = QueueConfig { max: 100, timeout: seconds(30) };
    if let Some(mut table) = table.table("queue") {
        queue.max = as_usize(table.integer("max", 0..=100_000, queue.max as u64));
        queue.timeout = table.duration("timeout", queue.timeout);
        table.finish(|_| None);
    }
    let ready = read_ready(&mut table);
    let probation = table.duration("probation", seconds(2));
    let mut drain = DrainConfig { timeout: seconds(30), upgraded: seconds(10) };
    if let Some(mut table) = table.table("drain") {
        drain.timeout = table.duration("timeout", drain.timeout);
        drain.upgraded = table.duration("upgraded", drain.upgraded);
        table.finish(|_| None);
    }
    let mut stop = StopConfig { signal: StopSignal::Term, timeout: seconds(10) };
    if let Some(mut table) = table.table("stop") {
        let signals = [
            ("TERM", StopSignal::Term),
            ("INT", StopSignal::Int),
            ("QUIT", StopSignal::Quit),
            ("HUP", StopSignal::Hup),
            ("USR1", StopSignal::Usr1),
            ("USR2", StopSignal::Usr2),
        ];
        stop.signal = table.choice("signal", &signals).unwrap_or(stop.signal);
        stop.timeout = table.duration("timeout", stop.timeout);
        table.finish(|_| None);
    }
    let policies = [("resist", OnFailure::Resist), ("rollback", OnFailure::Rollback), ("continue", OnFailure::Continue)];
    let on_failure = table.choice("on_failure", &policies).unwrap_or(OnFailure::Resist);
    let mut timeouts = AppTimeouts { app: seconds(60), tunnel: seconds(3600), pooled: Duration::from_millis(1500) };
    if let Some(mut table) = table.table("timeouts") {
        timeouts.app = table.duration("app", timeouts.app);
        timeouts.tunnel = table.duration("tunnel", timeouts.tunnel);
        timeouts.pooled = table.duration("pooled", timeouts.pooled);
        table.finish(|key| ["head", "body", "keepalive", "write"].contains(&key).then_some("[server.timeouts]"));
    }
    let mut max_body = 1 << 30;
    if let Some(mut table) = table.table("limits") {
        max_body = table.size("body", max_body);
        table.finish(|key| ["head", "headers", "target", "connections"].contains(&key).then_some("[server.limits]"));
    }
    table.finish(|key| SERVER_KEYS.contains(&key).then_some("[server] of rota.toml"));
    AppConfig { name, start, routes, processes, concurrency, queue, ready, probation, drain, stop, on_failure, timeouts, max_body }
}

fn read_command(table: &mut Reader<'_, '_>, span: &Range<usize>) -> Vec<String> {
    let Some(value) = table.take("command") else {
        let message = format!("{} is missing: the program that serves the app", table.path("command"));
        table.error(span.clone(), message, Some("for example \"gunicorn -b unix:$SOCKET wsgi:app\""));
        return Vec::new();
    };
    let words = match value.get_ref() {
        DeValue::String(text) => match shell_words::split(text) {
            Ok(words) => words,
            Err(error) => {
                let message = format!("{}: {error}", table.path("command"));
                table.error(value.span(), message, None);
                return Vec::new();
            }
        },
        DeValue::Array(array) => {
            let words: Option<Vec<String>> = array.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect();
            let Some(words) = words else {
                table.wrong_type("command", value, "a string or a list of strings");
                return Vec::new();
            };
            words
        }
        _ => {
            table.wrong_type("command", value, "a string or a list of strings");
            return Vec::new();
        }
    };
    if words.is_empty() {
        let message = format!("{} is empty", table.path("command"));
        table.error(value.span(), message, None);
    } else if words.iter().any(|word| word.contains('\0')) {
        let message = format!("{} has a NUL byte", table.path("command"));
        table.error(value.span(), message, None);
    }
    words
}

fn read_env(table: &mut Reader<'_, '_>) -> Vec<(String, String)> {
    let Some(value) = table.take("env") else { return Vec::new() };
    let Some(variables) = value.get_ref().as_table() else {
        table.wrong_type("env", value, "a table of variables");
        return Vec::new();
    };
    let mut env = Vec::new();
    for (name, value) in variables {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Boolean(yes) => yes.to_string(),
            _ => {
                table.wrong_type(&format!("env.{}", name.get_ref()), value, "a string");
                continue;
            }
        };
        if name.get_ref().is_empty() || name.get_ref().contains(['=', '\0']) || text.contains('\0') {
            table.error(name.span(), format!("\"{}\" cannot be a variable of the environment", name.get_ref().escape_debug()), None);
            continue;
        }
        env.push((name.get_ref().to_string(), text));
    }
    env
}

fn read_ready(table: &mut Reader<'_, '_>) -> ReadyConfig {
    let mut ready = ReadyConfig { path: "/".to_owned(), status: None, timeout: seconds(60) };
    let Some(value) = table.take("ready") else { return ready };
    match value.get_ref() {
        DeValue::String(path) => ready.path = read_target(table, "ready", path, value),
        DeValue::Table(_) => {
            let Some(mut table) = table.table("ready") else { return ready };
            if let Some(value) = table.take("path") {
                match value.get_ref().as_str() {
                    Some(path) => ready.path = read_target(&mut table, "path", path, value),
                    None => table.wrong_type("path", value, "a string"),
                }
            }
            let status = table.integer("status", 200..=599, 0);
            ready.status = (status > 0).then_some(status as u16);
            ready.timeout = table.duration("timeout", ready.timeout);
            table.finish(|_| None);
        }
        _ => table.wrong_type("ready", value, "a path or a table"),
    }
    ready
}

fn read_target(table: &mut Reader<'_, '_>, key: &str, path: &str, value: Value<'_>) -> String {
    if path.starts_with('/') && path.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && byte != b'#') {
        return path.to_owned();
    }
    let message = format!("{} must be a path that begins with / and has no spaces", table.path(key));
    table.error(value.span(), message, None);
    "/".to_owned()
}

fn read_routes(table: &mut Reader<'_, '_>, name: &AppName, span: &Range<usize>, taken: &mut HashMap<String, String>) -> Vec<Route> {
    let mut hosts = Vec::new();
    for (text, at) in table.strings("hosts").unwrap_or_default() {
        match parse_host(text) {
            Some(host) => hosts.push((host, at)),
            None => {
                table.error(at, format!("\"{text}\" is no host name"), Some("write \"example.org\" or \"*.example.org\", without a port"))
            }
        }
    }
    if hosts.is_empty() {
        hosts.push((HostPattern::Any, span.clone()));
    }
    let mut paths = Vec::new();
    for (text, at) in table.strings("path").unwrap_or_else(|| vec![("/", span.clone())]) {
        let path = if text.len() > 1 { text.trim_end_matches('/') } else { text };
        if path.starts_with('/') {
            paths.push((path.to_owned(), at));
        } else {
            table.error(at, format!("the path \"{text}\" must begin with /"), None);
        }
    }
    let mut routes = Vec::new();
    for (host, at) in &hosts {
        for (path, _) in &paths {
            let route = Route { host: host.clone(), path: path.clone() };
            let shown = route.to_string();
            match taken.insert(shown.clone(), name.to_string()) {
                Some(other) if other != name.as_str() => {
                    table.error(
                        at.clone(),
                        format!("app \"{name}\" and app \"{other}\" both serve {shown}"),
                        Some("give them different hosts or paths"),
                    );
                }
                Some(_) => table.error(at.clone(), format!("app \"{name}\" names {shown} twice"), None),
                None => {}
            }
            routes.push(route);
        }
    }
    routes
}

fn parse_host(text: &str) -> Option<HostPattern> {
    let lower = text.to_ascii_lowercase();
    let is_name = |name: &str| {
        let label = |label: &str| {
            !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        !name.is_empty() && name.len() <= 253 && name.split('.').all(label)
    };
    if let Some(suffix) = lower.strip_prefix("*.") {
        return is_name(suffix).then(|| HostPattern::Suffix(format!(".{suffix}")));
    }
    let address = |text: &str| {
        text.parse::<Ipv4Addr>().is_ok()
            || text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).is_some_and(|text| text.parse::<Ipv6Addr>().is_ok())
    };
    (is_name(&lower) || address(&lower)).then_some(HostPattern::Exact(lower))
}

fn absolute(table: &mut Reader<'_, '_>, key: &'static str, default: PathBuf) -> PathBuf {
    match table.string(key) {
        Some((path, _)) if path.starts_with('/') => PathBuf::from(path),
        Some((_, at)) => {
            let message = format!("{} must be an absolute path", table.path(key));
            table.error(at, message, None);
            default
        }
        None => default,
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What a Unix socket's address takes (unix(7): 108 with the NUL at the end).
const MAX_SOCKET_PATH: usize = 107;

/// Keys by their place, to say where a misplaced one belongs.
const SERVER_KEYS: [&str; 5] = ["listen", "control", "run_dir", "spool_dir", "spool_max"];
const APP_KEYS: [&str; 16] = [
    "command",
    "root",
    "bind",
    "env",
    "user",
    "group",
    "hosts",
    "path",
    "processes",
    "concurrency",
    "queue",
    "ready",
    "probation",
    "drain",
    "stop",
    "on_failure",
];
