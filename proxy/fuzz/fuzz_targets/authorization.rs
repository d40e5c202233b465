//! Any bytes as `Authorization`, where no account has a token: never anybody's.
#![no_main]

use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use sonde_inventory::{Catalogue, Snapshot};
use sonde_proxy::identity::caller;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let catalogue = Catalogue::default();
    catalogue.replace(Snapshot::default());
    catalogue
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let headers: HeaderMap = [(AUTHORIZATION, value)].into_iter().collect();
    assert!(caller(None, &headers, &CATALOGUE, UNIX_EPOCH).is_err());
});
