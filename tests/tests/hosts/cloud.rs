//! A small cloud: three nodes with an agent each, two proxies, three members of etcd, and a scraper's machine; two tenants with containers on every node.
//!
//! All are the real programs, each in the network of its own host, with certificates and accounts made by `sonde`'s commands. The containers are
//! this machine's, so each agent is told which of them are its node's.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use rustls::ClientConfig;
use serde_json::Value;
use sonde_tests::{Container, Exposition, Process, Request, Response, Rootfs, binary, eventually, run_to_end};
use tempfile::TempDir;

use crate::etcd::{Etcd, ROOM_MIB};
use crate::network::{Host, Network, address};
use crate::revoked::revoke;
use crate::scraper::{Scraper, trust};

/// What the proxies' names end in.
pub const SUFFIX: &str = "sonde.test";
/// The tenants.
pub const ACCOUNTS: [&str; 2] = ["acme", "bank"];
/// In DNS, short, so that a change shows within a test.
pub const TTL: Duration = Duration::from_secs(2);
/// How long a node is believed to be there that says nothing (operators.md, Reports).
pub const LEASE: Duration = Duration::from_secs(10);
/// Until what has to be right at once, or within the lease, is; on a busy machine.
pub const SOON: Duration = Duration::from_secs(30);
pub const START: Duration = Duration::from_secs(60);

const PROXIES: [u8; 2] = [1, 2];
const NODES: [u8; 3] = [11, 12, 13];
const MEMBERS: [u8; 3] = [21, 22, 23];
const SCRAPER: u8 = 31;
/// Where proxies listen; nobody else has ports on their hosts.
const PUBLIC_PORT: u16 = 9163;
const TIER_PORT: u16 = 9165;
const ADMIN_PORT: u16 = 9166;

/// A proxy and its host.
pub struct Proxy {
    pub host: Host,
    process: Option<Process>,
}

/// An agent and its host.
pub struct Node {
    pub host: Host,
    pub id: String,
    process: Option<Process>,
    number: usize,
}

/// An instance that there is.
#[derive(Clone, Debug)]
pub struct Target {
    pub id: String,
    /// What its series carry and no other's do.
    pub container: String,
    pub owner: String,
    /// Which node it is on.
    pub node: usize,
}

/// All of it. What is first is dropped first.
pub struct Cloud {
    pub nodes: Vec<Node>,
    pub proxies: Vec<Proxy>,
    pub etcd: Etcd,
    pub scraper: Host,
    pub containers: Vec<Container>,
    tokens: Vec<String>,
    tls: Arc<ClientConfig>,
    rootfs: Arc<Rootfs>,
    dir: TempDir,
    _network: Network,
}

impl Cloud {
    /// Starts everything, and waits until both proxies know all instances.
    pub fn start() -> Self {
        Self::with_etcd(&[], ROOM_MIB)
    }

    /// With these arguments for etcd, and so much room for each member.
    pub fn with_etcd(arguments: &[&str], room_mib: u32) -> Self {
        let all: Vec<u8> = PROXIES.into_iter().chain(NODES).chain(MEMBERS).chain([SCRAPER]).collect();
        let network = Network::of(&all);
        let dir = TempDir::new().expect("a temporary folder can be made");
        let etcd = Etcd::start(MEMBERS.map(|number| network.host(number)).into(), arguments, room_mib);
        let authorities = dir.path().join("tls");
        sonde(&["cert", "ca", "--ca-dir", text(&authorities)]);
        let tls = trust(&authorities.join("server-ca.pem"));
        let rootfs = Rootfs::with(&[]);
        let scraper = network.host(SCRAPER);
        let proxies = PROXIES.map(|number| Proxy { host: network.host(number), process: None });
        let nodes = NODES.map(|number| network.host(number)).into_iter().enumerate();
        let nodes = nodes.map(|(number, host)| Node { id: node_id(number), host, process: None, number }).collect();
        let mut cloud = Self {
            nodes,
            proxies: proxies.into(),
            etcd,
            scraper,
            containers: Vec::new(),
            tokens: Vec::new(),
            tls,
            rootfs,
            dir,
            _network: network,
        };
        cloud.furnish(&authorities);
        (0..PROXIES.len()).for_each(|which| cloud.start_proxy(which));
        for account in ACCOUNTS {
            cloud.add_account(account);
        }
        for node in 0..NODES.len() {
            for account in ACCOUNTS {
                cloud.add_container(&format!("n{node}-{account}"));
            }
            cloud.start_agent(node);
        }
        cloud.wait_for(NODES.len());
        cloud
    }

    /// Certificates, configurations, and who is asked for names.
    fn furnish(&self, authorities: &Path) {
        let ca = ["--ca-dir", text(authorities)];
        revoke(self, &[]);
        for proxy in &self.proxies {
            let (dir, address) = (proxy.host.dir(), proxy.host.address().to_string());
            let tier = ["cert", "tier", "--role", "proxy", "--name", &address, "--out", text(dir)];
            sonde(&[&tier, &ca[..]].concat());
            sonde(&[&["cert", "server", SUFFIX, &format!("*.{SUFFIX}"), "--out", text(dir)], &ca[..]].concat());
            fs::write(dir.join("proxy.toml"), self.proxy_config(proxy.host.address())).expect("it is writable");
        }
        for node in &self.nodes {
            let (dir, address) = (node.host.dir(), node.host.address().to_string());
            sonde(&[&["cert", "tier", "--node", &node.id, "--name", &address, "--out", text(dir)], &ca[..]].concat());
            self.configure(node.number, "");
        }
        let resolver = self.scraper.dir().join("resolv.conf");
        let servers: String = PROXIES.map(|number| format!("nameserver {}\n", address(number))).concat();
        fs::write(&resolver, format!("{servers}options timeout:1 attempts:2\n")).expect("it is writable");
        run_to_end(self.scraper.command("mount").arg("--bind").arg(&resolver).arg("/etc/resolv.conf"));
    }

    fn proxy_config(&self, own: Ipv4Addr) -> String {
        let addresses = PROXIES.map(|number| address(number).to_string());
        format!(
            "suffix = \"{SUFFIX}\"\naccess_log = {{ lines_per_second = 0 }}\n\
             limits = {{ requests_per_second = 100000, request_burst = 100000 }}\n\
             [listen]\npublic = \"{own}:{PUBLIC_PORT}\"\ntier = \"{own}:{TIER_PORT}\"\nadmin = \"127.0.0.1:{ADMIN_PORT}\"\n\
             [tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n\
             [tier]\ncertificate = \"proxy.pem\"\nkey = \"proxy.key\"\nca = \"tier-ca.pem\"\ncrl = \"tier.crl\"\n\
             [store]\netcd = {{ endpoints = {:?} }}\n\
             [names]\nlisten = [\"{own}:53\"]\naddresses = {addresses:?}\nttl_seconds = {}\n",
            self.etcd.endpoints(),
            TTL.as_secs()
        )
    }

    /// What a node's agent is told, with these rules before those that it always has. An agent that runs has it within a second.
    pub fn configure(&self, node: usize, rules: &str) {
        let dir = self.nodes[node].host.dir();
        let proxies = PROXIES.map(|number| format!("https://{}:{TIER_PORT}", address(number)));
        let own = self.nodes[node].host.address();
        let files = "certificate = \"node.pem\"\nkey = \"node.key\"\ncrl = \"tier.crl\"\n";
        let mine = format!("st-{}-*-n{node}-", std::process::id());
        let owners = ACCOUNTS
            .map(|account| format!("[[owner]]\naccount = \"{account}\"\nmatch = {{ name = \"{mine}{account}*\" }}\n"));
        let config = format!(
            "[listen]\naddress = \"{own}:9164\"\nadmin = \"127.0.0.1:9165\"\n[listen.tls]\n{files}client_ca = \"tier-ca.pem\"\n\
             [node]\nid = \"{}\"\n[report]\nproxies = {proxies:?}\n{files}ca = \"tier-ca.pem\"\n\
             {rules}[[instance]]\nmatch = {{ name = \"{mine}*\" }}\n\
             [[instance]]\nmatch = {{ name = \"*\" }}\ninstance = false\n{}",
            self.nodes[node].id.replace('-', ""),
            owners.concat()
        );
        fs::write(dir.join("agent.toml.new"), config).expect("it is writable");
        fs::rename(dir.join("agent.toml.new"), dir.join("agent.toml")).expect("one file system");
    }

    pub fn start_proxy(&mut self, which: usize) {
        let proxy = &mut self.proxies[which];
        let mut command = proxy.host.command(binary());
        command.args(["proxy", "--config"]).arg(proxy.host.dir().join("proxy.toml"));
        proxy.process = Some(started(&proxy.host, "proxy", &mut command, "the proxy listens"));
    }

    pub fn start_agent(&mut self, which: usize) {
        let node = &mut self.nodes[which];
        fs::create_dir_all(node.host.dir().join("sensors")).expect("it is writable");
        let mut command = node.host.command(binary());
        command.args(["agent", "--config"]).arg(node.host.dir().join("agent.toml"));
        node.process = Some(started(&node.host, "agent", &mut command, "the agent listens"));
    }

    /// Kills a proxy as a machine does that lacks memory.
    pub fn kill_proxy(&mut self, which: usize) {
        kill(self.proxies[which].process.take());
    }

    pub fn kill_agent(&mut self, which: usize) {
        kill(self.nodes[which].process.take());
    }

    /// Has an agent stand still, or go on.
    pub fn halt_agent(&self, which: usize, is_halted: bool) {
        let process = self.nodes[which].process.as_ref().expect("it runs");
        process.signal(if is_halted { Signal::STOP } else { Signal::CONT });
    }

    /// Waits until a proxy's operator is told that these nodes speak, and no others.
    pub fn wait_for_speaking(&self, proxy: usize, nodes: &[usize]) {
        eventually("the nodes that speak", LEASE * 2, || {
            let said = self.operator(proxy, &["node", "ls", "--json"])?;
            let list: Vec<Value> = serde_json::from_str(&said).map_err(|error| error.to_string())?;
            let is_so = |node: &Node| {
                let speaks = list.iter().any(|one| one["id"] == node.id.as_str() && one["is_reachable"] == true);
                speaks == nodes.contains(&node.number)
            };
            if self.nodes.iter().all(is_so) { Ok(()) } else { Err(said) }
        });
    }

    /// Adds a tenant and draws a token for it, at the first proxy.
    fn add_account(&mut self, account: &str) {
        self.operator(0, &["account", "add", account]).expect("etcd takes changes");
        let token = self.operator(0, &["token", "new", account, "--json"]).expect("etcd takes changes");
        let token: Value = serde_json::from_str(&token).expect("it is JSON");
        self.tokens.push(token["token"].as_str().expect("it has the token").to_owned());
    }

    /// What an operator's command says at a proxy, or what it complains of.
    pub fn operator(&self, proxy: usize, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--data-dir").arg(self.proxies[proxy].host.dir());
        let output = command.output().expect("the binary can be run");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
    }

    /// A container; `what` says by its first parts on which node and whose, as the agents are told.
    pub fn add_container(&mut self, what: &str) -> String {
        let container = Container::named(what).rootfs(&self.rootfs).run();
        let id = container.id().to_owned();
        self.containers.push(container);
        id
    }

    /// What containers here are made of.
    pub fn rootfs(&self) -> Arc<Rootfs> {
        self.rootfs.clone()
    }

    pub fn delete_container(&mut self, id: &str) {
        let at = self.containers.iter().position(|container| container.id() == id).expect("it is there");
        self.containers.remove(at).delete();
    }

    /// Waits until both proxies list so many living instances of each tenant.
    fn wait_for(&self, of_each: usize) {
        for (proxy, account) in self.doors() {
            eventually(&format!("{account}'s instances at proxy {proxy}"), START, || {
                let listed = self.instances(proxy, account)?;
                if listed.len() == of_each { Ok(()) } else { Err(format!("{listed:?}")) }
            });
        }
    }

    /// Each proxy with each tenant.
    pub fn doors(&self) -> Vec<(usize, &'static str)> {
        (0..self.proxies.len()).flat_map(|proxy| ACCOUNTS.map(|account| (proxy, account))).collect()
    }

    /// What lives of a tenant's, as a proxy lists it.
    pub fn instances(&self, proxy: usize, account: &str) -> Result<Vec<Target>, String> {
        let answer = self.get(proxy, account, "/v1/instances").map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("{}: {}", answer.status, answer.text()));
        }
        let list = answer.json().as_array().cloned().ok_or("it is no list")?;
        let living = list.iter().filter(|one| one["state"] != "gone" && one["state"] != "stopped");
        Ok(living.map(|one| target(one, account)).collect())
    }

    /// All that lives.
    pub fn targets(&self) -> Vec<Target> {
        ACCOUNTS.iter().flat_map(|account| self.instances(0, account).expect("the first proxy is there")).collect()
    }

    /// A scraper at a proxy, as a tenant.
    pub fn scraper_of(&self, proxy: usize, account: &str) -> Scraper {
        self.scraper_by_name(proxy, account, SUFFIX)
    }

    pub fn scraper_by_name(&self, proxy: usize, account: &str, host: &str) -> Scraper {
        let at = ACCOUNTS.iter().position(|one| *one == account).expect("there is such a tenant");
        let address = SocketAddr::from((self.proxies[proxy].host.address(), PUBLIC_PORT));
        Scraper::new(&self.tls, address, host, &self.tokens[at])
    }

    /// One GET of a tenant's, on a connection of its own.
    pub fn get(&self, proxy: usize, account: &str, path: &str) -> std::io::Result<Response> {
        let mut scraper = self.scraper_of(proxy, account);
        self.scraper.run(|| scraper.get(path))
    }

    /// What a proxy says of itself.
    pub fn about_proxy(&self, proxy: usize) -> Exposition {
        let url = format!("http://127.0.0.1:{ADMIN_PORT}/metrics");
        let answer = self.proxies[proxy].host.run(|| Request::get(&url).send());
        Exposition::read(&answer.expect("the admin listener answers").text())
    }

    /// The value of one series of a proxy's.
    pub fn series(&self, proxy: usize, name: &str, labels: &[(&str, &str)]) -> f64 {
        let about = self.about_proxy(proxy);
        about.value(name, labels).unwrap_or_else(|| panic!("proxy {proxy} has no {name} {labels:?}"))
    }

    /// Waits until one is what `accept` wants.
    pub fn wait_for_series(&self, proxy: usize, name: &str, labels: &[(&str, &str)], accept: impl Fn(f64) -> bool) {
        eventually(&format!("{name} {labels:?} of proxy {proxy}"), SOON, || {
            let value = self.series(proxy, name, labels);
            if accept(value) { Ok(()) } else { Err(value) }
        });
    }

    /// The addresses that a name leads to, as the server at a proxy says.
    pub fn look_up(&self, proxy: usize, name: &str) -> Vec<String> {
        let server = format!("@{}", self.proxies[proxy].host.address());
        let mut dig = self.scraper.command("dig");
        let said = dig.args([&server, "+short", "+tries=1", "+time=2", name, "A"]).output().expect("dig is installed");
        let mut all: Vec<String> = String::from_utf8_lossy(&said.stdout).lines().map(str::to_owned).collect();
        all.sort();
        all
    }

    /// Status and body of an instance's exporter, found by its name with the resolver of the scraper's machine, as any client would.
    pub fn get_by_name(&self, label: &str, account: &str) -> (String, String) {
        let at = ACCOUNTS.iter().position(|one| *one == account).expect("there is such a tenant");
        let ca = self.authorities().join("server-ca.pem");
        let (token, url) = (&self.tokens[at], format!("https://{label}.{SUFFIX}:{PUBLIC_PORT}/metrics"));
        let mut curl = self.scraper.command("curl");
        curl.args(["-s", "-S", "-w", "\n%{http_code}", "--max-time", "5", "--cacert"]).arg(ca);
        let output = curl.args(["-H", &format!("Authorization: Bearer {token}"), &url]).output();
        let said = String::from_utf8_lossy(&output.expect("curl is installed").stdout).into_owned();
        let (body, status) = said.rsplit_once('\n').unwrap_or((&said, ""));
        (status.to_owned(), body.to_owned())
    }

    pub fn authorities(&self) -> PathBuf {
        self.dir.path().join("tls")
    }
}

fn target(listed: &Value, account: &str) -> Target {
    let field = |key: &str| listed[key].as_str().unwrap_or_default().to_owned();
    let container = field("runtime_id");
    let node = container.split("-n").nth(1).and_then(|rest| rest.split('-').next()?.parse().ok());
    Target { id: field("id"), node: node.expect("its name says its node"), container, owner: account.to_owned() }
}

fn node_id(number: usize) -> String {
    format!("00000000-0000-4000-8000-00000000000{number}")
}

fn started(host: &Host, name: &str, command: &mut Command, said: &str) -> Process {
    let mut process = host.start(name, command);
    eventually(said, START, || {
        assert!(process.ended().is_none(), "{name} ended at once: {}", process.log());
        if process.log().contains(said) { Ok(()) } else { Err(process.log()) }
    });
    process
}

fn kill(process: Option<Process>) {
    let mut process = process.expect("it runs");
    process.signal(Signal::KILL);
    eventually("the end of what was killed", SOON, || process.ended().ok_or("it runs"));
}

fn sonde(arguments: &[&str]) {
    run_to_end(Command::new(binary()).args(arguments));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders are text")
}
