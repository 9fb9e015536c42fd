//! `rota requests` and `rota status --blocking`: which requests are with the apps, or hold processes that are to go.

use std::path::Path;

use super::Exit;
use super::hear::{ask, something_else};
use super::say::{Paint, columns, print};
use super::table::{Fit, brief_size, fitted, harmless, span};
use crate::control::proto::{InHand, Reply, Request, reply_line};

pub fn run(socket: &Path, app: Option<&str>, json: bool, paint: Paint) -> Exit {
    match ask(socket, &Request::Requests { app: app.map(str::to_owned), draining: false }) {
        Ok(reply) if json => print(&String::from_utf8_lossy(&reply_line(&reply))),
        Ok(Reply::Requests { requests, silent }) => print(&page(&requests, &silent, false, columns(), paint)),
        Ok(_) => something_else(),
        Err(exit) => exit,
    }
}

/// `draining`: only those that hold a process were asked for. The oldest first, as the server says them. `columns`: of the terminal.
pub fn page(requests: &[InHand], silent: &[String], draining: bool, columns: usize, paint: Paint) -> String {
    let mut text = match (requests.is_empty(), draining) {
        (true, true) if silent.is_empty() => "nothing drains, or nothing holds what drains\n".to_owned(),
        (true, false) if silent.is_empty() => "no request is with an app\n".to_owned(),
        (true, _) => String::new(),
        (false, _) => {
            fitted(&HEADING, &requests.iter().map(row).collect::<Vec<_>>(), &Fit { columns, indent: 0, spare: &SPARE, last: LINE })
        }
    };
    for process in silent {
        let process = harmless(process);
        text.push_str(&format!("{}\n", paint.bad(&format!("{process}: its thread did not answer; what it has in hand is not known"))));
    }
    text
}

fn row(request: &InHand) -> Vec<String> {
    let InHand { app, number, generation, class, line, client, seconds, received, unsent } = request;
    vec![
        format!("{app}/{number} {generation}"),
        harmless(class),
        span(*seconds),
        client.as_deref().map_or("-".to_owned(), harmless),
        brief_size(*received),
        brief_size(*unsent),
        harmless(line),
    ]
}

const HEADING: [&str; 7] = ["process", "class", ">age", "client", ">got", ">unsent", "request"];
/// What a narrow terminal does without first.
const SPARE: [&str; 4] = ["unsent", "got", "class", "client"];
/// So much of a request is worth more than these.
const LINE: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AppName, Generation, Number};

    fn request(line: &str, client: Option<&str>) -> InHand {
        InHand {
            app: AppName::new("blog").unwrap(),
            number: Number(2),
            generation: Generation(7),
            class: "request".to_owned(),
            line: line.to_owned(),
            client: client.map(str::to_owned),
            seconds: 72.4,
            received: 9780,
            unsent: 0,
        }
    }

    #[test]
    fn what_holds_a_drain_is_a_line_each() {
        let requests = [request("GET /report?month=11", Some("192.0.2.7:51000")), request("GET /\x1b[2J", None)];
        let expected = "\
process    class           age  client            got  unsent  request
blog/2 g7  request  1 min 12 s  192.0.2.7:51000  9.5K       0  GET /report?month=11
blog/2 g7  request  1 min 12 s  -                9.5K       0  GET /\\x1b[2J
";
        assert_eq!(page(&requests, &[], true, usize::MAX, Paint(false)), expected);
    }

    #[test]
    fn on_a_terminal_no_line_is_too_long_and_each_says_what_is_asked_for() {
        let long = format!("GET /search?q={}", "x".repeat(3000));
        let requests = [request(&long, Some("[2001:db8:85a3:8d3:1319:8a2e:370:7348]:51000")), request("GET /a", Some("unix"))];
        let lines = |columns: usize| page(&requests, &[], true, columns, Paint(false)).lines().map(str::to_owned).collect::<Vec<_>>();
        for columns in [60, 80, 120, 200] {
            let lines = lines(columns);
            assert!(lines.iter().all(|line| line.chars().count() <= columns), "{lines:#?}");
            assert!(
                lines[1].starts_with("blog/2 g7  ") && lines[1].contains("GET /search?q=xx") && lines[1].ends_with("..."),
                "{lines:#?}"
            );
            assert!(lines[2].ends_with("GET /a"), "{lines:#?}");
        }
        // A pipe has it whole.
        assert!(lines(usize::MAX)[1].ends_with(&long));
    }

    #[test]
    fn nothing_is_told_from_no_answer() {
        assert_eq!(page(&[], &[], true, 80, Paint(false)), "nothing drains, or nothing holds what drains\n");
        assert_eq!(page(&[], &[], false, 80, Paint(false)), "no request is with an app\n");
        let silent = ["blog/2 g7".to_owned()];
        let says = "blog/2 g7: its thread did not answer; what it has in hand is not known\n";
        assert_eq!(page(&[], &silent, true, 80, Paint(false)), says);
        assert!(page(&[request("GET /", None)], &silent, true, 80, Paint(false)).ends_with(says));
    }
}
