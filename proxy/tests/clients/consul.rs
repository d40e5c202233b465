//! `consul_sd_configs`, with vmagent: it keeps questions open and follows the index.

use std::process::Command;

use serde_json::json;
use sonde_tests::{Process, Request, eventually};

use crate::agent::Says;
use crate::house::{Credential, SUFFIX, ago, id, instance};
use crate::town::{Town, WITHIN, in_own_network};

/// In a network of its own, so nobody else has it.
const PORT: u16 = 8429;

struct Vmagent {
    process: Process,
    _folder: tempfile::TempDir,
}

impl Vmagent {
    fn start(town: &Town, credential: &Credential, more: &str) -> Self {
        let (tls, port) = (town.tls(credential), town.port());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("scrape.yml");
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
             scrape_configs:\n- job_name: consul\n  scheme: https\n  tls_config: {tls}\n\
             \x20 consul_sd_configs: [ {{ server: '{SUFFIX}:{port}', scheme: https, tls_config: {tls}{more} }} ]\n\
             \x20 relabel_configs: [ {{ source_labels: [__meta_consul_service_id], target_label: instance }}, \
             {{ source_labels: [__meta_consul_health], target_label: health }} ]\n"
        );
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("vmagent");
        command
            .arg(format!("-promscrape.config={}", file.display()))
            .arg("-promscrape.consulSDCheckInterval=1s")
            .arg(format!("-httpListenAddr=127.0.0.1:{PORT}"))
            .arg("-remoteWrite.url=http://127.0.0.1:9/nobody")
            .arg(format!("-remoteWrite.tmpDataPath={}", folder.path().join("data").display()))
            .current_dir(folder.path());
        let process = Process::start("vmagent", &mut command, &folder.path().join("log"));
        Self { process, _folder: folder }
    }

    /// Of each target its id, its health in Consul and whether it is up, sorted.
    fn targets(&self) -> Result<Vec<(String, String, String)>, String> {
        let url = format!("http://127.0.0.1:{PORT}/api/v1/targets?state=active");
        let answer = Request::get(&url).send().map_err(|error| error.to_string())?.json();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let of = |target: &serde_json::Value| {
            (text(&target["labels"]["instance"]), text(&target["labels"]["health"]), text(&target["health"]))
        };
        let mut all: Vec<_> = answer["data"]["activeTargets"].as_array().into_iter().flatten().map(of).collect();
        all.sort();
        Ok(all)
    }

    #[track_caller]
    fn wait_for(&self, expected: &[(u128, &str, &str)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(number, health, up)| (id(*number).to_string(), (*health).to_owned(), (*up).to_owned()))
            .collect();
        eventually("vmagent's targets", WITHIN, || match self.targets() {
            Ok(now) if now == expected => Ok(()),
            other => Err(format!("{other:?} instead of {expected:?}: {}", self.process.log())),
        });
    }
}

#[test]
fn vmagent_follows_births_states_and_deaths() {
    in_own_network("consul::vmagent_follows_births_states_and_deaths", || {
        let web = instance(1, "acme", json!({ "groups": ["web"] }));
        let town = Town::build(&[web, instance(2, "rival", json!({}))]);
        let acme = town.certificate("acme");
        let vmagent = Vmagent::start(&town, &acme, "");
        vmagent.wait_for(&[(1, "passing", "up")]);
        let back = instance(3, "acme", json!({}));
        town.put(None, &back);
        vmagent.wait_for(&[(1, "passing", "up"), (3, "passing", "up")]);
        let dead = instance(3, "acme", json!({ "state": "gone", "ended_at_ms": ago(1) }));
        town.house()
            .agent
            .says(&id(3).to_string(), Says::Status(http::StatusCode::SERVICE_UNAVAILABLE, Some("exited")));
        town.put(Some(&back), &dead);
        vmagent.wait_for(&[(1, "passing", "up"), (3, "critical", "down")]);
        town.remove(&dead);
        vmagent.wait_for(&[(1, "passing", "up")]);
        // Without a credential it is told nothing new, and keeps what it had.
        town.revoke("acme");
        town.put(None, &instance(4, "acme", json!({})));
        vmagent.wait_for(&[(1, "passing", "down")]);
    });
}

#[test]
fn tags_and_node_meta_choose() {
    in_own_network("consul::tags_and_node_meta_choose", || {
        let of = |number, groups: &[&str], tier: &str| {
            instance(number, "acme", json!({ "groups": groups, "labels": { "tier": tier } }))
        };
        let town =
            Town::build(&[of(1, &["web", "eu"], "front"), of(2, &["web"], "front"), of(3, &["web", "eu"], "back")]);
        let acme = town.certificate("acme");
        let vmagent = Vmagent::start(&town, &acme, ", services: [sonde], tags: [web, eu], node_meta: { tier: front }");
        vmagent.wait_for(&[(1, "passing", "up")]);
    });
}
