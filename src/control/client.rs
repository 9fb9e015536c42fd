//! The commands' side of the control socket: one request, its replies. Blocks, with limits, on whatever thread calls it.

use std::fmt;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::proto::{Reply, Request, parse_reply, request_line};

/// A request that was sent. The connection ends with it.
#[derive(Debug)]
pub struct Conversation {
    path: PathBuf,
    replies: BufReader<UnixStream>,
    patience: Duration,
}

/// Why there is no reply. `Display` is a sentence for the user.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody listens there.
    NoServer { path: PathBuf },
    /// We may not connect.
    Denied { path: PathBuf },
    /// Somebody listens, but says nothing.
    Silent { path: PathBuf, patience: Duration },
    /// What comes is not what a rota says.
    Garbled { path: PathBuf, why: String },
    /// Anything else that the system says.
    Io { path: PathBuf, error: io::Error },
}

impl Conversation {
    /// Connects and sends. The server must take the connection, and say its first word, within 10 s.
    pub fn start(path: &Path, request: &Request) -> Result<Self, ClientError> {
        Self::start_within(path, request, PATIENCE)
    }

    fn start_within(path: &Path, request: &Request, patience: Duration) -> Result<Self, ClientError> {
        let fails = |error: io::Error| ClientError::connecting(path, error, patience);
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).map_err(fails)?;
        // For a Unix socket this is also the limit of connect, which waits where the backlog is full (unix(7)).
        socket.set_write_timeout(Some(patience)).map_err(fails)?;
        socket.set_read_timeout(Some(patience)).map_err(fails)?;
        socket.connect(&socket2::SockAddr::unix(path).map_err(fails)?).map_err(fails)?;
        let mut stream = UnixStream::from(socket);
        match stream.write_all(&request_line(request)) {
            // It was turned away; the reason may lie there to be read.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            sent => sent.map_err(fails)?,
        }
        Ok(Self { path: path.to_owned(), replies: BufReader::new(stream), patience })
    }

    /// The next reply; None: the server ended the connection. After the first there is no limit: a drain takes the time that it takes.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, ClientError> {
        let path = || self.path.clone();
        let mut line = Vec::new();
        match self.replies.by_ref().take(MAX_REPLY).read_until(b'\n', &mut line) {
            Ok(_) if line.is_empty() => return Ok(None),
            Ok(_) if line.last() == Some(&b'\n') => {}
            Ok(count) if u64::try_from(count) == Ok(MAX_REPLY) => {
                return Err(ClientError::Garbled { path: path(), why: format!("a line of more than {MAX_REPLY} bytes") });
            }
            Ok(_) => return Err(ClientError::Garbled { path: path(), why: "a line without an end".to_owned() }),
            // It ended without reading all that we sent.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(ClientError::Silent { path: path(), patience: self.patience });
            }
            Err(error) => return Err(ClientError::Io { path: path(), error }),
        }
        let reply = parse_reply(&line).map_err(|error| ClientError::Garbled { path: path(), why: error.to_string() })?;
        self.replies.get_ref().set_read_timeout(None).map_err(|error| ClientError::Io { path: path(), error })?;
        Ok(Some(reply))
    }
}

impl ClientError {
    fn connecting(path: &Path, error: io::Error, patience: Duration) -> Self {
        let path = path.to_owned();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NoServer { path },
            ErrorKind::PermissionDenied => ClientError::Denied { path },
            ErrorKind::WouldBlock | ErrorKind::TimedOut => ClientError::Silent { path, patience },
            _ => ClientError::Io { path, error },
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::NoServer { path } => write!(f, "no rota answers on {}: is it running?", path.display()),
            ClientError::Denied { path } => {
                write!(f, "permission denied on {}: only the user that rota runs as, root and operators of an app may", path.display())
            }
            ClientError::Silent { path, patience } => {
                write!(f, "rota on {} did not answer within {} s", path.display(), patience.as_secs_f64())
            }
            ClientError::Garbled { path, why } => write!(f, "what answers on {} is no rota of this version: {why}", path.display()),
            ClientError::Io { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for ClientError {}

/// The server's loop answers within milliseconds, unless the machine is swapping.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of one reply; a status of a thousand processes has a quarter of a million.
const MAX_REPLY: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    const STATUS: Request = Request::Status { app: None };

    /// What a client hears from a server that reads a line, says this and hangs up.
    fn hears(said: &'static [u8]) -> Vec<Result<Option<Reply>, String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            assert_eq!(line, "{\"app\":null,\"do\":\"status\",\"v\":1}\n");
            (&stream).write_all(said).unwrap();
        });
        let mut conversation = Conversation::start(&path, &STATUS).unwrap();
        let mut heard = Vec::new();
        loop {
            let reply = conversation.next_reply().map_err(|error| error.to_string().replace(&path.display().to_string(), "PATH"));
            let over = !matches!(reply, Ok(Some(_)));
            heard.push(reply);
            if over {
                server.join().unwrap();
                return heard;
            }
        }
    }

    #[test]
    fn replies_come_one_by_one_until_the_end() {
        let error = Reply::Error { message: "no".to_owned() };
        assert_eq!(
            hears(b"{\"event\":\"stopping\"}\n{\"event\":\"error\",\"message\":\"no\"}\n"),
            [Ok(Some(Reply::Stopping)), Ok(Some(error)), Ok(None)]
        );
    }

    #[test]
    fn what_is_no_reply_is_said_so() {
        for (said, why) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], "expected value at line 1 column 1"),
            (b"{\"event\":\"surprise\"}\n", "unknown variant `surprise`"),
            (b"{\"event\":\"stopping\"", "a line without an end"),
        ] {
            let heard = hears(said);
            let [Err(error)] = &heard[..] else { panic!("{heard:?}") };
            assert!(error.starts_with("what answers on PATH is no rota of this version: "), "{error}");
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn nobody_there_is_told_from_nobody_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing.sock");
        let left = dir.path().join("left.sock");
        drop(UnixListener::bind(&left).unwrap());
        for path in [&missing, &left] {
            let error = Conversation::start(path, &STATUS).unwrap_err();
            assert!(matches!(error, ClientError::NoServer { .. }), "{error:?}");
            assert_eq!(error.to_string(), format!("no rota answers on {}: is it running?", path.display()));
        }
        let denied = ClientError::connecting(&missing, ErrorKind::PermissionDenied.into(), PATIENCE).to_string();
        assert_eq!(
            denied,
            format!("permission denied on {}: only the user that rota runs as, root and operators of an app may", missing.display())
        );
        if !rustix::process::geteuid().is_root() {
            let closed = dir.path().join("closed.sock");
            let _listener = UnixListener::bind(&closed).unwrap();
            std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
            let error = Conversation::start(&closed, &STATUS).unwrap_err();
            assert!(matches!(error, ClientError::Denied { .. }), "{error:?}");
        }
    }

    #[test]
    fn a_server_that_stands_still_is_not_waited_for_forever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        // Connections are taken by the system, and nobody reads them.
        let _listener = UnixListener::bind(&path).unwrap();
        let mut conversation = Conversation::start_within(&path, &STATUS, Duration::from_millis(50)).unwrap();
        let error = conversation.next_reply().unwrap_err();
        assert_eq!(error.to_string(), format!("rota on {} did not answer within 0.05 s", path.display()));
    }

    #[test]
    fn why_one_was_turned_away_is_heard() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"{\"event\":\"error\",\"message\":\"busy\"}\n").unwrap();
        });
        let mut conversation = Conversation::start(&path, &STATUS).unwrap();
        assert_eq!(conversation.next_reply().unwrap(), Some(Reply::Error { message: "busy".to_owned() }));
        assert_eq!(conversation.next_reply().unwrap(), None);
        server.join().unwrap();
    }
}
