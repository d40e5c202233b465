//! Closes everything but the three descriptors that the process was given.
//!
//! A forgotten descriptor is an authority that no other layer takes away: a directory can be opened
//! below, a socket of the host's network spoken on. Close-on-exec is not enough, since the jail
//! never executes anything.

use std::fs;

use crate::{Fault, Outcome};

/// The first descriptor that is not one of the given (input, output, errors).
const FIRST_OTHER: libc::c_int = 3;
/// What reading the list of descriptors has open itself.
const LIST_ITSELF: usize = 1;

/// Closes all from 3 on, and looks whether it did.
pub(crate) fn close_all_but_given() -> Outcome {
    // Kernels before 5.9 do not have the call; there each is closed by its number.
    let at_once = close_from(FIRST_OTHER);
    if at_once.is_err() {
        others().into_iter().flatten().for_each(close);
    }
    match (at_once, others().map(|numbers| numbers.len())) {
        (_, Some(count)) if count > LIST_ITSELF => Err(Fault::StillOpen { count: count - LIST_ITSELF }),
        (Err(fault), None) => Err(fault),
        _ => Ok(None),
    }
}

#[allow(unsafe_code, reason = "closing what is not known to be owned has no safe wrapper")]
fn close_from(first: libc::c_int) -> Result<(), Fault> {
    // SAFETY: no memory is passed. The process was just started and nothing in it owns a descriptor
    // beyond 2, which is what `Jail::enter` asks of its caller.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0 as libc::c_uint) };
    if result == 0 {
        return Ok(());
    }
    Err(Fault::Call { call: "close_range", source: std::io::Error::last_os_error() })
}

#[allow(unsafe_code, reason = "closing what is not known to be owned has no safe wrapper")]
fn close(number: libc::c_int) {
    // SAFETY: as in `close_from`; a number that is not open, as the listing's own, is an error.
    unsafe { libc::close(number) };
}

/// Those that are open from 3 on, the listing's own included; `None` without `/proc`.
fn others() -> Option<Vec<libc::c_int>> {
    let names = fs::read_dir("/proc/self/fd").ok()?.flatten().map(|entry| entry.file_name());
    let numbers = names.filter_map(|name| name.to_str()?.parse().ok());
    Some(numbers.filter(|number| *number >= FIRST_OTHER).collect())
}
