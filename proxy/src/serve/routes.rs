//! Which request gets what: the routes of design §5.4, in the order in which a request must pass.
//!
//! Shape (a GET without a body, or what `/v1/sensors` takes; one host of ours) → `/_ping` → who asks (401) → how much (429) → what for. Errors are sentences in plain text, so that
//! no client takes one for data. What is not there and what is not the caller's get the same answer, made in the same place.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;

use super::answer::{self, Answer, AnswerBody, Watch, not_found, sentence};
use super::lists;
use super::pace::Asked;
use super::scrape::{self, Scrape, What};
use super::sensors;
use super::{Connection, Door};
use crate::access::{self, Via, Visible};
use crate::access_log::Line;
use crate::api;
use crate::caller::Caller;
use crate::identity::{self, Unauthorised};
use crate::limits::{Outcome, Refusal, Use};
use crate::{account_target, discovery};

/// The longest path and query: more than any scraper of ours says.
const TARGET_BYTES: usize = 4 << 10;

/// What is remembered of a request for its line in the log.
struct Noted {
    line: Line,
    used: Option<Arc<Use>>,
}

/// Answers one request, counts it, and has it logged when its body has gone.
pub(super) async fn answer(
    connection: &Connection,
    mut asked: Asked,
    arrived: Instant,
    request: Request<Incoming>,
) -> Answer {
    let door = &connection.door;
    let mut noted = Noted {
        line: Line { account: None, from: Some(connection.from), route: "", target: None, status: 0, outcome: None },
        used: None,
    };
    let is_head = request.method() == Method::HEAD;
    let (head, body) = request.into_parts();
    let request = Request::from_parts(head, ());
    let answer = route(connection, &request, body, arrived, &mut noted).await;
    let took = arrived.elapsed();
    door.about.answered(answer.status().as_u16(), took);
    noted.line.status = answer.status().as_u16();
    asked.answers();
    let watch = Box::new(Leaving { door: door.clone(), asked, arrived, noted });
    if is_head {
        // The head that a GET would get; of an agent's answer nothing more is waited for.
        return answer.map(|body| AnswerBody::whole(Vec::new()).instead_of(&body).watched(watch));
    }
    answer.map(|body| body.watched(watch))
}

/// What is done when an answer's body has gone.
struct Leaving {
    door: Arc<Door>,
    asked: Asked,
    arrived: Instant,
    noted: Noted,
}

impl Watch for Leaving {
    fn gone(&mut self, bytes: u64, is_whole: bool) {
        if is_whole {
            self.asked.finished();
        }
        self.door.about.bytes.add(bytes);
        if let Some(used) = &self.noted.used {
            used.sent(bytes);
        }
        let most = self.door.config.borrow().log_lines_per_second;
        self.door.log.write(most, &self.noted.line, bytes, self.arrived.elapsed(), is_whole);
    }
}

async fn route(
    connection: &Connection,
    request: &Request<()>,
    body: Incoming,
    arrived: Instant,
    noted: &mut Noted,
) -> Answer {
    let door = &connection.door;
    if let Some(refused) = shapeless(request) {
        return refused;
    }
    let via = {
        let config = door.config.borrow();
        let server_name = connection.peer.as_ref().and_then(|peer| peer.server_name());
        access::via(request, server_name, &config.suffix, &config.hosts)
    };
    let via = match via {
        Ok(via) => via,
        Err(fault) => {
            door.about.host_faults.add(1);
            return sentence(fault.status(), &fault.to_string());
        }
    };
    let path = request.uri().path();
    if path == "/_ping" {
        noted.line.route = "ping";
        return answer::typed(StatusCode::OK, "text/plain; charset=utf-8", "OK");
    }
    let now = SystemTime::now();
    let caller = match identity::caller(connection.peer.as_ref(), request.headers(), &door.catalogue, now) {
        Ok(caller) => caller,
        Err(reason) => return nobody(door, reason, path),
    };
    noted.line.account = Some(caller.account.name.to_string());
    let defaults = door.config.borrow().limits;
    let used = door.accounts.of(&caller.account, &defaults);
    used.totals.requests.add(1);
    noted.used = Some(used.clone());
    let refusal = used.request().err();
    let asking = Asking { door, caller: &caller, used: &used, request, now };
    match (wanted(door, &caller, &via, path, now), refusal) {
        (Wanted::Target(Some(target), what), refusal) => asking.target((target, what), refusal, arrived, noted).await,
        (_, Some(refusal)) => {
            noted.line.outcome = Some(Outcome::OverQuota.name());
            over_quota(refusal)
        }
        // Apart on the heap: they are large and seldom, and a scrape's task is copied as it is spawned, with room for them or without.
        (Wanted::Sensors, None) => Box::pin(asking.sensors(body, noted)).await,
        (wanted, None) => Box::pin(asking.list(&wanted, noted)).await,
    }
}

/// A request whose caller is known.
struct Asking<'a> {
    door: &'a Arc<Door>,
    caller: &'a Caller,
    used: &'a Arc<Use>,
    request: &'a Request<()>,
    now: SystemTime,
}

impl Asking<'_> {
    /// An instance or a node that the caller may see.
    async fn target(
        &self,
        wanted: (Visible, What),
        refusal: Option<Refusal>,
        arrived: Instant,
        noted: &mut Noted,
    ) -> Answer {
        let id = scrape::id(&wanted.0);
        (noted.line.route, noted.line.target) = ("target", Some(id));
        let (headers, query) = (self.request.headers(), self.request.uri().query());
        let scrape = Scrape::new(self.door, self.caller, self.used, headers, wanted, query, arrived);
        let (answer, outcome) = match refusal {
            Some(refusal) => scrape.refused(refusal),
            None => scrape.answer().await,
        };
        noted.line.outcome = Some(outcome.name());
        self.used.totals.scraped(id, outcome);
        self.door.about.scraped(outcome, self.caller.account.is_operator);
        answer
    }

    /// What the account pushed; a request that changes it has a body.
    async fn sensors(&self, body: Incoming, noted: &mut Noted) -> Answer {
        noted.line.route = "sensors";
        let asking = sensors::Asking {
            door: self.door,
            caller: self.caller,
            used: self.used,
            request: self.request,
            now: self.now,
        };
        let answer = asking.answer(body).await;
        // What comes after a refusal may be the rest of a body that nobody has read.
        let is_refused = is_change(self.request.method()) && !answer.status().is_success();
        if is_refused && self.request.version() < http::Version::HTTP_2 { closing(answer) } else { answer }
    }

    /// Anything else.
    async fn list(&self, wanted: &Wanted, noted: &mut Noted) -> Answer {
        let (door, caller, headers) = (self.door, self.caller, &with_host(self.request));
        let (route, answer) = match wanted {
            Wanted::Target(..) | Wanted::Sensors | Wanted::Nothing => ("", not_found()),
            Wanted::Forbidden => ("", sentence(StatusCode::FORBIDDEN, "this credential is not for reading metrics")),
            Wanted::Discovery => ("discovery", discover(door, caller, self.request, headers).await),
            Wanted::Account => ("account", account_target::answer(door, caller, self.used, headers, self.now).await),
            Wanted::Instances => ("instances", lists::instances(door, caller, headers, self.now)),
            Wanted::Nodes => ("nodes", lists::nodes(door)),
            Wanted::Usage => ("usage", lists::usage(door, caller, self.used)),
        };
        noted.line.route = route;
        answer
    }
}

fn over_quota(refusal: Refusal) -> Answer {
    let why = "the account has asked for more than it may; wait a moment";
    let reason = format!("{}; {}", Outcome::OverQuota.name(), refusal.reason.name());
    let answer = answer::with_reason(sentence(StatusCode::TOO_MANY_REQUESTS, why), &reason);
    answer::with_retry(answer, refusal.retry_after)
}

/// What a path is for.
enum Wanted {
    /// An instance or a node; none where there is nothing that the caller may see.
    Target(Option<Visible>, What),
    Account,
    Instances,
    Nodes,
    Usage,
    Discovery,
    /// What it pushed, all that is under `/v1/sensors`.
    Sensors,
    /// A route that the credential is not for, whatever is behind it.
    Forbidden,
    Nothing,
}

fn wanted(door: &Door, caller: &Caller, via: &Via, path: &str, now: SystemTime) -> Wanted {
    // It looks at the table by itself, with the method.
    if sensors::is_route(path) {
        return Wanted::Sensors;
    }
    if api::route_of(path).is_none() {
        return Wanted::Nothing;
    }
    if discovery::is_route(path) {
        return Wanted::Discovery;
    }
    let catalogue = &door.catalogue;
    let wanted = match path.strip_prefix("/v1/instances/").and_then(|rest| rest.split_once('/')) {
        Some((wanted, what)) => {
            let what = match what {
                "metrics" => What::Metrics,
                "sensors" => What::Sensors,
                _ => return Wanted::Nothing,
            };
            Wanted::Target(access::id(wanted).and_then(|id| access::visible(catalogue, caller, id, now)), what)
        }
        None => match (path, via) {
            ("/metrics", Via::Label(label)) => {
                Wanted::Target(access::visible_by_label(catalogue, caller, label, now), What::Metrics)
            }
            ("/v1/account/metrics", _) => Wanted::Account,
            ("/v1/instances", _) => Wanted::Instances,
            ("/v1/usage", _) => Wanted::Usage,
            ("/v1/nodes", _) if caller.is_operator() => Wanted::Nodes,
            _ => return Wanted::Nothing,
        },
    };
    if caller.scopes.reads_metrics { wanted } else { Wanted::Forbidden }
}

/// What is no GET of a sane size. A GET with a body is where two servers read two requests.
fn shapeless(request: &Request<()>) -> Option<Answer> {
    let size = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if size > TARGET_BYTES {
        return Some(closing(sentence(StatusCode::URI_TOO_LONG, "the path and query are too long")));
    }
    if is_change(request.method()) && sensors::is_route(request.uri().path()) {
        return None;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Some(closing(answer::asked_otherwise(request.uri().path())));
    }
    let headers = request.headers();
    let has_length = headers.get_all(CONTENT_LENGTH).iter().any(|length| length != "0");
    if has_length || headers.contains_key(TRANSFER_ENCODING) {
        return Some(closing(sentence(StatusCode::BAD_REQUEST, "a GET has no body")));
    }
    None
}

/// What changes a sensor.
fn is_change(method: &Method) -> bool {
    matches!(*method, Method::PUT | Method::DELETE)
}

/// HTTP/1.1's connection ends with it: what comes next on it may be what somebody has hidden in a body.
fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

fn nobody(door: &Door, reason: Unauthorised, path: &str) -> Answer {
    door.about.unauthorised(reason);
    if reason == Unauthorised::NotSynced {
        let refused = if discovery::is_route(path) { "the inventory is not here yet" } else { "not ready yet" };
        return answer::with_retry(
            sentence(StatusCode::SERVICE_UNAVAILABLE, refused),
            std::time::Duration::from_secs(1),
        );
    }
    let mut answer = answer::typed(StatusCode::UNAUTHORIZED, "text/plain; charset=utf-8", identity::ANSWER);
    answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

async fn discover(door: &Door, caller: &Caller, request: &Request<()>, headers: &HeaderMap) -> Answer {
    let (path, query) = (request.uri().path(), request.uri().query());
    match discovery::answer(path, query, headers, caller, &door.catalogue, &door.discovery).await {
        Some(answer) => answer.map(AnswerBody::whole),
        None => not_found(),
    }
}

/// HTTP/2 says in `:authority` what lists look for in `Host`.
fn with_host(request: &Request<()>) -> HeaderMap {
    let mut headers = request.headers().clone();
    let authority = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let (Some(authority), false) = (authority, headers.contains_key(HOST)) {
        headers.insert(HOST, authority);
    }
    headers
}
