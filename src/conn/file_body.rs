//! The rest of an answer that lies in a file: the kernel moves it to the client's socket (sendfile(2)), nothing is read into memory, however
//! slowly the client takes it. Pages that are in memory are sent by the thread of its connection, others by an errand, which may wait for the disk.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::AsFd;

use rustix::io::{Errno, ReadWriteFlags};
use serde::{Deserialize, Serialize};

use super::folders::{Later, Patience};
use super::save::Heir;
use super::socket::Socket;
use crate::ids::GroupId;
use crate::upgrade::pack::{Pack, Place};

/// An open file, and how much of it is still to go out.
#[derive(Debug)]
pub struct FileBody {
    /// The app whose file it is.
    pub group: GroupId,
    file: File,
    offset: u64,
    left: u64,
}

/// One that is left to the next rota.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedFile {
    group: GroupId,
    file: Place,
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

    pub fn save<'a>(&'a self, pack: &mut Pack<'a>) -> SavedFile {
        let Self { group, file, offset, left } = self;
        SavedFile { group: *group, file: pack.put(file.as_fd()), offset: *offset, left: *left }
    }

    /// Bytes that are still to go out.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Sends what the socket takes, at most 1 MiB. `moved` says whether any byte went out.
    pub fn send(&mut self, socket: &Socket, moved: &mut bool, patience: Patience) -> Result<Sent, Later> {
        let mut budget = TURN;
        while self.left > 0 {
            if budget == 0 {
                return Ok(Sent::More);
            }
            let count = self.left.min(budget).min(PIECE);
            if patience == Patience::None {
                self.is_in_memory(count)?;
            }
            match rustix::fs::sendfile(socket, &self.file, Some(&mut self.offset), count as usize) {
                Ok(0) => return Ok(Sent::Short),
                Ok(sent) => {
                    *moved = true;
                    self.left -= sent as u64;
                    budget = budget.saturating_sub(sent as u64);
                }
                Err(Errno::AGAIN) => return Ok(Sent::Blocked),
                Err(Errno::INTR) => {}
                Err(error) => return Ok(Sent::Failed(error.into())),
            }
        }
        Ok(Sent::All)
    }

    /// The first and the last byte of what comes next are: the kernel reads ahead of whoever reads in order.
    fn is_in_memory(&self, count: u64) -> Result<(), Later> {
        for at in [self.offset, self.offset + count - 1] {
            read_at(&self.file, &mut [0], at, Patience::None)?;
        }
        Ok(())
    }
}

impl SavedFile {
    pub fn restore(self, heir: &mut Heir<'_>) -> Result<FileBody, String> {
        let Self { group, file, offset, left } = self;
        Ok(FileBody { group: heir.group(group)?, file: heir.unpack.take(file)?.into(), offset, left })
    }
}

/// Reads once; how many bytes. Without patience only what is in memory.
pub fn read_at(file: &File, into: &mut [u8], at: u64, patience: Patience) -> Result<usize, Later> {
    let flags = if patience == Patience::None { ReadWriteFlags::NOWAIT } else { ReadWriteFlags::empty() };
    rustix::io::preadv2(file, &mut [IoSliceMut::new(into)], at, flags).map_err(|_| Later)
}

/// Bytes of one call: a call that has to wait for the disk waits for no more than this.
const PIECE: u64 = 256 * 1024;
/// Bytes of one turn.
const TURN: u64 = 1024 * 1024;
