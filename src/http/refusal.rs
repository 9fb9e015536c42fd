//! What a client is told when there is no answer from the app: the one place that turns causes into what people see.

use std::io::Write;

/// Why a request is not answered by the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    BadRequest(&'static str),
    HeadTooLarge,
    TooManyHeaders,
    TargetTooLong,
    BodyTooLarge,
    NotImplemented(&'static str),
    VersionNotSupported,
    MethodNotAllowed,
    HeadTimeout,
    BodyTimeout,
    NoApp,
    QueueFull,
    QueueTimeout,
    TooManyConnections,
    NoProcess,
    Stopping,
    BadGateway(&'static str),
    AppTimeout,
    InsufficientStorage,
}

/// Who has to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    Client,
    App,
    Server,
}

impl Refusal {
    /// RFC 9110 section 15; 431 is RFC 6585 section 5, 507 RFC 4918 section 11.5.
    pub fn status(&self) -> u16 {
        match self {
            Refusal::BadRequest(_) => 400,
            Refusal::NoApp => 404,
            Refusal::MethodNotAllowed => 405,
            Refusal::HeadTimeout | Refusal::BodyTimeout => 408,
            Refusal::BodyTooLarge => 413,
            Refusal::TargetTooLong => 414,
            Refusal::HeadTooLarge | Refusal::TooManyHeaders => 431,
            Refusal::NotImplemented(_) => 501,
            Refusal::BadGateway(_) => 502,
            Refusal::QueueFull | Refusal::TooManyConnections | Refusal::NoProcess | Refusal::Stopping => 503,
            Refusal::QueueTimeout | Refusal::AppTimeout => 504,
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
            Refusal::VersionNotSupported => "not HTTP/1.0 or HTTP/1.1",
            Refusal::MethodNotAllowed => "CONNECT and TRACE are not for a server behind which apps run",
            Refusal::HeadTimeout => "the head was not whole within timeouts.head",
            Refusal::BodyTimeout => "the body stood still for timeouts.body",
            Refusal::NoApp => "no app serves this host and path",
            Refusal::QueueFull => "the app's queue is full",
            Refusal::QueueTimeout => "waited in the app's queue for queue.timeout",
            Refusal::TooManyConnections => "limits.connections is reached",
            Refusal::NoProcess => "no process of the app can be reached",
            Refusal::Stopping => "the server is stopping",
            Refusal::AppTimeout => "the app did not answer in time",
            Refusal::InsufficientStorage => "there is no room to keep the request body",
        }
    }

    pub fn blame(&self) -> Blame {
        match self {
            Refusal::BadRequest(_)
            | Refusal::HeadTooLarge
            | Refusal::TooManyHeaders
            | Refusal::TargetTooLong
            | Refusal::BodyTooLarge
            | Refusal::NotImplemented(_)
            | Refusal::VersionNotSupported
            | Refusal::MethodNotAllowed
            | Refusal::HeadTimeout
            | Refusal::BodyTimeout
            | Refusal::NoApp => Blame::Client,
            Refusal::QueueFull | Refusal::QueueTimeout | Refusal::BadGateway(_) | Refusal::AppTimeout | Refusal::NoProcess => Blame::App,
            Refusal::TooManyConnections | Refusal::Stopping | Refusal::InsufficientStorage => Blame::Server,
        }
    }

    /// Whether the connection has to end: its framing is in doubt, or part of the request is unread (RFC 9112 9.6).
    pub fn must_close(&self) -> bool {
        match self {
            Refusal::NoApp
            | Refusal::QueueFull
            | Refusal::QueueTimeout
            | Refusal::NoProcess
            | Refusal::BadGateway(_)
            | Refusal::AppTimeout => false,
            Refusal::BadRequest(_)
            | Refusal::HeadTooLarge
            | Refusal::TooManyHeaders
            | Refusal::TargetTooLong
            | Refusal::BodyTooLarge
            | Refusal::NotImplemented(_)
            | Refusal::VersionNotSupported
            | Refusal::MethodNotAllowed
            | Refusal::HeadTimeout
            | Refusal::BodyTimeout
            | Refusal::TooManyConnections
            | Refusal::Stopping
            | Refusal::InsufficientStorage => true,
        }
    }

    fn phrase(&self) -> &'static str {
        match self.status() {
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            413 => "Content Too Large",
            414 => "URI Too Long",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            _ => "Insufficient Storage",
        }
    }

    /// The whole response. `keep`: the connection goes on after it; `head_only`: it answers a HEAD request.
    pub fn write(&self, out: &mut Vec<u8>, date: &str, head_only: bool, keep: bool) {
        let (status, phrase) = (self.status(), self.phrase());
        let body = format!("{status} {phrase}\n");
        let retry = match self {
            Refusal::QueueFull | Refusal::TooManyConnections | Refusal::NoProcess | Refusal::Stopping => "Retry-After: 1\r\n",
            _ => "",
        };
        let allow = if *self == Refusal::MethodNotAllowed { "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n" } else { "" };
        // Said aloud in both cases: a client of HTTP/1.0 keeps a connection only if told so (RFC 9112 9.3).
        let connection = if keep { "Connection: keep-alive\r\n" } else { "Connection: close\r\n" };
        let written = write!(
            out,
            "HTTP/1.1 {status} {phrase}\r\nDate: {date}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{retry}{allow}{connection}\r\n{}",
            body.len(),
            if head_only { "" } else { &body },
        );
        debug_assert!(written.is_ok(), "writing to memory does not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_says_when_to_come_again_and_keeps_the_connection() {
        let mut out = Vec::new();
        Refusal::QueueFull.write(&mut out, "Tue, 24 Nov 2026 08:32:36 GMT", false, true);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 503 Service Unavailable\r\nDate: Tue, 24 Nov 2026 08:32:36 GMT\r\nContent-Type: text/plain\r\nContent-Length: 24\r\n\
             Cache-Control: no-store\r\nRetry-After: 1\r\nConnection: keep-alive\r\n\r\n503 Service Unavailable\n"
        );
    }

    #[test]
    fn an_answer_to_head_has_the_length_and_no_body() {
        let mut out = Vec::new();
        Refusal::BadRequest("x").write(&mut out, "now", true, false);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("Content-Length: 16\r\n") && text.ends_with("Connection: close\r\n\r\n"), "{text}");
    }
}
