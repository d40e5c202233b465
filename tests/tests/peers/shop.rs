//! Two pods' containers of a real containerd, an agent that serves them, and a Prometheus that scrapes it as it would a cAdvisor.
//!
//! One container computes in a tenth of a CPU and is throttled all the time. The other keeps most of its memory, writes and reads
//! a disk past the page cache, and sends over an interface of its own.

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use sonde_tests::{
    Containerd, Pod, Process, Prometheus, RawSeries, Room, Sonde, StaticServer, Task, eventually, run_to_end,
};

pub const THROTTLED: Pod<'_> = Pod { namespace: "shop", name: "web-1", container: "app", image: "registry.test/app:1" };
pub const STORE: Pod<'_> = Pod { namespace: "shop", name: "db-1", container: "store", image: "registry.test/store:2" };
/// Of each period of 10 ms, in CPUs.
pub const THROTTLED_CPUS: f64 = 0.1;
pub const MEMORY_LIMIT_BYTES: u32 = 32 << 20;
/// What the store keeps in memory, in files that only memory holds.
pub const KEPT_BYTES: u32 = 28 << 20;
/// What it writes to the disk each time round, and reads back.
const DISK_SCRIPT: &str = "dd if=/dev/zero of=/dev/shm/kept bs=1M count=28 2>/dev/null
while :; do
    dd if=/dev/zero of=/tmp/store bs=64k count=16 oflag=direct 2>/dev/null
    dd if=/tmp/store of=/dev/null bs=64k iflag=direct 2>/dev/null
    sleep 0.2
done";
/// Below the rhythm of the scrapes, so that each has a reading of its own.
const FLOOR: &str = "[reading]\nfloor = \"250ms\"";
/// Faster than any disk.
const FAR_OFF_BYTES_PER_SECOND: u64 = 1 << 40;
/// Until an answer is there that needs some scrapes.
const ANSWERED: Duration = Duration::from_secs(60);

/// All of it. Dropped in this order.
pub struct Shop {
    pub prometheus: Prometheus,
    _kube_state_metrics: StaticServer,
    _sonde: Sonde,
    _senders: Vec<Process>,
    pub store: Task,
    _containerd: Containerd,
    _room: Arc<Room>,
}

impl Shop {
    /// With rules for Prometheus, which may be none.
    pub fn open(rules: &str) -> Self {
        let room = Arc::new(Room::make());
        let mut containerd = Containerd::start(&room);
        let busy = ["--cpu-quota", "1000", "--cpu-period", "10000"];
        let throttled = containerd.run_pod(THROTTLED, &busy, "while :; do :; done");
        let limit = MEMORY_LIMIT_BYTES.to_string();
        let store = containerd.run_pod(STORE, &["--memory-limit", &limit], DISK_SCRIPT);
        count_disks(&store);
        let senders = wire(&store, &room);
        let sonde = Sonde::configure().inside(&room).config(FLOOR).up();
        for task in [&throttled, &store] {
            sonde.wait_for_instance(&task.id);
        }
        let kube_state_metrics = kube_state_metrics();
        let yaml = configuration(&sonde, &[&throttled.id, &store.id], &kube_state_metrics.authority());
        Self {
            prometheus: Prometheus::with_rules(&yaml, rules),
            _kube_state_metrics: kube_state_metrics,
            _sonde: sonde,
            _senders: senders,
            store,
            _containerd: containerd,
            _room: room,
        }
    }

    /// Whether the kernel keeps this file of the store's.
    pub fn store_has(&self, controller: &str, file: &str) -> bool {
        Containerd::cgroup(&self.store, controller).join(file).is_file()
    }

    /// Asks until a query has as many series as it should, and each value is one that `accept` takes.
    #[track_caller]
    pub fn answers(&self, query: &str, series: usize, accept: impl Fn(f64) -> bool) -> Vec<RawSeries> {
        eventually(query, ANSWERED, || {
            let found = self.prometheus.query(query);
            let is_right = |series: &RawSeries| series.samples.last().is_some_and(|(_, value)| accept(*value));
            if found.len() == series && found.iter().all(is_right) {
                return Ok(found);
            }
            Err(format!("{found:?}; {}", self.prometheus.targets()))
        })
    }
}

/// Newer kernels count a cgroup's use of a disk in the old hierarchy only once there is a limit on it: one that nobody reaches.
fn count_disks(task: &Task) {
    let blkio = Containerd::cgroup(task, "blkio");
    let disks = fs::read_to_string("/proc/partitions").expect("the kernel lists its disks");
    for kind in ["read", "write"] {
        let file = blkio.join(format!("blkio.throttle.{kind}_bps_device"));
        for disk in disks.lines().skip(2).filter(|_| file.is_file()) {
            let mut fields = disk.split_whitespace();
            let (major, minor) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            // A partition takes none; the disk that it is on does.
            let _ = fs::write(&file, format!("{major}:{minor} {FAR_OFF_BYTES_PER_SECOND}"));
        }
    }
}

/// Gives a container an interface whose other end is in its network too, and has both ends call, each once a second.
fn wire(task: &Task, room: &Room) -> Vec<Process> {
    let inside = |program: &str| {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(task.pid.to_string()).args(["--net", "--", program]);
        command
    };
    let ip = |arguments: &str| run_to_end(inside("ip").args(arguments.split(' ')));
    ip("link add eth0 type veth peer name peer0");
    ["eth0", "peer0"]
        .into_iter()
        .zip(1..)
        .map(|(interface, network)| {
            ip(&format!("address add 10.9.{network}.1/24 dev {interface}"));
            ip(&format!("link set {interface} up"));
            let mut arping = inside("busybox");
            arping.args(["arping", "-I", interface, &format!("10.9.{network}.2")]);
            Process::start("arping", &mut arping, &room.dir().join(interface))
        })
        .collect()
}

/// What kube-state-metrics says of the pods, which the rules join with.
fn kube_state_metrics() -> StaticServer {
    let line = |pod: Pod<'_>| {
        format!("kube_pod_info{{namespace=\"{}\",pod=\"{}\",node=\"worker-1\"}} 1\n", pod.namespace, pod.name)
    };
    let body = format!("# TYPE kube_pod_info gauge\n{}{}", line(THROTTLED), line(STORE));
    let page = ("text/plain; version=0.0.4".to_owned(), body.into_bytes());
    StaticServer::start(HashMap::from([("/metrics".to_owned(), page)]))
}

/// A path for each container where a kubelet has one for all, and nothing else that differs from how a cAdvisor is scraped.
fn configuration(sonde: &Sonde, instances: &[&str], kube_state_metrics: &str) -> String {
    let agent = sonde.authority();
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
scrape_configs:
- job_name: cadvisor
  static_configs: [{{targets: [node, {instances}]}}]
  relabel_configs:
  - {{source_labels: [__address__], target_label: __metrics_path__, replacement: /v1/$1/metrics}}
  - {{target_label: __address__, replacement: '{agent}'}}
- job_name: kube-state-metrics
  static_configs: [{{targets: ['{kube_state_metrics}']}}]
",
        instances = instances.join(", ")
    )
}
