//! Bytes in memory that go back to the kernel when they are dropped.
//!
//! What the allocator is given back it keeps as long as anything that lives lies above it: after a peak of a thousand half-sent bodies it kept
//! all of their memory. So all but the smallest are in pages of their own (mmap(2)).

use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::MmapMut;

#[derive(Debug)]
pub enum Pages {
    /// At most `SMALL`; or more, where the kernel has no more maps to give.
    Heap(Vec<u8>),
    /// The first so many bytes of the map are used.
    Map(Map, usize),
}

/// A map that counts.
#[derive(Debug)]
pub struct Map(MmapMut);

/// Bytes in maps of all of rota.
static MAPPED: AtomicUsize = AtomicUsize::new(0);

/// How much is in maps now (bytes).
pub fn mapped() -> usize {
    MAPPED.load(Ordering::Relaxed)
}

impl Map {
    fn of(bytes: usize) -> std::io::Result<Self> {
        let map = MmapMut::map_anon(bytes)?;
        MAPPED.fetch_add(map.len(), Ordering::Relaxed);
        Ok(Self(map))
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        MAPPED.fetch_sub(self.0.len(), Ordering::Relaxed);
    }
}

impl Default for Pages {
    fn default() -> Self {
        Pages::Heap(Vec::new())
    }
}

impl Pages {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Pages::Heap(bytes) => bytes,
            Pages::Map(map, len) => &map.0[..*len],
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Pages::Heap(bytes) => bytes.len(),
            Pages::Map(_, len) => *len,
        }
    }

    pub fn add(&mut self, bytes: &[u8]) {
        let (old, new) = (self.len(), self.len() + bytes.len());
        let room = match self {
            Pages::Heap(_) => SMALL,
            Pages::Map(map, _) => map.0.len(),
        };
        // A map of untouched pages costs nothing: it has room for what a body may have in memory.
        if new > room
            && let Ok(mut map) = Map::of(new.next_multiple_of(STEP))
        {
            map.0[..old].copy_from_slice(self.bytes());
            *self = Pages::Map(map, old);
        }
        match self {
            Pages::Heap(heap) => heap.extend_from_slice(bytes),
            Pages::Map(map, len) if new <= map.0.len() => {
                map.0[old..new].copy_from_slice(bytes);
                *len = new;
            }
            Pages::Map(map, len) => *self = Pages::Heap([&map.0[..*len], bytes].concat()),
        }
    }

    /// Forgets the bytes and keeps the memory for the next ones.
    pub fn reuse(&mut self) {
        match self {
            Pages::Heap(bytes) => bytes.clear(),
            Pages::Map(_, len) => *len = 0,
        }
    }
}

/// Less than this is the allocator's (bytes): a map costs two system calls.
const SMALL: usize = 8 * 1024;
/// Maps are multiples of it (bytes).
const STEP: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_added_in_order_from_the_heap_to_maps_that_grow() {
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let mut pages = Pages::default();
        for piece in bytes.chunks(3_001) {
            pages.add(piece);
        }
        assert!(matches!(pages, Pages::Map(..)));
        assert_eq!(pages.bytes(), bytes);
        pages.reuse();
        pages.add(b"next");
        assert_eq!((pages.bytes(), pages.len()), (&b"next"[..], 4));
    }
}
