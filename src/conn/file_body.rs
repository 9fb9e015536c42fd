//! The rest of an answer that lies in a file: the kernel moves it to the client's socket (sendfile(2)), nothing is read into memory, however
//! slowly the client takes it. On the thread of its connection. The pages come from the page cache or, with a wait, from the disk.

use std::fs::File;
use std::io;

use super::socket::Socket;
use crate::ids::GroupId;

/// An open file, and how much of it is still to go out.
#[derive(Debug)]
pub struct FileBody {
    /// The app whose file it is.
    pub group: GroupId,
    file: File,
    offset: u64,
    left: u64,
}

/// What became of a turn of sending.
#[derive(Debug)]
pub enum Sent {
    All,
    /// The socket takes no more now.
    Blocked,
    /// Others should have their turn.
    More,
    /// The file ends before the answer does: it was cut shorter meanwhile.
    Short,
    Failed(io::Error),
}

impl FileBody {
    pub fn new(group: GroupId, file: File, offset: u64, left: u64) -> Self {
        Self { group, file, offset, left }
    }

    /// Bytes that are still to go out.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Sends what the socket takes, at most 1 MiB. `moved` says whether any byte went out.
    pub fn send(&mut self, socket: &Socket, moved: &mut bool) -> Sent {
        let mut budget = TURN;
        while self.left > 0 {
            if budget == 0 {
                return Sent::More;
            }
            let count = self.left.min(budget).min(PIECE);
            match rustix::fs::sendfile(socket, &self.file, Some(&mut self.offset), count as usize) {
                Ok(0) => return Sent::Short,
                Ok(sent) => {
                    *moved = true;
                    self.left -= sent as u64;
                    budget = budget.saturating_sub(sent as u64);
                }
                Err(rustix::io::Errno::AGAIN) => return Sent::Blocked,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Sent::Failed(error.into()),
            }
        }
        Sent::All
    }
}

/// Bytes of one call: a call that has to wait for the disk waits for no more than this.
const PIECE: u64 = 256 * 1024;
/// Bytes of one turn.
const TURN: u64 = 1024 * 1024;
