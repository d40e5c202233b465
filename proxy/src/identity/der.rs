//! Just enough of DER to take apart what a signature stands over, strictly.
//!
//! A certificate's fields are read by `x509-parser`; here are only the outer three of it, because what is verified must be the very bytes that came.
//! What is not the one encoding that DER allows (X.690 §10, §8.1.3) is refused: long forms of short lengths, indefinite lengths, high tags,
//! anything after the end.

/// Tags of X.690 that are asked for.
pub const SEQUENCE: u8 = 0x30;
pub const BIT_STRING: u8 = 0x03;
pub const INTEGER: u8 = 0x02;
pub const OCTET_STRING: u8 = 0x04;

/// A certificate of two length bytes at most is 64 KiB: longer ones are refused elsewhere, long before.
const MOST_LENGTH_BYTES: usize = 2;

/// One element: all of it, and its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    pub whole: &'a [u8],
    pub contents: &'a [u8],
}

/// Takes the next element, which must have this tag, off the front.
pub fn take<'a>(input: &mut &'a [u8], tag: u8) -> Option<Element<'a>> {
    let all = *input;
    let (&found, rest) = all.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x80 => return None,
        _ => {
            let count = usize::from(first & 0x7f);
            if count > MOST_LENGTH_BYTES {
                return None;
            }
            let (bytes, rest) = rest.split_at_checked(count)?;
            let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            // The shortest form alone is DER.
            if length < 0x80 || bytes[0] == 0 {
                return None;
            }
            (length, rest)
        }
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    *input = rest;
    (found == tag).then_some(Element { whole: &all[..all.len() - rest.len()], contents })
}

/// The one element of this tag that the input is.
pub fn only(mut input: &[u8], tag: u8) -> Option<Element<'_>> {
    let element = take(&mut input, tag)?;
    input.is_empty().then_some(element)
}

/// The bytes of a bit string, of which there must be whole ones.
pub fn whole_bits(bit_string: Element<'_>) -> Option<&[u8]> {
    match bit_string.contents.split_first()? {
        (0, bytes) => Some(bytes),
        _ => None,
    }
}

/// Writes an element.
pub fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut written = vec![tag];
    match contents.len() {
        length @ 0..=0x7f => written.push(length as u8),
        length => {
            let bytes = length.to_be_bytes();
            let skipped = bytes.iter().take_while(|byte| **byte == 0).count();
            written.push(0x80 | (bytes.len() - skipped) as u8);
            written.extend_from_slice(&bytes[skipped..]);
        }
    }
    written.extend_from_slice(contents);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_encoding_is_taken() {
        assert_eq!(only(&[0x30, 1, 7], SEQUENCE).map(|e| e.contents), Some(&[7][..]));
        for wrong in [
            &[][..],
            &[0x30],
            &[0x30, 1],
            &[0x31, 1, 7],
            &[0x30, 0x81, 1, 7],
            &[0x30, 0x82, 0, 1, 7],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x84, 0, 0, 0, 1, 7],
            &[0x30, 0xff],
            &[0x30, 1, 7, 0],
        ] {
            assert_eq!(only(wrong, SEQUENCE), None, "{wrong:x?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 127, 128, 255, 256, 65_535] {
            let written = element(SEQUENCE, &vec![7; length]);
            assert_eq!(only(&written, SEQUENCE).map(|e| e.contents.len()), Some(length));
        }
    }

    #[test]
    fn a_bit_string_of_parts_of_bytes_is_refused() {
        let bits = |contents: &'static [u8]| whole_bits(Element { whole: &[], contents });
        assert_eq!(bits(&[0, 7]), Some(&[7][..]));
        assert_eq!((bits(&[1, 7]), bits(&[])), (None, None));
    }
}
