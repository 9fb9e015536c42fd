//! The zero-loss matrix: every deployment and fault ([`cells`]) under every kind of traffic at once ([`crate::traffic::ALL`]), for groups
//! of 1, 2 and 4 processes that listen in each way and meet each policy for releases that fail. Every reply is counted; none may be lost.
//!
//! `cargo test --test it matrix -- --nocapture` runs a part in which every row, size, policy and way to listen occurs; `tests/matrix` runs
//! all of it until ROTA_MATRIX_REQUESTS requests (half a million, unless it says otherwise) have been answered. ROTA_MATRIX_ONLY=TEXT runs
//! the cells whose name has the text in it (`old process killed/2/unix/resist`).
//!
//! Not in here: reload of the configuration and upgrade of the binary, which rota does not do yet.

mod cells;
mod judge;
mod rows;
mod stage;
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::tally::Tally;
use crate::traffic::{ALL, Kind};

use cells::Cell;
use judge::{Verdict, judge};
use stage::Stage;
use table::Line;

/// What is to be run.
struct Plan {
    cells: Vec<Cell>,
    kinds: Vec<Kind>,
    /// Requests of each cell, at least.
    share: usize,
    requests: usize,
    deployments: usize,
}

#[test]
fn every_deployment_and_fault_loses_nothing_under_every_kind_of_traffic() {
    let plan = Plan::from_env();
    let began = Instant::now();
    let (next, lines, count) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(Tally::default()));
    // Two at a time: one waits for a boot or a drain while the other keeps the machine busy.
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(cell) = plan.cells.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let line = run(cell, &plan, &count);
                    lines.lock().expect("a cell's panic is caught").push(line);
                }
            });
        }
    });
    let mut lines = lines.into_inner().expect("a cell's panic is caught");
    lines.sort_by_key(|line| plan.cells.iter().position(|cell| *cell == line.cell));
    println!("\n{}", count.into_inner().expect("a cell's panic is caught"));
    table::print(&lines, began.elapsed());
    let faults: Vec<String> =
        lines.iter().flat_map(|line| line.verdict.faults.iter().map(|fault| format!("{}: {fault}", line.cell))).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let (requests, deployments) = (table::requests(&lines), table::deployments(&lines));
    assert!(requests >= plan.requests, "{requests} requests are fewer than {}", plan.requests);
    assert!(deployments >= plan.deployments, "{deployments} deployments are fewer than {}", plan.deployments);
}

impl Plan {
    fn from_env() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let full = variable("ROTA_MATRIX").is_some_and(|what| what == "full");
        let only = variable("ROTA_MATRIX_ONLY");
        let mut cells = if full { cells::full() } else { cells::bounded() };
        cells.retain(|cell| only.as_ref().is_none_or(|only| cell.to_string().contains(only.as_str())));
        assert!(!cells.is_empty(), "no cell is named {only:?}");
        let wanted = variable("ROTA_MATRIX_REQUESTS").map(|text| text.parse().expect("ROTA_MATRIX_REQUESTS is a number"));
        let requests: usize = wanted.unwrap_or(if full { 500_000 } else { 0 });
        let small = |name: &str| *ALL.iter().find(|(kind, _)| *kind == name).expect("a kind of that name");
        let more: &[&str] = if full { &["fresh", "kept", "kept", "pipelined", "pipelined", "pipelined", "pipelined"] } else { &[] };
        let kinds = ALL.into_iter().chain(more.iter().map(|name| small(name))).collect();
        let deployments = if full && only.is_none() { 100 } else { cells.len() };
        Self { share: requests.div_ceil(cells.len()), cells, kinds, requests, deployments }
    }
}

/// Rounds of a cell until it has its share of the requests; its panic is its fault, and the others go on.
fn run(cell: &Cell, plan: &Plan, count: &Mutex<Tally>) -> Line {
    let began = Instant::now();
    let (mut deployments, mut statuses) = (0, Vec::new());
    let verdict = catch_unwind(AssertUnwindSafe(|| {
        let mut stage = Stage::set(cell, &plan.kinds);
        loop {
            rows::play(&mut stage);
            (deployments, statuses) = (stage.deployments, stage.statuses.clone());
            if stage.counted() >= plan.share {
                break;
            }
        }
        let kills = stage.kills;
        let (tally, spans, site) = stage.end();
        let verdict = judge(&tally, &spans, &plan.kinds, kills);
        if !verdict.faults.is_empty() {
            eprintln!("{cell}: {}\n{tally}\n── the server's log ──\n{}", verdict.faults.join("; "), site.log());
        }
        count.lock().expect("nothing panics with it").add(tally);
        verdict
    }));
    let verdict = verdict.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        Verdict { faults: vec![words.unwrap_or_else(|| "panicked".to_owned())], ..Verdict::default() }
    });
    eprintln!("{cell}: {} requests, {}", verdict.requests, if verdict.faults.is_empty() { "none lost" } else { "FAILED" });
    Line { cell: *cell, verdict, deployments, statuses, took: began.elapsed() }
}

const WORKERS: usize = 2;
