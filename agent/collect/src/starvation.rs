//! Whether this thread has lately gone without a descriptor.
//!
//! To most of what looks around, a file that cannot be opened is not there, and rightly so: instances come and go under its eyes.
//! A process or a node that is out of descriptors would thereby see everything vanish. So each place that opens notes
//! the want here, and who draws conclusions from what is missing asks first, and draws none. A thread's own, because a scan and a reading are
//! each done by one thread from beginning to end, and the places that open know nothing of either.

use std::cell::Cell;
use std::io;

use rustix::io::Errno;

thread_local! {
    static NOTED: Cell<bool> = const { Cell::new(false) };
}

/// To be called before the work whose result is to be judged.
pub(crate) fn forget() {
    NOTED.set(false);
}

/// Whether something could not be opened since [`forget`], though it may be there.
pub(crate) fn was_noted() -> bool {
    NOTED.get()
}

/// Hands on the result of an opening, and notes whether descriptors were wanting, the process's own or the node's.
pub(crate) fn noted<T>(opened: io::Result<T>) -> io::Result<T> {
    if let Err(error) = &opened {
        note(Errno::from_io_error(error));
    }
    opened
}

/// The same, of a bare errno.
pub(crate) fn note(errno: Option<Errno>) {
    if matches!(errno, Some(Errno::MFILE | Errno::NFILE)) {
        NOTED.set(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_want_of_descriptors_is_noted_and_only_here() {
        let failed = |errno: Errno| noted::<()>(Err(errno.into())).unwrap_err();
        for (errno, expected) in
            [(Errno::NOENT, false), (Errno::ACCESS, false), (Errno::MFILE, true), (Errno::NFILE, true)]
        {
            forget();
            assert_eq!(failed(errno).raw_os_error(), Some(errno.raw_os_error()));
            assert_eq!(was_noted(), expected, "{errno}");
        }
        assert!(std::thread::spawn(was_noted).join().is_ok_and(|noted| !noted));
        forget();
        assert!(!was_noted());
    }
}
