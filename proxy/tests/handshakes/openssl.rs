//! Certificates that OpenSSL makes and shows, of every algorithm, as tenants do.

use std::path::Path;
use std::process::{Command, Stdio};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sonde_inventory::{Account, SshKey};
use sonde_proxy::identity::{SshPublicKey, Unauthorised};
use sonde_proxy::issue::Issued;
use sonde_proxy::tls::{CertificateFiles, PublicTls};

use super::doors::{Pki, account, catalogue, listen, who};

fn run(program: &str, arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A certificate for clients of this name, by an authority's files.
pub fn client_of(pki: &Pki, authority: &CertificateFiles, name: &str) -> Issued {
    let (certificate, key) = (authority.certificate.to_str().unwrap(), authority.key.to_str().unwrap());
    let subject = format!("/CN={name}");
    let folder = pki.folder.path();
    let request = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", &subject];
    run("openssl", &[&request[..], &["-keyout", "client.key", "-out", "client.csr"]].concat(), folder);
    std::fs::write(pki.path("client.cnf"), "extendedKeyUsage=clientAuth\nbasicConstraints=CA:FALSE\n").unwrap();
    let sign = ["x509", "-req", "-in", "client.csr", "-extfile", "client.cnf", "-days", "2", "-out", "client.pem"];
    run("openssl", &[&sign[..], &["-CA", certificate, "-CAkey", key, "-CAcreateserial"]].concat(), folder);
    let certificate = CertificateDer::from_pem_file(pki.path("client.pem")).unwrap();
    Issued { certificate, key: PrivateKeyDer::from_pem_file(pki.path("client.key")).unwrap(), not_after: 0 }
}

/// The SSH line of a certificate's key.
fn ssh_line(certificate: &str, folder: &Path) -> String {
    let public = run("openssl", &["x509", "-in", certificate, "-noout", "-pubkey"], folder);
    // Which ssh-keygen does not convert: its encoding ends in the key (RFC 8410 §4), and so does SSH's (RFC 8709 §4).
    if certificate == "ed25519.pem" {
        let spki = rustls::pki_types::SubjectPublicKeyInfoDer::from_pem_slice(public.as_bytes()).unwrap();
        let wire = [b"\0\0\0\x0bssh-ed25519\0\0\0\x20", &spki[spki.len() - 32..]].concat();
        return format!("ssh-ed25519 {}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, wire));
    }
    std::fs::write(folder.join("public.pem"), public).unwrap();
    run("ssh-keygen", &["-i", "-m", "PKCS8", "-f", "public.pem"], folder)
}

#[tokio::test]
async fn every_algorithm_proves_its_key_in_both_versions_and_old_style_counts() {
    let pki = Pki::new();
    let tls = PublicTls::start(&pki.settings()).unwrap();
    let kinds: [(&str, &[&str]); 6] = [
        ("rsa", &["-newkey", "rsa:2048"]),
        ("rsa-sha512", &["-newkey", "rsa:3072", "-sha512"]),
        ("p256", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        ("p384", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"]),
        ("p521", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"]),
        ("p521-sha512", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521", "-sha512"]),
    ];
    for (name, arguments) in kinds {
        shows(&pki, &tls, name, arguments, &["-tls1_3", "-tls1_2"]).await;
    }
    // OpenSSL signs with it in TLS 1.2 too, but not beside a server's certificate of ECDSA.
    shows(&pki, &tls, "ed25519", &["-newkey", "ed25519"], &["-tls1_3"]).await;
}

async fn shows(pki: &Pki, tls: &PublicTls, name: &str, arguments: &[&str], versions: &[&str]) {
    let folder = pki.folder.path();
    let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
    let make = ["req", "-x509", "-nodes", "-subj", "/CN=ada", "-days", "2", "-keyout", &key, "-out", &certificate];
    run("openssl", &[&make[..], arguments].concat(), folder);
    let line = ssh_line(&certificate, folder);
    assert!(SshPublicKey::parse(&line).is_ok(), "{name}: {line}");
    let with = Account { keys: vec![SshKey { name: name.into(), line }], ..account("ada") };
    for version in versions {
        let (listener, address) = listen().await;
        let mut client = Command::new("openssl")
            .args(["s_client", "-connect", &address.to_string(), "-quiet", "-no_ign_eof", version])
            .args(["-servername", "a.example", "-cert", &certificate, "-key", &key])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        let (_stream, peer) = tls
            .accept(listener.accept().await.unwrap().0)
            .await
            .unwrap_or_else(|error| panic!("{name} {version}: {error}"));
        assert_eq!(who(&peer, &catalogue([with.clone()])), Ok("ada".into()), "{name} {version}");
        assert_eq!(who(&peer, &catalogue([account("ada")])), Err(Unauthorised::NotSigned), "{name} {version}");
        client.kill().unwrap();
        client.wait().unwrap();
    }
}
