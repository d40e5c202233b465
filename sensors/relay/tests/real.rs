//! The sensor against the real Prometheus, whose own endpoint has counters, gauges, histograms, summaries and
//! exemplars to relay.

use std::io::{BufRead, BufReader, ErrorKind, Lines};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};

use sonde_sensor::Kind;
use sonde_sensor::testing::{Instance, collect};
use sonde_sensor_relay::Relay;

/// A Prometheus of this test's own in a folder of its own, both ended with it.
struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
    /// Kept open: what it says later goes into the pipe.
    said: Lines<BufReader<ChildStderr>>,
}

impl Server {
    /// `None` where Prometheus is not installed; the machine that must have it says so by `SONDE_REAL_SERVERS`.
    fn start() -> Option<Self> {
        for attempt in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let folder =
                PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("prometheus-{}-{attempt}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("prometheus.yml"), "global: {}\n").unwrap();
            let child = Command::new("prometheus")
                .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
                .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn();
            let mut child = match child {
                Ok(child) => child,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    assert!(std::env::var_os("SONDE_REAL_SERVERS").is_none(), "prometheus is not installed");
                    return None;
                }
                Err(error) => panic!("prometheus does not start: {error}"),
            };
            let said = BufReader::new(child.stderr.take().unwrap()).lines();
            let mut server = Self { child, port, folder, said };
            if server.said.by_ref().map_while(Result::ok).any(|line| line.contains("Server is ready")) {
                return Some(server);
            }
        }
        panic!("prometheus never listened");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_real_endpoint_passes_whole() {
    let Some(server) = Server::start() else { return };
    let instance = || Instance::new().config("url", "http://localhost:9090/metrics").http_real(9090, server.port);
    let first = collect::<Relay>(instance()).unwrap();
    for kind in [Kind::Counter, Kind::Gauge, Kind::Histogram, Kind::Summary] {
        assert!(first.families().iter().any(|family| family.kind == kind), "no {kind:?} relayed");
    }
    assert!(first.batch().numbers.len() > 100, "{} numbers", first.batch().numbers.len());
    let scrapes = |collected: &sonde_sensor::testing::Collected| {
        collected.value("promhttp_metric_handler_requests_total", &[("code", "200")]).unwrap()
    };
    let second = collect::<Relay>(instance()).unwrap();
    assert_eq!(scrapes(&second), scrapes(&first) + 1.0, "our own request is counted");
}
