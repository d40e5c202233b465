//! What an instance has of CPU, what it may have, and how it is held to it; and what it waited for, by the kernel's pressure.
//!
//! A row each: what it is called, where the kernel says it, and where a reading has it. A limit that is not set has no series.

use super::amounts::{full, int, ns, some, us};
use crate::described::{Row, counter, gauge};
use crate::reading::Reading;

pub(super) static CPU: &[Row<Reading>] = &[
    Row {
        about: counter("container_cpu_user_seconds_total", "seconds", "Cumulative user cpu time consumed in seconds.")
            .of("`cpu.stat` `user_usec`; v1 alone: `cpuacct.usage_user`; a process group: `/proc/PID/stat`")
            .unless("no account of CPU"),
        value: |r| ns(r.cpu?.user_ns),
    },
    Row {
        about: counter(
            "container_cpu_system_seconds_total",
            "seconds",
            "Cumulative system cpu time consumed in seconds.",
        )
        .of("`cpu.stat` `system_usec`; v1 alone: `cpuacct.usage_sys`; a process group: `/proc/PID/stat`")
        .unless("no account of CPU"),
        value: |r| ns(r.cpu?.system_ns),
    },
    Row {
        about: counter("container_cpu_cfs_periods_total", "", "Number of elapsed enforcement period intervals.")
            .of("`cpu.stat` `nr_periods`")
            .unless("no quota is set"),
        value: |r| int(Some(r.throttling?.periods)),
    },
    Row {
        about: counter("container_cpu_cfs_throttled_periods_total", "", "Number of throttled period intervals.")
            .of("`cpu.stat` `nr_throttled`")
            .unless("no quota is set"),
        value: |r| int(Some(r.throttling?.throttled_periods)),
    },
    Row {
        about: counter(
            "container_cpu_cfs_throttled_seconds_total",
            "seconds",
            "Total time duration the container has been throttled.",
        )
        .of("`cpu.stat` `throttled_usec`; v1: `throttled_time`")
        .unless("no quota is set"),
        value: |r| ns(Some(r.throttling?.throttled_ns)),
    },
    Row {
        about: counter("container_cpu_cfs_burst_periods_total", "", "Number of periods when burst occurs.")
            .of("`cpu.stat` `nr_bursts`")
            .unless("no quota is set; Linux before 5.14"),
        value: |r| int(r.throttling?.burst_periods),
    },
    Row {
        about: counter(
            "container_cpu_cfs_burst_seconds_total",
            "seconds",
            "Total time duration the container has been bursted.",
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
        about: gauge("container_spec_cpu_quota", "", "CPU quota of the container.")
            .of("`cpu.max`; v1: `cpu.cfs_quota_us`")
            .unless("no quota is set"),
        value: |r| int(r.limits.cpu_quota_us),
    },
    Row {
        about: gauge("container_spec_cpu_period", "", "CPU period of the container.")
            .of("`cpu.max`; v1: `cpu.cfs_period_us`")
            .unless("no CPU controller"),
        value: |r| int(r.limits.cpu_period_us),
    },
    Row {
        about: gauge("container_spec_cpu_shares", "", "CPU share of the container.")
            .of("`cpu.shares`; v2: worked out of `cpu.weight` as runtimes do")
            .unless("no CPU controller"),
        value: |r| int(r.limits.cpu_shares),
    },
    Row {
        about: counter(
            "container_pressure_cpu_waiting_seconds_total",
            "seconds",
            "Total time duration tasks in the container have waited due to CPU congestion.",
        )
        .of("`cpu.pressure` `some`")
        .unless("no cgroup2 tree; PSI is off"),
        value: |r| some(r.pressure.cpu),
    },
    Row {
        about: counter(
            "container_pressure_cpu_stalled_seconds_total",
            "seconds",
            "Total time duration no tasks in the container could make progress due to CPU congestion.",
        )
        .of("`cpu.pressure` `full`")
        .unless("no cgroup2 tree; PSI is off; Linux before 5.13"),
        value: |r| full(r.pressure.cpu),
    },
    Row {
        about: counter(
            "container_pressure_memory_waiting_seconds_total",
            "seconds",
            "Total time duration tasks in the container have waited due to memory congestion.",
        )
        .of("`memory.pressure` `some`")
        .unless("no cgroup2 tree; PSI is off"),
        value: |r| some(r.pressure.memory),
    },
    Row {
        about: counter(
            "container_pressure_memory_stalled_seconds_total",
            "seconds",
            "Total time duration no tasks in the container could make progress due to memory congestion.",
        )
        .of("`memory.pressure` `full`")
        .unless("no cgroup2 tree; PSI is off"),
        value: |r| full(r.pressure.memory),
    },
    Row {
        about: counter(
            "container_pressure_io_waiting_seconds_total",
            "seconds",
            "Total time duration tasks in the container have waited due to IO congestion.",
        )
        .of("`io.pressure` `some`")
        .unless("no cgroup2 tree; PSI is off"),
        value: |r| some(r.pressure.io),
    },
    Row {
        about: counter(
            "container_pressure_io_stalled_seconds_total",
            "seconds",
            "Total time duration no tasks in the container could make progress due to IO congestion.",
        )
        .of("`io.pressure` `full`")
        .unless("no cgroup2 tree; PSI is off"),
        value: |r| full(r.pressure.io),
    },
];
