//! The names: a reading's exposition to the letter, and what promtool says of it.

mod whole;

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sonde_collect::families::{is_native_family, write_age, write_judgement, write_reading};
use sonde_collect::node::{self, NodeFiles};
use sonde_collect::node_families::write_node;
use sonde_collect::{Names, Reading, Roots};
use sonde_expo::Labels;
use whole::{full, judgement, space, written, zfs};

/// Inherited names at which promtool shakes its head; nobody else's may be among its remarks.
const INHERITED: [&str; 4] = [
    "container_memory_failcnt",
    "container_hugetlb_failcnt",
    "container_network_advance_tcp_stats_total",
    "container_fs_inodes_total",
];

/// These go on with the kernel's own words, in camel case as often as not.
fn inherited(name: &str) -> bool {
    let kernels = ["node_memory_", "node_netstat_", "node_sockstat_", "node_vmstat_", "node_zfs_"];
    INHERITED.contains(&name) || kernels.iter().any(|prefix| name.starts_with(prefix))
}

#[test]
fn names_of_the_node() {
    let roots = Roots::of_this_machine().unwrap();
    let mut node = NodeFiles::open(Arc::new(roots)).read();
    node.file_systems = vec![("/".to_owned(), space())];
    node.zfs = Some(zfs());
    node.vmstat = vec![("oom_kill".into(), 5)];
    node.transport.protocols = vec![("Tcp".into(), "RetransSegs".into(), 6)];
    node.transport.sockets = vec![("TCP".into(), "mem".into(), 2)];
    node.transport.tracked = Some((1, 2));
    let state = node::network::InterfaceState { name: "eth0".into(), up: Some(true), ..Default::default() };
    node.transport.interfaces = vec![state];
    let disk =
        node::Disk { device: "sda".into(), fields: [0; 11], later: [Some(1), None, None, Some(1500), None, None] };
    node.disks = vec![disk];
    let text = written(|writer| write_node(writer, &Labels::new(&[]), &node, Names::default()));
    let page = rustix::param::page_size();
    for line in [
        r#"node_filesystem_avail_bytes{device="/dev/sda",fstype="ext4",mountpoint="/"} 200"#.to_owned(),
        r#"node_filesystem_readonly{device="/dev/sda",fstype="ext4",mountpoint="/"} 0"#.to_owned(),
        "node_vmstat_oom_kill 5".to_owned(),
        "node_netstat_Tcp_RetransSegs 6".to_owned(),
        format!("node_sockstat_TCP_mem_bytes {}", 2 * page),
        "node_nf_conntrack_entries_limit 2".to_owned(),
        r#"node_network_up{device="eth0"} 1"#.to_owned(),
        r#"node_disk_discard_time_seconds_total{device="sda"} 1.5"#.to_owned(),
        "node_zfs_arc_hits 9".to_owned(),
        "node_zfs_fm_erpt_dropped 1".to_owned(),
        r#"node_zfs_zpool_state{zpool="tank",state="degraded"} 1"#.to_owned(),
        r#"node_zfs_zpool_state{zpool="tank",state="online"} 0"#.to_owned(),
        r#"node_zfs_zpool_nread{zpool="tank"} 7"#.to_owned(),
        r#"node_zfs_zpool_dataset_nunlinks{zpool="tank",dataset="tank/a b"} 8"#.to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    for absent in ["node_disk_discards_merged", "node_network_mtu", "node_zfs_new"] {
        assert!(!text.contains(absent), "{absent}");
    }
}

fn instance(reading: &Reading) -> String {
    let base = Labels::new(&[("id", "/docker/abc"), ("name", "web"), ("image", "")]);
    written(|writer| {
        write_reading(writer, &base, reading, Names::default());
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
        (format!(r#"container_network_advance_tcp_stats_total{{{base},tcp_state="retranssegs"}}"#), 5.0),
        (format!(r#"container_network_advance_tcp_stats_total{{{base},tcp_state="listenoverflows"}}"#), 7.0),
        (format!(r#"sonde_instance_udp_total{{{base},event="inerrors"}}"#), 3.0),
        (format!("sonde_instance_interfaces_left_out{{{base}}}"), 3.0),
        (format!(r#"sonde_instance_read_problems{{{base},reason="too_long"}}"#), 2.0),
        (format!("sonde_instance_fullest_filesystem_available_bytes{{{base}}}"), 200.0),
        (format!("sonde_instance_fullest_filesystem_size_bytes{{{base}}}"), 1000.0),
        (format!("sonde_instance_sockets{{{base}}}"), 28.0),
        (format!(r#"sonde_instance_tcp_sockets{{{base},family="ipv6"}}"#), 4.0),
        (format!("sonde_instance_tcp_time_wait_sockets{{{base}}}"), 3.0),
        (format!("container_cpu_cfs_burst_seconds_total{{{base}}}"), 0.5),
        (format!("sonde_instance_cpu_held_seconds_total{{{base}}}"), 2.5),
        (format!("container_memory_pgscan_total{{{base}}}"), 44.0),
        (format!("container_memory_events_high_total{{{base}}}"), 6.0),
        (format!("sonde_instance_oom_group_kills_total{{{base}}}"), 1.0),
        (format!(r#"sonde_instance_memory_part_bytes{{{base},part="shmem"}}"#), 1024.0),
        (format!(r#"container_ulimits_soft{{{base},ulimit="max_open_files"}}"#), -1.0),
        (format!("sonde_instance_zombies{{{base}}}"), 1.0),
        (format!("sonde_instance_cpu_burst_limit_seconds{{{base}}}"), 0.02),
        (
            format!(
                r#"container_blkio_device_usage_total{{{base},device="/dev/sda",major="8",minor="0",operation="Discard"}}"#
            ),
            512.0,
        ),
        (format!(r#"container_fs_io_cost_wait_seconds_total{{{base},device="/dev/sda"}}"#), 1.5),
        (
            format!(r#"sonde_instance_disk_limit_operations_per_second{{{base},device="/dev/sda",operation="write"}}"#),
            100.0,
        ),
        (format!(r#"container_hugetlb_usage_bytes{{{base},pagesize="2MB"}}"#), 7.0),
        (format!(r#"container_fs_limit_bytes{{{base},device="/dev/sda"}}"#), 1000.0),
        (format!(r#"container_fs_inodes_free{{{base},device="/dev/sda"}}"#), 4.0),
        (
            format!(
                r#"sonde_instance_filesystem_age_seconds{{{base},device="/dev/sda",fstype="ext4",mountpoint="/"}}"#
            ),
            1.5,
        ),
        (format!(r#"sonde_instance_zfs_written_bytes_total{{{base},dataset="tank/a b"}}"#), 12302.0),
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
    let mut node = NodeFiles::open(Arc::new(Roots::of_this_machine().unwrap())).read();
    node.file_systems = vec![("/".to_owned(), space())];
    node.zfs = Some(zfs());
    let base = Labels::new(&[]);
    for text in [instance(&full()), written(|writer| write_node(writer, &base, &node, Names::default()))] {
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
