//! The names: a reading's exposition to the letter, and what promtool says of it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sonde_collect::families::{is_native_family, write_age, write_judgement, write_reading};
use sonde_collect::node::NodeFiles;
use sonde_collect::node_families::write_node;
use sonde_collect::reading::{
    Cpu, Descriptors, DeviceIo, Interface, Limits, Memory, Pids, Pressure, Stall, Throttling,
};
use sonde_collect::{InstanceState, Judgement, Reading, Reason, Resource, Roots};
use sonde_expo::{Labels, Writer};

/// Inherited names at which promtool shakes its head; nobody else's may be among its remarks.
const INHERITED: [&str; 1] = ["container_memory_failcnt"];

/// `node_memory_` goes on with the kernel's own words, in camel case as often as not.
fn inherited(name: &str) -> bool {
    INHERITED.contains(&name) || name.starts_with("node_memory_")
}

fn full() -> Reading {
    let stall = Some(Stall { some_us: 1_500_000, full_us: Some(500_000) });
    let mut reading = Reading::empty();
    reading.taken_at_unix = std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    reading.cpu = Some(Cpu { usage_ns: 12_804_409_658, user_ns: Some(12_640_000_000), system_ns: Some(10_000_000) });
    reading.throttling = Some(Throttling { periods: 252, throttled_periods: 251, throttled_ns: 12_443_002_454 });
    reading.memory = Memory {
        usage_bytes: Some(2_580_480),
        max_usage_bytes: Some(2_932_736),
        working_set_bytes: Some(2_326_528),
        rss_bytes: Some(65_536),
        cache_bytes: Some(2_039_808),
        swap_bytes: Some(0),
        mapped_file_bytes: Some(1_613_824),
        kernel_bytes: Some(1),
        limit_hits: Some(3),
        oom_kills: Some(2),
        pgfault: Some(666),
        pgmajfault: Some(1),
        own_pgfault: Some(600),
        own_pgmajfault: Some(1),
    };
    reading.pids = Pids { tasks: Some(4), processes: Some(2), limit_hits: Some(1) };
    reading.descriptors = Some(Descriptors { open: 12, fullest: Some((9, 1024)) });
    reading.limits = Limits {
        cpu_quota_us: Some(50_000),
        cpu_period_us: Some(100_000),
        cpu_shares: Some(1024),
        memory_bytes: Some(67_108_864),
        memory_reservation_bytes: Some(1024),
        memory_swap_bytes: Some(134_217_728),
        tasks: Some(32),
    };
    reading.pressure = Pressure { cpu: stall, memory: stall, io: stall };
    reading.io = Some(vec![DeviceIo {
        device: "/dev/sda".into(),
        read_bytes: Some(4096),
        written_bytes: Some(8192),
        reads: Some(1),
        writes: Some(2),
    }]);
    reading.network = Some(vec![Interface { name: "eth0".into(), receive_bytes: 5, ..Interface::default() }]);
    reading.started_unix_seconds = Some(1_795_354_139.5);
    reading
}

fn judgement() -> Judgement {
    Judgement { state: InstanceState::Saturated, saturated: vec![Resource::Cpu], reasons: vec![Reason::CpuThrottled] }
}

fn written(write: impl FnOnce(&mut Writer<'_>)) -> String {
    let mut out = Vec::new();
    let mut writer = Writer::new(sonde_expo::negotiate::negotiate(None), &mut out);
    write(&mut writer);
    writer.finish();
    String::from_utf8(out).unwrap()
}

fn instance(reading: &Reading) -> String {
    let base = Labels::new(&[("id", "/docker/abc"), ("name", "web"), ("image", "")]);
    written(|writer| {
        write_reading(writer, &base, reading);
        write_judgement(writer, &base, &judgement());
        write_age(writer, &base, Duration::from_millis(250));
    })
}

fn sample<'t>(text: &'t str, start: &str) -> Option<&'t str> {
    text.lines().find(|line| line.starts_with(start)).and_then(|line| line.rsplit(' ').next())
}

#[test]
fn names_values_and_units() {
    let text = instance(&full());
    let base = r#"id="/docker/abc",name="web""#;
    for (start, value) in [
        (format!(r#"container_cpu_usage_seconds_total{{{base},cpu="total"}}"#), 12.804_409_658),
        (format!("container_cpu_user_seconds_total{{{base}}}"), 12.64),
        (format!("container_cpu_cfs_throttled_seconds_total{{{base}}}"), 12.443_002_454),
        (format!("container_memory_usage_bytes{{{base}}}"), 2_580_480.0),
        (format!("container_memory_failcnt{{{base}}}"), 3.0),
        (format!(r#"container_memory_failures_total{{{base},failure_type="pgfault",scope="hierarchy"}}"#), 666.0),
        (format!(r#"container_network_receive_bytes_total{{{base},interface="eth0"}}"#), 5.0),
        (format!(r#"container_fs_writes_bytes_total{{{base},device="/dev/sda"}}"#), 8192.0),
        (format!("container_pressure_io_stalled_seconds_total{{{base}}}"), 0.5),
        (format!("container_spec_cpu_quota{{{base}}}"), 50_000.0),
        (format!("container_threads_max{{{base}}}"), 32.0),
        (format!("container_start_time_seconds{{{base}}}"), 1_795_354_139.5),
        (format!(r#"sonde_instance_state{{{base},state="saturated"}}"#), 1.0),
        (format!(r#"sonde_instance_state{{{base},state="running"}}"#), 0.0),
        (format!(r#"sonde_instance_saturated{{{base},resource="cpu"}}"#), 1.0),
        (format!(r#"sonde_instance_saturated{{{base},resource="network"}}"#), 0.0),
        (format!(r#"sonde_instance_state_reason{{{base},reason="cpu_throttled"}}"#), 1.0),
        (format!("sonde_reading_age_seconds{{{base}}}"), 0.25),
    ] {
        let found: Option<f64> = sample(&text, &start).map(|value| value.parse().unwrap());
        assert_eq!(found, Some(value), "{start}\n{text}");
    }
    let states = text.lines().filter(|line| line.starts_with("sonde_instance_state{"));
    assert_eq!(states.map(|line| line.rsplit(' ').next().unwrap()).collect::<Vec<_>>(), ["0", "1", "0", "0", "0"]);
}

#[test]
fn absent_is_not_zero() {
    let text = instance(&Reading::empty());
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.split('{').next()).filter(|n| !n.starts_with('#')).collect();
    let mut names: Vec<&str> = names;
    names.dedup();
    assert_eq!(
        names,
        [
            "container_last_seen",
            "sonde_instance_state",
            "sonde_instance_saturated",
            "sonde_instance_state_reason",
            "sonde_reading_age_seconds"
        ]
    );
}

/// Every family that cAdvisor's recorded exposition and ours both have is of one kind and has one help text.
#[test]
fn agrees_with_recorded_cadvisor() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/cadvisor-v0.35/metrics.prom");
    let Ok(recorded) = std::fs::read_to_string(path) else {
        println!("skipped: there is no recorded exposition beside this checkout");
        return;
    };
    let ours = instance(&full());
    let mut compared = 0;
    for line in
        recorded.lines().filter(|line| line.starts_with("# HELP container_") || line.starts_with("# TYPE container_"))
    {
        let mut words = line.splitn(4, ' ');
        let (kind, name) = (words.nth(1).unwrap(), words.next().unwrap());
        let same = |other: &&str| other.starts_with(&format!("# {kind} {name} "));
        if let Some(mine) = ours.lines().find(same) {
            assert_eq!(mine, line);
            compared += 1;
        }
    }
    assert!(compared >= 2 * 30, "only {compared} lines have a counterpart");
}

#[test]
fn reserved_names() {
    for line in instance(&full()).lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        assert!(is_native_family(line.split(' ').next().unwrap()), "{line}");
    }
    assert!(is_native_family("sonde_sensor_up"));
    assert!(!is_native_family("redis_up"));
    assert!(!is_native_family("node_cpu_seconds_total"), "an instance may relay a node_exporter of its own");
}

#[test]
fn promtool_finds_no_error() {
    let node = NodeFiles::open(Arc::new(Roots::of_this_machine().unwrap())).read();
    let base = Labels::new(&[]);
    for text in [instance(&full()), written(|writer| write_node(writer, &base, &node))] {
        let tool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut tool) = tool else {
            println!("skipped: there is no promtool");
            return;
        };
        tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = tool.wait_with_output().unwrap();
        let remarks = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        // 3: parsed well, with remarks on style.
        assert!(matches!(output.status.code(), Some(0 | 3)), "{remarks}\n{text}");
        let name = |remark: &str| remark.split([' ', ':']).next().unwrap_or_default().to_owned();
        let strange: Vec<&str> = remarks.lines().filter(|remark| !inherited(&name(remark))).collect();
        assert!(strange.is_empty(), "{}", strange.join("\n"));
    }
}
