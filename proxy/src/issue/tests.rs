//! What is issued is what identity takes, and files are nobody else's to read.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use http::HeaderMap;
use sonde_inventory::{Account, Catalogue, Change, SshKey};
use tempfile::TempDir;

use super::*;
use crate::identity::{Unauthorised, caller};
use crate::tls::{Peer, Presented};

mod revoking;

const MONTH: Duration = Duration::from_secs(30 * 86_400);

fn who(certificate: &CertificateDer<'static>, account: Account) -> Result<String, Unauthorised> {
    let catalogue = Catalogue::default();
    catalogue.apply([Change::Account(account)]);
    let peer = Peer::showing(Presented::tenant(Some(std::slice::from_ref(certificate))), None);
    caller(Some(&peer), &HeaderMap::new(), &catalogue, SystemTime::now()).map(|caller| caller.account.name.to_string())
}

fn ada() -> Account {
    Account::new(AccountName::new("ada").unwrap())
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn an_accounts_certificate_is_good_once_it_is_bound_and_no_other_way() {
    let (authority, _) = IssuingAuthority::create(AuthorityKind::Accounts).unwrap();
    let terms = Terms { ttl: MONTH, label: "prometheus".into(), scopes: vec![], groups: Some(vec!["web".into()]) };
    let (issued, record) = authority.issue_account(&ada().name, &terms).unwrap();
    assert_eq!((record.sha256.as_str(), record.label.as_str()), (issued.sha256().as_str(), "prometheus"));
    let bound = Account { certificates: vec![record], ..ada() };
    assert_eq!(who(&issued.certificate, bound), Ok("ada".into()));
    assert_eq!(who(&issued.certificate, ada()), Err(Unauthorised::Revoked));
    for ttl in [Duration::ZERO, Duration::from_secs(59), Duration::MAX] {
        assert!(authority.issue_account(&ada().name, &Terms { ttl, ..Terms::default() }).is_err());
    }
}

#[test]
fn an_authority_signs_again_from_its_files_which_are_this_users_alone() {
    let folder = TempDir::new().unwrap();
    let tls = folder.path().join("d/tls");
    for kind in AuthorityKind::ALL {
        let (made, files) = IssuingAuthority::open_or_create(&tls, kind).unwrap();
        let (opened, _) = IssuingAuthority::open_or_create(&tls, kind).unwrap();
        assert_eq!(made.certificate(), opened.certificate());
        assert_eq!((mode(&tls), mode(&files.key)), (0o700, 0o600));
        let issued = opened.issue_server(&["a.example".into(), "*.b.example".into(), "::1".into()], MONTH).unwrap();
        let server = issued.write(&tls, kind.name()).unwrap();
        assert!(matches!(issued.write(&tls, kind.name()), Err(IssueError::Exists { .. })));
        assert_eq!(mode(&server.key), 0o600);
        let mut openssl = Command::new("openssl");
        openssl
            .arg("verify")
            .arg("-CAfile")
            .arg(&files.certificate)
            .args(["-purpose", "sslserver"])
            .arg(&server.certificate);
        let verified = openssl.output().expect("openssl is installed");
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    }
    for name in ["", "a..b", "*", "a b", "a/b", "*.*.b", &"a.".repeat(200)] {
        let (authority, _) = IssuingAuthority::open_or_create(&tls, AuthorityKind::Server).unwrap();
        assert!(matches!(authority.issue_server(&[name.to_owned()], MONTH), Err(IssueError::Name(_))), "{name}");
    }
}

#[test]
fn tritons_style_is_made_with_every_key_that_ssh_keygen_writes() {
    let folder = TempDir::new().unwrap();
    for (kind, bits, format) in [
        ("rsa", "2048", "RFC4716"),
        ("rsa", "3072", "PEM"),
        ("rsa", "4096", "PKCS8"),
        ("ecdsa", "256", "RFC4716"),
        ("ecdsa", "256", "PEM"),
        ("ecdsa", "384", "RFC4716"),
        ("ecdsa", "384", "PKCS8"),
        ("ed25519", "256", "RFC4716"),
    ] {
        let path = folder.path().join(format!("{kind}-{bits}-{format}"));
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", kind, "-b", bits, "-m", format, "-N", "", "-f"]).arg(&path);
        assert!(keygen.status().expect("openssh-client is installed").success());
        let key = SshPrivateKey::read(&path).unwrap_or_else(|error| panic!("{error}"));
        let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
        assert!(public.starts_with(&key.public().line()), "{public}");
        let issued = issue_triton(&ada().name, &key, MONTH).unwrap();
        let with = Account { keys: vec![SshKey { name: "laptop".into(), line: public }], ..ada() };
        assert_eq!(who(&issued.certificate, with), Ok("ada".into()), "{kind} {bits} {format}");
        assert_eq!(who(&issued.certificate, ada()), Err(Unauthorised::NotSigned));
    }
}

#[test]
fn a_private_key_that_does_not_sign_here_is_refused_in_words() {
    let folder = TempDir::new().unwrap();
    let refused = |arguments: &[&str]| {
        let path = folder.path().join(arguments.concat());
        let status = Command::new("ssh-keygen").arg("-q").args(arguments).arg("-f").arg(&path).status();
        assert!(status.expect("openssh-client is installed").success());
        SshPrivateKey::read(&path).err().unwrap().to_string()
    };
    assert!(refused(&["-t", "ed25519", "-N", "secret"]).contains("passphrase"));
    assert!(refused(&["-t", "rsa", "-m", "PEM", "-N", "secret"]).contains("passphrase"));
    assert!(refused(&["-t", "ecdsa", "-b", "521", "-N", ""]).contains("type"));
    assert!(refused(&["-t", "rsa", "-b", "1024", "-N", ""]).contains("type"));
    let path = folder.path().join("nothing");
    std::fs::write(
        &path,
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjE=\n-----END OPENSSH PRIVATE KEY-----\n",
    )
    .unwrap();
    assert!(SshPrivateKey::read(&path).err().unwrap().to_string().contains("not a private key"));
}
