//! A Procfile: its `web` line is what the app says of itself. The others are not for a server of HTTP, and are named.

use super::{COMMAND, Detected, Missing, Tree, line};
use crate::config::Bind;

pub(super) fn find(tree: &dyn Tree, asked: Option<Bind>) -> Option<Result<Detected, Missing>> {
    let text = tree.text("Procfile")?;
    let web = text.lines().find_map(|line| line.strip_prefix("web:"))?.trim();
    if web.is_empty() {
        return Some(Err(Missing("the web line of $ROOT/Procfile is empty: write how the app is started behind it".to_owned())));
    }
    if web.len() > COMMAND {
        return Some(Err(Missing(format!("the web line of $ROOT/Procfile is longer than {COMMAND} bytes"))));
    }
    let (web, note) = match without_thruster(web) {
        Some(inner) => (inner, Some(THRUSTER)),
        None => (web, None),
    };
    let found = line::settings(tree, line::command(tree, web), asked, "the web line of the Procfile".to_owned());
    Some(found.map(|mut found| {
        found.warnings.extend(note.map(str::to_owned));
        found
    }))
}

/// What a Procfile asks for that rota does not do, and what to do about it: a sentence each.
pub(super) fn others(tree: &dyn Tree) -> Vec<String> {
    let text = tree.text("Procfile").unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(':')).map(|(name, command)| (name.trim(), command.trim()));
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let others = lines.filter(|(name, command)| is_name(name) && !command.is_empty() && *name != "web").take(MOST);
    let sentence = |(name, command): (&str, &str)| match name {
        "release" => format!("the release line of the Procfile is not run by rota; before each restart: cd $ROOT && {command}"),
        _ => {
            format!("the {name} line of the Procfile is not run by rota, which serves HTTP: give {command:?} a systemd service of its own")
        }
    };
    others.map(sentence).collect()
}

/// The command that Thruster starts (Rails 8: `bin/thrust bin/rails server`).
pub fn without_thruster(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let begin = line.strip_prefix("exec ").unwrap_or(line).trim_start();
    let begin = begin.strip_prefix("bundle exec ").unwrap_or(begin).trim_start();
    let (program, inner) = begin.split_once(char::is_whitespace)?;
    let inner = inner.trim_start();
    (program.rsplit('/').next() == Some("thrust") && !inner.is_empty()).then_some(inner)
}

/// Why it is left out.
pub const THRUSTER: &str = "thrust is left out: it is a proxy of its own, which listens on HTTP_PORT (80) and not on PORT, and whose TARGET_PORT \
     can be that of one process only; rota compresses nothing, so leave that to the server in front, or to Rack::Deflater";

/// Lines that are spoken of.
const MOST: usize = 10;
