//! What encoding costs: `encoding_cost CGROUP_PATH [TIMES]` reads an instance and the node once, writes each reading in
//! every format again and again, and prints bytes and the median time, beside text's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sonde_collect::state::judge;
use sonde_collect::{
    Discovery, DiscoveryConfig, FdBudget, GroupSource, InstanceReader, Names, NodeId, ProcessGroup, Roots, families,
    node, node_families,
};
use sonde_expo::{Escaping, Format, Labels, Negotiated, Writer};

const FORMATS: [(&str, Format, Escaping); 3] = [
    ("text", Format::Text004, Escaping::Underscores),
    ("openmetrics", Format::OpenMetrics100, Escaping::AllowUtf8),
    ("protobuf", Format::Protobuf, Escaping::AllowUtf8),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: encoding_cost CGROUP_PATH [TIMES]")?;
    let times: usize = arguments.next().map_or(Ok(2000), |times| times.parse())?;
    let roots = Arc::new(Roots::of_this_machine()?);
    let mut config = DiscoveryConfig::new(NodeId::new("cost")?);
    config.process_groups = vec![ProcessGroup { name: "cost".into(), source: GroupSource::Cgroup(path) }];
    let mut discovery = Discovery::new(roots.clone(), config);
    discovery.scan();
    let found = discovery.instances().find(|found| found.name.runtime_id == "cost").ok_or("no such cgroup")?.clone();
    let reading = InstanceReader::new(found, roots.clone(), &FdBudget::new(100)).read()?;
    let judgement = judge(None, &reading);
    // As long as those of a container: 64 digits in the path and again as the name.
    let id = "7f".repeat(32);
    let cgroup = format!("/system.slice/docker-{id}.scope");
    let base = Labels::new(&[("id", &cgroup), ("image", "registry.example/shop/cart:1.2"), ("name", &id)]);
    let of_node = node::NodeFiles::open(roots).read();

    println!("{:<10} {:<12} {:>8} {:>8} {:>6}", "target", "format", "bytes", "µs", "times");
    measure("instance", times, |writer| {
        families::write_reading(writer, &base, &reading, Names::default());
        families::write_judgement(writer, &base, &judgement);
        families::write_age(writer, &base, Duration::from_millis(1));
    });
    let none = Labels::new(&[]);
    measure("node", times, |writer| node_families::write_node(writer, &none, &of_node, Names::default()));
    Ok(())
}

/// Writes in all formats in turns, so that each sees the same machine, into one buffer that is as large as it has to be.
fn measure(target: &str, times: usize, write: impl Fn(&mut Writer<'_>)) {
    let mut out = Vec::new();
    let mut took_ns = FORMATS.map(|_| Vec::with_capacity(times));
    let mut bytes = [0; FORMATS.len()];
    for _ in 0..times {
        for (at, (_, format, escaping)) in FORMATS.into_iter().enumerate() {
            out.clear();
            let began = Instant::now();
            let mut writer = Writer::new(Negotiated::new(format, Some(escaping)), &mut out);
            write(&mut writer);
            writer.finish();
            took_ns[at].push(began.elapsed().as_nanos());
            bytes[at] = out.len();
        }
    }
    let medians = took_ns.map(|mut values| {
        values.sort_unstable();
        values[values.len() / 2] as f64
    });
    for (at, (name, ..)) in FORMATS.iter().enumerate() {
        let (us, ratio) = (medians[at] / 1e3, medians[at] / medians[0]);
        println!("{target:<10} {name:<12} {:>8} {us:>8.1} {ratio:>6.2}", bytes[at]);
    }
}
