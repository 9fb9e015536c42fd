//! The demo's story: a load that never rests, good releases, a broken one, and a good one again.
//!
//! One thread, one turn every tenth of a second: it takes in what the visitors measured and the commands said, and shows it. It does not
//! know the real server: that is behind [`Stage`].

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::client;
use super::load::{Load, Versions};
use super::place::{APP, PROCESSES, Place, Release};
use super::plan::{Act, Next, Plan};
use super::report::Restart;
use super::screen::{Screen, View};
use super::tally::Tally;
use crate::pool::Exit;

/// The server, as much of it as the story needs.
pub trait Stage {
    fn address(&self) -> SocketAddr;

    /// Begins `rota restart demo`.
    fn restart(&mut self) -> io::Result<Box<dyn Spoken>>;

    /// Begins `rota status --json`.
    fn status(&mut self) -> io::Result<Box<dyn Spoken>>;

    /// Why the server no longer runs; None: it does.
    fn gone(&mut self) -> Option<String>;
}

/// A command under way. Dropping it ends it.
pub trait Spoken {
    /// The lines since the last call.
    fn lines(&mut self) -> Vec<String>;

    /// How it ended, and its last lines; None: it runs.
    fn ended(&mut self) -> io::Result<Option<(Exit, Vec<String>)>>;
}

/// Why the story broke off.
#[derive(Debug)]
pub enum Broke {
    /// Somebody told the demo to end.
    Interrupted,
    /// The server is gone, or was never there: one sentence.
    Server(String),
    /// A file, a thread or the output: one sentence.
    Io(io::Error),
}

impl From<io::Error> for Broke {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// All that the story works with.
pub struct Story<'a, W: Write> {
    plan: Plan,
    begun: Instant,
    place: &'a Place,
    stage: &'a mut dyn Stage,
    screen: &'a mut Screen<W>,
    interrupted: &'a AtomicBool,
    versions: Arc<Versions>,
    newest: u32,
    load: Option<Load>,
    tally: Tally,
    restarts: Vec<Restart>,
    /// What the restart command has said, while it runs.
    said: Option<Vec<String>>,
    status: Status,
}

/// What is known of the processes from the status command. It is for looking at only: whatever goes wrong with it shows nothing.
#[derive(Default)]
struct Status {
    command: Option<(Box<dyn Spoken>, Instant, String)>,
    next: Option<Instant>,
    processes: Vec<String>,
}

impl<'a, W: Write> Story<'a, W> {
    /// `place` has the release 1, which the server serves or is about to.
    pub fn new(
        plan: Plan,
        begun: Instant,
        place: &'a Place,
        stage: &'a mut dyn Stage,
        screen: &'a mut Screen<W>,
        interrupted: &'a AtomicBool,
    ) -> Self {
        let versions = Arc::new(Versions::default());
        versions.offer(1);
        let (tally, status) = (Tally::default(), Status::default());
        Self {
            plan,
            begun,
            place,
            stage,
            screen,
            interrupted,
            versions,
            newest: 1,
            load: None,
            tally,
            restarts: Vec::new(),
            said: None,
            status,
        }
    }

    /// Plays it to its end, and gives what was counted and how each restart ended.
    pub fn play(mut self) -> Result<(Tally, Vec<Restart>), Broke> {
        self.await_first_answer()?;
        let address = self.stage.address();
        self.screen.say(&format!("{}http://{address}/ answers: open it in a browser and watch", self.time()))?;
        self.load = Some(Load::start(address, &self.versions)?);
        self.await_all_processes()?;

        let mut act = Act::Good;
        loop {
            self.rest(self.plan.gap)?;
            let slowest = self.restarts.iter().filter(|restart| restart.release == Release::Works).map(|restart| restart.took).max();
            match self.plan.next(act, self.begun.elapsed(), slowest) {
                Next::Good => {
                    self.deploy(Release::Works)?;
                    act = match act {
                        Act::Good => Act::Good,
                        Act::Broken | Act::Mended => Act::Mended,
                    };
                }
                Next::Broken => {
                    self.deploy(Release::Broken)?;
                    act = Act::Broken;
                }
                Next::End => break,
            }
        }
        if let Some(load) = self.load.take() {
            for sample in load.finish() {
                self.tally.add(sample);
            }
        }
        Ok((self.tally, self.restarts))
    }

    /// The server needs a moment to listen and the app one to boot.
    fn await_first_answer(&mut self) -> Result<(), Broke> {
        let limit = Instant::now() + FIRST_ANSWER;
        loop {
            self.turn()?;
            let failure = match client::fetch(self.stage.address(), Duration::from_secs(1)) {
                Ok(_) => return Ok(()),
                Err(failure) => failure,
            };
            if Instant::now() >= limit {
                return Err(Broke::Server(format!("no answer from the app within {} s: {failure}", FIRST_ANSWER.as_secs())));
            }
        }
    }

    /// A restart would overtake the first start, which is not what is to be seen here. If some stay silent the story goes on: the restarts
    /// will tell.
    fn await_all_processes(&mut self) -> Result<(), Broke> {
        let limit = Instant::now() + ALL_PROCESSES;
        while self.tally.processes_seen() < PROCESSES && Instant::now() < limit {
            self.turn()?;
        }
        let seen = self.tally.processes_seen();
        self.screen.say(&format!("{}{seen} of {PROCESSES} processes answer", self.time()))?;
        Ok(())
    }

    fn rest(&mut self, time: Duration) -> Result<(), Broke> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn()?;
        }
        Ok(())
    }

    /// What a user does: a new release, the link, the command; and waiting for the command.
    fn deploy(&mut self, release: Release) -> Result<(), Broke> {
        self.newest += 1;
        let version = self.newest;
        self.place.write_release(version, release)?;
        self.place.flip(version)?;
        let what = match release {
            Release::Works => {
                self.versions.offer(version);
                "new release"
            }
            Release::Broken => "broken release (fails at boot)",
        };
        self.screen.say(&format!("{}{what}: current -> releases/{version}; {COMMAND} {APP}", self.time()))?;

        // The window opens before the command runs and closes after it, so that it has every request that could meet the restart.
        let begun = Instant::now();
        self.tally.restart_begins(begun);
        let mut command = self.stage.restart()?;
        self.said = Some(Vec::new());
        let exit = loop {
            let lines = command.lines();
            self.hear(lines)?;
            if let Some((exit, last)) = command.ended()? {
                self.hear(last)?;
                break Some(exit);
            }
            if begun.elapsed() > RESTART_LIMIT {
                break None;
            }
            self.turn()?;
        };
        drop(command);
        let ended = Instant::now();
        self.tally.restart_ends(ended);
        let restart = Restart { version, release, took: ended - begun, exit };
        if exit == Some(Exit::Status(0)) {
            self.versions.settle(version);
        }
        self.restarts.push(restart);
        self.tell(restart)
    }

    fn hear(&mut self, lines: Vec<String>) -> Result<(), Broke> {
        for line in lines {
            if self.screen.is_plain() {
                self.screen.say(&format!("        | {line}"))?;
            }
            self.said.get_or_insert_default().push(line);
        }
        Ok(())
    }

    /// How the restart ended; what the command said stays on the terminal only if there is something to learn from it.
    fn tell(&mut self, restart: Restart) -> Result<(), Broke> {
        let said = self.said.take().unwrap_or_default();
        let worth_reading = restart.release == Release::Broken || !restart.ended_as_expected();
        if worth_reading && !self.screen.is_plain() {
            for line in said {
                self.screen.say(&format!("        | {line}"))?;
            }
        }
        let ended = match restart.exit {
            Some(exit) => format!("{exit} after {:.1} s", restart.took.as_secs_f32()),
            None => format!("not ended after {} s, given up", restart.took.as_secs()),
        };
        let means = match (restart.ended_as_expected(), restart.release) {
            (true, Release::Works) => format!("every process runs version {}", restart.version),
            (true, Release::Broken) => "refused, the old version answers".to_owned(),
            (false, Release::Works | Release::Broken) => format!("expected {}", restart.expected()),
        };
        self.screen.say(&format!("{}restart: {ended}: {means}", self.time()))?;
        Ok(())
    }

    /// One turn: look, take in, show, sleep.
    fn turn(&mut self) -> Result<(), Broke> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Broke::Interrupted);
        }
        if let Some(why) = self.stage.gone() {
            return Err(Broke::Server(why));
        }
        let now = Instant::now();
        if let Some(load) = &self.load {
            for sample in load.samples() {
                self.tally.add(sample);
            }
            if !self.screen.is_plain() {
                self.status.look(self.stage, now);
            }
            let view = View {
                elapsed: now - self.begun,
                total: self.plan.total,
                requests: self.tally.requests(),
                failed: self.tally.failed(),
                versions: self.tally.last_second(now),
                processes: self.status.processes.clone(),
                command: self.said.clone().map(|said| (format!("{COMMAND} {APP}"), said)),
            };
            self.screen.draw(&view)?;
        }
        thread::sleep(TURN);
        Ok(())
    }

    fn time(&self) -> String {
        format!("{:>6.1} s  ", self.begun.elapsed().as_secs_f32())
    }
}

impl Status {
    /// Fetches the answer of the last command, or begins the next.
    fn look(&mut self, stage: &mut dyn Stage, now: Instant) {
        if let Some((mut command, begun, mut said)) = self.command.take() {
            said.extend(command.lines());
            match command.ended() {
                Ok(None) if begun + STATUS_LIMIT > now => self.command = Some((command, begun, said)),
                Ok(Some((Exit::Status(0), last))) => {
                    said.extend(last);
                    self.processes = processes(&said);
                }
                Ok(Some(_) | None) | Err(_) => self.processes.clear(),
            }
        } else if self.next.is_none_or(|next| next <= now) {
            self.next = Some(now + STATUS_EVERY);
            self.command = stage.status().ok().map(|command| (command, now, String::new()));
        }
    }
}

/// `2 g7 serving` for each process of the first app; what the status does not say is left out.
fn processes(status: &str) -> Vec<String> {
    let status: serde_json::Value = serde_json::from_str(status).unwrap_or_default();
    let list = status["apps"][0]["processes"].as_array().map_or(&[][..], Vec::as_slice);
    let word = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    list.iter()
        .map(|process| {
            let generation = word(&process["generation"]).map(|text| if text.starts_with('g') { text } else { format!("g{text}") });
            let words = [word(&process["number"]), generation, word(&process["state"])];
            words.into_iter().flatten().collect::<Vec<_>>().join(" ")
        })
        .filter(|text| !text.is_empty())
        .collect()
}

/// What a user would type, without `--config`.
const COMMAND: &str = "rota restart";
const TURN: Duration = Duration::from_millis(100);
/// On a busy small machine; usually it is a second.
const FIRST_ANSWER: Duration = Duration::from_secs(30);
const ALL_PROCESSES: Duration = Duration::from_secs(15);
/// Ten times what a restart of this app takes.
const RESTART_LIMIT: Duration = Duration::from_secs(60);
const STATUS_EVERY: Duration = Duration::from_millis(500);
const STATUS_LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
