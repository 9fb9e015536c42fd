//! Which directories an app's files are sent from, whenever it changes which releases those are. Errands open them
//! ([`crate::errands::folders`]); what is open already stays as it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Restart;
use crate::conn::folders::{AppFolders, Public, Standing};
use crate::errands::folders::Opened;
use crate::errands::prepare;
use crate::ids::GroupId;
use crate::records::Record;
use crate::table::State;

impl Restart {
    /// The releases whose public directories a walk that begins now wants open, and that are not.
    pub(super) fn to_open(&self, group: GroupId) -> Vec<PathBuf> {
        let state = self.shared.table.lock();
        let known = state.folders.get(group.index());
        let lending = lending(&state, group).into_iter().map(|(root, _)| root);
        lending.filter(|root| known.is_none_or(|known| !known.knows(root))).collect()
    }

    /// `opened`: by an errand, in place of what was open before; others stay as they are: a link that an app has made since its start is none of
    /// those that are followed.
    pub(super) fn set_folders(&mut self, group: GroupId, opened: Option<Opened>) {
        let files = &self.shared.app(group).files;
        if files.public.directory().is_none() && files.sendfile_root.is_none() {
            return;
        }
        // Of an absolute path there is only one directory, whatever serves.
        let most = if files.public.directory().is_some_and(Path::is_absolute) { 1 } else { RELEASES };
        let state = self.shared.table.lock();
        let before = state.folders.get(group.index()).cloned().unwrap_or_default();
        let lending: Vec<(PathBuf, Standing)> = lending(&state, group).into_iter().take(most).collect();
        let user = state.newest_release(group).map(|release| release.user.clone());
        drop(state);

        let mut folders = AppFolders { public: Vec::new(), without: Vec::new(), sendfile: before.sendfile.clone() };
        let mut unknown = Vec::new();
        for (root, standing) in lending {
            let new = opened.as_ref().and_then(|opened| opened.of(&root)).cloned();
            match new.or_else(|| before.public_of(&root)) {
                Some(Some(public)) => folders.public.push((standing, public)),
                Some(None) => folders.without.push(root),
                None => unknown.push(root),
            }
        }
        if let Some(opened) = opened {
            folders.sendfile = opened.sendfile;
        }
        self.put_folders(group, folders);
        if let (Some(user), false) = (user, unknown.is_empty() || self.opening.contains(&group)) {
            match prepare::open(&self.shared, group, user, unknown) {
                Ok(()) => drop(self.opening.insert(group)),
                Err(error) => log::warn!("{}: public directories: {error}; their files are left to the app", self.shared.app(group).name),
            }
        }
    }

    /// What lends files was opened.
    pub(super) fn opened(&mut self, group: GroupId, opened: Opened) {
        self.opening.remove(&group);
        let sendfile = self.shared.table.lock().folders.get(group.index()).and_then(|folders| folders.sendfile.clone());
        let sendfile = sendfile.or_else(|| opened.sendfile.clone());
        self.set_folders(group, Some(Opened { sendfile, ..opened }));
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
        self.put_folders(group, AppFolders { public, without: folders.without.clone(), sendfile: folders.sendfile.clone() });
    }

    fn put_folders(&self, group: GroupId, folders: AppFolders) {
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
