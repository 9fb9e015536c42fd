//! Descriptors that are left to the next rota: in a list, and what is saved beside it names places of that list.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

/// Of a descriptor in the list, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Place(pub u32);

/// The descriptors of one saver, who keeps them.
#[derive(Debug, Default)]
pub struct Pack<'a> {
    fds: Vec<BorrowedFd<'a>>,
}

impl<'a> Pack<'a> {
    pub fn put(&mut self, fd: BorrowedFd<'a>) -> Place {
        self.fds.push(fd);
        Place((self.fds.len() - 1) as u32)
    }

    pub fn fds(&self) -> &[BorrowedFd<'a>] {
        &self.fds
    }
}

/// The descriptors that were saved, each to be taken once.
#[derive(Debug, Default)]
pub struct Unpack {
    fds: Vec<Option<OwnedFd>>,
    /// What is given are copies.
    keeps: bool,
}

impl Unpack {
    pub fn new(fds: Vec<OwnedFd>) -> Self {
        Self { fds: fds.into_iter().map(Some).collect(), keeps: false }
    }

    /// As [`Self::new`], for who may have to give back what was saved: copies are given.
    pub fn that_keeps(fds: Vec<OwnedFd>) -> Self {
        Self { keeps: true, ..Self::new(fds) }
    }

    /// Nothing is to be given back any more.
    pub fn let_go(&mut self) {
        self.keeps = false;
    }

    /// Those that are here, in their order.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.fds.iter().flatten().map(AsFd::as_fd)
    }

    pub fn take(&mut self, place: Place) -> Result<OwnedFd, String> {
        let slot = self.fds.get_mut(place.0 as usize);
        let fd = match self.keeps {
            true => slot.and_then(|fd| fd.as_ref().map(OwnedFd::try_clone)).transpose().map_err(|error| format!("dup: {error}"))?,
            false => slot.and_then(Option::take),
        };
        fd.ok_or_else(|| format!("descriptor {} of {} is not there, or was taken twice", place.0, self.fds.len()))
    }
}
