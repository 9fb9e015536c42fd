//! Who may operate which app besides root and rota's own user (`operators` of an app), as numbers: looked up when the configuration is read. And
//! who a peer of the control socket is: looked up (NSS) when it asks, on a thread of its own, as whatever answers that may take its time.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Group, Uid, User};

use crate::config::{AppConfig, OperatorName};
use crate::control::server::Ticket;
use crate::ids::AppName;
use crate::last_word;
use crate::restart::release::Identity;
use crate::table::{Shared, ToMaster};

/// Of all apps. What cannot be looked up is nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operators {
    apps: Vec<(AppName, OfApp)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OfApp {
    users: Vec<u32>,
    groups: Vec<u32>,
    is_root: bool,
}

/// Somebody at the control socket, as the system knows him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// `deploy`; `uid 4711` of a user without a name.
    pub name: String,
    pub uid: u32,
    /// The first one and the supplementary ones.
    pub groups: Vec<u32>,
}

/// What somebody may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// He may see everything (`server.control_group`).
    pub looks: bool,
    pub apps: Vec<OperatedApp>,
}

/// An app that somebody may operate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatedApp {
    pub name: AppName,
    /// It runs as root: whoever chose its directory would be root.
    pub is_root: bool,
}

impl Operators {
    /// Asks NSS.
    pub fn look_up<'a>(apps: impl Iterator<Item = &'a AppConfig>) -> Self {
        let of_app = |app: &AppConfig| {
            let user = |name: &str| User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
            let group = |name: &str| Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
            let mut found = OfApp { is_root: app.start.user.as_deref().and_then(user) == Some(0), ..OfApp::default() };
            for operator in &app.operators {
                match operator {
                    OperatorName::User(name) => found.users.extend(user(name)),
                    OperatorName::Group(name) => found.groups.extend(group(name)),
                }
            }
            (app.name.clone(), found)
        };
        Self { apps: apps.filter(|app| !app.operators.is_empty()).map(of_app).collect() }
    }

    /// Nobody but root and rota's own user operates anything.
    pub fn is_empty(&self) -> bool {
        self.apps.iter().all(|(_, app)| app.users.is_empty() && app.groups.is_empty())
    }

    /// Those who are to reach the control socket: users and groups.
    pub fn all(&self) -> (Vec<u32>, Vec<u32>) {
        let sorted = |ids: fn(&OfApp) -> &Vec<u32>| {
            let mut all: Vec<u32> = self.apps.iter().flat_map(|(_, app)| ids(app).iter().copied()).collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        (sorted(|app| &app.users), sorted(|app| &app.groups))
    }

    /// What this one may do; `looks`: the group whose members may see everything.
    pub fn rights(&self, person: &Person, looks: Option<u32>) -> Rights {
        let operates = |app: &OfApp| app.users.contains(&person.uid) || app.groups.iter().any(|group| person.groups.contains(group));
        let mine = self.apps.iter().filter(|(_, app)| operates(app));
        let apps = mine.map(|(name, app)| OperatedApp { name: name.clone(), is_root: app.is_root }).collect();
        Rights { looks: looks.is_some_and(|group| person.groups.contains(&group)), apps }
    }
}

/// Who has asked and is not known yet; one is looked up at a time.
#[derive(Debug, Default)]
pub struct Strangers {
    waiting: VecDeque<Stranger>,
    /// Somebody is being looked up.
    is_busy: bool,
}

#[derive(Clone, Copy, Debug)]
struct Stranger {
    ticket: Ticket,
    uid: u32,
    gid: u32,
    since: Instant,
}

impl Strangers {
    /// `gid`: the first group of the peer. The answer comes as [`ToMaster::Known`].
    pub fn ask(&mut self, shared: &Arc<Shared>, ticket: Ticket, (uid, gid): (u32, u32), now: Instant) {
        // Of those that have been waiting for longer the client has gone.
        self.waiting.retain(|stranger| now < stranger.since + LOOKING_UP);
        self.waiting.push_back(Stranger { ticket, uid, gid, since: now });
        self.look_up_next(shared);
    }

    /// The one that was looked up last is known.
    pub fn is_known(&mut self, shared: &Arc<Shared>) {
        self.is_busy = false;
        self.look_up_next(shared);
    }

    fn look_up_next(&mut self, shared: &Arc<Shared>) {
        if self.is_busy {
            return;
        }
        let Some(stranger) = self.waiting.pop_front() else { return };
        match look_up(shared.clone(), stranger) {
            Ok(()) => self.is_busy = true,
            // He is told that it took too long.
            Err(error) => log::warn!("control socket: uid {} cannot be looked up: thread: {error}", stranger.uid),
        }
    }
}

/// On a thread that ends with it and has no more rights than the master, which starts it.
fn look_up(shared: Arc<Shared>, Stranger { ticket, uid, gid, .. }: Stranger) -> io::Result<()> {
    let work = move || {
        last_word::fault(THREAD);
        if let Ok(wake) = shared.master.send(ToMaster::Known(ticket, person(uid, gid))) {
            wake.wake();
        }
    };
    Builder::new().name(THREAD.to_owned()).stack_size(STACK).spawn(work).map(drop)
}

/// A user that NSS does not know has the one group that the kernel says.
fn person(uid: u32, gid: u32) -> Person {
    let known = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let of = |user: User| Identity { name: user.name, uid, gid: user.gid.as_raw(), home: user.dir, shell: user.shell };
    let identity = known.map(of);
    let mut groups = identity.as_ref().map_or_else(Vec::new, Identity::groups);
    if !groups.contains(&gid) {
        groups.push(Gid::from_raw(gid).as_raw());
    }
    Person { name: identity.map_or_else(|| format!("uid {uid}"), |user| user.name), uid, groups }
}

/// How long it may take to find out who somebody is: a directory of users on the network is asked.
pub const LOOKING_UP: Duration = Duration::from_secs(5);
const THREAD: &str = "rota-who";
/// What reads a user's name may ask much of it (NSS).
const STACK: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SourceFile, parse};

    fn operators(text: &str) -> Operators {
        let text = format!("{text}\n");
        let config = parse(&[SourceFile { path: "rota.toml".into(), text }]).unwrap().config;
        Operators::look_up(config.apps.iter())
    }

    #[test]
    fn who_operates_what_is_said_by_user_and_by_any_group() {
        let known = operators(
            "[app.blog]\nroot = \"/\"\nuser = \"nobody\"\noperators = [\"daemon\", \"@nogroup\"]\n\
             [app.shop]\nroot = \"/\"\npath = \"/s\"\nuser = \"root\"\noperators = \"@sys\"\n[app.wiki]\nroot = \"/\"\npath = \"/w\"\nuser = \"nobody\"\n",
        );
        let of = |uid, groups: &[u32]| {
            let rights = known.rights(&Person { name: "x".into(), uid, groups: groups.to_vec() }, Some(4));
            let apps: Vec<String> = rights.apps.iter().map(|app| format!("{}{}", app.name, if app.is_root { "!" } else { "" })).collect();
            (apps.join(" "), rights.looks)
        };
        assert_eq!(of(1, &[1]), ("blog".to_owned(), false));
        assert_eq!(of(4711, &[65534, 3]), ("blog shop!".to_owned(), false));
        assert_eq!(of(4711, &[4]), (String::new(), true));
        assert_eq!(of(4711, &[1]), (String::new(), false), "the number of a user is not that of a group");
        assert_eq!(known.all(), (vec![1], vec![3, 65534]));
        assert!(!known.is_empty() && operators("[app.wiki]\nroot = \"/\"\noperators = \"who-is-that\"").is_empty());
    }

    #[test]
    fn a_user_whom_nobody_knows_has_the_group_that_the_kernel_says() {
        assert_eq!(person(4_000_000, 77), Person { name: "uid 4000000".into(), uid: 4_000_000, groups: vec![77] });
        let daemon = person(1, 77);
        assert!(daemon.name == "daemon" && daemon.groups.contains(&1) && daemon.groups.contains(&77), "{daemon:?}");
    }
}
