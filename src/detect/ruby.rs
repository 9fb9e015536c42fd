//! Rack: config.ru, and the server that Gemfile.lock has. Rails: what becomes of the files in its `public`.

use super::servers::{PUMA, UNICORN};
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
    let Some(server) = [&PUMA, &UNICORN].into_iter().find(|server| locks(&lock, server.program)) else {
        return Some(Err(Missing("$ROOT/Gemfile.lock has neither puma nor unicorn: cd $ROOT && bundle add puma".to_owned())));
    };
    Some(server.start(&["bundle", "exec", server.program], &[], asked, format!("config.ru, {} in Gemfile.lock", server.program)))
}

/// A gem of a lock file is a line of four spaces, its name, and its version in parentheses.
pub(super) fn locks(lock: &str, gem: &str) -> bool {
    lock.lines().any(|line| line.strip_prefix("    ").and_then(|line| line.strip_prefix(gem)).is_some_and(|rest| rest.starts_with(" (")))
}

/// Who sends the files in the `public` of a Rails app in production.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RailsFiles {
    /// The server in front of it, as its `config/environments/production.rb` has it, or as Rails up to 7.0 made that file.
    Server,
    /// Rails itself, before the app is asked.
    Rails,
}

/// None: it is no Rails app.
pub fn rails_files(tree: &dyn Tree) -> Option<RailsFiles> {
    let lock = tree.text("Gemfile.lock")?;
    if !["rails", "railties"].iter().any(|gem| locks(&lock, gem)) {
        return None;
    }
    // Without the file nothing is known: a file that is sent by both is better than one that nobody sends.
    let Some(production) = tree.text("config/environments/production.rb") else { return Some(RailsFiles::Server) };
    let mut settings = production.lines().map(|line| line.split('#').next().unwrap_or_default());
    let setting = settings.rfind(|line| SETTINGS.iter().any(|name| line.contains(name)));
    // Said by nobody it is on. `ENV["RAILS_SERVE_STATIC_FILES"].present?` is off as long as nobody sets that.
    let is_on = setting.is_none_or(|line| line.split_once('=').is_some_and(|(_, value)| value.trim() == "true"));
    Some(if is_on { RailsFiles::Rails } else { RailsFiles::Server })
}

/// As Rails 5, 4.2 and 4.0 call it.
const SETTINGS: [&str; 3] = ["public_file_server.enabled", "serve_static_files", "serve_static_assets"];
