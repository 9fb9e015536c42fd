//! Why an app does not answer, for its developers (`friendly_errors`): the words of `rota status` in an error page. On the thread that refuses
//! the request; takes the lock for a view of the app, and only where that is asked for.

use std::sync::Arc;
use std::time::Instant;

use crate::config::AppConfig;
use crate::conn::Conn;
use crate::http::error_page::Plight;
use crate::http::refusal::{Blame, Refusal};
use crate::ids::Generation;
use crate::pool::{GroupView, span};
use crate::restart::release::Release;
use crate::table::Shared;

/// None: nobody may know, or it is not for the app that the request is refused.
pub fn of(shared: &Shared, conn: &Conn, refusal: &Refusal, now: Instant) -> Option<Plight> {
    let group = conn.request.as_ref()?.group;
    let app = shared.app(group);
    let is_of_app = refusal.blame() == Blame::App || matches!(refusal, Refusal::Cut(_));
    if !app.friendly_errors || !is_of_app {
        return None;
    }
    let state = shared.table.lock();
    let view = state.pool.group(group).view(now);
    let releases: Vec<(Generation, Arc<Release>)> = state
        .releases
        .iter()
        .filter(|((of, _), _)| *of == group)
        .map(|((_, generation), release)| (*generation, release.clone()))
        .collect();
    drop(state);
    let release = |wanted: Generation| releases.iter().find(|(generation, _)| *generation == wanted).map(|(_, release)| &**release);
    Some(tell(refusal, &app, &view, release))
}

/// Of an app that serves only that it does; else what failed last, and what is being done about it.
fn tell<'r>(refusal: &Refusal, app: &AppConfig, view: &GroupView, release: impl Fn(Generation) -> Option<&'r Release>) -> Plight {
    let mut plight = Plight { facts: vec![("app", view.app.to_string()), ("cause", refusal.reason().to_owned())], output: Vec::new() };
    let mut say = |word, what: String| plight.facts.push((word, what));
    if let Some((held, left)) = view.pause {
        let (held, left) = (span(held.as_secs_f64()), span(left.as_secs_f64()));
        say("paused", format!("for {held}: requests wait; ends in {left}, or by: rota resume {}", view.app));
    }
    let serving = view.processes.iter().filter(|process| process.state == "serving").count();
    if serving > 0 {
        say("processes", format!("{serving} of {} serve, concurrency {}", view.processes_wanted, view.concurrency));
        return plight;
    }
    say("processes", "none serves".to_owned());
    if let Some((limit, since)) = &view.held {
        say("waits", format!("for {}: server.{} lets no more be started now", span(since.as_secs_f64()), limit.key()));
    }
    let mut about = view.walk.as_ref().map(|walk| walk.generation);
    if let Some((process, failure, ago)) = &view.last_failure {
        about = Some(process.generation);
        say("failure", format!("{process}: {failure}"));
        say("when", format!("{} ago", span(ago.as_secs_f64())));
        plight.output.clone_from(&failure.output);
    }
    let mut say = |word, what: String| plight.facts.push((word, what));
    let known = about.and_then(release);
    if let Some(command) = known.map(|release| &release.command).or(app.start.command.as_ref()) {
        say("command", shell_words::join(command));
    }
    say("release", known.map_or(&app.start.root, |release| &release.root).display().to_string());
    let told = view.last_failure.as_ref().map(|(_, failure, _)| failure);
    if let Some(resists) = view.resists.as_ref().filter(|resists| Some(&resists.failure) != told) {
        say("resists", format!("{}: process {}: {}", resists.generation, resists.at, resists.failure));
    }
    match (&view.backoff, &view.walk) {
        (Some(backoff), _) => {
            let failures = if backoff.failures == 1 { "1 failure".to_owned() } else { format!("{} failures in a row", backoff.failures) };
            say("retry", format!("{failures}, the next try in {}", span(backoff.retry_in.as_secs_f64())));
        }
        (None, Some(walk)) => {
            let number = walk.at.map(|number| format!("process {number}: ")).unwrap_or_default();
            let (all, phase) = (span(walk.since.as_secs_f64()), span(walk.phase_for.as_secs_f64()));
            say("progress", format!("{} of {} for {all}: {number}{} for {phase}", walk.kind, walk.generation, walk.phase));
        }
        (None, None) => {}
    }
    plight
}
