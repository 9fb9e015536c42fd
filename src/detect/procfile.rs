//! A Procfile: its `web` line is what the app says of itself.

use super::{Detected, Missing, Tree, line};
use crate::config::Bind;

pub(super) fn find(tree: &dyn Tree, asked: Option<Bind>) -> Option<Result<Detected, Missing>> {
    let text = tree.text("Procfile")?;
    let web = text.lines().find_map(|line| line.strip_prefix("web:"))?.trim();
    if web.is_empty() {
        return Some(Err(Missing("the web line of $ROOT/Procfile is empty: write how the app is started behind it".to_owned())));
    }
    Some(line::settings(tree, line::command(tree, web), asked, "the web line of the Procfile".to_owned()))
}
