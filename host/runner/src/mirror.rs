//! The wire's batch against the world's: what is written here with wasmtime's types is read there with the agent's.
//!
//! postcard writes no names, so two fields of one type that changed places would pass unseen from process to process. Here one
//! expression is built with either side's types, each field by its name and with a value of its own: a name that one side lacks does not compile,
//! and one that is elsewhere comes back with another's value.

use sonde_host::wire::{batch, decode, encode};

use crate::bindings::sonde::sensor::types as world;

/// The same expression with the world's types and with the wire's.
macro_rules! both {
    ($built:expr) => {
        (
            {
                use world::*;
                $built
            },
            {
                use batch::*;
                $built
            },
        )
    };
}

macro_rules! assert_mirrored {
    ($built:expr) => {{
        let (written, wanted) = both!($built);
        let mut read = wanted.clone();
        // So that the type is the wire's, whatever it is.
        read.clone_from(&decode(&encode(&written)).expect("it can be read"));
        assert_eq!(read, wanted);
    }};
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn every_kind() {
    // Both matches are exhaustive, and go through all.
    let (written, wanted) = both!({
        let mut kinds = vec![Kind::Counter];
        while let Some(last) = kinds.last() {
            kinds.push(match last {
                Kind::Counter => Kind::Gauge,
                Kind::Gauge => Kind::Histogram,
                Kind::Histogram => Kind::GaugeHistogram,
                Kind::GaugeHistogram => Kind::NativeHistogram,
                Kind::NativeHistogram => Kind::Summary,
                Kind::Summary => Kind::Info,
                Kind::Info => Kind::StateSet,
                Kind::StateSet => Kind::Unknown,
                Kind::Unknown => break,
            });
        }
        kinds
    });
    assert_eq!(decode::<Vec<batch::Kind>>(&encode(&written)).unwrap(), wanted);
}

#[test]
fn descriptions() {
    assert_mirrored!(Description::Dynamic);
    assert_mirrored!(Description::Families(vec![Family {
        name: "name".into(),
        kind: Kind::Info,
        help: "help".into(),
        unit: "unit".into(),
        label_names: words(&["a", "b"]),
    }]));
}

#[test]
fn samples() {
    assert_mirrored!(Number { family: 1, label_values: words(&["v", "w"]), value: 2.5, start_time: Some(3.5) });
    assert_mirrored!(Histogram {
        family: 1,
        label_values: words(&["v"]),
        buckets: vec![Bucket { upper_bound: 2.5, cumulative_count: 3.5 }],
        sum: Some(4.5),
        count: 5.5,
        start_time: Some(6.5),
    });
    assert_mirrored!(NativeHistogram {
        family: 1,
        label_values: words(&["v"]),
        schema: -2,
        zero_threshold: 3.5,
        zero_count: 4.5,
        count: 5.5,
        sum: 6.5,
        positive_spans: vec![Span { offset: -7, length: 8 }],
        positive_counts: vec![9.5],
        negative_spans: vec![Span { offset: -10, length: 11 }, Span { offset: 12, length: 13 }],
        negative_counts: vec![14.5, 15.5],
        start_time: Some(16.5),
    });
    assert_mirrored!(Summary {
        family: 1,
        label_values: words(&["v"]),
        quantiles: vec![Quantile { quantile: 0.5, value: 2.5 }],
        sum: Some(3.5),
        count: Some(4.5),
        start_time: Some(5.5),
    });
    assert_mirrored!(StateSet {
        family: 1,
        label_values: words(&["v"]),
        states: vec![State { name: "on".into(), enabled: true }, State { name: "off".into(), enabled: false }],
    });
}

#[test]
fn exemplars() {
    assert_mirrored!(Exemplar {
        of: ExemplarOf::Number(1),
        labels: vec![Label { name: "name".into(), value: "value".into() }],
        value: 2.5,
        timestamp: Some(3.5),
    });
    assert_mirrored!(Exemplar { of: ExemplarOf::Bucket((4, 5)), labels: vec![], value: 6.5, timestamp: None });
}

#[test]
fn batches() {
    assert_mirrored!(Batch {
        families: vec![Family {
            name: "name".into(),
            kind: Kind::Gauge,
            help: String::new(),
            unit: String::new(),
            label_names: vec![],
        }],
        numbers: vec![Number { family: 1, label_values: vec![], value: 1.5, start_time: None }],
        histograms: vec![Histogram {
            family: 2,
            label_values: vec![],
            buckets: vec![],
            sum: None,
            count: 2.5,
            start_time: None,
        }],
        native_histograms: vec![NativeHistogram {
            family: 3,
            label_values: vec![],
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 3.5,
            sum: 0.0,
            positive_spans: vec![],
            positive_counts: vec![],
            negative_spans: vec![],
            negative_counts: vec![],
            start_time: None,
        }],
        summaries: vec![Summary {
            family: 4,
            label_values: vec![],
            quantiles: vec![],
            sum: None,
            count: Some(4.5),
            start_time: None,
        }],
        state_sets: vec![StateSet { family: 5, label_values: vec![], states: vec![] }],
        exemplars: vec![Exemplar { of: ExemplarOf::Number(6), labels: vec![], value: 6.5, timestamp: None }],
    });
}
