//! Runners: started, dying, stuck, idle, and what becomes of those who were in them.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sonde_host::wire::Outcome;
use sonde_host::{Digest, Patience, RunFailure, RunnersFor, Settings, Sharing, Usage};

use super::workers::Start;
use super::*;

fn patience(change: impl FnOnce(&mut Patience)) -> Settings {
    let mut settings = settings();
    change(&mut settings.patience);
    settings
}

#[tokio::test]
async fn a_dead_runner_costs_who_was_in_it_one_run_and_others_nothing() {
    let node = Node::new(with_places(2));
    let account = node.account("a", FREE);
    let (killer, bystander, waiting) =
        (node.sensor("killer").await, node.sensor("bystander").await, node.sensor("waiting").await);
    node.workers.on(bystander.digest, |runner, order| runner.hold(order));
    node.workers.on(killer.digest, |runner, order| runner.hold(order));
    let innocent = node.place(1, &bystander, &account, AT_ONCE).await;
    let guilty = node.place(2, &killer, &account, AT_ONCE).await;
    until("both to run", || node.workers.held() == 2).await;
    let third = node.place(3, &waiting, &account, AT_ONCE).await;
    node.meanwhile_places_are_full().await;
    node.workers.on(bystander.digest, |runner, order| runner.done(order.run, good()));
    node.workers.on(killer.digest, |runner, _| runner.die());
    let died = Instant::now();
    node.workers.release_one().runner.die();
    until("who waited", || third.totals().runs > 0).await;
    assert!(died.elapsed() < Duration::from_secs(1) && third.totals().failures.iter().sum::<u64>() == 0);
    until("the killer's quarantine", || guilty.standing().quarantine.is_some()).await;
    let trials = |digest| {
        let runs = node.workers.runs_of(digest).into_iter();
        runs.filter(|run| run.room.sharing == Sharing::Solitary).map(|run| run.runner).collect::<Vec<_>>()
    };
    until("the innocent to be back", || {
        node.workers.runs_of(bystander.digest).iter().rev().take(5).all(|run| run.room.sharing == Sharing::Light)
    })
    .await;
    assert_eq!((innocent.totals().runs > 5, innocent.is_up(), reason(&innocent)), (true, true, Some("runner")));
    assert_eq!(trials(killer.digest).len(), 2, "its second death alone is its last");
    let alone: Vec<u64> = [trials(killer.digest), trials(bystander.digest)].concat();
    assert_eq!(alone.len(), 2 + 3);
    assert_eq!(alone.iter().collect::<HashSet<_>>().len(), alone.len(), "each in a process that saw no other");
    until("all of them to be ended", || alone.iter().all(|number| node.workers.was_killed(*number))).await;
    node.workers.on(killer.digest, |runner, order| runner.done(order.run, good()));
    node.schedule.release(guilty.clone()).await;
    until("a run after its release", || guilty.is_up()).await;
}

impl Node {
    /// Both places are taken: what is waiting is seen to wait.
    async fn meanwhile_places_are_full(&self) {
        let probe = self.sensor_with("probe", "class = \"medium\"").await;
        let slot = self.place(901, &probe, &self.account("probe", FREE), AT_ONCE).await;
        until("the probe's runs", || slot.totals().runs >= 3).await;
        self.schedule.remove(slot).await;
        assert_eq!(self.workers.held(), 2);
    }
}

#[tokio::test]
async fn who_computes_long_or_breaks_a_limit_runs_apart_from_who_does_neither() {
    let node = Node::new(with_places(4));
    let account = node.account("a", FREE);
    let (light, heavy, breaker) =
        (node.sensor("light").await, node.sensor("heavy").await, node.sensor("breaker").await);
    let usage = Usage { cpu: Duration::from_millis(5), ..Usage::default() };
    node.workers.on(heavy.digest, move |runner, order| {
        // No run is taken to have computed for longer than it was there.
        let began = Instant::now();
        while began.elapsed() < usage.cpu {
            std::hint::spin_loop();
        }
        runner.done(order.run, Outcome { usage, ..good() });
    });
    let overflows = || Outcome { result: Err(RunFailure::Stack), ..good() };
    node.workers.on(breaker.digest, move |runner, order| runner.done(order.run, overflows()));
    for (target, sensor) in [(1, &light), (2, &heavy), (3, &breaker)] {
        node.place(target, sensor, &account, AT_ONCE).await;
    }
    let rooms = |digest| node.workers.runs_of(digest).iter().map(|run| run.room.sharing).collect::<Vec<_>>();
    for digest in [heavy.digest, breaker.digest] {
        until("three runs", || rooms(digest).len() >= 3).await;
        let (first, then) = (rooms(digest)[0], rooms(digest)[1..].to_vec());
        assert_eq!(first, Sharing::Light, "nothing was known of it");
        assert!(then.iter().all(|sharing| *sharing == Sharing::Heavy), "{then:?}");
    }
    node.workers.on(heavy.digest, |runner, order| runner.done(order.run, good()));
    until("its way back", || rooms(heavy.digest).last() == Some(&Sharing::Light)).await;
    assert!(rooms(light.digest).iter().all(|sharing| *sharing == Sharing::Light));
}

#[tokio::test]
async fn a_killer_with_many_slots_kills_no_more_often() {
    let node = Node::new(with_places(1));
    let killer = node.sensor("killer").await;
    let gate = node.sensor("gate").await;
    node.workers.on(gate.digest, |runner, order| runner.hold(order));
    node.place(99, &gate, &node.account("gate", FREE), FAR).await;
    until("the gate to be shut", || node.workers.held() == 1).await;
    node.workers.on(killer.digest, |runner, _| runner.die());
    let mut slots = Vec::new();
    for target in 0..20 {
        slots.push(node.place(target, &killer, &node.account("a", FREE), AT_ONCE).await);
    }
    node.workers.release_one().answer(good());
    until("all to be quarantined", || slots.iter().all(|slot| slot.standing().quarantine.is_some())).await;
    assert_eq!(node.workers.runs_of(killer.digest).len(), 3, "one among others, two alone");
    assert_eq!(node.schedule.facts().runners_ended.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn who_dies_beside_nobody_but_not_alone_is_not_judged_for_it() {
    let node = Node::new(with_places(1));
    let (framed, account) = (node.sensor("framed").await, node.account("a", FREE));
    // Runners of all end under it, for what somebody before left there; alone it does well.
    node.workers.on(framed.digest, |runner, order| match runner.room.sharing {
        Sharing::Solitary => runner.done(order.run, good()),
        _ => runner.die(),
    });
    let slot = node.place(1, &framed, &account, AT_ONCE).await;
    until("many runs", || slot.totals().runs > 20).await;
    assert_eq!(slot.standing().quarantine, None);
}

#[tokio::test]
async fn a_stuck_runner_is_ended() {
    let node = Node::new(patience(|patience| patience.overdue = Duration::from_millis(50)));
    let (stuck, account) = (node.sensor("stuck").await, node.account("a", FREE));
    node.workers.on(stuck.digest, |runner, order| runner.hold(order));
    let mut short = grant(&stuck, FAR);
    short.limits.wall = Duration::from_millis(10);
    let slot = node.place_as(1, &stuck, &account, short).await;
    until("its end", || slot.totals().runs == 1).await;
    assert_eq!(reason(&slot), Some("runner"));
    assert!(node.workers.was_killed(node.workers.runs()[0].runner));
    node.meanwhile(3).await;
}

#[tokio::test]
async fn runners_that_cannot_be_started_are_tried_again_and_nothing_is_lost() {
    let node = Node::new(patience(|patience| patience.starting = Duration::from_millis(30)));
    let sensor = node.sensor_with("unstarted", "class = \"medium\"").await;
    // The runner that described it is there; the next one is not.
    node.workers.on(sensor.digest, |runner, _| runner.die());
    node.workers.starting(Start::Fails);
    let account = node.account("a", FREE);
    let slot = node.place(1, &sensor, &account, AT_ONCE).await;
    let start = 12;
    assert_eq!(RunFailure::REASONS[start], "start");
    let before = Instant::now();
    until("failures", || slot.totals().failures[start] >= 4).await;
    // Twice at once, then after 100 and 200 ms.
    assert!(before.elapsed() >= Duration::from_millis(300), "{:?}", before.elapsed());
    let shown = slot.last_failure().unwrap().failure.to_string();
    assert!(shown.contains("cannot be started") && !shown.contains('\n'), "{shown:?}");
    node.workers.starting(Start::NeverEnds);
    let failed = slot.totals().failures[start];
    until("a start that never ends to be given up", || slot.totals().failures[start] > failed).await;
    node.workers.on(sensor.digest, |runner, order| runner.done(order.run, good()));
    node.workers.starting(Start::Works);
    until("a run", || slot.is_up()).await;
    assert_eq!(slot.standing(), Default::default());
}

#[tokio::test]
async fn each_account_has_its_runner_and_idle_ones_end() {
    let mut settings = patience(|patience| patience.idle = Duration::from_millis(50));
    settings.runners_for = RunnersFor::Account;
    let node = Node::new(settings);
    let (sensor, account) = (node.sensor("rare").await, node.account("a", FREE));
    let slot = node.place(1, &sensor, &account, Duration::from_millis(300)).await;
    let steady = node.place(1, &sensor, &node.account("b", FREE), AT_ONCE).await;
    let of = |number| {
        let runs = node.workers.runs().into_iter();
        runs.filter(|run| run.account == number).map(|run| run.runner).collect::<HashSet<_>>()
    };
    until("its third runner", || of(account.number).len() == 3).await;
    node.schedule.remove(slot.clone()).await;
    assert_eq!(of(steady.account.number).len(), 1);
    assert!(of(account.number).is_disjoint(&of(steady.account.number)));
    until("the idle ones to be ended", || of(account.number).iter().all(|number| node.workers.was_killed(*number)))
        .await;
    assert_eq!((reason(&slot), reason(&steady)), (None, None));
}

#[tokio::test]
async fn the_end_of_the_schedule_is_the_end_of_its_runners() {
    let node = Node::new(settings());
    node.meanwhile(3).await;
    assert!(node.workers.alive() > 0);
    let Node { workers, schedule, loader, .. } = node;
    drop((schedule, loader));
    until("all to be ended", || workers.alive() == 0).await;
}

#[tokio::test]
async fn components_make_room_and_come_again_whole() {
    let node = Node::new(Settings { loaded: 1, ..with_places(1) });
    let account = node.account("a", FREE);
    let (first, second) = (node.sensor("first").await, node.sensor("second").await);
    let one = node.place(1, &first, &account, AT_ONCE).await;
    let two = node.place(2, &second, &account, AT_ONCE).await;
    // That each run has its whole code is asserted by the runner.
    until("both to run", || one.totals().runs > 3 && two.totals().runs > 3).await;
    assert!(one.is_up() && two.is_up() && reason(&one).is_none() && reason(&two).is_none());
    let unloaded = node.workers.unloaded();
    assert!(unloaded.contains(&first.digest) && unloaded.contains(&second.digest));
}

#[tokio::test]
async fn who_is_alone_is_so_beside_descriptions_too() {
    let node = Node::new(with_places(4));
    let (first, account) = (node.sensor("first").await, node.account("a", FREE));
    let second = Digest::of(&component("second", ""));
    node.workers.on_describe(second, |runner, _| runner.die());
    let load = || node.loader.load(component("second", ""), &account);
    assert!(load().await.unwrap_err().is_transient());
    node.workers.on(first.digest, |runner, order| match runner.room.sharing {
        Sharing::Solitary => runner.hold(order),
        _ => runner.die(),
    });
    node.place(1, &first, &account, AT_ONCE).await;
    until("the suspect to be alone", || node.workers.held() == 1).await;
    node.workers.on_describe(second, |runner, order| runner.hold(order));
    let (loader, loads) = (node.loader.clone(), account.clone());
    let loading = tokio::spawn(async move { loader.load(component("second", ""), &loads).await });
    node.meanwhile(5).await;
    assert_eq!(node.workers.held(), 1, "the other suspect waits until it is alone");
    node.workers.on(first.digest, |runner, order| runner.done(order.run, good()));
    node.workers.release_one().answer(good());
    until("the description", || node.workers.held() == 1).await;
    node.workers.release_one().answer(described());
    loading.await.unwrap().unwrap();
}
