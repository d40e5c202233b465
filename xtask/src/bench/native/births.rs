//! From the birth of an instance to its first exposition, and from its death to its last: on a node without others, and on one with a
//! thousand.
//!
//! A birth is its first process's entry into its cgroups, a death the removal of these. Each is asked about without a pause until the answer is
//! the one expected, so a figure is late by the time of one request at most.

use std::path::Path;
use std::time::{Duration, Instant};

use sonde_tests::{Fleet, Sonde, eventually};

use crate::workspace::say;

/// Instances that are made and removed, one after the other, for one pair of figures.
const BIRTHS: usize = 100;
/// Others on the node.
const OTHERS: [usize; 2] = [0, 1000];
const FOUND: Duration = Duration::from_secs(60);
/// By then it is not late but missed.
const NOTICED: Duration = Duration::from_secs(10);
/// Between two births, so that each is an event of its own.
const APART: Duration = Duration::from_millis(20);

pub(super) fn bench(sonde: &Path) {
    println!("\nfrom an event to what is served, ms, {BIRTHS} of each");
    println!("{:<26} {:>8} {:>8} {:>8}", "", "p50", "p99", "most");
    for others in OTHERS {
        say(&format!("births and deaths beside {others} others"));
        let beside = Fleet::of(others);
        let sonde = Sonde::configure().binary(sonde).up();
        if let Some(last) = beside.ids().last() {
            eventually("all others found", FOUND, || match status(&sonde, last) {
                200 => Ok(()),
                other => Err(format!("the last is answered with {other}")),
            });
        }
        let (mut births, mut deaths) = (Vec::new(), Vec::new());
        let mut fleet = Fleet::of(0);
        for _ in 0..BIRTHS {
            std::thread::sleep(APART);
            let id = fleet.add();
            births.push(until(&sonde, &id, 200));
            fleet.remove();
            deaths.push(until(&sonde, &id, 503));
        }
        row(&format!("birth, beside {others}"), births);
        row(&format!("death, beside {others}"), deaths);
    }
}

/// How long until the instance is answered with this status.
fn until(sonde: &Sonde, id: &str, wanted: u16) -> f64 {
    let began = Instant::now();
    loop {
        let now = status(sonde, id);
        if now == wanted {
            return began.elapsed().as_secs_f64() * 1e3;
        }
        assert!(began.elapsed() < NOTICED, "{id} is answered with {now}, not {wanted}, after {NOTICED:?}");
    }
}

fn status(sonde: &Sonde, id: &str) -> u16 {
    sonde.get(&format!("/v1/{id}/metrics")).status
}

fn row(name: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    let at = |part: f64| values[((values.len() - 1) as f64 * part).round() as usize];
    println!("{name:<26} {:>8.1} {:>8.1} {:>8.1}", at(0.5), at(0.99), at(1.0));
}
