//! SSH keys as `ssh-keygen` writes them, and fingerprints as it says them.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::identity::{Fingerprint, SshKeyError, SshPublicKey};

fn ssh_keygen(folder: &TempDir, arguments: &[&str]) -> String {
    let output = Command::new("ssh-keygen").args(arguments).current_dir(folder.path()).output();
    let output = output.expect("openssh-client is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn keys_and_fingerprints_are_those_of_ssh_keygen() {
    let folder = TempDir::new().unwrap();
    for (kind, bits) in
        [("rsa", "2048"), ("rsa", "3072"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("ed25519", "256")]
    {
        let name = format!("{kind}-{bits}");
        ssh_keygen(&folder, &["-q", "-t", kind, "-b", bits, "-N", "", "-C", "ada at home", "-f", &name]);
        let file = fs::read_to_string(folder.path().join(format!("{name}.pub"))).unwrap();
        let key = SshPublicKey::parse(&file).unwrap();
        assert_eq!(key.comment(), "ada at home");
        assert_eq!(format!("{} ada at home\n", key.line()), file);
        assert_eq!(SshPublicKey::of(key.key()).unwrap().line(), key.line(), "to a certificate's key and back");
        for hash in ["md5", "sha256"] {
            let said = ssh_keygen(&folder, &["-l", "-E", hash, "-f", &name]);
            let said = said.split(' ').nth(1).unwrap();
            let fingerprint = Fingerprint::parse(said).unwrap_or_else(|| panic!("{said}"));
            assert!(key.has(&fingerprint), "{said}");
            if hash == "sha256" {
                assert_eq!(key.sha256(), said);
            } else {
                assert_eq!(Fingerprint::parse(&key.md5()), Some(fingerprint));
            }
        }
    }
    ssh_keygen(&folder, &["-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", "short"]);
    let short = fs::read_to_string(folder.path().join("short.pub")).unwrap();
    assert_eq!(SshPublicKey::parse(&short), Err(SshKeyError::Size(1024)));
}

#[test]
fn lines_that_are_no_keys_are_refused() {
    let key = super::forge::Key::new(super::forge::Algorithm::P256).ssh().line();
    let (name, encoded) = key.split_once(' ').unwrap();
    assert!(SshPublicKey::parse(&key).is_ok());
    for wrong in [
        "",
        name,
        "ssh-dss AAAAB3NzaC1kc3MAAAAA",
        "sk-ssh-ed25519@openssh.com AAAA",
        &format!("ssh-ed25519 {encoded}"),
        &format!("ecdsa-sha2-nistp384 {encoded}"),
        &format!("{name} {}", &encoded[..encoded.len() - 4]),
        &format!("{name} {encoded}AAAA"),
        &format!("{name} {}", &encoded[1..]),
        &format!("{name} {encoded}\n{name} {encoded}"),
        &format!("{name} {encoded} {}", "c".repeat(5000)),
    ] {
        assert!(SshPublicKey::parse(wrong).is_err(), "{wrong}");
    }
}
