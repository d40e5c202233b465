//! A proxy's life with its operator: certificates that are issued, used and taken away; reloads under way; an end in which nothing is lost.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use sonde_tests::{Container, Daemon, Prometheus, eventually, run_to_end};
use tokio::runtime::Runtime;

use crate::client::{Ask, Client, Heard, VERSIONS, Version};
use crate::estate::{NOTICE, Proxy, cli};
use crate::identities::Theirs;
use crate::papers::{ALGORITHMS, Draft, Shown};

const SCRAPED: Duration = Duration::from_secs(45);
/// Files are looked at each second, and what is in the inventory counts at once.
const SECONDS: Duration = Duration::from_secs(10);

/// Between two looks at the same thing.
const PAUSE: Duration = Duration::from_millis(10);

/// Requests without a limit that is felt, for who asks again and again.
const MANY: &str = "requests_per_second = 100000, request_burst = 100000";

/// A proxy and an agent, and a container of acme's; its id.
fn town(proxy: &Proxy, container: &Container) -> (Daemon, String) {
    proxy.cli(&["account", "add", "acme"]);
    let rule =
        format!("[[owner]]\naccount = \"acme\"\nmatch = {{ runtime = \"runc\", name = \"{}\" }}\n", container.id());
    let agent = proxy.agent(&rule);
    let token = proxy.token("acme", &[]);
    let instance = proxy.wait_for(&token, container.id(), &["running", "saturated"]);
    (agent, instance["id"].as_str().expect("it has an id").to_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("its path is text")
}

/// Issues to acme, into a folder; the SHA-256 and what was written.
fn issue(proxy: &Proxy, folder: &Path) -> (String, Value) {
    let (out, ca) = (text(folder), proxy.path("tls"));
    let issue = ["cert", "issue", "acme", "--out", out, "--ca-dir", text(&ca), "--endpoint", &proxy.public, "--json"];
    let said: Value = serde_json::from_str(&proxy.cli(&issue)).expect("it is JSON");
    (said["sha256"].as_str().expect("it is said").to_owned(), said)
}

#[test]
fn what_cert_issue_writes_is_used_as_it_is_until_it_is_revoked() {
    let container = Container::named("issued").run();
    let proxy = Proxy::start("");
    let (_agent, id) = town(&proxy, &container);
    let folder = proxy.path("prometheus");
    let (sha256, said) = issue(&proxy, &folder);
    let path = format!("/v1/instances/{id}/metrics");
    let file = |key: &str| said[key].as_str().expect("it is said").to_owned();
    let shown = ["--cert", &file("certificate"), "--key", &file("key")];
    for version in ["--http1.1", "--http2", "--tls-max"] {
        let version = if version == "--tls-max" { vec!["--tls-max", "1.2"] } else { vec![version] };
        let (status, body) = proxy.curl(&path, &[&shown[..], &version].concat());
        assert!(status == "200" && body.contains(container.id()), "{version:?}: {status}: {body}");
    }
    // As it is, but that a minute is long.
    let config = fs::read_to_string(file("prometheus")).expect("it is written");
    let often = folder.join("often.yml");
    fs::write(&often, format!("global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n{config}")).expect("it is ours");
    let prometheus = Prometheus::with_file(&often);
    let memory = format!("count(container_memory_usage_bytes{{name=\"{}\"}})", container.id());
    prometheus.wait_for(&memory, SCRAPED, |count| count == 1.0);
    Runtime::new().expect("a runtime can be made").block_on(async {
        let own = Shown::read(Path::new(&file("certificate")), Path::new(&file("key")));
        let mut kept: Vec<_> =
            VERSIONS.iter().map(|version| Client::new(&proxy, Some(&own), &[], None, *version)).collect();
        let ask = Ask { host: &proxy.public, other: None, path: &path };
        for client in &mut kept {
            assert_eq!(client.ask(&ask).await.expect("it is let in").status, 200);
        }
        let revoke = ["cert", "revoke", "acme", &sha256[..12]];
        assert!(proxy.cli(&revoke).contains("is revoked"));
        // From the next request on, also on connections that were open.
        for client in &mut kept {
            assert_eq!(client.ask(&ask).await.expect("it is answered").status, 401);
            assert_eq!(client.connections, 1);
        }
    });
    prometheus.wait_for("max(up)", SCRAPED, |up| up == 0.0);
}

#[test]
fn ssh_keys_of_each_algorithm_open_the_door_to_curl_while_the_account_has_them() {
    let container = Container::named("ssh").run();
    let proxy = Proxy::start("");
    let (_agent, id) = town(&proxy, &container);
    let path = format!("/v1/instances/{id}/metrics");
    for algorithm in ALGORITHMS {
        let folder = proxy.path(algorithm.ssh());
        fs::create_dir(&folder).expect("it is new");
        let key = folder.join("id");
        let keygen = ["-q", "-N", "", "-C", algorithm.ssh(), "-t", algorithm.ssh(), "-f"];
        run_to_end(Command::new("ssh-keygen").args(keygen).arg(&key));
        cli(&["cert", "triton", "acme", "--key", text(&key), "--out", text(&folder)]);
        let (certificate, private) = (folder.join("acme-triton.pem"), folder.join("acme-triton.key"));
        let shown = ["--cert", text(&certificate), "--key", text(&private)];
        assert_eq!(proxy.curl(&path, &shown).0, "401", "{algorithm:?}: its key is not the account's yet");
        proxy.cli(&["key", "add", "acme", text(&key.with_extension("pub"))]);
        assert_eq!(proxy.curl(&path, &shown).0, "200", "{algorithm:?}");
        proxy.cli(&["key", "rm", "acme", algorithm.ssh()]);
        assert_eq!(proxy.curl(&path, &shown).0, "401", "{algorithm:?}: its key was taken away");
    }
}

/// Scrapes again and again on connections that stay, one of each version, until told to stop.
struct Scraping<'a> {
    clients: Vec<Client<'a>>,
    host: &'a str,
    path: &'a str,
    scrapes: usize,
}

impl<'a> Scraping<'a> {
    fn new(proxy: &'a Proxy, headers: &'a [(&'static str, String)], path: &'a str) -> Self {
        let clients = VERSIONS.iter().map(|version| Client::new(proxy, None, headers, None, *version)).collect();
        Self { clients, host: &proxy.public, path, scrapes: 0 }
    }

    async fn once(&mut self) {
        for client in &mut self.clients {
            let heard = client.ask(&Ask { host: self.host, other: None, path: self.path }).await;
            let heard: Heard = heard.unwrap_or_else(|error| panic!("scrape {}: {error}", self.scrapes));
            assert_eq!(heard.status, 200, "scrape {}: {}", self.scrapes, heard.text());
            self.scrapes += 1;
        }
    }

    /// Until something is so; it must become so.
    async fn until(&mut self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        let began = Instant::now();
        while !is_so().await {
            assert!(began.elapsed() < SECONDS, "{what} has not happened");
            self.once().await;
        }
    }

    fn assert_kept(&self) {
        for client in &self.clients {
            assert_eq!(client.connections, 1, "of {} scrapes", self.scrapes);
        }
    }
}

#[test]
fn a_hangup_changes_what_it_may_and_costs_no_connection_and_no_scrape() {
    let container = Container::named("reloaded").run();
    let mut founded = None;
    let proxy = Proxy::start_with(|folder| {
        founded = Some(Theirs::found(folder));
        format!("limits = {{ {MANY} }}\n")
    });
    let (theirs, client_ca) = founded.expect("it was founded");
    let (_agent, id) = town(&proxy, &container);
    let headers = [("authorization", format!("Bearer {}", proxy.token("acme", &[])))];
    let path = format!("/v1/instances/{id}/metrics");
    let at = |host, path| Ask { host, other: None, path };
    Runtime::new().expect("a runtime can be made").block_on(async {
        let mut scraping = Scraping::new(&proxy, &headers, &path);
        scraping.once().await;
        let mut one = Client::new(&proxy, None, &headers, None, Version::Two);
        let by_authority = theirs.issue(Draft::of("x").uri("sonde:account:acme"));
        let mut theirs_client = Client::new(&proxy, Some(&by_authority), &[], None, Version::Two);
        let here = proxy.public.as_str();
        assert_eq!(one.ask(&at("other.test", "/_ping")).await.expect("it is answered").status, 421);
        assert_eq!(theirs_client.ask(&at(here, "/v1/usage")).await.expect("it is answered").status, 401);

        // Another name, other limits, another authority, and another certificate with the new name in it.
        let (ca, out) = (proxy.path("tls"), proxy.path("server"));
        cli(&["cert", "server", "127.0.0.1", "other.test", "--ca-dir", text(&ca), "--out", text(&out)]);
        let config = format!("hosts = [\"other.test\"]\n{client_ca}limits = {{ concurrent_scrapes = 77, {MANY} }}\n");
        proxy.reconfigure(&config);
        let is_ours = async || one.ask(&at("other.test", "/_ping")).await.is_ok_and(|heard| heard.status == 200);
        scraping.until("the other name", is_ours).await;
        let usage = one.ask(&at(here, "/v1/usage")).await.expect("it is answered").text();
        assert!(usage.contains("\"concurrent_scrapes\":77"), "{usage}");
        // On the connection that was open before the authority was known.
        assert_eq!(theirs_client.ask(&at(here, "/v1/usage")).await.expect("it is answered").status, 200);
        // A handshake with that name is content with the new certificate alone.
        let mut named = Client::new(&proxy, None, &headers, Some("other.test"), Version::One);
        assert_eq!(named.ask(&at("other.test", &path)).await.expect("the certificate has the name").status, 200);

        refusals(&proxy, &mut scraping).await;
        assert_eq!(one.ask(&at("other.test", "/_ping")).await.expect("it is answered").status, 200);
        assert_eq!(theirs_client.ask(&at(here, "/v1/usage")).await.expect("it is answered").status, 200);

        // A list of revoked certificates that is replaced counts without a reload, on connections that are open.
        theirs.revoke(&proxy, &by_authority);
        let is_revoked =
            async || theirs_client.ask(&at(here, "/v1/usage")).await.is_ok_and(|heard| heard.status == 401);
        scraping.until("the revocation", is_revoked).await;
        assert_eq!(theirs_client.connections, 1);
        scraping.assert_kept();
    });
}

/// Configurations that are refused, each of which would take away what there is.
async fn refusals(proxy: &Proxy, scraping: &mut Scraping<'_>) {
    let faults = || figure(proxy, "sonde_proxy_config_faults_total");
    for broken in ["colour = 1", "hosts = [\"not a name\"]", "limits = { concurrent_scrapes = 0 }", "tls.key = \"x\""] {
        let before = faults();
        proxy.reconfigure(broken);
        scraping.until("a refusal", async || faults() > before).await;
    }
    // One half of it is good, and the other not: nothing is taken.
    let (tier_key, before) = (proxy.path("proxy/proxy.key"), faults());
    let good = fs::read(&tier_key).expect("it is there");
    fs::write(&tier_key, "no key").expect("it is ours");
    proxy.reconfigure(&format!("limits = {{ {MANY} }}"));
    scraping.until("a refusal", async || faults() > before).await;
    fs::write(&tier_key, good).expect("it is ours");
}

#[test]
fn an_end_answers_what_is_being_asked_and_takes_nobody_more() {
    let container = Container::named("drained").run();
    let mut proxy = Proxy::start("");
    let (agent, id) = town(&proxy, &container);
    let headers = [("authorization", format!("Bearer {}", proxy.token("acme", &[])))];
    let path = format!("/v1/instances/{id}/metrics");
    let log = Runtime::new().expect("a runtime can be made").block_on(async {
        let mut clients = VERSIONS.map(|version| Client::new(&proxy, None, &headers, None, version));
        let host = proxy.public.clone();
        // The connections that are there stay, however long the proxy takes for its end: a new one would have a second to be made.
        let sensors = format!("/v1/instances/{id}/sensors");
        for client in &mut clients {
            let heard = client.ask(&Ask { host: &host, other: None, path: &sensors }).await;
            assert_eq!(heard.expect("it is answered").status, 200);
        }
        // An agent that does not go on: what is asked stays under way.
        agent.process.signal(Signal::STOP);
        let [one, two] = &mut clients;
        // Two questions, so that each is in flight for itself.
        let other = format!("{path}?collect[]=native");
        let ask = |path| Ask { host: &host, other: None, path };
        let (first, second) = (ask(&path), ask(&other));
        let asked = async { tokio::join!(one.ask(&first), two.ask(&second)) };
        let ending = async {
            wait("two scrapes in flight", || figure(&proxy, "sonde_proxy_upstream_in_flight") == 2.0).await;
            proxy.process.signal(Signal::TERM);
            let ready = || sonde_tests::get(&format!("http://{}/readyz", proxy.admin));
            wait("its word that it stops", || ready().status == 503).await;
            assert_eq!(ready().text().trim(), "stopping");
            let is_refused = || std::net::TcpStream::connect(&proxy.public).is_err();
            wait("nobody more being taken", is_refused).await;
            agent.process.signal(Signal::CONT);
        };
        let ((one, two), ()) = tokio::join!(asked, ending);
        for heard in [one, two] {
            let heard = heard.expect("what was being asked is answered");
            assert!(heard.status == 200 && heard.text().contains(container.id()), "{}", heard.text());
        }
        proxy.process.log()
    });
    let status = eventually("its end", NOTICE, || proxy.process.ended().ok_or_else(|| log.clone()));
    assert_eq!(status.code(), Some(0), "{}", proxy.process.log());
    assert!(!proxy.process.log().contains("cut off"), "{}", proxy.process.log());
}

/// One of the proxy's own figures.
fn figure(proxy: &Proxy, series: &str) -> f64 {
    let about = proxy.about();
    let line = about.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not in {about}")).parse().expect("it is a number")
}

async fn wait(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < SECONDS, "{what} has not happened");
        // Who asks without a pause fills the proxy's queue of connections, and then waits for the kernel's own retries.
        tokio::time::sleep(PAUSE).await;
    }
}
