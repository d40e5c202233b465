//! Namespaces of its own: a network with nothing in it, no shared IPC, and an empty root.
//!
//! Each is asked for by itself, so that a kernel without one still gives the others. The root is a
//! read-only `tmpfs` of no size that takes the place of `/`; the old root is detached, and with it
//! `/proc`, `/sys` and every socket with a path. There is no PID namespace: it would take a fork.

use std::fs;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use rustix::process::{chdir, getegid, geteuid, pivot_root};
use rustix::thread::UnshareFlags;

use crate::{Fault, Outcome};

/// Directories over which the new root is mounted, for the moment until it is the root; every
/// system has the first, and the others are for those that do not.
const PLACES: [&str; 3] = ["/proc", "/tmp", "/sys"];
/// One page and the root's own inode: nothing can be kept in it.
const ROOT_OPTIONS: &std::ffi::CStr = c"size=4k,nr_inodes=2,mode=0555";

/// A user namespace in which the process, without being root, may make the others. The user stays
/// the same one to itself and to the host.
pub(crate) fn own_user_space() -> Outcome {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    leave(UnshareFlags::NEWUSER, "unshare(CLONE_NEWUSER)")?;
    let write = |file: &str, text: String| {
        let source = fs::write(file, text).err();
        source.map_or(Ok(()), |source| Err(Fault::Call { call: "mapping the user", source }))
    };
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    Ok(None)
}

/// A network namespace: not even its loopback is up.
pub(crate) fn own_network() -> Outcome {
    leave(UnshareFlags::NEWNET, "unshare(CLONE_NEWNET)")
}

/// System V and POSIX IPC, and the host's name.
pub(crate) fn own_ipc_and_names() -> Outcome {
    leave(UnshareFlags::NEWIPC, "unshare(CLONE_NEWIPC)")?;
    leave(UnshareFlags::NEWUTS, "unshare(CLONE_NEWUTS)")
}

/// A mount namespace whose root is empty and cannot be written.
pub(crate) fn empty_root() -> Outcome {
    leave(UnshareFlags::NEWNS, "unshare(CLONE_NEWNS)")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(Fault::call("making mounts private"))?;
    let place = PLACES.into_iter().find(|place| Path::new(place).is_dir()).unwrap_or(PLACES[0]);
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("none", place, "tmpfs", flags, ROOT_OPTIONS).map_err(Fault::call("mounting the empty root"))?;
    chdir(place).map_err(Fault::call("chdir to the empty root"))?;
    // The old root lands on top of the new one, from where the next call takes it away: no
    // directory for it is needed, so the new root can be read-only from the start.
    pivot_root(".", ".").map_err(Fault::call("pivot_root"))?;
    unmount(".", UnmountFlags::DETACH).map_err(Fault::call("detaching the old root"))?;
    chdir("/").map_err(Fault::call("chdir to the root"))?;
    match fs::read_dir("/").map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(None),
        Ok(false) => Err(Fault::RootNotEmpty),
        Err(source) => Err(Fault::Call { call: "reading the empty root", source }),
    }
}

#[allow(unsafe_code, reason = "rustix marks it unsafe for CLONE_FILES, which is never passed")]
fn leave(space: UnshareFlags, call: &'static str) -> Outcome {
    // SAFETY: only namespaces are unshared, never the table of descriptors.
    unsafe { rustix::thread::unshare_unsafe(space) }.map_err(Fault::call(call))?;
    Ok(None)
}
