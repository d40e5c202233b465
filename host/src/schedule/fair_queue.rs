//! Who is next: runs that wait for a place, fairly between accounts.
//!
//! Start-time fair queueing. Each account has a virtual time, which moves on by the CPU that its runs took over the account's weight;
//! the account that is furthest behind goes first, of two who came first, and so within an account. An account that was away comes back at the present, so nobody
//! saves up a claim on the others by being idle, and a thousand waiting runs of one account weigh no more than one of another. Within an
//! account the runs of a target stand in a row of their own: however many of one target may not start, they are passed over in one step.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::TargetId;
use crate::accounts::Held;

/// What was taken out to be started.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub(super) item: T,
    /// Why it was passed over last.
    pub(super) why: Held,
}

/// When something was passed over, and why. It holds for all that had come before `before`.
#[derive(Debug, Clone, Copy)]
struct Passed {
    why: Held,
    pick: u64,
    before: u64,
}

/// What waits of one target, by its arrival.
#[derive(Debug)]
struct Row<T> {
    target: TargetId,
    queue: VecDeque<(u64, T)>,
    passed: Option<Passed>,
}

#[derive(Debug)]
struct Lane<T> {
    weight: f64,
    /// Seconds of CPU over weight.
    time: f64,
    /// By the arrival of the first in each.
    rows: BTreeMap<u64, Row<T>>,
    first_of: HashMap<TargetId, u64>,
    passed: Option<Passed>,
}

impl<T> Lane<T> {
    fn push(&mut self, target: TargetId, arrival: u64, item: T) {
        let first = *self.first_of.entry(target).or_insert(arrival);
        let row = self.rows.entry(first).or_insert_with(|| Row { target, queue: VecDeque::new(), passed: None });
        row.queue.push_back((arrival, item));
    }

    /// Takes one out of a row, and puts the row where its new first belongs.
    fn take(&mut self, first: u64, at: usize) -> Option<Waiting<T>> {
        let mut row = self.rows.remove(&first)?;
        let taken = row.queue.remove(at);
        let passed = [self.passed, row.passed];
        match row.queue.front() {
            Some((arrival, _)) => {
                self.first_of.insert(row.target, *arrival);
                self.rows.insert(*arrival, row);
            }
            None => drop(self.first_of.remove(&row.target)),
        }
        let (arrival, item) = taken?;
        let last = passed.into_iter().flatten().filter(|passed| arrival < passed.before).max_by_key(|last| last.pick);
        Some(Waiting { item, why: last.map_or(Held::Place, |last| last.why) })
    }

    fn first(&self) -> Option<&T> {
        self.rows.first_key_value().and_then(|(_, row)| row.queue.front()).map(|(_, item)| item)
    }
}

/// The queue of one runner.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    lanes: HashMap<u64, Lane<T>>,
    /// The virtual time of the lane that was served last.
    now: f64,
    count: usize,
    arrivals: u64,
    picks: u64,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { lanes: HashMap::new(), now: 0.0, count: 0, arrivals: 0, picks: 0 }
    }
}

impl<T> FairQueue<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first that waits of each account.
    pub(super) fn firsts(&self) -> impl Iterator<Item = &T> {
        self.lanes.values().filter_map(Lane::first)
    }

    fn lane(&mut self, account: u64, weight: u32) -> &mut Lane<T> {
        let time = self.now;
        let lane = self.lanes.entry(account).or_insert_with(|| Lane {
            weight: 1.0,
            time,
            rows: BTreeMap::new(),
            first_of: HashMap::new(),
            passed: None,
        });
        lane.weight = f64::from(weight.max(1));
        lane
    }

    pub(super) fn push(&mut self, account: u64, weight: u32, target: TargetId, item: T) {
        let (now, arrival) = (self.now, self.arrivals);
        self.arrivals += 1;
        self.count += 1;
        let lane = self.lane(account, weight);
        if lane.rows.is_empty() {
            lane.time = lane.time.max(now);
        }
        lane.push(target, arrival, item);
    }

    /// Charges an account for CPU; `refund` is what was charged before it was known.
    pub(super) fn charge(&mut self, account: u64, weight: u32, cpu: Duration, refund: Duration) {
        let lane = self.lane(account, weight);
        lane.time += (cpu.as_secs_f64() - refund.as_secs_f64()) / lane.weight;
        let now = self.now;
        self.lanes.retain(|_, lane| !lane.rows.is_empty() || lane.time > now);
    }

    /// Takes one out that is meant. Whether there was one.
    pub(super) fn remove(&mut self, is_meant: impl Fn(&T) -> bool) -> bool {
        for lane in self.lanes.values_mut() {
            let meant = lane.rows.iter().find_map(|(first, row)| {
                let at = row.queue.iter().position(|(_, item)| is_meant(item))?;
                Some((*first, at))
            });
            if let Some((first, at)) = meant {
                lane.take(first, at);
                self.count -= 1;
                return true;
            }
        }
        false
    }

    /// Takes the next that may start. `account_may` is asked with the first of an account, `may` with the first of each of its targets.
    pub(super) fn pick(
        &mut self,
        account_may: impl Fn(&T) -> Result<(), Held>,
        may: impl Fn(&T) -> Result<(), Held>,
    ) -> Option<Waiting<T>> {
        let (pick, before) = (self.picks, self.arrivals);
        self.picks += 1;
        let waits = |(id, lane): (&u64, &Lane<T>)| Some((lane.time, *lane.rows.first_key_value()?.0, *id));
        let mut behind: Vec<(f64, u64, u64)> = self.lanes.iter().filter_map(waits).collect();
        behind.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for (time, _, account) in behind {
            let lane = self.lanes.get_mut(&account).expect("it was listed a line above");
            if let Some(Err(why)) = lane.first().map(&account_may) {
                lane.passed = Some(Passed { why, pick, before });
                continue;
            }
            let startable = lane.rows.iter_mut().find_map(|(first, row)| match may(&row.queue.front()?.1) {
                Ok(()) => Some(*first),
                Err(why) => {
                    row.passed = Some(Passed { why, pick, before });
                    None
                }
            });
            if let Some(first) = startable {
                self.now = self.now.max(time);
                self.count -= 1;
                return lane.take(first, 0);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: TargetId = TargetId(1);

    fn next(queue: &mut FairQueue<&'static str>) -> Option<&'static str> {
        queue.pick(|_| Ok(()), |_| Ok(())).map(|waiting| waiting.item)
    }

    #[test]
    fn a_crowd_of_one_account_weighs_no_more_than_one_run_of_another() {
        let mut queue = FairQueue::default();
        for _ in 0..1_000 {
            queue.push(1, 100, TARGET, "crowd");
        }
        let mut single = 0;
        queue.push(2, 100, TARGET, "single");
        for _ in 0..100 {
            match next(&mut queue) {
                Some("single") => {
                    single += 1;
                    queue.charge(2, 100, Duration::from_millis(10), Duration::ZERO);
                    queue.push(2, 100, TARGET, "single");
                }
                _ => queue.charge(1, 100, Duration::from_millis(10), Duration::ZERO),
            }
        }
        assert!((49..=51).contains(&single), "{single}");
    }

    #[test]
    fn weights_divide_the_time() {
        let mut queue = FairQueue::default();
        let mut heavy = 0;
        queue.push(1, 100, TARGET, 1);
        queue.push(2, 300, TARGET, 2);
        for _ in 0..400 {
            let account = queue.pick(|_| Ok(()), |_| Ok(())).expect("both always wait").item;
            let weight = if account == 2 { 300 } else { 100 };
            heavy += usize::from(account == 2);
            queue.charge(account, weight, Duration::from_millis(10), Duration::ZERO);
            queue.push(account, weight, TARGET, account);
        }
        assert!((298..=302).contains(&heavy), "{heavy}");
    }

    #[test]
    fn of_two_that_are_as_far_behind_who_came_first_is_first() {
        let mut queue = FairQueue::default();
        for account in [2, 1, 3] {
            queue.push(account, 100, TARGET, account);
        }
        let order: Vec<u64> =
            std::iter::from_fn(|| queue.pick(|_| Ok(()), |_| Ok(()))).map(|waiting| waiting.item).collect();
        assert_eq!(order, [2, 1, 3]);
    }

    #[test]
    fn who_was_away_has_saved_nothing() {
        let mut queue = FairQueue::default();
        queue.push(1, 100, TARGET, "busy");
        queue.charge(1, 100, Duration::from_secs(100), Duration::ZERO);
        assert_eq!(next(&mut queue), Some("busy"));
        queue.push(1, 100, TARGET, "busy");
        for _ in 0..3 {
            queue.push(2, 100, TARGET, "back");
        }
        queue.charge(2, 100, Duration::from_millis(1), Duration::ZERO);
        assert_eq!(next(&mut queue), Some("busy"), "after one run each it is the other's turn again");
    }

    #[test]
    fn who_may_not_start_is_passed_over_and_told_why() {
        let mut queue = FairQueue::default();
        queue.push(1, 100, TARGET, "held");
        queue.push(2, 100, TARGET, "full");
        queue.push(2, 100, TargetId(2), "free");
        let held = |item: &&str| if *item == "held" { Err(Held::Cpu) } else { Ok(()) };
        let full = |item: &&str| if *item == "full" { Err(Held::Share) } else { Ok(()) };
        assert_eq!(queue.pick(held, full).map(|w| w.item), Some("free"));
        assert_eq!(queue.pick(held, full).map(|w| w.item), None);
        queue.push(1, 100, TARGET, "later");
        let mut left: Vec<_> =
            std::iter::from_fn(|| queue.pick(|_| Ok(()), |_| Ok(()))).map(|w| (w.item, w.why)).collect();
        left.sort_unstable();
        assert_eq!(left, [("full", Held::Share), ("held", Held::Cpu), ("later", Held::Place)]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_long_row_that_may_not_start_hides_nothing_behind_it() {
        let mut queue = FairQueue::default();
        for _ in 0..100 {
            queue.push(1, 100, TargetId(1), "stuck");
        }
        queue.push(1, 100, TargetId(2), "free");
        let may = |item: &&str| if *item == "stuck" { Err(Held::Share) } else { Ok(()) };
        assert_eq!(queue.pick(|_| Ok(()), may).map(|w| w.item), Some("free"));
        assert!(queue.remove(|item| *item == "stuck") && !queue.remove(|item| *item == "free"));
        let left: Vec<_> = std::iter::from_fn(|| queue.pick(|_| Ok(()), |_| Ok(()))).collect();
        assert!(left.len() == 99 && left.iter().all(|waiting| waiting.why == Held::Share));
        assert!(queue.is_empty() && queue.lanes.values().all(|lane| lane.first_of.is_empty()));
    }
}
