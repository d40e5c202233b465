//! Names of accounts, checked once, where they come in.
//!
//! The same bytes are a path's segment, a label's value, and, made lower case and with `-` for the rest, a part of a name in DNS; so
//! nothing else than letters, digits and `._-` is taken, no `.` first, and 63 bytes at most (RFC 1035 §2.3.4). The agent's rule for owners is the same.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest name: the longest label of DNS.
const LONGEST: usize = 63;

/// Why a name was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a name of an account: 1 to {LONGEST} letters, digits, '.', '_' and '-' are")]
pub struct NameError {
    name: String,
}

/// The name of an account; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountName(Arc<str>);

impl AccountName {
    /// The account that owns what no rule gives to another.
    pub const OPERATOR: &str = "operator";

    pub fn new(name: &str) -> Result<Self, NameError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=LONGEST).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_plain) {
            Ok(Self(name.into()))
        } else {
            // An error is shown to a person: not more of the name than helps.
            Err(NameError { name: name.chars().take(LONGEST + 1).collect() })
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for AccountName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        Self::new(&name)
    }
}

impl From<AccountName> for String {
    fn from(name: AccountName) -> Self {
        (*name.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_mean_something_else_is_refused() {
        for name in ["", "a/b", "a b", "a\nb", "é", "..", ".a", "..\0", &"x".repeat(64)] {
            assert!(AccountName::new(name).is_err(), "{name:?}");
        }
        for name in ["a", "Joyent_1", "team.a-b", &"x".repeat(63)] {
            assert_eq!(AccountName::new(name).unwrap().as_str(), name);
        }
    }
}
