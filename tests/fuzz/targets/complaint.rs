//! What a process printed before it ended, and the command that it was started by: never a panic, and few names are followed up, each of which
//! stands in what it printed.

use rota::detect::background;
use rota::detect::complaint::{self, Complaint};

pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let stands = |paths: &[String]| paths.iter().all(|path| !path.is_empty() && text.contains(path));
    match complaint::find(&lines) {
        None => {}
        Some(Complaint::Address { ports }) => assert!(ports.len() <= MOST && ports.iter().all(|port| *port >= 80), "{ports:?}"),
        Some(Complaint::Lock { paths, pids }) => assert!(paths.len() <= MOST && pids.len() <= MOST && stands(&paths), "{paths:?} {pids:?}"),
        Some(Complaint::Runs { pids, files }) => assert!(files.len() <= MOST && pids.len() <= MOST && stands(&files), "{files:?} {pids:?}"),
    }
    let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    assert!(!background::advice(&words).is_empty());
    assert!(!background::advice(&["sh".to_owned(), "-c".to_owned(), text.into_owned()]).is_empty());
}

const MOST: usize = 8;
