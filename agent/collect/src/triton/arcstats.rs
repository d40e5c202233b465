//! cmon-agent's `arcstats`: rows of ZFS's cache under its own names, a few of them of another kind than it gave them.
//!
//! OpenZFS on Linux has the same rows in `/proc/spl/kstat/zfs/arcstats`, but for what a version has dropped or did not have yet.

use super::Row;
use crate::described::{counter, gauge};
use crate::node::zfs::Rows;

macro_rules! arc {
    ($kind:ident, $row:literal, $name:literal, $unit:literal, $differs:literal) => {
        Row {
            about: $kind($name, $unit, concat!($row, " of ZFS's cache."))
                .of(concat!("`/proc/spl/kstat/zfs/arcstats` `", $row, "`"))
                .unless("there is no ZFS, or this version has no such row")
                .but($differs),
            value: |rows| {
                let (_, value) = rows.iter().find(|(name, _)| name == $row)?;
                Some(value.into_number())
            },
        }
    };
}

pub(super) static ARCSTATS: &[Row<Rows>] = &[
    arc!(gauge, "anon_evictable_data", "arcstats_anon_evictable_data_bytes", "bytes", ""),
    arc!(gauge, "anon_evictable_metadata", "arcstats_anon_evictable_metadata_bytes", "bytes", ""),
    arc!(gauge, "anon_size", "arcstats_anon_size_bytes", "bytes", ""),
    arc!(gauge, "arc_meta_limit", "arcstats_arc_meta_limit_bytes", "bytes", ""),
    arc!(gauge, "arc_meta_max", "arcstats_arc_meta_max_bytes", "bytes", ""),
    arc!(gauge, "arc_meta_min", "arcstats_arc_meta_min_bytes", "bytes", ""),
    arc!(gauge, "arc_meta_used", "arcstats_arc_meta_used_bytes", "bytes", ""),
    arc!(gauge, "c", "arcstats_target_cache_size_bytes", "bytes", ""),
    arc!(gauge, "c_max", "arcstats_max_target_cache_size_bytes", "bytes", ""),
    arc!(gauge, "c_min", "arcstats_min_target_cache_size_bytes", "bytes", ""),
    arc!(gauge, "p", "arcstats_p_bytes", "bytes", ""),
    arc!(gauge, "compressed_size", "arcstats_compressed_size_bytes", "bytes", ""),
    arc!(gauge, "uncompressed_size", "arcstats_uncompressed_size_bytes", "bytes", ""),
    arc!(gauge, "data_size", "arcstats_data_size_bytes", "bytes", ""),
    arc!(gauge, "metadata_size", "arcstats_metadata_size_bytes", "bytes", ""),
    arc!(gauge, "other_size", "arcstats_other_size_bytes", "bytes", ""),
    arc!(gauge, "overhead_size", "arcstats_overhead_size_bytes", "bytes", ""),
    arc!(gauge, "size", "arcstats_size_bytes", "bytes", ""),
    arc!(
        gauge,
        "hdr_size",
        "arcstats_hdr_size_bytes",
        "bytes",
        "a gauge, which it always was; cmon-agent called it a counter"
    ),
    arc!(counter, "hits", "arcstats_hits_total", "", ""),
    arc!(counter, "misses", "arcstats_misses_total", "", ""),
    arc!(counter, "demand_data_hits", "arcstats_demand_data_hits_total", "", ""),
    arc!(counter, "demand_data_misses", "arcstats_demand_data_misses_total", "", ""),
    arc!(counter, "demand_hit_predictive_prefetch", "arcstats_demand_hit_predictive_prefetch_total", "", ""),
    arc!(counter, "demand_metadata_hits", "arcstats_demand_metadata_hits_total", "", ""),
    arc!(counter, "demand_metadata_misses", "arcstats_demand_metadata_misses_total", "", ""),
    arc!(counter, "prefetch_data_hits", "arcstats_prefetch_data_hits_total", "", ""),
    arc!(counter, "prefetch_data_misses", "arcstats_prefetch_data_misses_total", "", ""),
    arc!(counter, "prefetch_metadata_hits", "arcstats_prefetch_metadata_hits_total", "", ""),
    arc!(counter, "prefetch_metadata_misses", "arcstats_prefetch_metadata_misses_total", "", ""),
    arc!(counter, "mfu_hits", "arcstats_mfu_hits_total", "", ""),
    arc!(counter, "mru_hits", "arcstats_mru_hits_total", "", ""),
    arc!(counter, "mfu_ghost_hits", "arcstats_mfu_ghost_hits_total", "", ""),
    arc!(counter, "mru_ghost_hits", "arcstats_mru_ghost_hits_total", "", ""),
    arc!(counter, "evict_l2_cached", "arcstats_evict_l2_cached_bytes_total", "bytes", ""),
    arc!(counter, "evict_l2_eligible", "arcstats_evict_l2_eligible_bytes_total", "bytes", ""),
    arc!(counter, "evict_l2_ineligible", "arcstats_evict_l2_ineligible_bytes_total", "bytes", ""),
    arc!(counter, "evict_l2_skip", "arcstats_evict_l2_skip_total", "", ""),
    arc!(counter, "evict_not_enough", "arcstats_evict_not_enough_total", "", ""),
    arc!(counter, "evict_skip", "arcstats_evict_skip_total", "", ""),
    arc!(counter, "mutex_miss", "arcstats_mutex_miss_total", "", ""),
    arc!(counter, "memory_throttle_count", "arcstats_memory_throttle_count", "", ""),
    arc!(gauge, "hash_chain_max", "arcstats_hash_chain_max", "", ""),
    arc!(gauge, "hash_chains", "arcstats_hash_chains", "", ""),
    arc!(counter, "hash_collisions", "arcstats_hash_collisions_total", "", ""),
    arc!(gauge, "hash_elements", "arcstats_hash_elements", "", ""),
    arc!(gauge, "hash_elements_max", "arcstats_hash_elements_max", "", ""),
    arc!(gauge, "mfu_evictable_data", "arcstats_mfu_evictable_data_bytes", "bytes", ""),
    arc!(gauge, "mfu_evictable_metadata", "arcstats_mfu_evictable_metadata_bytes", "bytes", ""),
    arc!(gauge, "mfu_ghost_evictable_data", "arcstats_mfu_ghost_evictable_data", "", ""),
    arc!(gauge, "mfu_ghost_evictable_metadata", "arcstats_mfu_ghost_evictable_metadata_bytes", "bytes", ""),
    arc!(gauge, "mfu_ghost_size", "arcstats_mfu_ghost_size_bytes", "bytes", ""),
    arc!(gauge, "mfu_size", "arcstats_mfu_size_bytes", "bytes", ""),
    arc!(gauge, "mru_evictable_data", "arcstats_mru_evictable_data_bytes", "bytes", ""),
    arc!(gauge, "mru_evictable_metadata", "arcstats_mru_evictable_metadata_bytes", "bytes", ""),
    arc!(gauge, "mru_ghost_evictable_data", "arcstats_mru_ghost_evictable_data_bytes", "bytes", ""),
    arc!(gauge, "mru_ghost_evictable_metadata", "arcstats_mru_ghost_evictable_metadata_bytes", "bytes", ""),
    arc!(gauge, "mru_ghost_size", "arcstats_mru_ghost_size_bytes", "bytes", ""),
    arc!(gauge, "mru_size", "arcstats_mru_size_bytes", "bytes", ""),
    arc!(counter, "l2_abort_lowmem", "arcstats_l2_abort_lowmem_total", "", ""),
    arc!(counter, "l2_cksum_bad", "arcstats_l2_cksum_bad_total", "", ""),
    arc!(counter, "l2_evict_l1cached", "arcstats_l2_evict_l1cached_total", "", ""),
    arc!(counter, "l2_evict_lock_retry", "arcstats_l2_evict_lock_retry_total", "", ""),
    arc!(counter, "l2_evict_reading", "arcstats_l2_evict_reading_total", "", ""),
    arc!(counter, "l2_feeds", "arcstats_l2_feeds_total", "", ""),
    arc!(counter, "l2_free_on_write", "arcstats_l2_free_on_write_total", "", ""),
    arc!(counter, "l2_hits", "arcstats_l2_hits_total", "", ""),
    arc!(counter, "l2_io_error", "arcstats_l2_io_error_total", "", ""),
    arc!(counter, "l2_misses", "arcstats_l2_misses_total", "", ""),
    arc!(counter, "l2_rw_clash", "arcstats_l2_rw_clash_total", "", ""),
    arc!(counter, "l2_write_bytes", "arcstats_l2_write_bytes", "bytes", ""),
    arc!(counter, "l2_writes_done", "arcstats_l2_writes_done_total", "", ""),
    arc!(counter, "l2_writes_error", "arcstats_l2_writes_error_total", "", ""),
    arc!(counter, "l2_writes_lock_retry", "arcstats_l2_writes_lock_retry_total", "", ""),
    arc!(counter, "l2_writes_sent", "arcstats_l2_writes_sent_total", "", ""),
    arc!(gauge, "l2_asize", "arcstats_l2_asize_bytes", "bytes", ""),
    arc!(gauge, "l2_hdr_size", "arcstats_l2_hdr_bytes", "bytes", ""),
    arc!(
        counter,
        "l2_read_bytes",
        "arcstats_l2_read_bytes",
        "bytes",
        "a counter, which it always was; cmon-agent called it a gauge"
    ),
    arc!(gauge, "l2_size", "arcstats_l2_size_bytes", "bytes", ""),
    arc!(counter, "sync_wait_for_async", "arcstats_sync_wait_for_async_total", "", ""),
    arc!(counter, "async_upgrade_sync", "arcstats_async_upgrade_sync_total", "", ""),
];
