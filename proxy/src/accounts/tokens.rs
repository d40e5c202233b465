//! Bearer tokens: drawn here, shown once, kept as a hash.
//!
//! 256 bits from the kernel need no salt and no slow hash: nobody guesses one, and one that was stolen from the inventory is a hash of something that
//! cannot be tried out. The beginning says what it is, to people and to those who look for secrets in repositories.

use sha2::{Digest, Sha256};

/// What a token begins with.
pub const PREFIX: &str = "sonde_";
/// 256 bits.
const BYTES: usize = 32;
/// Of an id, for people: enough to tell an account's tokens apart.
const ID_BYTES: usize = 6;

/// A token, before it is forgotten.
pub struct Drawn {
    pub id: String,
    pub text: String,
    pub sha256: String,
}

/// Draws a token.
///
/// # Errors
/// The kernel gives no randomness.
pub fn draw() -> Result<Drawn, getrandom::Error> {
    let mut secret = [0; BYTES];
    getrandom::fill(&mut secret)?;
    let mut id = [0; ID_BYTES];
    getrandom::fill(&mut id)?;
    let text = format!("{PREFIX}{}", hex(&secret));
    Ok(Drawn { id: hex(&id), sha256: sha256(&text), text })
}

/// What is kept of a token: SHA-256 over its text, lower-case hexadecimal.
pub fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_another_each_time_and_its_hash_is_its_texts() {
        let (one, other) = (draw().unwrap(), draw().unwrap());
        assert_ne!(one.text, other.text);
        assert_ne!(one.id, other.id);
        assert_eq!(one.text.len(), PREFIX.len() + 64);
        assert_eq!(one.sha256, sha256(&one.text));
        // NIST's example for "abc".
        assert_eq!(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
