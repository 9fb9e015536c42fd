//! A release: all that a start depends on, resolved once when a walk begins and kept with its generation. Later starts of the generation
//! look at nothing else: not at the configuration, not at a symlink that may have moved on.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{Group, User};

use crate::config::{Bind, StartConfig};
use crate::pool::{Failure, FailureKind};

/// What processes of one generation are started from.
#[derive(Clone, Debug)]
pub struct Release {
    /// Without symlinks.
    pub root: PathBuf,
    /// What the app's root named when this was resolved; None: nothing.
    pub named: Option<PathBuf>,
    pub command: Vec<String>,
    pub bind: Bind,
    pub env: Vec<(String, String)>,
    /// None: the user that rota runs as.
    pub user: Option<Identity>,
}

/// The user that an app runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
    pub shell: PathBuf,
}

/// Resolves what the configuration names, as it is now. `choose`: which directory is meant, told what the app's root names.
pub fn resolve(start: &StartConfig, choose: impl FnOnce(&Path) -> PathBuf) -> Result<Release, Failure> {
    let failed = |text: String| Failure { kind: FailureKind::Release(text), output: Vec::new() };
    let named = fs::canonicalize(&start.root);
    let chosen = choose(named.as_deref().unwrap_or(&start.root));
    let root = match &named {
        Ok(named) if *named == chosen => chosen,
        _ => fs::canonicalize(&chosen).map_err(|error| failed(format!("root {}: {error}", chosen.display())))?,
    };
    if !root.is_dir() {
        return Err(failed(format!("root {}: not a directory", root.display())));
    }
    let user = user(start).map_err(|text| Failure { kind: FailureKind::User(text), output: Vec::new() })?;
    Ok(Release { root, named: named.ok(), command: start.command.clone(), bind: start.bind, env: start.env.clone(), user })
}

/// A group without a user is that group for rota's own user.
fn user(start: &StartConfig) -> Result<Option<Identity>, String> {
    let group = start.group.as_deref();
    match &start.user {
        Some(user) => identity(user, group).map(Some),
        None if group.is_some() => identity(&own_name()?, group).map(Some),
        None => Ok(None),
    }
}

fn own_name() -> Result<String, String> {
    let uid = nix::unistd::geteuid();
    let own = User::from_uid(uid).map_err(|error| format!("uid {uid}: {error}"))?;
    Ok(own.ok_or_else(|| format!("uid {uid}: it has no name"))?.name)
}

/// Looks a user up (NSS: files, LDAP, ...).
pub fn identity(user: &str, group: Option<&str>) -> Result<Identity, String> {
    let found = User::from_name(user).map_err(|error| format!("user {user}: {error}"))?;
    let found = found.ok_or_else(|| format!("user {user}: there is no such user"))?;
    let gid = match group {
        None => found.gid,
        Some(group) => {
            let known = Group::from_name(group).map_err(|error| format!("group {group}: {error}"))?;
            known.ok_or_else(|| format!("group {group}: there is no such group"))?.gid
        }
    };
    CString::new(user).map_err(|_| format!("user {user:?}: a NUL byte in the name"))?;
    Ok(Identity { name: user.to_owned(), uid: found.uid.as_raw(), gid: gid.as_raw(), home: found.dir, shell: found.shell })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(root: &std::path::Path) -> StartConfig {
        StartConfig { command: vec!["x".to_owned()], root: root.to_owned(), bind: Bind::Unix, env: Vec::new(), user: None, group: None }
    }

    #[test]
    fn a_release_keeps_the_directory_that_the_symlink_named_then() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two, current) = (dir.path().join("1"), dir.path().join("2"), dir.path().join("current"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        std::os::unix::fs::symlink(&one, &current).unwrap();
        let release = resolve(&start(&current), Path::to_owned).unwrap();
        fs::remove_file(&current).unwrap();
        std::os::unix::fs::symlink(&two, &current).unwrap();
        assert_eq!(release.root, fs::canonicalize(&one).unwrap());
    }

    #[test]
    fn a_group_without_a_user_is_for_rota_s_own_user() {
        let dir = tempfile::tempdir().unwrap();
        let daemon = StartConfig { group: Some("daemon".to_owned()), ..start(dir.path()) };
        let user = resolve(&daemon, Path::to_owned).unwrap().user.unwrap();
        assert_eq!((user.uid, user.gid), (nix::unistd::geteuid().as_raw(), Group::from_name("daemon").unwrap().unwrap().gid.as_raw()));
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = resolve(&start(Path::new("/nowhere/at/all")), Path::to_owned).unwrap_err();
        assert!(matches!(&missing.kind, FailureKind::Release(text) if text.starts_with("root /nowhere/at/all: ")), "{missing:?}");
        let dir = tempfile::tempdir().unwrap();
        let nobody = StartConfig { user: Some("no-such-user-here".to_owned()), ..start(dir.path()) };
        let missing = resolve(&nobody, Path::to_owned).unwrap_err();
        assert!(matches!(&missing.kind, FailureKind::User(text) if text.contains("no-such-user-here")), "{missing:?}");
    }
}
