//! An instance that goes from one node to another, or from one owner to another, while it is asked for without a pause.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sonde_tests::{Exposition, Response, eventually};

use crate::checker::{Checker, SHARED};
use crate::cloud::{ACCOUNTS, Cloud, LEASE, SOON, SUFFIX};
use crate::network::enter;
use crate::scraper::Scraper;
use crate::steps::steady;

/// What it is called wherever it is.
const ALIAS: &str = "roamer";

/// An answer of the loop.
#[derive(Debug)]
struct Got {
    began: Instant,
    ended: Instant,
    account: &'static str,
    status: u16,
    /// Of an exposition: the container that it is of.
    container: Option<String>,
}

/// Asks every proxy for a path without a pause, as each account, while `during` runs.
fn ask_without_pause(cloud: &Cloud, host: &str, path: &str, during: impl FnOnce()) -> Vec<Got> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ask = |proxy: usize, account: &'static str| {
            let mut scraper: Scraper = cloud.scraper_by_name(proxy, account, host);
            let (done, holder) = (&done, cloud.scraper.holder());
            scope.spawn(move || {
                enter(holder);
                let mut all = Vec::new();
                while !done.load(Ordering::SeqCst) {
                    let began = Instant::now();
                    let answer =
                        scraper.get(path).unwrap_or_else(|error| panic!("{account} at proxy {proxy}: {error}"));
                    let container = (answer.status == 200).then(|| container_of(&answer));
                    all.push(Got { began, ended: Instant::now(), account, status: answer.status, container });
                }
                all
            })
        };
        let threads: Vec<_> = cloud.doors().into_iter().map(|(proxy, account)| ask(proxy, account)).collect();
        // Also where it panics: the others would ask for ever.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(during));
        done.store(true, Ordering::SeqCst);
        let all = threads.into_iter().flat_map(|thread| thread.join().expect("it did not panic")).collect();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        all
    })
}

/// The one container that all of an exposition's series are of.
fn container_of(answer: &Response) -> String {
    let exposition = Exposition::read(&answer.text());
    let mut ids: Vec<&str> =
        exposition.samples.iter().filter_map(|sample| sample.labels.get("id")).map(String::as_str).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1, "an exposition is of one instance");
    ids[0].rsplit('/').next().expect("a path has a last part").to_owned()
}

#[test]
fn from_node_to_node_and_from_owner_to_owner() {
    let mut cloud = Cloud::start();
    for node in 0..cloud.nodes.len() {
        cloud.configure(node, &roams(node));
    }
    let checker = Checker::start(&cloud);
    steady(&cloud, &checker);
    let first = cloud.add_container("n0-roamer");
    wait_until_called(&cloud, &first, SOON);
    let second = to_another_node(&mut cloud, &first);
    away_from_a_node_that_is_cut_off(&mut cloud, &second);
    to_another_owner(&cloud, &checker);
    checker.finish();
}

/// What an agent is told, so that such a container has the alias, and is acme's.
fn roams(node: usize) -> String {
    format!(
        "[[instance]]\nmatch = {{ name = \"st-{}-*-n{node}-roamer\" }}\nname = \"{ALIAS}\"\n\
         [[owner]]\naccount = \"acme\"\nmatch = {{ name = \"{ALIAS}\" }}\n",
        std::process::id()
    )
}

/// Waits until the alias leads to a container at every proxy.
fn wait_until_called(cloud: &Cloud, container: &str, within: Duration) {
    for proxy in 0..cloud.proxies.len() {
        let mut scraper = cloud.scraper_by_name(proxy, "acme", &format!("{ALIAS}--acme.{SUFFIX}"));
        eventually("the name that leads to it", within, || {
            let answer = cloud.scraper.run(|| scraper.get("/metrics")).map_err(|error| error.to_string())?;
            match answer.status {
                200 if container_of(&answer).contains(container) => Ok(()),
                status => Err(format!("{status} {:?}", answer.header("x-sonde-reason"))),
            }
        });
    }
}

/// Destroyed here, made there: its name says so at once, and never leads back.
fn to_another_node(cloud: &mut Cloud, first: &str) -> String {
    let host = format!("{ALIAS}--acme.{SUFFIX}");
    let at = cloud.containers.iter().position(|container| container.id() == first).expect("it is there");
    let before = cloud.containers.remove(at);
    let (mut gone, mut made, mut second) = (None, None, None);
    let rootfs = cloud.rootfs();
    // The loop borrows the cloud.
    let seen = &*cloud;
    let all = ask_without_pause(seen, &host, "/metrics", || {
        before.delete();
        gone = Some(Instant::now());
        let there = sonde_tests::Container::named("n1-roamer").rootfs(&rootfs).run();
        made = Some(Instant::now());
        wait_until_called(seen, there.id(), LEASE);
        second = Some(there);
    });
    let (gone, made) = (gone.expect("it was destroyed"), made.expect("it was made"));
    let second = second.expect("it was made");
    let id = second.id().to_owned();
    cloud.containers.push(second);
    let is = |got: &Got, id: &str| got.container.as_ref().is_some_and(|container| container.contains(id));
    for got in all.iter().filter(|got| got.account == "acme") {
        let old = is(got, first) && got.began > gone + SHARED;
        assert!(!old, "an exposition of what had ended: {got:?}, it was gone at {gone:?}");
        assert!(got.container.is_none() || is(got, first) || is(got, &id), "another's: {got:?}");
        assert!([200, 404, 503].contains(&got.status), "{got:?}");
    }
    // Its own account's name leads nobody else anywhere.
    assert!(all.iter().filter(|got| got.account == "bank").all(|got| got.status == 404));
    let first_new = all.iter().filter(|got| is(got, &id)).map(|got| got.ended).min().expect("it was seen");
    eprintln!("{} answers; the name led there {:?} after it was made", all.len(), first_new.duration_since(made));
    id
}

/// Its node says nothing any more, so it is started on another: once the lease is over its name leads there.
fn away_from_a_node_that_is_cut_off(cloud: &mut Cloud, before: &str) {
    cloud.nodes[1].host.cut();
    let third = cloud.add_container("n2-roamer");
    let cut = Instant::now();
    wait_until_called(cloud, &third, LEASE * 2);
    eprintln!("the name led to the one elsewhere {:?} after its node was cut off", cut.elapsed());
    cloud.delete_container(before);
    cloud.nodes[1].host.heal();
    cloud.wait_for_speaking(0, &[0, 1, 2]);
    wait_until_called(cloud, &third, SOON);
}

/// The operator's rule changes. Before that the new owner learns nothing; once the new owner has it, the old one has it no more.
fn to_another_owner(cloud: &Cloud, checker: &Checker) {
    let target = cloud.targets().into_iter().find(|one| one.node == 0 && one.owner == "acme").expect("it is there");
    let path = format!("/v1/instances/{}/metrics", target.id);
    checker.expect(&target.id, |expect| expect.owners = ACCOUNTS.map(str::to_owned).into());
    let mut changed = None;
    let rule = format!("[[owner]]\naccount = \"bank\"\nmatch = {{ name = \"{}\" }}\n", target.container);
    let all = ask_without_pause(cloud, SUFFIX, &path, || {
        changed = Some(Instant::now());
        cloud.configure(0, &format!("{rule}{}", roams(0)));
        for proxy in 0..cloud.proxies.len() {
            eventually("the new owner's exposition", LEASE, || match cloud.get(proxy, "bank", &path) {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err(format!("{other:?}")),
            });
            eventually("the old owner's 404", SHARED, || match cloud.get(proxy, "acme", &path) {
                Ok(answer) if answer.status == 404 => Ok(()),
                other => Err(format!("{other:?}")),
            });
        }
    });
    checker.expect(&target.id, |expect| expect.owners = ["bank".to_owned()].into());
    let changed = changed.expect("it was changed");
    let of = |account: &'static str, status: u16| {
        all.iter().filter(move |got| got.account == account && got.status == status)
    };
    let else_said = all.iter().find(|got| ![200, 404].contains(&got.status));
    assert!(else_said.is_none(), "neither is told anything else: {else_said:?}");
    let first_new = of("bank", 200).map(|got| got.ended).min().expect("it was seen");
    assert!(of("bank", 200).all(|got| got.ended > changed), "before it was theirs");
    let late = of("acme", 200).filter(|got| got.began > first_new + SHARED).count();
    assert_eq!(late, 0, "expositions for the old owner after the new one had it");
    eprintln!("{} answers; the new owner had it {:?} after the rule", all.len(), first_new.duration_since(changed));
    let list = cloud.instances(1, "bank").expect("the proxy answers");
    assert!(list.iter().any(|one| one.id == target.id));
}
