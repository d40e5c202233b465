//! The instance's processes, at most 1,024 of them.
//!
//! Manifest: `[capabilities] processes = true`. Names are the kernel's `comm`, not command lines,
//! which may hold secrets.

pub use crate::raw::processes::Process;

/// All of them.
pub fn list() -> Vec<Process> {
    crate::raw::processes::list_processes()
}
