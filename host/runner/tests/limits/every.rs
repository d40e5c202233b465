//! One case for each limit: just within it nothing is missed, just over it the run fails, is told, or loses what is too much.
//!
//! All other limits are as high as any manifest may set them, so it is this one that is at work. A limit more in [`Limits`] does not compile
//! here, until it has its case.

use std::collections::BTreeSet;
use std::time::Duration;

use sonde_host::{Churn, Grant, RunReport};
use sonde_manifest::Limits;

use crate::peer::Peer;
use crate::{Attempt, SOON, attempt, collected, failed, seen};

/// What being over a limit comes to.
enum Over {
    /// The run fails, with this reason.
    Fails(&'static str),
    /// The guest is refused, goes on, and sees this.
    Sees(f64),
    /// So many series are left out.
    Drops(u64),
    /// Log lines are left out.
    CutsTheLog,
}

struct Case {
    limit: &'static str,
    value: u64,
    within: fn() -> Attempt,
    over: fn() -> Attempt,
    then: Over,
}

const fn case(limit: &'static str, value: u64, within: fn() -> Attempt, over: fn() -> Attempt, then: Over) -> Case {
    Case { limit, value, within, over, then }
}

/// All that are numbers, and `wall` in milliseconds.
const CASES: [Case; Limits::NUMBERS + 1] = [
    case("fuel", 1_000_000, || attempt("work", 1_000), || attempt("work", 1_000_000), Over::Fails("fuel")),
    case("cpu_ms", 50, || attempt("work", 1_000), || attempt("spin", 0), Over::Fails("cpu")),
    case("wall", 1_000, || attempt("nothing", 0), || attempt("wait", 0).with(Peer::Silent), Over::Fails("deadline")),
    case("boundary_bytes", 10_000, || attempt("state", 10_000), || attempt("state", 10_001), Over::Fails("boundary")),
    case("host_calls", 100, || attempt("calls", 97), || attempt("calls", 98), Over::Fails("host_calls")),
    case("series", 10, || attempt("series", 10), || attempt("series", 25), Over::Drops(15)),
    case("labels", 5, || attempt("labels", 5), || attempt("labels", 6), Over::Fails("output")),
    case("label_name_bytes", 9, || attempt("label_name", 9), || attempt("label_name", 10), Over::Fails("output")),
    case("label_value_bytes", 9, || attempt("label_value", 9), || attempt("label_value", 10), Over::Fails("output")),
    case("families", 10, || attempt("families", 10), || attempt("families", 11), Over::Fails("output")),
    case("result_bytes", 1_000, || attempt("series", 10), || attempt("series", 100), Over::Fails("result")),
    case("new_series_per_hour", 6, || attempt("series", 10), || attempt("series", 11), Over::Drops(1)),
    case("handles", 8, || holding(8), || holding(9), Over::Fails("handles")),
    case("log_bytes", 160, || attempt("log_lines", 10), || attempt("log_lines", 11), Over::CutsTheLog),
    case("log_lines", 10, || attempt("log_lines", 10), || attempt("log_lines", 11), Over::CutsTheLog),
    case("sockets", 4, || holding(4), || holding(5), Over::Sees(4.0)),
    case("state_bytes", 1_000, || attempt("state", 1_000), || attempt("state", 1_001), Over::Sees(0.0)),
    case("bytes_in", 1_000, || receiving(1_000), || receiving(1_001), Over::Sees(1_000.0)),
    case("bytes_out", 1_000, || sending(1_000), || sending(1_001), Over::Sees(0.0)),
];

fn holding(connections: usize) -> Attempt {
    attempt("hold", connections).with(Peer::Silent)
}

fn receiving(bytes: usize) -> Attempt {
    attempt("receive", 300).with(Peer::Speaks(vec![b'x'; bytes]))
}

fn sending(bytes: usize) -> Attempt {
    attempt("send", bytes).with(Peer::Silent)
}

impl Case {
    fn limit(&self, grant: &mut Grant) {
        grant.limits = Limits { fuel: u64::MAX, wall: SOON, ..Limits::CEILING };
        if self.limit == "wall" {
            grant.limits.wall = Duration::from_millis(self.value);
            return;
        }
        let mut fields = grant.limits.fields_mut().into_iter();
        *fields.find(|(name, _)| *name == self.limit).expect("every case names a limit").1 = self.value;
    }

    /// After a run of four series, so that what comes is new.
    async fn run(&self, attempted: fn() -> Attempt) -> RunReport {
        let mut churn = Churn::default();
        let before = attempt("series", 4).under_after(|_| {}, &mut churn).await;
        assert_eq!(collected(&before).series, 4);
        attempted().under_after(|grant| self.limit(grant), &mut churn).await
    }

    async fn check(&self) {
        let limit = self.limit;
        let within = self.run(self.within).await;
        assert!(within.result.is_ok() && !within.logs_cut, "{limit}: {within:?}");
        assert_eq!(collected(&within).series_dropped, 0, "{limit}");
        let over = self.run(self.over).await;
        match self.then {
            Over::Fails(reason) => assert_eq!(failed(&over).0, reason, "{limit}"),
            Over::Sees(what) => {
                assert_eq!(seen(&over), what, "{limit}");
                let amount = (self.within)().amount as f64;
                assert!([1.0, amount, self.value as f64].contains(&seen(&within)), "{limit}: {within:?}");
            }
            Over::Drops(series) => assert_eq!(collected(&over).series_dropped, series, "{limit}"),
            Over::CutsTheLog => assert!(over.result.is_ok() && over.logs_cut, "{limit}: {over:?}"),
        }
    }
}

#[test]
fn every_limit_has_a_case() {
    let named: BTreeSet<&str> = CASES.iter().map(|case| case.limit).collect();
    let numbers = Limits::default().fields().map(|(name, _)| name);
    assert_eq!(named, numbers.into_iter().chain(["wall"]).collect());
}

#[tokio::test]
async fn within_and_over() {
    for case in &CASES {
        case.check().await;
    }
}
