//! What is an instance and whose it is, by the operator's rules and by nothing that a tenant does.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use sonde_tests::{Container, Exposition, OwnCgroup, Process, Sonde, eventually, unique_name};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

/// Waits until an instance is not listed as alive any more.
#[track_caller]
fn assert_leaves(sonde: &Sonde, name: &str) {
    eventually("the instance left out", SOON, || {
        let alive = sonde.instances().into_iter().find(|entry| entry["name"] == name && entry["state"] != "gone");
        alive.map_or(Ok(()), |entry| Err(entry.to_string()))
    });
}

#[test]
fn rules_leave_a_container_out_take_it_back_and_name_it() {
    let container = Container::named("ruled").run();
    let sonde = Sonde::configure().config("# nothing yet").up();
    let first = sonde.wait_for_instance(container.id());
    let base = sonde.config();
    let rule = |more: &str| {
        format!("{base}\n[[instance]]\nmatch = {{ runtime = \"runc\", name = {:?} }}\n{more}\n", container.id())
    };

    sonde.reconfigure(&rule("instance = false"));
    assert_leaves(&sonde, container.id());

    let name = unique_name("renamed");
    sonde.reconfigure(&rule(&format!("name = {name:?}")));
    let named = sonde.wait_for_instance(&name);
    assert_eq!(named["id"], first["id"], "a name is not an identity");
    let series = sonde.scrape(&name);
    assert!(series.all("container_cpu_usage_seconds_total", &[("name", name.as_str())]).next().is_some());

    // A rule that is not valid changes nothing.
    sonde.reconfigure(&rule("instnce = false"));
    eventually("the fault said", SOON, || if sonde.log().contains("instnce") { Ok(()) } else { Err("not said") });
    sonde.wait_for_instance(&name);
}

#[test]
fn plain_cgroup_by_rule() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let parent = unique_name("batch");
    let cgroups = (OwnCgroup::make(&parent), OwnCgroup::make(&format!("{parent}/job")));
    let sleeper = Process::start("sleep", Command::new("sleep").arg("1000"), &dir.path().join("sleep.log"));
    cgroups.1.take(sleeper.pid());
    let rule = format!(
        "[[instance]]\nmatch = {{ runtime = \"cgroup\", cgroup = \"/{parent}/*\" }}\nname = \"{parent}-job\"\n"
    );
    let owner = format!("[[owner]]\naccount = \"acme\"\nmatch = {{ cgroup = \"/{parent}/*\" }}\n");
    let config = format!("{rule}{owner}");
    let sonde = Sonde::configure().config(&config).up();
    let entry = sonde.wait_for_instance(&format!("{parent}-job"));
    assert_eq!((&entry["runtime"], &entry["owner"]), (&"cgroup".into(), &"acme".into()), "{entry}");
    let exposition = sonde.scrape(&format!("{parent}-job"));
    assert_eq!(exposition.value("sonde_instance_state", &[("state", "running")]), Some(1.0));
    assert!(exposition.all("container_memory_rss", &[]).next().is_some(), "its cgroup accounts memory");

    // The same, asked beforehand.
    fs::write(dir.path().join("sonde.toml"), config).expect("the temporary folder is writable");
    let check = Sonde::cli_in(dir.path(), &["agent", "--config", "sonde.toml", "--check", "--instances"]);
    let said = format!(
        "cgroup {parent}/job ({parent}-job) in /{parent}/job: an instance by [[instance]] 1, owned by acme by [[owner]] 1"
    );
    assert!(check.code == Some(0) && check.stdout.lines().any(|line| line == said), "{said} is not in {check:?}");
    drop(sonde);
    drop(sleeper);
    drop(cgroups.1);
}

/// A cgroup made below a container's own, as one with a delegated cgroup can; removed when dropped.
struct Nested(Vec<PathBuf>);

impl Nested {
    fn below(container: &Container, name: &str) -> Self {
        let mut made: Vec<PathBuf> = Vec::new();
        for controller in ["memory", "cpu", "pids"] {
            let path = container.cgroup(controller).join(name);
            if !made.contains(&path) {
                fs::create_dir(&path).unwrap_or_else(|e| panic!("cannot make {}: {e}", path.display()));
                made.push(path);
            }
        }
        Self(made)
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_dir(path);
        }
    }
}

#[test]
fn cgroup_named_like_anothers_container_changes_nobody() {
    let victim = Container::named("victim").with_long_id().run();
    let forger = Container::named("forger").run();
    let owner = format!("[[owner]]\naccount = \"bank\"\nmatch = {{ id = \"{}\" }}\n", victim.id());
    let sonde = Sonde::configure().config(&owner).up();
    sonde.wait_for_instance(forger.id());
    let of_victim =
        || sonde.instances().into_iter().filter(|entry| entry["runtime_id"] == victim.id()).collect::<Vec<_>>();
    let before = of_victim();
    assert!(before.len() == 1 && before[0]["owner"] == "bank", "{before:?}");
    let refused = || {
        let about = Exposition::read(&sonde.get("/metrics").text());
        about.value("sonde_agent_claims_refused_total", &[("reason", "nested")]).expect("it is always there")
    };
    let refused_before = refused();

    let nested = Nested::below(&forger, &format!("docker-{}.scope", victim.id()));
    sonde.refresh();
    assert!(refused() > refused_before, "the claim is counted");
    let after = of_victim();
    assert_eq!((after.len(), &after[0]["id"], &after[0]["owner"]), (1, &before[0]["id"], &before[0]["owner"]));
    let ids: Vec<_> =
        sonde.scrape(victim.id()).all("container_memory_rss", &[]).map(|s| s.labels["id"].clone()).collect();
    assert!(!ids.is_empty() && ids.iter().all(|id| !id.contains(forger.id())), "{ids:?}");
    drop(nested);
}
