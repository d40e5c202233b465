//! node_exporter (Debian's) on the same machine at the same time: each sample that both have says the same.
//!
//! Ours is taken between two of theirs, and lies between them. Gauges that go to and fro may be outside by chance, so
//! each sample has to agree once, in one of many rounds; a wrong unit, column or label never would. What only they have is
//! listed here by collector, so that a name that we lose, or that they gain, is noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use sonde_tests::{Exposition, Process, Request, Sonde, eventually};
use tempfile::TempDir;

const START: Duration = Duration::from_secs(20);
/// Until each sample has agreed once: a gauge that moves all the time takes some rounds.
const AGREED: Duration = Duration::from_secs(90);
const FLOOR: &str = "[reading]\nfloor = \"50ms\"";
/// What node_exporter says of itself.
const ITS_OWN: [&str; 5] = ["go_", "process_", "promhttp_", "node_scrape_", "node_exporter_"];
/// Whole collectors of theirs that we have not, by the beginnings of their names: hardware's sensors and inventory, the clock's
/// discipline and sources, what a process would have to be asked for, and files that others write.
const COLLECTORS_NOT_OURS: [&str; 37] = [
    "node_arp_",
    "node_bcache_",
    "node_bonding_",
    "node_btrfs_",
    "node_cooling_device_",
    "node_dmi_",
    "node_edac_",
    "node_entropy_",
    "node_fibrechannel_",
    "node_hwmon_",
    "node_infiniband_",
    "node_ipvs_",
    "node_md_",
    "node_mdadm_",
    "node_nfs_",
    "node_nfsd_",
    "node_nvme_",
    "node_os_",
    "node_power_supply_",
    "node_rapl_",
    "node_schedstat_",
    "node_selinux_",
    "node_tape_",
    "node_textfile_",
    "node_thermal_zone_",
    "node_time_clocksource_",
    "node_time_zone_",
    "node_udp_queues",
    "node_xfs_",
    // Of the cpu collector: frequencies and throttling, which only hardware has.
    "node_cpu_core_throttles_",
    "node_cpu_frequency_",
    "node_cpu_info",
    "node_cpu_package_throttles_",
    "node_cpu_scaling_",
    "node_disk_device_mapper_info",
    "node_disk_ata_",
    "node_disk_filesystem_info",
];
/// Of collectors that we have, what only they have. Of an interface's files they read some for which the kernel takes its one lock
/// of all networking (`collect/src/node/network.rs`), and inventory that no dashboard asks for.
const NAMES_NOT_OURS: [&str; 29] = [
    "node_disk_info",
    "node_filesystem_device_error",
    "node_network_address_assign_type",
    "node_network_carrier",
    "node_network_carrier_down_changes_total",
    "node_network_carrier_up_changes_total",
    "node_network_device_id",
    "node_network_dormant",
    "node_network_flags",
    "node_network_iface_id",
    "node_network_iface_link",
    "node_network_iface_link_mode",
    "node_network_info",
    "node_network_name_assign_type",
    "node_network_net_dev_group",
    "node_network_protocol_type",
    "node_network_receive_nohandler_total",
    "node_network_speed_bytes",
    "node_network_transmit_queue_length",
    "node_nf_conntrack_stat_drop",
    "node_nf_conntrack_stat_early_drop",
    "node_nf_conntrack_stat_found",
    "node_nf_conntrack_stat_ignore",
    "node_nf_conntrack_stat_insert",
    "node_nf_conntrack_stat_insert_failed",
    "node_nf_conntrack_stat_invalid",
    "node_nf_conntrack_stat_search_restart",
    "node_zfs_zpool_io",
    "node_network_altnames_info",
];
/// Below this many the two were not compared: each has over a hundred names on any machine.
const NAMES_AT_LEAST: usize = 120;

/// Of a value, what arithmetic in another order may change.
const ROUNDING: f64 = 1e-12;

/// Name and labels.
type Key = (String, BTreeMap<String, String>);

struct NodeExporter {
    _process: Process,
    _dir: TempDir,
    url: String,
}

impl NodeExporter {
    fn start() -> Self {
        let dir = TempDir::new().expect("a temporary folder can be made");
        let mut command = Command::new("prometheus-node-exporter");
        command.arg("--web.listen-address=127.0.0.1:0");
        let mut process = Process::start("node_exporter", &mut command, &dir.path().join("log"));
        let url = eventually("node_exporter listening", START, || {
            assert!(process.ended().is_none(), "it ended at once: {}", process.log());
            let log = process.log();
            let line = log.lines().find(|line| line.contains("Listening on")).ok_or_else(|| log.clone())?;
            let address = line.split("address=").nth(1).ok_or_else(|| log.clone())?;
            Ok::<_, String>(format!("http://{}/metrics", address.trim()))
        });
        Self { _process: process, _dir: dir, url }
    }

    #[track_caller]
    fn scrape(&self) -> Exposition {
        let response = Request::get(&self.url).send().unwrap_or_else(|error| panic!("GET {}: {error}", self.url));
        Exposition::read(&response.text())
    }
}

/// The samples of names that begin as a node's do.
fn samples(exposition: &Exposition) -> BTreeMap<Key, f64> {
    let own = |name: &str| ITS_OWN.iter().any(|prefix| name.starts_with(prefix));
    let of_the_node = exposition.samples.iter().filter(|sample| sample.name.starts_with("node_") && !own(&sample.name));
    of_the_node.map(|sample| ((sample.name.clone(), sample.labels.clone()), sample.value)).collect()
}

fn names(samples: &BTreeMap<Key, f64>) -> BTreeSet<&str> {
    samples.keys().map(|(name, _)| name.as_str()).collect()
}

/// One of ours between two of theirs; none where ours was taken before the first of theirs had ended.
fn round(theirs: &NodeExporter, sonde: &Sonde) -> Option<[BTreeMap<Key, f64>; 3]> {
    let before = theirs.scrape();
    let began = Instant::now();
    let ours = sonde.scrape("node");
    let taken_before = began.elapsed();
    let after = theirs.scrape();
    let age = ours.value("sonde_reading_age_seconds", &[]).expect("a reading has an age");
    (age < taken_before.as_secs_f64()).then(|| [before, ours, after].map(|exposition| samples(&exposition)))
}

/// Samples that one side alone can have at any moment, because a device or a mount came or went, are asked for again like all others.
#[test]
fn every_sample_that_node_exporter_has_too_is_the_same() {
    let theirs = NodeExporter::start();
    let sonde = Sonde::configure().config(FLOOR).up();
    let mut agreed: BTreeSet<Key> = BTreeSet::new();
    let compared = eventually("agreement with node_exporter", AGREED, || {
        let [before, ours, after] = round(&theirs, &sonde).ok_or("our reading is older than theirs")?;
        let both: BTreeSet<&str> = names(&ours).intersection(&names(&before)).copied().collect();
        let mut open = Vec::new();
        for (key, low) in before.iter().filter(|(key, _)| both.contains(key.0.as_str())) {
            let (low, high) = (low, after.get(key).unwrap_or(low));
            let (low, high) = (low.min(*high), low.max(*high));
            // One may divide by a thousand where the other multiplies by a thousandth.
            let (low, high) = (low - low.abs() * ROUNDING, high + high.abs() * ROUNDING);
            match ours.get(key) {
                Some(value) if (low..=high).contains(value) => {
                    agreed.insert(key.clone());
                }
                other if !agreed.contains(key) && after.contains_key(key) => {
                    open.push(format!("{key:?} is {other:?} and not from {low} to {high}"));
                }
                _ => {}
            }
        }
        if open.is_empty() { Ok(both.len()) } else { Err(open.join("\n")) }
    });
    assert!(compared >= NAMES_AT_LEAST, "only {compared} names are both's");
}

#[test]
fn what_only_node_exporter_has_is_known() {
    let theirs = NodeExporter::start();
    let sonde = Sonde::configure().config(FLOOR).up();
    // File systems are asked apart, and told of at a later reading.
    sonde.wait_for_value("node", "node_filesystem_size_bytes", &[("mountpoint", "/")], START, |size| size > 0.0);
    let (their, our) = (samples(&theirs.scrape()), samples(&sonde.scrape("node")));
    let ours = names(&our);
    let not_ours = |name: &str| COLLECTORS_NOT_OURS.iter().any(|prefix| name.starts_with(prefix));
    let only_theirs = names(&their).into_iter().filter(|name| !ours.contains(name) && !not_ours(name));
    let lacking: Vec<&str> = only_theirs.filter(|name| !NAMES_NOT_OURS.contains(name)).collect();
    assert!(lacking.is_empty(), "node_exporter has {lacking:?}, and we neither have them nor say why not");
    let since: Vec<&&str> = ours.iter().filter(|name| NAMES_NOT_OURS.contains(name) || not_ours(name)).collect();
    assert!(since.is_empty(), "{since:?} are ours by now");
}

/// Kinds too, where they say one: a graph's function is chosen by it.
#[test]
fn kinds_are_node_exporters() {
    let theirs = NodeExporter::start();
    let sonde = Sonde::configure().up();
    let (their, our) = (theirs.scrape(), sonde.scrape("node"));
    let known: BTreeMap<&String, &String> = their.kinds.iter().map(|(name, kind)| (name, kind)).collect();
    let differ: Vec<_> = our.kinds.iter().filter(|(name, kind)| known.get(name).is_some_and(|k| *k != kind)).collect();
    assert!(differ.is_empty(), "{differ:?}");
}
