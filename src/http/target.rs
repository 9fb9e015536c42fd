//! Targets that mean something and are not spelled as RFC 3986 spells it, spelled anew: raw bytes of 0x80 and more, which older clients and
//! links typed by hand have, are percent-encoded as browsers do it, and a query behind an authority gets the path that it stands for.
//!
//! Only bytes that no reader takes for a separator are replaced, and only by `%`, two digits, and a `/` that RFC 9110 4.2.1 says is there:
//! neither ends a line, a word or a message. What comes out is parsed as strictly as what a client sends.

use super::head::is_token;

/// The same head with its target spelled anew; None: there is nothing to change in it. `head` may be a part of one.
pub fn respelled(head: &[u8]) -> Option<Vec<u8>> {
    let (start, end) = target_of(head)?;
    let target = &head[start..end];
    let path_at = missing_path(target);
    if target.is_ascii() && path_at.is_none() {
        return None;
    }
    let mut out = Vec::with_capacity(head.len() + 2 * target.len() + 1);
    out.extend_from_slice(&head[..start]);
    for (at, byte) in target.iter().enumerate() {
        if path_at == Some(at) {
            out.push(b'/');
        }
        match byte.is_ascii() {
            true => out.push(*byte),
            false => out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
    out.extend_from_slice(&head[end..]);
    Some(out)
}

/// The target of a request as the client spelled it, whole or not.
pub fn as_sent(head: &[u8]) -> &[u8] {
    target_of(head).map_or(&[], |(start, end)| &head[start..end])
}

/// Where the target is: behind a method and one space, up to the next byte that ends a word.
fn target_of(head: &[u8]) -> Option<(usize, usize)> {
    let begin = if head.starts_with(b"\r\n") { 2 } else { 0 };
    let method = head[begin..].iter().take_while(|byte| is_token(**byte)).count();
    let start = begin + method + 1;
    (method > 0 && head.get(start - 1) == Some(&b' ')).then_some(())?;
    let len = head[start..].iter().position(|byte| *byte <= b' ').unwrap_or(head.len() - start);
    Some((start, start + len))
}

/// Where the path of an absolute target belongs that has a query and no path: `http://host?a=b`.
fn missing_path(target: &[u8]) -> Option<usize> {
    let is_scheme = |scheme: &&&[u8]| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let scheme = [b"http://".as_slice(), b"https://"].iter().find(is_scheme)?.len();
    let end = scheme + target[scheme..].iter().position(|byte| matches!(byte, b'/' | b'?'))?;
    (target[end] == b'?' && end > scheme).then_some(end)
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use super::*;

    fn of(head: &[u8]) -> Option<String> {
        respelled(head).map(|head| String::from_utf8(head).unwrap())
    }

    #[test]
    fn raw_bytes_are_percent_encoded_whether_they_are_text_or_not() {
        assert_eq!(of("GET /caf\u{e9}?q=\u{20ac} HTTP/1.1\r\n".as_bytes()).unwrap(), "GET /caf%C3%A9?q=%E2%82%AC HTTP/1.1\r\n");
        assert_eq!(of(b"\r\nGET /caf\xe9 HTTP/1.1\r\n").unwrap(), "\r\nGET /caf%E9 HTTP/1.1\r\n");
        assert_eq!(of(b"GET /\x80\x85\xa0\xff").unwrap(), "GET /%80%85%A0%FF", "a part of a head");
    }

    #[test]
    fn a_query_behind_an_authority_gets_the_path_that_it_stands_for() {
        assert_eq!(of(b"GET http://host?a=b HTTP/1.1\r\n").unwrap(), "GET http://host/?a=b HTTP/1.1\r\n");
        assert_eq!(of(b"OPTIONS HTTPS://h:1? HTTP/1.1\r\n").unwrap(), "OPTIONS HTTPS://h:1/? HTTP/1.1\r\n");
    }

    #[test]
    fn nothing_else_is_touched() {
        for head in [
            b"GET / HTTP/1.1\r\nX: \xe9\r\n".as_slice(),
            b"GET http://host/?a=b HTTP/1.1\r\n",
            b"GET http://host HTTP/1.1\r\n",
            b"GET http://?a HTTP/1.1\r\n",
            b"GET /http://host?a=b HTTP/1.1\r\n",
            b"G\xe9T / HTTP/1.1\r\n",
            b"GET  /\xe9 HTTP/1.1\r\n",
            b"GET / HTTP/1.\xe9\r\n",
            b"GET / \xe9 HTTP/1.1\r\n",
            b"",
            b"GET",
            b"GET ",
        ] {
            assert_eq!(of(head), None, "{}", head.escape_ascii());
        }
    }
}
