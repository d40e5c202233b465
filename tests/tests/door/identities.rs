//! Everybody who may come to the tenants' door: each way to be somebody, and each way to be nobody.

use std::fs;
use std::path::Path;
use std::process::Command;

use sonde_tests::{eventually, run_to_end};

use crate::estate::{NODE, NOTICE, Proxy, cli};
use crate::papers::{ALGORITHMS, Algorithm, Authority, Draft, Shown, ssh_line};

/// Who that is to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// 401 for everything.
    Nobody,
    /// Turned away in the handshake: the key of what is shown is not proven, or it is larger than TLS is.
    Outside,
    /// A credential of acme's that is not for reading.
    Pusher,
    Acme,
    /// Acme, for the instances of one group.
    AcmeOfGroup,
    Rival,
    Operator,
    OperatorOfGroup,
}

pub struct Identity {
    pub name: String,
    pub who: Who,
    pub shown: Option<Shown>,
    pub headers: Vec<(&'static str, String)>,
}

/// The operator's authority, of which the proxy has been told, and what it has issued and taken back.
pub struct Theirs {
    authority: Authority,
    revoked: Shown,
}

impl Theirs {
    /// Writes its files into the proxy's folder; the lines of configuration that name them.
    pub fn found(folder: &Path) -> (Self, String) {
        let authority = Authority::new("an operator's");
        let revoked = Draft::of("x").uri("sonde:account:acme").by(&authority);
        fs::write(folder.join("theirs.pem"), &authority.pem).expect("the folder is writable");
        fs::write(folder.join("theirs.crl"), authority.revoked(&[&revoked])).expect("the folder is writable");
        let config = "tls.client_ca = { file = \"theirs.pem\", account = \"uri\", revoked = \"theirs.crl\" }\n";
        (Self { authority, revoked }, config.to_owned())
    }

    pub fn issue(&self, draft: Draft) -> Shown {
        draft.by(&self.authority)
    }

    /// Revokes one more, in a list that takes the place of the one there is.
    pub fn revoke(&self, proxy: &Proxy, more: &Shown) {
        let list = self.authority.revoked(&[&self.revoked, more]);
        fs::write(proxy.path("new.crl"), list).expect("the folder is writable");
        fs::rename(proxy.path("new.crl"), proxy.path("theirs.crl")).expect("one file system");
    }
}

/// The accounts that they are of.
pub fn make_accounts(proxy: &Proxy) {
    for account in ["acme", "rival", "gone"] {
        proxy.cli(&["account", "add", account]);
    }
    proxy.cli(&["account", "add", "operator", "--operator"]);
}

/// All identities. The account `gone` is removed once it has some.
pub fn all(proxy: &Proxy, theirs: &Theirs) -> Vec<Identity> {
    let mut all = vec![Identity { name: "none".into(), who: Who::Nobody, shown: None, headers: vec![] }];
    all.extend(tokens(proxy));
    all.extend(issued(proxy));
    all.extend(ssh_styles(proxy));
    all.extend(of_authorities(theirs));
    all.extend(unfit(proxy, theirs));
    proxy.cli(&["account", "rm", "gone"]);
    all
}

fn identity(name: impl Into<String>, who: Who, shown: Shown) -> Identity {
    Identity { name: name.into(), who, shown: Some(shown), headers: vec![] }
}

fn bearer(name: &str, who: Who, token: &str) -> Identity {
    let headers = vec![("authorization", format!("Bearer {token}"))];
    Identity { name: name.into(), who, shown: None, headers }
}

fn tokens(proxy: &Proxy) -> Vec<Identity> {
    let good = proxy.token("acme", &[]);
    let removed = proxy.token("acme", &[]);
    let id_of_last = || {
        let list: serde_json::Value =
            serde_json::from_str(&proxy.cli(&["token", "ls", "acme", "--json"])).expect("it is JSON");
        let last = list.as_array().and_then(|all| all.last()).expect("there is one");
        last["id"].as_str().expect("it has an id").to_owned()
    };
    let id = id_of_last();
    proxy.cli(&["token", "rm", "acme", &id]);
    let short = proxy.token("acme", &["--ttl", "1s"]);
    let shown = format!("Authorization: Bearer {short}");
    eventually("the token's end", NOTICE, || match proxy.curl("/v1/usage", &["-H", &shown]).0.as_str() {
        "401" => Ok(()),
        other => Err(other.to_owned()),
    });
    let push = ["--scope", "push-sensors"];
    let both = ["--scope", "push-sensors", "--scope", "read-metrics"];
    let mut all = vec![
        bearer("token", Who::Acme, &good),
        bearer("token to push", Who::Pusher, &proxy.token("acme", &push)),
        bearer("token for both", Who::Acme, &proxy.token("acme", &both)),
        bearer("token of a group", Who::AcmeOfGroup, &proxy.token("acme", &["--group", "web"])),
        bearer("rival's token", Who::Rival, &proxy.token("rival", &[])),
        bearer("operator's token", Who::Operator, &proxy.token("operator", &[])),
        bearer("operator's of a group", Who::OperatorOfGroup, &proxy.token("operator", &["--group", "web"])),
        bearer("token of an account that is gone", Who::Nobody, &proxy.token("gone", &[])),
        bearer("removed token", Who::Nobody, &removed),
        bearer("expired token", Who::Nobody, &short),
        bearer("made-up token", Who::Nobody, &"x".repeat(43)),
        bearer("half a token", Who::Nobody, &good[..good.len() - 1]),
        bearer("huge token", Who::Nobody, &"x".repeat(8000)),
    ];
    let twice = vec![("authorization", format!("Bearer {good}")), ("authorization", format!("Bearer {good}"))];
    all.push(Identity { name: "token twice".into(), who: Who::Nobody, shown: None, headers: twice });
    let basic = vec![("authorization", format!("Basic {good}"))];
    all.push(Identity { name: "another scheme".into(), who: Who::Nobody, shown: None, headers: basic });
    all
}

/// What `sonde cert issue` writes.
fn issue(proxy: &Proxy, account: &str, folder: &str, more: &[&str]) -> Shown {
    let (out, ca) = (proxy.path(folder), proxy.path("tls"));
    let folders = ["--out", out.to_str().expect("it is text"), "--ca-dir", ca.to_str().expect("it is text")];
    proxy.cli(&[&["cert", "issue", account][..], &folders, more].concat());
    Shown::read(&out.join(format!("{account}.pem")), &out.join(format!("{account}.key")))
}

fn issued(proxy: &Proxy) -> Vec<Identity> {
    let own = issue(proxy, "acme", "issued", &[]);
    let revoked = issue(proxy, "acme", "revoked", &["--label", "to be revoked"]);
    let list: serde_json::Value =
        serde_json::from_str(&proxy.cli(&["cert", "ls", "acme", "--json"])).expect("it is JSON");
    let last = list.as_array().and_then(|all| all.iter().find(|one| one["label"] == "to be revoked"));
    let sha256 = last.and_then(|one| one["sha256"].as_str()).expect("it is listed").to_owned();
    proxy.cli(&["cert", "revoke", "acme", &sha256]);
    let rivals_token = vec![("authorization", format!("Bearer {}", proxy.token("rival", &[])))];
    let push = vec![("authorization", format!("Bearer {}", proxy.token("acme", &["--scope", "push-sensors"])))];
    let stolen = Shown { chain: own.chain.clone(), key: issue(proxy, "rival", "thief", &[]).key };
    vec![
        Identity { headers: rivals_token, ..identity("acme's certificate, rival's token", Who::Nobody, own.clone()) },
        Identity { headers: push, ..identity("certificate to read, token to push", Who::Pusher, own.clone()) },
        identity("acme's certificate without its key", Who::Outside, stolen),
        identity("issued", Who::Acme, own),
        identity("issued, revoked", Who::Nobody, revoked),
        identity("issued to push", Who::Pusher, issue(proxy, "acme", "push", &["--scope", "push-sensors"])),
        identity("issued for a group", Who::AcmeOfGroup, issue(proxy, "acme", "group", &["--group", "web"])),
        identity("rival's", Who::Rival, issue(proxy, "rival", "rivals", &[])),
        identity("operator's", Who::Operator, issue(proxy, "operator", "operators", &[])),
        identity("of an account that is gone", Who::Nobody, issue(proxy, "gone", "gone", &[])),
    ]
}

/// Both of Triton's styles, with an SSH key of each algorithm.
fn ssh_styles(proxy: &Proxy) -> Vec<Identity> {
    let mut all = Vec::new();
    for algorithm in ALGORITHMS {
        // Old: signed by itself.
        let key = algorithm.key();
        add_key(proxy, "acme", &ssh_line(algorithm, &key, proxy.dir.path()));
        all.push(identity(format!("old style, {algorithm:?}"), Who::Acme, Draft::of("acme").by_itself(&key)));
        all.push(identity(
            format!("old style, {algorithm:?}, expired"),
            Who::Nobody,
            Draft::of("acme").valid(-2, -1).by_itself(&key),
        ));
        // Somebody else's name over acme's key, and acme's name over a key that is nobody's.
        all.push(identity(format!("{algorithm:?}, rival's name"), Who::Nobody, Draft::of("rival").by_itself(&key)));
        let strange = Draft::of("acme").by_itself(&algorithm.key());
        all.push(identity(format!("{algorithm:?}, a stranger's key"), Who::Nobody, strange));
        all.push(identity(format!("new style, {algorithm:?}"), Who::Acme, triton(proxy, algorithm, "acme", "acme")));
        // Signed by a key of acme's, for rival.
        let other = triton(proxy, algorithm, "acme", "rival");
        all.push(identity(format!("new style, {algorithm:?}, for another"), Who::Nobody, other));
    }
    all
}

fn add_key(proxy: &Proxy, account: &str, line: &str) {
    let path = proxy.path("one.pub");
    fs::write(&path, line).expect("the folder is writable");
    proxy.cli(&["key", "add", account, path.to_str().expect("it is text")]);
}

/// `sonde cert triton` with a key of `holder`'s, for `account`.
fn triton(proxy: &Proxy, algorithm: Algorithm, holder: &str, account: &str) -> Shown {
    let folder = proxy.path(&format!("triton-{account}-{}", algorithm.ssh()));
    fs::create_dir(&folder).expect("it is new");
    let key = folder.join("key");
    run_to_end(Command::new("ssh-keygen").args(["-q", "-N", "", "-t", algorithm.ssh(), "-f"]).arg(&key));
    add_key(proxy, holder, &fs::read_to_string(key.with_extension("pub")).expect("it was written"));
    let (key, out) = (key.display().to_string(), folder.display().to_string());
    cli(&["cert", "triton", account, "--key", &key, "--out", &out]);
    Shown::read(&folder.join(format!("{account}-triton.pem")), &folder.join(format!("{account}-triton.key")))
}

fn of_authorities(theirs: &Theirs) -> Vec<Identity> {
    let acme = || Draft::of("x").uri("sonde:account:acme");
    let by = |draft: Draft| draft.by(&theirs.authority);
    let other = Authority::new("another's");
    vec![
        identity("by the authority", Who::Acme, by(acme())),
        identity("by the authority, rival's", Who::Rival, by(Draft::of("acme").uri("sonde:account:rival"))),
        identity("by the authority, revoked", Who::Nobody, theirs.revoked.clone()),
        identity("by the authority, expired", Who::Nobody, by(acme().valid(-2, -1))),
        identity("by the authority, not yet valid", Who::Nobody, by(acme().valid(1, 2))),
        identity("by the authority, for servers", Who::Nobody, by(acme().for_servers())),
        identity("by the authority, of two accounts", Who::Nobody, by(acme().uri("sonde:account:rival"))),
        identity("by the authority, of no account", Who::Nobody, by(Draft::of("x").uri("sonde:account:nobody"))),
        identity("by the authority, a name alone", Who::Nobody, by(Draft::of("acme"))),
        identity("by the authority, bound to nobody", Who::Nobody, by(acme().uri("sonde:bound:acme"))),
        identity("by another authority", Who::Nobody, acme().by(&other)),
    ]
}

/// What is no certificate of anybody's: too large, broken, or the tier's.
fn unfit(proxy: &Proxy, theirs: &Theirs) -> Vec<Identity> {
    let acme = || Draft::of("x").uri("sonde:account:acme");
    let by = |draft: Draft| draft.by(&theirs.authority);
    let mut broken = by(acme());
    // The digits of its dates: the shape stays, and the key with it.
    let mut bytes = broken.chain[0].to_vec();
    let date = bytes.windows(2).position(|pair| pair == [0x17, 13]).expect("there are dates");
    bytes[date + 2] = b'x';
    broken.chain = vec![bytes.into()];
    let mut long = by(acme());
    long.chain = vec![long.chain[0].clone(); 40];
    let proxys = Shown::read(&proxy.path("proxy/proxy.pem"), &proxy.path("proxy/proxy.key"));
    let nodes = Shown::read(&proxy.path("node/node.pem"), &proxy.path("node/node.key"));
    vec![
        identity("huge", Who::Nobody, by(acme().padded(20_000))),
        identity("larger than TLS", Who::Outside, by(acme().padded(100_000))),
        identity("malformed", Who::Nobody, broken),
        identity("a long chain", Who::Nobody, long),
        identity("the proxy's own", Who::Nobody, proxys),
        identity("the node's", Who::Nobody, nodes),
        identity("a node's by the authority", Who::Nobody, by(Draft::of("x").uri(&format!("sonde:node:{NODE}")))),
        identity("a proxy's by the authority", Who::Nobody, by(Draft::of("x").uri("sonde:role:proxy"))),
    ]
}
