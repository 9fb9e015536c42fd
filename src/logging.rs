//! The log: one line per change of state, to standard error. Under systemd each line carries its priority (sd-daemon(3)) and no time, which the
//! journal adds; elsewhere a time and a level.

use std::io::Write;

use log::{Level, LevelFilter};

/// Starts the log. RUST_LOG (`debug`, `rota=debug`) overrides the level.
pub fn start(level: LevelFilter) {
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level).parse_default_env();
    if journal {
        builder.format(|out, record| {
            let priority = match record.level() {
                Level::Error => 3,
                Level::Warn => 4,
                Level::Info => 6,
                Level::Debug | Level::Trace => 7,
            };
            writeln!(out, "<{priority}>{}", record.args())
        });
    } else {
        builder.format(|out, record| {
            let (time, level) = (out.timestamp_millis(), record.level());
            let style = out.default_level_style(level);
            writeln!(out, "{time} {style}{level:<5}{style:#} {}", record.args())
        });
    }
    // A second start (tests in one process) keeps the first.
    let _ = builder.try_init();
}
