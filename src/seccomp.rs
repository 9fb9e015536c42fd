//! What threads that face the network never ask of the kernel, and the kernel refuses them from their start on (seccomp(2)): to execute, to trace
//! or read another process, to signal one, to become another user, to mount, to load code into the kernel. Whoever takes such a thread over has
//! the files and connections that it has; to become more it has to find a way through the memory that it shares with the others.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, sock_filter};

/// For the calling thread and those that it starts, for ever. A kernel or a sandbox that does not have it is said once, and does without.
pub fn restrict() {
    static SAID: OnceLock<()> = OnceLock::new();
    if let Err(error) = apply() {
        SAID.get_or_init(|| log::warn!("seccomp: {error}; what threads that face the network may ask of the kernel is not restricted"));
    }
}

fn apply() -> Result<(), String> {
    static PROGRAM: OnceLock<Result<BpfProgram, String>> = OnceLock::new();
    let program = PROGRAM.get_or_init(program).as_ref().map_err(Clone::clone)?;
    seccompiler::apply_filter(program).map_err(|error| error.to_string())
}

fn program() -> Result<BpfProgram, String> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|number| (*number, Vec::new())).collect();
    // abort(3) signals itself.
    let other = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, u64::from(std::process::id()));
    let other = other.and_then(|other| SeccompRule::new(vec![other])).map_err(|error| error.to_string())?;
    rules.insert(libc::SYS_tgkill, vec![other]);
    // A table of descriptors of its own is no other view of the machine (sys::table_of_its_own).
    let files = u64::from(libc::CLONE_FILES.cast_unsigned());
    let more = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, files);
    let more = more.and_then(|more| SeccompRule::new(vec![more])).map_err(|error| error.to_string())?;
    rules.insert(libc::SYS_unshare, vec![more]);
    let arch = std::env::consts::ARCH.try_into().map_err(|_| format!("no filter for {}", std::env::consts::ARCH))?;
    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).map_err(|error| error.to_string())?;
    let program: BpfProgram = filter.try_into().map_err(|error: seccompiler::BackendError| error.to_string())?;
    Ok([other_numbers().as_slice(), &program].concat())
}

/// x86-64 has each call a second time, under another number (x32, `__X32_SYSCALL_BIT`): none of those is ours.
fn other_numbers() -> Vec<sock_filter> {
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    match cfg!(target_arch = "x86_64") {
        // Load the number; below the bit: over the next; refuse with EPERM (linux/bpf_common.h, linux/seccomp.h).
        true => vec![step(0x20, 0, 0, 0), step(0x35, 0, 1, 0x4000_0000), step(0x06, 0, 0, 0x0005_0000 | libc::EPERM.cast_unsigned())],
        false => Vec::new(),
    }
}

const REFUSED: [i64; 62] = [
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Other users.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_personality,
    // Another view of the machine.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    // The kernel itself.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
];

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::CloneFlags;
    use std::io;

    fn is_restricted() -> bool {
        std::fs::read_to_string("/proc/thread-self/status").unwrap().lines().any(|line| line == "Seccomp:\t2")
    }

    #[test]
    fn a_restricted_thread_executes_and_signals_nothing_and_does_what_it_is_for() {
        let restricted = std::thread::spawn(|| {
            restrict();
            // A sandbox may be without it.
            if !is_restricted() {
                return;
            }
            let refused = std::process::Command::new("true").spawn().unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
            let own = rustix::process::getpid();
            assert_eq!(rustix::process::test_kill_process(own), Err(rustix::io::Errno::PERM));
            assert_eq!(rustix::thread::set_thread_groups(&[]), Err(rustix::io::Errno::PERM));
            for other in [CloneFlags::CLONE_NEWUSER, CloneFlags::CLONE_FS, CloneFlags::CLONE_FILES | CloneFlags::CLONE_NEWUSER] {
                assert_eq!(nix::sched::unshare(other), Err(nix::errno::Errno::EPERM));
            }
            assert_eq!(nix::sched::unshare(CloneFlags::CLONE_FILES), Ok(()));
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            tempfile::tempfile().unwrap();
            std::thread::spawn(|| assert!(is_restricted(), "what it starts is restricted as well")).join().unwrap();
        });
        restricted.join().unwrap();
        assert!(std::process::Command::new("true").status().unwrap().success(), "others are not");
    }
}
