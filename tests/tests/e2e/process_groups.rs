//! A machine without containers is useful too: groups of processes by port, pid file or cgroup, and
//! a configuration that may be edited while Sonde runs.

use std::fs;
use std::process::Command;
use std::time::Duration;

use sonde_tests::{Container, OwnCgroup, Process, Server, Sonde, eventually, unique_name};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn by_port_with_a_sensor() {
    let redis = Server::redis();
    let name = unique_name("by-port");
    let sonde = Sonde::configure()
        .process_group(&name, &format!("port = {}", redis.port()))
        .sensor("redis.wasm", &name, &format!("[sensor.config]\nport = \"{}\"", redis.port()))
        .up();
    sonde.wait_for_instance(&name);
    sonde.wait_for_value(&name, "redis_up", &[], SOON, |up| up == 1.0);
    let exposition = sonde.scrape(&name);
    assert_eq!(exposition.value("sonde_instance_state", &[("state", "running")]), Some(1.0));
    // Some tens of milliseconds: the kernel counts a process's CPU in hundredths of a second.
    let burn = "local i = 0 while i < 20000000 do i = i + 1 end return i";
    let port = redis.port().to_string();
    let burnt = Command::new("redis-cli").args(["-p", &port, "eval", burn, "0"]).output().expect("redis-cli runs");
    assert!(burnt.status.success(), "{burnt:?}");
    sonde.wait_for_value(&name, "container_cpu_usage_seconds_total", &[], SOON, |cpu| cpu > 0.0);
}

#[test]
fn by_pid_file_until_it_ends() {
    let mut redis = Server::redis();
    let name = unique_name("by-pid");
    let sonde = Sonde::configure().process_group(&name, &format!("pid_file = {:?}", redis.pid_file())).up();
    sonde.wait_for_instance(&name);
    let memory: f64 = sonde.scrape(&name).all("container_memory_rss", &[]).map(|sample| sample.value).sum();
    assert!(memory > 1e6, "redis has over a megabyte");
    assert!(redis.stop());
    eventually("503", SOON, || {
        let response = sonde.get(&format!("/v1/{name}/metrics"));
        if response.status == 503 { Ok(()) } else { Err(response.status) }
    });
}

#[test]
fn by_cgroup() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let name = unique_name("by-cgroup");
    let cgroup = OwnCgroup::make(&name);
    let sleeper = Process::start("sleep", Command::new("sleep").arg("1000"), &dir.path().join("sleep.log"));
    cgroup.take(sleeper.pid());
    let sonde = Sonde::configure().process_group(&name, &format!("cgroup = \"/{name}\"")).up();
    sonde.wait_for_instance(&name);
    let exposition = sonde.scrape(&name);
    assert_eq!(exposition.value("sonde_instance_state", &[("state", "running")]), Some(1.0));
    let memory = exposition.all("container_memory_rss", &[]).next();
    assert!(memory.is_some(), "its cgroup accounts memory");
}

#[test]
fn configuration_and_sensors_may_change_while_it_runs() {
    let redis = Server::redis();
    let name = unique_name("edited");
    let sonde = Sonde::configure().config("# nothing yet").up();
    let file = sonde.dir().join("sonde.toml");
    let empty = fs::read_to_string(&file).expect("sonde.toml is there");
    assert!(sonde.instances().iter().all(|i| i["name"] != name.as_str()));

    // A group appears.
    let grouped = format!("{empty}\n[[process_group]]\nname = \"{name}\"\nport = {}\n", redis.port());
    fs::write(&file, &grouped).expect("the data folder is writable");
    sonde.wait_to_notice(&name);

    // A sensor appears, with its configuration.
    let sensor = format!(
        "{grouped}\n[[sensor]]\nfile = \"redis.wasm\"\nmatch = {{ name = \"{name}\" }}\n[sensor.config]\nport = \"{}\"\n",
        redis.port()
    );
    fs::copy(sonde_tests::sensor_path("redis.wasm"), sonde.sensors_dir().join("redis.wasm")).expect("it is writable");
    fs::write(&file, &sensor).expect("the data folder is writable");
    sonde.wait_for_value(&name, "redis_up", &[], SOON, |up| up == 1.0);

    // A broken edit changes nothing, and is said.
    fs::write(&file, format!("{sensor}\n[[process_group]]\nnmae = 3\n")).expect("the data folder is writable");
    eventually("the fault said", SOON, || {
        let log = sonde.log();
        if log.contains("nmae") { Ok(()) } else { Err(log) }
    });
    sonde.wait_for_value(&name, "redis_up", &[], SOON, |up| up == 1.0);

    // The sensor's file goes, and so do its series; the group stays.
    fs::write(&file, &grouped).expect("the data folder is writable");
    fs::remove_file(sonde.sensors_dir().join("redis.wasm")).expect("it was there");
    eventually("no redis series", SOON, || {
        let exposition = sonde.scrape(&name);
        if exposition.all("redis_up", &[]).next().is_none() { Ok(()) } else { Err("redis_up is still served") }
    });

    // And the group goes.
    fs::write(&file, &empty).expect("the data folder is writable");
    eventually("the group gone", SOON, || {
        let alive = sonde.instances().into_iter().find(|i| i["name"] == name.as_str() && i["state"] != "gone");
        alive.map_or(Ok(()), |entry| Err(entry.to_string()))
    });
}

#[test]
fn pid_file_that_names_a_containers_process_is_refused() {
    let container = Container::named("preyed-upon").run();
    let dir = TempDir::new().expect("a temporary folder can be made");
    let pid_file = dir.path().join("app.pid");
    fs::write(&pid_file, format!("{}\n", container.pid())).expect("the temporary folder is writable");
    let name = unique_name("preying");
    let sonde = Sonde::configure().process_group(&name, &format!("pid_file = {pid_file:?}")).up();
    sonde.wait_for_instance(container.id());
    assert_eq!(sonde.get(&format!("/v1/{name}/metrics")).status, 404, "the container's process is the container's");
    let about = sonde_tests::Exposition::read(&sonde.get("/metrics").text());
    let refused = about.value("sonde_agent_claims_refused_total", &[("reason", "nested")]);
    assert!(refused.is_some_and(|count| count >= 1.0), "{refused:?}");
}

#[test]
fn redis_with_a_password_that_is_a_secret() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let redis = Server::redis();
    let port = redis.port().to_string();
    let set = Command::new("redis-cli").args(["-p", &port, "config", "set", "requirepass", "hunter2"]).output();
    assert!(set.as_ref().is_ok_and(|set| set.status.success()), "{set:?}");
    let file = dir.path().join("password");
    fs::write(&file, "hunter2\n").expect("the temporary folder is writable");
    let name = unique_name("locked");
    let port_of = format!("[sensor.config]\nport = {port}");
    let sonde = Sonde::configure()
        .process_group(&name, &format!("port = {port}"))
        .sensor("redis.wasm", &name, &format!("{port_of}\n[sensor.secrets]\npassword = {file:?}"))
        .up();
    sonde.wait_for_instance(&name);
    sonde.wait_for_value(&name, "redis_up", &[], SOON, |up| up == 1.0);
    assert!(!sonde.get(&format!("/v1/{name}/sensors")).text().contains("hunter2"), "a secret is nowhere to be read");

    fs::write(&file, "wrong\n").expect("the temporary folder is writable");
    sonde.wait_for_value(&name, "redis_up", &[], SOON, |up| up == 0.0);
}
