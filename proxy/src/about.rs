//! What the proxy says of itself: counters that anything may add to, written out at the admin listener's `/metrics`.
//!
//! By class of account (operator, tenant) and never by account: their number is unbounded, and an account's own figures are at its own target.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sonde_expo::{Kind, Labels, Number, Writer};

use crate::identity::Unauthorised;
use crate::limits::{Counter, Outcome};
use crate::serve::Broken;
use crate::tls::Handshakes;
use crate::upstream::Facts;

mod inventory;

pub use inventory::Inventory;

/// Statuses of answers, as the label `code` has them; what is none of these counts as 500.
const CODES: [u16; 16] = [200, 400, 401, 403, 404, 405, 408, 413, 414, 421, 429, 431, 500, 502, 503, 504];
const CLASSES: [&str; 2] = ["tenant", "operator"];
/// Upper bounds of the histogram of the time from a request to its answer's head, in seconds.
const BOUNDS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0];

/// All counts of one proxy.
#[derive(Debug)]
pub struct About {
    started: Instant,
    started_wall: SystemTime,
    answers: [Counter; CODES.len()],
    unauthorised: [Counter; Unauthorised::ALL.len()],
    outcomes: [[Counter; Outcome::ALL.len()]; CLASSES.len()],
    broken: [Counter; Broken::ALL.len()],
    heads: [Counter; BOUNDS.len() + 1],
    head_ns: Counter,
    pub bytes: Counter,
    pub shared: Counter,
    pub connections: Counter,
    pub displaced: Counter,
    pub descriptors_out: Counter,
    pub host_faults: Counter,
    pub config_faults: Counter,
}

impl Default for About {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            started_wall: SystemTime::now(),
            answers: Default::default(),
            unauthorised: Default::default(),
            outcomes: Default::default(),
            broken: Default::default(),
            heads: Default::default(),
            head_ns: Counter::default(),
            bytes: Counter::default(),
            shared: Counter::default(),
            connections: Counter::default(),
            displaced: Counter::default(),
            descriptors_out: Counter::default(),
            host_faults: Counter::default(),
            config_faults: Counter::default(),
        }
    }
}

/// What is counted elsewhere, at the moment of writing.
#[derive(Debug, Default)]
pub struct Now {
    pub connections: usize,
    pub accounts_active: usize,
    pub scrapes: u32,
    pub kept_bytes: usize,
    pub upstream: Facts,
    pub handshakes: Handshakes,
    pub certificate_faults: u64,
    /// Records: accounts, nodes, instances.
    pub records: (usize, usize, usize),
    pub is_synced: bool,
    /// How long the serving threads have not answered.
    pub silence: Duration,
    pub inventory: Inventory,
}

impl About {
    pub fn answered(&self, status: u16, took: Duration) {
        let place = CODES.iter().position(|code| *code == status);
        // The place of 500: see the list.
        self.answers[place.unwrap_or(CODES.len() - 4)].add(1);
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.heads[bucket].add(1);
        self.head_ns.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn unauthorised(&self, reason: Unauthorised) {
        if let Some(place) = Unauthorised::ALL.iter().position(|known| *known == reason) {
            self.unauthorised[place].add(1);
        }
    }

    pub fn scraped(&self, outcome: Outcome, is_operator: bool) {
        self.outcomes[usize::from(is_operator)][outcome as usize].add(1);
    }

    pub(crate) fn broke(&self, broken: Broken) {
        self.broken[broken as usize].add(1);
    }

    /// Writes the proxy's own families.
    pub fn write(&self, writer: &mut Writer<'_>, now: &Now) {
        let none = Labels::new(&[]);
        let version = env!("CARGO_PKG_VERSION");
        writer.family("sonde_proxy_build_info", Kind::Info, "The version of the proxy.", "").sample(
            &none,
            &[("version", version)],
            Number::Unsigned(1),
        );
        self.write_gauges(writer, now);
        self.write_counters(writer, now);
        self.write_labelled(writer, now);
        now.inventory.write(writer);
        self.write_times(writer);
    }

    fn write_gauges(&self, writer: &mut Writer<'_>, now: &Now) {
        let none = Labels::new(&[]);
        let started = self.started_wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let up = self.started.elapsed().as_secs_f64();
        let gauges = [
            ("sonde_proxy_start_time_seconds", "When the proxy began, in seconds since 1970.", "seconds", started),
            ("sonde_proxy_uptime_seconds", "How long the proxy has run.", "seconds", up),
            ("sonde_proxy_synced", "Whether there is an inventory.", "", f64::from(u8::from(now.is_synced))),
            ("sonde_proxy_connections", "Connections of tenants.", "", now.connections as f64),
            ("sonde_proxy_accounts_active", "Accounts that asked within the hour.", "", now.accounts_active as f64),
            ("sonde_proxy_scrapes_in_flight", "Scrapes in flight, of all accounts.", "", f64::from(now.scrapes)),
            ("sonde_proxy_shared_bytes", "Bodies kept for those who ask the same.", "bytes", now.kept_bytes as f64),
            ("sonde_proxy_upstream_connections", "Connections to agents.", "", now.upstream.connections as f64),
            ("sonde_proxy_upstream_in_flight", "Requests in flight to agents.", "", f64::from(now.upstream.in_flight)),
            ("sonde_proxy_nodes_unreachable", "Nodes that could not be reached.", "", now.upstream.unreachable as f64),
            (
                "sonde_proxy_nodes_slow",
                "Nodes whose agents take connections and do not speak.",
                "",
                now.upstream.slow as f64,
            ),
            ("sonde_proxy_handshakes_in_flight", "Handshakes in flight.", "", now.handshakes.in_flight as f64),
            (
                "sonde_proxy_silence_seconds",
                "How long the serving threads have not answered; they are asked every second.",
                "seconds",
                now.silence.as_secs_f64(),
            ),
        ];
        for (name, help, unit, value) in gauges {
            writer.family(name, Kind::Gauge, help, unit).sample(&none, &[], Number::Float(value));
        }
        let (accounts, nodes, instances) = now.records;
        let mut records = writer.family("sonde_proxy_records", Kind::Gauge, "Records of the inventory.", "");
        for (kind, count) in [("account", accounts), ("node", nodes), ("instance", instances)] {
            records.sample(&none, &[("kind", kind)], Number::Unsigned(count as u64));
        }
    }

    fn write_counters(&self, writer: &mut Writer<'_>, now: &Now) {
        let none = Labels::new(&[]);
        let counters = [
            ("sonde_proxy_connections_total", "Connections taken.", self.connections.get()),
            ("sonde_proxy_connections_displaced_total", "Connections that made room.", self.displaced.get()),
            (
                "sonde_proxy_descriptors_out_total",
                "Connections not accepted at first, for want of descriptors.",
                self.descriptors_out.get(),
            ),
            ("sonde_proxy_sent_bytes_total", "Bytes of bodies sent.", self.bytes.get()),
            ("sonde_proxy_shared_total", "Scrapes answered with what another had just got.", self.shared.get()),
            (
                "sonde_proxy_host_faults_total",
                "Requests whose names do not agree or are not ours.",
                self.host_faults.get(),
            ),
            ("sonde_proxy_config_faults_total", "Configurations refused while running.", self.config_faults.get()),
            (
                "sonde_proxy_certificate_faults_total",
                "Renewed certificates that were refused; those before them stay.",
                now.certificate_faults,
            ),
        ];
        for (name, help, count) in counters {
            writer.family(name, Kind::Counter, help, "").sample(&none, &[], Number::Unsigned(count));
        }
    }

    fn write_labelled(&self, writer: &mut Writer<'_>, now: &Now) {
        let none = Labels::new(&[]);
        let mut answers = writer.family("sonde_proxy_answers_total", Kind::Counter, "HTTP answers by status.", "");
        for (code, counter) in CODES.iter().zip(&self.answers) {
            answers.sample(&none, &[("code", &code.to_string())], Number::Unsigned(counter.get()));
        }
        let help = "Requests of nobody, by reason.";
        let mut unauthorised = writer.family("sonde_proxy_unauthorised_total", Kind::Counter, help, "");
        for (reason, counter) in Unauthorised::ALL.iter().zip(&self.unauthorised) {
            unauthorised.sample(&none, &[("reason", reason.name())], Number::Unsigned(counter.get()));
        }
        let help = "What became of scrapes, by class of account.";
        let mut outcomes = writer.family("sonde_proxy_scrapes_total", Kind::Counter, help, "");
        for (class, counters) in CLASSES.iter().zip(&self.outcomes) {
            for (outcome, counter) in Outcome::ALL.iter().zip(counters) {
                let labels = [("class", *class), ("outcome", outcome.name())];
                outcomes.sample(&none, &labels, Number::Unsigned(counter.get()));
            }
        }
        let help = "Connections ended for the pace that they did not keep.";
        let mut broken = writer.family("sonde_proxy_connections_ended_total", Kind::Counter, help, "");
        for (reason, counter) in Broken::ALL.iter().zip(&self.broken) {
            broken.sample(&none, &[("reason", reason.name())], Number::Unsigned(counter.get()));
        }
        let shaken = &now.handshakes;
        let results =
            [("done", shaken.done), ("failed", shaken.failed), ("late", shaken.late), ("refused", shaken.refused)];
        let mut handshakes =
            writer.family("sonde_proxy_handshakes_total", Kind::Counter, "TLS handshakes by result.", "");
        for (result, count) in results {
            handshakes.sample(&none, &[("result", result)], Number::Unsigned(count));
        }
    }

    /// Time to the head, as counters that make a histogram.
    fn write_times(&self, writer: &mut Writer<'_>) {
        let none = Labels::new(&[]);
        let mut count = 0;
        let help = "Answers whose head came within `le` seconds of the request; all of them without a bound.";
        let mut within = writer.family("sonde_proxy_answered_within_total", Kind::Counter, help, "");
        for (place, counter) in self.heads.iter().enumerate() {
            count += counter.get();
            let bound = BOUNDS.get(place).map_or_else(|| "all".to_owned(), ToString::to_string);
            within.sample(&none, &[("seconds", &bound)], Number::Unsigned(count));
        }
        let seconds = self.head_ns.get() as f64 / 1e9;
        let help = "Time from requests to the heads of their answers.";
        writer.family("sonde_proxy_answer_seconds_total", Kind::Counter, help, "seconds").sample(
            &none,
            &[],
            Number::Float(seconds),
        );
    }
}
