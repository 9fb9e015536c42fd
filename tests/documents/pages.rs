//! The documents as a reader gets them: their lines, headings, links, tables and code.

use std::path::{Path, PathBuf};

use crate::blocks::{self, Block, PAGES, root};

#[derive(Debug)]
pub struct Page {
    pub name: &'static str,
    /// With their numbers; those in blocks of code are in `blocks`.
    pub lines: Vec<(usize, String)>,
    pub blocks: Vec<Block>,
}

pub fn all() -> Vec<Page> {
    PAGES.iter().map(|name| parse(name, &blocks::text(name))).collect()
}

pub fn parse(name: &'static str, text: &str) -> Page {
    let (lines, blocks) = blocks::split(name, text);
    Page { name, lines, blocks }
}

impl Page {
    /// Level, text, and what a link to it says behind `#`.
    pub fn headings(&self) -> Vec<(usize, String, String)> {
        let heading = |(_, line): &(usize, String)| {
            let level = line.bytes().take_while(|byte| *byte == b'#').count();
            let text = line[level..].strip_prefix(' ').filter(|_| level > 0)?;
            Some((level, text.to_owned(), anchor(text)))
        };
        self.lines.iter().filter_map(heading).collect()
    }

    /// Line and target of each `[text](target)`; what is code is none.
    pub fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (number, line) in &self.lines {
            let prose: String = line.split('`').step_by(2).collect();
            let mut rest = &*prose;
            while let Some((_, behind)) = rest.split_once("](") {
                let (target, behind) = behind.split_once(')').unwrap_or((behind, ""));
                links.push((*number, target.to_owned()));
                rest = behind;
            }
        }
        links
    }

    /// What stands between backticks, with its line.
    pub fn code(&self) -> Vec<(usize, String)> {
        let spans = |(number, line): &(usize, String)| {
            let spans: Vec<_> = line.replace("\\|", "|").split('`').skip(1).step_by(2).map(|span| (*number, span.to_owned())).collect();
            spans
        };
        self.lines.iter().flat_map(spans).collect()
    }

    pub fn folder(&self) -> PathBuf {
        root().join(self.name).parent().unwrap_or(Path::new("/")).to_owned()
    }
}

/// As the usual hosts of repositories make it: small letters, words joined by a dash, no other signs.
pub fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
    kept.replace(' ', "-")
}
