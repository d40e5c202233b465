//! A proxy and an agent as an operator sets them up: each its own process with its own configuration, every file of theirs made by `sonde cert`, mTLS between
//! them, real containers behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use sonde_tests::{Daemon, Process, binary, eventually};
use tempfile::TempDir;

/// What instances' names end in.
pub const SUFFIX: &str = "sonde.test";
pub const NODE: &str = "5f0d2bb6-7c3e-4e0a-9a44-61d30f8e7a15";
/// From the start to listening, on a machine that may be busy.
const START: Duration = Duration::from_secs(60);
/// A report follows what it is about by less than a second; a busy machine gets a few.
pub const NOTICE: Duration = Duration::from_secs(30);

/// A running `sonde proxy`.
pub struct Proxy {
    pub process: Process,
    pub dir: TempDir,
    /// `127.0.0.1:PORT` each.
    pub public: String,
    pub admin: String,
    pub tier: String,
}

impl Proxy {
    /// Starts one, whose `proxy.toml` has `more` beyond what every proxy needs: keys first, then tables.
    pub fn start(more: &str) -> Self {
        Self::start_with(|_| more.to_owned())
    }

    /// The same, of what the authorities' folder has by then.
    pub fn start_with(more: impl FnOnce(&Path) -> String) -> Self {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let folder = |name: &str| dir.path().join(name).display().to_string();
        let ca = folder("tls");
        cli(&["cert", "ca", "--ca-dir", &ca]);
        let names = ["127.0.0.1", "localhost", SUFFIX, &format!("*.{SUFFIX}")];
        cli(&[&["cert", "server"][..], &names, &["--ca-dir", &ca, "--out", &folder("server")]].concat());
        let role = ["cert", "tier", "--role", "proxy", "--name", "127.0.0.1"];
        cli(&[&role[..], &["--ca-dir", &ca, "--out", &folder("proxy")]].concat());
        write_config(dir.path(), &more(dir.path()));
        let path = dir.path().join("proxy.toml");
        let mut command = Command::new(binary());
        command.args(["proxy", "--config"]).arg(&path);
        let mut process = Process::start("sonde proxy", &mut command, &dir.path().join("log"));
        let [public, admin, tier] = ["url=", "admin=", "tier="].map(|key| {
            eventually("the proxy listening", START, || {
                assert!(process.ended().is_none(), "it ended at once: {}", process.log());
                let log = process.log();
                let line = log.lines().find(|line| line.contains("the proxy listens")).ok_or_else(|| log.clone())?;
                let value = line.split(key).nth(1).and_then(|rest| rest.split('"').nth(1));
                let authority = value.and_then(|url| url.split("//").nth(1));
                authority.map(str::to_owned).ok_or_else(|| log.clone())
            })
        });
        Self { process, dir, public, admin, tier }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The certificate of the authority that signed the listener's.
    pub fn server_ca(&self) -> PathBuf {
        self.path("server/server-ca.pem")
    }

    /// Another `proxy.toml`, by a rename as an editor would, and the signal for it.
    pub fn reconfigure(&self, more: &str) {
        write_config(self.dir.path(), more);
        self.process.signal(Signal::HUP);
    }

    /// `sonde ARGS` against this proxy.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let data = self.dir.path().display().to_string();
        cli(&[arguments, &["--data-dir", &data]].concat())
    }

    pub fn token(&self, account: &str, more: &[&str]) -> String {
        self.cli(&[&["token", "new", account][..], more].concat()).trim().to_owned()
    }

    /// Its own figures.
    pub fn about(&self) -> String {
        sonde_tests::get(&format!("http://{}/metrics", self.admin)).text()
    }

    /// Status and body of one GET by curl.
    pub fn curl(&self, path: &str, more: &[&str]) -> (String, String) {
        let mut command = Command::new("curl");
        command.args(["-s", "-w", "\n%{http_code}", "--max-time", "20", "--cacert"]).arg(self.server_ca());
        command.args(more).arg(format!("https://{}{path}", self.public));
        let output = command.output().expect("curl is installed");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = said.rsplit_once('\n').expect("curl writes the status");
        (status.to_owned(), body.to_owned())
    }

    /// Starts an agent that reports to it. `config` is the rest of its file.
    pub fn agent(&self, config: &str) -> Daemon {
        let ca = self.path("tls").display().to_string();
        let out = self.path("node").display().to_string();
        cli(&["cert", "tier", "--node", NODE, "--name", "127.0.0.1", "--ca-dir", &ca, "--out", &out]);
        let dir = TempDir::new().expect("a temporary folder can be made");
        Daemon::start(dir, &self.agent_config(config), |command| command)
    }

    /// What every agent of this proxy's has in its file.
    pub fn agent_config(&self, more: &str) -> String {
        let file = |name: &str| self.path(name);
        let (certificate, key, ca) = (file("node/node.pem"), file("node/node.key"), file("node/tier-ca.pem"));
        format!(
            "tls = {{ certificate = {certificate:?}, key = {key:?}, client_ca = {ca:?} }}\n\
             [node]\nid = \"{NODE}\"\n[report]\nproxies = [\"https://{}\"]\n\
             certificate = {certificate:?}\nkey = {key:?}\nca = {ca:?}\n{more}\n",
            self.tier
        )
    }

    /// The account's instances as it sees them itself, once there is one of that name that is in one of these states.
    #[track_caller]
    pub fn wait_for(&self, token: &str, name: &str, states: &[&str]) -> Value {
        let shown = format!("Authorization: Bearer {token}");
        eventually(&format!("{name} among the account's instances"), NOTICE, || {
            let (status, body) = self.curl("/v1/instances", &["-H", &shown]);
            let list: Value = serde_json::from_str(&body).map_err(|_| format!("{status}: {body}"))?;
            let found = list.as_array().and_then(|all| all.iter().find(|one| one["name"] == name)).cloned();
            let found = found.filter(|one| states.iter().any(|state| one["state"] == *state));
            found.ok_or_else(|| format!("{status}: {body}"))
        })
    }
}

fn write_config(dir: &Path, more: &str) {
    let path = dir.join("proxy.toml");
    let half = dir.join("proxy.toml.new");
    let config = format!(
        "suffix = \"{SUFFIX}\"\n\
         listen = {{ public = \"127.0.0.1:0\", tier = \"127.0.0.1:0\", admin = \"127.0.0.1:0\" }}\n\
         tls.certificate = \"server/server.pem\"\ntls.key = \"server/server.key\"\n\
         tier = {{ certificate = \"proxy/proxy.pem\", key = \"proxy/proxy.key\", ca = \"proxy/tier-ca.pem\" }}\n{more}\n"
    );
    fs::write(&half, config).expect("the folder is writable");
    fs::rename(half, path).expect("one file system");
}

/// `sonde ARGS`, which must be done; what it printed.
#[track_caller]
pub fn cli(arguments: &[&str]) -> String {
    let output = Command::new(binary()).args(arguments).stdin(Stdio::null()).output().expect("it can be run");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "sonde {arguments:?} ended with {}: {stderr}", output.status);
    stdout.into_owned()
}
