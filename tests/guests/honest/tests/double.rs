//! The good neighbour really is good.

use guest_honest::Honest;
use sonde_sensor::testing::{Instance, collect};

#[test]
fn it_counts_from_run_to_run() {
    let first = collect::<Honest>(Instance::new().now(1500)).unwrap();
    assert_eq!(first.value("honest_runs_total", &[]), Some(1.0));
    assert_eq!(first.value("honest_time_seconds", &[]), Some(1.5));
    let second = collect::<Honest>(Instance::new().state(first.state)).unwrap();
    assert_eq!(second.value("honest_runs_total", &[]), Some(2.0));
}
