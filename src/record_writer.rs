//! Has the state directory: takes it, reads what is known of the apps, and puts their records on the disk, one after another, on a thread that
//! nobody waits for: what has to be written before something else is done waits for its answer, and other apps do not (`restart::saving`).
//!
//! The directory may be missing, read-only, another one or away at any moment. It is looked for at each try, and nothing is put in the place of a
//! record that was not read: one that is found out late is told to the restart thread, which writes down both.

mod directory;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::config::{AppConfig, ServerConfig};
use crate::credentials::Rights;
use crate::errands::{self, Answer};
use crate::ids::{AppName, GroupId};
use crate::last_word;
use crate::records::Record;
use crate::seccomp;
use crate::table::{Shared, State};
use directory::{Directory, NotDone};

/// What there is to do for the thread: of each app one record at most, as it is when its turn comes.
#[derive(Debug, Default)]
pub struct Todo {
    wishes: VecDeque<Wish>,
    /// The directory may be another one.
    look: bool,
    /// The directory has not answered yet since the server has started: nobody waits for it.
    pub hangs: bool,
    ends: bool,
}

/// A record is to be written.
#[derive(Clone, Copy, Debug)]
struct Wish {
    group: GroupId,
    /// Which wish of its app that is.
    serial: u64,
    /// What was found out late is in it.
    is_joined: bool,
}

impl Todo {
    /// Asks for an app's record, in the place of what was asked for before.
    pub fn write(&mut self, group: GroupId, serial: u64, is_joined: bool) {
        match self.wishes.iter_mut().find(|wish| wish.group == group) {
            Some(wish) => *wish = Wish { group, serial, is_joined: wish.is_joined || is_joined },
            None => self.wishes.push_back(Wish { group, serial, is_joined }),
        }
    }

    /// Asks to look whether the directory is still there.
    pub fn look(&mut self) {
        self.look = true;
    }
}

/// Wakes the thread when there is something in [`Todo`].
#[derive(Clone, Debug)]
pub struct Bell(Sender<()>);

impl Bell {
    pub fn ring(&self) {
        // One that was not heard yet is enough.
        let _ = self.0.try_send(());
    }
}

/// The thread, for whoever starts and ends the server.
#[derive(Debug)]
pub struct RecordWriter {
    bell: Bell,
    first: Receiver<First>,
    serves: Option<Sender<Arc<Shared>>>,
    served: Option<Arc<Shared>>,
    is_late: bool,
    /// Disconnected when it has ended.
    ended: Receiver<()>,
}

/// Of each app what was known, or the sentence for which there is no server here.
type First = Result<Vec<Option<Record>>, String>;

impl RecordWriter {
    /// Starts the thread. `groups`: of the apps' users.
    pub fn start(server: &ServerConfig, apps: &[AppConfig], groups: Vec<u32>) -> io::Result<Self> {
        let (bell, rung) = bounded(1);
        let (tell_first, first) = bounded(1);
        let (serves, begin) = bounded::<Arc<Shared>>(1);
        let (end, ended) = bounded(0);
        let mut directory = Directory::new(server.state_dir.clone(), groups);
        let names: Vec<AppName> = apps.iter().map(|app| app.name.clone()).collect();
        last_word::start(NAME, STACK, move || {
            Rights::None.keep_or_warn();
            seccomp::restrict();
            last_word::fault(NAME);
            let first = directory.first(&names);
            let is_late = tell_first.send(first).err();
            // Without a server there is nothing to write.
            if let Ok(shared) = begin.recv() {
                shared.table.lock().to_write.hangs = false;
                let late = is_late.and_then(|first| first.0.ok()).unwrap_or_default();
                let late = late.into_iter().enumerate().filter_map(|(index, record)| Some((GroupId(index as u16), record?)));
                late.for_each(|(group, record)| directory.tell(&shared, group, record));
                work(&shared, &mut directory, &rung);
            }
            drop((directory, end));
            true
        })?;
        Ok(Self { bell: Bell(bell), first, serves: Some(serves), served: None, is_late: false, ended })
    }

    /// What was known of each app. A disk that does not answer is not waited for: what it knows is joined later. Err: another server has the
    /// directory.
    pub fn known(&mut self, apps: usize) -> First {
        let first = self.first.recv_timeout(FIRST);
        // What comes from now on has to find out that nobody waits.
        self.first = crossbeam_channel::never();
        self.is_late = first.is_err();
        first.unwrap_or_else(|_| {
            log::error!("server.state_dir has not answered after {FIRST:?}: the apps start from their roots; {}", directory::LATER);
            Ok(vec![None; apps])
        })
    }

    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// From now on it writes.
    pub fn serve(&mut self, shared: &Arc<Shared>) {
        self.served = Some(shared.clone());
        shared.table.lock().to_write.hangs = self.is_late;
        if let Some(serves) = self.serves.take() {
            let _ = serves.send(shared.clone());
        }
    }
}

impl Drop for RecordWriter {
    /// Gives the directory back. One that does not answer is not waited for.
    fn drop(&mut self) {
        self.serves = None;
        self.first = crossbeam_channel::never();
        if let Some(shared) = &self.served {
            shared.table.lock().to_write.ends = true;
            self.bell.ring();
        }
        if self.ended.recv_timeout(END) == Err(RecvTimeoutError::Timeout) {
            log::warn!("server.state_dir does not answer; rota ends without waiting for it");
        }
    }
}

fn work(shared: &Shared, directory: &mut Directory, rung: &Receiver<()>) {
    while rung.recv().is_ok() {
        loop {
            last_word::fault(NAME);
            let (looks, wish, ends) = next(&mut shared.table.lock());
            if looks && directory.is_away() {
                write_all_anew(shared);
            }
            match wish {
                Some((wish, record)) => write(shared, directory, wish, &record),
                None if ends => return,
                None if !looks => break,
                None => {}
            }
        }
    }
}

fn next(state: &mut State) -> (bool, Option<(Wish, Arc<Record>)>, bool) {
    let State { to_write, records, .. } = state;
    let wish = to_write.wishes.pop_front().map(|wish| (wish, records[wish.group.index()].clone()));
    (std::mem::take(&mut to_write.look), wish, to_write.ends)
}

fn write(shared: &Shared, directory: &mut Directory, wish: Wish, record: &Record) {
    let Wish { group, serial, is_joined } = wish;
    let saved = match directory.save(group, &shared.app(group).name, record, is_joined) {
        Ok(()) => Ok(()),
        Err(NotDone::Because(why)) => Err(why),
        // It is asked for anew, with that.
        Err(NotDone::Found(before)) => return directory.tell(shared, group, *before),
        Err(NotDone::NotJoined) => return,
    };
    errands::answer(shared, Answer::Saved(group, serial, saved));
}

/// The directory was removed, or another was put in its place.
fn write_all_anew(shared: &Shared) {
    let catalog = shared.catalog();
    let why = format!("server.state_dir {} is not the one that it was", catalog.server.state_dir.display());
    log::warn!("{why}; what is known of the apps is written into what is there");
    let now = std::time::Instant::now();
    let mut state = shared.table.lock();
    for (group, _) in catalog.apps() {
        state.not_written.entry(group).or_insert_with(|| (why.clone(), now)).1 = now;
    }
    drop(state);
    shared.table.notify();
}

const NAME: &str = "rota-records";
const STACK: usize = 256 * 1024;
/// A disk that has to spin up first is waited for.
const FIRST: Duration = Duration::from_secs(10);
/// The end of the server, when all is written.
const END: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_app_there_is_one_to_write_the_newest_and_they_take_turns() {
        let mut todo = Todo::default();
        for serial in 1..=1000 {
            todo.write(GroupId(0), serial, serial == 7);
            todo.write(GroupId(1), serial, false);
        }
        let wishes: Vec<_> = todo.wishes.iter().map(|wish| (wish.group, wish.serial, wish.is_joined)).collect();
        assert_eq!(wishes, [(GroupId(0), 1000, true), (GroupId(1), 1000, false)]);
        todo.wishes.pop_front();
        todo.write(GroupId(0), 1001, false);
        assert_eq!(todo.wishes[0].group, GroupId(1));
    }
}
