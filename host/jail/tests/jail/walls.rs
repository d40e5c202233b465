//! Each act against each wall.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sonde_jail::{Layer, Profile};

use crate::outcome::Outcome::{Done, Killed, Refused};
use crate::outcome::{self, Host, Outcome, attempt, copy_for_all, input_for, jail};
use crate::{Test, honest};

pub const TESTS: &[Test] = &[
    ("every_wall_holds_by_itself", true, every_wall_holds_by_itself),
    ("what_the_host_serves_is_out_of_reach", true, what_the_host_serves_is_out_of_reach),
    ("what_no_honest_process_calls_kills", false, what_no_honest_process_calls_kills),
    ("what_is_not_listed_is_refused", false, what_is_not_listed_is_refused),
    ("an_honest_runner_can_work", false, an_honest_runner_can_work),
    ("an_honest_compiler_can_work", false, an_honest_compiler_can_work),
    ("a_forgotten_descriptor_is_closed", false, a_forgotten_descriptor_is_closed),
    ("the_child_dies_with_its_parent", false, the_child_dies_with_its_parent),
    ("a_wrong_parent_is_a_fault", false, a_wrong_parent_is_a_fault),
    ("an_old_kernel_gives_the_rest", true, an_old_kernel_gives_the_rest),
    ("without_root_the_rest_still_holds", true, without_root_the_rest_still_holds),
];

const SECCOMP: &[Layer] = &[Layer::Seccomp];
const NO_MOUNTS: &[Layer] = &[Layer::Seccomp, Layer::Mounts];
const NO_PATHS: &[Layer] = &[Layer::Seccomp, Layer::Mounts, Layer::Landlock];
const NO_LANDLOCK: &[Layer] = &[Layer::Seccomp, Layer::Landlock];
const NO_NETWORK: &[Layer] = &[Layer::Seccomp, Layer::Landlock, Layer::Network];
const NO_USER: &[Layer] = &[Layer::Seccomp, Layer::User];
const NO_CAPABILITIES: &[Layer] = &[Layer::Seccomp, Layer::Capabilities];
const NO_IDENTITY: &[Layer] = &[Layer::Seccomp, Layer::User, Layer::Capabilities, Layer::Landlock];
const NO_PRIVILEGE_DROP: &[Layer] = &[Layer::Seccomp, Layer::User, Layer::Capabilities];

/// Act, what is left out, and how it ends. The first of each act has all layers.
const CASES: &[(&str, &[Layer], Outcome)] = &[
    ("execve", &[], Killed(libc::SIGSYS)),
    ("execve", SECCOMP, Refused(libc::ENOENT)),
    ("execve", NO_MOUNTS, Refused(libc::EACCES)),
    ("command", &[], Killed(libc::SIGSYS)),
    ("open", &[], Refused(libc::EPERM)),
    ("open", SECCOMP, Refused(libc::ENOENT)),
    ("open", NO_MOUNTS, Refused(libc::EACCES)),
    ("open", NO_PATHS, Done),
    ("openat2", &[], Refused(libc::EPERM)),
    ("openat2", SECCOMP, Refused(libc::ENOENT)),
    ("openat2", NO_MOUNTS, Refused(libc::EACCES)),
    ("openat2", NO_PATHS, Done),
    ("open_proc", &[], Refused(libc::EPERM)),
    ("open_proc", SECCOMP, Refused(libc::ENOENT)),
    ("open_proc", NO_MOUNTS, Refused(libc::EACCES)),
    ("open_proc", NO_PATHS, Refused(libc::EACCES)),
    ("setns_given", &[], Killed(libc::SIGSYS)),
    ("setns_given", SECCOMP, Refused(libc::EPERM)),
    ("setns_given", NO_IDENTITY, Done),
    ("unshare", &[], Killed(libc::SIGSYS)),
    ("unshare", SECCOMP, Refused(libc::EPERM)),
    ("unshare", NO_USER, Refused(libc::EPERM)),
    ("unshare", NO_CAPABILITIES, Refused(libc::EPERM)),
    ("unshare", NO_IDENTITY, Done),
    ("mount", &[], Killed(libc::SIGSYS)),
    ("mount", SECCOMP, Refused(libc::EPERM)),
    ("mount", NO_PRIVILEGE_DROP, Refused(libc::EPERM)),
    ("mount", NO_IDENTITY, Done),
    ("ptrace", &[], Killed(libc::SIGSYS)),
    ("ptrace", SECCOMP, Refused(libc::EPERM)),
    ("ptrace", NO_LANDLOCK, Refused(libc::EPERM)),
    ("ptrace", NO_PRIVILEGE_DROP, Refused(libc::EPERM)),
    ("kill_parent", &[], Refused(libc::EPERM)),
    ("kill_parent", NO_LANDLOCK, Refused(libc::EPERM)),
    ("kill_parent", NO_PRIVILEGE_DROP, Refused(libc::EPERM)),
    ("kill_parent", NO_IDENTITY, Done),
    ("siocgskns_given", &[], Refused(libc::EPERM)),
    ("siocgskns_given", SECCOMP, Refused(libc::EPERM)),
    ("siocgskns_given", NO_IDENTITY, Done),
    ("bpf", &[], Killed(libc::SIGSYS)),
    ("bpf", SECCOMP, Refused(libc::EPERM)),
    ("setuid", &[], Refused(libc::EPERM)),
    ("setuid", SECCOMP, Refused(libc::EPERM)),
    ("setuid", NO_CAPABILITIES, Refused(libc::EPERM)),
    ("setuid", NO_IDENTITY, Done),
    ("raise_limit", &[], Refused(libc::EPERM)),
    ("raise_limit", SECCOMP, Refused(libc::EPERM)),
    ("fork", &[], Killed(libc::SIGSYS)),
    ("fork", SECCOMP, Done),
];

fn every_wall_holds_by_itself() {
    for (act, skip, expected) in CASES {
        expect(act, skip, expected);
    }
    // Without seccomp, the count of the user's processes ends a fork bomb at once.
    let mut alone = jail(SECCOMP);
    alone.processes = 1;
    assert_eq!(attempt("fork", &alone, Stdio::null()).1, Refused(libc::EAGAIN));
    assert_eq!(attempt("thread", &alone, Stdio::null()).1, Refused(libc::EAGAIN));
}

fn what_the_host_serves_is_out_of_reach() {
    let host = Host::new();
    let (tcp, name) = (format!("tcp:{}", host.port()), format!("abstract:{}", host.abstract_name));
    let given = format!("connect_given:{}", host.port());
    let cases: &[(&str, &[Layer], Outcome)] = &[
        (&tcp, &[], Refused(libc::EPERM)),
        (&tcp, SECCOMP, Refused(libc::EACCES)),
        (&tcp, NO_LANDLOCK, Refused(libc::ENETUNREACH)),
        (&tcp, NO_NETWORK, Done),
        (&name, &[], Refused(libc::EPERM)),
        (&name, SECCOMP, Refused(libc::ECONNREFUSED)),
        (&name, &[Layer::Seccomp, Layer::Network], Refused(libc::EPERM)),
        (&name, NO_NETWORK, Done),
        (&given, &[], Refused(libc::EPERM)),
        (&given, SECCOMP, Refused(libc::EACCES)),
        (&given, NO_LANDLOCK, Done),
    ];
    for (act, skip, expected) in cases {
        expect(act, skip, expected);
    }
}

fn expect(act: &str, skip: &[Layer], expected: &Outcome) {
    let (reports, outcome) = attempt(act, &jail(skip), input_for(act));
    assert_eq!(outcome, *expected, "{act} without {skip:?}; {reports:?}");
    for report in reports.iter().filter(|report| report.layer != Layer::Cgroup) {
        assert_eq!(report.fault.is_some(), skip.contains(&report.layer), "{act}: {report:?}");
    }
}

fn what_no_honest_process_calls_kills() {
    let calls = [
        libc::SYS_execveat,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_process_madvise,
        libc::SYS_pidfd_getfd,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_open_by_handle_at,
        libc::SYS_name_to_handle_at,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_clone,
    ];
    for profile in [Profile::Runner, Profile::Compiler] {
        for call in calls {
            let mut jail = jail(&[]);
            jail.profile = profile;
            let outcome = attempt(&format!("call:{call}"), &jail, Stdio::null()).1;
            assert_eq!(outcome, Killed(libc::SIGSYS), "call {call} of {profile:?}");
        }
    }
}

fn what_is_not_listed_is_refused() {
    let refused = [
        libc::SYS_socket,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_accept4,
        libc::SYS_sendmsg,
        libc::SYS_openat,
        libc::SYS_seccomp,
        libc::SYS_personality,
        libc::SYS_mlock,
        libc::SYS_kill,
        libc::SYS_tgkill,
        libc::SYS_tkill,
        libc::SYS_pidfd_open,
        libc::SYS_landlock_create_ruleset,
        libc::SYS_prctl,
        libc::SYS_statx,
        libc::SYS_socketpair,
        libc::SYS_setsockopt,
    ];
    let cases = refused.map(|call| (format!("call:{call}"), libc::EPERM));
    let host = Host::new();
    let absent = (format!("call:{}", libc::SYS_clone3), libc::ENOSYS);
    let elsewhere = (format!("send_elsewhere:{}", host.port()), libc::EPERM);
    for (act, errno) in cases.into_iter().chain([absent, elsewhere]) {
        let outcome = attempt(&act, &jail(&[]), input_for(&act)).1;
        assert_eq!(outcome, Refused(errno), "{act}");
    }
}

fn an_honest_runner_can_work() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let given = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut peer = listener.accept().unwrap().0;
    let (near, far) = UnixStream::pair().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [given.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(&near, &[IoSlice::new(b"x")], &mut control, SendFlags::empty()).unwrap();
    drop(given);
    // The child waits for the peer's end of stream, which comes once it has spoken.
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        peer.read_to_end(&mut text).unwrap();
        text
    });
    let (reports, outcome) = attempt("runner", &jail(&[]), Stdio::from(OwnedFd::from(far)));
    assert_eq!(outcome, Done, "{reports:?}");
    assert_eq!(reader.join().unwrap(), honest::GREETING);
    assert_eq!(attempt("abort", &jail(&[]), Stdio::null()).1, Killed(libc::SIGABRT));
}

fn an_honest_compiler_can_work() {
    let mut jail = jail(&[]);
    jail.profile = Profile::Compiler;
    jail.address_space_bytes = Some(1 << 30);
    jail.file_bytes = 0;
    let (reports, outcome) = attempt("compiler", &jail, Stdio::null());
    assert_eq!(outcome, Done, "{reports:?}");
}

fn a_forgotten_descriptor_is_closed() {
    let forgotten = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::io::fcntl_setfd(&forgotten, rustix::io::FdFlags::empty()).unwrap();
    let refused = |skip: &[Layer]| attempt("descriptors", &jail(skip), Stdio::null()).1;
    assert_eq!(refused(&[]), Done);
    assert_eq!(refused(&[Layer::Descriptors]), Refused(libc::EBADF));
}

fn the_child_dies_with_its_parent() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("--middle").arg(serde_json::to_string(&jail(&[])).unwrap()).stdin(Stdio::piped());
    let (mut middle, mut lines) = outcome::start(&mut command);
    outcome::next(&mut lines).expect("the reports");
    assert_eq!(outcome::next(&mut lines).as_deref(), Some("waiting"));
    drop(middle.stdin.take());
    assert!(middle.wait().unwrap().success());
    // The end of its output is the end of the child: nobody else holds the other end.
    assert_eq!(outcome::next(&mut lines), None);
}

fn a_wrong_parent_is_a_fault() {
    let mut jail = jail(&[]);
    jail.parent += 1;
    let (reports, _) = attempt("nothing", &jail, Stdio::null());
    let report = reports.iter().find(|report| report.layer == Layer::ParentDeath).unwrap();
    assert!(report.fault.as_deref().unwrap().contains("it has died"), "{report:?}");
}

fn an_old_kernel_gives_the_rest() {
    let forgotten = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::io::fcntl_setfd(&forgotten, rustix::io::FdFlags::empty()).unwrap();
    let (reports, outcome) = attempt("old_kernel:descriptors", &jail(&[]), Stdio::null());
    assert_eq!(outcome, Done, "{reports:?}");
    let faults = reports.iter().filter(|report| report.fault.is_some()).map(|report| report.layer);
    assert_eq!(faults.collect::<Vec<_>>(), [Layer::Cgroup, Layer::Mounts, Layer::Landlock], "{reports:?}");
    assert_eq!(attempt("old_kernel:open", &jail(&[]), Stdio::null()).1, Refused(libc::EPERM));
    assert_eq!(attempt("old_kernel:thread", &jail(&[]), Stdio::null()).1, Done);
}

fn without_root_the_rest_still_holds() {
    let (_folder, path) = copy_for_all();
    let attempt = |act: &str, skip: &[Layer]| {
        let mut command = Command::new(&path);
        command.arg("--act").arg(act).arg(serde_json::to_string(&jail(skip)).unwrap());
        outcome::finish(command.uid(outcome::UID + 1).gid(outcome::UID + 1).stdin(Stdio::null()))
    };
    let (reports, outcome) = attempt("open", &[]);
    assert_eq!(outcome, Refused(libc::EPERM));
    let fault = |layer| reports.iter().find(|report| report.layer == layer).unwrap().fault.is_some();
    assert!(fault(Layer::User) && fault(Layer::Cgroup), "{reports:?}");
    // A kernel may keep user namespaces from users; then all three are missing, and said to be.
    let spaces = [Layer::Network, Layer::Ipc, Layer::Mounts].map(fault);
    assert!(spaces == [false; 3] || spaces == [true; 3], "{reports:?}");
    let unconditional = Layer::ALL
        .into_iter()
        .filter(|layer| !matches!(layer, Layer::User | Layer::Cgroup | Layer::Network | Layer::Ipc | Layer::Mounts));
    assert_eq!(unconditional.filter(|layer| fault(*layer)).collect::<Vec<_>>(), [], "{reports:?}");

    for report in &reports {
        let state = report.fault.as_deref().or(report.detail.as_deref()).unwrap_or_default();
        println!(
            "  {}: {} {state}",
            report.layer.as_str(),
            if report.fault.is_some() { "missing" } else { "in force" }
        );
    }
    let path_gone = if spaces[0] { libc::EACCES } else { libc::ENOENT };
    assert_eq!(attempt("open", SECCOMP).1, Refused(path_gone));
    assert_eq!(attempt("open", NO_MOUNTS).1, Refused(libc::EACCES));
    assert_eq!(attempt("unshare", SECCOMP).1, Refused(libc::EPERM));
    assert_eq!(attempt("setuid", SECCOMP).1, Refused(if spaces[0] { libc::EPERM } else { libc::EINVAL }));
    assert_eq!(attempt("thread", &[]).1, Done);
}
