//! Reads the files of `env_file`, whenever a release is resolved.
//!
//! With the rights of the app's user: what the user could put into its own files' place, a symlink to another's secrets, it could then read
//! itself. A file that the user may not read, as secrets are kept best, is read as root where the configuration says so by a way that nobody but
//! root can have laid, as it is written there (the module `safe_open`): a `current` of the app's leads root nowhere. What others may write is read
//! for nobody: whoever sets a program's variables decides what it does. Errors name the file and the line and never what stands there.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::release::Identity;
use crate::app_tree::open_regular;
use crate::config::{Bind, env_file, sets_itself};
use crate::errands::pace::Pace;
use crate::safe_open::{self, Trust};

/// From where relative paths are seen.
#[derive(Clone, Copy, Debug)]
pub struct From<'a> {
    /// The app's root, as the configuration has it.
    pub configured: &'a Path,
    /// What that names now.
    pub named: Option<&'a Path>,
    /// Of the release.
    pub root: &'a Path,
    /// Groups of the users of other apps ([`super::release::groups_of_others`]).
    pub others: &'a [u32],
}

/// Names and values of all files, in their order. `user`: whom the app runs as, where that is not rota's own user.
pub fn read(
    paths: &[PathBuf],
    from: From<'_>,
    bind: Option<Bind>,
    user: Option<&Identity>,
    pace: &Pace,
) -> Result<Vec<(String, String)>, String> {
    let mut variables = Vec::new();
    for configured in paths {
        let path = from.root.join(configured);
        pace.begin(format!("reading env_file {}", path.display()));
        let failed = |what: String| format!("env_file {}: {what}", path.display());
        let bytes = contents(&path, configured, from, user).map_err(|error| failed(error.to_string()))?;
        for variable in env_file::parse(&bytes).map_err(|bad| failed(bad.to_string()))? {
            if sets_itself(&variable.name, bind) {
                return Err(failed(format!("line {}: rota sets this variable itself, for each process: leave it out", variable.line)));
            }
            variables.push((variable.name, variable.value));
        }
    }
    Ok(variables)
}

fn contents(path: &Path, configured: &Path, from: From<'_>, user: Option<&Identity>) -> io::Result<Vec<u8>> {
    // Read where it is opened: a disk that may be slow is the app's.
    let read = safe_open::as_app(user, || {
        let file = open_regular(path)?;
        check_writers(path, from, user)?;
        bytes(&file)
    });
    match (read, user.filter(|user| user.uid != 0 && rustix::process::geteuid().is_root())) {
        (Err(error), Some(user)) if error.kind() == io::ErrorKind::PermissionDenied => {
            let why = |error: io::Error| io::Error::new(error.kind(), format!("user {} may not read it; {error}", user.name));
            let file = as_root(path, configured, from, &user.groups()).map_err(why)?;
            safe_open::others_may_write(&rustix::fs::fstat(&file)?, path, from.others)?;
            bytes(&file).map_err(why)
        }
        (read, _) => read,
    }
}

/// The app's user may write it, and whoever has the release: its code is theirs, too.
fn check_writers(path: &Path, from: From<'_>, user: Option<&Identity>) -> io::Result<()> {
    let user = user.map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid);
    let owner = std::fs::metadata(from.root).map_or(user, |root| std::os::unix::fs::MetadataExt::uid(&root));
    safe_open::check_writers_but(path, Trust { users: &[user, owner], groups: from.others }).map_err(|error| match error.raw_os_error() {
        // The kernel refuses the way: root may know another.
        Some(_) => error,
        // No root makes good what others may write.
        None => io::Error::other(error.to_string()),
    })
}

/// `path` is absolute, `configured` as it was written.
fn as_root(path: &Path, configured: &Path, from: From<'_>, groups: &[u32]) -> io::Result<File> {
    if configured.is_relative() {
        // Seen from a directory that is the configuration's own choice, and no link on the way to it anybody else's.
        safe_open::check_way(&from.configured.join("file"), groups)?;
        let is_chosen = from.named.is_some_and(|named| named == from.root || named.parent() == from.root.parent());
        if !is_chosen {
            let text = format!("{} is not what {} names", from.root.display(), from.configured.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
    }
    safe_open::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, groups)
}

fn bytes(file: &File) -> io::Result<Vec<u8>> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX {
        return Err(io::Error::other(format!("it has more than {MAX} bytes")));
    }
    Ok(bytes)
}

/// More is no file of variables: all of a program's together have 2 MiB at most (execve(2)).
const MAX: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restart::release::identity;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    fn variables(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn pace() -> Pace {
        Pace::new(std::time::Duration::from_secs(60))
    }

    fn from(root: &Path) -> From<'_> {
        From { configured: root, named: Some(root), root, others: &[] }
    }

    #[test]
    fn files_are_read_in_their_order_and_seen_from_the_release() {
        let (dir, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(dir.path().join("base"), "A=1\nB=1\n").unwrap();
        fs::write(root.path().join(".env"), "B=2\n").unwrap();
        let read = |paths: &[PathBuf]| read(paths, from(root.path()), Some(Bind::Unix), None, &pace());
        let paths = [dir.path().join("base"), PathBuf::from(".env")];
        assert_eq!(read(&paths).unwrap(), variables(&[("A", "1"), ("B", "1"), ("B", "2")]));
        fs::write(root.path().join(".env"), "B=2\nSOCKET=secret\n").unwrap();
        let file = root.path().join(".env").display().to_string();
        assert_eq!(
            read(&paths).unwrap_err(),
            format!("env_file {file}: line 2: rota sets this variable itself, for each process: leave it out")
        );
        fs::write(root.path().join(".env"), "x\nsecret").unwrap();
        assert_eq!(read(&paths).unwrap_err(), format!("env_file {file}: line 1: there is no \"=\""));
        fs::write(root.path().join(".env"), vec![b'#'; MAX as usize + 1]).unwrap();
        assert_eq!(read(&paths).unwrap_err(), format!("env_file {file}: it has more than 262144 bytes"));
        assert_eq!(
            read(&["missing".into()]).unwrap_err(),
            format!("env_file {}: No such file or directory (os error 2)", root.path().join("missing").display())
        );
        assert!(read(&["/dev/zero".into()]).unwrap_err().ends_with("it is no regular file"));
    }

    #[test]
    fn a_user_gets_no_more_out_of_root_than_it_could_read_and_secrets_of_root_are_read_where_root_put_them() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let user = identity("nobody", None).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(at("theirs")).unwrap();
        fs::write(at("secret"), "KEY=value\n").unwrap();
        fs::set_permissions(at("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(at("theirs/.env"), "OWN=1\n").unwrap();
        fs::set_permissions(at("theirs/.env"), fs::Permissions::from_mode(0o600)).unwrap();
        for path in ["theirs", "theirs/.env"] {
            chown(at(path), Some(user.uid), Some(user.gid)).unwrap();
        }
        symlink(at("secret"), at("theirs/link")).unwrap();
        fs::hard_link(at("secret"), at("theirs/hard")).unwrap();
        let read = |path: &str| read(&[path.into()], from(dir.path()), Some(Bind::Unix), Some(&user), &pace());
        assert_eq!(read("secret").unwrap(), variables(&[("KEY", "value")]));
        assert_eq!(read("theirs/.env").unwrap(), variables(&[("OWN", "1")]));
        for planted in ["theirs/link", "theirs/hard"] {
            let refused = read(planted).unwrap_err();
            assert!(refused.contains("user nobody may not read it; ") && refused.contains("/theirs belongs to uid "), "{refused}");
        }
    }

    #[test]
    fn what_others_may_write_sets_nothing_and_is_named_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mode = |name: &str, mode: u32| fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        fs::create_dir_all(at("apps/release")).unwrap();
        fs::write(at("apps/release/.env"), "A=1\n").unwrap();
        symlink("release", at("apps/current")).unwrap();
        let gid = std::os::unix::fs::MetadataExt::gid(&fs::metadata(at("apps/release/.env")).unwrap());
        let read = |path: &str, others: &[u32]| {
            let root = at("apps/release");
            let from = From { configured: &root, named: Some(&root), root: &root, others };
            read(&[path.into()], from, Some(Bind::Unix), None, &pace()).map_err(|why| why.replace(dir.path().to_str().unwrap(), "AT"))
        };
        let absolute = at("apps/current/.env").display().to_string();
        assert_eq!([read(".env", &[gid]), read(&absolute, &[])].map(|read| read.is_ok()), [true, true]);
        for (name, bits, why) in [
            ("apps/release/.env", 0o666, "anybody may write to AT/apps/release/.env (mode 0666)"),
            ("apps/release", 0o777, "anybody may write to AT/apps/release (mode 0777)"),
            ("apps", 0o757, "anybody may write to AT/apps (mode 0757)"),
        ] {
            mode(name, bits);
            for path in [".env", &absolute] {
                // By the name that it has there.
                let why = if path == ".env" { why.to_owned() } else { why.replace("release/.env", "current/.env") };
                assert_eq!(read(path, &[]).unwrap_err().rsplit(": ").next(), Some(why.as_str()), "{path}");
            }
            mode(name, bits & 0o755);
        }
        mode("apps/release/.env", 0o664);
        assert!(read(".env", &[]).is_ok(), "of administrators");
        let why = format!("gid {gid}, a group of an app's user, may write to AT/apps/release/.env (mode 0664)");
        assert_eq!(read(".env", &[gid]).unwrap_err().rsplit(": ").next(), Some(why.as_str()));
        if rustix::process::geteuid().is_root() {
            chown(at("apps/release/.env"), Some(12), None).unwrap();
            let why = "AT/apps/release/.env (mode 0664) belongs to uid 12, who is neither root nor the app's user";
            assert_eq!(read(".env", &[]).unwrap_err().rsplit(": ").next(), Some(why));
            chown(at("apps/release"), Some(12), None).unwrap();
            assert!(read(".env", &[]).is_ok(), "whose the release is");
        }
    }

    #[test]
    fn a_root_that_an_app_s_user_switches_leads_root_to_no_other_app_s_secrets() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let user = identity("nobody", None).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["shop", "blog", "ours/1", "ours/2"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        for name in ["shop", "ours/1", "ours/2"] {
            fs::write(at(name).join(".env"), "KEY=value\n").unwrap();
            fs::set_permissions(at(name).join(".env"), fs::Permissions::from_mode(0o600)).unwrap();
        }
        chown(at("blog"), Some(user.uid), Some(user.gid)).unwrap();
        symlink(at("shop"), at("blog/current")).unwrap();
        symlink(at("shop"), at("theirs")).unwrap();
        std::os::unix::fs::lchown(at("theirs"), Some(user.uid), Some(user.gid)).unwrap();
        symlink("1", at("ours/current")).unwrap();
        let read = |configured: &str, named: &str, root: &str| {
            let (configured, named, root) = (at(configured), at(named), at(root));
            let from = From { configured: &configured, named: Some(&named), root: &root, others: &[] };
            read(&[".env".into()], from, Some(Bind::Unix), Some(&user), &pace())
        };
        for (configured, root, why) in [
            ("blog/current", "shop", "/blog belongs to uid "),
            ("theirs", "shop", "/theirs belongs to uid "),
            ("ours/current", "shop", "/shop is not what "),
        ] {
            let named = if configured == "ours/current" { "ours/1" } else { root };
            let refused = read(configured, named, root).unwrap_err();
            assert!(refused.contains("user nobody may not read it; ") && refused.contains(why), "{configured}: {refused}");
        }
        for root in ["ours/1", "ours/2"] {
            assert_eq!(read("ours/current", "ours/1", root).unwrap(), variables(&[("KEY", "value")]), "{root}");
        }
    }
}
