//! A test double of the node, for `cargo test` on the machine of a sensor's author.
//!
//! An [`Instance`] says what the sensor finds: configuration, secrets, servers behind ports, files,
//! kstats, processes. [`collect`] runs the sensor against it once and gives back what it returned, checked as the node
//! would check it. Servers are scripted by a closure, or real ones on this machine's loopback
//! ([`Instance::tcp_real`]). What an instance does not name is not there: a port refuses, a file is not found.
//!
//! The double does not read `sensor.toml`: that a grant holds what the code uses is for `sonde sensor test`.

mod check;
mod http_client;
mod peer;
pub mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::raw::{kstats, processes, types};
use crate::{Failure, Reason, Sensor};

use peer::Peer;

/// A canned answer to an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// 100 to 599.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Status 200 with a body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into() }
    }

    /// Only a status.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// An instance as the sensor finds it. Empty at first.
#[derive(Default)]
pub struct Instance {
    config: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
    tcp: BTreeMap<u16, Peer>,
    unix: BTreeMap<String, Peer>,
    http: BTreeMap<u16, HttpServer>,
    files: BTreeMap<String, Vec<u8>>,
    kstats: Vec<kstats::Kstat>,
    processes: Vec<processes::Process>,
    state: Vec<u8>,
    now_milliseconds: u64,
    log: Vec<(crate::log::Level, String)>,
}

/// What answers HTTP on a port.
enum HttpServer {
    Canned(BTreeMap<String, Answer>),
    Real(u16),
}

impl Instance {
    /// An instance in which there is nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A configuration value. The manifest's defaults are not known here: give what the test needs.
    #[must_use]
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.config.insert(key.to_owned(), value.to_owned());
        self
    }

    /// A secret.
    #[must_use]
    pub fn secret(mut self, name: &str, value: &str) -> Self {
        self.secrets.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A server on a port: the closure gets the bytes of each write and returns what the sensor can then
    /// read. A server that speaks first is called once with nothing when the sensor connects.
    #[must_use]
    pub fn tcp(mut self, port: u16, serve: impl FnMut(&[u8]) -> Vec<u8> + 'static) -> Self {
        self.tcp.insert(port, Peer::scripted(serve));
        self
    }

    /// A server that accepts and never says a word: each read runs into its timeout, at once.
    #[must_use]
    pub fn tcp_silent(mut self, port: u16) -> Self {
        self.tcp.insert(port, Peer::Silent);
        self
    }

    /// A real server: the port leads to this one of this machine's loopback.
    #[must_use]
    pub fn tcp_real(mut self, port: u16, local_port: u16) -> Self {
        self.tcp.insert(port, Peer::Tcp(local_port));
        self
    }

    /// A server on a Unix socket, as for [`Instance::tcp`].
    #[must_use]
    pub fn unix(mut self, path: &str, serve: impl FnMut(&[u8]) -> Vec<u8> + 'static) -> Self {
        self.unix.insert(path.to_owned(), Peer::scripted(serve));
        self
    }

    /// A real server behind a Unix socket: the path leads to this one of this machine.
    #[must_use]
    pub fn unix_real(mut self, path: &str, local_path: &str) -> Self {
        self.unix.insert(path.to_owned(), Peer::Unix(local_path.to_owned()));
        self
    }

    /// An answer to a path (with its query) on a port. Other paths on that port are 404.
    #[must_use]
    pub fn http(mut self, port: u16, path: &str, answer: Answer) -> Self {
        if let HttpServer::Canned(answers) =
            self.http.entry(port).or_insert_with(|| HttpServer::Canned(BTreeMap::new()))
        {
            answers.insert(path.to_owned(), answer);
        }
        self
    }

    /// A real HTTP server: the port leads to this one of this machine's loopback.
    #[must_use]
    pub fn http_real(mut self, port: u16, local_port: u16) -> Self {
        self.http.insert(port, HttpServer::Real(local_port));
        self
    }

    /// A file.
    #[must_use]
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), content.into());
        self
    }

    /// A kstat with unsigned statistics; for other values see [`Instance::kstat_record`].
    #[must_use]
    pub fn kstat(self, module: &str, name: &str, statistics: &[(&str, u64)]) -> Self {
        let statistics = statistics
            .iter()
            .map(|(name, value)| kstats::Statistic {
                name: (*name).to_owned(),
                value: kstats::KstatValue::Unsigned(*value),
            })
            .collect();
        self.kstat_record(kstats::Kstat { module: module.to_owned(), name: name.to_owned(), statistics })
    }

    /// A kstat as it is.
    #[must_use]
    pub fn kstat_record(mut self, kstat: kstats::Kstat) -> Self {
        self.kstats.push(kstat);
        self
    }

    /// A process.
    #[must_use]
    pub fn process(mut self, process: processes::Process) -> Self {
        self.processes.push(process);
        self
    }

    /// What an earlier run stored.
    #[must_use]
    pub fn state(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.state = bytes.into();
        self
    }

    /// The time, in milliseconds since 1970; it stands still.
    #[must_use]
    pub fn now(mut self, milliseconds: u64) -> Self {
        self.now_milliseconds = milliseconds;
        self
    }
}

thread_local! {
    /// The instance of the run in progress on this thread.
    static INSTANCE: RefCell<Option<Instance>> = const { RefCell::new(None) };
}

/// What one run returned, and left behind.
#[derive(Debug, Clone)]
pub struct Collected {
    families: Vec<types::Family>,
    batch: types::Batch,
    /// Lines the sensor logged.
    pub log: Vec<(crate::log::Level, String)>,
    /// What it stored, or what was there.
    pub state: Vec<u8>,
}

/// Runs a sensor once against an instance.
///
/// # Errors
/// The sensor's failure; or one of reason `other` that says what the node would refuse in what it
/// described and returned.
pub fn collect<S: Sensor>(instance: Instance) -> Result<Collected, Failure> {
    let described = crate::raw::describe::<S>();
    INSTANCE.with(|current| *current.borrow_mut() = Some(instance));
    let result = crate::raw::collect::<S>();
    let left = INSTANCE.with(|current| current.borrow_mut().take()).expect("nothing takes it during a run");
    let batch = result.map_err(|failure| Failure { reason: failure.reason, message: failure.message })?;
    let families = match described {
        types::Description::Families(families) => families,
        types::Description::Dynamic => batch.families.clone(),
    };
    check::check(&families, &batch).map_err(|fault| Failure::new(Reason::Other, fault))?;
    Ok(Collected { families, batch, log: left.log, state: left.state })
}

impl Collected {
    /// The value of a counter, gauge, info or unknown with exactly these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.number(name, labels).map(|number| number.value)
    }

    /// The sample of a counter, gauge, info or unknown with exactly these labels.
    pub fn number(&self, name: &str, labels: &[(&str, &str)]) -> Option<&types::Number> {
        let (index, family) = self.family(name)?;
        self.batch
            .numbers
            .iter()
            .find(|number| number.family == index && same_labels(family, &number.label_values, labels))
    }

    /// The histogram (or gauge histogram) with exactly these labels.
    pub fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Option<&types::Histogram> {
        let (index, family) = self.family(name)?;
        self.batch
            .histograms
            .iter()
            .find(|sample| sample.family == index && same_labels(family, &sample.label_values, labels))
    }

    /// The summary with exactly these labels.
    pub fn summary(&self, name: &str, labels: &[(&str, &str)]) -> Option<&types::Summary> {
        let (index, family) = self.family(name)?;
        self.batch
            .summaries
            .iter()
            .find(|sample| sample.family == index && same_labels(family, &sample.label_values, labels))
    }

    /// Whether a state of a state set holds.
    pub fn state_of(&self, name: &str, labels: &[(&str, &str)], state: &str) -> Option<bool> {
        let (index, family) = self.family(name)?;
        let set = self
            .batch
            .state_sets
            .iter()
            .find(|sample| sample.family == index && same_labels(family, &sample.label_values, labels))?;
        set.states.iter().find(|found| found.name == state).map(|found| found.enabled)
    }

    /// How many samples a family has.
    pub fn count(&self, name: &str) -> usize {
        let Some((index, _)) = self.family(name) else { return 0 };
        self.batch.numbers.iter().filter(|sample| sample.family == index).count()
            + self.batch.histograms.iter().filter(|sample| sample.family == index).count()
            + self.batch.native_histograms.iter().filter(|sample| sample.family == index).count()
            + self.batch.summaries.iter().filter(|sample| sample.family == index).count()
            + self.batch.state_sets.iter().filter(|sample| sample.family == index).count()
    }

    /// The families: those described, or a dynamic sensor's own.
    pub fn families(&self) -> &[types::Family] {
        &self.families
    }

    /// Everything that was returned.
    pub fn batch(&self) -> &types::Batch {
        &self.batch
    }

    fn family(&self, name: &str) -> Option<(u32, &types::Family)> {
        let index = self.families.iter().position(|family| family.name == name)?;
        Some((u32::try_from(index).ok()?, &self.families[index]))
    }
}

/// Labels in any order; an empty value is an absent label.
fn same_labels(family: &types::Family, values: &[String], wanted: &[(&str, &str)]) -> bool {
    let present = family.label_names.iter().zip(values).filter(|(_, value)| !value.is_empty());
    present.clone().count() == wanted.len()
        && present.into_iter().all(|(name, value)| wanted.iter().any(|(n, v)| n == name && v == value))
}
