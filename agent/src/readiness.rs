//! What the agent has set aside for the rainy day, asked for at start and shown as series.
//!
//! Nothing here is fatal: an agent that lacks a reserve is better than none, and an ordinary user's lacks most of them. Each that was refused
//! is said once in the log by whoever asked, and `sonde_agent_readiness` has 0 for it. Memory and the kernel's mercy are what the
//! kernel says of the processes now (`broker/src/favour.rs`), not what was asked for.

use std::path::PathBuf;

use sonde_broker::favour;
use sonde_collect::described::{Described, Out, gauge};
use sonde_collect::{Names, Roots};
use sonde_expo::{Labels, Number, Writer};

use crate::cpu_weight;

/// As many descriptors as an agent wants: half for files that readings keep open, a quarter for connections, the rest for sensors.
const ENOUGH_DESCRIPTORS: u64 = 16_384;

pub(crate) static READINESS: Described =
    gauge("sonde_agent_readiness", "", "Whether a reserve for the rainy day is there.")
        .by(&["process", "step"])
        .of("`/proc/PID/status`, `oom_score_adj`; what the agent holds");

/// The reserves of one agent.
#[derive(Debug)]
pub struct Readiness {
    /// Folders in `/proc` of agent and broker.
    processes: [(&'static str, PathBuf); 2],
    enough_descriptors: bool,
    weight: bool,
}

impl Readiness {
    /// Takes what is not taken yet. `descriptors` is how many this process may have, `broker` the broker's process id.
    pub(crate) fn take(roots: &Roots, descriptors: u64, broker: u32) -> Self {
        let weight = cpu_weight::take(roots, &[std::process::id(), broker]);
        if let Err(error) = &weight {
            tracing::info!(error = crate::chain(error), "the agent has no weight of its own where CPU is short");
        }
        let folder = |name: &str| roots.proc.join(name);
        Self {
            processes: [("agent", folder("self")), ("broker", folder(&broker.to_string()))],
            enough_descriptors: descriptors >= ENOUGH_DESCRIPTORS,
            weight: weight.is_ok(),
        }
    }

    /// Writes the family; `spare` is whether all spare descriptors are there.
    pub(crate) fn write(&self, writer: &mut Writer<'_>, spare: bool) {
        let none = Labels::new(&[]);
        let out = &mut Out::new(writer, &none, Names::default());
        let Some((mut family, none)) = out.family(&READINESS) else { return };
        let mut say = |process, step, there| {
            family.sample(none, &[("process", process), ("step", step)], Number::Unsigned(u64::from(there)));
        };
        for (process, folder) in &self.processes {
            let favour = favour::of(folder);
            say(process, "memory_locked", favour.memory_locked);
            say(process, "oom_score", favour.spared);
        }
        say("agent", "descriptors", self.enough_descriptors);
        say("agent", "spare_descriptors", spare);
        say("agent", "cpu_weight", self.weight);
    }
}
