//! What an instance has of CPU, what it may have, and how it is held to it; and what it waited for, by the kernel's pressure.
//!
//! A row each: what it is called, where the kernel says it, and where a reading has it. A limit that is not set has no series.

use super::amounts::{full, int, ns, some, us};
use crate::described::{Row, counter, gauge};
use crate::reading::Reading;

pub(super) static CPU: &[Row<Reading>] = &[
    Row {
        about: counter("container_cpu_user_seconds_total", "seconds", "Of its CPU time, that in user mode.")
            .of("`cpu.stat` `user_usec`; v1 alone: `cpuacct.usage_user`; a process group: `/proc/PID/stat`")
            .unless("no account of CPU"),
        value: |r| ns(r.cpu?.user_ns),
    },
    Row {
        about: counter("container_cpu_system_seconds_total", "seconds", "Of its CPU time, that in the kernel.")
            .of("`cpu.stat` `system_usec`; v1 alone: `cpuacct.usage_sys`; a process group: `/proc/PID/stat`")
            .unless("no account of CPU"),
        value: |r| ns(r.cpu?.system_ns),
    },
    Row {
        about: counter("container_cpu_cfs_periods_total", "", "Periods of its CPU quota in which it wanted to run.")
            .of("`cpu.stat` `nr_periods`")
            .unless("no quota is set"),
        value: |r| int(Some(r.throttling?.periods)),
    },
    Row {
        about: counter(
            "container_cpu_cfs_throttled_periods_total",
            "",
            "Of these periods, those in which the quota held it back.",
        )
        .of("`cpu.stat` `nr_throttled`")
        .unless("no quota is set"),
        value: |r| int(Some(r.throttling?.throttled_periods)),
    },
    Row {
        about: counter(
            "container_cpu_cfs_throttled_seconds_total",
            "seconds",
            "How long its CPU quota has held it back, all CPUs together.",
        )
        .of("`cpu.stat` `throttled_usec`; v1: `throttled_time`")
        .unless("no quota is set"),
        value: |r| ns(Some(r.throttling?.throttled_ns)),
    },
    Row {
        about: counter(
            "container_cpu_cfs_burst_periods_total",
            "",
            "Periods in which it went over its CPU quota on what it had saved up.",
        )
        .of("`cpu.stat` `nr_bursts`")
        .unless("no quota is set; Linux before 5.14"),
        value: |r| int(r.throttling?.burst_periods),
    },
    Row {
        about: counter(
            "container_cpu_cfs_burst_seconds_total",
            "seconds",
            "CPU time used over the quota, on what was saved up.",
        )
        .of("`cpu.stat` `burst_usec`; v1: `burst_time`")
        .unless("no quota is set; Linux before 5.14"),
        value: |r| ns(r.throttling?.burst_ns),
    },
    Row {
        about: counter(
            "sonde_instance_cpu_held_seconds_total",
            "seconds",
            "How long, all CPUs together, the instance had tasks to run while its own quota or one above it held them.",
        )
        .of("`cpu.stat.local` `throttled_usec`; v1: `throttled_time`")
        .unless("this kernel has no such file (Linux before 6.6)"),
        value: |r| ns(r.held_ns),
    },
    Row {
        about: gauge(
            "sonde_instance_cpu_burst_limit_seconds",
            "seconds",
            "What the instance may save up of its CPU quota.",
        )
        .of("`cpu.max.burst`; v1: `cpu.cfs_burst_us`")
        .unless("none is set; Linux before 5.14"),
        value: |r| r.limits.cpu_burst_us.map(us),
    },
    Row {
        about: gauge("sonde_instance_cpu_weight", "", "The instance's weight among its neighbours, 1 to 10000.")
            .of("`cpu.weight`")
            .unless("cgroup v1"),
        value: |r| int(r.limits.cpu_weight),
    },
    Row {
        about: gauge(
            "sonde_instance_cpus_allowed",
            "",
            "CPUs that the instance's leading process may run on, by its cpuset and its own affinity.",
        )
        .of("`/proc/PID/status` `Cpus_allowed` of the leader")
        .unless("no process lives"),
        value: |r| int(r.limits.cpus_allowed),
    },
    Row {
        about: gauge("container_spec_cpu_quota", "", "CPU time that it may use in a period, in microseconds.")
            .of("`cpu.max`; v1: `cpu.cfs_quota_us`")
            .unless("no quota is set"),
        value: |r| int(r.limits.cpu_quota_us),
    },
    Row {
        about: gauge("container_spec_cpu_period", "", "The period of its CPU quota, in microseconds.")
            .of("`cpu.max`; v1: `cpu.cfs_period_us`")
            .unless("no CPU controller"),
        value: |r| int(r.limits.cpu_period_us),
    },
    Row {
        about: gauge("container_spec_cpu_shares", "", "Its weight where CPU is short, on cgroup v1's scale.")
            .of("`cpu.shares`; v2: worked out of `cpu.weight` as runtimes do")
            .unless("no CPU controller"),
        value: |r| int(r.limits.cpu_shares),
    },
    Row {
        about: counter(
            "container_pressure_cpu_waiting_seconds_total",
            "seconds",
            "How long at least one task of it has waited for a CPU.",
        )
        .of("`cpu.pressure` `some`")
        .unless("no cgroup2 tree; PSI is off"),
        value: |r| some(r.pressure.cpu),
    },
    Row {
        about: counter(
            "container_pressure_cpu_stalled_seconds_total",
            "seconds",
            "How long none of its tasks could go on for want of a CPU.",
        )
        .of("`cpu.pressure` `full`")
        .unless("no cgroup2 tree; PSI is off; Linux before 5.13"),
        value: |r| full(r.pressure.cpu),
    },
    Row {
        about: counter(
            "container_pressure_memory_waiting_seconds_total",
            "seconds",
            "How long at least one task of it has waited for memory.",
        )
        .of("`memory.pressure` `some`")
        .unless("no cgroup2 tree; PSI is off"),
        value: |r| some(r.pressure.memory),
    },
    Row {
        about: counter(
            "container_pressure_memory_stalled_seconds_total",
            "seconds",
            "How long none of its tasks could go on for want of memory.",
        )
        .of("`memory.pressure` `full`")
        .unless("no cgroup2 tree; PSI is off"),
        value: |r| full(r.pressure.memory),
    },
    Row {
        about: counter(
            "container_pressure_io_waiting_seconds_total",
            "seconds",
            "How long at least one task of it has waited for a device.",
        )
        .of("`io.pressure` `some`")
        .unless("no cgroup2 tree; PSI is off"),
        value: |r| some(r.pressure.io),
    },
    Row {
        about: counter(
            "container_pressure_io_stalled_seconds_total",
            "seconds",
            "How long none of its tasks could go on for waiting for a device.",
        )
        .of("`io.pressure` `full`")
        .unless("no cgroup2 tree; PSI is off"),
        value: |r| full(r.pressure.io),
    },
];
