//! What the agent says of itself: counters that anything may add to, written out at `/metrics`.
//!
//! Plain atomics in one struct, so that a count costs a nanosecond and a new one is a line here and a line
//! below. No labels that a tenant could multiply.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sonde_collect::RefusalReason;
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
    pub scrape_ns: Counter,
    pub scrape_bytes: Counter,
    /// By the place of the status in [`CODES`].
    pub answers: [Counter; CODES.len()],
    pub readings_late: Counter,
    pub read_problems: Counter,
    pub connections: Counter,
    pub connections_refused: Counter,
    pub descriptors_out: Counter,
    pub config_faults: Counter,
    pub sensor_faults: Counter,
    pub reports: Counter,
    pub reports_failed: Counter,
    refused: [Counter; RefusalReason::ALL.len()],
}

impl Default for About {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            started_wall: SystemTime::now(),
            scrapes: Counter::default(),
            scrape_ns: Counter::default(),
            scrape_bytes: Counter::default(),
            answers: Default::default(),
            readings_late: Counter::default(),
            read_problems: Counter::default(),
            connections: Counter::default(),
            connections_refused: Counter::default(),
            descriptors_out: Counter::default(),
            config_faults: Counter::default(),
            sensor_faults: Counter::default(),
            reports: Counter::default(),
            reports_failed: Counter::default(),
            refused: Default::default(),
        }
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
    pub fn answered(&self, status: u16) {
        let place = CODES.iter().position(|code| *code == status).unwrap_or(CODES.len() - 2);
        self.answers[place].add(1);
    }

    pub(crate) fn set_refused(&self, counts: [u64; RefusalReason::ALL.len()]) {
        for (counter, count) in self.refused.iter().zip(counts) {
            counter.set(count);
        }
    }

    /// Writes the agent's own families.
    pub fn write(&self, writer: &mut Writer<'_>, now: &Now) {
        let none = Labels::new(&[]);
        let version = env!("CARGO_PKG_VERSION");
        writer.family("sonde_agent_build_info", Kind::Info, "The version of the agent.", "").sample(
            &none,
            &[("version", version)],
            Number::Unsigned(1),
        );
        let started = self.started_wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let up = self.started.elapsed().as_secs_f64();
        let gauges = [
            ("sonde_agent_start_time_seconds", "When the agent began, in seconds since 1970.", "seconds", started),
            ("sonde_agent_uptime_seconds", "How long the agent has run.", "seconds", up),
            ("sonde_agent_instances", "Instances alive on the node.", "", now.instances as f64),
            ("sonde_agent_instances_gone", "Instances gone that are still remembered.", "", now.gone as f64),
            ("sonde_agent_sensors", "Sensors placed on instances.", "", now.sensors as f64),
            (
                "sonde_agent_reading_floor_seconds",
                "The least time between two readings for one scraper, as it is in force.",
                "seconds",
                now.floor.as_secs_f64(),
            ),
            (
                "sonde_agent_overloaded",
                "Whether the floor is higher than the operator's, the node being overloaded.",
                "",
                f64::from(u8::from(now.overloaded)),
            ),
        ];
        for (name, help, unit, value) in gauges {
            writer.family(name, Kind::Gauge, help, unit).sample(&none, &[], Number::Float(value));
        }
        let counters = [
            ("sonde_agent_scrapes_total", "Expositions served.", &self.scrapes),
            ("sonde_agent_scrape_bytes_total", "Bytes of expositions before compression.", &self.scrape_bytes),
            (
                "sonde_agent_readings_late_total",
                "Scrapes served with an older reading, as the kernel did not answer in time.",
                &self.readings_late,
            ),
            ("sonde_agent_read_problems_total", "Kernel files that could not be read or parsed.", &self.read_problems),
            ("sonde_agent_connections_total", "Connections taken.", &self.connections),
            (
                "sonde_agent_connections_refused_total",
                "Connections closed at once, being over the limit or failing their handshake.",
                &self.connections_refused,
            ),
            (
                "sonde_agent_descriptors_out_total",
                "Connections that could not be accepted at first, for want of descriptors.",
                &self.descriptors_out,
            ),
            ("sonde_agent_config_faults_total", "Configurations refused while running.", &self.config_faults),
            ("sonde_agent_sensor_faults_total", "Sensors refused, as a file or on an instance.", &self.sensor_faults),
            ("sonde_agent_reports_total", "Reports that a proxy took.", &self.reports),
            ("sonde_agent_reports_failed_total", "Reports that a proxy did not take.", &self.reports_failed),
        ];
        for (name, help, counter) in counters {
            writer.family(name, Kind::Counter, help, "").sample(&none, &[], Number::Unsigned(counter.get()));
        }
        let help = "Reading threads that were stuck in the kernel and were replaced.";
        writer.family("sonde_agent_readings_stuck_total", Kind::Counter, help, "").sample(
            &none,
            &[],
            Number::Unsigned(now.stuck),
        );
        let help = "Renewed certificates that were refused; those before them stay.";
        writer.family("sonde_agent_certificate_faults_total", Kind::Counter, help, "").sample(
            &none,
            &[],
            Number::Unsigned(now.certificate_faults),
        );
        let help = "How long a part of the agent has not answered; it is asked every few seconds.";
        let mut silences = writer.family("sonde_agent_part_silence_seconds", Kind::Gauge, help, "seconds");
        for (part, silence) in &now.silences {
            silences.sample(&none, &[("part", part)], Number::Float(silence.as_secs_f64()));
        }
        let seconds = self.scrape_ns.get() as f64 / 1e9;
        writer
            .family(
                "sonde_agent_scrape_seconds_total",
                Kind::Counter,
                "Time spent on expositions, request to last byte encoded.",
                "seconds",
            )
            .sample(&none, &[], Number::Float(seconds));
        let mut answers = writer.family("sonde_agent_answers_total", Kind::Counter, "HTTP answers by status.", "");
        for (code, counter) in CODES.iter().zip(&self.answers) {
            answers.sample(&none, &[("code", &code.to_string())], Number::Unsigned(counter.get()));
        }
        let help = "Claims to be an instance that were refused.";
        let mut refused = writer.family("sonde_agent_claims_refused_total", Kind::Counter, help, "");
        for (reason, counter) in RefusalReason::ALL.iter().zip(&self.refused) {
            refused.sample(&none, &[("reason", reason.as_str())], Number::Unsigned(counter.get()));
        }
    }
}
