//! The tree of a directory, and detection in it. The only file of detect that does I/O; never waits for a FIFO.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::{Detected, Missing, PublicNeed, Tree, detect};
use crate::config::Bind;

/// As [`detect`], in the directory `root`, which takes the place of `$ROOT` in what is said.
pub fn look(root: &Path, asked: Option<Bind>) -> Result<Detected, String> {
    let place = root.display().to_string();
    let fill = |text: String| text.replace("$ROOT", &place);
    match detect(&Directory(root), asked) {
        Ok(found) => Ok(Detected { warnings: found.warnings.into_iter().map(fill).collect(), ..found }),
        Err(Missing(text)) => Err(fill(text)),
    }
}

/// As [`super::public_need`], in the directory `root`.
pub fn public_need(root: &Path) -> Option<PublicNeed> {
    super::public_need(&Directory(root))
}

/// The tree of a directory.
#[derive(Debug)]
pub struct Directory<'a>(pub &'a Path);

impl Tree for Directory<'_> {
    fn text(&self, path: &str) -> Option<String> {
        // Without O_NONBLOCK whoever may write here could make a FIFO that rota waits for.
        let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(self.0.join(path)).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut text = String::new();
        file.take(LARGEST + 1).read_to_string(&mut text).ok()?;
        (text.len() as u64 <= LARGEST).then_some(text)
    }

    fn is_program(&self, path: &str) -> bool {
        fs::metadata(self.0.join(path)).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    }

    fn exists(&self, path: &str) -> bool {
        self.0.join(path).exists()
    }

    fn directories(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0).into_iter().flatten().take(MANY).flatten();
        let directories = entries.filter(|entry| entry.path().is_dir());
        let names = directories.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }
}

/// Bytes of a file that is read. A Gemfile.lock or package.json of a large app has some 100 KiB.
const LARGEST: u64 = 1 << 20;
/// Entries of a root that are looked at.
const MANY: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_a_directory_and_a_huge_file_are_no_texts_and_are_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("Procfile");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        fs::create_dir(dir.path().join("app.py")).unwrap();
        fs::write(dir.path().join("wsgi.py"), vec![b' '; LARGEST as usize + 1]).unwrap();
        let tree = Directory(dir.path());
        assert_eq!((tree.text("Procfile"), tree.text("app.py"), tree.text("wsgi.py")), (None, None, None));
    }

    #[test]
    fn what_is_missing_is_said_with_the_root_s_own_path() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("app.py"), "from flask import Flask\napp = Flask(__name__)\n").unwrap();
        let said = look(dir.path(), None).unwrap_err();
        let root = dir.path().display();
        let expected = format!(
            "app = Flask() in app.py: there is no .venv with its packages; run: python3 -m venv {root}/.venv && {root}/.venv/bin/pip install gunicorn"
        );
        assert_eq!(said, expected);
    }
}
