//! `rota history`: how the walks of an app have ended, the newest first, and which release a rollback would go to.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Exit;
use super::hear::{ask, something_else};
use super::say::{self, Paint, print};
use super::table::{brief_span, harmless, output_lines, shown_width, table, wrap};
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
            let width = match say::columns() {
                usize::MAX => usize::MAX,
                columns => columns.clamp(40, 160),
            };
            print(&page(&apps, last, now, Path::is_dir, width, paint))
        }
        Ok(_) => something_else(),
        Err(exit) => exit,
    }
}

/// `now`: seconds since 1970 (UTC). `is_there`: whether a release can still be started.
fn page(apps: &[AppHistory], last: usize, now: u64, is_there: impl Fn(&Path) -> bool, width: usize, paint: Paint) -> String {
    let mut entries: Vec<(&AppHistory, &Entry)> =
        apps.iter().flat_map(|app| app.entries.iter().rev().map(move |entry| (app, entry))).collect();
    // Stable: what ended in the same second stays in the order of its app.
    entries.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.at));
    let older = entries.len().saturating_sub(last);
    entries.truncate(last);
    let mut marks = Marks { apps, rollback_to: apps.iter().map(|app| rollback_to(app, &is_there)).collect(), given: Vec::new() };
    let rows: Vec<Vec<String>> = entries.iter().map(|(app, entry)| row(&app.app, entry, marks.of(&app.app, entry), now, paint)).collect();
    let table = columns(rows, width);
    let mut text = String::new();
    let mut told: Vec<&AppName> = Vec::new();
    if !entries.is_empty() {
        let mut lines = table.lines();
        text.extend(lines.next().map(|heading| format!("{heading}\n")));
        for (line, (app, entry)) in lines.zip(&entries) {
            let release = entry.release.as_deref().map_or("-".to_owned(), |release| harmless(&release.display().to_string()));
            text.push_str(&with_release(line.trim_end_matches(END), &release, width));
            if entry.outcome != "done" || entry.but.is_some() {
                text.push_str(&wrap(&harmless(&entry.message), 4, width));
                // That of the newest: a release that is tried ten times says the same ten times.
                if !told.contains(&&app.app) && !entry.output.is_empty() {
                    text.push_str(&output_lines(&entry.output, 4));
                    told.push(&app.app);
                }
            }
        }
    }
    if older > 0 {
        text.push_str(&format!("... {older} older: --last {}\n", older + entries.len()));
    }
    for (app, rollback_to) in apps.iter().zip(&marks.rollback_to) {
        // Of many apps those that are in the list.
        if apps.len() == 1 || entries.iter().any(|(known, _)| known.app == app.app) {
            text.push_str(&wrap(&summary(app, *rollback_to), 0, width));
        }
    }
    match (text.is_empty(), apps.len()) {
        (false, _) => text,
        (true, 0) => "no apps\n".to_owned(),
        (true, _) => "nothing was deployed or restarted yet\n".to_owned(),
    }
}

/// All columns, or, where long names leave too little for the release, without how long ago it was; and without more where they leave too little
/// for the others.
fn columns(rows: Vec<Vec<String>>, width: usize) -> String {
    let of = |kept: &[usize]| {
        let heading: Vec<&str> = kept.iter().map(|column| HEADING[*column]).collect();
        let rows: Vec<Vec<String>> = rows.iter().map(|row| kept.iter().map(|column| row[*column].clone()).collect()).collect();
        table(&heading, &rows, 0)
    };
    let mut kept: Vec<usize> = (0..HEADING.len()).collect();
    let (mut text, mut release) = (of(&kept), SHORTEST);
    for column in SPARE {
        if text.lines().all(|line| shown_width(line) + release <= width.saturating_add(END.len_utf8())) {
            break;
        }
        kept.retain(|known| *known != column);
        // It can have a line of its own.
        (text, release) = (of(&kept), 0);
    }
    text
}

/// The release stands last, or, where a long name leaves no room for it, in a line of its own.
fn with_release(line: &str, release: &str, width: usize) -> String {
    let room = width.saturating_sub(shown_width(line));
    if room >= SHORTEST.min(release.chars().count()) {
        return format!("{line}{}\n", shortened(release, room));
    }
    format!("{}\n    {}\n", line.trim_end(), shortened(release, width.saturating_sub(4)))
}

/// The end of a path that is too long for its column: `.../releases/42`.
fn shortened(path: &str, room: usize) -> String {
    let length = path.chars().count();
    if length <= room || room < SHORTEST {
        return path.to_owned();
    }
    let end: String = path.chars().skip(length - (room - 3)).collect();
    // From the beginning of a name on, if there is one.
    let end = end.find('/').map_or(end.as_str(), |slash| &end[slash..]);
    format!("...{end}")
}

/// The newest release before the one that serves that is still there: as the server chooses it.
fn rollback_to(app: &AppHistory, is_there: impl Fn(&Path) -> bool) -> Option<&Path> {
    app.earlier.iter().rev().map(AsRef::as_ref).find(|release| is_there(release))
}

fn summary(app: &AppHistory, rollback_to: Option<&Path>) -> String {
    let path = |path: &Path| harmless(&path.display().to_string());
    let AppHistory { app, good, earlier, .. } = app;
    let Some(good) = good else { return format!("{app}: no release was accepted yet") };
    let back = match (rollback_to, earlier.len()) {
        (Some(release), _) => format!("rota rollback {app} goes to {}", path(release)),
        (None, 0) => "no release before it is known".to_owned(),
        (None, _) => "those before it are not on the disk any more".to_owned(),
    };
    format!("{app}: {} was accepted last; {back}", path(good))
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
    let Entry { at, generation, kind, trigger, outcome, seconds, .. } = entry;
    let outcome = match outcome.as_str() {
        "done" => paint.good("done"),
        "failed" => paint.bad("failed"),
        "rolled_back" => paint.bad("rolled back"),
        "aborted" => paint.warn("called off"),
        other => paint.warn(&harmless(other)),
    };
    let kind = match (kind.as_str(), trigger.as_str()) {
        (kind, "command") | (kind @ "start", _) => harmless(kind),
        (kind, trigger) => harmless(&format!("{kind} ({trigger})")),
    };
    vec![
        // The seconds matter to nobody who reads it.
        utc(*at)[..MINUTES].to_owned(),
        ago(*at, now),
        app.to_string(),
        generation.to_string(),
        kind,
        outcome,
        brief_span(*seconds),
        if mark == SERVES { paint.good(mark) } else { mark.to_owned() },
        END.to_string(),
    ]
}

const SERVES: &str = "serves";
const BEFORE: &str = "rollback";
/// Behind these the release is as long as there is room for it.
const HEADING: [&str; 9] = ["when (UTC)", "", "app", "gen", "kind", "outcome", ">took", "", ""];
/// The columns of how long ago it was, how long it took, and what it was: a narrow terminal does without them in this order.
const SPARE: [usize; 3] = [1, 6, 4];
/// Where the release begins: a table has no spaces at the end of a line.
const END: char = '|';
/// `2026-11-24 12:03`
const MINUTES: usize = 16;
/// What is left of a path in less would tell nobody anything.
const SHORTEST: usize = 7;

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

    fn plain(apps: &[AppHistory], last: usize, is_there: impl Fn(&Path) -> bool) -> String {
        page(apps, last, NOON, is_there, 80, Paint(false))
    }

    #[test]
    fn the_newest_stands_first_and_what_serves_and_where_a_rollback_goes_is_marked() {
        let expected = "\
when (UTC)                   app   gen  kind    outcome  took
2026-11-24 12:03  7 s ago    blog  g4   deploy  failed    12s            /srv/43
    exited with status 1
    | ImportError: \\x1b[31mx
2026-11-24 11:59  3 min ago  blog  g3   deploy  done      12s  serves    /srv/42
2026-11-24 09:58  2 h ago    blog  g2   deploy  done      12s            /srv/42
2026-11-24 09:33  2 h ago    blog  g1   deploy  done      12s  rollback  /srv/41
blog: /srv/42 was accepted last; rota rollback blog goes to /srv/41
";
        assert_eq!(plain(&[blog()], 20, |_| true), expected);
    }

    #[test]
    fn a_traceback_is_told_once_and_no_line_is_wider_than_the_terminal() {
        let failed = |generation| entry(generation, 7, "/srv/blog/releases/20261124120304", "failed");
        let entries = vec![failed(5), failed(6), Entry { trigger: "watch".to_owned(), kind: "restart".to_owned(), ..failed(7) }];
        let text = plain(&[AppHistory { entries, ..blog() }], 20, |_| true);
        assert_eq!((text.matches("ImportError").count(), text.matches("exited with status 1").count()), (1, 3), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let long = AppHistory { app: AppName::new("application-number-1").unwrap(), ..blog() };
        let text_of_long = plain(&[long], 20, |_| true);
        assert!(
            text_of_long.lines().all(|line| line.chars().count() <= 80) && text_of_long.contains("rollback\n    /srv/41\n"),
            "{text_of_long}"
        );
        let longest = AppHistory { app: AppName::new(&"n".repeat(32)).unwrap(), ..blog() };
        let text_of_longest = plain(&[longest], 20, |_| true);
        let entries = text_of_longest.lines().filter(|line| line.starts_with("2026"));
        assert!(entries.clone().count() == 4 && entries.clone().all(|line| line.chars().count() <= 80), "{text_of_longest}");
        assert!(text_of_longest.contains("  done     serves\n"), "{text_of_longest}");
        assert!(text.contains("restart (watch)  ") && text.contains("  ...20304\n"), "{text}");
    }

    #[test]
    fn a_release_that_is_gone_is_no_place_to_go_back_to() {
        let text = plain(&[blog()], 20, |release| release != Path::new("/srv/41"));
        assert!(text.ends_with("blog: /srv/42 was accepted last; rota rollback blog goes to /srv/40\n"), "{text}");
        let text = plain(&[blog()], 20, |_| false);
        assert!(text.replace("\n  ", " ").ends_with("; those before it are not on the disk any more\n"), "{text}");
        let fresh = || AppHistory { good: None, earlier: vec![], entries: vec![], ..blog() };
        assert_eq!(plain(&[fresh()], 20, |_| true), "blog: no release was accepted yet\n");
        assert_eq!(plain(&[fresh(), fresh()], 20, |_| true), "nothing was deployed or restarted yet\n");
    }

    #[test]
    fn apps_are_mixed_by_time_and_the_rest_is_counted() {
        let shop = AppHistory { app: AppName::new("shop").unwrap(), entries: vec![entry(9, 100, "/srv/42", "done")], ..blog() };
        let quiet = AppHistory { app: AppName::new("quiet").unwrap(), good: None, earlier: vec![], entries: vec![] };
        let text = plain(&[blog(), quiet, shop], 2, |_| true);
        let names: Vec<&str> = text.lines().filter(|line| line.starts_with("2026")).map(|line| &line[29..33]).collect();
        assert_eq!(names, ["blog", "shop"], "{text}");
        assert!(text.contains("\n... 3 older: --last 5\n") && !text.contains("quiet"), "{text}");
    }

    #[test]
    fn colours_leave_the_columns_where_they_are() {
        let look = |paint| page(&[blog()], 20, NOON, |_| true, 80, paint);
        let (plain, painted) = (look(Paint(false)), look(Paint(true)));
        assert!(painted.contains("\x1b[1;31mfailed\x1b[0m"), "{painted}");
        let mut stripped = painted;
        for escape in ["\x1b[1;31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"] {
            stripped = stripped.replace(escape, "");
        }
        assert_eq!(stripped, plain);
    }
}
