//! What a whole run through the host costs, against bare wasmtime on the same component, in one process.
//!
//! `cargo xtask bench run` calls it with a component that computes only. Rounds of both alternate, so that a slow moment of the machine
//! falls on both; what is printed are medians of rounds. CPU is the process's, all threads together; wall is from first to last.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use sonde_host::bare::Bare;
use sonde_host::{Grant, Loader, NoInstance, Placement, Policy, Reserved, RunInput, Schedule, Sensor, TargetId};

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

/// The host's run: limits, deadline, check. No schedule.
async fn run(sensor: &Sensor, grant: &Arc<Grant>) -> Cost {
    let meter = Meter::start();
    for _ in 0..RUNS_PER_ROUND {
        let input = RunInput { grant: grant.clone(), broker: Arc::new(NoInstance), state: Arc::from([]) };
        assert!(sensor.run(input).await.result.is_ok());
    }
    meter.per_run(RUNS_PER_ROUND)
}

/// All of it: the schedule finds the sensor due, spawns, runs, records and plans the next.
async fn scheduled(schedule: &Schedule, sensor: &Arc<Sensor>, grant: &Arc<Grant>, target: u64) -> Cost {
    // Due again as soon as it is done.
    let restless = Grant { interval: Duration::ZERO, min_interval: Duration::ZERO, ..(**grant).clone() };
    let slot = schedule
        .place(Placement {
            target: TargetId(target),
            name: "bench".into(),
            sensor: sensor.clone(),
            grant: Arc::new(restless),
            broker: Arc::new(NoInstance),
            state: Vec::new(),
        })
        .await;
    let meter = Meter::start();
    let before = slot.totals().runs;
    let mut done = 0;
    while done < RUNS_PER_ROUND {
        tokio::time::sleep(Duration::from_millis(5)).await;
        done = slot.totals().runs - before;
    }
    let cost = meter.per_run(done);
    schedule.remove(slot).await;
    cost
}

fn main() {
    let path = std::env::args().nth(1).expect("usage: bench_run COMPONENT.wasm");
    let bytes = std::fs::read(&path).expect("the component can be read");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    let (bare_cost, run_cost, scheduled_cost) = runtime.block_on(async {
        let yardstick = Bare::new(&bytes).expect("bare wasmtime takes it");
        let loader = Loader::new(Reserved::default()).expect("the sandbox can be set up");
        let sensor = loader.load(bytes).await.expect("the host takes it");
        let asked = sensor.manifest.resolve(&Default::default()).expect("it needs no configuration");
        let grant = Arc::new(Grant::decide(&sensor.manifest, asked, &Policy::default()).expect("it asks for little"));
        let schedule = Schedule::start(1).expect("a thread can be started");
        let (mut bares, mut runs, mut scheduleds) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let costs = (
                bare(&yardstick).await,
                run(&sensor, &grant).await,
                scheduled(&schedule, &sensor, &grant, round as u64).await,
            );
            // The first round warms the pools.
            if round > 0 {
                bares.push(costs.0);
                runs.push(costs.1);
                scheduleds.push(costs.2);
            }
        }
        (median(bares), median(runs), median(scheduleds))
    });
    let ratio = |cost: &Cost| (cost.wall_us / bare_cost.wall_us, cost.cpu_us / bare_cost.cpu_us);
    println!("{:<34} {:>9} {:>9} {:>10} {:>9}", "", "wall µs", "cpu µs", "wall ratio", "cpu ratio");
    for (name, cost) in [("bare wasmtime", &bare_cost), ("a run", &run_cost), ("a run, scheduled", &scheduled_cost)] {
        let (wall, cpu) = ratio(cost);
        println!("{name:<34} {:>9.1} {:>9.1} {wall:>10.2} {cpu:>9.2}", cost.wall_us, cost.cpu_us);
    }
    println!("cpu_us_per_run {:.1}", scheduled_cost.cpu_us);
}
