//! `rota logs`: what an app printed last, and what follows, out of the file that its `log` names. It needs no server, and the rights to read
//! that file.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::OFlags;

use super::Exit;
use super::say::{complain, is_unread, print};
use crate::config::{self, Config};
use crate::named_file::Gate;

/// `last`: how many lines of those that are there.
pub fn run(config: &Path, app: &str, last: usize, follow: bool) -> Exit {
    // Whatever else is wrong in it.
    let found = config::glance(config, &Gate::to_look());
    let path = match file_of(&found.config, app) {
        Ok(path) => path,
        Err(why) => {
            if !found.knows_server || !found.knows_apps {
                eprintln!("{}", found.report);
            }
            return complain(&why, Exit::Bad);
        }
    };
    let shown = show(&path, last, follow, &mut io::stdout().lock());
    match shown {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => complain(&denied(&path), Exit::Bad),
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => complain(&format!("{}: {error}", path.display()), Exit::Bad),
        // A reader that has seen enough is no failure.
        Ok(()) | Err(_) => print(""),
    }
}

fn file_of(config: &Config, app: &str) -> Result<PathBuf, String> {
    let found = config.apps.iter().find(|known| known.name.as_str() == app);
    let missing = || {
        let known: Vec<&str> = config.apps.iter().map(|app| app.name.as_str()).collect();
        match config.broken.iter().find(|broken| broken.name == app) {
            Some(broken) => format!("where {app} has its log is not known: {}", broken.why),
            None if known.is_empty() => format!("there is no app {app:?}, and no other one either"),
            None => format!("there is no app {app:?}; there is {}", known.join(", ")),
        }
    };
    let found = found.ok_or_else(missing)?;
    found.log.clone().ok_or_else(|| {
        format!("what {app} prints goes into rota's own log; under systemd: journalctl -u rota -g '^{app}/' (or give the app a file: log = \"/var/log/rota/{app}.log\")")
    })
}

/// What root would have to do, once, so that the kernel lets an operator read it.
fn denied(path: &Path) -> String {
    let me = User::from_uid(Uid::effective()).ok().flatten().map_or_else(|| "NAME".to_owned(), |user| user.name);
    let gid = fs::metadata(path).ok().map(|file| file.gid()).filter(|gid| *gid != 0);
    let group = gid.and_then(|gid| Group::from_gid(Gid::from_raw(gid)).ok().flatten()).map(|group| group.name);
    let how = match group {
        Some(group) => format!("root and the group {group} may read it; root lets you: usermod -aG {group} {me}"),
        None => format!("root alone may read it, and the directory it is in; root lets you: chgrp adm FILE; usermod -aG adm {me}"),
    };
    format!("{}: permission denied: {}", path.display(), how.replace("FILE", &path.display().to_string()))
}

/// Ends at the end of the file, or never.
fn show(path: &Path, last: usize, follow: bool, out: &mut impl Write) -> io::Result<()> {
    let mut file = open(path)?;
    let begin = beginning_of_last(&file, last)?;
    file.seek(SeekFrom::Start(begin))?;
    copy(&mut file, out)?;
    if !follow {
        return Ok(());
    }
    loop {
        std::thread::sleep(LOOK);
        // Of an app that prints nothing.
        if is_unread() {
            return Ok(());
        }
        copy(&mut file, out)?;
        if let Some(next) = successor(path, &mut file)? {
            // Its writer goes over to the new file at once: what it wrote to the old one before is there by now.
            copy(&mut file, out)?;
            file = next;
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

/// Where the last lines begin.
fn beginning_of_last(file: &File, lines: usize) -> io::Result<u64> {
    let (mut at, mut found, mut block) = (file.metadata()?.len(), 0, vec![0; BLOCK]);
    while at > 0 && lines > 0 {
        let from = at.saturating_sub(BLOCK as u64);
        let size = usize::try_from(at - from).unwrap_or(BLOCK);
        file.read_exact_at(&mut block[..size], from)?;
        for end in memchr::memrchr_iter(b'\n', &block[..size]) {
            // The first one ends the last line.
            if found == lines {
                return Ok(from + end as u64 + 1);
            }
            found += 1;
        }
        at = from;
    }
    Ok(if lines == 0 { file.metadata()?.len() } else { 0 })
}

/// What is there by now.
fn copy(file: &mut File, out: &mut impl Write) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block)? {
            0 => return out.flush(),
            size => out.write_all(&block[..size])?,
        }
    }
}

/// The file that has come in the place of this one, which was renamed; one that was emptied is read from its beginning.
fn successor(path: &Path, file: &mut File) -> io::Result<Option<File>> {
    let now = match fs::metadata(path) {
        Ok(now) => now,
        // It was renamed, and the new one is not there yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let own = file.metadata()?;
    if (now.dev(), now.ino()) != (own.dev(), own.ino()) {
        return open(path).map(Some);
    }
    if own.len() < file.stream_position()? {
        file.rewind()?;
    }
    Ok(None)
}

const BLOCK: usize = 64 * 1024;
/// Lines come to the file within a tenth of a second.
const LOOK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn last(text: &str, lines: usize) -> String {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("log"), text).unwrap();
        let mut out = Vec::new();
        show(&dir.path().join("log"), lines, false, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_app_whose_log_is_not_known_is_told_from_one_that_there_is_not() {
        let read = |text: &str| {
            let files = [config::SourceFile { path: "rota.toml".into(), text: text.to_owned() }];
            config::parse_to_serve(&files).unwrap().config
        };
        let shop = read("[app.shop]\nroot = \"/\"\nlog = \"/x/shop.log\"\n[app.blog]\nrooot = 5\n");
        assert_eq!(file_of(&shop, "shop"), Ok(PathBuf::from("/x/shop.log")));
        assert!(file_of(&shop, "blog").unwrap_err().starts_with("where blog has its log is not known: rota.toml:5:1: unknown key"));
        assert_eq!(file_of(&shop, "bolg"), Err("there is no app \"bolg\"; there is shop".to_owned()));
        assert_eq!(file_of(&read(""), "x"), Err("there is no app \"x\", and no other one either".to_owned()));
    }

    #[test]
    fn the_last_lines_are_shown_whole() {
        assert_eq!(last("one\ntwo\nthree\n", 2), "two\nthree\n");
        assert_eq!(last("one\ntwo\n", 5), "one\ntwo\n");
        assert_eq!((last("", 5), last("one\n", 0)), (String::new(), String::new()));
        let long: Vec<String> = (0..5).map(|number| format!("{number}{}\n", "x".repeat(BLOCK - 3 + number))).collect();
        assert_eq!(last(&long.concat(), 3), long[2..].concat());
    }

    #[test]
    fn a_file_that_was_renamed_or_emptied_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "one\n").unwrap();
        let (mut file, mut out) = (open(&path).unwrap(), Vec::new());
        copy(&mut file, &mut out).unwrap();
        assert!(successor(&path, &mut file).unwrap().is_none());
        fs::rename(&path, dir.path().join("old")).unwrap();
        assert!(successor(&path, &mut file).unwrap().is_none(), "it is not there yet");
        fs::write(&path, "two\n").unwrap();
        file = successor(&path, &mut file).unwrap().expect("the new one");
        copy(&mut file, &mut out).unwrap();
        fs::write(&path, "3\n").unwrap();
        assert!(successor(&path, &mut file).unwrap().is_none());
        copy(&mut file, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "one\ntwo\n3\n");
    }
}
