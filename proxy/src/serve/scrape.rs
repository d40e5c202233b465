//! One scrape: whose turn it is, who else asks the same, what the agent says, and what that means to the scraper.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use sonde_inventory::{Instance, Node};
use uuid::Uuid;

use super::Door;
use super::answer::{Answer, AnswerBody, REASON, not_found};
use super::synthesis;
use crate::access::Visible;
use crate::caller::Caller;
use crate::flight::{Arrival, Joined, Key, Lead, Shared};
use crate::limits::{Outcome, Reason, Refusal, Use};
use crate::upstream::{Fault, Question, Reply};

/// How a scraper says how long it waits, in seconds; and how we say it to the agent.
const SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
/// The owner that we take the instance for; an agent that knows better says 421.
const EXPECTED_OWNER: HeaderName = HeaderName::from_static("x-sonde-owner");
/// What cmon told cmon-agent.
const CMON_OPTIONS: HeaderName = HeaderName::from_static("x-joyent-cmon-opts");
/// The label by which an instance is one of the cloud's own.
const CORE_LABELS: [&str; 2] = ["smartdc_role", "manta_role"];
/// Who does not say how long he waits, waits so long: Prometheus's own default.
const DEFAULT_WAIT: f64 = 10.0;
const LONGEST_WAIT: f64 = 60.0;
/// Of the scraper's time, this part is for the way back; within these bounds.
const MARGIN: f64 = 0.05;
const LEAST_MARGIN: f64 = 0.02;
const MOST_MARGIN: f64 = 0.5;
/// How long one waits for another's answer before one asks for oneself: an agent's own deadline for its kernel is 500 ms.
const PATIENCE: Duration = Duration::from_secs(1);
/// Of an agent's answer, these pass.
const PASSED: [HeaderName; 5] = [CONTENT_TYPE, CONTENT_ENCODING, VARY, CACHE_CONTROL, HeaderName::from_static(REASON)];

/// What is scraped, and how.
pub(super) struct Scrape<'a> {
    pub door: &'a Door,
    pub used: &'a Arc<Use>,
    pub headers: &'a HeaderMap,
    pub target: Visible,
    pub question: Question,
    pub key: Key,
    pub is_cmon: bool,
    pub node: Option<Arc<Node>>,
}

/// Which of an instance's routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Metrics,
    Sensors,
}

impl<'a> Scrape<'a> {
    pub(super) fn new(
        door: &'a Door,
        caller: &'a Caller,
        used: &'a Arc<Use>,
        headers: &'a HeaderMap,
        (target, what): (Visible, What),
        query: Option<&str>,
        arrived: Instant,
    ) -> Self {
        let (node, epoch) = match &target {
            Visible::Instance(instance) => (door.catalogue.node(instance.node), instance.owner_epoch),
            Visible::Node(node) => (Some(node.clone()), 0),
        };
        let is_cmon = node.as_ref().is_some_and(|node| node.is_cmon);
        let path = path(&target, what, is_cmon, query);
        let deadline = arrived + wait(headers);
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let key = Key {
            target: id(&target),
            node: node.as_ref().map_or(Uuid::nil(), |node| node.id),
            owner_epoch: epoch,
            format: sonde_expo::negotiate(text(ACCEPT)).content_type,
            encoding: sonde_expo::accept_encoding(text(ACCEPT_ENCODING)),
            path: path.clone(),
        };
        let headers_up = upstream_headers(headers, caller, &target, is_cmon);
        let account = caller.account.name.clone();
        let question = Question { path, headers: headers_up, account, deadline };
        Self { door, used, headers, target, question, key, is_cmon, node }
    }

    /// Answers it; the account's request has been counted.
    pub(super) async fn answer(mut self) -> (Answer, Outcome) {
        let place = match self.door.accounts.scrape(self.used) {
            Ok(place) => place,
            Err(refusal) => return self.refused(refusal),
        };
        let lead = match self.take_part().await {
            Ok(shared) => return (self.from_shared(&shared), outcome_of(shared.status)),
            Err(lead) => lead,
        };
        let (answer, outcome) = self.ask(lead).await;
        (answer.map(|body| body.holding(place)), outcome)
    }

    /// Somebody's answer of this moment, or our own part in getting one.
    async fn take_part(&self) -> Result<Arc<Shared>, Option<Lead>> {
        let until = self.question.deadline.min(Instant::now() + PATIENCE);
        loop {
            let follow = match self.door.flights.join(&self.key) {
                Joined::Landed(shared) => return Ok(shared),
                Joined::Lead(lead) => return Err(Some(lead)),
                Joined::Follow(follow) => follow,
            };
            match tokio::time::timeout_at(until.into(), follow.arrival()).await {
                Ok(Arrival::Landed(shared)) => return Ok(shared),
                Ok(Arrival::Alone) | Err(_) => return Err(None),
                // Another of those who waited may be the first now.
                Ok(Arrival::Lost) => {}
            }
        }
    }

    async fn ask(&mut self, lead: Option<Lead>) -> (Answer, Outcome) {
        if self.instance().is_some_and(Instance::is_claimed_twice) {
            let outcome = Outcome::ClaimedTwice;
            return (self.outcome(StatusCode::SERVICE_UNAVAILABLE, outcome), outcome);
        }
        let Some(node) = self.node.clone() else { return self.unanswered(Fault::Unreachable) };
        let left = self.question.deadline.saturating_duration_since(Instant::now()).as_secs_f64();
        if let Ok(value) = HeaderValue::from_str(&format!("{left:.3}")) {
            self.question.headers.insert(SCRAPE_TIMEOUT, value);
        }
        match self.door.upstream.ask(&node, &self.question).await {
            Ok(reply) => self.from_reply(reply, lead),
            Err(fault) => self.unanswered(fault),
        }
    }

    /// What an agent said, as the scraper hears it.
    fn from_reply(&self, reply: Reply, lead: Option<Lead>) -> (Answer, Outcome) {
        let status = reply.parts.status;
        let has_reason = reply.parts.headers.contains_key(REASON);
        match status {
            StatusCode::OK => (self.pass(reply, lead), Outcome::Answered),
            StatusCode::SERVICE_UNAVAILABLE if has_reason => (self.pass(reply, lead), Outcome::Ended),
            // What the scraper asked for is not there: its own mistake, and the sentence says which.
            StatusCode::BAD_REQUEST if !self.is_cmon => (self.pass(reply, None), Outcome::AgentRefused),
            StatusCode::SERVICE_UNAVAILABLE => self.unanswered(Fault::Slow),
            // The agent knows another owner, and it is the agent that knows: it is not the caller's any more.
            StatusCode::MISDIRECTED_REQUEST => (not_found(), Outcome::AgentRefused),
            _ => match self.instance().filter(|instance| !instance.state.is_alive()) {
                Some(instance) => (synthesis::ended(instance, self.accept()), Outcome::Ended),
                None => (self.outcome(StatusCode::BAD_GATEWAY, Outcome::AgentRefused), Outcome::AgentRefused),
            },
        }
    }

    fn pass(&self, reply: Reply, mut lead: Option<Lead>) -> Answer {
        let mut answer = Response::new(());
        *answer.status_mut() = reply.parts.status;
        for name in PASSED {
            if let Some(value) = reply.parts.headers.get(&name) {
                answer.headers_mut().insert(name, value.clone());
            }
        }
        if !answer.headers().contains_key(CONTENT_TYPE) {
            // cmon-agent may leave it out, and Prometheus 3 fails without it.
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
        }
        if let Some(lead) = &mut lead {
            let size = hyper::body::Body::size_hint(&reply.body).exact();
            lead.head(reply.parts.status, answer.headers(), size);
        }
        answer.map(|()| AnswerBody::agent(reply.body, lead))
    }

    fn from_shared(&self, shared: &Arc<Shared>) -> Answer {
        self.used.totals.shared.add(1);
        self.door.about.shared.add(1);
        let mut answer = Response::new(AnswerBody::shared(shared));
        *answer.status_mut() = shared.status;
        *answer.headers_mut() = shared.headers.clone();
        answer
    }

    /// No answer of the agent's.
    fn unanswered(&self, fault: Fault) -> (Answer, Outcome) {
        // What had ended before its node did is known without it.
        if let (Fault::Unreachable, Some(instance)) = (fault, self.instance())
            && !instance.state.is_alive()
        {
            return (synthesis::ended(instance, self.accept()), Outcome::Ended);
        }
        let (status, outcome) = match fault {
            Fault::Unreachable => (StatusCode::BAD_GATEWAY, Outcome::NodeUnreachable),
            Fault::Slow => (StatusCode::GATEWAY_TIMEOUT, Outcome::AgentSlow),
            Fault::Busy => (StatusCode::SERVICE_UNAVAILABLE, Outcome::NodeBusy),
        };
        (self.outcome(status, outcome), outcome)
    }

    /// Over a limit: what was just got for another, if anything; else when to come again.
    pub(super) fn refused(&self, refusal: Refusal) -> (Answer, Outcome) {
        if let Some(shared) = self.door.flights.landed(&self.key) {
            return (self.from_shared(&shared), outcome_of(shared.status));
        }
        let (status, outcome) = match refusal.reason {
            Reason::Overload => (StatusCode::SERVICE_UNAVAILABLE, Outcome::Overload),
            _ => (StatusCode::TOO_MANY_REQUESTS, Outcome::OverQuota),
        };
        let answer = self.outcome(status, outcome);
        let answer = super::answer::with_reason(answer, &format!("{}; {}", outcome.name(), refusal.reason.name()));
        (super::answer::with_retry(answer, refusal.retry_after), outcome)
    }

    fn outcome(&self, status: StatusCode, outcome: Outcome) -> Answer {
        synthesis::outcome(status, outcome, self.instance(), self.accept())
    }

    fn instance(&self) -> Option<&Instance> {
        match &self.target {
            Visible::Instance(instance) => Some(instance),
            Visible::Node(_) => None,
        }
    }

    fn accept(&self) -> Option<&str> {
        self.headers.get(ACCEPT).and_then(|value| value.to_str().ok())
    }
}

pub(super) fn id(target: &Visible) -> Uuid {
    match target {
        Visible::Instance(instance) => instance.id,
        Visible::Node(node) => node.id,
    }
}

fn outcome_of(status: StatusCode) -> Outcome {
    if status == StatusCode::OK { Outcome::Answered } else { Outcome::Ended }
}

/// Path and query, as the agent has them.
fn path(target: &Visible, what: What, is_cmon: bool, query: Option<&str>) -> String {
    let what = match what {
        What::Metrics => "metrics",
        What::Sensors => "sensors",
    };
    let target = match target {
        Visible::Instance(instance) => instance.id.to_string(),
        Visible::Node(_) if is_cmon => "gz".to_owned(),
        Visible::Node(_) => "node".to_owned(),
    };
    match query.filter(|query| !query.is_empty()) {
        Some(query) => format!("/v1/{target}/{what}?{query}"),
        None => format!("/v1/{target}/{what}"),
    }
}

/// From the request's arrival to our own deadline.
fn wait(headers: &HeaderMap) -> Duration {
    let given = headers.get(SCRAPE_TIMEOUT).and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok());
    let seconds = given.filter(|seconds| *seconds > 0.0).unwrap_or(DEFAULT_WAIT).min(LONGEST_WAIT);
    let margin = (seconds * MARGIN).clamp(LEAST_MARGIN, MOST_MARGIN);
    Duration::from_secs_f64((seconds - margin).max(LEAST_MARGIN))
}

fn upstream_headers(headers: &HeaderMap, caller: &Caller, target: &Visible, is_cmon: bool) -> HeaderMap {
    let mut up = HeaderMap::new();
    for name in [ACCEPT, ACCEPT_ENCODING] {
        if let Some(value) = headers.get(&name) {
            up.insert(name, value.clone());
        }
    }
    if let Visible::Instance(instance) = target {
        if let Ok(owner) = HeaderValue::from_str(instance.owner.as_str()) {
            up.insert(EXPECTED_OWNER, owner);
        }
        let is_core =
            caller.account.is_operator && CORE_LABELS.iter().any(|label| instance.labels.get(*label).is_some());
        if is_cmon && let Ok(options) = HeaderValue::from_str(&STANDARD.encode(format!("{{\"isCoreZone\":{is_core}}}")))
        {
            up.insert(CMON_OPTIONS, options);
        }
    }
    up
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scrapers_time_less_the_way_back_and_never_without_end() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(SCRAPE_TIMEOUT, HeaderValue::from_static(text));
            wait(&headers).as_secs_f64()
        };
        assert_eq!(of("10"), 9.5);
        assert_eq!(of("1"), 0.95);
        assert_eq!(of("0.01"), LEAST_MARGIN);
        assert_eq!(of("1e9"), 59.5);
        for nothing in ["", "-1", "NaN", "soon", "0"] {
            assert_eq!(of(nothing), 9.5, "{nothing:?}");
        }
        assert_eq!(of("inf"), 59.5);
    }
}
