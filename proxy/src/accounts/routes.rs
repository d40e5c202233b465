//! The socket's routes, in HTTP and JSON: what `sonde account`, `key`, `token` and `node` ask.
//!
//! | route | does |
//! |---|---|
//! | `GET /v1/accounts` | lists |
//! | `PUT·GET·DELETE /v1/accounts/{name}` | makes (`{"is_operator": …}`), shows, removes |
//! | `PATCH /v1/accounts/{name}/limits` | sets those that are named |
//! | `POST /v1/accounts/{name}/keys`, `DELETE …/keys?which=` | adds those of a `.pub` file (the body), removes by name or fingerprint |
//! | `POST /v1/accounts/{name}/tokens`, `DELETE …/tokens?which=` | draws, removes by id |
//! | `POST /v1/accounts/{name}/certificates`, `DELETE …/certificates?which=` | binds, revokes |
//! | `GET /v1/nodes`, `PUT /v1/nodes/{id}/accounts`, `DELETE /v1/nodes/{id}` | lists, says who may run there, forgets |
//! | `PUT /v1/nodes/{id}/cmon` | says what runs on a node of cmon's |
//!
//! Errors are a sentence, in plain text.

use http::{Method, Response, StatusCode, header};
use hyper::body::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use sonde_inventory::{Account, AccountName, Node, WriteError};
use uuid::Uuid;

use super::{AccountError, Accounts, keys};

/// What was asked.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    pub(super) body: &'a [u8],
}

#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct AccountWanted {
    is_operator: bool,
}

pub(super) async fn answer(accounts: &Accounts, asked: Asked<'_>) -> Response<Bytes> {
    match route(accounts, &asked).await {
        Ok(Some(value)) => {
            let mut response = Response::new(Bytes::from(value.to_string()));
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            response
        }
        Ok(None) => {
            sentence(StatusCode::NOT_FOUND, "there is no such route on this socket; is `sonde` of the proxy's version?")
        }
        Err(error) => sentence(status(&error), &crate::chain(&error)),
    }
}

fn status(error: &AccountError) -> StatusCode {
    match error {
        AccountError::NoAccount(_) | AccountError::NotThere(_) => StatusCode::NOT_FOUND,
        AccountError::Exists(_) => StatusCode::CONFLICT,
        AccountError::Invalid(_) | AccountError::TooMany { .. } => StatusCode::BAD_REQUEST,
        AccountError::NotSynced | AccountError::Write(WriteError::Unavailable { .. } | WriteError::Conflict { .. }) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        AccountError::Randomness | AccountError::Write(_) | AccountError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

pub(super) fn sentence(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{text}\n")));
    *response.status_mut() = status;
    response
}

async fn route(accounts: &Accounts, asked: &Asked<'_>) -> Result<Option<serde_json::Value>, AccountError> {
    let segments: Vec<&str> = asked.path.trim_start_matches('/').split('/').collect();
    match (asked.method, segments.as_slice()) {
        (&Method::GET, ["v1", "accounts"]) => {
            let all: Vec<_> = accounts.list()?.iter().map(|account| shown(account)).collect();
            Ok(Some(all.into()))
        }
        (_, ["v1", "accounts", name]) => of_account(accounts, asked, &account_name(name)?).await,
        (&Method::PATCH, ["v1", "accounts", name, "limits"]) => {
            let limits = parse(asked.body)?;
            Ok(Some(shown(&*accounts.set_limits(&account_name(name)?, &limits).await?)))
        }
        (_, ["v1", "accounts", name, "keys"]) => keys_of(accounts, asked, &account_name(name)?).await,
        (_, ["v1", "accounts", name, "tokens"]) => tokens_of(accounts, asked, &account_name(name)?).await,
        (_, ["v1", "accounts", name, "certificates"]) => certificates_of(accounts, asked, &account_name(name)?).await,
        (&Method::GET, ["v1", "nodes"]) => {
            let all: Vec<_> = accounts.nodes()?.iter().map(|(node, speaks)| shown_node(node, *speaks)).collect();
            Ok(Some(all.into()))
        }
        (&Method::PUT, ["v1", "nodes", id, "accounts"]) => {
            let allowed: Option<Vec<AccountName>> = parse(asked.body)?;
            let node = accounts.allow(node_id(id)?, allowed.as_deref()).await?;
            Ok(Some(value(&*node)))
        }
        (&Method::PUT, ["v1", "nodes", id, "cmon"]) => {
            let refused = accounts.set_cmon_node(node_id(id)?, parse(asked.body)?).await?;
            Ok(Some(json!({ "refused": refused })))
        }
        (&Method::DELETE, ["v1", "nodes", id]) => {
            accounts.forget_node(node_id(id)?).await?;
            Ok(Some(json!({})))
        }
        _ => Ok(None),
    }
}

async fn of_account(
    accounts: &Accounts,
    asked: &Asked<'_>,
    name: &AccountName,
) -> Result<Option<serde_json::Value>, AccountError> {
    Ok(Some(match *asked.method {
        Method::GET => shown(&*accounts.get(name)?),
        Method::PUT => {
            let wanted: AccountWanted = parse(asked.body)?;
            shown(&*accounts.add(name, wanted.is_operator).await?)
        }
        Method::DELETE => {
            accounts.remove(name).await?;
            json!({})
        }
        _ => return Ok(None),
    }))
}

async fn keys_of(
    accounts: &Accounts,
    asked: &Asked<'_>,
    name: &AccountName,
) -> Result<Option<serde_json::Value>, AccountError> {
    Ok(Some(match *asked.method {
        Method::POST => {
            let text = std::str::from_utf8(asked.body);
            let text = text.map_err(|_| AccountError::Invalid("the file of keys is not text".into()))?;
            let added = accounts.add_keys(name, text).await?;
            added.iter().map(shown_key).collect::<Vec<_>>().into()
        }
        Method::DELETE => {
            accounts.remove_key(name, &which(asked)?).await?;
            json!({})
        }
        _ => return Ok(None),
    }))
}

async fn tokens_of(
    accounts: &Accounts,
    asked: &Asked<'_>,
    name: &AccountName,
) -> Result<Option<serde_json::Value>, AccountError> {
    Ok(Some(match *asked.method {
        Method::POST => value(&accounts.new_token(name, &parse(asked.body)?).await?),
        Method::DELETE => {
            accounts.remove_token(name, &which(asked)?).await?;
            json!({})
        }
        _ => return Ok(None),
    }))
}

async fn certificates_of(
    accounts: &Accounts,
    asked: &Asked<'_>,
    name: &AccountName,
) -> Result<Option<serde_json::Value>, AccountError> {
    match *asked.method {
        Method::POST => accounts.add_certificate(name, &parse(asked.body)?).await?,
        Method::DELETE => accounts.remove_certificate(name, &which(asked)?).await?,
        _ => return Ok(None),
    }
    Ok(Some(json!({})))
}

/// An account for people and programs: without the hashes of its tokens, with the fingerprints of its keys.
fn shown(account: &Account) -> serde_json::Value {
    let tokens: Vec<_> = account
        .tokens
        .iter()
        .map(|token| json!({ "id": token.id, "scopes": token.scopes, "groups": token.groups, "not_after": token.not_after }))
        .collect();
    json!({
        "name": account.name,
        "id": account.id(),
        "is_operator": account.is_operator,
        "keys": account.keys.iter().map(shown_key).collect::<Vec<_>>(),
        "tokens": tokens,
        "certificates": account.certificates,
        "limits": account.limits,
    })
}

fn shown_key(key: &sonde_inventory::SshKey) -> serde_json::Value {
    json!({ "name": key.name, "line": key.line, "fingerprint": keys::fingerprint(key) })
}

fn shown_node(node: &Node, speaks: bool) -> serde_json::Value {
    let mut shown = value(node);
    shown["is_reachable"] = speaks.into();
    // What accounts run there is theirs to ask.
    if let Some(shown) = shown.as_object_mut() {
        shown.remove("sensors");
    }
    shown
}

fn value(of: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(of).expect("it has string keys alone, and nothing else can fail")
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, AccountError> {
    serde_json::from_slice(body)
        .map_err(|error| AccountError::Invalid(format!("the body is not what this route takes ({error})")))
}

fn account_name(name: &str) -> Result<AccountName, AccountError> {
    AccountName::new(name).map_err(|error| AccountError::Invalid(error.to_string()))
}

fn node_id(id: &str) -> Result<Uuid, AccountError> {
    id.parse().map_err(|_| {
        AccountError::Invalid(format!("{id:?} is not a node's id, which is a UUID; `sonde node ls` lists them"))
    })
}

/// What `?which=` says, of which there is one.
fn which(asked: &Asked<'_>) -> Result<String, AccountError> {
    let missing = || AccountError::Invalid("?which= says what is to be removed".into());
    let value = asked.query.and_then(|query| query.strip_prefix("which=")).filter(|value| !value.is_empty());
    unescape(value.ok_or_else(missing)?)
        .ok_or_else(|| AccountError::Invalid("?which= is not escaped as URLs are".into()))
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
