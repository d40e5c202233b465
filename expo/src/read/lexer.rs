//! A cursor over one line: names, quoted texts, words, numbers.
//!
//! It looks at each byte a bounded number of times and borrows what it can. Positions only move on
//! ASCII bytes, so that slices of the line stay UTF-8.

use std::borrow::Cow;

use super::Reason;
use crate::name::{is_label_byte, is_metric_byte};

/// What the two formats do with a backslash before any other character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backslash {
    /// Text: it is a fault.
    Refused,
    /// OpenMetrics (ABNF `escaped-char`) and every help text: both characters are meant.
    Literal,
}

/// What is left of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { rest: line }
    }

    pub(super) fn rest(&self) -> &'a str {
        self.rest
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.as_bytes().first().copied()
    }

    /// Goes past `prefix` if it stands here.
    pub(super) fn take(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Goes past spaces and tabs; false if there were none.
    pub(super) fn take_blanks(&mut self) -> bool {
        let rest = self.rest.trim_start_matches([' ', '\t']);
        let taken = rest.len() < self.rest.len();
        self.rest = rest;
        taken
    }

    /// All up to a space, a tab or the end.
    pub(super) fn word(&mut self) -> &'a str {
        let end = self.rest.find([' ', '\t']).unwrap_or(self.rest.len());
        self.split(end)
    }

    fn split(&mut self, at: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(at);
        self.rest = rest;
        taken
    }

    fn name(&mut self, legal: fn(u8, bool) -> bool) -> &'a str {
        let bytes = self.rest.as_bytes();
        let end = bytes.iter().enumerate().position(|(at, byte)| !legal(*byte, at == 0)).unwrap_or(bytes.len());
        self.split(end)
    }

    /// A legacy metric name; empty if there is none.
    pub(super) fn metric_name(&mut self) -> &'a str {
        self.name(is_metric_byte)
    }

    /// A legacy label name; empty if there is none.
    pub(super) fn label_name(&mut self) -> &'a str {
        self.name(is_label_byte)
    }

    /// A text in double quotes, unescaped.
    pub(super) fn quoted(&mut self, backslash: Backslash) -> Result<Cow<'a, str>, Reason> {
        if !self.take("\"") {
            return Err(Reason::Labels);
        }
        let bytes = self.rest.as_bytes();
        let mut at = 0;
        loop {
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at += 2,
                Some(_) => at += 1,
                None => return Err(Reason::Quotes),
            }
        }
        let raw = self.split(at);
        self.rest = &self.rest[1..];
        unescape(raw, backslash, true)
    }
}

/// Replaces `\\` and `\n`, and `\"` where `quotes` says so.
pub(super) fn unescape(raw: &str, backslash: Backslash, quotes: bool) -> Result<Cow<'_, str>, Reason> {
    if !raw.contains('\\') {
        return Ok(Cow::Borrowed(raw));
    }
    let mut text = String::with_capacity(raw.len());
    let mut characters = raw.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some('\\') => text.push('\\'),
            Some('n') => text.push('\n'),
            Some('"') if quotes => text.push('"'),
            _ if backslash == Backslash::Refused => return Err(Reason::Escape),
            other => {
                text.push('\\');
                text.extend(other);
            }
        }
    }
    Ok(Cow::Owned(text))
}

/// A number as both formats spell it: decimal digits, or NaN and infinities in any case.
pub(super) fn number(word: &str) -> Option<f64> {
    // Rust's grammar for floats is that of the formats; it has no hexadecimal and no underscores.
    word.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_formats() {
        for (word, value) in [
            ("1", 1.0),
            ("-1.5e3", -1500.0),
            ("+Inf", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            (".5", 0.5),
            ("infinity", f64::INFINITY),
        ] {
            assert_eq!(number(word), Some(value), "{word}");
        }
        assert!(number("NaN").unwrap().is_nan());
        for word in ["", "0x10", "1_0", "1,5", "abc", "1\r", "--1", "1e", "e5", "\u{661}"] {
            assert_eq!(number(word), None, "{word:?}");
        }
    }

    #[test]
    fn quoted_texts_end_where_they_should() {
        for (line, expected, rest) in [
            (r#""a"b"#, Ok("a"), "b"),
            (r#""a\"b\\\n" x"#, Ok("a\"b\\\n"), " x"),
            (r#""\x""#, Err(Reason::Escape), ""),
            (r#""a"#, Err(Reason::Quotes), ""),
            (r#""a\"#, Err(Reason::Quotes), ""),
            (r#""é\"é""#, Ok("é\"é"), ""),
            (r#""\é""#, Err(Reason::Escape), ""),
        ] {
            let mut cursor = Cursor::new(line);
            let read = cursor.quoted(Backslash::Refused);
            assert_eq!(read.as_deref().map_err(|reason| *reason), expected, "{line}");
            if expected.is_ok() {
                assert_eq!(cursor.rest(), rest);
            }
        }
        assert_eq!(Cursor::new(r#""\x""#).quoted(Backslash::Literal).unwrap(), "\\x");
        assert_eq!(Cursor::new(r#""\é""#).quoted(Backslash::Literal).unwrap(), "\\é");
    }
}
