//! `snmp` and `netstat` in one pass over their values: which column is which is found out once a header, not once a reading.
//!
//! A header is two thousand bytes that say the same each time, and the same in every namespace; taking it apart costs 9 µs,
//! comparing it with the one of before a twentieth. So whoever reads keeps the headers it has seen. They are the kernel's own and
//! there are nine of them; one of these (`IcmpMsg`) changes as it goes, so there is a bound, and at the bound all are learnt anew.

use super::{Field, Transport, prefix};
use crate::bytes;

/// Headers kept: what two files have, and some forms of the one that changes.
const HEADERS_MAX: usize = 16;

/// The headers that were seen.
#[derive(Debug, Default)]
pub struct Headers(Vec<Header>);

#[derive(Debug)]
struct Header {
    /// With its newline.
    line: Box<[u8]>,
    /// Up to the colon.
    prefix: usize,
    fields: usize,
    /// The wanted columns, in the order of the line: at which field, and where its value goes.
    wanted: Vec<(usize, Field)>,
}

impl Headers {
    /// `snmp` or `netstat` into `transport`. A negative value (`MaxConn`) or one that does not fit is absent. A pair of lines that do
    /// not have the same prefix and as many fields each is no pair: its columns cannot be told apart, and none is given.
    pub fn parse(&mut self, text: &[u8], transport: &mut Transport) {
        // What follows the last newline is a line that was cut.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut rest = &text[..whole];
        while !rest.is_empty() {
            let Some(at) = self.0.iter().position(|header| rest.starts_with(&header.line)).or_else(|| self.learn(rest))
            else {
                rest = after_line(rest);
                continue;
            };
            let header = &self.0[at];
            rest = &rest[header.line.len()..];
            // A header whose values were cut off must not take the next header for them.
            if rest.get(..=header.prefix) == Some(&header.line[..=header.prefix]) {
                let values = rest;
                rest = after_line(rest);
                header.take(&values[..values.len() - rest.len()], transport);
            }
        }
    }

    /// Takes the first line for a header if the second has its prefix.
    fn learn(&mut self, text: &[u8]) -> Option<usize> {
        let next = after_line(text);
        let line = &text[..text.len() - next.len()];
        let prefix = prefix(line)?;
        if next.get(..=prefix.len()) != Some(&line[..=prefix.len()]) {
            return None;
        }
        if self.0.len() >= HEADERS_MAX {
            self.0.clear();
        }
        let names = bytes::fields(line.trim_ascii_end()).enumerate();
        let wanted = names.filter_map(|(at, name)| Some((at, Transport::field(prefix, name)?))).collect();
        let fields = bytes::fields(line.trim_ascii_end()).count();
        self.0.push(Header { line: line.into(), prefix: prefix.len(), fields, wanted });
        Some(self.0.len() - 1)
    }
}

impl Header {
    fn take(&self, values: &[u8], transport: &mut Transport) {
        if self.wanted.is_empty() {
            return;
        }
        // How many there are shows only at the end, and with too few or too many none counts.
        let before = *transport;
        let (mut wanted, mut fields) = (self.wanted.iter().peekable(), 0);
        for value in bytes::fields(values.trim_ascii_end()) {
            if let Some((_, field)) = wanted.next_if(|(wanted, _)| *wanted == fields) {
                *field(transport) = bytes::number(value);
            }
            fields += 1;
        }
        if fields != self.fields {
            *transport = before;
        }
    }
}

/// What comes after the first line.
fn after_line(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| at + 1);
    &text[end..]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"Tcp: MaxConn ActiveOpens\nTcp: -1 5\nTcpExt: ListenDrops\nTcpExt: 7\n";

    fn parsed(headers: &mut Headers, text: &[u8]) -> (Option<u64>, Option<u64>) {
        let mut transport = Transport::default();
        headers.parse(text, &mut transport);
        (transport.tcp.activeopens, transport.tcp.listendrops)
    }

    #[test]
    fn a_header_is_learnt_once_and_another_one_is_another() {
        let mut headers = Headers::default();
        for _ in 0..3 {
            assert_eq!(parsed(&mut headers, TEXT), (Some(5), Some(7)));
            assert_eq!(headers.0.len(), 2);
        }
        // The same prefix with columns elsewhere, or with one more that begins alike.
        assert_eq!(parsed(&mut headers, b"Tcp: ActiveOpens MaxConn\nTcp: 8 9\n"), (Some(8), None));
        assert_eq!(parsed(&mut headers, b"Tcp: MaxConn ActiveOpens New\nTcp: 1 2 3\n"), (Some(2), None));
        assert_eq!(parsed(&mut headers, TEXT), (Some(5), Some(7)));
        // Known or not, without values it gives none, and takes none from the next.
        assert_eq!(
            parsed(&mut headers, b"Tcp: MaxConn ActiveOpens\nTcpExt: ListenDrops\nTcpExt: 7\n"),
            (None, Some(7))
        );
        assert_eq!(parsed(&mut headers, b"Tcp: MaxConn ActiveOpens\nTcp: 1\n"), (None, None));
    }

    #[test]
    fn headers_are_bounded() {
        let mut headers = Headers::default();
        for n in 0..10 * HEADERS_MAX {
            parsed(&mut headers, format!("IcmpMsg: InType{n}\nIcmpMsg: 1\n").as_bytes());
            assert!(headers.0.len() <= HEADERS_MAX);
            assert_eq!(parsed(&mut headers, TEXT), (Some(5), Some(7)));
        }
    }
}
