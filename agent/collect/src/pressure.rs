//! Pressure stall information: `cpu.pressure` and its like in a cgroup2 directory, `/proc/pressure/*`
//! for the node (kernel's Documentation/accounting/psi.rst).
//!
//! Only the totals are kept: averages over windows of the kernel's choosing cannot be summed or
//! compared, and a rate over the total says the same better.

use crate::bytes;
use crate::reading::Stall;

/// Parses a pressure file: lines `some …` and `full …`, each ending in `total=<microseconds>`.
pub fn parse(text: &[u8]) -> Option<Stall> {
    let mut some_us = None;
    let mut full_us = None;
    for line in bytes::lines(text) {
        let mut fields = bytes::fields(line);
        let slot = match fields.next() {
            Some(b"some") => &mut some_us,
            Some(b"full") => &mut full_us,
            _ => continue,
        };
        *slot = fields.find_map(|field| field.strip_prefix(b"total=")).and_then(bytes::number);
    }
    some_us.map(|some_us| Stall { some_us, full_us })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let stall = |some_us, full_us| Some(Stall { some_us, full_us });
        for (text, expected) in [
            (
                "some avg10=44.79 avg60=16.06 avg300=3.85 total=12597046\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=12594611\n",
                stall(12_597_046, Some(12_594_611)),
            ),
            ("some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n", stall(5, None)),
            ("some avg10=0.00 total=18446744073709551615\n", stall(u64::MAX, None)),
            ("some avg10=0.00 total=18446744073709551616\n", None),
            ("some avg10=0.00 avg60=0.00 avg300=0.00 total=125", None),
            ("full avg10=0.00 total=5\n", None),
            ("some\n", None),
            ("", None),
            ("garbage\n", None),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
        }
    }
}
