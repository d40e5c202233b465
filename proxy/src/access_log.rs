//! A line a request, and never more than the operator wants in a second: a flood of requests must not become one of lines.
//!
//! A line has the account, what was asked for, and what came of it. It is the operator's alone; tenants see none. Ids are there, tokens and
//! certificates never. Lines that were left out are counted, and the next line says so.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a line says.
#[derive(Debug, Clone)]
pub struct Line {
    pub account: Option<String>,
    pub from: Option<IpAddr>,
    /// The route, without what a client may write into it.
    pub route: &'static str,
    pub target: Option<uuid::Uuid>,
    pub status: u16,
    pub outcome: Option<&'static str>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct AccessLog {
    second: Mutex<Second>,
}

#[derive(Debug, Default)]
struct Second {
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl AccessLog {
    /// Writes a line, if there is room for one. `most` is the operator's figure, as it is now.
    pub fn write(&self, most: u32, line: &Line, bytes: u64, took: Duration, is_whole: bool) {
        let Some(left_out) = self.admit(most, Instant::now()) else { return };
        tracing::info!(
            target: "access",
            account = line.account.as_deref(),
            from = line.from.map(tracing::field::display),
            route = line.route,
            instance = line.target.map(tracing::field::display),
            status = line.status,
            outcome = line.outcome,
            bytes,
            ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            cut = !is_whole,
            left_out,
            "answered"
        );
    }

    /// How many were left out before this one, if there is room for it.
    fn admit(&self, most: u32, now: Instant) -> Option<u64> {
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        if second.began.is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1)) {
            second.began = Some(now);
            second.lines = 0;
        }
        if second.lines >= most {
            second.left_out += 1;
            return None;
        }
        second.lines += 1;
        Some(std::mem::take(&mut second.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_number_in_the_next_line() {
        let (log, now) = (AccessLog::default(), Instant::now());
        assert_eq!(log.admit(2, now), Some(0));
        assert_eq!(log.admit(2, now), Some(0));
        assert_eq!((log.admit(2, now), log.admit(2, now)), (None, None));
        assert_eq!(log.admit(2, now + Duration::from_secs(1)), Some(2));
        assert_eq!(log.admit(0, now + Duration::from_secs(5)), None);
    }
}
