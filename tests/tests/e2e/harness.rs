//! The harness itself, without Sonde: when one of these fails, the machine is at fault and not Sonde.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use sonde_tests::{Container, Footprint, Process, Prometheus, StaticServer, eventually, get, promtool_check};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(15);

#[test]
fn container_runs_redis_within_its_limits() {
    let redis = Container::named("redis")
        .programs(&["redis-server", "redis-cli"])
        .memory_limit_bytes(64 << 20)
        .cpu_percent(50)
        .script("redis-server --bind 127.0.0.1 --save '' --dir /tmp")
        .run();
    eventually("redis answering inside", SOON, || {
        let answer = String::from_utf8_lossy(&redis.exec(&["redis-cli", "ping"]).stdout).into_owned();
        if answer.trim() == "PONG" { Ok(()) } else { Err(answer) }
    });
    assert_eq!(redis.memory_limit_bytes(), 64 << 20);
    assert!(redis.memory_usage_bytes() > 1 << 20, "redis with its heap is over 1 MiB");
    assert!(redis.cpu_usage_ns() > 0);
    assert!(redis.sh("ip -o link").contains("lo:"), "its network namespace has a loopback");
    let own = std::fs::read_link("/proc/self/ns/net").expect("/proc is mounted");
    let theirs = std::fs::read_link(format!("/proc/{}/ns/net", redis.pid())).expect("its first process runs");
    assert_ne!(own, theirs, "it has a network namespace of its own");
}

#[test]
fn deleted_container_leaves_nothing() {
    let container = Container::named("brief").run();
    let (pid, cgroup) = (container.pid(), container.cgroup("memory"));
    assert!(cgroup.is_dir());
    container.delete();
    assert!(!cgroup.exists(), "{} is still there", cgroup.display());
    // Its parent is this machine's first process, which reaps it in its own time.
    eventually("its first process gone", SOON, || match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) if !stat.contains(") Z ") => Err(stat),
        _ => Ok(()),
    });
}

#[test]
fn prometheus_ingests_what_the_static_server_serves() {
    let text = "# HELP answer_total The answer.\n# TYPE answer_total counter\nanswer_total{to=\"all\"} 42\n";
    let kind = "text/plain; version=0.0.4".to_owned();
    let pages = HashMap::from([("/metrics".to_owned(), (kind, text.as_bytes().to_vec()))]);
    let server = StaticServer::start(pages);
    assert_eq!(get(&format!("http://{}/metrics", server.authority())).text(), text);
    let prometheus = Prometheus::with_config(&format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: t, static_configs: [{{targets: ['{}']}}]}}]\n",
        server.authority()
    ));
    prometheus.wait_for("answer_total{to=\"all\"}", SOON, |v| v == 42.0);
    assert_eq!(prometheus.value("up"), Some(1.0));
    eventually("two raw samples", SOON, || {
        let raw = prometheus.query("up[60s]");
        let count = raw.first().map_or(0, |series| series.samples.len());
        if count >= 2 { Ok(()) } else { Err(count) }
    });
}

#[test]
fn promtool_remarks_on_style_only() {
    assert_eq!(promtool_check("# HELP a_total A.\n# TYPE a_total counter\na_total 1\n"), []);
    let remarks = promtool_check("# HELP a A.\n# TYPE a counter\na 1\n");
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    assert_eq!(remarks[0].metric, "a");
}

#[test]
#[should_panic(expected = "promtool found an error")]
fn promtool_finds_errors() {
    promtool_check("a{x=1} 1\n");
}

#[test]
fn footprint_sees_descriptors_children_and_their_end() {
    let dir = TempDir::new().expect("a temporary folder can be made");
    let script = "exec 3</dev/null 4</dev/null; sleep 1000 & wait";
    let shell = Process::start("sh", Command::new("sh").args(["-c", script]), &dir.path().join("log"));
    let footprint = eventually("the shell's child", SOON, || {
        let footprint = Footprint::of(shell.pid());
        if footprint.processes == 2 { Ok(footprint) } else { Err(format!("{footprint:?}")) }
    });
    assert_eq!(footprint.tasks, 2);
    assert!(footprint.descriptors >= 10, "two processes with 0 to 4: {footprint:?}");
    assert_eq!(footprint.net_namespaces, 0);
    assert_eq!(footprint.exceeds(&footprint), None);
    let smaller = Footprint { descriptors: footprint.descriptors - 1, ..footprint };
    assert!(footprint.exceeds(&smaller).expect("one descriptor more").contains("descriptors"));
    let child = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", shell.pid()));
    if let Some(child) =
        child.ok().and_then(|text| text.trim().parse::<i32>().ok()).and_then(rustix::process::Pid::from_raw)
    {
        rustix::process::kill_process(child, rustix::process::Signal::TERM).expect("the child runs");
    }
}
