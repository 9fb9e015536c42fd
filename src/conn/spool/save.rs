//! A spool that is left to the next rota: its file as it is, and what is in memory as bytes.

use std::borrow::Cow;
use std::os::fd::AsFd;

use serde::{Deserialize, Serialize};

use super::{Spool, SpoolFile};
use crate::conn::room::Claimant;
use crate::conn::save::Heir;
use crate::upgrade::pack::{Pack, Place};

#[derive(Debug, Serialize, Deserialize)]
pub struct SavedSpool<'a> {
    file: Option<SavedFile>,
    #[serde(with = "crate::bytes")]
    memory: Cow<'a, [u8]>,
    read: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedFile {
    file: Place,
    len: u64,
    claimant: Claimant,
    is_whole: bool,
}

impl Spool {
    /// None: it is empty, as nearly all are.
    pub fn save<'a>(&'a self, pack: &mut Pack<'a>) -> Option<SavedSpool<'a>> {
        if self.is_empty() {
            return None;
        }
        let Self { file, memory, read } = self;
        let file = file.as_ref().map(|SpoolFile { file, len, holding }| SavedFile {
            file: pack.put(file.as_fd()),
            len: *len,
            claimant: holding.claimant(),
            is_whole: holding.has_all(),
        });
        Some(SavedSpool { file, memory: Cow::Borrowed(memory.bytes()), read: *read })
    }
}

impl SavedSpool<'_> {
    pub fn restore(self, heir: &mut Heir<'_>) -> Result<Spool, String> {
        let Self { file, memory, read } = self;
        let mut spool = Spool { read, ..Spool::default() };
        if let Some(SavedFile { file, len, claimant, is_whole }) = file {
            let claimant = Claimant { group: claimant.group.and_then(heir.groups), ..claimant };
            let holding = heir.shared.spool.enter_again(&claimant, len, is_whole);
            spool.file = Some(SpoolFile { file: heir.unpack.take(file)?.into(), len, holding });
        }
        spool.memory.add(&memory);
        match read <= spool.len() {
            true => Ok(spool),
            false => Err(format!("{read} bytes of a body of {} were read", spool.len())),
        }
    }
}
