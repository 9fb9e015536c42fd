//! An app's tree as detection sees it: never a panic, nothing outside of the tree is asked for, what is told does nothing to a terminal, and how
//! much is asked does not grow faster than the tree.
//!
//! An input is the tree's files between joints: the first line is a path (`*` before it: it can be executed; `$`: a variable), the rest its text.

use std::cell::Cell;
use std::collections::BTreeMap;

use rota::config::Bind;
use rota::detect::{self, Detected, Missing, Tree};
use rota::printable::is_harmless;

pub fn check(bytes: &[u8]) {
    let files = bytes.split(|byte| *byte == super::JOINT).map(|file| {
        let (path, text) = file.iter().position(|byte| *byte == b'\n').map_or((file, &[][..]), |at| (&file[..at], &file[at + 1..]));
        (String::from_utf8_lossy(path).into_owned(), String::from_utf8(text.to_vec()).ok())
    });
    looked_at(files.collect());
}

/// What must hold for an app of these files: name and text, none where it is no text.
pub fn looked_at(files: BTreeMap<String, Option<String>>) {
    let tree = Files { files, asked: Cell::new(0) };
    for bind in [None, Some(Bind::Unix), Some(Bind::Port), Some(Bind::Fd)] {
        match detect::detect(&tree, bind) {
            Ok(found) => is_well_told(&found, bind),
            Err(Missing(text)) => is_text(&text),
        }
    }
    detect::public_need(&tree);
    // Of a command that the configuration has.
    for text in tree.files.values().flatten().take(3) {
        let words: Vec<String> = text.split_whitespace().take(50).map(str::to_owned).collect();
        detect::kept(&tree, &words);
        detect::is_next(&tree, &words);
    }
    let names: usize = tree.files.iter().map(|(path, text)| path.len() + text.as_ref().map_or(0, String::len)).sum();
    assert!(tree.asked.get() <= 4_000 + 40 * names, "{} looks at {names} bytes", tree.asked.get());
}

fn is_well_told(found: &Detected, asked: Option<Bind>) {
    is_text(&found.why);
    found.warnings.iter().for_each(|warning| is_text(warning));
    assert!(asked.is_none_or(|asked| asked == found.bind), "{found:?}");
    assert!(found.concurrency >= 1, "{found:?}");
    assert!(!found.command.is_empty() && !found.command.iter().any(|word| word.contains('\0')), "{found:?}");
    assert!(found.command.iter().map(String::len).sum::<usize>() <= 64 * 1024);
}

/// One line that is shown as it is.
fn is_text(text: &str) {
    assert!(!text.is_empty() && text.chars().all(|c| c == '\t' || is_harmless(c)), "{text:?}");
    assert!(text.len() <= 2100, "{} bytes: {text}", text.len());
}

/// The tree, which counts what is asked and is asked for nothing outside.
struct Files {
    files: BTreeMap<String, Option<String>>,
    asked: Cell<usize>,
}

impl Files {
    fn ask(&self, path: &str) {
        self.asked.set(self.asked.get() + 1);
        let mut depth = 0;
        for part in path.split('/') {
            depth += match part {
                "" | "." => 0,
                ".." => -1,
                _ => 1,
            };
            assert!(depth >= 0, "{path:?} is outside");
        }
        assert!(!path.starts_with('/'), "{path:?} is outside");
    }
}

impl Tree for Files {
    fn text(&self, path: &str) -> Option<String> {
        self.ask(path);
        self.files.get(path).cloned().flatten()
    }

    fn is_program(&self, path: &str) -> bool {
        self.ask(path);
        self.files.contains_key(&format!("*{path}"))
    }

    fn exists(&self, path: &str) -> bool {
        self.ask(path);
        let below = format!("{path}/");
        self.files.keys().map(|key| key.trim_start_matches('*')).any(|key| key == path || key.starts_with(&below))
    }

    fn directories(&self) -> Vec<String> {
        self.asked.set(self.asked.get() + 1);
        let names = self.files.keys().filter_map(|path| path.trim_start_matches('*').split_once('/'));
        let mut names: Vec<String> = names.map(|(name, _)| name.to_owned()).filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names.dedup();
        names
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.files.get(&format!("${name}")).cloned().flatten()
    }
}
