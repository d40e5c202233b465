//! The operators' socket: what is changed there is in the store, and what is wrong is said in a sentence.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sonde_inventory::AccountName;
use sonde_proxy::accounts::socket::{Socket, SocketError};
use sonde_proxy::accounts::{Accounts, tokens};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::world::World;

struct Desk {
    world: World,
    path: PathBuf,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Desk {
    async fn new() -> Self {
        let world = World::new().await;
        let accounts = Accounts::new(world.store.clone(), world.catalogue.clone());
        let socket = Socket::bind(world.folder.path()).await.unwrap();
        let path = socket.path().to_owned();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(socket.serve(accounts, stopped));
        Self { world, path, stop, serving }
    }

    async fn ask(&self, method: Method, path: &str, body: impl ToString) -> (StatusCode, String) {
        let stream = UnixStream::connect(&self.path).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let body = Full::new(Bytes::from(body.to_string()));
        let request = Request::builder().method(method).uri(path).header("host", "sonde").body(body).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn done(&self, method: Method, path: &str, body: impl ToString) -> Value {
        let (status, text) = self.ask(method, path, body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn refused(&self, method: Method, path: &str, body: impl ToString, status: StatusCode) -> String {
        let (got, text) = self.ask(method, path, body).await;
        assert_eq!(got, status, "{path}: {text}");
        assert_eq!(text.trim().lines().count(), 1, "an error is one sentence: {text}");
        text
    }
}

fn acme() -> AccountName {
    AccountName::new("acme").unwrap()
}

#[tokio::test]
async fn accounts_come_change_and_go() {
    let desk = Desk::new().await;
    assert_eq!(desk.path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    desk.done(Method::PUT, "/v1/accounts/acme", json!({})).await;
    desk.refused(Method::PUT, "/v1/accounts/acme", json!({}), StatusCode::CONFLICT).await;
    desk.refused(Method::PUT, "/v1/accounts/a%20b", json!({}), StatusCode::BAD_REQUEST).await;
    assert_eq!(desk.done(Method::PUT, "/v1/accounts/operator", json!({})).await["is_operator"], true);
    let limits = json!({ "requests_per_second": 5, "concurrent_scrapes": 2 });
    desk.done(Method::PATCH, "/v1/accounts/acme/limits", limits).await;
    let account = desk.done(Method::PATCH, "/v1/accounts/acme/limits", json!({ "concurrent_scrapes": null })).await;
    assert_eq!(account["limits"], json!({ "requests_per_second": 5 }));
    let said =
        desk.refused(Method::PATCH, "/v1/accounts/acme/limits", json!({ "x": 1 }), StatusCode::BAD_REQUEST).await;
    assert!(said.contains("requests_per_second"), "{said}");
    assert_eq!(desk.world.catalogue.account(&acme()).unwrap().limits.requests_per_second, Some(5));
    assert_eq!(desk.done(Method::GET, "/v1/accounts", "").await.as_array().unwrap().len(), 2);
    desk.done(Method::DELETE, "/v1/accounts/acme", "").await;
    let said = desk.refused(Method::GET, "/v1/accounts/acme", "", StatusCode::NOT_FOUND).await;
    assert!(said.contains("sonde account add acme"), "{said}");
    assert!(desk.world.catalogue.account(&acme()).is_none());
    desk.refused(Method::GET, "/v1/other", "", StatusCode::NOT_FOUND).await;
}

#[tokio::test]
async fn keys_as_ssh_keygen_writes_them() {
    let desk = Desk::new().await;
    desk.done(Method::PUT, "/v1/accounts/acme", json!({})).await;
    let mut file = String::new();
    for (kind, bits) in [("ed25519", None), ("ecdsa", Some("384")), ("rsa", Some("2048"))] {
        let key = desk.world.folder.path().join(kind);
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-N", "", "-C", &format!("{kind} key"), "-t", kind, "-f"]).arg(&key);
        command.args(bits.map(|bits| ["-b", bits]).into_iter().flatten());
        assert!(command.status().unwrap().success());
        let public = key.with_extension("pub");
        file += &std::fs::read_to_string(&public).unwrap();
        let shown = Command::new("ssh-keygen").arg("-lf").arg(&public).output().unwrap().stdout;
        let shown = String::from_utf8(shown).unwrap();
        let added = desk.done(Method::POST, "/v1/accounts/acme/keys", &std::fs::read_to_string(&public).unwrap()).await;
        let fingerprint = added[0]["fingerprint"].as_str().unwrap();
        assert_eq!(shown.split(' ').nth(1), Some(fingerprint), "as ssh-keygen says");
        assert_eq!(added[0]["name"], format!("{kind} key"));
    }
    assert_eq!(desk.done(Method::POST, "/v1/accounts/acme/keys", &file).await, json!([]), "they are there already");
    let said = desk
        .refused(Method::POST, "/v1/accounts/acme/keys", format!("{file}nonsense\n"), StatusCode::BAD_REQUEST)
        .await;
    assert!(said.contains("line 4"), "{said}");
    let short = desk.world.folder.path().join("short");
    let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "rsa", "-b", "1024", "-f"]).arg(&short).status();
    if made.unwrap().success() {
        let short = std::fs::read_to_string(short.with_extension("pub")).unwrap();
        desk.refused(Method::POST, "/v1/accounts/acme/keys", short, StatusCode::BAD_REQUEST).await;
    }
    desk.done(Method::DELETE, "/v1/accounts/acme/keys?which=rsa%20key", "").await;
    desk.refused(Method::DELETE, "/v1/accounts/acme/keys?which=rsa%20key", "", StatusCode::NOT_FOUND).await;
    assert_eq!(desk.world.catalogue.account(&acme()).unwrap().keys.len(), 2);
}

#[tokio::test]
async fn a_token_is_shown_once_and_known_by_its_hash() {
    let desk = Desk::new().await;
    desk.done(Method::PUT, "/v1/accounts/acme", json!({})).await;
    let wanted = json!({ "scopes": ["read-metrics"], "groups": ["web"], "ttl_seconds": 60 });
    let token = desk.done(Method::POST, "/v1/accounts/acme/tokens", wanted).await;
    let text = token["token"].as_str().unwrap();
    let known = desk.world.catalogue.account_of_token(&tokens::sha256(text)).unwrap();
    assert_eq!(known.name, acme());
    assert_eq!(known.tokens[0].groups.as_deref(), Some(["web".to_owned()].as_slice()));
    let (_, everything) = desk.ask(Method::GET, "/v1/accounts/acme", "").await;
    assert!(!everything.contains(text) && !everything.contains(&known.tokens[0].sha256), "{everything}");
    let file = std::fs::read(desk.world.folder.path().join("inventory.redb")).unwrap();
    assert!(!file.windows(text.len()).any(|window| window == text.as_bytes()), "the store has it in clear");
    for wrong in [json!({ "groups": ["a b"] }), json!({ "groups": [] }), json!({ "ttl_seconds": 0 }), json!({ "x": 1 })]
    {
        desk.refused(Method::POST, "/v1/accounts/acme/tokens", wrong, StatusCode::BAD_REQUEST).await;
    }
    let id = token["id"].as_str().unwrap();
    desk.done(Method::DELETE, &format!("/v1/accounts/acme/tokens?which={id}"), "").await;
    assert!(desk.world.catalogue.account_of_token(&tokens::sha256(text)).is_none());
}

#[tokio::test]
async fn certificates_are_bound_and_revoked_and_nodes_are_kept_for_accounts() {
    let desk = Desk::new().await;
    desk.done(Method::PUT, "/v1/accounts/acme", json!({})).await;
    let sha256 = "ab".repeat(32);
    let certificate = json!({ "sha256": sha256, "not_after": 4_000_000_000_u64 });
    desk.done(Method::POST, "/v1/accounts/acme/certificates", &certificate).await;
    assert_eq!(desk.world.catalogue.account_of_certificate(&sha256).unwrap().name, acme());
    let wrong = json!({ "sha256": "AB", "not_after": 1 });
    desk.refused(Method::POST, "/v1/accounts/acme/certificates", wrong, StatusCode::BAD_REQUEST).await;
    desk.done(Method::DELETE, "/v1/accounts/acme/certificates?which=abab", "").await;
    assert!(desk.world.catalogue.account_of_certificate(&sha256).is_none());

    let node = uuid::Uuid::from_u128(5);
    desk.done(Method::PUT, &format!("/v1/nodes/{node}/accounts"), json!(["acme"])).await;
    assert_eq!(desk.world.catalogue.node(node).unwrap().accounts, Some(vec![acme()]));
    let nodes = desk.done(Method::GET, "/v1/nodes", "").await;
    assert_eq!(nodes[0]["is_reachable"], false);
    desk.done(Method::DELETE, &format!("/v1/nodes/{node}"), "").await;
    desk.refused(Method::DELETE, &format!("/v1/nodes/{node}"), "", StatusCode::NOT_FOUND).await;
}

#[tokio::test]
async fn changes_at_once_are_all_made() {
    let desk = Desk::new().await;
    desk.done(Method::PUT, "/v1/accounts/acme", json!({})).await;
    let accounts = Accounts::new(desk.world.store.clone(), desk.world.catalogue.clone());
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let accounts = accounts.clone();
            tokio::spawn(async move { accounts.new_token(&acme(), &Default::default()).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(desk.world.catalogue.account(&acme()).unwrap().tokens.len(), 8);
}

#[tokio::test]
async fn a_socket_that_is_in_use_is_left_alone_and_one_that_is_not_is_replaced() {
    let desk = Desk::new().await;
    let taken = Socket::bind(desk.world.folder.path()).await;
    assert!(matches!(taken, Err(SocketError::Taken { .. })));
    desk.stop.send(true).unwrap();
    desk.serving.await.unwrap();
    assert!(!desk.path.exists());
    // What a process that was killed leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&desk.path).unwrap());
    assert!(desk.path.exists());
    Socket::bind(desk.world.folder.path()).await.unwrap();
}
