//! A scrape of Sonde against nginx that serves the same bytes from a file, each on one and the same core.
//!
//! nginx does what no exporter can: it reads nothing and encodes nothing. The ratio says what share of a scrape
//! is HTTP, and with it what reading the kernel and encoding cost. wrk asks faster than the floor lets the kernel be
//! read, so the rate is that of encoding and HTTP; what a reading adds is measured apart.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sonde_tests::{Exposition, Request, Response, Server, Sonde, get};
use tempfile::TempDir;

use super::wrk::{Load, load};
use crate::error::Error;
use crate::workspace::say;

/// The served and the serving each have one of the first two cores.
const SERVER_CORE: &str = "0";
const CLIENT_CORE: &str = "1";
/// One connection shows the latency, eight the rate.
const CONNECTIONS: [u32; 2] = [1, 8];
const GROUP: &str = "bench";
/// How often the kernel is read at most: as often as the agent's configuration allows.
const FLOOR: &str = "50ms";
/// Between two scrapes that must each read the kernel: over the floor.
const APART: Duration = Duration::from_millis(60);
/// Such scrapes for one figure.
const FRESH: u32 = 60;

/// Measures the node's exposition and a process group's, and prints a table.
pub(crate) fn bench_scrape(sonde: &Path) -> Result<(), Error> {
    let dir = TempDir::new().map_err(|source| Error::File { verb: "made", path: std::env::temp_dir(), source })?;
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).map_err(|source| Error::File { verb: "written", path: path.clone(), source })?;
        Ok::<_, Error>(path)
    };
    // This command itself is the process group: it is there for as long as it measures.
    let pid_file = write("bench.pid", std::process::id().to_string().as_bytes())?;
    let sonde = Sonde::configure()
        .binary(sonde)
        .config(&format!("[reading]\nfloor = \"{FLOOR}\"\n"))
        .process_group(GROUP, &format!("pid_file = {pid_file:?}"))
        .up();
    sonde.wait_for_instance(GROUP);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let core = (cores > 1).then_some(CLIENT_CORE);
    pin(sonde.pid())?;

    let targets = [("node", "/v1/node/metrics".to_owned()), ("instance", format!("/v1/{GROUP}/metrics"))];
    for (name, path) in &targets {
        write(name, &body(&sonde.get(path)))?;
    }
    let http = "keepalive_requests 100000000; sendfile on; tcp_nopush on;";
    let nginx = Server::nginx(http, &format!("root {};", dir.path().display()));
    let probe = get(&format!("http://{}/node", nginx.authority()));
    assert_eq!(probe.status, 200, "nginx serves the file: {}", probe.text());
    pin(nginx.pid())?;

    println!(
        "{:<10} {:>6} {:>7}  {:>34}  {:>34}  ratio",
        "target", "bytes", "at once", "nginx, the same bytes", "sonde"
    );
    for (name, path) in &targets {
        let bytes = fs::metadata(dir.path().join(name)).map_or(0, |file| file.len());
        compare(name, bytes, &format!("http://{}/{name}", nginx.authority()), &sonde.url(path), core)?;
        parts(&sonde, name, path, core)?;
    }
    Ok(())
}

/// One body from both, at each number of connections.
fn compare(name: &str, bytes: u64, file_url: &str, scrape_url: &str, core: Option<&str>) -> Result<(), Error> {
    for connections in CONNECTIONS {
        say(&format!("scraping {name}, {connections} at once"));
        let file = load(file_url, connections, core)?;
        let scrape = load(scrape_url, connections, core)?;
        let ratio = scrape.requests_per_second / file.requests_per_second;
        let (theirs, ours) = (figures(&file), figures(&scrape));
        println!("{name:<10} {bytes:>6} {connections:>7}  {theirs:>34}  {ours:>34}  {ratio:.3}");
    }
    Ok(())
}

/// Where the time of a scrape goes, from the agent's own clock: with the kernel read anew, and from the last reading.
fn parts(sonde: &Sonde, name: &str, path: &str, core: Option<&str>) -> Result<(), Error> {
    let before = served(sonde);
    for _ in 0..FRESH {
        // A scraper, by the header that only scrapers send: it gets a reading of its own.
        let request = Request::get(&sonde.url(path)).header("X-Prometheus-Scrape-Timeout-Seconds", "5");
        let answer = request.send().map_err(|source| Error::Start { command: sonde.url(path), source })?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        std::thread::sleep(APART);
    }
    let between = served(sonde);
    let again = load(&sonde.url(path), 1, core)?;
    let after = served(sonde);
    let (fresh_us, encoding_us) = (mean_us(before, between), mean_us(between, after));
    let reading_us = fresh_us - encoding_us;
    // One connection, one request after the other: the mean from a request to the last byte of its answer.
    let answered_us = 1e6 / again.requests_per_second;
    println!(
        "{name:<10} a scrape, request to last byte: {:.0} us = reading {reading_us:.0} + encoding {encoding_us:.0} + HTTP {:.0}",
        answered_us + reading_us,
        answered_us - encoding_us
    );
    Ok(())
}

/// Expositions served so far, and the seconds spent on them.
fn served(sonde: &Sonde) -> (f64, f64) {
    let about = Exposition::read(&sonde.get("/metrics").text());
    let value = |name| about.value(name, &[]).unwrap_or_else(|| panic!("the agent does not tell {name}"));
    (value("sonde_agent_scrapes_total"), value("sonde_agent_scrape_seconds_total"))
}

fn mean_us(before: (f64, f64), after: (f64, f64)) -> f64 {
    (after.1 - before.1) * 1e6 / (after.0 - before.0)
}

fn figures(load: &Load) -> String {
    format!("{:.0}/s p50 {:.0} us p99 {:.0} us", load.requests_per_second, load.p50_us, load.p99_us)
}

fn body(response: &Response) -> Vec<u8> {
    assert_eq!(response.status, 200, "{}", response.text());
    response.body.clone()
}

/// All threads of a process to the server's core.
fn pin(pid: u32) -> Result<(), Error> {
    let mut command = Command::new("taskset");
    command.args(["-a", "-p", "-c", SERVER_CORE, &pid.to_string()]);
    let output = command.output().map_err(|source| Error::Start { command: "taskset".to_owned(), source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Failed {
        what: "pinning to a core".to_owned(),
        command: crate::workspace::shown(&command),
        status: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
