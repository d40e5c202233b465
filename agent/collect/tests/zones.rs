//! Zones of illumos from chains of kstats: one chain as `kstat -p` prints it, and what becomes of a reading when it is changed.
//!
//! `zones/smartos.txt` was written by hand after the documented output of kstat(8) and the fields in illumos's and SmartOS's sources; it is no recording of
//! a machine.

use sonde_collect::illumos::{self, Zone};
use sonde_collect::reading::{Cpu, DeviceIo, Gone, Interface};
use sonde_collect::{InstanceState, kstats, state};
use sonde_kstat::{Kstat, Value};

const CHAIN: &str = include_str!("zones/smartos.txt");

/// What `kstat -p` printed: `module:instance:name:statistic<TAB>value`; times are in seconds.
fn chain(text: &str) -> Vec<Kstat> {
    let mut chain: Vec<Kstat> = Vec::new();
    for line in text.lines() {
        let (key, text) = line.split_once('\t').unwrap();
        let [module, instance, name, statistic] = key.split(':').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let instance = instance.parse().unwrap();
        let is_it = |kstat: &Kstat| {
            let header = &kstat.header;
            (header.module.as_str(), header.instance, header.name.as_str()) == (module, instance, name)
        };
        if !chain.iter().any(is_it) {
            let mut kstat = Kstat::default();
            (kstat.header.module, kstat.header.instance) = (module.to_owned(), instance);
            kstat.header.name = name.to_owned();
            chain.push(kstat);
        }
        let kstat = chain.iter_mut().find(|kstat| is_it(kstat)).unwrap();
        let ns = || (text.parse::<f64>().unwrap() * 1e9).round() as i64;
        match statistic {
            "class" => kstat.header.class = text.to_owned(),
            "crtime" => kstat.header.created_ns = ns(),
            "snaptime" => kstat.taken_ns = ns(),
            _ => {
                let value = text.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Unsigned);
                kstat.statistics.push((statistic.to_owned(), value));
            }
        }
    }
    chain
}

fn zone(id: i32) -> Zone {
    illumos::zones(&chain(CHAIN)).into_iter().find(|zone| zone.id == id).unwrap()
}

#[test]
fn zones_have_their_whole_names_and_the_global_one_is_none() {
    let zones = illumos::zones(&chain(CHAIN));
    let told: Vec<_> = zones.iter().map(|zone| (zone.id, zone.name.as_str(), zone.created_ns)).collect();
    assert_eq!(told, [(12, "3c8e7a51-2f6d-4b8a-9d1e-5a7c0b44d2f1", 231_123_456_789), (13, "db0", 240_500_000_000)]);
    // A name that is not what the kstat is called: it cannot be told whose it is.
    assert_eq!(illumos::zones(&chain(&CHAIN.replace("zonename\tdb0", "zonename\tother"))).len(), 1);
}

#[test]
fn a_capped_zone_reads_as_a_container() {
    let reading = zone(12).reading(&chain(CHAIN)).unwrap();
    let cpu = Cpu { usage_ns: 9_000_000_001, user_ns: Some(7_000_000_001), system_ns: Some(2_000_000_000) };
    assert_eq!(reading.cpu, Some(cpu));
    let memory = &reading.memory;
    assert_eq!(
        (memory.rss_bytes, memory.usage_bytes, memory.working_set_bytes),
        (Some(64 << 20), Some(64 << 20), Some(64 << 20))
    );
    assert_eq!((memory.swap_bytes, memory.limit_hits, memory.events.oom), (Some(68 << 20), Some(4), Some(2)));
    let limits = &reading.limits;
    assert_eq!((limits.cpu_quota_us, limits.cpu_period_us), (Some(150_000), Some(100_000)));
    assert_eq!((limits.memory_bytes, limits.swap_bytes), (Some(256 << 20), Some(1 << 30)));
    assert_eq!(
        (reading.pids.processes, reading.live_processes, reading.pids.limit_hits),
        (Some(23), Some(23), Some(3))
    );
    assert_eq!(reading.started_unix_seconds, Some(1_767_323_045.0));
    let net0 = Interface {
        name: "net0".into(),
        receive_bytes: 8_000_000_000,
        receive_packets: 200,
        receive_errors: 1,
        receive_dropped: 2,
        transmit_bytes: 9_000_000_000,
        transmit_packets: 300,
        transmit_errors: 4,
        transmit_dropped: 3,
        up: None,
    };
    assert_eq!(reading.network, Some(vec![net0]));
    let tcp = reading.transport.unwrap().tcp;
    assert_eq!(
        (tcp.activeopens, tcp.passiveopens, tcp.attemptfails, tcp.currestab),
        (Some(11), Some(12), Some(1), Some(5))
    );
    assert_eq!((tcp.retranssegs, tcp.listenoverflows, tcp.tcpreqqfulldrop), (Some(13), Some(6), Some(7)));
    assert_eq!((tcp.tcpabortontimeout, tcp.estabresets), (Some(8), None));
    let io = |device: &str, bytes: (u64, u64), operations: (u64, u64)| DeviceIo {
        device: device.into(),
        number: device.into(),
        read_bytes: Some(bytes.0),
        written_bytes: Some(bytes.1),
        reads: Some(operations.0),
        writes: Some(operations.1),
        ..DeviceIo::default()
    };
    assert_eq!(reading.io, Some(vec![io("vfs", (5000, 6000), (50, 60)), io("zfs", (4096, 8192), (1, 2))]));
    assert_eq!(state::judge(None, &reading).state, InstanceState::Running);
}

#[test]
fn without_caps_there_are_no_limits_and_what_is_not_there_is_absent() {
    let reading = zone(13).reading(&chain(CHAIN)).unwrap();
    let limits = &reading.limits;
    // SmartOS's word for no cap, and OmniOS's.
    assert_eq!(
        (limits.memory_bytes, limits.swap_bytes, limits.cpu_quota_us, limits.cpu_period_us),
        (None, None, None, None)
    );
    assert_eq!((reading.memory.rss_bytes, reading.memory.limit_hits), (Some(4096), None));
    assert_eq!((reading.transport, reading.io, reading.live_processes), (None, None, None));
    // Its link has no packets to tell: half an interface is none.
    assert_eq!(reading.network, Some(Vec::new()));
    let none = zone(13).reading(&chain(&CHAIN.replace("physcap\t18446744073709551615", "physcap\t0"))).unwrap();
    assert_eq!(none.limits.memory_bytes, None);
}

#[test]
fn another_life_of_the_number_or_the_name_is_another_zone() {
    let zone = zone(13);
    let halted: String =
        CHAIN.lines().filter(|line| !line.starts_with("zones:13:")).map(|line| format!("{line}\n")).collect();
    for later in [
        halted,
        CHAIN.replace("crtime\t240.5", "crtime\t900.5"),
        CHAIN.replace("13:db0:", "13:web1:").replace("zonename\tdb0", "zonename\tweb1"),
        CHAIN.replace(":13:", ":14:"),
    ] {
        let later = chain(&later);
        assert!(!zone.is_in(&later));
        assert_eq!(zone.reading(&later).err(), Some(Gone));
    }
    assert!(zone.is_in(&chain(CHAIN)));
}

#[test]
fn what_is_of_another_zone_by_name_is_not_taken_by_number() {
    // Left over from the zone that had the number before.
    let text = CHAIN.replace(
        "memory_cap:12:3c8e7a51-2f6d-4b8a-9d1e-5a7c0b:zonename\t3c8e7a51-2f6d-4b8a-9d1e-5a7c0b44d2f1",
        "memory_cap:12:3c8e7a51-2f6d-4b8a-9d1e-5a7c0b:zonename\t3c8e7a51-2f6d-4b8a-9d1e-5a7c0bffffff",
    );
    let reading = zone(12).reading(&chain(&text)).unwrap();
    assert_eq!((reading.memory.rss_bytes, reading.limits.memory_bytes), (None, None));
    assert!(reading.cpu.is_some());
}

#[test]
fn sensors_see_the_kernels_own_names_of_their_zone_only() {
    let all = zone(12).kstats_for_sensors(&chain(CHAIN), "");
    let names = |module: &str| {
        let of = all.iter().filter(|kstat| kstat.module == module).map(|kstat| kstat.name.as_str());
        of.collect::<Vec<_>>()
    };
    assert_eq!(names("caps"), ["cpucaps_zone_12", "lockedmem_zone_12", "nprocs_zone_12", "swapresv_zone_12"]);
    assert_eq!((names("link"), names("zfs")), (vec!["z12_net0"], Vec::new()));
    let vfs = zone(12).kstats_for_sensors(&chain(CHAIN), "zone_vfs");
    let [kstats::Kstat { statistics, .. }] = &vfs[..] else { panic!("{vfs:?}") };
    let value = |name: &str| statistics.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    assert_eq!(value("rlentime"), Some(kstats::KstatValue::Unsigned(17)));
    assert_eq!(value("wlentime"), Some(kstats::KstatValue::Unsigned(18)));
    assert!(zone(12).kstats_for_sensors(&chain(CHAIN), "zfs").is_empty());
}

#[test]
fn zfs_of_the_node_is_as_on_linux() {
    use sonde_collect::zfs::Value::Unsigned;
    let zfs = illumos::zfs(&chain(CHAIN)).unwrap();
    let rows = [("c", 1 << 30), ("hits", 123_456), ("misses", 789)];
    let rows = rows.map(|(name, value)| (name.to_owned(), Unsigned(value))).to_vec();
    assert_eq!(zfs.modules, [("arcstats".to_owned(), rows)]);
    assert!(zfs.pools.is_empty());
    assert_eq!(illumos::zfs(&[]), None);
}
