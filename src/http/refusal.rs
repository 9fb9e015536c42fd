//! What a client is told when there is no answer from the app: with [`Cut`] the one place that turns causes into what people see.

use std::io::Write;

use super::accept::Form;
use super::cut::Cut;
use super::error_page::{Page, Plight, Text};
use super::put::put;

/// Why a request is not answered by the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    BadRequest(&'static str),
    HeadTooLarge,
    TooManyHeaders,
    TargetTooLong,
    BodyTooLarge,
    ExpectationFailed,
    NotImplemented(&'static str),
    VersionNotSupported,
    MethodNotAllowed,
    HeadTimeout,
    BodyTimeout,
    BodyTooSlow,
    BodyHeldRoom,
    NoApp,
    BrokenApp,
    QueueFull,
    QueueTimeout,
    TooManyConnections,
    /// For a connection to the app.
    NoDescriptor,
    Stopping,
    BadGateway(&'static str),
    /// An exchange with an app ended before it began to answer.
    Cut(Cut),
    InsufficientStorage,
}

/// What an answer depends on beside its cause.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a, 'p> {
    /// For the Date field.
    pub date: &'a str,
    /// It answers a HEAD request.
    pub head_only: bool,
    /// The connection goes on after it.
    pub keep: bool,
    /// None: the request has none, because its head is not whole.
    pub request_id: Option<&'a str>,
    /// What the client reads.
    pub form: Form,
    /// Sent instead of our own text, unless the client asks for JSON and this is none.
    pub page: Option<&'p Page>,
    /// Told to whoever may know it; goes before any page.
    pub plight: Option<&'a Plight>,
}

/// Who has to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    Client,
    App,
    Server,
}

impl Blame {
    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Blame::Client => "client",
            Blame::App => "app",
            Blame::Server => "server",
        }
    }
}

impl Refusal {
    /// RFC 9110 section 15; 431 is RFC 6585 section 5, 507 RFC 4918 section 11.5.
    pub fn status(&self) -> u16 {
        match self {
            Refusal::BadRequest(_) => 400,
            Refusal::NoApp => 404,
            Refusal::MethodNotAllowed => 405,
            Refusal::HeadTimeout | Refusal::BodyTimeout | Refusal::BodyTooSlow | Refusal::BodyHeldRoom => 408,
            Refusal::BodyTooLarge => 413,
            Refusal::TargetTooLong => 414,
            Refusal::ExpectationFailed => 417,
            Refusal::HeadTooLarge | Refusal::TooManyHeaders => 431,
            Refusal::NotImplemented(_) => 501,
            Refusal::BadGateway(_) => 502,
            Refusal::QueueFull | Refusal::TooManyConnections | Refusal::NoDescriptor | Refusal::Stopping | Refusal::BrokenApp => 503,
            Refusal::QueueTimeout => 504,
            Refusal::Cut(cut) => cut.status(),
            Refusal::VersionNotSupported => 505,
            Refusal::InsufficientStorage => 507,
        }
    }

    /// One sentence for the log.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::BadRequest(reason) | Refusal::NotImplemented(reason) | Refusal::BadGateway(reason) => reason,
            Refusal::HeadTooLarge => "the head is larger than limits.head",
            Refusal::TooManyHeaders => "more header fields than limits.headers",
            Refusal::TargetTooLong => "the target is longer than limits.target",
            Refusal::BodyTooLarge => "the body is larger than the app's limits.body",
            Refusal::ExpectationFailed => "Expect asks for something else than 100-continue",
            Refusal::VersionNotSupported => "not HTTP/1.0 or HTTP/1.1",
            Refusal::MethodNotAllowed => "CONNECT and TRACE are not for a server behind which apps run",
            Refusal::HeadTimeout => "the head was not whole within timeouts.head",
            Refusal::BodyTimeout => "the body stood still for timeouts.body",
            Refusal::BodyTooSlow => "the body came slower than limits.body_rate",
            Refusal::BodyHeldRoom => "the body came too slowly, and others needed its room of server.spool_max",
            Refusal::NoApp => "no app serves this host and path",
            Refusal::BrokenApp => "the app is not served, because its description has a mistake (rota check)",
            Refusal::QueueFull => "the app's queue is full",
            Refusal::QueueTimeout => "waited in the app's queue for queue.timeout",
            Refusal::TooManyConnections => "limits.connections is reached",
            Refusal::NoDescriptor => "rota has no descriptor left for a connection to the app (RLIMIT_NOFILE)",
            Refusal::Stopping => "the server is stopping",
            Refusal::Cut(cut) => cut.reason(),
            Refusal::InsufficientStorage => "there is no room to keep the request body",
        }
    }

    /// Of [`CAUSES`], for those who count.
    pub fn number(&self) -> usize {
        match self {
            Refusal::Cut(cut) => KINDS.len() + *cut as usize,
            other => KINDS.iter().position(|kind| std::mem::discriminant(kind) == std::mem::discriminant(other)).unwrap_or_default(),
        }
    }

    /// All that there are, by their number.
    pub fn all() -> impl Iterator<Item = Refusal> {
        KINDS.into_iter().chain(Cut::ALL.into_iter().map(Refusal::Cut))
    }

    /// One word, for programs.
    pub fn label(&self) -> &'static str {
        match self {
            Refusal::BadRequest(_) => "bad_request",
            Refusal::HeadTooLarge => "head_too_large",
            Refusal::TooManyHeaders => "too_many_headers",
            Refusal::TargetTooLong => "target_too_long",
            Refusal::BodyTooLarge => "body_too_large",
            Refusal::ExpectationFailed => "expectation_failed",
            Refusal::NotImplemented(_) => "not_implemented",
            Refusal::VersionNotSupported => "version_not_supported",
            Refusal::MethodNotAllowed => "method_not_allowed",
            Refusal::HeadTimeout => "head_timeout",
            Refusal::BodyTimeout => "body_timeout",
            Refusal::BodyTooSlow => "body_too_slow",
            Refusal::BodyHeldRoom => "body_held_room",
            Refusal::NoApp => "no_app",
            Refusal::BrokenApp => "broken_app",
            Refusal::QueueFull => "queue_full",
            Refusal::QueueTimeout => "queue_timeout",
            Refusal::TooManyConnections => "too_many_connections",
            Refusal::NoDescriptor => "no_descriptor",
            Refusal::Stopping => "stopping",
            Refusal::BadGateway(_) => "bad_answer",
            Refusal::Cut(cut) => cut.label(),
            Refusal::InsufficientStorage => "no_room_for_body",
        }
    }

    pub fn blame(&self) -> Blame {
        match self {
            Refusal::BadRequest(_)
            | Refusal::HeadTooLarge
            | Refusal::TooManyHeaders
            | Refusal::TargetTooLong
            | Refusal::BodyTooLarge
            | Refusal::ExpectationFailed
            | Refusal::NotImplemented(_)
            | Refusal::VersionNotSupported
            | Refusal::MethodNotAllowed
            | Refusal::HeadTimeout
            | Refusal::BodyTimeout
            | Refusal::BodyTooSlow
            | Refusal::BodyHeldRoom
            | Refusal::NoApp => Blame::Client,
            Refusal::QueueFull | Refusal::QueueTimeout | Refusal::BadGateway(_) => Blame::App,
            Refusal::Cut(cut) => cut.blame(),
            Refusal::TooManyConnections | Refusal::NoDescriptor | Refusal::Stopping | Refusal::InsufficientStorage | Refusal::BrokenApp => {
                Blame::Server
            }
        }
    }

    /// Whether the connection has to end: its framing is in doubt, or part of the request is unread (RFC 9112 9.6).
    pub fn must_close(&self) -> bool {
        match self {
            Refusal::NoApp
            | Refusal::BrokenApp
            | Refusal::QueueFull
            | Refusal::QueueTimeout
            | Refusal::NoDescriptor
            | Refusal::BadGateway(_)
            | Refusal::Cut(_) => false,
            Refusal::BadRequest(_)
            | Refusal::HeadTooLarge
            | Refusal::TooManyHeaders
            | Refusal::TargetTooLong
            | Refusal::BodyTooLarge
            | Refusal::ExpectationFailed
            | Refusal::NotImplemented(_)
            | Refusal::VersionNotSupported
            | Refusal::MethodNotAllowed
            | Refusal::HeadTimeout
            | Refusal::BodyTimeout
            | Refusal::BodyTooSlow
            | Refusal::BodyHeldRoom
            | Refusal::TooManyConnections
            | Refusal::Stopping
            | Refusal::InsufficientStorage => true,
        }
    }

    fn phrase(&self) -> &'static str {
        let status = self.status();
        STATUSES.iter().find(|(known, _)| *known == status).map_or("", |(_, phrase)| phrase)
    }

    /// For a visitor, who knows nothing of servers: what is the matter, and what to do about it.
    fn said(&self) -> (&'static str, &'static str) {
        match self {
            Refusal::BadRequest(_) => ("This request could not be understood", "It was not well-formed, or damaged on its way."),
            Refusal::HeadTooLarge | Refusal::TooManyHeaders => {
                ("The header of this request is too large", "Deleting the cookies of this site may help.")
            }
            Refusal::TargetTooLong => ("This address is too long", "Please check the link that led here."),
            Refusal::BodyTooLarge => ("This is too large", "The site does not take that much at once."),
            Refusal::NotImplemented(_) | Refusal::MethodNotAllowed | Refusal::ExpectationFailed => {
                ("This kind of request is not possible here", "The server does not know or not allow it.")
            }
            Refusal::VersionNotSupported => {
                ("This kind of request is not possible here", "It is in a version of HTTP that is not spoken here.")
            }
            Refusal::HeadTimeout | Refusal::BodyTimeout | Refusal::BodyTooSlow | Refusal::BodyHeldRoom => {
                ("The request took too long", "It did not arrive in time. Please check the connection and try again.")
            }
            Refusal::NoApp => ("There is nothing here", "No site is at this address. Please check the link that led here."),
            Refusal::QueueFull | Refusal::TooManyConnections => {
                ("This site is very busy", "It cannot take more visitors right now. Please try again in a moment.")
            }
            Refusal::NoDescriptor | Refusal::Stopping | Refusal::BrokenApp => {
                ("This site is not available right now", "Please try again in a moment.")
            }
            Refusal::BadGateway(_) => ("This site is having a problem", "It gave no proper answer. Please try again in a moment."),
            Refusal::QueueTimeout => Cut::AppSilent.said(),
            Refusal::Cut(cut) => cut.said(),
            Refusal::InsufficientStorage => ("There is no room for this right now", "Please try again later, or send less at once."),
        }
    }

    /// Writes the response to `out`. What is returned goes behind it: a page, which may be large and is not copied.
    pub fn write<'p>(&self, out: &mut Vec<u8>, answer: &Answer<'_, 'p>) -> &'p [u8] {
        let (status, phrase) = (self.status(), self.phrase());
        let page = answer.page.filter(|page| answer.plight.is_none() && page.suits(answer.form));
        let own = page.is_none().then(|| {
            let (heading, advice) = self.said();
            let text = Text { status, phrase, heading, advice, request_id: answer.request_id, plight: answer.plight };
            text.write(answer.form)
        });
        let (own, media_type) = match (&own, page) {
            (Some((body, media_type)), _) => (body.as_bytes(), *media_type),
            (None, page) => (&[][..], page.map_or("", Page::media_type)),
        };
        let page = page.map_or(&[][..], |page| page.body.as_bytes());
        let written = write!(
            out,
            "HTTP/1.1 {status} {phrase}\r\nDate: {}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\
             X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n",
            answer.date,
            own.len() + page.len(),
        );
        debug_assert!(written.is_ok(), "writing to memory does not fail");
        if let Some(id) = answer.request_id {
            put(out, &["X-Request-Id: ", id, "\r\n"]);
        }
        if status == 503 {
            put(out, &["Retry-After: 1\r\n"]);
        }
        if *self == Refusal::MethodNotAllowed {
            put(out, &["Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"]);
        }
        // Said aloud in both cases: a client of HTTP/1.0 keeps a connection only if told so (RFC 9112 9.3).
        put(out, &[if answer.keep { "Connection: keep-alive\r\n\r\n" } else { "Connection: close\r\n\r\n" }]);
        if answer.head_only {
            return &[];
        }
        out.extend_from_slice(own);
        page
    }
}

/// All that rota itself answers with, and the phrases of the status line.
pub const STATUSES: [(u16, &str); 14] = [
    (400, "Bad Request"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (408, "Request Timeout"),
    (413, "Content Too Large"),
    (414, "URI Too Long"),
    (417, "Expectation Failed"),
    (431, "Request Header Fields Too Large"),
    (501, "Not Implemented"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (504, "Gateway Timeout"),
    (505, "HTTP Version Not Supported"),
    (507, "Insufficient Storage"),
];

/// How many causes there are.
pub const CAUSES: usize = KINDS.len() + Cut::ALL.len();

/// One of each kind, but for [`Refusal::Cut`].
const KINDS: [Refusal; 22] = [
    Refusal::BadRequest(""),
    Refusal::HeadTooLarge,
    Refusal::TooManyHeaders,
    Refusal::TargetTooLong,
    Refusal::BodyTooLarge,
    Refusal::ExpectationFailed,
    Refusal::NotImplemented(""),
    Refusal::VersionNotSupported,
    Refusal::MethodNotAllowed,
    Refusal::HeadTimeout,
    Refusal::BodyTimeout,
    Refusal::BodyTooSlow,
    Refusal::BodyHeldRoom,
    Refusal::NoApp,
    Refusal::BrokenApp,
    Refusal::QueueFull,
    Refusal::QueueTimeout,
    Refusal::TooManyConnections,
    Refusal::NoDescriptor,
    Refusal::Stopping,
    Refusal::BadGateway(""),
    Refusal::InsufficientStorage,
];

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: Answer<'static, 'static> =
        Answer { date: "now", head_only: false, keep: true, request_id: None, form: Form::Plain, page: None, plight: None };

    const ALL: [Refusal; 22] = [
        Refusal::BadRequest("secret"),
        Refusal::HeadTooLarge,
        Refusal::TooManyHeaders,
        Refusal::TargetTooLong,
        Refusal::BodyTooLarge,
        Refusal::ExpectationFailed,
        Refusal::NotImplemented("secret"),
        Refusal::VersionNotSupported,
        Refusal::MethodNotAllowed,
        Refusal::HeadTimeout,
        Refusal::BodyTimeout,
        Refusal::BodyTooSlow,
        Refusal::BodyHeldRoom,
        Refusal::NoApp,
        Refusal::BrokenApp,
        Refusal::QueueFull,
        Refusal::QueueTimeout,
        Refusal::TooManyConnections,
        Refusal::NoDescriptor,
        Refusal::Stopping,
        Refusal::BadGateway("secret"),
        Refusal::InsufficientStorage,
    ];

    /// Head and body, whose length is what the head says.
    fn written(refusal: Refusal, answer: &Answer<'_, '_>) -> (String, String) {
        let mut out = Vec::new();
        let behind = refusal.write(&mut out, answer);
        out.extend_from_slice(behind);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(answer.head_only || head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{text}");
        (head.to_owned(), body.to_owned())
    }

    #[test]
    fn every_cause_has_a_number_and_a_word_of_its_own() {
        let all: Vec<Refusal> = Refusal::all().collect();
        assert_eq!(all.iter().map(Refusal::number).collect::<Vec<_>>(), (0..CAUSES).collect::<Vec<_>>());
        for (at, cause) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other.label() != cause.label()), "{cause:?}");
            assert!(cause.label().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{cause:?}");
        }
        // A kind that is not in the list would be taken for the first.
        assert_eq!(
            (Refusal::BadRequest("x").number(), Refusal::NotImplemented("x").number(), Refusal::BadGateway("x").number()),
            (0, 6, 20)
        );
    }

    #[test]
    fn a_full_queue_says_when_to_come_again_and_keeps_the_connection() {
        let (head, body) = written(Refusal::QueueFull, &Answer { request_id: Some("7f"), ..ANSWER });
        assert_eq!(
            head,
            "HTTP/1.1 503 Service Unavailable\r\nDate: now\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 133\r\n\
             X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nX-Request-Id: 7f\r\nRetry-After: 1\r\nConnection: keep-alive"
        );
        let said = "This site is very busy. It cannot take more visitors right now. Please try again in a moment.";
        assert_eq!(body, format!("503 Service Unavailable\n{said}\nRequest id: 7f\n"));
    }

    #[test]
    fn an_answer_to_head_has_the_length_and_no_body() {
        let page = Page { form: Form::Html, body: "<p>".into() };
        for form in [Form::Plain, Form::Html, Form::Json] {
            for page in [None, Some(&page)] {
                let answer = Answer { form, page, ..ANSWER };
                let (whole, head_only) = (written(Refusal::NoApp, &answer), written(Refusal::NoApp, &Answer { head_only: true, ..answer }));
                assert_eq!(head_only, (whole.0, String::new()));
            }
        }
    }

    #[test]
    fn every_refusal_has_its_phrase_and_words_and_tells_nobody_its_cause() {
        for refusal in ALL.into_iter().chain(Cut::ALL.map(Refusal::Cut)) {
            for form in [Form::Plain, Form::Html, Form::Json] {
                let (head, body) = written(refusal, &Answer { form, ..ANSWER });
                assert!(
                    !refusal.phrase().is_empty() && head.starts_with(&format!("HTTP/1.1 {} {}\r\n", refusal.status(), refusal.phrase()))
                );
                assert!(body.contains(refusal.said().0) && !body.contains(refusal.reason()), "{body}");
                assert!(body.len() < 1536, "{} bytes", body.len());
            }
        }
    }

    #[test]
    fn a_plight_goes_before_a_page_and_a_page_before_our_own_text() {
        let page = Page { form: Form::Html, body: "the page".into() };
        let plight = Plight { facts: vec![("failure", "the plight".to_owned())], output: Vec::new() };
        let said = |form, page, plight| written(Refusal::QueueTimeout, &Answer { form, page, plight, ..ANSWER }).1;
        assert_eq!(said(Form::Plain, Some(&page), None), "the page");
        assert!(said(Form::Json, Some(&page), None).starts_with("{\"type\""));
        assert!(said(Form::Html, Some(&page), Some(&plight)).contains("the plight"));
    }
}
