//! A file for each app, `STATE_DIR/NAME.json`: whole at every moment, whatever ends rota or the machine.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Record;
use super::read::{Unread, read};
use crate::ids::AppName;

/// The directory. Errors of its methods name the file, the step and the number.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

impl Store {
    /// Creates the directory (0755) if it is missing.
    pub fn open(directory: &Path) -> Result<Self, String> {
        let created = DirBuilder::new().recursive(true).mode(0o755).create(directory);
        created.map_err(|error| format!("{}: create: {error}", directory.display()))?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// None: nothing was ever written. What cannot be understood, or is no file of ours, is moved aside, so that it is there to be looked at.
    pub fn load(&self, app: &AppName) -> Result<Option<Record>, String> {
        let path = self.path(app);
        // Known before it is opened: a FIFO would be waited for.
        let read = match self.look_at(&path) {
            Ok(None) => File::open(&path).map_err(Unread::Io).and_then(|file| read(BufReader::new(file.take(LARGEST)))),
            Ok(Some(why)) => Err(Unread::NotUnderstood(why)),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => Err(Unread::Io(error)),
        };
        let why = match read {
            Ok(record) => return Ok(Some(record)),
            Err(Unread::Io(error)) => return Err(format!("{}: read: {error}", path.display())),
            Err(Unread::NotUnderstood(why)) => why,
        };
        let aside = self.directory.join(format!("{app}.json.bad"));
        let moved = match fs::rename(&path, &aside) {
            Ok(()) => format!("moved to {}", aside.display()),
            Err(error) => format!("and it cannot be moved aside: {error}"),
        };
        Err(format!("{}: {why}; {moved}", path.display()))
    }

    /// Why what is there is no record of ours, before it is opened.
    fn look_at(&self, path: &Path) -> io::Result<Option<String>> {
        let found = fs::metadata(path)?;
        // Whoever owns it could write which release is started, and as whom.
        let other = Some(found.uid()).filter(|uid| fs::metadata(&self.directory).is_ok_and(|directory| directory.uid() != *uid));
        let why = if found.is_file() { None } else { Some("it is no regular file".to_owned()) };
        Ok(why.or_else(|| other.map(|uid| format!("it belongs to uid {uid}"))))
    }

    /// A new file beside the old one, on the disk, then in its place, and that on the disk as well: rename(2) leaves one of the two.
    pub fn save(&self, app: &AppName, record: &Record) -> Result<(), String> {
        let path = self.path(app);
        let new = self.directory.join(format!("{app}.json.new"));
        let bytes = serde_json::to_vec_pretty(record).map_err(|error| format!("{}: {error}", path.display()))?;
        let step = |what: &str, result: io::Result<()>| result.map_err(|error| format!("{}: {what}: {error}", new.display()));
        // Only for its owner: the output of an app may say anything.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let opened = options.open(&new).or_else(|error| match error.kind() {
            // It was removed while rota runs.
            ErrorKind::NotFound => Self::open(&self.directory).map_or(Err(error), |_| options.open(&new)),
            _ => Err(error),
        });
        let mut file = opened.map_err(|error| format!("{}: create: {error}", new.display()))?;
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
