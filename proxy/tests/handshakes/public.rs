//! The tenants' door.

use std::time::{Duration, Instant};

use rustls::HandshakeKind;
use sonde_inventory::{Account, Change};
use sonde_proxy::identity::{AccountRule, AuthorityFiles, Unauthorised};
use sonde_proxy::issue::{AuthorityKind, IssuingAuthority};
use sonde_proxy::tls::{CertificateFiles, HandshakeLimits, PublicSettings, PublicTls};
use tokio::net::TcpStream;

use super::doors::{Pki, account, catalogue, client, copy, knock, let_in, listen, who};

/// A look at files is due each second.
const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_bound_certificate_is_its_accounts_and_ends_on_an_open_connection() {
    let pki = Pki::new();
    let tls = PublicTls::start(&pki.settings()).unwrap();
    let (issued, record) = pki.account("ada");
    let catalogue = catalogue([Account { certificates: vec![record], ..account("ada") }]);
    let (peer, client) = let_in(&tls, &pki.client(Some(issued)), "A.example").await;
    assert_eq!((peer.server_name(), peer.is_http2()), (Some("a.example"), true));
    assert_eq!(who(&peer, &catalogue), Ok("ada".into()));
    catalogue.apply([Change::Account(account("ada"))]);
    assert_eq!(who(&peer, &catalogue), Err(Unauthorised::Revoked));
    assert_eq!(client.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    assert_eq!((tls.handshakes().done, tls.handshakes().in_flight), (1, 0));
}

#[tokio::test]
async fn nobody_at_all_is_let_in_and_is_nobody() {
    let pki = Pki::new();
    let tls = PublicTls::start(&pki.settings()).unwrap();
    let (peer, _client) = let_in(&tls, &pki.client(None), "a.example").await;
    assert!(!peer.has_certificate());
    assert_eq!(who(&peer, &catalogue([account("ada")])), Err(Unauthorised::Nothing));
}

#[tokio::test]
async fn a_certificate_without_its_key_fails_the_handshake() {
    let pki = Pki::new();
    let tls = PublicTls::start(&pki.settings()).unwrap();
    let root = pki.server.certificate();
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        let ((theirs, _), (ours, _)) = (pki.account("ada"), pki.account("ada"));
        let thief = client(root, Some((vec![theirs.certificate], ours.key.clone_key())), versions);
        let (server, _client) = knock(&tls, &thief, "a.example").await;
        assert!(server.expect_err("it is refused").to_string().contains("BadSignature"));
        let owner = client(root, Some((vec![ours.certificate], ours.key)), versions);
        let_in(&tls, &owner, "a.example").await;
    }
    assert_eq!((tls.handshakes().failed, tls.handshakes().done), (2, 2));
}

#[tokio::test]
async fn what_cannot_be_read_but_for_its_key_is_let_in_and_is_nobody() {
    let pki = Pki::new();
    let tls = PublicTls::start(&pki.settings()).unwrap();
    let catalogue = catalogue([account("ada")]);
    let (issued, _) = pki.account("ada");
    // The digits of its dates: the shape stays, and the key with it.
    let mut bytes = issued.certificate.to_vec();
    let date = bytes.windows(2).position(|pair| pair == [0x17, 13]).expect("there are dates");
    bytes[date + 2] = b'x';
    let long = vec![issued.certificate.clone(); 40];
    for chain in [vec![bytes.into()], long] {
        let shows = client(pki.server.certificate(), Some((chain, issued.key.clone_key())), rustls::ALL_VERSIONS);
        let (peer, _client) = let_in(&tls, &shows, "a.example").await;
        assert_eq!(who(&peer, &catalogue), Err(Unauthorised::Malformed));
    }
    let garbage =
        client(pki.server.certificate(), Some((vec![vec![0x30, 3, 1, 1, 1].into()], issued.key)), rustls::ALL_VERSIONS);
    assert!(knock(&tls, &garbage, "a.example").await.0.is_err(), "there is no key to verify with");
}

#[tokio::test]
async fn a_client_gets_the_certificate_of_the_name_it_asks_for() {
    let pki = Pki::new();
    let files = [("first", "a.example"), ("second", "b.example"), ("third", "*.c.example")];
    let certificates: Vec<CertificateFiles> =
        files.iter().map(|(file, name)| pki.server_files(file, &[name])).collect();
    let tls = PublicTls::start(&PublicSettings { certificates, ..pki.settings() }).unwrap();
    for name in ["a.example", "b.example", "x.c.example"] {
        // The client verifies the name.
        let (peer, _client) = let_in(&tls, &pki.client(None), name).await;
        assert_eq!(peer.server_name(), Some(name));
    }
    for name in ["c.example", "x.y.c.example", "d.example"] {
        let (_server, client) = knock(&tls, &pki.client(None), name).await;
        assert!(client.expect_err("it has no such name").to_string().contains("not valid for name"), "{name}");
    }
    let none = PublicSettings { certificates: vec![], ..pki.settings() };
    assert!(PublicTls::start(&none).is_err());
}

#[tokio::test]
async fn renewed_files_are_taken_and_half_a_renewal_is_not() {
    let pki = Pki::new();
    let settings = pki.settings();
    let tls = PublicTls::start(&settings).unwrap();
    let new = pki.server_files("new", &["b.example"]);
    let until = Instant::now() + SOON;
    copy(&new.certificate, &settings.certificates[0].certificate);
    while tls.faults() == 0 {
        assert!(Instant::now() < until, "the half is not seen");
        tokio::task::yield_now().await;
    }
    let_in(&tls, &pki.client(None), "a.example").await;
    copy(&new.key, &settings.certificates[0].key);
    // The client verifies the name.
    while knock(&tls, &pki.client(None), "b.example").await.1.is_err() {
        assert!(Instant::now() < until, "the renewed files are not taken");
    }
    assert_eq!(tls.faults(), 1);
    assert!(tls.renew().is_ok());
}

#[tokio::test]
async fn an_authority_that_is_replaced_or_taken_away_counts_on_open_connections() {
    let pki = Pki::new();
    let theirs = IssuingAuthority::create(AuthorityKind::Server).unwrap();
    let files = theirs.1.write(pki.folder.path(), "theirs").unwrap();
    let names = ["ada".to_owned()];
    // Not for clients: what a server's certificate is for.
    let wrong = theirs.0.issue_server(&names, super::doors::DAY).unwrap();
    let client_ca = AuthorityFiles { file: files.certificate.clone(), account: AccountRule::SubjectCn, revoked: None };
    let settings = PublicSettings { client_ca: Some(client_ca), ..pki.settings() };
    let tls = PublicTls::start(&settings).unwrap();
    let catalogue = catalogue([account("ada")]);
    let (peer, _client) = let_in(&tls, &pki.client(Some(wrong)), "a.example").await;
    assert_eq!(who(&peer, &catalogue), Err(Unauthorised::Usage));

    let right = super::openssl::client_of(&pki, &files, "ada");
    let (peer, _client) = let_in(&tls, &pki.client(Some(right)), "a.example").await;
    assert_eq!(who(&peer, &catalogue), Ok("ada".into()));
    // Another authority in the same file.
    let other = IssuingAuthority::create(AuthorityKind::Server).unwrap().1.write(pki.folder.path(), "other").unwrap();
    let before = std::fs::read(&files.certificate).unwrap();
    copy(&other.certificate, &files.certificate);
    let until = Instant::now() + SOON;
    while who(&peer, &catalogue) != Err(Unauthorised::NotSigned) {
        assert!(Instant::now() < until, "the other authority is not taken");
        tokio::task::yield_now().await;
    }
    std::fs::write(&files.certificate, before).unwrap();
    tls.renew().unwrap();
    assert_eq!(who(&peer, &catalogue), Ok("ada".into()));
    tls.reconfigure(&PublicSettings { client_ca: None, ..settings }).unwrap();
    assert_eq!(who(&peer, &catalogue), Err(Unauthorised::NotSigned));
}

#[tokio::test]
async fn a_source_with_too_many_handshakes_is_refused_before_a_byte_is_read() {
    let pki = Pki::new();
    let handshakes = HandshakeLimits { per_second: 1, burst: 2, in_flight: 8 };
    let tls = PublicTls::start(&PublicSettings { handshakes, ..pki.settings() }).unwrap();
    for _ in 0..2 {
        let_in(&tls, &pki.client(None), "a.example").await;
    }
    let (server, client) = knock(&tls, &pki.client(None), "a.example").await;
    assert!(server.is_err() && client.is_err());
    assert_eq!(tls.handshakes().refused, 1);
    tls.reconfigure(&PublicSettings { handshakes: HandshakeLimits::default(), ..pki.settings() }).unwrap();
    let_in(&tls, &pki.client(None), "a.example").await;
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_not_waited_for() {
    let pki = Pki::new();
    let tls = PublicTls::start(&pki.settings()).unwrap();
    let (listener, address) = listen().await;
    let _silent = std::net::TcpStream::connect(address).unwrap();
    let begun = tokio::time::Instant::now();
    let (stream, _): (TcpStream, _) = listener.accept().await.unwrap();
    let ended = tls.accept(stream).await.expect_err("it is not waited for");
    assert_eq!(ended.kind(), std::io::ErrorKind::TimedOut);
    assert!(begun.elapsed() >= Duration::from_secs(10) && begun.elapsed() < Duration::from_secs(20));
    assert_eq!((tls.handshakes().late, tls.handshakes().in_flight), (1, 0));
}

#[tokio::test]
async fn nothing_is_resumed() {
    let pki = Pki::new();
    let tls = PublicTls::start(&pki.settings()).unwrap();
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        // One configuration keeps what it is given for later.
        let again = client(pki.server.certificate(), None, versions);
        for _ in 0..3 {
            let (_peer, mut client) = let_in(&tls, &again, "a.example").await;
            tokio::io::AsyncWriteExt::shutdown(&mut client).await.unwrap();
            assert_eq!(client.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}
