//! Reading numbers out of kernel text, in one pass over the bytes and without a map.
//!
//! The kernel ends every line of these files with a newline. A last line without one is therefore a
//! line cut short (`usage_usec 128` of `128084`), and a cut number is worse than none: [`lines`] drops it.
//! A number that does not fit 64 bits, or has anything but digits in it, is no number.

/// The whole lines of `text`; what follows the last newline is not a line.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let whole = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// The fields of a line, as separated by blanks or tabs.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b' ' || *byte == b'\t').filter(|field| !field.is_empty())
}

/// A decimal number: digits only, at least one, at most 2^64-1.
pub fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// A decimal number with an optional minus.
pub fn signed(digits: &[u8]) -> Option<i64> {
    match digits.strip_prefix(b"-") {
        Some(rest) => number(rest).and_then(|value| 0i64.checked_sub_unsigned(value)),
        None => number(digits).and_then(|value| i64::try_from(value).ok()),
    }
}

/// A file of one number and a newline, as most cgroup files are.
pub fn single(text: &[u8]) -> Option<u64> {
    number(lines(text).next()?)
}

/// Lines of `key value`: hands each whole pair to `take` and passes over what is not one.
pub fn pairs<'a>(text: &'a [u8], mut take: impl FnMut(&'a [u8], u64)) {
    for line in lines(text) {
        let Some(blank) = line.iter().position(|byte| *byte == b' ') else {
            continue;
        };
        if let Some(value) = number(&line[blank + 1..]) {
            take(&line[..blank], value);
        }
    }
}

/// The value of the first whole line `key value` with this key.
pub fn value_of(text: &[u8], key: &[u8]) -> Option<u64> {
    lines(text).find_map(|line| number(line.strip_prefix(key)?.strip_prefix(b" ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_that_fit() {
        for (text, expected) in [
            (&b"0"[..], Some(0)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"", None),
            (b"-1", None),
            (b"12a", None),
            (b"max", None),
            (b"0000000000000000000000007", Some(7)),
        ] {
            assert_eq!(number(text), expected, "{:?}", String::from_utf8_lossy(text));
        }
        assert_eq!(signed(b"-1"), Some(-1));
        assert_eq!(signed(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(signed(b"9223372036854775808"), None);
    }

    #[test]
    fn a_line_cut_short_is_not_a_line() {
        let mut seen = Vec::new();
        pairs(b"a 1\nb 2\nc 3", |key, value| seen.push((key, value)));
        assert_eq!(seen, [(&b"a"[..], 1), (b"b", 2)]);
        assert_eq!(single(b"12"), None);
        assert_eq!(single(b"12\n"), Some(12));
        assert_eq!(lines(b"").count(), 0);
        assert_eq!(lines(b"\n\n").count(), 0);
    }
}
