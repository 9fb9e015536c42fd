//! A record on the disk, whole, cut, altered: never a panic, what is taken can be gone on with, and what is written of it is bounded and read again.

use std::path::Path;

use rota::ids::Generation;
use rota::pool::Aim;
use rota::printable::is_harmless;
use rota::records::Record;
use rota::records::read::{Unread, read};

pub fn check(bytes: &[u8]) {
    let record = match read(bytes) {
        Ok(record) => record,
        Err(Unread::NotUnderstood(why)) => return assert!(!why.is_empty() && why.chars().all(is_harmless), "{why:?}"),
        Err(Unread::Io(error)) => panic!("{error}: nothing is read from a disk"),
    };
    let root = record.root.clone();
    goes_on(record.clone().of_root(&root));
    goes_on(record.of_root(Path::new("/srv/another")));
}

/// As a start of rota, a deployment and its way back do.
fn goes_on(mut record: Record) {
    is_written(&record);
    let next = record.generation.next();
    let new = Path::new("/srv/new");
    for aim in [Aim::Root, Aim::Deploy(new.into()), Aim::Rollback(new.into())] {
        record.directory(&aim, true, new, |path| path.as_os_str().len() % 2 == 0);
    }
    record.begin(next, new);
    record.accept(new, &Aim::Root, Some(new));
    assert_eq!((record.generation, record.good.as_deref(), record.is_new(new)), (next, Some(new), false));
    assert!(record.earlier.len() <= 21 && !record.earlier.iter().any(|earlier| earlier == new));
    if let Some(last) = record.history.back().cloned() {
        record.note(rota::records::Entry { generation: next, ..last });
        assert!(record.history.back().is_none_or(|last| last.generation <= next));
    }
    assert!(record.generation < Generation(u32::MAX));
    is_written(&record);
}

fn is_written(record: &Record) {
    let written = serde_json::to_vec_pretty(record).expect("it is text");
    assert!(written.len() <= 1200 * 1024, "{} bytes", written.len());
    // A fraction may be read as the one beside it.
    let whole = |mut record: Record| {
        record.history.iter_mut().for_each(|entry| entry.seconds = 0.0);
        record
    };
    assert_eq!(whole(read(&*written).expect("as it was written")), whole(record.clone()));
}
