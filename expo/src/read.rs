//! Reading an exposition: Prometheus text (0.0.4, and 1.0.0 with its quoted names) and OpenMetrics 1.0.
//!
//! For relaying an instance's own endpoint and for our tests. The input is hostile: everything is bounded by
//! [`ReadLimits`], nothing recurses, time is linear in the bytes, and memory in bytes plus samples times labels.
//! The reader compiles for wasm: no I/O, no clock, no threads.
//!
//! It is strict where a scraper or the specification is, so that a fault is named with its line rather than
//! ingested as something else. Two things it does not keep: explicit timestamps, which are checked and dropped
//! (Sonde exposes none; age is a series), and families without samples.
//! Where a series stands twice, text keeps the first, as Prometheus does, and OpenMetrics is refused.
//! A gauge `x` beside a counter `x_total` is accepted in OpenMetrics, although its letter forbids the pair:
//! every Go program exposes one (prometheus/client_golang issue 829).

use std::fmt;

use crate::model::Family;

mod gather;
mod lexer;
mod openmetrics;
mod sample;
mod text;

/// Which rules to read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFormat {
    /// Prometheus text, any version.
    Text,
    /// OpenMetrics text, any version.
    OpenMetrics,
}

impl ReadFormat {
    /// The rules that a `Content-Type` calls for; as Prometheus does, by the media type alone.
    pub fn of_content_type(content_type: &str) -> Option<Self> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("text/plain") {
            Some(Self::Text)
        } else if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
            Some(Self::OpenMetrics)
        } else {
            None
        }
    }
}

/// How much of a hostile input is read before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Size of the whole input.
    pub bytes: usize,
    /// Families, those without samples included.
    pub families: usize,
    /// Sample lines; a bucket, a sum or a quantile counts as one.
    pub samples: usize,
    /// Labels of one sample, and distinct label names of one family: each sample holds a value for each of them.
    pub labels: usize,
    /// Length of a metric or label name, in bytes.
    pub name_bytes: usize,
    /// Length of a label value, in bytes.
    pub value_bytes: usize,
}

impl Default for ReadLimits {
    /// What a large application exposes, with room: in memory at worst some tens of MiB.
    fn default() -> Self {
        Self { bytes: 8 << 20, families: 5_000, samples: 50_000, labels: 32, name_bytes: 256, value_bytes: 4_096 }
    }
}

/// Why an exposition was refused, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: Reason,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason.sentence())
    }
}

impl std::error::Error for ReadError {}

/// Reasons of a [`ReadError`] with their sentences, in one place so that none can lack its own.
macro_rules! reasons {
    ($($reason:ident => $sentence:literal,)*) => {
        /// What is wrong with a line.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $sentence] $reason,)*
        }

        impl Reason {
            /// The reason in words, without a full stop.
            pub fn sentence(self) -> &'static str {
                match self {
                    $(Self::$reason => $sentence,)*
                }
            }
        }
    };
}

reasons! {
    NotUtf8 => "the text is not UTF-8",
    Name => "a metric name is missing or malformed",
    Labels => "the list of labels is malformed",
    LabelName => "a label name is missing or malformed",
    LabelTwice => "a label name stands twice",
    Quotes => "a quoted text does not end on its line",
    Escape => "a backslash is not followed by a backslash, a quote or n",
    Value => "the value is missing or no number",
    Timestamp => "the timestamp is malformed",
    Trailing => "something follows where the line should end",
    Exemplar => "the exemplar is malformed or longer than 128 characters",
    ExemplarPlace => "an exemplar stands where none may: only counters and buckets have them",
    Metadata => "a HELP, TYPE or UNIT line is malformed",
    KindWord => "the type is not one of the format's",
    MetadataTwice => "the family has this metadata already",
    MetadataLate => "metadata follows the family's samples",
    Unit => "the unit is not the end of the family's name, or the type has none",
    BlankLine => "OpenMetrics has no blank lines",
    Comment => "OpenMetrics has no comments but HELP, TYPE, UNIT and EOF",
    NoEof => "the text does not end with # EOF",
    AfterEof => "something follows # EOF",
    NoLineFeed => "the last line is metadata and does not end with a line feed",
    NotOfKind => "the sample's name does not fit the type of its family",
    NoOwnLabel => "a bucket has no le, a quantile no quantile or a state no state label",
    Bound => "le or quantile is malformed or out of range",
    SeriesTwice => "the series stands twice",
    Interrupted => "the family or series goes on after another one began",
    NoCount => "the histogram has neither a count nor a +Inf bucket",
    Buckets => "the buckets do not rise to a +Inf bucket that equals the count",
    CounterValue => "a counter, a count or a bucket is negative or not a number",
    InfoValue => "the value of an info is not 1",
    StateValue => "the value of a state is neither 0 nor 1",
    CreatedAlone => "a start time has no sample",
    TooManyBytes => "the text is larger than allowed",
    TooManyFamilies => "there are more families than allowed",
    TooManySamples => "there are more samples than allowed",
    TooManyLabels => "a sample or family has more labels than allowed",
    LongName => "a name is longer than allowed",
    LongValue => "a label value is longer than allowed",
}

/// Reads a whole exposition. Numbers are floats, as every scraper reads them.
///
/// # Errors
/// The first fault by line; a fault that only shows when a histogram is complete is put to its first line.
pub fn read(bytes: &[u8], format: ReadFormat, limits: &ReadLimits) -> Result<Vec<Family>, ReadError> {
    if bytes.len() > limits.bytes {
        return Err(ReadError { line: 1, reason: Reason::TooManyBytes });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        ReadError { line, reason: Reason::NotUtf8 }
    })?;
    match format {
        ReadFormat::Text => text::read(text, limits),
        ReadFormat::OpenMetrics => openmetrics::read(text, limits),
    }
}
