//! The tree of an app, as detection asks for it, within a budget and with the rights of whoever calls. Nothing but a regular file is opened:
//! no FIFO is waited for, no device is disturbed, no terminal becomes ours.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::config::Bind;
use crate::detect::{self, Detected, Keeps, Missing, PublicNeed, Tree, detect};
use crate::errands::pace::Pace;

/// As [`detect()`], in the directory `root`, which takes the place of `$ROOT` in what is said. `env`: what the app's file sets.
pub fn look(root: &Path, asked: Option<Bind>, env: &[(String, String)], pace: &Pace) -> Result<Detected, String> {
    let place = root.display().to_string();
    let fill = |text: String| text.replace("$ROOT", &place);
    let tree = AppTree { env, ..AppTree::new(root, pace) };
    let found = detect(&tree, asked);
    if let Some(over) = tree.over.get() {
        return Err(format!("how to start the app in {place}: {over}; say it: command = \"bin/serve --port $PORT\""));
    }
    match found {
        Ok(found) => Ok(Detected { warnings: found.warnings.into_iter().map(fill).collect(), ..found }),
        Err(Missing(text)) => Err(fill(text)),
    }
}

/// As [`detect::kept`], in the directory `root`.
pub fn kept(root: &Path, command: &[String], pace: &Pace) -> Option<Keeps> {
    detect::kept(&AppTree::new(root, pace), command)
}

/// As [`detect::public_need`], in the directory `root`.
pub fn public_need(root: &Path, pace: &Pace) -> Option<PublicNeed> {
    detect::public_need(&AppTree::new(root, pace))
}

/// A command that next.js is started by.
pub fn is_next(root: &Path, command: &[String], pace: &Pace) -> bool {
    detect::is_next(&AppTree::new(root, pace), command)
}

/// Opens a file for reading that is a regular one, wherever links lead. What it is is known before it is opened: opening a device does something.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let found = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is no regular file"));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, format!("/proc/thread-self/fd/{}", found.as_raw_fd()), flags, Mode::empty())?.into())
}

/// The tree of a directory.
#[derive(Debug)]
struct AppTree<'a> {
    root: &'a Path,
    /// Of the app; later ones win.
    env: &'a [(String, String)],
    pace: &'a Pace,
    /// What may still be read, and asked for.
    bytes: Cell<u64>,
    looks: Cell<u32>,
    /// Nothing is there any more: the budget is used up.
    over: Cell<Option<&'static str>>,
}

impl<'a> AppTree<'a> {
    fn new(root: &'a Path, pace: &'a Pace) -> Self {
        Self { root, env: &[], pace, bytes: Cell::new(BYTES), looks: Cell::new(LOOKS), over: Cell::new(None) }
    }

    /// One more look, if there may be one.
    fn may_look(&self) -> bool {
        if self.over.get().is_some() {
            return false;
        }
        self.looks.set(self.looks.get() - 1);
        if self.looks.get() == 0 {
            self.over.set(Some("more names would have to be looked at than 50,000"));
        } else if self.pace.is_over() {
            self.over.set(Some("looking takes too long"));
        }
        self.over.get().is_none()
    }
}

impl Tree for AppTree<'_> {
    fn text(&self, path: &str) -> Option<String> {
        if !self.may_look() {
            return None;
        }
        self.pace.begin(format!("reading {path}"));
        let file = open_regular(&self.root.join(path)).ok()?;
        let mut text = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut text).ok()?;
        match self.bytes.get().checked_sub(text.len() as u64) {
            Some(left) => self.bytes.set(left),
            None => self.over.set(Some("more would have to be read than 16 MiB")),
        }
        if text.len() as u64 > LARGEST || self.over.get().is_some() {
            return None;
        }
        String::from_utf8(text).ok()
    }

    fn is_program(&self, path: &str) -> bool {
        self.may_look() && fs::metadata(self.root.join(path)).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    }

    fn exists(&self, path: &str) -> bool {
        self.may_look() && self.root.join(path).exists()
    }

    fn directories(&self) -> Vec<String> {
        self.pace.begin("listing its root".to_owned());
        let entries = fs::read_dir(self.root).into_iter().flatten().take(MANY).flatten();
        let directories = entries.filter(|entry| self.may_look() && entry.path().is_dir());
        let names = directories.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.env.iter().rfind(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

/// Bytes of a file that is read. A Gemfile.lock or package.json of a large app has some 100 KiB.
const LARGEST: u64 = 1 << 20;
/// Entries of a root that are looked at.
const MANY: usize = 10_000;
/// Of all files together: a second or two, if they are made to cost as much as they can.
const BYTES: u64 = 16 << 20;
const LOOKS: u32 = 50_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn pace() -> Pace {
        Pace::new(Duration::from_secs(60))
    }

    #[test]
    fn a_fifo_a_directory_a_device_and_a_huge_file_are_no_texts_and_are_not_waited_for() {
        let (dir, pace) = (tempfile::tempdir().unwrap(), pace());
        let fifo = dir.path().join("Procfile");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
        fs::create_dir(dir.path().join("app.py")).unwrap();
        fs::write(dir.path().join("wsgi.py"), vec![b' '; LARGEST as usize + 1]).unwrap();
        std::os::unix::fs::symlink("/dev/full", dir.path().join("main.py")).unwrap();
        let tree = AppTree::new(dir.path(), &pace);
        for name in ["Procfile", "app.py", "wsgi.py", "main.py"] {
            assert_eq!(tree.text(name), None, "{name}");
        }
        for (path, why) in [(fifo.as_path(), "it is no regular file"), (Path::new("/dev/full"), "it is no regular file")] {
            assert_eq!(open_regular(path).unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn what_is_missing_is_said_with_the_root_s_own_path() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("app.py"), "from flask import Flask\napp = Flask(__name__)\n").unwrap();
        let said = look(dir.path(), None, &[], &pace()).unwrap_err();
        let root = dir.path().display();
        let expected = format!(
            "app = Flask() in app.py: there is no .venv with its packages; run: python3 -m venv {root}/.venv && {root}/.venv/bin/pip install gunicorn"
        );
        assert_eq!(said, expected);
    }

    #[test]
    fn a_tree_without_end_ends_the_look_and_not_the_other_way_round() {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("package");
        fs::create_dir(&package).unwrap();
        for name in ["wsgi.py", "asgi.py", "app.py", "main.py", "__init__.py", "settings.py"] {
            fs::write(package.join(name), vec![b'\n'; LARGEST as usize]).unwrap();
        }
        for link in 0..500 {
            std::os::unix::fs::symlink("package", dir.path().join(format!("link{link}"))).unwrap();
        }
        fs::write(dir.path().join("manage.py"), "").unwrap();
        let said = look(dir.path(), None, &[], &pace()).unwrap_err();
        assert!(said.contains("more would have to be read than 16 MiB; say it: command = "), "{said}");
        let said = look(dir.path(), None, &[], &Pace::new(Duration::ZERO)).unwrap_err();
        assert!(said.contains("looking takes too long; say it: command = "), "{said}");
    }
}
