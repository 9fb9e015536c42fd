//! `passenger-status`: the apps and their processes as that command lays them out, for people and for the scripts that read it.

use super::restart_app::name_of;
use super::{Ends, NOT_RUNNING, Place, Words};
use crate::cli::table::harmless;
use crate::cli::when;
use crate::control::proto::{AppStatus, ProcessStatus, Reply, Request, StatusReply, reply_line};

pub fn run(mut words: Words) -> Result<String, Ends> {
    let (mut place, mut show, mut heading) = (Place::default(), "pool".to_owned(), true);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--show" => show = words.value("--show")?,
            "--no-header" => heading = false,
            "--force-colors" | "--verbose" | "-v" => {}
            "--help" | "-h" => return Err(Ends::Said(format!("{USAGE}\n"))),
            option if option.starts_with('-') => place.take(option, &mut words, USAGE)?,
            // The name of an instance: there is one.
            _ => {}
        }
    }
    match show.as_str() {
        "pool" => match place.status()? {
            Some(status) => Ok(page(&status, heading, std::time::SystemTime::now())),
            None => Err(Ends::Failed(NOT_RUNNING.to_owned())),
        },
        "server" | "requests" => match place.ask(&Request::Requests { app: None, draining: false })? {
            Some(reply @ Reply::Requests { .. }) => Ok(String::from_utf8_lossy(&reply_line(&reply)).into_owned()),
            Some(_) => Err(Ends::Failed("the server answered something else".to_owned())),
            None => Err(Ends::Failed(NOT_RUNNING.to_owned())),
        },
        other => Err(Ends::Failed(format!("--show={other} is left out; what it says and more, with a schema: rota status --json"))),
    }
}

fn page(status: &StatusReply, heading: bool, now: std::time::SystemTime) -> String {
    let now = now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let lives = |app: &AppStatus| app.processes.iter().filter(|process| process.state != "starting").count();
    let most: u32 = status.apps.iter().map(|app| u32::from(app.processes_max)).sum();
    let processes: usize = status.apps.iter().map(lives).sum();
    let mut text = String::new();
    if heading {
        text = format!("Version : {0}\nDate    : {1}\nInstance: rota (rota/{0})\n\n", status.version, when::utc(now));
    }
    text += &format!(
        "----------- General information -----------\nMax pool size : {most}\nApp groups    : {}\nProcesses     : {processes}\n\
         Requests in top-level queue : 0\n\n----------- Application groups -----------\n",
        status.apps.len()
    );
    status.apps.iter().for_each(|app| text += &group(app));
    text
}

fn group(app: &AppStatus) -> String {
    let mut text = format!("{}:\n  App root: {}\n", name_of(app), harmless(&app.root));
    if app.walk.is_some() {
        text += "  (restarting...)\n";
    }
    match app.processes.iter().filter(|process| process.state == "starting").count() {
        0 => {}
        1 => text += "  (spawning 1 new process...)\n",
        several => text += &format!("  (spawning {several} new processes...)\n"),
    }
    if let Some(resists) = &app.resists {
        text += &format!(
            "  Resisting deployment error! {} since {}: {}\n",
            resists.generation,
            lasted(resists.seconds),
            harmless(&resists.message)
        );
    }
    text += &format!("  Requests in queue: {}\n", app.queue.length);
    let processes = app.processes.iter().filter(|process| process.state != "starting");
    processes.for_each(|of| text += &process(of));
    text + "\n"
}

fn process(process: &ProcessStatus) -> String {
    let pid = process.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    let memory = process.memory.map_or(0, |bytes| bytes >> 20);
    let used = process.last_used.map_or_else(|| "never".to_owned(), |seconds| format!("{} ago", lasted(seconds)));
    let mut text = format!(
        "  * PID: {pid:<7} Sessions: {:<7} Processed: {:<7} Uptime: {}\n    CPU: {:<7} Memory  : {:<7} Last used: {used}\n",
        process.sessions,
        process.processed,
        lasted(process.age),
        format!("{:.0}%", process.cpu.unwrap_or(0.0)),
        format!("{memory}M")
    );
    match process.state.as_str() {
        "draining" => text += "    Rolling restarting...\n",
        "stopping" => text += "    Shutting down...\n",
        _ => {}
    }
    text
}

/// `1h 2m 3s`.
fn lasted(seconds: f64) -> String {
    let all = seconds.max(0.0) as u64;
    let (days, hours, minutes, seconds) = (all / 86_400, all / 3600 % 24, all / 60 % 60, all % 60);
    let parts = [(days, "d"), (hours, "h"), (minutes, "m")];
    let shown = parts.iter().skip_while(|(number, _)| *number == 0).map(|(number, unit)| format!("{number}{unit} "));
    shown.collect::<String>() + &format!("{seconds}s")
}

const USAGE: &str = "usage: passenger-status [--show=pool|requests] [--no-header] [--config FILE] [--socket PATH]";

#[cfg(test)]
pub mod tests {
    use super::super::words;
    use super::*;
    use crate::control::proto::parse_reply;

    /// As a server says it.
    pub fn app(name: &str, root: &str) -> AppStatus {
        let process = r#"{"number":1,"generation":3,"pid":4711,"release":"/r","state":"serving","state_seconds":1,"age":3723,"sessions":2,"processed":55,"errors":0,"last_used":4,"cpu":1.6,"memory":62914560}"#;
        let app = format!(
            r#"{{"app":"{name}","root":"{root}","generation":3,"release":"/r","passed_over":null,"command":null,"detected":null,"processes_wanted":1,"processes_min":1,"processes_max":4,"held":null,"concurrency":5,"processes":[{process}],"queue":{{"length":7,"max":100,"age":null,"refused":0,"expired":0}},"walk":null,"resists":null,"backoff":null,"not_written":null,"pause":null,"last_failure":null}}"#
        );
        let status = format!(
            r#"{{"event":"status","schema":1,"version":"1.2.3","pid":7,"uptime":1,"listen":[],"connections":0,"spooled":0,"apps":[{app}]}}"#
        );
        match parse_reply(status.as_bytes()) {
            Ok(Reply::Status(status)) => status.apps[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_group_is_laid_out_as_there() {
        assert_eq!(
            group(&app("blog", "/srv/blog/current")),
            "/srv/blog/current:\n  App root: /srv/blog/current\n  Requests in queue: 7\n\
             \x20 * PID: 4711    Sessions: 2       Processed: 55      Uptime: 1h 2m 3s\n\
             \x20   CPU: 2%      Memory  : 60M     Last used: 4s ago\n\n"
        );
    }

    #[test]
    fn spans_have_the_units_that_they_need() {
        assert_eq!([0.4, 61.0, 3600.0, 90_061.0].map(lasted), ["0s", "1m 1s", "1h 0m 0s", "1d 1h 1m 1s"]);
    }

    #[test]
    fn what_is_left_out_says_what_has_it() {
        let Err(Ends::Failed(why)) = run(words("--show=xml")) else { panic!() };
        assert_eq!(why, "--show=xml is left out; what it says and more, with a schema: rota status --json");
    }
}
