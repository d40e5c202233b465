//! The main job: a redis in a real container, seen by a real Prometheus through the node.
//!
//! And its rainy day: the server dies while its container lives, then the container dies.

use std::time::{Duration, Instant};

use sonde_tests::{Container, Exposition, Prometheus, Sonde, eventually};

const SOON: Duration = Duration::from_secs(15);
/// Sonde's own prometheus.yml may scrape at leisure; the first value needs a scrape or two.
const SCRAPED: Duration = Duration::from_secs(60);
/// A scrape answers from memory whatever happens to what it measures.
const AT_ONCE: Duration = Duration::from_secs(1);
const MEMORY_LIMIT_BYTES: u64 = 64 << 20;
/// Between reading the cgroup file and Prometheus's sample redis serves a few probes: its memory may
/// move by some buffers, and its CPU by some milliseconds.
const MEMORY_SLACK_BYTES: f64 = (2 << 20) as f64;

/// redis bound to its own loopback, in a container that outlives it.
fn redis() -> Container {
    let container = Container::named("redis")
        .programs(&["redis-server", "redis-cli"])
        .memory_limit_bytes(MEMORY_LIMIT_BYTES)
        .cpu_percent(50)
        .script("redis-server --bind 127.0.0.1 --save '' --dir /tmp; sleep 100000")
        .run();
    eventually("redis answering inside", SOON, || {
        let answer = String::from_utf8_lossy(&container.exec(&["redis-cli", "ping"]).stdout).into_owned();
        if answer.trim() == "PONG" { Ok(()) } else { Err(answer) }
    });
    container
}

fn sonde_beside(container: &Container) -> Sonde {
    let sonde = Sonde::configure().sensor("redis.wasm", container.id(), "").up();
    sonde.wait_for_instance(container.id());
    sonde
}

/// A Prometheus configuration with another `scrape_interval`.
fn with_interval(yaml: &str, interval: &str) -> String {
    let line = yaml.lines().find(|line| line.trim().starts_with("scrape_interval:")).expect("it has an interval");
    let indent = &line[..line.len() - line.trim_start().len()];
    yaml.replace(line, &format!("{indent}scrape_interval: {interval}"))
}

#[test]
fn prometheus_sees_redis_and_its_container() {
    let redis = redis();
    let sonde = sonde_beside(&redis);
    let prometheus = Prometheus::with_file(&sonde.dir().join("prometheus.yml"));

    prometheus.wait_for("redis_up", SCRAPED, |up| up == 1.0);

    // So far as it stands; what follows is awaited at a rhythm that does not cost the test minutes.
    let written = std::fs::read_to_string(sonde.dir().join("prometheus.yml")).expect("prometheus.yml is there");
    let brisk = sonde.dir().join("brisk.yml");
    std::fs::write(&brisk, with_interval(&written, "1s")).expect("the data folder is writable");
    let prometheus = Prometheus::with_file(&brisk);
    prometheus.wait_for("redis_up", SCRAPED, |up| up == 1.0);

    // A figure of redis follows what the test does with redis.
    let before = prometheus.value("redis_commands_processed_total").expect("redis counts its commands");
    redis.sh("for i in $(seq 100); do echo \"SET key$i $i\"; done | redis-cli >/dev/null");
    prometheus.wait_for("redis_commands_processed_total", SCRAPED, |now| now >= before + 100.0);
    prometheus.wait_for("sum(redis_db_keys)", SCRAPED, |keys| keys == 100.0);

    // Memory and its limit are the cgroup's.
    let selector = format!("{{name=\"{}\"}}", redis.id());
    let limit = format!("container_spec_memory_limit_bytes{selector}");
    prometheus.wait_for(&limit, SCRAPED, |bytes| bytes == MEMORY_LIMIT_BYTES as f64);
    assert_eq!(redis.memory_limit_bytes(), MEMORY_LIMIT_BYTES);
    prometheus.wait_for(&format!("container_memory_usage_bytes{selector}"), SCRAPED, |bytes| {
        (bytes - redis.memory_usage_bytes() as f64).abs() < MEMORY_SLACK_BYTES
    });

    // CPU lies between the kernel's figures before and after the scrape that brought it.
    let cpu = format!("container_cpu_usage_seconds_total{{name=\"{}\",cpu=\"total\"}}", redis.id());
    let low = redis.cpu_usage_ns() as f64 / 1e9;
    redis.sh("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done");
    let seen = prometheus.wait_for(&cpu, SCRAPED, |seconds| seconds > low);
    let high = redis.cpu_usage_ns() as f64 / 1e9;
    assert!(seen <= high, "Prometheus has {seen} s, the kernel only {high} s");
}

#[test]
fn redis_killed_inside_is_down_and_the_rest_is_there() {
    let redis = redis();
    let sonde = sonde_beside(&redis);
    // Whoever scrapes sets the pace of the sensor.
    let _prometheus = Prometheus::with_config(&format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n\
         - {{job_name: redis, metrics_path: /v1/{}/metrics, static_configs: [{{targets: ['{}']}}]}}\n",
        redis.id(),
        sonde.authority()
    ));
    sonde.wait_for_value(redis.id(), "redis_up", &[], SOON, |up| up == 1.0);

    redis.sh("kill -9 $(pidof redis-server)");

    sonde.wait_for_value(redis.id(), "redis_up", &[], SOON, |up| up == 0.0);
    let response = sonde.get(&format!("/v1/{}/metrics", redis.id()));
    assert!(response.elapsed < AT_ONCE, "a scrape took {:?}", response.elapsed);
    let exposition = Exposition::read(&response.text());
    for native in ["container_memory_usage_bytes", "container_cpu_usage_seconds_total"] {
        assert!(exposition.all(native, &[("name", redis.id())]).next().is_some(), "{native} is gone");
    }
    assert_eq!(exposition.value("sonde_sensor_up", &[("sensor", "redis")]), Some(1.0), "the sensor did its job");
    // Starting redis may have used up its CPU for a moment; gone or stopped it is not.
    let alive = ["running", "saturated"].map(|state| exposition.value("sonde_instance_state", &[("state", state)]));
    assert_eq!(alive.iter().flatten().sum::<f64>(), 1.0);
}

#[test]
fn killed_container_is_gone_with_its_reason() {
    let redis = redis();
    let sonde = sonde_beside(&redis);
    let uuid = sonde.wait_for_instance(redis.id())["id"].as_str().expect("an instance has an id").to_owned();
    sonde.wait_for_value(&uuid, "redis_up", &[], SOON, |up| up == 1.0);

    redis.delete();
    let killed = Instant::now();

    let path = format!("/v1/{uuid}/metrics");
    let response = eventually("503", SOON, || {
        let response = sonde.get(&path);
        if response.status == 503 { Ok(response) } else { Err(response.status) }
    });
    // About a second is the promise; the rest is for a busy machine.
    assert!(killed.elapsed() < Duration::from_secs(4), "noticed after {:?}", killed.elapsed());
    assert!(response.header("x-sonde-reason").is_some_and(|reason| !reason.is_empty()), "{:?}", response.headers);
    let exposition = Exposition::read(&response.text());
    assert_eq!(exposition.value("sonde_instance_state", &[("state", "gone")]), Some(1.0));
    assert_eq!(exposition.all("sonde_instance_state", &[]).count(), 5, "all five states are always there");
    for stale in ["redis_up", "container_memory_usage_bytes", "container_cpu_usage_seconds_total"] {
        assert_eq!(exposition.all(stale, &[]).count(), 0, "{stale} of a dead container is still served");
    }
    let listed =
        sonde.instances().into_iter().find(|i| i["id"] == uuid.as_str()).expect("gone is listed for 15 minutes");
    assert_eq!(listed["state"], "gone");
}
