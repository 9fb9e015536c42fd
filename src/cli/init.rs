//! `rota init`: looks at an app and writes its file for apps.d. Shell, on the main thread. Asks nothing, and replaces no file unless told.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use super::Exit;
use super::check;
use super::say::{complain, print};
use super::table::harmless;
use crate::app_tree;
use crate::config::{Bind, Config, HostPattern, Mistake, Route, Severity, SourceFile, StopSignal, glance, parse};
use crate::detect::{Detected, PublicNeed, RailsFiles};
use crate::errands::pace::Pace;
use crate::ids::AppName;
use crate::named_file::Gate;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish<'a> {
    /// Root of the app.
    pub directory: &'a Path,
    /// None: the directory's.
    pub name: Option<&'a str>,
    /// None: `apps.d/NAME.toml` beside the configuration. `-`: standard output.
    pub output: Option<&'a Path>,
    /// Whom its processes run as; None: found out.
    pub user: Option<&'a str>,
    /// A file that is there is replaced.
    pub force: bool,
    pub config: &'a Path,
}

/// Writes the file and says what is to be done next; writes nothing where the app cannot be started.
pub fn run(wish: &Wish<'_>) -> Exit {
    let draft = match draft(wish) {
        Ok(draft) => draft,
        Err(why) => return complain(&why, Exit::Bad),
    };
    for warning in &draft.warnings {
        complain(&format!("warning: {warning}"), Exit::Done);
    }
    if wish.output == Some(Path::new("-")) {
        return print(&draft.text);
    }
    let output = match wish.output {
        Some(output) => output.to_owned(),
        None => wish.config.parent().unwrap_or(Path::new("")).join(format!("apps.d/{}.toml", draft.name)),
    };
    if let Err(why) = write(&output, &draft.text, wish.force) {
        return complain(&why, Exit::Bad);
    }
    let next = if wish.output.is_none() { after(wish.config, &draft, &output) } else { (String::new(), Exit::Done) };
    let said = print(&format!("{} is written: {}\n{}", output.display(), harmless(&draft.summary), next.0));
    if said == Exit::Done { next.1 } else { said }
}

pub struct Draft {
    pub name: AppName,
    pub text: String,
    /// The command, and by what it was found.
    pub summary: String,
    pub warnings: Vec<String>,
    /// Its names have to be filled in.
    asks_hosts: bool,
}

/// What would be written.
pub fn draft(wish: &Wish<'_>) -> Result<Draft, String> {
    // As it was named: `current` is to stay the symlink that it is.
    let root = std::path::absolute(wish.directory).map_err(|error| format!("{}: {error}", wish.directory.display()))?;
    let metadata = fs::metadata(&root).map_err(|error| format!("{}: {error}", root.display()))?;
    if !metadata.is_dir() {
        return Err(format!("{} is no directory", root.display()));
    }
    let Some(root_text) = root.to_str() else {
        return Err(format!("{}: a configuration is UTF-8, and this path is not", root.display()));
    };
    let name = match wish.name {
        Some(name) => AppName::new(name).map_err(|bad| bad.to_string())?,
        None => name_of(&root)?,
    };
    let found = app_tree::look(&root, None, &[], &Pace::of_command())?;
    let user = match wish.user {
        Some(user) => Some((user.to_owned(), "as --user said")),
        None => user(metadata.uid(), Uid::effective()),
    };
    let hosts = hosts(wish.config, &name, &root);
    let text = text(&name, root_text, &found, user.as_ref(), &hosts, app_tree::public_need(&root, &Pace::of_command()));
    // What could not be read back would only be found out at the next start.
    let file = SourceFile { path: PathBuf::from(format!("{name}.toml")), text: text.clone() };
    let main = SourceFile { path: PathBuf::from("rota.toml"), text: String::new() };
    let config = parse(&[main, file]).map_err(|report| format!("this app needs a file written by hand:\n{report}"))?.config;
    let machine = missing_user(&config).into_iter().chain(check::apps_findings(&config.apps).into_iter().map(|finding| finding.text));
    let warnings = found.warnings.iter().cloned().chain(machine.filter(|text| !found.warnings.contains(text)));
    let summary = format!("runs {}, by {}", shell_words::join(&found.command), found.why);
    Ok(Draft { name, text, summary, warnings: warnings.collect(), asks_hosts: matches!(hosts, Hosts::Asked(_)) })
}

/// The user can come after the file.
fn missing_user(config: &Config) -> Vec<String> {
    let told = |finding: check::Finding| format!("{}, and without the user no process of the app can be started", finding.text);
    check::user_findings(config).into_iter().map(told).collect()
}

/// What `hosts` is to be.
enum Hosts {
    /// Others have what it could take, and why so.
    Asked(String),
    /// As the directory is called.
    Named(String),
    /// It may take every host that no other app takes. With the name of the directory, where that is one.
    Open(Option<String>),
}

fn hosts(config: &Path, name: &AppName, root: &Path) -> Hosts {
    // An app whose file has a mistake keeps its routes; where they cannot be read they may be any.
    let Config { apps, broken, .. } = glance(config, &Gate::to_look()).config;
    let apps = apps.iter().filter(|app| app.name != *name).map(|app| &app.routes);
    let others = apps.chain(broken.iter().filter(|app| app.name != name.as_str()).map(|app| &app.routes));
    let taken: Vec<&Route> = others.flatten().filter(|route| route.path == "/").collect();
    let takes = |host: &HostPattern| taken.iter().any(|route| route.host == *host);
    let named = root.iter().rev().take(3).filter_map(|part| part.to_str()).find(|part| is_host(part)).map(str::to_lowercase);
    match named {
        named if !takes(&HostPattern::Any) => Hosts::Open(named.filter(|named| !takes(&HostPattern::Exact(named.clone())))),
        Some(named) if takes(&HostPattern::Exact(named.clone())) => Hosts::Asked(format!("another app takes {named}")),
        Some(named) => Hosts::Named(named),
        None => Hosts::Asked("another app takes every host".to_owned()),
    }
}

/// `shop.example.org`, as sites are often called in /srv and /var/www.
fn is_host(part: &str) -> bool {
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let top = part.rsplit('.').next().unwrap_or_default();
    let is_top = top.len() >= 2 && top.bytes().all(|byte| byte.is_ascii_alphabetic()) && !NO_TOP.contains(&top);
    part.contains('.') && part.split('.').all(is_label) && is_top
}

/// Of the directory, or of the one above where it is called as deployment tools call it: /srv/blog/current, /srv/blog/releases/42.
pub fn name_of(root: &Path) -> Result<AppName, String> {
    let mut parts = root.iter().rev().filter_map(|part| part.to_str());
    let mut part = parts.next().unwrap_or_default();
    let mut above = parts.next();
    if above == Some("releases") {
        (part, above) = ("releases", parts.next());
    }
    if ["current", "app", "src", "releases", "www", "htdocs"].contains(&part)
        && let Some(above) = above
    {
        part = above;
    }
    let lower = part.to_lowercase();
    let letters = lower.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' { c } else { '-' });
    let name: String = letters.collect::<String>().trim_matches(['-', '_']).chars().take(32).collect();
    AppName::new(&name).map_err(|_| format!("{} gives no name for the app: say it with --name", root.display()))
}

/// Whom the processes are to run as, and why; None: rota does not run as root and needs none.
fn user(owner: u32, me: Uid) -> Option<(String, &'static str)> {
    if !me.is_root() {
        return None;
    }
    let named = |name: &str| User::from_name(name).ok().flatten().map(|user| user.name);
    if owner != 0
        && let Some(user) = User::from_uid(Uid::from_raw(owner)).ok().flatten()
    {
        return Some((user.name, "to whom the directory belongs"));
    }
    let unprivileged = named("www-data").or_else(|| named("nobody"))?;
    Some((unprivileged, "the directory is root's, and no app should run as root; better a user of its own"))
}

/// The file. Each setting has its reason above it.
fn text(name: &AppName, root: &str, found: &Detected, user: Option<&(String, &str)>, hosts: &Hosts, public: Option<PublicNeed>) -> String {
    let Detected { command, bind, stop, concurrency, why, reasons, sticky, alone, warnings } = found;
    let mut text = format!("# App {name}, as `rota init` found it. `rota check` says what is wrong; all keys are in rota.toml.\n\n");
    let mut put = |comment: &str, line: &str| {
        for comment in wrapped(comment) {
            text.push_str(&format!("# {comment}\n"));
        }
        text.push_str(&format!("{line}\n\n"));
    };
    let hints: String = warnings.iter().map(|warning| format!(" Note: {warning}.")).collect();
    put(&format!("Found by {why}: {}.{hints}", reasons.command), &format!("command = {}", command_value(command)));
    match bind {
        // What the command names says it.
        Bind::Unix | Bind::Port => {}
        Bind::Fd => put("It takes the socket that rota opened.", "bind = \"fd\""),
    }
    put("The directory of the release; a symlink in it is followed once per restart.", &format!("root = {}", quoted(root)));
    match user {
        Some((user, why)) => put(&format!("Who it runs as: {why}."), &format!("user = {}", quoted(user))),
        None => put("Who it runs as; needed where rota runs as root.", "# user = \"NAME\""),
    }
    const HOSTS: &str = "Which requests are for it";
    match hosts {
        Hosts::Open(named) => {
            let named = named.clone().unwrap_or_else(|| format!("{name}.example.org"));
            put(&format!("{HOSTS}; without this line all that no other app takes."), &format!("# hosts = [{}]", quoted(&named)));
        }
        Hosts::Named(named) => put(&format!("{HOSTS}, by the name of its directory."), &format!("hosts = [{}]", quoted(named))),
        Hosts::Asked(why) => {
            put(
                &format!("{HOSTS}: {why}, so write the names of this site here, as \"www.example.org\"."),
                &format!("hosts = [\"{name}.invalid\"]"),
            );
        }
    }
    match alone {
        Some(why) => put(&format!("One, which ends before the next begins: {why}."), "processes = 1\nsurge = 0"),
        None => put("With two, one serves while the other is replaced or has died.", "processes = 2"),
    }
    if let Some(why) = sticky {
        put(&format!("A client comes back to the process that it was with: {why}."), "sticky = true");
    }
    put(&format!("Requests that each handles at a time: {}.", reasons.concurrency), &format!("concurrency = {concurrency}"));
    let signal = match stop {
        StopSignal::Term => "# stop.signal = \"TERM\"".to_owned(),
        other => format!("stop.signal = \"{}\"", other.word()),
    };
    put(&format!("How it is told to stop: {}.", reasons.stop), &signal);
    put("The path that a new process must answer below 500 before it gets requests.", "# ready = \"/up\"");
    match public {
        Some(PublicNeed::Of(RailsFiles::Server)) => put(RAILS_LEAVES_THEM, "public = \"public\""),
        Some(PublicNeed::Of(RailsFiles::Rails)) => put(RAILS_SENDS_THEM, "# public = \"public\""),
        Some(PublicNeed::Unknown) => put(APP_DECIDES, "# public = \"public\""),
        None => {}
    }
    text.truncate(text.trim_end().len() + 1);
    text
}

/// As one text where a shell would split it into the same words again, else as a list.
fn command_value(command: &[String]) -> String {
    let joined = command.join(" ");
    let is_same = shell_words::split(&joined).is_ok_and(|words| words == command);
    if is_same {
        return quoted(&joined);
    }
    let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(", "))
}

/// A basic string (TOML 1.0).
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Lines of a comment, without controls.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in harmless(text).split_whitespace() {
        let last = lines.last_mut().expect("it begins with one");
        if last.is_empty() {
            last.push_str(word);
        } else if last.len() + word.len() < COMMENT_WIDTH {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

fn write(path: &Path, text: &str, force: bool) -> Result<(), String> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => format!("{} is there already: --force replaces it, -o - prints to the terminal", path.display()),
        io::ErrorKind::PermissionDenied => {
            format!("{} cannot be written ({error}): as root, or name another file with -o", path.display())
        }
        _ => format!("{}: {error}", path.display()),
    };
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

/// What the whole configuration is like with the new file in it, and what to do next.
fn after(config: &Path, draft: &Draft, file: &Path) -> (String, Exit) {
    let name = &draft.name;
    if matches!(config.try_exists(), Ok(false)) {
        return (format!("next: make {}, which may be empty; then rota check\n", config.display()), Exit::Done);
    }
    let report = glance(config, &Gate::to_look()).report;
    let is_ours = |mistake: &&Mistake| mistake.place.file == file || mistake.also.as_ref().is_some_and(|also| also.place.file == file);
    let errors = report.mistakes().iter().filter(|mistake| mistake.severity == Severity::Error);
    let (ours, others): (Vec<&Mistake>, Vec<&Mistake>) = errors.partition(is_ours);
    if !ours.is_empty() {
        return (format!("{report}next: mend this, then rota check\n"), Exit::Bad);
    }
    // The new file is as it should be.
    for other in others {
        complain(&format!("warning: {}; this is to be mended, too", other.line()), Exit::Done);
    }
    let fill = match draft.asks_hosts {
        true => format!("write the site's names into hosts of {}, where {name}.invalid stands; then ", file.display()),
        false => String::new(),
    };
    (format!("next: {fill}rota check, then start rota, or stop and start it, to serve {name}\n"), Exit::Done)
}

const RAILS_LEAVES_THEM: &str = "Rails in production leaves the files in public (assets, error pages) to the server in front of it, unless \
    RAILS_SERVE_STATIC_FILES is set: with this line rota sends them, to everybody and without asking the app.";
const RAILS_SENDS_THEM: &str = "This Rails sends the files in public itself (config.public_file_server); with this line rota does, to everybody and \
    without asking the app.";
const APP_DECIDES: &str = "The files in public are the app's to send, to whom it likes; with this line rota sends them, to everybody and without \
    asking the app.";
/// Ends of names of directories that are no domains of the highest level, or hardly meant as such.
const NO_TOP: [&str; 12] = ["js", "ts", "rb", "php", "go", "old", "bak", "new", "git", "tmp", "orig", "invalid"];
const COMMENT_WIDTH: usize = 100;

#[cfg(test)]
mod tests;
