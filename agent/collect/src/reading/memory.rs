//! What the memory controller tells of an instance.

/// Memory, in bytes unless the name says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Charged now, page cache and all.
    pub usage_bytes: Option<u64>,
    /// The most that was ever charged.
    pub max_usage_bytes: Option<u64>,
    /// Usage without the page cache that is easily dropped (`inactive_file`); what the kubelet goes by.
    pub working_set_bytes: Option<u64>,
    /// Anonymous memory (v1 `total_rss`, v2 `anon`).
    pub rss_bytes: Option<u64>,
    /// Page cache (v1 `total_cache`, v2 `file`).
    pub cache_bytes: Option<u64>,
    /// Swapped out.
    pub swap_bytes: Option<u64>,
    /// Of the page cache, what is mapped.
    pub mapped_file_bytes: Option<u64>,
    /// The kernel's own for it (v2 `kernel`, v1 `memory.kmem.usage_in_bytes`).
    pub kernel_bytes: Option<u64>,
    /// Of the page cache, what was used more than once of late.
    pub active_file_bytes: Option<u64>,
    /// Of the page cache, what is dropped first.
    pub inactive_file_bytes: Option<u64>,
    /// Of the page cache, what is changed and not yet on its way to a device.
    pub file_dirty_bytes: Option<u64>,
    /// Of the page cache, what is on its way.
    pub file_writeback_bytes: Option<u64>,
    /// What else `memory.stat` tells apart, in the order of [`MEMORY_PARTS`]. They overlap.
    pub part_bytes: [Option<u64>; MEMORY_PARTS.len()],
    /// How often the limit was hit (v1 `memory.failcnt`, v2 `memory.events` `max`).
    pub limit_hits: Option<u64>,
    /// Processes killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Page faults of the instance and what is below it.
    pub pgfault: Option<u64>,
    /// Of these, those that had to wait for a device.
    pub pgmajfault: Option<u64>,
    /// Page faults of the cgroup itself (v1 only).
    pub own_pgfault: Option<u64>,
    /// Major ones of the cgroup itself (v1 only).
    pub own_pgmajfault: Option<u64>,
    /// Pages looked at by reclaim (v2 only).
    pub pages_scanned: Option<u64>,
    /// Of these, by the instance's own tasks, which waited meanwhile (v2 only).
    pub pages_scanned_direct: Option<u64>,
    /// Pages reclaimed (v2 only).
    pub pages_stolen: Option<u64>,
    /// File pages that had to be read again soon after they were dropped.
    pub refaults_file: Option<u64>,
    /// Anonymous pages that had to be read again soon after they were swapped out.
    pub refaults_anon: Option<u64>,
    /// What `memory.events` counts (v2 only).
    pub events: MemoryEvents,
    /// Whether tasks wait because there is no memory and nothing may be killed (v1 `under_oom`).
    pub under_oom: Option<u64>,
}

/// Parts of memory that a dashboard of details asks for, by the kernel's names in v2's `memory.stat`.
pub const MEMORY_PARTS: [&str; 13] = [
    "active_anon",
    "inactive_anon",
    "unevictable",
    "shmem",
    "anon_thp",
    "swapcached",
    "kernel_stack",
    "pagetables",
    "percpu",
    "sock",
    "slab_reclaimable",
    "slab_unreclaimable",
    "zswap",
];

/// Which of [`MEMORY_PARTS`] this name is.
pub fn memory_part(name: &[u8]) -> Option<usize> {
    MEMORY_PARTS.iter().position(|part| part.as_bytes() == name)
}

/// Counts of `memory.events` and `memory.swap.events` (v2 only), of the instance and what is below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// Reclaimed from though below `memory.low`.
    pub low: Option<u64>,
    /// Throttled and made to reclaim for being above `memory.high`.
    pub high: Option<u64>,
    /// About to go over `memory.max`.
    pub max: Option<u64>,
    /// Reclaim failed at the limit: an allocation was refused, or somebody had to be killed.
    pub oom: Option<u64>,
    /// Whole groups killed.
    pub oom_group_kill: Option<u64>,
    /// About to go over the limit of swap.
    pub swap_max: Option<u64>,
    /// Swapping out failed: at the limit, or no swap left.
    pub swap_fail: Option<u64>,
}

impl Memory {
    /// Works out the working set: usage less what of the page cache is inactive, and not below 0.
    pub fn set_working_set(&mut self, inactive_file_bytes: Option<u64>) {
        self.working_set_bytes = match (self.usage_bytes, inactive_file_bytes) {
            (Some(usage), Some(inactive)) => Some(usage.saturating_sub(inactive)),
            _ => None,
        };
    }
}
