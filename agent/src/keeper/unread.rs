//! What becomes of a life of which nothing could be read: it is counted, said, and remembered as gone.
//!
//! Its owner is whoever a rule gives it to by what is known; where a rule before asks for what is not, it is nobody's, and the operator alone
//! sees it. Lines in the log are bounded by time, since whoever may make containers, or cgroups in a tree of his own, makes such lives without end.

use std::sync::Arc;

use sonde_collect::Found;

use super::Keeper;
use crate::owners;

/// Lines of the log for each beat of the keeper's, a second; the rest are counted in one.
const LINES: u64 = 20;

/// How many were said since the last beat, and how many were not.
#[derive(Default)]
pub(super) struct UnreadLog {
    said: u64,
    unsaid: u64,
}

impl UnreadLog {
    fn say(&mut self, found: &Found, lives: u32) {
        if self.said >= LINES {
            self.unsaid += u64::from(lives);
            return;
        }
        self.said += 1;
        let (id, name) = (found.name.uuid, &found.name);
        tracing::info!(
            instance = %id, runtime = name.runtime.as_str(), name = name.runtime_id, lives, reason = "unread",
            "an instance appeared and is gone; nothing of it could be read"
        );
    }

    /// Lines may be written again; says what was not said.
    pub(super) fn beat(&mut self) {
        let Self { unsaid, .. } = std::mem::take(self);
        if unsaid > 0 {
            tracing::info!(lives = unsaid, reason = "unread", "so many more instances appeared and are gone");
        }
    }
}

impl Keeper {
    /// A life of that name, or so many of them.
    pub(super) fn unread(&mut self, found: Arc<Found>, lives: u32) {
        let about = &self.parts.about;
        for count in [&about.births, &about.deaths, &about.unread] {
            count.add(u64::from(lives));
        }
        self.unread.say(&found, lives);
        let owner = owners::owner_of_unread(&found, &self.parts.config);
        self.parts.catalogue.remember(found, owner.into());
    }
}

#[cfg(test)]
mod tests {
    use sonde_collect::{Metadata, Runtime};

    use super::*;
    use crate::owners::tests::found;

    #[test]
    fn lines_are_bounded_and_no_life_is_forgotten() {
        let (mut log, one) = (UnreadLog::default(), found(Runtime::Runc, true, Metadata::default()));
        (0..LINES + 5).for_each(|_| log.say(&one, 2));
        assert_eq!((log.said, log.unsaid), (LINES, 10));
        log.beat();
        assert_eq!((log.said, log.unsaid), (0, 0));
    }
}
