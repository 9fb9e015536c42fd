//! The demo's private directory: releases, the `current` link, the configuration, sockets and the server's log. Gone when dropped.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A directory that only this user can enter.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
}

/// What a release does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    Works,
    /// Fails at boot.
    Broken,
}

impl Place {
    pub fn new() -> io::Result<Self> {
        let parent = match std::env::temp_dir() {
            // Sockets lie in it, and the path of one has 107 bytes at most.
            long if long.as_os_str().len() > 40 => PathBuf::from("/tmp"),
            short => short,
        };
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        let dir = parent.join(format!("rota-demo-{}-{nanos}", std::process::id()));
        let named = |path: &Path, e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        // An error if it is there already: what somebody else put there is not ours to use or to remove.
        DirBuilder::new().mode(0o700).create(&dir).map_err(|e| named(&dir, e))?;
        let place = Self { dir };
        for part in ["releases", "run", "spool"] {
            let part = place.dir.join(part);
            DirBuilder::new().mode(0o700).create(&part).map_err(|e| named(&part, e))?;
        }
        Ok(place)
    }

    /// Writes the release `releases/VERSION`.
    pub fn write_release(&self, version: u32, release: Release) -> io::Result<()> {
        let dir = self.dir.join("releases").join(version.to_string());
        fs::create_dir(&dir)?;
        fs::write(dir.join("VERSION"), format!("{version}\n"))?;
        match release {
            Release::Works => Ok(()),
            Release::Broken => fs::write(dir.join("BROKEN"), ""),
        }
    }

    /// Points `current` at a release. By rename, as deployment tools do: there is no moment without a `current`.
    pub fn flip(&self, version: u32) -> io::Result<()> {
        let next = self.dir.join("next");
        symlink(Path::new("releases").join(version.to_string()), &next)?;
        fs::rename(next, self.current())
    }

    /// The link to the release in use.
    pub fn current(&self) -> PathBuf {
        self.dir.join("current")
    }

    pub fn config(&self) -> PathBuf {
        self.dir.join("rota.toml")
    }

    /// Writes the configuration of a server on `listen` whose app is the hidden verb of `exe`.
    pub fn write_config(&self, listen: SocketAddr, exe: &Path, as_root: bool) -> io::Result<()> {
        let in_dir = |name: &str| quoted(&self.dir.join(name));
        // A server that runs as root wants to be told so aloud.
        let user = if as_root { "user = \"root\"\n" } else { "" };
        let text = format!(
            "[server]\nlisten = [\"{listen}\"]\ncontrol = {}\nrun_dir = {}\nspool_dir = {}\nstate_dir = {}\n\n\
             [app.{APP}]\ncommand = [{}, \"{APP_VERB}\"]\nroot = {}\nbind = \"unix\"\nprocesses = {PROCESSES}\n\
             concurrency = 16\nprobation = \"300ms\"\n{user}",
            in_dir("control.sock")?,
            in_dir("run")?,
            in_dir("spool")?,
            in_dir("state")?,
            quoted(exe)?,
            in_dir("current")?,
        );
        fs::write(self.config(), text)
    }

    /// Where the server's log goes.
    pub fn create_log(&self) -> io::Result<File> {
        File::create(self.log())
    }

    /// The last lines of the server's log; empty if there is none.
    pub fn log_tail(&self) -> Vec<String> {
        let bytes = fs::read(self.log()).unwrap_or_default();
        let lines: Vec<String> = String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].to_vec()
    }

    fn log(&self) -> PathBuf {
        self.dir.join("serve.log")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(why) = fs::remove_dir_all(&self.dir) {
            eprintln!("rota demo: {}: {why}", self.dir.display());
        }
    }
}

/// A path as a TOML basic string.
fn quoted(path: &Path) -> io::Result<String> {
    let text = path.to_str().ok_or_else(|| io::Error::other(format!("{}: not UTF-8", path.display())))?;
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Ok(quoted)
}

/// The app's name in the configuration and on the command line.
pub const APP: &str = "demo";
/// How many processes the app has.
pub const PROCESSES: usize = 4;
/// The hidden verb that is the app.
const APP_VERB: &str = "__demo-app";
const LOG_TAIL: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn current_shows_the_release_it_was_flipped_to() {
        let place = Place::new().expect("a directory");
        for (version, release) in [(1, Release::Works), (2, Release::Broken)] {
            place.write_release(version, release).expect("a new release");
            place.flip(version).expect("no link called next");
            let shown = fs::read_to_string(place.current().join("VERSION")).expect("a version");
            assert_eq!(shown, format!("{version}\n"));
            assert_eq!(place.current().join("BROKEN").exists(), release == Release::Broken);
        }
    }

    #[test]
    fn the_directory_is_gone_afterwards() {
        let place = Place::new().expect("a directory");
        let dir = place.dir.clone();
        assert!(dir.join("run").is_dir());
        drop(place);
        assert!(!dir.exists());
    }

    #[test]
    fn the_configuration_is_toml_with_any_path() {
        let place = Place::new().expect("a directory");
        place.write_config(SocketAddr::from(([127, 0, 0, 1], 8080)), Path::new("/a \"b\"\\\n/rota"), true).expect("written");
        let text = fs::read_to_string(place.config()).expect("readable");
        let table = toml::de::DeTable::parse(&text).expect("TOML").into_inner();
        let text_at = |path: &[&str]| {
            let value = path[1..].iter().fold(table[path[0]].get_ref(), |value, key| value.get(*key).expect(key).get_ref());
            value.as_array().map_or(value, |list| list[0].get_ref()).as_str().expect("a text").to_owned()
        };
        assert_eq!(text_at(&["app", APP, "command"]), "/a \"b\"\\\n/rota");
        assert_eq!(text_at(&["app", APP, "user"]), "root");
        assert_eq!(text_at(&["app", APP, "root"]), place.current().display().to_string());
        assert_eq!(text_at(&["server", "listen"]), "127.0.0.1:8080");
    }
}
