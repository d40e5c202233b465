//! Writing an exposition: text 0.0.4 and 1.0.0, OpenMetrics 0.0.1 and 1.0.0, protobuf.
//!
//! Two doors: [`Writer::family`] for who measures and writes at once (native readings: no family is
//! built, nothing is allocated), and [`Writer::write_family`] for families that exist already (sensors).
//! A family that no sample follows leaves no trace.
//!
//! A series has the same name in every format. Where a format lacks a kind, the nearest that it has is
//! written: OpenMetrics has no counter without `_total` (`unknown`), text no info, state set or gauge
//! histogram (gauges), and neither carries the buckets of a native histogram (its sum and count are
//! written as a histogram's); protobuf has those buckets, and what it lacks instead is told in `protobuf.rs`. What cannot be written (a value that does not fit its kind, a nameless
//! family, a label that a stronger one hides) is left out: a scraper throws a whole scrape away for one bad line.
//! Explicit timestamps are never written.

mod compound;
mod protobuf;

use crate::escape;
pub use crate::line::Labels;
use crate::line::{Extra, Name, Spelling};

use crate::model::{Family, Kind, Number, Sample};
use crate::name::{self, INFO, LE, QUANTILE, TOTAL};
use crate::negotiate::{Escaping, Format, Negotiated};
use crate::number;
use protobuf::OpenFamily;

/// Appends an exposition to a buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    format: Format,
    escaping: Escaping,
    open: OpenFamily,
}

impl<'a> Writer<'a> {
    /// A writer of what was negotiated, at the end of `out`. What it writes is complete once [`Writer::finish`] was called.
    pub fn new(negotiated: Negotiated, out: &'a mut Vec<u8>) -> Self {
        let Negotiated { format, escaping, .. } = negotiated;
        let escaping =
            if escaping == Escaping::AllowUtf8 && !format.allows_utf8() { Escaping::default() } else { escaping };
        Self { out, format, escaping, open: None }
    }

    /// Begins a family of single numbers; nothing is written before its first sample. `name` is what samples carry
    /// (a counter's with `_total`), `unit` what it ends in, or empty. A kind whose samples are more than one number
    /// counts as [`Kind::Unknown`] here.
    pub fn family<'w>(&'w mut self, name: &'w str, kind: Kind, help: &'w str, unit: &'w str) -> FamilyWriter<'w> {
        let kind = if kind.is_number() { kind } else { Kind::Unknown };
        FamilyWriter::new(self, name, kind, help, unit)
    }

    /// Writes any family. `base` goes before each sample's labels and wins over a label of the same name;
    /// so does a `le` of a histogram, a `quantile` of a summary, and the state of a state set.
    pub fn write_family(&mut self, base: &Labels, family: &Family) {
        let columns = columns(base, family, self.escaping);
        if self.format == Format::Protobuf {
            self.write_message(base, &columns, family);
            return;
        }
        let mut writer = FamilyWriter::new(self, &family.name, family.kind, &family.help, &family.unit);
        if family.kind == Kind::GaugeHistogram && !writer.format.is_openmetrics() {
            writer.gauge_histogram_as_gauges(base, &columns, &family.samples);
            return;
        }
        for sample in &family.samples {
            writer.write_sample(base, &columns, sample);
        }
    }

    /// Ends the exposition: OpenMetrics wants to be told that nothing was cut off, protobuf how long the last family is.
    pub fn finish(mut self) {
        protobuf::end_family(self.out, &mut self.open);
        if self.format.is_openmetrics() {
            self.out.extend_from_slice(b"# EOF\n");
        }
    }
}

/// Which labels of a family are written: position in a sample, and name.
type Columns<'f> = Vec<(usize, &'f str)>;

/// The labels of `family` that nothing hides. Names are compared as they are written, for escaping can make two equal.
fn columns<'f>(base: &Labels, family: &'f Family, escaping: Escaping) -> Columns<'f> {
    let spelt = |label: &str| {
        let mut out = Vec::with_capacity(label.len());
        escape::push_label_name(&mut out, label, escaping);
        String::from_utf8(out).expect("escaping keeps UTF-8")
    };
    let own = match family.kind {
        Kind::Histogram | Kind::GaugeHistogram | Kind::NativeHistogram => LE.to_owned(),
        Kind::Summary => QUANTILE.to_owned(),
        Kind::StateSet => spelt(&family.name),
        Kind::Counter | Kind::Gauge | Kind::Info | Kind::Unknown => String::new(),
    };
    let mut taken = vec![own];
    let mut columns = Vec::with_capacity(family.label_names.len());
    for (at, label) in family.label_names.iter().enumerate() {
        let written = spelt(label);
        if !label.is_empty() && !base.contains(&written) && !taken.contains(&written) {
            taken.push(written);
            columns.push((at, &**label));
        }
    }
    columns
}

/// Names and values of one sample.
fn pairs<'l>(columns: &'l Columns<'l>, sample: &'l Sample) -> impl Iterator<Item = (&'l str, &'l str)> {
    columns.iter().map(|(at, label)| (*label, sample.label_values.get(*at).map_or("", |value| &**value)))
}

/// A family that is being written. Dropped without a sample, it leaves nothing.
#[derive(Debug)]
pub struct FamilyWriter<'w> {
    out: &'w mut Vec<u8>,
    format: Format,
    spelling: Spelling,
    name: Name<'w>,
    /// The name as it was given: the label of a state set.
    given: &'w str,
    kind: Kind,
    help: &'w str,
    unit: &'w str,
    begun: bool,
    /// The writer's, and in protobuf alone ever other than `None`.
    open: &'w mut OpenFamily,
}

impl<'w> FamilyWriter<'w> {
    fn new<'a: 'w>(writer: &'w mut Writer<'a>, name: &'w str, kind: Kind, help: &'w str, unit: &'w str) -> Self {
        let spelling = Spelling { escaping: writer.escaping, canonical: writer.format.is_openmetrics() };
        Self {
            open: &mut writer.open,
            out: writer.out,
            format: writer.format,
            spelling,
            name: Name::new(name, writer.escaping),
            given: name,
            kind,
            help,
            unit,
            begun: false,
        }
    }

    /// Writes one sample: `base`, then `extra` labels, whose names must be other than `base`'s. Allocates nothing
    /// beyond the buffer's own growth.
    pub fn sample(&mut self, base: &Labels, extra: &[(&str, &str)], value: Number) {
        if self.given.is_empty() {
            return;
        }
        if self.format == Format::Protobuf {
            self.number_message(base, extra, value);
            return;
        }
        self.begin();
        self.spelling.push_series(self.out, (&self.name, ""), base, extra.iter().copied(), Extra::None);
        number::push_number(self.out, value);
        self.out.push(b'\n');
    }

    /// Writes HELP, TYPE and UNIT, once.
    fn begin(&mut self) {
        if self.begun {
            return;
        }
        self.begun = true;
        let (kind, cut) = self.declared();
        push_metadata(self.out, self.format, (&self.name.shortened(cut), ""), kind, self.help);
        self.push_unit(kind, cut);
    }

    /// Writes UNIT where it may stand: OpenMetrics, a name that ends in it, and a kind that measures something.
    fn push_unit(&mut self, kind: &str, cut: usize) {
        let name = self.name.shortened(cut);
        let measures = !matches!(kind, "info" | "stateset");
        if !self.format.is_openmetrics() || !measures || !self.has_unit(name.as_str()) {
            return;
        }
        self.out.extend_from_slice(b"# UNIT ");
        name.push(self.out, "");
        self.out.push(b' ');
        self.out.extend_from_slice(self.unit.as_bytes());
        self.out.push(b'\n');
    }

    /// Whether there is a unit that `name` ends in; Prometheus refuses another.
    fn has_unit(&self, name: &str) -> bool {
        let stem = name.strip_suffix(self.unit).and_then(|stem| stem.strip_suffix('_'));
        let legal = !self.unit.is_empty() && self.unit.bytes().all(|byte| name::is_metric_byte(byte, false));
        legal && stem.is_some_and(|stem| !stem.is_empty())
    }

    /// The type's word, and how much of the name metadata leaves out.
    fn declared(&self) -> (&'static str, usize) {
        let open = self.format.is_openmetrics();
        let cut = |suffix: &str| {
            let name = self.name.as_str();
            (open && name.len() > suffix.len() && name.ends_with(suffix)).then_some(suffix.len())
        };
        match self.kind {
            Kind::Counter if !open => ("counter", 0),
            Kind::Counter => cut(TOTAL).map_or(("unknown", 0), |cut| ("counter", cut)),
            Kind::Info => cut(INFO).map_or(("gauge", 0), |cut| ("info", cut)),
            Kind::Unknown if open => ("unknown", 0),
            Kind::Unknown => ("untyped", 0),
            Kind::StateSet if open => ("stateset", 0),
            Kind::GaugeHistogram if open => ("gaugehistogram", 0),
            Kind::Gauge | Kind::StateSet | Kind::GaugeHistogram => ("gauge", 0),
            Kind::Histogram | Kind::NativeHistogram => ("histogram", 0),
            Kind::Summary => ("summary", 0),
        }
    }
}

/// Writes HELP, if there is one, and TYPE.
fn push_metadata(out: &mut Vec<u8>, format: Format, (name, suffix): (&Name<'_>, &str), kind: &str, help: &str) {
    if !help.is_empty() {
        out.extend_from_slice(b"# HELP ");
        name.push(out, suffix);
        out.push(b' ');
        escape::push_text(out, help, format.is_openmetrics());
        out.push(b'\n');
    }
    out.extend_from_slice(b"# TYPE ");
    name.push(out, suffix);
    out.push(b' ');
    out.extend_from_slice(kind.as_bytes());
    out.push(b'\n');
}
