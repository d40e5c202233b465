//! A tenant's sensors: `/v1/sensors` and what is under it (design §5.4).
//!
//! Whoever may push may look; whoever may only read looks. A credential for some groups of instances has no part in it, because a sensor is the whole account's.
//! What is not the caller's does not exist: every look-up begins with the caller's own account. What goes beside an artifact comes with it, in one header,
//! so that no node runs it with half of its settings; a header is in no log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sonde_inventory::sensor::Selector;
use sonde_inventory::{ArtifactDigest, PushedSensor, SensorName, WriteError};
use sonde_manifest::MOST_SECRET_BYTES;

use super::Door;
use super::answer::{Answer, asked_otherwise, not_found, sentence, typed, with_reason};
use super::sensor_logs;
use crate::api;
use crate::caller::Caller;
use crate::config::Quota;
use crate::limits::Use;
use crate::sensors::{Asked, Expected, PushError, Settings, UploadFault, Withheld, receive, shown, standing_of};

const ROUTE: &str = "/v1/sensors";
/// What goes beside an artifact: JSON, as it is or in base64.
const SETTINGS: HeaderName = HeaderName::from_static("x-sonde-push");
/// Of a list that is cut: how many rows more there would be.
const LEFT_OUT: HeaderName = HeaderName::from_static("x-sonde-left-out");
/// The largest body that is no artifact: all secrets of a version, or all settings, with what JSON has around them.
const BODY_BYTES: u64 = 128 << 10;

/// Whether a path is of these routes.
pub(super) fn is_route(path: &str) -> bool {
    path.strip_prefix(ROUTE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A request under `/v1/sensors`, whose caller is known.
pub(super) struct Asking<'a> {
    pub door: &'a Arc<Door>,
    pub caller: &'a Caller,
    pub used: &'a Arc<Use>,
    pub request: &'a Request<()>,
    pub now: SystemTime,
}

/// `PUT …/config`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Configuration {
    #[serde(default, rename = "match")]
    selector: Option<Selector>,
    #[serde(default)]
    config: Option<BTreeMap<String, String>>,
}

/// `PUT …/rollout`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Percent {
    percent: u8,
}

/// Why a request is answered with a sentence.
enum Refused {
    Push(PushError),
    Upload(UploadFault),
    Method,
    Forbidden(&'static str),
    NotReady,
}

impl From<PushError> for Refused {
    fn from(error: PushError) -> Self {
        Self::Push(error)
    }
}

impl From<UploadFault> for Refused {
    fn from(fault: UploadFault) -> Self {
        Self::Upload(fault)
    }
}

type Done = Result<Answer, Refused>;

impl Asking<'_> {
    pub(super) async fn answer(&self, body: Incoming) -> Answer {
        match self.route(body).await {
            Ok(answer) => answer,
            Err(refused) => refusal(&refused, self.request.uri().path()),
        }
    }

    async fn route(&self, body: Incoming) -> Done {
        let method = self.request.method();
        let is_look = matches!(*method, Method::GET | Method::HEAD);
        let scopes = self.caller.scopes;
        if self.caller.groups.is_some() {
            return Err(Refused::Forbidden(
                "this credential is for some groups of instances, and sensors are the whole account's",
            ));
        }
        if !(scopes.pushes_sensors || is_look && scopes.reads_metrics) {
            return Err(Refused::Forbidden("this credential is not for this: pushing needs the scope push-sensors"));
        }
        if !self.door.catalogue.is_synced() {
            return Err(Refused::NotReady);
        }
        if !is_look {
            self.door.sensors.uploads.change(&self.caller.account.name)?;
        }
        let path = self.request.uri().path();
        let Some(described) = api::route_of(path) else { return Ok(not_found()) };
        let is_asked_so = described.takes(method);
        let path: Vec<&str> = path.strip_prefix(ROUTE).unwrap_or_default().split('/').skip(1).collect();
        let (name, rest) = match path.as_slice() {
            [] if is_asked_so => return Ok(self.list()),
            [] => return Err(Refused::Method),
            [name, rest @ ..] => (SensorName::new(name).map_err(|_| PushError::NotFound)?, rest),
        };
        if !is_asked_so {
            // A name that is not there has nothing under it, for whatever method.
            self.get(&name)?;
            return Err(Refused::Method);
        }
        match (rest, method) {
            ([], &Method::PUT) => self.push(&name, body).await,
            ([], &Method::DELETE) => self.remove(&name).await,
            ([], _) => Ok(self.view(&*self.get(&name)?)),
            (["config"], _) => self.config(&name, body).await,
            (["secrets"], _) => self.secrets(&name, body).await,
            (["secrets", key], _) => self.secret(&name, key, body).await,
            (["rollout"], _) => self.rollout(&name, body).await,
            (["logs"], _) => self.logs(&name).await,
            _ => Ok(not_found()),
        }
    }

    fn get(&self, name: &SensorName) -> Result<Arc<PushedSensor>, PushError> {
        self.door.sensors.get(&self.caller.account.name, name)
    }

    fn list(&self) -> Answer {
        let account = &self.caller.account.name;
        let standings = standing_of(&self.door.catalogue, account);
        let withheld = Withheld::from(&self.door.sensors, account);
        let sensors = self.door.catalogue.sensors_of(account);
        let all: Vec<Value> = sensors.iter().map(|sensor| shown(sensor, &standings, &withheld)).collect();
        value(StatusCode::OK, &all.into())
    }

    fn view(&self, sensor: &PushedSensor) -> Answer {
        let account = &self.caller.account.name;
        let standings = standing_of(&self.door.catalogue, account);
        let withheld = Withheld::from(&self.door.sensors, account);
        tagged(value(StatusCode::OK, &shown(sensor, &standings, &withheld)), sensor)
    }

    fn quota(&self) -> Quota {
        self.used.quota().0
    }

    async fn push(&self, name: &SensorName, body: Incoming) -> Done {
        let settings = self.settings()?;
        let (expected, quota) = (self.expected()?, self.quota());
        let account = &self.caller.account.name;
        let upload = self.door.sensors.uploads.begin(account, quota.all_sensors_bytes)?;
        let bytes = receive(body, quota.sensor_bytes, |bytes| self.used.sent(bytes)).await?;
        let pushed = self.door.sensors.push(self.asked(name, &expected, &quota), bytes, &settings, &upload).await?;
        let mut answer = self.view(&pushed.sensor);
        if pushed.is_new {
            *answer.status_mut() = StatusCode::CREATED;
        }
        Ok(answer)
    }

    async fn remove(&self, name: &SensorName) -> Done {
        let (expected, quota) = (self.expected()?, self.quota());
        self.door.sensors.remove(self.asked(name, &expected, &quota)).await?;
        Ok(value(StatusCode::OK, &json!({})))
    }

    async fn config(&self, name: &SensorName, body: Incoming) -> Done {
        let (expected, quota) = (self.expected()?, self.quota());
        let sensor = self.get(name)?;
        match *self.request.method() {
            Method::PUT => {
                let wanted: Configuration = parse(&self.small(body).await?)?;
                let (selector, config) = (wanted.selector.as_ref(), wanted.config.as_ref());
                let asked = self.asked(name, &expected, &quota);
                // It reads artifacts as large as those that are uploaded.
                let account = &self.caller.account.name;
                let uploads = &self.door.sensors.uploads;
                let _place = config.map(|_| uploads.place(account, quota.all_sensors_bytes)).transpose()?;
                Ok(self.view(&*self.door.sensors.configure(asked, selector, config).await?))
            }
            _ => {
                let config = json!({ "match": sensor.selector, "config": sensor.current.config });
                Ok(tagged(value(StatusCode::OK, &config), &sensor))
            }
        }
    }

    async fn secrets(&self, name: &SensorName, body: Incoming) -> Done {
        let sensor = self.get(name)?;
        match *self.request.method() {
            Method::PUT => {
                let given: BTreeMap<String, String> = parse(&self.small(body).await?)?;
                let given = given.into_iter().map(|(key, secret)| (key, Some(secret))).collect();
                self.set_secrets(name, &given, true).await
            }
            Method::DELETE => self.set_secrets(name, &BTreeMap::new(), true).await,
            _ => {
                let of = |version: &sonde_inventory::sensor::Version| {
                    let sha256 = version.sha256;
                    let names: Vec<&String> = version.secrets.keys().collect();
                    names.into_iter().map(|key| json!({ "name": key, "sha256": sha256 })).collect::<Vec<_>>()
                };
                let all: Vec<Value> = sensor.versions().flat_map(of).collect();
                Ok(tagged(value(StatusCode::OK, &all.into()), &sensor))
            }
        }
    }

    async fn secret(&self, name: &SensorName, key: &str, body: Incoming) -> Done {
        let sensor = self.get(name)?;
        let is_there = sensor.versions().any(|version| version.secrets.contains_key(key));
        let secret = match *self.request.method() {
            Method::PUT => {
                let bytes = receive(body, MOST_SECRET_BYTES as u64, |bytes| self.used.sent(bytes)).await?;
                let text = String::from_utf8(bytes);
                Some(text.map_err(|_| PushError::Invalid("a secret is UTF-8 text".to_owned()))?)
            }
            Method::DELETE if is_there => None,
            _ => return Ok(not_found()),
        };
        self.set_secrets(name, &[(key.to_owned(), secret)].into(), false).await
    }

    async fn set_secrets(&self, name: &SensorName, given: &BTreeMap<String, Option<String>>, all: bool) -> Done {
        let (expected, quota) = (self.expected()?, self.quota());
        let of = self.query("sha256").map(|sha256| sha256.parse::<ArtifactDigest>()).transpose();
        let of = of.map_err(PushError::Fault)?;
        let asked = self.asked(name, &expected, &quota);
        Ok(self.view(&*self.door.sensors.set_secrets(asked, of, given, all).await?))
    }

    async fn rollout(&self, name: &SensorName, body: Incoming) -> Done {
        let (expected, quota) = (self.expected()?, self.quota());
        let sensor = self.get(name)?;
        let asked = self.asked(name, &expected, &quota);
        match *self.request.method() {
            Method::PUT => {
                let Percent { percent } = parse(&self.small(body).await?)?;
                Ok(self.view(&*self.door.sensors.roll_out(asked, percent).await?))
            }
            Method::DELETE => Ok(self.view(&*self.door.sensors.roll_back(asked).await?)),
            _ => Ok(self.view(&sensor)),
        }
    }

    async fn logs(&self, name: &SensorName) -> Done {
        let sensor = self.get(name)?;
        let instance = self.query("instance");
        let logs = sensor_logs::ask(self.door, self.caller, &sensor, instance.as_deref(), self.now).await;
        let logs = logs.ok_or(PushError::NotFound)?;
        let mut answer = value(StatusCode::OK, &logs.rows);
        if logs.left_out > 0 {
            answer.headers_mut().insert(LEFT_OUT, logs.left_out.into());
        }
        Ok(answer)
    }

    fn asked<'b>(&'b self, name: &'b SensorName, expected: &'b Expected, quota: &'b Quota) -> Asked<'b> {
        Asked { account: &self.caller.account.name, name, by: &self.caller.credential, expected, quota }
    }

    async fn small(&self, body: Incoming) -> Result<Vec<u8>, UploadFault> {
        receive(body, BODY_BYTES, |bytes| self.used.sent(bytes)).await
    }

    fn settings(&self) -> Result<Settings, PushError> {
        let invalid = |why: &dyn std::fmt::Display| PushError::Invalid(format!("{SETTINGS} is not understood: {why}"));
        let mut all = self.request.headers().get_all(&SETTINGS).iter();
        let Some(header) = all.next() else { return Ok(Settings::default()) };
        if all.next().is_some() {
            return Err(invalid(&"it is there twice"));
        }
        let bytes = header.as_bytes();
        let decoded = if bytes.starts_with(b"{") { Ok(bytes.to_vec()) } else { STANDARD.decode(bytes) };
        // serde's own words may show a part of what is there.
        let words = |error: serde_json::Error| invalid(&format!("{:?} at column {}", error.classify(), error.column()));
        serde_json::from_slice(&decoded.map_err(|_| invalid(&"it is neither JSON nor base64"))?).map_err(words)
    }

    fn expected(&self) -> Result<Expected, PushError> {
        let headers = self.request.headers();
        let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default().trim());
        match (text(IF_MATCH), text(IF_NONE_MATCH)) {
            (None, None) => Ok(Expected::Unsaid),
            (Some("*"), None) => Ok(Expected::Anything),
            (None, Some("*")) => Ok(Expected::Nothing),
            (Some(one), None) if !one.contains(',') => Ok(Expected::One(one.trim_matches('"').to_owned())),
            _ => {
                Err(PushError::Invalid("If-Match with one tag or digest, or If-None-Match: * is understood".to_owned()))
            }
        }
    }

    fn query(&self, name: &str) -> Option<String> {
        let query = self.request.uri().query().unwrap_or_default();
        let mut all = form_urlencoded::parse(query.as_bytes());
        all.find(|(own, _)| own == name).map(|(_, value)| value.into_owned())
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, PushError> {
    // Where and not what: a secret may be in it.
    let words = |error: serde_json::Error| {
        PushError::Invalid(format!(
            "the body is not what this route takes ({:?} error at line {}, column {})",
            error.classify(),
            error.line(),
            error.column()
        ))
    };
    serde_json::from_slice(body).map_err(words)
}

fn value(status: StatusCode, value: &Value) -> Answer {
    typed(status, "application/json", format!("{value:#}\n"))
}

fn tagged(mut answer: Answer, sensor: &PushedSensor) -> Answer {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", sensor.mark())) {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer
}

fn refusal(refused: &Refused, path: &str) -> Answer {
    match refused {
        Refused::Push(PushError::NotFound) => not_found(),
        Refused::Push(error) => {
            let answer = sentence(status(error), &crate::chain(error));
            match error {
                PushError::TooMany(_) | PushError::TooLarge { .. } => with_reason(answer, "over_quota; sensors"),
                _ => answer,
            }
        }
        Refused::Upload(fault) => {
            let status = match fault {
                UploadFault::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
                UploadFault::Slow => StatusCode::REQUEST_TIMEOUT,
                UploadFault::Cut => StatusCode::BAD_REQUEST,
                UploadFault::Busy | UploadFault::Often | UploadFault::Changes => StatusCode::TOO_MANY_REQUESTS,
            };
            sentence(status, &fault.to_string())
        }
        Refused::Method => asked_otherwise(path),
        Refused::Forbidden(why) => sentence(StatusCode::FORBIDDEN, why),
        Refused::NotReady => sentence(StatusCode::SERVICE_UNAVAILABLE, "the inventory is not here yet"),
    }
}

fn status(error: &PushError) -> StatusCode {
    match error {
        PushError::NotFound => StatusCode::NOT_FOUND,
        PushError::Invalid(_) | PushError::Fault(_) | PushError::Artifact(_) => StatusCode::BAD_REQUEST,
        PushError::NotSaid(_) => StatusCode::PRECONDITION_REQUIRED,
        PushError::NotAsExpected => StatusCode::PRECONDITION_FAILED,
        PushError::Conflict(_) => StatusCode::CONFLICT,
        PushError::TooMany(_) | PushError::TooLarge { .. } => StatusCode::INSUFFICIENT_STORAGE,
        PushError::Write(WriteError::Failed { .. } | WriteError::TooMany) | PushError::Vault(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        PushError::NoVault | PushError::Write(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
