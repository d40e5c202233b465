//! Public keys straight from `ssh-*.pub` and `authorized_keys` files.
//!
//! What is kept is type and key alone, as RFC 4253 §6.6 encodes them, and the comment as a name for people. Options before a key mean something to sshd and
//! nothing to us, so a line that has some is refused rather than half understood; and so are keys that certificates cannot be checked with.

use sonde_inventory::SshKey;
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey};

/// The longest line: an RSA key of 16384 bits with a comment.
const LINE_BYTES: usize = 8192;
/// The shortest RSA key: what certificates are signed with everywhere else.
const RSA_BITS: usize = 2048;
/// The longest name of a key.
const NAME_BYTES: usize = 128;

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct KeyError {
    /// Counted from 1.
    pub line: usize,
    pub why: String,
}

/// The keys of a file's text. Empty lines and lines that begin with `#` are skipped.
///
/// # Errors
/// All lines that are not taken; then none is.
pub fn parse(text: &str) -> Result<Vec<SshKey>, Vec<KeyError>> {
    let mut keys: Vec<SshKey> = Vec::new();
    let mut errors = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match key(line) {
            Ok(key) if keys.iter().any(|known| known.line == key.line) => {}
            Ok(key) => keys.push(key),
            Err(why) => errors.push(KeyError { line: at + 1, why }),
        }
    }
    if errors.is_empty() && keys.is_empty() {
        errors.push(KeyError { line: 1, why: "there is no key; give a file such as ~/.ssh/id_ed25519.pub".into() });
    }
    if errors.is_empty() { Ok(keys) } else { Err(errors) }
}

/// `SHA256:…`, as ssh-keygen shows it; none where the record's line is not a key.
pub fn fingerprint(key: &SshKey) -> Option<String> {
    Some(PublicKey::from_openssh(&key.line).ok()?.fingerprint(HashAlg::Sha256).to_string())
}

fn key(line: &str) -> Result<SshKey, String> {
    if line.len() > LINE_BYTES {
        return Err(format!("it is longer than {LINE_BYTES} bytes"));
    }
    if line.contains("PRIVATE KEY") {
        return Err("that is a private key; give the file beside it that ends in .pub".into());
    }
    let parsed =
        PublicKey::from_openssh(line).map_err(|error| format!("it is no key as ssh-*.pub files have it ({error})"))?;
    match parsed.key_data() {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) => {}
        KeyData::Rsa(rsa) => {
            let bits = rsa.n.as_positive_bytes().map_or(0, |n| n.len() * 8);
            if bits < RSA_BITS {
                return Err(format!("an RSA key has {RSA_BITS} bits at least, and this one has {bits}"));
            }
        }
        _ => return Err(format!("{} keys cannot sign certificates; use ed25519, ecdsa or rsa", parsed.algorithm())),
    }
    let mut words = line.splitn(3, char::is_whitespace);
    let (kind, base64) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut name: String = parsed.comment().chars().filter(|c| !c.is_control()).collect();
    name.truncate(name.floor_char_boundary(NAME_BYTES));
    Ok(SshKey { name, line: format!("{kind} {base64}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn a_file_of_several_keys() {
        let text = format!("# mine\r\n\r\n{ED25519} me@there\r\n{ED25519} the same\n");
        let keys = parse(&text).unwrap();
        assert_eq!(keys, [SshKey { name: "me@there".into(), line: ED25519.into() }]);
        assert!(fingerprint(&keys[0]).unwrap().starts_with("SHA256:"));
        assert_eq!(parse(ED25519).unwrap()[0].name, "");
    }

    #[test]
    fn every_line_that_is_wrong_is_named_and_then_none_is_taken() {
        let dsa = "ssh-dss AAAAB3NzaC1kc3MAAAAA";
        let text =
            format!("{ED25519} a\nnot a key\n{dsa}\ncommand=\"x\" {ED25519}\n-----BEGIN OPENSSH PRIVATE KEY-----\n");
        let errors = parse(&text).unwrap_err();
        assert_eq!(errors.iter().map(|error| error.line).collect::<Vec<_>>(), [2, 3, 4, 5]);
        assert!(errors[3].to_string().contains(".pub"), "{}", errors[3]);
        assert_eq!(parse("\n# none\n").unwrap_err().len(), 1);
        assert!(parse(&format!("ssh-ed25519 {}", "A".repeat(10_000))).is_err());
    }
}
