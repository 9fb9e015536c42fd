//! The commands' side of the control socket. Blocking, with a limit on the wait for a first answer.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::proto::{Reply, Request, write_request};

/// A request that has been sent; its replies are an iterator that ends with the connection.
#[derive(Debug)]
pub struct Conversation {
    replies: BufReader<UnixStream>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody answers there.
    NoServer {
        path: PathBuf,
        error: io::Error,
    },
    Broken(io::Error),
    /// What came is no reply.
    Garbled(serde_json::Error),
}

impl Conversation {
    /// Connects and sends the request.
    pub fn start(path: &Path, request: &Request) -> Result<Self, ClientError> {
        let no_server = |error| ClientError::NoServer { path: path.to_owned(), error };
        let mut stream = UnixStream::connect(path).map_err(no_server)?;
        stream.set_read_timeout(Some(FIRST_ANSWER)).map_err(ClientError::Broken)?;
        let line = write_request(request).map_err(ClientError::Garbled)?;
        stream.write_all(&line).map_err(no_server)?;
        Ok(Self { replies: BufReader::new(stream) })
    }

    /// The next reply; None: the server ended the connection.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, ClientError> {
        let mut line = Vec::new();
        match self.replies.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let text = format!("the server did not answer for {} s", FIRST_ANSWER.as_secs());
                return Err(ClientError::Broken(io::Error::new(io::ErrorKind::TimedOut, text)));
            }
            Err(error) => return Err(ClientError::Broken(error)),
        }
        // The server is there; what it tells of takes the time that it takes.
        self.replies.get_ref().set_read_timeout(None).map_err(ClientError::Broken)?;
        serde_json::from_slice(&line).map(Some).map_err(ClientError::Garbled)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::NoServer { path, error } => match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    write!(f, "{}: {error}; run this as the user that rota runs as, or as root", path.display())
                }
                _ => write!(f, "no rota answers on {} ({error}); is it running?", path.display()),
            },
            ClientError::Broken(error) => write!(f, "control socket: {error}"),
            ClientError::Garbled(error) => write!(f, "control socket: what came is no reply: {error}"),
        }
    }
}

impl std::error::Error for ClientError {}

/// The server's loop answers at once unless the machine stands still.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
