//! Who may ask: the operator's changes to accounts, keys, tokens, limits, and to where accounts may run.
//!
//! Every change reads a record from the catalogue, and is written only if the store still has that one, so two operators never undo each other's. It
//! counts from the next request on, at every proxy. Nothing secret is kept: a token is shown once, when it is drawn. The way in is a Unix
//! socket ([`socket`]) whose other end must be this user's or root's.

pub mod keys;
mod nodes;
mod routes;
pub mod socket;
pub mod tokens;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sonde_inventory::report::is_group;
use sonde_inventory::write::MOST_WRITES;
use sonde_inventory::{
    Account, AccountName, BoundCertificate, Catalogue, Limits, Record, Scope, SshKey, Store, StoreError, Token, Write,
    WriteError,
};

/// How often a change is tried again that another one came before.
const MOST_ATTEMPTS: usize = 16;
/// Of one account: more than people keep track of, and small enough for one record.
const MOST_KEYS: usize = 100;
const MOST_TOKENS: usize = 1000;
const MOST_CERTIFICATES: usize = 2000;
const MOST_GROUPS: usize = 100;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("there is no account {0}; `sonde account ls` lists those there are, `sonde account add {0}` makes it")]
    NoAccount(AccountName),
    #[error("account {0} is there already")]
    Exists(AccountName),
    #[error("{0}")]
    NotThere(String),
    #[error("{0}")]
    Invalid(String),
    #[error("account {account} has {most} {what}, the most there may be: remove one first")]
    TooMany { account: AccountName, what: &'static str, most: usize },
    #[error("the inventory is not known here yet; try again")]
    NotSynced,
    #[error("no random number can be had from the kernel")]
    Randomness,
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a token is to be good for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenWanted {
    /// None at all means reading metrics.
    pub scopes: Vec<Scope>,
    pub groups: Option<Vec<String>>,
    /// None means for ever.
    pub ttl_seconds: Option<u64>,
}

/// A new token: the only time that its text is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    pub id: String,
    pub token: String,
    pub not_after: Option<u64>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    store: Store,
    catalogue: Arc<Catalogue>,
}

impl Accounts {
    pub fn new(store: Store, catalogue: Arc<Catalogue>) -> Self {
        Self { store, catalogue }
    }

    fn catalogue(&self) -> Result<&Catalogue, AccountError> {
        if self.catalogue.is_synced() { Ok(&self.catalogue) } else { Err(AccountError::NotSynced) }
    }

    /// All accounts, by name.
    pub fn list(&self) -> Result<Vec<Arc<Account>>, AccountError> {
        Ok(self.catalogue()?.accounts())
    }

    pub fn get(&self, name: &AccountName) -> Result<Arc<Account>, AccountError> {
        self.catalogue()?.account(name).ok_or_else(|| AccountError::NoAccount(name.clone()))
    }

    /// Makes an account. The one that is called `operator` is the operator's whatever is asked.
    pub async fn add(&self, name: &AccountName, is_operator: bool) -> Result<Arc<Account>, AccountError> {
        self.catalogue()?;
        let mut account = Account::new(name.clone());
        account.is_operator |= is_operator;
        match self.store.write(vec![Write::put(None, account.clone())]).await {
            Err(WriteError::Conflict { .. }) => Err(AccountError::Exists(name.clone())),
            Err(error) => Err(error.into()),
            Ok(()) => {
                tracing::info!(account = %name, is_operator = account.is_operator, "an account was added");
                Ok(Arc::new(account))
            }
        }
    }

    /// Removes an account with its keys, tokens, certificates and sensors. Its instances stay, and nobody may ask for them.
    pub async fn remove(&self, name: &AccountName) -> Result<(), AccountError> {
        for _ in 0..MOST_ATTEMPTS {
            let account = self.get(name)?;
            // Before it: whoever is given the name next must not find them.
            let sensors = self.catalogue.sensors_of(name);
            let sensors: Vec<Write> = sensors.into_iter().map(|sensor| Write::remove(Record::Sensor(sensor))).collect();
            for part in sensors.chunks(MOST_WRITES) {
                match self.store.write(part.to_vec()).await {
                    Err(WriteError::Conflict { .. }) | Ok(()) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            match self.store.write(vec![Write::remove(Record::Account(account))]).await {
                Err(WriteError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => {
                    tracing::info!(account = %name, "an account was removed");
                    return Ok(());
                }
            }
        }
        Err(WriteError::Unavailable { why: format!("account {name} changes all the time") }.into())
    }

    /// Changes an account's record; `change` may run more than once, each time on what is there then.
    pub async fn change<T>(
        &self,
        name: &AccountName,
        mut change: impl FnMut(&mut Account) -> Result<T, AccountError>,
    ) -> Result<T, AccountError> {
        for _ in 0..MOST_ATTEMPTS {
            let was = self.get(name)?;
            let mut account = (*was).clone();
            let done = change(&mut account)?;
            if account == *was {
                return Ok(done);
            }
            match self.store.write(vec![Write::put(Some(Record::Account(was)), account)]).await {
                Err(WriteError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(done),
            }
        }
        Err(WriteError::Unavailable { why: format!("account {name} changes all the time") }.into())
    }

    /// Sets the limits that `limits` names; one that is null there is the proxy's default again.
    pub async fn set_limits(
        &self,
        name: &AccountName,
        limits: &Map<String, Value>,
    ) -> Result<Arc<Account>, AccountError> {
        self.change(name, |account| {
            let mut all = serde_json::to_value(&account.limits).unwrap_or_default();
            for (key, value) in limits {
                if !Limits::NAMES.contains(&key.as_str()) {
                    return Err(AccountError::Invalid(format!(
                        "{key:?} is not a limit: {} are",
                        Limits::NAMES.join(", ")
                    )));
                }
                all[key] = value.clone();
            }
            account.limits = serde_json::from_value(all)
                .map_err(|error| AccountError::Invalid(format!("a limit is a number or null ({error})")))?;
            Ok(())
        })
        .await?;
        let limits: Vec<&String> = limits.keys().collect();
        tracing::info!(account = %name, ?limits, "an account's limits were changed");
        self.get(name)
    }

    /// Adds the keys of a `.pub` file; those that are there already are left as they are. Returns the new ones.
    pub async fn add_keys(&self, name: &AccountName, text: &str) -> Result<Vec<SshKey>, AccountError> {
        let keys = keys::parse(text).map_err(|errors| {
            AccountError::Invalid(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
        let added = self
            .change(name, |account| {
                let is_new = |key: &&SshKey| !account.keys.iter().any(|known| known.line == key.line);
                let new: Vec<SshKey> = keys.iter().filter(is_new).cloned().collect();
                account.keys.extend(new.iter().cloned());
                bound(account, account.keys.len(), "keys", MOST_KEYS)?;
                Ok(new)
            })
            .await?;
        tracing::info!(account = %name, keys = added.len(), "keys were added to an account");
        Ok(added)
    }

    /// Removes the keys that are called so, or have that fingerprint.
    pub async fn remove_key(&self, name: &AccountName, which: &str) -> Result<(), AccountError> {
        let is_meant = |key: &SshKey| key.name == which || keys::fingerprint(key).as_deref() == Some(which);
        self.change(name, |account| {
            let before = account.keys.len();
            account.keys.retain(|key| !is_meant(key));
            let none = || {
                AccountError::NotThere(format!("account {name} has no key {which:?}; `sonde key ls {name}` lists them"))
            };
            if account.keys.len() == before { Err(none()) } else { Ok(()) }
        })
        .await?;
        tracing::info!(account = %name, key = which, "a key was removed from an account");
        Ok(())
    }

    /// Draws a token and keeps its hash.
    pub async fn new_token(&self, name: &AccountName, wanted: &TokenWanted) -> Result<NewToken, AccountError> {
        check_groups(wanted.groups.as_deref())?;
        if wanted.ttl_seconds == Some(0) {
            return Err(AccountError::Invalid("a token that lasts 0 s is good for nothing".into()));
        }
        let drawn = tokens::draw().map_err(|_| AccountError::Randomness)?;
        let now = now_seconds();
        let not_after = wanted.ttl_seconds.map(|ttl| now.saturating_add(ttl));
        self.change(name, |account| {
            // What has ended is of no use to anybody.
            account.tokens.retain(|token| token.not_after.is_none_or(|end| end > now));
            account.tokens.push(Token {
                id: drawn.id.clone(),
                sha256: drawn.sha256.clone(),
                scopes: wanted.scopes.clone(),
                groups: wanted.groups.clone(),
                not_after,
            });
            bound(account, account.tokens.len(), "tokens", MOST_TOKENS)
        })
        .await?;
        tracing::info!(account = %name, token = drawn.id, "a token was drawn for an account");
        Ok(NewToken { id: drawn.id, token: drawn.text, not_after })
    }

    pub async fn remove_token(&self, name: &AccountName, id: &str) -> Result<(), AccountError> {
        self.change(name, |account| {
            let before = account.tokens.len();
            account.tokens.retain(|token| token.id != id);
            let none = || {
                AccountError::NotThere(format!(
                    "account {name} has no token {id:?}; `sonde token ls {name}` lists them"
                ))
            };
            if account.tokens.len() == before { Err(none()) } else { Ok(()) }
        })
        .await?;
        tracing::info!(account = %name, token = id, "a token was removed from an account");
        Ok(())
    }

    /// Binds a certificate that was issued to the account.
    pub async fn add_certificate(
        &self,
        name: &AccountName,
        certificate: &BoundCertificate,
    ) -> Result<(), AccountError> {
        check_groups(certificate.groups.as_deref())?;
        let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hash(&certificate.sha256) {
            return Err(AccountError::Invalid(
                "a certificate's fingerprint is 64 lower-case hexadecimal digits".into(),
            ));
        }
        let now = now_seconds();
        self.change(name, |account| {
            let is_other = |bound: &BoundCertificate| bound.not_after > now && bound.sha256 != certificate.sha256;
            account.certificates.retain(is_other);
            account.certificates.push(certificate.clone());
            bound(account, account.certificates.len(), "certificates", MOST_CERTIFICATES)
        })
        .await?;
        tracing::info!(account = %name, sha256 = certificate.sha256, "a certificate was bound to an account");
        Ok(())
    }

    /// Revokes a certificate, by its fingerprint or a beginning of it that only it has.
    pub async fn remove_certificate(&self, name: &AccountName, sha256: &str) -> Result<(), AccountError> {
        self.change(name, |account| {
            let meant = account.certificates.iter().filter(|bound| bound.sha256.starts_with(sha256)).count();
            if sha256.is_empty() || meant != 1 {
                return Err(AccountError::NotThere(format!("account {name} has {meant} certificates {sha256:?}…")));
            }
            account.certificates.retain(|bound| !bound.sha256.starts_with(sha256));
            Ok(())
        })
        .await?;
        tracing::info!(account = %name, sha256, "a certificate of an account was revoked");
        Ok(())
    }
}

fn bound(account: &Account, count: usize, what: &'static str, most: usize) -> Result<(), AccountError> {
    if count > most { Err(AccountError::TooMany { account: account.name.clone(), what, most }) } else { Ok(()) }
}

fn check_groups(groups: Option<&[String]>) -> Result<(), AccountError> {
    let Some(groups) = groups else { return Ok(()) };
    if groups.is_empty() || groups.len() > MOST_GROUPS {
        return Err(AccountError::Invalid(format!("1 to {MOST_GROUPS} groups can be named")));
    }
    match groups.iter().find(|group| !is_group(group)) {
        Some(group) => Err(AccountError::Invalid(format!(
            "{group:?} is not the name of a group: 1 to 100 letters, digits, '_' and '-' are"
        ))),
        None => Ok(()),
    }
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
