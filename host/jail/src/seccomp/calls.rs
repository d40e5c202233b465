//! Which system calls each profile keeps, and with which arguments.
//!
//! The list is what a single event loop, its blocking threads, the pools of wasmtime and a client
//! over received sockets use. Pointers cannot be looked into by a filter, so a call whose danger is
//! behind one (an address, a control message) is only here if it is harmless whatever is there:
//! `sendmsg`, which can send to any address and pass descriptors on, is not. Nor is a call that
//! makes a descriptor out of a name.

use std::collections::BTreeMap;

use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{BackendError, SeccompCondition, SeccompRule};

use crate::Profile;

/// For each call, the arguments it may have: any of the rules; none means all.
pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Result<T> = std::result::Result<T, BackendError>;

/// Kept by both profiles with any arguments: they act on the process's own memory, time and threads,
/// or on descriptors it has.
const PLAIN: &[i64] = &[
    // Descriptors
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_shutdown,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_eventfd2,
    // Memory
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Signals of its own, which wasmtime turns into traps
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // Threads and time
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    // Who it is, which libraries ask for and take to be infallible
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrandom,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// As [`PLAIN`]: calls that only this architecture still has.
#[cfg(target_arch = "x86_64")]
const PLAIN_OF_ARCH: &[i64] = &[libc::SYS_epoll_wait, libc::SYS_poll];
#[cfg(target_arch = "aarch64")]
const PLAIN_OF_ARCH: &[i64] = &[];

/// Kept by the runner besides: received descriptors and images in memory.
const PLAIN_OF_RUNNER: &[i64] = &[
    libc::SYS_recvmsg,
    libc::SYS_recvfrom,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    libc::SYS_pipe2,
];

/// What neither Rust, glibc, tokio nor wasmtime ever does in a jail: whoever calls it is not ours.
const KILLED: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];
#[cfg(target_arch = "x86_64")]
const KILLED_OF_ARCH: &[i64] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(target_arch = "aarch64")]
const KILLED_OF_ARCH: &[i64] = &[];

/// What `clone` has for a thread, and for nothing else.
const THREAD: u64 = (libc::CLONE_THREAD | libc::CLONE_VM) as u64;
/// What it never has for a thread of ours: a namespace, or a tracer.
const NOT_A_THREAD: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_PTRACE) as u64;
/// Bits of a socket's type that are the type; above are flags (`SOCK_TYPE_MASK` of the kernel).
const SOCKET_TYPE: u64 = 0xf;
/// `PR_SET_VMA` (prctl.h): names a mapping, as allocators do.
const PR_SET_VMA: u64 = 0x5356_4d41;
/// `PR_GET_AUXV` (prctl.h): what the kernel told the program at its start, such as the page size.
const PR_GET_AUXV: u64 = 0x4155_5856;

/// Options by level that a client may read and set: none of them attaches, binds or filters.
const SOCKET_OPTIONS: &[(i32, i32)] = &[
    (libc::SOL_SOCKET, libc::SO_LINGER),
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (libc::SOL_SOCKET, libc::SO_RCVBUF),
    (libc::SOL_SOCKET, libc::SO_SNDBUF),
    (libc::SOL_SOCKET, libc::SO_RCVTIMEO),
    (libc::SOL_SOCKET, libc::SO_SNDTIMEO),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    (libc::IPPROTO_TCP, libc::TCP_QUICKACK),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
];
/// Options that can be read besides.
const SOCKET_FACTS: &[(i32, i32)] = &[
    (libc::SOL_SOCKET, libc::SO_ERROR),
    (libc::SOL_SOCKET, libc::SO_TYPE),
    (libc::SOL_SOCKET, libc::SO_DOMAIN),
    (libc::SOL_SOCKET, libc::SO_PROTOCOL),
    (libc::SOL_SOCKET, libc::SO_ACCEPTCONN),
];

/// What kills the process.
pub(super) fn killed() -> Result<Rules> {
    let mut rules = plain([KILLED, KILLED_OF_ARCH]);
    let missing = |flag: i32| masked(0, flag as u64, 0);
    rules.insert(libc::SYS_clone, vec![missing(libc::CLONE_THREAD)?, missing(libc::CLONE_VM)?]);
    Ok(rules)
}

/// What the kernel is to seem too old for: the flags of `clone3` are behind a pointer, and without
/// it glibc uses `clone`, whose flags are not.
pub(super) fn absent() -> Result<Rules> {
    Ok(plain([&[libc::SYS_clone3], &[]]))
}

/// What goes through; `pid` is the process itself.
pub(super) fn allowed(profile: Profile, pid: u32) -> Result<Rules> {
    let mut rules = plain([PLAIN, PLAIN_OF_ARCH]);
    // Answered by `absent` before this; it must not become the EPERM of what is not listed.
    rules.insert(libc::SYS_clone3, Vec::new());
    rules.extend(arguments(pid)?);
    match profile {
        Profile::Runner => {
            rules.extend(plain([PLAIN_OF_RUNNER, &[libc::SYS_mmap, libc::SYS_mprotect]]));
            rules.extend(arguments_of_runner()?);
        }
        // What it makes is for another process to run, so no memory of its own is ever executable.
        Profile::Compiler => {
            let not_executable = || masked(2, libc::PROT_EXEC as u64, 0);
            rules.insert(libc::SYS_mmap, vec![not_executable()?]);
            rules.insert(libc::SYS_mprotect, vec![not_executable()?]);
        }
    }
    Ok(rules)
}

/// Kept by both with certain arguments.
fn arguments(pid: u32) -> Result<Rules> {
    let empty_path = libc::AT_EMPTY_PATH as u64;
    let fcntl = [
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
        libc::F_DUPFD_CLOEXEC,
        libc::F_ADD_SEALS,
        libc::F_GET_SEALS,
    ];
    let prctl = [libc::PR_SET_NAME as u64, libc::PR_GET_NAME as u64, PR_SET_VMA, PR_GET_AUXV];
    Ok(BTreeMap::from([
        // Of a descriptor; a path besides would find nothing below the empty root.
        (libc::SYS_statx, vec![masked(2, empty_path, empty_path)?]),
        (libc::SYS_newfstatat, vec![masked(3, empty_path, empty_path)?]),
        (libc::SYS_fcntl, any_of(1, &fcntl.map(|command| command as u64))?),
        // Not SIOCGSKNS, which makes a network namespace out of a socket.
        (libc::SYS_ioctl, any_of(1, &[libc::FIONBIO, libc::FIONREAD, libc::FIOCLEX])?),
        (libc::SYS_prctl, any_of(0, &prctl)?),
        // `abort` signals its own thread.
        (libc::SYS_tgkill, any_of(0, &[u64::from(pid)])?),
        // Reading a limit of its own.
        (libc::SYS_prlimit64, vec![SeccompRule::new(vec![equal(0, 0)?, null(2)?])?]),
    ]))
}

/// Kept by the runner with certain arguments.
fn arguments_of_runner() -> Result<Rules> {
    let options = |lists: &[&[(i32, i32)]]| -> Result<Vec<SeccompRule>> {
        let rule =
            |(level, option): &(i32, i32)| SeccompRule::new(vec![equal(1, *level as u64)?, equal(2, *option as u64)?]);
        lists.iter().copied().flatten().map(rule).collect()
    };
    let stream = SeccompCondition::new(1, Dword, MaskedEq(SOCKET_TYPE), libc::SOCK_STREAM as u64)?;
    Ok(BTreeMap::from([
        (libc::SYS_clone, vec![masked(0, THREAD | NOT_A_THREAD, THREAD)?]),
        // Its own thread's, and with `RLIMIT_NICE` at 0 only downwards.
        (libc::SYS_setpriority, vec![SeccompRule::new(vec![equal(0, libc::PRIO_PROCESS as u64)?, equal(1, 0)?])?]),
        // No address: on what is connected already.
        (libc::SYS_sendto, vec![SeccompRule::new(vec![null(4)?])?]),
        // A pipe to itself, with which tokio wakes; a datagram socket could send to others.
        (libc::SYS_socketpair, vec![SeccompRule::new(vec![equal(0, libc::AF_UNIX as u64)?, stream])?]),
        (libc::SYS_setsockopt, options(&[SOCKET_OPTIONS])?),
        (libc::SYS_getsockopt, options(&[SOCKET_OPTIONS, SOCKET_FACTS])?),
    ]))
}

fn plain(lists: [&[i64]; 2]) -> Rules {
    lists.into_iter().flatten().map(|call| (*call, Vec::new())).collect()
}

fn equal(argument: u8, value: u64) -> Result<SeccompCondition> {
    SeccompCondition::new(argument, Dword, Eq, value)
}

fn null(argument: u8) -> Result<SeccompCondition> {
    SeccompCondition::new(argument, Qword, Eq, 0)
}

fn any_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>> {
    values.iter().map(|value| SeccompRule::new(vec![equal(argument, *value)?])).collect()
}

fn masked(argument: u8, mask: u64, value: u64) -> Result<SeccompRule> {
    SeccompRule::new(vec![SeccompCondition::new(argument, Dword, MaskedEq(mask), value)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_both_killed_and_let_through() {
        for profile in [Profile::Runner, Profile::Compiler] {
            let allowed = allowed(profile, 1).unwrap();
            let both = killed().unwrap().into_keys().filter(|call| allowed.contains_key(call)).collect::<Vec<_>>();
            let expected = if profile == Profile::Runner { vec![libc::SYS_clone] } else { Vec::new() };
            assert_eq!(both, expected, "{profile:?}");
        }
    }
}
