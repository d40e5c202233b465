//! The world's own types, as the agent's side sees them: field for field those of `wit/types.wit`.
//!
//! The runner lifts a batch out of a guest with the types that wasmtime generates from the WIT, and writes those; here they are read
//! again, without wasmtime. postcard has no field names, so the order of fields and variants is the format; a test of the runner
//! holds the two against each other. A value of these types is not checked for anything but its shape.

use serde::{Deserialize, Serialize};

/// The kinds of Prometheus and OpenMetrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    NativeHistogram,
    Summary,
    Info,
    StateSet,
    Unknown,
}

/// One name, one kind, one set of label names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Family {
    pub name: String,
    pub kind: Kind,
    pub help: String,
    pub unit: String,
    pub label_names: Vec<String>,
}

/// What a sensor says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Description {
    Families(Vec<Family>),
    Dynamic,
}

/// One sample of a counter, a gauge, an info or an unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Number {
    pub family: u32,
    pub label_values: Vec<String>,
    pub value: f64,
    pub start_time: Option<f64>,
}

/// How many observations were at most `upper_bound`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    pub upper_bound: f64,
    pub cumulative_count: f64,
}

/// One sample of a histogram or a gauge histogram.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    pub family: u32,
    pub label_values: Vec<String>,
    pub buckets: Vec<Bucket>,
    pub sum: Option<f64>,
    pub count: f64,
    pub start_time: Option<f64>,
}

/// A run of consecutive exponential buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub offset: i32,
    pub length: u32,
}

/// One sample of a native histogram.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NativeHistogram {
    pub family: u32,
    pub label_values: Vec<String>,
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub count: f64,
    pub sum: f64,
    pub positive_spans: Vec<Span>,
    pub positive_counts: Vec<f64>,
    pub negative_spans: Vec<Span>,
    pub negative_counts: Vec<f64>,
    pub start_time: Option<f64>,
}

/// A quantile and its value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    pub quantile: f64,
    pub value: f64,
}

/// One sample of a summary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub family: u32,
    pub label_values: Vec<String>,
    pub quantiles: Vec<Quantile>,
    pub sum: Option<f64>,
    pub count: Option<f64>,
    pub start_time: Option<f64>,
}

/// A state and whether it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub name: String,
    pub enabled: bool,
}

/// One sample of a state set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateSet {
    pub family: u32,
    pub label_values: Vec<String>,
    pub states: Vec<State>,
}

/// A name and a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    pub name: String,
    pub value: String,
}

/// Where an exemplar belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExemplarOf {
    Number(u32),
    Bucket((u32, u32)),
}

/// A pointer out of the metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exemplar {
    pub of: ExemplarOf,
    pub labels: Vec<Label>,
    pub value: f64,
    pub timestamp: Option<f64>,
}

/// All that one run returns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    pub families: Vec<Family>,
    pub numbers: Vec<Number>,
    pub histograms: Vec<Histogram>,
    pub native_histograms: Vec<NativeHistogram>,
    pub summaries: Vec<Summary>,
    pub state_sets: Vec<StateSet>,
    pub exemplars: Vec<Exemplar>,
}
