//! System calls, raw, so that no library decides beforehand that they cannot work.

use std::ffi::{CStr, CString};
use std::io;

use crate::orders::Said;

/// Makes a call.
#[allow(unsafe_code, reason = "the point is to make the call as an attacker would")]
pub fn call(number: i64, arguments: [i64; 6]) -> Said {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the pointers that the drill passes are null, which the kernel answers for, or to what `act` keeps alive.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 { Said::Refused(io::Error::last_os_error().raw_os_error().unwrap()) } else { Said::Done(result) }
}

/// The attempts that need something to point to. What follows a colon is their argument.
pub fn act(name: &str) -> Said {
    let (name, argument) = name.split_once(':').unwrap_or((name, ""));
    let path = CString::new(argument).unwrap();
    match name {
        "open" => call(libc::SYS_openat, [at_cwd(), address(&path), libc::O_RDONLY.into(), 0, 0, 0]),
        "open_path" => call(libc::SYS_openat, [at_cwd(), address(&path), libc::O_PATH.into(), 0, 0, 0]),
        "write" => call(libc::SYS_openat, [at_cwd(), address(&path), libc::O_WRONLY.into(), 0, 0, 0]),
        "openat2" => {
            let how = [0_u64; 3];
            call(libc::SYS_openat2, [at_cwd(), address(&path), how.as_ptr() as i64, 24, 0, 0])
        }
        "stat" => {
            let mut buffer = [0_u8; 256];
            let buffer = buffer.as_mut_ptr() as i64;
            call(libc::SYS_newfstatat, [at_cwd(), address(&path), buffer, libc::AT_EMPTY_PATH.into(), 0, 0])
        }
        "execve" => call(libc::SYS_execve, [address(&path), 0, 0, 0, 0, 0]),
        "execveat_memfd" => {
            let Said::Done(image) = call(libc::SYS_memfd_create, [address(c"x"), 0, 0, 0, 0, 0]) else {
                return Said::Done(-1);
            };
            let script = c"#!/bin/sh\n";
            call(libc::SYS_write, [image, address(script), script.count_bytes() as i64, 0, 0, 0]);
            call(libc::SYS_execveat, [image, address(c""), 0, 0, libc::AT_EMPTY_PATH.into(), 0])
        }
        "mount" => call(libc::SYS_mount, [address(c"none"), address(c"/"), address(c"tmpfs"), 0, 0, 0]),
        "symlink" => call(libc::SYS_symlinkat, [address(c"/"), at_cwd(), address(c"/x"), 0, 0, 0]),
        "read_memory_of" => read_memory(argument.parse().unwrap()),
        "own_shared_memory" => call(libc::SYS_memfd_create, [address(c"own"), 0, 0, 0, 0, 0]),
        "send_descriptor" => send_descriptor(),
        #[cfg(target_arch = "x86_64")]
        "old_call" => old_call(),
        unknown => panic!("no act {unknown}"),
    }
}

fn at_cwd() -> i64 {
    libc::AT_FDCWD.into()
}

fn address(text: &CStr) -> i64 {
    text.as_ptr() as i64
}

fn read_memory(pid: i64) -> Said {
    let mut into = [0_u8; 8];
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: 0x1000 as *mut libc::c_void, iov_len: into.len() };
    let (local, remote) = (&raw const local as i64, &raw const remote as i64);
    call(libc::SYS_process_vm_readv, [pid, local, 1, remote, 1, 0])
}

/// Its own standard input, to the broker.
fn send_descriptor() -> Said {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let input = io::stdin();
    let descriptors = [std::os::fd::AsFd::as_fd(&input)];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    match sendmsg(io::stdout(), &[io::IoSlice::new(b"x")], &mut control, SendFlags::empty()) {
        Ok(sent) => Said::Done(sent as i64),
        Err(errno) => Said::Refused(errno.raw_os_error()),
    }
}

/// `getpid` by the door of 32-bit programs, behind which calls have other numbers.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "there is no other way in")]
fn old_call() -> Said {
    let result: i64;
    // SAFETY: the call takes no argument and touches no memory; the kernel clobbers only what is named.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    Said::Done(result)
}
