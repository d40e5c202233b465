//! Why a request is nobody's.
//!
//! The reason is for the operator: a log line and a series' label. The client hears one sentence whatever it was, because the difference between two
//! would tell a stranger which accounts there are and which keys they have.

/// What the client hears, with 401: plain text, never a JSON object (a scraper's discovery would take that for an empty list).
pub const ANSWER: &str = "no acceptable certificate or token was shown\n";

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unauthorised {
    /// There is no inventory yet: not the client's fault, and to be answered 503.
    #[error("the inventory is not here yet")]
    NotSynced,
    #[error("neither a certificate nor a token was shown")]
    Nothing,
    #[error("the certificate is malformed, or larger than is read")]
    Malformed,
    #[error("the certificate has expired")]
    Expired,
    #[error("the certificate is not valid yet")]
    NotYetValid,
    #[error("the certificate is not for clients")]
    Usage,
    #[error("the certificate names no account that there is")]
    NoAccount,
    #[error("no key of the account, and no authority, signed the certificate")]
    NotSigned,
    #[error("the certificate was issued here and is not bound to an account any more")]
    Revoked,
    #[error("the certificate is a node's or a proxy's")]
    Tier,
    #[error("the Authorization header is not one bearer token")]
    Header,
    #[error("no account has the token")]
    Token,
    #[error("the token has expired")]
    TokenExpired,
    #[error("certificate and token are two accounts'")]
    Disagreement,
}

impl Unauthorised {
    /// For `reason` labels: all that there are.
    pub const ALL: [Self; 14] = [
        Self::NotSynced,
        Self::Nothing,
        Self::Malformed,
        Self::Expired,
        Self::NotYetValid,
        Self::Usage,
        Self::NoAccount,
        Self::NotSigned,
        Self::Revoked,
        Self::Tier,
        Self::Header,
        Self::Token,
        Self::TokenExpired,
        Self::Disagreement,
    ];

    /// For a `reason` label.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotSynced => "not_synced",
            Self::Nothing => "nothing",
            Self::Malformed => "malformed",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Usage => "usage",
            Self::NoAccount => "no_account",
            Self::NotSigned => "not_signed",
            Self::Revoked => "revoked",
            Self::Tier => "tier",
            Self::Header => "header",
            Self::Token => "token",
            Self::TokenExpired => "token_expired",
            Self::Disagreement => "disagreement",
        }
    }
}
