//! Names of metrics and labels: which are valid, which are reserved, and which lines a family takes.
//!
//! "Legacy" is the character set that every Prometheus understands: `[a-zA-Z_:][a-zA-Z0-9_:]*` for
//! metrics, the same without the colon for labels. Anything else is a UTF-8 name (Prometheus 3) and
//! is written by the rules of [`crate::Escaping`].
//!
//! A family owns more names than its own: a histogram `x` writes `x_bucket`, `x_sum`, `x_count` and
//! `x_created`. Whoever decides whether a sensor may claim a name compares [`sample_names`], or a
//! gauge `x_sum` from one source would join the histogram of another.

use crate::model::Kind;

/// Suffix of a counter's sample.
pub const TOTAL: &str = "_total";
/// Suffix of an info's sample.
pub const INFO: &str = "_info";
/// Suffix of a start time (OpenMetrics).
pub const CREATED: &str = "_created";
/// Suffix of a bucket.
pub const BUCKET: &str = "_bucket";
/// Suffix of the sum of a histogram or summary.
pub const SUM: &str = "_sum";
/// Suffix of the count of a histogram or summary.
pub const COUNT: &str = "_count";
/// Suffix of the sum of a gauge histogram.
pub const GAUGE_SUM: &str = "_gsum";
/// Suffix of the count of a gauge histogram.
pub const GAUGE_COUNT: &str = "_gcount";
/// Label of a bucket's upper bound.
pub const LE: &str = "le";
/// Label of a summary's quantile.
pub const QUANTILE: &str = "quantile";

/// Names of series that Prometheus writes about a scrape or an alert, and our own.
const RESERVED_METRIC_PREFIXES: [&str; 4] = ["scrape_", "ALERTS", "__", "sonde_"];
/// Labels that say where a series comes from; they are the scraper's or the node's to set.
const RESERVED_LABELS: [&str; 6] = ["job", "instance", "account", "sensor", LE, QUANTILE];

/// Whether `byte` may stand in a legacy metric name (`first`: at its beginning).
pub(crate) fn is_metric_byte(byte: u8, first: bool) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte == b':' || (!first && byte.is_ascii_digit())
}

/// Whether `byte` may stand in a legacy label name (`first`: at its beginning).
pub(crate) fn is_label_byte(byte: u8, first: bool) -> bool {
    byte != b':' && is_metric_byte(byte, first)
}

/// Whether `name` is a legacy metric name: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_metric_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    !bytes.is_empty() && bytes.iter().enumerate().all(|(at, byte)| is_metric_byte(*byte, at == 0))
}

/// Whether `name` is a legacy label name: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_label_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    !bytes.is_empty() && bytes.iter().enumerate().all(|(at, byte)| is_label_byte(*byte, at == 0))
}

/// Whether no sensor may claim this metric name: `up`, what Prometheus writes itself, `sonde_*`, `__*`,
/// and names with a colon, which belong to recording rules (design §5.5).
pub fn is_reserved_metric(name: &str) -> bool {
    name == "up" || name.contains(':') || RESERVED_METRIC_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether no sensor may declare this label: `job`, `instance`, `account`, `sensor`, `__*`, and `le` and
/// `quantile`, which the writers set themselves (design §5.5).
pub fn is_reserved_label(name: &str) -> bool {
    name.starts_with("__") || RESERVED_LABELS.contains(&name)
}

/// Suffixes that samples of this kind put after the family's base name, in any format.
fn suffixes(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Counter => &[TOTAL, CREATED],
        Kind::Info => &[INFO],
        Kind::Histogram | Kind::NativeHistogram => &["", BUCKET, SUM, COUNT, CREATED],
        Kind::GaugeHistogram => &["", BUCKET, GAUGE_SUM, GAUGE_COUNT],
        Kind::Summary => &["", SUM, COUNT, CREATED],
        Kind::Gauge | Kind::StateSet | Kind::Unknown => &[""],
    }
}

/// The name that OpenMetrics metadata carries: a counter's without `_total`, an info's without `_info`.
///
/// `None` where the kind demands a suffix that the name lacks; OpenMetrics has no such family, and the
/// writer falls back to `unknown` or `gauge`.
pub fn metadata_name(name: &str, kind: Kind) -> Option<&str> {
    let base = match kind {
        Kind::Counter => name.strip_suffix(TOTAL)?,
        Kind::Info => name.strip_suffix(INFO)?,
        _ => name,
    };
    (!base.is_empty()).then_some(base)
}

/// Every name that a family called `name` (as [`crate::Family::name`]) may write a sample under in any format,
/// and the family's own name. Two families that share one of them must not stand in one exposition.
///
/// Metadata names are not among them: a gauge `x` beside a counter `x_total` breaks the letter of OpenMetrics,
/// but every Go program exposes such a pair (`go_memstats_alloc_bytes`) and Prometheus takes both.
pub fn sample_names(name: &str, kind: Kind) -> Vec<String> {
    match metadata_name(name, kind) {
        Some(base) => suffixes(kind).iter().map(|suffix| format!("{base}{suffix}")).collect(),
        None => vec![name.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validity_follows_the_legacy_character_set() {
        for (name, metric, label) in [
            ("a", true, true),
            ("_", true, true),
            ("a1_B", true, true),
            (":a:b", true, false),
            ("", false, false),
            ("1a", false, false),
            ("a.b", false, false),
            ("a b", false, false),
            ("é", false, false),
            ("a\n", false, false),
        ] {
            assert_eq!(is_metric_name(name), metric, "metric {name:?}");
            assert_eq!(is_label_name(name), label, "label {name:?}");
        }
    }

    #[test]
    fn what_is_not_a_sensors_is_reserved() {
        for name in
            ["up", "scrape_duration_seconds", "ALERTS", "ALERTS_FOR_STATE", "__name__", "a:b", "sonde_sensor_up"]
        {
            assert!(is_reserved_metric(name), "{name}");
        }
        for name in ["upper", "redis_up", "scrapes", "Alerts"] {
            assert!(!is_reserved_metric(name), "{name}");
        }
        for name in ["job", "instance", "account", "sensor", "le", "quantile", "__x"] {
            assert!(is_reserved_label(name), "{name}");
        }
        for name in ["jobs", "level", "_x", "name"] {
            assert!(!is_reserved_label(name), "{name}");
        }
    }

    #[test]
    fn a_family_takes_every_name_it_may_write() {
        assert_eq!(sample_names("x_total", Kind::Counter), ["x_total", "x_created"]);
        assert_eq!(sample_names("x", Kind::Counter), ["x"]);
        assert_eq!(sample_names("_total", Kind::Counter), ["_total"]);
        assert_eq!(sample_names("x_info", Kind::Info), ["x_info"]);
        assert_eq!(sample_names("x_total", Kind::Gauge), ["x_total"]);
        assert_eq!(sample_names("x", Kind::Histogram), ["x", "x_bucket", "x_sum", "x_count", "x_created"]);
        assert_eq!(sample_names("x", Kind::GaugeHistogram), ["x", "x_bucket", "x_gsum", "x_gcount"]);
        assert_eq!(sample_names("x", Kind::Summary), ["x", "x_sum", "x_count", "x_created"]);
    }
}
