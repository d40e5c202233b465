//! etcd with TLS both ways and with users.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use etcd_client::{Certificate, Client, ConnectOptions, Identity, Permission, PermissionType, TlsOptions};
use sonde_inventory::etcd::{Etcd, EtcdSettings};
use sonde_inventory::{Catalogue, Health, Write};

use crate::cluster::Cluster;
use crate::records::{account, until};
use crate::sharing::follow;

fn openssl(arguments: &[&str]) {
    let ran = Command::new("openssl").args(arguments).stderr(Stdio::null()).status().unwrap();
    assert!(ran.success(), "{arguments:?}");
}

/// `ca.pem`, and `NAME.pem` and `NAME.key` of it for each name.
fn certificates(folder: &Path, names: &[&str]) {
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let all = |more: &[&str]| openssl(&[&["req", "-x509"], &key[..], more].concat());
    all(&["-subj", "/CN=ca", "-keyout", &file("ca.key"), "-out", &file("ca.pem")]);
    for name in names {
        let subject = format!("/CN={name}");
        let (out, private) = (file(&format!("{name}.pem")), file(&format!("{name}.key")));
        let usage = "extendedKeyUsage=serverAuth,clientAuth";
        all(&[
            "-subj",
            &subject,
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            usage,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-CA",
            &file("ca.pem"),
            "-CAkey",
            &file("ca.key"),
            "-keyout",
            &private,
            "-out",
            &out,
        ]);
    }
}

fn options(folder: &Path) -> ConnectOptions {
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let identity = Identity::from_pem(read("proxy.pem"), read("proxy.key"));
    ConnectOptions::new()
        .with_tls(TlsOptions::new().ca_certificate(Certificate::from_pem(read("ca.pem"))).identity(identity))
}

#[tokio::test(flavor = "multi_thread")]
async fn with_certificates_and_a_user() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path(), &["etcd", "proxy"]);
    let file = |name: &str| folder.path().join(name);
    let argument = |flag: &str, name: &str| [flag.to_owned(), file(name).to_str().unwrap().to_owned()];
    let more = [
        argument("--cert-file", "etcd.pem"),
        argument("--key-file", "etcd.key"),
        argument("--trusted-ca-file", "ca.pem"),
    ];
    let more: Vec<String> = more.into_iter().flatten().chain(["--client-cert-auth".to_owned()]).collect();
    let cluster = Cluster::start_with(1, "https", more, Some(options(folder.path()))).await;

    let mut admin = Client::connect(cluster.endpoints(), Some(options(folder.path()))).await.unwrap();
    admin.role_add("sonde").await.unwrap();
    let all = Permission::new(PermissionType::Readwrite, "/sonde/").with_prefix();
    admin.role_grant_permission("sonde", all).await.unwrap();
    for (user, role) in [("root", "root"), ("sonde", "sonde")] {
        admin.user_add(user, "secret", None).await.unwrap();
        if role == "root" {
            admin.role_add(role).await.unwrap();
        }
        admin.user_grant_role(user, role).await.unwrap();
    }
    admin.auth_enable().await.unwrap();

    std::fs::write(file("password"), "secret\n").unwrap();
    let settings = EtcdSettings {
        ca: Some(file("ca.pem")),
        identity: Some((file("proxy.pem"), file("proxy.key"))),
        user: Some(("sonde".into(), file("password"))),
        ..cluster.settings()
    };
    let (store, catalogue) = follow(settings.clone()).await;
    until(&catalogue, "synced", Catalogue::is_synced).await;
    store.write(vec![Write::put(None, account("acme"))]).await.unwrap();
    store.heard(uuid::Uuid::from_u128(1)).await.unwrap();
    assert_eq!(catalogue.counts().0, 1);

    let (stranger, _) = follow(EtcdSettings { identity: None, ..settings.clone() }).await;
    let refused = stranger.write(vec![Write::put(None, account("bank"))]).await.unwrap_err();
    assert!(refused.to_string().contains("etcd"), "{refused}");
    std::fs::write(file("wrong"), "other").unwrap();
    let (nobody, _) = follow(EtcdSettings { user: Some(("sonde".into(), file("wrong"))), ..settings.clone() }).await;
    let refused = nobody.write(vec![Write::put(None, account("bank"))]).await.unwrap_err();
    assert!(refused.to_string().contains("authentication failed"), "{refused}");
    assert_ne!(nobody.health(), Health::Current);
    let missing = EtcdSettings { ca: Some(PathBuf::from("/none/ca.pem")), ..settings };
    let error = Etcd::new(missing).err().unwrap();
    assert!(error.to_string().contains("/none/ca.pem"), "{error}");
}
