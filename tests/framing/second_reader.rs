//! A second reader of requests, for comparison only: slow, from whole strings, written from the grammar of RFC 9112 and RFC 3986 and
//! the rules of the house, without looking at the first one. Shares no code with it.

/// What the first bytes of a stream are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reading {
    /// Too early to say. (The first reader may already know that it will be refused.)
    Incomplete,
    Refused(&'static str),
    Request(Request),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub host: Option<String>,
    pub keep_alive: bool,
    pub length: usize,
    pub body: Body,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    None,
    Length(u64),
    /// Data and bytes taken; or not yet whole; or refused.
    Chunked(Result<Option<(Vec<u8>, usize)>, &'static str>),
}

/// Bytes as text, one character each, so that string functions can be used.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

pub fn read(bytes: &[u8]) -> Reading {
    let all = text(bytes);
    let start = if all.starts_with("\r\n") { 2 } else { 0 };
    let rest: String = all.chars().skip(start).collect();
    let Some(end) = rest.find("\r\n\r\n") else { return Reading::Incomplete };
    let head: String = rest[..end].to_owned();
    // Latin-1 characters take two bytes in a String: count characters, not bytes.
    let length = start + head.chars().count() + 4;
    match read_head(&head) {
        Err(why) => Reading::Refused(why),
        Ok((method, path, host, keep_alive, framing)) => {
            let body = match framing {
                Framing::None => Body::None,
                Framing::Length(length) => Body::Length(length),
                Framing::Chunked => Body::Chunked(read_chunks(&bytes[length..])),
            };
            Reading::Request(Request { method, path, host, keep_alive, length, body })
        }
    }
}

enum Framing {
    None,
    Length(u64),
    Chunked,
}

type Head = (String, String, Option<String>, bool, Framing);

fn read_head(head: &str) -> Result<Head, &'static str> {
    let lines: Vec<&str> = head.split("\r\n").collect();
    if lines.iter().any(|line| line.contains(['\r', '\n'])) {
        return Err("stray CR or LF");
    }
    let words: Vec<&str> = lines[0].split(' ').collect();
    let [method, target, version] = words[..] else { return Err("request line") };
    if method.is_empty() || !method.chars().all(is_token_char) || method.len() > 32 {
        return Err("method");
    }
    if !["HTTP/1.0", "HTTP/1.1"].contains(&version) {
        return Err("version");
    }
    if method == "CONNECT" || method == "TRACE" {
        return Err("method not allowed");
    }

    let mut fields: Vec<(String, String)> = Vec::new();
    for line in &lines[1..] {
        let (name, value) = line.split_once(':').ok_or("no colon")?;
        if name.is_empty() || !name.chars().all(is_token_char) {
            return Err("name");
        }
        if value.chars().any(|c| (c < ' ' && c != '\t') || c == '\x7f') {
            return Err("value");
        }
        fields.push((name.to_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
    let all = |name: &str| -> Vec<&str> { fields.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect() };

    let (path, target_host) = read_target(method, target)?;
    let host = match (all("host")[..].len(), version) {
        (0, "HTTP/1.0") => None,
        (1, _) => Some(read_authority(all("host")[0])?),
        _ => return Err("host"),
    };
    let options: Vec<String> = all("connection").join(",").split(',').map(|o| o.trim_matches([' ', '\t']).to_lowercase()).collect();
    let asks = |option: &str| options.iter().any(|o| o == option);
    let expectations = all("expect").join(",").to_lowercase();
    if expectations.split(',').map(|one| one.trim_matches([' ', '\t'])).any(|one| !["", "100-continue"].contains(&one)) {
        return Err("expectation");
    }
    if options.iter().filter(|o| !["", "close", "keep-alive", "upgrade"].contains(&o.as_str())).count() > 16 {
        return Err("connection options");
    }
    let keep_alive = if version == "HTTP/1.1" { !asks("close") } else { asks("keep-alive") && !asks("close") };
    let framing = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => Framing::None,
        ([value], []) if !value.is_empty() && value.chars().all(|c| c.is_ascii_digit()) => match value.trim_start_matches('0') {
            "" => Framing::None,
            digits => match digits.parse::<i64>() {
                Ok(length) => Framing::Length(length as u64),
                Err(_) => return Err("length"),
            },
        },
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") && version == "HTTP/1.1" => Framing::Chunked,
        _ => return Err("framing"),
    };
    Ok((method.to_owned(), path, target_host.or(host), keep_alive, framing))
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_graphic() && !"\"(),/:;<=>?@[\\]{}".contains(c)
}

fn read_target(method: &str, target: &str) -> Result<(String, Option<String>), &'static str> {
    if target.is_empty() || !target.chars().all(|c| c.is_ascii_graphic()) || target.contains('#') {
        return Err("target bytes");
    }
    if target.starts_with('/') || (method == "OPTIONS" && target == "*") {
        return Ok((target.to_owned(), None));
    }
    let (scheme, rest) = target.split_once("://").ok_or("target form")?;
    if !["http", "https"].contains(&scheme.to_lowercase().as_str()) {
        return Err("scheme");
    }
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => (rest[..at].to_owned(), rest[at..].to_owned()),
        None if method == "OPTIONS" => (rest.to_owned(), "*".to_owned()),
        None => (rest.to_owned(), "/".to_owned()),
    };
    if path.starts_with('?') {
        return Err("query without path");
    }
    Ok((path, Some(read_authority(&authority)?)))
}

fn read_authority(text: &str) -> Result<String, &'static str> {
    let (host, port) = match (text.rfind(']'), text.rfind(':')) {
        (None, Some(colon)) => (&text[..colon], Some(&text[colon + 1..])),
        (Some(bracket), Some(colon)) if colon > bracket => (&text[..colon], Some(&text[colon + 1..])),
        _ => (text, None),
    };
    if let Some(port) = port
        && !port.is_empty()
        && !(port.chars().all(|c| c.is_ascii_digit()) && port.len() <= 5)
    {
        return Err("port");
    }
    if host.starts_with('[') && host.ends_with(']') {
        return match host[1..host.len() - 1].parse::<std::net::Ipv6Addr>() {
            Ok(_) => Ok(host.to_owned()),
            Err(_) => Err("address"),
        };
    }
    // The house takes names as they stand in the DNS: no escapes, no sub-delims.
    if host.len() > 255 || !host.chars().all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c)) {
        return Err("host");
    }
    if host.is_empty() { Err("empty host") } else { Ok(host.to_owned()) }
}

/// The body from its first byte: data and bytes taken, if whole.
fn read_chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let mut data = Vec::new();
    let mut at = 0;
    loop {
        let Some(line) = line_at(bytes, at)? else { return Ok(None) };
        at += line.chars().count() + 2;
        let size = chunk_size(&line)?;
        if size == 0 {
            break;
        }
        let Some(chunk) = usize::try_from(size).ok().and_then(|size| bytes.get(at..at.checked_add(size)?)) else { return Ok(None) };
        data.extend_from_slice(chunk);
        at += chunk.len();
        match bytes[at..] {
            [b'\r', b'\n', ..] => at += 2,
            [] | [b'\r'] => return Ok(None),
            _ => return Err("chunk end"),
        }
    }
    let mut trailers = 0;
    loop {
        let Some(line) = line_at(bytes, at)? else { return Ok(None) };
        at += line.chars().count() + 2;
        if line.is_empty() {
            return Ok(Some((data, at)));
        }
        trailers += line.chars().count();
        let (name, value) = line.split_once(':').ok_or("trailer without colon")?;
        let good_value = value.chars().all(|c| c == '\t' || (c >= ' ' && c != '\x7f'));
        if name.is_empty() || !name.chars().all(is_token_char) || !good_value || trailers > 8000 {
            return Err("trailer");
        }
    }
}

/// The line that begins at `at`, without its end.
fn line_at(bytes: &[u8], at: usize) -> Result<Option<String>, &'static str> {
    let rest = &bytes[at..];
    let Some(lf) = rest.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let Some(line) = text(&rest[..lf]).strip_suffix('\r').map(str::to_owned) else { return Err("bare LF") };
    if line.contains('\r') { Err("bare CR") } else { Ok(Some(line)) }
}

fn chunk_size(line: &str) -> Result<u64, &'static str> {
    let (size, extensions) = match line.split_once(';') {
        Some((size, extensions)) => (size, Some(extensions)),
        None => (line, None),
    };
    if size.is_empty() || size.len() > 16 || !size.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err("chunk size");
    }
    if let Some(extensions) = extensions {
        if size.len() + 1 + extensions.chars().count() > 256 {
            return Err("long extension");
        }
        let mut rest: Vec<char> = extensions.chars().collect();
        loop {
            take_blanks(&mut rest);
            take_token(&mut rest)?;
            let mut behind = take_blanks(&mut rest);
            if rest.first() == Some(&'=') {
                rest.remove(0);
                take_blanks(&mut rest);
                if rest.first() == Some(&'"') {
                    take_quoted(&mut rest)?
                } else {
                    take_token(&mut rest)?
                }
                behind = take_blanks(&mut rest);
            }
            if rest.is_empty() && behind > 0 {
                return Err("blanks at the end");
            }
            match rest.first() {
                None => break,
                Some(';') => drop(rest.remove(0)),
                Some(_) => return Err("extension"),
            }
        }
    }
    i64::from_str_radix(size, 16).map(|size| size as u64).map_err(|_| "chunk size")
}

fn take_token(rest: &mut Vec<char>) -> Result<(), &'static str> {
    let length = rest.iter().take_while(|c| is_token_char(**c)).count();
    if length == 0 {
        return Err("empty token");
    }
    rest.drain(..length);
    Ok(())
}

/// BWS (RFC 9112 7.1.1); how many.
fn take_blanks(rest: &mut Vec<char>) -> usize {
    let count = rest.iter().take_while(|c| matches!(c, ' ' | '\t')).count();
    rest.drain(..count);
    count
}

fn take_quoted(rest: &mut Vec<char>) -> Result<(), &'static str> {
    rest.remove(0);
    loop {
        if rest.is_empty() {
            return Err("open quote");
        }
        match rest.remove(0) {
            '"' => return Ok(()),
            c if (c < ' ' && c != '\t') || c == '\x7f' => return Err("control in quotes"),
            '\\' => match rest.first() {
                Some(c) if *c == '\t' || (*c >= ' ' && *c != '\x7f') => drop(rest.remove(0)),
                _ => return Err("quoted pair"),
            },
            _ => {}
        }
    }
}
