//! The child: enters the jail, says what came of it, then does the one act it was started for and
//! says how that ended. Raw system calls, so that no library decides beforehand that it cannot work.

use std::ffi::CStr;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use sonde_jail::Jail;

use crate::honest;

/// `SIOCGSKNS` (sockios.h): the network namespace of a socket.
const SIOCGSKNS: libc::c_long = 0x894C;
/// `PTRACE_ATTACH` (ptrace.h).
const PTRACE_ATTACH: libc::c_long = 16;
/// `BPF_PROG_GET_NEXT_ID` (bpf.h), which every kernel keeps to the privileged.
const BPF_PROG_GET_NEXT_ID: libc::c_long = 11;
/// More than any room of these tests has.
const TOO_MUCH_BYTES: usize = 256 << 20;

/// What the child writes: the reports, then either `ok` or the errno's number, a line each.
pub fn run(act: &str, jail: &str) {
    let jail: Jail = serde_json::from_str(jail).unwrap();
    let act = match act.strip_prefix("old_kernel:") {
        Some(act) => {
            pretend_an_old_kernel();
            act
        }
        None => act,
    };
    let reports = jail.enter();
    say(&serde_json::to_string(&reports).unwrap());
    match perform(act) {
        Ok(()) => say("ok"),
        Err(errno) => say(&errno.raw_os_error().to_string()),
    }
}

fn say(line: &str) {
    let mut out = io::stdout();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// Has the kernel deny that it knows what came in 5.9 and later, and a container's refusal of mounts.
fn pretend_an_old_kernel() {
    let rules = |calls: &[i64]| calls.iter().map(|call| (*call, Vec::new())).collect();
    let absent = rules(&[libc::SYS_close_range, libc::SYS_landlock_create_ruleset, libc::SYS_clone3]);
    let refused = rules(&[libc::SYS_mount]);
    for (rules, errno) in [(absent, libc::ENOSYS), (refused, libc::EPERM)] {
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let answer = SeccompAction::Errno(errno.unsigned_abs());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, arch).unwrap();
        let program: BpfProgram = filter.try_into().unwrap();
        seccompiler::apply_filter(&program).unwrap();
    }
}

fn perform(act: &str) -> Result<(), Errno> {
    let (name, argument) = act.split_once(':').unwrap_or((act, ""));
    match name {
        "nothing" => Ok(()),
        "runner" => honest::runner(),
        "compiler" => honest::compiler(),
        "abort" => std::process::abort(),
        "wait" => wait_for_end(),
        "memory" => {
            std::hint::black_box(vec![1_u8; TOO_MUCH_BYTES]);
            Ok(())
        }
        "descriptors" => no_descriptor_is_open(),
        "command" => std::process::Command::new("/bin/true").status().map(|_| ()).map_err(errno),
        "thread" => std::thread::Builder::new().spawn(|| ()).map(|thread| thread.join().unwrap()).map_err(errno),
        "tcp" => {
            let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, argument.parse().unwrap());
            connect(socket(AddressFamily::INET, SocketType::STREAM, None)?, &to)
        }
        "abstract" => {
            let to = SocketAddrUnix::new_abstract_name(argument.as_bytes())?;
            connect(socket(AddressFamily::UNIX, SocketType::STREAM, None)?, &to)
        }
        "connect_given" => {
            let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, argument.parse().unwrap());
            connect(io::stdin(), &to)
        }
        "send_elsewhere" => {
            let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, argument.parse().unwrap());
            rustix::net::sendto(io::stdin(), b"x", rustix::net::SendFlags::empty(), &to).map(|_| ())
        }
        "fork" => fork(),
        "call" => call(argument.parse().unwrap(), [0; 5]),
        _ => perform_raw(name),
    }
}

/// The acts that are one system call, with what an attacker would pass.
fn perform_raw(name: &str) -> Result<(), Errno> {
    let parent = || libc::c_long::from(rustix::process::getppid().unwrap().as_raw_pid());
    match name {
        "open" => open(c"/etc/passwd"),
        "open_proc" => open(c"/proc/1/environ"),
        "openat2" => {
            let how = [0_u64; 3];
            let size = size_of_val(&how) as libc::c_long;
            call(libc::SYS_openat2, [at_cwd(), address(c"/etc/passwd"), how.as_ptr() as libc::c_long, size, 0])
        }
        "execve" => call(libc::SYS_execve, [address(c"/bin/true"), 0, 0, 0, 0]),
        "ptrace" => call(libc::SYS_ptrace, [PTRACE_ATTACH, parent(), 0, 0, 0]),
        "kill_parent" => call(libc::SYS_kill, [parent(), 0, 0, 0, 0]),
        "setns_given" => call(libc::SYS_setns, [0, libc::CLONE_NEWNET.into(), 0, 0, 0]),
        "unshare" => call(libc::SYS_unshare, [libc::CLONE_NEWNET.into(), 0, 0, 0, 0]),
        "mount" => call(libc::SYS_mount, [address(c"none"), address(c"/"), address(c"tmpfs"), 0, 0]),
        "siocgskns_given" => call(libc::SYS_ioctl, [0, SIOCGSKNS, 0, 0, 0]),
        "bpf" => call(libc::SYS_bpf, [BPF_PROG_GET_NEXT_ID, [0_u64; 16].as_ptr() as libc::c_long, 128, 0, 0]),
        "setuid" => call(libc::SYS_setresuid, [0; 5]),
        "raise_limit" => {
            let wanted = [1_u64 << 20; 2];
            let resource = libc::c_long::from(libc::RLIMIT_NOFILE);
            call(libc::SYS_prlimit64, [0, resource, wanted.as_ptr() as libc::c_long, 0, 0])
        }
        unknown => panic!("no act {unknown}"),
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).expect("an error of the kernel")
}

fn open(path: &CStr) -> Result<(), Errno> {
    call(libc::SYS_openat, [at_cwd(), address(path), 0, 0, 0])
}

fn at_cwd() -> libc::c_long {
    libc::AT_FDCWD.into()
}

fn address(text: &CStr) -> libc::c_long {
    text.as_ptr() as libc::c_long
}

#[allow(unsafe_code, reason = "the point is to make the call as an attacker would")]
fn call(number: libc::c_long, arguments: [libc::c_long; 5]) -> Result<(), Errno> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: every pointer passed by these tests is null or to memory that lives past the call and
    // is as large as the call reads.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    if result < 0 { Err(errno(io::Error::last_os_error())) } else { Ok(()) }
}

#[allow(unsafe_code, reason = "there is no safe fork")]
fn fork() -> Result<(), Errno> {
    // SAFETY: the process has one thread, and the child does nothing but end.
    match unsafe { libc::fork() } {
        0 => std::process::exit(0),
        child if child > 0 => Ok(()),
        _ => Err(errno(io::Error::last_os_error())),
    }
}

/// Until whoever gave standard input closes it, or the kernel ends us.
fn wait_for_end() -> Result<(), Errno> {
    say("waiting");
    io::stdin().read(&mut [0]).map(|_| ()).map_err(errno)
}

/// `Ok` if nothing from 3 on is open.
#[allow(unsafe_code, reason = "the numbers are not known to be descriptors")]
fn no_descriptor_is_open() -> Result<(), Errno> {
    // SAFETY: reading a descriptor's flags touches no memory and changes nothing.
    let is_open = |number| unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
    if (3..1024).any(is_open) { Err(Errno::BADF) } else { Ok(()) }
}
