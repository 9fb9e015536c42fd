//! Bytes in what is left to the next rota: as text of their own, base64 (RFC 4648 4), since a list of numbers is four times as long.
//! `#[serde(with = "crate::bytes")]`, for a `Vec<u8>` or a `Cow<[u8]>`.

use std::fmt::{self, Write};
use std::marker::PhantomData;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

pub fn serialize<T: AsRef<[u8]>, S: Serializer>(bytes: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Base64(bytes.as_ref()))
}

pub fn deserialize<'de, T: From<Vec<u8>>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_str(Text(PhantomData))
}

struct Base64<'a>(&'a [u8]);

impl fmt::Display for Base64<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::with_capacity(LINE / 3 * 4);
        for part in self.0.chunks(LINE) {
            line.clear();
            line.extend(part.chunks(3).flat_map(quad));
            f.write_str(&line)?;
        }
        // Whole groups only, so that a text that was cut is known.
        (0..(3 - self.0.len() % 3) % 3).try_for_each(|_| f.write_char('='))
    }
}

/// Up to three bytes as one character more.
fn quad(bytes: &[u8]) -> impl Iterator<Item = char> + use<> {
    let (count, byte) = (bytes.len(), |at: usize| u32::from(bytes.get(at).copied().unwrap_or(0)));
    let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
    (0..=count).map(move |at| char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]))
}

struct Text<T>(PhantomData<T>);

impl<T: From<Vec<u8>>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes in base64")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        bytes_of(text).map(T::from).ok_or_else(|| E::custom(format!("{} characters that are no base64", text.len())))
    }
}

fn bytes_of(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let text = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text).as_bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for part in text.chunks(4) {
        let mut bits = 0;
        for at in 0..4 {
            bits = bits << 6 | part.get(at).map_or(Some(0), |letter| value(*letter))?;
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..part.len()]);
    }
    Some(bytes)
}

fn value(letter: u8) -> Option<u32> {
    Some(match letter {
        b'A'..=b'Z' => u32::from(letter - b'A'),
        b'a'..=b'z' => u32::from(letter - b'a') + 26,
        b'0'..=b'9' => u32::from(letter - b'0') + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Bytes that are made text at a time, a multiple of three.
const LINE: usize = 3 * 1024;

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Saved<'a> {
        #[serde(with = "super")]
        own: Vec<u8>,
        #[serde(with = "super")]
        lent: Cow<'a, [u8]>,
    }

    #[test]
    fn bytes_of_every_length_are_read_back() {
        let bytes: Vec<u8> = (0..20_000_u32).map(|i| (i * 7 % 256) as u8).collect();
        for len in (0..20).chain([LINE - 1, LINE, LINE + 1, 2 * LINE, 20_000]) {
            let saved = Saved { own: bytes[..len].to_owned(), lent: Cow::Borrowed(&bytes[bytes.len() - len..]) };
            let text = serde_json::to_string(&saved).unwrap();
            assert_eq!(serde_json::from_str::<Saved<'_>>(&text).unwrap(), saved, "{len} bytes");
        }
    }

    #[test]
    fn the_text_is_that_of_everybody() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("\u{fff}?>", "4L+/Pz4=")] {
            assert_eq!(Base64(bytes.as_bytes()).to_string(), text);
        }
    }

    #[test]
    fn what_is_cut_or_no_base64_is_refused() {
        for text in ["Zg", "Zg=", "Zm9", "Z===", "Zm9v!m9v", "Zg==Zg=="] {
            assert_eq!(bytes_of(text), None, "{text}");
        }
    }
}
