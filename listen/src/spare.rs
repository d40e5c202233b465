//! Descriptors held for the moment when there are none: closed so that a connection can be answered, and taken back.
//!
//! A process, or the whole node, can run out of descriptors through no fault of the scraper's. A connection that cannot be accepted then
//! gets a portion of these, for itself and for the files that its reading opens; each second what has become free is taken back. Each spare is a
//! file of its own and no duplicate, because the node counts files and only the process counts descriptors.

use std::fs::File;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held, if there are as many.
const SPARE: usize = 128;
/// Of all that the process may have, at most this part is held.
const PART: u64 = 8;
/// Given at once: one for the connection, one for what its answer opens for a moment. No more, for on a node without files a
/// tenant that tries again and again gets what is over.
const PORTION: usize = 2;
/// What is opened: a file that is on every machine and costs nothing.
const NOTHING: &str = "/dev/null";

/// The spare descriptors of a server.
#[derive(Debug)]
pub struct Spare {
    held: Mutex<Vec<File>>,
    wanted: usize,
}

impl Spare {
    /// Takes them, for a process that may have so many descriptors.
    pub fn take(descriptors: u64) -> Self {
        let wanted = usize::try_from(descriptors / PART).unwrap_or(SPARE).min(SPARE);
        let spare = Self { held: Mutex::default(), wanted };
        if !spare.take_back() {
            tracing::warn!(wanted, "not all spare descriptors could be taken");
        }
        spare
    }

    /// Closes a portion; false if there was none.
    pub fn give(&self) -> bool {
        let mut held = self.held();
        let left = held.len().saturating_sub(PORTION);
        !held.split_off(left).is_empty()
    }

    /// Takes what there is again; true when all are there.
    pub fn take_back(&self) -> bool {
        let mut held = self.held();
        while held.len() < self.wanted {
            match File::open(NOTHING) {
                Ok(file) => held.push(file),
                Err(_) => return false,
            }
        }
        true
    }

    /// Whether all are there.
    pub fn is_whole(&self) -> bool {
        self.held().len() == self.wanted
    }

    fn held(&self) -> MutexGuard<'_, Vec<File>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it is descriptors that were missing: of the process or of the node (accept(2)).
pub(crate) fn is_want_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether it is the node that has none: then nothing that this process closes is sure to be its own again.
pub(crate) fn is_want_of_the_node(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::NFILE.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_are_given_until_none_is_left_and_taken_back() {
        let spare = Spare::take(1 << 20);
        assert!(spare.is_whole());
        for portion in 1..=SPARE / PORTION {
            assert!(spare.give());
            assert_eq!(spare.held().len(), SPARE - portion * PORTION);
        }
        assert!(!spare.give(), "there is nothing more to give");
        assert!(!spare.is_whole());
        assert!(spare.take_back() && spare.is_whole());
    }

    #[test]
    fn a_process_that_may_have_few_holds_a_part_of_them() {
        let spare = Spare::take(8);
        assert_eq!(spare.held().len(), 1);
        assert!(spare.give() && !spare.give(), "less than a portion is one");
    }

    #[test]
    fn want_of_descriptors_is_told_from_other_errors() {
        assert!(is_want_of_descriptors(&io::Error::from_raw_os_error(24)));
        assert!(is_want_of_descriptors(&io::Error::from_raw_os_error(23)));
        assert!(!is_want_of_descriptors(&io::ErrorKind::ConnectionAborted.into()));
        assert!(is_want_of_the_node(&io::Error::from_raw_os_error(23)));
        assert!(!is_want_of_the_node(&io::Error::from_raw_os_error(24)));
    }
}
