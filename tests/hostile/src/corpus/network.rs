//! Rows 40 and 41: HTTP that the node speaks for the guest.

use super::files::*;
use crate::guest::{Expected, Fact, Guest, Peer};

const OK: Expected = Expected::Succeeds;
/// `invalid`, `protocol`, `closed`, `denied`, as the world numbers them.
const INVALID: Fact = Fact::Found { least: 5, most: 5 };
const PROTOCOL: Fact = Fact::Found { least: 3, most: 3 };
const CLOSED_OR_PROTOCOL: Fact = Fact::Found { least: 2, most: 3 };

/// Path, host, name and value of a header, each as TOML; why.
const MALFORMED: [(&str, [&str; 4], &str); 16] = [
    ("absolute-form", [r#""http://evil/""#, r#""""#, r#""""#, r#""""#], "a path addresses no other host"),
    ("authority-form", [r#""evil:80""#, r#""""#, r#""""#, r#""""#], "a path addresses no other host"),
    ("asterisk-form", [r#""*""#, r#""""#, r#""""#, r#""""#], "a path begins with a slash"),
    (
        "crlf-in-path",
        [r#""/ HTTP/1.1\r\nHost: evil\r\n\r\nGET /""#, r#""""#, r#""""#, r#""""#],
        "a line ends where the node ends it",
    ),
    ("space-in-path", [r#""/a b""#, r#""""#, r#""""#, r#""""#], "a path has no spaces"),
    ("crlf-in-host", [r#""/""#, r#""a\r\nX: y""#, r#""""#, r#""""#], "a line ends where the node ends it"),
    ("user-in-host", [r#""/""#, r#""user@evil""#, r#""""#, r#""""#], "a host has no user"),
    ("path-in-host", [r#""/""#, r#""evil/x""#, r#""""#, r#""""#], "a host has no path"),
    ("crlf-in-value", [r#""/""#, r#""""#, r#""x-a""#, r#""b\r\nHost: evil""#], "a line ends where the node ends it"),
    ("lf-in-value", [r#""/""#, r#""""#, r#""x-a""#, r#""b\nHost: evil""#], "a line ends where the node ends it"),
    ("crlf-in-name", [r#""/""#, r#""""#, r#""x\r\ny""#, r#""b""#], "a name is a token"),
    ("host-header", [r#""/""#, r#""""#, r#""HOST""#, r#""evil""#], "the node writes it"),
    ("length-header", [r#""/""#, r#""""#, r#""Content-Length""#, r#""5""#], "the node writes it"),
    ("transfer-header", [r#""/""#, r#""""#, r#""transfer-encoding""#, r#""chunked""#], "the node writes it"),
    ("te-header", [r#""/""#, r#""""#, r#""te""#, r#""trailers""#], "the node writes it"),
    ("upgrade-header", [r#""/""#, r#""""#, r#""Upgrade""#, r#""h2c""#], "the node writes it"),
];

/// What a bad peer says first, and what the guest must be told.
const BAD_PEERS: [(&str, Peer, Fact, &str); 7] = [
    (
        "silence-after-the-head",
        Peer::Says(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n123"),
        CLOSED_OR_PROTOCOL,
        "a body that breaks off is no body",
    ),
    ("no-http", Peer::Says(b"SSH-2.0-OpenSSH\r\n\r\n"), CLOSED_OR_PROTOCOL, "it does not speak HTTP"),
    (
        "giant-chunk",
        Peer::Says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n"),
        Fact::Found { least: 2, most: 6 },
        "a chunk's length does not wrap",
    ),
    (
        "giant-length",
        Peer::Says(b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n"),
        Fact::Found { least: 2, most: 6 },
        "nothing is set aside for what is only announced",
    ),
    (
        "two-lengths",
        Peer::Says(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx"),
        PROTOCOL,
        "a message has one length",
    ),
    (
        "endless-head",
        Peer::Endless(b"HTTP/1.1 200 OK\r\n", b"x-a: bbbbbbbbbbbbbbbbbbbbbbbbb\r\n"),
        PROTOCOL,
        "a head has an end",
    ),
    (
        "endless-body",
        Peer::Endless(b"HTTP/1.1 200 OK\r\n\r\n", b"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"),
        Fact::Found { least: 1_001, most: 1_000 + (1 << 20) },
        "a body is cut at the run's bytes",
    ),
];

pub(super) fn guests() -> Vec<Guest> {
    let mut guests: Vec<Guest> = MALFORMED.into_iter().map(malformed).collect();
    guests.extend(BAD_PEERS.map(|(name, peer, fact, why)| {
        Guest::file(G41_FETCH_FROM_A_BAD_PEER, why, OK).variant(name).asks("http = [1]").peer(peer).facts(&[fact])
    }));
    // The same guest with nothing wrong: what the others are told is not for want of a peer.
    let [path, host, header, value] = [r#""/metrics?x=1""#, r#""example:80""#, r#""x-a""#, r#""b""#];
    guests.push(
        malformed(("well-formed", [path, host, header, value], "a sound request is sent"))
            .peer(Peer::Says(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))
            .only(&[Fact::Found { least: 200, most: 200 }, Fact::Sockets(1)]),
    );
    let slow = |name| {
        // Told that its time is over or ended by it, as it comes: either way it is done then.
        Guest::file(G41_FETCH_FROM_A_BAD_PEER, "the run's deadline is each wait's", Expected::Either)
            .variant(name)
            .asks("http = [1]")
            .limits("wall = \"300ms\"")
    };
    guests.push(slow("tarpit").peer(Peer::Tarpit));
    guests.push(slow("silence").peer(Peer::Silent));
    guests.push(slow("drips-in-the-head").peer(Peer::Drips(b"HTTP/1.1 200 OK x-a: b")));
    guests
}

fn malformed((name, [path, host, header, value], why): (&str, [&'static str; 4], &'static str)) -> Guest {
    Guest::file(G40_FETCH_AS_TOLD, why, OK)
        .variant(name)
        .asks("http = [1]")
        .peer(Peer::Silent)
        .config("path", path)
        .config("host", host)
        .config("header", header)
        .config("value", value)
        .facts(&[INVALID, Fact::Sockets(0)])
}
