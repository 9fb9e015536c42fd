//! `rota check`: the configuration, and whether this machine can run it: users, directories, commands, ports. Shell, on the main thread:
//! looks at the machine and binds ports for a moment, changes nothing and starts nothing.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Group, Uid};
use rustix::fs::Access;
use rustix::io::Errno;
use serde::Serialize;
use socket2::{Domain, SockAddr, Socket, Type};

use super::Exit;
use super::table::harmless;
use crate::app_tree;
use crate::config::{self, AccessLogConfig, AppConfig, Bind, Config, Glance, Listen, ServerConfig, Severity};
use crate::detect::{Detected, Keeps, background};
use crate::errands::pace::Pace;
use crate::ids::AppName;
use crate::master::listeners;
use crate::named_file::Gate;
use crate::printable::{self, counted};
use crate::restart::release;
use crate::safe_open;
use files::{public_line, public_problems};
pub use starts::{Privileges, right_findings, start_findings, user_findings};

/// Prints everything that is wrong or odd on stderr, and on stdout a line for each detected command and one that says what would be run;
/// fails when there is an error.
pub fn run(path: &Path, colour: bool) -> Exit {
    let outcome = check(path, colour);
    // A reader that has gone away has seen what it wanted: the exit code still says the rest.
    let _ = io::stderr().write_all(outcome.complaints.as_bytes());
    let _ = writeln!(io::stdout(), "{}{}", outcome.detected, outcome.summary);
    if outcome.errors == 0 { Exit::Done } else { Exit::Bad }
}

/// Something about this machine that does not fit the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// None: it concerns the server.
    pub app: Option<AppName>,
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        // It may name what others have named.
        let text = printable::clean(self.text.as_bytes());
        match &self.app {
            Some(app) => write!(f, "{severity}: app {app}: {text}"),
            None => write!(f, "{severity}: {text}"),
        }
    }
}

/// Reads a configuration as a server does. `path`: of the configuration.
pub fn gate(path: &Path) -> Gate {
    // Whoever is in none of these groups gains nothing that an administrator has not given.
    Gate::to_serve(release::groups(config::glance(path, &Gate::to_look()).config.apps.iter().map(|app| &app.start)))
}

/// Users, directories and commands, as they are now and as the user that asks: root can do more.
pub fn machine_findings(config: &Config) -> Vec<Finding> {
    let mut findings = app_and_start_findings(config);
    let groups = release::groups(config.apps.iter().map(|app| &app.start));
    findings.extend(
        config
            .server
            .control_group
            .as_deref()
            .and_then(group_problem)
            .map(|(severity, text)| server_finding((severity, format!("control_group: {text}")))),
    );
    findings.extend(front::door_problems(&config.server).into_iter().map(server_finding));
    findings.extend(limits::problems(config).into_iter().map(server_finding));
    findings.extend(directory_problems(&config.server).into_iter().map(server_finding));
    findings.extend(log_file(&config.server.access_log).and_then(|path| log_problem("access_log", path, &groups)).map(server_finding));
    findings
}

/// What can be said of apps without knowing the server.
fn app_and_start_findings(config: &Config) -> Vec<Finding> {
    let privileges = Privileges::own();
    // Whoever asks without being root may ask for a server that is.
    let forbidden = if privileges.is_root { Severity::Error } else { Severity::Warning };
    let mut findings = start_findings(config, &privileges, forbidden);
    findings.extend(apps_findings(&config.apps));
    findings
}

/// What an app names, but for its user.
pub fn apps_findings(apps: &[AppConfig]) -> Vec<Finding> {
    let groups = release::groups(apps.iter().map(|app| &app.start));
    apps.iter().flat_map(|app| app_findings(app, apps, &groups)).collect()
}

fn app_findings(app: &AppConfig, apps: &[AppConfig], groups: &[u32]) -> Vec<Finding> {
    let mut problems: Vec<Problem> = match directory_problem("root", &app.start.root) {
        Some(problem) => vec![problem],
        // Without its directory nothing can be said about a command in it.
        None => command_problems(app, apps),
    };
    problems.extend(starts::env_file_problem(app, apps));
    problems.extend(world::unwritable(app));
    problems.extend(world::host_problem(app));
    problems.extend(operators::apps_among_them(app, apps));
    problems.extend(world::cpu_problem(app));
    problems.extend(app.log.as_deref().and_then(|path| log_problem("log", path, groups)));
    problems.extend(app.access_log.as_ref().and_then(log_file).and_then(|path| log_problem("access_log", path, groups)));
    let sendfile_root = app.files.sendfile_root.as_deref();
    problems.extend(sendfile_root.and_then(|path| directory_problem("sendfile_root", path)));
    problems.extend(public_problems(app));
    let concerns = |(severity, text)| Finding { severity, app: Some(app.name.clone()), text };
    problems.into_iter().map(concerns).collect()
}

fn group_problem(name: &str) -> Option<Problem> {
    match Group::from_name(name) {
        Ok(Some(_)) => None,
        Ok(None) => Some((Severity::Error, format!("there is no group {name:?}{}", starts::meant(name, Path::new("/etc/group"))))),
        Err(error) => Some((Severity::Error, format!("group {name:?} cannot be looked up: {error}"))),
    }
}

/// Whether each listener could be opened now; nothing when a rota answers on the control socket, because it holds them.
pub fn listen_findings(server: &ServerConfig) -> Vec<Finding> {
    if answers(&server.control) {
        return Vec::new();
    }
    server.listen.iter().filter_map(|listen| listen_problem(&listen.at)).map(server_finding).collect()
}

type Problem = (Severity, String);

struct Outcome {
    complaints: String,
    detected: String,
    summary: String,
    errors: usize,
}

/// An app whose description has a mistake is not looked at: what it names may be what it does not mean. It hides nothing of the others.
fn check(path: &Path, colour: bool) -> Outcome {
    let Glance { config, report, knows_server, .. } = config::glance(path, &gate(path));
    let findings = if knows_server { all_findings(&config) } else { app_and_start_findings(&config) };
    let mut complaints = report.render(colour);
    for finding in &findings {
        complaints.push_str(&format!("{finding}\n"));
    }
    let severities = report.mistakes().iter().map(|mistake| mistake.severity).chain(findings.iter().map(|finding| finding.severity));
    let (errors, warnings): (Vec<_>, Vec<_>) = severities.partition(|&severity| severity == Severity::Error);
    let summary = match (errors.len(), warnings.len()) {
        (0, 0) => format!("ok: {}", describe(&config)),
        (0, warnings) => format!("ok, {}: {}", counted(warnings, "warning"), describe(&config)),
        (errors, warnings) => format!("{}, {}", counted(errors, "error"), counted(warnings, "warning")),
    };
    let about = |app| [detected_line(app), public_line(app)].into_iter().flatten();
    let lines = config.apps.iter().flat_map(about).chain(front::trust_line(&config.server).filter(|_| knows_server));
    let detected = lines.map(|line| printable::clean(line.trim_end_matches('\n').as_bytes()) + "\n").collect();
    Outcome { complaints, detected, summary, errors: errors.len() }
}

fn all_findings(config: &Config) -> Vec<Finding> {
    let front = front::proxy_problem(&config.server, Path::new("/proc")).map(server_finding);
    let unit = unit::findings(config, Path::new("/"));
    [machine_findings(config), listen_findings(&config.server), front.into_iter().collect(), unit].concat()
}

/// What an app without a command would execute now.
fn detected_line(app: &AppConfig) -> Option<String> {
    let found = detected(app)?.ok()?;
    let Detected { command, why, .. } = found;
    Some(format!("app {}: runs {}, by {why}\n", app.name, harmless(&shell_words::join(command))))
}

/// In the directory that root names now, as the app's user sees it. None: the configuration has a command.
fn detected(app: &AppConfig) -> Option<Result<Detected, String>> {
    let user = release::user(&app.start).ok().flatten();
    let look = || Ok(app_tree::look(&app.start.root, app.start.bind, &app.start.env, &Pace::of_command()));
    app.start.command.is_none().then(|| safe_open::as_app(user.as_ref(), look).unwrap_or_else(|error| Err(error.to_string())))
}

/// As the app's user sees it.
fn kept(app: &AppConfig, command: &[String]) -> Option<Keeps> {
    let user = release::user(&app.start).ok().flatten();
    safe_open::as_app(user.as_ref(), || Ok(app_tree::kept(&app.start.root, command, &Pace::of_command()))).ok().flatten()
}

fn describe(config: &Config) -> String {
    let listeners: Vec<String> = config.server.listen.iter().map(ToString::to_string).collect();
    let apps = if config.apps.is_empty() { "no apps yet".to_owned() } else { counted(config.apps.len(), "app") };
    format!("{apps}, listens on {}", listeners.join(", "))
}

fn server_finding((severity, text): Problem) -> Finding {
    Finding { severity, app: None, text }
}

fn directory_problem(what: &str, path: &Path) -> Option<Problem> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => None,
        Ok(_) => Some((Severity::Error, format!("{what} {} is no directory", path.display()))),
        Err(error) => Some((severity_of(&error), format!("{what} {}: {error}", path.display()))),
    }
}

/// Of the command in the configuration, or of the one that is detected.
fn command_problems(app: &AppConfig, apps: &[AppConfig]) -> Vec<Problem> {
    match (&app.start.command, detected(app)) {
        (Some(command), _) => {
            let sticky = kept(app, command).and_then(|keeps| sticky_wish(app, keeps.why));
            let habits = background::habits(command).into_iter().map(|text| (Severity::Warning, text));
            let variables = variables::problems(app, apps, command, app.start.bind.unwrap_or(Bind::Port));
            let found = command_problem(app, command).or_else(|| script::problem(app, command)).into_iter();
            let found = found.chain(world::thruster_problem(command)).chain(sticky);
            found.chain(habits).chain(variables).collect()
        }
        (None, Some(Ok(found))) => {
            let warnings = found.warnings.iter().map(|text| (Severity::Warning, harmless(text)));
            let variables = variables::problems(app, apps, &found.command, found.bind);
            command_problem(app, &found.command).into_iter().chain(warnings).chain(wishes(app, &found)).chain(variables).collect()
        }
        (None, Some(Err(missing))) => vec![(Severity::Error, harmless(&missing))],
        (None, None) => Vec::new(),
    }
}

/// What suits a detected app and stands in no configuration: `rota init` writes it.
fn wishes(app: &AppConfig, found: &Detected) -> Vec<Problem> {
    let sticky = found.sticky.and_then(|why| sticky_wish(app, why));
    let alone = found.alone.filter(|_| app.processes.max > 1 || app.surge > 0);
    let alone = alone.map(|why| format!("processes = 1 and surge = 0 are missing: {why}"));
    sticky.into_iter().chain(alone.map(|text| (Severity::Warning, text))).collect()
}

/// Not of an app whose file says `sticky = false`: that is an answer.
fn sticky_wish(app: &AppConfig, why: &str) -> Option<Problem> {
    let is_wanted = app.sticky.is_none() && !app.is_sticky_said && app.processes.max > 1;
    is_wanted.then(|| (Severity::Warning, format!("sticky = true is missing: {why}; sticky = false says that it need not")))
}

fn command_problem(app: &AppConfig, command: &[String]) -> Option<Problem> {
    if let Some(problem) = world::interpreter_problem(app, command) {
        return Some(problem);
    }
    let root = &app.start.root;
    let word = command.first()?;
    let root_text = root.to_string_lossy();
    let program = word.replace("${ROOT}", &root_text).replace("$ROOT", &root_text);
    if program.contains('$') {
        return None;
    }
    if program.contains('/') {
        let file = root.join(&program);
        return match fs::metadata(&file) {
            Ok(metadata) if is_executable(&metadata) => None,
            Ok(_) => Some((Severity::Error, format!("command {} is no executable file", file.display()))),
            Err(error) => Some((severity_of(&error), format!("command {}: {error}", file.display()))),
        };
    }
    let path = search_path(app);
    let exists = |file: &Path| fs::metadata(file).is_ok_and(|metadata| is_executable(&metadata));
    if std::env::split_paths(&path).any(|directory| exists(&root.join(directory).join(&program))) {
        return None;
    }
    let beside = BESIDE.iter().map(|directory| format!("{directory}/{program}")).find(|file| exists(&root.join(file)));
    let hint = beside.map_or(String::new(), |file| format!("; {root_text} has {file:?}: write that"));
    Some((Severity::Error, format!("command {program:?} is in no directory of PATH ({path}){hint}")))
}

/// The app's own PATH, or the one that it inherits.
fn search_path(app: &AppConfig) -> String {
    let own = app.start.env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, path)| path.clone());
    own.or_else(|| std::env::var("PATH").ok()).unwrap_or_default()
}

fn is_executable(metadata: &fs::Metadata) -> bool {
    metadata.is_file() && metadata.permissions().mode() & 0o111 != 0
}

fn directory_problems(server: &ServerConfig) -> Vec<Problem> {
    // These directories are made when rota starts: what counts is the nearest that exists.
    let control_dir = server.control.parent().unwrap_or(Path::new("/"));
    let mut made_at_start = vec![("run_dir", server.run_dir.as_path()), ("state_dir", server.state_dir.as_path())];
    if control_dir != server.run_dir {
        made_at_start.push(("the directory of control", control_dir));
    }
    let existing = |path: &Path| -> PathBuf { path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/")).to_owned() };
    let mut problems: Vec<Problem> = made_at_start.iter().filter_map(|(what, path)| unwritable(what, &existing(path))).collect();
    problems.extend(unwritable("spool_dir", &server.spool_dir));
    problems
}

fn log_file(log: &AccessLogConfig) -> Option<&Path> {
    match log {
        AccessLogConfig::On { file, .. } => file.as_deref(),
        AccessLogConfig::Off => None,
    }
}

/// What rota goes on without, and has to say: directories of logs, and groups that are to get to what is listened on.
pub fn not_there_findings(config: &Config) -> Vec<Finding> {
    let directory = |key: &str, file: &Path| unwritable(&format!("the directory of {key}"), file.parent()?);
    let mut findings: Vec<Finding> = Vec::new();
    findings.extend(log_file(&config.server.access_log).and_then(|path| directory("access_log", path)).map(server_finding));
    for listen in &config.server.listen {
        let unknown = listen.door.group.as_deref().and_then(|group| listeners::gid(group).err());
        findings
            .extend(unknown.map(|error| server_finding((Severity::Error, format!("listen {listen}: {error}; nobody can connect there")))));
    }
    for app in &config.apps {
        let access = app.access_log.as_ref().and_then(log_file).and_then(|path| directory("access_log", path));
        let found = app.log.as_deref().and_then(|path| directory("log", path)).into_iter().chain(access);
        findings.extend(found.map(|(severity, text)| Finding { app: Some(app.name.clone()), severity, text }));
    }
    findings
}

/// `groups`: of the apps' users.
fn log_problem(key: &str, file: &Path, groups: &[u32]) -> Option<Problem> {
    unwritable(&format!("the directory of {key}"), file.parent()?)
        .or_else(|| safe_open::check_way(file, groups).err().map(|error| (Severity::Error, format!("{key} {}: {error}", file.display()))))
}

fn unwritable(what: &str, directory: &Path) -> Option<Problem> {
    let problem = |severity, text: &dyn fmt::Display| Some((severity, format!("{what} {}: {text}", directory.display())));
    match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return problem(Severity::Error, &"is no directory"),
        Err(error) => return problem(severity_of(&error), &error),
    }
    let access = rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from);
    access.err().and_then(|error| problem(severity_of(&error), &error))
}

fn listen_problem(listen: &Listen) -> Option<Problem> {
    match listen {
        Listen::Tcp(address) => {
            let error = TcpListener::bind(address).err()?;
            let no_ipv6 = error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error());
            let help = match error.kind() {
                io::ErrorKind::AddrInUse => ": another program listens there".to_owned(),
                io::ErrorKind::AddrNotAvailable => "; it is taken when it comes".to_owned(),
                io::ErrorKind::PermissionDenied => ": ports below 1024 are for root".to_owned(),
                _ if no_ipv6 && address.ip().is_unspecified() => format!(": write \"0.0.0.0:{}\"", address.port()),
                _ => String::new(),
            };
            let severity = if error.kind() == io::ErrorKind::AddrNotAvailable { Severity::Warning } else { severity_of(&error) };
            Some((severity, format!("cannot listen on {listen}: {error}{help}")))
        }
        Listen::Unix(path) if answers(path) => Some((Severity::Error, format!("cannot listen on {listen}: another program listens there"))),
        Listen::Unix(path) => unwritable("the directory of a listener,", path.parent().unwrap_or(Path::new("/"))),
    }
}

/// Whether somebody listens on a Unix socket, also one that does not want us. Never blocks, as connecting to a full backlog would.
fn answers(path: &Path) -> bool {
    let connect = || -> io::Result<()> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    match connect() {
        Ok(()) => true,
        Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::PermissionDenied),
    }
}

/// What only permissions forbid may be allowed to the user that rota runs as.
fn severity_of(error: &io::Error) -> Severity {
    let may_be_ours = error.kind() == io::ErrorKind::PermissionDenied && !Uid::effective().is_root();
    if may_be_ours { Severity::Warning } else { Severity::Error }
}

/// Where the package managers of Python, Node and Ruby put an app's own programs.
const BESIDE: [&str; 4] = [".venv/bin", "venv/bin", "node_modules/.bin", "bin"];

mod files;
mod front;
mod limits;
mod operators;
mod script;
mod starts;
#[cfg(test)]
mod tests;
mod unit;
mod variables;
mod world;
