//! Every kind of credential, right and in each way wrong.

mod forge;
mod keys;
mod mutations;
mod styles;
mod tokens;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use rustls::pki_types::CertificateDer;
use sonde_inventory::{Account, AccountName, Catalogue, Change, SshKey};

use super::{Unauthorised, caller};
use crate::caller::Caller;
use crate::tls::{AuthorityCell, Peer, Presented};

/// Seconds since 1970; any moment will do.
const NOW: i64 = 1_800_000_000;

fn at(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds as u64)
}

fn account(name: &str) -> Account {
    Account::new(AccountName::new(name).unwrap())
}

fn with_keys(name: &str, keys: &[SshKey]) -> Account {
    Account { keys: keys.to_vec(), ..account(name) }
}

/// A catalogue of these accounts.
fn catalogue(accounts: impl IntoIterator<Item = Account>) -> Catalogue {
    let catalogue = Catalogue::default();
    catalogue.apply(accounts.into_iter().map(Change::Account));
    catalogue
}

fn peer(chain: &[CertificateDer<'_>]) -> Peer {
    Peer::showing(Presented::tenant(Some(chain)), None)
}

fn peer_with(chain: &[CertificateDer<'_>], authority: Arc<AuthorityCell>) -> Peer {
    Peer::showing(Presented::tenant(Some(chain)), Some(authority))
}

fn ask(peer: &Peer, catalogue: &Catalogue, now: i64) -> Result<Caller, Unauthorised> {
    caller(Some(peer), &HeaderMap::new(), catalogue, at(now))
}

/// The account's name, or why there is none.
fn who(peer: &Peer, catalogue: &Catalogue) -> Result<String, Unauthorised> {
    ask(peer, catalogue, NOW).map(|caller| caller.account.name.to_string())
}
