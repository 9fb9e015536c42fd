//! What an app finds on this machine when it runs: what executes its command, and what its user may write to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use rustix::fs::{Access, AtFlags, CWD};

use super::{Problem, search_path};
use crate::config::{AppConfig, HostPattern, Severity};
use crate::detect::{THRUSTER, without_thruster};
use crate::restart::interpreter;
use crate::restart::release::{self, Identity};
use crate::safe_open;
use crate::sys;

/// Why a command that is there cannot be executed, seen with the rights of the app's user.
pub(super) fn interpreter_problem(app: &AppConfig, command: &[String]) -> Option<Problem> {
    let root = app.start.root.clone();
    let root_text = root.to_string_lossy();
    let filled = |word: &String| word.replace("${ROOT}", &root_text).replace("$ROOT", &root_text);
    let command: Vec<String> = command.iter().map(filled).collect();
    let path = search_path(app);
    let text = as_app(app, move || interpreter::problem(&command, interpreter::Place { root: &root, path: &path }))??;
    Some((Severity::Error, format!("command: {text}")))
}

/// Of a command that the configuration says; one that is detected leaves it out.
pub(super) fn thruster_problem(command: &[String]) -> Option<Problem> {
    let line = command.join(" ");
    let inner = without_thruster(&line)?;
    let text = THRUSTER.replacen("thrust is left out: it is", "thrust cannot stay: it is", 1);
    Some((Severity::Warning, format!("command: {text}; write: command = {inner:?}")))
}

/// Hosts that nobody can ask for: `rota init` writes one where it cannot know the names.
pub(super) fn host_problem(app: &AppConfig) -> Option<Problem> {
    let name = app.routes.iter().find_map(|route| match &route.host {
        HostPattern::Exact(name) => name.ends_with(".invalid").then_some(name),
        HostPattern::Suffix(_) | HostPattern::Any => None,
    })?;
    Some((Severity::Warning, format!("hosts: {name:?} is a place to fill in, which no visitor asks for: write the names of the site")))
}

/// A limit that no kernel of this kind holds it to.
pub(super) fn cpu_problem(app: &AppConfig) -> Option<Problem> {
    let text = "limits.cpu has no effect: this machine has no control groups of version 2 with the controller cpu";
    (app.cpu.is_some() && !sys::cgroup::machine_has("cpu")).then(|| (Severity::Warning, text.to_owned()))
}

/// Directories that its user should be able to write to and may not.
pub(super) fn unwritable(app: &AppConfig) -> Vec<Problem> {
    let Some(user) = user(app) else { return Vec::new() };
    let root = app.start.root.clone();
    let home = app.start.env.iter().rev().find(|(name, _)| name == "HOME").map_or_else(|| user.home.clone(), |(_, value)| value.into());
    let looked = as_app(app, move || {
        let (by, places) = written(&root);
        let closed: Vec<PathBuf> = places.into_iter().filter(|place| !may_write(place)).collect();
        (by, closed, Home::look(home))
    });
    let Some((by, closed, home)) = looked else { return Vec::new() };
    let name = &user.name;
    let mut problems = Vec::new();
    if !closed.is_empty() {
        let list = |places: &[PathBuf]| places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(" ");
        let missing: Vec<PathBuf> = closed.iter().filter(|place| !place.exists()).cloned().collect();
        // As chown -R takes them: it follows no link.
        let there: Vec<PathBuf> = closed.iter().filter_map(|place| fs::canonicalize(place).ok()).collect();
        let make = if missing.is_empty() { String::new() } else { format!("install -d -o {name} {}", list(&missing)) };
        let own = if there.is_empty() { String::new() } else { format!("chown -R {name} {}", list(&there)) };
        let help = [own, make].into_iter().filter(|help| !help.is_empty()).collect::<Vec<_>>().join(" && ");
        problems.push((Severity::Warning, format!("user {name} may not write to {}, as {by}; run: {help}", list(&closed))));
    }
    problems.extend(home.problem(name).map(|text| (Severity::Warning, text)));
    problems
}

/// HOME of the app, and what there is of it.
enum Home {
    Fine,
    Missing(PathBuf),
    Closed(PathBuf),
}

impl Home {
    fn look(path: PathBuf) -> Self {
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() && may_write(&path) => Home::Fine,
            Ok(_) => Home::Closed(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Home::Missing(path),
            Err(_) => Home::Closed(path),
        }
    }

    fn problem(&self, user: &str) -> Option<String> {
        let (path, which) = match self {
            Home::Fine => return None,
            Home::Missing(path) => (path, "is not there"),
            Home::Closed(path) => (path, "it may not write to"),
        };
        let at = path.display();
        // /, /var/www and the like are others' too.
        let help = if path.starts_with("/home") || path.starts_with("/srv") {
            format!("run: install -d -o {user} {at}, or give it another: env.HOME = \"/var/lib/APP\"")
        } else {
            format!("where it needs one: install -d -o {user} /var/lib/APP, and env.HOME = \"/var/lib/APP\"")
        };
        Some(format!("user {user} has a HOME that {which}, {at}: programs that keep something there fail; {help}"))
    }
}

/// What apps of this kind write to, and how that is said: what is there, and what the app would make.
fn written(root: &Path) -> (&'static str, Vec<PathBuf>) {
    let has = |name: &str| root.join(name).exists();
    let there = |names: &[&str]| names.iter().filter(|name| has(name)).map(|name| root.join(name)).collect::<Vec<_>>();
    if has("config/application.rb") {
        let made = ["log", "tmp"].map(|name| root.join(name));
        return ("Rails does", made.into_iter().chain(there(&["storage"])).chain(databases(&root.join("db"))).collect());
    }
    if has("artisan") {
        return ("Laravel does", there(&["storage", "bootstrap/cache"]).into_iter().chain(databases(&root.join("database"))).collect());
    }
    if has("manage.py") {
        return ("Django does", there(&["media", "log", "logs"]).into_iter().chain(databases(root)).collect());
    }
    if has("wp-config.php") {
        return ("WordPress does", there(&["wp-content/uploads"]));
    }
    if has(".next") {
        return ("Next.js does", there(if has(".next/cache") { &[".next/cache"] } else { &[".next"] }));
    }
    ("apps do", there(&["log", "logs", "tmp", "instance"]).into_iter().chain(databases(root)).collect())
}

/// SQLite's files and their directory, where it makes a journal beside them.
fn databases(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().take(MANY).flatten().map(|entry| entry.path());
    let is_database = |path: &PathBuf| path.extension().is_some_and(|end| end == "sqlite3" || end == "sqlite");
    let mut found: Vec<PathBuf> = entries.filter(is_database).collect();
    found.sort();
    if !found.is_empty() {
        found.insert(0, directory.to_owned());
    }
    found
}

/// A directory, or where there is none the one that it would be made in; or a file.
fn may_write(path: &Path) -> bool {
    let Some(existing) = path.ancestors().find(|ancestor| ancestor.exists()) else { return true };
    let access = if existing.is_dir() { Access::WRITE_OK | Access::EXEC_OK } else { Access::WRITE_OK };
    match rustix::fs::accessat(CWD, existing, access, AtFlags::EACCESS) {
        Ok(()) => true,
        Err(error) => !matches!(error, rustix::io::Errno::ACCESS | rustix::io::Errno::ROFS | rustix::io::Errno::PERM),
    }
}

/// Whom the app runs as, where that is not root, and we can see with its eyes. What is wrong with the user is said elsewhere.
fn user(app: &AppConfig) -> Option<Identity> {
    let (me, wanted) = (Uid::effective(), release::user(&app.start).ok()?);
    let user = match wanted {
        Some(user) => user,
        // As root without a user it cannot start.
        None if me.is_root() => return None,
        None => {
            let own = nix::unistd::User::from_uid(me).ok()??;
            Identity { name: own.name, uid: own.uid.as_raw(), gid: own.gid.as_raw(), home: own.dir, shell: own.shell }
        }
    };
    (user.uid != 0 && (me.is_root() || user.uid == me.as_raw())).then_some(user)
}

/// Looks with the rights of the app's user, as far as we can have them.
fn as_app<T: Send>(app: &AppConfig, look: impl FnOnce() -> T + Send) -> Option<T> {
    match user(app).filter(|_| Uid::effective().is_root()) {
        Some(user) => safe_open::as_user(&user, || Ok(look())).ok(),
        None => Some(look()),
    }
}

/// Entries of a directory that are looked at.
const MANY: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;
    use crate::config::{SourceFile, parse};

    /// An app of `daemon` in the directory, with these entries: files, or directories where a name ends in a slash.
    fn said(entries: &[&str], keys: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for entry in entries {
            let path = dir.path().join(entry.trim_end_matches(['/', '+']));
            if entry.contains('/') && entry.trim_end_matches('+').ends_with('/') {
                fs::create_dir_all(&path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, "").unwrap();
            }
            if entry.ends_with('+') {
                let path = dir.path().join(entry.trim_end_matches('+').trim_end_matches('/'));
                chown(path, Some(1), Some(1)).unwrap();
            }
        }
        let text = format!("[app.a]\ncommand = \"x\"\nroot = {:?}\nuser = \"daemon\"\n{keys}", dir.path());
        let config = parse(&[SourceFile { path: "rota.toml".into(), text }]).unwrap().config;
        let problems = unwritable(&config.apps[0]).into_iter();
        problems.map(|(_, text)| text.replace(dir.path().to_str().unwrap(), "DIR")).collect()
    }

    /// Only root sees with another's eyes.
    fn we_are_root() -> bool {
        let root = Uid::effective().is_root();
        if !root {
            eprintln!("not run: only root can look with the rights of another user");
        }
        root
    }

    #[test]
    fn a_user_that_may_not_write_where_its_app_does_is_told_what_helps() {
        if !we_are_root() {
            return;
        }
        let home = "env.HOME = \"/tmp\"\n";
        let cases: [(&[&str], &[&str]); 8] = [
            (
                &["config/application.rb", "log/", "storage/+", "db/production.sqlite3"],
                &["user daemon may not write to DIR/log DIR/tmp DIR/db DIR/db/production.sqlite3, as Rails does; \
                   run: chown -R daemon DIR/log DIR/db DIR/db/production.sqlite3 && install -d -o daemon DIR/tmp"],
            ),
            (&["config/application.rb", "log/+", "tmp/+"], &[]),
            (
                &["artisan", "storage/", "bootstrap/cache/+"],
                &["user daemon may not write to DIR/storage, as Laravel does; run: chown -R daemon DIR/storage"],
            ),
            (&["manage.py", "db.sqlite3+"], &["user daemon may not write to DIR, as Django does; run: chown -R daemon DIR"]),
            (&["manage.py", "media/+"], &[]),
            (&[".next/cache/"], &["user daemon may not write to DIR/.next/cache, as Next.js does; run: chown -R daemon DIR/.next/cache"]),
            (&["app.py", "tmp/"], &["user daemon may not write to DIR/tmp, as apps do; run: chown -R daemon DIR/tmp"]),
            (&["app.py"], &[]),
        ];
        for (entries, expected) in cases {
            assert_eq!(said(entries, home), expected, "{entries:?}");
        }
    }

    #[test]
    fn a_home_that_is_missing_or_closed_is_told() {
        if !we_are_root() {
            return;
        }
        let missing = said(&[], "env.HOME = \"/home/no-such-user-here\"\n");
        let expected = "user daemon has a HOME that is not there, /home/no-such-user-here: programs that keep something there fail; \
                        run: install -d -o daemon /home/no-such-user-here, or give it another: env.HOME = \"/var/lib/APP\"";
        assert_eq!(missing, [expected]);
        let closed = said(&[], "env.HOME = \"/root\"\n");
        assert!(closed.len() == 1 && closed[0].starts_with("user daemon has a HOME that it may not write to, /root: "), "{closed:?}");
        assert_eq!(said(&[], "env.HOME = \"/tmp\"\n"), [""; 0]);
    }

    #[test]
    fn thruster_in_front_of_the_app_is_told_with_the_command_without_it() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (_, text) = thruster_problem(&words("./bin/thrust ./bin/rails server")).unwrap();
        assert!(
            text.starts_with("command: thrust cannot stay: it is a proxy") && text.ends_with("write: command = \"./bin/rails server\""),
            "{text}"
        );
        assert_eq!(thruster_problem(&words("bin/rails server")), None);
    }
}
