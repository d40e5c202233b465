//! What the agent says of itself: counters that anything may add to, written out at `/metrics`.
//!
//! Plain atomics in one struct, so that a count costs a nanosecond and a new one is a line here and a line
//! below. No labels that a tenant could multiply.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[cfg(test)]
use sonde_collect::described::families_of;
use sonde_collect::described::{Described, Out, Row, counter, described, gauge};
use sonde_collect::events::Totals;
use sonde_collect::state::{ProblemReason, ReadProblem};
use sonde_collect::triton::AgentCounts;
use sonde_collect::{Names, RefusalReason};
use sonde_expo::{Kind, Labels, Number, Writer};

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// For what is counted anew each time: returns what it was.
    pub(crate) fn replace(&self, value: u64) -> u64 {
        self.0.swap(value, Ordering::Relaxed)
    }

    fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// Status classes of answers, as the label `code` has them.
pub const CODES: [u16; 8] = [200, 400, 404, 405, 421, 431, 500, 503];

/// All counts of one agent.
#[derive(Debug)]
pub struct About {
    started: Instant,
    started_wall: SystemTime,
    pub scrapes: Counter,
    /// Of these, those of a reading that began before they were asked for.
    pub scrapes_cached: Counter,
    pub scrape_ns: Counter,
    pub scrape_bytes: Counter,
    /// By the place of the status in [`CODES`].
    pub answers: [Counter; CODES.len()],
    pub readings_late: Counter,
    pub read_problems: [Counter; ProblemReason::WORDS.len()],
    pub connections: Counter,
    pub connections_refused: Counter,
    pub descriptors_out: Counter,
    pub config_faults: Counter,
    pub sensor_faults: Counter,
    pub reports: Counter,
    pub reports_failed: Counter,
    untold_instances: Counter,
    untold_sensors: Counter,
    refused: [Counter; RefusalReason::ALL.len()],
    /// What the kernel counted of instances; none where nobody listens.
    events: Option<Arc<Totals>>,
}

impl Default for About {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            started_wall: SystemTime::now(),
            scrapes: Counter::default(),
            scrapes_cached: Counter::default(),
            scrape_ns: Counter::default(),
            scrape_bytes: Counter::default(),
            answers: Default::default(),
            readings_late: Counter::default(),
            read_problems: Default::default(),
            connections: Counter::default(),
            connections_refused: Counter::default(),
            descriptors_out: Counter::default(),
            config_faults: Counter::default(),
            sensor_faults: Counter::default(),
            reports: Counter::default(),
            reports_failed: Counter::default(),
            untold_instances: Counter::default(),
            untold_sensors: Counter::default(),
            refused: Default::default(),
            events: None,
        }
    }
}

/// Notes it, and says when it begins and when it ends.
fn untold(counter: &Counter, count: usize, what: &str) {
    let before = counter.replace(count as u64);
    if before == 0 && count > 0 {
        tracing::error!(count, what, "there are more than a report has room for: proxies are not told of the rest");
    } else if before > 0 && count == 0 {
        tracing::info!(what, "a report has room for all again");
    }
}

/// What is counted elsewhere, at the moment of writing.
pub struct Now {
    pub instances: usize,
    pub gone: usize,
    pub sensors: usize,
    /// Reading threads that have ever been stuck.
    pub stuck: u64,
    /// In force, the operator's or a higher one.
    pub floor: Duration,
    pub overloaded: bool,
    /// Certificates that were refused while running.
    pub certificate_faults: u64,
    /// How long each part of the agent has not answered.
    pub silences: Vec<(&'static str, Duration)>,
}

impl About {
    /// With what the kernel counts of instances.
    pub(crate) fn of(events: Option<Arc<Totals>>) -> Self {
        Self { events, ..Self::default() }
    }

    /// How many instances a report has no room for.
    pub(crate) fn instances_untold(&self, count: usize) {
        untold(&self.untold_instances, count, "instances");
    }

    /// How many rows about pushed sensors a report has no room for.
    pub(crate) fn sensors_untold(&self, count: usize) {
        untold(&self.untold_sensors, count, "rows about pushed sensors");
    }

    pub fn answered(&self, status: u16) {
        let place = CODES.iter().position(|code| *code == status).unwrap_or(CODES.len() - 2);
        self.answers[place].add(1);
    }

    /// What could not be read at a reading that was served.
    pub(crate) fn met(&self, problems: &[ReadProblem]) {
        for problem in problems {
            self.read_problems[problem.reason.word()].add(1);
        }
    }

    /// What cmon-agent counted of itself; `kept` readings are remembered now.
    pub(crate) fn counts(&self, kept: usize) -> AgentCounts {
        AgentCounts {
            kept: kept as u64,
            asked: self.scrapes.get(),
            of_kept: self.scrapes_cached.get(),
            answers: CODES.into_iter().zip(self.answers.iter().map(Counter::get)).collect(),
        }
    }

    pub(crate) fn set_refused(&self, counts: [u64; RefusalReason::ALL.len()]) {
        for (counter, count) in self.refused.iter().zip(counts) {
            counter.set(count);
        }
    }

    /// Writes the agent's own families.
    pub fn write(&self, writer: &mut Writer<'_>, now: &Now) {
        let none = Labels::new(&[]);
        let out = &mut Out::new(writer, &none, Names::default());
        out.labelled(&BUILD, [(env!("CARGO_PKG_VERSION"), Some(Number::Unsigned(1)))].into_iter());
        out.rows(OF_THE_AGENT, self);
        out.rows(OF_NOW, now);
        let seconds = |silence: &Duration| Some(Number::Float(silence.as_secs_f64()));
        out.labelled(&SILENCE, now.silences.iter().map(|(part, silence)| (*part, seconds(silence))));
        let count = |counter: &Counter| Some(Number::Unsigned(counter.get()));
        let codes = CODES.map(|code| code.to_string());
        out.labelled(&ANSWERS, codes.iter().map(String::as_str).zip(self.answers.iter().map(count)));
        let reasons = RefusalReason::ALL.iter().map(|reason| reason.as_str());
        out.labelled(&REFUSED, reasons.zip(self.refused.iter().map(count)));
        if let Some(events) = &self.events {
            out.one(&OOM_KILLS, Some(Number::Unsigned(events.oom_kills())));
            let hits = [("memory", events.memory_limit_hits()), ("pids", events.forks_refused())];
            out.labelled(&LIMIT_HITS, hits.into_iter().map(|(of, count)| (of, Some(Number::Unsigned(count)))));
        }
        out.labelled(&PROBLEMS, ProblemReason::WORDS.into_iter().zip(self.read_problems.iter().map(count)));
    }
}

const AGENT: &str = "the agent";

static BUILD: Described =
    described(Kind::Info, "sonde_agent_build_info", "", "The version of the agent.").by(&["version"]).of(AGENT);

static SILENCE: Described = gauge(
    "sonde_agent_part_silence_seconds",
    "seconds",
    "How long a part of the agent has not answered; it is asked every few seconds.",
)
.by(&["part"])
.of(AGENT);

static ANSWERS: Described = counter("sonde_agent_answers_total", "", "HTTP answers by status.").by(&["code"]).of(AGENT);

static REFUSED: Described =
    counter("sonde_agent_claims_refused_total", "", "Claims to be an instance that were refused.")
        .by(&["reason"])
        .of(AGENT);

static PROBLEMS: Described = counter(
    "sonde_agent_read_problems_total",
    "",
    "Kernel files of instances that could not be read, or not whole, or not parsed.",
)
.by(&["reason"])
.of(AGENT);

static OOM_KILLS: Described = counter(
    "sonde_agent_instance_oom_kills_total",
    "",
    "Processes of instances that the kernel killed for want of memory, also of instances that are gone by now.",
)
.of("`memory.oom_control`, `memory.events`, read when the kernel says that they changed, and at readings")
.unless("the kernel lets nobody listen");

static LIMIT_HITS: Described = counter(
    "sonde_agent_instance_limit_hits_total",
    "",
    "How often instances hit a limit, also instances that are gone by now.",
)
.by(&["resource"])
.of("`memory.failcnt` or `memory.events` `max`, `pids.events` `max`, as above")
.unless("the kernel lets nobody listen");

static OF_THE_AGENT: &[Row<About>] = &[
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

static OF_NOW: &[Row<Now>] = &[
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

/// The agent's own families, as `docs/series.md` lists them.
#[cfg(test)]
pub(crate) fn families() -> impl Iterator<Item = &'static Described> {
    let rows = families_of(OF_THE_AGENT).chain(families_of(OF_NOW));
    [&BUILD].into_iter().chain(rows).chain([&SILENCE, &ANSWERS, &REFUSED, &OOM_KILLS, &LIMIT_HITS, &PROBLEMS])
}
