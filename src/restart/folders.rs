//! Opens the directories that an app's files are sent from, whenever it changes which releases those are.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Restart;
use super::release::{Identity, Release};
use crate::config::FilesConfig;
use crate::conn::folders::{AppFolders, Folder, Links, Public, Reader, Standing};
use crate::ids::GroupId;
use crate::records::Record;

impl Restart {
    /// In the order in which they are asked: the release that was accepted last, the one that is on its way, those that were served from before.
    pub(super) fn open_folders(&self, group: GroupId) {
        let config = &self.shared.app(group).files;
        let state = self.shared.table.lock();
        let (record, newest) = (state.records[group.index()].clone(), state.newest_release(group).cloned());
        let before = state.folders.get(group.index()).cloned();
        drop(state);
        let Some(newest) = newest else { return };

        let reader = newest.user.as_ref().map(|user| Arc::new(reader(user)));
        let public = match config.public.directory() {
            Some(path) => releases(&record, &newest, before.as_deref(), path)
                .into_iter()
                .filter_map(|(root, standing)| Some(Public { folder: public(&root, path, config, reader.as_ref())?, root, standing }))
                .collect(),
            None => Vec::new(),
        };
        let sendfile = config.sendfile_root.as_ref().and_then(|path| {
            let opened = Folder::new(None, path, Links::Beneath, reader.clone());
            opened.inspect_err(|error| log::error!("{}: sendfile_root {}: {error}", self.shared.app(group).name, path.display())).ok()
        });

        let folders = Arc::new(AppFolders { public, sendfile });
        let mut state = self.shared.table.lock();
        if state.folders.len() <= group.index() {
            state.folders.resize_with(group.index() + 1, Arc::default);
        }
        let old = std::mem::replace(&mut state.folders[group.index()], folders);
        self.shared.folders_edition.fetch_add(1, Ordering::Release);
        drop(state);
        // Behind the lock: it may close directories.
        drop((old, before));
    }
}

/// The roots of the releases that files may be sent from, each once. Of an absolute path there is only one directory.
fn releases(record: &Record, newest: &Release, before: Option<&AppFolders>, public: &Path) -> Vec<(PathBuf, Standing)> {
    let good = record.good.as_ref().unwrap_or(&newest.root);
    let mut roots = vec![(good.clone(), Standing::Good)];
    let coming = (newest.root.clone(), Standing::Coming);
    // Whatever became of a release: pages of it may be open.
    let was = before.into_iter().flat_map(|before| &before.public).map(|public| (public.root.clone(), Standing::Earlier));
    let earlier = record.earlier.iter().rev().map(|root| (root.clone(), Standing::Earlier));
    if !public.is_absolute() {
        for (root, standing) in std::iter::once(coming).chain(was).chain(earlier) {
            if roots.len() < RELEASES && roots.iter().all(|(known, _)| *known != root) {
                roots.push((root, standing));
            }
        }
    }
    roots
}

/// None: the release has no such directory.
fn public(root: &Path, path: &Path, config: &FilesConfig, reader: Option<&Arc<Reader>>) -> Option<Folder> {
    let links = if config.public_links { Links::Anywhere } else { Links::Beneath };
    match Folder::new(Some(root), path, links, reader.cloned()) {
        Ok(folder) => Some(folder),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            log::warn!("public directory {}: {error}; its files are left to the app", root.join(path).display());
            None
        }
    }
}

fn reader(user: &Identity) -> Reader {
    Reader { uid: user.uid, groups: user.groups() }
}

/// The one that serves, one that is coming, and three before them. Each costs a descriptor, and a look for a name that may be from it.
const RELEASES: usize = 5;
