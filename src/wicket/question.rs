//! What is asked at the wicket, and how an answer looks. No sockets.

use super::Asks;
use crate::metrics::page::Form;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Standing,
    Metrics { form: Form, is_head: bool },
}

/// What came so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    NotYet,
    Question(Question),
    /// There is no such thing here: the status of that.
    Wrong(&'static str),
}

/// Reads a question. Whoever asks the agent need not say anything: what HAProxy may send first (`agent-send`) is nothing to us.
pub fn question(asks: Asks, input: &[u8]) -> Asked {
    match asks {
        Asks::Agent => Asked::Question(Question::Standing),
        Asks::Metrics => scrape(input),
    }
}

/// `GET /metrics HTTP/1.1`.
fn scrape(input: &[u8]) -> Asked {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(input) {
        Ok(httparse::Status::Partial) => return Asked::NotYet,
        Ok(httparse::Status::Complete(_)) => {}
        Err(_) => return Asked::Wrong("400 Bad Request"),
    }
    let path = request.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let is_head = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        Some(_) | None => return Asked::Wrong("405 Method Not Allowed"),
    };
    if path != "/metrics" {
        return Asked::Wrong("404 Not Found");
    }
    let accept = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("accept"));
    let accept: Vec<_> = accept.map(|header| String::from_utf8_lossy(header.value)).collect();
    Asked::Question(Question::Metrics { form: Form::wanted(&accept.join(",")), is_head })
}

pub fn answer(status: &str, content_type: &str, text: &str, is_head: bool) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
        text.len()
    );
    [head.as_bytes(), if is_head { b"" } else { text.as_bytes() }].concat()
}

/// A scraper sends five or six.
const HEADERS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_is_understood_wherever_its_question_is_cut() {
        let whole = b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\nAccept: text/plain\r\naccept: application/openmetrics-text\r\n\r\n";
        for cut in 0..whole.len() {
            assert_eq!(question(Asks::Metrics, &whole[..cut]), Asked::NotYet, "cut at {cut}");
        }
        let asked = Question::Metrics { form: Form::OpenMetrics, is_head: false };
        assert_eq!(question(Asks::Metrics, whole), Asked::Question(asked));
    }

    #[test]
    fn anything_else_is_told_so() {
        for (text, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("GET http://x/metrics HTTP/1.1\r\n\r\n", "404 Not Found"),
            ("POST /metrics HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", "405 Method Not Allowed"),
            ("\x16\x03\x01", "400 Bad Request"),
            ("GET /metrics\r\n\r\n", "400 Bad Request"),
        ] {
            assert_eq!(question(Asks::Metrics, text.as_bytes()), Asked::Wrong(status), "{text:?}");
        }
        assert_eq!(question(Asks::Agent, b"whatever"), Asked::Question(Question::Standing));
    }

    #[test]
    fn the_answer_to_a_head_has_its_length_and_no_body() {
        let text = String::from_utf8(answer("200 OK", "text/plain", "12345", true)).unwrap();
        assert!(text.contains("\r\nContent-Length: 5\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    }
}
