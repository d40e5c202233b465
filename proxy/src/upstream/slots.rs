//! Places for scrapes in flight at one node: so many in all, and half of them for one account.
//!
//! Half, because a node is shared: a tenant whose every container is asked for at once must leave its neighbours theirs. Those who wait are
//! bounded too, by the same number.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sonde_inventory::AccountName;
use tokio::sync::Notify;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Slots {
    most: u32,
    inner: Mutex<Inner>,
    waiting: AtomicU32,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    taken: u32,
    of_account: HashMap<AccountName, u32>,
}

/// A place; dropping it frees it.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    account: AccountName,
}

impl Slots {
    pub(super) fn new(most: u32) -> Self {
        Self { most, inner: Mutex::default(), waiting: AtomicU32::new(0), freed: Notify::new() }
    }

    pub(super) fn taken(&self) -> u32 {
        self.lock().taken
    }

    /// A place, within so long.
    pub(super) async fn take(self: &Arc<Self>, account: &AccountName, within: Duration) -> Option<Slot> {
        if let Some(slot) = self.try_take(account) {
            return Some(slot);
        }
        let until = Instant::now() + within;
        let _waiting = Waiting::among(self)?;
        loop {
            // Listened for from before the look: what is freed in between is not missed.
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(slot) = self.try_take(account) {
                return Some(slot);
            }
            tokio::time::timeout_at(until, freed).await.ok()?;
        }
    }

    fn try_take(self: &Arc<Self>, account: &AccountName) -> Option<Slot> {
        let half = (self.most / 2).max(1);
        let mut inner = self.lock();
        let own = inner.of_account.get(account).copied().unwrap_or(0);
        if inner.taken >= self.most || own >= half {
            return None;
        }
        inner.taken += 1;
        *inner.of_account.entry(account.clone()).or_default() += 1;
        Some(Slot { slots: self.clone(), account: account.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits, counted.
struct Waiting<'a>(&'a Slots);

impl<'a> Waiting<'a> {
    fn among(slots: &'a Slots) -> Option<Self> {
        let one_more = |waiting: u32| (waiting < slots.most).then(|| waiting + 1);
        slots.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Self(slots))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut inner = self.slots.lock();
            inner.taken -= 1;
            if let Some(own) = inner.of_account.get_mut(&self.account) {
                *own -= 1;
                if *own == 0 {
                    inner.of_account.remove(&self.account);
                }
            }
        }
        // All of those who wait: the first might be one whose account has its half.
        self.slots.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> AccountName {
        AccountName::new(name).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn one_account_has_half_and_those_who_wait_are_bounded() {
        let slots = Arc::new(Slots::new(4));
        let now = Duration::ZERO;
        let first = slots.take(&name("a"), now).await.unwrap();
        let _second = slots.take(&name("a"), now).await.unwrap();
        assert!(slots.take(&name("a"), now).await.is_none());
        let _others = (slots.take(&name("b"), now).await.unwrap(), slots.take(&name("c"), now).await.unwrap());
        assert!(slots.take(&name("d"), now).await.is_none());
        let wait = |account: &'static str| {
            let slots = slots.clone();
            tokio::spawn(async move { slots.take(&name(account), Duration::from_secs(5)).await.is_some() })
        };
        let mut waiting: Vec<_> = (0..4).map(|_| wait("d")).collect();
        tokio::task::yield_now().await;
        assert_eq!(slots.waiting.load(Ordering::Relaxed), 4);
        assert!(slots.take(&name("e"), Duration::from_secs(5)).await.is_none(), "at once");
        drop(first);
        assert!(waiting.remove(0).await.unwrap());
        drop(waiting);
    }
}
