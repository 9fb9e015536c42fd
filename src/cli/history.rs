//! `rota history`: how the walks of an app have ended, the newest first, and which release a rollback would go to.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Exit;
use super::hear::{ask, something_else};
use super::say::{Paint, print};
use super::table::{harmless, output_lines, span, table};
use super::when::{ago, utc};
use crate::control::proto::{AppHistory, Reply, Request, reply_line};
use crate::ids::AppName;
use crate::records::Entry;

/// `last`: how many at most; JSON has all.
pub fn run(socket: &Path, app: Option<&str>, last: usize, json: bool, paint: Paint) -> Exit {
    match ask(socket, &Request::History { app: app.map(str::to_owned) }) {
        Ok(reply) if json => print(&String::from_utf8_lossy(&reply_line(&reply))),
        Ok(Reply::History { apps }) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            print(&page(&apps, last, now, Path::is_dir, paint))
        }
        Ok(_) => something_else(),
        Err(exit) => exit,
    }
}

/// `now`: seconds since 1970 (UTC). `is_there`: whether a release can still be started.
fn page(apps: &[AppHistory], last: usize, now: u64, is_there: impl Fn(&Path) -> bool, paint: Paint) -> String {
    let mut entries: Vec<(&AppHistory, &Entry)> =
        apps.iter().flat_map(|app| app.entries.iter().rev().map(move |entry| (app, entry))).collect();
    // Stable: what ended in the same second stays in the order of its app.
    entries.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.at));
    let older = entries.len().saturating_sub(last);
    entries.truncate(last);
    let mut marks = Marks { apps, rollback_to: apps.iter().map(|app| rollback_to(app, &is_there)).collect(), given: Vec::new() };
    let rows: Vec<Vec<String>> = entries.iter().map(|(app, entry)| row(&app.app, entry, marks.of(&app.app, entry), now, paint)).collect();
    let mut text = String::new();
    if !entries.is_empty() {
        let lines = table(&HEADING, &rows, 0);
        let mut lines = lines.lines();
        text.extend(lines.next().map(|heading| format!("{heading}\n")));
        for (line, (_, entry)) in lines.zip(&entries) {
            text.push_str(&format!("{line}\n"));
            if entry.outcome != "done" || entry.but.is_some() {
                text.push_str(&format!("    {}\n{}", harmless(&entry.message), output_lines(&entry.output, 4)));
            }
        }
    }
    if older > 0 {
        text.push_str(&format!("... {older} older: --last {}\n", older + entries.len()));
    }
    for (app, rollback_to) in apps.iter().zip(&marks.rollback_to) {
        text.push_str(&summary(app, *rollback_to));
    }
    if text.is_empty() { "no apps\n".to_owned() } else { text }
}

/// The newest release before the one that serves that is still there: as the server chooses it.
fn rollback_to(app: &AppHistory, is_there: impl Fn(&Path) -> bool) -> Option<&Path> {
    app.earlier.iter().rev().map(AsRef::as_ref).find(|release| is_there(release))
}

fn summary(app: &AppHistory, rollback_to: Option<&Path>) -> String {
    let path = |path: &Path| harmless(&path.display().to_string());
    let AppHistory { app, good, earlier, .. } = app;
    let Some(good) = good else { return format!("{app}: no release was accepted yet\n") };
    let back = match (rollback_to, earlier.len()) {
        (Some(release), _) => format!("rota rollback {app} goes to {}", path(release)),
        (None, 0) => "no release before it is known".to_owned(),
        (None, _) => "those before it are not on the disk any more".to_owned(),
    };
    format!("{app}: {} was accepted last; {back}\n", path(good))
}

/// Marks the newest entry of the release that serves, and of the one that a rollback goes to.
struct Marks<'a> {
    apps: &'a [AppHistory],
    rollback_to: Vec<Option<&'a Path>>,
    given: Vec<(&'a AppName, &'static str)>,
}

impl Marks<'_> {
    fn of(&mut self, app: &AppName, entry: &Entry) -> &'static str {
        let found = self.apps.iter().zip(&self.rollback_to).find(|(known, _)| known.app == *app);
        let (Some((known, rollback_to)), Some(release), "done") = (found, entry.release.as_deref(), entry.outcome.as_str()) else {
            return "";
        };
        let mark = match release {
            release if known.good.as_deref() == Some(release) => SERVES,
            release if *rollback_to == Some(release) => BEFORE,
            _ => return "",
        };
        if self.given.contains(&(&known.app, mark)) {
            return "";
        }
        self.given.push((&known.app, mark));
        mark
    }
}

fn row(app: &AppName, entry: &Entry, mark: &str, now: u64, paint: Paint) -> Vec<String> {
    let Entry { at, generation, kind, trigger, release, outcome, seconds, .. } = entry;
    let outcome = match outcome.as_str() {
        "done" => paint.good("done"),
        "failed" => paint.bad("failed"),
        "rolled_back" => paint.bad("rolled back"),
        "aborted" => paint.warn("called off"),
        other => paint.warn(&harmless(other)),
    };
    vec![
        utc(*at),
        ago(*at, now),
        app.to_string(),
        generation.to_string(),
        harmless(kind),
        harmless(trigger),
        outcome,
        span(*seconds),
        if mark == SERVES { paint.good(mark) } else { mark.to_owned() },
        release.as_deref().map_or("-".to_owned(), |release| harmless(&release.display().to_string())),
    ]
}

const SERVES: &str = "serves";
const BEFORE: &str = "rollback";
/// The last is as long as it is.
const HEADING: [&str; 10] = ["when", "", "app", "gen", "kind", "by", "outcome", ">took", "", "release"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Generation;

    const NOON: u64 = 1_795_521_791;

    fn entry(generation: u32, ago: u64, release: &str, outcome: &str) -> Entry {
        Entry {
            at: NOON - ago,
            generation: Generation(generation),
            kind: "deploy".to_owned(),
            trigger: "command".to_owned(),
            release: Some(release.into()),
            outcome: outcome.to_owned(),
            message: "exited with status 1".to_owned(),
            but: None,
            seconds: 12.3,
            output: vec!["ImportError: \x1b[31mx".to_owned()],
        }
    }

    fn blog() -> AppHistory {
        AppHistory {
            app: AppName::new("blog").unwrap(),
            good: Some("/srv/42".into()),
            earlier: vec!["/srv/40".into(), "/srv/41".into()],
            entries: vec![
                entry(1, 9000, "/srv/41", "done"),
                entry(2, 7500, "/srv/42", "done"),
                entry(3, 200, "/srv/42", "done"),
                entry(4, 7, "/srv/43", "failed"),
            ],
        }
    }

    #[test]
    fn the_newest_stands_first_and_what_serves_and_where_a_rollback_goes_is_marked() {
        let expected = "\
when                             app   gen  kind    by       outcome  took            release
2026-11-24 12:03:04Z  7 s ago    blog  g4   deploy  command  failed   12 s            /srv/43
    exited with status 1
    | ImportError: \\x1b[31mx
2026-11-24 11:59:51Z  3 min ago  blog  g3   deploy  command  done     12 s  serves    /srv/42
2026-11-24 09:58:11Z  2 h ago    blog  g2   deploy  command  done     12 s            /srv/42
2026-11-24 09:33:11Z  2 h ago    blog  g1   deploy  command  done     12 s  rollback  /srv/41
blog: /srv/42 was accepted last; rota rollback blog goes to /srv/41
";
        assert_eq!(page(&[blog()], 20, NOON, |_| true, Paint(false)), expected);
    }

    #[test]
    fn a_release_that_is_gone_is_no_place_to_go_back_to() {
        let text = page(&[blog()], 20, NOON, |release| release != Path::new("/srv/41"), Paint(false));
        assert!(text.ends_with("blog: /srv/42 was accepted last; rota rollback blog goes to /srv/40\n"), "{text}");
        let text = page(&[blog()], 20, NOON, |_| false, Paint(false));
        assert!(text.ends_with("; those before it are not on the disk any more\n"), "{text}");
        let fresh = AppHistory { good: None, earlier: vec![], entries: vec![], ..blog() };
        assert_eq!(page(&[fresh], 20, NOON, |_| true, Paint(false)), "blog: no release was accepted yet\n");
    }

    #[test]
    fn apps_are_mixed_by_time_and_the_rest_is_counted() {
        let shop = AppHistory { app: AppName::new("shop").unwrap(), entries: vec![entry(9, 100, "/srv/42", "done")], ..blog() };
        let text = page(&[blog(), shop], 2, NOON, |_| true, Paint(false));
        let names: Vec<&str> = text.lines().filter(|line| line.starts_with("2026")).map(|line| &line[33..37]).collect();
        assert_eq!(names, ["blog", "shop"], "{text}");
        assert!(text.contains("\n... 3 older: --last 5\n"), "{text}");
    }

    #[test]
    fn colours_leave_the_columns_where_they_are() {
        let (plain, painted) = (page(&[blog()], 20, NOON, |_| true, Paint(false)), page(&[blog()], 20, NOON, |_| true, Paint(true)));
        assert!(painted.contains("\x1b[1;31mfailed\x1b[0m"), "{painted}");
        let mut stripped = painted;
        for escape in ["\x1b[1;31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"] {
            stripped = stripped.replace(escape, "");
        }
        assert_eq!(stripped, plain);
    }
}
