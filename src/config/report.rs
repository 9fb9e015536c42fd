//! What is wrong with a configuration: every finding with its place, printed as a compiler would.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// One configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    pub path: PathBuf,
    pub text: String,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Index of the file.
    pub file: usize,
    /// Bytes of the file's text.
    pub span: Range<usize>,
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// All mistakes of a configuration. `Display` shows each with file, line, column, the text and a marker under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub files: Vec<SourceFile>,
    /// In the order of files and places.
    pub findings: Vec<Finding>,
    /// Files that could not be read.
    pub unread: Vec<String>,
}

impl Report {
    /// As text, in colour for a terminal.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut parts: Vec<String> = self.unread.iter().map(|text| format!("error: {text}")).collect();
        for finding in &self.findings {
            let file = &self.files[finding.file];
            // An annotation at the very end of a file has no text to stand under.
            let span = finding.span.start.min(file.text.len())..finding.span.end.min(file.text.len());
            let snippet =
                Snippet::source(file.text.as_str()).path(file.path.display().to_string()).annotation(AnnotationKind::Primary.span(span));
            let mut group = Level::ERROR.primary_title(finding.message.as_str()).element(snippet);
            if let Some(help) = &finding.help {
                group = group.element(Level::HELP.message(help.as_str()));
            }
            parts.push(renderer.render(&[group]));
        }
        let count = self.findings.len() + self.unread.len();
        parts.push(format!("{count} error{} in the configuration", if count == 1 { "" } else { "s" }));
        parts.join("\n\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

/// Collects findings while files are read.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub fn add(&mut self, file: usize, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        self.0.push(Finding { file, span, message: message.into(), help });
    }

    /// In the order of files and places; the tables of a file are not read in its order.
    pub fn into_sorted(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|finding| (finding.file, finding.span.start));
        self.0
    }
}
