//! Why a layer is not in force, as one enum for all layers: each of them is a few system calls, and
//! what the operator needs is which call the kernel refused.

use std::io;

use thiserror::Error;

/// Why a layer is not in force.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    #[error("{call}")]
    Call { call: &'static str, source: io::Error },
    #[error("cannot join {path}")]
    Join { path: String, source: io::Error },
    #[error("no cgroup was given")]
    NoCgroup,
    #[error("{count} descriptors beyond the given three stay open")]
    StillOpen { count: usize },
    #[error("the new root is not empty")]
    RootNotEmpty,
    #[error("the process shares its parent's user, because only root can take another")]
    SharedUser,
    #[error("user 0 was asked for, which is root")]
    RootWanted,
    #[error("root could be taken back")]
    UserReturns,
    #[error("capabilities remain: {sets}")]
    CapabilitiesRemain { sets: String },
    #[error("{flag} did not stay set")]
    NotKept { flag: &'static str },
    #[error("the parent is {found:?} and not {expected}: it has died")]
    ParentGone { expected: u32, found: Option<u32> },
    #[error("the kernel has no Landlock")]
    NoLandlock,
    #[error("Landlock")]
    Landlock { source: landlock::RulesetError },
    #[error("the filter cannot be built")]
    FilterBuild { source: seccompiler::BackendError },
    #[error("the kernel refused the filter")]
    FilterApply { source: seccompiler::Error },
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    #[error("no list of system calls for this architecture")]
    Architecture,
}

impl Fault {
    /// For `map_err` behind a system call of rustix.
    pub(crate) fn call(call: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Call { call, source: errno.into() }
    }

    /// The whole chain on one line: a report goes to another process, which has no use for types.
    pub(crate) fn text(&self) -> String {
        sonde_fault::chain(self)
    }
}
