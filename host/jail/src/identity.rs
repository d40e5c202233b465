//! The user and the capabilities.
//!
//! The calls are those of the kernel, which change one thread; the jail has one. Each is looked at
//! again afterwards: a change of user that quietly did nothing has been a hole before.

use rustix::io::Errno;
use rustix::process::{getgid, getgroups, getuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_ambient_set, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid, set_thread_uid,
};

use crate::{Fault, Outcome};

/// The kernel's sets have this many bits (`_LINUX_CAPABILITY_U32S_3` words).
const CAPABILITY_BITS: u32 = 64;

/// Whether the process acts as root, and so can become somebody else.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Becomes `uid`, user and group, without other groups, and makes sure that root cannot come back.
pub(crate) fn become_user(uid: u32, was_root: bool) -> Outcome {
    if !was_root {
        return Err(Fault::SharedUser);
    }
    if uid == 0 {
        return Err(Fault::RootWanted);
    }
    let (user, group) = (rustix::process::Uid::from_raw(uid), rustix::process::Gid::from_raw(uid));
    set_thread_groups(&[]).map_err(Fault::call("setgroups"))?;
    set_thread_res_gid(group, group, group).map_err(Fault::call("setresgid"))?;
    set_thread_res_uid(user, user, user).map_err(Fault::call("setresuid"))?;
    let is_other = getuid() == user && getgid() == group && getgroups().is_ok_and(|groups| groups.is_empty());
    if !is_other || set_thread_uid(rustix::process::Uid::ROOT).is_ok() {
        return Err(Fault::UserReturns);
    }
    Ok(None)
}

/// Every capability the kernel knows, one bit each.
pub(crate) fn known() -> impl Iterator<Item = CapabilitySet> {
    let bits = (0..CAPABILITY_BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit));
    bits.take_while(|bit| capability_is_in_bounding_set(*bit).is_ok())
}

/// Takes from the bounding set all but `keep`. `EPERM` if the process may not.
pub(crate) fn keep_in_bounding_set(keep: CapabilitySet) -> Result<(), Errno> {
    for bit in known().filter(|bit| !keep.contains(*bit)) {
        if capability_is_in_bounding_set(bit)? {
            remove_capability_from_bounding_set(bit)?;
        }
    }
    Ok(())
}

/// Takes everything from the bounding set, from which `execve` would give.
pub(crate) fn empty_bounding_set() -> Result<(), Errno> {
    keep_in_bounding_set(CapabilitySet::empty())
}

/// Empties the other four sets. `bounding` is how emptying the bounding set went: without the right
/// to empty it, it stays, which gives nothing to who cannot gain privileges by `execve`.
pub(crate) fn empty_sets(bounding: Result<(), Errno>) -> Outcome {
    // Gone already with the change of user, or refused by kernels before 4.3: the look below tells.
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(Fault::call("capset"))?;
    let sets = remaining().map_err(Fault::call("reading capabilities"))?;
    if !sets.is_empty() {
        return Err(Fault::CapabilitiesRemain { sets });
    }
    match bounding {
        Ok(()) => Ok(None),
        Err(Errno::PERM) if !is_root() => Ok(Some("the bounding set could not be emptied".to_owned())),
        Err(errno) => Err(Fault::call("emptying the bounding set")(errno)),
    }
}

/// The names of the sets that are not empty, the bounding set aside.
fn remaining() -> Result<String, Errno> {
    let sets = capabilities(None)?;
    let ambient = known().any(|bit| capability_is_in_ambient_set(bit).unwrap_or(false));
    let named = [
        ("effective", !sets.effective.is_empty()),
        ("permitted", !sets.permitted.is_empty()),
        ("inheritable", !sets.inheritable.is_empty()),
        ("ambient", ambient),
    ];
    let names: Vec<&str> = named.into_iter().filter(|(_, full)| *full).map(|(name, _)| name).collect();
    Ok(names.join(", "))
}
