//! What only shows over many runs: what a storm costs, what a run that is cut off leaves, and what the process holds after all of it.

use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use sonde_hostile::{Guest, corpus};

use crate::cases::{case, neighbour, runtime, sandbox};

/// Runs of the storm, and what each may cost in time on the CPU: an unoptimised host is several times slower than the product.
const STORM: u32 = 1_000;
const TRAP_COST: Duration = Duration::from_millis(2);
/// Runs that are cut off, after so many microseconds more each time.
const CUT_OFF: u32 = 300;
const CUT_OFF_STEP: Duration = Duration::from_micros(50);
/// What may stay behind: allocators keep some of what they had.
const KEPT_KIB: u64 = 96 << 10;
/// How long peers have to notice that they are alone.
const SOON: Duration = Duration::from_secs(20);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("whole::09-trap-storm", || Ok(runtime().block_on(storm())?)),
        Trial::test("whole::48-cut-off-anywhere", || Ok(runtime().block_on(cut_off())?)),
        Trial::test("whole::23-nothing-stays-behind", nothing_stays_behind),
    ]
}

fn named(name: &str) -> Result<Guest, String> {
    corpus().into_iter().find(|guest| guest.name == name).ok_or_else(|| format!("there is no {name}"))
}

async fn storm() -> Result<(), String> {
    let guest = named("09-trap-at-once")?;
    let loaded = sandbox().load(guest.bytes(&[]).map_err(|error| format!("{error:?}"))?).await;
    let loaded = loaded.map_err(|refused| format!("{refused:?}"))?;
    let mut cpu = Duration::ZERO;
    for _ in 0..STORM {
        cpu += loaded.run(guest.peer, &[], Vec::new()).await.cpu;
    }
    neighbour().await?;
    if cpu > STORM * TRAP_COST { Err(format!("{STORM} traps cost {cpu:?}")) } else { Ok(()) }
}

async fn cut_off() -> Result<(), String> {
    for name in ["08a-wait-on-a-silent-peer", "41-fetch-from-a-bad-peer/drips-in-the-head", "16c-fetch-at-depth"] {
        let guest = named(name)?;
        let loaded = sandbox().load(guest.bytes(&[]).map_err(|error| format!("{error:?}"))?).await;
        let loaded = loaded.map_err(|refused| format!("{refused:?}"))?;
        for run in 0..CUT_OFF {
            let outcome = loaded.run_within(guest.peer, CUT_OFF_STEP * run).await;
            if outcome.failed == Some("internal") {
                return Err(format!("{name}, cut off after {:?}: {}", CUT_OFF_STEP * run, outcome.says));
            }
        }
        neighbour().await?;
    }
    Ok(())
}

/// Descriptors and resident memory of this process.
fn holds() -> (usize, u64) {
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("the kernel tells").count();
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has the line");
    (descriptors, line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("it has the number"))
}

/// The corpus twice: what the first time leaves is the baseline of the second.
fn nothing_stays_behind() -> Result<(), Failed> {
    let all = |()| {
        for guest in corpus().iter().filter(|guest| !guest.is_dear()) {
            // Whether it ended as it should is another case's matter.
            let _ = runtime().block_on(case(guest, &[], guest.expected));
        }
    };
    all(());
    let before = settled(usize::MAX);
    all(());
    let after = settled(before.0);
    if after.0 > before.0 || after.1 > before.1 + KEPT_KIB {
        return Err(
            format!("before: {} descriptors, {} KiB; after: {}, {}", before.0, before.1, after.0, after.1).into()
        );
    }
    Ok(())
}

/// What the process holds once its peers have ended, or the time for that is over.
fn settled(descriptors: usize) -> (usize, u64) {
    let deadline = Instant::now() + SOON;
    let mut last = holds();
    loop {
        std::thread::yield_now();
        let now = holds();
        if now.0 <= descriptors && now.0 == last.0 || Instant::now() > deadline {
            return now;
        }
        last = now;
    }
}
