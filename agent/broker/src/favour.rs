//! What a process that must outlast the rainy day asks of the kernel: its memory kept, and its life spared when memory runs out.
//!
//! Agent and broker ask for both while they still have the privileges, before their first thread. Memory is locked as it is used
//! (`MCL_ONFAULT`): pages that have been touched are never taken away again, and of the 30 MB of the program, of the threads' stacks and of
//! the allocator's reservations nothing is held that nobody needed. Future mappings are locked too, so the limit of locked memory must go first
//! (`CAP_SYS_RESOURCE`, or the service manager has lifted it): a mapping over it would fail. Where it stays, the agent can keep
//! `CAP_IPC_LOCK` instead; the broker cannot, whose threads become others. Without root all of it is refused, which is said in one
//! line each and stops nothing.

use std::io;
use std::path::Path;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::capabilities;
use sonde_jail::agent::{CapabilitySet, oom_score_adj};

/// How little the kernel should want to end agent and broker where memory runs out: without the one nothing is answered,
/// without the other nothing opened. Not -1000, which would spare even one that leaks.
pub const OOM_SCORE: i16 = -900;

/// What a process has of the kernel's favour, by what the kernel says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Favour {
    /// `VmLck` of `/proc/PID/status` is not 0 (proc_pid_status(5)).
    pub memory_locked: bool,
    /// `/proc/PID/oom_score_adj` is [`OOM_SCORE`] or less.
    pub spared: bool,
}

/// Asks for all of it, and says what was refused. `may_keep` are capabilities that the process may keep for it; returns those that it must.
pub(crate) fn ask(who: &str, may_keep: CapabilitySet) -> CapabilitySet {
    let kept = lock_memory(may_keep).unwrap_or_else(|error| {
        tracing::info!(who, %error, "memory is not locked: where the node runs out of it, this process may wait for its own");
        CapabilitySet::empty()
    });
    if let Err(error) = oom_score_adj(OOM_SCORE) {
        let error = sonde_host::chain(&error);
        tracing::info!(who, error, "the kernel does not spare this process where the node runs out of memory");
    }
    kept
}

fn lock_memory(may_keep: CapabilitySet) -> io::Result<CapabilitySet> {
    let unlimited = Rlimit { current: None, maximum: None };
    let mut kept = CapabilitySet::empty();
    if getrlimit(Resource::Memlock) != unlimited
        && let Err(error) = setrlimit(Resource::Memlock, unlimited)
    {
        kept = capabilities(None)?.effective & may_keep & CapabilitySet::IPC_LOCK;
        if kept.is_empty() {
            return Err(error.into());
        }
    }
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)?;
    Ok(kept)
}

/// What the process with that folder in `/proc` has; of one that is gone, nothing.
pub fn of(process: &Path) -> Favour {
    let read = |file: &str| std::fs::read_to_string(process.join(file)).unwrap_or_default();
    let status = read("status");
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")?.split_whitespace().next()?.parse().ok());
    Favour {
        memory_locked: locked.is_some_and(|kib: u64| kib > 0),
        spared: read("oom_score_adj").trim().parse::<i16>().is_ok_and(|score| score <= OOM_SCORE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn favour_is_what_the_kernel_says() {
        let process = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(process.path().join(file), text).unwrap();
        assert_eq!(of(process.path()), Favour { memory_locked: false, spared: false }, "a process that is gone");
        write("status", "Name:\tsonde\nVmLck:\t       0 kB\n");
        write("oom_score_adj", "-899\n");
        assert_eq!(of(process.path()), Favour { memory_locked: false, spared: false });
        write("status", "Name:\tsonde\nVmLck:\t  421004 kB\nVmRSS:\t 20000 kB\n");
        write("oom_score_adj", "-900\n");
        assert_eq!(of(process.path()), Favour { memory_locked: true, spared: true });
    }
}
