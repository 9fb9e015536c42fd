//! The text of an `env_file`: `KEY=VALUE` lines. Core: text in, variables out.
//!
//! What systemd's EnvironmentFile= and the usual dotenv readers agree on is read as they do; what they read differently is a mistake, which
//! says how to write it so that it has one meaning. Nothing is substituted: a `$` is a `$`.
//!
//! - Empty lines, and lines whose first character is `#`, say nothing. `export ` before a key is passed over.
//! - A key is letters, digits and `_`, not beginning with a digit. Of two equal ones the later counts.
//! - A bare value is the rest of the line without the spaces around it. It holds no quote and no backslash, and no ` #`.
//! - In single quotes everything is meant as it stands, line ends too.
//! - In double quotes also, but for `\n`, `\r`, `\t`, `\\`, `\"`, `\$` and `` \` ``.

use std::fmt;

/// What is wrong, and where. It holds nothing of the file's text: that is secret, and may be another file's than its reader was meant to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEnvFile {
    /// From 1.
    pub line: usize,
    pub what: &'static str,
}

impl fmt::Display for BadEnvFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// A variable, and the line on which it stands.
#[derive(Clone, PartialEq, Eq)]
pub struct Variable {
    pub line: usize,
    pub name: String,
    pub value: String,
}

/// Without the value, which is secret.
impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of line {}", self.name, self.line)
    }
}

/// In the order of the file.
pub fn parse(bytes: &[u8]) -> Result<Vec<Variable>, BadEnvFile> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let line = line_of(bytes, error.valid_up_to());
        BadEnvFile { line, what: "it is not UTF-8" }
    })?;
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut variables = Vec::new();
    let (mut line, mut counted) = (1, text.len() - rest.len());
    while !rest.is_empty() {
        // Counted once: a file of empty lines is no work.
        let at = text.len() - rest.len();
        line += memchr::memchr_iter(b'\n', &bytes[counted..at]).count();
        counted = at;
        let bad = |what| BadEnvFile { line, what };
        let (first, after) = split_line(rest);
        let trimmed = first.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            rest = after;
            continue;
        }
        let (key, _) = first.split_once('=').ok_or(bad("there is no \"=\""))?;
        let name = key.trim_start().strip_prefix("export ").unwrap_or(key).trim_start();
        if name.ends_with([' ', '\t']) {
            return Err(bad("there is a space before the \"=\""));
        }
        if !is_name(name) {
            return Err(bad("what stands before the \"=\" is no name of a variable"));
        }
        let (value, after) = value(&rest[key.len() + 1..]).map_err(bad)?;
        if value.contains('\0') {
            return Err(bad("there is a NUL character in the value"));
        }
        variables.push(Variable { line, name: name.to_owned(), value });
        rest = after;
    }
    Ok(variables)
}

/// The value at the beginning of a text, and what follows its line.
fn value(text: &str) -> Result<(String, &str), &'static str> {
    let text = text.trim_start_matches([' ', '\t']);
    let (value, behind) = match text.as_bytes().first() {
        Some(b'\'') => {
            let end = text[1..].find('\'').ok_or("a single quote is not closed")?;
            (text[1..=end].to_owned(), &text[end + 2..])
        }
        Some(b'"') => double_quoted(&text[1..])?,
        _ => {
            let (line, after) = split_line(text);
            return bare(line.trim_end()).map(|value| (value.to_owned(), after));
        }
    };
    let (line, after) = split_line(behind);
    if line.trim().is_empty() || line.starts_with([' ', '\t']) && line.trim_start().starts_with('#') {
        return Ok((value, after));
    }
    Err("something follows the closing quote")
}

fn bare(value: &str) -> Result<&str, &'static str> {
    if value.contains(['"', '\'']) {
        return Err("a quote in the middle of a value: put the whole value in quotes of the other kind");
    }
    if value.contains('\\') {
        return Err("a backslash: put the value in single quotes, where it is meant as it stands");
    }
    if value.starts_with('#') || value.contains(" #") || value.contains("\t#") {
        return Err("a comment or a part of the value? Put the value in quotes, or the comment on a line of its own");
    }
    Ok(value)
}

/// The text after the opening quote up to the closing one, and what follows that.
fn double_quoted(text: &str) -> Result<(String, &str), &'static str> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, 'r')) => '\r',
                Some((_, 't')) => '\t',
                Some((_, c @ ('\\' | '"' | '$' | '`'))) => c,
                Some(_) | None => return Err("a backslash in double quotes before a character that it means nothing for"),
            }),
            c => value.push(c),
        }
    }
    Err("a double quote is not closed")
}

/// The first line without its end, LF or CR LF, and what follows.
fn split_line(text: &str) -> (&str, &str) {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    (line.strip_suffix('\r').unwrap_or(line), rest)
}

fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_part) && !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn line_of(bytes: &[u8], at: usize) -> usize {
    memchr::memchr_iter(b'\n', &bytes[..at]).count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        parse(text.as_bytes()).unwrap().into_iter().map(|variable| (variable.name, variable.value)).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_all_readers_agree_on_is_read() {
        let text =
            "# a comment\n\n  \t# another\nA=1\nexport B = 2 ".replace("B = ", "B=") + "\r\nC=\n D=x y\t\nA=3\nE=a=b#c$HOME${X}\nF= 4";
        assert_eq!(read(&text), pairs(&[("A", "1"), ("B", "2"), ("C", ""), ("D", "x y"), ("A", "3"), ("E", "a=b#c$HOME${X}"), ("F", "4")]));
        assert_eq!(read(""), []);
        assert_eq!(read("\u{feff}A=1"), pairs(&[("A", "1")]));
    }

    #[test]
    fn quotes_hold_what_they_hold() {
        assert_eq!(read("A='it is \\n $X \"#'  # said\nB=''"), pairs(&[("A", "it is \\n $X \"#"), ("B", "")]));
        assert_eq!(read(r#"A="a\nb\t\"\\\$\`' # $X" "#), pairs(&[("A", "a\nb\t\"\\$`' # $X")]));
        assert_eq!(
            read("KEY='-----BEGIN\nx=y\n-----END\n'\nB=\"1\n2\"\nC=3"),
            pairs(&[("KEY", "-----BEGIN\nx=y\n-----END\n"), ("B", "1\n2"), ("C", "3")])
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_without_its_text() {
        for (text, line, what) in [
            ("A=1\nsecret\n", 2, "there is no \"=\""),
            ("=secret", 1, "no name of a variable"),
            ("1A=secret", 1, "no name of a variable"),
            ("a-b=secret", 1, "no name of a variable"),
            ("A =secret", 1, "a space before the \"=\""),
            ("A='1\n2'\nB=\"secret", 3, "a double quote is not closed"),
            ("A='secret\n\n", 1, "a single quote is not closed"),
            ("A='secret'x", 1, "something follows the closing quote"),
            ("A='secret'#x", 1, "something follows the closing quote"),
            ("A=\"\\x\"", 1, "a backslash in double quotes"),
            ("A=se\"cret\"", 1, "a quote in the middle"),
            ("A=se\\cret", 1, "a backslash: "),
            ("A=secret # x", 1, "a comment or a part"),
            ("A=# secret", 1, "a comment or a part"),
            ("A=\n\nB=secret\0", 3, "a NUL character"),
        ] {
            let bad = parse(text.as_bytes()).err().unwrap_or_else(|| panic!("{text:?} was read"));
            assert!(bad.line == line && bad.what.contains(what) && !bad.to_string().contains("secret"), "{text:?}: {bad}");
        }
        assert_eq!(parse(b"A=1\nB=\xff").err(), Some(BadEnvFile { line: 2, what: "it is not UTF-8" }));
    }

    #[test]
    fn no_text_is_too_odd() {
        let parts = ["A", "=", "'", "\"", "\\", "\n", " ", "#", "\r", "export ", "\u{e9}", "\0"];
        for mut seed in 0..parts.len().pow(5) {
            let mut text = String::new();
            for _ in 0..5 {
                text.push_str(parts[seed % parts.len()]);
                seed /= parts.len();
            }
            let _ = parse(text.as_bytes());
        }
    }
}
