//! What is wrong with a configuration: each mistake with its place, and the text that people read. Core: no I/O.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str};
use serde::{Deserialize, Serialize};

use super::AppConfig;

/// One configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// As shown to people.
    pub path: PathBuf,
    pub text: String,
}

/// Everything found in all files, in the order of the files and of the places in each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    mistakes: Vec<Mistake>,
    files: Vec<SourceFile>,
}

/// One thing to change. Serializes to a stable shape, for `--json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    pub severity: Severity,
    pub place: Place,
    pub message: String,
    /// What to do, where that can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The other place of a contradiction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub also: Option<Also>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing of the configuration is used.
    Error,
    /// It is used, and probably not what was meant.
    Warning,
}

/// A file, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    pub file: PathBuf,
    /// None: the file as a whole.
    #[serde(flatten)]
    pub position: Option<Position>,
}

/// An app with the places that checks over all apps point at.
#[derive(Debug)]
pub struct PlacedApp {
    pub config: AppConfig,
    pub place: Place,
    /// Of each of its routes, in their order.
    pub route_places: Vec<Place>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Bytes of the file.
    pub span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Also {
    pub place: Place,
    pub text: String,
}

impl Report {
    pub(super) fn new(mut mistakes: Vec<Mistake>, files: Vec<SourceFile>) -> Self {
        let order = |path: &Path| files.iter().position(|file| file.path == path);
        let start = |place: &Place| place.position.as_ref().map(|position| position.span.start);
        mistakes.sort_by_key(|mistake| (order(&mistake.place.file), start(&mistake.place)));
        Self { mistakes, files }
    }

    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    pub fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    pub fn has_errors(&self) -> bool {
        self.mistakes.iter().any(|mistake| mistake.severity == Severity::Error)
    }

    /// The text as rustc prints it, with `colour` as escape sequences; a newline after each mistake and an empty line between two.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let texts: Vec<String> = self.mistakes.iter().map(|mistake| renderer.render(&[self.group(mistake)]) + "\n").collect();
        texts.join("\n")
    }

    fn group<'a>(&'a self, mistake: &'a Mistake) -> Group<'a> {
        let level = match mistake.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(&mistake.message));
        match &mistake.also {
            None => group = group.element(self.show(&mistake.place, None)),
            Some(also) if also.place.file == mistake.place.file => group = group.element(self.show(&mistake.place, Some(also))),
            Some(also) => {
                group = group.element(self.show(&mistake.place, None));
                // A place without a line has no room for its text: it becomes a note.
                if also.place.position.is_none() {
                    group = group.element(Level::NOTE.message(normalize_untrusted_str(&also.text)));
                }
                let elsewhere = Place { file: also.place.file.clone(), position: None };
                group = group.element(self.show(&elsewhere, Some(also)));
            }
        }
        match &mistake.help {
            Some(help) => group.element(Level::HELP.message(normalize_untrusted_str(help))),
            None => group,
        }
    }

    /// Marks `place`, and `also` where that is in the same file; only names the file when neither has a position.
    fn show<'a>(&'a self, place: &Place, also: Option<&'a Also>) -> Element<'a> {
        let path = place.file.to_string_lossy().into_owned();
        let marker = place.position.as_ref().map(|position| AnnotationKind::Primary.span(position.span.clone()));
        let other = also.and_then(|also| Some((also, also.place.position.as_ref()?)));
        let other = other.map(|(also, position)| AnnotationKind::Context.span(position.span.clone()).label(&also.text));
        match self.files.iter().find(|file| file.path == place.file) {
            Some(file) if marker.is_some() || other.is_some() => {
                Snippet::source(&file.text).path(path).annotations(marker).annotations(other).into()
            }
            Some(_) | None => Origin::path(path).into(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

impl Mistake {
    /// In one line: `/etc/rota/apps.d/blog.toml:3:1: unknown key "comand"`.
    pub fn line(&self) -> String {
        format!("{}: {}", self.place, self.message.replace('\n', " "))
    }

    pub(super) fn error(place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, place, message: message.into(), help: None, also: None }
    }

    pub(super) fn warning(place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, message) }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    pub(super) fn also(self, place: Place, text: impl Into<String>) -> Self {
        Self { also: Some(Also { place, text: text.into() }), ..self }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.position {
            Some(Position { line, column, .. }) => write!(f, "{}:{line}:{column}", self.file.display()),
            None => self.file.display().fmt(f),
        }
    }
}

impl Place {
    pub(super) fn whole(file: &Path) -> Self {
        Self { file: file.to_owned(), position: None }
    }

    /// `span` may come from a parser that looked past the end or into a character: it is put on the characters it touches.
    pub(super) fn of(file: &SourceFile, span: Range<usize>) -> Self {
        let text = &file.text;
        let start = (0..=span.start.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let end = (span.end.max(start)..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        Self { file: file.path.clone(), position: Some(Position { line, column, span: start..end }) }
    }
}
