//! A file for each app, `STATE_DIR/NAME.json`: whole at every moment, whatever ends rota or the machine. What was not read is not written over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Record;
use super::read::{Unread, read};
use crate::ids::AppName;

/// The directory, which somebody else makes. Errors of its methods name the file, the step and the number.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

/// Why there is no record, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotLoaded {
    /// What lay there was none, and is moved aside: its place is free.
    Aside(String),
    /// It stands there still, whatever it is.
    Unread(String),
}

impl Store {
    pub fn of(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// None: nothing was ever written. What cannot be understood, or is no file of ours, is moved aside, so that it is there to be looked at.
    pub fn load(&self, app: &AppName) -> Result<Option<Record>, NotLoaded> {
        let path = self.path(app);
        let read = match self.look_at(&path) {
            // Known before it is opened: a FIFO would be waited for. Nobody else can put one there.
            Ok(None) => File::open(&path).map_err(Unread::Io).and_then(|file| read(BufReader::new(file.take(LARGEST)))),
            Ok(Some(why)) => Err(Unread::NotUnderstood(why)),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => Err(Unread::Io(error)),
        };
        let why = match read {
            Ok(record) => return Ok(Some(record)),
            Err(Unread::Io(error)) => return Err(NotLoaded::Unread(format!("{}: read: {error}", path.display()))),
            Err(Unread::NotUnderstood(why)) => why,
        };
        let path_and_why = format!("{}: {why}", path.display());
        match self.move_aside(app) {
            Ok(aside) => Err(NotLoaded::Aside(format!("{path_and_why}; moved to {}", aside.display()))),
            Err(error) => Err(NotLoaded::Unread(format!("{path_and_why}; and it cannot be moved aside: {error}"))),
        }
    }

    /// To `NAME.json.bad`, or `NAME.json.bad2` where that is taken, and so on.
    fn move_aside(&self, app: &AppName) -> io::Result<PathBuf> {
        let names = std::iter::once(String::new()).chain((2..=ASIDE).map(|number| number.to_string()));
        for aside in names.map(|number| self.directory.join(format!("{app}.json.bad{number}"))) {
            // Nobody else has the directory: it need not be one step, which not every file system knows.
            match fs::symlink_metadata(&aside) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => return fs::rename(self.path(app), &aside).map(|()| aside),
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(format!("{ASIDE} that were moved aside before lie there still")))
    }

    /// Why what is there is no record of ours, before it is opened.
    fn look_at(&self, path: &Path) -> io::Result<Option<String>> {
        let found = fs::metadata(path)?;
        // Whoever owns it could write which release is started, and as whom.
        let other = Some(found.uid()).filter(|uid| fs::metadata(&self.directory).is_ok_and(|directory| directory.uid() != *uid));
        let why = if found.is_file() { None } else { Some("it is no regular file".to_owned()) };
        Ok(why.or_else(|| other.map(|uid| format!("it belongs to uid {uid}"))))
    }

    /// A new file beside the old one, on the disk, then in its place, and that on the disk as well: rename(2) leaves one of the two. The old one
    /// was read, or there was none.
    pub fn save(&self, app: &AppName, record: &Record) -> Result<(), String> {
        let path = self.path(app);
        let new = self.directory.join(format!("{app}.json.new"));
        let bytes = serde_json::to_vec_pretty(record).map_err(|error| format!("{}: {error}", path.display()))?;
        let step = |what: &str, result: io::Result<()>| result.map_err(|error| format!("{}: {what}: {error}", new.display()));
        // Only for its owner: the output of an app may say anything.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new).map_err(|error| format!("{}: create: {error}", new.display()))?;
        step("write", file.write_all(&bytes))?;
        step("fsync", file.sync_all())?;
        step("rename", fs::rename(&new, &path))?;
        step("fsync of the directory", File::open(&self.directory).and_then(|directory| directory.sync_all()))
    }

    fn path(&self, app: &AppName) -> PathBuf {
        self.directory.join(format!("{app}.json"))
    }
}

/// No version ever wrote that much (bytes).
const LARGEST: u64 = 256 << 20;
/// Whoever has so many looks at one of them.
const ASIDE: usize = 9;
