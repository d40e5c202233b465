//! The cloud and the tenant's containers. Ports are fixed because the network is the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use sonde_tests::{Container, ContainerBuilder, Process, Rootfs, binary, eventually, run_to_end};
use tempfile::TempDir;

const ACCOUNT: &str = "shop";
const SUFFIX: &str = "sonde.test";
const START: Duration = Duration::from_secs(60);
/// A node's id before it is known: for a certificate that nobody takes.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

const FRONT: &str = "cat >/tmp/nginx.conf <<'E'
user root; daemon off; master_process off; worker_processes 1; pid /tmp/pid; error_log /tmp/error.log;
events { worker_connections 64; }
http { access_log off; server { listen 80; location = /stub_status { stub_status; } location / { proxy_pass http://10.77.0.2:8080; } } }
E
exec nginx -c /tmp/nginx.conf -e /tmp/error.log";
const BACK: &str = "mkdir -p /tmp/www; printf 'from back' >/tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www";

/// A proxy and a node, and an account with its certificate. Dropped in this order.
pub struct Stage {
    _agent: Process,
    _proxy: Process,
    folder: TempDir,
    /// What the tenant's containers' names begin with.
    prefix: String,
}

impl Stage {
    pub fn set() -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let at = |path: &str| folder.path().join(path);
        let prefix = sonde_tests::unique_name(ACCOUNT);
        certificates(folder.path());
        write(
            &at("proxy.toml"),
            &format!(
                "suffix = \"{SUFFIX}\"\nlisten = {{ public = \"127.0.0.1:9163\", tier = \"127.0.0.1:9165\", admin = \"127.0.0.1:9166\" }}\n\
                 data_dir = \"data\"\ntls = {{ certificate = \"server.pem\", key = \"server.key\" }}\n\
                 tier = {{ certificate = \"proxy.pem\", key = \"proxy.key\", ca = \"tier-ca.pem\" }}\n\
                 names = {{ listen = [\"127.0.0.1:53\"], addresses = [\"127.0.0.1\"] }}\n"
            ),
        );
        fs::create_dir_all(at("data")).expect("the temporary folder is writable");
        let proxy = daemon("proxy", &at("proxy.toml"), &at("proxy.log"));
        wait_for(&at("data/accounts.sock"));
        for arguments in [
            &["account", "add", ACCOUNT][..],
            &["cert", "issue", ACCOUNT, "--scope", "read-metrics", "--scope", "push-sensors"],
        ] {
            let mut command = sonde(arguments);
            command.arg("--data-dir").arg(at("data"));
            if arguments[0] == "cert" {
                command.arg("--ca-dir").arg(at("tls")).arg("--out").arg(folder.path());
            }
            run_to_end(&mut command);
        }
        let agent = agent(folder.path(), &prefix);
        Self { _agent: agent, _proxy: proxy, folder, prefix }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Runs `sonde ARGS` as the tenant: with an account's certificate, and what checks the proxy's.
    #[track_caller]
    pub fn tenant(&self, arguments: &[&str]) -> String {
        let mut command = sonde(arguments);
        command.env("SONDE_PROXY", format!("https://{SUFFIX}:9163")).env("SONDE_CA", self.at("server-ca.pem"));
        command.env("SONDE_CERTIFICATE", self.at("shop.pem")).env("SONDE_KEY", self.at("shop.key"));
        let output = command.output().expect("the binary can be run");
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "sonde {arguments:?}: {said}");
        said
    }

    /// As a tenant writes it: a certificate, its key, the authority, and where the cloud is.
    pub fn prometheus(&self) -> String {
        let file = |name: &str| self.at(name).display().to_string();
        let (ca, certificate, key) = (file("server-ca.pem"), file("shop.pem"), file("shop.key"));
        let tls = format!("{{ ca_file: '{ca}', cert_file: '{certificate}', key_file: '{key}' }}");
        format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n\
             - job_name: triton\n  scheme: https\n  tls_config: {tls}\n\
             \x20 triton_sd_configs:\n  - {{ account: {ACCOUNT}, dns_suffix: {SUFFIX}, endpoint: {SUFFIX}, port: 9163, version: 1, \
             refresh_interval: 1s, tls_config: {tls} }}\n\
             \x20 relabel_configs:\n  - {{ source_labels: [__meta_triton_machine_alias], target_label: alias }}\n"
        )
    }
}

/// Authorities, and the certificates of the tiers and of the tenants' listener.
fn certificates(folder: &Path) {
    let tls = folder.join("tls");
    for arguments in [
        &["server", SUFFIX, "*.sonde.test", "127.0.0.1"][..],
        &["tier", "--role", "proxy", "--name", "127.0.0.1"],
        &["tier", "--node", NOBODY, "--name", "127.0.0.1"],
    ] {
        run_to_end(sonde(&["cert"]).args(arguments).arg("--ca-dir").arg(&tls).arg("--out").arg(folder));
    }
}

/// The node's daemon. It says who it is when it starts, and is given a certificate for that.
fn agent(folder: &Path, prefix: &str) -> Process {
    let path = folder.join("agent.toml");
    let tls = "certificate = \"node.pem\"\nkey = \"node.key\"\n";
    write(
        &path,
        &format!(
            "[listen]\naddress = \"127.0.0.1:9164\"\n[listen.tls]\n{tls}client_ca = \"tier-ca.pem\"\n\
             [report]\nproxies = [\"https://127.0.0.1:9165\"]\n{tls}ca = \"tier-ca.pem\"\n\
             [[owner]]\naccount = \"{ACCOUNT}\"\nmatch = {{ runtime = \"runc\", name = \"{prefix}*\" }}\n"
        ),
    );
    let log = folder.join("agent.log");
    let first = daemon("agent", &path, &log);
    let node = eventually("the node says who it is", START, || {
        let said = first.log();
        let line = said.lines().find(|line| line.contains("sonde:node:")).ok_or_else(|| said.clone())?;
        let id = line.split("node=").nth(1).and_then(|rest| rest.split_whitespace().next());
        id.map(|id| id.trim_matches('"').to_owned()).ok_or_else(|| line.to_owned())
    });
    drop(first);
    let mut issue = sonde(&["cert", "tier", "--node", &node, "--name", "127.0.0.1"]);
    run_to_end(issue.arg("--ca-dir").arg(folder.join("tls")).arg("--out").arg(folder));
    daemon("agent", &path, &log)
}

fn daemon(what: &str, config: &Path, log: &Path) -> Process {
    Process::start(&format!("sonde {what}"), sonde(&[what, "--config"]).arg(config), log)
}

fn sonde(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments);
    command
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("the temporary folder is writable");
}

fn wait_for(path: &Path) {
    eventually("the proxy's socket", START, || if path.exists() { Ok(()) } else { Err("it is not there") });
}

/// The tenant's containers: nginx, and behind it, over a cable between the two, a small server.
pub struct Shop {
    front: Container,
    _back: Container,
    rootfs: Arc<Rootfs>,
    prefix: String,
}

impl Shop {
    pub fn open(stage: &Stage) -> Self {
        let rootfs = Rootfs::with(&["nginx"]);
        let prefix = stage.prefix.clone();
        let front = container(&prefix, "front", "front", &rootfs).script(FRONT).run();
        let back = container(&prefix, "back", "back", &rootfs).script(BACK).run();
        cable(&front, &back);
        let shop = Self { front, _back: back, rootfs, prefix };
        eventually("the shop is open", START, || match shop.ask_front() {
            page if page == "from back" => Ok(()),
            page => Err(page),
        });
        shop
    }

    /// A backend more, which nobody asks yet.
    pub fn another_back(&self, alias: &str) -> Container {
        container(&self.prefix, alias, "back", &self.rootfs).script(BACK).run()
    }

    /// What a customer sees.
    pub fn ask_front(&self) -> String {
        let page = self.front.exec(&["wget", "-q", "-O", "-", "http://127.0.0.1/"]);
        String::from_utf8_lossy(&page.stdout).into_owned()
    }
}

fn container(prefix: &str, alias: &str, group: &str, rootfs: &Arc<Rootfs>) -> ContainerBuilder {
    let named = Container::named(alias).instead_of(&format!("{prefix}-{alias}")).rootfs(rootfs);
    named.annotation("sonde.alias", alias).annotation("sonde.groups", group)
}

/// A link between the network namespaces of two.
fn cable(front: &Container, back: &Container) {
    let (one, other) = (front.pid().to_string(), back.pid().to_string());
    run_to_end(
        Command::new("ip")
            .args(["link", "add", "eth0", "netns", &one, "type", "veth", "peer", "name", "eth0", "netns", &other]),
    );
    for (container, address) in [(front, "10.77.0.1/24"), (back, "10.77.0.2/24")] {
        run_to_end(container.in_network("ip").args(["addr", "add", address, "dev", "eth0"]));
        run_to_end(container.in_network("ip").args(["link", "set", "eth0", "up"]));
    }
}
