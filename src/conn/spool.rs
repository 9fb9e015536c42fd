//! Bytes that wait: in memory at first, then in an unlinked temporary file, with a bound over all of rota.
//!
//! Used for request bodies (written, then read from the start, perhaps more than once) and for what a slow client has not taken yet
//! (read while it is still written). Runs on the thread of its connection; a write to the file goes to the page cache.

mod save;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::pages::{self, Pages};
use super::room::{Claimant, Holding, Kind, SpoolSpace};
pub use save::SavedSpool;

/// What one spool keeps in memory before it takes a file (bytes).
pub const MEMORY: usize = 64 * 1024;

/// Why bytes could not be kept.
#[derive(Debug)]
pub enum SpoolError {
    /// All spools together are at `server.spool_max`, or so near that the rest is for others. It may have room soon.
    Full,
    /// It alone would leave no room for others.
    TooLarge,
    /// The disk is full, its directory is gone, there are no descriptors, or worse.
    Disk(io::Error),
}

/// A sequence of bytes, written at its end and read from a position: what is in the file, and behind it what is in memory.
#[derive(Debug, Default)]
pub struct Spool {
    file: Option<SpoolFile>,
    memory: Pages,
    read: u64,
}

/// Unread bytes that lie together.
#[derive(Debug)]
pub enum Piece<'a> {
    Memory(&'a [u8]),
    /// So many bytes of the file from this offset on; at least one.
    File(&'a File, u64, u64),
}

#[derive(Debug)]
struct SpoolFile {
    file: File,
    len: u64,
    holding: Holding,
}

impl std::fmt::Display for SpoolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SpoolError::Full => f.write_str("server.spool_max is reached"),
            SpoolError::TooLarge => f.write_str("server.spool_max is reached by one body alone"),
            SpoolError::Disk(error) => write!(f, "temporary file in server.spool_dir: {error}"),
        }
    }
}

impl Spool {
    pub fn len(&self) -> u64 {
        self.in_file() + self.memory.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Nothing is left to read.
    pub fn is_drained(&self) -> bool {
        self.read == self.len()
    }

    /// Bytes written and not yet read.
    pub fn unread(&self) -> u64 {
        self.len() - self.read
    }

    /// More is in memory than belongs there: nothing should be added before it is read.
    pub fn is_strained(&self) -> bool {
        self.memory.len() > self.most_in_memory()
    }

    /// Behind a file little is gathered, so that a client that sends byte by byte costs no system call for each. When all spools together have
    /// much in memory none has more.
    fn most_in_memory(&self) -> usize {
        if self.file.is_some() || pages::mapped() > MEMORY_OF_ALL { GATHERED } else { MEMORY }
    }

    /// Writes at the end. On an error nothing of `bytes` counts as written.
    pub fn append(&mut self, bytes: &[u8], claimant: &Claimant, space: &Arc<SpoolSpace>) -> Result<(), SpoolError> {
        if let Some(SpoolFile { holding, .. }) = &self.file
            && claimant.kind == Kind::Request
        {
            holding.moved(bytes.len());
        }
        if self.memory.len() + bytes.len() <= self.most_in_memory() {
            self.memory.add(bytes);
            return Ok(());
        }
        self.spill(bytes, claimant, space)
    }

    /// Writes at the end whatever happens: what finds no room in a file stays in memory.
    pub fn keep(&mut self, bytes: &[u8], claimant: &Claimant, space: &Arc<SpoolSpace>) {
        if self.append(bytes, claimant, space).is_err() {
            self.memory.add(bytes);
        }
    }

    /// Writes at the end, in memory, however much it is.
    pub fn keep_in_memory(&mut self, bytes: &[u8]) {
        self.memory.add(bytes);
    }

    /// Moves what is in memory beyond what belongs there to the file, if there is room by now.
    pub fn find_room(&mut self, claimant: &Claimant, space: &Arc<SpoolSpace>) -> Result<(), SpoolError> {
        if self.is_strained() { self.spill(&[], claimant, space) } else { Ok(()) }
    }

    /// Whether what one read brings can still be kept; if not, others are asked to make room.
    pub fn has_room(&self, claimant: impl FnOnce() -> Claimant, space: &SpoolSpace) -> bool {
        let has_room = match &self.file {
            Some(file) => file.holding.has_room(),
            None => space.has_room(Kind::Answer),
        };
        match &self.file {
            _ if has_room => {}
            Some(file) => file.holding.ask_for_room(),
            None => space.ask_for_room(&claimant()),
        }
        has_room
    }

    /// All of it has come.
    pub fn is_whole(&self) {
        if let Some(file) = &self.file {
            file.holding.is_whole();
        }
    }

    /// Others need its room.
    pub fn must_leave(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.holding.must_leave())
    }

    /// Moves what is in memory to the file, and `bytes` behind it.
    fn spill(&mut self, bytes: &[u8], claimant: &Claimant, space: &Arc<SpoolSpace>) -> Result<(), SpoolError> {
        let whole = self.len() + bytes.len() as u64;
        let entered = match &self.file {
            Some(file) => file.holding.grow_to(whole).map(|()| None),
            None => space.enter(claimant, whole).map(Some),
        };
        let written = entered.and_then(|entered| self.write_file(bytes, entered, space));
        if written.is_ok() {
            self.memory = Pages::default();
        }
        written.inspect_err(|error| space.tell(error))
    }

    /// `entered`: the room of the file, where there is none yet.
    fn write_file(&mut self, bytes: &[u8], entered: Option<Holding>, space: &SpoolSpace) -> Result<(), SpoolError> {
        if let Some(holding) = entered {
            let file = space.open_file().map_err(SpoolError::Disk)?;
            self.file = Some(SpoolFile { file, len: 0, holding });
        }
        let Some(SpoolFile { file, len, .. }) = self.file.as_mut() else { return Ok(()) };
        // What a failed write leaves behind `len` is overwritten by the next.
        let mut end = *len;
        for part in [self.memory.bytes(), bytes] {
            file.write_all_at(part, end).map_err(SpoolError::Disk)?;
            end += part.len() as u64;
        }
        *len = end;
        Ok(())
    }

    fn in_file(&self) -> u64 {
        self.file.as_ref().map_or(0, |file| file.len)
    }

    /// The next unread bytes, as many as lie together; None when all is read.
    pub fn next(&self) -> Option<Piece<'_>> {
        match &self.file {
            Some(SpoolFile { file, len, .. }) if self.read < *len => Some(Piece::File(file, self.read, len - self.read)),
            Some(_) | None => {
                let rest = &self.memory.bytes()[(self.read - self.in_file()) as usize..];
                (!rest.is_empty()).then_some(Piece::Memory(rest))
            }
        }
    }

    /// Counts `bytes` as read.
    pub fn advance(&mut self, bytes: usize) {
        self.read += bytes as u64;
        if let Some(file) = &self.file {
            file.holding.moved(bytes);
        }
        debug_assert!(self.read <= self.len(), "more was read than was written");
    }

    /// Reads from the start again.
    pub fn rewind(&mut self) {
        self.read = 0;
    }

    /// Forgets everything that is in memory alone, and keeps the memory for what comes next.
    pub fn reuse(&mut self) {
        if self.file.is_some() {
            return self.clear();
        }
        self.memory.reuse();
        self.read = 0;
    }

    /// Forgets everything and gives back what it took.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What all spools together keep in memory before each takes its file sooner (bytes).
const MEMORY_OF_ALL: usize = 64 * 1024 * 1024;
/// What is gathered in memory behind a file (bytes).
const GATHERED: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::visitor::Visitor;

    fn space(max: u64) -> (tempfile::TempDir, Arc<SpoolSpace>) {
        let dir = tempfile::tempdir().unwrap();
        let space = Arc::new(SpoolSpace::new(dir.path().to_owned(), max, 1000, 1, None));
        (dir, space)
    }

    const REQUEST: Claimant = Claimant { visitor: Visitor::V4(1), group: None, kind: Kind::Request };
    const ANSWER: Claimant = Claimant { kind: Kind::Answer, ..REQUEST };

    fn read_all(spool: &mut Spool) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(piece) = spool.next() {
            let piece = match piece {
                Piece::Memory(bytes) => bytes.to_owned(),
                Piece::File(file, at, count) => {
                    let mut bytes = vec![0; count.min(1000) as usize];
                    file.read_exact_at(&mut bytes, at).unwrap();
                    bytes
                }
            };
            spool.advance(piece.len());
            all.extend(piece);
        }
        all
    }

    #[test]
    fn what_is_written_is_read_in_order_over_file_and_memory_and_again_after_a_rewind() {
        let (_dir, space) = space(1 << 20);
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let mut spool = Spool::default();
        for piece in bytes.chunks(7_001) {
            spool.append(piece, &REQUEST, &space).unwrap();
        }
        assert!(spool.memory.len() <= GATHERED && space.bytes() == 200_000 - spool.memory.len() as u64, "{} in memory", spool.memory.len());
        assert_eq!(read_all(&mut spool), bytes);
        spool.rewind();
        assert_eq!(read_all(&mut spool), bytes);
        spool.clear();
        assert_eq!((space.bytes(), spool.len()), (0, 0));
    }

    #[test]
    fn byte_by_byte_behind_a_file_little_is_written_at_a_time() {
        let (_dir, space) = space(1 << 20);
        let mut spool = Spool::default();
        spool.append(&[1; MEMORY + 1], &REQUEST, &space).unwrap();
        let lens: Vec<u64> = (0..GATHERED + 1).map(|_| spool.append(&[2], &REQUEST, &space).map(|()| space.bytes()).unwrap()).collect();
        let all = (MEMORY + 1 + GATHERED + 1) as u64;
        assert_eq!((lens[0], lens[GATHERED - 1], lens[GATHERED]), (MEMORY as u64 + 1, MEMORY as u64 + 1, all));
        assert_eq!(read_all(&mut spool), [vec![1; MEMORY + 1], vec![2; GATHERED + 1]].concat());
    }

    #[test]
    fn the_bound_over_all_spools_holds_and_a_refused_piece_is_not_written() {
        let (dir, space) = space(100_000);
        let piece = vec![1u8; MEMORY + 1];
        let (mut one, mut two) = (Spool::default(), Spool::default());
        one.append(&piece, &REQUEST, &space).unwrap();
        assert!(matches!(two.append(&piece, &REQUEST, &space), Err(SpoolError::Full)));
        assert_eq!(two.len(), 0);
        drop(one);
        two.append(&piece, &REQUEST, &space).unwrap();
        assert_eq!(dir.path().read_dir().unwrap().count(), 0, "the file has a name");
        assert!(matches!(two.append(&piece, &REQUEST, &space), Err(SpoolError::TooLarge)));
    }

    #[test]
    fn a_directory_that_is_gone_is_an_error_of_the_disk_and_costs_no_room() {
        let (dir, space) = space(1 << 20);
        drop(dir);
        assert!(matches!(Spool::default().append(&vec![0; MEMORY + 1], &REQUEST, &space), Err(SpoolError::Disk(_))));
        assert_eq!(space.bytes(), 0);
    }

    #[test]
    fn what_must_be_kept_and_finds_no_room_stays_in_memory_in_its_order_until_there_is_room() {
        let (_dir, space) = space(400_000);
        let bytes: Vec<u8> = (0..400_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let (mut other, mut spool) = (Spool::default(), Spool::default());
        other.append(&bytes[..250_000], &ANSWER, &space).unwrap();
        spool.keep(&bytes[..80_000], &ANSWER, &space);
        assert!(!spool.is_strained());
        spool.keep(&bytes[80_000..110_000], &ANSWER, &space);
        assert!(spool.is_strained() && space.bytes() == 330_000);
        assert!(spool.find_room(&ANSWER, &space).is_err());
        drop(other);
        spool.find_room(&ANSWER, &space).unwrap();
        assert!(!spool.is_strained() && space.bytes() == 110_000);
        spool.keep(&bytes[110_000..200_000], &ANSWER, &space);
        assert!(!spool.is_strained() && space.bytes() == 200_000);
        spool.keep_in_memory(&bytes[200_000..]);
        assert!(spool.is_strained() && space.bytes() == 200_000);
        assert_eq!(read_all(&mut spool), bytes);
        drop(spool);
        assert_eq!(space.bytes(), 0);
    }

    #[test]
    fn without_a_directory_what_must_be_kept_is_kept_in_memory() {
        let (dir, space) = space(1 << 20);
        drop(dir);
        let mut spool = Spool::default();
        spool.keep(&[1; MEMORY + 1], &ANSWER, &space);
        assert!(spool.is_strained());
        assert_eq!((spool.len(), space.bytes()), (MEMORY as u64 + 1, 0));
    }
}
