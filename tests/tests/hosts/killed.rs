//! What ends without a word: a proxy, an agent, members of etcd.

use std::time::Instant;

use sonde_tests::eventually;

use crate::checker::Checker;
use crate::cloud::{Cloud, LEASE, SOON};
use crate::steps::{listed, missing, on_node, steady, wait_for_names, wait_until_all_answer, wait_until_answered};

#[test]
fn proxies_agents_and_members_are_killed_and_come_back() {
    let mut cloud = Cloud::start();
    let checker = Checker::start(&cloud);
    steady(&cloud, &checker);
    a_proxy(&mut cloud, &checker);
    an_agent(&mut cloud, &checker);
    a_member(&mut cloud, &checker);
    the_quorum(&mut cloud, &checker);
    steady(&cloud, &checker);
    checker.finish();
}

/// The other goes on, and names lead to it alone; the killed one is as before when it is started again, and then led to.
fn a_proxy(cloud: &mut Cloud, checker: &Checker) {
    let began = Instant::now();
    checker.away(1, true);
    cloud.kill_proxy(1);
    let id = cloud.targets()[0].id.clone();
    wait_for_names(cloud, &[0], &[0], &id);
    assert!(began.elapsed() < SOON);
    assert!(listed(cloud, 0, "acme").contains(&id));
    // Every node that reported to it has gone over to the other by now, or does so within its lease: none is called silent.
    cloud.wait_for_speaking(0, &[0, 1, 2]);
    cloud.start_proxy(1);
    wait_until_all_answer(cloud, checker);
    checker.away(1, false);
    wait_for_names(cloud, &[0, 1], &[0, 1], &id);
    let lost = missing(checker, began, |seen| seen.proxy == 0);
    assert!(lost.is_empty(), "through the proxy that lives: {lost:?}");
    checker.nothing_wrong();
}

/// Its node is said to be unreachable, at once and with a reason; other nodes' instances do not notice.
fn an_agent(cloud: &mut Cloud, checker: &Checker) {
    let began = Instant::now();
    let affected = on_node(cloud, 1);
    cloud.kill_agent(1);
    for proxy in 0..cloud.proxies.len() {
        cloud.wait_for_series(proxy, "sonde_proxy_nodes_unreachable", &[], |nodes| nodes == 1.0);
    }
    let answers = missing(checker, began, |_| true);
    assert!(answers.iter().all(|seen| affected.contains(&seen.id)), "another node's: {answers:?}");
    assert!(answers.iter().all(|seen| seen.what == "502 node_unreachable"), "{answers:?}");
    cloud.start_agent(1);
    let healed = Instant::now();
    wait_until_all_answer(cloud, checker);
    assert!(healed.elapsed() < LEASE, "{:?}", healed.elapsed());
    checker.nothing_wrong();
}

/// Nothing changes, and changes are made as before.
fn a_member(cloud: &mut Cloud, checker: &Checker) {
    let began = Instant::now();
    cloud.etcd.kill(0);
    for proxy in 0..cloud.proxies.len() {
        let account = format!("made-at-{proxy}");
        eventually("a change at a proxy", SOON, || cloud.operator(proxy, &["account", "add", &account]));
        cloud.wait_for_series(proxy, "sonde_proxy_inventory_current", &[], |current| current == 1.0);
    }
    for proxy in 0..cloud.proxies.len() {
        cloud.wait_for_series(proxy, "sonde_proxy_records", &[("kind", "account")], |accounts| accounts == 4.0);
    }
    let lost = missing(checker, began, |_| true);
    assert!(lost.is_empty(), "{lost:?}");
    checker.nothing_wrong();
}

/// With two of three members gone what was known is served, and said to be old; changes are refused in a sentence. When they are back, what happened
/// meanwhile is known within a lease.
fn the_quorum(cloud: &mut Cloud, checker: &Checker) {
    let began = Instant::now();
    cloud.etcd.kill(1);
    for proxy in 0..cloud.proxies.len() {
        cloud.wait_for_series(proxy, "sonde_proxy_inventory_current", &[], |current| current == 0.0);
        let refused = cloud.operator(proxy, &["account", "add", "late"]).expect_err("there is no quorum");
        assert!(refused.contains("etcd"), "{refused}");
        assert_eq!(refused.trim().lines().count(), 1, "an error is one sentence: {refused}");
        assert!(cloud.series(proxy, "sonde_proxy_inventory_changes_total", &[("result", "failed")]) > 0.0);
        assert!(cloud.series(proxy, "sonde_proxy_inventory_behind_seconds", &[]) > 0.0);
    }
    // A container that ends now is known to its agent, and so to whoever asks.
    let victim = cloud.targets().into_iter().find(|target| target.node == 2).expect("it has two");
    checker.expect(&victim.id, |expect| expect.may_end = true);
    cloud.delete_container(&victim.container);
    let path = format!("/v1/instances/{}/metrics", victim.id);
    for proxy in 0..cloud.proxies.len() {
        eventually("the end that an agent tells", SOON, || {
            let answer = cloud.get(proxy, &victim.owner, &path).map_err(|error| error.to_string())?;
            let reason = answer.header("x-sonde-reason").unwrap_or_default().to_owned();
            if answer.status == 503 && reason.starts_with("gone") { Ok(()) } else { Err(answer.text()) }
        });
    }
    checker.expect(&victim.id, |expect| expect.ended = Some(Instant::now()));
    // What was known is still listed, also to who asks anew.
    assert!(listed(cloud, 0, &victim.owner).len() >= 3);
    let lost = missing(checker, began, |seen| seen.id != victim.id);
    assert!(lost.is_empty(), "{lost:?}");

    cloud.etcd.start_member(0);
    cloud.etcd.start_member(1);
    cloud.etcd.wait(0);
    let healed = Instant::now();
    for proxy in 0..cloud.proxies.len() {
        cloud.wait_for_series(proxy, "sonde_proxy_inventory_current", &[], |current| current == 1.0);
        eventually("the end in the inventory", SOON, || {
            let listed = cloud.instances(proxy, &victim.owner)?;
            if listed.iter().all(|one| one.id != victim.id) { Ok(()) } else { Err(format!("{listed:?}")) }
        });
    }
    eprintln!("the inventory was right {:?} after the quorum was back", healed.elapsed());
    cloud.operator(0, &["account", "add", "late"]).expect("etcd takes changes");
    let others = cloud.targets().len();
    wait_until_answered(checker, others * cloud.proxies.len(), |seen| seen.id != victim.id);
    checker.nothing_wrong();
}
