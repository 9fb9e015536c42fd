//! From a path to the name of a file, and what a name says: where else it may be found, how long it may be kept, which codings it may have.

use std::borrow::Cow;

use super::super::head::{Fields, list, trim};
use super::{Coding, withheld};

/// The part of a request's path that is the app's own: behind the longest of the prefixes that it is reached under. With its query.
pub fn below<'p, 'r>(prefixes: impl Iterator<Item = &'r str>, path: &'p str) -> &'p str {
    let own = |prefix: &str| {
        let rest = path.strip_prefix(prefix.strip_suffix('/').unwrap_or(prefix))?;
        matches!(rest.as_bytes().first(), Some(b'/')).then_some(rest)
    };
    prefixes.filter_map(own).min_by_key(|rest| rest.len()).unwrap_or(path)
}

/// The file below a public directory that a path names, decoded once; `index.html` where it ends in a slash. None: it can be none, and is the
/// app's to answer, as it would be without a public directory: an app may well use such paths, and it is told of them as they came.
pub fn of_path(path: &str) -> Option<Cow<'_, [u8]>> {
    let path = path.split('?').next()?.strip_prefix('/')?;
    let mut name = Cow::Borrowed(path.as_bytes());
    if path.contains('%') {
        name = Cow::Owned(decoded(path.as_bytes(), false)?);
    }
    if name.is_empty() || name.ends_with(b"/") {
        name.to_mut().extend_from_slice(INDEX);
    }
    (is_plain(&name) && !is_hidden(&name) && withheld(&name).is_none()).then_some(name)
}

/// The file below `root` that an app's answer names: X-Sendfile by its path, X-Accel-Redirect by a URI of which `root` is the `/`.
pub fn named_by_app<'v>(field: &str, value: &'v [u8], roots: &[&[u8]]) -> Option<Cow<'v, [u8]>> {
    let value = trim(value);
    let name = if field.eq_ignore_ascii_case("x-sendfile") {
        let behind = |root: &&[u8]| value.strip_prefix(root.strip_suffix(b"/").unwrap_or(root))?.strip_prefix(b"/");
        Cow::Borrowed(roots.iter().find_map(behind)?)
    } else {
        let uri = value.split(|byte| *byte == b'?').next()?.strip_prefix(b"/")?;
        // As nginx reads it: an encoded slash is one.
        Cow::Owned(decoded(uri, true)?)
    };
    is_plain(&name).then_some(name)
}

/// Percent-decoding (RFC 3986 2.1). None: malformed, or an encoded slash, unless it may be a separator.
fn decoded(path: &[u8], slashes: bool) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(path.len());
    let mut bytes = path.iter();
    let digit = |byte: &u8| (*byte as char).to_digit(16);
    while let Some(&byte) = bytes.next() {
        if byte != b'%' {
            name.push(byte);
            continue;
        }
        let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
        let byte = u8::try_from(high << 4 | low).ok()?;
        if byte == b'/' && !slashes {
            return None;
        }
        name.push(byte);
    }
    Some(name)
}

/// Nothing in it that another reader would read as something else: no empty, `.` or `..` segment, backslash or control character.
fn is_plain(name: &[u8]) -> bool {
    let segment = |segment: &[u8]| !matches!(segment, b"" | b"." | b"..");
    name.split(|byte| *byte == b'/').all(segment) && !name.iter().any(|byte| *byte == b'\\' || byte.is_ascii_control())
}

/// `.git`, `.env` and the like; `.well-known` at the top is meant to be seen (RFC 8615).
pub fn is_hidden(name: &[u8]) -> bool {
    let name = name.strip_prefix(b".well-known/").unwrap_or(name);
    name.split(|byte| *byte == b'/').any(|segment| segment.starts_with(b"."))
}

/// `logo.png`, as against `users`.
fn has_extension(name: &[u8]) -> bool {
    let (stem, extension) = stem_and_extension(name);
    !stem.is_empty() && (1..=10).contains(&extension.len()) && extension.iter().all(u8::is_ascii_alphanumeric)
}

/// It may carry a fingerprint, as in `app-3f9a1c.css`: behind the first `-`, `.` or `_` of its stem there is a part of 6 characters or more that
/// is no word: it has letters and digits, changes from lower to upper case, or is 8 capitals long (esbuild). Below a directory that
/// builds fill (`assets`, `immutable`, `static`, `packs`, `build`, `chunks`) any 6 characters will do. Such a name is looked for in other
/// releases than the one that serves, where `customer-addresses.csv` is not: somebody may have deployed to be rid of it.
pub fn looks_built(name: &[u8]) -> bool {
    let (stem, _) = stem_and_extension(name);
    let Some(first) = stem.iter().position(|byte| is_separator(*byte)) else { return false };
    let behind = &stem[first + 1..];
    let is_no_word = |part: &[u8]| {
        let has = |kind: fn(&u8) -> bool| part.iter().any(kind);
        let mixed = has(u8::is_ascii_alphabetic) && has(u8::is_ascii_digit);
        let capitals = part.len() == 8 && has(u8::is_ascii_uppercase) && !has(u8::is_ascii_lowercase);
        part.len() >= 6 && (mixed || capitals || part.windows(2).any(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase()))
    };
    let of_build = || name.rsplit(|byte| *byte == b'/').skip(1).any(|segment| BUILD_DIRECTORIES.contains(&segment));
    has_extension(name) && behind.len() >= 6 && (behind.split(|byte| is_separator(*byte)).any(is_no_word) || of_build())
}

/// It carries a fingerprint of its content, so that what has this name never changes. Strict, as a wrong guess is kept for a year. A part of
/// the stem behind its first part, parts being separated by `-`, `.` or `_`, is
/// - 8 or more lower-case hexadecimal digits with a letter and a digit among them (Rails, Django, webpack), or
/// - exactly 8 letters and digits with a lower-case letter, an upper-case letter and a digit among them (Vite, Rollup), below a directory
///   named `assets` or `immutable`.
pub fn is_fingerprinted(name: &[u8]) -> bool {
    let (stem, _) = stem_and_extension(name);
    let is_hex = |part: &[u8]| {
        let hex = part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        part.len() >= 8 && hex && part.iter().any(u8::is_ascii_digit) && part.iter().any(u8::is_ascii_lowercase)
    };
    let in_assets = || name.rsplit(|byte| *byte == b'/').skip(1).any(|segment| matches!(segment, b"assets" | b"immutable"));
    let is_mixed = |part: &[u8]| {
        let all = part.iter().all(u8::is_ascii_alphanumeric);
        let each = [u8::is_ascii_digit, u8::is_ascii_lowercase, u8::is_ascii_uppercase].iter().all(|kind| part.iter().any(kind));
        part.len() == 8 && all && each && in_assets()
    };
    has_extension(name) && stem.split(|byte| is_separator(*byte)).skip(1).any(|part| is_hex(part) || is_mixed(part))
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'_')
}

/// Of the last segment.
fn stem_and_extension(name: &[u8]) -> (&[u8], &[u8]) {
    let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    match last.iter().rposition(|byte| *byte == b'.') {
        Some(dot) => (&last[..dot], &last[dot + 1..]),
        None => (last, &[]),
    }
}

/// The codings to be looked for before the file itself, the one that the client likes most first (RFC 9110 12.5.3). One that is named no
/// higher than `identity` is not worth a look; of equals the smaller comes first. None: nothing is said, or everything is refused, which is
/// answered with the file all the same, as 12.5.3 allows.
pub fn accepted_codings(fields: &Fields<'_, '_>) -> [Option<Coding>; 2] {
    let values = || fields.iter().filter(|(_, name, _)| name.eq_ignore_ascii_case("accept-encoding")).flat_map(|(_, _, value)| list(value));
    let weight = |names: &[&[u8]]| values().find_map(|member| weight_of(member, names));
    let other = weight(&[b"*"]);
    let brotli = weight(&[b"br"]).or(other).unwrap_or(0);
    let gzip = weight(&[b"gzip", b"x-gzip"]).or(other).unwrap_or(0);
    // Not named, it is acceptable and no more than that.
    let identity = weight(&[b"identity"]).unwrap_or(0);
    let wanted = |coding, weight: u16| (weight > 0 && weight >= identity).then_some(coding);
    let (brotli, gzip) = ((wanted(Coding::Brotli, brotli), brotli), (wanted(Coding::Gzip, gzip), gzip));
    if gzip.1 > brotli.1 { [gzip.0, brotli.0] } else { [brotli.0, gzip.0] }
}

/// In thousandths, where the member is about one of `names`; a malformed weight is none.
fn weight_of(member: &[u8], names: &[&[u8]]) -> Option<u16> {
    let mut parts = member.split(|byte| *byte == b';').map(trim);
    let name = parts.next()?;
    if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return None;
    }
    let Some(weight) = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q="))) else { return Some(1000) };
    let (whole, fraction) = match weight {
        [whole] => (*whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (*whole, fraction),
        _ => return Some(0),
    };
    let thousandths = [100, 10, 1].iter().zip(fraction).map(|(place, digit)| place * u16::from(digit.wrapping_sub(b'0'))).sum();
    match whole {
        b'0' if fraction.iter().all(u8::is_ascii_digit) => Some(thousandths),
        b'1' if fraction.iter().all(|digit| *digit == b'0') => Some(1000),
        _ => Some(0),
    }
}

const INDEX: &[u8] = b"index.html";
const BUILD_DIRECTORIES: [&[u8]; 6] = [b"assets", b"immutable", b"static", b"packs", b"build", b"chunks"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{HeadLimits, HeaderRoom, parse_request};

    #[test]
    fn paths_name_files_below_the_directory_and_nothing_else() {
        for (path, name) in [
            ("/", Some("index.html")),
            ("/?a=/../b", Some("index.html")),
            ("/docs/", Some("docs/index.html")),
            ("/docs", Some("docs")),
            ("/a/b.css?v=%00", Some("a/b.css")),
            ("/a%20b%2Ecss", Some("a b.css")),
            ("/%C3%A4.txt", Some("ä.txt")),
            ("/a..b/c...", Some("a..b/c...")),
            ("/%252e%252e/x", Some("%2e%2e/x")),
            ("/.well-known/acme-challenge/x_Y-9", Some(".well-known/acme-challenge/x_Y-9")),
            ("", None),
            ("*", None),
            ("//", None),
            ("/a//b", None),
            ("/a//", None),
            ("/./a", None),
            ("/a/.", None),
            ("/..", None),
            ("/../etc/passwd", None),
            ("/a/../b", None),
            ("/%2e%2e/etc/passwd", None),
            ("/.%2E/x", None),
            ("/%2e/x", None),
            ("/a%2fb", None),
            ("/..%2Fx", None),
            ("/a%5cb", None),
            ("/a\\b", None),
            ("/..\\x", None),
            ("/a%00.css", None),
            ("/a%0ab", None),
            ("/a%7f", None),
            ("/a%", None),
            ("/a%4", None),
            ("/a%zz", None),
            ("/a%+1", None),
            ("/.env", None),
            ("/.git/config", None),
            ("/%2egit/config", None),
            ("/a/.hidden", None),
            ("/a/.well-known/x", None),
            ("/.well-known/.htaccess", None),
            ("/.well-known", None),
            ("/index.php", None),
            ("/INDEX%2ePhP", None),
            ("/index.php/x.css", None),
            ("/index.php/", None),
            ("/index.php%20", None),
            ("/a/%64ump.sql.gz", None),
            ("/%23a%23", None),
        ] {
            assert_eq!(of_path(path).as_deref(), name.map(str::as_bytes), "{path}");
        }
    }

    #[test]
    fn the_prefix_of_an_app_is_no_part_of_its_files_names() {
        for (prefixes, path, expected) in [
            (&["/"][..], "/a.css", "/a.css"),
            (&["/blog"], "/blog/a.css?x", "/a.css?x"),
            (&["/blog"], "/blog/", "/"),
            (&["/blog"], "/blog", "/blog"),
            (&["/", "/blog"], "/blog/a.css", "/a.css"),
            (&["/blog", "/blog/en"], "/blog/en/a.css", "/a.css"),
            (&["/blog"], "/blogs/a.css", "/blogs/a.css"),
        ] {
            assert_eq!(below(prefixes.iter().copied(), path), expected, "{prefixes:?} {path}");
        }
    }

    #[test]
    fn apps_name_files_below_their_directory() {
        let roots = [&b"/srv/files"[..], b"/mnt/files/"];
        for (field, value, name) in [
            ("X-Sendfile", "/srv/files/a b.pdf", Some("a b.pdf")),
            ("x-sendfile", " /mnt/files/x/y ", Some("x/y")),
            ("X-Sendfile", "/srv/files/%41", Some("%41")),
            ("X-Sendfile", "/srv/files/.hidden", Some(".hidden")),
            ("X-Sendfile", "/srv/files", None),
            ("X-Sendfile", "/srv/files/", None),
            ("X-Sendfile", "/srv/files2/a", None),
            ("X-Sendfile", "/srv/files/../secret", None),
            ("X-Sendfile", "/srv/files//etc/passwd", None),
            ("X-Sendfile", "/etc/passwd", None),
            ("X-Sendfile", "a.pdf", None),
            ("X-Sendfile", "", None),
            ("X-Accel-Redirect", "/a%20b.pdf?x", Some("a b.pdf")),
            ("X-Accel-Redirect", "/x/y", Some("x/y")),
            ("x-accel-redirect", "/x%2Fy%C3%A4%3F.pdf", Some("x/yä?.pdf")),
            ("X-Accel-Redirect", "/x%2F%2e%2E%2fsecret", None),
            ("X-Accel-Redirect", "/index.php", Some("index.php")),
            ("X-Accel-Redirect", "/100%.pdf", None),
            ("X-Accel-Redirect", "/..%2fsecret", None),
            ("X-Accel-Redirect", "/%2e%2e/secret", None),
            ("X-Accel-Redirect", "@named", None),
        ] {
            assert_eq!(named_by_app(field, value.as_bytes(), &roots).as_deref(), name.map(str::as_bytes), "{field}: {value}");
        }
    }

    #[test]
    fn fingerprints_are_known_and_nothing_is_taken_for_one() {
        for name in [
            "app-1a2b3c4d.css",
            "assets/application-3f9a1c2d4b5e6f708192a3b4c5d6e7f8.js",
            "static/base.27e20196a850.js",
            "main.8c1f09aa.chunk.js",
            "assets/index-Diw4gTda.js",
            "_app/immutable/nodes/0.BkF3xQz1.js",
        ] {
            assert!(is_fingerprinted(name.as_bytes()) && looks_built(name.as_bytes()), "{name}");
        }
        for name in [
            "app.css",
            "app-3f9a1c.css",
            "photo-20240101.jpg",
            "cafe-decadefaced.css",
            "1a2b3c4d.css",
            "app-1a2b3c4d",
            "app-1A2B3C4D.css",
            "img/photo-iPhone14.jpg",
            "assets/user-Settings.js",
            "assets/report-Q32024Final.pdf",
            "1a2b3c4d/app.css",
            "jquery-3.6.0.min.js",
            "",
        ] {
            assert!(!is_fingerprinted(name.as_bytes()), "{name}");
        }
        for (name, built) in [
            ("app-3f9a1c.css", true),
            ("assets/index-DiwrgTda.js", true),
            ("app-v2.css", false),
            ("app.css", false),
            ("a-bcdefgh", false),
            ("index-DiwrgTda.js", true),
            ("app-5PCJQXZV.js", true),
            ("assets/index-D-_abc.js", true),
            ("packs/app-abcdefg.js", true),
            ("customer-addresses.csv", false),
            ("feed-summary.xml", false),
            ("report-20240101.pdf", false),
            ("report-202401.pdf", false),
        ] {
            assert_eq!(looks_built(name.as_bytes()), built, "{name}");
        }
        for (name, has) in [("a.css", true), ("a/b.c", true), ("users", false), ("a.b/c", false), ("a.", false), (".css", false)] {
            assert_eq!(has_extension(name.as_bytes()), has, "{name}");
        }
    }

    #[test]
    fn codings_by_their_weights() {
        use Coding::{Brotli, Gzip};
        for (value, expected) in [
            ("br, gzip", &[Brotli, Gzip][..]),
            ("gzip, deflate, br, zstd", &[Brotli, Gzip]),
            ("gzip;q=1.0, br;q=0.5", &[Gzip, Brotli]),
            ("GZIP", &[Gzip]),
            ("x-gzip", &[Gzip]),
            ("br;q=0, gzip", &[Gzip]),
            ("br;q=0.000, gzip ; q=0.001", &[Gzip]),
            ("*", &[Brotli, Gzip]),
            ("*;q=0", &[]),
            ("*, br;q=0", &[Gzip]),
            ("identity, gzip;q=0.5", &[]),
            ("identity;q=0, gzip;q=0.5", &[Gzip]),
            ("deflate", &[]),
            ("", &[]),
            ("gzip;q=2", &[]),
            ("gzip;q=1.5", &[]),
            ("gzip;q=0.5555", &[]),
            ("gzip;q=-1", &[]),
            ("gzipped", &[]),
        ] {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {value}\r\n\r\n");
            let mut room = HeaderRoom::new();
            let limits = HeadLimits { bytes: 8192, headers: 100, target: 1000 };
            let (head, _) = parse_request(text.as_bytes(), &limits, &mut room).unwrap().expect("whole");
            let codings: Vec<Coding> = accepted_codings(&head.fields).into_iter().flatten().collect();
            assert_eq!(codings, expected, "{value:?}");
        }
    }
}
