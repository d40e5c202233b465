//! Escaping: names outside the legacy character set, label values, and help texts.
//!
//! Names follow the four schemes that a client may name in `Accept` (`escaping=…`, Prometheus 3):
//! three that squeeze any name into the legacy set, and `allow-utf-8`, which quotes it. A name that
//! is legal already is left alone under each of them, as client_golang does, so nothing here runs
//! for usual names. Everything is appended to the caller's buffer; nothing is allocated.

use std::io::Write as _;

use crate::name::{is_label_byte, is_label_name, is_metric_byte};
use crate::negotiate::Escaping;

/// Appends `name` escaped into the legacy set. `legal` judges a byte (and whether it stands first).
/// `AllowUtf8` is treated as underscores; quoting is the caller's to do.
fn push_escaped_name(out: &mut Vec<u8>, name: &str, escaping: Escaping, legal: fn(u8, bool) -> bool) {
    if escaping == Escaping::Values {
        out.extend_from_slice(b"U__");
    }
    for (at, character) in name.char_indices() {
        let kept = u8::try_from(character).ok().filter(|byte| byte.is_ascii() && legal(*byte, at == 0));
        match (escaping, kept) {
            (Escaping::Dots | Escaping::Values, Some(b'_')) => out.extend_from_slice(b"__"),
            (_, Some(byte)) => out.push(byte),
            (Escaping::Underscores | Escaping::AllowUtf8, None) => out.push(b'_'),
            (Escaping::Dots, None) if character == '.' => out.extend_from_slice(b"_dot_"),
            (Escaping::Dots, None) => out.extend_from_slice(b"__"),
            (Escaping::Values, None) => {
                write!(out, "_{:x}_", u32::from(character)).expect("a Vec takes every write");
            }
        }
    }
}

/// Appends a metric name that is not legacy, escaped into the legacy set.
pub(crate) fn push_metric_name(out: &mut Vec<u8>, name: &str, escaping: Escaping) {
    push_escaped_name(out, name, escaping, is_metric_byte);
}

/// Appends a label name: as it is if it is legal, else quoted or escaped.
pub(crate) fn push_label_name(out: &mut Vec<u8>, name: &str, escaping: Escaping) {
    if is_label_name(name) {
        out.extend_from_slice(name.as_bytes());
    } else if escaping == Escaping::AllowUtf8 {
        push_quoted(out, name);
    } else {
        push_escaped_name(out, name, escaping, is_label_byte);
    }
}

/// Appends a label name where nothing has to be quoted: as it is if it is legal or the scheme allows it, else escaped.
pub(crate) fn push_bare_label_name(out: &mut Vec<u8>, name: &str, escaping: Escaping) {
    if escaping == Escaping::AllowUtf8 || is_label_name(name) {
        out.extend_from_slice(name.as_bytes());
    } else {
        push_escaped_name(out, name, escaping, is_label_byte);
    }
}

/// Appends `text` between double quotes, with `\`, `"` and line feed escaped.
pub(crate) fn push_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_text(out, text, true);
    out.push(b'"');
}

/// Appends `text` with `\` and line feed escaped, and `"` too where `quotes` says so: in label values
/// always, in help texts only in OpenMetrics.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str, quotes: bool) {
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escaped: &[u8] = match byte {
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'"' if quotes => b"\\\"",
            _ => continue,
        };
        out.extend_from_slice(&bytes[written..at]);
        out.extend_from_slice(escaped);
        written = at + 1;
    }
    out.extend_from_slice(&bytes[written..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, escaping: Escaping) -> String {
        let mut out = Vec::new();
        push_metric_name(&mut out, name, escaping);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn names_follow_the_scheme() {
        for (name, underscores, dots, values) in [
            ("my.metric", "my_metric", "my_dot_metric", "U__my_2e_metric"),
            ("my_m.x", "my_m_x", "my__m_dot_x", "U__my__m_2e_x"),
            ("1a", "_a", "__a", "U___31_a"),
            ("a:é", "a:_", "a:__", "U__a:_e9_"),
            ("花", "_", "__", "U___82b1_"),
            ("a \n", "a__", "a____", "U__a_20__a_"),
        ] {
            assert_eq!(metric(name, Escaping::Underscores), underscores);
            assert_eq!(metric(name, Escaping::Dots), dots);
            assert_eq!(metric(name, Escaping::Values), values);
        }
    }

    #[test]
    fn labels_do_not_keep_colons_and_quote_only_when_allowed() {
        let mut out = Vec::new();
        for escaping in [Escaping::Underscores, Escaping::AllowUtf8] {
            push_label_name(&mut out, "a:b", escaping);
            push_label_name(&mut out, "ok", escaping);
        }
        assert_eq!(String::from_utf8(out).unwrap(), "a_bok\"a:b\"ok");
    }

    #[test]
    fn text_is_escaped() {
        let mut out = Vec::new();
        push_text(&mut out, "a\\b\"c\nd", false);
        push_quoted(&mut out, "a\\b\"c\nd");
        assert_eq!(String::from_utf8(out).unwrap(), "a\\\\b\"c\\nd\"a\\\\b\\\"c\\nd\"");
    }
}
