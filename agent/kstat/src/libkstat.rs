//! The chain of kstats through libkstat(3KSTAT).
//!
//! One [`Chain`] is one `kstat_ctl_t`, used by one owner at a time (`&mut self`): libkstat keeps data in buffers that the next read of the same
//! kstat overwrites or frees, so a read copies everything out before it returns.
//!
//! `kstat_read` waits without end for a kstat that is busy (it sleeps and tries again on EAGAIN): call from a thread that may be stuck.

use std::ffi::{c_int, c_void};
use std::io;
use std::ptr::NonNull;

use crate::raw::{NAMED, RawKstat, header, taken};
use crate::{Header, Kstat};

/// Kstats of a chain that are walked: a node of 1,000 zones has some 50,000.
const CHAIN_MAX: usize = 1 << 20;

/// `kstat_ctl_t`.
#[repr(C)]
struct RawCtl {
    kc_chain_id: c_int,
    kc_chain: *mut RawKstat,
    kc_kd: c_int,
}

#[link(name = "kstat")]
unsafe extern "C" {
    fn kstat_open() -> *mut RawCtl;
    fn kstat_close(ctl: *mut RawCtl) -> c_int;
    fn kstat_chain_update(ctl: *mut RawCtl) -> c_int;
    fn kstat_read(ctl: *mut RawCtl, kstat: *mut RawKstat, data: *mut c_void) -> c_int;
}

/// The chain of all kstats.
#[derive(Debug)]
pub struct Chain {
    ctl: NonNull<RawCtl>,
}

// SAFETY: a `kstat_ctl_t` is a descriptor and memory of the heap, bound to no thread; all use of it takes `&mut self`.
unsafe impl Send for Chain {}

impl Chain {
    /// Opens `/dev/kstat`. What is read then is what the zone of this process may see.
    pub fn open() -> io::Result<Self> {
        // SAFETY: it takes nothing, and gives a handle of its own or NULL with errno set.
        let ctl = unsafe { kstat_open() };
        NonNull::new(ctl).map(|ctl| Self { ctl }).ok_or_else(io::Error::last_os_error)
    }

    /// Brings the chain up to date and reads those named kstats in it that are wanted. One that goes away before it is read is left out, as
    /// if it had gone sooner.
    pub fn read(&mut self, mut wanted: impl FnMut(&Header) -> bool) -> io::Result<Vec<Kstat>> {
        // SAFETY: the handle is open. This may free kstats of the chain; no pointer to one is held over it.
        if unsafe { kstat_chain_update(self.ctl.as_ptr()) } == -1 {
            return Err(io::Error::last_os_error());
        }
        let mut all = Vec::new();
        // SAFETY: the handle is open, and nobody else writes to it while `self` is borrowed.
        let mut next = unsafe { self.ctl.as_ref() }.kc_chain;
        for _ in 0..CHAIN_MAX {
            let Some(kstat) = NonNull::new(next) else { break };
            // SAFETY: what hangs on the chain is a `kstat_t` that lives until the next update, which `&mut self` keeps off. The reference
            // ends before the read below writes to it.
            let (header, is_named) = {
                let raw = unsafe { kstat.as_ref() };
                next = raw.ks_next;
                (header(raw), raw.ks_type == NAMED)
            };
            if !is_named || !wanted(&header) {
                continue;
            }
            // SAFETY: both are live, as above; with no buffer given libkstat keeps the data in one of its own, at `ks_data`.
            if unsafe { kstat_read(self.ctl.as_ptr(), kstat.as_ptr(), std::ptr::null_mut()) } == -1 {
                continue;
            }
            // SAFETY: it was read just now, without error, and is of the named type.
            all.push(unsafe { taken(kstat.as_ref(), header) });
        }
        Ok(all)
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // SAFETY: the handle is open and is used no more. An error leaves nothing to be done.
        unsafe { kstat_close(self.ctl.as_ptr()) };
    }
}
