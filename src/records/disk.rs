//! A file for each app, `STATE_DIR/NAME.json`: whole at every moment, whatever ends rota or the machine.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
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

    /// None: nothing was ever written. A file that cannot be understood is moved aside, so that it is there to be looked at.
    pub fn load(&self, app: &AppName) -> Result<Option<Record>, String> {
        let path = self.path(app);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: read: {error}", path.display())),
        };
        let why = match read(BufReader::new(file.take(LARGEST))) {
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

    /// A new file beside the old one, on the disk, then in its place, and that on the disk as well: rename(2) leaves one of the two.
    pub fn save(&self, app: &AppName, record: &Record) -> Result<(), String> {
        let path = self.path(app);
        let new = self.directory.join(format!("{app}.json.new"));
        let bytes = serde_json::to_vec_pretty(record).map_err(|error| format!("{}: {error}", path.display()))?;
        let step = |what: &str, result: io::Result<()>| result.map_err(|error| format!("{}: {what}: {error}", new.display()));
        // Only for its owner: the output of an app may say anything.
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .map_err(|error| format!("{}: create: {error}", new.display()))?;
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
