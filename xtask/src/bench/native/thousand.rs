//! A thousand instances on one node: CPU and memory of the agent and its broker, scraped every 10 s by a scraper that keeps a
//! connection to each as a Prometheus does, and left alone. And fewer, all of whose files can be kept open where a process may have no more
//! than some ten thousand descriptors.

use std::collections::HashSet;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use sonde_tests::{Exposition, Fleet, Footprint, KeptConnection, Sonde, eventually};

use crate::error::Error;
use crate::workspace::say;

const COUNTS: [usize; 2] = [300, 1000];
const SCRAPED_EVERY: Duration = Duration::from_secs(10);
/// Scrapes of each that are measured, after one that opens what is kept open.
const CYCLES: u32 = 3;
/// How long the node is left alone for.
const IDLE: Duration = Duration::from_secs(20);
/// Until all are found.
const FOUND: Duration = Duration::from_secs(60);
/// `USER_HZ`, which the kernel's interface fixes at 100 on every architecture that Rust knows.
const TICK_MS: f64 = 10.0;
/// cAdvisor v0.35 with 100 containers (issue 4): CPU for each container in a scrape's interval of 10 s, idle and scraped together, in ms;
/// series of each; memory of each, in MiB.
const CADVISOR_CPU_MS: f64 = (11.0 * 10.0 + 30.0) / 100.0;
const CADVISOR_SERIES: f64 = 36.27;
const CADVISOR_MIB: f64 = 0.32;

pub(super) fn bench(sonde: &Path) -> Result<(), Error> {
    COUNTS.into_iter().try_for_each(|instances| measure(sonde, instances))
}

fn measure(sonde: &Path, instances: usize) -> Result<(), Error> {
    say(&format!("{instances} instances, for a minute and a half"));
    let fleet = Fleet::of(instances);
    let sonde = Sonde::configure().binary(sonde).up();
    let ids: HashSet<String> = fleet.ids().map(str::to_owned).collect();
    eventually("all instances found", FOUND, || match found(&sonde, &ids) {
        all if all == instances => Ok(()),
        others => Err(format!("{others} are")),
    });
    let before = Used::of(&sonde);
    thread::sleep(IDLE);
    let unread = Used::of(&sonde);

    let url = |id: &str| sonde.url(&format!("/v1/{id}/metrics"));
    let open = |id: &str| KeptConnection::open(&sonde.url("/")).map(|connection| Some((url(id), connection)));
    let connections: Result<Vec<_>, _> = fleet.ids().map(open).collect();
    let refused = |source| Error::Start { command: "a connection to each instance".to_owned(), source };
    let mut targets = connections.map_err(refused)?;
    let mut bodies = Vec::new();
    cycle(&mut targets, &mut bodies).map_err(refused)?;
    let scraped_from = Used::of(&sonde);
    bodies.clear();
    for _ in 0..CYCLES {
        cycle(&mut targets, &mut bodies).map_err(refused)?;
    }
    let scraped_to = Used::of(&sonde);
    thread::sleep(IDLE);
    let idle = Used::of(&sonde);

    let seen = Seen { instances, body: &bodies[0], before, unread, scraped_from, scraped_to, idle };
    seen.say();
    Ok(())
}

/// What was used at each turn of a measurement.
struct Seen<'a> {
    instances: usize,
    body: &'a [u8],
    before: Used,
    unread: Used,
    scraped_from: Used,
    scraped_to: Used,
    idle: Used,
}

impl Seen<'_> {
    fn say(&self) {
        let Self { instances, body, before, unread, scraped_from, scraped_to, idle } = self;
        let series = Exposition::read(&String::from_utf8_lossy(body)).samples.len();
        let per_cycle_ms = (scraped_to.cpu_ms - scraped_from.cpu_ms) / f64::from(CYCLES);
        let idle_ms = |used: f64| used / IDLE.as_secs_f64();
        let mib = |kib: u64| kib as f64 / 1024.0;
        println!(
            "\n{instances} instances, {series} series and {} bytes each; agent, broker and runner together",
            body.len()
        );
        println!("  never scraped          {:>8.1} ms of CPU a second", idle_ms(unread.cpu_ms - before.cpu_ms));
        println!(
            "  scraped every 10 s     {:>8.1} ms of CPU a second, {per_cycle_ms:.0} ms a cycle",
            per_cycle_ms / 10.0
        );
        println!("  left alone afterwards  {:>8.1} ms of CPU a second", idle_ms(idle.cpu_ms - scraped_to.cpu_ms));
        println!(
            "  memory                 {:>8.0} MiB resident at first, {:.0} scraped; descriptors {} and {}",
            mib(before.resident_kib),
            mib(idle.resident_kib),
            before.descriptors,
            idle.descriptors
        );
        let each_ms = per_cycle_ms / *instances as f64;
        println!(
            "  a container and 10 s   {each_ms:>8.3} ms of CPU: {:.3} of cAdvisor's, with {:.1} times its series and {:.2} of its memory",
            each_ms / CADVISOR_CPU_MS,
            series as f64 / CADVISOR_SERIES,
            mib(idle.resident_kib) / *instances as f64 / CADVISOR_MIB
        );
    }
}

fn found(sonde: &Sonde, ids: &HashSet<String>) -> usize {
    let is_one = |id: &str| ids.contains(id);
    sonde.instances().iter().filter(|entry| entry["runtime_id"].as_str().is_some_and(is_one)).count()
}

/// Scrapes each once, evenly over the interval.
fn cycle(targets: &mut [Option<(String, KeptConnection)>], bodies: &mut Vec<Vec<u8>>) -> std::io::Result<()> {
    let (began, count) = (Instant::now(), targets.len() as u32);
    for (at, target) in (0..).zip(targets) {
        thread::sleep((SCRAPED_EVERY * at / count).saturating_sub(began.elapsed()));
        let Some((url, connection)) = target.take() else { continue };
        let (connection, response) = connection.get(&url)?;
        assert_eq!(response.status, 200, "{}", response.text());
        bodies.push(response.body);
        *target = Some((url, connection));
    }
    thread::sleep(SCRAPED_EVERY.saturating_sub(began.elapsed()));
    Ok(())
}

/// What the process tree has used and holds.
struct Used {
    cpu_ms: f64,
    resident_kib: u64,
    descriptors: usize,
}

impl Used {
    fn of(sonde: &Sonde) -> Self {
        let tree = Footprint::tree(sonde.pid());
        Self {
            cpu_ms: tree.into_iter().map(cpu_ms).sum(),
            resident_kib: Footprint::resident_kib(sonde.pid()),
            descriptors: sonde.footprint().descriptors,
        }
    }
}

/// CPU time of a process, user and system (proc(5), fields 14 and 15).
fn cpu_ms(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is the program's name in parentheses and may hold spaces; the third is the first after it.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * TICK_MS
}
