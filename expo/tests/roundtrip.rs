//! What is written reads back equal: generated families of every kind, with hostile texts, through both
//! formats and with quoted names.

use sonde_expo::{
    Bucket, Escaping, Exemplar, Family, Format, Histogram, Kind, Labels, Negotiated, Number, Quantile, ReadFormat,
    ReadLimits, Sample, State, Summary, Value, Writer, read,
};

/// Families a run; each has up to five samples.
const FAMILIES: usize = 40;
/// Runs a format.
const RUNS: u64 = 300;
/// What hurts a parser: quotes, separators, blanks, other line ends, NUL, more than one byte.
const HOSTILE: [char; 20] = [
    '"', '\\', '\n', '\r', '\t', ' ', '{', '}', ',', '=', '#', '.', ':', '\0', '\u{7f}', 'é', '花', '\u{2028}', 'n',
    '_',
];

/// A small generator (xorshift64*): the same families on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below as u64).unwrap()
    }

    fn text(&mut self, longest: usize) -> Box<str> {
        (0..self.roll(longest + 1)).map(|_| HOSTILE[self.roll(HOSTILE.len())]).collect::<String>().into()
    }

    fn number(&mut self) -> Number {
        match self.roll(8) {
            0 => Number::Float(f64::NAN),
            1 => Number::Float(f64::NEG_INFINITY),
            2 => Number::Unsigned(self.roll(1 << 30) as u64),
            3 => Number::Signed(-(self.roll(1 << 30) as i64)),
            4 => Number::Float(f64::from_bits(self.0)),
            5 => Number::Float(-0.0),
            _ => Number::Float(self.roll(1 << 20) as f64 / 7.0),
        }
    }

    fn count(&mut self) -> f64 {
        self.roll(1 << 20) as f64
    }

    fn exemplar(&mut self) -> Option<Box<Exemplar>> {
        (self.roll(3) == 0).then(|| {
            Box::new(Exemplar {
                labels: vec![("trace_id".into(), self.text(20)), ("span".into(), self.text(20))],
                value: self.number().as_f64(),
                timestamp_seconds: (self.roll(2) == 0).then(|| self.count() + 0.25),
            })
        })
    }

    fn histogram(&mut self) -> Value {
        let mut cumulative_count = 0.0;
        let mut buckets: Vec<Bucket> = (0..self.roll(5))
            .map(|at| {
                cumulative_count += self.count();
                Bucket { upper_bound: at as f64 * 1234.5 - 1.0, cumulative_count, exemplar: self.exemplar() }
            })
            .collect();
        buckets.push(Bucket { upper_bound: f64::INFINITY, cumulative_count, exemplar: self.exemplar() });
        let sum = (self.roll(4) > 0).then(|| self.number().as_f64());
        Value::Histogram(Box::new(Histogram { buckets, sum, count: cumulative_count }))
    }

    fn value(&mut self, kind: Kind) -> Value {
        match kind {
            Kind::Counter => {
                let value = Number::Float(self.count());
                Value::Number { value, exemplar: self.exemplar() }
            }
            Kind::Info => Number::Unsigned(1).into(),
            Kind::Histogram | Kind::GaugeHistogram => self.histogram(),
            Kind::Summary => {
                let value = self.number().as_f64();
                let quantiles = [0.0, 0.5, 0.99, 1.0].map(|quantile| Quantile { quantile, value });
                Value::Summary(Box::new(Summary {
                    quantiles: quantiles[..self.roll(5)].to_vec(),
                    sum: Some(self.number().as_f64()),
                    count: (self.roll(2) == 0).then(|| self.count()),
                }))
            }
            Kind::StateSet => Value::States(
                (0..=self.roll(3))
                    .map(|at| State { name: format!("{at}{}", self.text(4)).into(), enabled: self.roll(2) == 0 })
                    .collect(),
            ),
            _ => self.number().into(),
        }
    }

    fn family(&mut self, at: usize, kinds: &[Kind], utf8: bool) -> Family {
        let kind = kinds[self.roll(kinds.len())];
        let odd = if utf8 { self.text(4) } else { Box::default() };
        let suffix = match kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            _ => "",
        };
        let unit = if matches!(kind, Kind::Info | Kind::StateSet) { "" } else { ["", "seconds"][self.roll(2)] };
        let infix = if unit.is_empty() { "" } else { "_seconds" };
        let mut label_names: Vec<Box<str>> = vec!["n".into(), "b".into(), "le2".into()];
        if utf8 {
            label_names.push(format!("x{}", self.text(3)).into());
        }
        let timed = matches!(kind, Kind::Counter | Kind::Histogram | Kind::Summary);
        let samples = (0..=self.roll(5))
            .map(|n| {
                let mut label_values: Vec<Box<str>> = vec![n.to_string().into()];
                label_values.extend(label_names[1..].iter().map(|_| self.text(6)));
                Sample {
                    label_values,
                    value: self.value(kind),
                    start_time_seconds: (timed && self.roll(2) == 0).then(|| 1e9 + self.count()),
                }
            })
            .collect();
        let name = format!("f{at}{odd}{infix}{suffix}").into();
        Family { name, kind, help: self.text(12), unit: unit.into(), label_names, samples }
    }
}

/// A family so that equal ones print alike: labels by name, numbers as floats, and without what text cannot carry.
fn normal(family: &Family, text: bool) -> String {
    let mut family = family.clone();
    let names = std::mem::take(&mut family.label_names);
    if text {
        family.unit = Box::default();
    }
    for sample in &mut family.samples {
        let mut labels: Vec<_> =
            names.iter().zip(&sample.label_values).filter(|(_, value)| !value.is_empty()).collect();
        labels.sort();
        sample.label_values = labels.into_iter().map(|(name, value)| format!("{name}={value}").into()).collect();
        if text {
            sample.start_time_seconds = None;
        }
        match &mut sample.value {
            Value::Number { value, exemplar } => {
                *value = Number::Float(value.as_f64());
                exemplar.take_if(|_| text);
            }
            Value::Histogram(histogram) if text => {
                for bucket in &mut histogram.buckets {
                    bucket.exemplar = None;
                }
            }
            _ => {}
        }
    }
    format!("{family:?}")
}

fn check(format: Format, escaping: Escaping, kinds: &[Kind]) {
    let text = !format.is_openmetrics();
    let read_format = if text { ReadFormat::Text } else { ReadFormat::OpenMetrics };
    for seed in 1..=RUNS {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let utf8 = escaping == Escaping::AllowUtf8;
        let families: Vec<_> = (0..FAMILIES).map(|at| dice.family(at, kinds, utf8)).collect();
        let mut out = Vec::new();
        let mut writer = Writer::new(Negotiated::new(format, Some(escaping)), &mut out);
        for family in &families {
            writer.write_family(&Labels::default(), family);
        }
        writer.finish();
        let back = read(&out, read_format, &ReadLimits::default())
            .unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", String::from_utf8_lossy(&out)));
        assert_eq!(back.len(), families.len(), "seed {seed}");
        for (wrote, got) in families.iter().zip(&back) {
            assert_eq!(normal(wrote, text), normal(got, text), "seed {seed}");
        }
    }
}

const TEXT_KINDS: [Kind; 5] = [Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Summary, Kind::Unknown];
const ALL_KINDS: [Kind; 8] = [
    Kind::Counter,
    Kind::Gauge,
    Kind::Histogram,
    Kind::GaugeHistogram,
    Kind::Summary,
    Kind::Info,
    Kind::StateSet,
    Kind::Unknown,
];

#[test]
fn text_reads_back() {
    check(Format::Text004, Escaping::Underscores, &TEXT_KINDS);
}

#[test]
fn text_with_quoted_names_reads_back() {
    check(Format::Text100, Escaping::AllowUtf8, &TEXT_KINDS);
}

#[test]
fn openmetrics_reads_back() {
    check(Format::OpenMetrics100, Escaping::Underscores, &ALL_KINDS);
}

#[test]
fn openmetrics_with_quoted_names_reads_back() {
    check(Format::OpenMetrics100, Escaping::AllowUtf8, &ALL_KINDS);
}

/// No input may panic, whatever is cut from or smeared into a valid one.
#[test]
fn damaged_expositions_are_refused_or_read_but_never_panic() {
    let mut dice = Dice(7);
    let families: Vec<_> = (0..FAMILIES).map(|at| dice.family(at, &ALL_KINDS, true)).collect();
    let mut out = Vec::new();
    let mut writer = Writer::new(Negotiated::new(Format::OpenMetrics100, Some(Escaping::AllowUtf8)), &mut out);
    families.iter().for_each(|family| writer.write_family(&Labels::default(), family));
    writer.finish();
    let mut refused = 0;
    for _ in 0..3_000 {
        let mut damaged = out.clone();
        for _ in 0..=dice.roll(3) {
            let at = dice.roll(damaged.len());
            damaged[at] = b"\"\\\n{},= #a1\xff"[dice.roll(12)];
        }
        damaged.truncate(damaged.len() - dice.roll(2) * dice.roll(out.len() - 1));
        for format in [ReadFormat::Text, ReadFormat::OpenMetrics] {
            refused += usize::from(read(&damaged, format, &ReadLimits::default()).is_err());
        }
    }
    assert!(refused > 3_000, "only {refused} of 6000 damaged texts were refused");
}
