//! What several tests ask for in the same words.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sonde_tests::eventually;

use crate::checker::{Checker, Seen};
use crate::cloud::{Cloud, SOON, SUFFIX, Target};

/// Every instance is right through every proxy, and discovery and names say the same everywhere.
pub fn steady(cloud: &Cloud, checker: &Checker) {
    wait_until_all_answer(cloud, checker);
    for account in crate::cloud::ACCOUNTS {
        let lists: Vec<BTreeSet<String>> =
            (0..cloud.proxies.len()).map(|proxy| listed(cloud, proxy, account)).collect();
        let own: BTreeSet<String> =
            cloud.targets().into_iter().filter(|target| target.owner == account).map(|target| target.id).collect();
        // What has ended stays listed for a while, so that its scraper learns why.
        let told: BTreeSet<String> = own.union(&checker.ended_of(account)).cloned().collect();
        assert!(lists.iter().all(|list| *list == told), "{account} has {told:?} and is told {lists:?}");
        for id in &own {
            wait_for_names(cloud, &[0, 1], &[0, 1], id);
        }
        for target in cloud.targets().iter().filter(|target| target.owner == account) {
            let (status, body) = cloud.get_by_name(&target.id, account);
            assert!(status == "200" && body.contains(&target.container), "{account} by name: {status} {body}");
        }
    }
    checker.nothing_wrong();
}

/// The ids that `http_sd_configs` gets.
pub fn listed(cloud: &Cloud, proxy: usize, account: &str) -> BTreeSet<String> {
    let answer = cloud.get(proxy, account, "/v1/sd/http").expect("the proxy answers");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let groups = answer.json().as_array().cloned().expect("it is a list");
    groups.iter().map(|group| group["labels"]["instance"].as_str().expect("it has its id").to_owned()).collect()
}

/// Waits until the servers at these proxies lead a name to those.
pub fn wait_for_names(cloud: &Cloud, servers: &[usize], leading_to: &[usize], id: &str) {
    let wanted: Vec<String> = leading_to.iter().map(|proxy| cloud.proxies[*proxy].host.address().to_string()).collect();
    for server in servers {
        eventually("names that lead to the living", SOON, || {
            let now = cloud.look_up(*server, &format!("{id}.{SUFFIX}"));
            if now == wanted { Ok(()) } else { Err(format!("proxy {server} says {now:?} instead of {wanted:?}")) }
        });
    }
}

/// Waits until the last answer of every instance through every proxy, asked for from now on, is its exposition.
pub fn wait_until_all_answer(cloud: &Cloud, checker: &Checker) {
    wait_until_answered(checker, cloud.proxies.len() * cloud.targets().len(), |_| true);
}

/// Waits until so many pairs of proxy and instance, of those that `which` picks, have got an exposition that was asked for from now on.
pub fn wait_until_answered(checker: &Checker, pairs: usize, which: impl Fn(&Seen) -> bool) {
    let now = Instant::now();
    eventually("all answering", SOON, || {
        let seen = checker.since(now);
        let right = seen.iter().filter(|seen| seen.is_exposition && which(seen));
        let right: BTreeSet<(usize, &str)> = right.map(|seen| (seen.proxy, seen.id.as_str())).collect();
        if right.len() >= pairs { Ok(()) } else { Err(format!("{} of {pairs}: {right:?}", right.len())) }
    });
}

/// What owners got instead of an exposition since then, of those that `which` picks.
pub fn missing(checker: &Checker, since: Instant, which: impl Fn(&Seen) -> bool) -> Vec<Seen> {
    checker.since(since).into_iter().filter(|seen| seen.by_owner && !seen.is_exposition && which(seen)).collect()
}

/// Waits until every proxy lists, of what lives, this container and not that instance, and says what the container is known as.
pub fn wait_for_lists(cloud: &Cloud, born: (&str, &str), ended: &Target) -> Target {
    let (account, container) = born;
    let mut found = None;
    for proxy in 0..cloud.proxies.len() {
        eventually("what ended not being listed", SOON, || {
            let listed = cloud.instances(proxy, &ended.owner)?;
            if listed.iter().all(|one| one.id != ended.id) { Ok(()) } else { Err(format!("{listed:?}")) }
        });
        let born = eventually("what was born being listed", SOON, || {
            let listed = cloud.instances(proxy, account)?;
            listed.iter().find(|one| one.container == container).cloned().ok_or_else(|| format!("{listed:?}"))
        });
        found = Some(born);
    }
    found.expect("there are proxies")
}

/// The slowest answer since then of those that `which` picks.
pub fn slowest(checker: &Checker, since: Instant, which: impl Fn(&Seen) -> bool) -> Duration {
    let took = checker.since(since).into_iter().filter(|seen| which(seen)).map(|seen| seen.took);
    took.max().unwrap_or_default()
}

/// The ids of what lives on a node.
pub fn on_node(cloud: &Cloud, node: usize) -> BTreeSet<String> {
    cloud.targets().into_iter().filter(|target| target.node == node).map(|target| target.id).collect()
}

/// What a proxy has logged.
pub fn proxy_log(cloud: &Cloud, proxy: usize) -> String {
    std::fs::read_to_string(cloud.proxies[proxy].host.dir().join("proxy.log")).unwrap_or_default()
}
