//! An account's list of targets in DNS: under which label it is, and whose a label is.
//!
//! DNS asks nobody who he is, so the label is the secret: HMAC-SHA256 of the account's name under a key that all proxies have, 160 bits of it. The key's file is
//! replaced to withdraw all labels. Who may have a list by the account's plain name is a matter of source prefixes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use sonde_inventory::{AccountName, Catalogue};

use crate::access::as_label;

/// Characters of a label, five bits each.
pub(super) const LABEL: usize = 32;
/// RFC 4648's alphabet of base 32, lower case as names are here.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Shorter keys could be guessed.
const SHORTEST_KEY: usize = 32;
/// A file beyond this is no key.
const LONGEST_KEY: u64 = 4096;
/// Between two looks at changed accounts: a hundred thousand labels take some tens of milliseconds.
const REBUILD: Duration = Duration::from_secs(1);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum ListKeyError {
    #[error("the key of lists {path} cannot be read")]
    Read { path: String, source: std::io::Error },
    #[error(
        "the key of lists {path} is no file of {SHORTEST_KEY} to {LONGEST_KEY} bytes: `openssl rand -hex 32` makes one"
    )]
    Size { path: String },
}

/// What labels are made with.
#[derive(Clone)]
pub struct ListKey(Box<[u8]>);

impl std::fmt::Debug for ListKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ListKey(secret)")
    }
}

impl ListKey {
    pub fn new(key: &[u8]) -> Option<Self> {
        (key.len() >= SHORTEST_KEY).then(|| Self(key.into()))
    }

    /// Reads a key's file; blanks around it do not count.
    pub fn load(path: &Path) -> Result<Self, ListKeyError> {
        let shown = || path.display().to_string();
        let read = |source| ListKeyError::Read { path: shown(), source };
        let size = std::fs::metadata(path).map_err(read)?.len();
        if size > LONGEST_KEY {
            return Err(ListKeyError::Size { path: shown() });
        }
        let bytes = std::fs::read(path).map_err(read)?;
        Self::new(bytes.trim_ascii()).ok_or_else(|| ListKeyError::Size { path: shown() })
    }

    /// The label under which an account's list is.
    pub fn label(&self, account: &AccountName) -> String {
        // Any length is a key to HMAC.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(b"sonde list ");
        mac.update(account.as_str().as_bytes());
        let digest = mac.finalize().into_bytes();
        digest.chunks_exact(5).take(LABEL / 8).flat_map(base32).map(char::from).collect()
    }
}

/// Five bytes as eight characters.
fn base32(five: &[u8]) -> [u8; 8] {
    let bits = five.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    std::array::from_fn(|at| ALPHABET[(bits >> (35 - 5 * at) & 31) as usize])
}

/// Whose a label is.
#[derive(Debug)]
pub(super) struct Lists {
    key: Option<ListKey>,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    /// The catalogue's revision of accounts that it was made of, and when.
    made: Option<(u64, Instant)>,
    by_secret: HashMap<String, AccountName>,
    /// By the account's name as a label; none where several names make one.
    by_label: HashMap<String, Option<AccountName>>,
}

impl Lists {
    pub(super) fn new(key: Option<ListKey>) -> Self {
        Self { key, index: Mutex::default() }
    }

    pub(super) fn account_of_secret(&self, catalogue: &Catalogue, label: &str) -> Option<AccountName> {
        self.key.as_ref()?;
        self.with_index(catalogue, |index| index.by_secret.get(label).cloned())
    }

    pub(super) fn account_of_label(&self, catalogue: &Catalogue, label: &str) -> Option<AccountName> {
        self.with_index(catalogue, |index| index.by_label.get(label).cloned().flatten())
    }

    fn with_index<T>(&self, catalogue: &Catalogue, find: impl FnOnce(&Index) -> Option<T>) -> Option<T> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let revision = catalogue.accounts_revision();
        let is_due = index.made.is_none_or(|(made_of, at)| made_of != revision && at.elapsed() >= REBUILD);
        if is_due {
            index.make(catalogue, self.key.as_ref());
            index.made = Some((revision, Instant::now()));
        }
        // A label made a moment ago may lead to an account that is no more.
        find(&index)
    }
}

impl Index {
    fn make(&mut self, catalogue: &Catalogue, key: Option<&ListKey>) {
        self.by_secret.clear();
        self.by_label.clear();
        for account in catalogue.accounts() {
            if let Some(key) = key {
                self.by_secret.insert(key.label(&account.name), account.name.clone());
            }
            let label = as_label(account.name.as_str());
            let is_first = !self.by_label.contains_key(&label);
            self.by_label.insert(label, is_first.then(|| account.name.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use sonde_inventory::{Account, Change, Key};

    use super::*;

    fn name(name: &str) -> AccountName {
        AccountName::new(name).unwrap()
    }

    #[test]
    fn a_label_is_long_a_label_of_dns_and_hangs_on_key_and_account() {
        let (one, two) = (ListKey::new(&[1; 32]).unwrap(), ListKey::new(&[2; 32]).unwrap());
        let label = one.label(&name("a"));
        assert!(label.len() == LABEL && label.bytes().all(|byte| ALPHABET.contains(&byte)), "{label}");
        assert!(label != two.label(&name("a")) && label != one.label(&name("b")));
        assert!(ListKey::new(&[1; 31]).is_none());
        assert!(!format!("{one:?}").contains('1'));
        // RFC 4648 §10: "fooba" is MZXW6YTB.
        assert_eq!(base32(b"fooba"), *b"mzxw6ytb");
    }

    #[test]
    fn accounts_whose_names_make_one_label_have_no_list_by_it() {
        let catalogue = Catalogue::default();
        catalogue.apply(["a.b", "a_b", "C"].map(|own| Change::Account(Account::new(name(own)))));
        let lists = Lists::new(None);
        assert_eq!(lists.account_of_label(&catalogue, "a-b"), None);
        assert_eq!(lists.account_of_label(&catalogue, "c"), Some(name("C")));
        assert_eq!(lists.account_of_secret(&catalogue, "x"), None);
    }

    #[test]
    fn a_new_account_is_found_by_its_label() {
        let catalogue = Catalogue::default();
        let key = ListKey::new(&[1; 32]).unwrap();
        let lists = Lists::new(Some(key.clone()));
        let find = || lists.account_of_secret(&catalogue, &key.label(&name("a")));
        assert_eq!(find(), None);
        catalogue.apply([Change::Account(Account::new(name("a")))]);
        let deadline = Instant::now() + 5 * REBUILD;
        while find().is_none() {
            assert!(Instant::now() < deadline, "it was not found");
            std::thread::yield_now();
        }
        let before = catalogue.accounts_revision();
        catalogue.apply([Change::Gone(Key::Instance(uuid::Uuid::from_u128(1)))]);
        assert_eq!(catalogue.accounts_revision(), before, "an instance moved the accounts' revision");
    }
}
