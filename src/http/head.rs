//! Request and response heads. httparse tokenizes; this file decides everything that it leaves open: line ends, versions, targets, Host,
//! limits (RFC 9112 sections 2, 3 and 5). Whatever is in doubt is refused, not repaired.

use std::mem::MaybeUninit;

use httparse::{Header, Status};
use serde::{Deserialize, Serialize};

use super::fields::{Field, classify};
use super::refusal::Refusal;

/// The most header fields that a head may have, whatever the configuration says.
pub const MAX_HEADERS: usize = 128;

/// Room for the fields of one head, on the caller's stack.
#[derive(Debug)]
pub struct HeaderRoom<'b> {
    headers: [MaybeUninit<Header<'b>>; MAX_HEADERS],
    fields: [Field; MAX_HEADERS],
    named: [&'b [u8]; MAX_NAMED],
}

/// Limits of a request head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes, request line included.
    pub bytes: usize,
    pub headers: usize,
    /// Bytes of the target.
    pub target: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Version {
    Http10,
    Http11,
}

/// A whole, well-formed request head; borrows from the bytes that it was read from.
#[derive(Debug)]
pub struct RequestHead<'h, 'b> {
    pub method: &'b str,
    /// As received.
    pub target: &'b str,
    /// Path with query, for routing and forwarding: of an absolute target the part behind the authority.
    pub path: &'b str,
    /// For the forwarded Host field, with its port; None: an HTTP/1.0 request without Host.
    pub authority: Option<&'b str>,
    pub version: Version,
    pub fields: Fields<'h, 'b>,
}

/// A whole, well-formed response head.
#[derive(Debug)]
pub struct ResponseHead<'h, 'b> {
    /// 100 to 599.
    pub status: u16,
    pub phrase: &'b str,
    pub version: Version,
    pub fields: Fields<'h, 'b>,
}

/// The header fields of a head, in order, each with what it means to us.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'h, 'b> {
    headers: &'h [Header<'b>],
    fields: &'h [Field],
    connection: Connection,
    /// Options of Connection that name other fields: those are not forwarded.
    named: &'h [&'b [u8]],
}

/// What the Connection fields say (RFC 9110 7.6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
}

/// What an app sent is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadResponse(pub &'static str);

impl BadResponse {
    pub fn reason(&self) -> &'static str {
        self.0
    }
}

impl HeaderRoom<'_> {
    #[allow(clippy::new_without_default)] // it is room, not a value
    pub fn new() -> Self {
        Self { headers: [const { MaybeUninit::uninit() }; MAX_HEADERS], fields: [Field::Other; MAX_HEADERS], named: [&[]; MAX_NAMED] }
    }
}

impl<'h, 'b> RequestHead<'h, 'b> {
    /// Without port; None: an HTTP/1.0 request without Host.
    pub fn host(&self) -> Option<&'b str> {
        self.authority.map(|authority| match authority.rfind(':') {
            Some(colon) if !authority.ends_with(']') => &authority[..colon],
            Some(_) | None => authority,
        })
    }
}

impl<'h, 'b> Fields<'h, 'b> {
    pub fn iter(&self) -> impl Iterator<Item = (Field, &'b str, &'b [u8])> + use<'h, 'b> {
        self.fields.iter().zip(self.headers).map(|(field, header)| (*field, header.name, header.value))
    }

    /// The values of one kind of field.
    pub fn values(&self, wanted: Field) -> impl Iterator<Item = &'b [u8]> + use<'h, 'b> {
        self.iter().filter(move |(field, _, _)| *field == wanted).map(|(_, _, value)| value)
    }

    pub fn connection(&self) -> Connection {
        self.connection
    }

    /// Whether a Connection field names this one.
    pub fn is_named_by_connection(&self, name: &str) -> bool {
        self.named.iter().any(|option| option.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// Err: Connection names too many fields.
    fn new(headers: &'h [Header<'b>], fields: &'h mut [Field], named: &'h mut [&'b [u8]; MAX_NAMED]) -> Result<Self, &'static str> {
        let (mut connection, mut count) = (Connection::default(), 0);
        for (field, header) in fields.iter_mut().zip(headers) {
            *field = classify(header.name);
            if *field == Field::Connection {
                for option in list(header.value).filter(|option| !connection.knows(option)) {
                    *named.get_mut(count).ok_or("more than 16 fields named by Connection")? = option;
                    count += 1;
                }
            }
        }
        Ok(Self { headers, fields, connection, named: &named[..count] })
    }
}

impl Connection {
    /// Takes note of an option; false: it names another field.
    fn knows(&mut self, option: &[u8]) -> bool {
        match option.len() {
            5 if option.eq_ignore_ascii_case(b"close") => self.close = true,
            10 if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
            7 if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            0 => {}
            _ => return false,
        }
        true
    }
}

/// The members of a comma-separated list without the white space around them (RFC 9110 5.6.1).
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim)
}

/// Without optional white space: SP and HTAB, nothing else (RFC 9110 5.6.3).
pub fn trim(bytes: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(first) = bytes.iter().position(|byte| !is_space(byte)) else { return &[] };
    let last = bytes.iter().rposition(|byte| !is_space(byte)).unwrap_or(first);
    &bytes[first..=last]
}

/// Bytes of a token (RFC 9110 5.6.2).
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Where a parse of `bytes`, of which `searched` have been looked at before, will not say "not yet" any more: behind the head, or behind a
/// line that ends in LF alone, which is refused.
pub fn head_end(bytes: &[u8], searched: usize) -> Option<usize> {
    let from = searched.min(bytes.len());
    memchr::memchr_iter(b'\n', &bytes[from..]).map(|at| from + at).find_map(|lf| match bytes[..lf] {
        [.., b'\r', b'\n', b'\r'] => Some(lf + 1),
        [.., b'\r'] => None,
        _ => Some(lf + 1),
    })
}

/// A head has begun: there is more than the empty line that some clients send behind a body (RFC 9112 2.2).
pub fn has_begun(bytes: &[u8]) -> bool {
    !matches!(bytes, b"" | b"\r" | b"\r\n")
}

/// The request that begins here is a HEAD, as far as can be seen, whatever is wrong with it: its answer has no body.
pub fn is_to_head(bytes: &[u8]) -> bool {
    bytes.strip_prefix(b"\r\n").unwrap_or(bytes).starts_with(b"HEAD ")
}

/// `Ok(None)`: not yet whole. `Ok(Some((head, n)))`: it took the first `n` bytes.
pub fn parse_request<'h, 'b>(
    bytes: &'b [u8],
    limits: &HeadLimits,
    room: &'h mut HeaderRoom<'b>,
) -> Result<Option<(RequestHead<'h, 'b>, usize)>, Refusal> {
    // RFC 9112 2.2: one empty line before a request is ignored. httparse would skip any number.
    let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let bytes = &bytes[skipped..];
    if matches!(bytes.first(), Some(b'\r' | b'\n')) {
        return if bytes == b"\r" { Ok(None) } else { Err(Refusal::BadRequest("empty lines before the request line")) };
    }
    let max_headers = limits.headers.min(MAX_HEADERS);
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, &mut room.headers[..max_headers]);
    let used = match parsed {
        Ok(Status::Complete(used)) => used,
        Ok(Status::Partial) => return partial(bytes, limits),
        // What the version is, only the whole line says: the answer must not depend on how it was cut.
        Err(httparse::Error::Version) if !bytes.contains(&b'\n') => return partial(bytes, limits),
        Err(error) => return Err(long_word(bytes, limits).unwrap_or_else(|| diagnose(bytes, error))),
    };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Refusal::BadRequest("malformed request line"));
    };
    if let Some(refusal) = long_word(bytes, limits) {
        return Err(refusal);
    }
    if used > limits.bytes {
        return Err(Refusal::HeadTooLarge);
    }
    if has_bare_lf(&bytes[..used]) {
        return Err(Refusal::BadRequest(BARE_LF));
    }
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    let headers: &'h [Header<'b>] = request.headers;
    let fields = Fields::new(headers, &mut room.fields[..headers.len()], &mut room.named).map_err(Refusal::BadRequest)?;
    let host = host_field(&fields, version)?;
    let (path, of_target) = split_target(method, target)?;
    // RFC 9112 3.2.2: the authority of an absolute target replaces Host.
    let head = RequestHead { method, target, path, authority: of_target.or(host), version, fields };
    Ok(Some((head, skipped + used)))
}

/// `Ok(None)`: not yet whole.
pub fn parse_response<'h, 'b>(bytes: &'b [u8], room: &'h mut HeaderRoom<'b>) -> Result<Option<(ResponseHead<'h, 'b>, usize)>, BadResponse> {
    if matches!(bytes.first(), Some(b'\r' | b'\n')) {
        return Err(BadResponse("an empty line before the status line"));
    }
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut room.headers);
    let used = match parsed {
        Ok(Status::Complete(used)) => used,
        Ok(Status::Partial) if bytes.len() > MAX_RESPONSE_HEAD => return Err(BadResponse("its head is larger than 64 KiB")),
        Ok(Status::Partial) if has_bare_lf(bytes) => return Err(BadResponse("a line of its head ends in LF without CR")),
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(BadResponse("more than 128 header fields")),
        Err(httparse::Error::Version) => return Err(BadResponse("not HTTP/1.0 or HTTP/1.1")),
        Err(httparse::Error::Status) => return Err(BadResponse("malformed status line")),
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::NewLine | httparse::Error::Token) => {
            return Err(BadResponse("malformed header field"));
        }
    };
    let (Some(status), Some(version)) = (response.code, response.version) else { return Err(BadResponse("malformed status line")) };
    if used > MAX_RESPONSE_HEAD {
        return Err(BadResponse("its head is larger than 64 KiB"));
    }
    if !(100..=599).contains(&status) {
        return Err(BadResponse("its status is not from 100 to 599"));
    }
    if has_bare_lf(&bytes[..used]) {
        return Err(BadResponse("a line of its head ends in LF without CR"));
    }
    let headers: &'h [Header<'b>] = response.headers;
    let fields = Fields::new(headers, &mut room.fields[..headers.len()], &mut room.named).map_err(BadResponse)?;
    let version = if version == 0 { Version::Http10 } else { Version::Http11 };
    Ok(Some((ResponseHead { status, phrase: response.reason.unwrap_or_default(), version, fields }, used)))
}

/// Part of a head: is it beyond a limit already?
fn partial<T>(bytes: &[u8], limits: &HeadLimits) -> Result<Option<T>, Refusal> {
    if let Some(refusal) = long_word(bytes, limits) {
        return Err(refusal);
    }
    if has_bare_lf(bytes) {
        return Err(Refusal::BadRequest(BARE_LF));
    }
    if bytes.len() > limits.bytes { Err(Refusal::HeadTooLarge) } else { Ok(None) }
}

/// Method and target, whole or not, against their bounds: asked on every way out, so that the answer does not depend on the cut.
fn long_word(bytes: &[u8], limits: &HeadLimits) -> Option<Refusal> {
    let method = bytes.iter().take(METHOD_MAX + 1).take_while(|byte| is_token(**byte)).count();
    if method > METHOD_MAX {
        return Some(Refusal::NotImplemented("a method longer than any that is known"));
    }
    let target = bytes.get(method..)?.strip_prefix(b" ")?;
    let is_longer = target.len() > limits.target && target[..=limits.target].iter().all(|byte| *byte > b' ' && *byte != 0x7f);
    is_longer.then_some(Refusal::TargetTooLong)
}

fn diagnose(bytes: &[u8], error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => Refusal::TooManyHeaders,
        httparse::Error::Version if names_other_version(bytes) => Refusal::VersionNotSupported,
        httparse::Error::Version => Refusal::BadRequest("malformed HTTP version"),
        httparse::Error::HeaderName => Refusal::BadRequest("malformed header field name"),
        httparse::Error::HeaderValue => Refusal::BadRequest("malformed header field value"),
        httparse::Error::NewLine => Refusal::BadRequest("malformed line end"),
        httparse::Error::Status | httparse::Error::Token => Refusal::BadRequest("malformed request line"),
    }
}

/// `HTTP/d.d` with digits that we do not speak (RFC 9110 15.6.6), as against garbage.
fn names_other_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let word = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    matches!(word, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit())
        && line.iter().filter(|byte| **byte == b' ').count() == 2
}

fn has_bare_lf(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r')
}

/// RFC 9112 3.2: exactly one in HTTP/1.1, at most one in HTTP/1.0, and well-formed.
fn host_field<'b>(fields: &Fields<'_, 'b>, version: Version) -> Result<Option<&'b str>, Refusal> {
    let mut hosts = fields.values(Field::Host);
    let (first, second) = (hosts.next(), hosts.next());
    match (first, second) {
        (Some(_), Some(_)) => Err(Refusal::BadRequest("more than one Host field")),
        (None, _) if version == Version::Http11 => Err(Refusal::BadRequest("no Host field")),
        (None, _) => Ok(None),
        (Some(value), None) => authority(trim(value)).map(Some).ok_or(Refusal::BadRequest("malformed Host field")),
    }
}

/// `uri-host [ ":" port ]` (RFC 9110 7.2), without userinfo and not empty.
pub fn authority(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (None, rest.strip_prefix(':').or(rest.is_empty().then_some(""))?)
        }
        None => {
            let (host, port) = text.split_once(':').unwrap_or((text, ""));
            (Some(host), port)
        }
    };
    let host_is_good = host.is_none_or(|host| !host.is_empty() && host.len() <= 255 && host.bytes().all(is_host_byte));
    let port_is_good = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    (host_is_good && port_is_good).then_some(text)
}

/// reg-name without percent-encoding, which no name on the network has (RFC 3986 3.2.2).
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Path and query, and of an absolute target its authority (RFC 9112 3.2).
fn split_target<'b>(method: &str, target: &'b str) -> Result<(&'b str, Option<&'b str>), Refusal> {
    if method == "CONNECT" || method == "TRACE" {
        return Err(Refusal::MethodNotAllowed);
    }
    let bytes = target.as_bytes();
    // 0x21 to 0x7E: httparse also lets UTF-8 through. A fragment has no place in any form.
    if !bytes.iter().all(|byte| matches!(byte, 0x21..=0x7e) && *byte != b'#') {
        return Err(Refusal::BadRequest("a byte in the target that has no place there"));
    }
    if bytes.first() == Some(&b'/') {
        return Ok((target, None));
    }
    if target == "*" {
        return if method == "OPTIONS" { Ok((target, None)) } else { Err(Refusal::BadRequest("the target * is for OPTIONS")) };
    }
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let Some(scheme) = scheme else { return Err(Refusal::BadRequest("the target is neither a path nor an http URI")) };
    let rest = &target[scheme.len()..];
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority_part, path) = rest.split_at(end);
    let authority = authority(authority_part.as_bytes()).ok_or(Refusal::BadRequest("malformed authority in the target"))?;
    match path.as_bytes().first() {
        // RFC 9112 3.2.4: it is about the server as a whole.
        None if method == "OPTIONS" => Ok(("*", Some(authority))),
        None => Ok(("/", Some(authority))),
        Some(b'/') => Ok((path, Some(authority))),
        Some(_) => Err(Refusal::BadRequest("an absolute target with a query and no path")),
    }
}

pub const MAX_RESPONSE_HEAD: usize = 64 * 1024;
/// Bytes. The longest registered method has 17; one longer than any that is known: 501 (RFC 9112 3).
const METHOD_MAX: usize = 32;
/// Fields that Connection may name: each field of the head is looked up among them.
const MAX_NAMED: usize = 16;
const BARE_LF: &str = "a line ends in LF without CR";
