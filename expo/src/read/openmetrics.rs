//! OpenMetrics text 1.0: one family after another, each whole, and `# EOF` at the end.
//!
//! Metadata names a family without `_total` or `_info`; samples carry it, and so does our model. A name that
//! one family may write is closed to every later one, whether the first used it or not.

use std::collections::HashSet;

use super::gather::{At, Draft, Part};
use super::lexer::{Backslash, Cursor, unescape};
use super::sample::{Grammar, SampleLine};
use super::text::metadata_name;
use super::{ReadError, ReadFormat, ReadLimits, Reason};
use crate::model::{Family, Kind};
use crate::name::{self, BUCKET, COUNT, CREATED, GAUGE_COUNT, GAUGE_SUM, INFO, SUM, TOTAL};

/// The family that lines are being read of.
struct Current {
    /// As metadata has it.
    name: Box<str>,
    draft: Draft,
    /// Whether a UNIT line was seen.
    has_unit: bool,
}

struct Reader<'l> {
    grammar: Grammar<'l>,
    done: Vec<Family>,
    /// Every sample name that a family so far may write.
    taken: HashSet<String>,
    current: Option<Current>,
    families: usize,
    samples: usize,
    ended: bool,
}

pub(super) fn read(text: &str, limits: &ReadLimits) -> Result<Vec<Family>, ReadError> {
    let grammar = Grammar { format: ReadFormat::OpenMetrics, limits };
    let mut reader = Reader {
        grammar,
        done: Vec::new(),
        taken: HashSet::new(),
        current: None,
        families: 0,
        samples: 0,
        ended: false,
    };
    let mut last = 0;
    for (at, line) in text.split_inclusive('\n').enumerate() {
        last = at + 1;
        reader.line(line.strip_suffix('\n').unwrap_or(line), last)?;
    }
    if reader.ended { Ok(reader.done) } else { Err(ReadError { line: last.max(1), reason: Reason::NoEof }) }
}

/// What a sample name is to a family of this metadata name and kind.
fn part(kind: Kind, family: &str, sample: &str) -> Option<Part> {
    let suffix = sample.strip_prefix(family)?;
    match (kind, suffix) {
        (Kind::Counter, TOTAL) | (Kind::Info, INFO) | (Kind::Gauge | Kind::Unknown, "") => Some(Part::Value),
        (Kind::Counter | Kind::Histogram | Kind::Summary, CREATED) => Some(Part::Created),
        (Kind::Histogram | Kind::GaugeHistogram, BUCKET) => Some(Part::Bucket),
        (Kind::Histogram | Kind::Summary, SUM) | (Kind::GaugeHistogram, GAUGE_SUM) => Some(Part::Sum),
        (Kind::Histogram | Kind::Summary, COUNT) | (Kind::GaugeHistogram, GAUGE_COUNT) => Some(Part::Count),
        (Kind::Summary, "") => Some(Part::Quantile),
        (Kind::StateSet, "") => Some(Part::State),
        _ => None,
    }
}

fn kind(word: &str) -> Result<Kind, Reason> {
    match word {
        "counter" => Ok(Kind::Counter),
        "gauge" => Ok(Kind::Gauge),
        "histogram" => Ok(Kind::Histogram),
        "gaugehistogram" => Ok(Kind::GaugeHistogram),
        "summary" => Ok(Kind::Summary),
        "info" => Ok(Kind::Info),
        "stateset" => Ok(Kind::StateSet),
        "unknown" => Ok(Kind::Unknown),
        _ => Err(Reason::KindWord),
    }
}

impl Reader<'_> {
    fn line(&mut self, line: &str, number: usize) -> Result<(), ReadError> {
        let at = |reason| ReadError { line: number, reason };
        if self.ended {
            return Err(at(Reason::AfterEof));
        }
        if line == "# EOF" {
            self.ended = true;
            return self.close(number);
        }
        if line.is_empty() {
            return Err(at(Reason::BlankLine));
        }
        if line.starts_with('#') {
            return self.metadata(line, number);
        }
        let sample = self.grammar.sample(line).map_err(at)?;
        self.samples += 1;
        if self.samples > self.grammar.limits.samples {
            return Err(at(Reason::TooManySamples));
        }
        self.sample(sample, number)
    }

    fn metadata(&mut self, line: &str, number: usize) -> Result<(), ReadError> {
        let at = |reason| ReadError { line: number, reason };
        let mut cursor = Cursor::new(line);
        cursor.take("# ");
        let keyword = cursor.word();
        if !matches!(keyword, "HELP" | "TYPE" | "UNIT") {
            return Err(at(Reason::Comment));
        }
        if !cursor.take(" ") {
            return Err(at(Reason::Metadata));
        }
        let name = metadata_name(&mut cursor).map_err(at)?;
        if !cursor.take(" ") && !cursor.is_at_end() {
            return Err(at(Reason::Metadata));
        }
        let rest = cursor.rest();
        let new_kind = if keyword == "TYPE" { Some(kind(rest).map_err(at)?) } else { None };
        self.enter(&name, new_kind, number)?;
        let current = self.current.as_mut().expect("enter leaves a family");
        let twice = match keyword {
            "TYPE" => std::mem::replace(&mut current.draft.typed, true),
            "UNIT" => std::mem::replace(&mut current.has_unit, true),
            _ => current.draft.help.is_some(),
        };
        if twice {
            return Err(at(Reason::MetadataTwice));
        }
        match new_kind {
            Some(kind) => current.draft.kind = kind,
            None if keyword == "UNIT" => current.draft.unit = rest.into(),
            None => current.draft.help = Some(unescape(rest, Backslash::Literal, true).map_err(at)?.into()),
        }
        Ok(())
    }

    /// Makes the family of this metadata name the current one. One that has samples takes no more metadata; the same
    /// metadata name then begins another family, whose samples must be called otherwise.
    fn enter(&mut self, name: &str, new_kind: Option<Kind>, line: usize) -> Result<(), ReadError> {
        let at = |reason| ReadError { line, reason };
        if let Some(current) = &self.current
            && *current.name == *name
        {
            if !current.draft.has_samples() {
                return Ok(());
            }
            if new_kind == Some(current.draft.kind) {
                return Err(at(Reason::MetadataLate));
            }
        }
        self.close(line)?;
        let limits = self.grammar.limits;
        if name.len() > limits.name_bytes {
            return Err(at(Reason::LongName));
        }
        self.families += 1;
        if self.families > limits.families {
            return Err(at(Reason::TooManyFamilies));
        }
        self.current = Some(Current { name: name.into(), draft: Draft::new(name), has_unit: false });
        Ok(())
    }

    fn sample(&mut self, sample: SampleLine<'_>, line: usize) -> Result<(), ReadError> {
        let at = |reason| ReadError { line, reason };
        let fits = |current: &Current| part(current.draft.kind, &current.name, &sample.name);
        let part = match self.current.as_ref().map(|current| (fits(current), *current.name == *sample.name)) {
            Some((Some(part), _)) => part,
            Some((None, true)) => return Err(at(Reason::NotOfKind)),
            _ => {
                self.enter(&sample.name, None, line)?;
                Part::Value
            }
        };
        let current = self.current.as_mut().expect("there is a family now");
        if !current.draft.has_samples() {
            open(current, &mut self.taken).map_err(at)?;
        }
        let rules = At { line, format: ReadFormat::OpenMetrics, limits: self.grammar.limits };
        current.draft.add(sample, part, rules).map_err(at)
    }

    /// Ends the current family.
    fn close(&mut self, line: usize) -> Result<(), ReadError> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        if current.draft.has_samples() {
            self.done.push(current.draft.finish(ReadFormat::OpenMetrics)?);
            return Ok(());
        }
        open(&mut current, &mut self.taken).map_err(|reason| ReadError { line, reason })
    }
}

/// Gives the family its name as samples carry it, and takes the names that it may write.
fn open(current: &mut Current, taken: &mut HashSet<String>) -> Result<(), Reason> {
    let (name, draft) = (&current.name, &mut current.draft);
    let unit = &*draft.unit;
    if !unit.is_empty() {
        let stem = name.strip_suffix(unit).and_then(|stem| stem.strip_suffix('_'));
        if stem.is_none_or(str::is_empty) || matches!(draft.kind, Kind::Info | Kind::StateSet) {
            return Err(Reason::Unit);
        }
    }
    draft.name = match draft.kind {
        Kind::Counter => format!("{name}{TOTAL}").into(),
        Kind::Info => format!("{name}{INFO}").into(),
        _ => name.clone(),
    };
    for sample in name::sample_names(&draft.name, draft.kind) {
        if !taken.insert(sample) {
            return Err(Reason::Interrupted);
        }
    }
    Ok(())
}
