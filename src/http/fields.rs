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
    /// X-Request-Id.
    RequestId,
    /// X-Forwarded-For, -Host, -Proto and Forwarded (RFC 7239): we say them; of a trusted peer they are believed.
    ForwardedFor,
    ForwardedHost,
    ForwardedProto,
    ForwardedHops,
    /// X-Forwarded-Port: of a trusted peer it is believed.
    ForwardedPort,
    /// Other names for the address of the client, and for its scheme: of a trusted peer they are passed on if they say what we say.
    ClientAddress,
    ClientScheme,
    /// X-Sendfile, X-Accel-Redirect: of an app it names the file to be sent; not forwarded in either direction.
    SendFile,
    /// The rest of that family and its relatives: what only a trusted peer may say.
    Forwarded,
    /// Set by nobody: Proxy (CVE-2016-5385), and names with an underscore or a dot, which CGI mapping and PHP make equal to the dashed ones
    /// (CVE-2015-7519).
    Owned,
}

/// A name with an underscore or a dot that apps take for one that means something to us.
pub fn is_alias(name: &str) -> bool {
    name.contains(ALIKE) && classify(&name.replace(ALIKE, "-")) != Field::Other
}

/// What stands for a dash in a name, or becomes what a dash becomes: `X_Real_IP` and, in PHP, `X.Real.IP` are HTTP_X_REAL_IP as X-Real-IP is.
pub const ALIKE: [char; 2] = ['_', '.'];

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
        (9, Some(b'f')) if is("forwarded") => Field::ForwardedHops,
        (9, Some(b'x')) if is("x-real-ip") => Field::ClientAddress,
        (9, Some(b'c')) if is("client-ip") => Field::ClientAddress,
        (8, Some(b'x')) if is("x-scheme") => Field::ClientScheme,
        (10, Some(b'c')) if is("connection") => Field::Connection,
        (10, Some(b'k')) if is("keep-alive") => Field::HopByHop,
        (10, Some(b'x')) if is("x-sendfile") => Field::SendFile,
        (11, Some(b'x')) if is("x-client-ip") => Field::ClientAddress,
        (12, Some(b'x')) if is("x-request-id") => Field::RequestId,
        (12, Some(b'x')) if is("x-url-scheme") => Field::ClientScheme,
        (13, Some(b'x')) if is("x-rewrite-url") => Field::Forwarded,
        (14, Some(b'c')) if is("content-length") => Field::ContentLength,
        (14, Some(b't')) if is("true-client-ip") => Field::ClientAddress,
        (14, Some(b'h')) if is("http2-settings") => Field::HopByHop,
        (14, Some(b'x')) if is("x-original-url") => Field::Forwarded,
        (15, Some(b'f')) if is("front-end-https") => Field::ClientScheme,
        (15, Some(b'x')) if is("x-forwarded-for") => Field::ForwardedFor,
        (15, Some(b'x')) if is("x-forwarded-ssl") => Field::ClientScheme,
        (15, Some(b'x')) if is("x-sendfile-type") => Field::Forwarded,
        (15, Some(b'x')) if is("x-accel-mapping") => Field::Forwarded,
        (16, Some(b'c')) if is("cf-connecting-ip") => Field::ClientAddress,
        (16, Some(b'f')) if is("fastly-client-ip") => Field::ClientAddress,
        (16, Some(b'p')) if is("proxy-connection") => Field::HopByHop,
        (16, Some(b'x')) if is("x-accel-redirect") => Field::SendFile,
        (16, Some(b'x')) if is("x-forwarded-host") => Field::ForwardedHost,
        (16, Some(b'x')) if is("x-forwarded-port") => Field::ForwardedPort,
        (17, Some(b't')) if is("transfer-encoding") => Field::TransferEncoding,
        (17, Some(b'x')) if is("x-forwarded-proto") => Field::ForwardedProto,
        (18, Some(b'x')) if is("x-forwarded-scheme") => Field::ClientScheme,
        (19, Some(b'x')) if is("x-cluster-client-ip") => Field::ClientAddress,
        (20, Some(b'x')) if is("x-forwarded-protocol") => Field::ClientScheme,
        // All of the family, whatever may be invented yet: apps believe -User, -Client-Cert, -Prefix and more.
        (11.., Some(b'x'))
            if name.as_bytes()[..11].eq_ignore_ascii_case(b"x-forwarded") && matches!(name.as_bytes().get(11), None | Some(b'-')) =>
        {
            Field::Forwarded
        }
        _ => Field::Other,
    };
    if field == Field::Other && memchr::memchr2(b'_', b'.', name.as_bytes()).is_some() { Field::Owned } else { field }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case_and_nothing_else_is() {
        assert_eq!(classify("hOST"), Field::Host);
        assert_eq!(classify("CONTENT-LENGTH"), Field::ContentLength);
        assert_eq!(classify("transfer-Encoding"), Field::TransferEncoding);
        assert_eq!(classify("X-Forwarded-For"), Field::ForwardedFor);
        for name in ["X-Forwarded", "x-forwarded-user", "X-FORWARDED-Client-Cert", "X-Forwarded-"] {
            assert_eq!(classify(name), Field::Forwarded, "{name}");
        }
        for name in
            ["X-Client-IP", "X-Real-Ip", "client-ip", "True-Client-IP", "X-Cluster-Client-IP", "CF-Connecting-IP", "Fastly-Client-IP"]
        {
            assert_eq!(classify(name), Field::ClientAddress, "{name}");
        }
        for name in ["X-Scheme", "X-Url-Scheme", "Front-End-Https", "X-Forwarded-Ssl", "X-Forwarded-Scheme", "X-Forwarded-Protocol"] {
            assert_eq!(classify(name), Field::ClientScheme, "{name}");
        }
        assert_eq!(classify("X-ForwardedFor"), Field::Other);
        assert_eq!(classify("X_Forwarded_For"), Field::Owned);
        assert_eq!(classify("Content_Length"), Field::Owned);
        assert_eq!(classify("X.Forwarded.User"), Field::Owned);
        for (name, is) in [
            ("X_Forwarded_For", true),
            ("content_length", true),
            ("X-Real_IP", true),
            ("X.Real-IP", true),
            ("X.Auth", false),
            ("X_Auth", false),
            ("X-Real-IP", false),
        ] {
            assert_eq!(is_alias(name), is, "{name}");
        }
        assert_eq!(classify("Hosts"), Field::Other);
        assert_eq!(classify("Cookie"), Field::Other);
    }
}
