//! `http`, which has limits of its own beside the run's, and what is refused by the grant.

use sonde_host::Grant;

use crate::peer::Peer;
use crate::{SHORT_WALL, attempt, failed, seen};

/// A response of a hundred bytes of body.
fn response() -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: 100\r\nserver: test\r\n\r\n{}", "b".repeat(100))
}

#[tokio::test]
async fn http_is_counted_as_the_socket_has_it() {
    let peer = Peer::answers(&response());
    let received = peer.received();
    let report = attempt("fetch", 1_000).with(peer).run().await;
    assert_eq!(seen(&report), 100.0);
    assert!(report.logs.is_empty(), "the whole body came");
    assert_eq!(report.usage.bytes_in, response().len() as u64);
    assert_eq!(report.usage.bytes_out, received.get().len() as u64, "{:?}", received.get());
}

#[tokio::test]
async fn http_over_its_limits() {
    let cut = attempt("fetch", 10).with(Peer::answers(&response())).run().await;
    assert_eq!((seen(&cut), cut.logs.len()), (10.0, 1), "max_body_bytes, and the guest is told");

    let head = response().len() - 100;
    let limit = |grant: &mut Grant| grant.limits.bytes_in = head as u64 + 60;
    let cut = attempt("fetch", 1_000).with(Peer::answers(&response())).under(limit).await;
    assert_eq!((seen(&cut), cut.logs.len()), (60.0, 1), "bytes_in within the body");
    assert_eq!(cut.usage.bytes_in, head as u64 + 60);

    let report =
        attempt("fetch", 1_000).with(Peer::answers(&response())).under(|grant| grant.limits.bytes_in = 20).await;
    let (reason, sentence) = failed(&report);
    assert_eq!(reason, "denied");
    assert!(sentence.contains("20 bytes received"), "{sentence}");

    let report = attempt("fetch", 1_000).with(Peer::Silent).under(|grant| grant.limits.bytes_out = 20).await;
    assert_eq!((failed(&report).0, report.usage.sockets), ("denied", 0));
}

#[tokio::test]
async fn http_that_breaks_off_is_counted_too() {
    let half = response()[..response().len() - 50].to_owned();
    let report = attempt("fetch", 1_000).with(Peer::answers(&half)).run().await;
    assert_eq!(failed(&report).0, "protocol");
    assert_eq!(report.usage.bytes_in, half.len() as u64);

    let peer = Peer::Stalls(half.clone().into_bytes());
    let report = attempt("fetch", 1_000).with(peer).under(|grant| grant.limits.wall = SHORT_WALL).await;
    assert!(["deadline", "timeout"].contains(&failed(&report).0), "{:?}", report.result);
    assert_eq!(report.usage.bytes_in, half.len() as u64, "told though it was cut off");
}

#[tokio::test]
async fn http_to_no_other_authority() {
    for what in ["fetch_from_user", "fetch_from_long_host"] {
        let report = attempt(what, 0).with(Peer::Silent).run().await;
        assert_eq!((failed(&report).0, report.usage.sockets), ("misconfigured", 0), "{what}");
    }
}

#[tokio::test]
async fn what_is_not_granted_is_denied() {
    let report = attempt("wait", 0).with(Peer::Silent).under(|grant| grant.tcp.clear()).await;
    assert_eq!((failed(&report).0, report.usage.sockets), ("denied", 0));
    let report = attempt("fetch", 1).with(Peer::Silent).under(|grant| grant.http.clear()).await;
    assert_eq!((failed(&report).0, report.usage.sockets), ("denied", 0));
}
