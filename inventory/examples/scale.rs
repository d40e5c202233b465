//! What a large inventory costs: `cargo run --release -p sonde-inventory --example scale [INSTANCES ACCOUNTS [FILE]]`.
//!
//! Fills an embedded store (where FILE is not one already, which is then kept), restarts it, and prints bytes per instance in the catalogue, the time from the restart to the first answer, and the
//! time from a change to its being in the catalogue. With the feature `etcd` and `ETCD=http://HOST:PORT` also there, at another proxy's catalogue.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sonde_inventory::{Account, AccountName, Catalogue, Embedded, Instance, Node, Record, Store, Write};
use uuid::Uuid;

type Done = Result<(), Box<dyn Error>>;

/// Instances of one node.
const PER_NODE: u128 = 100;
/// Records of one transaction, and transactions on their way.
const BATCH: usize = 100;
const AT_ONCE: usize = 32;
/// Changes that are timed.
const CHANGES: usize = 500;

#[tokio::main]
async fn main() -> Done {
    let mut arguments = std::env::args().skip(1);
    let instances = arguments.next().map(|text| text.parse()).transpose()?.unwrap_or(1_000_000);
    let accounts = arguments.next().map(|text| text.parse()).transpose()?.unwrap_or(100_000);
    let folder = tempfile::tempdir()?;
    let path = arguments.next().map_or(folder.path().join("inventory.redb"), PathBuf::from);
    if !path.exists() {
        fill(&path, instances, accounts).await?;
    }
    println!("file: {:.0} MiB", std::fs::metadata(&path)?.len() as f64 / f64::from(1 << 20));

    let (before, busy, began) = (resident_bytes(), cpu_seconds(), Instant::now());
    let store = Store::Embedded(Embedded::open(&path)?);
    println!("open: {:.2} s", began.elapsed().as_secs_f64());
    let catalogue = Arc::new(Catalogue::default());
    store.follow(catalogue.clone()).await?;
    let owner = AccountName::new("account-7")?;
    let known = catalogue.instances_of(&owner).len();
    let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - busy);
    println!(
        "restart to first answer: {took:.2} s, {cpu:.2} s of CPU ({:?}, {known} of one account)",
        catalogue.counts()
    );
    let bytes = resident_bytes().saturating_sub(before) as f64;
    println!(
        "resident after the restart, per instance, accounts and nodes included: {:.0} bytes",
        bytes / instances as f64
    );
    println!("embedded, change to catalogue: {}", changes(&store, &catalogue, &catalogue).await?);
    store.close().await;
    in_etcd().await
}

async fn fill(path: &std::path::Path, instances: u128, accounts: u128) -> Done {
    let store = Store::Embedded(Embedded::open(path)?);
    let began = Instant::now();
    let all = (0..accounts)
        .map(|n| Record::from(account(n)))
        .chain((0..instances.div_ceil(PER_NODE)).map(|n| Record::from(node(n))))
        .chain((0..instances).map(|n| Record::from(instance(n, accounts))));
    let mut all = all.peekable();
    while all.peek().is_some() {
        let writing: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let writes = all.by_ref().take(BATCH).map(put).collect();
                let store = store.clone();
                tokio::spawn(async move { store.write(writes).await })
            })
            .collect();
        for written in writing {
            written.await??;
        }
    }
    println!("filled: {:.1} s", began.elapsed().as_secs_f64());
    store.close().await;
    Ok(())
}

fn put(record: Record) -> Write {
    match record {
        Record::Account(account) => Write::put(None, Arc::unwrap_or_clone(account)),
        Record::Node(node) => Write::put(None, Arc::unwrap_or_clone(node)),
        Record::Instance(instance) => Write::put(None, Arc::unwrap_or_clone(instance)),
        Record::Sensor(sensor) => Write::put(None, Arc::unwrap_or_clone(sensor)),
    }
}

/// Times single changes, one after the other: from the call to its being in `seen_by`.
async fn changes(
    store: &Store,
    catalogue: &Arc<Catalogue>,
    seen_by: &Arc<Catalogue>,
) -> Result<String, Box<dyn Error>> {
    let mut took = Vec::with_capacity(CHANGES);
    for n in 0..CHANGES {
        let id = Uuid::from_u128(0xfeed);
        let was = catalogue.instance(id).map(Record::Instance);
        let mut changed = instance(0xfeed, 1);
        changed.id = id;
        changed.image = format!("image:{n}");
        let mut moves = seen_by.revisions();
        let image = changed.image.clone();
        let began = Instant::now();
        let writing = tokio::spawn({
            let store = store.clone();
            async move { store.write(vec![Write::put(was, changed)]).await }
        });
        while seen_by.instance(id).is_none_or(|seen| seen.image != image) {
            moves.changed().await?;
        }
        took.push(began.elapsed());
        writing.await??;
    }
    took.sort_unstable();
    let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    Ok(format!("p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms", ms(at(0.5)), ms(at(0.99)), ms(at(1.0))))
}

#[cfg(feature = "etcd")]
async fn in_etcd() -> Done {
    use sonde_inventory::etcd::{Etcd, EtcdSettings};
    let Ok(endpoint) = std::env::var("ETCD") else { return Ok(()) };
    let prefix = format!("/scale-{}", std::process::id());
    let settings =
        EtcdSettings { endpoints: endpoint.split(',').map(str::to_owned).collect(), prefix, ..Default::default() };
    let mut all = Vec::new();
    for _ in 0..2 {
        let store = Store::Etcd(Etcd::new(settings.clone())?);
        let catalogue = Arc::new(Catalogue::default());
        store.follow(catalogue.clone()).await?;
        let mut moves = catalogue.revisions();
        while !catalogue.is_synced() {
            moves.changed().await?;
        }
        all.push((store, catalogue));
    }
    let (writer, other) = (&all[0], &all[1]);
    println!("etcd, change to another proxy's catalogue: {}", changes(&writer.0, &writer.1, &other.1).await?);
    Ok(())
}

#[cfg(not(feature = "etcd"))]
async fn in_etcd() -> Done {
    Ok(())
}

fn account(n: u128) -> Account {
    let json = serde_json::json!({
        "name": format!("account-{n}"),
        "keys": [{ "name": "ada@example", "line": format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{n:043}") }],
        "tokens": [{ "id": format!("{n:012x}"), "sha256": format!("{n:064x}") }],
    });
    serde_json::from_value(json).expect("an account")
}

fn node(n: u128) -> Node {
    let url = format!("https://node-{n}.example:9164");
    let json = serde_json::json!({ "id": node_id(n), "hostname": format!("node-{n}"), "url": url });
    serde_json::from_value(json).expect("a node")
}

fn node_id(n: u128) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, format!("node {n}").as_bytes())
}

/// As docker with compose has them: a name, an id of 64 digits, an image, a few labels.
fn instance(n: u128, accounts: u128) -> Instance {
    let json = serde_json::json!({
        "id": Uuid::new_v5(&Uuid::NAMESPACE_DNS, format!("instance {n}").as_bytes()),
        "node": node_id(n / PER_NODE),
        "owner": format!("account-{}", n % accounts),
        "name": format!("shop-web-{}", n % 100),
        "alias": format!("shop-web-{}", n % 100),
        "runtime": "docker",
        "runtime_id": format!("{n:064x}"),
        "image": "registry.example/shop/web:2026.11.3",
        "state": "running",
        "groups": ["web"],
        "labels": {
            "com.docker.compose.project": "shop",
            "com.docker.compose.service": "web",
            "com.docker.compose.container-number": (n % 100).to_string(),
            "sonde.groups": "web",
        },
    });
    serde_json::from_value(json).expect("an instance")
}

/// CPU that this process has used (`/proc/self/stat`, user and system, in ticks of 10 ms): what the machine's others cannot lengthen.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// What the kernel says that this process holds (`/proc/self/statm`, in pages of 4 KiB).
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
