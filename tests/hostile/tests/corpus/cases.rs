//! A case for each guest and for each of its backstops.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use sonde_hostile::{Defence, Defences, Expected, Guest, Peer};
use tokio::runtime::Runtime;

use crate::outcome::{self, Outcome, Sandbox};
use crate::{judge, workers};

/// Loading anything but what is made to be dear.
const LOADING: Duration = Duration::from_secs(20);
/// Runs at once of a guest that is to leave something behind, and of the one that looks for it.
const AT_ONCE: usize = 8;

/// The executor of all cases.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().expect("threads can be started")
    })
}

/// The sandbox of all cases.
pub(crate) fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(Sandbox::new)
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for guest in sonde_hostile::corpus() {
        for (off, expected) in guest.without.clone() {
            let names: Vec<&str> = off.iter().map(|defence| defence.name()).collect();
            let name = format!("backstop::{}::without-{}", guest.name, names.join("-"));
            trials.push(trial(name, guest.clone(), off, expected));
        }
        let (name, expected) = (format!("guest::{}", guest.name), guest.expected);
        trials.push(trial(name, guest, &[], expected));
    }
    trials.push(Trial::test("corpus::names-are-told-apart", names));
    trials
}

fn trial(name: String, guest: Guest, off: Defences, expected: Expected) -> Trial {
    Trial::test(name, move || {
        let judged = runtime().block_on(async {
            let is_compiled_only = guest.is_dear() || off.contains(&Defence::Precheck);
            if is_compiled_only {
                workers::case(&guest, off, expected).await
            } else {
                case(&guest, off, expected).await
            }
        });
        Ok(judged?)
    })
}

/// One guest, with some defences off or none, and the neighbour after it.
pub(crate) async fn case(guest: &Guest, off: &[Defence], expected: Expected) -> Result<(), String> {
    let judged = judged(guest, off, expected).await.map_err(|why| format!("{why}\n  ({})", guest.why));
    neighbour().await?;
    judged
}

async fn judged(guest: &Guest, off: &[Defence], expected: Expected) -> Result<(), String> {
    let bytes = guest.bytes(off).map_err(|error| format!("the guest cannot be made: {error:?}"))?;
    let began = Instant::now();
    let loaded = sandbox().load(bytes).await;
    if began.elapsed() > LOADING {
        return Err(format!("loading took {:?}", began.elapsed()));
    }
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(refused) => return judge::refused(&refused, expected),
    };
    judge::loaded(expected)?;
    if let Some(first) = guest.after {
        scribble(first).await?;
        for (outcome, took) in at_once(&loaded, guest.peer).await {
            judge::ran(&outcome, took, expected)?;
            judge::facts(&outcome, &guest.facts)?;
        }
    }
    let mut state = Vec::new();
    for run in 1..=guest.runs {
        let began = Instant::now();
        let outcome = loaded.run(guest.peer, off, std::mem::take(&mut state)).await;
        judge::ran(&outcome, began.elapsed(), expected)?;
        if run == guest.runs && off.is_empty() {
            judge::facts(&outcome, &guest.facts)?;
        }
        state = outcome.state.unwrap_or_default();
    }
    Ok(())
}

async fn scribble(name: &str) -> Result<(), String> {
    let corpus = sonde_hostile::corpus();
    let first = corpus.iter().find(|guest| guest.name == name).ok_or("no such guest goes first")?;
    let bytes = first.bytes(&[]).map_err(|error| format!("{error:?}"))?;
    let loaded = sandbox().load(bytes).await.map_err(|refused| format!("{refused:?}"))?;
    for (outcome, took) in at_once(&loaded, first.peer).await {
        judge::ran(&outcome, took, first.expected)?;
    }
    Ok(())
}

/// Several runs at once, so that several places are used.
async fn at_once(loaded: &outcome::Guest, peer: Peer) -> Vec<(Outcome, Duration)> {
    let runs: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let loaded = loaded.clone();
            tokio::spawn(async move {
                let began = Instant::now();
                let outcome = loaded.run(peer, &[], Vec::new()).await;
                (outcome, began.elapsed())
            })
        })
        .collect();
    let mut outcomes = Vec::with_capacity(AT_ONCE);
    for run in runs {
        outcomes.push(run.await.expect("a run does not panic"));
    }
    outcomes
}

/// The neighbour is well.
pub(crate) async fn neighbour() -> Result<(), String> {
    let honest = sonde_hostile::corpus::honest();
    let bytes = honest.bytes(&[]).map_err(|error| format!("{error:?}"))?;
    let loaded = sandbox().load(bytes).await.map_err(|refused| format!("the neighbour is not loaded: {refused:?}"))?;
    let began = Instant::now();
    let outcome = loaded.run(honest.peer, &[], Vec::new()).await;
    judge::ran(&outcome, began.elapsed(), honest.expected).map_err(|why| format!("the neighbour: {why}"))
}

fn names() -> Result<(), Failed> {
    let mut names: Vec<String> = sonde_hostile::corpus().into_iter().map(|guest| guest.name).collect();
    names.sort();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    twice.map_or(Ok(()), |pair| Err(format!("two rows are called {}", pair[0]).into()))
}
