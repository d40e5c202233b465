//! Processes, threads and descriptors of an instance, and when it began.
//!
//! A row each: what it is called, where the kernel says it, and where a reading has it. A limit that is not set has no series.

use std::time::SystemTime;

use sonde_expo::Number;

use super::amounts::int;
use crate::described::{Row, counter, gauge};
use crate::reading::Reading;

pub(super) static TASKS: &[Row<Reading>] = &[
    Row {
        about: gauge("container_processes", "", "Processes of it that live.")
            .of("`cgroup.procs`, of cgroups below too; a process group: the leader and its descendants")
            .unless("they could not all be told"),
        value: |r| int(r.pids.processes),
    },
    Row {
        about: gauge(
            "container_threads",
            "",
            "Tasks of it: threads that live, and processes that nobody has waited for yet.",
        )
        .of("`pids.current`; a process group: `/proc/PID/stat`")
        .unless("no pids controller"),
        value: |r| int(r.pids.tasks),
    },
    Row {
        about: gauge("container_threads_max", "", "Most tasks that it may have.")
            .of("`pids.max`")
            .unless("no limit is set"),
        value: |r| int(r.limits.tasks),
    },
    Row {
        about: gauge("container_file_descriptors", "", "Descriptors that its processes have open.")
            .of("`/proc/PID/fd` of each process")
            .unless("more than 64 processes, or more descriptors than can be listed in time"),
        value: |r| int(r.descriptors.map(|fds| fds.open)),
    },
    Row {
        about: counter(
            "sonde_instance_forks_refused_total",
            "",
            "How often a fork was refused because the instance had as many tasks as it may.",
        )
        .of("`pids.events` `max`")
        .unless("no pids controller"),
        value: |r| int(r.pids.limit_hits),
    },
    Row {
        about: gauge(
            "sonde_instance_fullest_descriptors",
            "",
            "Open descriptors of the process that is nearest to its own limit of them.",
        )
        .of("`/proc/PID/fd`, `/proc/PID/limits`")
        .unless("as `container_file_descriptors`"),
        value: |r| int(r.descriptors?.fullest.map(|(open, _)| open)),
    },
    Row {
        about: gauge(
            "sonde_instance_fullest_descriptors_max",
            "",
            "Limit of open descriptors of the process that is nearest to its own.",
        )
        .of("`/proc/PID/limits`")
        .unless("as `container_file_descriptors`"),
        value: |r| int(r.descriptors?.fullest.map(|(_, limit)| limit)),
    },
    Row {
        about: gauge("sonde_instance_threads_peak", "", "The most threads that the instance ever had.")
            .of("`pids.peak`")
            .unless("cgroup v1; Linux before 6.1"),
        value: |r| int(r.pids.peak),
    },
    Row {
        about: gauge(
            "sonde_instance_zombies",
            "",
            "Tasks that have ended and that nobody waited for, or that are just ending; each counts against the limit.",
        )
        .of("`pids.current` less the lines of `cgroup.threads`; v1: `tasks`")
        .unless("there are cgroups below it; no pids controller"),
        value: |r| int(r.pids.zombies),
    },
    Row {
        about: gauge(
            "sonde_instance_interfaces_left_out",
            "",
            "Network interfaces of the instance above 64, of which no series are given.",
        )
        .of("`/proc/PID/net/dev` of the leader")
        .unless("there are no more than 64"),
        value: |r| int(r.interfaces_left_out.filter(|left_out| *left_out > 0)),
    },
    Row {
        about: gauge("container_start_time_seconds", "seconds", "When it began, in seconds since 1970.")
            .of("birth of the cgroup's directory; else `/proc/PID/stat` of the leader")
            .unless("neither is known"),
        value: |r| r.started_unix_seconds.map(Number::Float),
    },
    Row {
        about: gauge("container_last_seen", "", "When it was last read, in seconds since 1970.")
            .of("the clock at the reading"),
        value: |r| int(Some(r.taken_at_unix.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())),
    },
];
