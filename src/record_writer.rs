//! Puts the records of apps on the disk, one after another, on a thread that nobody waits for: what has to be written before something else is
//! done waits for its answer, and other apps do not (`restart::saving`).

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use crate::credentials::Rights;
use crate::errands::{self, Answer};
use crate::ids::GroupId;
use crate::last_word;
use crate::records::Record;
use crate::records::disk::Store;
use crate::seccomp;
use crate::table::Shared;

/// A record as it is to be written, and which wish of its app that is.
#[derive(Debug)]
pub struct Wish {
    pub group: GroupId,
    pub serial: u64,
    pub record: Arc<Record>,
}

/// Starts the thread. It ends with its last sender.
pub fn start(shared: Arc<Shared>, store: Store) -> io::Result<Sender<Wish>> {
    let (wishes, todo) = crossbeam_channel::unbounded();
    last_word::start(NAME, STACK, move || {
        Rights::None.keep_or_warn();
        seccomp::restrict();
        write(&shared, &store, &todo);
        true
    })?;
    Ok(wishes)
}

fn write(shared: &Shared, store: &Store, todo: &Receiver<Wish>) {
    let mut waiting: HashMap<GroupId, Wish> = HashMap::new();
    while let Ok(first) = todo.recv() {
        last_word::fault(NAME);
        // Of several for one app the last one says it all.
        for wish in std::iter::once(first).chain(todo.try_iter()) {
            waiting.insert(wish.group, wish);
        }
        for (group, Wish { serial, record, .. }) in waiting.drain() {
            let saved = store.save(&shared.app(group).name, &record);
            errands::answer(shared, Answer::Saved(group, serial, saved));
        }
    }
}

const NAME: &str = "rota-records";
const STACK: usize = 256 * 1024;
