//! The `sonde` command: one file a command, no logic of its own.
//!
//! Exit codes: 0 done, 1 it failed, 2 wrong usage or configuration. An error is one sentence on standard error that
//! names the thing, the reason and the next step. What is for people goes to a terminal as a table, for programs as JSON (`--json`).

mod account;
mod agent;
mod cert;
mod cert_revoke_tier;
mod client;
mod data_folder;
mod explain;
mod failure;
mod get;
mod instance;
mod key;
mod logging;
mod node;
mod operator;
mod proxy;
mod scrape_config;
mod sensor_build;
#[cfg(feature = "compiler")]
mod sensor_inspect;
mod sensor_logs;
mod sensor_ls;
mod sensor_new;
mod sensor_push;
mod sensor_release;
mod sensor_rm;
#[cfg(feature = "compiler")]
mod sensor_test;
mod signals;
mod table;
mod tenant;
mod token;
mod up;
mod wiping;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Probes for other people's containers: native metrics and WebAssembly sensors, for Prometheus.
#[derive(Parser)]
#[command(
    name = "sonde",
    version,
    after_help = "Start with `sonde up`: it runs everything on this machine and prints the URLs to scrape."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on this machine, for trying and for small single machines
    Up(up::Up),
    /// Run the node's daemon
    Agent(agent::AgentArgs),
    /// Run the tenants' door
    Proxy(proxy::ProxyArgs),
    /// A sensor author's day: new, build, inspect, test, push, ls, rm, logs; and release, an operator's
    #[command(subcommand)]
    Sensor(Sensor),
    /// Look at instances
    #[command(subcommand)]
    Instance(Instance),
    /// Who may ask: accounts and their limits
    #[command(subcommand)]
    Account(account::Account),
    /// The SSH keys of an account
    #[command(subcommand)]
    Key(key::Key),
    /// The bearer tokens of an account
    #[command(subcommand)]
    Token(token::Token),
    /// The machines, and who may run there
    #[command(subcommand)]
    Node(node::Node),
    /// Certificates of accounts, nodes and proxies, and the authorities that sign them
    #[command(subcommand)]
    Cert(cert::Cert),
    /// Print one instance's exposition
    Get(get::Get),
    /// Say in a sentence why an instance's sensors are as they are
    Explain(explain::Explain),
    #[command(hide = true)]
    Broker(worker::Broker),
    #[command(hide = true)]
    Runner(worker::Runner),
    #[cfg(feature = "compiler")]
    #[command(hide = true)]
    CompileWorker(worker::CompileWorker),
}

#[derive(Subcommand)]
enum Sensor {
    /// Begin a sensor: a project that builds and passes its test as it is
    New(sensor_new::New),
    /// Build a sensor to NAME.wasm, its manifest embedded
    Build(sensor_build::Build),
    /// Say what a .wasm is, asks for and returns
    #[cfg(feature = "compiler")]
    Inspect(sensor_inspect::Inspect),
    /// Run a .wasm once under the node's exact limits, against a host and port
    #[cfg(feature = "compiler")]
    Test(sensor_test::Test),
    /// Send a .wasm to your account's instances, through a proxy
    Push(sensor_push::Push),
    /// List what your account pushed, and how it does
    Ls(sensor_ls::Ls),
    /// Take a pushed sensor away
    Rm(sensor_rm::Rm),
    /// Say what a pushed sensor logged, and how it last failed
    Logs(sensor_logs::Logs),
    /// Let a sensor run again that was quarantined or backed off
    Release(sensor_release::Release),
}

#[derive(Subcommand)]
enum Instance {
    /// List the instances of a running agent
    Ls(instance::Ls),
}

/// Which running agent to ask.
#[derive(Args)]
struct Running {
    /// The folder of a running `sonde up`
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Up(up) => up.run(),
        Command::Agent(agent) => agent.run(),
        Command::Proxy(proxy) => proxy.run(),
        Command::Sensor(Sensor::New(new)) => new.run(),
        Command::Sensor(Sensor::Build(build)) => build.run(),
        #[cfg(feature = "compiler")]
        Command::Sensor(Sensor::Inspect(inspect)) => inspect.run(),
        #[cfg(feature = "compiler")]
        Command::Sensor(Sensor::Test(test)) => test.run(),
        Command::Sensor(Sensor::Push(push)) => push.run(),
        Command::Sensor(Sensor::Ls(ls)) => ls.run(),
        Command::Sensor(Sensor::Rm(rm)) => rm.run(),
        Command::Sensor(Sensor::Logs(logs)) => logs.run(),
        Command::Sensor(Sensor::Release(release)) => release.run(),
        Command::Instance(Instance::Ls(ls)) => ls.run(),
        Command::Account(account) => account.run(),
        Command::Key(key) => key.run(),
        Command::Token(token) => token.run(),
        Command::Node(node) => node.run(),
        Command::Cert(cert) => cert.run(),
        Command::Get(get) => get.run(),
        Command::Explain(explain) => explain.run(),
        Command::Broker(broker) => broker.run(),
        Command::Runner(runner) => runner.run(),
        #[cfg(feature = "compiler")]
        Command::CompileWorker(worker) => worker.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}
