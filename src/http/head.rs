//! Request and response heads: httparse tokenizes, this file decides what it leaves open (HARDENING: lines, targets, Host, limits).

pub const MAX_HEADERS: usize = 128;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    Http10,
    Http11,
}

/// Limits of a request head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    pub bytes: usize,
    pub headers: usize,
    pub target: usize,
}

/// A whole, well-formed request head; borrows from the bytes it was read from.
#[derive(Debug)]
pub struct RequestHead<'b> {
    pub method: &'b str,
    /// As received.
    pub target: &'b str,
    /// Path (with query) for routing and forwarding: of an absolute-form target the part behind the authority.
    pub path: &'b str,
    /// Host without port, as received; None: an HTTP/1.0 request without Host.
    pub host: Option<&'b str>,
    /// The value for the forwarded Host field (with port).
    pub authority: Option<&'b str>,
    pub version: Version,
    pub headers: Vec<(&'b str, &'b [u8])>, // may be any cheap borrowed container
}

/// `Ok(None)`: not yet whole. `Ok(Some((head, n)))`: it took the first `n` bytes.
pub fn parse_request<'b>(bytes: &'b [u8], limits: &HeadLimits) -> Result<Option<(RequestHead<'b>, usize)>, String> {
    let _ = (bytes, limits);
    todo!()
}
