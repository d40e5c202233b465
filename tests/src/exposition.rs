//! The tests' own reader of expositions, text 0.0.4 and OpenMetrics alike.
//!
//! Written apart from `sonde-expo` on purpose: a fault in our writer must not be excused by the same
//! fault in our reader. It reads samples and kinds only; promtool and Prometheus judge the rest.

use std::collections::{BTreeMap, BTreeSet};

/// One sample line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// All sample lines of one body, in order.
#[derive(Clone, Debug)]
pub struct Exposition {
    pub samples: Vec<Sample>,
    /// Name and word of each `# TYPE` line. A set, because Go's `go_memstats_alloc_bytes` is a gauge and, in
    /// OpenMetrics, which takes `_total` off a counter's family, a counter as well.
    pub kinds: BTreeSet<(String, String)>,
}

impl Exposition {
    /// Panics on a line that is not a sample, a comment or empty.
    #[track_caller]
    pub fn read(body: &str) -> Self {
        let lines = body.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|l| sample(l).unwrap_or_else(|| panic!("not a sample line: {l}"))).collect();
        let kinds = body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let kinds = kinds.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
        Self { samples, kinds }
    }

    /// The value of the one sample of that name that has at least these labels.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.all(name, labels);
        let first = found.next()?;
        assert!(found.next().is_none(), "more than one sample of {name} has {labels:?}");
        Some(first.value)
    }

    /// Every sample of that name that has at least these labels.
    pub fn all<'a>(&'a self, name: &'a str, labels: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |s| {
            s.name == name && labels.iter().all(|(k, v)| s.labels.get(*k).is_some_and(|have| have == v))
        })
    }
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start_matches(',');
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, quoted) = rest.split_once("=\"")?;
            let (value, after) = unquote(quoted)?;
            labels.insert(label.to_owned(), value);
            rest = after;
        }
    }
    let value = match rest.split_whitespace().next()? {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().ok()?,
    };
    Some(Sample { name: name.to_owned(), labels, value })
}

/// The text up to the closing quote, unescaped, and what follows the quote.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            plain => value.push(plain),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_labels_escapes_exemplars_and_special_values() {
        let body = "# TYPE a counter\na_total{x=\"q\\\"\\\\\\n,}\",y=\"\"} 1e3 # {trace=\"t\"} 0.5\nb NaN\nc{le=\"+Inf\"} +Inf\n# EOF\n";
        let read = Exposition::read(body);
        assert_eq!(read.samples.len(), 3);
        assert_eq!(read.samples[0].labels["x"], "q\"\\\n,}");
        assert_eq!(read.value("a_total", &[("y", "")]), Some(1000.0));
        assert!(read.value("b", &[]).expect("b is there").is_nan());
        assert_eq!(read.value("c", &[("le", "+Inf")]), Some(f64::INFINITY));
        assert_eq!(read.value("absent", &[]), None);
        assert_eq!(read.kinds, BTreeSet::from([("a".to_owned(), "counter".to_owned())]));
    }

    #[test]
    #[should_panic(expected = "not a sample line")]
    fn refuses_an_unfinished_label() {
        Exposition::read("a{x=\"1 2\n");
    }
}
