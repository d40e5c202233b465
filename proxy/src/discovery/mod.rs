//! Discovery: what a caller may scrape, for the clients that Prometheus has (`triton_sd`, `http_sd`, `consul_sd`).
//!
//! Every list is made of the catalogue, the caller and the query when it is asked for, and of nothing else. Two things it never does. It does not send an
//! empty list for want of knowledge: before the first sync it is 503. And an error is never JSON: `triton_sd` looks at no status, and would take an object
//! without `containers` for an account without any, so one refused request would cost a scraper all of its targets.

mod consul;
mod http_sd;
pub(crate) mod query;
pub(crate) mod shard;
mod triton;
pub(crate) mod view;
mod waiting;

#[cfg(test)]
mod tests;

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use sonde_inventory::Catalogue;
use uuid::Uuid;

use self::http_sd::Role;
use self::query::{Query, Refusal, Selection};
use self::waiting::{Patience, Waiting};
use crate::caller::Caller;
use crate::names::ListKey;

/// What a refused client should wait, for those that read it: no client of discovery asks again sooner by itself.
const RETRY_AFTER_SECONDS: u64 = 15;

/// What is the same for all requests.
#[derive(Debug)]
pub struct Settings {
    /// `HOST:PORT` of the proxies, for a request that does not say by which of our names it came.
    pub address: String,
    /// What the names of instances end in, without dots around it; where there is none, lists do without names.
    pub suffix: Option<String>,
    /// What we say to be, to clients of Consul.
    pub datacenter: String,
    lists: Option<ListKey>,
    waiting: Waiting,
}

impl Settings {
    pub fn new(address: String, suffix: Option<String>, datacenter: String) -> Self {
        Self { address, suffix, datacenter, lists: None, waiting: Waiting::default() }
    }

    /// With what the labels of lists in DNS are made with, so that each account can be told its own.
    pub fn with_lists(self, key: Option<ListKey>) -> Self {
        Self { lists: key, ..self }
    }

    /// Answers every waiting question now, and none late from here on: we stop.
    pub fn end_waiting(&self) {
        self.waiting.end();
    }
}

/// Where a list sends the caller.
struct Place<'a> {
    /// `HOST:PORT`, as the caller reached us.
    authority: String,
    host: String,
    port: u16,
    suffix: Option<&'a str>,
    datacenter: &'a str,
}

impl<'a> Place<'a> {
    fn of(headers: &HeaderMap, settings: &'a Settings) -> Self {
        // Whether a host is ours has been judged before us.
        let asked = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
        let authority = asked.or_else(|| settings.address.parse().ok());
        let host = authority.as_ref().map_or("localhost", Authority::host).to_owned();
        let port = authority.as_ref().and_then(Authority::port_u16).unwrap_or(HTTPS);
        let suffix = settings.suffix.as_deref();
        Self { authority: format!("{host}:{port}"), host, port, suffix, datacenter: &settings.datacenter }
    }

    /// The name of a target, or our own where there are no names.
    fn host_of(&self, id: Uuid) -> String {
        match self.suffix {
            Some(suffix) => format!("{id}.{suffix}"),
            None => self.host.trim_matches(['[', ']']).to_owned(),
        }
    }
}

/// The port of a host that names none.
const HTTPS: u16 = 443;

/// What is asked for by a path.
enum Route {
    Containers,
    ComputeNodes,
    HttpSd,
    DnsName,
    Consul(consul::Route),
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/v1/discover" => Some(Self::Containers),
            "/v1/gz/discover" => Some(Self::ComputeNodes),
            "/v1/sd/http" => Some(Self::HttpSd),
            "/v1/sd/dns" => Some(Self::DnsName),
            _ => consul::Route::of(path).map(Self::Consul),
        }
    }
}

/// Whether a path is one of discovery's, whose errors must never be JSON.
pub fn is_route(path: &str) -> bool {
    Route::of(path).is_some()
}

/// Reads a query as each route does, for fuzzing alone.
#[cfg(feature = "fuzzing")]
pub(crate) fn read(text: &str) {
    let Ok(query) = Query::parse(Some(text)) else { return };
    let _ = (Selection::of(&query), Patience::of(&query), Role::parse(query.first("role")));
    let _ = query.only(&["groups", "match", "role", "shard"]);
    for path in ["/v1/agent/self", "/v1/catalog/services", "/v1/health/service/sonde"] {
        let _ = consul::Route::of(path).map(|route| consul::Asked::new(route, &query, "sonde"));
    }
}

/// Answers a GET of a caller. None: the path is no route of discovery. Consul's blocking queries wait in here, for two minutes at most.
pub async fn answer(
    path: &str,
    query: Option<&str>,
    headers: &HeaderMap,
    caller: &Caller,
    catalogue: &Catalogue,
    settings: &Settings,
) -> Option<Response<Bytes>> {
    let route = Route::of(path)?;
    if !caller.scopes.reads_metrics {
        return Some(refusal(StatusCode::FORBIDDEN, "this credential is not for reading metrics"));
    }
    if !catalogue.is_synced() {
        return Some(refusal(StatusCode::SERVICE_UNAVAILABLE, "the inventory is not known yet"));
    }
    let place = Place::of(headers, settings);
    let answered = match route {
        Route::Consul(route) => blocking(route, query, caller, catalogue, settings, &place).await,
        Route::Containers => containers(query, caller, catalogue),
        // As cmon: whatever the query says.
        Route::ComputeNodes => Ok(json(triton::compute_nodes(all(&view::nodes(caller, catalogue))))),
        Route::DnsName => Ok(dns_name(caller, settings)),
        Route::HttpSd => http_sd(query, caller, catalogue, &place),
    };
    Some(answered.unwrap_or_else(|refused| refusal(StatusCode::BAD_REQUEST, &refused.to_string())))
}

fn all<T>(records: &[std::sync::Arc<T>]) -> impl Iterator<Item = &T> {
    records.iter().map(AsRef::as_ref)
}

fn containers(query: Option<&str>, caller: &Caller, catalogue: &Catalogue) -> Result<Response<Bytes>, Refusal> {
    let selection = Selection::of(&Query::parse(query)?)?;
    let instances = view::instances(caller, catalogue, &selection, SystemTime::now());
    Ok(json(triton::containers(all(&instances))))
}

fn http_sd(
    query: Option<&str>,
    caller: &Caller,
    catalogue: &Catalogue,
    place: &Place<'_>,
) -> Result<Response<Bytes>, Refusal> {
    let query = Query::parse(query)?;
    query.only(&["groups", "match", "role", "shard"])?;
    let selection = Selection::of(&query)?;
    Ok(json(match Role::parse(query.first("role"))? {
        Role::Instance => {
            let instances = view::instances(caller, catalogue, &selection, SystemTime::now());
            http_sd::instances(&place.authority, all(&instances))
        }
        Role::Node => http_sd::nodes(&place.authority, all(&view::nodes(caller, catalogue))),
        Role::Account => http_sd::account(&place.authority, caller),
    }))
}

/// The name of the account's list in DNS, for `dns_sd_configs`: whoever has it has all of the list, so it is told to a credential that is for all.
fn dns_name(caller: &Caller, settings: &Settings) -> Response<Bytes> {
    match (&settings.lists, &settings.suffix) {
        (Some(_), Some(_)) if caller.groups.is_some() => {
            refusal(StatusCode::FORBIDDEN, "this credential is for some groups, and the list in DNS has all")
        }
        (Some(key), Some(suffix)) => {
            let mut response = refusal(StatusCode::OK, &format!("{}.{suffix}", key.label(&caller.account.name)));
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        _ => refusal(StatusCode::NOT_FOUND, "there are no lists in DNS here"),
    }
}

async fn blocking(
    route: consul::Route,
    query: Option<&str>,
    caller: &Caller,
    catalogue: &Catalogue,
    settings: &Settings,
    place: &Place<'_>,
) -> Result<Response<Bytes>, Refusal> {
    let query = Query::parse(query)?;
    let asked = consul::Asked::new(route, &query, &settings.datacenter)?;
    let patience = Patience::of(&query)?;
    Ok(waiting::answer(&asked, patience, caller, catalogue, &settings.waiting, place).await)
}

/// 200 with a list. No `Content-Encoding`: `http_sd` takes none.
fn json(body: serde_json::Result<Vec<u8>>) -> Response<Bytes> {
    // Strings and numbers in lists and objects are always JSON; were they not, it would be an error and no list.
    let Ok(body) = body else { return refusal(StatusCode::INTERNAL_SERVER_ERROR, "the list could not be written") };
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An error of a route of discovery, whoever finds it: a sentence, and no JSON of any kind.
pub fn refusal(status: StatusCode, sentence: &str) -> Response<Bytes> {
    // No sentence of ours is JSON; should one ever be, it is none with a word before it.
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(sentence).is_ok();
    let mut response = Response::new(Bytes::from(format!("{}{sentence}\n", if is_json { "refused: " } else { "" })));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    response
}
