//! `passenger-memory-stats`: what rota and the processes of its apps take. Of nginx and Apache, which that command lists too, rota knows nothing.

use std::fs;

use super::{Ends, Place, Words};
use crate::cli::table::harmless;

pub fn run(mut words: Words) -> Result<String, Ends> {
    let mut place = Place::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--no-apache" | "--no-nginx" => {}
            "--help" | "-h" => return Err(Ends::Said(format!("{USAGE}\n"))),
            option => place.take(option, &mut words, USAGE)?,
        }
    }
    let mut rows = Vec::new();
    if let Some(status) = place.status()? {
        rows.push(row(status.pid, None, format!("rota {}", status.version)));
        for app in &status.apps {
            for process in &app.processes {
                let name = format!("{}/{}: {}", app.app, process.number, app.command.as_deref().unwrap_or("?"));
                rows.extend(process.pid.map(|pid| row(pid, process.memory, harmless(&name))));
            }
        }
    }
    Ok(page(&rows))
}

struct Row {
    pid: u32,
    /// Bytes.
    virtually: Option<u64>,
    private: Option<u64>,
    name: String,
}

/// `share`: with its children, as the server says it, where its own may not be read.
fn row(pid: u32, share: Option<u64>, name: String) -> Row {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let private = sum(&read("smaps_rollup"), &["Private_Clean:", "Private_Dirty:", "Swap:"]).or(share);
    Row { pid, virtually: sum(&read("status"), &["VmSize:"]), private, name }
}

/// Of the lines that begin so, in bytes (proc(5)). None: there is none.
fn sum(text: &str, fields: &[&str]) -> Option<u64> {
    let kib = |line: &str| fields.iter().find_map(|field| line.strip_prefix(field))?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok();
    let found: Vec<u64> = text.lines().filter_map(kib).collect();
    (!found.is_empty()).then(|| found.iter().sum::<u64>() << 10)
}

fn page(rows: &[Row]) -> String {
    let mib = |bytes: Option<u64>| bytes.map_or_else(|| "?".to_owned(), |bytes| format!("{:.1} MB", bytes as f64 / f64::from(1 << 20)));
    let mut text = "------- Passenger processes -------\n".to_owned();
    text += &format!("{:<8} {:<10} {:<10} Name\n", "PID", "VMSize", "Private");
    for Row { pid, virtually, private, name } in rows {
        text += &format!("{pid:<8} {:<10} {:<10} {name}\n", mib(*virtually), mib(*private));
    }
    let all: u64 = rows.iter().filter_map(|row| row.private).sum();
    text + &format!("### Processes: {}\n### Total private dirty RSS: {:.2} MB\n", rows.len(), all as f64 / f64::from(1 << 20))
}

const USAGE: &str = "usage: passenger-memory-stats [--config FILE] [--socket PATH]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_takes_is_added_up() {
        let rollup = "Rss:  10 kB\nPrivate_Clean:  1024 kB\nPrivate_Dirty:  2048 kB\nSwap: 0 kB\nSwapPss: 5 kB\n";
        assert_eq!(sum(rollup, &["Private_Clean:", "Private_Dirty:", "Swap:"]), Some(3 << 20));
        assert_eq!(sum("", &["Swap:"]), None);
        let rows = [
            Row { pid: 7, virtually: Some(5 << 20), private: Some(3 << 20), name: "rota".into() },
            Row { pid: 8, virtually: None, private: None, name: "x".into() },
        ];
        assert_eq!(
            page(&rows),
            "------- Passenger processes -------\nPID      VMSize     Private    Name\n7        5.0 MB     3.0 MB     rota\n\
             8        ?          ?          x\n### Processes: 2\n### Total private dirty RSS: 3.00 MB\n"
        );
    }
}
