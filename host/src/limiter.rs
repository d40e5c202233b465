//! The bytes of all memories and tables of a run, together.
//!
//! wasmtime's own `StoreLimits` bounds each memory alone; a component may bring several. This one sums
//! them, remembers the peak, and remembers that it said no, so that the abort which follows in the guest is
//! reported as what it is.

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
}

impl MemoryLimiter {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, used_bytes: 0, peak_bytes: 0, refusals: 0 }
    }

    pub(crate) fn peak_bytes(&self) -> usize {
        self.peak_bytes
    }

    pub(crate) fn refused(&self) -> bool {
        self.refusals > 0
    }

    fn grow(&mut self, current_bytes: usize, desired_bytes: usize) -> wasmtime::Result<bool> {
        let used = self.used_bytes.saturating_add(desired_bytes.saturating_sub(current_bytes));
        if used > self.limit_bytes {
            self.refusals += 1;
            if self.refusals > REFUSALS {
                return Err(crate::failure::LimitHit::Memory.into());
            }
            return Ok(false);
        }
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
        assert!(limiter.table_growing(0, 2, None).unwrap());
        assert!(!limiter.table_growing(2, 4, None).unwrap());
        assert_eq!(limiter.peak_bytes(), 92);
        assert!(limiter.refused());
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
