//! What the agent says of itself: counters that anything may add to, written out at `/metrics`.
//!
//! Plain atomics in one struct, so that a count costs a nanosecond and a new one is a line here and a line
//! below. No labels that a tenant could multiply.

mod families;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use sonde_collect::described::Out;
#[cfg(test)]
use sonde_collect::described::{Described, families_of};
use sonde_collect::events::Totals;
use sonde_collect::state::{ProblemReason, ReadProblem};
use sonde_collect::triton::AgentCounts;
use sonde_collect::unheard::{Of, Unheard, Why};
use sonde_collect::{Names, RefusalReason};
use sonde_expo::{Labels, Number, Writer};

use families::{ANSWERS, BUILD, LIMIT_HITS, OF_NOW, OF_THE_AGENT, OOM_KILLS, PROBLEMS, REFUSED, SILENCE, UNHEARD};

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
    pub births: Counter,
    pub deaths: Counter,
    /// Of both, those of lives that were over before anything of them could be read.
    pub unread: Counter,
    untold_instances: Counter,
    untold_sensors: Counter,
    refused: [Counter; RefusalReason::ALL.len()],
    unheard: Arc<Unheard>,
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
            births: Counter::default(),
            deaths: Counter::default(),
            unread: Counter::default(),
            untold_instances: Counter::default(),
            untold_sensors: Counter::default(),
            refused: Default::default(),
            unheard: Arc::default(),
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
    /// With what the kernel counts of instances, and what it does not let anybody hear.
    pub(crate) fn of(events: Option<Arc<Totals>>, unheard: Arc<Unheard>) -> Self {
        Self { events, unheard, ..Self::default() }
    }

    /// Says in the log, once of each, what is not heard.
    pub(crate) fn say_unheard(&self) {
        for (of, why) in self.unheard.news() {
            let (what, instead) = match of {
                Of::Births | Of::ForeignBirths => {
                    ("births and deaths", "a look every 10 s finds them, but for lives that are over by then")
                }
                Of::Limits => (
                    "OOM kills, refused forks and new limits",
                    "readings find them, but for those of instances that are gone by then",
                ),
            };
            let reason = match why {
                Why::Overflow => "more came at once than a queue holds (fs.inotify.max_queued_events)",
                Why::Bound => "there are more directories than the agent watches, or files than it keeps open",
                Why::Kernel => "the kernel gives no more watches (fs.inotify.max_user_watches) or has no memory",
                Why::Descriptors => "no descriptor is left",
                Why::Denied => "the agent may not",
                Why::Error => "the kernel reports an error",
            };
            tracing::warn!(
                of = of.as_str(),
                what,
                reason,
                instead,
                "the kernel does not tell of everything; how often is counted in sonde_agent_unheard_total"
            );
        }
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
        self.write_unheard(out);
        if let Some(events) = &self.events {
            out.one(&OOM_KILLS, Some(Number::Unsigned(events.oom_kills())));
            let hits = [("memory", events.memory_limit_hits()), ("pids", events.forks_refused())];
            out.labelled(&LIMIT_HITS, hits.into_iter().map(|(of, count)| (of, Some(Number::Unsigned(count)))));
        }
        out.labelled(&PROBLEMS, ProblemReason::WORDS.into_iter().zip(self.read_problems.iter().map(count)));
    }

    fn write_unheard(&self, out: &mut Out<'_, '_>) {
        let Some((mut family, base)) = out.family(&UNHEARD) else { return };
        for of in Of::ALL {
            for why in Why::ALL {
                let labels = [(UNHEARD.labels[0], of.as_str()), (UNHEARD.labels[1], why.as_str())];
                family.sample(base, &labels, Number::Unsigned(self.unheard.times(of, why)));
            }
        }
    }
}

/// The agent's own families, as `docs/series.md` lists them.
#[cfg(test)]
pub(crate) fn families() -> impl Iterator<Item = &'static Described> {
    let rows = families_of(OF_THE_AGENT).chain(families_of(OF_NOW));
    [&BUILD].into_iter().chain(rows).chain([&SILENCE, &ANSWERS, &REFUSED, &UNHEARD, &OOM_KILLS, &LIMIT_HITS, &PROBLEMS])
}
