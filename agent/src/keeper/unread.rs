//! What becomes of a life of which nothing could be read: it is counted, said, and remembered as gone.
//!
//! Its owner is whoever a rule gives it to by what is known; where a rule before asks for what is not, it is nobody's, and the operator alone
//! sees it. Lines in the log are bounded by time, since whoever may make containers, or cgroups in a tree of his own, makes such lives without end.

use std::sync::Arc;

use sonde_collect::Found;

use super::Keeper;
use crate::owners;

impl Keeper {
    /// A life of that name, or so many of them.
    pub(super) fn unread(&mut self, found: Arc<Found>, lives: u32) {
        let about = &self.parts.about;
        for count in [&about.births, &about.deaths, &about.unread] {
            count.add(u64::from(lives));
        }
        if self.unread.may_say(lives) {
            let (id, name) = (found.name.uuid, &found.name);
            tracing::info!(
                instance = %id, runtime = name.runtime.as_str(), name = name.runtime_id, lives, reason = "unread",
                "an instance appeared and is gone; nothing of it could be read"
            );
        }
        let owner = owners::owner_of_unread(&found, &self.parts.config);
        self.parts.catalogue.remember(found, owner.into());
    }
}
