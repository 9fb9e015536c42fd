//! Opens the directories that an app's files are sent from, with the rights of its user: what is not his to reach is not held open.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pace::Pace;
use crate::config::AppConfig;
use crate::conn::folders::{Folder, Links, Public};
use crate::conn::ways::{self, Contents, Tree};
use crate::printable::clean;
use crate::restart::release::Identity;
use crate::safe_open;

/// What was found.
#[derive(Debug, Default)]
pub struct Opened {
    /// Of each release that was asked for; None: it has no public directory.
    pub public: Vec<(PathBuf, Option<Arc<Public>>)>,
    pub sendfile: Option<Arc<Folder>>,
}

impl Opened {
    /// None: it was not asked for.
    pub fn of(&self, root: &Path) -> Option<&Option<Arc<Public>>> {
        self.public.iter().find(|(of, _)| of == root).map(|(_, public)| public)
    }
}

/// `begun`: the release of a walk that begins with this; the log says what of its files is not sent.
pub fn open(app: &AppConfig, user: Option<&Identity>, roots: &[PathBuf], begun: Option<&Path>, pace: &Pace) -> Opened {
    let config = &app.files;
    if config.public.directory().is_none() && config.sendfile_root.is_none() {
        return Opened::default();
    }
    let opening = Opening { app, begun, pace };
    let open = || {
        let public = roots.iter().map(|root| (root.clone(), opening.public(root).map(Arc::new))).collect();
        let sendfile = config.sendfile_root.as_ref().and_then(|path| {
            pace.begin(format!("opening sendfile_root {}", path.display()));
            let opened = Folder::new(None, path, Links::Beneath);
            opened.inspect_err(|error| log::error!("{}: sendfile_root {}: {error}", app.name, path.display())).ok()
        });
        Ok(Opened { public, sendfile: sendfile.map(Arc::new) })
    };
    let opened = safe_open::as_app(user, open);
    opened.unwrap_or_else(|error| {
        log::error!("{}: its files are left to the app: {error}", app.name);
        Opened { public: roots.iter().map(|root| (root.clone(), None)).collect(), sendfile: None }
    })
}

/// What is the same for all releases of an app.
struct Opening<'a> {
    app: &'a AppConfig,
    begun: Option<&'a Path>,
    pace: &'a Pace,
}

impl Opening<'_> {
    /// None: the release has no such directory.
    fn public(&self, root: &Path) -> Option<Public> {
        let path = self.app.files.public.directory()?;
        let shown = root.join(path);
        self.pace.begin(format!("opening {}", shown.display()));
        let opened = match self.app.files.public_links {
            true => Folder::new(Some(root), path, Links::Anywhere).map(|folder| (folder, Contents::default())),
            false => Tree::of(&self.app.start.root, root).and_then(|tree| ways::open(&tree, root, path)),
        };
        match opened {
            Ok((folder, contents)) => {
                if self.begun == Some(root) {
                    let refused = contents.links.iter().filter_map(|link| link.refusal(&shown));
                    refused.for_each(|text| log::warn!("{}: {}", self.app.name, clean(text.as_bytes())));
                }
                let ways = contents.links.into_iter().filter_map(|link| link.way.ok()).collect();
                Some(Public { root: root.to_owned(), folder, ways })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                log::warn!("{}: public directory {}: {error}; its files are left to the app", self.app.name, shown.display());
                None
            }
        }
    }
}
