//! Runners that were taken over: whatever they say, they are ended, and nobody else's results change.

use std::sync::Arc;

use sonde_host::wire::{FromRunner, MOST_FRAME_BYTES, Outcome, RunOrder};
use sonde_host::{BrokerError, Digest, LogLevel, LogLine};
use sonde_jail::{Layer, LayerReport};

use super::workers::Runner;
use super::*;

fn layers(count: usize) -> FromRunner {
    FromRunner::Ready { layers: vec![LayerReport { layer: Layer::User, fault: None, detail: None }; count] }
}

/// Says a message for each of so many times.
fn repeat(runner: &Runner, times: usize, message: impl Fn() -> FromRunner) {
    for _ in 0..times {
        runner.say(&message());
    }
}

fn ask(run: u64) -> FromRunner {
    FromRunner::AskKstats { run, module: "zfs".into() }
}

type Crime = fn(&Runner, &RunOrder);

const CRIMES: [(&str, Crime); 13] = [
    ("garbage", |runner, _| runner.raw(&[5, 0, 0, 0, 255, 255, 255, 255, 255])),
    ("a huge frame", |runner, _| runner.raw(&(MOST_FRAME_BYTES as u32 + 1).to_le_bytes())),
    ("a descriptor that did not come", |runner, _| runner.raw(&[1, 0, 0, 0x80, 0])),
    ("a run of nobody", |runner, _| runner.done(u64::MAX, good())),
    ("a run twice", |runner, order| repeat(runner, 2, || FromRunner::Done { run: order.run, outcome: good() })),
    ("a question of nobody", |runner, _| runner.say(&ask(u64::MAX))),
    ("a question twice at once", |runner, order| {
        // Of what is not answered: the first question is still open when the second comes.
        repeat(runner, 2, || FromRunner::AskKstats { run: order.run, module: "never".into() });
    }),
    ("code that it was not given", |runner, _| {
        runner.say(&FromRunner::Loaded { digest: Digest::of(b"other"), fault: None });
    }),
    ("code that it has spoken of", |runner, order| {
        let fault = || Some("no\x1b[2J".to_owned());
        repeat(runner, 2, || FromRunner::Loaded { digest: order.digest, fault: fault() });
    }),
    ("that it is ready again", |runner, _| runner.say(&layers(0))),
    ("more log than anybody needs", |runner, _| {
        repeat(runner, 100, || FromRunner::Log { level: LogLevel::Error, message: "\x07".repeat(1 << 16) });
    }),
    ("more lines than a grant can allow", |runner, order| {
        let logs = vec![LogLine { level: LogLevel::Info, message: String::new() }; 1_001];
        runner.done(order.run, Outcome { logs, ..good() });
    }),
    ("half a frame", |runner, _| {
        runner.raw(&[9, 0, 0, 0, 1]);
        runner.die();
    }),
];

#[tokio::test]
async fn who_breaks_the_protocol_is_ended_and_nobody_elses_result_changes() {
    for (what, crime) in CRIMES {
        let node = Node::new(settings());
        let account = node.account("a", FREE);
        let (honest, other, evil) =
            (node.sensor("honest").await, node.sensor("other").await, node.sensor("evil").await);
        let done = node.place(1, &honest, &account, FAR).await;
        until("the honest run", || done.is_up()).await;
        let result = done.latest().unwrap();
        node.workers.on(other.digest, |runner, order| runner.hold(order));
        let beside = node.place(2, &other, &account, FAR).await;
        until("the other's run", || node.workers.held() == 1).await;
        node.workers.on(evil.digest, crime);
        node.place(3, &evil, &account, FAR).await;
        until(what, || beside.totals().runs == 1).await;
        assert_eq!((reason(&beside), beside.latest().is_none()), (Some("runner"), true), "{what}");
        assert!(node.workers.was_killed(node.workers.runs_of(evil.digest)[0].runner), "{what}");
        assert!(Arc::ptr_eq(&result, &done.latest().unwrap()) && done.totals().runs == 1, "{what}");
        node.meanwhile(1).await;
    }
}

#[tokio::test]
async fn a_runner_that_reports_more_layers_than_there_are_is_ended() {
    let node = Node::new(settings());
    node.meanwhile(1).await;
    assert_eq!(node.schedule.facts().layers(), Some(Vec::new()));
    let evil = node.sensor("evil").await;
    node.workers.on(evil.digest, |runner, _| runner.say(&layers(100)));
    let slot = node.place(1, &evil, &node.account("a", FREE), FAR).await;
    until("its end", || slot.totals().runs == 1).await;
    assert_eq!(node.schedule.facts().layers(), Some(Vec::new()));
}

#[tokio::test]
async fn questions_are_answered_as_the_grant_has_it() {
    let node = Node::new(settings());
    let account = node.account("a", FREE);
    for (module, granted) in [("zfs", true), ("none", true), ("huge", true), ("zfs", false)] {
        let sensor = node.sensor(&format!("asks-{module}-{granted}")).await;
        node.workers.on(sensor.digest, move |runner, order| {
            runner.hold(order);
            runner.say(&FromRunner::AskKstats { run: order.run, module: module.into() });
        });
        let grant = Grant { kstats: granted, ..grant(&sensor, FAR) };
        let before = node.workers.answers().len();
        let slot = node.place_as(1, &sensor, &account, grant).await;
        until("the answer", || node.workers.answers().len() > before).await;
        let answer = node.workers.answers().pop().unwrap();
        match (module, granted) {
            ("zfs", true) => assert_eq!(answer.unwrap()[0].name, "arcstats"),
            ("none", true) => assert_eq!(answer, Err(BrokerError::NotFound)),
            ("huge", true) => assert!(matches!(answer, Err(BrokerError::Other(_))), "no frame is so large"),
            _ => assert!(matches!(answer, Err(BrokerError::Denied(_)))),
        }
        node.workers.release_one().answer(good());
        until("its run", || slot.is_up()).await;
    }
}

#[tokio::test]
async fn a_run_asks_no_more_often_than_it_may_call() {
    let node = Node::new(settings());
    let (sensor, account) = (node.sensor("asks").await, node.account("a", FREE));
    node.workers.on(sensor.digest, |runner, order| {
        runner.hold(order);
        runner.say(&ask(order.run));
    });
    let mut few = grant(&sensor, FAR);
    few.limits.host_calls = 3;
    let slot = node.place_as(1, &sensor, &account, few).await;
    for asked in 1..=3 {
        until("the answer", || node.workers.answers().len() == asked).await;
        let held = node.workers.release_one();
        held.runner.say(&ask(held.order.run));
        held.runner.hold(&held.order);
    }
    until("its end", || slot.totals().runs == 1).await;
    assert_eq!(reason(&slot), Some("runner"));
}
