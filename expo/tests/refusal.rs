//! What the reader refuses, with line and reason; what it takes although it looks odd; and its limits.

use sonde_expo::{Family, Kind, Number, ReadFormat, ReadLimits, Reason, Value, read};

fn text(input: &str) -> Result<Vec<Family>, (usize, Reason)> {
    read(input.as_bytes(), ReadFormat::Text, &ReadLimits::default()).map_err(|error| (error.line, error.reason))
}

fn open(input: &str) -> Result<Vec<Family>, (usize, Reason)> {
    read(input.as_bytes(), ReadFormat::OpenMetrics, &ReadLimits::default()).map_err(|error| (error.line, error.reason))
}

#[test]
fn text_is_refused_by_line_and_reason() {
    use Reason::*;
    for (input, line, reason) in [
        ("a 1\n1a 1\n", 2, Name),
        ("a.b 1\n", 1, Name),
        ("{} 1\n", 1, Name),
        ("{a=\"b\"} 1\n", 1, Name),
        ("a\n", 1, Value),
        ("a{b=\"c\"}\n", 1, Value),
        ("a x\n", 1, Value),
        ("a 1\r\n", 1, Value),
        ("a 0x1p3\n", 1, Value),
        ("a 1 1.5\n", 1, Timestamp),
        ("a 1 2 3\n", 1, Trailing),
        ("a 1 # {t=\"x\"} 1\n", 1, Trailing),
        ("a{b=\"c\" 1\n", 1, Labels),
        ("a{b} 1\n", 1, Labels),
        ("a{b=c} 1\n", 1, Labels),
        ("a{b=\"c\" d=\"e\"} 1\n", 1, Labels),
        ("a{,} 1\n", 1, LabelName),
        ("a{1=\"c\"} 1\n", 1, LabelName),
        ("a{\"b\"} 1\n", 1, Labels),
        ("a{b=\"c\",b=\"d\"} 1\n", 1, LabelTwice),
        ("a{b=\"c} 1\n", 1, Quotes),
        ("a{b=\"\\t\"} 1\n", 1, Escape),
        ("# TYPE a info\n", 1, KindWord),
        ("# TYPE a COUNTER\n", 1, KindWord),
        ("# TYPE a\n", 1, KindWord),
        ("# TYPE 1 counter\n", 1, Name),
        ("# TYPE a counter x\n", 1, Trailing),
        ("# TYPE a gauge\n# TYPE a gauge\n", 2, MetadataTwice),
        ("# HELP a x\n# HELP a x\n", 2, MetadataTwice),
        ("a 1\n# TYPE a gauge\n", 2, MetadataLate),
        ("# HELP a x", 1, NoLineFeed),
        ("# TYPE a histogram\na 1\n", 2, NotOfKind),
        ("# TYPE a histogram\na_bucket 1\n", 2, NoOwnLabel),
        ("# TYPE a histogram\na_bucket{le=\"x\"} 1\n", 2, Bound),
        ("# TYPE a histogram\na_bucket{le=\"NaN\"} 1\n", 2, Bound),
        ("# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 3\n", 2, NoCount),
        ("# TYPE a summary\na 1\n", 2, NoOwnLabel),
        ("# TYPE a summary\na{quantile=\"2\"} 1\n", 2, Bound),
    ] {
        assert_eq!(text(input), Err((line, reason)), "{input:?}");
    }
    let error = read(b"a 1\nb{c=\"\xff\"} 1\n", ReadFormat::Text, &ReadLimits::default()).unwrap_err();
    assert_eq!(error.to_string(), "line 2: the text is not UTF-8");
}

#[test]
fn openmetrics_is_refused_by_line_and_reason() {
    use Reason::*;
    for (input, line, reason) in [
        ("", 1, NoEof),
        ("a 1\n", 1, NoEof),
        ("# EOF\n\n", 2, AfterEof),
        ("# EOF\n# EOF\n", 2, AfterEof),
        ("a 1\n\n# EOF\n", 2, BlankLine),
        ("# hello\n# EOF\n", 1, Comment),
        ("#TYPE a gauge\n# EOF\n", 1, Comment),
        ("# TYPE a untyped\n# EOF\n", 1, KindWord),
        ("# TYPE a gauge \n# EOF\n", 1, KindWord),
        ("# TYPE  a gauge\n# EOF\n", 1, Name),
        ("# TYPE a gauge\n# TYPE a gauge\na 1\n# EOF\n", 2, MetadataTwice),
        ("# UNIT a_s s\n# UNIT a_s s\n# EOF\n", 2, MetadataTwice),
        ("# TYPE a gauge\na 1\n# TYPE a gauge\n# EOF\n", 3, MetadataLate),
        ("# TYPE a gauge\na 1\n# HELP a x\n# TYPE a gauge\na{b=\"c\"} 1\n# EOF\n", 5, Interrupted),
        ("# TYPE a gauge\n# UNIT a s\na 1\n# EOF\n", 3, Unit),
        ("# TYPE a_s info\n# UNIT a_s s\na_s_info 1\n# EOF\n", 3, Unit),
        ("a  1\n# EOF\n", 1, Value),
        ("a 1 \n# EOF\n", 1, Timestamp),
        ("a 1 x\n# EOF\n", 1, Timestamp),
        ("a 1 NaN\n# EOF\n", 1, Timestamp),
        ("a 1 2 3\n# EOF\n", 1, Trailing),
        ("a {b=\"c\"} 1\n# EOF\n", 1, Value),
        ("a{b=\"c\",} 1\n# EOF\n", 1, LabelName),
        ("a{b=\"c\", d=\"e\"} 1\n# EOF\n", 1, LabelName),
        ("a{b=\"c\"}1\n# EOF\n", 1, Value),
        ("# TYPE a counter\na 1\n# EOF\n", 2, NotOfKind),
        ("# TYPE a counter\na_total -1\n# EOF\n", 2, CounterValue),
        ("# TYPE a counter\na_total NaN\n# EOF\n", 2, CounterValue),
        ("# TYPE a counter\na_created 1\n# EOF\n", 2, CreatedAlone),
        ("# TYPE a summary\na_created 1\n# EOF\n", 2, CreatedAlone),
        ("# TYPE a info\na_info 2\n# EOF\n", 2, InfoValue),
        ("# TYPE a stateset\na{a=\"x\"} 2\n# EOF\n", 2, StateValue),
        ("# TYPE a stateset\na 1\n# EOF\n", 2, NoOwnLabel),
        ("# TYPE a stateset\na{a=\"x\"} 1\na{a=\"x\"} 0\n# EOF\n", 2, SeriesTwice),
        ("# TYPE a gauge\na 1\na 2\n# EOF\n", 3, SeriesTwice),
        ("# TYPE a gauge\na{b=\"c\"} 1\na 1\na{b=\"c\",d=\"\"} 2\n# EOF\n", 4, SeriesTwice),
        ("# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\na{c=\"d\"} 2\n# EOF\n", 5, Interrupted),
        ("# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\n# TYPE a_sum gauge\na_sum 1\n# EOF\n", 4, Interrupted),
        ("# TYPE a summary\na_sum{b=\"1\"} 1\na_sum{b=\"2\"} 1\na_count{b=\"1\"} 1\n# EOF\n", 4, Interrupted),
        ("# TYPE a histogram\na_count 1\n# EOF\n", 2, Buckets),
        ("# TYPE a histogram\na_bucket{le=\"1\"} 1\na_count 1\n# EOF\n", 2, Buckets),
        ("# TYPE a histogram\na_bucket{le=\"1\"} 3\na_bucket{le=\"+Inf\"} 2\n# EOF\n", 2, Buckets),
        (
            "# TYPE a histogram\na_bucket{le=\"2\"} 1\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 2\n# EOF\n",
            2,
            Buckets,
        ),
        ("# TYPE a histogram\na_bucket{le=\"+Inf\"} 2\na_count 3\n# EOF\n", 2, Buckets),
        (
            "# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"1.0\"} 2\na_bucket{le=\"+Inf\"} 2\n# EOF\n",
            2,
            SeriesTwice,
        ),
        ("# TYPE a gauge\na 1 # {b=\"c\"} 1\n# EOF\n", 2, ExemplarPlace),
        ("# TYPE a counter\na_total 1 # {b=\"c\"}\n# EOF\n", 2, Exemplar),
        ("# TYPE a counter\na_total 1 # b\n# EOF\n", 2, Trailing),
        ("# TYPE a counter\na_total 1 # {b=\"c\"} 1 2 3\n# EOF\n", 2, Trailing),
        ("# TYPE a counter\na_total 1 # {b=\"c\",b=\"d\"} 1\n# EOF\n", 2, LabelTwice),
    ] {
        assert_eq!(open(input), Err((line, reason)), "{input:?}");
    }
    let long = format!("# TYPE a counter\na_total 1 # {{b=\"{}\"}} 1\n# EOF\n", "x".repeat(128));
    assert_eq!(open(&long), Err((2, Exemplar)));
}

fn number(family: &Family, sample: usize) -> f64 {
    match &family.samples[sample].value {
        Value::Number { value, .. } => value.as_f64(),
        other => panic!("{other:?} is no number"),
    }
}

#[test]
fn text_forgives_blanks_order_and_repetition() {
    let families = text(concat!(
        "\n  # a comment\n#TYPE x nonsense\n",
        "# HELP\tb  two spaces \\\\ \\n \\q\n",
        "b {  l = \"v\" , } 1 1234\nc 5\nb{l=\"w\"}2\nb{l=\"v\"} 3\n",
        "# TYPE h histogram\nh_bucket{le=\"+Inf\",z=\"1\"} 4\nh_bucket{z=\"1\",le=\"1\"} 3\nh_count{z=\"1\"} 5\n",
        "h_sum{z=\"1\"} NaN\nlast +inf",
    ))
    .unwrap();
    let names: Vec<_> = families.iter().map(|family| &*family.name).collect();
    assert_eq!(names, ["b", "c", "h", "last"]);
    assert_eq!(&*families[0].help, " two spaces \\ \n \\q");
    assert_eq!((number(&families[0], 0), number(&families[0], 1)), (1.0, 2.0), "the first of two wins");
    let Value::Histogram(histogram) = &families[2].samples[0].value else { panic!("h is a histogram") };
    let bounds: Vec<_> = histogram.buckets.iter().map(|bucket| bucket.upper_bound).collect();
    assert_eq!((bounds, histogram.count), (vec![1.0, f64::INFINITY], 5.0));
    assert_eq!(number(&families[3], 0), f64::INFINITY);
    assert_eq!(text("").unwrap(), []);
}

#[test]
fn text_counters_keep_their_names() {
    let families = text("# TYPE a counter\na 1\n# TYPE b_total counter\nb_total 2\n").unwrap();
    let names: Vec<_> = families.iter().map(|family| (&*family.name, family.kind)).collect();
    assert_eq!(names, [("a", Kind::Counter), ("b_total", Kind::Counter)]);
}

#[test]
fn openmetrics_names_are_as_samples_carry_them() {
    let families = open(concat!(
        "# TYPE a counter\n# HELP a say \\\"x\\\"\na_total 1 5.5 # {t=\"1\"} 2 3.5\na_created 9\n",
        "# TYPE b info\nb_info{v=\"1\"} 1\nloose{x=\"\\q\"} 7 1e9\n# TYPE n gauge\n# EOF",
    ))
    .unwrap();
    let names: Vec<_> = families.iter().map(|family| (&*family.name, family.kind)).collect();
    assert_eq!(names, [("a_total", Kind::Counter), ("b_info", Kind::Info), ("loose", Kind::Unknown)]);
    assert_eq!(&*families[0].help, "say \"x\"");
    let sample = &families[0].samples[0];
    assert_eq!(sample.start_time_seconds, Some(9.0));
    let Value::Number { value: Number::Float(1.0), exemplar: Some(exemplar) } = &sample.value else {
        panic!("{sample:?}")
    };
    assert_eq!((exemplar.value, exemplar.timestamp_seconds), (2.0, Some(3.5)));
    assert_eq!(&*families[2].samples[0].label_values[0], "\\q");
}

#[test]
fn series_are_told_apart_by_each_label() {
    let lines = "g{b=\"x\",c=\"y\"} 1\ng{b=\"xxy\"} 2\ng{b=\"xy\"} 3\ng{c=\"xy\"} 4\ng{b=\"y\",c=\"x\"} 5\ng 6\n";
    let families = open(&format!("# TYPE g gauge\n{lines}# EOF\n")).unwrap();
    assert_eq!(families[0].samples.len(), 6);
    assert_eq!(open(&format!("# TYPE g gauge\n{lines}g{{c=\"x\",b=\"y\"}} 7\n# EOF\n")), Err((8, Reason::SeriesTwice)));
}

/// prometheus/client_golang issue 829: every Go program exposes this pair.
#[test]
fn a_gauge_beside_a_counter_of_the_same_stem_is_read() {
    let families = open("# TYPE a gauge\na 1\n# TYPE a counter\na_total 2\n# EOF\n").unwrap();
    let names: Vec<_> = families.iter().map(|family| (&*family.name, family.kind)).collect();
    assert_eq!(names, [("a", Kind::Gauge), ("a_total", Kind::Counter)]);
}

#[test]
fn limits_hold() {
    let tight = ReadLimits { bytes: 200, families: 2, samples: 3, labels: 2, name_bytes: 4, value_bytes: 3 };
    for (input, reason) in [
        ("a 1\nb 1\n", None),
        ("a 1\nb 1\nc 1\n", Some(Reason::TooManyFamilies)),
        ("a{b=\"1\"} 1\na{b=\"2\"} 1\na{b=\"3\"} 1\na{b=\"4\"} 1\n", Some(Reason::TooManySamples)),
        ("a{b=\"1\",c=\"1\",d=\"1\"} 1\n", Some(Reason::TooManyLabels)),
        ("a{b=\"1\",c=\"1\"} 1\na{d=\"1\"} 1\n", Some(Reason::TooManyLabels)),
        ("abcde 1\n", Some(Reason::LongName)),
        ("# TYPE abcde gauge\n", Some(Reason::LongName)),
        ("a{bcdef=\"1\"} 1\n", Some(Reason::LongName)),
        ("a{b=\"1234\"} 1\n", Some(Reason::LongValue)),
    ] {
        for (format, end) in [(ReadFormat::Text, ""), (ReadFormat::OpenMetrics, "# EOF\n")] {
            let outcome = read(format!("{input}{end}").as_bytes(), format, &tight);
            assert_eq!(outcome.err().map(|error| error.reason), reason, "{format:?} {input:?}");
        }
    }
    let error = read(&[b'\n'; 201], ReadFormat::Text, &tight).unwrap_err();
    assert_eq!(error.reason, Reason::TooManyBytes);
}
