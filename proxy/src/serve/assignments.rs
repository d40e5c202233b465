//! What a node is to run for accounts: `GET /v1/tier/sensors`, and `GET /v1/tier/artifacts/SHA256` for each of them.
//!
//! A node gets what is meant for an instance on it, as the inventory has that ([`placed_on`]), and nothing else: what another node runs is to this one as what is
//! not there. Secrets leave sealed storage here and only here. Artifacts are sent to so many nodes at once; the others try again, and run on what they have.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use sonde_inventory::assignment::{ARTIFACTS_PATH, Assigned, AssignedVersion, Assignments, OfAccount, SENSORS_PATH};
use sonde_inventory::sensor::Version;
use sonde_inventory::{AccountName, ArtifactDigest, PushedSensor};
use uuid::Uuid;

use super::sending::{Kind, Sending, held};
use crate::sensors::{Placed, Sensors, mark, placed_on};

pub(super) struct Assigning {
    sensors: Sensors,
    sending: Sending,
}

/// An artifact, shared by all who are being sent it.
struct Whole(Arc<Vec<u8>>);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Assigning {
    pub(super) fn new(sensors: Sensors) -> Self {
        Self { sensors, sending: Sending::default() }
    }

    /// Answers a node, which is known by its certificate.
    pub(super) async fn answer(&self, node: Uuid, path: &str) -> Response<Bytes> {
        if !self.sensors.catalogue().is_synced() {
            return later("the inventory is not known here yet; try again\n");
        }
        if path == SENSORS_PATH {
            return self.assignments(node);
        }
        let sha256 = path.strip_prefix(ARTIFACTS_PATH).and_then(|sha256| sha256.parse::<ArtifactDigest>().ok());
        match sha256.filter(|sha256| self.is_assigned(node, sha256)) {
            Some(sha256) => self.artifact(node, sha256).await,
            None => plain(StatusCode::NOT_FOUND, "there is no such thing here\n"),
        }
    }

    fn is_assigned(&self, node: Uuid, sha256: &ArtifactDigest) -> bool {
        let refers = |sensor: &PushedSensor| sensor.versions().any(|version| version.sha256 == *sha256);
        let placed = placed_on(self.sensors.catalogue(), node, refers);
        placed.iter().flat_map(|(_, placed)| placed).any(|placed| placed.names(sha256))
    }

    fn assignments(&self, node: Uuid) -> Response<Bytes> {
        let Some(place) = self.sending.place(node, Kind::List) else {
            return later("this list is being sent to this node already; try again\n");
        };
        // Before it is read what is there: what changes meanwhile has another mark, and is asked for again.
        let mark = mark(self.sensors.catalogue(), node);
        let of_account = |(account, placed): (AccountName, Vec<Placed>)| {
            let has_secrets = self.sensors.has_secrets(node, &account);
            OfAccount { account, sensors: placed.iter().map(|placed| self.assigned(placed, has_secrets)).collect() }
        };
        let accounts = placed_on(self.sensors.catalogue(), node, |_| true).into_iter().map(of_account).collect();
        let mut assignments = Assignments { mark, accounts };
        let left_out = assignments.fit();
        if !left_out.is_empty() {
            tracing::warn!(%node, ?left_out, "accounts' sensors do not fit in what a node can be told: the largest are left out, and do not run there");
        }
        let Ok(json) = serde_json::to_vec(&assignments) else {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "the assignments cannot be written\n");
        };
        let mut answer = Response::new(held(json.into(), place));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer
    }

    fn assigned(&self, placed: &Placed, has_secrets: bool) -> Assigned {
        let sensor = &placed.sensor;
        let version = |version: &Version, runs: bool| AssignedVersion {
            sha256: version.sha256,
            bytes: version.bytes,
            config: version.config.clone(),
            secrets: if runs && has_secrets { self.sensors.unseal(sensor, version) } else { BTreeMap::new() },
        };
        let next = sensor.next.as_ref().filter(|_| placed.runs_next);
        Assigned {
            name: sensor.name.clone(),
            selector: sensor.selector.clone(),
            current: version(&sensor.current, placed.runs_current),
            next: next.map(|next| version(&next.version, true)),
            percent: next.map_or(0, |next| next.percent),
        }
    }

    async fn artifact(&self, node: Uuid, sha256: ArtifactDigest) -> Response<Bytes> {
        let Some(place) = self.sending.place(node, Kind::Artifact) else {
            return later("artifacts are being sent to this node, or to many; try again\n");
        };
        match self.sensors.store().artifact(sha256).await {
            Ok(Some(bytes)) => {
                let mut answer = Response::new(held(Bytes::from_owner(Whole(bytes)), place));
                answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/wasm"));
                answer
            }
            Ok(None) => {
                tracing::error!(%sha256, "an artifact that a sensor refers to is not in the store; its account has to push it again");
                plain(StatusCode::NOT_FOUND, "there is no such thing here\n")
            }
            Err(error) => {
                tracing::warn!(%sha256, %error, "an artifact cannot be read now");
                later("the store cannot be read now; try again\n")
            }
        }
    }
}

fn plain(status: StatusCode, why: &'static str) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from_static(why.as_bytes()));
    *answer.status_mut() = status;
    answer
}

fn later(why: &'static str) -> Response<Bytes> {
    let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, why);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}
