//! Finds the configuration files on the disk, and has them read.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::parse::{self, parse};
use super::report::{Mistake, Place, Report, SourceFile};
use super::{BrokenApp, Config, HostPattern, Loaded, Route};
use crate::ids::AppName;

/// Reads files: those of a configuration, and what they name. Without waiting, whatever lies there.
pub trait Reader {
    fn configuration(&self, path: &Path) -> io::Result<String>;

    /// At most a byte more than `most`.
    fn page(&self, path: &Path, of: PageOf<'_>, most: u64) -> Result<Vec<u8>, NoPage>;
}

/// Whose page it is.
#[derive(Clone, Copy, Debug)]
pub enum PageOf<'a> {
    Server,
    /// Of an app with this user, if it names one, and group.
    App {
        user: Option<&'a str>,
        group: Option<&'a str>,
    },
}

/// Why a page is not read.
#[derive(Debug)]
pub struct NoPage {
    pub why: String,
    /// It is not the server's own choice what lies there: no start hangs on it.
    pub is_others: bool,
}

/// For texts that name nothing.
pub(super) struct Nothing;

impl Reader for Nothing {
    fn configuration(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn page(&self, _: &Path, _: PageOf<'_>, _: u64) -> Result<Vec<u8>, NoPage> {
        Ok(Vec::new())
    }
}

/// Where rota looks when it is not told.
pub const DEFAULT_PATH: &str = "/etc/rota/rota.toml";
/// Beside it.
const APPS: &str = "apps.d";
/// As configurations of others end. An error page may lie there, as .txt or .json.
const OTHER_ENDS: [&str; 5] = ["conf", "cfg", "ini", "yaml", "yml"];

/// Reads `path` and, beside it, each `apps.d/NAME.toml` in the order of their names; hidden files are left alone, as editors put their
/// own there. The errors are those of [`parse()`] and of files that cannot be read, all at once.
pub fn load(path: &Path, reader: &dyn Reader) -> Result<Loaded, Report> {
    let Glance { config, report, sources, .. } = glance(path, reader);
    if report.has_errors() { Err(report) } else { Ok(Loaded { config, warnings: report, sources }) }
}

/// As [`load`] for a server that has to serve: what is wrong with one app costs that app alone ([`parse_to_serve`]).
///
/// [`parse_to_serve`]: super::parse_to_serve
pub fn load_to_serve(path: &Path, reader: &dyn Reader) -> Result<Loaded, Report> {
    let Glance { config, report, knows_server, knows_apps, sources } = glance(path, reader);
    // Without the directory it is not known which apps there are.
    if knows_server && knows_apps { Ok(Loaded { config, warnings: report, sources }) } else { Err(report) }
}

/// A configuration as far as it can be read, for whoever only looks at it.
#[derive(Clone, Debug, PartialEq)]
pub struct Glance {
    pub config: Config,
    /// All that is wrong, of all files.
    pub report: Report,
    /// Else there are defaults in `config.server`.
    pub knows_server: bool,
    /// Else there may be more than `config` has.
    pub knows_apps: bool,
    pub sources: Sources,
}

/// What a configuration was read from, to be read so again, whatever the files have become ([`crate::upgrade`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// The main one first.
    pub files: Vec<SourceFile>,
    /// Those of apps that could not be read, and why.
    pub unread: Vec<(PathBuf, String)>,
}

impl Sources {
    /// The configuration that they say. Err: nobody could be served by that, with all that is wrong.
    pub fn parse(&self, reader: &dyn Reader) -> Result<Loaded, Report> {
        let (mut loaded, knows_server) = parse::as_far(&self.files, reader);
        loaded.config.broken.extend(self.unread.iter().map(|(file, why)| unread(file, why.clone())));
        loaded.sources = self.clone();
        if knows_server { Ok(loaded) } else { Err(loaded.warnings) }
    }
}

/// Reads what can be read; a file that the reader refuses is as one that cannot be.
pub fn glance(path: &Path, reader: &dyn Reader) -> Glance {
    let files = Files::read(path, reader);
    let (mut loaded, knows_server) = parse::as_far(&files.readable, reader);
    let unread_files = || files.unreadable.iter().map(|mistake| (mistake.place.file.clone(), mistake.line()));
    loaded.config.broken.extend(unread_files().map(|(file, why)| unread(&file, why)));
    let sources = Sources { files: files.readable.clone(), unread: unread_files().collect() };
    let (knows_server, knows_apps) = (knows_server && files.main.is_none(), files.directory.is_none());
    Glance { config: loaded.config, report: files.report(&loaded.warnings), knows_server, knows_apps, sources }
}

/// Where a server with this configuration is talked to, as far as that can be read whatever else is wrong. With what is wrong, if the socket
/// may be another one for that.
pub fn control(path: &Path, reader: &dyn Reader) -> Result<(PathBuf, Option<Report>), Report> {
    let main = read_main(path, reader).map_err(|mistake| Report::new(vec![*mistake], Vec::new()))?;
    let files = std::slice::from_ref(&main);
    let report = || parse(files).err().unwrap_or_default();
    match parse::control(&main) {
        Some((control, true)) => Ok((control, None)),
        Some((control, false)) => Ok((control, Some(report()))),
        None => Err(report()),
    }
}

/// Of the files that `path` and apps.d beside it are now, or are not: others have another one. None: they cannot be seen. What they name, as
/// error pages, does not count.
pub fn stamp(path: &Path) -> Option<u64> {
    let directory = path.parent().unwrap_or(Path::new("")).join(APPS);
    let apps = app_files(&directory).ok()?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "toml"));
    // Without keys: another process finds the same.
    let mut hasher = DefaultHasher::new();
    for path in std::iter::once(path.to_owned()).chain(apps) {
        match fs::metadata(&path) {
            Ok(found) => (path.file_name(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()).hash(&mut hasher),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => path.file_name().hash(&mut hasher),
            Err(_) => return None,
        }
    }
    Some(hasher.finish())
}

/// What lies on the disk.
struct Files {
    /// The main one first, with an empty text if it cannot be read.
    readable: Vec<SourceFile>,
    /// With an empty text for what cannot be read: it has a place in the order all the same.
    all: Vec<SourceFile>,
    unreadable: Vec<Mistake>,
    /// The main one cannot be read.
    main: Option<Mistake>,
    /// apps.d cannot be read.
    directory: Option<Mistake>,
    /// What lies in it and is not read, though that seems to be meant.
    strays: Vec<Mistake>,
}

impl Files {
    fn read(path: &Path, reader: &dyn Reader) -> Self {
        let (main, trouble) = match read_main(path, reader) {
            Ok(main) => (main, None),
            Err(mistake) => (SourceFile { path: path.to_owned(), text: String::new() }, Some(*mistake)),
        };
        let (readable, all) = (vec![main.clone()], vec![main]);
        let mut files = Self { readable, all, unreadable: Vec::new(), main: trouble, directory: None, strays: Vec::new() };
        let directory = path.parent().unwrap_or(Path::new("")).join(APPS);
        let apps = app_files(&directory).unwrap_or_else(|error| {
            files.directory = Some(cannot_be_read(&directory, &error));
            Vec::new()
        });
        for path in apps {
            if path.extension().is_none_or(|end| end != "toml") {
                files.strays.extend(stray(&path));
                continue;
            }
            let text = reader.configuration(&path);
            if let Err(error) = &text {
                files.unreadable.push(cannot_be_read(&path, error));
            }
            if let Ok(text) = &text {
                files.readable.push(SourceFile { path: path.clone(), text: text.clone() });
            }
            files.all.push(SourceFile { path, text: text.unwrap_or_default() });
        }
        files
    }

    /// What is wrong with them in all.
    fn report(self, found: &Report) -> Report {
        let mut mistakes = self.unreadable;
        mistakes.extend(self.main);
        mistakes.extend(self.directory);
        mistakes.extend(self.strays);
        mistakes.extend_from_slice(found.mistakes());
        Report::new(mistakes, self.all)
    }
}

/// An app whose file cannot be read may be for any requests.
fn unread(file: &Path, why: String) -> BrokenApp {
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    BrokenApp { name, file: file.to_owned(), why, routes: vec![Route { host: HostPattern::Any, path: "/".to_owned() }] }
}

fn read_main(path: &Path, reader: &dyn Reader) -> Result<SourceFile, Box<Mistake>> {
    let text = reader
        .configuration(path)
        .map_err(|error| Box::new(cannot_be_read(path, &error).help("rota reads the file that --config names")))?;
    Ok(SourceFile { path: path.to_owned(), text })
}

/// A file that seems to be meant for an app: `blog.tml`, `blog.conf`, `blog`. Nothing of an editor's, and nothing that was put aside
/// (`blog.toml.off`).
fn stray(path: &Path) -> Option<Mistake> {
    let name = path.file_name()?.to_str()?;
    let is_meant = match name.rsplit_once('.') {
        _ if name.ends_with('~') => false,
        Some((_, end)) => OTHER_ENDS.contains(&end) || end.eq_ignore_ascii_case("toml") || strsim::osa_distance(end, "toml") == 1,
        None => AppName::new(name).is_ok(),
    };
    (is_meant && path.is_file()).then(|| Mistake::warning(Place::whole(path), "this is not read: the files of apps.d end in .toml"))
}

/// What is there, without hidden files; no directory is no apps.
fn app_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn cannot_be_read(path: &Path, error: &io::Error) -> Mistake {
    Mistake::error(Place::whole(path), format!("cannot read this: {error}"))
}
