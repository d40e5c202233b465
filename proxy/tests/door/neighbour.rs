//! Somebody else's scrapes while one means harm: they go on, each in time.

use std::time::{Duration, Instant};

use crate::client::{Ask, Version, ask};
use crate::house::{Credential, House};

/// A scrape on a machine that is under attack from another process's threads, and busy with other tests.
const IN_TIME: Duration = Duration::from_secs(5);

/// Has the neighbour scrape, each time on a new connection, until the other is done; at least three times in all.
pub async fn beside<T>(house: &House, neighbour: &Credential, path: &str, other: impl Future<Output = T>) -> T {
    let mut other = std::pin::pin!(other);
    let mut done = None;
    let (mut scrapes, mut slowest) = (0, Duration::ZERO);
    while done.is_none() || scrapes < 3 {
        let version = if scrapes % 2 == 0 { Version::One } else { Version::Two };
        let began = Instant::now();
        let asked = Ask { path, headers: &[("x-prometheus-scrape-timeout-seconds", "10")], ..Ask::default() };
        let scrape = ask(house, neighbour, version, &asked);
        let heard = if done.is_some() {
            scrape.await
        } else {
            let mut scrape = std::pin::pin!(scrape);
            tokio::select! {
                heard = &mut scrape => heard,
                ended = &mut other => {
                    done = Some(ended);
                    scrape.await
                }
            }
        };
        assert_eq!(heard.status, 200, "scrape {scrapes} of the neighbour: {}", heard.text());
        (scrapes, slowest) = (scrapes + 1, slowest.max(began.elapsed()));
    }
    assert!(slowest < IN_TIME, "the neighbour waited {slowest:?}");
    done.expect("it is done")
}
