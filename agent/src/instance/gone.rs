//! Instances that were, for as long as they are remembered.
//!
//! So many at most: who makes and destroys without end must not fill the memory, nor put out of it what others had. So where there is no more
//! room, the oldest goes of whoever has most; what another than root can have made counts apart from what else is its owner's.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use sonde_collect::reader::HeldTicks;
use sonde_collect::{Found, Judgement};
use sonde_expo::Labels;
use uuid::Uuid;

use super::REMEMBER_GONE;

/// Instances gone that are remembered at once; a container restarting every second must not fill the memory.
const MOST_GONE: usize = 4096;

/// An instance that was.
pub struct GoneInstance {
    pub found: Arc<Found>,
    pub owner: Arc<str>,
    pub base: Labels,
    pub(crate) held: Option<HeldTicks>,
    pub judgement: Judgement,
    pub since: Instant,
}

/// Whose it is, and whether root alone can have made it.
type Whose = (Arc<str>, bool);

#[derive(Default)]
pub(super) struct Remembered {
    all: HashMap<Uuid, Arc<GoneInstance>>,
    /// Of each, the oldest first.
    by_owner: HashMap<Whose, VecDeque<Uuid>>,
}

impl Remembered {
    pub(super) fn insert(&mut self, gone: GoneInstance) {
        let id = gone.found.name.uuid;
        self.remove(id);
        if self.all.len() >= MOST_GONE {
            let most = self.by_owner.values_mut().max_by_key(|theirs| theirs.len());
            if let Some(oldest) = most.and_then(VecDeque::pop_front) {
                self.all.remove(&oldest);
            }
        }
        self.by_owner.entry(whose(&gone)).or_default().push_back(id);
        self.all.insert(id, Arc::new(gone));
    }

    /// One that is back.
    pub(super) fn remove(&mut self, id: Uuid) {
        let Some(back) = self.all.remove(&id) else { return };
        if let Some(theirs) = self.by_owner.get_mut(&whose(&back)) {
            theirs.retain(|other| *other != id);
        }
    }

    pub(super) fn get(&self, id: Uuid) -> Option<&Arc<GoneInstance>> {
        self.all.get(&id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<GoneInstance>> {
        self.all.values()
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Forgets what has been gone for long enough; returns whom.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Uuid> {
        let mut expired = Vec::new();
        for theirs in self.by_owner.values_mut() {
            let is_old = |gone: &Arc<GoneInstance>| now.duration_since(gone.since) > REMEMBER_GONE;
            while let Some(id) = theirs.front().copied()
                && self.all.get(&id).is_none_or(is_old)
            {
                theirs.pop_front();
                self.all.remove(&id);
                expired.push(id);
            }
        }
        self.by_owner.retain(|_, theirs| !theirs.is_empty());
        expired
    }
}

fn whose(gone: &GoneInstance) -> Whose {
    (gone.owner.clone(), gone.found.root_owned)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sonde_collect::{Metadata, Reason, Runtime};

    use super::*;
    use crate::owners::tests::found;

    fn gone(number: u128, owner: &str, root_owned: bool, since: Instant) -> GoneInstance {
        let mut found = found(Runtime::Docker, root_owned, Metadata::default());
        found.name.uuid = Uuid::from_u128(number);
        let (found, owner, base) = (Arc::new(found), owner.into(), Labels::new(&[]));
        GoneInstance { found, owner, base, held: None, judgement: Judgement::gone(Reason::Removed), since }
    }

    #[test]
    fn a_storm_of_one_puts_out_what_is_his() {
        let (mut remembered, now) = (Remembered::default(), Instant::now());
        for number in 0..10 {
            remembered.insert(gone(number, "bank", true, now));
        }
        for number in 10..2 * MOST_GONE as u128 {
            remembered.insert(gone(number, if number % 2 == 0 { "storm" } else { "bank" }, number % 2 == 0, now));
        }
        assert_eq!(remembered.count(), MOST_GONE);
        assert!(
            (0..10).all(|number| remembered.get(Uuid::from_u128(number)).is_some()),
            "a bank's go with its own storm"
        );
        assert!(remembered.get(Uuid::from_u128(10)).is_none());
        // What is back is no more gone, and what is old is forgotten.
        remembered.remove(Uuid::from_u128(0));
        assert!(remembered.get(Uuid::from_u128(0)).is_none());
        let later = now + REMEMBER_GONE + Duration::from_secs(1);
        assert_eq!((remembered.expire(later).len(), remembered.count()), (MOST_GONE - 1, 0));
        assert!(remembered.by_owner.is_empty());
    }
}
