//! The chain of kstats through libkstat(3KSTAT), and all of this project's unsafe code.
//!
//! The layouts are those of `sys/kstat.h` and `kstat.h` in illumos-gate, whose ABI is committed. One [`Chain`] is one `kstat_ctl_t`, used by
//! one owner at a time (`&mut self`): libkstat keeps data in buffers that the next read of the same kstat overwrites or frees, so a
//! read copies everything out before it returns. Numbers that the kernel gives as counts of elements are held to bounds of our own and to the
//! size of the data that they count.
//!
//! `kstat_read` waits without end for a kstat that is busy (it sleeps and tries again on EAGAIN): call from a thread that may be stuck.

use std::ffi::{c_char, c_int, c_uchar, c_uint, c_void};
use std::io;
use std::ptr::NonNull;

use crate::{Header, Kstat, Value};

/// `KSTAT_STRLEN`.
const NAME_BYTES: usize = 31;
/// `KSTAT_TYPE_NAMED`.
const NAMED: c_uchar = 1;
/// Statistics of one kstat that are taken: `arcstats` has some 120.
const STATISTICS_MAX: usize = 4096;
/// Kstats of a chain that are walked: a node of 1,000 zones has some 50,000.
const CHAIN_MAX: usize = 1 << 20;
/// Bytes of a text that are taken.
const TEXT_BYTES_MAX: usize = 4096;

/// `kstat_t`.
#[repr(C)]
struct RawKstat {
    ks_crtime: i64,
    ks_next: *mut RawKstat,
    ks_kid: c_int,
    ks_module: [c_char; NAME_BYTES],
    ks_resv: c_uchar,
    ks_instance: c_int,
    ks_name: [c_char; NAME_BYTES],
    ks_type: c_uchar,
    ks_class: [c_char; NAME_BYTES],
    ks_flags: c_uchar,
    ks_data: *mut c_void,
    ks_ndata: c_uint,
    ks_data_size: usize,
    ks_snaptime: i64,
    // The kernel's own, of no meaning here.
    ks_update: *mut c_void,
    ks_private: *mut c_void,
    ks_snapshot: *mut c_void,
    ks_lock: *mut c_void,
}

/// `kstat_named_t`.
#[repr(C)]
struct RawNamed {
    name: [c_char; NAME_BYTES],
    data_type: c_uchar,
    value: RawValue,
}

/// Its `value`. Which of these holds, `data_type` says.
#[repr(C)]
union RawValue {
    c: [c_char; 16],
    i32: i32,
    ui32: u32,
    i64: i64,
    ui64: u64,
    f: f32,
    d: f64,
    str: RawText,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RawText {
    ptr: *const c_char,
    /// With the closing NUL.
    len: u32,
}

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

fn header(raw: &RawKstat) -> Header {
    Header {
        module: text(&raw.ks_module),
        instance: raw.ks_instance,
        name: text(&raw.ks_name),
        class: text(&raw.ks_class),
        created_ns: raw.ks_crtime,
    }
}

/// Copies a named kstat out.
///
/// # Safety
/// It must be of the named type and have been read without error, and not again since.
unsafe fn taken(raw: &RawKstat, header: Header) -> Kstat {
    let fit = raw.ks_data_size / size_of::<RawNamed>();
    let count = (raw.ks_ndata as usize).min(fit).min(STATISTICS_MAX);
    let data = raw.ks_data.cast::<RawNamed>();
    let mut statistics = Vec::with_capacity(count);
    if !data.is_null() {
        // SAFETY: after a read `ks_data` holds `ks_data_size` bytes from malloc, aligned for all, which begin with `ks_ndata` elements;
        // `count` is no more than either says.
        for named in unsafe { std::slice::from_raw_parts(data, count) } {
            // SAFETY: texts of this kstat lie in the same buffer, which nothing has touched since the read.
            if let Some(value) = unsafe { value(named) } {
                statistics.push((text(&named.name), value));
            }
        }
    }
    Kstat { header, taken_ns: raw.ks_snaptime, statistics }
}

/// The value of a statistic; none of a type that is not known.
///
/// # Safety
/// A text's pointer must be NULL or point to as many bytes as it says.
unsafe fn value(named: &RawNamed) -> Option<Value> {
    let of = &named.value;
    // SAFETY: each field is read as what `data_type` says was written there; all bytes of the union are initialised, and of every field but
    // the pointer any bytes are a value. The pointer is the caller's promise.
    unsafe {
        Some(match named.data_type {
            0 => Value::Text(text(&of.c)),
            1 => Value::Signed(i64::from(of.i32)),
            2 => Value::Unsigned(u64::from(of.ui32)),
            3 => Value::Signed(of.i64),
            4 => Value::Unsigned(of.ui64),
            5 => Value::Float(f64::from(of.f)),
            6 => Value::Float(of.d),
            9 if of.str.ptr.is_null() => Value::Text(String::new()),
            9 => {
                let length = (of.str.len as usize).min(TEXT_BYTES_MAX);
                Value::Text(text(std::slice::from_raw_parts(of.str.ptr, length)))
            }
            _ => return None,
        })
    }
}

/// The text up to the first NUL.
fn text(bytes: &[c_char]) -> String {
    let bytes: Vec<u8> = bytes.iter().map(|byte| byte.cast_unsigned()).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
