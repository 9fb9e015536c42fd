//! How an app is started, seen from what is in its root. Core: asks a [`Tree`] and decides; `app_tree` is that
//! of a directory.
//!
//! One file for each kind of app, in the order of `KINDS`; `servers` knows the app servers with their flags and stop signals, `line` reads
//! the command lines of others (Procfile, package.json). A kind that recognises the app and cannot start it says what is missing; nothing
//! that comes later is then tried, for it would be a guess.

pub mod background;
mod binary;
mod clients;
pub mod complaint;
mod frameworks;
mod inside;
mod line;
mod node;
mod php;
mod procfile;
mod puma;
mod python;
mod ruby;
mod servers;
mod streamlit;
#[cfg(test)]
mod tests;

use std::fmt;

use inside::Inside;

pub use clients::Keeps;
pub use procfile::{THRUSTER, without_thruster};
pub use ruby::RailsFiles;

use crate::config::{Bind, CONCURRENCY, StopSignal};
use crate::printable;

/// What is in the root of an app, as far as it is asked for. Paths are seen from the root.
pub trait Tree {
    /// A file's text; None: it is not there, is too large to be looked at, or is no text.
    fn text(&self, path: &str) -> Option<String>;
    /// It is a file that can be executed.
    fn is_program(&self, path: &str) -> bool;
    /// There is a file or a directory.
    fn exists(&self, path: &str) -> bool;
    /// Names of the directories in the root, sorted; hidden ones are left out.
    fn directories(&self) -> Vec<String>;
    /// A variable that the configuration sets for the app.
    fn variable(&self, name: &str) -> Option<String>;
}

/// How an app is started, and why so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// As the key `command` would have it, `$SOCKET` and `$PORT` not yet replaced.
    pub command: Vec<String>,
    pub bind: Bind,
    pub stop: StopSignal,
    pub concurrency: u32,
    /// What it was seen by, as "manage.py, mysite/wsgi.py, gunicorn in .venv/bin".
    pub why: String,
    pub reasons: Reasons,
    /// Why a client has to come back to the process that it was with; None: it need not.
    pub sticky: Option<&'static str>,
    /// Why there may be no second process; None: there may.
    pub alone: Option<&'static str>,
    /// What will or may go wrong, a sentence each.
    pub warnings: Vec<String>,
}

impl Detected {
    /// With what suits a program of which no more is known.
    fn new(command: Vec<String>, bind: Bind, why: String, reasons: Reasons) -> Self {
        let (stop, concurrency) = (StopSignal::Term, CONCURRENCY);
        Self { command, bind, stop, concurrency, why, reasons, sticky: None, alone: None, warnings: Vec::new() }
    }
}

/// Why the settings are what they are, in half a sentence each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reasons {
    pub command: &'static str,
    pub stop: &'static str,
    pub concurrency: &'static str,
}

/// Why there is no command, and what to do about it. `$ROOT` in it stands for the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing(pub String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Looks for all kinds of apps. `asked`: how the configuration wants it to listen, whatever suits it.
pub fn detect(tree: &dyn Tree, asked: Option<Bind>) -> Result<Detected, Missing> {
    let tree = &Inside(tree);
    let found = KINDS.iter().find_map(|kind| kind(tree, asked)).unwrap_or_else(|| Err(nothing(tree)));
    let mut found = clients::suited(tree, found.map_err(|Missing(text)| Missing(told(&text)))?);
    if let Some(why) = unfit(&found.command) {
        return Err(Missing(format!("what {} says is no command: {why}", told(&found.why))));
    }
    found.warnings.extend(background::habits(&found.command));
    found.warnings.extend(procfile::others(tree));
    found.warnings.iter_mut().chain([&mut found.why]).for_each(|text| *text = told(text));
    Ok(found)
}

/// As [`Keeps`] says, of an app in this directory that is started by this command.
pub fn kept(tree: &dyn Tree, command: &[String]) -> Option<Keeps> {
    clients::kept(&Inside(tree), command)
}

/// Whether what a command runs is Next.js, whose server listens on what the variable HOSTNAME says.
pub fn is_next(tree: &dyn Tree, command: &[String]) -> bool {
    frameworks::is_next(&Inside(tree), command)
}

/// Why these words can be nobody's command (execve(2)).
fn unfit(command: &[String]) -> Option<String> {
    let is_long = command.iter().map(String::len).sum::<usize>() > COMMAND;
    let long = is_long.then(|| format!("it is longer than {COMMAND} bytes"));
    long.or_else(|| command.iter().any(|word| word.contains('\0')).then(|| "there is a NUL character in it".to_owned()))
}

/// Names and lines of the app's are told as text that does nothing to a terminal, and not at length.
fn told(text: &str) -> String {
    let mut text = printable::clean(text.as_bytes());
    printable::shorten(&mut text, TOLD);
    text
}

/// What becomes of the files in a directory `public`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicNeed {
    Of(RailsFiles),
    /// There is the directory; what the app does with it is its own affair.
    Unknown,
}

/// None: there is no such directory, and no need of one.
pub fn public_need(tree: &dyn Tree) -> Option<PublicNeed> {
    let tree = &Inside(tree);
    let is_there = || tree.directories().iter().any(|name| name == "public");
    ruby::rails_files(tree).map(PublicNeed::Of).or_else(|| is_there().then_some(PublicNeed::Unknown))
}

/// None: it is no app of this kind.
type Kind = fn(&dyn Tree, Option<Bind>) -> Option<Result<Detected, Missing>>;

/// What the app says itself comes first. A package.json comes after the frameworks of other languages: theirs builds assets.
const KINDS: [Kind; 10] = [
    procfile::find,
    python::django,
    ruby::find,
    streamlit::find,
    python::find,
    php::framework,
    node::find,
    node::without_package,
    binary::find,
    php::page,
];

/// A program of the app's own, where package managers and people put them.
fn own_program(tree: &dyn Tree, name: &str) -> Option<String> {
    PROGRAM_DIRECTORIES.iter().map(|directory| format!("{directory}/{name}")).find(|path| tree.is_program(path))
}

fn nothing(tree: &dyn Tree) -> Missing {
    let found = if let Some(framework) = python::named_framework(tree) {
        let (file, name) = framework;
        format!("{file} names {name}, and no file has its app ({}); ", python::PLACES)
    } else if let Some(file) = python::unfit_file(tree) {
        return Missing(format!(
            "$ROOT/{file} has no app that could be seen ({}), and nothing else in $ROOT says how it is started; say it, for example: \
             command = \".venv/bin/gunicorn --bind 127.0.0.1:$PORT {}:NAME\"",
            python::PLACES,
            file.trim_end_matches(".py")
        ));
    } else {
        String::new()
    };
    Missing(format!(
        "{found}nothing in $ROOT says how the app is started: no Procfile with a web line, manage.py, config.ru, app.py, main.py, wsgi.py, \
         package.json or bin/server; say it, for example: command = \"bin/serve --port $PORT\""
    ))
}

/// All its words together (bytes): one argument of a program has 128 KiB at most (execve(2)), and people write none like that.
const COMMAND: usize = 64 * 1024;

/// Of a sentence (bytes): it names a file, a path and a command or two.
const TOLD: usize = 2048;

/// Requests at a time of an app whose visitors hold one each.
const LONG_LIVED: u32 = 1000;

/// Where package managers put the programs of an app; the first that has one is taken.
const PROGRAM_DIRECTORIES: [&str; 3] = [".venv/bin", "venv/bin", "node_modules/.bin"];
