//! A client's connection and the apps' answers, carried as the I/O thread carries them: however both are cut, the same requests, those that
//! a second reader sees, and a client that reads with a plain reader gets each answer and nothing beside it.
//!
//! An input is what the client sends and, behind joints, what comes on one connection to the app after another.

use std::collections::VecDeque;

use rota::http::accept::Form;
use rota::http::exchange::body::BodyReader;
use rota::http::exchange::facts::RequestFacts;
use rota::http::exchange::failure::Then;
use rota::http::head::{self, HeaderRoom, Version};
use rota::http::refusal::{self, Refusal};

use super::carried::{self, Fate};
use super::second_reader::{self, Body, Reading};
use super::{JOINT, LIMITS, pieces};

pub fn check(bytes: &[u8]) {
    if bytes.len() > LARGEST {
        return;
    }
    let mut parts = bytes.split(|byte| *byte == JOINT);
    let client = parts.next().unwrap_or_default();
    let apps: Vec<&[u8]> = parts.collect();
    let whole = Talk::carry(Feed::new([client]), apps.iter().map(|app| Feed::new([*app])).collect());
    let cut = Talk::carry(Feed::new(pieces(client)), apps.iter().map(|app| Feed::new(pieces(app))).collect());
    let bytewise = Talk::carry(Feed::new(client.chunks(1)), apps.iter().map(|app| Feed::new(app.chunks(1))).collect());
    for talk in [&whole, &cut, &bytewise] {
        talk.is_what_a_second_reader_sees(client);
        talk.is_what_the_client_gets();
    }
    assert_eq!(cut.meaning(), whole.meaning(), "in pieces");
    assert_eq!(bytewise.meaning(), whole.meaning(), "byte by byte");
}

/// What a connection gives, read by read.
struct Feed<'a> {
    coming: VecDeque<&'a [u8]>,
    unread: Vec<u8>,
}

impl<'a> Feed<'a> {
    fn new(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self { coming: pieces.into_iter().collect(), unread: Vec::new() }
    }

    /// False: that was all.
    fn read(&mut self) -> bool {
        self.coming.pop_front().map(|piece| self.unread.extend_from_slice(piece)).is_some()
    }

    fn take(&mut self, bytes: usize) {
        self.unread.drain(..bytes);
    }

    fn rest(&self) -> usize {
        self.unread.len() + self.coming.iter().map(|piece| piece.len()).sum::<usize>()
    }
}

/// One connection of a client, from its first byte to its last.
#[derive(Default)]
struct Talk {
    requests: Vec<Asked>,
    answers: Vec<Answer>,
    /// What the client gets.
    output: Vec<u8>,
    end: Option<End>,
}

/// A request that was passed on.
#[derive(Debug, PartialEq)]
struct Asked {
    facts: RequestFacts,
    method: String,
    path: String,
    body: Vec<u8>,
    /// Bytes of the client's that stand behind it.
    behind: usize,
}

#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    body: Vec<u8>,
    head_only: bool,
    http11: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// The client says no more.
    Open,
    Refused,
    /// The request or its answer was the last.
    Closed,
    /// An answer breaks: its client is cut off, or, where nothing of it was out yet, which depends on how it came, told.
    Broken(Then),
    /// So many bytes of the client's and the app's are of another protocol.
    Switched(usize, usize),
}

impl Talk {
    fn carry(mut client: Feed<'_>, mut apps: VecDeque<Feed<'_>>) -> Self {
        let mut talk = Talk::default();
        let end = loop {
            if let Some(end) = talk.request(&mut client).or_else(|| talk.answer(&mut apps, &client)) {
                break end;
            }
        };
        talk.end = Some(end);
        talk
    }

    /// Reads one request with its body.
    fn request(&mut self, client: &mut Feed<'_>) -> Option<End> {
        let (used, facts, method, path) = loop {
            let mut room = HeaderRoom::new();
            match head::parse_request(&client.unread, &LIMITS, &mut room) {
                Ok(Some((head, used))) => match RequestFacts::of(&head) {
                    Ok(facts) => break (used, facts, head.method.to_owned(), head.path.to_owned()),
                    Err(refusal) => return Some(self.refuse(&refusal, head::is_to_head(&client.unread))),
                },
                Ok(None) => {}
                Err(refusal) => return Some(self.refuse(&refusal, head::is_to_head(&client.unread))),
            }
            if !client.read() {
                return Some(End::Open);
            }
        };
        client.take(used);
        let mut reader = BodyReader::for_request(&facts.body);
        let mut body = Vec::new();
        while !reader.is_done() {
            match reader.read(&client.unread) {
                Ok((taken, data)) => {
                    body.extend_from_slice(data);
                    client.take(taken);
                }
                Err(bad) => return Some(self.refuse(&Refusal::BadRequest(bad.reason()), facts.head_only)),
            }
            if client.unread.is_empty() && !reader.is_done() && !client.read() {
                assert!(reader.eof().is_err(), "a body that was cut off is never whole");
                return Some(End::Open);
            }
        }
        self.requests.push(Asked { facts, method, path, body, behind: client.rest() });
        None
    }

    fn refuse(&mut self, refusal: &Refusal, head_only: bool) -> End {
        assert!(refusal.must_close(), "where the next request begins nobody knows: {refusal:?}");
        self.own_answer(refusal, head_only, true, false);
        End::Refused
    }

    fn own_answer(&mut self, refusal: &Refusal, head_only: bool, http11: bool, keep: bool) {
        let start = self.output.len();
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let answer = refusal::Answer { date, head_only, keep, request_id: None, form: Form::Plain, page: None, plight: None };
        let behind = refusal.write(&mut self.output, &answer);
        self.output.extend_from_slice(behind);
        let head = self.output[start..].windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("an empty line") + 4;
        let body = self.output[start + head..].to_vec();
        self.answers.push(Answer { status: refusal.status(), body, head_only, http11 });
    }

    /// Answers the last request from the next connection to the app.
    fn answer(&mut self, apps: &mut VecDeque<Feed<'_>>, client: &Feed<'_>) -> Option<End> {
        let facts = self.requests.last().expect("it was read").facts.clone();
        let app = apps.pop_front().unwrap_or_else(|| Feed::new([]));
        let mut left = app.rest();
        let carried = carried::carry(&facts, app.coming.into_iter().inspect(|piece| left -= piece.len()));
        match carried.fate {
            // Nothing but interim responses is out.
            Fate::Bad => {
                self.output.extend_from_slice(&carried.output);
                return self.bad_gateway(&facts);
            }
            Fate::Broken(then) => {
                if then == Then::Cut {
                    self.output.extend_from_slice(&carried.output);
                }
                return Some(End::Broken(then));
            }
            Fate::Switched(behind) => {
                self.output.extend_from_slice(&carried.output);
                return Some(End::Switched(client.rest(), left + behind));
            }
            Fate::Whole { .. } => {}
        }
        self.output.extend_from_slice(&carried.output);
        let plan = carried.plan.expect("it is whole");
        let http11 = facts.version == Version::Http11;
        self.answers.push(Answer { status: plan.status, body: carried.body, head_only: facts.head_only, http11 });
        (!plan.keep_client).then_some(End::Closed)
    }

    fn bad_gateway(&mut self, facts: &RequestFacts) -> Option<End> {
        let http11 = facts.version == Version::Http11;
        self.own_answer(&Refusal::BadGateway("x"), facts.head_only, http11, facts.keep_alive);
        (!facts.keep_alive).then_some(End::Closed)
    }

    /// Of two faults in one head the one that is seen first names the status, which may depend on the cut.
    fn meaning(&self) -> (&[Asked], &[Answer], Option<End>) {
        let refused = usize::from(self.end == Some(End::Refused));
        let end = self.end.map(|end| if matches!(end, End::Broken(_)) { End::Broken(Then::Cut) } else { end });
        (&self.requests, &self.answers[..self.answers.len() - refused], end)
    }

    fn is_what_a_second_reader_sees(&self, client: &[u8]) {
        let mut at = 0;
        for asked in &self.requests {
            let Reading::Request(second) = second_reader::read(&client[at..]) else { panic!("the second reader sees no {asked:?}") };
            at += second.length;
            let body = match second.body {
                Body::None => Vec::new(),
                Body::Length(length) => {
                    at += length as usize;
                    client[at - length as usize..at].to_vec()
                }
                Body::Chunked(Ok(Some((data, length)))) => {
                    at += length;
                    data
                }
                Body::Chunked(Ok(None) | Err(_)) => panic!("the second reader sees no whole body of {asked:?}"),
            };
            assert_eq!((&second.method, &second.path, &body), (&asked.method, &asked.path, &asked.body));
            assert_eq!(client.len() - at, asked.behind, "bytes behind {asked:?}");
        }
        // Bytes behind a refusal are never a request.
        if self.end == Some(End::Refused) {
            assert_eq!(self.answers.len(), self.requests.len() + 1);
        }
    }

    /// A client that reads RFC 9112 plainly gets the answers, in order, whole, and no byte more.
    fn is_what_the_client_gets(&self) {
        let mut rest = self.output.as_slice();
        for answer in &self.answers {
            let (status, head) = read_final_head(&mut rest, answer.http11);
            assert_eq!(status, answer.status, "of {answer:?}");
            let body = read_body(&head, status, answer.head_only, &mut rest);
            assert_eq!(body, answer.body, "of {answer:?}");
        }
        match self.end {
            Some(End::Broken(Then::Cut) | End::Switched(..)) => {
                let facts = &self.requests.last().expect("what was answered").facts;
                let (status, _) = read_final_head(&mut rest, facts.version == Version::Http11);
                assert_eq!(status == 101, matches!(self.end, Some(End::Switched(..))));
            }
            Some(End::Open | End::Refused | End::Closed | End::Broken(_)) | None => assert_eq!(rest, b"", "behind the last answer"),
        }
    }
}

/// The next head that is no interim response, taken off `rest`.
fn read_final_head(rest: &mut &[u8], http11: bool) -> (u16, String) {
    loop {
        let end = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a whole head") + 4;
        let head: String = rest[..end].iter().map(|byte| char::from(*byte)).collect();
        *rest = &rest[end..];
        let status: u16 =
            head.strip_prefix("HTTP/1.1 ").and_then(|line| line.get(..3)).and_then(|code| code.parse().ok()).expect("a status");
        if status >= 200 || status == 101 {
            return (status, head.to_ascii_lowercase());
        }
        assert!(http11 && status != 100, "an interim response that this client must not or need not see");
    }
}

fn read_body(head: &str, status: u16, head_only: bool, rest: &mut &[u8]) -> Vec<u8> {
    if head_only || status == 204 || status == 304 {
        return Vec::new();
    }
    let value = |name: &str| head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let length = match (value("transfer-encoding"), value("content-length")) {
        (Some("chunked"), None) => {
            let message = [CHUNKED, rest].concat();
            let Reading::Request(request) = second_reader::read(&message) else { panic!("its head is well-formed") };
            let Body::Chunked(Ok(Some((data, length)))) = request.body else { panic!("no whole chunked body: {:?}", request.body) };
            *rest = &rest[length..];
            return data;
        }
        (None, Some(length)) => length.parse().expect("digits"),
        (None, None) => rest.len(),
        (coding, length) => panic!("{coding:?} and {length:?}"),
    };
    let (body, behind) = rest.split_at_checked(length).expect("a whole body");
    *rest = behind;
    body.to_vec()
}

const CHUNKED: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
/// Less than any limit that the second reader knows differently (bytes).
const LARGEST: usize = 4096;
