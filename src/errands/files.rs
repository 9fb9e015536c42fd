//! Opens and reads an app's files for its visitors while the app has no process whose thread could do that, with the rights of its user. The
//! connections come from the master and go back there with what came of it ([`static_files::run_errand`]).

use std::io;
use std::sync::Arc;

use crate::conn::Conn;
use crate::conn::static_files;
use crate::ids::GroupId;
use crate::safe_open;
use crate::table::{Shared, ToMaster};

/// Starts it. It ends when nothing waits any more. On the restart thread.
pub fn start(shared: &Arc<Shared>, group: GroupId) {
    let own = shared.clone();
    let started = super::thread(format!("{}: files", shared.app(group).name), move || {
        let user = own.table.lock().folders.get(group.index()).and_then(|folders| folders.user.clone());
        let work = || {
            serve(&own, group);
            Ok(())
        };
        if let Err(error) = safe_open::as_app(user.as_ref(), work) {
            give_up(&own, group, &error);
        }
    });
    if let Err(error) = started {
        give_up(shared, group, &error);
    }
}

fn serve(shared: &Shared, group: GroupId) {
    loop {
        let mut state = shared.table.lock();
        let waiting = state.file_errands.get_mut(&group).map(|errands| std::mem::take(&mut errands.waiting)).unwrap_or_default();
        if waiting.is_empty() {
            state.file_errands.remove(&group);
            return;
        }
        let folders = state.folders.get(group.index()).cloned().unwrap_or_default();
        drop(state);
        for mut conn in waiting {
            static_files::run_errand(&mut conn, &folders);
            give_back(shared, conn);
        }
    }
}

/// Their requests are the app's; what was begun is cut.
fn give_up(shared: &Shared, group: GroupId, error: &io::Error) {
    log::error!("{}: its files are left to the app: {error}", shared.app(group).name);
    let waiting = shared.table.lock().file_errands.remove(&group).map(|errands| errands.waiting).unwrap_or_default();
    for mut conn in waiting.into_iter().filter(|conn| conn.file.is_none()) {
        conn.errand = None;
        conn.looked = Some(static_files::Looked::Nothing);
        give_back(shared, conn);
    }
}

fn give_back(shared: &Shared, conn: Box<Conn>) {
    // A master that is gone takes the server with it.
    if let Ok(wake) = shared.master.send(ToMaster::Conn(conn)) {
        wake.wake();
    }
}
