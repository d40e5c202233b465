//! Guests by chance: thousands of them, each of which may be refused or fail and may do nothing else.
//!
//! The seed is printed; a round's own seed is the first one's plus its number, so one round can be had again alone.
//! `SONDE_FUZZ_ROUNDS` and `SONDE_FUZZ_SEED` choose others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use sonde_hostile::{Peer, random};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cases::{neighbour, runtime, sandbox};
use crate::outcome::{self, precheck};

const ROUNDS: u64 = 2_000;
const SEED: u64 = 0x50de;
/// As many at once as a small node has processors.
const AT_ONCE: usize = 2;
/// A single one: loading, and a run of 200 ms.
const LONGEST: Duration = Duration::from_secs(20);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("chance::modules", || {
            Ok(runtime().block_on(rounds("modules", |seed| random::module(seed).unwrap_or_default()))?)
        }),
        Trial::test("chance::mutations", || {
            let seeds = random::seeds();
            Ok(runtime().block_on(rounds("mutations", move |seed| random::mutated(seed, &seeds)))?)
        }),
        Trial::test("chance::prechecks", || {
            let seeds = random::seeds();
            // Only that it answers: a panic is the failure.
            (0..10 * number("SONDE_FUZZ_ROUNDS", ROUNDS)).for_each(|round| {
                let _ = precheck(&random::mutated(number("SONDE_FUZZ_SEED", SEED) + round, &seeds));
            });
            Ok(())
        }),
    ]
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|given| given.parse().ok()).unwrap_or(otherwise)
}

/// How many ended in which way: the stage that refused, the reason of a failure, or success.
type Tally = BTreeMap<&'static str, u64>;

async fn rounds(what: &str, make: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static) -> Result<(), String> {
    let (first, count) = (number("SONDE_FUZZ_SEED", SEED), number("SONDE_FUZZ_ROUNDS", ROUNDS));
    println!("{what}: {count} rounds from seed {first}");
    let make = Arc::new(make);
    let (mut running, mut tally) = (JoinSet::new(), Tally::default());
    for round in 0..count {
        if running.len() == AT_ONCE {
            judge(running.join_next().await, &mut tally)?;
        }
        let make = make.clone();
        running.spawn(async move {
            let seed = first + round;
            let ended = timeout(LONGEST, tokio::spawn(one(make(seed)))).await;
            match ended {
                Err(_) => Err(format!("seed {seed} hangs")),
                Ok(Err(panic)) => Err(format!("seed {seed} panics: {panic}")),
                Ok(Ok(ended)) => ended.map_err(|why| format!("seed {seed}: {why}")),
            }
        });
    }
    while !running.is_empty() {
        judge(running.join_next().await, &mut tally)?;
    }
    println!("{what}: {tally:?}");
    neighbour().await
}

type Ended = Result<&'static str, String>;

fn judge(ended: Option<Result<Ended, tokio::task::JoinError>>, tally: &mut Tally) -> Result<(), String> {
    let Some(ended) = ended else { return Ok(()) };
    *tally.entry(ended.map_err(|error| error.to_string())??).or_default() += 1;
    Ok(())
}

/// How it ended, in a word.
async fn one(bytes: Vec<u8>) -> Ended {
    let loaded: outcome::Guest = match sandbox().load(bytes).await {
        Ok(loaded) => loaded,
        Err(refused) if refused.stage == "engine" => {
            return Err(format!("the node is at fault: {}", refused.says));
        }
        Err(refused) => return Ok(refused.stage),
    };
    let outcome = loaded.run(Peer::Absent, &[], Vec::new()).await;
    match outcome.failed {
        Some("internal" | "start") => Err(format!("the node is at fault: {}", outcome.says)),
        failed => Ok(failed.unwrap_or("succeeded")),
    }
}
