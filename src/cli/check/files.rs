//! The files of an app: a directory that could be sent from, and what is not sent of the one that is.

use std::fs;
use std::path::{Path, PathBuf};

use super::Problem;
use crate::cli::table::harmless;
use crate::config::{AppConfig, PublicFiles, Severity};
use crate::conn::ways::{self, Tree};
use crate::restart::release;
use crate::safe_open;

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

/// What of the public directory is not sent: links that are not followed, with where each leads and the key, and names that are the app's.
pub fn public_problems(app: &AppConfig) -> Vec<Problem> {
    let Some(public) = app.files.public.directory().filter(|_| !app.files.public_links) else { return Vec::new() };
    let Ok(root) = fs::canonicalize(&app.start.root) else { return Vec::new() };
    let user = release::user(&app.start).ok().flatten();
    let warning = |text: String| (Severity::Warning, harmless(&text));
    let shown = app.start.root.join(public);
    let open = || Tree::of(&app.start.root, &root).and_then(|tree| ways::open(&tree, &root, public));
    let contents = match safe_open::as_app(user.as_ref(), open) {
        Ok((_, contents)) => contents,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            let text =
                format!("public {}: {error}; its files are left to the app: public_links = true follows every link", shown.display());
            return vec![warning(text)];
        }
    };
    let links = contents.links.iter().filter_map(|link| link.refusal(&shown)).map(|text| warning(format!("public: {text}")));
    links.chain(withheld(&shown, &contents.withheld).into_iter().map(warning)).collect()
}

/// One line, as there may be many of one kind.
fn withheld(public: &Path, names: &[(PathBuf, &'static str)]) -> Option<String> {
    let (name, why) = names.first()?;
    let more = if names.len() > 1 { format!(", and {} more like it", names.len() - 1) } else { String::new() };
    Some(format!("public: {} is never sent, and left to the app: {why}{more}", public.join(name).display()))
}
