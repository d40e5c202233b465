//! Which sensors a runner may have died of.
//!
//! When a runner dies, everything that ran in it is suspected: the runner's own word for who it was would be worth nothing if it was taken over.
//! A suspect runs alone from then on, each time in a process of its own, until it has done so well. If a runner dies of it *there*, it was it: where
//! others ran before, one of them may have left something behind. The second time its digest is quarantined on this node, for all accounts, until a new version comes or somebody releases it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;

/// Runners that a sensor may take with it, alone, before it is not run any more.
const DEATHS: u32 = 2;
/// Runs alone that clear a suspect.
const CLEARED_AFTER: u32 = 3;
/// Digests kept; far more than can be in flight when runners die.
const MOST: usize = 65_536;

#[derive(Debug, Default, Clone, Copy)]
struct Suspicion {
    /// Runs alone that it has yet to do well.
    left: u32,
    deaths: u32,
}

/// What is held against digests, on all threads of the schedule.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    known: Mutex<HashMap<Digest, Suspicion>>,
}

/// How a sensor is to be run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    Alone,
    Never,
}

impl Suspects {
    fn known(&self) -> MutexGuard<'_, HashMap<Digest, Suspicion>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn standing(&self, digest: &Digest) -> Standing {
        match self.known().get(digest) {
            None => Standing::Good,
            Some(suspicion) if suspicion.deaths >= DEATHS => Standing::Never,
            Some(suspicion) if suspicion.left > 0 => Standing::Alone,
            Some(_) => Standing::Good,
        }
    }

    /// A runner died while it ran, in a process where others ran too or, `alone`, none ever did.
    pub(super) fn suspect(&self, digest: Digest, alone: bool) {
        let mut known = self.known();
        if known.len() >= MOST {
            known.retain(|_, suspicion| suspicion.deaths > 0);
        }
        if known.len() >= MOST
            && let Some(any) = known.keys().next().copied()
        {
            known.remove(&any);
        }
        let suspicion = known.entry(digest).or_default();
        suspicion.left = CLEARED_AFTER;
        suspicion.deaths = suspicion.deaths.saturating_add(u32::from(alone));
    }

    /// It ran alone and the runner lived.
    pub(super) fn survived(&self, digest: &Digest) {
        let mut known = self.known();
        if let Some(suspicion) = known.get_mut(digest) {
            suspicion.left = suspicion.left.saturating_sub(1);
            if suspicion.left == 0 && suspicion.deaths == 0 {
                known.remove(digest);
            }
        }
    }

    /// Somebody says that it may run again.
    pub(super) fn release(&self, digest: &Digest) {
        self.known().remove(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_only_there_is_cleared_and_who_did_it_is_not() {
        let suspects = Suspects::default();
        let (innocent, guilty) = (Digest::of(b"i"), Digest::of(b"g"));
        assert_eq!(suspects.standing(&guilty), Standing::Good);
        suspects.suspect(innocent, false);
        suspects.suspect(guilty, false);
        assert_eq!((suspects.standing(&innocent), suspects.standing(&guilty)), (Standing::Alone, Standing::Alone));
        for _ in 0..CLEARED_AFTER {
            suspects.survived(&innocent);
        }
        assert_eq!(suspects.standing(&innocent), Standing::Good);
        suspects.suspect(guilty, true);
        assert_eq!(suspects.standing(&guilty), Standing::Alone);
        suspects.suspect(guilty, true);
        assert_eq!(suspects.standing(&guilty), Standing::Never);
        suspects.survived(&guilty);
        assert_eq!(suspects.standing(&guilty), Standing::Never);
        suspects.release(&guilty);
        assert_eq!(suspects.standing(&guilty), Standing::Good);
    }

    #[test]
    fn a_crowd_is_bounded() {
        let suspects = Suspects::default();
        for number in 0..MOST + 10 {
            suspects.suspect(Digest::of(&number.to_le_bytes()), true);
        }
        assert_eq!(suspects.known().len(), MOST);
    }
}
