//! The filter of system calls, which is the last layer because it takes away what the others need.
//!
//! Three filters, of which the kernel takes the strictest answer. What an honest process never does
//! kills it, so that an attempt is seen. What libraries may try and live without (opening a file, a
//! socket) is refused with `EPERM`. Only what [`calls`] lists goes through, and of that some with
//! certain arguments only.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod calls;

use crate::{Outcome, Profile};

/// Installs the filters for `profile`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) fn apply(profile: Profile) -> Outcome {
    use seccompiler::SeccompAction::{Allow, Errno, KillProcess};

    let pid = rustix::process::getpid().as_raw_pid().unsigned_abs();
    // All are built before the first is in force, and the list that lets through comes last: it
    // does not let a further filter be installed.
    let killed = filter(calls::killed(), Allow, KillProcess)?;
    let absent = filter(calls::absent(), Allow, Errno(libc::ENOSYS.unsigned_abs()))?;
    let allowed = filter(calls::allowed(profile, pid), Errno(libc::EPERM.unsigned_abs()), Allow)?;
    for program in [killed, absent, allowed] {
        seccompiler::apply_filter(&program).map_err(|source| crate::Fault::FilterApply { source })?;
    }
    Ok(None)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn apply(_profile: Profile) -> Outcome {
    Err(crate::Fault::Architecture)
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn filter(
    rules: Result<calls::Rules, seccompiler::BackendError>,
    otherwise: seccompiler::SeccompAction,
    listed: seccompiler::SeccompAction,
) -> Result<seccompiler::BpfProgram, crate::Fault> {
    let build = || {
        let arch = std::env::consts::ARCH.try_into()?;
        seccompiler::SeccompFilter::new(rules?, otherwise, listed, arch)?.try_into()
    };
    build().map_err(|source| crate::Fault::FilterBuild { source })
}
