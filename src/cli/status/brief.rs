//! The page of several apps: a line for each, and below the table one for each that something is wrong with. Plain values in, text out.

use crate::cli::say::Paint;
use crate::cli::table::{Fit, brief_size, brief_span, count, fitted, harmless, whole_words};
use crate::control::proto::AppStatus;

/// In the order of the configuration; no line is wider than `columns`, and the state of each app is to be seen whatever it is called.
pub fn table_of(apps: &[AppStatus], columns: usize, paint: Paint) -> String {
    let rows: Vec<Vec<String>> = apps.iter().map(|app| row(app, paint)).collect();
    let mut text = fitted(&HEADING, &rows, &Fit { columns, indent: 0, spare: &SPARE, last: usize::MAX });
    let troubles = apps.iter().filter_map(|app| Some(format!("{}: {}", app.app, harmless(&trouble(app)?))));
    for trouble in troubles {
        text.push_str(&(whole_words(&trouble, columns) + "\n"));
    }
    text + "all of one: rota status APP\n"
}

fn row(app: &AppStatus, paint: Paint) -> Vec<String> {
    let serving = app.processes.iter().filter(|process| process.state == "serving");
    let (mut up, mut sessions, mut slots) = (0, 0, 0);
    for process in serving {
        (up, sessions, slots) = (up + 1, sessions + process.sessions, slots + process.slots);
    }
    let sum = |value: fn(&crate::control::proto::ProcessStatus) -> u64| app.processes.iter().map(value).sum::<u64>();
    let cpu: Vec<f64> = app.processes.iter().filter_map(|process| process.cpu).collect();
    let memory: Vec<u64> = app.processes.iter().filter_map(|process| process.memory).collect();
    let or_none = |is_known: bool, value: String| if is_known { value } else { "-".to_owned() };
    vec![
        app.app.to_string(),
        app.generation.map_or_else(|| "-".to_owned(), |generation| generation.to_string()),
        format!("{up}/{}", app.processes_wanted),
        format!("{sessions}/{slots}"),
        app.queue.length.to_string(),
        count(sum(|process| process.processed)),
        count(sum(|process| process.errors)),
        or_none(!cpu.is_empty(), format!("{:.0}%", cpu.iter().sum::<f64>())),
        or_none(!memory.is_empty(), brief_size(memory.iter().sum())),
        state(app, up, paint),
    ]
}

/// In a word or two: the worst of what there is to say.
fn state(app: &AppStatus, up: usize, paint: Paint) -> String {
    if app.removed {
        return paint.warn("REMOVED");
    }
    let is_down = up == 0 && app.processes_wanted > 0;
    if is_down && app.walk.is_none() {
        return paint.bad("DOWN");
    }
    if let Some(resists) = &app.resists {
        return paint.bad(&format!("RESISTS {}", resists.generation));
    }
    if app.not_written.is_some() {
        return paint.warn("NOT WRITTEN");
    }
    if app.pause.is_some() {
        return paint.warn("PAUSED");
    }
    if let Some(backoff) = &app.backoff {
        return paint.warn(&format!("backoff {}", brief_span(backoff.retry_in)));
    }
    if let Some(failure) = app.last_failure.as_ref().filter(|_| has_failed(app)) {
        return paint.bad(&format!("FAILED {}", failure.generation));
    }
    if let Some(walk) = &app.walk {
        return paint.warn(&format!("{} {}/{} {}", harmless(&walk.kind), walk.replaced, walk.of, harmless(&walk.phase)));
    }
    match up {
        0 => "idle".to_owned(),
        _ => paint.good("serves"),
    }
}

/// None: nothing that a person had to look at.
fn trouble(app: &AppStatus) -> Option<String> {
    if let Some(resists) = &app.resists {
        return Some(format!("process {} of {}: {}", resists.at, resists.generation, resists.message));
    }
    if let Some(why) = &app.not_written {
        return Some(why.clone());
    }
    let is_short = app.backoff.is_some() || app.processes.iter().all(|process| process.state != "serving") && app.processes_wanted > 0;
    app.last_failure.as_ref().filter(|_| is_short || has_failed(app)).map(|failure| failure.message.clone())
}

/// Nothing has ever worked, and nothing is tried before somebody asks for it.
fn has_failed(app: &AppStatus) -> bool {
    let is_tried = app.walk.as_ref().is_some_and(|walk| walk.phase != "wait");
    app.generation.is_none() && app.last_failure.is_some() && app.processes.is_empty() && !is_tried
}

/// What a narrow terminal does without first.
const SPARE: [&str; 7] = ["mem", "cpu", "done", "gen", "err", "wait", "busy"];
const HEADING: [&str; 10] = ["app", "gen", ">up", ">busy", ">wait", ">done", ">err", ">cpu", ">mem", "state"];
