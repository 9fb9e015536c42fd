//! Opens the directories that an app's files are sent from, whenever it changes which releases those are.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Restart;
use crate::config::AppConfig;
use crate::conn::folders::{AppFolders, Folder, Links, Public, Reader, Standing};
use crate::conn::ways::{self, Contents, Tree};
use crate::ids::GroupId;
use crate::printable::clean;
use crate::records::Record;
use crate::table::State;

impl Restart {
    /// `begun`: the release of a walk that begins with this, opened anew, as it may have been changed in place; the log says what of its files is
    /// not sent. Others that are open stay as they are: a link that an app has made since its start is none of those that are followed.
    pub(super) fn open_folders(&self, group: GroupId, begun: Option<&Path>) {
        let app = self.shared.app(group);
        let config = &app.files;
        let state = self.shared.table.lock();
        let Some(newest) = state.newest_release(group).cloned() else { return };
        let lending = lending(&state, group);
        let before = state.folders.get(group.index()).cloned();
        drop(state);

        let reader = newest.user.as_ref().map(|user| Arc::new(Reader::of(user)));
        let opening = Opening { app, reader: reader.as_ref(), begun };
        // Of an absolute path there is only one directory, whatever serves.
        let most = if config.public.directory().is_some_and(Path::is_absolute) { 1 } else { RELEASES };
        let releases = lending.into_iter().take(most);
        let known =
            |root: &Path| before.iter().flat_map(|before| &before.public).find(|(_, public)| public.root == root && begun != Some(root));
        let public = |root: PathBuf| known(&root).map(|(_, public)| public.clone()).or_else(|| opening.public(root).map(Arc::new));
        let public = releases.filter_map(|(root, standing)| Some((standing, public(root)?))).collect();
        let sendfile = config.sendfile_root.as_ref().and_then(|path| {
            let opened = Folder::new(None, path, Links::Beneath, reader.clone());
            opened.inspect_err(|error| log::error!("{}: sendfile_root {}: {error}", app.name, path.display())).ok()
        });
        self.set_folders(group, AppFolders { public, sendfile: sendfile.map(Arc::new) });
    }

    /// A process is gone: a release that was not accepted has no pages any more when that was its last.
    pub(super) fn close_folders(&self, group: GroupId) {
        let state = self.shared.table.lock();
        let Some(folders) = state.folders.get(group.index()).filter(|folders| !folders.public.is_empty()).cloned() else { return };
        let lending = lending(&state, group);
        drop(state);
        let stays = |(_, public): &&(Standing, Arc<Public>)| lending.iter().any(|(root, _)| *root == public.root);
        if folders.public.iter().all(|public| stays(&public)) {
            return;
        }
        let public = folders.public.iter().filter(stays).cloned().collect();
        self.set_folders(group, AppFolders { public, sendfile: folders.sendfile.clone() });
    }

    fn set_folders(&self, group: GroupId, folders: AppFolders) {
        let mut state = self.shared.table.lock();
        if state.folders.len() <= group.index() {
            state.folders.resize_with(group.index() + 1, Arc::default);
        }
        let old = std::mem::replace(&mut state.folders[group.index()], Arc::new(folders));
        self.shared.folders_edition.fetch_add(1, Ordering::Release);
        drop(state);
        // Behind the lock: it may close directories.
        drop(old);
    }
}

fn lending(state: &State, group: GroupId) -> Vec<(PathBuf, Standing)> {
    let shown = state.pool.group(group).shown().into_iter();
    let shown = shown.filter_map(|generation| Some(state.releases.get(&(group, generation))?.root.clone()));
    releases(&state.records[group.index()], shown)
}

/// The roots of the releases that files may be sent from, in the order in which they are asked, each once. `shown`: those besides the good one
/// whose pages a visitor may be given now.
///
/// A release on its way in lends from the moment its walk begins, as the first page of its first process asks for its assets. One that is
/// refused lends nothing, and neither does one that was rolled back from: nobody shall see a file that was judged to be wrong, and the app of the
/// release that serves knows what a path means. Only processes that `resist` leaves in service, or that a roll-back has not reached yet, keep the
/// assets of their pages, until the last of them is gone.
fn releases(record: &Record, shown: impl Iterator<Item = PathBuf>) -> Vec<(PathBuf, Standing)> {
    let lent = shown.chain(record.earlier.iter().rev().cloned());
    let mut roots: Vec<(PathBuf, Standing)> = Vec::new();
    for root in record.good.iter().cloned().chain(lent) {
        // Before any release was accepted the one that is tried is all there is.
        let standing = if roots.is_empty() { Standing::Good } else { Standing::Lends };
        if roots.len() < RELEASES && roots.iter().all(|(known, _)| *known != root) {
            roots.push((root, standing));
        }
    }
    roots
}

/// What is the same for all releases of an app.
struct Opening<'a> {
    app: &'a AppConfig,
    reader: Option<&'a Arc<Reader>>,
    begun: Option<&'a Path>,
}

impl Opening<'_> {
    /// None: the release has no such directory.
    fn public(&self, root: PathBuf) -> Option<Public> {
        let path = self.app.files.public.directory()?;
        let shown = root.join(path);
        let opened = match self.app.files.public_links {
            true => Folder::new(Some(&root), path, Links::Anywhere, self.reader.cloned()).map(|folder| (folder, Contents::default())),
            false => Tree::of(&self.app.start.root, &root).and_then(|tree| ways::open(&tree, &root, path, self.reader)),
        };
        match opened {
            Ok((folder, contents)) => {
                if self.begun == Some(&root) {
                    let refused = contents.links.iter().filter_map(|link| link.refusal(&shown));
                    refused.for_each(|text| log::warn!("{}: {}", self.app.name, clean(text.as_bytes())));
                }
                let ways = contents.links.into_iter().filter_map(|link| link.way.ok()).collect();
                Some(Public { root, folder, ways })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                log::warn!("{}: public directory {}: {error}; its files are left to the app", self.app.name, shown.display());
                None
            }
        }
    }
}

/// The one that serves, one that is coming, and three before them. Each costs a descriptor, and a look for a name that may be from it.
const RELEASES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_accepted_or_is_shown_lends_files() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let roots = |good: Option<&str>, earlier: &[&str], shown: &[&str]| {
            let record = Record { good: good.map(PathBuf::from), earlier: paths(earlier), ..Record::default() };
            let roots = releases(&record, paths(shown).into_iter());
            let name = |(root, standing): &(PathBuf, Standing)| format!("{} {standing:?}", root.display());
            roots.iter().map(name).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(roots(None, &[], &["1"]), "1 Good");
        assert_eq!(roots(None, &[], &[]), "");
        assert_eq!(roots(Some("1"), &[], &["2"]), "1 Good, 2 Lends");
        assert_eq!(roots(Some("1"), &[], &[]), "1 Good");
        assert_eq!(roots(Some("4"), &["1", "2", "3"], &["4", "5"]), "4 Good, 5 Lends, 3 Lends, 2 Lends, 1 Lends");
        assert_eq!(roots(Some("6"), &["1", "2", "3", "4", "5"], &["7"]), "6 Good, 7 Lends, 5 Lends, 4 Lends, 3 Lends");
    }
}
