//! What accounts and connections may use at most: the operator's figures, and ours where the operator says nothing.

use serde::Deserialize;
use sonde_inventory::Limits;
use sonde_inventory::assignment::{self, MOST_ARTIFACT_BYTES};

/// cmon's throttle, which tenants' Prometheus servers are used to: 100 a second, 1000 at once.
const REQUESTS_PER_SECOND: u32 = 100;
const REQUEST_BURST: u32 = 1_000;
/// Five hundred large expositions a second; a network card's share, no more.
const BYTES_PER_SECOND: u64 = 32 << 20;
/// A Prometheus spreads its scrapes over its interval: this many at once is a large one in trouble.
const CONCURRENT_SCRAPES: u32 = 256;
/// Sensors of an account, the largest, and all of them: a Rust sensor is 60 KiB, Go's a few MiB.
const SENSORS: u32 = 100;
const SENSOR_BYTES: u64 = MOST_ARTIFACT_BYTES;
const ALL_SENSORS_BYTES: u64 = 64 << 20;
/// Above these a figure means no limit at all, and is a mistake.
const MOST_REQUESTS: u32 = 1_000_000;
const MOST_BYTES: u64 = 1 << 40;
const MOST_SCRAPES: u32 = 100_000;
/// What an agent takes of one account.
const MOST_SENSORS: u32 = assignment::MOST_SENSORS as u32;

/// Connections at once: some 60 KiB each with TLS, so half a GiB.
const CONNECTIONS: u32 = 8_192;
/// From one address: a Prometheus keeps a connection a target, and many stand behind one router.
const CONNECTIONS_PER_ADDRESS: u32 = 2_048;
/// Scrapes at once, of all accounts; above it the heaviest account waits.
const SCRAPES_IN_FLIGHT: u32 = 1_024;
/// Scrapes at once of one node: more than its agent answers at once.
const SCRAPES_PER_NODE: u32 = 64;
const MOST_CONNECTIONS: u32 = 1_000_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawQuota {
    requests_per_second: Option<u32>,
    request_burst: Option<u32>,
    bytes_per_second: Option<u64>,
    concurrent_scrapes: Option<u32>,
    sensors: Option<u32>,
    sensor_bytes: Option<u64>,
    all_sensors_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawBounds {
    connections: Option<u32>,
    connections_per_address: Option<u32>,
    scrapes_in_flight: Option<u32>,
    scrapes_per_node: Option<u32>,
}

/// What one account may use; each at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub requests_per_second: u32,
    pub request_burst: u32,
    pub bytes_per_second: u64,
    pub concurrent_scrapes: u32,
    pub sensors: u32,
    pub sensor_bytes: u64,
    pub all_sensors_bytes: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            requests_per_second: REQUESTS_PER_SECOND,
            request_burst: REQUEST_BURST,
            bytes_per_second: BYTES_PER_SECOND,
            concurrent_scrapes: CONCURRENT_SCRAPES,
            sensors: SENSORS,
            sensor_bytes: SENSOR_BYTES,
            all_sensors_bytes: ALL_SENSORS_BYTES,
        }
    }
}

impl Quota {
    /// These, with what is said of one account in their place. Nothing is 0: a limit of nothing is an account that is not there.
    pub fn with(&self, own: &Limits) -> Self {
        Self {
            requests_per_second: own.requests_per_second.unwrap_or(self.requests_per_second).max(1),
            request_burst: own.request_burst.unwrap_or(self.request_burst).max(1),
            bytes_per_second: own.bytes_per_second.unwrap_or(self.bytes_per_second).max(1),
            concurrent_scrapes: own.concurrent_scrapes.unwrap_or(self.concurrent_scrapes).max(1),
            // Here 0 means something: an account that pushes none.
            sensors: own.sensors.unwrap_or(self.sensors).min(MOST_SENSORS),
            sensor_bytes: own.sensor_bytes.unwrap_or(self.sensor_bytes).min(MOST_ARTIFACT_BYTES),
            all_sensors_bytes: own.all_sensors_bytes.unwrap_or(self.all_sensors_bytes),
        }
    }
}

/// What the whole proxy takes on at once; each at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub connections: u32,
    pub connections_per_address: u32,
    pub scrapes_in_flight: u32,
    pub scrapes_per_node: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            connections_per_address: CONNECTIONS_PER_ADDRESS,
            scrapes_in_flight: SCRAPES_IN_FLIGHT,
            scrapes_per_node: SCRAPES_PER_NODE,
        }
    }
}

/// A figure within its range, or the default and a fault.
fn figure<N: Copy + PartialOrd + std::fmt::Display + From<u8>>(
    key: &str,
    given: Option<N>,
    default: N,
    most: N,
    faults: &mut Vec<String>,
) -> N {
    let Some(given) = given else { return default };
    if given < N::from(1) || given > most {
        faults.push(format!("{key} is {given}: from 1 to {most} is allowed"));
    }
    given
}

pub(super) fn quota(raw: &RawQuota, faults: &mut Vec<String>) -> Quota {
    let ours = Quota::default();
    Quota {
        requests_per_second: figure(
            "limits.requests_per_second",
            raw.requests_per_second,
            ours.requests_per_second,
            MOST_REQUESTS,
            faults,
        ),
        request_burst: figure("limits.request_burst", raw.request_burst, ours.request_burst, MOST_REQUESTS, faults),
        bytes_per_second: figure(
            "limits.bytes_per_second",
            raw.bytes_per_second,
            ours.bytes_per_second,
            MOST_BYTES,
            faults,
        ),
        concurrent_scrapes: figure(
            "limits.concurrent_scrapes",
            raw.concurrent_scrapes,
            ours.concurrent_scrapes,
            MOST_SCRAPES,
            faults,
        ),
        sensors: figure("limits.sensors", raw.sensors, ours.sensors, MOST_SENSORS, faults),
        sensor_bytes: figure("limits.sensor_bytes", raw.sensor_bytes, ours.sensor_bytes, MOST_ARTIFACT_BYTES, faults),
        all_sensors_bytes: figure(
            "limits.all_sensors_bytes",
            raw.all_sensors_bytes,
            ours.all_sensors_bytes,
            MOST_BYTES,
            faults,
        ),
    }
}

pub(super) fn read(raw: &RawBounds, faults: &mut Vec<String>) -> Bounds {
    let ours = Bounds::default();
    let mut of = |key, given, default, most| figure(key, given, default, most, faults);
    Bounds {
        connections: of("bounds.connections", raw.connections, ours.connections, MOST_CONNECTIONS),
        connections_per_address: of(
            "bounds.connections_per_address",
            raw.connections_per_address,
            ours.connections_per_address,
            MOST_CONNECTIONS,
        ),
        scrapes_in_flight: of("bounds.scrapes_in_flight", raw.scrapes_in_flight, ours.scrapes_in_flight, MOST_SCRAPES),
        scrapes_per_node: of("bounds.scrapes_per_node", raw.scrapes_per_node, ours.scrapes_per_node, MOST_SCRAPES),
    }
}
