//! Content types by the end of a name (RFC 9110 8.3): those that browsers do something with, and common downloads. The rest is
//! application/octet-stream, which no browser takes for a page or a program; so there is no need for X-Content-Type-Options.

/// Text says that it is UTF-8.
pub fn content_type(name: &[u8]) -> &'static str {
    known(name).map_or("application/octet-stream", |(_, content_type, _)| content_type)
}

/// Whether compressed siblings are looked for: text, and what is as good as text. The rest is compressed by itself.
pub fn is_compressible(name: &[u8]) -> bool {
    known(name).is_some_and(|(_, _, compressible)| *compressible)
}

fn known(name: &[u8]) -> Option<&'static (&'static str, &'static str, bool)> {
    let last = name.rsplit(|byte| *byte == b'/').next()?;
    let extension = &last[last.iter().rposition(|byte| *byte == b'.')? + 1..];
    TYPES.iter().find(|(known, _, _)| known.as_bytes().eq_ignore_ascii_case(extension))
}

/// The most asked for first. IANA's registrations, as nginx and Apache have them.
const TYPES: [(&str, &str, bool); 79] = [
    ("js", "text/javascript; charset=utf-8", true),
    ("css", "text/css; charset=utf-8", true),
    ("png", "image/png", false),
    ("jpg", "image/jpeg", false),
    ("svg", "image/svg+xml; charset=utf-8", true),
    ("html", "text/html; charset=utf-8", true),
    ("webp", "image/webp", false),
    ("woff2", "font/woff2", false),
    ("ico", "image/x-icon", true),
    ("gif", "image/gif", false),
    ("json", "application/json", true),
    ("map", "application/json", true),
    ("txt", "text/plain; charset=utf-8", true),
    ("mjs", "text/javascript; charset=utf-8", true),
    ("jpeg", "image/jpeg", false),
    ("avif", "image/avif", false),
    ("webmanifest", "application/manifest+json", true),
    ("xml", "text/xml; charset=utf-8", true),
    ("wasm", "application/wasm", true),
    ("pdf", "application/pdf", false),
    ("htm", "text/html; charset=utf-8", true),
    ("xhtml", "application/xhtml+xml; charset=utf-8", true),
    ("csv", "text/csv; charset=utf-8", true),
    ("md", "text/markdown; charset=utf-8", true),
    ("ics", "text/calendar; charset=utf-8", true),
    ("vcf", "text/vcard; charset=utf-8", true),
    ("vtt", "text/vtt; charset=utf-8", true),
    ("srt", "application/x-subrip", true),
    ("rss", "application/rss+xml; charset=utf-8", true),
    ("atom", "application/atom+xml; charset=utf-8", true),
    ("jsonld", "application/ld+json", true),
    ("geojson", "application/geo+json", true),
    ("yaml", "application/yaml", true),
    ("yml", "application/yaml", true),
    ("rtf", "application/rtf", true),
    ("svgz", "image/svg+xml", false),
    ("bmp", "image/bmp", true),
    ("tif", "image/tiff", false),
    ("tiff", "image/tiff", false),
    ("heic", "image/heic", false),
    ("jxl", "image/jxl", false),
    ("apng", "image/apng", false),
    ("woff", "font/woff", false),
    ("ttf", "font/ttf", true),
    ("otf", "font/otf", true),
    ("eot", "application/vnd.ms-fontobject", true),
    ("mp4", "video/mp4", false),
    ("m4v", "video/mp4", false),
    ("webm", "video/webm", false),
    ("ogv", "video/ogg", false),
    ("mov", "video/quicktime", false),
    ("mpeg", "video/mpeg", false),
    ("mpg", "video/mpeg", false),
    ("avi", "video/x-msvideo", false),
    ("m3u8", "application/vnd.apple.mpegurl", true),
    ("mpd", "application/dash+xml", true),
    ("ts", "video/mp2t", false),
    ("mp3", "audio/mpeg", false),
    ("m4a", "audio/mp4", false),
    ("aac", "audio/aac", false),
    ("oga", "audio/ogg", false),
    ("ogg", "audio/ogg", false),
    ("opus", "audio/ogg", false),
    ("flac", "audio/flac", false),
    ("wav", "audio/wav", false),
    ("zip", "application/zip", false),
    ("gz", "application/gzip", false),
    ("tgz", "application/gzip", false),
    ("7z", "application/x-7z-compressed", false),
    ("epub", "application/epub+zip", false),
    ("doc", "application/msword", false),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", false),
    ("xls", "application/vnd.ms-excel", false),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", false),
    ("ppt", "application/vnd.ms-powerpoint", false),
    ("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation", false),
    ("odt", "application/vnd.oasis.opendocument.text", false),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet", false),
    ("bin", "application/octet-stream", false),
];

/// All of them.
#[cfg(test)]
pub fn ends() -> impl Iterator<Item = &'static str> {
    TYPES.iter().map(|(end, _, _)| *end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_by_the_end_of_the_name() {
        for (name, expected) in [
            ("a/b.CSS", "text/css; charset=utf-8"),
            ("app.min.js", "text/javascript; charset=utf-8"),
            ("x.tar.gz", "application/gzip"),
            ("README", "application/octet-stream"),
            ("a.css/b", "application/octet-stream"),
            ("x.php", "application/octet-stream"),
            ("x.", "application/octet-stream"),
        ] {
            assert_eq!(content_type(name.as_bytes()), expected, "{name}");
        }
        assert!(is_compressible(b"a.svg") && !is_compressible(b"a.png") && !is_compressible(b"a"));
    }

    #[test]
    fn each_end_is_there_once() {
        for (i, (name, _, _)) in TYPES.iter().enumerate() {
            assert!(TYPES[..i].iter().all(|(known, _, _)| known != name), "{name}");
        }
    }
}
