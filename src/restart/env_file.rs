//! Reads the files of `env_file`, whenever a release is resolved.
//!
//! As root, with the rights of the app's user: what the user could put into its own files' place, a symlink to another's secrets, it could
//! then read itself. A file that the user may not read, as secrets are kept best, is read as root where nobody but root can have put it
//! (the module `safe_open`). Errors name the file and the line and never what stands there.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::release::Identity;
use crate::config::{Bind, env_file, sets_itself};
use crate::safe_open;

/// Names and values of all files, in their order. `root`: of the release, from which relative paths are seen. `user`: whom the app runs as,
/// where that is not rota's own user.
pub fn read(paths: &[PathBuf], root: &Path, bind: Option<Bind>, user: Option<&Identity>) -> Result<Vec<(String, String)>, String> {
    let mut variables = Vec::new();
    for path in paths {
        let path = root.join(path);
        let failed = |what: String| format!("env_file {}: {what}", path.display());
        let bytes = contents(&path, user).map_err(|error| failed(error.to_string()))?;
        for variable in env_file::parse(&bytes).map_err(|bad| failed(bad.to_string()))? {
            if sets_itself(&variable.name, bind) {
                return Err(failed(format!("line {}: rota sets this variable itself, for each process: leave it out", variable.line)));
            }
            variables.push((variable.name, variable.value));
        }
    }
    Ok(variables)
}

fn contents(path: &Path, user: Option<&Identity>) -> io::Result<Vec<u8>> {
    let other = user.filter(|user| user.uid != 0 && rustix::process::geteuid().is_root());
    let Some(user) = other else { return bytes(&open(path)?) };
    match safe_open::as_user(user, || open(path)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let opened = safe_open::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, &user.groups());
            bytes(&opened.map_err(|error| io::Error::new(error.kind(), format!("user {} may not read it; {error}", user.name)))?)
        }
        opened => bytes(&opened?),
    }
}

/// A FIFO must not hold us up, and a terminal not become ours.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)
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

    #[test]
    fn files_are_read_in_their_order_and_seen_from_the_release() {
        let (dir, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(dir.path().join("base"), "A=1\nB=1\n").unwrap();
        fs::write(root.path().join(".env"), "B=2\n").unwrap();
        let read = |paths: &[PathBuf]| read(paths, root.path(), Some(Bind::Unix), None);
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
        let read = |path: &str| read(&[path.into()], dir.path(), Some(Bind::Unix), Some(&user));
        assert_eq!(read("secret").unwrap(), variables(&[("KEY", "value")]));
        assert_eq!(read("theirs/.env").unwrap(), variables(&[("OWN", "1")]));
        for planted in ["theirs/link", "theirs/hard"] {
            let refused = read(planted).unwrap_err();
            assert!(refused.contains("user nobody may not read it; ") && refused.contains("/theirs belongs to uid "), "{refused}");
        }
    }
}
