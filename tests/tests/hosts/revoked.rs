//! Certificates of the tiers that are revoked, while connections with them are open: a proxy's, then a node's.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use sonde_tests::{binary, eventually, run_to_end};

use crate::checker::Checker;
use crate::cloud::{Cloud, LEASE, SOON};
use crate::network::Host;
use crate::steps::{listed, missing, on_node, steady, wait_until_answered};

#[test]
fn a_revoked_proxy_and_a_revoked_node_are_shut_out_at_once_by_the_others() {
    let cloud = Cloud::start();
    let checker = Checker::start(&cloud);
    steady(&cloud, &checker);
    let began = Instant::now();
    a_proxy(&cloud, &checker);
    a_node(&cloud, &checker);
    // Through the proxy that is left, of the nodes that are left, nothing was missed.
    let revoked = on_node(&cloud, 2);
    let lost = missing(&checker, began, |seen| seen.proxy == 0 && !revoked.contains(&seen.id));
    assert!(lost.is_empty(), "{lost:?}");
    checker.finish();
}

/// Agents answer it no more and tell it nothing more; they report to the other.
fn a_proxy(cloud: &Cloud, checker: &Checker) {
    let all = cloud.targets();
    revoke(cloud, &[&cloud.proxies[1].host.dir().join("proxy.pem")]);
    let revoked = Instant::now();
    let mut first = None;
    for target in &all {
        let path = format!("/v1/instances/{}/metrics", target.id);
        eventually("an agent that answers the revoked proxy no more", SOON, || {
            let answer = cloud.get(1, &target.owner, &path).map_err(|error| error.to_string())?;
            let said = (answer.status, answer.header("x-sonde-reason").unwrap_or_default().to_owned());
            if said == (502, "node_unreachable".to_owned()) { Ok(()) } else { Err(format!("{said:?}")) }
        });
        // How long all take is the machine's; the first is shut out before the nodes' silence would tell.
        first.get_or_insert(revoked.elapsed());
    }
    assert!(first.is_some_and(|first| first < LEASE), "{first:?}");
    let now = Instant::now();
    wait_until_answered(checker, all.len(), |seen| seen.proxy == 0);
    let heard = checker.since(now).into_iter().filter(|seen| seen.proxy == 1 && seen.is_exposition);
    assert_eq!(heard.collect::<Vec<_>>().len(), 0, "through the revoked proxy");
    cloud.wait_for_speaking(0, &[0, 1, 2]);
}

/// The proxy asks it no more, and does not hear it: it falls silent.
fn a_node(cloud: &Cloud, checker: &Checker) {
    let own = on_node(cloud, 2);
    revoke(cloud, &[&cloud.nodes[2].host.dir().join("node.pem")]);
    for id in &own {
        eventually("a proxy that asks the revoked node no more", SOON, || {
            let last = checker
                .since(Instant::now() - LEASE)
                .into_iter()
                .rfind(|seen| seen.proxy == 0 && seen.id == *id && seen.by_owner);
            match last {
                Some(seen) if seen.what == "502 node_unreachable" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
    cloud.wait_for_speaking(0, &[0, 1]);
    assert!(own.iter().all(|id| ["acme", "bank"].iter().any(|account| listed(cloud, 0, account).contains(id))));
}

/// Puts certificates on the tiers' list of revoked ones, and that on every host.
pub fn revoke(cloud: &Cloud, certificates: &[&Path]) {
    let authorities = cloud.authorities();
    let mut command = Command::new(binary());
    run_to_end(command.args(["cert", "revoke-tier", "--ca-dir"]).arg(&authorities).args(certificates));
    let proxies = cloud.proxies.iter().map(|proxy| &proxy.host);
    for dir in proxies.chain(cloud.nodes.iter().map(|node| &node.host)).map(Host::dir) {
        fs::copy(authorities.join("tier.crl"), dir.join("tier.crl.new")).expect("it is writable");
        fs::rename(dir.join("tier.crl.new"), dir.join("tier.crl")).expect("one file system");
    }
}
