//! The story against a server that is one thread and no processes.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::super::app::{Page, converse};
use super::super::client::Failure;
use super::super::report::wrong;
use super::super::screen::Look;
use super::*;

/// Serves the version that `current` showed at the last restart.
struct Fake {
    address: SocketAddr,
    current: PathBuf,
    version: Arc<AtomicU32>,
    /// What a restart does to the version, in place of what it should.
    fault: Option<Fault>,
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// It says done, and the old version stays.
    StaysOld,
    /// It puts the broken release in service.
    TakesBroken,
    /// The server is gone when it is to restart.
    Dies,
}

/// A command that runs for some turns, so that requests fall into it.
struct Script {
    turns: u32,
    lines: Vec<String>,
    exit: i32,
}

impl Fake {
    fn start(place: &Place, fault: Option<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let (version, requests) = (Arc::new(AtomicU32::new(1)), Arc::new(AtomicU64::new(0)));
        let fake = Self { address, current: place.current(), version: Arc::clone(&version), fault };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, version, requests) = (stream.expect("a connection"), Arc::clone(&version), Arc::clone(&requests));
                let page = move || {
                    let process = requests.fetch_add(1, Ordering::SeqCst) % PROCESSES as u64 + 1;
                    Page { version: version.load(Ordering::SeqCst), process: u16::try_from(process).expect("1 to 4"), pid: 7 }
                };
                thread::spawn(move || converse(&mut stream, page));
            }
        });
        fake
    }
}

impl Stage for Fake {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn restart(&mut self) -> io::Result<Box<dyn Spoken>> {
        let text = std::fs::read_to_string(self.current.join("VERSION"))?;
        let version: u32 = text.trim().parse().expect("a version");
        let broken = self.current.join("BROKEN").exists();
        if broken && self.fault != Some(Fault::TakesBroken) {
            let lines = ["demo/1 g2: exit status 1", "ModuleNotFoundError: No module named 'stripe'"];
            return Ok(Box::new(Script { turns: 2, lines: lines.map(str::to_owned).into(), exit: 4 }));
        }
        if self.fault != Some(Fault::StaysOld) {
            self.version.store(version, Ordering::SeqCst);
        }
        Ok(Box::new(Script { turns: 2, lines: vec![format!("version {version}: 4 of 4 replaced")], exit: 0 }))
    }

    fn status(&mut self) -> io::Result<Box<dyn Spoken>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn gone(&mut self) -> Option<String> {
        let is_time = self.fault == Some(Fault::Dies) && self.current.join("BROKEN").exists();
        is_time.then(|| "rota serve ended: signal 9".to_owned())
    }
}

impl Spoken for Script {
    fn lines(&mut self) -> Vec<String> {
        Vec::new()
    }

    fn ended(&mut self) -> io::Result<Option<(Exit, Vec<String>)>> {
        if self.turns > 0 {
            self.turns -= 1;
            return Ok(None);
        }
        Ok(Some((Exit::Status(self.exit), std::mem::take(&mut self.lines))))
    }
}

/// Plays a short story; gives its end and what it showed.
fn played(fault: Option<Fault>, interrupted: bool) -> (Result<(Tally, Vec<Restart>), Broke>, String) {
    let place = Place::new().expect("a directory");
    place.write_release(1, Release::Works).expect("a new release");
    place.flip(1).expect("no link called next");
    let mut stage = Fake::start(&place, fault);
    let mut shown = Vec::new();
    let gap = Duration::from_millis(300);
    let plan = Plan { total: 8 * gap, gap, guess: gap };
    let end =
        Story::new(plan, Instant::now(), &place, &mut stage, &mut Screen::new(&mut shown, Look::Plain), &AtomicBool::new(interrupted))
            .play();
    (end, String::from_utf8(shown).expect("text"))
}

#[test]
fn a_server_that_does_its_job_fails_nobody_and_refuses_the_broken_release() {
    let (end, shown) = played(None, false);
    let (tally, restarts) = end.expect("played to the end");
    assert_eq!(wrong(&tally, &restarts), Vec::<String>::new(), "{:?}\n{shown}", tally.failures);
    let broken = restarts.iter().position(|restart| restart.release == Release::Broken).expect("one was broken");
    assert_eq!(broken, restarts.len() - 2, "one good release after it");
    assert!(tally.steady.requests > 0 && tally.restarting.requests > 0);
    assert!(shown.contains("        | ModuleNotFoundError: No module named 'stripe'\n"), "{shown}");
    assert!(shown.contains("refused, the old version answers"), "{shown}");
}

#[test]
fn a_restart_that_says_done_and_changed_nothing_is_found_out() {
    let (end, shown) = played(Some(Fault::StaysOld), false);
    let (tally, restarts) = end.expect("played to the end");
    assert!(tally.failures.contains_key(&Failure::OldVersion), "{shown}");
    assert!(!wrong(&tally, &restarts).is_empty());
}

#[test]
fn a_broken_release_that_goes_into_service_is_found_out() {
    let (end, shown) = played(Some(Fault::TakesBroken), false);
    let (tally, restarts) = end.expect("played to the end");
    assert!(tally.failures.contains_key(&Failure::WrongBody), "{shown}");
    assert!(wrong(&tally, &restarts).iter().any(|text| text.ends_with("exit status 0 instead of exit status 4")));
}

#[test]
fn a_server_that_dies_breaks_the_story_off() {
    let (end, _) = played(Some(Fault::Dies), false);
    assert!(matches!(end, Err(Broke::Server(why)) if why == "rota serve ended: signal 9"));
}

#[test]
fn an_interrupt_breaks_the_story_off() {
    let (end, shown) = played(None, true);
    assert!(matches!(end, Err(Broke::Interrupted)));
    assert_eq!(shown, "");
}

#[test]
fn the_processes_are_shown_as_far_as_the_status_tells() {
    let status = r#"{"apps":[{"processes":[
        {"number":1,"pid":7,"generation":2,"state":"serving","more":[]},{"number":2,"generation":"g1"},{"pid":9},null]}]}"#;
    assert_eq!(processes(status), ["1 g2 serving", "2 g1"]);
    for other in ["", "[]", "{}", r#"{"apps":[]}"#, r#"{"apps":[{"processes":"none"}]}"#] {
        assert!(processes(other).is_empty(), "{other}");
    }
}
