//! Who a thread is for the kernel. Linux keeps credentials thread by thread (credentials(7)); what is done here changes those of the calling
//! thread alone, as setuid(3) of the C library, which changes all threads, does not.
//!
//! A thread that acts for an app has the app's user and groups for files, and is that user in nothing else (setfsuid(2)). For files also means:
//! for directories, for the paths of sockets, and for what /proc says of a process (ptrace(2), PTRACE_MODE_FSCREDS). Whoever is a thread's real or
//! saved user may end all of rota by a signal to that thread (kill(2)); whoever is its effective user may take its processor away, with the
//! table's lock in its hand (sched_setaffinity(2), setpriority(2)). Those three are the user `rota`, or stay root's, without any of root's rights.

use std::cell::Cell;
use std::io;
use std::sync::OnceLock;

use nix::unistd::{User, setfsgid, setfsuid};
use rustix::fs::{Gid, Uid};
use rustix::thread::{self, CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};

use crate::restart::release::Identity;
use crate::seccomp;

/// A user, with all groups, looked up once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    name: String,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

/// The user that rota's threads are where they act for nobody.
#[derive(Clone, Copy, Debug)]
struct Account {
    uid: Uid,
    gid: Gid,
}

impl Credentials {
    /// Looks the groups up (NSS).
    pub fn of(user: &Identity) -> Self {
        Self { name: user.name.clone(), uid: user.uid, gid: user.gid, groups: user.groups() }
    }

    /// The owner of a directory, whoever that is, and no groups but its own.
    pub fn of_owner(uid: u32, gid: u32) -> Self {
        Self { name: format!("uid {uid}"), uid, gid, groups: vec![gid] }
    }

    /// For threads that act for no app: rota's own user, or one that nothing belongs to.
    pub fn own() -> Self {
        let (name, uid, gid) = match account() {
            Some(Account { uid, gid }) => (OWN_NAME, uid.as_raw(), gid.as_raw()),
            None => ("that there is not", NO_USER, NO_USER),
        };
        Self { name: name.to_owned(), uid, gid, groups: vec![gid] }
    }

    /// What the master acts as, where it is not what rota was started as.
    pub fn of_the_master() -> Option<Self> {
        may_choose().is_ok_and(|may| may).then(Self::own)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn uid(&self) -> u32 {
        self.uid
    }

    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Does something for this user, on a thread of its own that ends with it.
    pub fn on_a_thread<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name(format!("as {}", self.name));
            let thread = thread.spawn_scoped(scope, || {
                self.assume()?;
                seccomp::restrict();
                work()
            })?;
            thread.join().unwrap_or_else(|panic| Err(io::Error::other(crate::logging::panic_text(&*panic))))
        })
    }

    /// Makes the calling thread act for this user from now on: files as the user, no capabilities, none to be had by executing anything. There
    /// is no way to another user from there. For an app that runs as root it does nothing; in a rota that may not choose users the thread is who it
    /// is, without capabilities. After an error the thread is something in between, and must end.
    pub fn assume(&self) -> io::Result<()> {
        self.assume_on(account())
    }

    fn assume_on(&self, account: Option<Account>) -> io::Result<()> {
        let refused = |why: String| io::Error::new(io::ErrorKind::PermissionDenied, why);
        match ACTS_FOR.get() {
            Some(known) if known == self.uid => return Ok(()),
            Some(known) => return Err(refused(format!("user {}: this thread acts for uid {known} already", self.name))),
            None if !may_choose()? => return give_up_what_was_lent(),
            None if self.uid == 0 => return Ok(()),
            None => {}
        }
        thread::set_no_new_privs(true)?;
        thread::set_thread_groups(&self.groups.iter().copied().map(Gid::from_raw).collect::<Vec<_>>())?;
        if let Some(Account { uid, gid }) = account {
            // Else the right to the next step went with root's number (capabilities(7)).
            thread::set_keep_capabilities(true)?;
            thread::set_thread_res_gid(gid, gid, gid)?;
            thread::set_thread_res_uid(uid, uid, uid)?;
            set_capabilities(CHOOSES)?;
        }
        let (uid, gid) = (nix::unistd::Uid::from_raw(self.uid), nix::unistd::Gid::from_raw(self.gid));
        // They tell of no failure, and give what was before: the second one gives what the first has done.
        setfsgid(gid);
        setfsuid(uid);
        if setfsgid(gid) != gid || setfsuid(uid) != uid {
            return Err(refused(format!("the rights of user {} cannot be taken", self.name)));
        }
        set_capabilities(CapabilitySet::empty())?;
        thread::set_keep_capabilities(false)?;
        ACTS_FOR.set(Some(self.uid));
        Ok(())
    }
}

/// The user whose files the calling thread makes, where that is not the one that rota was started as.
pub fn acts_for() -> Option<u32> {
    ACTS_FOR.get()
}

/// Looks for rota's own user, before any thread needs it. `users`: of the apps; a process of such a user could end rota if it was rota's. Err: it
/// has none, as a sentence.
pub fn find_own(users: &[u32]) -> Result<(), String> {
    let found = User::from_name(OWN_NAME).ok().flatten().filter(|user| !user.uid.is_root());
    let taken = found.as_ref().is_some_and(|user| users.contains(&user.uid.as_raw()));
    let own = found.filter(|_| !taken);
    let own = own.map(|user| Account { uid: Uid::from_raw(user.uid.as_raw()), gid: Gid::from_raw(user.gid.as_raw()) });
    match OWN.get_or_init(|| own) {
        Some(_) => Ok(()),
        None if taken => Err(format!("the user {OWN_NAME} is an app's: rota's threads keep root's number, without root's rights")),
        None => Err(format!("there is no user {OWN_NAME}: rota's threads keep root's number, without root's rights")),
    }
}

/// What a thread with root's number does with root's rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// It has files of root's, and needs nothing else: logs, records.
    None,
    /// To open what is listened on and turn away who comes too late, and to make and take away files, wherever they are: the porter.
    Porter,
    /// To read what /proc says of processes of others: the one that counts memory.
    Sampler,
    /// To become an app's user for its files, and to read what only root may: errands, before they act for an app.
    Errand,
    /// To read the configuration again, and open what it names: `rota reload`.
    Reload,
    /// To start processes as their users, signal them, and give them what is theirs: the restart thread.
    Restart,
}

impl Rights {
    /// Gives up all others, for the calling thread and those that it starts, for ever. What the thread did not have it does not get; in a rota
    /// that may not choose users nothing changes.
    pub fn keep(self) -> io::Result<()> {
        if !may_choose()? {
            return Ok(());
        }
        // What the restart thread executes has all rights of the user that it becomes.
        if self != Rights::Restart {
            thread::set_no_new_privs(true)?;
        }
        set_capabilities(self.set().intersection(thread::capabilities(None)?.permitted))
    }

    /// As [`Rights::keep`], where a thread could do without that, too.
    pub fn keep_or_warn(self) {
        if let Err(error) = self.keep() {
            let thread = std::thread::current();
            log::warn!("capabilities of the thread {}: {error}", thread.name().unwrap_or_default());
        }
    }

    fn set(self) -> CapabilitySet {
        let files = CapabilitySet::CHOWN | CapabilitySet::FOWNER | CapabilitySet::DAC_OVERRIDE;
        let looks = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
        match self {
            Rights::None => CapabilitySet::empty(),
            Rights::Porter => files | CapabilitySet::NET_BIND_SERVICE | CapabilitySet::NET_ADMIN,
            Rights::Sampler => looks,
            Rights::Reload => CHOOSES | files,
            Rights::Errand => CHOOSES | CapabilitySet::DAC_OVERRIDE,
            // The last one for scheduling groups, which others may give a value once in a tenth of a second, all of them together (sched(7)).
            Rights::Restart => CHOOSES | files | looks | CapabilitySet::KILL | CapabilitySet::SYS_NICE | CapabilitySet::SYS_ADMIN,
        }
    }
}

/// In a rota that may not choose users: what it was given for itself (AmbientCapabilities= of its unit) a thread that faces the network does not
/// need.
pub fn give_up_what_was_lent() -> io::Result<()> {
    if may_choose()? {
        return Ok(());
    }
    thread::set_no_new_privs(true)?;
    set_capabilities(CapabilitySet::empty())
}

/// It is rota's own user.
pub fn is_own(uid: u32) -> bool {
    account().is_some_and(|own| own.uid.as_raw() == uid)
}

fn account() -> Option<Account> {
    OWN.get().copied().flatten()
}

/// What [`Credentials::assume`] needs, as root has it.
fn may_choose() -> io::Result<bool> {
    Ok(thread::capabilities(None)?.effective.contains(CHOOSES))
}

/// Of the calling thread: these, and no others ever.
fn set_capabilities(set: CapabilitySet) -> io::Result<()> {
    Ok(thread::set_capabilities(None, CapabilitySets { effective: set, permitted: set, inheritable: CapabilitySet::empty() })?)
}

const CHOOSES: CapabilitySet = CapabilitySet::SETUID.union(CapabilitySet::SETGID);
/// sysusers.d(5): conf/sysusers.d/rota.conf makes it.
const OWN_NAME: &str = "rota";
/// Of no user by the rules of systemd (uid-gid.md) and of distributions. Not `nobody`, as whom apps run, too.
const NO_USER: u32 = 65533;

static OWN: OnceLock<Option<Account>> = OnceLock::new();

thread_local! {
    static ACTS_FOR: Cell<Option<u32>> = const { Cell::new(None) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const NOBODY: u32 = 65534;

    fn nobody() -> Credentials {
        Credentials { name: "nobody".to_owned(), uid: NOBODY, gid: NOBODY, groups: vec![NOBODY, 4] }
    }

    /// What the kernel says of the calling thread, blanks written as one.
    fn says(what: &str) -> String {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
        line.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(work).join().unwrap()
    }

    #[test]
    fn a_thread_has_the_user_for_files_and_for_nothing_else_and_no_rights_of_root_s() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let daemon = Account { uid: Uid::from_raw(1), gid: Gid::from_raw(1) };
        for (account, ids) in [(None, "0 0 0 65534"), (Some(daemon), "1 1 1 65534")] {
            on_a_thread(move || {
                nobody().assume_on(account).unwrap();
                assert_eq!([says("Uid"), says("Gid")], [ids, ids]);
                assert_eq!((says("Groups"), says("NoNewPrivs")), ("4 65534".to_owned(), "1".to_owned()));
                for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                    assert_eq!(says(set), "0000000000000000", "{set}");
                }
                assert_eq!(acts_for(), Some(NOBODY));
            });
        }
        assert_eq!((says("Uid"), acts_for()), ("0 0 0 0".to_owned(), None), "other threads are what they were");
    }

    #[test]
    fn the_kernel_judges_by_the_user_and_there_is_no_way_to_another() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (secret, public) = (dir.path().join("secret"), dir.path().join("public"));
        for (path, mode) in [(&secret, 0o600), (&public, 0o644)] {
            fs::write(path, "").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        on_a_thread(move || {
            nobody().assume().unwrap();
            nobody().assume().unwrap();
            assert!(fs::read(&public).is_ok());
            assert_eq!(fs::read(&secret).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            let other = Credentials { uid: 1, gid: 1, ..nobody() };
            assert_eq!(other.assume().unwrap_err().to_string(), "user nobody: this thread acts for uid 65534 already");
            assert!(thread::set_thread_groups(&[]).is_err() && thread::set_thread_res_uid(Uid::from_raw(1), None, None).is_err());
            // Where the thread has root's number still, that number is all there is.
            let _ = thread::set_thread_res_uid(None, Uid::ROOT, None);
            assert_eq!(says("CapEff"), "0000000000000000");
        });
    }

    #[test]
    fn for_root_s_app_nothing_changes_and_without_the_right_to_it_the_user_does_not() {
        on_a_thread(|| {
            let before = says("Uid");
            if may_choose().unwrap() {
                Credentials { uid: 0, gid: 0, ..nobody() }.assume().unwrap();
                assert_eq!((says("Uid"), says("NoNewPrivs")), (before.clone(), "0".to_owned()));
            }
            set_capabilities(CapabilitySet::empty()).unwrap();
            nobody().assume().unwrap();
            assert_eq!((says("Uid"), says("NoNewPrivs"), acts_for()), (before, "1".to_owned(), None));
        });
    }

    #[test]
    fn a_thread_keeps_what_it_is_for_and_gets_nothing_that_it_did_not_have() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let has = |set: CapabilitySet| thread::capabilities(None).unwrap().effective == set;
        let permitted = thread::capabilities(None).unwrap().permitted;
        for rights in [Rights::None, Rights::Porter, Rights::Sampler, Rights::Errand, Rights::Restart] {
            on_a_thread(move || {
                rights.keep().unwrap();
                assert!(has(rights.set().intersection(permitted)), "{rights:?}");
                assert_eq!((says("Uid").as_str(), says("NoNewPrivs") == "0"), ("0 0 0 0", rights == Rights::Restart), "{rights:?}");
            });
        }
        on_a_thread(move || {
            // A container that has few.
            set_capabilities(CHOOSES).unwrap();
            Rights::Restart.keep().unwrap();
            assert!(has(CHOOSES));
        });
    }

    #[test]
    fn rota_s_own_user_is_none_that_an_app_runs_as() {
        // Whatever the machine has: with every user an app's there is none.
        let all: Vec<u32> = (0..=NOBODY).collect();
        assert!(find_own(&all).is_err());
        assert_eq!((Credentials::own().uid, account().is_none()), (NO_USER, true));
    }
}
