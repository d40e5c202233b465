//! A user for each child that nobody else has while the child lives.
//!
//! Two children of one user would share its limit of processes, and be to each other what no jail lets them be to anybody. So a number is
//! not derived from a count that comes round: it is taken, and free again when the child has been waited for.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Above what anybody assigns: distributions and useradd(8) stay far below, and systemd-nspawn(1) gives ranges up to 0x6fffffff.
const FIRST: u32 = 1 << 31;
/// A range for each broker, by its pid, which has at most this many bits (`PID_MAX_LIMIT`).
const PID_BITS: u32 = 22;
/// Children of one broker at once. All ranges together end below the last user, which means none.
const CHILDREN: u32 = 500;

/// Why there is no more.
pub(crate) const TOO_MANY: &str = "500 runners and compile workers are there already";

/// The users of one broker.
#[derive(Debug, Default)]
pub(crate) struct Users {
    taken: Arc<Mutex<HashSet<u32>>>,
    /// Who comes next: one that was just given back is the last to be taken again.
    next: u32,
}

/// A user taken; free again when dropped.
#[derive(Debug)]
pub(crate) struct User {
    place: u32,
    taken: Arc<Mutex<HashSet<u32>>>,
}

impl Users {
    /// One that no child has; `None` where all are taken.
    pub(crate) fn take(&mut self) -> Option<User> {
        let mut taken = lock(&self.taken);
        let place = (0..CHILDREN).map(|ahead| (self.next + ahead) % CHILDREN).find(|place| !taken.contains(place))?;
        taken.insert(place);
        self.next = (place + 1) % CHILDREN;
        Some(User { place, taken: self.taken.clone() })
    }
}

impl User {
    pub(crate) fn uid(&self) -> u32 {
        uid(std::process::id(), self.place)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        lock(&self.taken).remove(&self.place);
    }
}

fn uid(broker: u32, place: u32) -> u32 {
    FIRST + broker % (1 << PID_BITS) * CHILDREN + place
}

fn lock(taken: &Mutex<HashSet<u32>>) -> MutexGuard<'_, HashSet<u32>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_a_user_that_is_taken_and_all_are_given_back() {
        let mut users = Users::default();
        let held: Vec<User> = (0..CHILDREN).map(|_| users.take().unwrap()).collect();
        let distinct: HashSet<u32> = held.iter().map(User::uid).collect();
        assert_eq!(distinct.len(), CHILDREN as usize);
        assert!(users.take().is_none());
        let mut held = held.into_iter();
        let freed = held.next().unwrap().uid();
        assert_eq!(users.take().unwrap().uid(), freed);
        drop(held);
        assert_ne!(users.take().unwrap().uid(), freed, "the last to be taken again");
        assert!(TOO_MANY.starts_with(&CHILDREN.to_string()));
    }

    #[test]
    fn no_two_brokers_have_a_user_in_common_and_none_is_nobody() {
        let last = (1 << PID_BITS) - 1;
        assert!(uid(last, CHILDREN - 1) < u32::MAX - 1);
        assert_eq!(uid(77, CHILDREN - 1) + 1, uid(78, 0));
        assert!(uid(1, 0) > 0x6fff_ffff);
    }
}
