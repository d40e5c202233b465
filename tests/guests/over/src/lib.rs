//! A guest that goes over one limit of a run: `what` says which, `amount` by how much. The node's own tests of its limits run it
//! with limits that they choose. What it saw of a refusal that it survives comes back as the gauge `over_seen`.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sonde_sensor::raw::types::Number;
use sonde_sensor::stream::{Connection, Error};
use sonde_sensor::{Batch, Description, Failure, Kind, Reason, Sensor, clock, config, http, log, state, tcp};

/// Longer than any run.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// More than a small sensor's memory.
const TOO_MUCH_BYTES: usize = 64 << 20;
const BLOCK_BYTES: usize = 1 << 20;
/// Of a configuration key that is not there.
const LONG_KEY_BYTES: usize = 40_000;

/// Lives as long as the memory of one run.
static RUNS: AtomicU64 = AtomicU64::new(0);

/// The guest.
pub struct Over;

impl Sensor for Over {
    const DESCRIPTION: Description = Description::Dynamic;

    fn collect(out: &mut Batch) -> Result<(), Failure> {
        let amount = usize::try_from(config::integer("amount")?).unwrap_or(0);
        let port = config::port("port")?;
        match config::text("what")?.as_str() {
            "nothing" => seen(out, 0),
            "spin" => spin(),
            "work" => seen(out, work(amount as u64) as usize),
            "recurse" => seen(out, recurse(amount as u64) as usize),
            "grow" => grow(),
            "refused" => seen(out, usize::from(!had(TOO_MUCH_BYTES))),
            "refused_then_called_then_panicked" => {
                assert!(had(TOO_MUCH_BYTES) || clock::now().is_zero(), "gone on");
            }
            "refused_then_grown_then_panicked" => assert!(had(TOO_MUCH_BYTES) || !had(BLOCK_BYTES), "gone on"),
            "calls" => {
                for _ in 0..amount {
                    black_box(clock::now());
                }
                seen(out, amount);
            }
            "long_questions" => {
                let key = "k".repeat(LONG_KEY_BYTES);
                seen(out, (0..amount).filter(|_| config::get(&key).is_none()).count());
            }
            "series" => many(out, amount),
            "families" => families(out, amount),
            "labels" => labelled(out, (0..amount).map(|at| ["l", &at.to_string()].concat()).collect(), "v"),
            "label_name" => labelled(out, vec!["n".repeat(amount)], "v"),
            "label_value" => labelled(out, vec!["l".to_owned()], &"v".repeat(amount)),
            "log_lines" => {
                for _ in 0..amount {
                    log::info("sixteen letters.");
                }
            }
            // Also far more across the boundary than a call may carry, where the amount is large.
            "log_line" => log::info(&"x".repeat(amount)),
            "count" => seen(out, RUNS.fetch_add(1, Ordering::Relaxed) as usize),
            "state" => seen(out, usize::from(state::store(&vec![7; amount]))),
            "state_then_fail" => {
                let stored = state::store(&vec![7; amount]);
                return Err(Failure::new(Reason::Other, if stored { "stored" } else { "not stored" }));
            }
            "state_loaded" => seen(out, state::load().len()),
            what => return network(out, what, port, amount),
        }
        Ok(())
    }
}

fn network(out: &mut Batch, what: &str, port: u16, amount: usize) -> Result<(), Failure> {
    match what {
        "wait" => wait(tcp::connect_within(port, FOR_EVER)?),
        "sockets" => {
            let opened = (0..amount).map(|_| tcp::connect(port)).filter(|connected| !denied(connected)).count();
            seen(out, opened);
        }
        "hold" => {
            let held: Vec<Connection> = (0..amount).filter_map(|_| tcp::connect(port).ok()).collect();
            seen(out, black_box(held).len());
        }
        // One after another, each given back.
        "reconnect" => seen(out, (0..amount).filter(|_| tcp::connect(port).is_ok()).count()),
        "receive" => {
            let mut connection = tcp::connect(port)?;
            let mut received = 0;
            // Ends by the peer's end, or by a refusal.
            while let Ok(bytes) = connection.receive(amount) {
                if bytes.is_empty() {
                    break;
                }
                received += bytes.len();
            }
            seen(out, received);
        }
        "send" => {
            let mut connection = tcp::connect(port)?;
            seen(out, usize::from(!denied(&connection.send(&vec![7; amount]))));
        }
        "fetch" => {
            let most = u32::try_from(amount).unwrap_or(u32::MAX);
            let response = http::get(port, "/").max_body_bytes(most).send()?;
            seen(out, response.body.len());
            if response.truncated {
                log::info("truncated");
            }
        }
        "fetch_from_user" => drop(http::get(port, "/").host("user@host").send()?),
        "fetch_from_long_host" => drop(http::get(port, "/").host(&"h".repeat(256)).send()?),
        other => return Err(Failure::misconfigured(["there is no ", other].concat())),
    }
    Ok(())
}

fn denied<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Denied(_)))
}

/// Reads until it is stopped; its own limit of time never ends it.
fn wait(mut connection: Connection) {
    connection.set_timeout(FOR_EVER);
    loop {
        black_box(connection.receive(1).is_ok());
    }
}

fn spin() {
    let mut number = 0_u64;
    loop {
        number = black_box(number.wrapping_add(1));
    }
}

/// So many turns of a loop, a few instructions each.
fn work(turns: u64) -> u64 {
    (0..turns).fold(0, |sum, turn| black_box(sum ^ turn))
}

/// As deep as `left`, on the stack of the machine: nothing of a frame is in memory.
fn recurse(left: u64) -> u64 {
    if left == 0 { 1 } else { recurse(left - 1).rotate_left(3).wrapping_sub(left) }
}

/// Until an allocation fails and Rust aborts.
fn grow() {
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        held.push(black_box(Vec::with_capacity(BLOCK_BYTES)));
    }
}

/// Whether so much memory was to be had; it is given back.
fn had(bytes: usize) -> bool {
    black_box(Vec::<u8>::new()).try_reserve_exact(black_box(bytes)).is_ok()
}

fn sample(family: u32, label_values: Vec<String>, value: usize) -> Number {
    Number { family, label_values, value: value as f64, start_time: None }
}

fn seen(out: &mut Batch, value: usize) {
    let family = out.declare("over_seen", Kind::Gauge, "What the guest saw.", "", Vec::new());
    out.records().numbers.push(sample(family.0, Vec::new(), value));
}

fn many(out: &mut Batch, amount: usize) {
    let family = out.declare("over_many", Kind::Gauge, "Too many.", "", vec!["number".to_owned()]);
    let samples = (0..amount).map(|at| sample(family.0, vec![at.to_string()], at));
    out.records().numbers.extend(samples);
}

fn families(out: &mut Batch, amount: usize) {
    for at in 0..amount {
        let family = out.declare(&["over_family_", &at.to_string()].concat(), Kind::Gauge, "", "", Vec::new());
        out.records().numbers.push(sample(family.0, Vec::new(), at));
    }
}

fn labelled(out: &mut Batch, names: Vec<String>, value: &str) {
    let values = vec![value.to_owned(); names.len()];
    let family = out.declare("over_labelled", Kind::Gauge, "Labels beyond measure.", "", names);
    out.records().numbers.push(sample(family.0, values, 1));
}

sonde_sensor::export!(Over);
