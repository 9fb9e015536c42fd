//! Reads the configuration files from the disk. The only file of config that does I/O.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::report::{Mistake, Place, Report, SourceFile};
use super::{Loaded, parse};

/// Where rota looks when it is not told.
pub const DEFAULT_PATH: &str = "/etc/rota/rota.toml";

/// Reads `path` and, beside it, each `apps.d/NAME.toml` in the order of their names; hidden files are left alone, as editors put their
/// own there. The errors are those of [`parse()`] and of files that cannot be read, all at once.
pub fn load(path: &Path) -> Result<Loaded, Report> {
    let main = match fs::read_to_string(path) {
        Ok(text) => SourceFile { path: path.to_owned(), text },
        Err(error) => {
            let mistake = cannot_be_read(path, &error).help("rota reads the file that --config names");
            return Err(Report::new(vec![mistake], Vec::new()));
        }
    };
    let mut readable = vec![main.clone()];
    // With an empty text for what cannot be read: it has a place in the order all the same.
    let mut all = vec![main];
    let mut unreadable = Vec::new();
    let directory = path.parent().unwrap_or(Path::new("")).join("apps.d");
    let apps = app_files(&directory).unwrap_or_else(|error| {
        unreadable.push(cannot_be_read(&directory, &error));
        Vec::new()
    });
    for path in apps {
        let text = fs::read_to_string(&path);
        if let Err(error) = &text {
            unreadable.push(cannot_be_read(&path, error));
        }
        if let Ok(text) = &text {
            readable.push(SourceFile { path: path.clone(), text: text.clone() });
        }
        all.push(SourceFile { path, text: text.unwrap_or_default() });
    }
    let parsed = parse(&readable);
    if unreadable.is_empty() {
        return parsed;
    }
    let found = match parsed {
        Ok(loaded) => loaded.warnings,
        Err(report) => report,
    };
    unreadable.extend_from_slice(found.mistakes());
    Err(Report::new(unreadable, all))
}

/// No directory is no apps.
fn app_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn cannot_be_read(path: &Path, error: &io::Error) -> Mistake {
    Mistake::error(Place::whole(path), format!("cannot read this: {error}"))
}
