//! Consul's blocking queries: an answer that comes when what the caller sees is another, or when its patience ends.
//!
//! The index is made of the answer's bytes, so it changes exactly when they do, for this caller and this question alone, and is the same from every proxy and after a
//! restart: nobody learns from it that others' instances come and go. A waiter looks at most once in [`LOOK`]; there are so
//! many of an account and so many in all, and whoever is one too many is told so at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use sha2::{Digest, Sha256};
use sonde_inventory::{AccountName, Catalogue};
use tokio::sync::watch;

use super::consul::{self, Asked, Seen};
use super::query::{Query, Refusal};
use super::{Place, json, refusal, view};
use crate::access;
use crate::caller::Caller;

/// Consul's default is 5 minutes. Prometheus and vmagent ask for 2 and give up soon after.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// Between two looks of a waiter. Clients keep 30 s between two questions anyhow, and what costs us is the looking.
const LOOK: Duration = Duration::from_secs(1);
/// Of one account: a question each for two services of some twenty jobs on a pair of servers.
const MOST_OF_ACCOUNT: usize = 96;
/// A waiter holds a connection, a task and pointers to what it saw.
const MOST: usize = 10_000;

/// Who waits.
#[derive(Debug)]
pub(super) struct Waiting {
    counts: Mutex<HashMap<AccountName, usize>>,
    end: watch::Sender<bool>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { counts: Mutex::default(), end: watch::Sender::new(false) }
    }
}

impl Waiting {
    /// Lets everybody go, with what there is, and nobody wait any more.
    pub(super) fn end(&self) {
        self.end.send_replace(true);
    }

    fn enter(&self, account: &AccountName) -> Option<Waiter<'_>> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = counts.values().sum();
        let own = counts.get(account).copied().unwrap_or_default();
        if all >= MOST || own >= MOST_OF_ACCOUNT {
            return None;
        }
        counts.insert(account.clone(), own + 1);
        Some(Waiter { waiting: self, account: account.clone() })
    }
}

/// One who waits, counted until dropped.
struct Waiter<'a> {
    waiting: &'a Waiting,
    account: AccountName,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut counts = self.waiting.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.account) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.account)),
        }
    }
}

/// How long, and from which index on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    index: Option<u64>,
    wait: Duration,
}

impl Patience {
    pub(super) fn of(query: &Query) -> Result<Self, Refusal> {
        let index = match query.first("index").unwrap_or_default() {
            // 0 is what a client has before the first answer.
            "" | "0" => None,
            text => Some(text.parse().map_err(|_| Refusal::Number { name: "index" })?),
        };
        let wait = match query.first("wait").unwrap_or_default() {
            "" => LONGEST_WAIT,
            text => duration(text).ok_or(Refusal::Number { name: "wait" })?.min(LONGEST_WAIT),
        };
        Ok(Self { index, wait })
    }
}

/// A duration of Go's: `120000ms`, `90s`, `2m`, `1h`, one unit alone.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// Answers, at once where the index is another.
pub(super) async fn answer(
    asked: &Asked,
    patience: Patience,
    caller: &Caller,
    catalogue: &Catalogue,
    waiting: &Waiting,
    place: &Place<'_>,
) -> Response<Bytes> {
    let deadline = Instant::now() + patience.wait;
    let mut revisions = catalogue.revisions();
    let mut end = waiting.end.subscribe();
    let mut seen = see(asked, caller, catalogue);
    let mut answer = Answer::of(asked, &seen, place);
    if patience.index != Some(answer.index) || patience.wait.is_zero() {
        return answer.response;
    }
    let Some(_waiter) = waiting.enter(&caller.account.name) else {
        return refusal(StatusCode::TOO_MANY_REQUESTS, "too many questions of this account wait for an answer");
    };
    // While it waits its bytes are not kept: they are made again of what was seen.
    drop(answer);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let until_leaving = seen.instances.iter().filter_map(|one| access::leaves_at(one)?.elapsed().err());
        let nap = until_leaving.map(|error| error.duration()).min().unwrap_or(left).min(left);
        tokio::select! {
            changed = revisions.changed() => { let _ = changed; }
            ended = end.wait_for(|end| *end) => { let _ = ended; return Answer::of(asked, &seen, place).response; }
            () = tokio::time::sleep(nap) => {}
        }
        // What was taken away from the account, or the credential, while it waited: it has what it had, and its next question is judged anew.
        let is_as_it_was = catalogue.account(&caller.account.name).is_some_and(|now| now == caller.account);
        if !is_as_it_was || Instant::now() >= deadline {
            return Answer::of(asked, &seen, place).response;
        }
        let now = see(asked, caller, catalogue);
        if !now.is(&seen) {
            seen = now;
            answer = Answer::of(asked, &seen, place);
            if patience.index != Some(answer.index) {
                return answer.response;
            }
        }
        tokio::time::sleep(LOOK.min(deadline.saturating_duration_since(Instant::now()))).await;
    }
}

fn see(asked: &Asked, caller: &Caller, catalogue: &Catalogue) -> Seen {
    let instances = view::instances(caller, catalogue, &asked.selection, SystemTime::now());
    Seen { instances, nodes: view::nodes(caller, catalogue) }
}

struct Answer {
    index: u64,
    response: Response<Bytes>,
}

impl Answer {
    fn of(asked: &Asked, seen: &Seen, place: &Place<'_>) -> Self {
        let body = consul::body(asked, seen, place);
        let index = body.as_ref().map(|body| index_of(body)).unwrap_or_default();
        let mut response = json(body);
        response.headers_mut().insert("x-consul-index", HeaderValue::from(index));
        response.headers_mut().insert("x-consul-knownleader", HeaderValue::from_static("true"));
        response.headers_mut().insert("x-consul-lastcontact", HeaderValue::from_static("0"));
        Self { index, response }
    }
}

/// Never 0, which clients take for none, and within what the signed number of vmagent holds.
fn index_of(body: &[u8]) -> u64 {
    let digest = Sha256::digest(body);
    let eight = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    (eight >> 1).max(1)
}
