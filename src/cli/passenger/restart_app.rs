//! `passenger-config restart-app`: every app whose root begins with a path, or the one of a name. As there it is asked for and not waited for; the
//! restart is a rolling one, with `--rolling-restart` and without.

use std::io::{BufRead, Write, stdin, stdout};
use std::path::{Component, Path, PathBuf};

use super::{Ends, NOT_RUNNING, Place, Words};
use crate::control::proto::{AppStatus, Request};

#[derive(Debug, Default)]
struct Wish {
    path: Option<String>,
    name: Option<String>,
    app_may_be_gone: bool,
    server_may_be_gone: bool,
}

/// `asks`: somebody sits there who can choose.
pub fn run(mut words: Words, asks: bool) -> Result<String, Ends> {
    let (wish, place) = read(&mut words)?;
    let Place { config, socket } = &place;
    let again = || Place { config: config.clone(), socket: socket.clone() };
    let Some(status) = again().status()? else { return not_there(NOT_RUNNING.to_owned(), wish.server_may_be_gone) };
    let apps = match chosen(&wish, &status.apps)? {
        Some(apps) => apps,
        None if asks => ask(&status.apps)?,
        None => return Err(Ends::Failed(format!("no app is named, and nobody is here to choose one; {USAGE}"))),
    };
    if apps.is_empty() {
        let what = wish.name.as_ref().map_or_else(|| format!("under {}", wish.path.unwrap_or_default()), |name| format!("called {name}"));
        return not_there(format!("no app {what} is served"), wish.app_may_be_gone);
    }
    let mut text = String::new();
    for app in apps {
        match again().ask(&Request::Restart { app: Some(app.app.to_string()), wait: false, at_once: false })? {
            Some(_) => text.push_str(&format!("Restarting {}\n", name_of(app))),
            None => return not_there(NOT_RUNNING.to_owned(), wish.server_may_be_gone),
        }
    }
    Ok(text)
}

fn not_there(why: String, is_well: bool) -> Result<String, Ends> {
    if is_well { Err(Ends::Said(format!("{why}\n"))) } else { Err(Ends::Failed(why)) }
}

fn read(words: &mut Words) -> Result<(Wish, Place), Ends> {
    let (mut wish, mut place) = (Wish::default(), Place::default());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--name" => wish.name = Some(words.value("--name")?),
            "--rolling-restart" => {}
            "--ignore-app-not-running" => wish.app_may_be_gone = true,
            "--ignore-passenger-not-running" => wish.server_may_be_gone = true,
            "--help" | "-h" => return Err(Ends::Said(format!("{USAGE}\n"))),
            option if option.starts_with('-') => place.take(option, words, USAGE)?,
            path if wish.path.is_none() => wish.path = Some(path.to_owned()),
            path => return Err(Ends::Failed(format!("{path}: one path is enough; {USAGE}"))),
        }
    }
    Ok((wish, place))
}

/// None: nothing says which.
fn chosen<'a>(wish: &Wish, apps: &'a [AppStatus]) -> Result<Option<Vec<&'a AppStatus>>, Ends> {
    if let Some(name) = &wish.name {
        let is_it = |app: &&AppStatus| app.app.as_str() == name || app.root == *name || name_of(app) == *name;
        return Ok(Some(apps.iter().filter(is_it).collect()));
    }
    let Some(path) = &wish.path else { return Ok(None) };
    let here = std::env::current_dir().map_err(|error| Ends::Failed(format!("the current directory: {error}")))?;
    let prefix = without_dots(&here.join(path)).display().to_string();
    Ok(Some(apps.iter().filter(|app| app.root.starts_with(&prefix)).collect()))
}

/// As it is written: no symlink is followed, so that `current` stays `current`.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            Component::RootDir | Component::Prefix(_) | Component::Normal(_) => plain.push(part),
        }
    }
    plain
}

fn ask(apps: &[AppStatus]) -> Result<Vec<&AppStatus>, Ends> {
    let mut out = stdout().lock();
    let shown: String = apps.iter().enumerate().map(|(index, app)| format!("  {}  {}\n", index + 1, name_of(app))).collect();
    let failed = |error: std::io::Error| Ends::Failed(format!("the answer: {error}"));
    write!(out, "{shown}Which is to restart? Its number, nothing for none: ").and_then(|()| out.flush()).map_err(failed)?;
    let mut line = String::new();
    stdin().lock().read_line(&mut line).map_err(failed)?;
    let number: Option<usize> = line.trim().parse().ok();
    match number.and_then(|number| apps.get(number.checked_sub(1)?)) {
        Some(app) => Ok(vec![app]),
        None if line.trim().is_empty() => Err(Ends::Failed("nothing is restarted".to_owned())),
        None => Err(Ends::Failed(format!("{:?} is none of them", line.trim()))),
    }
}

/// What a group is called there: its root.
pub fn name_of(app: &AppStatus) -> String {
    super::super::table::harmless(&app.root)
}

const USAGE: &str = "usage: passenger-config restart-app PATH | --name NAME [--rolling-restart] [--ignore-app-not-running] \
     [--ignore-passenger-not-running] [--config FILE] [--socket PATH]";

#[cfg(test)]
mod tests {
    use super::super::words;
    use super::*;
    use crate::cli::passenger::status::tests::app;

    fn under(path: &str) -> Vec<String> {
        let apps = [app("blog", "/srv/blog/current"), app("blog2", "/srv/blog2/current")];
        let (wish, _) = read(&mut words(path)).unwrap();
        chosen(&wish, &apps).unwrap().unwrap_or_default().iter().map(|app| app.app.to_string()).collect()
    }

    #[test]
    fn a_path_means_every_root_that_begins_so() {
        assert_eq!(under("/srv/blog/current"), ["blog"]);
        assert_eq!(under("/srv/blog/"), ["blog", "blog2"], "as there: it is a prefix of the text");
        assert_eq!(under("/srv/blog/releases/../current --rolling-restart"), ["blog"]);
        assert_eq!(under("/"), ["blog", "blog2"]);
        assert!(under("/srv/shop --ignore-app-not-running").is_empty());
        assert_eq!(under("--name blog2"), ["blog2"]);
        assert_eq!(under("--name=/srv/blog/current"), ["blog"]);
    }

    #[test]
    fn what_is_not_understood_is_not_guessed() {
        for (line, why) in
            [("--rolling", "--rolling is not understood"), ("/a /b", "/b: one path is enough"), ("--name", "--name needs a value")]
        {
            let Err(Ends::Failed(said)) = read(&mut words(line)) else { panic!("{line}") };
            assert!(said.starts_with(why), "{said}");
        }
    }
}
