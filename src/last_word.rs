//! A thread of rota's that ends although nobody had told it to takes the server with it, and says so: a server that has lost one looks alive and
//! repairs, restarts or logs nothing any more. Its supervisor starts it anew; the apps end with it (`restart::keeper`).
//!
//! A panic while a client's bytes are read costs its connection, one of an I/O thread its process; both are caught where they can be mended.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::logging::panic_text;
use crate::signals;

/// Starts a thread that rota cannot do without. `work` says whether its end was meant.
pub fn start(name: &'static str, stack: usize, work: impl FnOnce() -> bool + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).stack_size(stack).spawn(move || watch_over(name, work))
}

/// Does the work of the thread at hand, as [`start`] would.
pub fn watch_over(name: &str, work: impl FnOnce() -> bool) {
    // Signals are for one thread, which waits for nothing else.
    if name != HEARS {
        let _ = signals::leave_to_others();
    }
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(true) => {}
        Ok(false) => fatal(&format!("the thread {name} ended although nobody had told it to")),
        Err(panic) => fatal(&format!("the thread {name} panicked: {}", panic_text(&*panic))),
    }
}

/// The thread that hears signals.
pub const HEARS: &str = "rota-porter";

/// A clear last word. Nothing of rota can go on; its processes end with it.
pub fn fatal(why: &str) -> ! {
    let word = format!("{why}; rota ends, so that its supervisor starts it anew");
    // Whoever panicked in the logger has left it unusable.
    if catch_unwind(|| log::error!("{word}")).is_err() {
        eprintln!("rota: {word}");
    }
    std::process::abort()
}

/// Where a test may have a thread not started: `refuse NAME`, as [`fault`].
pub fn refusal(name: &str) -> io::Result<()> {
    let is_refused =
        file().is_some_and(|file| std::fs::read_to_string(file).is_ok_and(|asked| asked.strip_prefix("refuse ") == Some(name)));
    if is_refused { Err(io::Error::other("asked for by a test")) } else { Ok(()) }
}

fn file() -> Option<&'static PathBuf> {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    FILE.get_or_init(|| std::env::var_os("ROTA_FAULT_PANIC").map(PathBuf::from)).as_ref()
}

/// Where a test may end a thread, or stop it: ROTA_FAULT_PANIC names a file, in which stands `NAME` or `hang NAME`.
pub fn fault(name: &str) {
    let Some(file) = file() else { return };
    let asked = || std::fs::read_to_string(file).unwrap_or_default();
    assert!(asked() != name, "asked for by a test");
    while asked().strip_prefix("hang ") == Some(name) {
        std::thread::sleep(Duration::from_millis(10));
    }
}
