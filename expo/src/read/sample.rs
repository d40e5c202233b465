//! One sample line, read: name, labels, value, exemplar.
//!
//! The two formats share the shape and differ in what they forgive: text allows blanks nearly
//! everywhere and a comma after the last label, OpenMetrics one space and nothing else.

use std::borrow::Cow;

use super::lexer::{Backslash, Cursor, number};
use super::{ReadFormat, ReadLimits, Reason};
use crate::model::{EXEMPLAR_LABEL_CHARACTERS, Exemplar};

/// A label's name and value.
pub(super) type Label<'a> = (Cow<'a, str>, Cow<'a, str>);

/// A sample line.
#[derive(Debug)]
pub(super) struct SampleLine<'a> {
    pub(super) name: Cow<'a, str>,
    /// In the line's order; no name twice.
    pub(super) labels: Vec<Label<'a>>,
    pub(super) value: f64,
    pub(super) exemplar: Option<Box<Exemplar>>,
}

/// The rules that sample lines are read by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grammar<'l> {
    pub(super) format: ReadFormat,
    pub(super) limits: &'l ReadLimits,
}

impl Grammar<'_> {
    fn is_text(self) -> bool {
        self.format == ReadFormat::Text
    }

    fn backslash(self) -> Backslash {
        if self.is_text() { Backslash::Refused } else { Backslash::Literal }
    }

    fn skip_blanks(self, cursor: &mut Cursor<'_>) {
        if self.is_text() {
            cursor.take_blanks();
        }
    }

    /// What separates value and timestamp: blanks in text, one space in OpenMetrics.
    fn take_gap(self, cursor: &mut Cursor<'_>) -> bool {
        if self.is_text() { cursor.take_blanks() } else { cursor.take(" ") }
    }

    pub(super) fn sample<'a>(self, line: &'a str) -> Result<SampleLine<'a>, Reason> {
        let mut cursor = Cursor::new(line);
        let mut name = Cow::Borrowed(cursor.metric_name());
        let before_labels = self.is_text() && cursor.take_blanks();
        let braces = cursor.peek() == Some(b'{');
        let labels = if braces { self.labels(&mut cursor, &mut name)? } else { Vec::new() };
        self.check_name(&name)?;
        // In text the value may follow the closing brace at once.
        let apart = self.take_gap(&mut cursor) || (self.is_text() && (braces || before_labels));
        if !apart {
            return Err(if braces || cursor.is_at_end() { Reason::Value } else { Reason::Name });
        }
        let value = number(cursor.word()).ok_or(Reason::Value)?;
        let exemplar = self.after_value(&mut cursor)?;
        Ok(SampleLine { name, labels, value, exemplar })
    }

    fn check_name(self, name: &str) -> Result<(), Reason> {
        if name.is_empty() {
            Err(Reason::Name)
        } else if name.len() > self.limits.name_bytes {
            Err(Reason::LongName)
        } else {
            Ok(())
        }
    }

    /// Reads `{…}`; a quoted text without a value in it is the metric's name (Prometheus 3), if it has none yet.
    fn labels<'a>(self, cursor: &mut Cursor<'a>, name: &mut Cow<'a, str>) -> Result<Vec<Label<'a>>, Reason> {
        let mut labels: Vec<Label<'a>> = Vec::new();
        let mut first = true;
        cursor.take("{");
        self.skip_blanks(cursor);
        while !cursor.take("}") {
            if !first {
                if !cursor.take(",") {
                    return Err(Reason::Labels);
                }
                self.skip_blanks(cursor);
                if self.is_text() && cursor.take("}") {
                    break;
                }
            }
            match self.label(cursor)? {
                (quoted, None) if first && name.is_empty() => *name = quoted,
                (_, None) => return Err(Reason::Labels),
                (label, Some(value)) => self.push(&mut labels, label, value)?,
            }
            first = false;
            self.skip_blanks(cursor);
        }
        Ok(labels)
    }

    /// Reads a label; without a value if a quoted text stands alone.
    fn label<'a>(self, cursor: &mut Cursor<'a>) -> Result<(Cow<'a, str>, Option<Cow<'a, str>>), Reason> {
        let quoted = cursor.peek() == Some(b'"');
        let label = if quoted { cursor.quoted(self.backslash())? } else { Cow::Borrowed(cursor.label_name()) };
        if label.is_empty() {
            return Err(Reason::LabelName);
        }
        self.skip_blanks(cursor);
        if !cursor.take("=") {
            return if quoted { Ok((label, None)) } else { Err(Reason::Labels) };
        }
        self.skip_blanks(cursor);
        Ok((label, Some(cursor.quoted(self.backslash())?)))
    }

    fn push<'a>(self, labels: &mut Vec<Label<'a>>, name: Cow<'a, str>, value: Cow<'a, str>) -> Result<(), Reason> {
        let limits = self.limits;
        if labels.len() >= limits.labels {
            return Err(Reason::TooManyLabels);
        }
        if value.len() > limits.value_bytes {
            return Err(Reason::LongValue);
        }
        if name.len() > limits.name_bytes {
            return Err(Reason::LongName);
        }
        // A name for each of at most `limits.labels` labels.
        if labels.iter().any(|(earlier, _)| *earlier == name) {
            return Err(Reason::LabelTwice);
        }
        labels.push((name, value));
        Ok(())
    }

    /// Checks a timestamp, reads an exemplar, and sees the line end.
    fn after_value(self, cursor: &mut Cursor<'_>) -> Result<Option<Box<Exemplar>>, Reason> {
        if cursor.is_at_end() {
            return Ok(None);
        }
        if !self.take_gap(cursor) {
            return Err(Reason::Value);
        }
        if self.is_text() {
            let word = cursor.word();
            cursor.take_blanks();
            return match word.parse::<i64>() {
                _ if !cursor.is_at_end() => Err(Reason::Trailing),
                Err(_) if !word.is_empty() => Err(Reason::Timestamp),
                _ => Ok(None),
            };
        }
        if cursor.peek() != Some(b'#') {
            timestamp(cursor.word())?;
            if cursor.is_at_end() {
                return Ok(None);
            }
            cursor.take(" ");
        }
        if !cursor.take("# {") {
            return Err(Reason::Trailing);
        }
        self.exemplar(cursor).map(|exemplar| Some(Box::new(exemplar)))
    }

    /// Reads an exemplar behind its opening brace.
    fn exemplar(self, cursor: &mut Cursor<'_>) -> Result<Exemplar, Reason> {
        let mut labels: Vec<(Box<str>, Box<str>)> = Vec::new();
        let mut characters = 0;
        while !cursor.take("}") {
            if !labels.is_empty() && !cursor.take(",") {
                return Err(Reason::Exemplar);
            }
            let (name, value) = self.label(cursor)?;
            let value = value.ok_or(Reason::Exemplar)?;
            characters += name.chars().count() + value.chars().count();
            if characters > EXEMPLAR_LABEL_CHARACTERS {
                return Err(Reason::Exemplar);
            }
            if labels.iter().any(|(earlier, _)| **earlier == *name) {
                return Err(Reason::LabelTwice);
            }
            labels.push((name.into(), value.into()));
        }
        if !cursor.take(" ") {
            return Err(Reason::Exemplar);
        }
        let value = number(cursor.word()).ok_or(Reason::Exemplar)?;
        let timestamp_seconds = if cursor.take(" ") { Some(timestamp(cursor.word())?) } else { None };
        if cursor.is_at_end() { Ok(Exemplar { labels, value, timestamp_seconds }) } else { Err(Reason::Trailing) }
    }
}

/// An OpenMetrics timestamp: seconds, finite.
fn timestamp(word: &str) -> Result<f64, Reason> {
    number(word).filter(|seconds| seconds.is_finite()).ok_or(Reason::Timestamp)
}
