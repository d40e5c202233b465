//! etcd without room: its quota is used up, or the file systems that its members are on.

use std::time::Instant;

use sonde_tests::eventually;

use crate::checker::Checker;
use crate::cloud::{Cloud, SOON};
use crate::etcd::ROOM_MIB;
use crate::steps::{missing, steady, wait_for_lists, wait_until_answered};

/// etcd's own bound on what it keeps, in bytes: as small as it still starts and takes some accounts with.
const QUOTA: &str = "3000000";
/// Room for a member that it fills soon: two segments of its log, of 64 MiB each, and some for what it keeps.
const SMALL_MIB: u32 = 144;
/// What fills it, a few times over.
const FILLING: usize = 200_000;
const FILLINGS: usize = 100;

#[test]
fn etcd_is_full_and_is_given_room_again() {
    let mut cloud = Cloud::with_etcd(&["--quota-backend-bytes", QUOTA], ROOM_MIB);
    let mut checker = Checker::start(&cloud);
    steady(&cloud, &checker);
    let began = Instant::now();
    let filling = "x".repeat(FILLING / 2);
    let full = (0..FILLINGS).find_map(|n| cloud.etcd.ctl(0, &["put", &format!("filler-{n}"), &filling]).err());
    let full = full.expect("it is full at some time");
    assert!(full.contains("space exceeded"), "{full}");

    // It is heard, and takes no changes, which is said.
    for proxy in 0..cloud.proxies.len() {
        let refused = cloud.operator(proxy, &["account", "add", "late"]).expect_err("there is no room");
        assert!(refused.contains("etcd") && refused.contains("space exceeded"), "{refused}");
        assert_eq!(refused.trim().lines().count(), 1, "an error is one sentence: {refused}");
        cloud.wait_for_series(proxy, "sonde_proxy_inventory_changes_total", &[("result", "failed")], |n| n > 0.0);
    }
    // What is born cannot be told of, and waits; what ends is known to its agent.
    let born = cloud.add_container("n1-bank-born");
    let victim = cloud.targets().into_iter().find(|target| target.node == 0).expect("it has two");
    checker.expect(&victim.id, |expect| expect.may_end = true);
    cloud.delete_container(&victim.container);
    for proxy in 0..cloud.proxies.len() {
        let path = format!("/v1/instances/{}/metrics", victim.id);
        eventually("the end that an agent tells", SOON, || match cloud.get(proxy, &victim.owner, &path) {
            Ok(answer) if answer.status == 503 => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
    checker.expect(&victim.id, |expect| expect.ended = Some(Instant::now()));
    let others = cloud.targets().len() - usize::from(cloud.targets().iter().any(|target| target.id == victim.id));
    wait_until_answered(&checker, others * cloud.proxies.len(), |seen| seen.id != victim.id);
    let lost = missing(&checker, began, |seen| seen.id != victim.id);
    assert!(lost.is_empty(), "{lost:?}");

    give_room(&cloud);
    for proxy in 0..cloud.proxies.len() {
        eventually("a change at a proxy", SOON, || {
            cloud.operator(proxy, &["account", "add", &format!("late-{proxy}")])
        });
    }
    let born = wait_for_lists(&cloud, ("bank", &born), &victim);
    checker.watch(&cloud, &born);
    steady(&cloud, &checker);
    checker.finish();
}

/// etcd does not bear a disk without room: its members end. What was known is served and said to be old, and when there is room all goes on from what they had.
#[test]
fn etcds_disks_are_full_and_what_was_known_is_served_until_there_is_room() {
    let mut cloud = Cloud::with_etcd(&[], SMALL_MIB);
    let checker = Checker::start(&cloud);
    steady(&cloud, &checker);
    let began = Instant::now();
    let members = 0..cloud.etcd.members.len();
    members.clone().for_each(|which| cloud.etcd.fill_disk(which, true));
    let filling = "x".repeat(FILLING / 2);
    let mut n = 0;
    eventually("the end of a quorum for want of room", SOON, || {
        // Each is asked itself: of those that are left none may be leader.
        for which in members.clone() {
            n += 1;
            let _ = cloud.etcd.ctl(which, &["put", &format!("filler-{}", n % FILLINGS), &filling]);
        }
        let ended = members.clone().filter(|which| cloud.etcd.has_ended(*which)).count();
        if ended > members.len() / 2 { Ok(()) } else { Err(format!("{ended} have ended, after {n}")) }
    });
    for proxy in 0..cloud.proxies.len() {
        cloud.wait_for_series(proxy, "sonde_proxy_inventory_current", &[], |current| current == 0.0);
        let refused = cloud.operator(proxy, &["account", "add", "late"]).expect_err("there is no quorum");
        assert!(refused.contains("etcd") && refused.trim().lines().count() == 1, "{refused}");
        cloud.wait_for_series(proxy, "sonde_proxy_inventory_behind_seconds", &[], |seconds| seconds > 0.0);
    }
    let pairs = cloud.targets().len() * cloud.proxies.len();
    wait_until_answered(&checker, pairs, |_| true);
    let lost = missing(&checker, began, |_| true);
    assert!(lost.is_empty(), "{lost:?}");

    members.clone().for_each(|which| cloud.etcd.fill_disk(which, false));
    for which in members.clone() {
        if cloud.etcd.has_ended(which) {
            cloud.etcd.start_member(which);
        }
    }
    members.for_each(|which| cloud.etcd.wait(which));
    for proxy in 0..cloud.proxies.len() {
        cloud.wait_for_series(proxy, "sonde_proxy_inventory_current", &[], |current| current == 1.0);
        let late = format!("late-{proxy}");
        eventually("a change at a proxy", SOON, || cloud.operator(proxy, &["account", "add", &late]));
    }
    steady(&cloud, &checker);
    checker.finish();
}

/// As etcd's own documentation says: forget, give the room back, and take the alarm away.
fn give_room(cloud: &Cloud) {
    cloud.etcd.ctl(0, &["del", "filler-", "--prefix"]).expect("a deletion needs no room");
    let status = cloud.etcd.ctl(0, &["endpoint", "status", "--write-out", "json"]).expect("it is there");
    let status: serde_json::Value = serde_json::from_str(&status).expect("it is JSON");
    let revision = status[0]["Status"]["header"]["revision"].to_string();
    cloud.etcd.ctl(0, &["compact", &revision]).expect("it compacts");
    for member in 0..cloud.etcd.members.len() {
        cloud.etcd.ctl(member, &["defrag"]).expect("it gives room back");
    }
    cloud.etcd.ctl(0, &["alarm", "disarm"]).expect("it takes the alarm away");
}
