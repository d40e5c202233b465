//! Any bytes as a client's certificate, of a catalogue with an account that has no key: it is read or not, and never anybody's.
#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use sonde_inventory::{Account, AccountName, Catalogue, Change};
use sonde_proxy::identity::caller;
use sonde_proxy::tls::{peer_of, tier_peer_of};

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let catalogue = Catalogue::default();
    let name = AccountName::new("ada").expect("it is a name");
    catalogue.apply([Change::Account(Account::new(name))]);
    catalogue
});

fuzz_target!(|bytes: &[u8]| {
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let peer = peer_of(bytes);
    assert!(caller(Some(&peer), &HeaderMap::new(), &CATALOGUE, now).is_err());
    assert!(sonde_proxy::identity::tier_role(&peer).is_none(), "a tenant's certificate has no role");
    let _ = sonde_proxy::identity::tier_role(&tier_peer_of(bytes));
});
