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

use crate::restart::release::Identity;

/// A user, with all groups, looked up once.
#[derive(Clone, Debug, PartialEq, Eq)]
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
            let thread = thread.spawn_scoped(scope, || self.assume().and_then(|()| work()))?;
            thread.join().unwrap_or_else(|panic| Err(io::Error::other(crate::logging::panic_text(&*panic))))
        })
    }

    /// Makes the calling thread act for this user from now on: files as the user, no capabilities, none to be had by executing anything. There
    /// is no way to another user from there. For an app that runs as root, and in a rota that may not choose users, it does nothing. After an
    /// error the thread is something in between, and must end.
    pub fn assume(&self) -> io::Result<()> {
        self.assume_on(account())
    }

    fn assume_on(&self, account: Option<Account>) -> io::Result<()> {
        let refused = |why: String| io::Error::new(io::ErrorKind::PermissionDenied, why);
        match ACTS_FOR.get() {
            Some(known) if known == self.uid => return Ok(()),
            Some(known) => return Err(refused(format!("user {}: this thread acts for uid {known} already", self.name))),
            None if self.uid == 0 || !may_choose()? => return Ok(()),
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

/// For threads that have files of root's and need nothing else of it: root's number stays, and no capability. Where a thread has none anyway it
/// does nothing.
pub fn keep_the_number_alone() -> io::Result<()> {
    match may_choose()? {
        true => {
            thread::set_no_new_privs(true)?;
            set_capabilities(CapabilitySet::empty())
        }
        false => Ok(()),
    }
}

/// The main thread opens what is listened on and takes files away, wherever they are, and does nothing else.
pub fn keep_rights_of_the_porter() -> io::Result<()> {
    let rights = CapabilitySet::NET_BIND_SERVICE | CapabilitySet::CHOWN | CapabilitySet::FOWNER | CapabilitySet::DAC_OVERRIDE;
    match may_choose()? {
        true => set_capabilities(rights),
        false => Ok(()),
    }
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
    fn for_root_s_app_and_without_the_right_to_it_nothing_changes() {
        on_a_thread(|| {
            let before = says("Uid");
            Credentials { uid: 0, gid: 0, ..nobody() }.assume().unwrap();
            set_capabilities(CapabilitySet::empty()).unwrap();
            nobody().assume().unwrap();
            assert_eq!((says("Uid"), says("NoNewPrivs"), acts_for()), (before, "0".to_owned(), None));
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
