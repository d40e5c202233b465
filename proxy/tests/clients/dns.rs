//! `dns_sd_configs`, under the label that only the account is told.

use std::process::Command;

use serde_json::json;
use sonde_tests::{Prometheus, eventually, run_to_end};

use crate::agent::Says;
use crate::house::{Credential, SUFFIX, ago, id, instance};
use crate::town::{Town, WITHIN, in_own_network, wait_for_targets};

fn config(town: &Town, credential: &Credential, name: &str) -> String {
    let tls = town.tls(credential);
    format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
         scrape_configs:\n- job_name: dns\n  scheme: https\n  tls_config: {tls}\n\
         \x20 dns_sd_configs: [ {{ names: [ {name} ], refresh_interval: 1s }} ]\n\
         \x20 relabel_configs: [ {{ source_labels: [__address__], regex: '([^.]+)\\..*', target_label: alias }} ]\n"
    )
}

#[test]
fn an_accounts_list_is_followed() {
    in_own_network("dns::an_accounts_list_is_followed", || {
        let numbers = 1..=40_u128;
        let of = |number| instance(number, "acme", json!({ "groups": [if number == 1 { "one" } else { "many" }] }));
        let town = Town::build(&numbers.clone().map(of).collect::<Vec<_>>());
        let token = town.token_file("acme");
        let list = town.list_name(&token);
        assert!(list.ends_with(&format!(".{SUFFIX}")));
        let acme = town.certificate("acme");
        // Forty are too many for UDP: it comes again over TCP.
        let all = Prometheus::with_config(&config(&town, &acme, &list));
        let ids: Vec<String> = numbers.map(|number| id(number).to_string()).collect();
        let up: Vec<(&str, f64)> = ids.iter().map(|id| (id.as_str(), 1.0)).collect();
        wait_for_targets(&all, &up);
        let group = Prometheus::with_config(&config(&town, &acme, &format!("one.{list}")));
        wait_for_targets(&group, &up[..1]);
        let dead = instance(1, "acme", json!({ "groups": ["one"], "state": "stopped", "ended_at_ms": ago(1) }));
        town.house().agent.says(&ids[0], Says::Status(http::StatusCode::SERVICE_UNAVAILABLE, Some("exited")));
        town.put(Some(&of(1)), &dead);
        wait_for_targets(&group, &[(&ids[0], 0.0)]);
        town.remove(&dead);
        wait_for_targets(&group, &[]);
        wait_for_targets(&all, &up[1..]);
        let told = format!("http://{}/metrics", town.house().proxy.admin_address());
        let told = String::from_utf8(run_to_end(Command::new("curl").args(["-sSf", &told])).stdout).unwrap();
        let count = |series: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(&format!("sonde_proxy_names_{series} ")));
            line.unwrap_or_else(|| panic!("{series} is not in {told}")).parse::<f64>().unwrap()
        };
        for some in [
            "questions_total{transport=\"udp\"}",
            "questions_total{transport=\"tcp\"}",
            "replies_total{code=\"no_error\"}",
        ] {
            assert!(count(some) > 0.0, "{some}");
        }
        assert_eq!((count("transfers_total"), count("limited_total{how=\"dropped\"}")), (0.0, 0.0));
        assert!(!told.contains("acme"), "{told}");
    });
}

#[test]
fn a_proxy_that_does_not_answer_is_left_out() {
    in_own_network("dns::a_proxy_that_does_not_answer_is_left_out", || {
        // Nobody listens at the second; at the third somebody does, and says nothing.
        let town = Town::with_proxies(&[], &["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
        let _mute = std::net::TcpListener::bind(("127.0.0.3", town.port())).unwrap();
        let name = format!("{}.{SUFFIX}", id(1));
        eventually("the answer of the living", WITHIN, || {
            let output = run_to_end(Command::new("dig").args(["+short", &name, "A"]));
            match String::from_utf8_lossy(&output.stdout).into_owned() {
                one if one == "127.0.0.1\n" => Ok(()),
                other => Err(other),
            }
        });
    });
}
