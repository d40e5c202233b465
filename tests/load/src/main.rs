//! `sonde-load`: one measurement a command, its figures as JSON. `cargo xtask bench` and `cargo xtask soak` call it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};
use sonde_host::{Share, StandingRules};
use sonde_load::{Behaviour, Group, LoadError, Node, Plan, serve};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The server of an instance
    Serve,
    /// Honest sensors, computing and asking, and hostile ones beside them
    Load(Load),
    /// One account with one sensor, one with many that spin
    Fairness(Common),
    /// What one run costs in each process, computing and asking
    Cost(Common),
    /// Loading cold and cached, and a runner's death
    Start(Start),
}

#[derive(Args, Clone)]
struct Common {
    /// The `sonde` binary
    #[arg(long)]
    sonde: PathBuf,
    /// The folder of built guests
    #[arg(long)]
    guests: PathBuf,
    /// Seconds that are measured
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

#[derive(Args)]
struct Load {
    #[command(flatten)]
    common: Common,
    /// Sensors that only compute
    #[arg(long, default_value_t = 0)]
    computing: usize,
    /// Sensors that ask a TCP server
    #[arg(long, default_value_t = 0)]
    asking: usize,
    /// Sensors that mean harm
    #[arg(long, default_value_t = 0)]
    hostile: usize,
    #[arg(long, default_value_t = 1_000)]
    accounts: usize,
    #[arg(long, default_value_t = 200)]
    digests: usize,
    #[arg(long, default_value_t = 15)]
    interval: u64,
    #[arg(long, default_value_t = 20)]
    servers: usize,
    /// Seconds before anything is measured; twice the interval and 20 at least, after which each sensor runs at a time of its own
    #[arg(long)]
    warm_up: Option<u64>,
    /// Failing sensors go on as if nothing were held against them
    #[arg(long)]
    unforgetting: bool,
}

#[derive(Args)]
struct Start {
    #[command(flatten)]
    common: Common,
    #[arg(long, default_value_t = 1_000)]
    digests: usize,
}

/// File, name, and what it is told to do and how much of it.
type Harm = (&'static str, &'static str, Option<(&'static str, &'static str)>);

/// Guests that mean harm.
const HOSTILE: [Harm; 13] = [
    ("spin", "h-spin", None),
    ("grow", "h-grow", None),
    ("trap", "h-trap", None),
    ("garbage", "h-garbage", None),
    ("flood", "h-flood", None),
    ("liar", "h-liar", None),
    ("over", "h-calls", Some(("calls", "100000"))),
    ("over", "h-series", Some(("series", "5000"))),
    ("over", "h-value", Some(("label_value", "300000"))),
    ("over", "h-log", Some(("log_lines", "100000"))),
    ("over", "h-recurse", Some(("recurse", "10000000"))),
    ("over", "h-sockets", Some(("sockets", "1000"))),
    ("over", "h-wait", Some(("wait", "0"))),
];
const HOSTILE_INTERVAL: Duration = Duration::from_secs(1);

/// Nothing is held against anybody.
const UNFORGETTING: StandingRules = StandingRules { quarantine_after: u32::MAX, longest_back_off: Duration::ZERO };

fn plan(common: &Common) -> Result<Plan, LoadError> {
    let server =
        std::env::current_exe().map_err(|error| LoadError(format!("this program is not to be found: {error}")))?;
    Ok(Plan {
        sonde: common.sonde.clone(),
        server,
        groups: Vec::new(),
        share: Share::DEFAULT,
        standing: StandingRules::default(),
        servers: 0,
        warm_up: Duration::from_secs(2),
        measured: Duration::from_secs(common.seconds),
    })
}

fn group(common: &Common, file: &str, name: &'static str, sensors: usize) -> Group {
    Group {
        file: common.guests.join(format!("{file}.wasm")),
        behaviour: Behaviour::Honest,
        sensors,
        accounts: 1,
        name,
        digests: 1,
        interval: Duration::from_secs(1),
        config: Vec::new(),
    }
}

/// For the first runs of all that was placed, which are due at once.
const LEAST_WARM_UP: Duration = Duration::from_secs(20);

async fn load(load: &Load) -> Result<Value, LoadError> {
    let mut plan = plan(&load.common)?;
    let interval = Duration::from_secs(load.interval);
    let spread = |group: Group| Group {
        accounts: load.accounts.min(group.sensors.max(1)),
        digests: load.digests.min(group.sensors.max(1)),
        interval,
        ..group
    };
    if load.computing > 0 {
        plan.groups.push(spread(group(&load.common, "pulse", "computing", load.computing)));
    }
    if load.asking > 0 {
        plan.groups.push(spread(group(&load.common, "asker", "asking", load.asking)));
        plan.servers = load.servers;
    }
    for (number, (file, name, told)) in HOSTILE.into_iter().enumerate() {
        let sensors = load.hostile / HOSTILE.len() + usize::from(number < load.hostile % HOSTILE.len());
        if sensors > 0 {
            let harm = group(&load.common, file, name, sensors);
            let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
            let told =
                told.iter().flat_map(|(what, amount)| [set("what", what), set("amount", amount), set("port", "7")]);
            let config = told.collect();
            plan.groups.push(Group { behaviour: Behaviour::Hostile, interval: HOSTILE_INTERVAL, config, ..harm });
        }
    }
    plan.warm_up = load.warm_up.map_or((interval * 2).max(LEAST_WARM_UP), Duration::from_secs);
    if load.unforgetting {
        plan.standing = UNFORGETTING;
    }
    let folder = tempfile::tempdir().map_err(|error| LoadError(error.to_string()))?;
    let mut node = Node::start(plan, &folder.path().join("code")).await?;
    let figures = node.carry_out().await?;
    node.stop().await;
    Ok(json!(figures))
}

/// The one asks for a run each 100 ms.
const MODEST: Duration = Duration::from_millis(100);

async fn fairness(common: &Common) -> Result<Value, LoadError> {
    let mut plan = plan(common)?;
    // Of equal weight, and bounded by nothing but each other.
    plan.share = Share { cpu_cores: f64::INFINITY, ..Share::DEFAULT };
    plan.standing = UNFORGETTING;
    let modest = Group { interval: MODEST, ..group(common, "pulse", "modest", 1) };
    let greedy = Group { behaviour: Behaviour::Hostile, ..group(common, "spin", "greedy", 1_000) };
    let mut figures = Vec::new();
    for groups in [vec![modest.clone()], vec![greedy, modest]] {
        let folder = tempfile::tempdir().map_err(|error| LoadError(error.to_string()))?;
        let mut node = Node::start(Plan { groups, ..plan.clone() }, &folder.path().join("code")).await?;
        figures.push(node.carry_out().await?);
        node.stop().await;
    }
    Ok(json!({ "alone": figures[0], "beside_1000_that_spin": figures[1] }))
}

async fn cost(common: &Common) -> Result<Value, LoadError> {
    let mut rows = serde_json::Map::new();
    for (file, servers) in [("pulse", 0), ("asker", 1)] {
        let mut plan = plan(common)?;
        plan.share = Share::OPERATOR;
        plan.servers = servers;
        // Due again as soon as it is done: what is measured is one run after the other.
        plan.groups = vec![Group { interval: Duration::ZERO, ..group(common, file, "restless", 1) }];
        let folder = tempfile::tempdir().map_err(|error| LoadError(error.to_string()))?;
        let mut node = Node::start(plan, &folder.path().join("code")).await?;
        let figures = node.carry_out().await?;
        node.stop().await;
        let each = |seconds: f64| seconds * 1e6 / figures.honest_runs.max(1) as f64;
        rows.insert(
            file.to_owned(),
            json!({
                "runs": figures.honest_runs, "failures": figures.honest_failures, "fault": figures.honest_fault,
                "wall_us": each(figures.seconds),
                "agent_cpu_us": each(figures.used.agent.cpu_seconds),
                "broker_cpu_us": each(figures.used.broker.cpu_seconds),
                "runner_cpu_us": each(figures.used.runners.cpu_seconds),
            }),
        );
    }
    Ok(rows.into())
}

async fn start(start: &Start) -> Result<Value, LoadError> {
    let plan = plan(&start.common)?;
    let folder = tempfile::tempdir().map_err(|error| LoadError(error.to_string()))?;
    let code = folder.path().join("code");
    let group = Group { digests: start.digests, ..group(&start.common, "pulse", "start", 1) };
    let node = Node::start(plan.clone(), &code).await?;
    let (_, cold) = node.load(&group).await?;
    node.stop().await;
    let mut node = Node::start(plan, &code).await?;
    let (kept, cached) = node.load(&group).await?;
    let all = Group { sensors: start.digests, interval: Duration::from_millis(250), ..group };
    let part = node.place(&all).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let back = node.kill_runners(&part).await?;
    let usage = node.usage();
    drop(kept);
    node.stop().await;
    Ok(json!({
        "cold": cold, "cached": cached, "usage": usage,
        "sensors_that_ran_each_250_ms": part.slots.len(), "all_back_after_a_kill_seconds": back.as_secs_f64(),
    }))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Serve = cli.command {
        return if serve().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let done = runtime.map_err(|error| LoadError(error.to_string())).and_then(|runtime| {
        runtime.block_on(async {
            match &cli.command {
                Command::Serve => Ok(Value::Null),
                Command::Load(plan) => load(plan).await,
                Command::Fairness(common) => fairness(common).await,
                Command::Cost(common) => cost(common).await,
                Command::Start(plan) => start(plan).await,
            }
        })
    });
    match done {
        Ok(figures) => {
            println!("{figures:#}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("sonde-load: {error}");
            ExitCode::FAILURE
        }
    }
}
