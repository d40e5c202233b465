//! Each refusal of the check, and what is left out instead.
//!
//! The tables are the contract: what fails every sensor's run, what costs a relayed family only, and with how many lines it is counted.

use super::*;

fn limits() -> Limits {
    Limits { series: 10, labels: 2, label_name_bytes: 8, label_value_bytes: 8, ..Limits::default() }
}

fn reserved() -> Reserved {
    Reserved {
        names: ["up".to_owned(), "held_sum".to_owned()].into(),
        prefixes: vec!["container_".into()],
        labels: ["job".to_owned()].into(),
    }
}

fn family(name: &str, kind: wit::Kind, labels: &[&str]) -> wit::Family {
    let label_names = labels.iter().map(|label| (*label).to_owned()).collect();
    wit::Family { name: name.into(), kind, help: String::new(), unit: String::new(), label_names }
}

fn empty() -> wit::Batch {
    wit::Batch {
        families: vec![],
        numbers: vec![],
        histograms: vec![],
        native_histograms: vec![],
        summaries: vec![],
        state_sets: vec![],
        exemplars: vec![],
    }
}

fn number(family: u32, labels: &[&str], value: f64) -> wit::Number {
    let label_values = labels.iter().map(|label| (*label).to_owned()).collect();
    wit::Number { family, label_values, value, start_time: None }
}

fn histogram(family: u32, buckets: &[(f64, f64)], sum: f64, count: f64) -> wit::Histogram {
    let bucket = |(upper_bound, cumulative_count): &(f64, f64)| wit::Bucket {
        upper_bound: *upper_bound,
        cumulative_count: *cumulative_count,
    };
    let buckets = buckets.iter().map(bucket).collect();
    wit::Histogram { family, label_values: vec![], buckets, sum: Some(sum), count, start_time: None }
}

fn summary(family: u32, quantiles: &[f64], sum: f64, count: f64) -> wit::Summary {
    let quantiles = quantiles.iter().map(|quantile| wit::Quantile { quantile: *quantile, value: 1.0 }).collect();
    wit::Summary { family, label_values: vec![], quantiles, sum: Some(sum), count: Some(count), start_time: None }
}

fn native(family: u32, span: (i32, u32), counts: &[f64]) -> wit::NativeHistogram {
    wit::NativeHistogram {
        family,
        label_values: vec![],
        schema: 0,
        zero_threshold: 0.0,
        zero_count: 0.0,
        count: 1.0,
        sum: 1.0,
        positive_spans: vec![wit::Span { offset: span.0, length: span.1 }],
        positive_counts: counts.to_vec(),
        negative_spans: vec![],
        negative_counts: vec![],
        start_time: None,
    }
}

fn exemplar(of: wit::ExemplarOf, labels: &[(&str, &str)]) -> wit::Exemplar {
    let label = |(name, value): &(&str, &str)| wit::Label { name: (*name).into(), value: (*value).into() };
    wit::Exemplar { of, labels: labels.iter().map(label).collect(), value: 1.0, timestamp: None }
}

fn describe(families: Vec<wit::Family>) -> Result<Families, RunFailure> {
    check_description(wit::Description::Families(families), &limits(), &reserved())
}

fn message(failure: RunFailure) -> String {
    assert_eq!(failure.reason(), "output");
    failure.to_string()
}

/// One family of each kind, as most tests describe them.
fn kinds() -> Vec<wit::Family> {
    vec![
        family("c_total", wit::Kind::Counter, &[]),
        family("g", wit::Kind::Gauge, &["a"]),
        family("h", wit::Kind::Histogram, &[]),
        family("n", wit::Kind::NativeHistogram, &[]),
        family("s", wit::Kind::Summary, &[]),
        family("t", wit::Kind::StateSet, &[]),
    ]
}

/// Checks a batch of a sensor that described [`kinds`].
fn described(batch: wit::Batch) -> Result<Collected, RunFailure> {
    check_batch(batch, &describe(kinds()).unwrap(), &limits(), &reserved(), None)
}

fn relayed(batch: wit::Batch) -> Result<Collected, RunFailure> {
    check_batch(batch, &Families::Dynamic, &limits(), &reserved(), None)
}

fn numbers(numbers: Vec<wit::Number>) -> wit::Batch {
    wit::Batch { numbers, ..empty() }
}

/// Families that no sensor may have, with a part of the sentence; whether a dynamic one only loses it.
fn refused_families() -> Vec<(Vec<wit::Family>, &'static str, bool)> {
    use wit::Kind::{Counter, Gauge, Histogram, Info, StateSet};
    let one = |name: &str, kind, labels: &[&str]| vec![family(name, kind, labels)];
    let long = family("x", Gauge, &[]);
    vec![
        (one("", Gauge, &[]), "is not a family name", false),
        (one("0x", Gauge, &[]), "is not a family name", false),
        (one("a b", Gauge, &[]), "is not a family name", false),
        (one(&"x".repeat(201), Gauge, &[]), "is not a family name", false),
        (vec![wit::Family { help: "h".repeat(1025), ..long.clone() }], "help has at most", false),
        (vec![wit::Family { unit: "u".repeat(33), ..long }], "help has at most", false),
        (one("x", Gauge, &["a", "b", "c"]), "3 labels, and 2 are allowed", false),
        (one("x", Gauge, &["a-b"]), "is not a label name", false),
        (one("x", Gauge, &["ninebytes"]), "is too long a label name", false),
        (one("x", Gauge, &["a", "a"]), "is there twice", false),
        (one("x", StateSet, &["x"]), "carries the state", false),
        (one("x", Info, &[]), "ends in _info", false),
        (one("up", Gauge, &[]), "is reserved", true),
        (one("container_cpu_total", Counter, &[]), "is reserved", true),
        (one("a:b", Gauge, &[]), "is reserved", true),
        (one("held", Histogram, &[]), "\"held_sum\" is reserved", true),
        (one("x", Gauge, &["job"]), "reserved label name", true),
        (one("x", Gauge, &["__x"]), "reserved label name", true),
        (vec![family("x", Gauge, &[]), family("x", Gauge, &[])], "two of its families", true),
        (vec![family("x", Histogram, &[]), family("x_sum", Gauge, &[])], "two of its families", true),
        (vec![family("x", Gauge, &[]); 1_001], "1001 families", false),
    ]
}

#[test]
fn a_description_is_refused_for() {
    for (families, expected, _) in refused_families() {
        let refused = message(describe(families).unwrap_err());
        assert!(refused.contains(expected), "{expected:?} is not in {refused:?}");
    }
    assert!(matches!(describe(kinds()), Ok(Families::Static(families)) if families.len() == 6));
}

#[test]
fn a_dynamic_sensor_only_loses_what_it_may_not_claim() {
    for (families, expected, only_lost) in refused_families() {
        let last = families.len() as u32 - 1;
        let labels = vec!["v"; families[last as usize].label_names.len()];
        let numbered = !matches!(families[last as usize].kind, wit::Kind::Histogram | wit::Kind::StateSet);
        let samples = if numbered { vec![number(last, &labels, 1.0)] } else { vec![] };
        let histograms = if numbered { vec![] } else { vec![histogram(last, &[], 1.0, 1.0)] };
        let result = relayed(wit::Batch { families, histograms, ..numbers(samples) });
        if only_lost {
            let collected = result.unwrap();
            assert!(collected.families.is_empty() && collected.series == 0, "{expected}");
            assert_eq!(collected.series_dropped, if numbered { 1 } else { 3 }, "{expected}");
        } else {
            let refused = message(result.unwrap_err());
            assert!(refused.contains(expected), "{expected:?} is not in {refused:?}");
        }
    }
}

/// Batches over [`kinds`] whose shape is wrong: any sensor's run fails.
fn misshapen() -> Vec<(wit::Batch, &'static str)> {
    let states = |names: &[&str]| {
        let states = names.iter().map(|name| wit::State { name: (*name).into(), enabled: true }).collect();
        wit::Batch { state_sets: vec![wit::StateSet { family: 5, label_values: vec![], states }], ..empty() }
    };
    let exemplars = |of, labels: &[(&str, &str)]| wit::Batch {
        exemplars: vec![exemplar(of, labels)],
        histograms: vec![histogram(2, &[(1.0, 1.0)], 1.0, 1.0)],
        ..numbers(vec![number(0, &[], 1.0)])
    };
    let first = wit::ExemplarOf::Number(0);
    let long = "x".repeat(128);
    vec![
        (numbers(vec![number(6, &[], 1.0)]), "names family 6 of 6"),
        (numbers(vec![number(2, &[], 1.0)]), "another kind"),
        (numbers(vec![number(1, &[], 1.0)]), "0 label values for 1 labels"),
        (numbers(vec![number(1, &["a", "b"], 1.0)]), "2 label values for 1 labels"),
        (numbers(vec![number(1, &["ninebytes"], 1.0)]), "more than 8 bytes"),
        (states(&[""]), "a state has no name"),
        (states(&["ninebytes"]), "too long a name"),
        (states(&["a", "a"]), "is there twice"),
        (exemplars(first, &[("t", &long)]), "more than 128 characters"),
        (exemplars(first, &[("a b", "")]), "is not a label name"),
        (exemplars(first, &[("t", "1"), ("t", "2")]), "is there twice"),
        (exemplars(wit::ExemplarOf::Number(1), &[]), "a sample that is not there"),
        (exemplars(wit::ExemplarOf::Bucket((1, 0)), &[]), "a sample that is not there"),
        (exemplars(wit::ExemplarOf::Bucket((0, 1)), &[]), "a bucket that is not there"),
    ]
}

/// Batches over [`kinds`] with a value that cannot be exposed, and the lines that it would have.
fn spoilt() -> Vec<(wit::Batch, &'static str, u64)> {
    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;
    let counter = |value| (numbers(vec![number(0, &[], value)]), "a counter is negative", 1);
    let bucketed = |buckets: &[(f64, f64)], sum, count| wit::Batch {
        histograms: vec![histogram(2, buckets, sum, count)],
        ..empty()
    };
    let natives = |span, counts: &[f64]| {
        (
            wit::Batch { native_histograms: vec![native(3, span, counts)], ..empty() },
            "not well formed",
            3 + counts.len() as u64,
        )
    };
    let summaries =
        |quantiles: &[f64], sum, count| wit::Batch { summaries: vec![summary(4, quantiles, sum, count)], ..empty() };
    let wrong_schema = wit::NativeHistogram { schema: 9, ..native(3, (0, 1), &[1.0]) };
    vec![
        counter(-1.0),
        counter(NAN),
        counter(INF),
        (bucketed(&[(NAN, 1.0)], 1.0, 1.0), "bound is not a number", 4),
        (bucketed(&[(1.0, NAN)], 1.0, 1.0), "count negative or not finite", 4),
        (bucketed(&[(1.0, -1.0)], 1.0, 1.0), "count negative or not finite", 4),
        (bucketed(&[(2.0, 1.0), (1.0, 1.0)], 1.0, 1.0), "bounds do not rise", 5),
        (bucketed(&[(1.0, 2.0), (2.0, 1.0)], 1.0, 2.0), "not cumulative", 5),
        (bucketed(&[(1.0, 2.0)], 1.0, 1.0), "count is not its last", 4),
        (bucketed(&[(INF, 2.0)], 1.0, 3.0), "count is not its last", 3),
        (bucketed(&[], 1.0, INF), "count is not its last", 3),
        (bucketed(&[], NAN, 1.0), "its sum is not a number", 3),
        natives((0, 2), &[1.0]),
        natives((i32::MAX, 1), &[1.0]),
        natives((0, 1), &[-1.0]),
        natives((0, 1), &[NAN]),
        (wit::Batch { native_histograms: vec![wrong_schema], ..empty() }, "not well formed", 4),
        (summaries(&[0.9, 0.5], 1.0, 1.0), "quantiles do not rise", 4),
        (summaries(&[1.5], 1.0, 1.0), "quantiles do not rise", 3),
        (summaries(&[], 1.0, -1.0), "count is negative", 2),
        (summaries(&[], 1.0, NAN), "count is negative", 2),
        (summaries(&[], NAN, 1.0), "its sum is not a number", 2),
    ]
}

#[test]
fn a_wrong_shape_fails_every_run() {
    for (batch, expected) in misshapen() {
        let failed = message(described(batch.clone()).unwrap_err());
        assert!(failed.contains(expected), "{expected:?} is not in {failed:?}");
        let failed = message(relayed(wit::Batch { families: kinds(), ..batch }).unwrap_err());
        assert!(failed.contains(expected), "{expected:?} is not in {failed:?}");
    }
    let declared = wit::Batch { families: kinds(), ..empty() };
    assert!(message(described(declared).unwrap_err()).contains("did not describe itself as dynamic"));
}

#[test]
fn a_value_that_cannot_be_exposed_fails_the_run_or_costs_a_relayed_family() {
    for (batch, expected, lines) in spoilt() {
        let failed = message(described(batch.clone()).unwrap_err());
        assert!(failed.contains(expected), "{expected:?} is not in {failed:?}");
        // Beside a sound one, which stays.
        let mut beside = wit::Batch { families: kinds(), ..batch };
        beside.numbers.push(number(1, &["a"], 2.0));
        let collected = relayed(beside).unwrap();
        let names: Vec<&str> = collected.families.iter().map(|family| &*family.name).collect();
        assert_eq!(names, ["g"], "{expected}");
        assert_eq!((collected.series, collected.series_dropped), (1, lines), "{expected}");
    }
}

#[test]
fn a_spoilt_family_takes_what_was_already_there_with_it() {
    let samples = vec![number(0, &["a"], 1.0), number(0, &["b"], -1.0), number(0, &["c"], 1.0), number(1, &[], 5.0)];
    let families = vec![family("c_total", wit::Kind::Counter, &["a"]), family("g", wit::Kind::Gauge, &[])];
    let collected = relayed(wit::Batch { families, ..numbers(samples) }).unwrap();
    assert_eq!(collected.families.len(), 1);
    assert_eq!((collected.series, collected.series_dropped), (1, 3));
}

#[test]
fn too_much_is_left_out_and_counted() {
    let names: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    let mut samples: Vec<wit::Number> = names.iter().map(|name| number(1, &[name], 1.0)).collect();
    samples.push(number(1, &["0"], 1.0));
    let collected = described(numbers(samples)).unwrap();
    assert_eq!((collected.series, collected.series_dropped), (10, 3));
    let twice = described(numbers(vec![number(1, &["a"], 1.0), number(1, &["a"], 2.0)])).unwrap();
    assert_eq!((twice.series, twice.series_dropped), (1, 1));
}

#[test]
fn lines_are_those_of_each_family() {
    let batch = wit::Batch {
        histograms: vec![histogram(2, &[(1.0, 1.0)], -5.0, 1.0)],
        summaries: vec![summary(4, &[0.5, 0.9], -1.0, 3.0)],
        exemplars: vec![exemplar(wit::ExemplarOf::Number(0), &[("t", "1")])],
        ..numbers(vec![number(0, &[], 1.0), number(1, &["a"], f64::NAN)])
    };
    let collected = described(batch).unwrap();
    let names: Vec<&str> = collected.families.iter().map(|family| &*family.name).collect();
    assert_eq!(names, ["c_total", "g", "h", "s"]);
    assert_eq!(collected.lines, [1, 1, 4, 4]);
    assert_eq!((collected.series, collected.series_dropped), (10, 0));
}

#[test]
fn samples_of_nothing_are_not_kept() {
    let states = |value: &str| wit::StateSet { family: 0, label_values: vec![value.into()], states: vec![] };
    let families = vec![family("phase", wit::Kind::StateSet, &["n"])];
    let batch = wit::Batch { families, state_sets: vec![states("a"), states("b")], ..empty() };
    let collected = check_batch(batch, &Families::Dynamic, &limits(), &reserved(), None).unwrap();
    assert!(collected.families.is_empty() && collected.series == 0);
}
