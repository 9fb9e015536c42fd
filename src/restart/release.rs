//! A release: all that a start depends on, resolved once when a walk begins and kept with its generation. Later starts of the generation
//! look at nothing else: not at the configuration, not at a symlink that may have moved on.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, User, getgrouplist};
use serde::{Deserialize, Serialize};

use super::env_file;
use crate::app_tree;
use crate::config::{Bind, CONCURRENCY, SpawnAttributes, StartConfig, StopSignal};
use crate::credentials::Credentials;
use crate::detect::Detected;
use crate::errands::lookout;
use crate::errands::pace::Pace;
use crate::errands::watch::way::Way;
use crate::pool::{Failure, FailureKind};
use crate::safe_open;

/// What processes of one generation are started from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Without symlinks.
    #[serde(with = "crate::path_text")]
    pub root: PathBuf,
    /// Which directory that is, whatever its name becomes.
    pub identity: Option<lookout::Identity>,
    /// What the app's root named when this was resolved; None: nothing.
    #[serde(with = "crate::path_text")]
    pub named: Option<PathBuf>,
    pub command: Vec<String>,
    /// By what the command was found; None: the configuration says it.
    pub detected: Option<String>,
    pub bind: Bind,
    pub stop: StopSignal,
    /// Sessions of each process.
    pub concurrency: u32,
    /// What its files of variables say, as it stands there. A later one replaces an earlier.
    pub env_of_files: Vec<(String, String)>,
    /// After those; `$PORT`, `$SOCKET` and `$ROOT` not yet replaced.
    pub env: Vec<(String, String)>,
    /// Its server listens on what HOSTNAME says.
    pub is_next: bool,
    /// None: the user that rota runs as.
    pub user: Option<Identity>,
    /// Of that user.
    pub credentials: Option<Credentials>,
    pub attributes: SpawnAttributes,
}

/// The user that an app runs as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    #[serde(with = "crate::path_text")]
    pub home: PathBuf,
    #[serde(with = "crate::path_text")]
    pub shell: PathBuf,
}

impl Identity {
    /// All of its processes' groups, the supplementary ones as initgroups(3) sets them.
    pub fn groups(&self) -> Vec<u32> {
        let listed = CString::new(self.name.as_str()).ok().and_then(|name| getgrouplist(&name, Gid::from_raw(self.gid)).ok());
        listed.map_or_else(|| vec![self.gid], |groups| groups.iter().map(|gid| gid.as_raw()).collect())
    }
}

/// What is seen of the app's tree, with the rights of its user.
struct Seen {
    root: PathBuf,
    identity: Option<lookout::Identity>,
    named: Option<PathBuf>,
    detected: Option<Detected>,
}

/// Resolves what the configuration names, as it is now. `choose`: which directory is meant, told what the app's root names. The kernel judges
/// what the app's user may see of its tree; on a thread that may wait for a disk. `others`: [`groups_of_others`].
pub fn resolve(start: &StartConfig, pace: &Pace, others: &[u32], choose: impl FnOnce(&Path) -> PathBuf + Send) -> Result<Release, Failure> {
    let failed = |text: String| Failure { kind: FailureKind::Release(text), output: Vec::new() };
    pace.begin("looking up its user".to_owned());
    let user = user(start).map_err(|text| Failure { kind: FailureKind::User(text), output: Vec::new() })?;
    let Seen { root, identity, named, detected } =
        safe_open::as_app(user.as_ref(), || Ok(see(start, pace, choose))).map_err(|error| failed(error.to_string()))??;
    let command = match (&start.command, &detected) {
        (Some(command), _) => command.clone(),
        (None, Some(found)) => found.command.clone(),
        (None, None) => Vec::new(),
    };
    // What the configuration says wins; what it leaves open suits what was detected.
    let of_detected = detected.as_ref();
    let bind = start.bind.or(of_detected.map(|found| found.bind)).unwrap_or(Bind::Port);
    let from = env_file::From { configured: &start.root, named: named.as_deref(), root: &root, others };
    let env_of_files = env_file::read(&start.env_files, from, Some(bind), user.as_ref(), pace).map_err(failed)?;
    let next = || Ok(app_tree::is_next(&root, &command, pace));
    Ok(Release {
        identity,
        is_next: safe_open::as_app(user.as_ref(), next).unwrap_or(false),
        named,
        bind,
        stop: start.stop_signal.or(of_detected.map(|found| found.stop)).unwrap_or(StopSignal::Term),
        concurrency: start.concurrency.or(of_detected.map(|found| found.concurrency)).unwrap_or(CONCURRENCY),
        env_of_files,
        env: start.env.clone(),
        credentials: user.as_ref().map(Credentials::of),
        user,
        attributes: start.attributes.clone(),
        command,
        detected: detected.map(|Detected { why, .. }| why),
        root,
    })
}

fn see(start: &StartConfig, pace: &Pace, choose: impl FnOnce(&Path) -> PathBuf) -> Result<Seen, Failure> {
    let failed = |text: String| Failure { kind: FailureKind::Release(text), output: Vec::new() };
    pace.begin(format!("finding {}", start.root.display()));
    let named = Way::real(&start.root);
    let chosen = choose(named.as_deref().unwrap_or(&start.root));
    pace.begin(format!("finding {}", chosen.display()));
    let root = match &named {
        Ok(named) if *named == chosen => chosen,
        _ => Way::real(&chosen).map_err(|error| failed(format!("root {}: {error}", chosen.display())))?,
    };
    if !root.is_dir() {
        return Err(failed(format!("root {}: not a directory", root.display())));
    }
    let identity = lookout::identity(&root);
    let detected = match &start.command {
        Some(_) => None,
        None => {
            let found = app_tree::look(&root, start.bind, &start.env, pace);
            Some(found.map_err(|text| Failure { kind: FailureKind::NoCommand(text), output: Vec::new() })?)
        }
    };
    Ok(Seen { root, identity, named: named.ok(), detected })
}

/// A group without a user is that group for rota's own user.
pub fn user(start: &StartConfig) -> Result<Option<Identity>, String> {
    let group = start.group.as_deref();
    match &start.user {
        Some(user) => identity(user, group).map(Some),
        None if group.is_some() => identity(&own_name()?, group).map(Some),
        None => Ok(None),
    }
}

/// All groups of the users of some apps, as far as they can be looked up.
pub fn groups<'a>(starts: impl Iterator<Item = &'a StartConfig>) -> Vec<u32> {
    let mut groups: Vec<u32> = starts.filter_map(|start| user(start).ok().flatten()).flat_map(|user| user.groups()).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// Of these apps, the groups of those users that are not this one.
pub fn groups_of_others<'a>(starts: impl Iterator<Item = &'a StartConfig>, own: Option<&Identity>) -> Vec<u32> {
    let own = own.map_or_else(|| nix::unistd::geteuid().as_raw(), |own| own.uid);
    let others = starts.filter_map(|start| user(start).ok().flatten()).filter(|user| user.uid != own);
    let mut groups: Vec<u32> = others.flat_map(|user| user.groups()).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// Of the users that some apps run as and rota does not, as far as they can be looked up.
pub fn credentials<'a>(starts: impl Iterator<Item = &'a StartConfig>) -> Vec<Credentials> {
    let own = nix::unistd::geteuid().as_raw();
    let mut users: Vec<Identity> = starts.filter_map(|start| user(start).ok().flatten()).filter(|user| user.uid != own).collect();
    users.sort_by_key(|user| user.uid);
    users.dedup_by_key(|user| user.uid);
    users.iter().map(Credentials::of).collect()
}

fn own_name() -> Result<String, String> {
    let uid = nix::unistd::geteuid();
    let own = User::from_uid(uid).map_err(|error| format!("uid {uid}: {error}"))?;
    Ok(own.ok_or_else(|| format!("uid {uid}: it has no name"))?.name)
}

/// Looks a user up (NSS: files, LDAP, ...).
pub fn identity(user: &str, group: Option<&str>) -> Result<Identity, String> {
    let found = User::from_name(user).map_err(|error| format!("user {user}: {error}"))?;
    let found = found.ok_or_else(|| format!("no user {user:?}"))?;
    let gid = match group {
        None => found.gid,
        Some(group) => {
            let known = Group::from_name(group).map_err(|error| format!("group {group}: {error}"))?;
            known.ok_or_else(|| format!("no group {group:?}"))?.gid
        }
    };
    CString::new(user).map_err(|_| format!("user {user:?}: a NUL byte in the name"))?;
    Ok(Identity { name: user.to_owned(), uid: found.uid.as_raw(), gid: gid.as_raw(), home: found.dir, shell: found.shell })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SourceFile, parse};
    use std::fs;

    fn pace() -> Pace {
        Pace::new(std::time::Duration::from_secs(60))
    }

    fn start(root: &Path, more: &str) -> StartConfig {
        let text = format!("[app.blog]\nroot = {root:?}\n{more}");
        parse(&[SourceFile { path: "rota.toml".into(), text }]).unwrap().config.apps.remove(0).start
    }

    #[test]
    fn a_release_keeps_the_directory_that_the_symlink_named_then() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two, current) = (dir.path().join("1"), dir.path().join("2"), dir.path().join("current"));
        fs::create_dir(&one).unwrap();
        fs::create_dir(&two).unwrap();
        std::os::unix::fs::symlink(&one, &current).unwrap();
        let release = resolve(&start(&current, "command = \"x\""), &pace(), &[], Path::to_owned).unwrap();
        fs::remove_file(&current).unwrap();
        std::os::unix::fs::symlink(&two, &current).unwrap();
        assert_eq!(release.root, fs::canonicalize(&one).unwrap());
    }

    #[test]
    fn a_command_is_detected_in_the_release_and_what_the_configuration_says_wins() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("Procfile"), "web: bundle exec unicorn -p $PORT\n").unwrap();
        let settings = |more: &str| {
            let Release { command, detected, bind, stop, concurrency, .. } =
                resolve(&start(dir.path(), more), &pace(), &[], Path::to_owned).unwrap();
            (command.join(" "), detected, bind, stop, concurrency)
        };
        let command = "bundle exec unicorn -p $PORT".to_owned();
        let why = Some("the web line of the Procfile".to_owned());
        assert_eq!(settings(""), (command.clone(), why.clone(), Bind::Port, StopSignal::Quit, 1));
        assert_eq!(settings("stop.signal = \"INT\"\nconcurrency = 7"), (command, why, Bind::Port, StopSignal::Int, 7));
        assert_eq!(settings("command = \"run $SOCKET\""), ("run $SOCKET".to_owned(), None, Bind::Unix, StopSignal::Term, 100));
        fs::remove_file(dir.path().join("Procfile")).unwrap();
        let failure = resolve(&start(dir.path(), ""), &pace(), &[], Path::to_owned).unwrap_err();
        assert!(matches!(&failure.kind, FailureKind::NoCommand(text) if text.starts_with("nothing in ")), "{failure:?}");
    }

    #[test]
    fn a_group_without_a_user_is_for_rota_s_own_user() {
        let dir = tempfile::tempdir().unwrap();
        let daemon = start(dir.path(), "command = \"x\"\ngroup = \"daemon\"");
        let user = resolve(&daemon, &pace(), &[], Path::to_owned).unwrap().user.unwrap();
        assert_eq!((user.uid, user.gid), (nix::unistd::geteuid().as_raw(), Group::from_name("daemon").unwrap().unwrap().gid.as_raw()));
    }

    #[test]
    fn a_release_goes_through_json_whatever_its_paths_are() {
        use std::os::unix::ffi::OsStrExt;

        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
        fs::create_dir(&root).unwrap();
        let more = "command = \"x $PORT\"\ngroup = \"daemon\"\nlimits.nofile = 99\nstop.signal = \"INT\"\n[app.blog.env]\nLANG = \"C\"";
        let release = resolve(&start(dir.path(), more), &pace(), &[], |_| root.clone()).unwrap();
        assert!(
            release.root.ends_with(root.file_name().unwrap()) && release.credentials.is_some() && !release.attributes.rlimits.is_empty()
        );
        let saved = serde_json::to_string(&release).unwrap();
        assert_eq!(serde_json::from_str::<Release>(&saved).unwrap(), release);
    }

    #[test]
    fn what_is_missing_is_named() {
        let missing = resolve(&start(Path::new("/nowhere/at/all"), ""), &pace(), &[], Path::to_owned).unwrap_err();
        assert!(matches!(&missing.kind, FailureKind::Release(text) if text.starts_with("root /nowhere/at/all: ")), "{missing:?}");
        let dir = tempfile::tempdir().unwrap();
        let nobody = start(dir.path(), "user = \"no-such-user-here\"");
        let missing = resolve(&nobody, &pace(), &[], Path::to_owned).unwrap_err();
        assert!(matches!(&missing.kind, FailureKind::User(text) if text.contains("no-such-user-here")), "{missing:?}");
    }
}
