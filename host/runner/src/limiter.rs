//! The bytes of all memories and tables of a run, together.
//!
//! wasmtime's own `StoreLimits` bounds each memory alone; a component may bring several. This one sums
//! them, remembers the peak, and remembers that it said no until the guest goes on, so that the abort which follows
//! a refusal is reported as what it is, and one that does not is not.

use wasmtime::ResourceLimiter;

/// What a table's element takes on the host, in bytes.
const TABLE_ELEMENT_BYTES: usize = 16;

/// After so many refusals a guest that keeps asking is ended: each attempt is a host call that fuel does not see.
const REFUSALS: u32 = 1_000;

/// Sums what a run has, refuses what is over.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    limit_bytes: usize,
    used_bytes: usize,
    peak_bytes: usize,
    refusals: u32,
    /// Since the last refusal the guest has neither grown nor called the host.
    just_refused: bool,
}

impl MemoryLimiter {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, used_bytes: 0, peak_bytes: 0, refusals: 0, just_refused: false }
    }

    pub(crate) fn peak_bytes(&self) -> usize {
        self.peak_bytes
    }

    /// Whether being refused was the last thing that the guest asked for.
    pub(crate) fn just_refused(&self) -> bool {
        self.just_refused
    }

    /// The guest does something else: it has got over the refusal.
    pub(crate) fn goes_on(&mut self) {
        self.just_refused = false;
    }

    fn grow(&mut self, current_bytes: usize, desired_bytes: usize) -> wasmtime::Result<bool> {
        let used = self.used_bytes.saturating_add(desired_bytes.saturating_sub(current_bytes));
        if used > self.limit_bytes {
            self.refusals += 1;
            self.just_refused = true;
            if self.refusals > REFUSALS {
                return Err(crate::ctx::LimitHit::Memory.into());
            }
            return Ok(false);
        }
        self.just_refused = false;
        self.used_bytes = used;
        self.peak_bytes = self.peak_bytes.max(used);
        Ok(true)
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(current, desired)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.grow(current.saturating_mul(TABLE_ELEMENT_BYTES), desired.saturating_mul(TABLE_ELEMENT_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_are_summed() {
        let mut limiter = MemoryLimiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 60, None).unwrap(), "a second memory is not a second budget");
        assert!(limiter.just_refused());
        assert!(limiter.table_growing(0, 2, None).unwrap());
        assert!(!limiter.just_refused(), "a growth that is had ends the matter");
        assert!(!limiter.table_growing(2, 4, None).unwrap());
        assert_eq!(limiter.peak_bytes(), 92);
        assert!(limiter.just_refused());
        limiter.goes_on();
        assert!(!limiter.just_refused());
    }

    #[test]
    fn asking_without_end_ends_the_run() {
        let mut limiter = MemoryLimiter::new(0);
        for _ in 0..REFUSALS {
            assert!(!limiter.memory_growing(0, 1, None).unwrap());
        }
        assert!(limiter.memory_growing(0, 1, None).is_err());
    }
}
