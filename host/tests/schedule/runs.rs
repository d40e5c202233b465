//! When runs happen, and what is kept of them.

use std::sync::Arc;
use std::time::Duration;

use sonde_host::wire::encode;
use sonde_host::{Grant, LogLevel, LogLine, RunFailure, Settings, Share, Sharing, StandingRules, TargetId, Usage};

use super::*;

#[tokio::test]
async fn the_first_run_is_at_once_and_what_it_brought_is_kept() {
    let node = Node::new(settings());
    let sensor = node.sensor("first").await;
    node.workers.on(sensor.digest, |runner, order| {
        let mut outcome = good();
        outcome.state = Some([order.state.as_slice(), b"+"].concat().into());
        runner.done(order.run, outcome);
    });
    let slot = node.place(1, &sensor, &node.account("a", FREE), FAR).await;
    until("the first run", || slot.totals().runs == 1).await;
    assert!(slot.is_up() && slot.latest().unwrap().collected.series == 1);
    assert_eq!(slot.changed_state().as_deref(), Some(b"before+".as_slice()));
    assert_eq!(slot.changed_state(), None);
    let run = node.workers.runs()[0];
    assert_eq!((run.room.class, run.room.sharing), (sensor.manifest.class, Sharing::Light));
    assert_eq!(node.schedule.facts().layers().map(|layers| layers.len()), Some(0));
}

#[tokio::test]
async fn a_sensor_runs_just_ahead_of_the_next_scrape() {
    let node = Node::new(settings());
    let sensor = node.sensor("scraped").await;
    let slot = node.place(1, &sensor, &node.account("a", FREE), FAR).await;
    until("the first run", || slot.totals().runs == 1).await;
    // A scraper every 1.2 s; from its third scrape on, what it gets is from a run made for it.
    let mut beat = tokio::time::interval(Duration::from_millis(1200));
    let mut ages = Vec::new();
    for _ in 0..5 {
        beat.tick().await;
        ages.push(slot.latest().unwrap().at.elapsed());
        node.schedule.scraped(TargetId(1), 7);
    }
    // Without a rhythm they would be 2.4 s and more; one may be late on a busy machine.
    let fresh = ages[2..].iter().filter(|age| **age < Duration::from_secs(1)).count();
    assert!(fresh >= 2 && ages[2..].iter().all(|age| *age < Duration::from_secs(2)), "{ages:?}");
    assert!(slot.totals().runs <= 6, "no more runs than scrapes call for: {}", slot.totals().runs);
}

#[tokio::test]
async fn a_sensor_never_runs_twice_at_once() {
    let node = Node::new(settings());
    let sensor = node.sensor("slow").await;
    node.workers.on(sensor.digest, |runner, order| runner.hold(order));
    let slot = node.place(1, &sensor, &node.account("a", FREE), AT_ONCE).await;
    until("its run", || node.workers.held() == 1).await;
    for scraper in 0..100 {
        node.schedule.scraped(TargetId(1), scraper);
    }
    node.schedule.release(slot.clone()).await;
    node.meanwhile(10).await;
    assert_eq!(node.workers.held(), 1);
}

#[tokio::test]
async fn who_is_taken_away_while_waiting_never_runs() {
    let node = Node::new(with_places(1));
    let (busy, waits, account) = (node.sensor("busy").await, node.sensor("waits").await, node.account("a", FREE));
    node.workers.on(busy.digest, |runner, order| runner.hold(order));
    let first = node.place(1, &busy, &account, FAR).await;
    until("the first run", || node.workers.held() == 1).await;
    let second = node.place(1, &waits, &account, FAR).await;
    node.schedule.remove(second.clone()).await;
    node.workers.release_one().answer(good());
    until("its end", || first.totals().runs == 1).await;
    node.meanwhile(3).await;
    assert!(node.workers.runs_of(waits.digest).is_empty() && second.totals().runs == 0);
}

#[tokio::test]
async fn successors_wait_and_the_last_run_is_recorded() {
    let node = Node::new(settings());
    let (sensor, account) = (node.sensor("replaced").await, node.account("a", FREE));
    node.workers.on(sensor.digest, |runner, order| runner.hold(order));
    let first = node.place(1, &sensor, &account, FAR).await;
    until("the first run", || node.workers.held() == 1).await;
    node.schedule.remove(first.clone()).await;
    let given_up = node.place(1, &sensor, &account, FAR).await;
    let second = node.place(1, &sensor, &account, FAR).await;
    let third = node.place(1, &sensor, &account, FAR).await;
    node.schedule.remove(given_up.clone()).await;
    node.meanwhile(5).await;
    assert_eq!(node.workers.runs_of(sensor.digest).len(), 1, "they wait for their predecessor");
    node.workers.release_one().answer(good());
    until("the successors", || node.workers.held() == 2).await;
    assert_eq!((first.totals().runs, given_up.totals().runs), (1, 0));
    node.workers.release_one().answer(good());
    node.workers.release_one().answer(good());
    until("both", || second.totals().runs == 1 && third.totals().runs == 1).await;
}

#[tokio::test]
async fn who_fails_again_and_again_is_quarantined_until_released() {
    let standing = StandingRules { quarantine_after: 3, longest_back_off: Duration::from_millis(2) };
    let node = Node::new(Settings { standing, ..settings() });
    let sensor = node.sensor("fails").await;
    node.workers.on(sensor.digest, |runner, order| runner.done(order.run, outcome(Err(RunFailure::Stack))));
    let slot = node.place(1, &sensor, &node.account("a", FREE), AT_ONCE).await;
    until("its quarantine", || slot.standing().quarantine.is_some()).await;
    node.meanwhile(10).await;
    assert_eq!((slot.totals().runs, reason(&slot)), (3, Some("stack")));
    node.workers.on(sensor.digest, |runner, order| runner.done(order.run, good()));
    node.schedule.release(slot.clone()).await;
    until("a run after its release", || slot.is_up()).await;
    assert_eq!(slot.standing().quarantine, None);
}

#[tokio::test]
async fn what_a_server_does_is_no_misbehaviour() {
    let node =
        Node::new(Settings { standing: StandingRules { quarantine_after: 2, longest_back_off: FAR }, ..settings() });
    let sensor = node.sensor("unlucky").await;
    node.workers.on(sensor.digest, |runner, order| {
        let reason = sonde_host::SensorReason::Unreachable;
        runner.done(order.run, outcome(Err(RunFailure::Sensor { reason, message: "\x1b[31mno".into() })));
    });
    let slot = node.place(1, &sensor, &node.account("a", FREE), AT_ONCE).await;
    until("many runs", || slot.totals().runs > 5).await;
    assert_eq!(slot.standing(), Default::default());
    assert_eq!(slot.last_failure().unwrap().failure.to_string(), "unreachable: \\u{1b}[31mno");
}

#[tokio::test]
async fn what_is_over_a_limit_is_not_kept() {
    let node = Node::new(settings());
    let (sensor, account) = (node.sensor("greedy").await, node.account("a", FREE));
    node.workers.on(sensor.digest, |runner, order| {
        let usage = Usage {
            fuel: u64::MAX,
            cpu: Duration::MAX,
            wall: Duration::MAX,
            memory_peak_bytes: u64::MAX,
            log_bytes: u64::MAX,
            ..Usage::default()
        };
        let line = |message: String| LogLine { level: LogLevel::Warn, message };
        let logs = vec![line("a\r\nb\x1b[2J\u{85}".into()), line("\x07".repeat(1 << 20)), line("x".repeat(1 << 20))];
        runner.done(order.run, Outcome { usage, logs, state: Some(vec![1; 1 << 20].into()), ..good() });
    });
    let slot = node.place(1, &sensor, &account, FAR).await;
    until("its run", || slot.totals().runs == 1).await;
    let (totals, limits) = (slot.totals(), &slot.grant.limits);
    assert_eq!((totals.fuel, totals.memory_peak_bytes), (limits.fuel, slot.grant.memory_bytes));
    assert!(totals.cpu < SOON && account.usage().cpu < SOON, "no more than passed on the clock: {totals:?}");
    assert!(slot.latest().unwrap().at.elapsed() < SOON);
    assert_eq!(slot.changed_state(), None);
    let logs = slot.logs();
    assert_eq!(logs[0].message, "a\\r\\nb\\u{1b}[2J\\u{85}");
    assert!(logs.iter().all(|line| line.message.len() <= 6 * 1024 && !line.message.contains(char::is_control)));
}

#[tokio::test]
async fn results_that_are_none_fail_their_own_run_only() {
    let node = Node::new(settings());
    let account = node.account("a", FREE);
    let mut placed = Vec::new();
    let too_much = |grant: &Grant| vec![0; grant.limits.result_bytes as usize + 1];
    for (name, expected) in [("long", "result"), ("garbage", "internal"), ("stray", "output")] {
        let sensor = node.sensor(name).await;
        let bytes = match name {
            "long" => too_much(&grant(&sensor, FAR)),
            "garbage" => vec![0xff; 100],
            _ => encode(&batch::Batch { families: Vec::new(), ..series(&[1]) }),
        };
        node.workers.on(sensor.digest, move |runner, order| runner.done(order.run, outcome(Ok(bytes.clone()))));
        placed.push((node.place(1, &sensor, &account, FAR).await, expected));
    }
    for (slot, expected) in placed {
        until("its run", || slot.totals().runs == 1).await;
        assert_eq!((reason(&slot), slot.is_up()), (Some(expected), false));
    }
    assert_eq!(node.schedule.facts().runners_ended.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn series_are_one_budget_and_what_is_not_used_is_anothers() {
    let node = Node::new(settings());
    let account = node.account("a", Share { series: 5, ..FREE });
    let (first, second) = (node.sensor("first").await, node.sensor("second").await);
    node.workers.on(first.digest, |runner, order| runner.done(order.run, outcome(Ok(encode(&series(&[2, 4]))))));
    node.workers.on(second.digest, |runner, order| runner.done(order.run, outcome(Ok(encode(&series(&[3]))))));
    let one = node.place(1, &first, &account, FAR).await;
    until("the first run", || one.totals().runs == 1).await;
    assert_eq!((one.latest().unwrap().collected.series, one.totals().series_dropped), (2, 4));
    let two = node.place(1, &second, &account, FAR).await;
    until("the second's run", || two.totals().runs == 1).await;
    assert_eq!((two.latest().unwrap().collected.series, account.usage().series), (3, 5));
    node.schedule.remove(two.clone()).await;
    drop(two);
    until("its series to be given back", || account.usage().series == 2).await;
    let _: Arc<Slot> = one;
}
