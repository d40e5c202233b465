//! The metric model: families, their samples and the values that samples hold.
//!
//! One shape for all that Sonde exposes, whoever measured it: a native reading, a sensor or a relayed
//! endpoint. It mirrors `wit/types.wit`, so that what a sensor returns becomes a [`Family`] without a
//! conversion of meaning. Label names are kept once a family and label *values* once a sample, in the
//! same order, because thousands of samples share one set of names.
//!
//! The model does not check itself: [`crate::name`] judges names, the host judges a sensor's values,
//! and the writers leave out what cannot be written rather than spoil a whole exposition with it.

/// What a family measures: the kinds of Prometheus and OpenMetrics together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only rises, but for resets. Named `…_total`; an inherited one that is not is `unknown` in OpenMetrics.
    Counter,
    /// A value that rises and falls.
    Gauge,
    /// Cumulative buckets with upper bounds, sum and count.
    Histogram,
    /// A histogram whose buckets may fall: a snapshot of a distribution.
    GaugeHistogram,
    /// Exponential buckets, Prometheus's own form. Text formats carry only its sum and count.
    NativeHistogram,
    /// Quantiles that the exposing side computed, sum and count.
    Summary,
    /// Labels that describe; the value is always 1. Named `…_info`.
    Info,
    /// A set of named states, each on or off.
    StateSet,
    /// A number of which nobody knows what it is.
    Unknown,
}

impl Kind {
    /// Whether a sample of this kind is one number on one line.
    pub fn is_number(self) -> bool {
        matches!(self, Self::Counter | Self::Gauge | Self::Info | Self::Unknown)
    }
}

/// A number as it was measured. Integers stay integers, so that no digit is lost above 2^53.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A float; NaN and the infinities are values like any other.
    Float(f64),
    /// An unsigned integer.
    Unsigned(u64),
    /// A signed integer.
    Signed(i64),
}

impl Number {
    /// The number as every Prometheus stores it in the end; integers above 2^53 are rounded.
    #[allow(clippy::cast_precision_loss, reason = "rounding is what this conversion is for")]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Float(value) => value,
            Self::Unsigned(value) => value as f64,
            Self::Signed(value) => value as f64,
        }
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::Unsigned(value)
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self::Signed(value)
    }
}

/// One name, one kind, one set of label names, and the samples that share them.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name as a sample carries it: a counter's with `_total`, an info's with `_info`; a histogram's
    /// or summary's without `_bucket`, `_sum`, `_count`.
    pub name: Box<str>,
    /// What the family measures.
    pub kind: Kind,
    /// One sentence; may be empty.
    pub help: Box<str>,
    /// The unit that the name (less `_total`) ends in, such as `seconds`; or empty.
    pub unit: Box<str>,
    /// Names of labels, in the order in which each sample gives their values.
    pub label_names: Vec<Box<str>>,
    /// At least one in what the reader returns; a family without any is written as nothing.
    pub samples: Vec<Sample>,
}

/// One set of label values and what was measured under it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Parallel to [`Family::label_names`]. An empty value is an absent label.
    pub label_values: Vec<Box<str>>,
    /// What was measured. Its shape must fit the family's kind, or the writers leave the sample out.
    pub value: Value,
    /// When counting began, in seconds since 1970 (OpenMetrics `_created`): counters, histograms, summaries.
    pub start_time_seconds: Option<f64>,
}

/// What a sample holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A counter, a gauge, an info (1) or an unknown.
    Number {
        /// The number.
        value: Number,
        /// A pointer to one observation behind it; on counters only.
        exemplar: Option<Box<Exemplar>>,
    },
    /// A histogram or a gauge histogram.
    Histogram(Box<Histogram>),
    /// A native histogram.
    Native(Box<NativeHistogram>),
    /// A summary.
    Summary(Box<Summary>),
    /// A state set.
    States(Vec<State>),
}

impl From<Number> for Value {
    fn from(value: Number) -> Self {
        Self::Number { value, exemplar: None }
    }
}

/// A histogram with buckets of chosen bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Bounds rise strictly. Where the last, `+Inf`, is left out, the writers add it from `count`.
    pub buckets: Vec<Bucket>,
    /// Sum of all observations; absent where negative ones make it meaningless.
    pub sum: Option<f64>,
    /// Number of observations.
    pub count: f64,
}

/// How many observations were at most `upper_bound`.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    /// The bound, itself included; `+Inf` for all.
    pub upper_bound: f64,
    /// Observations at or under the bound, those of lower buckets included.
    pub cumulative_count: f64,
    /// One observation that fell into this bucket.
    pub exemplar: Option<Box<Exemplar>>,
}

/// A native histogram: bucket `i` holds what is above `2^((i-1)·2^-schema)` and at most `2^(i·2^-schema)`.
#[derive(Clone, Debug, PartialEq)]
pub struct NativeHistogram {
    /// Resolution, -4 (coarse) to 8 (fine).
    pub schema: i32,
    /// Half width of the bucket around zero.
    pub zero_threshold: f64,
    /// Observations in that bucket.
    pub zero_count: f64,
    /// Number of observations.
    pub count: f64,
    /// Sum of all observations.
    pub sum: f64,
    /// Which positive buckets `positive_counts` names.
    pub positive_spans: Vec<Span>,
    /// Absolute counts, one a bucket.
    pub positive_counts: Vec<f64>,
    /// Which negative buckets `negative_counts` names.
    pub negative_spans: Vec<Span>,
    /// Absolute counts, one a bucket.
    pub negative_counts: Vec<f64>,
}

/// A run of consecutive exponential buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Gap to the previous span's end; for the first, the index of its first bucket.
    pub offset: i32,
    /// Number of buckets.
    pub length: u32,
}

/// A summary.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Quantiles, rising.
    pub quantiles: Vec<Quantile>,
    /// Sum of all observations.
    pub sum: Option<f64>,
    /// Number of observations.
    pub count: Option<f64>,
}

/// A quantile and its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantile {
    /// 0 to 1.
    pub quantile: f64,
    /// The value; NaN where nothing was observed.
    pub value: f64,
}

/// A state and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The state's name; becomes the value of a label called as the family is.
    pub name: Box<str>,
    /// Whether it holds.
    pub enabled: bool,
}

/// A pointer out of the metrics, to a trace most often. Only OpenMetrics carries it in text.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Names and values; together at most [`EXEMPLAR_LABEL_CHARACTERS`] characters.
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// The observed value.
    pub value: f64,
    /// When it was observed, in seconds since 1970.
    pub timestamp_seconds: Option<f64>,
}

/// OpenMetrics 1.0, "Exemplars": the label set's names and values together. Writers leave out a longer one.
pub const EXEMPLAR_LABEL_CHARACTERS: usize = 128;
