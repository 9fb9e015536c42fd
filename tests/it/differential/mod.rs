//! The same bytes to rota, nginx and HAProxy, raw, with a marker request behind them: what each client is told and what each app sees.
//!
//! Every case in which rota does something else than a peer stands in tests/differential.md, and the reason for it: the test fails on a
//! difference that is not there or that no reason covers, and on a reason that covers nothing. `ROTA_DIFFERENTIAL=write` writes the table
//! anew; the reasons are written by hand, and so is a second row for a case of which a peer makes now this and now that, which stays. A
//! reason is for a row of the hardening notes, a kind of difference ([`outcome::Difference`]) and a peer (`N` nginx, `H` HAProxy).

mod cases;
mod outcome;
mod recorder;
mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use cases::Case;
use outcome::{Difference, Outcome};
use servers::Server;

/// Of one case: rota's, nginx's and HAProxy's.
type Outcomes = [Outcome; 3];

#[test]
fn every_difference_to_nginx_and_haproxy_is_known_and_has_a_reason() {
    expect_version("nginx", "-v", "nginx/1.22.");
    expect_version("haproxy", "-v", "version 2.6.");
    let cases = cases::all();
    let servers = start();
    let outcomes = try_all(&servers, &cases.iter().collect::<Vec<_>>(), PATIENCE);
    let mut rows: BTreeMap<usize, String> = BTreeMap::new();
    let written = fs::read_to_string(file()).unwrap();
    let (reasons, table) = written.split_once(TABLE).expect("the file has its table");
    let known: BTreeSet<&str> = table.lines().collect();
    // What is not as it is known to be had perhaps not enough time: a machine with other work.
    let fits = |index: &usize| row(&cases[*index], &outcomes[*index]).is_none_or(|row| known.contains(&*row));
    let known_cases: BTreeSet<&str> = table.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim).collect();
    let is_same = |index: &usize| row(&cases[*index], &outcomes[*index]).is_none() && known_cases.contains(&*cases[*index].name);
    let doubtful: Vec<usize> = (0..cases.len()).filter(|index| !fits(index) || is_same(index)).collect();
    let again: Vec<&Case> = doubtful.iter().map(|index| &cases[*index]).collect();
    let mut outcomes = outcomes;
    for (index, outcome) in doubtful.iter().zip(try_all(&servers, &again, MORE_PATIENCE)) {
        outcomes[*index] = outcome;
    }
    let mut covered = BTreeSet::new();
    for (index, (case, outcomes)) in cases.iter().zip(&outcomes).enumerate() {
        covered.extend(keys(case, outcomes));
        if let Some(row) = row(case, outcomes) {
            rows.insert(index, row);
        }
    }
    let fresh: String = rows.values().map(|row| format!("{row}\n")).collect();
    if std::env::var("ROTA_DIFFERENTIAL").is_ok_and(|wish| wish == "write") {
        let lines: String = rows.values().map(|row| kept_rows(table, row)).collect();
        fs::write(file(), format!("{reasons}{TABLE}{lines}")).unwrap();
    }
    let argued = argued(reasons);
    let without: Vec<&String> = covered.difference(&argued).collect();
    let stale: Vec<&String> = argued.difference(&covered).collect();
    println!("{} cases, {} differ from a peer, {} reasons", cases.len(), rows.len(), argued.len());
    assert!(without.is_empty(), "no reason in tests/differential.md for {without:?}");
    assert!(stale.is_empty(), "these reasons of tests/differential.md cover nothing: {stale:?}");
    let table = fs::read_to_string(file()).unwrap().split_once(TABLE).map(|(_, table)| table.to_owned()).unwrap_or_default();
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) = (table.lines().collect(), fresh.lines().collect());
    let cases: BTreeSet<Option<&str>> = new.iter().map(|line| line.split('|').nth(1)).collect();
    let come: String = new.difference(&old).map(|line| format!("{line}\n")).collect();
    let gone: String = old.iter().filter(|line| !cases.contains(&line.split('|').nth(1))).map(|line| format!("{line}\n")).collect();
    assert!(come.is_empty() && gone.is_empty(), "tests/differential.md does not say\n{come}and lists what is no difference:\n{gone}");
}

/// Whatever a peer makes of it, one message is never two to the app behind rota.
#[test]
fn no_case_is_more_requests_to_the_app_behind_rota_than_it_has() {
    let server = servers::rota();
    for case in cases::all() {
        let outcome = outcome::of(&server, &case, PATIENCE);
        let has = String::from_utf8_lossy(&case.request).matches(" HTTP/1.").count() + usize::from(!case.ends);
        // A request may be tried a second time when the app has closed a kept connection on it.
        let most = if case.answer.is_some() { has + 1 } else { has };
        assert!(outcome.seen.len() <= most, "{}: {} has {has}, seen were {outcome}", case.name, case.shown());
        assert!(!outcome.seen.iter().any(|seen| seen.starts_with("BAD") || seen.contains("/hidden")), "{}: {outcome}", case.name);
    }
}

fn start() -> [Server; 3] {
    let starts: [fn() -> Server; 3] = [servers::rota, servers::nginx, servers::haproxy];
    let starting = starts.map(std::thread::spawn);
    starting.map(|thread| thread.join().unwrap())
}

/// Each server's cases one behind the other, the servers side by side.
fn try_all(servers: &[Server; 3], cases: &[&Case], patience: Duration) -> Vec<Outcomes> {
    std::thread::scope(|scope| {
        let all = servers
            .each_ref()
            .map(|server| scope.spawn(move || cases.iter().map(|case| outcome::of(server, case, patience)).collect::<Vec<_>>()));
        let [rota, nginx, haproxy] = all.map(|thread| thread.join().unwrap());
        rota.into_iter().zip(nginx).zip(haproxy).map(|((rota, nginx), haproxy)| [rota, nginx, haproxy]).collect()
    })
}

fn differences(case: &Case, [rota, nginx, haproxy]: &Outcomes) -> [Option<Difference>; 2] {
    [nginx, haproxy].map(|peer| Difference::between(rota, peer, case.answer.is_some()))
}

/// What a reason is needed for, as it is written: `2.1 stricter N`.
fn keys(case: &Case, outcomes: &Outcomes) -> Vec<String> {
    let peers = ["N", "H"].into_iter().zip(differences(case, outcomes));
    peers.filter_map(|(peer, difference)| Some(format!("{} {} {peer}", case.row, difference?.word()))).collect()
}

/// The line of the table; None: all three do the same.
fn row(case: &Case, outcomes: &Outcomes) -> Option<String> {
    let [nginx, haproxy] = differences(case, outcomes);
    if nginx.is_none() && haproxy.is_none() {
        return None;
    }
    let safe = |text: &str| text.replace('|', "¦").replace('`', "'").replace('\n', "\\n");
    let peer = |difference: Option<Difference>, outcome: &Outcome| {
        difference.map_or("same".to_owned(), |difference| format!("*{}* `{}`", difference.word(), safe(&outcome.to_string())))
    };
    let [rota, of_nginx, of_haproxy] = outcomes;
    Some(format!(
        "| {} | `{}` | `{}` | {} | {} |",
        case.name,
        case.shown(),
        safe(&rota.to_string()),
        peer(nginx, of_nginx),
        peer(haproxy, of_haproxy)
    ))
}

/// What the table says of this row's case when it is written anew: all its rows when this is one of them, which keeps a second one
/// that was written by hand, else this row alone.
fn kept_rows(table: &str, row: &str) -> String {
    let name = |row: &str| row.split('|').nth(1).map(str::to_owned);
    let known: Vec<&str> = table.lines().filter(|line| name(line) == name(row)).collect();
    let kept = if known.contains(&row) { known } else { vec![row] };
    kept.iter().map(|line| format!("{line}\n")).collect()
}

/// The reasons of the file: `- 2.1 stricter N H, 2.2 told N: ...`.
fn argued(reasons: &str) -> BTreeSet<String> {
    let heads = reasons.lines().filter_map(|line| line.strip_prefix("- ")?.split_once(':')).map(|(head, _)| head);
    let mut argued = BTreeSet::new();
    for words in heads.flat_map(|head| head.split(", ")).map(|key| key.split(' ').collect::<Vec<_>>()) {
        let [row, kind, peers @ ..] = &words[..] else { panic!("{words:?} is no row, kind and peers") };
        for peer in peers {
            assert!(argued.insert(format!("{row} {kind} {peer}")), "two reasons for {row} {kind} {peer}");
        }
    }
    argued
}

/// What the table was made with.
fn expect_version(program: &str, option: &str, expected: &str) {
    let output = Command::new(PathBuf::from("/usr/sbin").join(program)).arg(option).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; tests/setup installs it"));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains(expected), "tests/differential.md is about {expected}x of Debian 12, and this is {said}");
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/differential.md")
}

/// What the table begins with.
const TABLE: &str = "| case | bytes | rota | nginx | HAProxy |\n| --- | --- | --- | --- | --- |\n";
/// An answer of any of the three takes less than a millisecond; what waits for more bytes is known by this.
const PATIENCE: Duration = Duration::from_millis(150);
const MORE_PATIENCE: Duration = Duration::from_millis(1500);
