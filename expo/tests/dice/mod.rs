//! Families at random, the same on every machine: all kinds, hostile texts, odd numbers.

use sonde_expo::{
    Bucket, Exemplar, Family, Histogram, Kind, NativeHistogram, Number, Quantile, Sample, Span, State, Summary, Value,
};

/// What hurts a parser: quotes, separators, blanks, other line ends, NUL, more than one byte.
const HOSTILE: [char; 20] = [
    '"', '\\', '\n', '\r', '\t', ' ', '{', '}', ',', '=', '#', '.', ':', '\0', '\u{7f}', 'é', '花', '\u{2028}', 'n',
    '_',
];

/// A small generator (xorshift64*): the same families on every machine.
pub struct Dice(u64);

impl Dice {
    /// `seed` is not 0.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn roll(&mut self, below: usize) -> usize {
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

    /// Buckets of one sign: up to three spans, some of no length, and counts of many magnitudes.
    fn buckets(&mut self) -> (Vec<Span>, Vec<f64>) {
        let first = self.roll(200) as i32 - 100;
        let spans: Vec<_> = (0..self.roll(4))
            .map(|at| Span { offset: if at == 0 { first } else { self.roll(9) as i32 }, length: self.roll(4) as u32 })
            .collect();
        let total: u32 = spans.iter().map(|span| span.length).sum();
        let counts = (0..total).map(|_| self.count() * [0.0, 1.0, 1e6][self.roll(3)]).collect();
        (spans, counts)
    }

    /// One that adds up, or in one of five cases does not.
    fn native(&mut self) -> Value {
        let ((positive_spans, positive_counts), (negative_spans, negative_counts)) = (self.buckets(), self.buckets());
        let zero_count = [0.0, self.count()][self.roll(2)];
        let count = positive_counts.iter().chain(&negative_counts).sum::<f64>() + zero_count;
        let off = [0.0, 0.0, 0.0, 0.0, 0.5][self.roll(5)];
        let zero_threshold = [0.0, 1e-9][self.roll(2)];
        let (schema, count, sum) = (self.roll(13) as i32 - 4, count + off, self.number().as_f64());
        Value::Native(Box::new(NativeHistogram {
            schema,
            zero_threshold,
            zero_count,
            count,
            sum,
            positive_spans,
            positive_counts,
            negative_spans,
            negative_counts,
        }))
    }

    fn value(&mut self, kind: Kind) -> Value {
        match kind {
            Kind::Counter => {
                let value = Number::Float(self.count());
                Value::Number { value, exemplar: self.exemplar() }
            }
            Kind::Info => Number::Unsigned(1).into(),
            Kind::Histogram | Kind::GaugeHistogram => self.histogram(),
            Kind::NativeHistogram => self.native(),
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

    pub fn family(&mut self, at: usize, kinds: &[Kind], utf8: bool) -> Family {
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
        let timed = matches!(kind, Kind::Counter | Kind::Histogram | Kind::NativeHistogram | Kind::Summary);
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
