//! `triton_sd_configs`, with nothing but an account's certificate.

use serde_json::json;
use sonde_tests::Prometheus;

use crate::agent::Says;
use crate::house::{Credential, NODE, SUFFIX, ago, id, instance};
use crate::town::{Town, WITHIN, in_own_network, wait_for_targets};

/// As `triton profile cmon-certgen` writes it, quicker.
pub fn config(town: &Town, credential: &Credential, role: &str, more: &str) -> String {
    let (tls, port) = (town.tls(credential), town.port());
    format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
         scrape_configs:\n\
         - job_name: triton\n  scheme: https\n  tls_config: {tls}\n\
         \x20 triton_sd_configs:\n  - {{ account: whoever, dns_suffix: {SUFFIX}, endpoint: {SUFFIX}, port: {port}, version: 1, role: {role}, \
         refresh_interval: 1s, tls_config: {tls}{more} }}\n\
         \x20 relabel_configs:\n  - {{ source_labels: [__meta_triton_machine_alias], target_label: alias }}\n\
         \x20 - {{ source_labels: [__meta_triton_machine_id], target_label: instance }}\n\
         \x20 - {{ source_labels: [__meta_triton_groups], target_label: groups }}\n"
    )
}

#[test]
fn containers_come_and_go_with_the_inventory() {
    in_own_network("triton::containers_come_and_go_with_the_inventory", || {
        let web = instance(1, "acme", json!({ "alias": "web", "groups": ["front", "eu"] }));
        let town = Town::build(&[web.clone(), instance(2, "rival", json!({ "alias": "not-yours" }))]);
        let acme = town.certificate("acme");
        let prometheus = Prometheus::with_config(&config(&town, &acme, "container", ""));
        wait_for_targets(&prometheus, &[("web", 1.0)]);
        // It came by its own name, and what it said is there.
        prometheus.wait_for(&format!("of_target{{target=\"{}\",groups=\",front,eu,\"}}", id(1)), WITHIN, |v| v == 1.0);

        let back = instance(3, "acme", json!({ "alias": "back", "groups": ["db"] }));
        town.put(None, &back);
        wait_for_targets(&prometheus, &[("back", 1.0), ("web", 1.0)]);

        // One dies: it stays a target, and is down.
        let dead = instance(
            3,
            "acme",
            json!({ "alias": "back", "state": "gone", "reasons": ["exited"], "ended_at_ms": ago(1) }),
        );
        town.house()
            .agent
            .says(&id(3).to_string(), Says::Status(http::StatusCode::SERVICE_UNAVAILABLE, Some("exited")));
        town.put(Some(&back), &dead);
        wait_for_targets(&prometheus, &[("back", 0.0), ("web", 1.0)]);
        // And its record goes.
        town.remove(&dead);
        wait_for_targets(&prometheus, &[("web", 1.0)]);
        // Another's now: at once not ours.
        town.put(Some(&web), &instance(1, "rival", json!({ "alias": "web", "owner_epoch": 1 })));
        wait_for_targets(&prometheus, &[]);
    });
}

#[test]
fn groups_are_asked_for_as_of_cmon() {
    in_own_network("triton::groups_are_asked_for_as_of_cmon", || {
        let groups = |number, groups: &[&str]| {
            instance(number, "acme", json!({ "alias": format!("i{number}"), "groups": groups }))
        };
        let town = Town::build(&[groups(1, &["a"]), groups(2, &["b", "c"]), groups(3, &["d"]), groups(4, &[])]);
        let acme = town.certificate("acme");
        let prometheus = Prometheus::with_config(&config(&town, &acme, "container", ", groups: [a, c]"));
        wait_for_targets(&prometheus, &[("i1", 1.0), ("i2", 1.0)]);
    });
}

#[test]
fn nodes_are_the_operators_targets_and_no_tenants() {
    in_own_network("triton::nodes_are_the_operators_targets_and_no_tenants", || {
        let town = Town::build(&[instance(1, "acme", json!({}))]);
        let operator = {
            let accounts = town.house().proxy.accounts();
            let name = crate::house::name("operator");
            if accounts.get(&name).is_err() {
                town.runtime.block_on(accounts.add(&name, true)).unwrap();
            }
            town.certificate("operator")
        };
        let seen = Prometheus::with_config(&config(&town, &operator, "cn", ""));
        let up = |prometheus: &Prometheus, number: uuid::Uuid, up: f64| {
            prometheus.wait_for(&format!("up{{instance=\"{number}\"}}"), WITHIN, |value| value == up);
        };
        up(&seen, NODE, 1.0);
        // The one that nobody answers for is a target too, and down.
        up(&seen, crate::house::AWAY, 0.0);
        let acme = town.certificate("acme");
        let unseen = Prometheus::with_config(&config(&town, &acme, "cn", ""));
        // It has asked, and was told of none.
        let refreshed = "sum(prometheus_sd_refresh_duration_seconds_count)";
        assert_eq!(unseen.value(refreshed), None, "it scrapes itself");
        sonde_tests::eventually("a refresh", WITHIN, || {
            let metrics = sonde_tests::get(&format!("http://{}/metrics", unseen.authority())).text();
            let count = metrics.lines().find(|line| line.starts_with("prometheus_sd_refresh_duration_seconds_count"));
            let count = count.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_default();
            if count >= 2.0 { Ok(()) } else { Err(metrics) }
        });
        assert!(unseen.query("up").is_empty(), "{}", unseen.targets());
    });
}
