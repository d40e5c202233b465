//! `http_sd_configs`, by address and with a token: no names, no certificate.

use serde_json::json;
use sonde_tests::Prometheus;

use crate::house::{id, instance};
use crate::town::{Town, WITHIN, in_own_network, up, wait_for_targets};

fn config(town: &Town, token: &std::path::Path, query: &str) -> String {
    let (ca, port, token) = (town.house().server_ca.display(), town.port(), token.display());
    let access =
        format!("tls_config: {{ ca_file: {ca} }}, authorization: {{ type: Bearer, credentials_file: {token} }}");
    format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
         scrape_configs:\n- {{ job_name: sonde, {access}, http_sd_configs: [ {{ url: 'https://127.0.0.1:{port}/v1/sd/http{query}', \
         refresh_interval: 1s, {access} }} ] }}\n"
    )
}

#[test]
fn targets_come_and_go_at_one_address() {
    in_own_network("http_sd::targets_come_and_go_at_one_address", || {
        let web = instance(1, "acme", json!({ "alias": "web", "labels": { "tier": "front", "a b": "x\"y\n" } }));
        let town = Town::build(&[web.clone(), instance(2, "rival", json!({}))]);
        let prometheus = Prometheus::with_config(&config(&town, &town.token_file("acme"), ""));
        wait_for_targets(&prometheus, &[("web", 1.0)]);
        prometheus.wait_for(&format!("of_target{{instance=\"{}\"}}", id(1)), WITHIN, |value| value == 1.0);
        let back = instance(3, "acme", json!({ "alias": "back" }));
        town.put(None, &back);
        wait_for_targets(&prometheus, &[("back", 1.0), ("web", 1.0)]);
        town.remove(&web);
        wait_for_targets(&prometheus, &[("back", 1.0)]);
        let account = Prometheus::with_config(&config(&town, &town.token_file("acme"), "?role=account"));
        wait_for_targets(&account, &[("acme", 1.0)]);
        account.wait_for(&format!("sonde_instance_info{{instance_id=\"{}\"}} or on() up", id(3)), WITHIN, |value| {
            value == 1.0
        });
    });
}

#[test]
fn servers_split_an_account_between_them() {
    in_own_network("http_sd::servers_split_an_account_between_them", || {
        let all: Vec<_> =
            (1..=12).map(|number| instance(number, "acme", json!({ "alias": format!("i{number:02}") }))).collect();
        let town = Town::build(&all);
        let token = town.token_file("acme");
        let servers = [0, 1].map(|shard| Prometheus::with_config(&config(&town, &token, &format!("?shard={shard}/2"))));
        let mut together = Vec::new();
        sonde_tests::eventually("all targets", WITHIN, || {
            together = servers.iter().flat_map(up).map(|(alias, _)| alias).collect();
            together.sort();
            if together.len() == all.len() { Ok(()) } else { Err(format!("{together:?}")) }
        });
        together.dedup();
        assert_eq!(together.len(), all.len(), "a target in two shards: {together:?}");
        assert!(servers.iter().all(|server| !up(server).is_empty()));
    });
}
