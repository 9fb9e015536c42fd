//! `rota drain` and `rota undrain`: what balancers are told. With `--wait` it looks until no request comes any more; the drain is the server's, and
//! does not end with this command.

use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::Exit;
use super::hear::{ask, something_else};
use super::say::{Live, complain, is_live, print, terminal_size};
use super::table::span;
use crate::control::proto::{Reply, Request, Traffic, reply_line};
use crate::printable::counted;

/// Until when it is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// So long no request must have come.
    pub quiet: Duration,
    pub most: Duration,
}

pub fn run(socket: &Path, wait: Option<Wait>, json: bool) -> Exit {
    let reply = match ask(socket, &Request::Drain {}) {
        Ok(reply) => reply,
        Err(exit) => return exit,
    };
    let Reply::Drained { health, agent, .. } = &reply else { return something_else() };
    if json {
        print(&line(&reply));
    } else {
        let health = (!health.is_empty()).then(|| format!("{health} answers 503"));
        let agent = agent.map(|address| format!("the agent on {address} says drain"));
        let told: Vec<String> = health.into_iter().chain(agent).collect();
        print(&format!("drained: {}; rota undrain ends it\n", told.join(", ")));
    }
    let look = if json {
        Look::Json
    } else if is_live() {
        Look::Live
    } else {
        Look::Plain
    };
    wait.map_or(Exit::Done, |wait| follow(wait, look, io::stdout(), EACH, || ask(socket, &Request::Drained {})))
}

pub fn undrain(socket: &Path, json: bool) -> Exit {
    match ask(socket, &Request::Undrain {}) {
        Ok(reply @ Reply::Drained { .. }) if json => print(&line(&reply)),
        Ok(Reply::Drained { health, .. }) if health.is_empty() => print("balancers are told how it is\n"),
        Ok(Reply::Drained { health, .. }) => print(&format!("{health} answers as it is\n")),
        Ok(_) => something_else(),
        Err(exit) => exit,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Live,
    Plain,
    Json,
}

/// Asks again and again, and tells what is waited for. `each`: between two looks.
fn follow(wait: Wait, look: Look, out: impl Write, each: Duration, mut drained: impl FnMut() -> Result<Reply, Exit>) -> Exit {
    let (mut live, mut told) = (Live::new(out), String::new());
    let begun = Instant::now();
    loop {
        let (is_drained, traffic, reply) = match drained() {
            Ok(reply @ Reply::Drained { drained, traffic, .. }) => (drained, traffic, reply),
            Ok(_) => return something_else(),
            Err(Exit::NoServer) => return complain("the server ended meanwhile", Exit::Stopped),
            Err(exit) => return exit,
        };
        let waited = begun.elapsed();
        // What came before the drain is no sign that nothing comes after it.
        let is_quiet = traffic.quiet_seconds.min(waited.as_secs_f64()) >= wait.quiet.as_secs_f64();
        let is_over = !is_drained || is_quiet || waited >= wait.most;
        match look {
            Look::Json => live.say(&line(&reply)),
            Look::Live if !is_over => live.rewrite(&waiting(&traffic, wait, waited), terminal_size().1),
            Look::Plain if !is_over && what(&traffic) != told => {
                told = what(&traffic);
                live.say(&format!("{}\n", waiting(&traffic, wait, waited)));
            }
            Look::Live | Look::Plain => {}
        }
        if !is_over {
            thread::sleep(each);
            continue;
        }
        live.end_line();
        if !is_drained {
            return complain("it is not drained any more: somebody has undrained it", Exit::Bad);
        }
        if !is_quiet {
            let (most, what) = (span(wait.most.as_secs_f64()), what(&traffic));
            return complain(&format!("not quiet after {most}: {what}; it stays drained (rota requests says more)"), Exit::Busy);
        }
        if look != Look::Json {
            let open = counted(traffic.connections, "connection");
            live.say(&format!("quiet: no request came for {}; {open} open\n", span(wait.quiet.as_secs_f64())));
        }
        return Exit::Done;
    }
}

fn line(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply_line(reply)).into_owned()
}

/// `waiting: 2 requests are with apps; at most 1 min 54 s more`
fn waiting(traffic: &Traffic, wait: Wait, waited: Duration) -> String {
    format!("waiting: {}; at most {} more", what(traffic), span(wait.most.saturating_sub(waited).as_secs_f64()))
}

/// What there is that keeps it from being quiet.
fn what(traffic: &Traffic) -> String {
    let with_apps =
        |number: u32| if number == 1 { "1 request is with an app".to_owned() } else { format!("{number} requests are with apps") };
    match (traffic.requests, traffic.waiting) {
        (0, 0) => "requests came until a moment ago".to_owned(),
        (0, waiting) => format!("{} in the queue", counted(waiting, "request")),
        (requests, 0) => with_apps(requests),
        (requests, waiting) => format!("{}, {waiting} in the queue", with_apps(requests)),
    }
}

/// Between two looks.
const EACH: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(drained: bool, requests: u32, waiting: usize, quiet_seconds: f64) -> Result<Reply, Exit> {
        let traffic = Traffic { requests, waiting, connections: 3, quiet_seconds };
        Ok(Reply::Drained { drained, health: "/up".to_owned(), agent: None, traffic })
    }

    fn told(look: Look, wait: Wait, replies: Vec<Result<Reply, Exit>>) -> (String, Exit) {
        let (mut out, mut replies) = (Vec::new(), replies.into_iter().peekable());
        let mut next = || if replies.len() > 1 { replies.next() } else { replies.peek().cloned() }.unwrap();
        let exit = follow(wait, look, &mut out, Duration::ZERO, &mut next);
        (String::from_utf8(out).unwrap(), exit)
    }

    const WAIT: Wait = Wait { quiet: Duration::from_millis(20), most: Duration::from_millis(61_900) };

    #[test]
    fn it_says_what_it_waits_for_until_nothing_has_come_for_a_while() {
        let replies = vec![drained(true, 2, 1, 0.0), drained(true, 2, 1, 0.0), drained(true, 1, 0, 0.0), drained(true, 0, 0, 9.0)];
        let (text, exit) = told(Look::Plain, WAIT, replies);
        let expected = "\
waiting: 2 requests are with apps, 1 in the queue; at most 1 min 1 s more
waiting: 1 request is with an app; at most 1 min 1 s more
waiting: requests came until a moment ago; at most 1 min 1 s more
quiet: no request came for 0.0 s; 3 connections open
";
        assert_eq!((text.as_str(), exit), (expected, Exit::Done));
    }

    #[test]
    fn it_ends_in_time_and_says_what_is_left_by_its_status() {
        let hurried = Wait { most: Duration::from_millis(5), ..WAIT };
        assert_eq!(told(Look::Plain, hurried, vec![drained(true, 2, 0, 0.0)]).1, Exit::Busy);
        assert_eq!(told(Look::Plain, WAIT, vec![drained(true, 2, 0, 0.0), drained(false, 0, 0, 9.0)]).1, Exit::Bad);
        assert_eq!(told(Look::Plain, WAIT, vec![drained(true, 2, 0, 0.0), Err(Exit::NoServer)]).1, Exit::Stopped);
    }

    #[test]
    fn quiet_before_the_drain_does_not_count() {
        let begun = Instant::now();
        assert_eq!(told(Look::Json, WAIT, vec![drained(true, 0, 0, 9.0)]).1, Exit::Done);
        assert!(begun.elapsed() >= WAIT.quiet);
    }
}
