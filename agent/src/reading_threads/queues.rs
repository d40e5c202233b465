//! Which reading comes next, and what each owner has of the threads.
//!
//! An owner's readings wait for each other: one of them at most is ready or under way at a time, fewer than there are threads, so a tenant whose
//! instances are slow to read (a cgroup tree of thousands is) slows down his own. Owners take turns. One that is stuck does not count as under
//! way, since a thread was started in its place; but of those places an owner has [`OWNED_STUCK`] at most, and then none of his is begun until
//! one comes back. The operator, and the node itself, wait for nobody.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::overload::Overload;

/// Readings that are ready for a thread, and again of each owner readings that wait for each other; over this a scrape gets the last one.
/// A target has one flight, so that an owner has no more waiting than instances.
pub(super) const QUEUE: usize = 1024;
/// Threads that an owner's readings may hold that are stuck.
pub(super) const OWNED_STUCK: usize = 3;

pub(super) type Job = Box<dyn FnOnce() + Send>;
/// None is the operator.
pub(super) type Owner = Option<Arc<str>>;

/// A reading that was asked for.
pub(super) struct Waiting {
    pub(super) owner: Owner,
    /// Since when it waits for a thread and for nothing else.
    pub(super) ready: Instant,
    pub(super) job: Job,
}

/// What an owner has.
struct Owned {
    /// One is ready or under way, and not stuck.
    at_work: bool,
    stuck: usize,
    waiting: VecDeque<Waiting>,
    /// Of his own readings, on the one thread that he has.
    overload: Overload,
    /// How much of this window's time his readings took, as far as it was counted.
    counted: Duration,
}

impl Owned {
    fn new(now: Instant) -> Self {
        let overload = Overload::new(now);
        Self { at_work: false, stuck: 0, waiting: VecDeque::new(), overload, counted: Duration::ZERO }
    }

    fn is_idle(&self) -> bool {
        !self.at_work && self.stuck == 0 && self.waiting.is_empty()
    }
}

/// The readings that wait, and the owners that have lately had some.
#[derive(Default)]
pub(super) struct Queues {
    ready: VecDeque<Waiting>,
    owners: HashMap<Arc<str>, Owned>,
}

impl Queues {
    /// Takes a reading in; gives it back where there is no place for it.
    pub(super) fn push(&mut self, owner: Owner, job: Job, now: Instant) -> Result<(), Job> {
        let waiting = Waiting { owner: owner.clone(), ready: now, job };
        let Some(owner) = owner else {
            return self.make_ready(waiting);
        };
        let owned = self.owners.entry(owner.clone()).or_insert_with(|| Owned::new(now));
        if owned.waiting.len() >= QUEUE {
            owned.overload.dropped();
            return Err(waiting.job);
        }
        owned.waiting.push_back(waiting);
        self.promote(&owner, now);
        Ok(())
    }

    fn make_ready(&mut self, waiting: Waiting) -> Result<(), Job> {
        if self.ready.len() >= QUEUE {
            return Err(waiting.job);
        }
        self.ready.push_back(waiting);
        Ok(())
    }

    /// Makes the next of an owner's ready, if it is his turn. There are as many owners' as there are owners, and each has a place.
    fn promote(&mut self, owner: &Arc<str>, now: Instant) -> bool {
        let Some(owned) = self.owners.get_mut(owner) else { return false };
        if owned.at_work || owned.stuck >= OWNED_STUCK {
            return false;
        }
        let Some(mut next) = owned.waiting.pop_front() else { return false };
        owned.at_work = true;
        next.ready = now;
        self.ready.push_back(next);
        true
    }

    /// The next reading for a thread that is free.
    pub(super) fn take(&mut self) -> Option<Waiting> {
        self.ready.pop_front()
    }

    /// One of an owner's was found stuck: his next may begin, as far as he has places. Says whether it does.
    pub(super) fn found_stuck(&mut self, owner: &Owner, now: Instant) -> bool {
        let Some(owner) = owner else { return false };
        if let Some(owned) = self.owners.get_mut(owner) {
            owned.at_work = false;
            owned.stuck += 1;
        }
        self.promote(owner, now)
    }

    /// One of an owner's has ended. Says whether another of his became ready.
    pub(super) fn done(&mut self, owner: &Owner, was_stuck: bool, now: Instant) -> bool {
        let Some(owner) = owner else { return false };
        if let Some(owned) = self.owners.get_mut(owner) {
            if was_stuck {
                owned.stuck -= 1;
            } else {
                owned.at_work = false;
            }
        }
        self.promote(owner, now)
    }

    /// Counts a reading that was not stuck for its owner; gives what of its time counts for the node: of one owner's no more in a window
    /// than leaves the node calm.
    pub(super) fn landed(&mut self, owner: &Owner, begun: Instant, now: Instant) -> Duration {
        let took = Overload::counted(begun, now);
        let Some(owned) = owner.as_ref().and_then(|owner| self.owners.get_mut(owner)) else { return took };
        // That they wait for each other is no overload, and all their time is his.
        owned.overload.landed(Duration::ZERO, now.saturating_duration_since(begun));
        let counts = took.min(Overload::of_one_owner().saturating_sub(owned.counted));
        owned.counted += counts;
        counts
    }

    /// How much seldomer an owner's instances are read than the operator allows: judges his windows that are over.
    pub(super) fn overload_of(&mut self, owner: &Arc<str>, now: Instant) -> Option<&mut Overload> {
        let owned = self.owners.get_mut(owner)?;
        owned.overload.look(1, now);
        Some(&mut owned.overload)
    }

    /// A window of the node is over: what owners took in it counts no more, and those who have been quiet are forgotten.
    pub(super) fn begin_window(&mut self, now: Instant) {
        self.owners.retain(|_, owned| {
            owned.counted = Duration::ZERO;
            owned.overload.look(1, now);
            !owned.is_idle() || owned.overload.is_overloaded()
        });
    }

    #[cfg(test)]
    pub(super) fn owners(&self) -> usize {
        self.owners.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> Owner {
        Some(name.into())
    }

    fn push(queues: &mut Queues, of: &Owner, now: Instant) {
        assert!(queues.push(of.clone(), Box::new(|| ()), now).is_ok());
    }

    fn names(queues: &mut Queues) -> Vec<String> {
        std::iter::from_fn(|| queues.take())
            .map(|next| next.owner.as_deref().unwrap_or("operator").to_owned())
            .collect()
    }

    #[test]
    fn owners_take_turns_and_the_operator_waits_for_nobody() {
        let now = Instant::now();
        let (mut queues, mallory, alice) = (Queues::default(), owner("mallory"), owner("alice"));
        for of in [&mallory, &mallory, &mallory, &alice, &alice, &None, &None] {
            push(&mut queues, of, now);
        }
        assert_eq!(names(&mut queues), ["mallory", "alice", "operator", "operator"]);
        let later = now + Duration::from_secs(1);
        assert!(queues.done(&mallory, false, later));
        assert!(!queues.done(&None, false, later));
        let next = queues.take().unwrap();
        assert_eq!((next.owner, next.ready), (mallory.clone(), later), "before, it waited for its own");
        assert!(queues.done(&alice, false, later) && queues.done(&mallory, false, later));
        assert_eq!(names(&mut queues), ["alice", "mallory"]);
        assert!(!queues.done(&alice, false, later) && !queues.done(&mallory, false, later));
        queues.begin_window(later);
        assert_eq!(queues.owners(), 0, "nobody is remembered without a reason");
    }

    #[test]
    fn stuck_ones_hold_a_few_places() {
        let now = Instant::now();
        let (mut queues, mallory) = (Queues::default(), owner("mallory"));
        for _ in 0..OWNED_STUCK + 2 {
            push(&mut queues, &mallory, now);
        }
        for stuck in 1..=OWNED_STUCK {
            assert_eq!(names(&mut queues), ["mallory"]);
            assert_eq!(queues.found_stuck(&mallory, now), stuck < OWNED_STUCK);
        }
        push(&mut queues, &mallory, now);
        assert!(queues.take().is_none(), "no more of his are begun");
        queues.begin_window(now);
        assert!(queues.done(&mallory, true, now), "one has come back");
        assert_eq!(names(&mut queues), ["mallory"]);
    }

    #[test]
    fn each_has_so_many_waiting_and_takes_no_place_of_others() {
        let now = Instant::now();
        let (mut queues, mallory) = (Queues::default(), owner("mallory"));
        for _ in 0..=QUEUE {
            push(&mut queues, &mallory, now);
        }
        assert!(queues.push(mallory.clone(), Box::new(|| ()), now).is_err());
        push(&mut queues, &owner("alice"), now);
        for _ in 0..QUEUE - 2 {
            push(&mut queues, &None, now);
        }
        assert!(queues.push(None, Box::new(|| ()), now).is_err());
    }

    #[test]
    fn of_one_owner_no_more_counts_than_leaves_the_node_calm() {
        let now = Instant::now();
        let (mut queues, mallory) = (Queues::default(), owner("mallory"));
        push(&mut queues, &mallory, now);
        let long = now + Duration::from_secs(1);
        let counted =
            |queues: &mut Queues, of: &Owner| -> Duration { (0..10_000).map(|_| queues.landed(of, now, long)).sum() };
        let most = counted(&mut queues, &mallory);
        assert_eq!(most, Overload::of_one_owner());
        assert_eq!(counted(&mut queues, &mallory), Duration::ZERO);
        queues.begin_window(now);
        assert_eq!(counted(&mut queues, &mallory), most);
        assert!(counted(&mut queues, &None) > most * 100);
    }

    #[test]
    fn an_owner_whose_readings_take_all_he_has_is_read_seldomer() {
        let (mut now, floor) = (Instant::now(), Duration::from_secs(1));
        let (mut queues, mallory) = (Queues::default(), Arc::<str>::from("mallory"));
        let mut window = |readings: u32, took: Duration| {
            push(&mut queues, &Some(mallory.clone()), now);
            for _ in 0..readings {
                queues.landed(&Some(mallory.clone()), now, now + took);
            }
            now += Duration::from_secs(5);
            let in_force = queues.overload_of(&mallory, now).map(|it| it.floor(floor));
            in_force.map(|floor| floor.as_secs())
        };
        // A thousand instances, asked for at once each second.
        assert_eq!(window(5_000, Duration::from_micros(100)), Some(1));
        assert_eq!(window(14, Duration::from_millis(350)), Some(2), "six huge trees");
        assert_eq!(window(14, Duration::from_millis(350)), Some(4));
        assert_eq!((window(2, Duration::from_millis(100)), window(2, Duration::from_millis(100))), (Some(2), Some(1)));
    }
}
