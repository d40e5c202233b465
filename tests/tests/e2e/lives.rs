//! A life that is over before anybody looks: told as one birth and one death, to whom it concerns.

use std::time::Duration;

use serde_json::{Value, json};
use sonde_tests::{Exposition, OwnCgroup, Sonde, eventually, unique_name};

const SOON: Duration = Duration::from_secs(20);
/// A look may come between a birth and a death that are a millisecond apart.
const ATTEMPTS: usize = 5;

/// Makes and removes a cgroup until one of its lives was not read; its entry.
fn unread(sonde: &Sonde, path: &str) -> Value {
    for life in 1..=ATTEMPTS {
        drop(OwnCgroup::make(path));
        let entries = eventually("each life told", SOON, || {
            let is_its = |entry: &Value| entry["runtime_id"] == path && entry["state"] == "gone";
            let its: Vec<Value> = sonde.instances().into_iter().filter(is_its).collect();
            if its.len() == life { Ok(its) } else { Err(format!("{} of {life}", its.len())) }
        });
        if let Some(entry) = entries.iter().find(|entry| entry["reasons"] == json!(["removed", "unread"])) {
            return entry.clone();
        }
    }
    panic!("each of {ATTEMPTS} lives was read");
}

#[test]
fn one_that_nobody_read_is_gone_for_whom_a_rule_gives_it_to() {
    let parent = unique_name("brief");
    let _parent = OwnCgroup::make(&parent);
    let living = OwnCgroup::make(&format!("{parent}/living"));
    let instances = format!("[[instance]]\nmatch = {{ runtime = \"cgroup\", cgroup = \"/{parent}/*\" }}\n");
    let owner = format!("[[owner]]\naccount = \"acme\"\nmatch = {{ cgroup = \"/{parent}/theirs\" }}\n");
    let sonde = Sonde::configure().config(&format!("{instances}{owner}")).up();
    sonde.wait_for_instance(&format!("{parent}/living"));

    let theirs = unread(&sonde, &format!("{parent}/theirs"));
    assert_eq!((&theirs["owner"], &theirs["runtime"]), (&json!("acme"), &json!("cgroup")), "{theirs}");
    assert_eq!(unread(&sonde, &format!("{parent}/ours"))["owner"], "operator");
    let id = theirs["id"].as_str().expect("an instance has an id");
    let response = sonde.get(&format!("/v1/{id}/metrics"));
    assert_eq!((response.status, response.header("x-sonde-reason")), (503, Some("gone; removed,unread")));
    let exposition = Exposition::read(&response.text());
    assert_eq!(exposition.value("sonde_instance_state", &[("state", "gone")]), Some(1.0));
    assert_eq!(exposition.value("sonde_instance_state_reason", &[("reason", "unread")]), Some(1.0));
    eventually("the log says so", SOON, || {
        let log = sonde.log();
        let is_said = |line: &str| line.contains(id) && line.contains("unread");
        if log.lines().any(is_said) { Ok(()) } else { Err("not said") }
    });
    let unread = Exposition::read(&sonde.get("/metrics").text()).value("sonde_agent_instance_lives_unread_total", &[]);
    assert!(unread >= Some(2.0), "{unread:?}");

    // What is made within an instance is its own, however brief: the life after it is told, and of it nothing.
    drop(OwnCgroup::make(&format!("{parent}/living/child")));
    self::unread(&sonde, &format!("{parent}/last"));
    let nested = sonde
        .instances()
        .into_iter()
        .find(|entry| entry["runtime_id"].as_str().is_some_and(|it| it.ends_with("child")));
    assert_eq!(nested, None);
    drop(living);
}
