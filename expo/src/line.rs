//! One sample line: a name, its labels, a value.
//!
//! [`Labels`] are rendered once for an instance and copied in front of every sample's own labels: an
//! instance's `id` alone is 64 digits, and checking and escaping it anew for each of some hundred
//! lines a scrape was the larger part of their cost. Everything here appends to the caller's buffer.

use crate::escape;
use crate::message;
use crate::name;
use crate::negotiate::Escaping;
use crate::number;

/// Labels of an instance (`id`, `name`, `image`, …), escaped and rendered once for text and for protobuf, and put in front of each sample's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// `name="value",name="value"`.
    rendered: Vec<u8>,
    /// The same as protobuf: one message after the other.
    messages: Vec<u8>,
    names: Vec<Box<str>>,
}

impl Labels {
    /// Renders `pairs` of name and value. An empty value is an absent label, and so is a name that stood before.
    /// Names outside `[a-zA-Z_][a-zA-Z0-9_]*` get `_` for each other character, whatever was negotiated.
    pub fn new(pairs: &[(&str, &str)]) -> Self {
        let mut labels = Self::default();
        for (name, value) in pairs.iter().filter(|(name, value)| !name.is_empty() && !value.is_empty()) {
            let mut escaped = Vec::with_capacity(name.len());
            escape::push_label_name(&mut escaped, name, Escaping::Underscores);
            let escaped = String::from_utf8(escaped).expect("an escaped name is ASCII");
            if labels.contains(&escaped) {
                continue;
            }
            if !labels.rendered.is_empty() {
                labels.rendered.push(b',');
            }
            labels.rendered.extend_from_slice(escaped.as_bytes());
            labels.rendered.push(b'=');
            escape::push_quoted(&mut labels.rendered, value);
            message::push_label(&mut labels.messages, &escaped, value, Escaping::Underscores);
            labels.names.push(escaped.into_boxed_str());
        }
        labels
    }

    /// As the `label` fields of a protobuf `Metric`.
    pub(crate) fn messages(&self) -> &[u8] {
        &self.messages
    }

    /// Whether a label of this name is among them.
    pub fn contains(&self, name: &str) -> bool {
        self.names.iter().any(|own| **own == *name)
    }
}

/// A metric name as it is written under the negotiated escaping.
#[derive(Debug)]
pub(crate) struct Name<'a> {
    text: std::borrow::Cow<'a, str>,
    /// Whether it stands quoted inside the braces.
    quoted: bool,
}

impl<'a> Name<'a> {
    pub(crate) fn new(name: &'a str, escaping: Escaping) -> Self {
        let legacy = name::is_metric_name(name);
        if legacy || escaping == Escaping::AllowUtf8 {
            return Self { text: name.into(), quoted: !legacy };
        }
        let mut escaped = Vec::with_capacity(name.len());
        escape::push_metric_name(&mut escaped, name, escaping);
        let escaped = String::from_utf8(escaped).expect("an escaped name is ASCII");
        Self { text: escaped.into(), quoted: false }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The same name without its last `bytes`.
    pub(crate) fn shortened(&self, bytes: usize) -> Name<'_> {
        Name { text: self.text[..self.text.len() - bytes].into(), quoted: self.quoted }
    }

    /// Appends the name with a suffix, quoted if it must be.
    pub(crate) fn push(&self, out: &mut Vec<u8>, suffix: &str) {
        if self.quoted {
            out.push(b'"');
            escape::push_text(out, &self.text, true);
            out.extend_from_slice(suffix.as_bytes());
            out.push(b'"');
        } else {
            out.extend_from_slice(self.text.as_bytes());
            out.extend_from_slice(suffix.as_bytes());
        }
    }
}

/// The label that a kind adds to a sample's own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extra<'a> {
    None,
    /// A bound or a quantile.
    Float(&'static str, f64),
    /// A state: the family's name and the state's.
    Text(&'a str, &'a str),
}

/// Appends labels one by one, with the punctuation around them.
struct LabelList<'o> {
    out: &'o mut Vec<u8>,
    escaping: Escaping,
    /// What stands before the next label.
    separator: u8,
}

impl LabelList<'_> {
    fn name(&mut self, name: &str) {
        self.out.push(self.separator);
        self.separator = b',';
        escape::push_label_name(self.out, name, self.escaping);
        self.out.push(b'=');
    }

    fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() && !name.is_empty() {
            self.name(name);
            escape::push_quoted(self.out, value);
        }
    }
}

/// How series are spelt in one exposition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spelling {
    pub(crate) escaping: Escaping,
    /// OpenMetrics spells bounds canonically.
    pub(crate) canonical: bool,
}

impl Spelling {
    /// Appends name, labels and the space before the value.
    pub(crate) fn push_series<'l>(
        self,
        out: &mut Vec<u8>,
        (name, suffix): (&Name<'_>, &str),
        base: &Labels,
        labels: impl Iterator<Item = (&'l str, &'l str)>,
        extra: Extra<'_>,
    ) {
        if name.quoted {
            out.push(b'{');
        }
        name.push(out, suffix);
        let mut list = LabelList { out, escaping: self.escaping, separator: if name.quoted { b',' } else { b'{' } };
        if !base.rendered.is_empty() {
            list.out.push(list.separator);
            list.out.extend_from_slice(&base.rendered);
            list.separator = b',';
        }
        for (label, value) in labels {
            list.text(label, value);
        }
        match extra {
            Extra::None => {}
            Extra::Text(label, value) => list.text(label, value),
            Extra::Float(label, value) => {
                list.name(label);
                list.out.push(b'"');
                number::push_label_float(list.out, value, self.canonical);
                list.out.push(b'"');
            }
        }
        if list.separator == b',' {
            list.out.push(b'}');
        }
        out.push(b' ');
    }
}
