//! The table at the end: plain text, one line per cell, and the sums.

use std::time::Duration;

use super::cells::Cell;
use super::judge::Verdict;

/// What is known of a cell that has run; a cell that panicked has less.
#[derive(Debug)]
pub struct Line {
    pub cell: Cell,
    pub verdict: Verdict,
    pub deployments: usize,
    pub statuses: Vec<i32>,
    pub took: Duration,
}

pub fn print(lines: &[Line], took: Duration) {
    let (failed, declared) = (sum(lines, |line| line.verdict.failed), sum(lines, |line| line.verdict.declared));
    println!(
        "\n{:<38} {:>5} {:<5} {:<8} {:>9} {:>7} {:>8} {:>11} {:<18} {:>7}",
        "row", "procs", "bind", "policy", "requests", "failed", "declared", "deployments", "exit status", "seconds"
    );
    for line in lines {
        let Cell { row, processes, bind, on_failure } = line.cell;
        let Verdict { requests, failed, declared, faults } = &line.verdict;
        let (deployments, statuses, seconds) = (line.deployments, words(&line.statuses), line.took.as_secs_f64());
        println!(
            "{row:<38} {processes:>5} {bind:<5} {on_failure:<8} {requests:>9} {failed:>7} {declared:>8} {deployments:>11} \
             {statuses:<18} {seconds:>7.1}{}",
            if faults.is_empty() { "" } else { "  FAILED" }
        );
    }
    let (requests, deployments) = (requests(lines), deployments(lines));
    let name = format!("{} cells", lines.len());
    println!("{name:<38} {:>30} {failed:>7} {declared:>8} {deployments:>11} {:<18} {:>7.1}\n", requests, "", took.as_secs_f64());
}

pub fn requests(lines: &[Line]) -> usize {
    sum(lines, |line| line.verdict.requests)
}

pub fn deployments(lines: &[Line]) -> usize {
    sum(lines, |line| line.deployments)
}

fn sum(lines: &[Line], number: impl Fn(&Line) -> usize) -> usize {
    lines.iter().map(number).sum()
}

/// `6 0 6 0` is `0x2 6x2`.
fn words(statuses: &[i32]) -> String {
    let mut kinds = statuses.to_vec();
    kinds.sort();
    kinds.dedup();
    let count = |status: &i32| statuses.iter().filter(|other| *other == status).count();
    let words: Vec<String> = kinds.iter().map(|status| format!("{status}x{}", count(status))).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn statuses_are_counted() {
        assert_eq!(super::words(&[6, 0, 6, 0, 4]), "0x2 4x1 6x2");
    }
}
