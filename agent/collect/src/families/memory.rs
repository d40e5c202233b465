//! What an instance has of memory, what it may have, and what the kernel did to keep it there.
//!
//! A row each: what it is called, where the kernel says it, and where a reading has it. A limit that is not set has no series.

use super::amounts::int;
use crate::described::{Row, counter, gauge};
use crate::reading::Reading;

pub(super) static MEMORY: &[Row<Reading>] = &[
    Row {
        about: gauge("container_memory_usage_bytes", "bytes", "Memory that is charged to it, page cache among it.")
            .of("`memory.current`; v1: `memory.usage_in_bytes`")
            .unless("no memory controller"),
        value: |r| int(r.memory.usage_bytes),
    },
    Row {
        about: gauge("container_memory_max_usage_bytes", "bytes", "The most memory that was ever charged to it.")
            .of("`memory.peak`; v1: `memory.max_usage_in_bytes`")
            .unless("no memory controller; v2 before Linux 5.19"),
        value: |r| int(r.memory.max_usage_bytes),
    },
    Row {
        about: gauge(
            "container_memory_working_set_bytes",
            "bytes",
            "Memory charged to it without the page cache that has not been used lately.",
        )
        .of("usage less `inactive_file` of `memory.stat`; v1: `total_inactive_file`")
        .unless("no memory controller"),
        value: |r| int(r.memory.working_set_bytes),
    },
    Row {
        about: gauge("container_memory_rss", "", "Memory of its processes that no file stands behind.")
            .of("`memory.stat` `anon`; v1: `total_rss`; a process group: resident pages of `/proc/PID/stat`")
            .unless("no memory controller"),
        value: |r| int(r.memory.rss_bytes),
    },
    Row {
        about: gauge("container_memory_cache", "", "Page cache that is charged to it.")
            .of("`memory.stat` `file`; v1: `total_cache`")
            .unless("no memory controller"),
        value: |r| int(r.memory.cache_bytes),
    },
    Row {
        about: gauge("container_memory_mapped_file", "", "Of the page cache, what is mapped into its processes.")
            .of("`memory.stat` `file_mapped`; v1: `total_mapped_file`")
            .unless("no memory controller"),
        value: |r| int(r.memory.mapped_file_bytes),
    },
    Row {
        about: gauge("container_memory_swap", "", "Swap that it uses.")
            .of("`memory.swap.current`; v1: `memory.stat` `total_swap`")
            .unless("swap is not accounted"),
        value: |r| int(r.memory.swap_bytes),
    },
    Row {
        about: gauge("container_memory_kernel_usage", "", "Memory that the kernel has taken on its behalf.")
            .of("`memory.stat` `kernel`; v1: `memory.kmem.usage_in_bytes`")
            .unless("v2 before Linux 5.18"),
        value: |r| int(r.memory.kernel_bytes),
    },
    Row {
        about: counter("container_memory_failcnt", "", "How often its limit of memory was hit.")
            .of("`memory.events` `max`; v1: `memory.failcnt`")
            .unless("no memory controller"),
        value: |r| int(r.memory.limit_hits),
    },
    Row {
        about: counter("container_oom_events_total", "", "Processes of it that the kernel killed for want of memory.")
            .of("`memory.events` `oom_kill`; v1: `memory.oom_control`")
            .unless("no memory controller"),
        value: |r| int(r.memory.oom_kills),
    },
    Row {
        about: gauge("container_memory_total_active_file_bytes", "bytes", "Page cache that was used lately.")
            .of("`memory.stat` `active_file`; v1: `total_active_file`")
            .unless("no memory controller"),
        value: |r| int(r.memory.active_file_bytes),
    },
    Row {
        about: gauge("container_memory_total_inactive_file_bytes", "bytes", "Page cache that was not used lately.")
            .of("`memory.stat` `inactive_file`; v1: `total_inactive_file`")
            .unless("no memory controller"),
        value: |r| int(r.memory.inactive_file_bytes),
    },
    Row {
        about: gauge(
            "container_memory_file_dirty_bytes",
            "bytes",
            "Page cache that was changed and is not on its way to a device yet.",
        )
        .of("`memory.stat` `file_dirty`; v1: `total_dirty`")
        .unless("no memory controller"),
        value: |r| int(r.memory.file_dirty_bytes),
    },
    Row {
        about: gauge(
            "container_memory_file_writeback_bytes",
            "bytes",
            "Page cache that is being written to a device now.",
        )
        .of("`memory.stat` `file_writeback`; v1: `total_writeback`")
        .unless("no memory controller"),
        value: |r| int(r.memory.file_writeback_bytes),
    },
    Row {
        about: counter("container_memory_pgscan_total", "", "Pages that the kernel looked at for some to take back.")
            .of("`memory.stat` `pgscan`")
            .unless("cgroup v1"),
        value: |r| int(r.memory.pages_scanned),
    },
    Row {
        about: counter("container_memory_pgsteal_total", "", "Pages that the kernel took back.")
            .of("`memory.stat` `pgsteal`")
            .unless("cgroup v1"),
        value: |r| int(r.memory.pages_stolen),
    },
    Row {
        about: counter(
            "container_memory_workingset_refault_file_total",
            "",
            "Pages of files that were wanted again after they had been taken back.",
        )
        .of("`memory.stat` `workingset_refault_file`; v1: `total_…`")
        .unless("Linux before 5.9"),
        value: |r| int(r.memory.refaults_file),
    },
    Row {
        about: counter(
            "container_memory_workingset_refault_anon_total",
            "",
            "Pages of processes that were wanted again after they had been swapped out.",
        )
        .of("`memory.stat` `workingset_refault_anon`; v1: `total_…`")
        .unless("Linux before 5.9"),
        value: |r| int(r.memory.refaults_anon),
    },
    Row {
        about: counter(
            "container_memory_events_high_total",
            "",
            "How often it was slowed down for being above memory.high.",
        )
        .of("`memory.events` `high`")
        .unless("cgroup v1"),
        value: |r| int(r.memory.events.high),
    },
    Row {
        about: counter("container_memory_events_max_total", "", "How often it would have gone above memory.max.")
            .of("`memory.events` `max`")
            .unless("cgroup v1"),
        value: |r| int(r.memory.events.max),
    },
    Row {
        about: counter(
            "sonde_instance_memory_direct_scans_total",
            "",
            "Pages that the instance's own tasks looked at for reclaim, and waited meanwhile.",
        )
        .of("`memory.stat` `pgscan_direct`")
        .unless("cgroup v1; v2 of older kernels"),
        value: |r| int(r.memory.pages_scanned_direct),
    },
    Row {
        about: counter(
            "sonde_instance_memory_low_events_total",
            "",
            "How often the instance was reclaimed from though below memory.low.",
        )
        .of("`memory.events` `low`")
        .unless("cgroup v1"),
        value: |r| int(r.memory.events.low),
    },
    Row {
        about: counter(
            "sonde_instance_memory_oom_events_total",
            "",
            "How often reclaim failed at the limit: an allocation was refused, or a process had to be killed.",
        )
        .of("`memory.events` `oom`")
        .unless("cgroup v1"),
        value: |r| int(r.memory.events.oom),
    },
    Row {
        about: counter(
            "sonde_instance_oom_group_kills_total",
            "",
            "How often the instance was killed as a whole for want of memory.",
        )
        .of("`memory.events` `oom_group_kill`")
        .unless("cgroup v1; Linux before 5.17"),
        value: |r| int(r.memory.events.oom_group_kill),
    },
    Row {
        about: gauge(
            "sonde_instance_memory_under_oom",
            "",
            "Whether the instance's tasks wait because there is no memory and none of them may be killed.",
        )
        .of("`memory.oom_control` `under_oom`")
        .unless("cgroup v2"),
        value: |r| int(r.memory.under_oom),
    },
    Row {
        about: counter("sonde_instance_swap_limit_hits_total", "", "How often the limit of swap was hit.")
            .of("`memory.swap.events` `max`")
            .unless("cgroup v1"),
        value: |r| int(r.memory.events.swap_max),
    },
    Row {
        about: counter(
            "sonde_instance_swap_failures_total",
            "",
            "How often swapping out failed, at the limit or because no swap was left.",
        )
        .of("`memory.swap.events` `fail`")
        .unless("cgroup v1"),
        value: |r| int(r.memory.events.swap_fail),
    },
    Row {
        about: gauge(
            "sonde_instance_memory_high_bytes",
            "bytes",
            "Above this the instance is throttled and reclaimed from.",
        )
        .of("`memory.high`")
        .unless("none is set; cgroup v1"),
        value: |r| int(r.limits.memory_high_bytes),
    },
    Row {
        about: gauge("sonde_instance_memory_min_bytes", "bytes", "Below this the instance is never reclaimed from.")
            .of("`memory.min`")
            .unless("none is set; cgroup v1"),
        value: |r| int(r.limits.memory_min_bytes),
    },
    Row {
        about: gauge("sonde_instance_swap_limit_bytes", "bytes", "Limit of swap, memory not counted in.")
            .of("`memory.swap.max`")
            .unless("none is set; cgroup v1"),
        value: |r| int(r.limits.swap_bytes),
    },
    Row {
        about: gauge("container_spec_memory_limit_bytes", "bytes", "Most memory that it may have.")
            .of("`memory.max`; v1: `memory.limit_in_bytes`")
            .unless("no limit is set"),
        value: |r| int(r.limits.memory_bytes),
    },
    Row {
        about: gauge(
            "container_spec_memory_reservation_limit_bytes",
            "bytes",
            "Memory that it is left with where memory is short.",
        )
        .of("`memory.low`; v1: `memory.soft_limit_in_bytes`")
        .unless("none is set"),
        value: |r| int(r.limits.memory_reservation_bytes),
    },
    Row {
        about: gauge(
            "container_spec_memory_swap_limit_bytes",
            "bytes",
            "Most memory and swap together that it may have.",
        )
        .of("`memory.max` and `memory.swap.max` together; v1: `memory.memsw.limit_in_bytes`")
        .unless("one of the two is not set"),
        value: |r| int(r.limits.memory_swap_bytes),
    },
];
