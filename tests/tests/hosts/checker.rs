//! The checker: scrapes every instance through every proxy, as its owner and as another, all the while that things are broken and mended, and
//! judges each answer.
//!
//! No answer may ever be wrong: another instance's, to whom it does not belong, of one that has ended, older than allowed, or saying of one that lives that it
//! is not there. And none may be later than the scraper is willing to wait. That there is no exposition may be right (the node is away), so it is kept
//! with its reason, and each test says of whom and when that may be.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sonde_tests::{Exposition, Response};

use crate::cloud::{ACCOUNTS, Cloud, Target};
use crate::network::enter;
use crate::scraper::{GRACE, PATIENCE, Scraper};

/// Between two scrapes of one target through one proxy, so that all of them leave the machine room for what is tested.
const PACE: Duration = Duration::from_millis(300);
/// The oldest reading that may be served: the floor of a second, a shared answer's second, and what a reading may take on a busy machine.
const OLDEST: f64 = 4.0;

/// An answer of before may be shared for so long (operators.md, The proxy), and what of it is the machine's fault.
pub const SHARED: Duration = Duration::from_millis(1500);

/// What is so of an instance.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// Who may have its exposition. While it moves from one to another, both.
    pub owners: BTreeSet<String>,
    /// Whether it may have ended.
    pub may_end: bool,
    /// When it had.
    pub ended: Option<Instant>,
    /// Whether an answer may be broken off: its agent sends too slowly for it to come whole within the scraper's patience.
    pub may_break_off: bool,
}

impl Expect {
    fn is_surely_of(&self, account: &str) -> bool {
        self.owners.len() == 1 && self.owners.contains(account)
    }
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    pub took: Duration,
    pub proxy: usize,
    pub id: String,
    /// Whether it is an exposition that its owner got.
    pub is_exposition: bool,
    /// Status and reason, or why there is no answer.
    pub what: String,
    /// Whether it was asked for by the owner.
    pub by_owner: bool,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    expected: Mutex<Vec<(String, Expect)>>,
    /// The proxies that may not answer at all.
    away: Mutex<BTreeSet<usize>>,
    seen: Mutex<Vec<Seen>>,
    wrong: Mutex<Vec<String>>,
}

pub struct Checker {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Checker {
    /// Begins to watch all that lives.
    pub fn start(cloud: &Cloud) -> Self {
        let mut checker = Self { shared: Arc::default(), threads: Vec::new() };
        for target in cloud.targets() {
            checker.watch(cloud, &target);
        }
        checker
    }

    /// Begins to watch one more.
    pub fn watch(&mut self, cloud: &Cloud, target: &Target) {
        let expect = Expect { owners: [target.owner.clone()].into(), ..Expect::default() };
        lock(&self.shared.expected).push((target.id.clone(), expect));
        for proxy in 0..cloud.proxies.len() {
            let scrapers = ACCOUNTS.map(|account| (account, cloud.scraper_of(proxy, account)));
            let watch = Watch { shared: self.shared.clone(), proxy, target: target.clone(), scrapers };
            let holder = cloud.scraper.holder();
            self.threads.push(thread::spawn(move || {
                enter(holder);
                watch.run();
            }));
        }
    }

    /// Says what is so of an instance from now on.
    pub fn expect(&self, id: &str, change: impl FnOnce(&mut Expect)) {
        let mut all = lock(&self.shared.expected);
        let (_, expect) = all.iter_mut().find(|(known, _)| known == id).expect("it is watched");
        change(expect);
    }

    /// Whether a proxy may not answer.
    pub fn away(&self, proxy: usize, is_away: bool) {
        let mut away = lock(&self.shared.away);
        if is_away {
            away.insert(proxy)
        } else {
            away.remove(&proxy)
        };
    }

    /// What has ended of an account's.
    pub fn ended_of(&self, account: &str) -> BTreeSet<String> {
        let all = lock(&self.shared.expected);
        let ended = all.iter().filter(|(_, expect)| expect.ended.is_some() && expect.owners.contains(account));
        ended.map(|(id, _)| id.clone()).collect()
    }

    /// The answers to what was asked since then.
    pub fn since(&self, then: Instant) -> Vec<Seen> {
        lock(&self.shared.seen).iter().filter(|seen| seen.at >= then).cloned().collect()
    }

    /// Fails the test at once where an answer was wrong.
    #[track_caller]
    pub fn nothing_wrong(&self) {
        let wrong = lock(&self.shared.wrong).clone();
        assert!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), wrong.join("\n"));
    }

    /// Ends it, and says how many expositions came. Fails the test where one was wrong or late, or none came.
    #[track_caller]
    pub fn finish(mut self) -> usize {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("the checker did not panic");
        }
        self.nothing_wrong();
        let seen = lock(&self.shared.seen);
        let right = seen.iter().filter(|seen| seen.is_exposition).count();
        assert!(right > 0, "nothing was checked");
        eprintln!("checked {} answers, {right} of them expositions", seen.len());
        right
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One thread's part: a target through a proxy.
struct Watch {
    shared: Arc<Shared>,
    proxy: usize,
    target: Target,
    scrapers: [(&'static str, Scraper); ACCOUNTS.len()],
}

impl Watch {
    fn run(mut self) {
        let path = format!("/v1/instances/{}/metrics", self.target.id);
        while !self.shared.stop.load(Ordering::SeqCst) {
            for at in 0..self.scrapers.len() {
                let before = self.expected();
                let began = Instant::now();
                let (account, scraper) = &mut self.scrapers[at];
                let account = *account;
                let answer = scraper.get(&path);
                let took = began.elapsed();
                let after = self.expected();
                let by_owner = before.0.is_surely_of(account) && after.0.is_surely_of(account);
                let what = match &answer {
                    Ok(answer) => format!("{} {}", answer.status, answer.header("x-sonde-reason").unwrap_or_default()),
                    Err(error) => error.to_string(),
                };
                let is_exposition = by_owner && answer.as_ref().is_ok_and(|answer| answer.status == 200);
                if let Err(why) = judge(&self.target, account, (&before, &after), answer, (began, took)) {
                    let container = &self.target.container;
                    lock(&self.shared.wrong).push(format!(
                        "{account} asked proxy {} for {container} and got {what} after {took:?}: {why}",
                        self.proxy
                    ));
                }
                let (proxy, id) = (self.proxy, self.target.id.clone());
                lock(&self.shared.seen).push(Seen { at: began, took, proxy, id, is_exposition, what, by_owner });
            }
            thread::sleep(PACE);
        }
    }

    /// What is so of the target, and whether the proxy may be away.
    fn expected(&self) -> (Expect, bool) {
        let all = lock(&self.shared.expected);
        let (_, expect) = all.iter().find(|(id, _)| *id == self.target.id).expect("it is watched");
        (expect.clone(), lock(&self.shared.away).contains(&self.proxy))
    }
}

/// Whether an answer may be given to that account, where the first was so before it was asked for, and the second when it had come.
pub fn judge(
    target: &Target,
    account: &str,
    ((before, was_away), (after, is_away)): (&(Expect, bool), &(Expect, bool)),
    answer: std::io::Result<Response>,
    (began, took): (Instant, Duration),
) -> Result<(), String> {
    let may_be_away = *was_away || *is_away;
    let answer = match answer {
        Err(_) if may_be_away => return Ok(()),
        Err(_) if after.may_break_off && after.is_surely_of(account) && took <= PATIENCE + GRACE => return Ok(()),
        Err(error) => return Err(format!("no answer: {error}")),
        Ok(answer) => answer,
    };
    if took > PATIENCE + GRACE && !may_be_away {
        return Err("it is late".to_owned());
    }
    let is_surely_theirs = before.is_surely_of(account) && after.is_surely_of(account);
    let may_be_theirs = before.owners.contains(account) || after.owners.contains(account);
    let reason = answer.header("x-sonde-reason").unwrap_or_default();
    match answer.status {
        200 if !may_be_theirs => Err("it is not theirs".to_owned()),
        200 if before.ended.is_some_and(|ended| began > ended + SHARED) => Err("it has ended".to_owned()),
        200 => is_of(target, &answer),
        404 if !is_surely_theirs => Ok(()),
        404 if after.may_end || after.ended.is_some() => Ok(()),
        404 => Err("it is there, and theirs".to_owned()),
        502..=504 if !may_be_theirs => Err("they learn that it is there".to_owned()),
        503 if reason.starts_with("gone") || reason.starts_with("stopped") => {
            if after.may_end || after.ended.is_some() { Ok(()) } else { Err("it lives".to_owned()) }
        }
        502..=504 if reason.is_empty() => Err("it says no reason".to_owned()),
        502..=504 => Ok(()),
        _ => Err(format!("nobody expects that: {}", answer.text())),
    }
}

/// Whether an exposition is of that instance, all of it, and not too old.
fn is_of(target: &Target, answer: &Response) -> Result<(), String> {
    let exposition = Exposition::read(&answer.text());
    let mut is_named = false;
    for sample in &exposition.samples {
        for (label, value) in sample.labels.iter().filter(|(label, _)| matches!(label.as_str(), "id" | "container_id"))
        {
            if !value.contains(&target.container) {
                return Err(format!("{label} is {value}"));
            }
            is_named = true;
        }
    }
    if !is_named {
        return Err(format!("it does not say whose it is: {}", answer.text()));
    }
    match exposition.value("sonde_reading_age_seconds", &[]) {
        Some(age) if age <= OLDEST => Ok(()),
        age => Err(format!("its age is {age:?}")),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, reason: &str, body: &str) -> std::io::Result<Response> {
        let headers = vec![("X-Sonde-Reason".to_owned(), reason.to_owned())];
        Ok(Response { status, headers, body: body.as_bytes().to_vec(), elapsed: Duration::ZERO })
    }

    #[test]
    fn what_is_wrong_is_told_from_what_is_not() {
        let target = Target { id: "1".into(), container: "own".into(), owner: "acme".into(), node: 0 };
        let of = |name: &str, age: f64| format!("a{{id=\"/x/{name}\"}} 1\nsonde_reading_age_seconds {age}\n");
        let now = Instant::now();
        let lives = Expect { owners: ["acme".to_owned()].into(), ..Expect::default() };
        let ended = Expect { ended: now.checked_sub(Duration::from_secs(60)), ..lives.clone() };
        let judged = |expect: &Expect, account: &str, answer, took: Duration| {
            let expect = (expect.clone(), false);
            judge(&target, account, (&expect, &expect), answer, (now, took)).is_ok()
        };
        let at_once = Duration::ZERO;
        assert!(judged(&lives, "acme", answer(200, "", &of("own", 0.1)), at_once));
        assert!(judged(&lives, "acme", answer(504, "agent_slow", ""), PATIENCE));
        assert!(judged(&lives, "bank", answer(404, "", ""), at_once));
        assert!(judged(&ended, "acme", answer(503, "gone; removed", ""), at_once));
        assert!(!judged(&lives, "acme", answer(200, "", &of("other", 0.1)), at_once), "another's");
        assert!(!judged(&lives, "acme", answer(200, "", &of("own", 60.0)), at_once), "old");
        assert!(!judged(&lives, "acme", answer(200, "", &of("own", 0.1)), PATIENCE * 2), "late");
        assert!(!judged(&lives, "acme", answer(404, "", ""), at_once), "it is there");
        assert!(!judged(&lives, "acme", answer(503, "gone; removed", ""), at_once), "it lives");
        assert!(!judged(&lives, "acme", answer(502, "", ""), at_once), "without a reason");
        assert!(!judged(&lives, "acme", Err(std::io::ErrorKind::TimedOut.into()), at_once), "nothing");
        assert!(!judged(&lives, "bank", answer(200, "", &of("own", 0.1)), at_once), "not theirs");
        assert!(!judged(&lives, "bank", answer(502, "node_unreachable", ""), at_once), "not theirs to know");
        assert!(!judged(&ended, "acme", answer(200, "", &of("own", 0.1)), at_once), "ended");
    }
}
