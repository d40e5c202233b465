//! Numbers as text: how values, bounds and quantiles are spelt.
//!
//! Values are written to be read by people and by every parser: integers as integers, floats with the
//! fewest digits that read back as the same float, an exponent only where plain digits would be long.
//! Bounds (`le`) and quantiles are label *values*, so their spelling is part of a series' identity:
//! they follow what Go's `%g` gives in text, and OpenMetrics' canonical form (`1.0`) there, so that a
//! series keeps its name whoever exposes it.

use std::io::{Cursor, Write as _};

use crate::model::Number;

/// From here on plain digits of a value give way to an exponent: what 64 bits of integer cannot reach.
const PLAIN_BELOW: f64 = 1e21;
/// Below this magnitude a value is written with an exponent.
const PLAIN_FROM: f64 = 1e-5;
/// Up to here every integral float is exact, and is written as an integer.
const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;
/// Go's `strconv` with format `g` and the shortest precision writes plain digits from this decimal exponent…
const GO_PLAIN_FROM: i32 = -4;
/// …to under this one: `100000`, then `1e+06`.
const GO_PLAIN_BELOW: i32 = 6;
/// Room for the shortest form of any float in scientific notation (24 bytes) and more.
const SCIENTIFIC_BYTES: usize = 32;

/// Appends a value.
pub(crate) fn push_number(out: &mut Vec<u8>, number: Number) {
    match number {
        Number::Float(value) => push_float(out, value),
        Number::Unsigned(value) => push_unsigned(out, value),
        Number::Signed(value) => {
            if value < 0 {
                out.push(b'-');
            }
            push_unsigned(out, value.unsigned_abs());
        }
    }
}

/// Appends decimal digits.
fn push_unsigned(out: &mut Vec<u8>, mut value: u64) {
    const DIGITS: usize = 20; // of u64::MAX
    let mut digits = [0_u8; DIGITS];
    let mut at = DIGITS;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).expect("a digit is under 10");
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends NaN or an infinity; false if `value` is neither.
fn push_special(out: &mut Vec<u8>, value: f64) -> bool {
    let word: &[u8] = if value.is_nan() {
        b"NaN"
    } else if value == f64::INFINITY {
        b"+Inf"
    } else if value == f64::NEG_INFINITY {
        b"-Inf"
    } else {
        return false;
    };
    out.extend_from_slice(word);
    true
}

/// Appends a float as a value.
pub(crate) fn push_float(out: &mut Vec<u8>, value: f64) {
    if push_special(out, value) {
        return;
    }
    let magnitude = value.abs();
    if magnitude <= EXACT_INTEGERS && value.fract() == 0.0 {
        if value.is_sign_negative() {
            out.push(b'-');
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "integral, not negative and under 2^53"
        )]
        push_unsigned(out, magnitude as u64);
    } else if (PLAIN_FROM..PLAIN_BELOW).contains(&magnitude) {
        write!(out, "{value}").expect("a Vec takes every write");
    } else {
        write!(out, "{value:e}").expect("a Vec takes every write");
    }
}

/// Appends a bound or a quantile as Go's `%g` spells it; `canonical` adds `.0` to what looks like an integer.
pub(crate) fn push_label_float(out: &mut Vec<u8>, value: f64, canonical: bool) {
    if push_special(out, value) {
        return;
    }
    let mut scientific = [0_u8; SCIENTIFIC_BYTES];
    let mut cursor = Cursor::new(&mut scientific[..]);
    write!(cursor, "{:e}", value.abs()).expect("the shortest form of a float is at most 24 bytes");
    let length = usize::try_from(cursor.position()).expect("at most 32");
    let text = std::str::from_utf8(&scientific[..length]).expect("digits are ASCII");
    let (mantissa, exponent) = text.split_once('e').expect("scientific notation has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is an integer");
    if value.is_sign_negative() {
        out.push(b'-');
    }
    if !(GO_PLAIN_FROM..GO_PLAIN_BELOW).contains(&exponent) {
        push_scientific(out, mantissa, exponent);
        return;
    }
    let start = out.len();
    write!(out, "{}", value.abs()).expect("a Vec takes every write");
    if canonical && !out[start..].contains(&b'.') {
        out.extend_from_slice(b".0");
    }
}

/// Appends mantissa and exponent as Go does: a sign always, and at least two digits.
fn push_scientific(out: &mut Vec<u8>, mantissa: &str, exponent: i32) {
    out.extend_from_slice(mantissa.as_bytes());
    out.push(b'e');
    out.push(if exponent < 0 { b'-' } else { b'+' });
    write!(out, "{:02}", exponent.unsigned_abs()).expect("a Vec takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_short_and_exact() {
        for (number, expected) in [
            (Number::Unsigned(0), "0"),
            (Number::Unsigned(u64::MAX), "18446744073709551615"),
            (Number::Signed(i64::MIN), "-9223372036854775808"),
            (Number::Float(0.0), "0"),
            (Number::Float(-0.0), "-0"),
            (Number::Float(1.0), "1"),
            (Number::Float(-12345678.0), "-12345678"),
            (Number::Float(0.1), "0.1"),
            (Number::Float(1234567.25), "1234567.25"),
            (Number::Float(1e20), "100000000000000000000"),
            (Number::Float(1e21), "1e21"),
            (Number::Float(0.00001), "0.00001"),
            (Number::Float(0.000001), "1e-6"),
            (Number::Float(f64::MAX), "1.7976931348623157e308"),
            (Number::Float(5e-324), "5e-324"),
            (Number::Float(f64::NAN), "NaN"),
            (Number::Float(f64::INFINITY), "+Inf"),
            (Number::Float(f64::NEG_INFINITY), "-Inf"),
        ] {
            let written = text(|out| push_number(out, number));
            assert_eq!(written, expected);
            let (read, meant) = (written.parse::<f64>().unwrap(), number.as_f64());
            assert!(read.to_bits() == meant.to_bits() || (read.is_nan() && meant.is_nan()), "{written}");
        }
    }

    #[test]
    fn bounds_are_spelt_as_go_and_openmetrics_do() {
        for (value, plain, canonical) in [
            (0.0, "0", "0.0"),
            (1.0, "1", "1.0"),
            (-1.0, "-1", "-1.0"),
            (0.5, "0.5", "0.5"),
            (0.0001, "0.0001", "0.0001"),
            (0.00001, "1e-05", "1e-05"),
            (100_000.0, "100000", "100000.0"),
            (1_000_000.0, "1e+06", "1e+06"),
            (1_048_576.0, "1.048576e+06", "1.048576e+06"),
            (1e100, "1e+100", "1e+100"),
            (5e-324, "5e-324", "5e-324"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
        ] {
            assert_eq!(text(|out| push_label_float(out, value, false)), plain);
            assert_eq!(text(|out| push_label_float(out, value, true)), canonical);
        }
    }
}
