//! `sonde broker`, `sonde runner`, `sonde compile-worker`: the lives that an agent starts by itself. Not for people.
//!
//! Each is this same program, so an agent and its processes are always of one build. What they get is on their descriptors; started by hand
//! they find nothing there and end.

use std::path::PathBuf;

use clap::Args;
use sonde_jail::Jail;
use sonde_manifest::Class;

use crate::agent::THIS_PROGRAM;
use crate::failure::Failure;
use crate::logging::Logging;

#[derive(Args)]
pub struct Broker {
    /// What compile workers are started from, if not this program
    #[arg(long, value_name = "F")]
    compile_worker: Option<PathBuf>,
    #[command(flatten)]
    logging: Logging,
}

impl Broker {
    pub fn run(self) -> Result<(), Failure> {
        crate::wiping::begin();
        self.logging.start();
        let program = PathBuf::from(THIS_PROGRAM);
        let compile_worker = self.compile_worker.unwrap_or_else(|| program.clone());
        sonde_broker::run(program, compile_worker).map_err(|error| Failure::failed(sonde_host::chain(&error)))
    }
}

fn jail(text: &str) -> Result<Jail, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn class(name: &str) -> Result<Class, String> {
    Class::ALL.into_iter().find(|class| class.name() == name).ok_or_else(|| "small, medium or large".to_owned())
}

#[derive(Args)]
pub struct Runner {
    #[arg(long, value_parser = class)]
    class: Class,
    #[arg(long)]
    places: usize,
    #[arg(long, value_parser = jail)]
    jail: Jail,
}

impl Runner {
    pub fn run(self) -> Result<(), Failure> {
        crate::wiping::begin();
        sonde_runner::process::run(&self.jail, self.class, self.places).map_err(|error| {
            sonde_runner::process::last_words(&error);
            Failure::failed(sonde_host::chain(&error))
        })
    }
}

#[cfg(feature = "compiler")]
#[derive(Args)]
pub struct CompileWorker {
    #[arg(long, value_parser = jail)]
    jail: Jail,
}

#[cfg(feature = "compiler")]
impl CompileWorker {
    pub fn run(self) -> Result<(), Failure> {
        sonde_runner::compile::run(&self.jail).map_err(|error| Failure::failed(sonde_host::chain(&error)))
    }
}
