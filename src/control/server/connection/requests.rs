//! What a request of a client has done, once it is known that he may.

use std::time::Instant;

use super::super::closes::Closes;
use super::super::{Operator, Reloaded, Ticket, Wish};
use super::{COLLECTING, Connection, Followed, READING, Stage};
use crate::control::proto::{Asked, Reply, Request};
use crate::metrics::page::Form;

impl Connection {
    pub(super) fn carry_out<O: Operator>(&mut self, request: Request, operator: &mut O, now: Instant) -> Result<(), Closes> {
        match request {
            Request::Status { app } => {
                let asked = operator.ask_status(app.as_deref(), now);
                self.collect(asked, operator, now)
            }
            Request::Metrics { prometheus } => {
                let form = if prometheus { Form::Prometheus } else { Form::OpenMetrics };
                let asked = Ok(operator.ask_metrics(form, now));
                self.collect(asked, operator, now)
            }
            Request::Restart { app, wait, at_once } => self.begin(Wish::Restart { app: app.as_deref(), at_once }, wait, operator, now),
            Request::Deploy { app, directory, wait } => self.begin(Wish::Deploy { app: &app, directory: &directory }, wait, operator, now),
            Request::Rollback { app, wait } => self.begin(Wish::Rollback { app: &app }, wait, operator, now),
            Request::Abort { app, wait } => self.begin(Wish::Abort { app: &app }, wait, operator, now),
            Request::History { app } => match operator.history(app.as_deref()) {
                Ok(apps) => self.last_word(&Reply::History { apps }, now),
                Err(message) => self.last_word(&Reply::Error { message }, now),
            },
            Request::Pause { app, seconds, wait } => match operator.pause(&app, seconds, now) {
                Ok(pausing) => {
                    log::info!("control socket: {app} is paused, asked for by {}", self.who());
                    if !wait || pausing.sessions == 0 {
                        return self.last_word(&Reply::Pausing(pausing), now);
                    }
                    self.say(&Reply::Pausing(pausing.clone()))?;
                    self.stage = Stage::Quieting { told: pausing };
                    Ok(())
                }
                Err(message) => self.last_word(&Reply::Error { message }, now),
            },
            Request::Resume { app } => match operator.resume(&app, now) {
                Ok(resumed) => {
                    log::info!("control socket: {app} goes on, asked for by {}", self.who());
                    self.last_word(&resumed, now)
                }
                Err(message) => self.last_word(&Reply::Error { message }, now),
            },
            Request::Detach { app, number, wait } => match operator.detach(&app, number, now) {
                Ok(process) => {
                    log::info!("control socket: {app}/{number} is to be replaced, asked for by {}", self.who());
                    let detaching = Reply::Detaching { app: process.app.clone(), number, pid: process.pid };
                    if !wait {
                        return self.last_word(&detaching, now);
                    }
                    self.stage = Stage::Detaching { process };
                    self.say(&detaching)
                }
                Err(message) => self.last_word(&Reply::Error { message }, now),
            },
            Request::Requests { app, draining } => {
                let asked = operator.ask_requests(app.as_deref(), draining, now);
                self.collect(asked, operator, now)
            }
            Request::Drain {} => self.drain(true, operator, now),
            Request::Undrain {} => self.drain(false, operator, now),
            Request::Drained {} => {
                let drained = operator.drained(now);
                self.last_word(&drained, now)
            }
            Request::Reload { dry_run, wait } => match operator.reload(dry_run, now) {
                Ok(ticket) => {
                    let what = if dry_run { "what a reload would change" } else { "reload" };
                    log::info!("control socket: {what}, asked for by {}", self.who());
                    self.stage = Stage::Reloading { ticket, dry_run, wait, until: now + READING };
                    Ok(())
                }
                Err(message) => self.last_word(&Reply::Error { message }, now),
            },
            Request::Upgrade { program } => match operator.upgrade(program, now) {
                Ok(ticket) => {
                    log::info!("control socket: upgrade, asked for by {}", self.who());
                    self.stage = Stage::Upgrading { ticket };
                    self.say(&Reply::Upgrading { rota: env!("CARGO_PKG_VERSION").to_owned() })
                }
                Err(message) => self.last_word(&Reply::Error { message }, now),
            },
            Request::Stop {} => {
                log::info!("control socket: stop, asked for by {}", self.who());
                operator.stop();
                self.stage = Stage::Staying;
                self.say(&Reply::Stopping)
            }
        }
    }

    /// Waits for what other threads have been asked.
    fn collect<O: Operator>(&mut self, asked: Result<Ticket, String>, operator: &mut O, now: Instant) -> Result<(), Closes> {
        match asked {
            Ok(ticket) => {
                self.stage = Stage::Collecting { ticket, until: now + COLLECTING };
                self.follow(operator, now)
            }
            Err(message) => self.last_word(&Reply::Error { message }, now),
        }
    }

    fn begin<O: Operator>(&mut self, wish: Wish<'_>, wait: bool, operator: &mut O, now: Instant) -> Result<(), Closes> {
        let what = match wish {
            Wish::Restart { .. } => "restart",
            Wish::Deploy { .. } => "deployment",
            Wish::Rollback { .. } => "rollback",
            Wish::Abort { .. } => "abort",
        };
        let walks = match operator.walk(wish, now) {
            Ok(walks) => walks,
            Err(message) => return self.last_word(&Reply::Error { message }, now),
        };
        for walk in &walks {
            log::info!("control socket: {what} of {} {}, asked for by {}", walk.app, walk.generation, self.who());
        }
        self.tell_walks(walks, wait, operator, now)
    }

    /// These were asked for; whoever waits hears of them.
    fn tell_walks<O: Operator>(&mut self, walks: Vec<Asked>, wait: bool, operator: &mut O, now: Instant) -> Result<(), Closes> {
        let asked = Reply::Asked { walks: walks.clone(), config: Some(operator.config()) };
        if !wait || walks.is_empty() {
            return self.last_word(&asked, now);
        }
        self.say(&asked)?;
        let walks = walks.into_iter().map(|walk| Followed { walk, told: None }).collect();
        self.stage = Stage::Following { since: now, walks };
        self.follow_walks(operator, now)
    }

    /// The configuration has been read.
    pub(super) fn reloaded<O: Operator>(
        &mut self,
        reloaded: Result<Reloaded, String>,
        dry_run: bool,
        wait: bool,
        operator: &mut O,
        now: Instant,
    ) -> Result<(), Closes> {
        let Reloaded { changes, warnings, walks } = match reloaded {
            Ok(reloaded) => reloaded,
            Err(message) => {
                self.last_word(&Reply::Error { message }, now)?;
                return self.flush(now);
            }
        };
        let plan = Reply::Plan { changes, warnings, dry_run };
        if dry_run {
            self.last_word(&plan, now)?;
        } else {
            self.say(&plan)?;
            self.tell_walks(walks, wait, operator, now)?;
        }
        self.flush(now)
    }

    fn drain<O: Operator>(&mut self, drained: bool, operator: &mut O, now: Instant) -> Result<(), Closes> {
        let reply = match operator.drain(drained) {
            Ok(()) => {
                let says = if drained { "are told to go" } else { "are told how it is" };
                log::info!("control socket: balancers {says} from now on, asked for by {}", self.who());
                operator.drained(now)
            }
            Err(message) => Reply::Error { message },
        };
        self.last_word(&reply, now)
    }
}
