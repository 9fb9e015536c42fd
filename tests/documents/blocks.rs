//! The documents' blocks of code, with what is said of each. Used by `documents`, which reads them, and by `it`, which runs them.

use std::fs;
use std::path::PathBuf;

/// Every document, the README first; the order is that in which somebody reads them.
pub const PAGES: [&str; 22] = [
    "README.md",
    "docs/README.md",
    "docs/first-app.md",
    "docs/deploying.md",
    "docs/processes.md",
    "docs/requests.md",
    "docs/edge.md",
    "docs/machines.md",
    "docs/metrics.md",
    "docs/running.md",
    "docs/moving.md",
    "docs/configuration.md",
    "docs/architecture.md",
    "docs/speed.md",
    "docs/glossary.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "tests/README.md",
    "tests/behaviours.md",
    "tests/hardening.md",
    "tests/differential.md",
];

/// What stands before a block that is not run: `<!-- not run: needs root -->`.
const NOT_RUN: &str = "<!-- not run: ";

/// Between two lines of ```.
#[derive(Clone, Debug)]
pub struct Block {
    /// `docs/edge.md:17`.
    pub place: String,
    /// `sh`, `toml` ...; empty: what is shown, as a line of a log.
    pub language: String,
    pub text: String,
    /// Why nobody runs it.
    pub not_run: Option<String>,
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn text(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All that are in a language.
pub fn of(language: &str) -> Vec<Block> {
    let blocks = PAGES.iter().flat_map(|name| split(name, &text(name)).1);
    blocks.filter(|block| block.language == language).collect()
}

/// The lines that are in no block, with their numbers, and the blocks.
pub fn split(name: &str, text: &str) -> (Vec<(usize, String)>, Vec<Block>) {
    let (mut lines, mut blocks, mut open, mut before) = (Vec::new(), Vec::new(), None::<Block>, "");
    for (index, line) in text.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => {
                let not_run = before.strip_prefix(NOT_RUN).map(|why| why.trim_end_matches(" -->").to_owned());
                let place = format!("{name}:{}", index + 1);
                open = Some(Block { place, language: language.trim().to_owned(), text: String::new(), not_run });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.text += &format!("{line}\n"),
            (None, None) => lines.push((index + 1, line.to_owned())),
        }
        before = line;
    }
    assert!(open.is_none(), "{name}: a block of code does not end");
    (lines, blocks)
}
