//! Flags of the process itself: no new privileges, not to be looked into, dead with its parent.
//!
//! The signal at the parent's death comes when the *thread* that started the child ends, so a parent
//! starts its children from a thread that stays.

use std::fs;

use rustix::process::{
    DumpableBehavior, Signal, dumpable_behavior, getppid, set_dumpable_behavior, set_parent_process_death_signal,
};
use rustix::thread::{no_new_privs, set_no_new_privs};

use crate::{Fault, Outcome};

/// How many threads the process has; `None` without `/proc`.
pub(crate) fn threads() -> Option<usize> {
    Some(fs::read_dir("/proc/self/task").ok()?.count())
}

/// Has rustix read what it reads once: on kernels before 6.4 from a file of `/proc`, which will not be
/// there, and it panics then. wasmtime uses the same rustix.
pub(crate) fn read_ahead() {
    let _ = rustix::param::page_size();
}

pub(crate) fn no_new_privileges() -> Outcome {
    set_no_new_privs(true).map_err(Fault::call("PR_SET_NO_NEW_PRIVS"))?;
    if no_new_privs().unwrap_or(false) { Ok(None) } else { Err(Fault::NotKept { flag: "no_new_privs" }) }
}

pub(crate) fn undumpable() -> Outcome {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Fault::call("PR_SET_DUMPABLE"))?;
    match dumpable_behavior() {
        Ok(DumpableBehavior::NotDumpable) => Ok(None),
        _ => Err(Fault::NotKept { flag: "not dumpable" }),
    }
}

/// Asks for SIGKILL when `parent` ends, then looks whether it had ended before.
pub(crate) fn die_with(parent: u32) -> Outcome {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Fault::call("PR_SET_PDEATHSIG"))?;
    let found = getppid().map(|pid| pid.as_raw_pid().unsigned_abs());
    if found == Some(parent) { Ok(None) } else { Err(Fault::ParentGone { expected: parent, found }) }
}
