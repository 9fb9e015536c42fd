//! `rota up [DIR]`: the app of a directory is served, without any file: found as `rota init` finds it, in the foreground, as whoever calls. Sockets
//! and records are in a private directory, which is gone at the end.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::init::{Wish, quoted};
use super::say::{complain, print};
use super::table::harmless;
use super::{Exit, check, init, serve};
use crate::config;
use crate::master::supervisor::Ready;
use crate::named_file::Gate;

/// `listen`: as a value of that key.
pub fn run(directory: &Path, listen: String) -> Exit {
    let place = match Place::new() {
        Ok(place) => place,
        Err(why) => return complain(&why, Exit::Bad),
    };
    match prepare(&place, directory, &listen) {
        Ok(said) => {
            let _ = print(&said);
            serve::run(&place.config(), Ready::Started)
        }
        Err(why) => complain(&why, Exit::Bad),
    }
}

/// Writes the configuration; what is to be said of it.
fn prepare(place: &Place, directory: &Path, listen: &str) -> Result<String, String> {
    let is_root = nix::unistd::geteuid().is_root();
    let config = place.config();
    // The name of / gives none, nor does one of another script.
    let has_name = std::path::absolute(directory).is_ok_and(|root| init::name_of(&root).is_ok());
    let name = if has_name { None } else { Some("app") };
    let draft = init::draft(&Wish { directory, name, output: None, user: is_root.then_some("root"), force: false, config: &config })?;
    let at = |name: &str| quoted(&place.0.join(name).to_string_lossy());
    let text = format!(
        "[server]\nlisten = {}\ncontrol = {}\nrun_dir = {}\nstate_dir = {}\nspool_dir = {}\n",
        quoted(listen),
        at("run/control.sock"),
        at("run"),
        at("state"),
        at("spool")
    );
    let failed = |what: &Path, error: std::io::Error| format!("{}: {error}", what.display());
    for (path, text) in [(config.clone(), text), (place.0.join(format!("apps.d/{}.toml", draft.name)), draft.text)] {
        fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    let loaded = config::load(&config, &Gate::to_look()).map_err(|report| report.to_string().trim_end().to_owned())?.config;
    let errors = |finding: &check::Finding| finding.severity == config::Severity::Error;
    let found = check::machine_findings(&loaded).into_iter().chain(check::listen_findings(&loaded.server));
    let wrong: Vec<String> = found.filter(errors).map(|finding| finding.to_string()).collect();
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    let mut said: String = draft.warnings.iter().map(|warning| format!("warning: {}\n", harmless(warning))).collect();
    said += &format!("{}: {}\n", draft.name, harmless(&draft.summary));
    let urls = loaded.server.listen.iter().map(|listen| match &listen.at {
        config::Listen::Tcp(address) if address.ip().is_unspecified() => format!("http://localhost:{}/", address.port()),
        config::Listen::Tcp(address) => format!("http://{address}/"),
        config::Listen::Unix(_) => listen.to_string(),
    });
    let urls: Vec<String> = urls.collect();
    Ok(said
        + &format!(
            "{} once it has started; Ctrl-C ends it. To keep it: rota init {}\n",
            urls.join(" "),
            harmless(&directory.display().to_string())
        ))
}

/// A directory that only this user can enter; gone when dropped.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Self, String> {
        let parent = match std::env::temp_dir() {
            // Sockets lie in it, and the path of one has 107 bytes at most.
            long if long.as_os_str().len() > 30 => PathBuf::from("/tmp"),
            short => short,
        };
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        let place = Self(parent.join(format!("rota-up-{}-{nanos}", std::process::id())));
        for directory in ["", "run", "state", "spool", "apps.d"] {
            let directory = place.0.join(directory);
            // An error if it is there: what somebody else put there is not ours to use.
            DirBuilder::new().mode(0o700).create(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        }
        Ok(place)
    }

    fn config(&self) -> PathBuf {
        self.0.join("rota.toml")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
