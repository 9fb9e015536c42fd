//! What whoever started rota is told of it (sd_notify(3)): when it is ready, what it does, that it reads its files again, that it stops. Where
//! nobody wants to know, nothing is done.

use std::time::{Duration, Instant};

use super::Master;
use crate::control::proto::Asked;
use crate::control::server::Ticket;
use crate::notify::Notify;
use crate::pool::GroupView;
use crate::printable::{counted, is_harmless, shorten};
use crate::upgrade::left::clock;

/// When a server says that it is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Ready {
    /// Every app has started, or has failed to once.
    #[default]
    Started,
    /// Its listeners are open.
    Listening,
}

#[derive(Debug)]
pub struct Supervisor {
    notify: Notify,
    stage: Stage,
    /// Since when that is so.
    since: Instant,
    /// The last status.
    told: String,
    /// Something may be different.
    is_news: bool,
    /// Not before this.
    next: Instant,
    extend_at: Instant,
}

#[derive(Debug)]
enum Stage {
    Starting,
    /// The files are being read.
    Reading(Ticket),
    /// These walks come of what was read.
    Applying(Vec<Asked>),
    Running,
    Stopping,
}

impl Supervisor {
    pub fn of_environment(now: Instant) -> Option<Self> {
        let notify = Notify::of_environment()?;
        Some(Self { notify, stage: Stage::Starting, since: now, told: String::new(), is_news: true, next: now, extend_at: now })
    }

    /// The pool changed.
    pub fn is_news(&mut self) {
        self.is_news = true;
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let extend = self.waits().then_some(self.extend_at);
        extend.into_iter().chain(self.is_news.then_some(self.next)).min()
    }

    /// Whoever started it waits for READY=1.
    fn waits(&self) -> bool {
        matches!(self.stage, Stage::Starting | Stage::Reading(_) | Stage::Applying(_))
    }

    fn go_to(&mut self, stage: Stage, now: Instant) {
        (self.stage, self.since, self.is_news, self.next, self.extend_at) = (stage, now, true, now, now);
    }

    fn ready(&mut self, now: Instant) {
        self.notify.tell("READY=1");
        self.go_to(Stage::Running, now);
    }

    /// A signal asked for a reload.
    pub fn reloads(&mut self, ticket: Ticket, now: Instant) {
        if !matches!(self.stage, Stage::Stopping) {
            self.notify.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_micros()));
            self.go_to(Stage::Reading(ticket), now);
        }
    }

    /// The files were read. Err: they change nothing.
    pub fn has_read(&mut self, ticket: Ticket, came_of_it: Result<&[Asked], &str>, now: Instant) {
        let is_ours = matches!(self.stage, Stage::Reading(asked) if asked == ticket);
        match came_of_it {
            Ok(walks) if is_ours => self.go_to(Stage::Applying(walks.to_vec()), now),
            // systemd waits for the command that asked, as long as it would for a start.
            Ok(walks) if !walks.is_empty() && matches!(self.stage, Stage::Running) => self.go_to(Stage::Applying(walks.to_vec()), now),
            Ok(_) => {}
            Err(why) if is_ours => {
                self.ready(now);
                self.notify.tell(&format!("STATUS=reload refused: {}", brief(why.lines().next().unwrap_or_default())));
                // It stays until something happens.
                self.is_news = false;
            }
            Err(_) => {}
        }
    }

    pub fn stops(&mut self, now: Instant) {
        self.notify.tell("STOPPING=1\nSTATUS=answers what is in hand, and ends");
        self.go_to(Stage::Stopping, now);
    }

    /// Where everybody is whom READY=1 waits for.
    fn turn(&mut self, views: &[GroupView], now: Instant) {
        self.is_news = false;
        self.next = now + PACE;
        let since = now.saturating_duration_since(self.since);
        let is_over = match &self.stage {
            Stage::Starting => views.iter().all(|view| has_settled(view, since)),
            Stage::Applying(walks) => {
                let is_walk = |view: &&GroupView| walks.iter().any(|walk| walk.app == view.app);
                views.iter().filter(is_walk).all(|view| has_settled(view, since))
            }
            Stage::Reading(_) | Stage::Running | Stage::Stopping => false,
        };
        if is_over {
            self.ready(now);
        }
        if self.waits() && now >= self.extend_at {
            // Each start has an end (ready.timeout), so that this has one, too.
            self.notify.tell(&format!("EXTEND_TIMEOUT_USEC={}", EXTENSION.as_micros()));
            self.extend_at = now + EXTENSION / 4;
        }
        if matches!(self.stage, Stage::Stopping) {
            return;
        }
        let status = status(views);
        if status != self.told {
            self.notify.tell(&format!("STATUS={status}"));
            self.told = status;
        }
    }
}

/// It has no walk, or one that has failed since then and is tried again.
fn has_settled(view: &GroupView, since: Duration) -> bool {
    view.walk.is_none() || view.last_failure.as_ref().is_some_and(|(_, _, ago)| *ago <= since)
}

/// `serves 2 of 3 apps; blog: restart of g8, 2 of 4, 3 boot; shop resists g7`.
fn status(views: &[GroupView]) -> String {
    let serves = |view: &&GroupView| view.processes.iter().any(|process| process.state == "serving") || view.sizes.min == 0;
    let mut parts = vec![format!("serves {} of {}", views.iter().filter(serves).count(), counted(views.len(), "app"))];
    for view in views {
        if let Some(walk) = &view.walk {
            let at = walk.at.map(|at| format!(" {at}")).unwrap_or_default();
            parts.push(format!("{}: {} of {}, {} of {},{at} {}", view.app, walk.kind, walk.generation, walk.replaced, walk.of, walk.phase));
        }
        if let Some(resists) = &view.resists {
            parts.push(format!("{} resists {}", view.app, resists.generation));
        }
    }
    brief(&parts.join("; "))
}

/// One line, of which nothing else is made.
fn brief(text: &str) -> String {
    let mut brief = text.chars().filter(|c| is_harmless(*c)).collect();
    shorten(&mut brief, STATUS);
    brief
}

/// CLOCK_MONOTONIC, by which systemd tells an older answer from a newer question.
fn monotonic_micros() -> u128 {
    clock().as_micros()
}

impl Master {
    /// Once in a turn.
    pub(super) fn tell_supervisor(&mut self) {
        let now = self.desk.now;
        let Some(supervisor) = self.supervisor.as_mut().filter(|supervisor| supervisor.next_deadline().is_some_and(|at| at <= now)) else {
            return;
        };
        let state = self.shared.table.lock();
        let views: Vec<GroupView> = state.pool.groups().filter(|group| !group.is_removed()).map(|group| group.view(now)).collect();
        drop(state);
        supervisor.turn(&views, now);
    }

    /// Says when it is ready.
    pub fn is_ready_when(&mut self, ready: Ready) {
        match (&mut self.supervisor, ready) {
            (Some(supervisor), Ready::Listening) => supervisor.ready(self.desk.now),
            (Some(_), Ready::Started) | (None, _) => {}
        }
    }
}

/// Between two words, of a walk that goes fast.
const PACE: Duration = Duration::from_millis(500);
/// How long it is borne with, each time.
const EXTENSION: Duration = Duration::from_secs(60);
/// Bytes of a status.
const STATUS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{limits, settings};
    use crate::config::{SourceFile, parse};
    use crate::ids::{AppName, Generation, Number, ProcessName};
    use crate::pool::{Failure, FailureKind, Pool};

    fn views(change: impl FnOnce(&mut GroupView)) -> Vec<GroupView> {
        let text = "[app.blog]\nroot = \"/\"\n".to_owned();
        let config = parse(&[SourceFile { path: "rota.toml".into(), text }]).unwrap().config;
        let now = Instant::now();
        let mut pool: Pool<()> = Pool::with_limits(limits(&config.server.machine));
        pool.add(config.apps[0].name.clone(), settings(&config.apps[0]), Generation(8), now);
        let mut view = pool.groups().next().unwrap().view(now);
        change(&mut view);
        vec![view]
    }

    #[test]
    fn a_start_is_over_when_each_app_has_started_or_failed_once() {
        let second = Duration::from_secs(1);
        let starting = views(|_| {});
        assert!(starting[0].walk.is_some() && !has_settled(&starting[0], second));
        assert!(has_settled(&views(|view| view.walk = None)[0], second));
        let failed = |ago| {
            let failure = Failure { kind: FailureKind::Spawn("x".to_owned()), output: Vec::new() };
            let name = ProcessName { app: AppName::new("blog").unwrap(), number: Number(1), generation: Generation(8) };
            views(|view| view.last_failure = Some((name, failure, ago)))
        };
        assert!(has_settled(&failed(second / 2)[0], second));
        assert!(!has_settled(&failed(2 * second)[0], second), "that was before");
    }

    #[test]
    fn the_status_says_what_serves_and_what_is_under_way() {
        assert!(status(&views(|_| {})).starts_with("serves 0 of 1 app; blog: start of g8, 0 of "), "{}", status(&views(|_| {})));
        assert_eq!(status(&views(|view| (view.walk, view.sizes.min) = (None, 0))), "serves 1 of 1 app");
    }
}
