//! Fuel, CPU, time, memory, stack, calls, handles: what ends a run, and with which words.

use std::time::Duration;

use sonde_host::Grant;

use crate::peer::Peer;
use crate::{MUCH_FUEL, SHORT_WALL, attempt, failed, seen};

#[tokio::test]
async fn fuel() {
    let report = attempt("spin", 0).under(|grant| grant.limits.fuel = 1_000_000).await;
    assert_eq!(failed(&report), ("fuel", "used up its 1000000 fuel".into()));
    assert_eq!(report.usage.fuel, 1_000_000);
}

#[tokio::test]
async fn cpu_where_fuel_would_never_end() {
    let spinning = |grant: &mut Grant| {
        grant.limits.fuel = u64::MAX;
        grant.limits.cpu_ms = 30;
    };
    let report = attempt("spin", 0).under(spinning).await;
    assert_eq!(failed(&report), ("cpu", "took more than 30ms of CPU".into()));
    assert!(report.usage.cpu >= Duration::from_millis(30), "{:?}", report.usage);
    // Waiting is not computing.
    let waiting = |grant: &mut Grant| {
        grant.limits.cpu_ms = SHORT_WALL.as_millis() as u64 / 2;
        grant.limits.wall = SHORT_WALL;
    };
    let report = attempt("wait", 0).with(Peer::Silent).under(waiting).await;
    assert_eq!(failed(&report).0, "deadline");
    assert!(report.usage.cpu < SHORT_WALL / 2, "{:?}", report.usage);
}

#[tokio::test]
async fn wall_while_waiting() {
    let waiting = |grant: &mut Grant| {
        grant.limits.wall = SHORT_WALL;
        grant.limits.host_calls = 1_000_000;
        grant.limits.fuel = u64::MAX;
    };
    let report = attempt("wait", 0).with(Peer::Silent).under(waiting).await;
    assert_eq!(failed(&report), ("deadline", "was not done within 200ms".into()));
    assert!(report.usage.wall >= SHORT_WALL, "{:?}", report.usage);
}

#[tokio::test]
async fn wall_while_computing() {
    let spinning = |grant: &mut Grant| {
        grant.limits.wall = SHORT_WALL;
        grant.limits.fuel = u64::MAX;
        grant.limits.cpu_ms = 60_000;
    };
    let report = attempt("spin", 0).under(spinning).await;
    assert_eq!(failed(&report).0, "deadline");
    assert!(report.usage.cpu > Duration::ZERO, "the time on the CPU is told though it was cut off");
}

#[tokio::test]
async fn memory() {
    let report = attempt("grow", 0).under(|grant| grant.limits.fuel = MUCH_FUEL).await;
    let (reason, _) = failed(&report);
    assert_eq!(reason, "memory");
    let limit = 16 << 20;
    assert!((limit - (2 << 20)..=limit).contains(&report.usage.memory_peak_bytes), "{:?}", report.usage);

    let report = attempt("grow", 0).under(|grant| grant.memory_bytes = 4 << 20).await;
    assert_eq!(failed(&report), ("memory", "asked for more than its 4194304 bytes of memory".into()));
}

#[tokio::test]
async fn a_refusal_of_memory_that_is_survived_is_not_the_failure() {
    assert_eq!(seen(&attempt("refused", 0).run().await), 1.0);
    for what in ["refused_then_called_then_panicked", "refused_then_grown_then_panicked"] {
        assert_eq!(failed(&attempt(what, 0).run().await).0, "trap", "{what}");
    }
}

#[tokio::test]
async fn stack() {
    let report = attempt("recurse", 1_000).run().await;
    assert!(report.result.is_ok(), "{:?}", report.result);
    let report = attempt("recurse", 10_000_000).under(|grant| grant.limits.fuel = MUCH_FUEL).await;
    assert_eq!(failed(&report).0, "stack");
}

#[tokio::test]
async fn boundary_bytes() {
    // In a call of the node, and in what is returned.
    for what in ["log_line", "label_value"] {
        let report = attempt(what, 300 << 10).under(|grant| grant.limits.fuel = MUCH_FUEL).await;
        assert_eq!(failed(&report).0, "boundary", "{what}");
    }
}

#[tokio::test]
async fn host_calls() {
    // Three are the guest's questions for its configuration.
    let limit = |grant: &mut Grant| grant.limits.host_calls = 100;
    let report = attempt("calls", 97).under(limit).await;
    assert_eq!((seen(&report), report.usage.host_calls), (97.0, 100));
    assert_eq!(
        failed(&attempt("calls", 98).under(limit).await),
        ("host_calls", "made more than 100 host calls".into())
    );
}

#[tokio::test]
async fn handles() {
    let limit = |grant: &mut Grant| {
        grant.limits.handles = 2;
        grant.limits.sockets = 10;
    };
    let report = attempt("hold", 2).with(Peer::Silent).under(limit).await;
    assert_eq!((seen(&report), report.usage.handles_peak), (2.0, 2));
    let report = attempt("hold", 3).with(Peer::Silent).under(limit).await;
    assert_eq!(failed(&report), ("handles", "held more than 2 handles".into()));
    let report = attempt("reconnect", 10).with(Peer::Silent).under(limit).await;
    assert_eq!((seen(&report), report.usage.handles_peak), (10.0, 1), "one that is given back is free again");
}

#[tokio::test]
async fn sockets() {
    let report = attempt("sockets", 10).with(Peer::Silent).run().await;
    assert_eq!(seen(&report), 4.0);
    assert_eq!(report.usage.sockets, 4);
    // One that is refused counts: else a sensor could scan ports.
    let report = attempt("sockets", 10).run().await;
    assert_eq!(report.usage.sockets, 4);
}

#[tokio::test]
async fn bytes_in() {
    let peer = Peer::Speaks(vec![b'x'; 10_000]);
    let report = attempt("receive", 300).with(peer).under(|grant| grant.limits.bytes_in = 1_000).await;
    assert_eq!(seen(&report), 1_000.0);
    assert_eq!(report.usage.bytes_in, 1_000);
}

#[tokio::test]
async fn bytes_out() {
    let limit = |grant: &mut Grant| grant.limits.bytes_out = 1_000;
    let report = attempt("send", 1_000).with(Peer::Silent).under(limit).await;
    assert_eq!((seen(&report), report.usage.bytes_out), (1.0, 1_000));
    let report = attempt("send", 1_001).with(Peer::Silent).under(limit).await;
    assert_eq!((seen(&report), report.usage.bytes_out), (0.0, 0), "refused whole, before a byte is sent");
}
