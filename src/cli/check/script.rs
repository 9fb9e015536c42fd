//! The file that an interpreter is told to run: that it is not there would be found out at the first start.

use std::fs;
use std::io;
use std::path::Path;

use super::Problem;
use crate::config::{AppConfig, Severity, nearest};
use crate::restart::release;
use crate::safe_open;

/// Of `node srever.js`, and of nothing behind a flag, whose value it could be.
pub(super) fn problem(app: &AppConfig, command: &[String]) -> Option<Problem> {
    let user = release::user(&app.start).ok().flatten();
    safe_open::as_app(user.as_ref(), || Ok(missing(app, command))).ok().flatten()
}

fn missing(app: &AppConfig, command: &[String]) -> Option<Problem> {
    let root = &app.start.root;
    let mut words = command.iter().map(String::as_str).skip_while(|word| *word == "env" || word.contains('='));
    let (program, file) = (words.next()?, words.next()?);
    let program = program.rsplit('/').next().unwrap_or(program).trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let file = file.replace("${ROOT}", &root.to_string_lossy()).replace("$ROOT", &root.to_string_lossy());
    // Else it is a word of the interpreter's own: `bun run`.
    let is_file = file.contains(['.', '/']) && !file.starts_with('-') && !file.contains('$');
    let ends: &[&str] = if program == "node" { &NODE } else { &[""] };
    let is_missing =
        |end: &&str| fs::metadata(root.join(format!("{file}{end}"))).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    if !INTERPRETERS.contains(&program) || !is_file || !ends.iter().all(is_missing) {
        return None;
    }
    let path = root.join(&file);
    Some((Severity::Warning, format!("the command's file {} is not there{}", path.display(), meant(&path))))
}

/// Its neighbour with nearly the same name.
fn meant(path: &Path) -> String {
    let entries = path.parent().and_then(|directory| fs::read_dir(directory).ok()).into_iter().flatten().take(MANY).flatten();
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let wanted = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    nearest(wanted, &known).map_or(String::new(), |(known, _)| format!("; did you mean {known:?}?"))
}

const INTERPRETERS: [&str; 8] = ["node", "python", "ruby", "perl", "php", "bun", "sh", "bash"];
/// What node takes for the file that it is told.
const NODE: [&str; 5] = ["", ".js", ".mjs", ".cjs", "/index.js"];
/// Entries of a directory that are looked at.
const MANY: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SourceFile, parse};

    #[test]
    fn a_file_that_is_not_there_is_told_with_its_neighbour() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["server.js", "app.py", "start"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let said = |command: &str| {
            let text = format!("[app.a]\nroot = {:?}\ncommand = {command:?}\n", dir.path());
            let config = parse(&[SourceFile { path: "rota.toml".into(), text }]).unwrap().config;
            let found = problem(&config.apps[0], config.apps[0].start.command.as_ref().unwrap());
            found.map(|(_, text)| text.replace(dir.path().to_str().unwrap(), "DIR"))
        };
        let expected = |file: &str, meant: &str| Some(format!("the command's file DIR/{file} is not there{meant}"));
        assert_eq!(said("node srever.js"), expected("srever.js", "; did you mean \"server.js\"?"));
        assert_eq!(said("env A=1 /usr/bin/python3.11 ap.py $PORT"), expected("ap.py", "; did you mean \"app.py\"?"));
        assert_eq!(said("node $ROOT/dist/main.js"), expected("dist/main.js", ""));
        for good in [
            "node server.js",
            "node ./server",
            "python3 -m app.main",
            "python3 app.py",
            "node --inspect x.js",
            "bun run",
            "php -S x.y",
            "gunicorn no.py",
        ] {
            assert_eq!(said(good), None, "{good}");
        }
    }
}
