//! The files of an app: a directory that could be sent from, and links in the one that is.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::Problem;
use crate::cli::table::harmless;
use crate::config::{AppConfig, PublicFiles, Severity};
use crate::conn::folders::Reader;
use crate::conn::ways::{self, Tree};
use crate::restart::release;

/// A directory that rota would send files from if it were told to. Nothing is wrong without.
pub fn public_line(app: &AppConfig) -> Option<String> {
    let directory = app.start.root.join("public");
    let is_meant = app.files.public == PublicFiles::Unsaid && directory.is_dir();
    is_meant.then(|| {
        let shown = harmless(&directory.display().to_string());
        format!(
            "app {}: {shown} is left to the app; public = \"public\" sends its files, to everybody and without asking the app\n",
            app.name
        )
    })
}

/// Links in the public directory that are not followed: which, where each leads, and the key.
pub fn link_problems(app: &AppConfig) -> Vec<Problem> {
    let Some(public) = app.files.public.directory().filter(|_| !app.files.public_links) else { return Vec::new() };
    let Ok(root) = fs::canonicalize(&app.start.root) else { return Vec::new() };
    let reader = release::user(&app.start).ok().flatten().map(|user| Arc::new(Reader::of(&user)));
    let Ok(tree) = Tree::of(&app.start.root, &root) else { return Vec::new() };
    let warning = |text: String| (Severity::Warning, harmless(&text));
    let folder = match ways::open(&tree, &root, public, reader.as_ref()) {
        Ok((folder, _)) => folder,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            return vec![warning(format!("public {}: {error}; its files are left to the app: {KEY}", root.join(public).display()))];
        }
    };
    let refused = ways::links(&tree, &folder, reader.as_ref()).into_iter().filter_map(|link| {
        let why = link.way.err()?;
        let at = Path::join(&folder.paths[0], &link.name);
        Some(warning(format!("public: {} is a link to {}, {why}; it is not followed: {KEY}", at.display(), link.target.display())))
    });
    refused.take(MANY).collect()
}

const KEY: &str = "public_links = true follows every link";
/// Lines about one app.
const MANY: usize = 20;
