//! Rack: config.ru, and the server that Gemfile.lock has.

use super::servers::{PUMA, Server, UNICORN};
use super::{Detected, Missing, Tree};
use crate::config::Bind;

pub(super) fn find(tree: &dyn Tree, asked: Option<Bind>) -> Option<Result<Detected, Missing>> {
    tree.text("config.ru")?;
    let Some(lock) = tree.text("Gemfile.lock") else {
        let missing = match tree.text("Gemfile") {
            Some(gemfile) if gemfile.contains("puma") || gemfile.contains("unicorn") => {
                "its gems are not installed: cd $ROOT && bundle install"
            }
            Some(_) => "its Gemfile has no server: cd $ROOT && bundle add puma",
            None => "it has no Gemfile: cd $ROOT && bundle init && bundle add rack puma",
        };
        return Some(Err(Missing(format!("$ROOT/config.ru has no Gemfile.lock beside it, and {missing}"))));
    };
    let Some(server) = [&PUMA, &UNICORN].into_iter().find(|server| locks(&lock, server)) else {
        return Some(Err(Missing("$ROOT/Gemfile.lock has neither puma nor unicorn: cd $ROOT && bundle add puma".to_owned())));
    };
    Some(server.start(&["bundle", "exec", server.program], &[], asked, format!("config.ru, {} in Gemfile.lock", server.program)))
}

/// A gem of a lock file is a line of four spaces, its name, and its version in parentheses.
fn locks(lock: &str, server: &Server) -> bool {
    lock.lines()
        .any(|line| line.strip_prefix("    ").and_then(|line| line.strip_prefix(server.program)).is_some_and(|rest| rest.starts_with(" (")))
}
