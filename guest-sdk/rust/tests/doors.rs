//! The wrappers of the capabilities, over the double.

use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

use sonde_sensor::http::Url;
use sonde_sensor::kstats::{Kstat, KstatValue, Statistic};
use sonde_sensor::processes::Process;
use sonde_sensor::testing::{Answer, Instance, collect};
use sonde_sensor::{
    Batch, Description, Failure, Reason, Sensor, clock, config, files, http, kstats, log, processes, secrets, state,
    stream, tcp, unix,
};

/// Runs a closure's body as a sensor's run; what it asserts, it asserts inside.
macro_rules! run {
    ($instance:expr, $body:block) => {{
        struct Run;
        impl Sensor for Run {
            const DESCRIPTION: Description = Description::Families(&[]);
            fn collect(_: &mut Batch) -> Result<(), Failure> {
                $body
            }
        }
        collect::<Run>($instance)
    }};
}

#[test]
fn streams_read_and_write_as_std_does() {
    let echo = |sent: &[u8]| sent.to_ascii_uppercase();
    let instance = Instance::new().tcp(7, echo).unix("/run/echo.sock", echo).tcp_silent(8);
    run!(instance, {
        for mut connection in [tcp::connect(7)?, unix::connect("/run/echo.sock")?] {
            connection.write_all(b"one\ntwo\n")?;
            let lines: Vec<String> = BufReader::new(connection).lines().collect::<Result<_, _>>()?;
            assert_eq!(lines, ["ONE", "TWO"]);
        }
        let mut silent = tcp::connect_within(8, Duration::from_millis(5))?;
        assert_eq!(silent.receive(1), Err(stream::Error::Timeout));
        assert_eq!(tcp::connect(9).err(), Some(stream::Error::Refused));
        assert_eq!(unix::connect("/run/none").err(), Some(stream::Error::Refused));
        let failure = Failure::from(std::io::Error::from(stream::Error::Timeout));
        assert_eq!(failure.reason, Reason::Timeout);
        Ok(())
    })
    .unwrap();
}

#[test]
fn http_gives_status_headers_and_a_bounded_body() {
    let instance = Instance::new().http(8080, "/a?b=c", Answer::ok("0123456789").header("X-Kind", "digits"));
    run!(instance, {
        let url = Url::parse("http://shop.example:8080/a?b=c").unwrap();
        let response = url.get().max_body_bytes(4).send()?;
        assert_eq!((response.status, response.text()?, response.truncated), (200, "0123", true));
        assert_eq!(response.header("x-kind"), Some("digits"));
        assert_eq!(http::get(8080, "/none").send()?.status, 404);
        assert!(matches!(http::get(81, "/").send(), Err(http::Error::Refused)));
        Ok(())
    })
    .unwrap();
}

#[test]
fn urls_come_apart() {
    for (text, host, port, path) in [
        ("http://localhost", "localhost", 80, "/"),
        ("http://localhost:9100/metrics", "localhost:9100", 9100, "/metrics"),
        ("http://h?x=1", "h", 80, "/?x=1"),
        ("http://[::1]:8080/a", "[::1]:8080", 8080, "/a"),
        ("http://[::1]/a", "[::1]", 80, "/a"),
    ] {
        let url = Url { host: host.to_owned(), port, path: path.to_owned() };
        assert_eq!(Url::parse(text), Some(url), "{text}");
    }
    for text in ["https://x", "x", "http://", "http://h:0/", "http://h:99999/", "http:///a"] {
        assert_eq!(Url::parse(text), None, "{text}");
    }
}

#[test]
fn the_other_doors() {
    let process = Process {
        pid: 7,
        name: "redis-server".to_owned(),
        state: "S".to_owned(),
        threads: 4,
        resident_bytes: 1 << 20,
        cpu_milliseconds: 12,
        started_milliseconds: 1000,
    };
    let text = Statistic { name: "driver".to_owned(), value: KstatValue::Text("virtio".to_owned()) };
    let instance = Instance::new()
        .file("/etc/app.conf", vec![b'x'; 100_000])
        .kstat("net", "eth0", &[("rx_bytes", 5)])
        .kstat_record(Kstat { module: "net".to_owned(), name: "eth1".to_owned(), statistics: vec![text] })
        .kstat("memory", "", &[("usage_bytes", 9)])
        .process(process)
        .config("on", "true")
        .config("many", "-3")
        .config("port", "no")
        .secret("password", "s3cret")
        .state("before")
        .now(1234);
    let collected = run!(instance, {
        assert_eq!(files::read("/etc/app.conf", 70_000)?.len(), 70_000, "over what one call gives");
        assert_eq!(files::read("/etc/app.conf", 1 << 20)?.len(), 100_000);
        assert_eq!(files::stat("/etc/app.conf")?.size_bytes, 100_000);
        assert_eq!(files::read("/none", 1), Err(files::Error::NotFound));
        let net = kstats::read("net");
        assert_eq!(kstats::find(&net, "net", "eth0", "rx_bytes"), Some(5.0));
        assert_eq!(kstats::find(&net, "net", "eth1", "driver"), None, "text is no number");
        assert_eq!((net.len(), kstats::read("").len()), (2, 3));
        assert_eq!(processes::list()[0].name, "redis-server");
        assert_eq!((config::boolean("on")?, config::integer("many")?), (true, -3));
        assert_eq!(config::port("port").unwrap_err().reason, Reason::Misconfigured);
        assert!(config::text("none").unwrap_err().message.contains("none"));
        assert_eq!(secrets::get("password").as_deref(), Some("s3cret"));
        assert_eq!(state::load(), b"before");
        assert!(!state::store(&[0; 5000]), "over the limit");
        assert!(state::store(b"after"));
        assert_eq!(clock::now(), Duration::from_millis(1234));
        sonde_sensor::log!(warn, "seen {}", 3);
        Ok(())
    })
    .unwrap();
    assert_eq!(collected.state, b"after");
    assert_eq!(collected.log, [(log::Level::Warn, "seen 3".to_owned())]);
}

#[test]
fn outside_of_a_run_every_door_refuses() {
    assert!(matches!(tcp::connect(7), Err(stream::Error::Denied(_))));
    assert!(matches!(files::stat("/"), Err(files::Error::Denied(_))));
    assert!(matches!(http::get(80, "/").send(), Err(http::Error::Denied(_))));
    assert_eq!(config::get("port"), None);
}
