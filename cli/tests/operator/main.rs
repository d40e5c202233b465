//! `sonde account`, `key`, `token` and `node` as an operator types them, against the socket of a real inventory.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use serde_json::Value;
use sonde_inventory::{AccountName, Catalogue, Embedded, Store};
use sonde_proxy::accounts::socket::Socket;
use sonde_proxy::accounts::{Accounts, tokens};
use tokio::sync::watch;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti ada@home";

struct Desk {
    folder: tempfile::TempDir,
    catalogue: Arc<Catalogue>,
    _stop: watch::Sender<bool>,
}

impl Desk {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::Embedded(Embedded::open(&folder.path().join("inventory.redb")).unwrap());
        let catalogue = Arc::new(Catalogue::default());
        store.follow(catalogue.clone()).await.unwrap();
        let socket = Socket::bind(folder.path()).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(socket.serve(Accounts::new(store, catalogue.clone()), stopped));
        Self { folder, catalogue, _stop: stop }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run(arguments, self.folder.path(), "")
    }

    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "what failed prints nothing");
        said
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.done(&arguments)).unwrap()
    }
}

fn run(arguments: &[&str], folder: &Path, input: &str) -> Output {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_sonde"))
        .args(arguments)
        .arg("--data-dir")
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_an_operator() {
    let desk = Desk::new().await;
    let acme = AccountName::new("acme").unwrap();
    desk.done(&["account", "add", "acme"]);
    assert!(desk.refused(&["account", "add", "acme"], 1).contains("there already"));
    desk.refused(&["account", "add", "a b"], 2);
    assert!(desk.done(&["account", "ls"]).contains("acme"));
    assert!(desk.done(&["account", "limits", "acme", "--request-burst", "9"]).contains("request_burst        9"));
    assert_eq!(desk.json(&["account", "limits", "acme", "--request-burst", "default"]), serde_json::json!({}));

    let file = desk.folder.path().join("id.pub");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    let file = file.to_str().unwrap();
    assert!(desk.done(&["key", "add", "acme", file]).contains("ada@home"));
    assert!(desk.done(&["key", "add", "acme", file]).contains("already"));
    let output = run(&["key", "add", "acme", "-"], desk.folder.path(), &format!("{KEY}\nnonsense\n"));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 2"));
    assert!(desk.refused(&["key", "add", "acme", "/none/id.pub"], 2).contains("/none/id.pub"));
    let fingerprint = desk.json(&["key", "ls", "acme"])[0]["fingerprint"].as_str().unwrap().to_owned();
    desk.done(&["key", "rm", "acme", &fingerprint]);
    assert!(desk.catalogue.account(&acme).unwrap().keys.is_empty());

    let output = desk.run(&["token", "new", "acme", "--group", "web", "--ttl", "1h"]);
    let token = String::from_utf8(output.stdout).unwrap();
    let known = desk.catalogue.account_of_token(&tokens::sha256(token.trim())).unwrap();
    assert_eq!((&known.name, known.tokens[0].groups.as_deref()), (&acme, Some(["web".to_owned()].as_slice())));
    let listed = desk.done(&["token", "ls", "acme"]);
    assert!(listed.contains(&known.tokens[0].id) && !listed.contains(token.trim()));
    desk.refused(&["token", "new", "acme", "--ttl", "soon"], 2);
    desk.refused(&["token", "new", "acme", "--scope", "everything"], 2);
    desk.done(&["token", "rm", "acme", &known.tokens[0].id]);
    assert!(desk.catalogue.account_of_token(&tokens::sha256(token.trim())).is_none());

    let node = "00000000-0000-0000-0000-00000000000a";
    desk.done(&["node", "allow", node, "acme"]);
    assert_eq!(desk.json(&["node", "ls"])[0]["accounts"], serde_json::json!(["acme"]));
    desk.done(&["node", "allow", node, "--all"]);
    desk.done(&["node", "rm", node]);
    desk.done(&["account", "rm", "acme"]);
    assert!(desk.refused(&["key", "ls", "acme"], 1).contains("sonde account add acme"));
}

#[test]
fn where_no_proxy_runs_it_says_what_to_give() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&["account", "ls"], folder.path(), "");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("is a proxy running there") && said.lines().count() == 1, "{said}");
    // One that was killed leaves its socket.
    drop(std::os::unix::net::UnixListener::bind(folder.path().join("accounts.sock")).unwrap());
    let said = String::from_utf8(run(&["account", "ls"], folder.path(), "").stderr).unwrap();
    assert!(said.contains("is it running"), "{said}");
}

#[test]
fn each_of_them_has_an_example() {
    for command in [["account", "add"], ["account", "limits"], ["key", "add"], ["token", "new"], ["node", "allow"]] {
        let help = Command::new(env!("CARGO_BIN_EXE_sonde")).args(command).arg("--help").output().unwrap().stdout;
        assert!(String::from_utf8(help).unwrap().contains("Example: sonde"), "{command:?}");
    }
}
