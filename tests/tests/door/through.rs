//! Prometheus through the proxy: by the file that is printed, by token and by certificate; births, deaths, and a proxy that comes back.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sonde_tests::{Container, Prometheus, Sonde, eventually, unique_name};

const SCRAPED: Duration = Duration::from_secs(45);
const SOON: Duration = Duration::from_secs(20);

/// The proxy of a running `sonde up`, as its `endpoints.json` has it.
struct Door {
    endpoints: Value,
}

impl Door {
    fn of(sonde: &Sonde) -> Self {
        let text = fs::read_to_string(sonde.dir().join("endpoints.json")).expect("it is written");
        Self { endpoints: serde_json::from_str(&text).expect("it is JSON") }
    }

    fn get(&self, key: &str) -> &str {
        self.endpoints[key].as_str().unwrap_or_else(|| panic!("{key} is not in {}", self.endpoints))
    }

    /// Status and body of one GET.
    fn curl(&self, path: &str, more: &[&str]) -> (String, String) {
        let mut command = Command::new("curl");
        command.args(["-s", "-w", "\n%{http_code}", "--max-time", "20", "--cacert", self.get("proxy_ca")]);
        command.args(more).arg(format!("{}{path}", self.get("proxy_url")));
        let output = command.output().expect("curl is installed");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = said.rsplit_once('\n').expect("curl writes the status");
        (status.to_owned(), body.to_owned())
    }

    fn token(&self) -> String {
        let token = fs::read_to_string(self.get("proxy_token")).expect("it is kept");
        format!("Authorization: Bearer {}", token.trim())
    }

    /// A configuration that discovers and scrapes a group with `shown` as credentials. A group, since the operator has all else that runs on this machine too: with a
    /// thousand of another test's it would ask for more than it may.
    fn prometheus(&self, group: &str, tls: &str, more: &str) -> String {
        let (url, ca) = (self.get("proxy_url"), self.get("proxy_ca"));
        let shown = format!("tls_config: {{ca_file: '{ca}'{tls}}}{more}");
        format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: door\n  scheme: https\n  {}\n  \
             http_sd_configs:\n  - url: {url}/v1/sd/http?groups={group}\n    refresh_interval: 1s\n    {}\n",
            shown.replace('\n', "\n  "),
            shown.replace('\n', "\n    ")
        )
    }
}

#[test]
fn the_file_that_is_printed_goes_through_discovery_and_the_proxy() {
    let container = Container::named("printed").run();
    let sonde = Sonde::configure().up();
    sonde.wait_for_instance(container.id());
    let prometheus = Prometheus::with_file(&sonde.dir().join("prometheus.yml"));
    prometheus.wait_for(&format!("count(container_memory_usage_bytes{{name=\"{}\"}})", container.id()), SCRAPED, |n| {
        n == 1.0
    });
    prometheus.wait_for("min(up{job=\"sonde-node\"})", SCRAPED, |up| up == 1.0);
    prometheus.wait_for("min(up{job=~\"sonde-(account|agent|proxy)\"})", SCRAPED, |up| up == 1.0);
    let targets = prometheus.targets();
    assert!(
        targets.contains("/v1/instances/") && !targets.contains(&format!("{}/v1/", sonde.authority())),
        "{targets}"
    );
}

#[test]
fn by_certificate_and_by_token_and_births_and_deaths_are_followed() {
    let group = unique_name("group");
    let first = Container::named("first").annotation("sonde.groups", &group).run();
    let sonde = Sonde::configure().up();
    sonde.wait_for_instance(first.id());
    let door = Door::of(&sonde);
    let (certificate, key) = (door.get("proxy_certificate"), door.get("proxy_key"));
    let by_certificate = format!(", cert_file: '{certificate}', key_file: '{key}'");
    let by_certificate = Prometheus::with_config(&door.prometheus(&group, &by_certificate, ""));
    let by_token = format!("\nauthorization: {{type: Bearer, credentials_file: '{}'}}", door.get("proxy_token"));
    let by_token = Prometheus::with_config(&door.prometheus(&group, "", &by_token));
    let memory = |container: &Container| format!("count(container_memory_usage_bytes{{name=\"{}\"}})", container.id());
    for prometheus in [&by_certificate, &by_token] {
        prometheus.wait_for(&memory(&first), SCRAPED, |n| n == 1.0);
    }
    let second = Container::named("second").annotation("sonde.groups", &group).run();
    for prometheus in [&by_certificate, &by_token] {
        prometheus.wait_for(&memory(&second), SCRAPED, |n| n == 1.0);
    }
    let gone = sonde.wait_for_instance(second.id())["id"].as_str().expect("it has an id").to_owned();
    second.delete();
    by_token.wait_for(&format!("max(up{{instance=\"{gone}\"}})"), SCRAPED, |up| up == 0.0);
    // It is gone and not unknown, and says why; to its owner alone.
    let path = format!("/v1/instances/{gone}/metrics");
    let (status, body) = eventually("the state that is told", SOON, || {
        let (status, body) = door.curl(&path, &["-H", &door.token()]);
        if status == "503" { Ok((status, body)) } else { Err(format!("{status}: {body}")) }
    });
    assert!(body.contains("state=\"gone\"} 1"), "{status}: {body}");
    assert_eq!(door.curl(&path, &[]).0, "401");
    let (_, account) = door.curl("/v1/account/metrics", &["--cert", certificate, "--key", key]);
    let line = account.lines().find(|line| line.contains(&gone) && line.contains("state=\"gone\""));
    assert!(line.is_some_and(|line| line.ends_with(" 1")), "{account}");
}

#[test]
fn the_operator_makes_a_tenant_who_sees_nothing_of_others() {
    let container = Container::named("theirs").run();
    let sonde = Sonde::configure().up();
    let instance = sonde.wait_for_instance(container.id());
    let door = Door::of(&sonde);
    let own = format!("/v1/instances/{}/metrics", instance["id"].as_str().expect("it has an id"));
    eventually("the report", SOON, || match door.curl(&own, &["-H", &door.token()]) {
        (status, _) if status == "200" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let added = sonde.cli(&["account", "add", "acme"]);
    assert_eq!(added.code, Some(0), "{added:?}");
    let drawn = sonde.cli(&["token", "new", "acme", "--json"]);
    assert_eq!(drawn.code, Some(0), "{drawn:?}");
    let drawn: Value = serde_json::from_str(&drawn.stdout).expect("it is JSON");
    let acme = format!("Authorization: Bearer {}", drawn["token"].as_str().expect("it has the token"));
    for version in ["--http1.1", "--http2"] {
        assert_eq!(door.curl(&own, &["-H", &acme, version]).0, "404");
        assert_eq!(door.curl("/v1/instances", &["-H", &acme, version]).1.replace(char::is_whitespace, ""), "[]");
        assert_eq!(door.curl("/_ping", &[version]), ("200".to_owned(), "OK".to_owned()));
    }
    let removed = sonde.cli(&["account", "rm", "acme"]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert_eq!(door.curl("/v1/instances", &["-H", &acme]).0, "401");
}
