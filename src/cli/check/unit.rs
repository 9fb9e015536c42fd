//! What systemd keeps rota and its apps from writing to: the unit's ProtectSystem (systemd.exec(5)) against the directories of the
//! configuration. Reads the unit's files as they lie there, with their drop-ins.

use std::fs;
use std::path::{Path, PathBuf};

use super::Finding;
use crate::config::{AccessLogConfig, Config, Listen, Severity};
use crate::ids::AppName;

/// None where no unit is installed, or it protects nothing. `root`: of the machine.
pub fn findings(config: &Config, root: &Path) -> Vec<Finding> {
    let Some(unit) = Unit::read(root) else { return Vec::new() };
    let finding = |(app, key, path): (Option<AppName>, &str, PathBuf)| {
        let what = unit.refuses(&path)?;
        let shown = path.display();
        let text = format!("{key} {shown}: systemd makes it read-only, by {what}; `systemctl edit rota` and add: ReadWritePaths={shown}");
        Some(Finding { severity: Severity::Warning, app, text })
    };
    directories(config).into_iter().filter_map(finding).collect()
}

/// What is written to: by rota, and by an app in its own directory.
fn directories(config: &Config) -> Vec<(Option<AppName>, &'static str, PathBuf)> {
    let server = &config.server;
    let above = |path: &Path| path.parent().unwrap_or(Path::new("/")).to_owned();
    let file = |log: &AccessLogConfig| match log {
        AccessLogConfig::On { file, .. } => file.clone(),
        AccessLogConfig::Off => None,
    };
    let mut all = vec![
        (None, "run_dir", server.run_dir.clone()),
        (None, "state_dir", server.state_dir.clone()),
        (None, "spool_dir", server.spool_dir.clone()),
    ];
    if above(&server.control) != server.run_dir {
        all.push((None, "the directory of control", above(&server.control)));
    }
    all.extend(file(&server.access_log).map(|path| (None, "the directory of access_log", above(&path))));
    all.extend(server.listen.iter().filter_map(|listen| match &listen.at {
        Listen::Unix(path) => Some((None, "the directory of a listener,", above(path))),
        Listen::Tcp(_) => None,
    }));
    for app in &config.apps {
        let name = || Some(app.name.clone());
        all.push((name(), "root", app.start.root.clone()));
        all.extend(app.log.as_ref().map(|path| (name(), "the directory of log", above(path))));
        let access_log = app.access_log.as_ref().and_then(file);
        all.extend(access_log.map(|path| (name(), "the directory of access_log", above(&path))));
    }
    all.dedup();
    all
}

/// What counts of rota.service.
#[derive(Debug, Default)]
struct Unit {
    /// Its value, and the file that has it.
    protects: Option<(String, PathBuf)>,
    writable: Vec<PathBuf>,
}

impl Unit {
    fn read(root: &Path) -> Option<Self> {
        let places = PLACES.map(|place| root.join(place));
        let main = places.iter().map(|place| place.join(NAME)).find(|file| file.is_file())?;
        let mut drop_ins: Vec<PathBuf> = places
            .iter()
            .filter_map(|place| fs::read_dir(place.join(format!("{NAME}.d"))).ok())
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
            .collect();
        drop_ins.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
        let mut unit = Self::default();
        for path in std::iter::once(main).chain(drop_ins) {
            unit.take(&fs::read_to_string(&path).unwrap_or_default(), &path);
        }
        Some(unit)
    }

    fn take(&mut self, text: &str, path: &Path) {
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.trim(), value.trim())) {
            match key {
                "ProtectSystem" => self.protects = Some((value.to_owned(), path.to_owned())),
                // An empty one takes back what was said before.
                "ReadWritePaths" if value.is_empty() => self.writable.clear(),
                "ReadWritePaths" => {
                    self.writable.extend(value.split_whitespace().map(|path| PathBuf::from(path.trim_start_matches(['-', '+']))));
                }
                _ => {}
            }
            if let Some((_, above)) = OWN.iter().find(|(own, _)| *own == key) {
                self.writable.extend(value.split_whitespace().map(|name| Path::new(above).join(name)));
            }
        }
    }

    /// The line of the unit that makes a path read-only.
    fn refuses(&self, path: &Path) -> Option<String> {
        let (value, file) = self.protects.as_ref()?;
        let is_below = |directories: &[&str]| directories.iter().any(|directory| path.starts_with(directory));
        let is_protected = match value.to_ascii_lowercase().as_str() {
            "strict" => !is_below(&["/dev", "/proc", "/sys"]),
            "full" => is_below(&["/usr", "/boot", "/efi", "/etc"]),
            "1" | "yes" | "true" | "on" => is_below(&["/usr", "/boot", "/efi"]),
            _ => false,
        };
        let is_writable = self.writable.iter().any(|writable| path.starts_with(writable));
        (is_protected && !is_writable).then(|| format!("ProtectSystem={value} in {}", file.display()))
    }
}

const NAME: &str = "rota.service";
/// Where a unit is looked for, the first that is there counts (systemd.unit(5)).
const PLACES: [&str; 5] =
    ["etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];
/// Directories that the unit makes, which stay writable.
const OWN: [(&str, &str); 4] =
    [("RuntimeDirectory", "/run"), ("StateDirectory", "/var/lib"), ("LogsDirectory", "/var/log"), ("CacheDirectory", "/var/cache")];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SourceFile, parse};

    fn told(machine: &Path, text: &str) -> Vec<String> {
        let config = parse(&[SourceFile { path: "rota.toml".into(), text: text.to_owned() }]).unwrap().config;
        findings(&config, machine).iter().map(|finding| finding.to_string().replace(machine.to_str().unwrap(), "")).collect()
    }

    fn machine(unit: &str, drop_in: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("etc/systemd/system");
        fs::create_dir_all(place.join("rota.service.d")).unwrap();
        fs::write(place.join("rota.service"), unit).unwrap();
        fs::write(place.join("rota.service.d/override.conf"), drop_in).unwrap();
        dir
    }

    const OURS: &str = include_str!("../../../conf/rota.service");

    #[test]
    fn what_our_unit_makes_read_only_is_named_with_what_opens_it() {
        let text = "[server]\nstate_dir = \"/etc/rota/state\"\n[app.a]\nroot = \"/usr/local/a\"\nlog = \"/srv/logs/a.log\"\n";
        let dir = machine(OURS, "");
        let by = "systemd makes it read-only, by ProtectSystem=full in /etc/systemd/system/rota.service; `systemctl edit rota` and add: ";
        assert_eq!(
            told(dir.path(), text),
            [
                format!("warning: state_dir /etc/rota/state: {by}ReadWritePaths=/etc/rota/state"),
                format!("warning: app a: root /usr/local/a: {by}ReadWritePaths=/usr/local/a"),
            ]
        );
        assert_eq!(told(machine(OURS, "[Service]\nReadWritePaths=-/etc/rota /usr/local\n").path(), text), [""; 0]);
        assert_eq!(told(machine(OURS, "[Service]\nProtectSystem=no\n").path(), text), [""; 0]);
        assert_eq!(told(tempfile::tempdir().unwrap().path(), text), [""; 0]);
    }

    #[test]
    fn under_strict_only_what_the_unit_names_is_written_to() {
        let strict = machine(OURS, "[Service]\nProtectSystem=strict\nReadWritePaths=/var/tmp\n");
        assert_eq!(told(strict.path(), "[app.a]\nroot = \"/var/lib/rota/a\"\nlog = \"/var/log/rota/a.log\"\n"), [""; 0]);
        let said = told(strict.path(), "[app.a]\nroot = \"/srv/a\"\n");
        assert!(said.len() == 1 && said[0].starts_with("warning: app a: root /srv/a: "), "{said:?}");
    }

    #[test]
    fn our_unit_closes_no_device_and_gives_up_never() {
        assert!(["ProtectClock", "PrivateDevices", "DevicePolicy"].iter().all(|key| !OURS.contains(&format!("{key}="))));
        for line in ["StartLimitIntervalSec=0", "LogRateLimitIntervalSec=0", "Restart=on-failure"] {
            assert!(OURS.lines().any(|found| found == line), "{line}");
        }
    }
}
