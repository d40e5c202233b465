//! The labels of an instance in one piece of memory.
//!
//! A million instances have a handful of labels each, and a map of strings costs half a KiB whatever is in it. So keys and values stand one behind
//! the other, sorted by key, each ended by a NUL, and a look-up walks them. A label with a NUL in it is text for nobody and is left out.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const END: char = '\0';

/// Keys and values, by key.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Labels(Box<str>);

impl Labels {
    /// A label's value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// All of them, by key.
    pub fn iter(&self) -> Iter<'_> {
        Iter(&self.0)
    }

    pub fn len(&self) -> usize {
        self.iter().count()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

/// Of two with one key the last counts.
impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        let labels: Vec<(K, V)> = labels.into_iter().collect();
        let mut sorted: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
        // Stable, and the later of two is taken: see above.
        sorted.sort_by_key(|(key, _)| *key);
        let last = |n: usize| sorted.get(n + 1).is_none_or(|(next, _)| *next != sorted[n].0);
        let mut text = String::with_capacity(sorted.iter().map(|(key, value)| key.len() + value.len() + 2).sum());
        for (n, (key, value)) in sorted.iter().enumerate() {
            if last(n) && !key.contains(END) && !value.contains(END) {
                text.extend([key, "\0", value, "\0"]);
            }
        }
        Self(text.into())
    }
}

/// See [`Labels::iter`].
pub struct Iter<'a>(&'a str);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, rest) = self.0.split_once(END)?;
        let (value, rest) = rest.split_once(END)?;
        self.0 = rest;
        Some((key, value))
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LabelsVisitor)
    }
}

/// Reads a map without a piece of memory a label: an inventory of a million instances is read at a start.
struct LabelsVisitor;

impl<'de> Visitor<'de> for LabelsVisitor {
    type Value = Labels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
        let mut labels: Vec<(Text<'de>, Text<'de>)> = Vec::new();
        while let Some(label) = map.next_entry()? {
            labels.push(label);
        }
        Ok(labels.into_iter().collect())
    }
}

/// A string that is borrowed from what is read where it stands there as it is.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_by_key() {
        let labels: Labels = [("b", "2"), ("a", ""), ("b", "3"), ("c\0", "x"), ("d", "\0")].into_iter().collect();
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", ""), ("b", "3")]);
        assert_eq!((labels.get("b"), labels.get("a"), labels.get("c")), (Some("3"), Some(""), None));
        let json = serde_json::to_string(&labels).unwrap();
        assert_eq!(json, r#"{"a":"","b":"3"}"#);
        assert_eq!(serde_json::from_str::<Labels>(&json).unwrap(), labels);
        assert!(Labels::default().is_empty() && labels.len() == 2);
    }
}
