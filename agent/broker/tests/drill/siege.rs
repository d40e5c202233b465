//! Not to get out, but to take others with it: bombs, floods, broken frames, and what is left when somebody dies.

use std::time::{Duration, Instant};

use sonde_host::wire::{self, Opening};
use sonde_host::{Room, Sharing, Workers};
use sonde_manifest::Class;

use crate::orders::{Order, Said};
use crate::stage::{Puppet, Stage, Test, alive, request, resident_bytes, until};

pub const TESTS: &[(&str, Test)] = &[
    ("bombs_hit_only_who_throws_them", |stage| Box::pin(bombs(stage))),
    ("a_flood_of_requests_leaves_others_their_turn", |stage| Box::pin(flood(stage))),
    ("who_does_not_read_is_not_kept", |stage| Box::pin(does_not_read(stage))),
    ("a_broken_frame_ends_who_sent_it", |stage| Box::pin(frames(stage))),
    ("what_is_asked_and_not_waited_for_is_closed", |stage| Box::pin(asks_and_closes(stage))),
    ("children_end_with_the_broker_and_the_agent_knows", |stage| Box::pin(broker_dies(stage))),
    ("a_port_shared_with_another_is_nobodys", |stage| Box::pin(shared_port(stage))),
    ("forgotten_instances_and_closed_doors_open_nothing", |stage| Box::pin(forgotten(stage))),
];

/// Far more threads than a runner may have; and memory (its room has 1,552 MiB: `RUNNER_OVERHEAD_BYTES` and the stage's 16).
const THREADS: u32 = 400;
const MEMORY_BYTES: u64 = 1700 << 20;
/// What a flood may cost another runner's opening on a busy machine of two processors. It takes some 0.1 ms in quiet.
const BEARABLE: Duration = Duration::from_millis(500);
/// What the broker may keep for one that is hostile.
const KEPT_BYTES: u64 = 16 << 20;

async fn bombs(stage: &mut Stage) {
    let mut puppet = stage.puppet().await;
    match puppet.obey(Order::Threads(THREADS)).await {
        Some(Said::Done(started)) => assert!((8..96).contains(&started), "{started}"),
        other => panic!("{other:?}"),
    }
    stage.goes_on().await;
    let mut spinning = stage.puppet().await;
    spinning.order(Order::Spin { threads: 16, milliseconds: 1000 }).await;
    let slowest = slowest_of(stage, 20).await;
    println!("  slowest opening of another beside 16 threads that compute: {slowest:?}");
    assert!(slowest < BEARABLE, "{slowest:?}");
    assert_eq!(spinning.said().await, Some(Said::Done(0)));

    let mut puppet = stage.puppet().await;
    puppet.order(Order::Memory(MEMORY_BYTES)).await;
    puppet.ends("its room has less").await;
    stage.goes_on().await;
}

async fn slowest_of(stage: &mut Stage, times: u32) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..times {
        slowest = slowest.max(stage.goes_on().await);
    }
    slowest
}

/// Requests that an honest runner could make, so that none of them ends it.
async fn flood(stage: &mut Stage) {
    slowest_of(stage, 5).await;
    let quiet = slowest_of(stage, 50).await;
    let mut puppet = stage.puppet().await;
    let late = stage.ticket_for(&puppet, &stage.own, Duration::ZERO);
    let requests = (0..20_000).map(|number| request(&late, number, Opening::Tcp(1))).collect();
    puppet.order(Order::Flood { requests, reads: true }).await;
    let slowest = slowest_of(stage, 50).await;
    let said = puppet.said().await;
    assert_eq!(said, Some(Said::Done(20_000)));

    // And openings that are honoured: secrets, each of which takes a thread to the disk.
    let ticket = stage.ticket(&puppet);
    let secret = |number| request(&ticket, number, Opening::Secret("secret-a".into()));
    puppet.order(Order::Flood { requests: (0..4096).map(secret).collect(), reads: true }).await;
    let beside = slowest_of(stage, 50).await;
    assert_eq!(puppet.said().await, Some(Said::Done(4096)));
    println!(
        "  slowest of 50 openings of another: {quiet:?} in quiet, {slowest:?} in a flood, {beside:?} beside openings"
    );
    assert!(slowest < BEARABLE && beside < BEARABLE);

    // The run has had all that it may, which ends nobody: a sensor can come to that without breaking out.
    for number in 4096..4099 {
        let said = puppet.obey(Order::Ask(secret(number))).await;
        assert!(matches!(said, Some(Said::NotOpened(_))), "{said:?}");
    }
}

async fn does_not_read(stage: &mut Stage) {
    slowest_of(stage, 5).await;
    let before = resident_bytes(stage.broker);
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", stage.broker)).unwrap().count();
    let open_before = descriptors();
    // Refusals, and sockets, of which each ticket's run has four.
    let mut refused = stage.puppet().await;
    let late = stage.ticket_for(&refused, &stage.own, Duration::ZERO);
    let requests = (0..40_000).map(|number| request(&late, number, Opening::Tcp(1))).collect();
    let mut greedy = stage.puppet().await;
    let mut sockets = Vec::new();
    for _ in 0..1000 {
        let ticket = stage.ticket(&greedy);
        sockets.extend((0..4).map(|number| request(&ticket, number, Opening::Tcp(stage.own.port))));
    }
    refused.order(Order::Flood { requests, reads: false }).await;
    greedy.order(Order::Flood { requests: sockets, reads: false }).await;
    // Each ends when it has not read for so long; meanwhile others go on.
    let began = Instant::now();
    let (mut most, mut most_open, mut slowest) = (0, 0, Duration::ZERO);
    while alive(refused.ready.pid) || alive(greedy.ready.pid) {
        slowest = slowest.max(stage.goes_on().await);
        most = most.max(resident_bytes(stage.broker).saturating_sub(before));
        most_open = most_open.max(descriptors_of(stage.broker).saturating_sub(open_before));
        assert!(began.elapsed() < Duration::from_secs(25), "who does not read is kept");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!(
        "  ended after {:?}; kept {} KiB and {most_open} descriptors; slowest of another {slowest:?}",
        began.elapsed(),
        most >> 10
    );
    assert!(most < KEPT_BYTES && slowest < BEARABLE);
    // 64 that wait, and 512 on their way with a namespace and two sockets each.
    assert!(most_open < 64 + 512 * 3, "{most_open}");
}

fn descriptors_of(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

async fn frames(stage: &mut Stage) {
    stage.goes_on().await;
    let before = resident_bytes(stage.broker);
    let head = |bytes: u32| bytes.to_le_bytes().to_vec();
    let puppet = stage.puppet().await;
    let whole = wire::encode(&request(&stage.ticket(&puppet), 0, Opening::Tcp(1)));
    let more = [head(whole.len() as u32 + 1), whole.clone(), vec![0]].concat();
    let with_descriptor = [head(whole.len() as u32 | 1 << 31), whole.clone()].concat();
    drop(puppet);
    let broken = [
        ("a frame longer than any", head(u32::MAX), 1),
        ("a frame longer than a request, begun", [head(16 << 20), vec![7; 1000]].concat(), 1),
        ("a frame longer than a path, begun", [head(9000), vec![b'/'; 1000]].concat(), 1),
        ("no message", [head(40), vec![0xff; 40]].concat(), 1),
        ("an empty message", head(0), 1),
        ("a message and more", more, 1),
        ("a descriptor that did not come", with_descriptor, 1),
        ("noise", (0..4096_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect(), 16),
    ];
    for (what, bytes, times) in broken {
        let mut puppet = stage.puppet().await;
        puppet.order(Order::Bytes { bytes, times }).await;
        // It may still have said that its bytes were not taken.
        puppet.said().await;
        puppet.is_gone(what).await;
        stage.goes_on().await;
    }
    // One that never ends is one frame, and is kept for as long as the runner lives.
    let mut puppets = Vec::new();
    for _ in 0..8 {
        let mut puppet = stage.puppet().await;
        let unfinished = [head(8000), vec![1; 7999]].concat();
        assert_eq!(puppet.obey(Order::Bytes { bytes: unfinished, times: 1 }).await, Some(Said::Done(0)));
        puppets.push(puppet);
    }
    stage.goes_on().await;
    let kept = resident_bytes(stage.broker).saturating_sub(before);
    println!("  the broker grew by {} KiB", kept >> 10);
    assert!(kept < KEPT_BYTES, "{kept}");
}

async fn asks_and_closes(stage: &mut Stage) {
    stage.goes_on().await;
    let before = descriptors_of(stage.broker);
    for _ in 0..10 {
        let mut puppet = stage.puppet().await;
        let ticket = stage.ticket(&puppet);
        puppet.order(Order::AskAndClose(request(&ticket, 0, Opening::Tcp(stage.own.port)))).await;
        puppet.ends("a runner without a broker is none").await;
        stage.goes_on().await;
    }
    let broker = stage.broker;
    until(|| descriptors_of(broker) <= before, "what was opened for nobody is open").await;
}

async fn broker_dies(stage: &mut Stage) {
    stage.goes_on().await;
    let puppets = [stage.puppet().await, stage.puppet().await];
    let broker = rustix::process::Pid::from_raw(stage.broker.cast_signed()).unwrap();
    let starting = stage.client.start_compiler();
    rustix::process::kill_process(broker, rustix::process::Signal::KILL).unwrap();
    // Whether or not the broker came to it, nobody waits for ever.
    let _ = tokio::time::timeout(Duration::from_secs(20), starting).await.expect("an answer");
    tokio::time::timeout(Duration::from_secs(20), stage.client.ended()).await.expect("the agent knows");
    for puppet in puppets {
        puppet.ends("its parent has died").await;
    }
    let room = Room { class: Class::Small, sharing: Sharing::Light };
    assert!(stage.client.start_runner(room).await.unwrap_err().to_string().contains("has ended"));
    let grant = crate::stage::grant(1, "secret-a");
    let none = Default::default();
    let doors = stage.client.doors(stage.own.found.name.uuid, &grant, &none);
    tokio::time::timeout(Duration::from_secs(20), doors).await.expect("an answer");
    until(|| !alive(broker.as_raw_nonzero().get().cast_unsigned()), "the broker was not waited for").await;
    // The next broker clears up behind the last one.
    let mut next = sonde_broker::launch(&std::env::current_exe().unwrap(), &[]).unwrap().connect(1 << 20).unwrap();
    tokio::time::timeout(Duration::from_secs(20), next.start_compiler()).await.expect("an answer").unwrap();
    next.stop().await;
    next = stage.client.clone();
    next.stop().await;
}

/// With `SO_REUSEPORT` two processes of one user listen at one address, and the kernel chooses whom a connection meets.
async fn shared_port(stage: &mut Stage) {
    let mut puppet = stage.puppet().await;
    let ticket = stage.ticket(&puppet);
    let open = |number| Order::Ask(request(&ticket, number, Opening::Tcp(stage.own.port)));
    let opened = Some(Said::Opened { descriptor: true, secret: None });
    assert_eq!(puppet.obey(open(0)).await, opened);
    let another = crate::stage::listen(stage.own.port);
    let said = puppet.obey(open(1)).await;
    assert!(
        matches!(&said, Some(Said::NotOpened(error)) if error.to_string().contains("not the instance's")),
        "{said:?}"
    );
    drop(another);
    assert_eq!(puppet.obey(open(2)).await, opened);
}

async fn forgotten(stage: &mut Stage) {
    let mut puppet = stage.puppet().await;
    let tickets = [(); 3].map(|()| stage.ticket(&puppet));
    let open = |puppet: &Puppet, run: usize, number| {
        assert_eq!(tickets[run].runner, puppet.number);
        Order::Ask(request(&tickets[run], number, Opening::Tcp(stage.own.port)))
    };
    let opened = Some(Said::Opened { descriptor: true, secret: None });
    let order = open(&puppet, 0, 0);
    assert_eq!(puppet.obey(order).await, opened);
    // Whose it is has changed: the doors are still the instance's, and what is opened is judged by the new owner.
    stage.client.note(&stage.own.found, "c");
    let order = open(&puppet, 0, 1);
    assert_eq!(puppet.obey(order).await, opened);
    stage.client.forget(stage.own.found.name.uuid);
    // Doors that are told are answered behind what was said before them.
    let grant = crate::stage::grant(1, "secret-a");
    let other = stage.client.doors(stage.own.found.name.uuid, &grant, &Default::default()).await;
    let order = open(&puppet, 0, 2);
    assert_eq!(puppet.obey(order).await, Some(Said::NotOpened(sonde_host::BrokerError::Gone)));
    stage.client.note(&stage.own.found, "a");
    drop(other);
    // A ticket before its doors, and one whose doors are closed in mid-run.
    let doors = stage.client.doors(stage.own.found.name.uuid, &grant, &Default::default()).await.unwrap();
    let number = doors.number();
    let early = stage.ticket_with(&puppet, number + 1);
    let said = puppet.obey(Order::Ask(request(&early, 0, Opening::Tcp(1)))).await;
    assert!(matches!(said, Some(Said::NotOpened(sonde_host::BrokerError::Denied(_)))), "{said:?}");
    let closed = stage.ticket_with(&puppet, number);
    let said = puppet.obey(Order::Ask(request(&closed, 0, Opening::Tcp(1)))).await;
    assert!(
        matches!(&said, Some(Said::NotOpened(error)) if !matches!(error, sonde_host::BrokerError::Gone)),
        "{said:?}"
    );
    drop(doors);
    stage.goes_on().await;
    let again = stage.client.doors(stage.others.found.name.uuid, &grant, &Default::default()).await;
    let said = puppet.obey(Order::Ask(request(&closed, 1, Opening::Tcp(1)))).await;
    assert!(matches!(said, Some(Said::NotOpened(sonde_host::BrokerError::Denied(_)))), "{said:?}");
    drop(again);
}
