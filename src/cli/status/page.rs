//! The page that `rota status` prints: plain values in, text out. Tables fit 80 columns, sentences are wrapped at the given width.

use super::brief;
use crate::cli::say::Paint;
use crate::cli::table::{brief_size, brief_span, count, harmless, output_lines, size, span, table, wrap};
use crate::cli::walk::{left, place, room};
use crate::control::proto::{
    AppStatus, Broken, HeldBy, LastFailure, NotListening, Pause, ProcessStatus, Progress, QueueStatus, Resists, StatusReply,
};
use crate::ids::Generation;

/// The whole page. `columns`: of the terminal; `usize::MAX`: there is none, and nothing is cut.
pub fn render(status: &StatusReply, columns: usize, paint: Paint) -> String {
    // Lines of prose that are longer are hard to read.
    let width = if columns == usize::MAX { PROSE } else { columns.clamp(40, 120) };
    let StatusReply {
        version,
        pid,
        uptime,
        listen,
        not_listening,
        broken,
        drained,
        config: _,
        config_changed,
        connections,
        spooled,
        apps,
        schema: _,
    } = status;
    let listen: Vec<&str> = listen.iter().map(String::as_str).filter(|at| not_listening.iter().all(|not| not.at != *at)).collect();
    let listen = if listen.is_empty() { "nothing".to_owned() } else { listen.join(", ") };
    let spooled = if *spooled == 0 { String::new() } else { format!(", {} in temporary files", size(*spooled)) };
    let connections = if *connections == 1 { "1 connection".to_owned() } else { format!("{connections} connections") };
    let head = format!("rota {version}, pid {pid}, up {}, {connections}{spooled}, listens on {listen}", span(*uptime));
    let mut text = wrap(&harmless(&head), 0, width);
    let mut trouble = |what: &str, mark: &str| text.push_str(&wrap(&harmless(what), 0, width).replacen(mark, &paint.bad(mark), 1));
    for NotListening { at, message } in not_listening {
        trouble(&format!("NOT LISTENING on {at}: {message}; it is taken when it can be had"), "NOT LISTENING");
    }
    for Broken { app, message } in broken {
        trouble(&format!("NOT SERVED: {app}: {message}; its requests are answered 503"), "NOT SERVED");
    }
    if *config_changed == Some(true) {
        trouble("NOT READ: the files of the configuration have changed; rota reload --dry-run says what they change", "NOT READ");
    }
    if *drained {
        trouble("DRAINED: balancers are told to go, and requests are served; rota undrain ends it", "DRAINED");
    }
    if apps.is_empty() && broken.is_empty() {
        text.push_str("no apps\n");
    }
    // With more than one, a line for each: what is wrong with one of 29 is to be seen at a look.
    if let [app] = apps.as_slice() {
        text.push('\n');
        render_app(&mut text, app, width, paint);
    } else if !apps.is_empty() {
        text.push_str(&brief::table_of(apps, columns, paint));
    }
    text
}

fn render_app(text: &mut String, app: &AppStatus, width: usize, paint: Paint) {
    let name = paint.name(app.app.as_str());
    match app.generation {
        Some(generation) => text.push_str(&format!("{name}  {}\n", release(generation, app.release.as_deref()))),
        None => text.push_str(&format!("{name}  no release has started yet\n")),
    }
    let mut line = |what: &str, painted: Option<(&str, String)>| {
        let lines = wrap(&harmless(what), 2, width);
        text.push_str(&painted.map_or(lines.clone(), |(word, painted)| lines.replacen(word, &painted, 1)));
    };
    if app.removed {
        line(
            "REMOVED: it is not in the files any more; what came in is answered, then its processes end",
            Some(("REMOVED", paint.warn("REMOVED"))),
        );
    }
    if let Some(named) = &app.passed_over {
        line(&format!("chosen by command; root names {named}, which a restart ignores until root names something new"), None);
    }
    for (generation, directory) in other_releases(app) {
        line(&format!("with processes of {}", release(generation, directory)), None);
    }
    if let (Some(command), Some(why)) = (&app.command, &app.detected) {
        line(&format!("runs {command}, by {why}"), None);
    }
    if let Some(Pause { seconds, left_seconds }) = &app.pause {
        let (held, left) = (span(*seconds), span(*left_seconds));
        let what = format!("PAUSED for {held}: requests wait; ends in {left}, or by: rota resume {}", app.app);
        line(&what, Some(("PAUSED", paint.warn("PAUSED"))));
    }
    if let Some(why) = &app.not_written {
        line(
            &format!("NOT WRITTEN DOWN: {why}; a start of rota would not know what serves"),
            Some(("NOT WRITTEN DOWN", paint.warn("NOT WRITTEN DOWN"))),
        );
    }
    if let Some(lost) = &app.lost {
        line(&format!("LOST: {lost}"), Some(("LOST", paint.bad("LOST"))));
    }
    line(&queue_line(&app.queue), None);
    sizes_line(app).into_iter().for_each(|sizes| line(&sizes, None));
    if let Some(held) = &app.held {
        line(&held_line(held), Some(("waits", paint.warn("waits"))));
    }
    if let Some(walk) = &app.walk {
        line(&walk_line(walk), None);
        room(walk).into_iter().for_each(|room| line(&room, None));
    }
    for process in app.processes.iter().filter(|process| process.state == "draining" && process.sessions > 0) {
        let ProcessStatus { number, generation, sessions, .. } = process;
        let requests = if *sessions == 1 { "1 request".to_owned() } else { format!("{sessions} requests") };
        let what = match process.finishes_for {
            Some(left) => format!("still finishes {requests}, for {} at most", span(left)),
            None => format!("waits for {requests} to end"),
        };
        line(&format!("{}/{number} {generation} {what}: rota status --blocking {}", app.app, app.app), None);
    }
    match app.survivors {
        0 => {}
        1 => line("1 process has outlived the one that it came of (survivors)", None),
        count => line(&format!("{count} processes have outlived those that they came of (survivors)"), None),
    }
    for process in &app.processes {
        let ProcessStatus { number, generation, replaced: Some(why), .. } = process else { continue };
        line(&format!("{}/{number} {generation} is replaced {why}", app.app), None);
    }
    if let Some(turned) = &app.turned {
        line(&format!("but {turned}"), Some(("but", paint.warn("but"))));
    }
    if let Some(backoff) = &app.backoff {
        let failures = if backoff.failures == 1 { "1 failure".to_owned() } else { format!("{} failures in a row", backoff.failures) };
        line(&format!("backoff: {failures}, the next try in {}", span(backoff.retry_in)), Some(("backoff", paint.warn("backoff"))));
    }
    if app.processes.is_empty() {
        text.push_str("  no processes\n");
    } else {
        let rows: Vec<Vec<String>> = app.processes.iter().map(|process| row(process, paint)).collect();
        text.push_str(&table(&HEADING, &rows, 2));
    } // Below the table, so that a long output does not push it off the screen.
    if let Some(resists) = &app.resists {
        render_resists(text, app, resists, width, paint);
    }
    if let Some(failure) = app.last_failure.as_ref().filter(|failure| !is_told(app, failure)) {
        let LastFailure { number, generation, seconds, message, output } = failure;
        let sentence = format!("last failure {} ago: {}/{number} {generation}: {message}", span(*seconds), app.app);
        text.push_str(&wrap(&harmless(&sentence), 2, width));
        text.push_str(&output_lines(output, 4));
    }
}

/// What the app refuses to start, why, since when, and how it is made to try again.
fn render_resists(text: &mut String, app: &AppStatus, resists: &Resists, width: usize, paint: Paint) {
    let Resists { generation, release: directory, seconds, at, message, output } = resists;
    let what = release(*generation, directory.as_deref());
    let sentence = wrap(&harmless(&format!("RESISTS {what} for {}: process {at}: {message}", span(*seconds))), 2, width);
    text.push_str(&sentence.replacen("RESISTS", &paint.bad("RESISTS"), 1));
    text.push_str(&output_lines(output, 4));
    let serves = match app.generation {
        Some(good) if app.lost.is_some() => format!("{good} goes on serving, as long as its processes live"),
        Some(good) => format!("{good} goes on serving, and what dies is started from it"),
        None => "no other release is known".to_owned(),
    };
    let again = match directory {
        Some(directory) => format!("rota deploy {} {}", app.app, harmless(directory)),
        None => format!("rota restart {}", app.app),
    };
    let leave = format!("to leave this, deploy a good release, or restart when root names one; {again} tries this one again");
    text.push_str(&wrap(&format!("{serves}; {leave}"), 4, width));
}

/// The failure for which the app resists is told there.
fn is_told(app: &AppStatus, failure: &LastFailure) -> bool {
    app.resists.as_ref().is_some_and(|resists| resists.generation == failure.generation && resists.message == failure.message)
}

fn release(generation: Generation, directory: Option<&str>) -> String {
    format!("{generation} {}", harmless(directory.unwrap_or("(directory unknown)")))
}

/// Of processes that run something else than what is accepted, each once.
fn other_releases(app: &AppStatus) -> Vec<(Generation, Option<&str>)> {
    let all = app.processes.iter().map(|process| (process.generation, process.release.as_deref()));
    let mut others: Vec<_> = all.filter(|(generation, _)| Some(*generation) != app.generation).collect();
    others.sort();
    others.dedup();
    others
}

fn queue_line(queue: &QueueStatus) -> String {
    let QueueStatus { length, max, age, refused, expired } = queue;
    let first = age.map(|age| format!(", the first for {}", span(age))).unwrap_or_default();
    format!("queue {length} of {max}{first}; so far {refused} refused as it was full, {expired} waited too long")
}

/// None: there are always as many.
fn sizes_line(app: &AppStatus) -> Option<String> {
    let AppStatus { processes_wanted: wanted, processes_min: min, processes_max: max, .. } = app;
    let starts = if *wanted == 0 { "; the first starts with the first request" } else { "" };
    (min != max).then(|| format!("processes {wanted} of {min}..{max}{starts}"))
}

fn held_line(held: &HeldBy) -> String {
    let what = match held.limit.as_str() {
        "max_spawning" => "others boot, and no more may at a time",
        _ => "there are as many processes as may be",
    };
    format!("waits for {} to start one more process: {what} (server.{})", span(held.seconds), harmless(&held.limit))
}

/// `restart to g8 for 6.0 s: 2 of 4 replaced; process 3: boot for 1.2 s; about 6 s left`
fn walk_line(walk: &Progress) -> String {
    let Progress { kind, generation, seconds, phase_seconds, .. } = walk;
    let what = match kind.as_str() {
        "back" => format!("taking back {generation}"),
        "start" => format!("start of {generation}"),
        kind => format!("{kind} to {generation}"),
    };
    let left = left(walk, 0.0).map(|left| format!("; {left}")).unwrap_or_default();
    format!("{what} for {}: {} for {}{left}", span(*seconds), place(walk), span(*phase_seconds))
}

fn row(process: &ProcessStatus, paint: Paint) -> Vec<String> {
    let state = match process.state.as_str() {
        "serving" => paint.good("serving"),
        state => paint.warn(&harmless(state)),
    };
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    vec![
        process.number.to_string(),
        process.generation.to_string(),
        or_none(process.pid.map(|pid| pid.to_string())),
        format!("{state} {}", brief_span(process.state_seconds)),
        format!("{}/{}", process.sessions, process.slots),
        count(process.processed),
        count(process.errors),
        or_none(process.cpu.map(|cpu| format!("{cpu:.0}%"))),
        or_none(process.memory.map(brief_size)),
        or_none(process.children.map(|children| children.to_string())),
        or_none(process.last_used.map(brief_span)),
    ]
}

/// Columns of a sentence where no terminal says how many there are.
const PROSE: usize = 80;
const HEADING: [&str; 11] = [">#", "gen", ">pid", "state", ">busy", ">done", ">err", ">cpu", ">mem", ">ch", ">last"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use serde_json::Value;

    use crate::control::proto::{Backoff, Reply, SCHEMA, reply_line};
    use crate::ids::{AppName, Number};

    #[test]
    fn a_quiet_server_in_one_look() {
        let app = AppStatus {
            walk: None,
            resists: None,
            backoff: None,
            turned: None,
            last_failure: None,
            root: "/srv/blog/current".into(),
            passed_over: None,
            detected: None,
            not_written: None,
            lost: None,
            removed: false,
            survivors: 0,
            pause: None,
            processes_min: 2,
            processes_max: 2,
            held: None,
            ..troubled()
        };
        let processes = vec![process(1, 7, "serving"), ProcessStatus { last_used: None, ..process(2, 7, "serving") }];
        let queue = QueueStatus { length: 0, max: 100, age: None, refused: 0, expired: 0 };
        let status = StatusReply { spooled: 0, apps: vec![AppStatus { processes, queue, ..app }], ..server() };
        let expected = "\
rota 0.1.0, pid 812, up 4 d 3 h, 12 connections, listens on 0.0.0.0:80, [::]:80

blog  g7 /srv/blog/releases/41
  queue 0 of 100; so far 0 refused as it was full, 0 waited too long
  #  gen   pid  state       busy  done  err  cpu  mem  ch  last
  1  g7   4711  serving 3m   2/5  1204    3   7%  66M   2    1s
  2  g7   4712  serving 3m   2/5  1204    3   7%  66M   2     -
";
        assert_eq!(render(&status, 80, Paint(false)), expected);
    }

    #[test]
    fn everything_that_can_be_wrong_at_once() {
        let status = StatusReply { apps: vec![troubled()], ..server() };
        let expected = "\
rota 0.1.0, pid 812, up 4 d 3 h, 12 connections, 3.0 MiB in temporary files,
  listens on 0.0.0.0:80, [::]:80

blog  g7 /srv/blog/releases/41
  chosen by command; root names /srv/blog/releases/40, which a restart ignores
    until root names something new
  with processes of g9 /srv/blog/releases/43
  runs bundle exec puma, by config.ru, puma in Gemfile.lock
  PAUSED for 5.2 s: requests wait; ends in 14 s, or by: rota resume blog
  NOT WRITTEN DOWN: /state/blog.json.new: write: No space left; a start of rota
    would not know what serves
  LOST: the directory /srv/blog/7 of g7 is gone
  queue 2 of 100, the first for 0.3 s; so far 5 refused as it was full, 4 waited
    too long
  processes 2 of 0..4
  waits for 3.0 s to start one more process: there are as many processes as may
    be (server.max_processes)
  restart to g9 for 6.0 s: 1 of 2 replaced, left as they were: 1; process 2:
    boot, GET / answered 503 for 1.2 s; about 6 s left
  memory is short (80 MiB of memory are left): the old one goes first
  blog/2 g7 waits for 2 requests to end: rota status --blocking blog
  blog/1 g7 is replaced after 1,000 requests
  but GET / is answered 404 where g3 answered 200
  backoff: 3 failures in a row, the next try in 4.0 s
  #  gen   pid  state         busy  done  err  cpu  mem  ch  last
  1  g7   4711  serving 3m     2/5  1204    3   7%  66M   2    1s
  2  g7   4712  draining 3m    2/5  1204    3   7%  66M   2    1s
  2  g9      -  starting 12s   0/5     0    0    -    -   -     -
  RESISTS g8 /srv/blog/releases/42 for 1 min 30 s: process 1: exited with status
    1 after 0.42 s, before it was ready
    | Traceback (most recent call last):
    | ImportError: \\x1b[31mx
    g7 goes on serving, as long as its processes live; to leave this, deploy a
      good release, or restart when root names one; rota deploy blog
      /srv/blog/releases/42 tries this one again
  last failure 8.0 s ago: blog/2 g7: killed by signal 9 40.00 s after it was
    ready
    | bye
";
        assert_eq!(render(&status, 80, Paint(false)), expected);
    }

    #[test]
    fn of_29_apps_each_has_a_line_that_fits() {
        let app = |number: u32| {
            let quiet = AppStatus { resists: None, walk: None, pause: None, not_written: None, backoff: None, held: None, ..troubled() };
            let app = AppName::new(&format!("app-{number}")).unwrap();
            match number {
                7 => AppStatus { app, ..troubled() },
                8 => AppStatus { app, walk: troubled().walk, ..quiet },
                9 => AppStatus { app, processes: vec![], ..quiet },
                10 => AppStatus { app, generation: None, processes_wanted: 0, processes: vec![], ..quiet },
                _ => AppStatus { app, ..quiet },
            }
        };
        let page = render(&StatusReply { apps: (1..=29).map(app).collect(), spooled: 0, ..server() }, 80, Paint(false));
        let lines: Vec<&str> = page.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{page}");
        assert_eq!(lines.len(), 1 + 1 + 29 + 3 + 1, "{page}");
        assert_eq!(lines[1], "app     gen   up  busy  wait  done  err  cpu   mem  state");
        assert_eq!(lines[2], "app-1   g7   1/2   2/5     2  2408    6  14%  132M  serves");
        assert_eq!(lines[8], "app-7   g7   1/2   2/5     2  2408    6  14%  132M  RESISTS g8");
        assert_eq!(lines[9], "app-8   g7   1/2   2/5     2  2408    6  14%  132M  restart 1/2 boot");
        assert_eq!(lines[10], "app-9   g7   0/2   0/0     2     0    0    -     -  DOWN");
        assert_eq!(lines[31], "app-7: process 1 of g8: exited with status 1 after 0.42 s, before it was ready");
        assert_eq!(lines[32], "app-9: killed by signal 9 40.00 s after it was ready");
        assert_eq!(lines[11], "app-10  -    0/0   0/0     2     0    0    -     -  FAILED g7");
        assert_eq!(lines[33], "app-10: killed by signal 9 40.00 s after it was ready");
        assert_eq!(lines[34], "all of one: rota status APP");
    }

    #[test]
    fn the_state_of_an_app_is_to_be_seen_whatever_it_is_called_and_a_pipe_has_all() {
        let name = |end: &str| AppName::new(&format!("{}{end}", "n".repeat(30))).unwrap();
        let resists = troubled().resists.map(|resists| Resists { message: "died of something long ".repeat(20), ..resists });
        let apps = vec![
            AppStatus { app: name("-a"), resists, ..troubled() },
            AppStatus { app: name("-b"), resists: None, walk: None, not_written: None, pause: None, backoff: None, ..troubled() },
        ];
        let status = StatusReply { apps, spooled: 0, ..server() };
        for columns in [60, 80, 100, 132] {
            let page = render(&status, columns, Paint(false));
            let lines: Vec<&str> = page.lines().skip_while(|line| !line.starts_with("app ")).collect();
            assert!(lines.iter().all(|line| line.chars().count() <= columns), "{page}");
            assert!(lines[1].ends_with("  RESISTS g8") && lines[2].ends_with("  serves"), "{page}");
            let trouble = lines[3].strip_suffix(" ...").unwrap_or_else(|| panic!("{page}"));
            assert!(
                ["died", "of", "something", "long", "g8:", "1", "process"].iter().any(|word| trouble.ends_with(&format!(" {word}"))),
                "{page}"
            );
        }
        let page = render(&status, usize::MAX, Paint(false));
        assert!(
            page.contains(&"died of something long ".repeat(20)) && page.contains("  gen   up  busy  wait  done  err  cpu   mem  state\n"),
            "{page}"
        );
    }

    #[test]
    fn a_failure_that_is_the_reason_to_resist_is_told_once() {
        let resists = troubled().resists.unwrap();
        let Resists { generation, seconds, at, message, output, .. } = resists;
        let failure = LastFailure { number: at, generation, seconds, message, output };
        let status = StatusReply { apps: vec![AppStatus { last_failure: Some(failure), ..troubled() }], ..server() };
        let page = render(&status, 80, Paint(false));
        assert_eq!((page.matches("exited with status").count(), page.matches("last failure").count()), (1, 0), "{page}");
    }

    #[test]
    fn a_first_start_and_a_rollback_have_their_own_words() {
        let walk = |kind: &str| Progress { kind: kind.to_owned(), skipped: vec![], answer: None, ..troubled().walk.unwrap() };
        assert_eq!(walk_line(&walk("start")), "start of g9 for 6.0 s: 1 of 2 started; process 2: boot for 1.2 s; about 6 s left");
        assert_eq!(walk_line(&walk("rollback")), "rollback to g9 for 6.0 s: 1 of 2 replaced; process 2: boot for 1.2 s; about 6 s left");
        assert_eq!(walk_line(&walk("back")), "taking back g9 for 6.0 s: 1 of 2 back; process 2: boot for 1.2 s; about 6 s left");
    }

    #[test]
    fn an_app_without_anything_yet() {
        let none = AppStatus { generation: None, release: None, processes: vec![], walk: None, resists: None, ..troubled() };
        let status = StatusReply { apps: vec![AppStatus { backoff: None, last_failure: None, ..none }], ..server() };
        let page = render(&status, 80, Paint(false));
        assert!(page.contains("\nblog  no release has started yet\n") && page.ends_with("  no processes\n"), "{page}");
        assert!(render(&StatusReply { apps: vec![], ..server() }, 80, Paint(false)).ends_with("no apps\n"));
    }

    #[test]
    fn the_widest_row_fits_80_columns() {
        let widest = ProcessStatus {
            number: Number(64),
            generation: Generation(4321),
            pid: Some(4_194_303),
            state: "draining".to_owned(),
            state_seconds: 59.0,
            slots: 100,
            sessions: 100,
            processed: 123_456,
            errors: 9999,
            last_used: Some(59.0),
            cpu: Some(200.0),
            memory: Some(1023 << 20),
            ..process(1, 7, "serving")
        };
        let app = AppStatus { processes: vec![widest], ..troubled() };
        let page = render(&StatusReply { apps: vec![app], ..server() }, 80, Paint(false));
        let longest = page.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(longest.chars().count() <= 80, "{longest}");
    }

    #[test]
    fn only_words_are_coloured() {
        let page = render(&StatusReply { apps: vec![troubled()], ..server() }, 80, Paint(true));
        assert!(page.contains("\n\x1b[1mblog\x1b[0m  g7 ") && page.contains("  \x1b[1;31mRESISTS\x1b[0m g8 "), "{page}");
    }

    /// Every place in a value that holds no other places: `apps[].queue.age`. One that is null would hide what can stand there.
    fn places(value: &Value, at: &str, places: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| {
                let dot = if at.is_empty() { "" } else { "." };
                super::tests::places(value, &format!("{at}{dot}{name}"), places);
            }),
            Value::Array(values) if !values.is_empty() => {
                values.iter().for_each(|value| super::tests::places(value, &format!("{at}[]"), places))
            }
            Value::Null => panic!("{at} is not filled in"),
            Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => drop(places.insert(at.to_owned())),
        }
    }

    #[test]
    fn the_documentation_lists_every_field_of_the_json_and_no_other() {
        let process = ProcessStatus { replaced: Some("as asked".to_owned()), finishes_for: Some(1.5), ..process(1, 7, "serving") };
        let app = AppStatus { processes: vec![process], ..troubled() };
        let not_listening = vec![NotListening { at: String::new(), message: String::new() }];
        let broken = vec![Broken { app: String::new(), message: String::new() }];
        let config = Some(crate::control::proto::ConfigRead { file: "/etc/rota/rota.toml".into(), stamp: 7 });
        let status = StatusReply { apps: vec![app], not_listening, broken, config, config_changed: Some(true), ..server() };
        let mut fields = BTreeSet::new();
        places(&serde_json::to_value(&status).unwrap(), "", &mut fields);
        let page = include_str!("../../../docs/running.md");
        let section = page.split("\n## status --json\n").nth(1).expect("the section is there").split("\n## ").next().unwrap();
        let listed = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned);
        assert_eq!(listed.collect::<BTreeSet<_>>(), fields);
        assert!(section.contains(&format!("`schema` is {SCHEMA}")), "{section}");
    }

    #[test]
    fn what_is_not_served_stands_above_what_is() {
        let not_listening = vec![NotListening { at: "[::]:80".to_owned(), message: "Address in use".to_owned() }];
        let broken = vec![Broken { app: "shop".to_owned(), message: "/etc/rota/apps.d/shop.toml:3:1: unknown key \"comand\"".to_owned() }];
        let page = render(&StatusReply { not_listening, broken, spooled: 0, ..server() }, 80, Paint(false));
        let expected = "\
rota 0.1.0, pid 812, up 4 d 3 h, 12 connections, listens on 0.0.0.0:80
NOT LISTENING on [::]:80: Address in use; it is taken when it can be had
NOT SERVED: shop: /etc/rota/apps.d/shop.toml:3:1: unknown key \"comand\"; its
  requests are answered 503
";
        assert_eq!(page, expected);
    }

    #[test]
    fn what_the_page_shows_came_over_the_socket() {
        let reply = Reply::Status(Box::new(StatusReply { apps: vec![troubled()], ..server() }));
        assert_eq!(crate::control::proto::parse_reply(&reply_line(&reply)).unwrap(), reply);
    }

    fn server() -> StatusReply {
        StatusReply {
            schema: SCHEMA,
            version: "0.1.0".to_owned(),
            pid: 812,
            uptime: 356_400.0,
            listen: vec!["0.0.0.0:80".to_owned(), "[::]:80".to_owned()],
            not_listening: vec![],
            broken: vec![],
            drained: false,
            config: None,
            config_changed: None,
            connections: 12,
            spooled: 3 << 20,
            apps: vec![],
        }
    }

    fn troubled() -> AppStatus {
        let starting = ProcessStatus { pid: None, state_seconds: 12.0, sessions: 0, processed: 0, errors: 0, ..process(2, 9, "starting") };
        AppStatus {
            root: "/srv/blog/current".into(),
            app: AppName::new("blog").unwrap(),
            generation: Some(Generation(7)),
            release: Some("/srv/blog/releases/41".to_owned()),
            passed_over: Some("/srv/blog/releases/40".to_owned()),
            command: Some("bundle exec puma".to_owned()),
            detected: Some("config.ru, puma in Gemfile.lock".to_owned()),
            not_written: Some("/state/blog.json.new: write: No space left".to_owned()),
            lost: Some("the directory /srv/blog/7 of g7 is gone".to_owned()),
            removed: false,
            survivors: 0,
            processes_wanted: 2,
            processes_min: 0,
            processes_max: 4,
            held: Some(HeldBy { limit: "max_processes".to_owned(), seconds: 3.0 }),
            concurrency: 5,
            processes: vec![
                ProcessStatus { replaced: Some("after 1,000 requests".to_owned()), ..process(1, 7, "serving") },
                process(2, 7, "draining"),
                ProcessStatus { cpu: None, memory: None, children: None, last_used: None, ..starting },
            ],
            queue: QueueStatus { length: 2, max: 100, age: Some(0.3), refused: 5, expired: 4 },
            walk: Some(Progress {
                app: AppName::new("blog").unwrap(),
                generation: Generation(9),
                kind: "restart".to_owned(),
                trigger: "command".to_owned(),
                phase: "boot".to_owned(),
                number: Some(Number(2)),
                replaced: 1,
                of: 2,
                seconds: 6.04,
                phase_seconds: 1.2,
                answer: Some("GET / answered 503".to_owned()),
                left_seconds: Some(6.2),
                makes_room: Some("80 MiB of memory are left".to_owned()),
                skipped: vec![Number(1)],
            }),
            resists: Some(Resists {
                generation: Generation(8),
                release: Some("/srv/blog/releases/42".to_owned()),
                seconds: 90.0,
                at: Number(1),
                message: "exited with status 1 after 0.42 s, before it was ready".to_owned(),
                output: vec!["Traceback (most recent call last):".to_owned(), "ImportError: \x1b[31mx".to_owned()],
            }),
            backoff: Some(Backoff { failures: 3, retry_in: 4.0 }),
            pause: Some(Pause { seconds: 5.24, left_seconds: 14.76 }),
            turned: Some("GET / is answered 404 where g3 answered 200".to_owned()),
            last_failure: Some(LastFailure {
                number: Number(2),
                generation: Generation(7),
                seconds: 8.0,
                message: "killed by signal 9 40.00 s after it was ready".to_owned(),
                output: vec!["bye".to_owned()],
            }),
        }
    }

    fn process(number: u16, generation: u32, state: &str) -> ProcessStatus {
        ProcessStatus {
            number: Number(number),
            generation: Generation(generation),
            pid: Some(4710 + u32::from(number)),
            release: Some(format!("/srv/blog/releases/{}", 34 + generation)),
            state: state.to_owned(),
            state_seconds: 192.0,
            age: 200.0,
            slots: 5,
            sessions: 2,
            processed: 1204,
            errors: 3,
            last_used: Some(1.2),
            replaced: None,
            finishes_for: None,
            cpu: Some(7.1),
            memory: Some(66 << 20),
            children: Some(2),
        }
    }
}
