//! Prometheus text: families may be interleaved and their lines in any order, but metadata comes first.
//!
//! A sample belongs to the family of its own name if there is one; else, by its suffix, to a histogram or
//! summary declared before; else it founds an untyped family.

use std::collections::HashMap;

use super::gather::{At, Draft, Part};
use super::lexer::{Backslash, Cursor, unescape};
use super::sample::{Grammar, SampleLine};
use super::{ReadError, ReadFormat, ReadLimits, Reason};
use crate::model::{Family, Kind};
use crate::name::{BUCKET, COUNT, SUM};

struct Reader<'l> {
    grammar: Grammar<'l>,
    families: Vec<Draft>,
    by_name: HashMap<Box<str>, usize>,
    samples: usize,
}

pub(super) fn read(text: &str, limits: &ReadLimits) -> Result<Vec<Family>, ReadError> {
    let grammar = Grammar { format: ReadFormat::Text, limits };
    let mut reader = Reader { grammar, families: Vec::new(), by_name: HashMap::new(), samples: 0 };
    for (at, line) in text.split_inclusive('\n').enumerate() {
        let number = at + 1;
        reader.line(line, number).map_err(|reason| ReadError { line: number, reason })?;
    }
    reader.families.into_iter().filter(Draft::has_samples).map(|draft| draft.finish(ReadFormat::Text)).collect()
}

impl Reader<'_> {
    fn line(&mut self, line: &str, number: usize) -> Result<(), Reason> {
        let (content, ended) = line.strip_suffix('\n').map_or((line, false), |content| (content, true));
        let content = content.trim_start_matches([' ', '\t']);
        if content.is_empty() {
            return Ok(());
        }
        if let Some(comment) = content.strip_prefix('#') {
            let is_metadata = self.comment(comment)?;
            // A help or type cut off would pass for a whole one.
            return if is_metadata && !ended { Err(Reason::NoLineFeed) } else { Ok(()) };
        }
        let sample = self.grammar.sample(content)?;
        self.sample(sample, number)
    }

    /// Reads what stands behind `#`; whether it was metadata.
    fn comment(&mut self, comment: &str) -> Result<bool, Reason> {
        let mut cursor = Cursor::new(comment);
        let apart = cursor.take_blanks();
        let keyword = cursor.word();
        let is_help = keyword == "HELP";
        if !apart || !(is_help || keyword == "TYPE") {
            return Ok(false);
        }
        cursor.take_blanks();
        let name = metadata_name(&mut cursor)?;
        if name.len() > self.grammar.limits.name_bytes {
            return Err(Reason::LongName);
        }
        let apart = cursor.take(" ") || cursor.take("\t");
        if !apart && !cursor.is_at_end() {
            return Err(Reason::Name);
        }
        let family = self.family(&name)?;
        let draft = &mut self.families[family];
        if is_help {
            if draft.help.is_some() {
                return Err(Reason::MetadataTwice);
            }
            let help = unescape(cursor.rest(), Backslash::Literal, false)?;
            draft.help = Some(help.into());
            return Ok(true);
        }
        cursor.take_blanks();
        let kind = kind(cursor.word())?;
        cursor.take_blanks();
        if !cursor.is_at_end() {
            return Err(Reason::Trailing);
        }
        if draft.typed {
            return Err(Reason::MetadataTwice);
        }
        if draft.has_samples() {
            return Err(Reason::MetadataLate);
        }
        draft.kind = kind;
        draft.typed = true;
        Ok(true)
    }

    /// The family of this name, new if need be.
    fn family(&mut self, name: &str) -> Result<usize, Reason> {
        if let Some(family) = self.by_name.get(name) {
            return Ok(*family);
        }
        if self.families.len() >= self.grammar.limits.families {
            return Err(Reason::TooManyFamilies);
        }
        let family = self.families.len();
        self.families.push(Draft::new(name));
        self.by_name.insert(name.into(), family);
        Ok(family)
    }

    fn sample(&mut self, sample: SampleLine<'_>, line: usize) -> Result<(), Reason> {
        self.samples += 1;
        if self.samples > self.grammar.limits.samples {
            return Err(Reason::TooManySamples);
        }
        let (family, part) = match self.by_suffix(&sample.name) {
            Some(found) => found,
            None => (self.family(&sample.name)?, Part::Value),
        };
        let part = match self.families[family].kind {
            Kind::Summary if part == Part::Value => Part::Quantile,
            Kind::Histogram if part == Part::Value => return Err(Reason::NotOfKind),
            _ => part,
        };
        let at = At { line, format: ReadFormat::Text, limits: self.grammar.limits };
        self.families[family].add(sample, part, at)
    }

    /// The histogram or summary that a name without a family of its own belongs to.
    fn by_suffix(&self, name: &str) -> Option<(usize, Part)> {
        if self.by_name.contains_key(name) {
            return None;
        }
        [(BUCKET, Part::Bucket), (SUM, Part::Sum), (COUNT, Part::Count)].into_iter().find_map(|(suffix, part)| {
            let family = *self.by_name.get(name.strip_suffix(suffix)?)?;
            let fits = match self.families[family].kind {
                Kind::Histogram => true,
                Kind::Summary => part != Part::Bucket,
                _ => false,
            };
            fits.then_some((family, part))
        })
    }
}

/// The name in a HELP or TYPE line, quoted or not.
pub(super) fn metadata_name<'a>(cursor: &mut Cursor<'a>) -> Result<std::borrow::Cow<'a, str>, Reason> {
    let name =
        if cursor.peek() == Some(b'"') { cursor.quoted(Backslash::Refused)? } else { cursor.metric_name().into() };
    if name.is_empty() { Err(Reason::Name) } else { Ok(name) }
}

fn kind(word: &str) -> Result<Kind, Reason> {
    match word {
        "counter" => Ok(Kind::Counter),
        "gauge" => Ok(Kind::Gauge),
        "histogram" => Ok(Kind::Histogram),
        "summary" => Ok(Kind::Summary),
        "untyped" => Ok(Kind::Unknown),
        _ => Err(Reason::KindWord),
    }
}
