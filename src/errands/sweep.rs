//! Removes the private directories of processes that are gone, one thread for each app that has any, and what an earlier rota has left of them.
//!
//! What is in such a directory is its owner's, and is removed with the owner's rights, by what the kernel allows him (`empty`); the
//! directory itself stands in one of rota's. The restart thread only says which: neither crash repair nor an end waits for any of it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD};

use super::empty::{Budget, Left, empty};
use crate::credentials::Credentials;
use crate::printable::clean;
use crate::restart::private_dir::{open_dir, our_dir};
use crate::table::Shared;

/// Has directories `run_dir/APP/NAME` removed. On the restart thread.
pub fn remove(shared: &Arc<Shared>, app: &str, names: Vec<String>) {
    if names.is_empty() {
        return;
    }
    let mut state = shared.table.lock();
    if let Some(more) = state.sweeps.get_mut(app) {
        more.extend(names.into_iter().take(WAITING.saturating_sub(more.len())));
        return;
    }
    state.sweeps.insert(app.to_owned(), names);
    drop(state);
    let (own, name) = (shared.clone(), app.to_owned());
    if let Err(error) = super::thread_apart(format!("{app}: sweep"), move || sweep(&own, &name)) {
        log::warn!("{app}: a thread to remove private directories: {error}; the next start of rota removes them");
        shared.table.lock().sweeps.remove(app);
    }
}

/// What an earlier rota left, by the names of its apps. Nothing of this one's may be there yet.
pub fn leftovers(run_dir: &Path) -> Vec<(String, Vec<String>)> {
    let text = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    let names = |directory: &Path| fs::read_dir(directory).into_iter().flatten().take(WAITING).filter_map(text).collect::<Vec<_>>();
    let of_app = |app: String| {
        // Rota's own, and no other's: listing it waits for nobody.
        let found = our_dir(CWD, &run_dir.join(&app)).ok().map(|_| names(&run_dir.join(&app)))?;
        (!found.is_empty()).then_some((app, found))
    };
    names(run_dir).into_iter().filter_map(of_app).collect()
}

fn sweep(shared: &Shared, app: &str) {
    loop {
        let mut state = shared.table.lock();
        let Some(name) = state.sweeps.get_mut(app).and_then(|names| names.pop()) else {
            state.sweeps.remove(app);
            drop(state);
            // A stopping server waits a moment for this.
            return shared.table.notify();
        };
        drop(state);
        let path = shared.catalog().server.run_dir.join(app).join(&name);
        let budget = Budget { entries: ENTRIES, until: Instant::now() + TIME };
        if let Err(error) = remove_one(&shared.catalog().server.run_dir, app, &name, budget) {
            let path = clean(path.display().to_string().as_bytes());
            log::warn!("{path}: {error}; what is left of it is removed when rota starts again");
        }
    }
}

fn remove_one(run_dir: &Path, app: &str, name: &str, budget: Budget) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let run = our_dir(CWD, run_dir).map_err(text)?;
    let app = our_dir(run.as_fd(), Path::new(app)).map_err(text)?;
    let opened = match open_dir(app.as_fd(), Path::new(name)) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // A file, or a link: nothing that a process was given.
        Err(_) => return rustix::fs::unlinkat(&app, name, AtFlags::empty()).map_err(|error| error.to_string()),
    };
    let left = as_owner(&opened, budget).map_err(text)?;
    match rustix::fs::unlinkat(&app, name, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(()),
        Err(error) => Err(left.map_or_else(|| error.to_string(), |left| left.to_string())),
    }
}

/// Some: why something is left.
fn as_owner(directory: &OwnedFd, budget: Budget) -> io::Result<Option<Left>> {
    let owner = rustix::fs::fstat(directory)?;
    Credentials::of_owner(owner.st_uid, owner.st_gid).on_a_thread(|| Ok(empty(directory, budget).err()))
}

/// Of one directory: 300,000 files take some seconds.
const ENTRIES: u64 = 2_000_000;
const TIME: Duration = Duration::from_secs(120);
/// Directories of one app that wait for their removal; more stay until rota starts again.
const WAITING: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn budget() -> Budget {
        Budget { entries: 1000, until: Instant::now() + Duration::from_secs(60) }
    }

    #[test]
    fn only_directories_of_ours_are_swept_and_links_are_removed_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["blog/1-1-aaaaaaaa/deep", "open/1-1-aaaaaaaa", "elsewhere"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(at("elsewhere/precious"), "").unwrap();
        fs::write(at("control.sock"), "").unwrap();
        symlink(at("elsewhere"), at("link")).unwrap();
        symlink(at("elsewhere"), at("blog/2-1-aaaaaaaa")).unwrap();
        symlink(at("elsewhere"), at("blog/1-1-aaaaaaaa/deep/link")).unwrap();
        let mut found = leftovers(dir.path());
        assert!(!found.iter().any(|(app, _)| ["open", "link", "control.sock"].contains(&app.as_str())), "{found:?}");
        let (_, mut names) = found.swap_remove(found.iter().position(|(app, _)| app == "blog").unwrap());
        names.sort();
        assert_eq!(names, ["1-1-aaaaaaaa", "2-1-aaaaaaaa"]);
        for name in names {
            remove_one(dir.path(), "blog", &name, budget()).unwrap();
        }
        assert_eq!(fs::read_dir(at("blog")).unwrap().count(), 0);
        assert!(at("elsewhere/precious").exists());
        assert!(remove_one(dir.path(), "link", "precious", budget()).unwrap_err().contains("that nobody else may write to"));
    }

    #[test]
    fn what_is_in_a_directory_is_removed_with_the_rights_of_its_owner() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("blog/1-1-aaaaaaaa/roots")).unwrap();
        for name in ["theirs", "roots/file"] {
            fs::write(at("blog/1-1-aaaaaaaa").join(name), "").unwrap();
        }
        for name in ["", "theirs"] {
            chown(at("blog/1-1-aaaaaaaa").join(name), Some(65534), Some(65534)).unwrap();
        }
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let left = remove_one(dir.path(), "blog", "1-1-aaaaaaaa", budget()).unwrap_err();
        assert!(left.contains("Permission denied"), "{left}");
        assert!(!at("blog/1-1-aaaaaaaa/theirs").exists() && at("blog/1-1-aaaaaaaa/roots/file").exists());
    }
}
