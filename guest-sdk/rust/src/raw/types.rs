//! The interface `types` as wit-bindgen generates it on wasm32, for every other target.
//!
//! Field for field the records of `wit/types.wit`, which documents them; the compiler keeps the two in step, since
//! the batch is written once and built for both.

/// `types.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// `types.family`.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    pub name: String,
    pub kind: Kind,
    pub help: String,
    pub unit: String,
    pub label_names: Vec<String>,
}

/// `types.description`.
#[derive(Debug, Clone, PartialEq)]
pub enum Description {
    Families(Vec<Family>),
    Dynamic,
}

/// `types.number`.
#[derive(Debug, Clone, PartialEq)]
pub struct Number {
    pub family: u32,
    pub label_values: Vec<String>,
    pub value: f64,
    pub start_time: Option<f64>,
}

/// `types.bucket`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    pub upper_bound: f64,
    pub cumulative_count: f64,
}

/// `types.histogram`.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    pub family: u32,
    pub label_values: Vec<String>,
    pub buckets: Vec<Bucket>,
    pub sum: Option<f64>,
    pub count: f64,
    pub start_time: Option<f64>,
}

/// `types.span`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub offset: i32,
    pub length: u32,
}

/// `types.native-histogram`.
#[derive(Debug, Clone, PartialEq)]
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

/// `types.quantile`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantile {
    pub quantile: f64,
    pub value: f64,
}

/// `types.summary`.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub family: u32,
    pub label_values: Vec<String>,
    pub quantiles: Vec<Quantile>,
    pub sum: Option<f64>,
    pub count: Option<f64>,
    pub start_time: Option<f64>,
}

/// `types.state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub name: String,
    pub enabled: bool,
}

/// `types.state-set`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSet {
    pub family: u32,
    pub label_values: Vec<String>,
    pub states: Vec<State>,
}

/// `types.label`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub name: String,
    pub value: String,
}

/// `types.exemplar-of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExemplarOf {
    Number(u32),
    Bucket((u32, u32)),
}

/// `types.exemplar`.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    pub of: ExemplarOf,
    pub labels: Vec<Label>,
    pub value: f64,
    pub timestamp: Option<f64>,
}

/// `types.batch`.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    pub families: Vec<Family>,
    pub numbers: Vec<Number>,
    pub histograms: Vec<Histogram>,
    pub native_histograms: Vec<NativeHistogram>,
    pub summaries: Vec<Summary>,
    pub state_sets: Vec<StateSet>,
    pub exemplars: Vec<Exemplar>,
}

/// `types.failure-reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureReason {
    Unreachable,
    Timeout,
    Unauthorized,
    Protocol,
    Misconfigured,
    Denied,
    Other,
}

/// `types.failure`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub reason: FailureReason,
    pub message: String,
}
