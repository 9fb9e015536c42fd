//! What is done for apps beside the threads that everything waits for: whatever touches what an app's user could have made, where a disk may be
//! slow, a directory full and a link without end. Each on a thread of its own that ends with it, with that user's rights, within a budget. One
//! that does not come back, of a disk that is gone, is given up: it holds up its own app alone, and no second one of its kind is started for it.

mod empty;
pub mod files;
pub mod folders;
pub mod lookout;
pub mod pace;
pub mod prepare;
pub mod sweep;
pub mod watch;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::config::AppConfig;
use crate::control::server::Ticket;
use crate::credentials::Rights;
use crate::ids::{Generation, GroupId};
use crate::last_word;
use crate::logging;
use crate::pool::Failure;
use crate::records::Record;
use crate::restart::release;
use crate::sys;
use crate::table::Shared;
use crate::upgrade::trial::Able;
use folders::Opened;
use prepare::Prepared;

/// What came of an errand that the restart thread waits for.
#[derive(Debug)]
pub enum Answer {
    Prepared(GroupId, Generation, Result<Box<Prepared>, Failure>),
    Opened(GroupId, Opened),
    /// A record is on the disk, as it was when this was asked for, or why it is not ([`crate::record_writer`]).
    Saved(GroupId, u64, Result<(), String>),
    /// The program that is to take over was tried.
    Tried(Ticket, Result<Box<Able>, String>),
    /// What was known of an app before, which could not be read until now.
    Found(GroupId, Box<Record>),
}

/// Tells the restart thread.
pub fn answer(shared: &Shared, answer: Answer) {
    shared.table.lock().answers.push_back(answer);
    shared.table.notify();
}

/// A thread for an errand that opens nothing for others, which tells by itself what came of it: it keeps nothing of rota open when it does not
/// come back.
fn thread_apart(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread(name, || {
        sys::table_of_its_own();
        work();
    })
}

/// Does a part of an errand that opens nothing for others. Err: it panicked, or there was no thread for it.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    std::thread::scope(|scope| {
        let work = || {
            sys::table_of_its_own();
            work()
        };
        let thread = std::thread::Builder::new().name(name).stack_size(STACK).spawn_scoped(scope, work);
        thread.map_err(|error| format!("a thread: {error}"))?.join().map_err(|panic| logging::panic_text(&*panic))
    })
}

/// A thread for an errand, which tells by itself what came of it.
fn thread(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    last_word::refusal(&name)?;
    let thread = std::thread::Builder::new().name(name).stack_size(STACK);
    let aside = || {
        Rights::Errand.keep_or_warn();
        // Others have the processor first. Of this thread alone (setpriority(2)), for as long as it lives.
        let _ = rustix::process::setpriority_process(None, sys::own_nice().max(NICE));
        work();
    };
    thread.spawn(aside).map(drop)
}

/// The user of an app, who may still have to be made. It is looked up by each walk, too, which says what is wrong. None: the app has another
/// user meanwhile, or is gone.
fn user_of(shared: &Shared, group: GroupId, app: &AppConfig) -> Option<Option<release::Identity>> {
    loop {
        match release::user(&app.start) {
            Ok(user) => return Some(user),
            Err(_) if !is_for(shared, group, app) || shared.table.lock().finished => return None,
            Err(_) => std::thread::sleep(lookout::UNKNOWN),
        }
    }
}

/// The app is served, by the same user as when it was like this.
fn is_for(shared: &Shared, group: GroupId, app: &AppConfig) -> bool {
    let catalog = shared.catalog();
    let of = |app: &AppConfig| (app.start.user.clone(), app.start.group.clone());
    catalog.apps().any(|(served, current)| served == group && of(current) == of(app))
}

/// Err: it panicked.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| logging::panic_text(&*panic))
}

/// What reads a user's name may ask much of it (NSS).
const STACK: usize = 512 * 1024;
const NICE: i32 = 10;
