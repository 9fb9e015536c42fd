//! Seeded randomness and mutations that look like what attackers send.

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `bound` - 1; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// The seeds to try.
pub fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match number("ROTA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ROTA_SWEEP").unwrap_or(usual),
    }
}

/// One of `samples`, changed in one to three places.
pub fn mutated(random: &mut Random, samples: &[&[u8]]) -> Vec<u8> {
    let mut bytes = random.pick(samples).to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(12)).min(bytes.len());
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] = random.pick(PIECES)[0],
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            0..=2 => drop(bytes.splice(at..at, random.pick(PIECES).iter().copied())),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            5 => {
                let other = random.pick(samples);
                let start = random.below(other.len());
                let piece = &other[start..(start + 1 + random.below(40)).min(other.len())];
                bytes.splice(at..end, piece.iter().copied());
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

const PIECES: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b"\0",
    b"\t",
    b" ",
    b"  ",
    b":",
    b",",
    b";",
    b"=",
    b"\"",
    b"\\",
    b"#",
    b"?",
    b"/",
    b"@",
    b"[",
    b"]",
    b"%",
    b"+",
    b"-",
    b"_",
    b"*",
    b"\x0b",
    b"\x7f",
    b"\xa0",
    b"\xc3\xa9",
    b"0",
    b"1",
    b"5",
    b"f",
    b"x",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"HTTP/2.0",
    b"chunked",
    b"identity",
    b"close",
    b"keep-alive",
    b"Host: b\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"\r\nContent-Length: 7",
    b"Transfer-Encoding: chunked\r\n",
    b"\r\nTransfer-Encoding: gzip, chunked",
    b"Connection: close, X-A\r\n",
    b"Upgrade: websocket\r\n",
    b"\r\n folded",
    b"http://c.example",
    b"18446744073709551621",
    b"ffffffffffffffff",
    b"0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
];
