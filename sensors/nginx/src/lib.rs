//! nginx, by its `stub_status` page.
//!
//! Series carry the names that nginx dashboards know. A page that is not there or is something else is
//! `nginx_up 0` and a log line; only a sensor that may not ask at all fails. Reference: nginx documentation,
//! ngx_http_stub_status_module.

use sonde_sensor::{Batch, Counter, Description, Failure, Gauge, Sensor, config, log};

static UP: Gauge = Gauge::new("nginx_up", "Whether stub_status answers.");
static ACTIVE: Gauge = Gauge::new("nginx_connections_active", "Client connections, idle ones included.");
static ACCEPTED: Counter = Counter::new("nginx_connections_accepted_total", "Client connections accepted.");
static HANDLED: Counter =
    Counter::new("nginx_connections_handled_total", "Client connections handled; fewer than accepted at a limit.");
static REQUESTS: Counter = Counter::new("nginx_http_requests_total", "HTTP requests.");
static READING: Gauge = Gauge::new("nginx_connections_reading", "Connections whose request is being read.");
static WRITING: Gauge = Gauge::new("nginx_connections_writing", "Connections that a response is written to.");
static WAITING: Gauge = Gauge::new("nginx_connections_waiting", "Idle connections.");

/// The page has some 100 bytes.
const MAX_PAGE_BYTES: u32 = 4096;

/// The sensor.
pub struct Nginx;

impl Sensor for Nginx {
    const DESCRIPTION: Description =
        Description::Families(&[&UP, &ACTIVE, &ACCEPTED, &HANDLED, &REQUESTS, &READING, &WRITING, &WAITING]);

    fn collect(out: &mut Batch) -> Result<(), Failure> {
        let status = match page() {
            Ok(status) => status,
            Err(failure) if failure.reason == sonde_sensor::Reason::Denied => return Err(failure),
            Err(failure) => {
                log::warn(&failure.message);
                out.gauge(&UP, [], 0.0);
                return Ok(());
            }
        };
        out.gauge(&UP, [], 1.0);
        out.gauge(&ACTIVE, [], status.active);
        out.counter(&ACCEPTED, [], status.accepted);
        out.counter(&HANDLED, [], status.handled);
        out.counter(&REQUESTS, [], status.requests);
        out.gauge(&READING, [], status.reading);
        out.gauge(&WRITING, [], status.writing);
        out.gauge(&WAITING, [], status.waiting);
        Ok(())
    }
}

sonde_sensor::export!(Nginx);

fn page() -> Result<Status, Failure> {
    let response = config::url("url")?.get().max_body_bytes(MAX_PAGE_BYTES).send()?;
    if response.status != 200 {
        let status = response.status.to_string();
        return Err(Failure::protocol(["the server answers with the status ", &status, ", not 200"].concat()));
    }
    Status::parse(response.text()?).ok_or_else(|| Failure::protocol("the page is not that of stub_status"))
}

/// What the page says.
struct Status {
    active: f64,
    accepted: f64,
    handled: f64,
    requests: f64,
    reading: f64,
    writing: f64,
    waiting: f64,
}

impl Status {
    /// Seven numbers among fixed words:
    /// `Active connections: 1`, `server accepts handled requests` with three numbers in the next line, and
    /// `Reading: 0 Writing: 1 Waiting: 0`.
    fn parse(page: &str) -> Option<Self> {
        let mut words = page.split_ascii_whitespace();
        let mut after = |expected: &[&str]| -> Option<f64> {
            expected.iter().all(|word| words.next() == Some(*word)).then(|| words.next()?.parse().ok())?
        };
        Some(Self {
            active: after(&["Active", "connections:"])?,
            accepted: after(&["server", "accepts", "handled", "requests"])?,
            handled: after(&[])?,
            requests: after(&[])?,
            reading: after(&["Reading:"])?,
            writing: after(&["Writing:"])?,
            waiting: after(&["Waiting:"])?,
        })
    }
}
