//! The families of what the agent says of itself: name, meaning, and where each value is.

use std::time::UNIX_EPOCH;

use sonde_collect::described::{Described, Row, counter, described, gauge};
use sonde_expo::{Kind, Number};

use super::{About, Now};

const AGENT: &str = "the agent";

pub(super) static BUILD: Described =
    described(Kind::Info, "sonde_agent_build_info", "", "The version of the agent.").by(&["version"]).of(AGENT);

pub(super) static SILENCE: Described = gauge(
    "sonde_agent_part_silence_seconds",
    "seconds",
    "How long a part of the agent has not answered; it is asked every few seconds.",
)
.by(&["part"])
.of(AGENT);

pub(super) static ANSWERS: Described =
    counter("sonde_agent_answers_total", "", "HTTP answers by status.").by(&["code"]).of(AGENT);

pub(super) static REFUSED: Described =
    counter("sonde_agent_claims_refused_total", "", "Claims to be an instance that were refused.")
        .by(&["reason"])
        .of(AGENT);

pub(super) static PROBLEMS: Described = counter(
    "sonde_agent_read_problems_total",
    "",
    "Kernel files of instances that could not be read, or not whole, or not parsed.",
)
.by(&["reason"])
.of(AGENT);

pub(super) static UNHEARD: Described = counter(
    "sonde_agent_unheard_total",
    "",
    "How often the kernel could not tell of something: a queue was full, or a watch was refused.",
)
.by(&["of", "reason"])
.of("inotify, epoll, `cgroup.event_control`");

pub(super) static OOM_KILLS: Described = counter(
    "sonde_agent_instance_oom_kills_total",
    "",
    "Processes of instances that the kernel killed for want of memory, also of instances that are gone by now.",
)
.of("`memory.oom_control`, `memory.events`, read when the kernel says that they changed, and at readings")
.unless("the kernel lets nobody listen");

pub(super) static LIMIT_HITS: Described = counter(
    "sonde_agent_instance_limit_hits_total",
    "",
    "How often instances hit a limit, also instances that are gone by now.",
)
.by(&["resource"])
.of("`memory.failcnt` or `memory.events` `max`, `pids.events` `max`, as above")
.unless("the kernel lets nobody listen");

pub(super) static OF_THE_AGENT: &[Row<About>] = &[
    Row {
        about: gauge("sonde_agent_start_time_seconds", "seconds", "When the agent began, in seconds since 1970.")
            .of(AGENT),
        value: |a| {
            let started = a.started_wall.duration_since(UNIX_EPOCH).unwrap_or_default();
            Some(Number::Float(started.as_secs_f64()))
        },
    },
    Row {
        about: gauge("sonde_agent_uptime_seconds", "seconds", "How long the agent has run.").of(AGENT),
        value: |a| Some(Number::Float(a.started.elapsed().as_secs_f64())),
    },
    Row {
        about: counter(
            "sonde_agent_instance_births_total",
            "",
            "Instances that appeared, those that were there at the start among them.",
        )
        .of(AGENT),
        value: |a| Some(Number::Unsigned(a.births.get())),
    },
    Row {
        about: counter("sonde_agent_instance_deaths_total", "", "Instances that are gone.").of(AGENT),
        value: |a| Some(Number::Unsigned(a.deaths.get())),
    },
    Row {
        about: counter(
            "sonde_agent_instance_lives_unread_total",
            "",
            "Of births and deaths, those of lives that were over before anything but their name could be read.",
        )
        .of("what inotify says of cgroups and of runtimes' state directories"),
        value: |a| Some(Number::Unsigned(a.unread.get())),
    },
    Row {
        about: counter("sonde_agent_scrapes_total", "", "Expositions served.").of(AGENT),
        value: |a| Some(Number::Unsigned(a.scrapes.get())),
    },
    Row {
        about: counter("sonde_agent_scrapes_cached_total", "", "Of these, those of a reading from before the scrape.")
            .of(AGENT),
        value: |a| Some(Number::Unsigned(a.scrapes_cached.get())),
    },
    Row {
        about: counter("sonde_agent_scrape_bytes_total", "", "Bytes of expositions before compression.").of(AGENT),
        value: |a| Some(Number::Unsigned(a.scrape_bytes.get())),
    },
    Row {
        about: counter(
            "sonde_agent_readings_late_total",
            "",
            "Scrapes served with an older reading, as the kernel did not answer in time.",
        )
        .of(AGENT),
        value: |a| Some(Number::Unsigned(a.readings_late.get())),
    },
    Row {
        about: counter("sonde_agent_connections_total", "", "Connections taken.").of(AGENT),
        value: |a| Some(Number::Unsigned(a.connections.get())),
    },
    Row {
        about: counter(
            "sonde_agent_connections_refused_total",
            "",
            "Connections closed at once, being over the limit or failing their handshake.",
        )
        .of(AGENT),
        value: |a| Some(Number::Unsigned(a.connections_refused.get())),
    },
    Row {
        about: counter(
            "sonde_agent_descriptors_out_total",
            "",
            "Connections that could not be accepted at first, for want of descriptors.",
        )
        .of(AGENT),
        value: |a| Some(Number::Unsigned(a.descriptors_out.get())),
    },
    Row {
        about: counter("sonde_agent_config_faults_total", "", "Configurations refused while running.").of(AGENT),
        value: |a| Some(Number::Unsigned(a.config_faults.get())),
    },
    Row {
        about: counter("sonde_agent_sensor_faults_total", "", "Sensors refused, as a file or on an instance.")
            .of(AGENT),
        value: |a| Some(Number::Unsigned(a.sensor_faults.get())),
    },
    Row {
        about: counter("sonde_agent_reports_total", "", "Reports that a proxy took.").of(AGENT),
        value: |a| Some(Number::Unsigned(a.reports.get())),
    },
    Row {
        about: counter("sonde_agent_reports_failed_total", "", "Reports that a proxy did not take.").of(AGENT),
        value: |a| Some(Number::Unsigned(a.reports_failed.get())),
    },
    Row {
        about: gauge(
            "sonde_agent_untold_instances",
            "",
            "Instances that a report has no room for: proxies do not know them.",
        )
        .of(AGENT),
        value: |a| Some(Number::Unsigned(a.untold_instances.get())),
    },
    Row {
        about: gauge(
            "sonde_agent_untold_sensors",
            "",
            "Versions of pushed sensors of which a report has no room to say what became of them.",
        )
        .of(AGENT),
        value: |a| Some(Number::Unsigned(a.untold_sensors.get())),
    },
    Row {
        about: counter(
            "sonde_agent_scrape_seconds_total",
            "seconds",
            "Time spent on expositions, request to last byte encoded.",
        )
        .of(AGENT),
        value: |a| Some(Number::Float(a.scrape_ns.get() as f64 / 1e9)),
    },
];

pub(super) static OF_NOW: &[Row<Now>] = &[
    Row {
        about: gauge("sonde_agent_instances", "", "Instances alive on the node.").of(AGENT),
        value: |n| Some(Number::Float(n.instances as f64)),
    },
    Row {
        about: gauge("sonde_agent_instances_gone", "", "Instances gone that are still remembered.").of(AGENT),
        value: |n| Some(Number::Float(n.gone as f64)),
    },
    Row {
        about: gauge("sonde_agent_sensors", "", "Sensors placed on instances.").of(AGENT),
        value: |n| Some(Number::Float(n.sensors as f64)),
    },
    Row {
        about: gauge(
            "sonde_agent_reading_floor_seconds",
            "seconds",
            "The least time between two readings for one scraper, as it is in force.",
        )
        .of(AGENT),
        value: |n| Some(Number::Float(n.floor.as_secs_f64())),
    },
    Row {
        about: gauge(
            "sonde_agent_overloaded",
            "",
            "Whether the floor is higher than the operator's, the node being overloaded.",
        )
        .of(AGENT),
        value: |n| Some(Number::Float(f64::from(u8::from(n.overloaded)))),
    },
    Row {
        about: counter(
            "sonde_agent_readings_stuck_total",
            "",
            "Reading threads that were stuck in the kernel and were replaced.",
        )
        .of(AGENT),
        value: |n| Some(Number::Unsigned(n.stuck)),
    },
    Row {
        about: counter(
            "sonde_agent_certificate_faults_total",
            "",
            "Renewed certificates that were refused; those before them stay.",
        )
        .of(AGENT),
        value: |n| Some(Number::Unsigned(n.certificate_faults)),
    },
];
