//! Calls of the node cost fuel: what they cost the node, whatever little the guest computes for them.

use sonde_host::{Grant, RunReport};

use crate::peer::Peer;
use crate::{MUCH_FUEL, attempt, failed, seen};

/// What the runner asks for any call, for a connection, and for so many bytes: `ctx.rs` and `capability/`.
const CALL: u64 = 400;
const CONNECT: u64 = 150 * 5_000;
const BYTES_PER_FUEL: u64 = 1;

fn much(grant: &mut Grant) {
    grant.limits.fuel = MUCH_FUEL;
    grant.limits.host_calls = 100_000;
}

fn fuel(report: &RunReport) -> u64 {
    assert!(report.result.is_ok(), "{report:?}");
    report.usage.fuel
}

#[tokio::test]
async fn a_call_that_does_next_to_nothing() {
    let (few, many) = (attempt("calls", 1_000).under(much).await, attempt("calls", 51_000).under(much).await);
    let each = (fuel(&many) - fuel(&few)) as f64 / 50_000.0;
    assert!((CALL as f64..3.0 * CALL as f64).contains(&each), "{each} fuel a call");
}

#[tokio::test]
async fn calls_that_cost_more_than_the_fuel() {
    // Refused at once, so that all of it is the price.
    let one = attempt("sockets", 1).under(much).await;
    let of_the_guest = fuel(&one) - CONNECT;
    assert!(of_the_guest < CONNECT / 2, "{of_the_guest} are the guest's own");
    let report = attempt("sockets", 4).under(|grant| grant.limits.fuel = 5 * CONNECT).await;
    assert_eq!((seen(&report), fuel(&report) > 4 * CONNECT), (4.0, true));
    // Its own instructions, and all but one of its calls, would fit.
    let report = attempt("sockets", 4).under(|grant| grant.limits.fuel = 4 * CONNECT - 1).await;
    assert_eq!(failed(&report), ("fuel", format!("used up its {} fuel", 4 * CONNECT - 1)));
    assert_eq!(report.usage.fuel, 4 * CONNECT - 1);
}

/// The last call of a run is paid for though nothing comes after it.
#[tokio::test]
async fn a_run_pays_to_the_last() {
    let exact = fuel(&attempt("calls", 1_000).under(much).await);
    let limit = |fuel| move |grant: &mut Grant| grant.limits.fuel = fuel;
    assert_eq!(fuel(&attempt("calls", 1_000).under(limit(exact)).await), exact);
    assert_eq!(failed(&attempt("calls", 1_000).under(limit(exact - 1)).await).0, "fuel");
}

#[tokio::test]
async fn bytes_that_come_in() {
    const READ: usize = 60_000;
    let read = |bytes: usize| attempt("receive", READ).with(Peer::Speaks(vec![b'x'; bytes])).under(much);
    let (little, all) = (fuel(&read(10).await), fuel(&read(READ).await));
    let least = READ as u64 / BYTES_PER_FUEL;
    assert!(all - little >= least, "{} for {READ} bytes", all - little);
}

#[tokio::test]
async fn bytes_that_a_question_carries() {
    // The guest's own constant; beside the call it does nothing with them.
    const KEY: u64 = 40_000;
    let (few, many) =
        (attempt("long_questions", 10).under(much).await, attempt("long_questions", 110).under(much).await);
    let each = (fuel(&many) - fuel(&few)) / 100;
    let price = CALL + KEY / BYTES_PER_FUEL;
    assert!((price..2 * price).contains(&each), "{each} fuel a question");
}
