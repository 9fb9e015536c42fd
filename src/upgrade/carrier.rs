//! What lives through an exec: descriptors in messages of a socket whose reading end is the new program's standard input (unix(7), SCM_RIGHTS),
//! and text in a sealed file in memory (memfd_create(2)). The writing end is closed by the exec, so that there is an end to be read to.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType,
};

/// What a message has, which is its one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Descriptors of the list.
    Descriptors = b'd' as isize,
    /// The state, as text.
    State = b's' as isize,
    /// The program that leaves it.
    Program = b'p' as isize,
    /// Why it was given back, as text.
    Refusal = b'r' as isize,
}

/// The writing end.
#[derive(Debug)]
pub struct Carrier(OwnedFd);

/// All that was sent.
#[derive(Debug, Default)]
pub struct Received {
    pub descriptors: Vec<OwnedFd>,
    pub state: Vec<u8>,
    state_file: Option<OwnedFd>,
    pub program: Option<OwnedFd>,
    /// This was given back by the program that it was left to, for this reason.
    pub refusal: Option<String>,
}

impl Carrier {
    /// With the reading end.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (to, from) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        // Each message costs some hundred bytes of it, and all of them wait. What may not go beyond the system's limit has that.
        if rustix::net::sockopt::set_socket_send_buffer_size_force(&to, BUFFER).is_err() {
            rustix::net::sockopt::set_socket_send_buffer_size(&to, BUFFER)?;
        }
        Ok((Self(to), from))
    }

    /// Behind those that were sent before. The kernel has copies: the caller's may be closed.
    pub fn descriptors(&self, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        fds.chunks(MOST).try_for_each(|some| self.send(Kind::Descriptors, some))
    }

    pub fn state(&self, text: &[u8]) -> io::Result<()> {
        self.send(Kind::State, &[sealed(text)?.as_fd()])
    }

    pub fn program(&self, program: &OwnedFd) -> io::Result<()> {
        self.send(Kind::Program, &[program.as_fd()])
    }

    /// Sends on what was received, to the program that it came from. `descriptors`: all of them, in their order.
    pub fn give_back(&self, received: &Received, descriptors: &[BorrowedFd<'_>], why: &str) -> io::Result<()> {
        self.descriptors(descriptors)?;
        let state = received.state_file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        self.send(Kind::State, &[state.as_fd()])?;
        self.send(Kind::Refusal, &[sealed(why.as_bytes())?.as_fd()])
    }

    fn send(&self, kind: Kind, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut with = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !with.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        // Nobody reads yet: what does not fit now never will.
        rustix::net::sendmsg(&self.0, &[IoSlice::new(&[kind as u8])], &mut with, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

impl Received {
    /// Reads to the end. Err: this is no such socket, or not all of it is there.
    pub fn read(from: impl AsFd) -> io::Result<Self> {
        let mut received = Self::default();
        loop {
            let mut kind = [0];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
            let mut with = RecvAncillaryBuffer::new(&mut space);
            let got = rustix::net::recvmsg(&from, &mut [IoSliceMut::new(&mut kind)], &mut with, RecvFlags::CMSG_CLOEXEC)?;
            let fds = with.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            });
            let mut fds: Vec<OwnedFd> = fds.flatten().collect();
            if got.flags.contains(rustix::net::ReturnFlags::CTRUNC) {
                return Err(io::Error::other("there are more descriptors than this process may have"));
            }
            match (got.bytes, kind[0]) {
                (0, _) => return Ok(received),
                (_, b'd') => received.descriptors.append(&mut fds),
                (_, b's') => {
                    let file = fds.pop().ok_or(io::ErrorKind::UnexpectedEof)?;
                    received.state = text(&file)?;
                    received.state_file = Some(file);
                }
                (_, b'p') => received.program = fds.pop(),
                (_, b'r') => {
                    let file = fds.pop().ok_or(io::ErrorKind::UnexpectedEof)?;
                    received.refusal = Some(String::from_utf8_lossy(&text(&file)?).into_owned());
                }
                (_, other) => return Err(io::Error::other(format!("a message of an unknown kind {other}"))),
            }
        }
    }
}

/// A file in memory that nobody can change any more.
fn sealed(text: &[u8]) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("rota", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(file);
    file.write_all(text)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    Ok(file.into())
}

fn text(file: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut file = File::from(file.try_clone()?);
    // Whoever has it too has read it.
    io::Seek::rewind(&mut file)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(text)
}

/// For some thousand messages (bytes).
const BUFFER: usize = 8 << 20;
/// In one message (unix(7): at most 253).
const MOST: usize = 250;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn descriptors_and_text_come_in_their_order_and_can_be_given_back() {
        let pairs: Vec<(UnixStream, UnixStream)> = (0..600).map(|_| UnixStream::pair().unwrap()).collect();
        let (carrier, from) = Carrier::pair().unwrap();
        carrier.descriptors(&pairs.iter().map(|(ours, _)| ours.as_fd()).collect::<Vec<_>>()).unwrap();
        carrier.state(b"{}").unwrap();
        carrier.program(&File::open("/proc/self/exe").unwrap().into()).unwrap();
        drop(carrier);
        let received = Received::read(&from).unwrap();
        assert_eq!((received.descriptors.len(), &received.state[..], received.program.is_some()), (600, &b"{}"[..], true));

        let (carrier, from) = Carrier::pair().unwrap();
        let descriptors: Vec<BorrowedFd<'_>> = received.descriptors.iter().map(AsFd::as_fd).collect();
        carrier.give_back(&received, &descriptors, "no").unwrap();
        drop((carrier, received));
        let back = Received::read(&from).unwrap();
        assert_eq!((&back.state[..], back.refusal.as_deref(), back.program.is_some()), (&b"{}"[..], Some("no"), false));
        for (number, (fd, (_, theirs))) in back.descriptors.into_iter().zip(&pairs).enumerate() {
            let mut ours = UnixStream::from(fd);
            ours.write_all(&[number as u8]).unwrap();
            let (mut byte, mut theirs) = ([0], theirs);
            theirs.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [number as u8]);
        }
    }

    #[test]
    fn what_is_no_such_socket_is_an_error() {
        assert!(Received::read(File::open("/dev/null").unwrap()).is_err());
    }
}
