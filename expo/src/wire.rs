//! Protobuf's wire format (protobuf.dev, "Encoding"), as much of it as the metric model needs, written forwards
//! into the caller's buffer.
//!
//! A nested message stands behind its length, which is known only afterwards. Room for the usual length is left
//! before it, and where that was wrong the message is moved: by a byte, and seldom. Measuring it first would
//! walk every sample twice, and building it apart would allocate for each. Fields are numbered up to 15, whose tags
//! are one byte; this is a bound of what is written here and not of the format.

/// An integer of variable length.
const VARINT: u8 = 0;
/// Eight bytes, the lowest first.
const FIXED64: u8 = 1;
/// A length, then as many bytes.
const DELIMITED: u8 = 2;

/// What is left for the length of a message that is a handful of numbers: under 128 bytes.
pub(crate) const SHORT: usize = 1;
/// The same where an instance's labels are inside, or a histogram: under 16 KiB.
pub(crate) const LONG: usize = 2;

/// Prometheus's own NaN for a value that is none (`value.NormalNaN`). Others have a meaning there: 0x7ff0000000000002
/// ends a series (`value.StaleNaN`), which is nothing that who measures may say.
const NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

fn push_tag(out: &mut Vec<u8>, field: u8, wire: u8) {
    out.push(field << 3 | wire);
}

/// Appends an integer, seven bits a byte.
pub(crate) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed integer so that small magnitudes are short.
pub(crate) fn push_zigzag(out: &mut Vec<u8>, value: i64) {
    push_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a `uint64`, `uint32` or an `enum`.
pub(crate) fn push_unsigned(out: &mut Vec<u8>, field: u8, value: u64) {
    push_tag(out, field, VARINT);
    push_varint(out, value);
}

/// Appends a `sint32` or `sint64`.
pub(crate) fn push_signed(out: &mut Vec<u8>, field: u8, value: i64) {
    push_tag(out, field, VARINT);
    push_zigzag(out, value);
}

/// The eight bytes of a `double`; every NaN becomes the one that means no more than that.
fn bits(value: f64) -> [u8; 8] {
    let bits = if value.is_nan() { NAN_BITS } else { value.to_bits() };
    bits.to_le_bytes()
}

/// Appends a `double` of packed ones.
pub(crate) fn push_bits(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&bits(value));
}

/// Appends a message that has a `double` in field 1 and nothing else: most samples, so all at once.
pub(crate) fn push_boxed_double(out: &mut Vec<u8>, field: u8, value: f64) {
    let [a, b, c, d, e, f, g, h] = bits(value);
    out.extend_from_slice(&[field << 3 | DELIMITED, 9, 1 << 3 | FIXED64, a, b, c, d, e, f, g, h]);
}

/// Appends a message of two strings, in fields 1 and 2, without [`push_nested`]'s looking back; false, and nothing, where they are long.
pub(crate) fn push_short_pair(out: &mut Vec<u8>, field: u8, first: &str, second: &str) -> bool {
    /// Under this a length is one byte.
    const SHORT_BELOW: usize = 128;
    let length = 2 + first.len() + 2 + second.len();
    if length >= SHORT_BELOW {
        return false;
    }
    let head = [field << 3 | DELIMITED, length as u8, 1 << 3 | DELIMITED, first.len() as u8];
    out.reserve(head.len() + length);
    out.extend_from_slice(&head);
    out.extend_from_slice(first.as_bytes());
    out.extend_from_slice(&[2 << 3 | DELIMITED, second.len() as u8]);
    out.extend_from_slice(second.as_bytes());
    true
}

/// Appends a `double`.
pub(crate) fn push_double(out: &mut Vec<u8>, field: u8, value: f64) {
    push_tag(out, field, FIXED64);
    push_bits(out, value);
}

/// Appends a `string` of two parts.
pub(crate) fn push_text(out: &mut Vec<u8>, field: u8, text: &str, suffix: &str) {
    push_tag(out, field, DELIMITED);
    push_varint(out, (text.len() + suffix.len()) as u64);
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(suffix.as_bytes());
}

/// Appends whatever `fill` appends, as a message, a string or packed numbers; `width` is what its length is likely to take.
pub(crate) fn push_nested(out: &mut Vec<u8>, field: u8, width: usize, fill: impl FnOnce(&mut Vec<u8>)) {
    push_tag(out, field, DELIMITED);
    let start = begin(out, width);
    fill(out);
    end(out, start, width);
}

/// Leaves room for a length. What is appended from now on is what it measures, until [`end`].
pub(crate) fn begin(out: &mut Vec<u8>, width: usize) -> usize {
    let start = out.len();
    out.resize(start + width, 0);
    start
}

/// Writes the length of what was appended since [`begin`] gave `start`, and moves it where that takes more or less than `width`.
pub(crate) fn end(out: &mut Vec<u8>, start: usize, width: usize) {
    let content = start + width;
    let length = out.len() - content;
    let needed = varint_bytes(length as u64);
    if needed > width {
        out.resize(out.len() + needed - width, 0);
        out.copy_within(content..content + length, start + needed);
    } else if needed < width {
        out.copy_within(content.., start + needed);
        out.truncate(start + needed + length);
    }
    let mut rest = length;
    for (at, byte) in out[start..start + needed].iter_mut().enumerate() {
        *byte = (rest & 0x7f) as u8 | if at + 1 < needed { 0x80 } else { 0 };
        rest >>= 7;
    }
}

fn varint_bytes(value: u64) -> usize {
    (64 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(push: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        push(&mut out);
        out
    }

    #[test]
    fn integers_are_as_the_format_says() {
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            assert_eq!(written(|out| push_varint(out, value)), bytes, "{value}");
            assert_eq!(varint_bytes(value), bytes.len(), "{value}");
        }
        for (value, code) in [(0, 0), (-1, 1), (1, 2), (-2, 3), (i64::MAX, u64::MAX - 1), (i64::MIN, u64::MAX)] {
            assert_eq!(written(|out| push_zigzag(out, value)), written(|out| push_varint(out, code)), "{value}");
        }
    }

    #[test]
    fn a_length_that_was_guessed_wrong_moves_what_it_measures() {
        for length in [0_usize, 1, 127, 128, 16_383, 16_384, 2_097_152] {
            let content: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let exact = written(|out| {
                out.extend_from_slice(b"before\x22");
                push_varint(out, length as u64);
                out.extend_from_slice(&content);
            });
            for width in [SHORT, LONG, 5] {
                let guessed = written(|out| {
                    out.extend_from_slice(b"before");
                    push_nested(out, 4, width, |out| out.extend_from_slice(&content));
                });
                assert!(guessed == exact, "{length} bytes with {width} left for the length");
            }
        }
    }

    #[test]
    fn no_nan_says_more_than_that() {
        for bits in [0x7ff0_0000_0000_0002, 0x7ff8_0000_0000_0000, u64::MAX] {
            assert_eq!(written(|out| push_bits(out, f64::from_bits(bits))), NAN_BITS.to_le_bytes());
        }
        assert_eq!(written(|out| push_bits(out, -0.0)), (-0.0_f64).to_le_bytes());
    }
}
