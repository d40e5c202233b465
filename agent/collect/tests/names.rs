//! cmon-agent's names, and that every family is what its description says: what docs/series.md has and what is exposed are one.

mod tree;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use sonde_collect::described::{Described, NAME, Section};
use sonde_collect::families::{self, write_age, write_judgement, write_reading};
use sonde_collect::node::clock::Clock;
use sonde_collect::node::zfs::{Pool, Value};
use sonde_collect::node::{CpuTimes, Disk, MemoryLine, NodeFiles, NodeReading, SystemStat};
use sonde_collect::node_families::{self, write_node};
use sonde_collect::space::{FileSystem, Space};
use sonde_collect::triton::AgentCounts;
use sonde_collect::{Names, Reading, Roots, triton};
use sonde_expo::{Kind, Labels, ReadFormat, ReadLimits, Writer, negotiate};
use tree::filled::{made, reader};
use tree::{Layout, Tree};
use whole::{full, judgement, space, written, zfs};

const TRITON: Names = Names { cadvisor: false, triton: true };

fn of_instance(reading: &Reading) -> String {
    written(|writer| triton::write_instance(writer, reading, false))
}

/// A node's reading over a tree, and what cannot be had in one.
fn node() -> NodeReading {
    let tree = Tree::new(Layout::Unified);
    let roots = Roots::of(tree.path("proc"), tree.path("sys"), tree.path("run")).unwrap();
    let mut node = NodeFiles::open(Arc::new(roots)).read();
    node.stat = SystemStat {
        cpus: vec![CpuTimes { cpu: "3".into(), ticks: [100, 20, 300, 4000, 50, 6, 7, 8] }],
        interrupts: Some(1),
        context_switches: Some(2),
        forks: Some(3),
        boot_unix_seconds: Some(4),
        running: Some(5),
        blocked: Some(6),
    };
    node.load = Some([0.5, 1.0, 1.5]);
    let line = |name: &str, is_bytes| MemoryLine { name: name.into(), value: 7, is_bytes };
    node.memory = vec![line("MemTotal", true), line("HugePages_Total", false)];
    node.network = vec![("eth0".into(), [9; 16])];
    node.disks = vec![Disk { device: "sda".into(), fields: [1; 11], later: [Some(2); 6] }];
    node.vmstat = vec![("pgfault".into(), 1)];
    node.transport.protocols = vec![("Tcp".into(), "CurrEstab".into(), 1)];
    node.transport.sockets = vec![("TCP".into(), "mem".into(), 1)];
    node.transport.tracked = Some((1, 2));
    node.transport.interfaces = vec![sonde_collect::node::network::InterfaceState {
        name: "eth0".into(),
        up: Some(true),
        mtu_bytes: Some(1500),
        carrier_changes: Some(1),
    }];
    node.file_systems = vec![("/".into(), space())];
    node.zfs = Some(zfs());
    node.pressure = full().pressure.cpu.map_or([None; 3], |stall| [Some(stall); 3]);
    node.files = Some((1, 2));
    node.cpu_model = Some(85);
    node.clock = Some(Clock {
        status: 0x2001 | 0x0100,
        offset: -1_500_000,
        frequency: 65_536 * 10,
        max_error: 250_000,
        estimated_error: 16,
        tick: 10_000,
        tai_offset: 37,
        time_constant: 7,
        precision: 1,
        tolerance: 32_768_000,
        pps_shift: 4,
        pps_frequency: -65_536,
        pps_jitter: 2_000,
        pps_stability: 655_360,
        pps_calibrations: 8,
        ..Clock::default()
    });
    node
}

fn counts() -> AgentCounts {
    AgentCounts { kept: 3, asked: 20, of_kept: 4, answers: vec![(200, 19), (404, 1)] }
}

fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "{line}\n{text}");
    }
}

fn names_of(sections: &[Section]) -> BTreeSet<&'static str> {
    sections.iter().flat_map(|section| &section.families).map(|about| about.name).collect()
}

#[test]
fn each_metric_of_cmon_agents_is_told_of() {
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for list in [include_str!("triton-names/instance.txt"), include_str!("triton-names/node.txt")] {
        known.extend(list.lines());
    }
    let ours = names_of(&triton::sections());
    assert_eq!(ours.symmetric_difference(&known).collect::<Vec<_>>(), [&""; 0]);
    for name in include_str!("triton-names/instance.txt").lines() {
        assert!(triton::is_instance_family(name), "a sensor must not have {name}");
    }
    assert!(!triton::is_instance_family("ntp_peer_offset_seconds") && !triton::is_instance_family("redis_up"));
}

#[test]
fn values_over_recorded_trees() {
    for layout in [Layout::V1, Layout::Hybrid, Layout::Unified] {
        let tree = made(layout);
        let text = of_instance(&reader(&tree, 100).read().unwrap());
        has(
            &text,
            &[
                "cpucap_limit_percentage 50",
                "cpucap_effective_percentage 50",
                "cpucap_above_seconds_total 25",
                "cpucap_below_seconds_total 0.5",
                "cpucap_above_base_seconds_total 0.2",
                "cpucap_burst_limit_seconds 0.02",
                "mem_agg_usage 2326528",
                "mem_limit 67108864",
                "mem_swap 4096",
                "vfs_bytes_read_count 4096",
                "vfs_bytes_written_count 8192",
                "vfs_read_operation_count 1",
                "vfs_write_operation_count 2",
                "cpucap_metrics_available_boolean 1",
                "cpucap_metrics_cached_boolean 0",
                "link_metrics_available_boolean 0",
                "tcp_metrics_available_boolean 0",
                "zfs_metrics_available_boolean 0",
            ],
        );
        let split = if layout == Layout::V1 { "cpu_user_usage 12790000000" } else { "cpu_user_usage 12796623000" };
        has(&text, &[split]);
        let told = |name: &str| text.lines().any(|line| line.starts_with(&format!("{name} ")));
        assert_eq!(told("mem_anon_alloc_fail"), layout == Layout::Unified, "v1 does not count them");
        assert_eq!(told("cpu_wait_time"), layout != Layout::V1, "there is no pressure without cgroup2");
        for none in ["mem_swap_limit", "load_average", "cpucap_max_usage_percentage", "zfs_used", "net_agg_bytes_in"] {
            assert!(!told(none), "{none} has no source here\n{text}");
        }
    }
}

#[test]
fn values_of_a_whole_reading() {
    let mut reading = full();
    let text = of_instance(&reading);
    has(
        &text,
        &[
            "time_of_day 1800000000",
            "cpucap_cur_usage_percentage 30",
            "cpu_wait_time 1500000000",
            "mem_anon_alloc_fail 5",
            "mem_swap_limit 67108864",
            "tcp_retransmitted_segment_count 5",
            "tcp_listen_drop_count 7",
            "tcp_current_established_connections_total 2",
            r#"net_agg_bytes_in{interface="eth0"} 5"#,
            "vfs_bytes_written_count 12302",
            "# TYPE tcp_current_established_connections_total gauge",
            "# TYPE time_of_day gauge",
        ],
    );
    assert!(!text.contains("zfs_referenced "), "its root is on ext4\n{text}");
    // A root on ZFS; and more than a double can hold to the unit.
    let file_system = FileSystem { kind: "zfs", block_bytes: 131_072, ..space().file_system };
    reading.space = Some(Space { file_system, ..space() });
    reading.cpu.as_mut().unwrap().user_ns = Some((1 << 53) + 1);
    let text = of_instance(&reading);
    has(
        &text,
        &["zfs_available 200", "zfs_referenced 700", "zfs_recordsize 131072", "cpu_user_usage 9007199254740993"],
    );
}

#[test]
fn what_has_no_source_is_absent_and_never_0() {
    let text = of_instance(&Reading::empty());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(' ').next().unwrap();
        assert!(name == "time_of_day" || name.contains("_metrics_"), "{line}");
    }
    assert_eq!(text.matches("_metrics_available_boolean 0\n").count(), 7, "all collectors but time\n{text}");
}

#[test]
fn a_cached_reading_took_this_scrape_no_time() {
    let mut reading = full();
    reading.took.memory_ns = 1_500_000;
    has(&of_instance(&reading), &["memcap_metrics_timer_seconds 0.0015", "memcap_metrics_cached_boolean 0"]);
    let text = written(|writer| triton::write_instance(writer, &reading, true));
    has(&text, &["memcap_metrics_timer_seconds 0", "memcap_metrics_cached_boolean 1", "mem_limit 67108864"]);
    let tree = made(Layout::Unified);
    let took = reader(&tree, 100).read().unwrap().took;
    assert!(took.cpu_ns > 0 && took.memory_ns > 0 && took.devices_ns > 0, "{took:?}");
}

#[test]
fn the_node_by_cmon_agents_names() {
    let mut node = node();
    let text = written(|writer| triton::write_node(writer, &node, false, &counts()));
    has(
        &text,
        &[
            "cpu_info_model 85",
            r#"cpu_idle_seconds_total{cpu_id="3"} 40.5"#,
            r#"cpu_kernel_seconds_total{cpu_id="3"} 3.13"#,
            r#"cpu_user_seconds_total{cpu_id="3"} 1.2"#,
            r#"zpool_health_status{pool="tank"} 1"#,
            "arcstats_hits_total 9",
            "ntp_maximum_error_seconds 0.25",
            "ntp_frequency_offset_ppm 10",
            "ntp_pll_offset_seconds -0.0015",
            "ntp_frequency_tolerance_ppm 500",
            "ntp_calibration_interval_seconds 16",
            "ntp_pps_jitter_ppm 2",
            "ntp_leap_indicator_status 0",
            "ntp_metrics_available_boolean 1",
            "cached_items 3",
            "cache_gets_total 20",
            "cache_get_hits_total 4",
            r#"http_requests_completed{status_code="404"} 1"#,
        ],
    );
    for absent in
        ["cpu_dtrace_seconds_total", "zpool_size_bytes", "arcstats_misses_total", "ntp_peer_", "collector_time"]
    {
        assert!(!text.contains(absent), "{absent}\n{text}");
    }
    // Not synchronized, no pulse, a pool in a state that cmon-agent did not know.
    node.clock = Some(Clock { status: 0x0040, ..Clock::default() });
    node.zfs.as_mut().unwrap().pools =
        vec![Pool { name: "p".into(), state: Some("SUSPENDED".into()), ..Pool::default() }];
    let text = written(|writer| triton::write_node(writer, &node, false, &counts()));
    has(&text, &["ntp_leap_indicator_status 3", r#"zpool_health_status{pool="p"} -1"#]);
    assert!(!text.contains("ntp_pps_"), "what is said of a pulse that is not there means nothing\n{text}");
}

#[test]
fn the_clock_by_node_exporters_names() {
    let text = written(|writer| write_node(writer, &Labels::new(&[]), &node(), Names::default()));
    has(
        &text,
        &[
            "node_timex_sync_status 1",
            "node_timex_offset_seconds -0.0015",
            "node_timex_frequency_adjustment_ratio 1.00001",
            "node_timex_maxerror_seconds 0.25",
            "node_timex_estimated_error_seconds 0.000016",
            "node_timex_status 8449",
            "node_timex_tick_seconds 0.01",
            "node_timex_tai_offset_seconds 37",
            "node_timex_pps_stability_hertz 0.00001",
        ],
    );
}

#[test]
fn one_set_of_names_without_the_other() {
    let base = Labels::new(&[("id", "/x")]);
    let text = written(|writer| write_reading(writer, &base, &full(), TRITON));
    let names = text.lines().filter(|line| !line.starts_with('#'));
    let mut ours = 0;
    for name in names {
        assert!(name.starts_with("sonde_"), "{name}");
        ours += 1;
    }
    assert!(ours > 30, "what is ours alone stays");
    assert_eq!(written(|writer| write_node(writer, &base, &node(), TRITON)), "");
}

/// What was written of each family: its type, its help, and the labels of its samples.
fn told(text: &str) -> BTreeMap<String, (String, String, BTreeSet<String>)> {
    let mut all: BTreeMap<String, (String, String, BTreeSet<String>)> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        let (first, second, name) = (words.next(), words.next(), words.next());
        let rest = words.next().unwrap_or_default().to_owned();
        match (first, second, name) {
            (Some("#"), Some("HELP"), Some(name)) => all.entry(name.to_owned()).or_default().1 = rest,
            (Some("#"), Some("TYPE"), Some(name)) => all.entry(name.to_owned()).or_default().0 = rest,
            _ => {
                let end = line.find(['{', ' ']).unwrap();
                let labels = line[end..].split('"').step_by(2).filter_map(|part| part.strip_suffix('='));
                let labels = labels.map(|label| label.trim_start_matches(['{', ',']).to_owned());
                all.get_mut(&line[..end]).expect("a sample of a family").2.extend(labels);
            }
        }
    }
    all
}

/// The word that `NAME` stands for, if `name` is of this description.
fn word<'n>(about: &Described, name: &'n str) -> Option<&'n str> {
    match about.name.split_once(NAME) {
        None => (about.name == name).then_some(""),
        Some((before, after)) => name.strip_prefix(before)?.strip_suffix(after).filter(|word| !word.is_empty()),
    }
}

#[test]
fn what_is_written_is_what_is_described() {
    let base = Labels::new(&[]);
    let both = Names { cadvisor: true, triton: true };
    let text = written(|writer| {
        write_reading(writer, &base, &full(), both);
        write_judgement(writer, &base, &judgement());
        write_age(writer, &base, std::time::Duration::ZERO);
        triton::write_instance(writer, &full(), false);
    });
    let of_node = written(|writer| {
        write_node(writer, &base, &node(), both);
        triton::write_node(writer, &node(), false, &counts());
    });
    let sections: Vec<Section> =
        families::sections().into_iter().chain(node_families::sections()).chain(triton::sections()).collect();
    let described: Vec<&Described> = sections.iter().flat_map(|section| section.families.iter().copied()).collect();
    let mut seen = BTreeSet::new();
    for (name, (kind, help, labels)) in told(&text).into_iter().chain(told(&of_node)) {
        // The longest pattern is the one that is meant.
        let about = described.iter().filter(|about| word(about, &name).is_some()).max_by_key(|about| about.name.len());
        let about = about.unwrap_or_else(|| panic!("{name} is not described"));
        seen.insert(about.name);
        assert_eq!(kind, if about.kind == Kind::Unknown { "untyped".into() } else { spelled(about.kind) }, "{name}");
        assert_eq!(help, about.help.replace(NAME, word(about, &name).unwrap()), "{name}");
        let of_description: BTreeSet<String> = about.labels.iter().map(ToString::to_string).collect();
        assert_eq!(labels, of_description, "{name}");
        assert!(!about.source.is_empty(), "{name} is written, and its description knows no source");
    }
    // And what has a source is written by a reading that has everything, but for what excludes each other or that reading lacks.
    let left: Vec<&str> = described
        .iter()
        .filter(|about| !about.source.is_empty() && !seen.contains(about.name))
        .map(|about| about.name)
        .filter(|name| !name.starts_with("arcstats_") && !name.starts_with("tcp_"))
        .collect();
    assert_eq!(left, ["zfs_available", "zfs_recordsize", "zfs_referenced"], "its root is on ext4");
}

fn spelled(kind: Kind) -> String {
    if kind == Kind::Counter { "counter" } else { "gauge" }.to_owned()
}

#[test]
fn promtool_reads_cmon_agents_names() {
    let mut node = node();
    node.zfs.as_mut().unwrap().modules[0].1.push(("l2_read_bytes".into(), Value::Unsigned(3)));
    for text in [of_instance(&full()), written(|writer| triton::write_node(writer, &node, false, &counts()))] {
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
        // 3: parsed well, with remarks on style, of which inherited names deserve many.
        assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}\n{text}");
    }
}

#[test]
fn each_format_has_the_same_series() {
    let write = |accept: &str| {
        let mut out = Vec::new();
        let mut writer = Writer::new(negotiate(Some(accept)), &mut out);
        write_reading(&mut writer, &Labels::new(&[]), &full(), Names { cadvisor: true, triton: true });
        triton::write_instance(&mut writer, &full(), false);
        writer.finish();
        out
    };
    let read = |accept: &str, format| {
        let families = sonde_expo::read(&write(accept), format, &ReadLimits::default()).unwrap();
        families.into_iter().map(|family| family.name.into_string()).collect::<BTreeSet<_>>()
    };
    let text = read("text/plain;version=0.0.4", ReadFormat::Text);
    let openmetrics = read("application/openmetrics-text;version=1.0.0", ReadFormat::OpenMetrics);
    assert_eq!(text, openmetrics);
    assert!(text.contains("tcp_current_established_connections_total") && text.contains("mem_limit"), "{text:?}");
}
