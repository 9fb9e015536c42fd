//! `rota demo`: the main job shown to a stranger, on a machine with nothing but rota.
//!
//! A server with the built-in [`app`], a steady load, and a story of releases that go out meanwhile. The server and the commands are
//! child processes of this one and the same binary, used as a user would; everything lies in a private directory that is removed at the end.

pub mod app;
mod client;
mod command;
mod load;
mod place;
mod plan;
mod report;
mod screen;
mod server;
mod story;
mod tally;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag;

use place::{Place, Release};
use plan::Plan;
use screen::{Look, Screen};
use server::Server;
use story::{Broke, Story};

/// Shows the demo for about so many seconds (10 to 3,600; what is less or more is taken for these). Exit status: 0 if no request failed and
/// every restart ended as it should, else 1, and the last line says what was wrong.
pub fn run(seconds: u64) -> i32 {
    // Set up first: from here on a signal only sets the flag, and what exists is taken away again.
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        if let Err(why) = flag::register(signal, Arc::clone(&interrupted)) {
            eprintln!("rota demo: signal {signal}: {why}");
            return 1;
        }
    }
    match show(Plan::of(seconds), &interrupted) {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(Broke::Interrupted) => {
            eprintln!("rota demo: interrupted before its end");
            1
        }
        Err(Broke::Server(why)) => {
            eprintln!("rota demo: {why}");
            1
        }
        Err(Broke::Io(why)) => {
            eprintln!("rota demo: {why}");
            1
        }
    }
}

/// True if all was as it should be. Whatever the way out, the server is stopped before its directory goes.
fn show(plan: Plan, interrupted: &AtomicBool) -> Result<bool, Broke> {
    let begun = Instant::now();
    let mut screen = Screen::new(io::stdout(), Look::of_stdout());
    let place = Place::new()?;
    place.write_release(1, Release::Works)?;
    place.flip(1)?;
    let mut server = Server::start(&place)?;
    screen.say(&opening(plan.total))?;
    let ended = Story::new(plan, begun, &place, &mut server, &mut screen, interrupted).play();
    screen.close()?;
    if let Err(Broke::Server(_)) = &ended {
        place.log_tail().iter().for_each(|line| eprintln!("rota serve | {line}"));
    }
    let (tally, restarts) = ended?;
    screen.say(&format!("\n{}", report::closing(&tally, &restarts)))?;
    let stopped = server.stop()?;
    if !stopped {
        eprintln!("rota demo: the server did not stop when asked and was killed");
    }
    Ok(stopped && report::wrong(&tally, &restarts).is_empty())
}

fn opening(total: Duration) -> String {
    format!(
        "rota demo: an app with {} processes, {} visitors who never rest, and new\n\
         releases meanwhile, for about {} s. A restart replaces one process at a time;\n\
         every reply is checked in full.\n",
        place::PROCESSES,
        load::KEPT + load::FRESH,
        total.as_secs(),
    )
}
