//! A real server, asked by a real client.

use std::process::Command;
use std::sync::atomic::Ordering;

use tokio::net::UdpSocket;

use super::*;

/// A server on loopback, and what asks it with `dig`.
struct Running {
    port: u16,
    counters: Arc<Counters>,
    _stop: watch::Sender<bool>,
}

async fn running(settings: Settings, catalogue: Arc<Catalogue>) -> Running {
    let server = Server::bind(&settings, catalogue).await.unwrap();
    let (port, counters) = (server.addresses()[0].port(), server.counters());
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(server.run(stopped));
    Running { port, counters, _stop: stop }
}

impl Running {
    /// What `dig` prints.
    async fn dig(&self, arguments: &str) -> String {
        let mut command = Command::new("dig");
        command.args(["@127.0.0.1", "-p", &self.port.to_string(), "+tries=1", "+time=5", "+norec"]);
        command.args(arguments.split(' '));
        let output = tokio::task::spawn_blocking(move || command.output().expect("dig is installed")).await.unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dig_is_answered_over_udp_and_tcp() {
    let catalogue = catalogue();
    let settings =
        Settings { secondaries: vec!["127.0.0.1".parse().unwrap()], ..settings(&["203.0.113.1", "2001:db8::1"]) };
    let server = running(settings, Arc::clone(&catalogue)).await;
    let own = label("a");
    assert_eq!(server.dig("+short web--a.sonde.test A").await, "203.0.113.1\n");
    assert_eq!(server.dig("+short +tcp web--a.sonde.test AAAA").await, "2001:db8::1\n");
    assert_eq!(server.dig(&format!("+short {own}.sonde.test SRV")).await.lines().count(), 2);
    let missing = server.dig("nothing.sonde.test A").await;
    assert!(missing.contains("status: NXDOMAIN") && missing.contains("flags: qr aa;"), "{missing}");
    assert!(server.dig("example.com A").await.contains("status: REFUSED"));
    assert!(server.dig("+rec example.com A").await.contains("recursion requested but not available"));
    // Too long for UDP: dig comes again over TCP by itself.
    catalogue.apply((0x1000..0x1040).map(|id| Change::Instance(record(id, "a", &[]))));
    let before = server.counters.tcp_questions.load(Ordering::Relaxed);
    assert_eq!(server.dig(&format!("+short {own}.sonde.test SRV")).await.lines().count(), 66);
    assert!(server.counters.tcp_questions.load(Ordering::Relaxed) > before);
    let cut = server.dig(&format!("+ignore {own}.sonde.test SRV")).await;
    assert!(cut.contains("flags: qr aa tc;") && cut.contains("ANSWER: 0"), "{cut}");
    assert!(server.dig("+edns=1 +noednsneg sonde.test SOA").await.contains("status: BADVERS"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secondary_gets_the_zone_and_nobody_else() {
    let catalogue = catalogue();
    let stranger = running(settings(&["203.0.113.1"]), Arc::clone(&catalogue)).await;
    for question in ["sonde.test AXFR", "+tcp sonde.test IXFR=1", "web--a.sonde.test AXFR"] {
        let refused = stranger.dig(question).await;
        assert!(!refused.contains("203.0.113.1"), "{question}: {refused}");
    }
    let over_udp =
        bytes(&zone_of(catalogue.clone()), &packet("sonde.test.", RecordType::IXFR, None), "127.0.0.1", Transport::Udp);
    assert_eq!(code(&Message::from_vec(&over_udp.unwrap()).unwrap()), ResponseCode::Refused);
    let settings = Settings { secondaries: vec!["127.0.0.1".parse().unwrap()], ..settings(&["203.0.113.1"]) };
    let server = running(settings, Arc::clone(&catalogue)).await;
    for question in ["sonde.test AXFR", "+tcp sonde.test IXFR=1"] {
        let zone = server.dig(question).await;
        let records: Vec<Vec<&str>> = zone
            .lines()
            .filter(|line| !line.starts_with(';') && !line.is_empty())
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!((records[0][3], records.last().unwrap()[3]), ("SOA", "SOA"), "{zone}");
        assert!(records.iter().any(|record| record[0] == "*.sonde.test." && record[4] == "203.0.113.1"), "{zone}");
        // No list, and no instance, is told to whom it does not concern.
        assert!(!zone.contains(&label("a")) && !zone.contains(ID) && !zone.contains("SRV"), "{zone}");
    }
    assert!(server.dig("web--a.sonde.test AXFR").await.contains("failed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_serial_moves_with_the_catalogue() {
    let catalogue = catalogue();
    let server = running(settings(&["203.0.113.1"]), Arc::clone(&catalogue)).await;
    let serial = async || {
        let soa = server.dig("+short sonde.test SOA").await;
        soa.split_whitespace().nth(2).and_then(|serial| serial.parse::<u32>().ok()).unwrap_or_else(|| panic!("{soa:?}"))
    };
    let first = serial().await;
    assert_eq!(serial().await, first);
    catalogue.apply([Change::Instance(record(0x20, "a", &[]))]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while serial().await == first {
        assert!(std::time::Instant::now() < deadline, "it did not move");
    }
    assert!(serial().await > first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_over_udp_is_cut_and_dropped_and_tcp_still_answers() {
    let settings = Settings { replies_per_second: 20, ..settings(&["203.0.113.1"]) };
    let server = running(settings, catalogue()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(("127.0.0.1", server.port)).await.unwrap();
    let question = packet("web--a.sonde.test.", RecordType::A, None);
    for _ in 0..400 {
        socket.send(&question).await.unwrap();
    }
    let (mut whole, mut cut, mut buffer) = (0, 0, [0; 1500]);
    // What is dropped is not waited for: half of the rest comes, and soon.
    while let Ok(length) = tokio::time::timeout(std::time::Duration::from_secs(2), socket.recv(&mut buffer)).await {
        let answer = Message::from_vec(&buffer[..length.unwrap()]).unwrap();
        if answer.metadata.truncation { cut += 1 } else { whole += 1 }
    }
    assert!((1..200).contains(&whole) && cut > 0, "{whole} whole, {cut} cut");
    assert!(server.counters.rate_dropped.load(Ordering::Relaxed) > 0);
    assert_eq!(server.dig("+short +tcp web--a.sonde.test A").await, "203.0.113.1\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_keep_nobody_out() {
    let server = running(settings(&["203.0.113.1"]), catalogue()).await;
    let mut idle = Vec::new();
    // From another address of loopback than dig's.
    for _ in 0..40 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        idle.push(socket.connect(([127, 0, 0, 1], server.port).into()).await.unwrap());
    }
    assert_eq!(server.dig("+short +tcp web--a.sonde.test A").await, "203.0.113.1\n");
    assert_eq!(server.counters.tcp_refused.load(Ordering::Relaxed), 24);
}
