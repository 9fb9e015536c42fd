//! The one gate for files that a configuration names: rota.toml, those of apps.d, and the error pages in them. None waits, as a FIFO or a terminal
//! would; only regular files are read; and what others decide over is not read with root's rights.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::app_tree::open_regular;
use crate::config::{NoPage, PageOf, Reader};
use crate::restart::release;
use crate::safe_open;

/// Who reads, and for what.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Of the apps' users. None: it is only looked what the configuration says, and nothing that it names is read.
    groups: Option<Vec<u32>>,
}

impl Gate {
    /// For whoever only wants to know what is configured.
    pub fn to_look() -> Self {
        Self { groups: None }
    }

    /// For a server: whoever may write to the configuration is whoever rota runs commands as. `groups`: of the apps' users.
    pub fn to_serve(groups: Vec<u32>) -> Self {
        Self { groups: Some(groups) }
    }
}

impl Reader for Gate {
    fn configuration(&self, path: &Path) -> io::Result<String> {
        if let Some(groups) = &self.groups {
            safe_open::check_writers(path, groups)?;
        }
        let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8");
        String::from_utf8(read(path, CONFIGURATION)?).map_err(not_text)
    }

    fn page(&self, path: &Path, of: PageOf<'_>, most: u64) -> Result<Vec<u8>, NoPage> {
        let Some(groups) = &self.groups else { return Ok(Vec::new()) };
        let own = |error: io::Error| NoPage { why: error.to_string(), is_others: false };
        // The kernel judges by what it may itself.
        let Err(refused) = (if rustix::process::geteuid().is_root() { safe_open::check_writers(path, groups) } else { Ok(()) }) else {
            return read(path, most).map_err(own);
        };
        match of {
            // What its user decides over its user has to be able to read.
            PageOf::App { user: Some(user), group } => {
                let user = release::identity(user, group).map_err(io::Error::other).map_err(own)?;
                safe_open::as_app(Some(&user).filter(|user| user.uid != 0), || match user.uid {
                    0 => Err(refused),
                    _ => read(path, most),
                })
                .map_err(own)
            }
            PageOf::App { user: None, .. } => Err(own(refused)),
            PageOf::Server => Err(NoPage { why: refused.to_string(), is_others: true }),
        }
    }
}

/// A byte more than `most` of one that is longer.
fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file: File = open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// No configuration is as long (bytes).
const CONFIGURATION: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    fn page(path: &Path, of: PageOf<'_>) -> Result<String, String> {
        let read = Gate::to_serve(Vec::new()).page(path, of, 100);
        read.map(|bytes| String::from_utf8(bytes).unwrap()).map_err(|no_page| no_page.why)
    }

    #[test]
    fn only_regular_files_are_read_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("page.html");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [fifo.as_path(), dir.path()] {
            let said = "it is no regular file";
            assert_eq!(page(path, PageOf::Server).unwrap_err(), said, "{}", path.display());
            assert_eq!(Gate::to_serve(Vec::new()).configuration(path).unwrap_err().to_string(), said);
            assert_eq!(Gate::to_look().configuration(path).unwrap_err().to_string(), said);
        }
        assert_eq!(Gate::to_look().configuration(Path::new("/dev/zero")).unwrap_err().to_string(), "it is no regular file");
        fs::write(dir.path().join("file"), "text").unwrap();
        assert_eq!(page(&dir.path().join("file"), PageOf::Server).unwrap(), "text");
        assert_eq!(Gate::to_look().page(&fifo, PageOf::Server, 100).unwrap(), b"", "it is not asked for");
    }

    #[test]
    fn a_page_that_an_app_s_user_decides_over_is_what_that_user_could_read() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (theirs, secret) = (dir.path().join("theirs"), dir.path().join("secret"));
        fs::create_dir(&theirs).unwrap();
        chown(&theirs, Some(65534), None).unwrap();
        fs::write(&secret, "secret").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&secret, theirs.join("link.html")).unwrap();
        fs::write(theirs.join("own.html"), "own").unwrap();
        let of_app = |user| PageOf::App { user, group: None };
        assert_eq!(page(&theirs.join("own.html"), of_app(Some("nobody"))).unwrap(), "own");
        let refused = page(&theirs.join("link.html"), of_app(Some("nobody"))).unwrap_err();
        assert!(refused.contains("Permission denied"), "{refused}");
        for of in [of_app(Some("root")), of_app(None), PageOf::Server] {
            let refused = page(&theirs.join("link.html"), of).unwrap_err();
            assert!(refused.contains("/theirs belongs to uid 65534"), "{refused}");
        }
        assert_eq!(page(&secret, PageOf::Server).unwrap(), "secret", "root alone decides over it");
    }
}
