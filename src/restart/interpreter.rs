//! What a command needs before its first line runs: the interpreter that a script names, the loader that a program names. The kernel says of
//! a missing one what it says of a missing command, and env(1) says it only in the app's output. Reads with the rights of whoever calls.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where a command is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The app's directory.
    pub root: &'a Path,
    /// Its PATH.
    pub path: &'a str,
}

/// Why executing this command cannot work although its program is there, and what helps. None also where that cannot be seen.
pub fn problem(command: &[String], place: Place<'_>) -> Option<String> {
    let program = program(command)?;
    let Some(mut file) = place.find(program) else {
        let file = place.root.join(program);
        return Some(format!("{}{}", dangling(&file).filter(|_| program.contains('/'))?, advice(&file)));
    };
    // The kernel follows as many (execve(2)).
    for _ in 0..4 {
        let beginning = beginning(&file)?;
        let Some(line) = beginning.strip_prefix(b"#!") else { return missing_loader(&file, &beginning) };
        let line = String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next().unwrap_or_default()).into_owned();
        file = match interpreter(&line, place) {
            Ok(Some(next)) => next,
            Ok(None) => return None,
            Err(what) => return Some(format!("{}: its first line {what}{}", file.display(), advice(&file))),
        };
    }
    None
}

/// The word that is executed, behind an env(1) that only sets variables. None: PATH is another there, or nothing is executed.
fn program(command: &[String]) -> Option<&str> {
    let first = command.first()?;
    let mut words = command.iter().map(String::as_str);
    if file_name(first) != "env" {
        return words.next();
    }
    let next = words.skip(1).find(|word| !word.contains('='))?;
    let is_plain = !next.starts_with('-') && !command.iter().any(|word| word.starts_with("PATH="));
    is_plain.then_some(next)
}

impl Place<'_> {
    /// As execvp(3) finds it: None where it would not.
    fn find(self, program: &str) -> Option<PathBuf> {
        let is_program = |file: &PathBuf| fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
        if program.contains('/') {
            return Some(self.root.join(program.trim_start_matches("./"))).filter(is_program);
        }
        std::env::split_paths(self.path).map(|directory| self.root.join(directory).join(program)).find(is_program)
    }
}

/// What a first line has executed, without its `#!`; None: that is not known. Err: why it cannot work, behind "its first line".
fn interpreter(line: &str, place: Place<'_>) -> Result<Option<PathBuf>, String> {
    let plain = line.trim_end_matches('\r').trim();
    let mut words = plain.split_whitespace();
    let Some(path) = words.next() else { return Ok(None) };
    let (has_argument, ends_in_cr) = (words.clone().next().is_some(), line.ends_with('\r'));
    // These two pass over it in an argument.
    let is_tolerant = has_argument && ["perl", "ruby"].iter().any(|name| file_name(path).starts_with(name));
    if ends_in_cr && !is_tolerant {
        return Err(format!("is #!{plain} and a CR, as lines end on Windows, which the kernel takes for a part of the name"));
    }
    let file = place.root.join(path);
    if let Some(text) = dangling(&file) {
        return Err(format!("asks for {path}; {text}"));
    }
    match fs::metadata(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(format!("asks for {path}, which is not there")),
        Err(_) => return Ok(None),
        Ok(_) => {}
    }
    if file_name(path) != "env" {
        return Ok(Some(file));
    }
    let sets_path = words.clone().any(|word| word.starts_with("PATH="));
    let Some(name) = words.find(|word| !word.starts_with('-') && !word.contains('=')).filter(|_| !sets_path) else { return Ok(None) };
    match place.find(name) {
        Some(file) => Ok(Some(file)),
        None if name.contains('/') => Err(format!("asks for {name}, which is no program")),
        None => Err(format!("asks for {name}, which is in no directory of PATH ({})", place.path)),
    }
}

/// What a link that leads nowhere names.
fn dangling(file: &Path) -> Option<String> {
    let target = fs::read_link(file).ok()?;
    let is_missing = fs::metadata(file).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    is_missing.then(|| format!("{} is a link to {}, which is not there", file.display(), target.display()))
}

/// What helps, after a semicolon.
fn advice(file: &Path) -> String {
    let environment = file.parent().and_then(Path::parent).filter(|directory| directory.join("pyvenv.cfg").exists());
    if let Some(environment) = environment {
        // A script in it has the path of its Python in its first line.
        let place = environment.display();
        return format!(
            "; an environment of Python cannot be moved and ends with its Python: python3 -m venv --clear {place}, then install into it anew"
        );
    }
    let has_cr = beginning(file)
        .is_some_and(|text| text.starts_with(b"#!") && text.split(|byte| *byte == b'\n').next().is_some_and(|line| line.ends_with(b"\r")));
    if has_cr { format!("; run: sed -i 's/\\r$//' {}", file.display()) } else { String::new() }
}

/// Of a regular file, as much as the kernel looks at and the head of a program holds.
fn beginning(file: &Path) -> Option<Vec<u8>> {
    let opened = File::options().read(true).custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY).open(file).ok()?;
    if !opened.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    opened.take(4096).read_to_end(&mut text).ok()?;
    Some(text)
}

/// The program's own interpreter (elf(5), PT_INTERP): another C library's where it was built for another system.
fn missing_loader(file: &Path, head: &[u8]) -> Option<String> {
    let bytes = |at: usize, count: usize| head.get(at..at.checked_add(count)?);
    let number = |at: usize, count: usize| Some(bytes(at, count)?.iter().rev().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte)));
    // 64 bits, little end first.
    if bytes(0, 6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let header = (0..count).map_while(|index| table.checked_add(index * size)).find(|at| number(*at, 4) == Some(3))?;
    let path = bytes(number(header + 8, 8)?, number(header + 32, 8)?)?;
    let path = str::from_utf8(path).ok()?.trim_end_matches('\0');
    let is_missing = fs::metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    is_missing.then(|| format!("{} needs {path}, which is not there: it was built for another kind of system", file.display()))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn script(dir: &Path, name: &str, text: &[u8]) {
        let file = dir.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Of a command in a directory, which is called DIR.
    fn said(dir: &Path, command: &str, path: &str) -> Option<String> {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let path = path.replace("DIR", dir.to_str().unwrap());
        problem(&words, Place { root: dir, path: &path }).map(|text| text.replace(dir.to_str().unwrap(), "DIR"))
    }

    #[test]
    fn what_can_be_executed_is_no_problem_and_what_is_unknown_neither() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        script(dir, "plain", b"#!/bin/sh\n");
        script(dir, "spaced", b"#! /bin/sh -e\n");
        script(dir, "by_env", b"#!/usr/bin/env -S A=1 plain\n");
        script(dir, "bare", b"echo\n");
        script(dir, "perl", b"#!/usr/bin/perl -w\r\n");
        for command in
            ["./plain", "./spaced x", "./by_env", "./bare", "./perl", "plain", "env A=1 ./plain", "/bin/sh -c x", "env -i ./nothing"]
        {
            assert_eq!(said(dir, command, "DIR"), None, "{command}");
        }
        for command in ["./nothing", "nothing", "env A=1"] {
            assert_eq!(said(dir, command, "/nowhere"), None, "the kernel says it of {command}");
        }
    }

    #[test]
    fn an_interpreter_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        script(dir, "bin/serve", b"#!/opt/ruby-2.7/bin/ruby -w\n");
        script(dir, "env", b"#!/usr/bin/env node\n");
        script(dir, "twice", format!("#!{}/bin/serve\n", dir.display()).as_bytes());
        let expected = "DIR/bin/serve: its first line asks for /opt/ruby-2.7/bin/ruby, which is not there";
        for command in ["bin/serve", "serve", "./twice", "env A=1 serve"] {
            assert_eq!(said(dir, command, "DIR/bin").as_deref(), Some(expected), "{command}");
        }
        let expected = "DIR/env: its first line asks for node, which is in no directory of PATH (/nowhere)";
        assert_eq!(said(dir, "./env", "/nowhere"), None, "a program called env is env(1)");
        script(dir, "start", b"#!/usr/bin/env -S node --x\n");
        assert_eq!(said(dir, "./start", "/nowhere"), Some(expected.replace("DIR/env", "DIR/start")));
    }

    #[test]
    fn lines_that_end_as_on_windows_are_named_with_what_mends_them() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for (first, plain) in
            [("#!/bin/sh\r\n", "/bin/sh"), ("#!/usr/bin/env sh\r\n", "/usr/bin/env sh"), ("#!/bin/sh -e\r\n", "/bin/sh -e")]
        {
            script(dir, "start", first.as_bytes());
            let expected = format!(
                "DIR/start: its first line is #!{plain} and a CR, as lines end on Windows, which the kernel takes for a part of the name; \
                 run: sed -i 's/\\r$//' DIR/start"
            );
            assert_eq!(said(dir, "start", "DIR"), Some(expected));
        }
    }

    #[test]
    fn an_environment_without_its_python_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        script(dir, ".venv/bin/gunicorn", format!("#!{}/.venv/bin/python\n", dir.display()).as_bytes());
        fs::write(dir.join(".venv/pyvenv.cfg"), "").unwrap();
        symlink("/usr/bin/python3.1", dir.join(".venv/bin/python")).unwrap();
        let link = "DIR/.venv/bin/python is a link to /usr/bin/python3.1, which is not there";
        let help = "; an environment of Python cannot be moved and ends with its Python: python3 -m venv --clear DIR/.venv, then install into it anew";
        let expected = format!("DIR/.venv/bin/gunicorn: its first line asks for DIR/.venv/bin/python; {link}{help}");
        assert_eq!(said(dir, ".venv/bin/gunicorn -b x", ""), Some(expected));
        assert_eq!(said(dir, ".venv/bin/python app.py", ""), Some(format!("{link}{help}")));
    }

    #[test]
    fn a_program_for_another_c_library_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        let at = own.windows(4).position(|part| part == b"/ld-" || part == b"/lib").unwrap();
        let mut other = own[..4096].to_vec();
        let Some(letter) = other.get_mut(at + 1) else { panic!("the path of the loader is at {at}") };
        *letter = b'_';
        script(dir.path(), "server", &other);
        let text = said(dir.path(), "./server", "").unwrap();
        assert!(text.starts_with("DIR/server needs /_") && text.contains("which is not there: it was built for another"), "{text}");
        script(dir.path(), "server", &own);
        assert_eq!(said(dir.path(), "./server", ""), None);
    }
}
