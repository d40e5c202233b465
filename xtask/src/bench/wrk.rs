//! One run of wrk and the figures in what it prints.

use std::process::Command;

use crate::error::Error;

/// Each measurement's length, in seconds as wrk takes it.
const SECONDS: &str = "5s";

/// What one run of wrk found.
pub(crate) struct Load {
    pub(crate) requests_per_second: f64,
    /// From the request's first byte to the answer's last, µs.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Asks `url` over this many connections at a time, on a core of its own where there are two.
pub(crate) fn load(url: &str, connections: u32, core: Option<&str>) -> Result<Load, Error> {
    let mut command = match core {
        Some(core) => {
            let mut pinned = Command::new("taskset");
            pinned.args(["-c", core, "wrk"]);
            pinned
        }
        None => Command::new("wrk"),
    };
    command.args(["-t1", &format!("-c{connections}"), &format!("-d{SECONDS}"), "--latency", url]);
    let output = command.output().map_err(|source| Error::Start { command: "wrk".to_owned(), source })?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if said.contains("Non-2xx") || said.contains("Socket errors") {
        return Err(Error::Figure { tool: "wrk", figure: "run without errors", said });
    }
    let missing = |figure| Error::Figure { tool: "wrk", figure, said: said.clone() };
    Ok(Load {
        requests_per_second: after(&said, "Requests/sec:").and_then(|t| t.parse().ok()).ok_or(missing("rate"))?,
        p50_us: after(&said, "50%").and_then(micros).ok_or(missing("median"))?,
        p99_us: after(&said, "99%").and_then(micros).ok_or(missing("99th percentile"))?,
    })
}

/// The word that follows `label` at the start of a line.
fn after<'t>(text: &'t str, label: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim)
}

/// wrk's `12.00us`, `1.20ms` or `1.00s`.
fn micros(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    let (number, scale) = units.into_iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))?;
    Some(number.parse::<f64>().ok()? * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_wrk_prints() {
        let said = "  Latency Distribution\n     50%   79.00us\n     99%    1.25ms\nRequests/sec:  91234.56\n";
        assert_eq!(after(said, "Requests/sec:"), Some("91234.56"));
        assert_eq!(after(said, "50%").and_then(micros), Some(79.0));
        assert_eq!(after(said, "99%").and_then(micros), Some(1250.0));
        assert_eq!(micros("2.00s"), Some(2e6));
        assert_eq!(micros("fast"), None);
    }
}
