//! The bodies of rota's own refusals: a small page, a problem as JSON, or text; or what an operator has written instead of them.
//!
//! Nothing of the request is in them but its id, which is ours or has safe bytes only, and nothing of the server or the app unless there is a
//! [`Plight`] to show.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use serde::Serialize;

use super::accept::Form;

/// What is sent instead of our own texts, by status (`errors.502 = "FILE"`).
pub type Pages = BTreeMap<u16, Page>;

/// A file, as it was when the configuration was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// By the end of the file's name.
    pub form: Form,
    pub body: Arc<str>,
}

/// Why an app does not answer, for whoever may know that (`friendly_errors`): what its developers would look up in `rota status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plight {
    /// One word each, and what is to be said about it.
    pub facts: Vec<(&'static str, String)>,
    /// The last lines that the process printed, oldest first.
    pub output: Vec<String>,
}

/// What is to be said, in whatever form.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    pub status: u16,
    /// Of the status line.
    pub phrase: &'a str,
    /// For a visitor: what is the matter, without a full stop.
    pub heading: &'a str,
    /// For a visitor: what to do about it, or what it means.
    pub advice: &'a str,
    pub request_id: Option<&'a str>,
    pub plight: Option<&'a Plight>,
}

impl Page {
    /// Whoever asks for JSON gets JSON.
    pub fn suits(&self, wanted: Form) -> bool {
        wanted != Form::Json || self.form == Form::Json
    }

    pub fn media_type(&self) -> &'static str {
        match self.form {
            Form::Plain => PLAIN,
            Form::Html => HTML,
            Form::Json => "application/json",
        }
    }
}

impl Plight {
    /// Without what only a terminal understands, and the output within its bound: the last lines of it.
    pub fn shown(&self) -> Self {
        let mut left = OUTPUT;
        let lines = self.output.iter().rev().map(|line| printable(line)).take_while(|line| {
            let fits = line.len() < left;
            left = left.saturating_sub(line.len() + 1);
            fits
        });
        let mut output: Vec<String> = lines.collect();
        output.reverse();
        Self { facts: self.facts.iter().map(|(word, text)| (*word, printable(text))).collect(), output }
    }
}

impl Text<'_> {
    /// The body, and its media type.
    pub fn write(&self, form: Form) -> (String, &'static str) {
        let plight = self.plight.map(Plight::shown);
        let shown = Text { plight: plight.as_ref(), ..*self };
        match form {
            Form::Plain => (shown.plain(), PLAIN),
            Form::Html => (shown.html(), HTML),
            Form::Json => (shown.json(), "application/problem+json"),
        }
    }

    fn plain(&self) -> String {
        let mut text = format!("{} {}\n{}. {}\n", self.status, self.phrase, self.heading, self.advice);
        if let Some(id) = self.request_id {
            put(&mut text, format_args!("Request id: {id}\n"));
        }
        if let Some(plight) = self.plight {
            text.push('\n');
            for (word, what) in &plight.facts {
                put(&mut text, format_args!("{word}: {what}\n"));
            }
            for line in &plight.output {
                put(&mut text, format_args!("  | {line}\n"));
            }
        }
        text
    }

    fn html(&self) -> String {
        let Text { status, phrase, heading, advice, .. } = self;
        let mut text = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
             <link rel=\"icon\" href=\"data:,\">\n<title>{heading}</title>\n<style>{STYLE}{}</style>\n\
             <main>\n<p class=\"s\">{status} {phrase}</p>\n<h1>{heading}</h1>\n<p>{advice}</p>\n",
            if self.plight.is_some() { PLIGHT_STYLE } else { "" },
        );
        if let Some(plight) = self.plight {
            text.push_str("<dl>\n");
            for (word, what) in &plight.facts {
                put(&mut text, format_args!("<dt>{word}</dt><dd>{}</dd>\n", escaped(what)));
            }
            text.push_str("</dl>\n");
            if !plight.output.is_empty() {
                text.push_str("<h2>The last lines of its output</h2>\n<pre>");
                for line in &plight.output {
                    put(&mut text, format_args!("{}\n", escaped(line)));
                }
                text.push_str("</pre>\n");
            }
        }
        if let Some(id) = self.request_id {
            put(&mut text, format_args!("<p class=\"s\">If you report this, please name the request: <code>{}</code></p>\n", escaped(id)));
        }
        text.push_str("</main>\n");
        text
    }

    fn json(&self) -> String {
        let problem = Problem {
            kind: "about:blank",
            title: self.phrase,
            status: self.status,
            detail: format!("{}. {}", self.heading, self.advice),
            request_id: self.request_id,
            why: self.plight.map(|plight| plight.facts.iter().map(|(word, what)| (*word, what.as_str())).collect()),
            output: self.plight.map(|plight| &plight.output[..]),
        };
        let mut text = serde_json::to_string(&problem).expect("texts and a number, which JSON can hold");
        text.push('\n');
        text
    }
}

/// RFC 9457 3.1, and members of our own (3.2).
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<BTreeMap<&'a str, &'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a [String]>,
}

/// As text or the value of an attribute in quotes.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Without escape sequences (ECMA-48 5.4, and those that rota's log has spelt out), controls, and what turns the direction of writing.
fn printable(text: &str) -> String {
    let mut rest = text;
    let mut plain = String::with_capacity(text.len());
    while let Some(c) = rest.chars().next() {
        if let Some(behind) = rest.strip_prefix(SPELT_ESCAPE).or_else(|| rest.strip_prefix('\x1b')) {
            rest = behind_sequence(behind);
            continue;
        }
        let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match c {
            '\n' => plain.push(' '),
            '\t' => plain.push(c),
            c if c.is_control() || turns => {}
            c => plain.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
    plain
}

/// What is behind an escape sequence whose ESC is gone: of a control sequence (`[31m`) all up to its final byte.
fn behind_sequence(text: &str) -> &str {
    let Some(parameters) = text.strip_prefix('[') else { return text };
    let end = parameters.find(|c: char| !matches!(c, ' '..='?')).unwrap_or(parameters.len());
    parameters[end..].strip_prefix(|c: char| matches!(c, '@'..='~')).unwrap_or(&parameters[end..])
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to memory does not fail");
}

const PLAIN: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// ESC as `io_thread::output` writes it into the log and into what it keeps of an app's output.
const SPELT_ESCAPE: &str = "\\u{1b}";

/// Shown of an app's output at most (bytes).
const OUTPUT: usize = 16 * 1024;

/// The browser's own colours, light or dark as its user likes them.
const STYLE: &str = ":root{color-scheme:light dark}\
    body{margin:0;min-height:100vh;display:grid;place-items:center;font:1.05em/1.5 system-ui,sans-serif}\
    main{padding:2em 1.5em;max-width:34em;box-sizing:border-box;width:100%}h1{font-size:1.6em;line-height:1.25;margin:.3em 0}\
    .s{font-size:.85em;opacity:.65}code{overflow-wrap:anywhere}";

const PLIGHT_STYLE: &str = "main{max-width:60em;min-width:0}h2{font-size:1em;margin:1.5em 0 .5em}\
    dl{display:grid;grid-template-columns:max-content 1fr;gap:.3em 1.2em}dt{opacity:.65}\
    dd{margin:0;min-width:0;overflow-wrap:anywhere}pre{font-size:.85em;padding:1em;overflow-x:auto;background:#8882;border-radius:4px}";

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Text<'static> = Text {
        status: 502,
        phrase: "Bad Gateway",
        heading: "It broke",
        advice: "Please try again.",
        request_id: Some("00ab"),
        plight: None,
    };

    fn plight(output: &[&str]) -> Plight {
        Plight { facts: vec![("failure", "a < b".to_owned())], output: output.iter().map(|line| (*line).to_owned()).collect() }
    }

    #[test]
    fn one_text_in_three_forms() {
        assert_eq!(TEXT.write(Form::Plain), ("502 Bad Gateway\nIt broke. Please try again.\nRequest id: 00ab\n".to_owned(), PLAIN));
        let (html, _) = TEXT.write(Form::Html);
        assert!(html.contains("<p class=\"s\">502 Bad Gateway</p>\n<h1>It broke</h1>\n<p>Please try again.</p>\n"), "{html}");
        assert!(html.contains("<code>00ab</code>") && html.len() < 1536, "{} bytes: {html}", html.len());
        let expected = "{\"type\":\"about:blank\",\"title\":\"Bad Gateway\",\"status\":502,\"detail\":\"It broke. Please try again.\",\"request_id\":\"00ab\"}\n";
        assert_eq!(TEXT.write(Form::Json), (expected.to_owned(), "application/problem+json"));
    }

    #[test]
    fn what_an_app_printed_is_text_in_every_form() {
        let why = plight(&["<script>alert('1')</script> & \"x\""]);
        let text = Text { plight: Some(&why), ..TEXT };
        let (html, _) = text.write(Form::Html);
        assert!(html.contains("<pre>&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;x&quot;\n</pre>"), "{html}");
        assert!(html.contains("<dt>failure</dt><dd>a &lt; b</dd>") && !html.contains("<script"), "{html}");
        let (plain, _) = text.write(Form::Plain);
        assert!(plain.ends_with("\n\nfailure: a < b\n  | <script>alert('1')</script> & \"x\"\n"), "{plain}");
        let json: serde_json::Value = serde_json::from_str(&text.write(Form::Json).0).unwrap();
        assert_eq!((&json["why"]["failure"], &json["output"][0]), (&"a < b".into(), &why.output[0].as_str().into()));
    }

    #[test]
    fn what_only_a_terminal_understands_is_left_out() {
        for (line, shown) in [
            ("\x1b[1;31mred\x1b[0m\x07", "red"),
            ("\\u{1b}[1;31mred\\u{1b}[0m", "red"),
            ("sh -c 'a\nb'", "sh -c 'a b'"),
            ("a\tb\0\u{202e}c\u{9b}", "a\tbc"),
            ("\x1b", ""),
            ("\x1b[", ""),
            ("\x1b[31", ""),
            ("\x1b[ä", "ä"),
            ("\x1bcx", "cx"),
            ("[31m", "[31m"),
        ] {
            assert_eq!(printable(line), shown, "{line:?}");
        }
    }

    #[test]
    fn the_end_of_a_long_output_is_shown() {
        let line = "x".repeat(999);
        let mut lines = vec![line.as_str(); 100];
        lines.push("the last");
        let shown = plight(&lines).shown().output;
        assert_eq!((shown.len(), shown.last().map(String::as_str)), (17, Some("the last")));
        assert!(shown.iter().map(|line| line.len() + 1).sum::<usize>() <= OUTPUT);
    }

    #[test]
    fn a_page_is_for_all_but_those_who_ask_for_json() {
        let page = |form| Page { form, body: "x".into() };
        let suited = |form: Form| [Form::Plain, Form::Html, Form::Json].map(|wanted| page(form).suits(wanted));
        assert_eq!((suited(Form::Html), suited(Form::Plain), suited(Form::Json)), ([true, true, false], [true, true, false], [true; 3]));
    }
}
