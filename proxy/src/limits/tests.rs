use sonde_inventory::Limits;

use super::*;

fn account(name: &str, limits: Limits) -> Account {
    Account { limits, ..Account::new(AccountName::new(name).unwrap()) }
}

fn few(requests: u32) -> Limits {
    Limits { requests_per_second: Some(1), request_burst: Some(requests), ..Limits::default() }
}

#[test]
fn a_burst_and_then_a_wait_and_a_change_counts_at_once() {
    let accounts = Accounts::new(10);
    let used = accounts.of(&account("a", few(2)), &Quota::default());
    assert!(used.request().is_ok() && used.request().is_ok());
    let refusal = used.request().unwrap_err();
    assert_eq!(refusal.reason, Reason::Requests);
    assert!(refusal.retry_after > Duration::ZERO && refusal.retry_after <= Duration::from_secs(1));
    assert!(accounts.of(&account("b", few(2)), &Quota::default()).request().is_ok(), "another's is another's");
    assert!(accounts.of(&account("a", few(3)), &Quota::default()).request().is_ok());
    assert!(used.request().is_ok(), "whoever holds it sees the change too");
}

#[test]
fn bytes_sent_are_held_against_the_next_request() {
    let accounts = Accounts::new(10);
    let limits = Limits { bytes_per_second: Some(1), ..Limits::default() };
    let used = accounts.of(&account("a", limits), &Quota::default());
    assert!(used.request().is_ok());
    used.sent(1_000);
    assert_eq!(used.request().unwrap_err().reason, Reason::Bytes);
    assert_eq!(used.totals.bytes.get(), 1_000);
}

#[test]
fn scrapes_at_once_are_bounded_and_given_back() {
    let accounts = Arc::new(Accounts::new(10));
    let limits = Limits { concurrent_scrapes: Some(1), ..Limits::default() };
    let used = accounts.of(&account("a", limits), &Quota::default());
    let one = accounts.scrape(&used).unwrap();
    assert_eq!(accounts.scrape(&used).unwrap_err().reason, Reason::Scrapes);
    drop(one);
    assert!(accounts.scrape(&used).is_ok());
    assert_eq!(accounts.counts(), (1, 0));
}

#[test]
fn the_heaviest_waits_first() {
    let accounts = Arc::new(Accounts::new(10));
    let of = |name| accounts.of(&account(name, Limits::default()), &Quota::default());
    let (heavy, light) = (of("heavy"), of("light"));
    let mut held: Vec<Scrape> = (0..9).map(|_| accounts.scrape(&heavy).unwrap()).collect();
    held.push(accounts.scrape(&light).unwrap());
    assert_eq!(accounts.scrape(&heavy).unwrap_err().reason, Reason::Overload);
    for _ in 1..5 {
        held.push(accounts.scrape(&light).expect("up to an even share it is let in"));
    }
    assert_eq!(accounts.scrape(&light).unwrap_err().reason, Reason::Overload);
    assert!(accounts.scrape(&of("third")).is_ok());
    held.clear();
    assert!(accounts.scrape(&heavy).is_ok());
    assert_eq!(accounts.active.load(Ordering::Relaxed), 0);
}

#[test]
fn who_is_quiet_for_long_is_forgotten() {
    let accounts = Accounts::new(10);
    let used = accounts.of(&account("a", Limits::default()), &Quota::default());
    let later = Instant::now() + FORGOTTEN_AFTER + Duration::from_secs(1);
    accounts.sweep(later);
    assert_eq!(accounts.counts().0, 1, "it is in use");
    drop(used);
    accounts.sweep(Instant::now());
    assert_eq!(accounts.counts().0, 1);
    accounts.sweep(later);
    assert_eq!(accounts.counts().0, 0);
}
