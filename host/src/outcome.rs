//! What came of a run: what it used, what it logged, and its checked result.
//!
//! A runner reports an [`Outcome`]; [`Sensor::judge`](crate::Sensor::judge) turns it into a [`RunReport`]. Nothing that a runner says is taken at its
//! word: lines are bounded and escaped here again, figures are held to what the grant allows.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sonde_manifest::Limits;

use crate::check::Collected;
use crate::failure::RunFailure;
use crate::grant::Grant;
use crate::wire::Outcome;

/// A longer log line is cut: one line must not hide the others.
pub const LOG_LINE_BYTES: usize = 1024;

/// A line of a sensor's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub level: LogLevel,
    /// Control characters escaped, at most [`LOG_LINE_BYTES`] before that.
    pub message: String,
}

/// Severity, as the sensor gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

impl LogLevel {
    /// Lower case, as it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// What a run used, for the account and for the author.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// What the node's own calls cost included; all of the limit where the run trapped, since wasmtime does not say how much it was.
    pub fuel: u64,
    pub cpu: Duration,
    pub wall: Duration,
    pub memory_peak_bytes: u64,
    pub host_calls: u64,
    pub handles_peak: u64,
    pub sockets: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub log_bytes: u64,
    pub log_lines: u64,
    pub result_bytes: u64,
}

/// What came of a run.
#[derive(Debug)]
pub struct RunReport {
    pub result: Result<Collected, RunFailure>,
    pub usage: Usage,
    pub logs: Vec<LogLine>,
    /// Lines or parts of lines were over the limit and are missing.
    pub logs_cut: bool,
    /// State to keep; only from a run that succeeded and stored some.
    pub state: Option<Vec<u8>>,
}

impl RunReport {
    /// Of a run that never got to its end.
    pub fn failed(failure: RunFailure) -> Self {
        Self { result: Err(failure), usage: Usage::default(), logs: Vec::new(), logs_cut: false, state: None }
    }
}

impl Usage {
    /// The same, nothing of it more than a run under the grant can have used.
    fn within(self, grant: &Grant) -> Self {
        let limits = &grant.limits;
        Self {
            fuel: self.fuel.min(limits.fuel),
            // A run is ended after the poll in which it went over; no poll takes a minute.
            cpu: self.cpu.min(limits.wall + Duration::from_secs(60)),
            wall: self.wall.min(limits.wall + Duration::from_secs(60)),
            memory_peak_bytes: self.memory_peak_bytes.min(grant.memory_bytes),
            host_calls: self.host_calls.min(limits.host_calls),
            handles_peak: self.handles_peak.min(limits.handles),
            sockets: self.sockets.min(limits.sockets),
            bytes_in: self.bytes_in.min(limits.bytes_in),
            bytes_out: self.bytes_out.min(limits.bytes_out),
            log_bytes: self.log_bytes.min(limits.log_bytes),
            log_lines: self.log_lines.min(limits.log_lines),
            result_bytes: self.result_bytes,
        }
    }
}

/// An outcome without its result, held to the grant.
pub(crate) fn report(outcome: Outcome, grant: &Grant, result: Result<Collected, RunFailure>) -> RunReport {
    let result = result.map_err(RunFailure::tamed);
    let fits = |state: &serde_bytes::ByteBuf| grant.state && state.len() as u64 <= grant.limits.state_bytes;
    let state = outcome.state.filter(fits).filter(|_| result.is_ok()).map(serde_bytes::ByteBuf::into_vec);
    let (logs, cut) = bounded(outcome.logs, &grant.limits);
    RunReport { result, usage: outcome.usage.within(grant), logs, logs_cut: outcome.logs_cut || cut, state }
}

/// Lines within the limits, and whether any were over.
fn bounded(lines: Vec<LogLine>, limits: &Limits) -> (Vec<LogLine>, bool) {
    let mut left_bytes = limits.log_bytes as usize;
    let count = lines.len();
    let kept: Vec<LogLine> = lines
        .into_iter()
        .take(limits.log_lines as usize)
        .map_while(|line| {
            // Escaping makes a line longer, and the runner has escaped it already; unescaped it was shorter.
            let mut message = escaped(&line.message, LOG_LINE_BYTES * MOST_ESCAPED);
            message.truncate(message.floor_char_boundary(LOG_LINE_BYTES * MOST_ESCAPED));
            left_bytes = left_bytes.checked_sub(unescaped_bytes(&line.message))?;
            Some(LogLine { message, ..line })
        })
        .collect();
    let cut = kept.len() < count;
    (kept, cut)
}

/// The longest that one byte becomes: `\u{7f}` and its like. Of two bytes there are seven (`\u{61c}`), of three eight.
const MOST_ESCAPED: usize = 6;

/// At least so many bytes the guest must have written for this line.
fn unescaped_bytes(message: &str) -> usize {
    message.len() / MOST_ESCAPED
}

/// At most `most_bytes` of a text, with what could forge another line, a terminal's state or another order of reading escaped.
pub fn escaped(message: &str, most_bytes: usize) -> String {
    message[..message.floor_char_boundary(most_bytes)].chars().flat_map(escape).collect()
}

fn escape(c: char) -> impl Iterator<Item = char> {
    let escaped = deceives(c).then(|| c.escape_default());
    let plain = (!deceives(c)).then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

/// Control characters, separators of lines, and the marks that reorder what stands beside them (UAX #9, table 2).
fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_that_lies_is_held_to_the_limits() {
        let limits = Limits { log_lines: 2, log_bytes: 4096, ..Limits::default() };
        let line = |message: &str| LogLine { level: LogLevel::Info, message: message.into() };
        let (lines, cut) = bounded(vec![line("a\nb"), line("x\x1b[31m"), line("third")], &limits);
        assert!(cut);
        assert_eq!(lines.iter().map(|line| line.message.as_str()).collect::<Vec<_>>(), ["a\\nb", "x\\u{1b}[31m"]);
        let (lines, cut) = bounded(vec![line(&"x".repeat(1 << 20))], &limits);
        assert!(cut && lines.is_empty(), "more than all lines together may have");
    }

    #[test]
    fn nothing_reorders_a_line() {
        for code in [0x61c, 0x200e, 0x200f].into_iter().chain(0x2028..=0x202e).chain(0x2066..=0x2069) {
            let mark = char::from_u32(code).expect("they are characters");
            for said in [escaped(&format!("a{mark}b"), LOG_LINE_BYTES), crate::failure::tame(&format!("a{mark}b"))] {
                assert_eq!(said, format!("a\\u{{{code:x}}}b"));
                assert_eq!(escaped(&said, LOG_LINE_BYTES), said, "once is enough");
            }
        }
        assert_eq!(
            escaped("šòñdé 温度 \u{200d}", LOG_LINE_BYTES),
            "šòñdé 温度 \u{200d}",
            "what joins letters is a letter's"
        );
    }
}
