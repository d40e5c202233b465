//! What the kernel could not tell, or would not: events that were lost because a queue was full, and watches that were refused.
//!
//! Births, deaths, OOM kills and changed limits come from the kernel by itself, so an agent that is deaf to a part of it must say so: else
//! nothing happened, and nothing was heard, look the same. Counts only, by for what and why; each is told in words once, by whoever keeps the
//! log. No paths: a tenant chooses many of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::io::Errno;

/// For what it is listened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Births and deaths in root's directories.
    Births,
    /// The same in trees that are another's.
    ForeignBirths,
    /// Limits that are written, OOM kills and refused forks.
    Limits,
}

impl Of {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Births, Self::ForeignBirths, Self::Limits];

    /// The value of the label `of`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Births => "births",
            Self::ForeignBirths => "foreign_births",
            Self::Limits => "limits",
        }
    }
}

/// Why something is not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// More came than a queue holds, the kernel's or ours.
    Overflow,
    /// As many are watched as we allow ourselves.
    Bound,
    /// The kernel gives this user no more watches, or has no memory for one.
    Kernel,
    /// No descriptor is left.
    Descriptors,
    /// The agent may not.
    Denied,
    /// Any other error of the kernel's.
    Error,
}

impl Why {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 6] =
        [Self::Overflow, Self::Bound, Self::Kernel, Self::Descriptors, Self::Denied, Self::Error];

    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Bound => "bound",
            Self::Kernel => "kernel",
            Self::Descriptors => "descriptors",
            Self::Denied => "denied",
            Self::Error => "error",
        }
    }

    /// Why the kernel refused. None where what was to be watched is not there, which is no refusal.
    pub fn of(errno: Errno) -> Option<Self> {
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::NODEV => None,
            Errno::NOSPC | Errno::NOMEM => Some(Self::Kernel),
            Errno::MFILE | Errno::NFILE => Some(Self::Descriptors),
            Errno::ACCESS | Errno::PERM => Some(Self::Denied),
            _ => Some(Self::Error),
        }
    }
}

#[derive(Debug, Default)]
struct Count {
    times: AtomicU64,
    said: AtomicBool,
}

/// How often something was not heard, since the start.
#[derive(Debug, Default)]
pub struct Unheard([[Count; Why::ALL.len()]; Of::ALL.len()]);

impl Unheard {
    /// Counts one.
    pub fn note(&self, of: Of, why: Why) {
        self.count(of, why).times.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refusal of the kernel's, if it is one.
    pub(crate) fn refused(&self, of: Of, errno: Errno) {
        if let Some(why) = Why::of(errno) {
            self.note(of, why);
        }
    }

    /// How often.
    pub fn times(&self, of: Of, why: Why) -> u64 {
        self.count(of, why).times.load(Ordering::Relaxed)
    }

    /// What has happened and was not asked for before: each is given once.
    pub fn news(&self) -> Vec<(Of, Why)> {
        let all = Of::ALL.into_iter().flat_map(|of| Why::ALL.map(|why| (of, why)));
        let is_new = |(of, why): &(Of, Why)| {
            let count = self.count(*of, *why);
            count.times.load(Ordering::Relaxed) > 0 && !count.said.swap(true, Ordering::Relaxed)
        };
        all.filter(is_new).collect()
    }

    fn count(&self, of: Of, why: Why) -> &Count {
        &self.0[of as usize][why as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_news_once_and_counted_each_time() {
        let unheard = Unheard::default();
        assert!(unheard.news().is_empty());
        unheard.refused(Of::Limits, Errno::NOSPC);
        unheard.refused(Of::Limits, Errno::NOSPC);
        unheard.refused(Of::Limits, Errno::NOENT);
        unheard.note(Of::Births, Why::Overflow);
        assert_eq!(unheard.news(), [(Of::Births, Why::Overflow), (Of::Limits, Why::Kernel)]);
        assert!(unheard.news().is_empty());
        assert_eq!((unheard.times(Of::Limits, Why::Kernel), unheard.times(Of::Births, Why::Bound)), (2, 0));
    }
}
