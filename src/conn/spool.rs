//! Bytes that wait: in memory at first, then in an unlinked temporary file, with a bound over all of rota.
//!
//! Used for request bodies (written, then read from the start, perhaps more than once) and for what a slow client has not taken yet
//! (read while it is still written). Runs on the thread of its connection; a write to the file goes to the page cache.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::pages::Pages;
use super::spool_place::SpoolPlace;

/// What one spool keeps in memory before it takes a file (bytes).
pub const MEMORY: usize = 64 * 1024;

/// Where the files go, and how many bytes they may hold together.
#[derive(Debug)]
pub struct SpoolSpace {
    place: SpoolPlace,
    max: u64,
    used: AtomicU64,
    since: Instant,
    /// When the lack of room was last spoken of: in seconds after `since`, plus one; 0: never.
    told: AtomicU64,
}

/// Why bytes could not be kept.
#[derive(Debug)]
pub enum SpoolError {
    /// All spools together are at `server.spool_max`.
    Full,
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
    space: Arc<SpoolSpace>,
}

impl SpoolSpace {
    pub fn new(place: impl Into<SpoolPlace>, max: u64) -> Self {
        Self { place: place.into(), max, used: AtomicU64::new(0), since: Instant::now(), told: AtomicU64::new(0) }
    }

    /// Takes away what it made on the disk.
    pub fn remove(&self) {
        self.place.remove();
    }

    /// Bytes in files now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether what one read brings can still be kept.
    pub fn has_room(&self) -> bool {
        self.used() + ONE_READ <= self.max
    }

    fn reserve(&self, bytes: u64) -> bool {
        let reserve = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).is_ok()
    }

    /// Says that there is no room: once, and again when it has been so for a while.
    fn tell(&self, error: &SpoolError) {
        let (now, told) = (self.since.elapsed().as_secs() + 1, self.told.load(Ordering::Relaxed));
        let is_due = told == 0 || now >= told + TOLD_PAUSE.as_secs();
        if is_due && self.told.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            log::warn!("large bodies: {error}; request bodies are answered 507, responses wait for their clients");
        }
    }
}

impl std::fmt::Display for SpoolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SpoolError::Full => f.write_str("server.spool_max is reached"),
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
        self.memory.len() > MEMORY || (self.file.is_some() && self.memory.len() > 0)
    }

    /// Writes at the end. On an error nothing of `bytes` counts as written.
    pub fn append(&mut self, bytes: &[u8], space: &Arc<SpoolSpace>) -> Result<(), SpoolError> {
        if self.file.is_none() && self.memory.len() + bytes.len() <= MEMORY {
            self.memory.add(bytes);
            return Ok(());
        }
        self.spill(bytes, space).inspect_err(|error| space.tell(error))
    }

    /// Writes at the end whatever happens: what finds no room in a file, or shall go into none, stays in memory.
    pub fn keep(&mut self, bytes: &[u8], space: Option<&Arc<SpoolSpace>>) {
        if space.is_none_or(|space| self.append(bytes, space).is_err()) {
            self.memory.add(bytes);
        }
    }

    /// Moves what is in memory to the file, and `bytes` behind it.
    fn spill(&mut self, bytes: &[u8], space: &Arc<SpoolSpace>) -> Result<(), SpoolError> {
        let count = (self.memory.len() + bytes.len()) as u64;
        if !space.reserve(count) {
            return Err(SpoolError::Full);
        }
        let written = self.write_file(bytes, space);
        match written {
            Ok(()) => self.memory = Pages::default(),
            Err(_) => {
                space.used.fetch_sub(count, Ordering::Relaxed);
            }
        }
        written.map_err(SpoolError::Disk)
    }

    fn write_file(&mut self, bytes: &[u8], space: &Arc<SpoolSpace>) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(SpoolFile { file: space.place.open()?, len: 0, space: space.clone() });
        }
        let Some(SpoolFile { file, len, .. }) = self.file.as_mut() else { return Ok(()) };
        // What a failed write leaves behind `len` is overwritten by the next.
        let mut end = *len;
        for part in [self.memory.bytes(), bytes] {
            file.write_all_at(part, end)?;
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

impl Drop for SpoolFile {
    fn drop(&mut self) {
        self.space.used.fetch_sub(self.len, Ordering::Relaxed);
    }
}

/// What may come before anyone looks again whether there is room: a read of the app's socket with its chunk framing, and what was in memory.
const ONE_READ: u64 = 512 * 1024;
/// Between two words about a lack of room.
const TOLD_PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn space(max: u64) -> (tempfile::TempDir, Arc<SpoolSpace>) {
        let dir = tempfile::tempdir().unwrap();
        let space = Arc::new(SpoolSpace::new(dir.path().to_owned(), max));
        (dir, space)
    }

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
    fn what_is_written_is_read_in_order_over_memory_and_file_and_again_after_a_rewind() {
        let (_dir, space) = space(1 << 20);
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let mut spool = Spool::default();
        for piece in bytes.chunks(7_001) {
            spool.append(piece, &space).unwrap();
        }
        assert_eq!((space.used(), spool.memory.len()), (200_000, 0), "in the file, and nothing in memory");
        assert_eq!(read_all(&mut spool), bytes);
        spool.rewind();
        assert_eq!(read_all(&mut spool), bytes);
        spool.clear();
        assert_eq!((space.used(), spool.len()), (0, 0));
    }

    #[test]
    fn the_bound_over_all_spools_holds_and_a_refused_piece_is_not_written() {
        let (dir, space) = space(100_000);
        let piece = vec![1u8; MEMORY + 1];
        let (mut one, mut two) = (Spool::default(), Spool::default());
        one.append(&piece, &space).unwrap();
        assert!(matches!(two.append(&piece, &space), Err(SpoolError::Full)));
        assert_eq!(two.len(), 0);
        drop(one);
        two.append(&piece, &space).unwrap();
        assert_eq!(dir.path().read_dir().unwrap().count(), 0, "the file has a name");
    }

    #[test]
    fn a_directory_that_is_gone_is_an_error_of_the_disk() {
        let (dir, space) = space(1 << 20);
        drop(dir);
        assert!(matches!(Spool::default().append(&vec![0; MEMORY + 1], &space), Err(SpoolError::Disk(_))));
    }

    #[test]
    fn what_must_be_kept_and_finds_no_room_stays_in_memory_in_its_order_until_there_is_room() {
        let (_dir, space) = space(250_000);
        let bytes: Vec<u8> = (0..400_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let (mut other, mut spool) = (Spool::default(), Spool::default());
        other.append(&bytes[..150_000], &space).unwrap();
        spool.keep(&bytes[..100_000], Some(&space));
        assert!(!spool.is_strained());
        spool.keep(&bytes[100_000..110_000], Some(&space));
        assert!(spool.is_strained() && space.used() == 250_000);
        drop(other);
        spool.keep(&bytes[110_000..200_000], Some(&space));
        assert!(!spool.is_strained() && space.used() == 200_000);
        spool.keep(&bytes[200_000..], None);
        assert!(spool.is_strained() && space.used() == 200_000);
        assert_eq!(read_all(&mut spool), bytes);
        drop(spool);
        assert_eq!(space.used(), 0);
    }

    #[test]
    fn without_a_directory_what_must_be_kept_is_kept_in_memory() {
        let (dir, space) = space(1 << 20);
        drop(dir);
        let mut spool = Spool::default();
        spool.keep(&[1; MEMORY + 1], Some(&space));
        assert!(spool.is_strained());
        assert_eq!((spool.len(), space.used()), (MEMORY as u64 + 1, 0));
    }
}
