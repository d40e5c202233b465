//! What a run costs, against bare wasmtime on the same component, in one process and without a schedule.
//!
//! `cargo xtask bench run` calls it with a component that computes only. Rounds of both alternate, so that a slow moment of the machine
//! falls on both; what is printed are medians of rounds. CPU is the process's, all threads together; wall is from first to last.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use sonde_host::{Grant, Policy, Reserved};
use sonde_runner::bare::Bare;
use sonde_runner::{LocalLoader, LocalSensor, NoInstance, RunInput};

const ROUNDS: usize = 15;
const RUNS_PER_ROUND: u64 = 4_000;
const FUEL: u64 = 20_000_000;

struct Cost {
    wall_us: f64,
    cpu_us: f64,
}

fn process_cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

struct Meter {
    wall: Instant,
    cpu: Duration,
}

impl Meter {
    fn start() -> Self {
        Self { wall: Instant::now(), cpu: process_cpu() }
    }

    fn per_run(&self, runs: u64) -> Cost {
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / runs as f64;
        Cost { wall_us: each(self.wall.elapsed()), cpu_us: each(process_cpu() - self.cpu) }
    }
}

fn median(mut costs: Vec<Cost>) -> Cost {
    let middle = costs.len() / 2;
    costs.sort_by(|a, b| a.wall_us.total_cmp(&b.wall_us));
    let wall_us = costs[middle].wall_us;
    costs.sort_by(|a, b| a.cpu_us.total_cmp(&b.cpu_us));
    Cost { wall_us, cpu_us: costs[middle].cpu_us }
}

/// Instantiate, call, drop: wasmtime and nothing else.
async fn bare(bare: &Bare) -> Cost {
    let _running = bare.running();
    let meter = Meter::start();
    for _ in 0..RUNS_PER_ROUND {
        assert!(bare.run(FUEL).await.expect("the sensor runs") > 0);
    }
    meter.per_run(RUNS_PER_ROUND)
}

/// The node's run: limits, deadline, check. No schedule, no other process.
async fn run(sensor: &LocalSensor, grant: &Arc<Grant>) -> Cost {
    let meter = Meter::start();
    for _ in 0..RUNS_PER_ROUND {
        let input = RunInput { grant: grant.clone(), broker: Arc::new(NoInstance), state: Arc::from([]), account: 0 };
        assert!(sensor.run(input).await.result.is_ok());
    }
    meter.per_run(RUNS_PER_ROUND)
}

fn main() {
    let path = std::env::args().nth(1).expect("usage: bench_run COMPONENT.wasm");
    let bytes = std::fs::read(&path).expect("the component can be read");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    let (bare_cost, run_cost) = runtime.block_on(async {
        let yardstick = Bare::new(&bytes).expect("bare wasmtime takes it");
        let loader = LocalLoader::new(Reserved::default());
        let sensor = loader.load(&bytes).await.expect("the host takes it");
        let manifest = &sensor.sensor.manifest;
        let asked = manifest.resolve(&Default::default()).expect("it needs no configuration");
        let grant = Arc::new(Grant::decide(manifest, asked, &Policy::default()).expect("it asks for little"));
        let (mut bares, mut runs) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let costs = (bare(&yardstick).await, run(&sensor, &grant).await);
            // The first round warms the pools.
            if round > 0 {
                bares.push(costs.0);
                runs.push(costs.1);
            }
        }
        (median(bares), median(runs))
    });
    println!("{:<34} {:>9} {:>9} {:>10} {:>9}", "", "wall µs", "cpu µs", "wall ratio", "cpu ratio");
    for (name, cost) in [("bare wasmtime", &bare_cost), ("a run", &run_cost)] {
        let (wall, cpu) = (cost.wall_us / bare_cost.wall_us, cost.cpu_us / bare_cost.cpu_us);
        println!("{name:<34} {:>9.1} {:>9.1} {wall:>10.2} {cpu:>9.2}", cost.wall_us, cost.cpu_us);
    }
    println!("cpu_us_per_run {:.1}", run_cost.cpu_us);
}
