//! Public keys straight from `ssh-*.pub` and `authorized_keys` files.
//!
//! What a key is, [`SshPublicKey`] says, which certificates are checked with too: one that is taken here counts there. What is kept is type and key alone, and
//! the comment as a name for people. Options before a key mean something to sshd and nothing to us, so a line that has some is refused rather
//! than half understood.

use sonde_inventory::SshKey;

use crate::identity::{SshKeyError, SshPublicKey};

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
    Some(SshPublicKey::parse(&key.line).ok()?.sha256())
}

fn key(line: &str) -> Result<SshKey, String> {
    if line.contains("PRIVATE KEY") {
        return Err("that is a private key; give the file beside it that ends in .pub".into());
    }
    let parsed = SshPublicKey::parse(line).map_err(|error: SshKeyError| error.to_string())?;
    let mut name: String = parsed.comment().chars().filter(|c| !c.is_control()).collect();
    name.truncate(name.floor_char_boundary(NAME_BYTES));
    Ok(SshKey { name, line: parsed.line() })
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

    /// A key that is kept and never counts would only puzzle whoever added it.
    #[test]
    fn an_rsa_key_is_taken_where_certificates_can_be_checked_with_it() {
        let line = |bits: usize| {
            let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
            let modulus = [&[0, 0x80][..], &vec![1; bits / 8 - 1]].concat();
            let wire = [string(b"ssh-rsa"), string(&[1, 0, 1]), string(&modulus)].concat();
            format!("ssh-rsa {} big", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, wire))
        };
        for bits in [2048, 4096, 8192] {
            let keys = parse(&line(bits)).unwrap();
            assert_eq!((keys.len(), &*keys[0].name), (1, "big"), "{bits}");
            assert!(fingerprint(&keys[0]).is_some(), "{bits}");
        }
        for bits in [1024, 2040, 8200, 16_384] {
            let errors = parse(&line(bits)).unwrap_err();
            assert!(errors[0].why.contains(&format!("2048 to 8192 bits, and this has {bits}")), "{}", errors[0]);
        }
    }
}
