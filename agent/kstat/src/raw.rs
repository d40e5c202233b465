//! What a kstat is in memory, and copying it out.
//!
//! The layouts are those of `sys/kstat.h` in illumos-gate, whose ABI is committed; that they come out so here is checked when this is
//! compiled. Numbers that say how much there is are held to bounds of our own and to the size of the data. Where a text is, only the kernel can say.

use std::ffi::{c_int, c_uchar, c_uint, c_void};
use std::mem::offset_of;

use crate::{Header, Kstat, Value};

/// `KSTAT_STRLEN`.
const NAME_BYTES: usize = 31;
/// `KSTAT_TYPE_NAMED`.
pub(crate) const NAMED: c_uchar = 1;
/// Statistics of one kstat that are taken: `arcstats` has some 120.
const STATISTICS_MAX: usize = 4096;
/// Bytes of a text that are taken.
const TEXT_BYTES_MAX: usize = 4096;

/// `kstat_t`.
#[repr(C)]
pub(crate) struct RawKstat {
    ks_crtime: i64,
    pub(crate) ks_next: *mut RawKstat,
    ks_kid: c_int,
    ks_module: [u8; NAME_BYTES],
    ks_resv: c_uchar,
    ks_instance: c_int,
    ks_name: [u8; NAME_BYTES],
    pub(crate) ks_type: c_uchar,
    ks_class: [u8; NAME_BYTES],
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
    name: [u8; NAME_BYTES],
    data_type: c_uchar,
    value: RawValue,
}

/// Its `value`. Which of these holds, `data_type` says.
#[repr(C)]
union RawValue {
    c: [u8; 16],
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
    ptr: *const u8,
    /// With the closing NUL.
    len: u32,
}

// On LP64, as the headers give them.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<RawKstat>() == 184 && offset_of!(RawKstat, ks_module) == 20);
    assert!(offset_of!(RawKstat, ks_instance) == 52 && offset_of!(RawKstat, ks_class) == 88);
    assert!(offset_of!(RawKstat, ks_data) == 120 && offset_of!(RawKstat, ks_snaptime) == 144);
    assert!(size_of::<RawNamed>() == 48 && offset_of!(RawNamed, value) == 32);
};

pub(crate) fn header(raw: &RawKstat) -> Header {
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
pub(crate) unsafe fn taken(raw: &RawKstat, header: Header) -> Kstat {
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
fn text(bytes: &[u8]) -> String {
    let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> [u8; NAME_BYTES] {
        let mut name = [0; NAME_BYTES];
        name[..text.len()].copy_from_slice(text.as_bytes());
        name
    }

    fn raw(data: &mut [RawNamed], count: usize) -> RawKstat {
        RawKstat {
            ks_crtime: 7,
            ks_next: std::ptr::null_mut(),
            ks_kid: 1,
            ks_module: name("zones"),
            ks_resv: 0,
            ks_instance: 12,
            // As long as there is room for, and no NUL.
            ks_name: [b'z'; NAME_BYTES],
            ks_type: NAMED,
            ks_class: name("zone_misc"),
            ks_flags: 0,
            ks_data: data.as_mut_ptr().cast(),
            ks_ndata: c_uint::try_from(count).unwrap(),
            ks_data_size: size_of_val(data),
            ks_snaptime: 9,
            ks_update: std::ptr::null_mut(),
            ks_private: std::ptr::null_mut(),
            ks_snapshot: std::ptr::null_mut(),
            ks_lock: std::ptr::null_mut(),
        }
    }

    fn copied(raw: &RawKstat) -> Kstat {
        // SAFETY: `raw` was made of a live slice, with texts that live as long.
        unsafe { taken(raw, header(raw)) }
    }

    #[test]
    fn each_type_is_copied_as_what_it_is() {
        let long = *b"a-zone\0beyond";
        let text = |len: u32| RawValue { str: RawText { ptr: long.as_ptr(), len } };
        let no_text = RawText { ptr: std::ptr::null(), len: 5 };
        let of: [(&str, u8, RawValue, Option<Value>); 12] = [
            ("char", 0, RawValue { c: *b"intel\0\0\0\0\0\0\0\0\0\0\0" }, Some(Value::Text("intel".into()))),
            ("full", 0, RawValue { c: *b"0123456789abcdef" }, Some(Value::Text("0123456789abcdef".into()))),
            ("int32", 1, RawValue { i32: -3 }, Some(Value::Signed(-3))),
            ("uint32", 2, RawValue { ui32: u32::MAX }, Some(Value::Unsigned(u64::from(u32::MAX)))),
            ("int64", 3, RawValue { i64: i64::MIN }, Some(Value::Signed(i64::MIN))),
            ("uint64", 4, RawValue { ui64: u64::MAX }, Some(Value::Unsigned(u64::MAX))),
            ("float", 5, RawValue { f: 0.5 }, Some(Value::Float(0.5))),
            ("double", 6, RawValue { d: 0.25 }, Some(Value::Float(0.25))),
            ("string", 9, text(13), Some(Value::Text("a-zone".into()))),
            ("cut", 9, text(3), Some(Value::Text("a-z".into()))),
            ("null", 9, RawValue { str: no_text }, Some(Value::Text(String::new()))),
            ("unknown", 77, RawValue { ui64: 1 }, None),
        ];
        let (mut data, mut expected) = (Vec::new(), Vec::new());
        for (label, data_type, value, wanted) in of {
            data.push(RawNamed { name: name(label), data_type, value });
            expected.extend(wanted.map(|value| (label.to_owned(), value)));
        }
        let count = data.len();
        let kstat = copied(&raw(&mut data, count));
        assert_eq!(kstat.statistics, expected);
        assert_eq!((kstat.header.module.as_str(), kstat.header.class.as_str()), ("zones", "zone_misc"));
        assert_eq!((kstat.header.name, kstat.header.instance), ("z".repeat(NAME_BYTES), 12));
        assert_eq!((kstat.header.created_ns, kstat.taken_ns), (7, 9));
    }

    #[test]
    fn no_more_is_read_than_there_is() {
        let mut data = [RawNamed { name: name("only"), data_type: 4, value: RawValue { ui64: 1 } }];
        assert_eq!(copied(&raw(&mut data, 1000)).statistics.len(), 1);
        let mut half = raw(&mut data, 1);
        half.ks_data_size = size_of::<RawNamed>() - 1;
        assert!(copied(&half).statistics.is_empty());
        let mut none = raw(&mut data, 1);
        none.ks_data = std::ptr::null_mut();
        assert!(copied(&none).statistics.is_empty());
    }
}
