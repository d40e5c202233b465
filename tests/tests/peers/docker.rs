//! Containers of a real dockerd: what its files say of them, what rules may make of that, and what becomes of them.
//!
//! Whoever starts a container writes its labels, and whoever makes an image writes those too: they say what is watched, and whose it
//! is only where an operator has said so in writing.

use std::sync::Arc;

use sonde_tests::{Dockerd, Room, Sonde, eventually, unique_name};

use crate::runtimes::{MEMORY_LIMIT_BYTES, SOON, assert_gone, assert_known, listed};

/// Until it is killed.
const RUNS: &str = "sleep 100000";

/// The id by which an instance is asked for.
#[track_caller]
fn id_of(sonde: &Sonde, name: &str) -> String {
    listed(sonde, name)["id"].as_str().map(str::to_owned).expect("an instance has an id")
}

#[test]
fn a_container_of_dockers_is_known_in_each_of_its_states() {
    let room = Arc::new(Room::make());
    let docker = Dockerd::start(&room, &[]);
    let (name, once) = (unique_name("docker"), unique_name("once"));
    let number = docker.run(&name, &["--memory", "64m", "--pids-limit", "50"], RUNS);
    let sonde = Sonde::configure().inside(&room).up();
    assert_known(&sonde, &name, "docker", Dockerd::IMAGE);
    assert_eq!(listed(&sonde, &name)["runtime_id"], number);
    // By docker's own id, whole and short, as people copy it.
    for id in [&number[..], &number[..12]] {
        let exposition = sonde.scrape(id);
        assert_eq!(exposition.value("container_spec_memory_limit_bytes", &[]), Some(MEMORY_LIMIT_BYTES));
        assert_eq!(exposition.value("container_threads_max", &[]), Some(50.0));
    }

    docker.command(&["pause", &name]);
    sonde.wait_for_value(&number, "sonde_instance_state", &[("state", "frozen")], SOON, |frozen| frozen == 1.0);
    docker.command(&["unpause", &name]);
    sonde.wait_for_value(&number, "sonde_instance_state", &[("state", "running")], SOON, |running| running == 1.0);
    let limit = |bytes: f64| move |value: f64| value == bytes;
    docker.command(&["update", "--memory", "128m", "--memory-swap", "128m", &name]);
    sonde.wait_for_value(&number, "container_spec_memory_limit_bytes", &[], SOON, limit(2.0 * MEMORY_LIMIT_BYTES));

    // A container that has exited has a file still, and nothing that could be read.
    let before = id_of(&sonde, &name);
    docker.command(&["stop", &name]);
    assert_gone(&sonde, &name);
    let last = sonde.get(&format!("/v1/{before}/metrics"));
    assert_eq!(last.status, 503, "{}", last.text());
    assert!(last.text().contains("sonde_instance_state{") && last.text().contains(&name), "{}", last.text());
    docker.run(&once, &[], "exit 3");
    sonde.refresh();
    assert!(sonde.instances().iter().all(|entry| entry["name"] != *once || entry["state"] == "gone"));
    // Its next life is another instance under the same number.
    docker.command(&["start", &name]);
    assert_known(&sonde, &name, "docker", Dockerd::IMAGE);
    assert_ne!(id_of(&sonde, &name), before);
    assert_eq!(listed(&sonde, &name)["runtime_id"], number);
}

#[test]
fn a_container_of_dockers_is_called_otherwise_and_outlives_its_daemon() {
    let room = Arc::new(Room::make());
    let mut docker = Dockerd::start(&room, &[]);
    let (name, other) = (unique_name("docker"), unique_name("other"));
    let number = docker.run(&name, &[], RUNS);
    let sonde = Sonde::configure().inside(&room).up();
    let id = id_of(&sonde, &name);
    docker.command(&["rename", &name, &other]);
    // Without being asked to look.
    assert_eq!(sonde.wait_to_notice(&other)["id"], *id);
    docker.kill();
    sonde.refresh();
    assert_known(&sonde, &other, "docker", Dockerd::IMAGE);
    docker.start_again();
    assert_known(&sonde, &other, "docker", Dockerd::IMAGE);
    assert_eq!(id_of(&sonde, &other), id);
    docker.command(&["rm", "--force", &number]);
    assert_gone(&sonde, &other);
}

/// Its files are elsewhere then, and still root's.
#[test]
fn a_container_of_dockers_with_other_users_is_known() {
    let room = Arc::new(Room::make());
    let docker = Dockerd::start_mapped(&room);
    let name = unique_name("mapped");
    let number = docker.run(&name, &["--memory", "64m"], RUNS);
    let pid = docker.command(&["inspect", "--format", "{{.State.Pid}}", &name]);
    let map = std::fs::read_to_string(format!("/proc/{}/uid_map", pid.trim())).expect("it runs");
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    let sonde = Sonde::configure().inside(&room).up();
    assert_known(&sonde, &name, "docker", Dockerd::IMAGE);
    assert_eq!(sonde.scrape(&number).value("container_spec_memory_limit_bytes", &[]), Some(MEMORY_LIMIT_BYTES));
}

/// The labels of an image and those of `docker run`, which may say what they like.
#[test]
fn labels_of_dockers_choose_what_is_watched_and_not_whose_it_is() {
    let room = Arc::new(Room::make());
    let docker = Dockerd::start(&room, &[("tier", "front"), ("team", "images")]);
    let names = ["plain", "left-out", "claims", "bank"].map(unique_name);
    let [plain, left_out, claims, bank] = &names;
    docker.run(plain, &[], RUNS);
    // The label of `docker run` goes over the image's.
    docker.run(left_out, &["--label", "tier=back"], RUNS);
    let forged = ["--label", "io.kubernetes.pod.namespace=bank", "--label", "team=bank", "--label", "owner=operator"];
    docker.run(claims, &forged, RUNS);
    docker.run(bank, &["--label", "team=bank"], RUNS);
    let instances = "[[instance]]\nmatch = { runtime = \"docker\", labels = { tier = \"front\" } }\n\
                     [[instance]]\nmatch = { runtime = \"docker\" }\ninstance = false\n";
    let by_what_is_roots = format!(
        "{instances}[[owner]]\naccount = \"k8s-{{namespace}}\"\nmatch = {{ namespace = \"*\" }}\n\
         [[owner]]\naccount = \"acme\"\nmatch = {{ name = \"{bank}\" }}\n[[owner]]\naccount = \"rest\"\nmatch = {{}}\n"
    );
    let sonde = Sonde::configure().inside(&room).config(&by_what_is_roots).up();
    for (name, owner) in [(plain, "rest"), (claims, "rest"), (bank, "acme")] {
        assert_known(&sonde, name, "docker", Dockerd::IMAGE);
        assert_eq!(listed(&sonde, name)["owner"], owner, "{name}");
    }
    assert!(sonde.instances().iter().all(|entry| entry["name"] != **left_out), "{:?}", sonde.instances());

    // Whoever has a label decide is told what that means, and what was stays.
    let as_before = sonde.config();
    let by_label = "[[owner]]\naccount = \"{label:team}\"\nmatch = { labels = { team = \"*\" } }\n";
    sonde.reconfigure(&format!("{as_before}{by_label}"));
    assert!(sonde.log().contains("trust_labels_of"), "{}", sonde.log());
    assert_eq!(listed(&sonde, claims)["owner"], "rest");
    // In writing, it is so, an image's label too.
    let head = as_before.split("[[owner]]").next().expect("there is a beginning");
    sonde.reconfigure(&format!("{head}{by_label}trust_labels_of = \"docker\"\n"));
    for (name, owner) in [(plain, "images"), (claims, "bank"), (bank, "bank")] {
        eventually(&format!("{name} being {owner}'s"), SOON, || {
            let now = listed(&sonde, name)["owner"].clone();
            if now == owner { Ok(()) } else { Err(now.to_string()) }
        });
    }
}
