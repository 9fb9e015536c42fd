//! Bytes that wait: in memory at first, then in an unlinked temporary file, with a bound over all of rota.
//!
//! Used for request bodies (written, then read from the start, perhaps more than once) and for what a slow client has not taken yet
//! (read while it is still written). Runs on the thread of its connection; a write to the file goes to the page cache.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What one spool keeps in memory before it takes a file (bytes).
pub const MEMORY: usize = 64 * 1024;

/// Where the files go, and how many bytes they may hold together.
#[derive(Debug)]
pub struct SpoolSpace {
    dir: PathBuf,
    max: u64,
    used: AtomicU64,
}

/// Why bytes could not be kept.
#[derive(Debug)]
pub enum SpoolError {
    /// All spools together are at `server.spool_max`.
    Full,
    /// The disk: full, or worse.
    Disk(io::Error),
}

/// A sequence of bytes, written at its end and read from a position.
#[derive(Debug, Default)]
pub struct Spool {
    memory: Vec<u8>,
    file: Option<SpoolFile>,
    read: u64,
}

#[derive(Debug)]
struct SpoolFile {
    file: File,
    len: u64,
    space: Arc<SpoolSpace>,
}

impl SpoolSpace {
    pub fn new(dir: PathBuf, max: u64) -> Self {
        Self { dir, max, used: AtomicU64::new(0) }
    }

    /// Bytes in files now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether what one read brings can still be kept.
    pub fn has_room(&self) -> bool {
        self.used() + 4 * MEMORY as u64 <= self.max
    }

    fn reserve(&self, bytes: u64) -> bool {
        let reserve = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).is_ok()
    }
}

impl Spool {
    pub fn len(&self) -> u64 {
        self.memory.len() as u64 + self.file.as_ref().map_or(0, |file| file.len)
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

    /// Writes at the end. On an error nothing of `bytes` counts as written.
    pub fn append(&mut self, bytes: &[u8], space: &Arc<SpoolSpace>) -> Result<(), SpoolError> {
        if self.file.is_none() && self.memory.len() + bytes.len() <= MEMORY {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        if self.file.is_none() {
            let file = crate::sys::open_unlinked_temp(&space.dir).map_err(SpoolError::Disk)?;
            self.file = Some(SpoolFile { file, len: 0, space: space.clone() });
        }
        let Some(file) = self.file.as_mut() else { return Ok(()) };
        if !space.reserve(bytes.len() as u64) {
            return Err(SpoolError::Full);
        }
        if let Err(error) = file.file.write_all_at(bytes, file.len) {
            space.used.fetch_sub(bytes.len() as u64, Ordering::Relaxed);
            return Err(SpoolError::Disk(error));
        }
        file.len += bytes.len() as u64;
        Ok(())
    }

    /// The next unread bytes, as many as lie together (at most `buffer` from a file); empty when all is read.
    pub fn peek<'a>(&'a self, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let in_memory = self.memory.len() as u64;
        if self.read < in_memory {
            return Ok(&self.memory[self.read as usize..]);
        }
        match &self.file {
            Some(file) if self.read - in_memory < file.len => {
                let want = buffer.len().min((file.len - (self.read - in_memory)) as usize);
                let got = file.file.read_at(&mut buffer[..want], self.read - in_memory)?;
                if got == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(&buffer[..got])
            }
            Some(_) | None => Ok(&[]),
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

    /// Forgets everything; memory of more than a head's size goes back.
    pub fn clear(&mut self) {
        self.memory.clear();
        self.memory.shrink_to(0);
        self.file = None;
        self.read = 0;
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        self.space.used.fetch_sub(self.len, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(max: u64) -> (tempfile::TempDir, Arc<SpoolSpace>) {
        let dir = tempfile::tempdir().unwrap();
        let space = Arc::new(SpoolSpace::new(dir.path().to_owned(), max));
        (dir, space)
    }

    fn read_all(spool: &mut Spool) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), vec![0; 1000]);
        loop {
            let piece = spool.peek(&mut buffer).unwrap().to_owned();
            if piece.is_empty() {
                return all;
            }
            spool.advance(piece.len());
            all.extend(piece);
        }
    }

    #[test]
    fn what_is_written_is_read_in_order_over_memory_and_file_and_again_after_a_rewind() {
        let (_dir, space) = space(1 << 20);
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let mut spool = Spool::default();
        for piece in bytes.chunks(7_001) {
            spool.append(piece, &space).unwrap();
        }
        assert!(space.used() > 0);
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
}
