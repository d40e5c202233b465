//! Which lives nobody has seen: what the kernel said of directories that went, held against what was seen at looks.
//!
//! A look sees who lives. Whoever is born and dies between two looks is seen at neither, and the kernel's queue still has his directory's name.
//! So at each look the removals that were heard since the one before are taken off against the lives that were seen to be over; what is left over
//! was a life of its own. Only deaths are counted, since each unseen life has one and its birth is no more news by then. Removals are heard
//! before a look and the look is later, so that a life which ends in between is seen to be over before that is heard: it is owed one removal, which
//! comes with the next look, and with that look is forgotten, if a full queue has lost it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Directories of which removals are kept from one look to the next: as many as a queue of the kernel's holds events by default.
const HEARD_MAX: usize = 16_384;

/// One that a look saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen<M> {
    /// What tells this life from the next at the same place.
    pub(crate) mark: M,
    /// Whether it is an instance, or is refused as one: its life is no secret.
    pub(crate) told: bool,
}

/// Lives that no look has told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unseen {
    pub(crate) directory: PathBuf,
    pub(crate) lives: u32,
    /// Whether the look before saw one there.
    pub(crate) was_seen: bool,
}

/// The lives in directories of one kind.
#[derive(Debug)]
pub(crate) struct Lives<M> {
    /// Those there were at the last look.
    seen: HashMap<PathBuf, Seen<M>>,
    /// Removals heard since.
    heard: HashMap<PathBuf, u32>,
    /// Those that the last look saw to be over, and whose removal was not heard by then.
    owed: HashMap<PathBuf, u32>,
    /// Before the first look nobody knows what there was.
    looked: bool,
}

impl<M> Default for Lives<M> {
    fn default() -> Self {
        Self { seen: HashMap::new(), heard: HashMap::new(), owed: HashMap::new(), looked: false }
    }
}

impl<M: Copy + PartialEq> Lives<M> {
    /// A directory was removed so often. False where too many were, and this is not kept.
    pub(crate) fn hear(&mut self, directory: PathBuf, times: u32) -> bool {
        let room = self.heard.len() < HEARD_MAX || self.heard.contains_key(&directory);
        if room {
            *self.heard.entry(directory).or_default() += times;
        }
        room
    }

    /// Whether there was one at the last look.
    pub(crate) fn is_seen(&self, directory: &Path) -> bool {
        self.seen.contains_key(directory)
    }

    /// Takes a look, which came after all that was heard: how many lives nobody has seen, and where.
    pub(crate) fn look(&mut self, mut now: HashMap<PathBuf, Seen<M>>) -> Vec<Unseen> {
        let mut heard = std::mem::take(&mut self.heard);
        let mut before_last = std::mem::take(&mut self.owed);
        if !std::mem::replace(&mut self.looked, true) {
            heard.clear();
        }
        let mut unseen = Vec::new();
        for (directory, seen) in std::mem::take(&mut self.seen) {
            let here = now.get_mut(&directory).filter(|here| here.mark == seen.mark);
            if let Some(here) = here {
                here.told |= seen.told;
                continue;
            }
            let mut removed = heard.remove(&directory).unwrap_or(0);
            removed = removed.saturating_sub(before_last.remove(&directory).unwrap_or(0));
            match removed.checked_sub(1) {
                Some(others) => removed = others,
                None => *self.owed.entry(directory.clone()).or_default() += 1,
            }
            let lives = removed + u32::from(!seen.told);
            if lives > 0 {
                unseen.push(Unseen { directory, lives, was_seen: true });
            }
        }
        for (directory, removed) in heard {
            let lives = removed.saturating_sub(before_last.remove(&directory).unwrap_or(0));
            if lives > 0 {
                unseen.push(Unseen { directory, lives, was_seen: false });
            }
        }
        self.seen = now;
        unseen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a look has to say of one directory after `removed` removals, of which it sees the life `here`.
    fn look(lives: &mut Lives<u64>, removed: u32, here: Option<(u64, bool)>) -> u32 {
        let directory = PathBuf::from("/x");
        if removed > 0 {
            assert!(lives.hear(directory.clone(), removed));
        }
        let now = here.map(|(mark, told)| (directory, Seen { mark, told }));
        lives.look(now.into_iter().collect()).into_iter().map(|unseen| unseen.lives).sum()
    }

    #[test]
    fn who_was_seen_at_no_look_is_told() {
        let mut lives = Lives::default();
        assert_eq!(look(&mut lives, 3, None), 0, "before the first look nobody knows");
        assert_eq!(look(&mut lives, 1, None), 1, "born and dead between two looks");
        assert_eq!(look(&mut lives, 0, Some((1, true))), 0);
        assert_eq!(look(&mut lives, 1, Some((2, true))), 0, "the one that was seen is over, another is here");
        assert_eq!(look(&mut lives, 3, Some((5, true))), 2, "two between them");
        assert_eq!(look(&mut lives, 1, Some((5, true))), 1, "one that was there before this and was heard of later");
        assert_eq!(look(&mut lives, 2, None), 1);
        assert_eq!(look(&mut lives, 0, None), 0);
    }

    #[test]
    fn whose_end_is_seen_before_it_is_heard_is_told_once() {
        let mut lives = Lives::default();
        look(&mut lives, 0, Some((1, true)));
        assert_eq!(look(&mut lives, 0, None), 0, "seen to be over");
        assert_eq!(look(&mut lives, 1, None), 0, "and heard afterwards");
        assert_eq!(look(&mut lives, 1, None), 1, "which is no credit for another");
        look(&mut lives, 0, Some((2, true)));
        assert_eq!(look(&mut lives, 0, Some((3, true))), 0);
        assert_eq!(look(&mut lives, 2, None), 0, "what was owed, and the one that was here");
        look(&mut lives, 0, Some((4, true)));
        look(&mut lives, 0, None);
        look(&mut lives, 0, None);
        assert_eq!(look(&mut lives, 1, None), 1, "what a full queue has lost is not owed for ever");
    }

    #[test]
    fn who_was_seen_and_never_told_is_told_when_it_is_over() {
        let mut lives = Lives::default();
        look(&mut lives, 0, Some((1, false)));
        assert_eq!(look(&mut lives, 0, None), 1);
        assert_eq!(look(&mut lives, 1, None), 0);
        look(&mut lives, 0, Some((2, false)));
        assert_eq!(look(&mut lives, 0, Some((2, true))), 0);
        assert_eq!(look(&mut lives, 0, Some((2, false))), 0, "once told is told");
        assert_eq!(look(&mut lives, 1, None), 0);
        look(&mut lives, 0, Some((3, false)));
        assert_eq!(look(&mut lives, 2, Some((5, true))), 2);
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let mut lives = Lives::<u64>::default();
        lives.look(HashMap::new());
        let path = |n: usize| PathBuf::from(format!("/{n}"));
        assert!((0..HEARD_MAX).all(|n| lives.hear(path(n), 1)));
        assert!(!lives.hear(path(HEARD_MAX), 1));
        assert!(lives.hear(path(0), 1));
        assert_eq!(lives.look(HashMap::new()).len(), HEARD_MAX);
    }
}
