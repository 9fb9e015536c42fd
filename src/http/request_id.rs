//! Names for requests: 128 bits that nobody outside can guess or meet twice, without a system call for each.

use std::hash::{BuildHasher, RandomState};

/// Makes the names of one event loop: a counter under a keyed hash (SipHash; the keys come from the system once for each thread).
#[derive(Debug, Default)]
pub struct RequestIds {
    keys: [RandomState; 2],
    next: u64,
}

impl RequestIds {
    pub fn fresh(&mut self) -> u128 {
        self.next += 1;
        let [high, low] = [0, 1].map(|half: usize| self.keys[half].hash_one(self.next));
        u128::from(high) << 64 | u128::from(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_the_same() {
        let (mut one, mut other) = (RequestIds::default(), RequestIds::default());
        let all: std::collections::HashSet<u128> = (0..1000).flat_map(|_| [one.fresh(), other.fresh()]).collect();
        assert_eq!(all.len(), 2000);
    }
}
