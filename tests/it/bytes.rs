//! Bytes that both ends can compute: bodies by position, so that a lost, doubled or shifted piece is seen, and the checksum of uploads.

/// The byte at each position of a test body; it repeats only after 16 MiB. The apps in tests/apps compute the same.
pub fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(pattern_byte).collect()
}

pub fn pattern_byte(i: usize) -> u8 {
    (i.wrapping_mul(7)).wrapping_add((i >> 8).wrapping_mul(13)).wrapping_add((i >> 16).wrapping_mul(29)) as u8
}

/// Whether `piece` is what stands at `from`.
pub fn is_pattern(from: usize, piece: &[u8]) -> bool {
    piece.iter().enumerate().all(|(i, byte)| *byte == pattern_byte(from + i))
}

/// What the event of this id says in an event stream.
pub fn event_data(id: u64) -> String {
    format!("{id:08x}").repeat(20)
}

/// CRC-32 as in zlib (RFC 1952 8), fed in pieces.
#[derive(Clone, Copy, Debug)]
pub struct Crc(u32);

impl Crc {
    pub fn new() -> Self {
        Crc(!0)
    }

    pub fn add(&mut self, piece: &[u8]) {
        for byte in piece {
            self.0 = TABLE[usize::from((self.0 as u8) ^ byte)] ^ (self.0 >> 8);
        }
    }

    pub fn value(self) -> u32 {
        !self.0
    }
}

/// What `/echo` answers to this body.
pub fn receipt(body: &[u8]) -> String {
    let mut crc = Crc::new();
    crc.add(body);
    receipt_of(body.len() as u64, crc)
}

pub fn receipt_of(len: u64, crc: Crc) -> String {
    format!("{len} {:08x}\n", crc.value())
}

const TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut value = i as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[i] = value;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_zlib() {
        assert_eq!(receipt(b"123456789"), "9 cbf43926\n");
    }

    #[test]
    fn a_shifted_body_is_no_pattern() {
        let body = pattern(1000, 100);
        assert!(is_pattern(1000, &body));
        for shift in [1, 256, 65536] {
            assert!(!is_pattern(1000 + shift, &body), "a shift by {shift} was not seen");
        }
    }
}
