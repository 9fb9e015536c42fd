//! Looks every few seconds whether the directories of the releases that serve are still there, and the same. On a thread of its own, for a disk
//! may be slow, and neither requests nor the repair of crashes wait for it. It changes nothing but what the table knows of it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::ids::{Generation, GroupId};
use crate::last_word;
use crate::pool::Lost;
use crate::table::{Shared, State};

/// Device and inode: a directory, whatever its name.
pub type Identity = (u64, u64);

/// Starts the thread. It ends with rota.
pub fn start(shared: Arc<Shared>) -> io::Result<()> {
    last_word::start(NAME, STACK, move || {
        while !shared.table.lock().finished {
            last_word::fault(NAME);
            look(&shared);
            std::thread::sleep(EVERY);
        }
        true
    })?;
    Ok(())
}

/// None: there is none, or it may not be seen.
pub fn identity(directory: &Path) -> Option<Identity> {
    fs::symlink_metadata(directory).ok().map(|found| (found.dev(), found.ino()))
}

/// A release that serves.
struct Served {
    group: GroupId,
    generation: Generation,
    root: PathBuf,
    identity: Identity,
}

fn look(shared: &Shared) {
    let served = served(&shared.table.lock());
    for Served { group, generation, root, identity } in served {
        let Ok(lost) = seen(&root, identity) else { continue };
        let mut state = shared.table.lock();
        let of = state.pool.group_mut(group);
        if !of.saw_directory(generation, lost) {
            continue;
        }
        let serving = of.serving_good();
        drop(state);
        shared.table.notify();
        shared.tell_master();
        let (app, root) = (&shared.app(group).name, root.display());
        match lost {
            Some(lost) => log::error!("{app}: {}", lost.say(generation, &root.to_string(), serving)),
            None => log::info!("{app}: the directory {root} of {generation} is there again"),
        }
    }
}

fn served(state: &State) -> Vec<Served> {
    let of = |group: &crate::pool::Group<_>| {
        let (group, generation) = (group.id(), group.good()?);
        let release = state.releases.get(&(group, generation))?;
        Some(Served { group, generation, root: release.root.clone(), identity: release.identity? })
    };
    state.pool.groups().filter_map(of).collect()
}

/// Err: it cannot be seen now.
fn seen(root: &Path, identity: Identity) -> io::Result<Option<Lost>> {
    match fs::symlink_metadata(root) {
        Ok(found) if (found.dev(), found.ino()) == identity => Ok(None),
        Ok(_) => Ok(Some(Lost::Replaced)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Some(Lost::Gone)),
        Err(error) => Err(error),
    }
}

const EVERY: Duration = Duration::from_secs(2);
const NAME: &str = "rota-releases";
const STACK: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_known_by_what_it_is_and_not_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("1");
        fs::create_dir(&root).unwrap();
        let known = identity(&root).unwrap();
        assert_eq!(seen(&root, known).unwrap(), None);
        fs::rename(&root, dir.path().join("away")).unwrap();
        assert_eq!(seen(&root, known).unwrap(), Some(Lost::Gone));
        fs::create_dir(&root).unwrap();
        assert_eq!(seen(&root, known).unwrap(), Some(Lost::Replaced));
        fs::remove_dir(&root).unwrap();
        fs::rename(dir.path().join("away"), &root).unwrap();
        assert_eq!(seen(&root, known).unwrap(), None);
        assert_eq!(seen(&root.join("file/below"), known).unwrap(), Some(Lost::Gone));
    }
}
