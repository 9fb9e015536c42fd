//! What a process that did not start complains about, as far as it is something that another process has: an address, a lock, a pid file. Pure:
//! its last lines in, names and numbers out. Who has it is looked up by [`crate::obstacle`], and nothing is said where nobody is found.

/// The names and numbers that the lines give, the last said first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// Something else listens there.
    Address { ports: Vec<u16> },
    /// Something else has locked it. `pids`: who, if the lines say that.
    Lock { paths: Vec<String>, pids: Vec<u32> },
    /// One of it runs already. `files`: its pid file, where the lines name one, as they do.
    Runs { pids: Vec<u32>, files: Vec<String> },
}

/// `output`: oldest first.
pub fn find(output: &[String]) -> Option<Complaint> {
    let recent = || output.iter().rev().take(LINES);
    let lower: Vec<String> = recent().map(|line| line.to_ascii_lowercase()).collect();
    let any = |is: fn(&str) -> bool| lower.iter().any(|line| is(line));
    if any(is_address) {
        // The number may stand in a line of its own (`port: 9394`).
        let of_said = lower.iter().filter(|line| is_address(line)).flat_map(|line| ports(line));
        let mut ports: Vec<u16> = of_said.chain(lower.iter().flat_map(|line| ports(line))).collect();
        keep_first(&mut ports);
        return Some(Complaint::Address { ports });
    }
    if any(is_running) {
        let numbers = |line: &String| ["pid", "process id"].map(|word| numbers_behind(line, word));
        let mut pids: Vec<u32> = lower.iter().filter(|line| is_running(line)).flat_map(numbers).flatten().collect();
        let mut files: Vec<String> =
            recent().filter(|line| is_running(&line.to_ascii_lowercase())).flat_map(|line| pid_files(line)).collect();
        keep_first(&mut pids);
        keep_first(&mut files);
        return Some(Complaint::Runs { pids, files });
    }
    if any(is_lock) {
        let said = || recent().filter(|line| is_lock(&line.to_ascii_lowercase()));
        let mut paths: Vec<String> = said().flat_map(|line| paths(line)).collect();
        let mut pids: Vec<u32> = said().flat_map(|line| numbers_behind(&line.to_ascii_lowercase(), "pid")).collect();
        keep_first(&mut paths);
        keep_first(&mut pids);
        return Some(Complaint::Lock { paths, pids });
    }
    None
}

/// In the words of libc, node, Python, Ruby, Go, Java, .NET, PHP, gunicorn, Spring, Flask; `line` in lower case.
fn is_address(line: &str) -> bool {
    const SAID: [&str; 8] = [
        "address already in use",
        "eaddrinuse",
        "addrinuse",
        "errno 98]",
        "bindexception",
        "connection in use:",
        "is in use by another program",
        "address in use",
    ];
    SAID.iter().any(|said| line.contains(said)) || (line.contains("port ") && line.contains("already in use"))
}

/// SQLite, DuckDB, LevelDB, RocksDB, H2, flock(2) and lockf(3), whatever calls itself a lock.
fn is_lock(line: &str) -> bool {
    const SAID: [&str; 3] = ["resource temporarily unavailable", "may be already in use", "would block"];
    let is_word = |word: &str| matches!(word, "lock" | "locked" | "locks" | "lockfile" | "locking");
    SAID.iter().any(|said| line.contains(said))
        || line.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))).any(is_word)
        || paths(line).iter().any(|path| path.ends_with("/lock") || path.ends_with(".lock"))
}

/// Rails, unicorn, gunicorn, thin.
fn is_running(line: &str) -> bool {
    line.contains("already running")
}

/// Behind a colon, `port` or the comma of a pair: `127.0.0.1:9394`, `port 9394`, `('127.0.0.1', 9394)`.
fn ports(line: &str) -> Vec<u16> {
    let mut found = Vec::new();
    let bytes = line.as_bytes();
    let mut at = 0;
    while let Some(from) = (at..bytes.len()).find(|at| bytes[*at].is_ascii_digit()) {
        let to = (from..bytes.len()).find(|at| !bytes[*at].is_ascii_digit()).unwrap_or(bytes.len());
        at = to;
        let before = line[..from].trim_end_matches([' ', '"', '\'']);
        let is_named = before.ends_with(':') && from > 0 && bytes[from - 1] == b':'
            || before.ends_with("port")
            || before.trim_end_matches([':', '=']).trim_end().ends_with("port")
            || before.ends_with("',");
        // No time of day, no line of a file.
        let goes_on = bytes.get(to).is_some_and(|byte| matches!(byte, b':' | b'.') && bytes.get(to + 1).is_some_and(u8::is_ascii_digit));
        if is_named && !goes_on {
            found.extend(line[from..to].parse::<u16>().ok().filter(|port| *port >= LEAST_PORT));
        }
    }
    found
}

/// `pid 123`, `PID: 123`, `(PID 123)`, `pid=123`
fn numbers_behind(line: &str, word: &str) -> Vec<u32> {
    let number = |rest: &str| {
        let rest = rest.trim_start_matches([' ', ':', '=', '(']);
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok().filter(|pid| *pid > 1)
    };
    line.match_indices(word).filter_map(|(at, _)| number(&line[at + word.len()..])).collect()
}

/// Absolute paths.
fn paths(line: &str) -> Vec<String> {
    let words = line.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '(' | ')' | ',' | ';'));
    let path = |word: &str| {
        let word = word.trim_start_matches("file:").trim_end_matches([':', '.']);
        (word.starts_with('/') && word.len() > 1).then(|| word.to_owned())
    };
    words.filter_map(path).collect()
}

/// `/srv/app/tmp/pids/server.pid`, `tmp/pids/server.pid`
fn pid_files(line: &str) -> Vec<String> {
    let words = line.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '(' | ')' | ',' | ';' | '='));
    words.map(|word| word.trim_end_matches([':', '.'])).filter(|word| word.ends_with(".pid")).map(str::to_owned).collect()
}

/// Each once, in their order, the first few.
fn keep_first<T: PartialEq>(all: &mut Vec<T>) {
    let mut kept: Vec<T> = Vec::new();
    for one in all.drain(..) {
        if kept.len() < MOST && !kept.contains(&one) {
            kept.push(one);
        }
    }
    *all = kept;
}

/// Looked at: a traceback of the usual length.
const LINES: usize = 40;
/// Smaller numbers behind a colon are minutes, seconds and columns.
const LEAST_PORT: u16 = 80;
/// Names or numbers that are followed up.
const MOST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Complaint> {
        find(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_port_that_is_taken_is_found_in_the_words_of_each_language() {
        for text in [
            "Error: listen EADDRINUSE: address already in use :::9394\n    at Server.setupListenHandle [as _listen2] (node:net:1463:16)",
            "  code: 'EADDRINUSE',\n  errno: -98,\n  syscall: 'listen',\n  address: '127.0.0.1',\n  port: 9394\n}",
            "OSError: [Errno 98] error while attempting to bind on address ('127.0.0.1', 9394): address already in use",
            "[2026-11-30 02:33:11 +0000] [7] [ERROR] Connection in use: ('127.0.0.1', 9394)",
            "Address already in use\nPort 9394 is in use by another program. Either identify and stop that program",
            "Address already in use - bind(2) for \"127.0.0.1\" port 9394 (Errno::EADDRINUSE)",
            "2026/11/30 02:33:11 listen tcp 127.0.0.1:9394: bind: address already in use",
            "Web server failed to start. Port 9394 was already in use.",
            "Failed to bind to address http://127.0.0.1:9394: address already in use.",
            "Failed to listen on 127.0.0.1:9394 (reason: Address already in use)",
            "metrics on port 9394\nError: Os { code: 98, kind: AddrInUse, message: \"Address already in use\" }",
        ] {
            let Some(Complaint::Address { ports }) = of(text) else { panic!("{text}") };
            assert_eq!(ports.first(), Some(&9394), "{text}");
        }
        assert_eq!(of("java.net.BindException: Address already in use"), Some(Complaint::Address { ports: vec![] }));
    }

    #[test]
    fn a_lock_is_found_with_its_file_and_its_holder() {
        let lock = |paths: &[&str], pids: &[u32]| {
            Some(Complaint::Lock { paths: paths.iter().map(|path| (*path).to_owned()).collect(), pids: pids.to_vec() })
        };
        assert_eq!(of("sqlite3.OperationalError: database is locked"), lock(&[], &[]));
        assert_eq!(of("IO error: lock /srv/db/LOCK: Resource temporarily unavailable"), lock(&["/srv/db/LOCK"], &[]));
        let duck = "IO Error: Could not set lock on file \"/srv/a.db\": Conflicting lock is held in /usr/bin/python3 (PID 4711)";
        assert_eq!(of(duck), lock(&["/srv/a.db", "/usr/bin/python3"], &[4711]));
        assert_eq!(of("BlockingIOError: [Errno 11] Resource temporarily unavailable"), lock(&[], &[]));
        assert_eq!(of("Database may be already in use: \"/srv/h2.mv.db\""), lock(&["/srv/h2.mv.db"], &[]));
    }

    #[test]
    fn one_that_runs_already_is_found_by_its_pid() {
        let rails = "A server is already running (pid: 4711, file: /srv/app/tmp/pids/server.pid).\nExiting";
        let runs = |pids: &[u32], file: &str| Some(Complaint::Runs { pids: pids.to_vec(), files: vec![file.to_owned()] });
        assert_eq!(of(rails), runs(&[4711], "/srv/app/tmp/pids/server.pid"));
        let older = "=> Booting Puma\nA server is already running. Check /srv/app/tmp/pids/server.pid.\nExiting";
        assert_eq!(of(older), runs(&[], "/srv/app/tmp/pids/server.pid"));
        assert_eq!(of("A server is already running. Check tmp/pids/server.pid."), runs(&[], "tmp/pids/server.pid"));
        let unicorn = "Already running on PID:4711 (or pid=/srv/app/unicorn.pid is stale) (ArgumentError)";
        assert_eq!(of(unicorn), runs(&[4711], "/srv/app/unicorn.pid"));
        let gunicorn = "RuntimeError: Already running on PID 4711 (or pid file '/run/blog.pid' is stale)";
        assert_eq!(of(gunicorn), runs(&[4711], "/run/blog.pid"));
        let thin =
            "/srv/thin.pid already exists, seems like it's already running (process ID: 4711). Stop the process or delete /srv/thin.pid.";
        assert_eq!(of(thin), runs(&[4711], "/srv/thin.pid"));
    }

    #[test]
    fn other_troubles_are_no_complaint() {
        for text in ["ModuleNotFoundError: No module named 'x'", "Gemfile.lock is newer", "a block of 7 at 12:30:11", ""] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
