//! Who asks, once that is known, and what their credential is good for.
//!
//! A caller is made for each request anew from what the connection showed and the catalogue as it is now, so an account, a key or a token that was taken
//! away counts for nothing from the next request on, also on a connection that was open before.

use std::sync::Arc;

use sonde_inventory::{Account, Scope};

/// A tenant, or the operator, with one of its credentials.
#[derive(Debug, Clone)]
pub struct Caller {
    pub account: Arc<Account>,
    /// What this credential may be used for: of a token or an issued certificate its own scopes, of an account's own key all.
    pub scopes: Scopes,
    /// The groups of instances it is for; none means all.
    pub groups: Option<Arc<[String]>>,
    /// Which one it was, as an operator finds it again: `token ID`, `certificate SHA256…`.
    pub credential: Arc<str>,
}

impl Caller {
    /// Whether it may see nodes.
    pub fn is_operator(&self) -> bool {
        // A credential that is for some groups is not for the machines that they share with others.
        self.account.is_operator && self.groups.is_none()
    }

    /// Whether its credential is for an instance of these groups.
    pub fn is_for_groups(&self, groups: &[String]) -> bool {
        self.groups.as_ref().is_none_or(|allowed| groups.iter().any(|group| allowed.contains(group)))
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes {
    pub reads_metrics: bool,
    pub pushes_sensors: bool,
}

impl Scopes {
    pub const ALL: Self = Self { reads_metrics: true, pushes_sensors: true };

    /// A record's list; an empty one means reading metrics.
    pub fn of(list: &[Scope]) -> Self {
        Self {
            reads_metrics: list.is_empty() || list.contains(&Scope::ReadMetrics),
            pushes_sensors: list.contains(&Scope::PushSensors),
        }
    }
}

#[cfg(test)]
mod tests {
    use sonde_inventory::AccountName;

    use super::*;

    #[test]
    fn a_credential_for_some_groups_is_not_an_operators() {
        let account = Arc::new(Account::new(AccountName::new(AccountName::OPERATOR).unwrap()));
        let whole = Caller { account, scopes: Scopes::ALL, groups: None, credential: "".into() };
        assert!(whole.is_operator() && whole.is_for_groups(&[]));
        let part = Caller { groups: Some(["web".to_owned()].into()), ..whole };
        assert!(!part.is_operator());
        assert!(part.is_for_groups(&["web".to_owned(), "x".to_owned()]) && !part.is_for_groups(&[]));
    }

    #[test]
    fn a_list_that_says_nothing_reads_and_does_not_push() {
        assert_eq!(Scopes::of(&[]), Scopes { reads_metrics: true, pushes_sensors: false });
        assert_eq!(Scopes::of(&[Scope::PushSensors]), Scopes { reads_metrics: false, pushes_sensors: true });
    }
}
