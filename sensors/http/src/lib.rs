//! Any HTTP URL of the instance: whether it answers, with what status, and where the time goes.
//!
//! Redirects are not followed: a 301 is a finding. `http_up` is 1 for a whole response of status 200 to 399; a
//! response of another status still gives its figures, since a 500 that takes nine seconds is what
//! somebody wants to see. No response gives `http_up 0` alone.

use std::time::Duration;

use sonde_sensor::http::Error;
use sonde_sensor::{Batch, Description, Failure, Gauge, Sensor, config, log};

static UP: Gauge = Gauge::new("http_up", "Whether the URL answers with a status of 200 to 399.");
static STATUS: Gauge = Gauge::new("http_status_code", "The status of the response.");
static DURATION: Gauge<1> =
    Gauge::new("http_duration_seconds", "Time taken: connect, first_byte (request to head), transfer (the body).")
        .labels(["phase"])
        .unit("seconds");
static LENGTH: Gauge =
    Gauge::new("http_content_length", "Bytes that the response says its body has, or else that were received.");

/// The body is only counted.
const MAX_BODY_BYTES: u32 = 192 * 1024;
/// Below the run's own deadline, so that a slow server is a finding and not a cut run.
const LONGEST_TIMEOUT_MS: i64 = 1900;

/// The sensor.
pub struct Http;

impl Sensor for Http {
    const DESCRIPTION: Description = Description::Families(&[&UP, &STATUS, &DURATION, &LENGTH]);

    fn collect(out: &mut Batch) -> Result<(), Failure> {
        let timeout = config::integer("timeout_ms")?.clamp(1, LONGEST_TIMEOUT_MS);
        let request = config::url("url")?.get().max_body_bytes(MAX_BODY_BYTES);
        let response = match request.timeout(Duration::from_millis(timeout.unsigned_abs())).send() {
            Ok(response) => response,
            Err(error @ (Error::Denied(_) | Error::Invalid(_))) => return Err(error.into()),
            Err(error) => {
                log::warn(&error.to_string());
                out.gauge(&UP, [], 0.0);
                return Ok(());
            }
        };
        out.gauge(&UP, [], f64::from((200..400).contains(&response.status)));
        out.gauge(&STATUS, [], f64::from(response.status));
        let phases = response.phases;
        for (phase, milliseconds) in [
            ("connect", phases.connect_milliseconds),
            ("first_byte", phases.first_byte_milliseconds),
            ("transfer", phases.transfer_milliseconds),
        ] {
            out.gauge(&DURATION, [phase], f64::from(milliseconds) / 1000.0);
        }
        let announced = response.header("content-length").and_then(|length| length.parse::<u64>().ok());
        match announced {
            Some(length) => out.gauge(&LENGTH, [], length as f64),
            None if response.truncated => {}
            None => out.gauge(&LENGTH, [], response.body.len() as f64),
        }
        Ok(())
    }
}

sonde_sensor::export!(Http);
