//! Who has a place, and who is next.

use std::time::Duration;

use sonde_host::wire::Outcome;
use sonde_host::{Held, Settings, Share, Usage};

use super::*;

#[tokio::test]
async fn who_waits_on_a_server_holds_back_only_their_own() {
    let node = Node::new(settings());
    let (sensor, account) = (node.sensor("stuck").await, node.account("a", FREE));
    node.workers.on(sensor.digest, |runner, order| runner.hold(order));
    let mut stuck = Vec::new();
    for _ in 0..60 {
        stuck.push(node.place(1, &sensor, &account, FAR).await);
    }
    // Of the same account: the row of the others is longer than anybody would look through.
    let good = node.sensor("good").await;
    let neighbour = node.place(2, &good, &account, AT_ONCE).await;
    until("the neighbour's runs", || neighbour.totals().runs >= 5).await;
    assert_eq!(node.workers.held(), 4, "what one target may have at once");
    node.workers.release_one().answer(super::good());
    until("the next of the target", || node.workers.runs_of(sensor.digest).len() == 5).await;
    let held = stuck.iter().map(|slot| slot.totals().held[Held::Share as usize]).sum::<Duration>();
    assert!(held > Duration::ZERO);
}

#[tokio::test]
async fn places_are_as_many_as_the_class_has_memory() {
    let node = Node::new(Settings { runner_memory_bytes: 3 * (64 << 20), ..settings() });
    let sensor = node.sensor_with("medium", "class = \"medium\"").await;
    let account = node.account("a", FREE);
    node.workers.on(sensor.digest, |runner, order| runner.hold(order));
    let mut slots = Vec::new();
    for target in 0..4 {
        slots.push(node.place(target, &sensor, &account, FAR).await);
    }
    until("the places to be taken", || node.workers.held() == 3).await;
    // The small class has places of its own.
    node.meanwhile(5).await;
    assert_eq!(node.workers.held(), 3);
    node.workers.release_one().answer(good());
    until("the fourth", || node.workers.runs_of(sensor.digest).len() == 4).await;
    let held = slots.iter().map(|slot| slot.totals().held[Held::Place as usize]).sum::<Duration>();
    assert!(held > Duration::ZERO && account.usage().held[Held::Place as usize] == held);
}

#[tokio::test]
async fn an_account_has_its_part_of_the_places() {
    let node = Node::new(with_places(4));
    let (sensor, greedy) = (node.sensor("slow").await, node.account("greedy", Share { places: 0.5, ..FREE }));
    node.workers.on(sensor.digest, |runner, order| runner.hold(order));
    for target in 0..5 {
        node.place(target, &sensor, &greedy, FAR).await;
    }
    until("its part", || node.workers.held() == 2).await;
    node.meanwhile(5).await;
    assert_eq!(node.workers.held(), 2);
    node.workers.release_one().answer(good());
    until("the next", || node.workers.runs_of(sensor.digest).len() == 3).await;
    assert!(greedy.usage().held[Held::Share as usize] > Duration::ZERO);
}

#[tokio::test]
async fn the_cpu_bound_holds_is_explained_and_a_new_share_ends_it() {
    let node = Node::new(settings());
    let (sensor, poor) = (node.sensor("dear").await, node.account("poor", Share { cpu_cores: 0.001, ..FREE }));
    node.workers.on(sensor.digest, |runner, order| runner.hold(order));
    let slot = node.place(1, &sensor, &poor, AT_ONCE).await;
    until("its run", || node.workers.held() == 1).await;
    let began = Instant::now();
    until("50 ms to pass", || began.elapsed() > Duration::from_millis(50)).await;
    let usage = Usage { cpu: Duration::from_millis(50), ..Usage::default() };
    node.workers.release_one().answer(Outcome { usage, ..good() });
    until("it to be charged", || poor.held_until(Instant::now()).is_some()).await;
    node.meanwhile(10).await;
    assert_eq!(node.workers.held(), 0, "5 ms may be saved up; the rest is to be paid back");
    node.account("poor", FREE);
    until("its next run", || node.workers.held() == 1).await;
    assert!(slot.totals().held[Held::Cpu as usize] > Duration::ZERO);
}

/// Accounts in the order in which they were served, of so many runs.
async fn served(node: &Node, runs: usize) -> Vec<u64> {
    until("the runs", || node.workers.runs().len() >= runs).await;
    node.workers.runs()[..runs].iter().map(|run| run.account).collect()
}

#[tokio::test]
async fn one_slot_is_served_as_often_as_a_thousand() {
    let node = Node::new(with_places(1));
    let (crowd, single) = (node.account("crowd", FREE), node.account("single", FREE));
    let (many, one, gate) = (node.sensor("many").await, node.sensor("one").await, node.sensor("gate").await);
    node.workers.on(gate.digest, |runner, order| runner.hold(order));
    node.place(1, &gate, &node.account("gate", FREE), FAR).await;
    until("the gate to be shut", || node.workers.held() == 1).await;
    for target in 0..1_000 {
        node.place(target, &many, &crowd, Duration::from_nanos(1)).await;
    }
    node.place(1, &one, &single, Duration::from_nanos(1)).await;
    node.workers.release_one().answer(good());
    let served = served(&node, 201).await;
    let singles = served.iter().filter(|account| **account == single.number).count();
    assert!((80..=120).contains(&singles), "{singles} of 200");
}

#[tokio::test]
async fn weights_divide_the_runs() {
    let node = Node::new(with_places(1));
    let light = node.account("light", Share { weight: 100, ..FREE });
    let heavy = node.account("heavy", Share { weight: 300, ..FREE });
    let (sensor, gate) = (node.sensor("any").await, node.sensor("gate").await);
    node.workers.on(gate.digest, |runner, order| runner.hold(order));
    node.place(1, &gate, &node.account("gate", FREE), FAR).await;
    until("the gate to be shut", || node.workers.held() == 1).await;
    for target in 0..100 {
        node.place(target, &sensor, &light, Duration::from_nanos(1)).await;
        node.place(target, &sensor, &heavy, Duration::from_nanos(1)).await;
    }
    node.workers.release_one().answer(good());
    let served = served(&node, 201).await;
    let heavies = served.iter().filter(|account| **account == heavy.number).count();
    assert!((130..=170).contains(&heavies), "{heavies} of 200");
}
