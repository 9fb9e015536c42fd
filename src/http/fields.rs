//! Which header fields mean something to a proxy. One look per field, shared by everything that reads or rewrites a head.

/// What a field name says to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Nobody's business but the app's or the client's.
    Other,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Upgrade,
    Expect,
    Date,
    /// Of one connection, never forwarded (RFC 9110 7.6.1): Keep-Alive, Proxy-Connection, TE, Trailer, HTTP2-Settings.
    HopByHop,
    /// Set by rota or by nobody: the forwarded family and its relatives, Proxy (CVE-2016-5385), and names with an underscore, which CGI
    /// mapping makes equal to the dashed ones (CVE-2015-7519).
    Owned,
}

/// The length decides first: nearly every field is told apart by it and its first byte.
pub fn classify(name: &str) -> Field {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    let field = match (name.len(), name.as_bytes().first().map(u8::to_ascii_lowercase)) {
        (2, Some(b't')) if is("te") => Field::HopByHop,
        (4, Some(b'h')) if is("host") => Field::Host,
        (4, Some(b'd')) if is("date") => Field::Date,
        (5, Some(b'p')) if is("proxy") => Field::Owned,
        (6, Some(b'e')) if is("expect") => Field::Expect,
        (7, Some(b'u')) if is("upgrade") => Field::Upgrade,
        (7, Some(b't')) if is("trailer") => Field::HopByHop,
        (9, Some(b'f')) if is("forwarded") => Field::Owned,
        (9, Some(b'x')) if is("x-real-ip") => Field::Owned,
        (9, Some(b'c')) if is("client-ip") => Field::Owned,
        (8, Some(b'x')) if is("x-scheme") => Field::Owned,
        (10, Some(b'c')) if is("connection") => Field::Connection,
        (10, Some(b'k')) if is("keep-alive") => Field::HopByHop,
        (12, Some(b'x')) if is("x-url-scheme") => Field::Owned,
        (13, Some(b'x')) if is("x-rewrite-url") => Field::Owned,
        (14, Some(b'c')) if is("content-length") => Field::ContentLength,
        (14, Some(b'h')) if is("http2-settings") => Field::HopByHop,
        (14, Some(b'x')) if is("x-original-url") => Field::Owned,
        (15, Some(b'f')) if is("front-end-https") => Field::Owned,
        (15, Some(b'x')) if is("x-sendfile-type") || is("x-forwarded-for") || is("x-forwarded-ssl") => Field::Owned,
        (15, Some(b'x')) if is("x-accel-mapping") => Field::Owned,
        (16, Some(b'p')) if is("proxy-connection") => Field::HopByHop,
        (16, Some(b'x')) if is("x-forwarded-host") || is("x-forwarded-port") => Field::Owned,
        (17, Some(b't')) if is("transfer-encoding") => Field::TransferEncoding,
        (17, Some(b'x')) if is("x-forwarded-proto") => Field::Owned,
        (18, Some(b'x')) if is("x-forwarded-scheme") || is("x-forwarded-prefix") || is("x-forwarded-server") => Field::Owned,
        (20, Some(b'x')) if is("x-forwarded-protocol") => Field::Owned,
        _ => Field::Other,
    };
    if field == Field::Other && memchr::memchr(b'_', name.as_bytes()).is_some() { Field::Owned } else { field }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case_and_nothing_else_is() {
        assert_eq!(classify("hOST"), Field::Host);
        assert_eq!(classify("CONTENT-LENGTH"), Field::ContentLength);
        assert_eq!(classify("transfer-Encoding"), Field::TransferEncoding);
        assert_eq!(classify("X-Forwarded-For"), Field::Owned);
        assert_eq!(classify("X_Forwarded_For"), Field::Owned);
        assert_eq!(classify("Content_Length"), Field::Owned);
        assert_eq!(classify("Hosts"), Field::Other);
        assert_eq!(classify("Cookie"), Field::Other);
    }
}
