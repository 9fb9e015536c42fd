//! A client's or an app's socket, TCP or Unix, as one type for the event loops.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use serde::{Deserialize, Serialize};

use crate::upgrade::pack::{Pack, Place, Unpack};

/// A non-blocking stream socket.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// One that is left to the next rota.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum SavedSocket {
    Tcp(Place),
    Unix(Place),
}

impl SavedSocket {
    /// It does not block: that is the socket's own, whoever has it (open(2), status flags).
    pub fn restore(self, unpack: &mut Unpack) -> Result<Socket, String> {
        Ok(match self {
            SavedSocket::Tcp(place) => Socket::Tcp(TcpStream::from_std(unpack.take(place)?.into())),
            SavedSocket::Unix(place) => Socket::Unix(UnixStream::from_std(unpack.take(place)?.into())),
        })
    }
}

impl Socket {
    pub fn save<'a>(&'a self, pack: &mut Pack<'a>) -> SavedSocket {
        let place = pack.put(self.as_fd());
        match self {
            Socket::Tcp(_) => SavedSocket::Tcp(place),
            Socket::Unix(_) => SavedSocket::Unix(place),
        }
    }

    /// The other side's address; None: a Unix socket, or it is gone.
    pub fn peer_ip(&self) -> Option<IpAddr> {
        match self {
            Socket::Tcp(stream) => stream.peer_addr().ok().map(|addr| addr.ip().to_canonical()),
            Socket::Unix(_) => None,
        }
    }

    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(buffer),
            Socket::Unix(stream) => stream.read(buffer),
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(bytes),
            Socket::Unix(stream) => stream.write(bytes),
        }
    }

    /// Something else is written right behind it (send(2), MSG_MORE).
    pub fn write_before_more(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(&*self, bytes, SendFlags::MORE | SendFlags::NOSIGNAL)?)
    }

    pub fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write_vectored(pieces),
            Socket::Unix(stream) => stream.write_vectored(pieces),
        }
    }

    /// Writes what the socket takes of `count` bytes of a file from `offset` on, without a copy through our memory (sendfile(2)).
    pub fn write_file(&self, file: &File, mut offset: u64, count: u64) -> io::Result<usize> {
        let socket = match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(FILE_PIECE);
        match rustix::fs::sendfile(socket, file, Some(&mut offset), count)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            written => Ok(written),
        }
    }

    /// No more bytes from us; the other side reads the end.
    pub fn shut_write(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Whether there is nothing to read, not even the end.
    pub fn is_silent(&self) -> bool {
        let looked = rustix::net::recv(self, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(looked, Err(Errno::AGAIN))
    }

    /// Whether there is nothing to read but the end.
    pub fn is_at_end(&self) -> bool {
        let looked = rustix::net::recv(self, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(looked, Ok((_, 0)))
    }

    /// Whether the other side is gone for both directions (reset, or closed with our bytes unread).
    pub fn is_reset(&self) -> bool {
        let error = match self {
            Socket::Tcp(stream) => stream.take_error(),
            Socket::Unix(stream) => stream.take_error(),
        };
        !matches!(error, Ok(None))
    }

    /// The close that follows is a reset: what the client has of the response must not look whole.
    pub fn reset_on_close(&self) {
        let linger = match self {
            Socket::Tcp(stream) => socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)),
            // A Unix socket has no reset; its end in the middle of a response has to do.
            Socket::Unix(_) => Ok(()),
        };
        if let Err(error) = linger {
            log::debug!("SO_LINGER: {error}");
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Socket::Tcp(stream) => stream,
            Socket::Unix(stream) => stream,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Source for Socket {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.source().register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.source().reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source().deregister(registry)
    }
}

/// One write from a file (bytes).
const FILE_PIECE: usize = 256 * 1024;
