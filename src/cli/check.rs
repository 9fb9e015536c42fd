//! `rota check`: is the configuration right, and does the machine have what it names?

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use super::Exit;
use crate::config::{self, AppConfig, Config, Listen};
use crate::restart::release;

/// What is wrong on the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// None: the server.
    pub app: Option<String>,
    pub text: String,
    /// `serve` refuses to start with it; without, the app will not start or something will not work.
    pub refuses: bool,
}

/// Prints everything that is wrong.
pub fn run(path: &Path, colour: bool) -> Exit {
    let config = match config::load(path) {
        Ok(config) => config,
        Err(report) => {
            eprintln!("{}", report.render(colour));
            return Exit::Bad;
        }
    };
    let findings = findings(&config);
    for finding in &findings {
        eprintln!("error: {}{}", finding.app.as_ref().map(|app| format!("app {app}: ")).unwrap_or_default(), finding.text);
    }
    if !findings.is_empty() {
        eprintln!("{} error{}", findings.len(), if findings.len() == 1 { "" } else { "s" });
        return Exit::Bad;
    }
    let apps: Vec<String> = config.apps.iter().map(|app| format!("{} ({} processes)", app.name, app.processes)).collect();
    let listen: Vec<String> = config.server.listen.iter().map(ToString::to_string).collect();
    let apps = if apps.is_empty() { "no apps yet".to_owned() } else { format!("apps: {}", apps.join(", ")) };
    println!("ok: listens on {}; {apps}", listen.join(", "));
    Exit::Done
}

/// What `serve` refuses to start with.
pub fn refusals(config: &Config) -> Vec<String> {
    let users = config.apps.iter().filter_map(user_finding).filter(|finding| finding.refuses);
    users.map(|finding| format!("app {}: {}", finding.app.unwrap_or_default(), finding.text)).collect()
}

/// Everything that the configuration names and the machine does not have.
pub fn findings(config: &Config) -> Vec<Finding> {
    let server = |text: String| Finding { app: None, text, refuses: false };
    let mut findings = Vec::new();
    // A server that runs already has its addresses.
    if std::os::unix::net::UnixStream::connect(&config.server.control).is_err() {
        for listen in &config.server.listen {
            if let Listen::Tcp(addr) = listen
                && let Err(error) = TcpListener::bind(addr)
            {
                findings.push(server(format!("server.listen {addr}: {error}")));
            }
        }
    }
    if !config.server.spool_dir.is_dir() {
        findings.push(server(format!("server.spool_dir {}: no such directory", config.server.spool_dir.display())));
    }
    for app in &config.apps {
        let mut add = |text: String| findings.push(Finding { app: Some(app.name.to_string()), text, refuses: false });
        match release::resolve(&app.start) {
            Ok(release) => {
                if let Some(text) = command_missing(app, &release.root) {
                    add(text);
                }
            }
            Err(failure) => add(failure.to_string()),
        }
        findings.extend(user_finding(app));
    }
    findings
}

/// A rota that runs as root would run the app as root too: that has to be said.
fn user_finding(app: &AppConfig) -> Option<Finding> {
    let is_root = rustix::process::geteuid().is_root();
    let text = match &app.start.user {
        None if is_root => "rota runs as root, so the app needs a user (or user = \"root\" if that is meant)".to_owned(),
        Some(user) if !is_root => {
            let us = rustix::process::geteuid().as_raw();
            match release::identity(user, app.start.group.as_deref()) {
                Ok(identity) if identity.uid == us => return None,
                Ok(_) => format!("user {user}: only a rota that runs as root can start processes of another user"),
                // `resolve` has said so.
                Err(_) => return None,
            }
        }
        None | Some(_) => return None,
    };
    Some(Finding { app: Some(app.name.to_string()), text, refuses: true })
}

fn command_missing(app: &AppConfig, root: &Path) -> Option<String> {
    let program = app.start.command.first()?;
    let is_program = |path: PathBuf| rustix::fs::access(&path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file();
    if program.contains('$') {
        return None;
    }
    if program.contains('/') {
        let path = root.join(program);
        return (!is_program(path.clone())).then(|| format!("command: {} is no program that can be run", path.display()));
    }
    let own = app.start.env.iter().rfind(|(key, _)| key == "PATH").map(|(_, value)| value.clone());
    let search = own.or_else(|| std::env::var("PATH").ok()).unwrap_or_default();
    let found = std::env::split_paths(&search).any(|dir| is_program(dir.join(program)));
    (!found).then(|| format!("command: {program} is in no directory of PATH ({search})"))
}
