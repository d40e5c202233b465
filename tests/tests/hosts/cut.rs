//! What is cut off and says nothing more, without a reset and without an error; and what is merely slow.

use std::time::{Duration, Instant};

use sonde_tests::eventually;

use crate::checker::{Checker, Seen};
use crate::cloud::{Cloud, LEASE, SOON, Target};
use crate::steps::{
    listed, missing, on_node, proxy_log, slowest, steady, wait_for_lists, wait_for_names, wait_until_all_answer,
};

/// What no scrape of a node that is well may take, whatever another's does: far less than those of one that is not.
const UNTOUCHED: Duration = Duration::from_secs(2);
/// At this rate an exposition takes some five seconds, of those that are asked for each its part of that. What has room waits for at most four: longer than a
/// scrape waits for a connection, and shorter than a probe.
const TRICKLE_BITS: u32 = 64_000;
const ROOM_BYTES: u32 = 32_000;
/// Answers of one target, by when its first connections are over and others were tried.
const LATER_ANSWERS: usize = 8;

#[test]
fn nodes_proxies_and_members_are_cut_off_and_come_back() {
    let mut cloud = Cloud::start();
    let mut checker = Checker::start(&cloud);
    steady(&cloud, &checker);
    a_node(&cloud, &checker);
    a_proxy(&cloud, &checker);
    a_member(&cloud, &checker);
    a_proxy_from_etcd_which_compacts(&mut cloud, &mut checker);
    steady(&cloud, &checker);
    checker.finish();
}

#[test]
fn an_agent_that_is_slow_costs_nobody_but_its_own() {
    let cloud = Cloud::start();
    let checker = Checker::start(&cloud);
    steady(&cloud, &checker);
    let lost = &cloud.proxies[1].host;
    for halted in [false, true] {
        let slow = on_node(&cloud, 2);
        slow.iter().for_each(|id| checker.expect(id, |expect| expect.may_break_off = true));
        if halted {
            cloud.halt_agent(2, true);
        } else {
            // The other proxy does not reach it at all meanwhile: two at such a link can keep each other out, and are not to be told apart from that.
            lost.lose(&cloud.nodes[2].host);
            cloud.wait_for_series(1, "sonde_proxy_nodes_unreachable", &[], |nodes| nodes == 1.0);
            cloud.nodes[2].host.slow_down(TRICKLE_BITS, ROOM_BYTES);
        }
        let began = Instant::now();
        // Each of its instances has been asked for through each proxy, in vain, with a reason.
        let reasons = eventually("answers that say why", SOON, || {
            let without = missing(&checker, began, |seen| seen.what.starts_with("50"));
            let count = |proxy: usize, id: &String| without.iter().any(|seen| seen.proxy == proxy && seen.id == *id);
            let all = (0..cloud.proxies.len()).all(|proxy| slow.iter().all(|id| count(proxy, id)));
            if all { Ok(without) } else { Err(format!("{without:?}")) }
        });
        let is_away = |proxy: usize| !halted && proxy == 1;
        let is_slow = |seen: &Seen| {
            let what = if is_away(seen.proxy) { "502 node_unreachable" } else { "504 agent_slow" };
            seen.what == what && slow.contains(&seen.id)
        };
        let said = || (0..cloud.proxies.len()).map(|proxy| probed(&cloud, proxy)).collect::<String>();
        assert!(reasons.iter().all(is_slow), "{reasons:?}\n{}", said());
        // And so it goes on, when connections have ended and new ones are tried.
        let stays = Instant::now();
        eventually("more of them than one a target", SOON, || {
            let more = missing(&checker, stays, |seen| seen.what.starts_with("50"));
            assert!(more.iter().all(is_slow), "{more:?}\n{}", said());
            let times = |id: &String| more.iter().filter(|seen| seen.id == *id).count();
            if slow.iter().all(|id| times(id) >= LATER_ANSWERS) { Ok(()) } else { Err(format!("{more:?}")) }
        });
        for proxy in 0..cloud.proxies.len() {
            let count = |outcome| {
                cloud.series(proxy, "sonde_proxy_scrapes_total", &[("class", "tenant"), ("outcome", outcome)])
            };
            assert!(count(if is_away(proxy) { "node_unreachable" } else { "agent_slow" }) > 0.0);
            let unreachable = cloud.series(proxy, "sonde_proxy_nodes_unreachable", &[]);
            assert_eq!(unreachable, f64::from(u8::from(is_away(proxy))));
        }
        if halted {
            cloud.wait_for_series(0, "sonde_proxy_nodes_slow", &[], |nodes| nodes == 1.0);
        }
        let others = slowest(&checker, began, |seen| !slow.contains(&seen.id));
        assert!(others < UNTOUCHED, "another node's scrape took {others:?}");
        if halted {
            cloud.halt_agent(2, false);
        } else {
            cloud.nodes[2].host.as_fast_as_before();
            lost.find(&cloud.nodes[2].host);
        }
        wait_until_all_answer(&cloud, &checker);
        slow.iter().for_each(|id| checker.expect(id, |expect| expect.may_break_off = false));
        checker.nothing_wrong();
    }
    steady(&cloud, &checker);
    checker.finish();
}

/// What a proxy has logged of why it does not ask a node.
fn probed(cloud: &Cloud, proxy: usize) -> String {
    let log = proxy_log(cloud, proxy);
    let lines = log.lines().filter(|line| line.contains("is probed") || line.contains("is reached again"));
    lines.map(|line| format!("proxy {proxy}: {line}\n")).collect()
}

/// Its instances' scrapers are told so: in time at first, then at once. Nobody else's notice. They are still discovered.
fn a_node(cloud: &Cloud, checker: &Checker) {
    let (began, cut) = (Instant::now(), on_node(cloud, 1));
    cloud.nodes[1].host.cut();
    for proxy in 0..cloud.proxies.len() {
        cloud.wait_for_series(proxy, "sonde_proxy_nodes_unreachable", &[], |nodes| nodes == 1.0);
    }
    let known = Instant::now();
    cloud.wait_for_speaking(0, &[0, 2]);
    assert!(cut.iter().all(|id| ["acme", "bank"].iter().any(|account| listed(cloud, 1, account).contains(id))));
    let at_once = slowest(checker, known, |seen| cut.contains(&seen.id));
    assert!(at_once < UNTOUCHED, "of a node that is known to be away: {at_once:?}");
    let answers = missing(checker, began, |_| true);
    assert!(answers.iter().all(|seen| cut.contains(&seen.id)), "another node's: {answers:?}");
    let is_said = |what: &str| ["504 agent_slow", "502 node_unreachable"].contains(&what);
    assert!(answers.iter().all(|seen| is_said(&seen.what)), "{answers:?}");
    let others = slowest(checker, began, |seen| !cut.contains(&seen.id));
    assert!(others < UNTOUCHED, "another node's scrape took {others:?}");

    cloud.nodes[1].host.heal();
    let healed = Instant::now();
    wait_until_all_answer(cloud, checker);
    assert!(healed.elapsed() < LEASE, "{:?}", healed.elapsed());
    cloud.wait_for_speaking(0, &[0, 1, 2]);
    checker.nothing_wrong();
}

/// Names lead to the other, agents report to the other, and it says itself that what it knows is old.
fn a_proxy(cloud: &Cloud, checker: &Checker) {
    let began = Instant::now();
    checker.away(1, true);
    cloud.proxies[1].host.cut();
    let id = cloud.targets()[0].id.clone();
    wait_for_names(cloud, &[0], &[0], &id);
    cloud.wait_for_series(1, "sonde_proxy_inventory_current", &[], |current| current == 0.0);
    cloud.wait_for_speaking(0, &[0, 1, 2]);
    let lost = missing(checker, began, |seen| seen.proxy == 0);
    assert!(lost.is_empty(), "through the proxy that is not cut off: {lost:?}");

    cloud.proxies[1].host.heal();
    cloud.wait_for_series(1, "sonde_proxy_inventory_current", &[], |current| current == 1.0);
    wait_until_all_answer(cloud, checker);
    checker.away(1, false);
    wait_for_names(cloud, &[0, 1], &[0, 1], &id);
    checker.nothing_wrong();
}

/// Whoever it was that asked it asks another.
fn a_member(cloud: &Cloud, checker: &Checker) {
    for member in 0..cloud.etcd.members.len() {
        let began = Instant::now();
        cloud.etcd.members[member].host.cut();
        for proxy in 0..cloud.proxies.len() {
            let account = format!("cut-{member}-{proxy}");
            eventually("a change at a proxy", SOON, || cloud.operator(proxy, &["account", "add", &account]));
            eventually("the change at the other", SOON, || cloud.operator(1 - proxy, &["token", "new", &account]));
        }
        cloud.etcd.members[member].host.heal();
        cloud.etcd.wait(member);
        let lost = missing(checker, began, |_| true);
        assert!(lost.is_empty(), "{lost:?}");
    }
    checker.nothing_wrong();
}

/// Scrapers still come to a proxy that does not hear of changes. What has ended is said to have ended, what is given to another is nobody's, and when
/// it is back it knows what it missed, though etcd has forgotten it.
fn a_proxy_from_etcd_which_compacts(cloud: &mut Cloud, checker: &mut Checker) {
    let began = Instant::now();
    for member in &cloud.etcd.members {
        cloud.proxies[1].host.lose(&member.host);
    }
    cloud.wait_for_series(1, "sonde_proxy_inventory_current", &[], |current| current == 0.0);
    let refused = cloud.operator(1, &["account", "add", "late"]).expect_err("it does not reach etcd");
    assert!(refused.contains("etcd") && refused.trim().lines().count() == 1, "{refused}");

    let victim = cloud.targets().into_iter().find(|target| target.node == 0).expect("it has two");
    checker.expect(&victim.id, |expect| expect.may_end = true);
    cloud.delete_container(&victim.container);
    checker.expect(&victim.id, |expect| expect.ended = Some(Instant::now()));
    let born = cloud.add_container("n0-acme-born");
    let born = eventually("its birth at the other proxy", SOON, || {
        let listed = cloud.instances(0, "acme")?;
        listed.iter().find(|one| one.container == born).cloned().ok_or_else(|| format!("{listed:?}"))
    });
    let given = given_away(cloud, checker);
    for n in 0..20 {
        cloud.etcd.ctl(0, &["put", "filler", &n.to_string()]).expect("etcd takes changes");
    }
    let status = cloud.etcd.ctl(0, &["endpoint", "status", "--write-out", "json"]).expect("it is there");
    let status: serde_json::Value = serde_json::from_str(&status).expect("it is JSON");
    let revision = status[0]["Status"]["header"]["revision"].to_string();
    cloud.etcd.ctl(0, &["compact", &revision]).expect("it compacts");
    let lost = missing(checker, began, |seen| ![&victim.id, &given.id].contains(&&seen.id));
    assert!(lost.is_empty(), "{lost:?}");

    for member in &cloud.etcd.members {
        cloud.proxies[1].host.find(&member.host);
    }
    cloud.wait_for_series(1, "sonde_proxy_inventory_current", &[], |current| current == 1.0);
    let born = wait_for_lists(cloud, ("acme", &born.container), &victim);
    assert!(
        proxy_log(cloud, 1).contains("what was not heard of yet cannot be had from etcd"),
        "it had not to read anew"
    );
    wait_for_status(cloud, 1, "bank", &given, 200);
    checker.expect(&given.id, |expect| expect.owners = ["bank".to_owned()].into());
    checker.watch(cloud, &born);
    checker.nothing_wrong();
}

/// Gives one of acme's to bank while proxy 1 does not hear of it: there it is nobody's, because its agent knows better than the proxy.
fn given_away(cloud: &Cloud, checker: &Checker) -> Target {
    let given = cloud.targets().into_iter().find(|one| one.node == 2 && one.owner == "acme").expect("it is there");
    checker.expect(&given.id, |expect| expect.owners = ["acme", "bank"].map(str::to_owned).into());
    let rule = format!("[[owner]]\naccount = \"bank\"\nmatch = {{ name = \"{}\" }}\n", given.container);
    cloud.configure(2, &rule);
    wait_for_status(cloud, 0, "bank", &given, 200);
    wait_for_status(cloud, 0, "acme", &given, 404);
    wait_for_status(cloud, 1, "acme", &given, 404);
    wait_for_status(cloud, 1, "bank", &given, 404);
    given
}

fn wait_for_status(cloud: &Cloud, proxy: usize, account: &str, target: &Target, status: u16) {
    let path = format!("/v1/instances/{}/metrics", target.id);
    eventually(&format!("{status} for {account} at proxy {proxy}"), LEASE, || match cloud.get(proxy, account, &path) {
        Ok(answer) if answer.status == status => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
