//! `kstats` and `processes`: what the kernel knows of the instance, as values.
//!
//! The agent answers for kstats, from its own readings, and the broker for processes. Without the grant they are empty lists in the world's own shape,
//! and the first such call is said in the sensor's log, because the interface has no error to return.

use sonde_host::{BrokerError, KstatValue, LogLevel};

use crate::bindings::sonde::sensor::{kstats, processes};
use crate::ctx::{Ctx, within};

use kstats::{Kstat, KstatValue as GuestValue, Statistic};
use processes::Process;

/// What a call costs the node, in ordinary host calls (some hundred nanoseconds each) and in microseconds: one walks `/proc` for every
/// process, the other reads the instance and builds all statistics anew.
const PROCESSES_WORTH: u64 = 1_000;
const PROCESSES_MICROSECONDS: u64 = 1_000;
const KSTATS_WORTH: u64 = 100;
const KSTATS_MICROSECONDS: u64 = 150;

/// The most processes in one list.
const PROCESSES: usize = 1024;

impl Ctx {
    fn say(&mut self, interface: &str, why: &str) {
        self.log(LogLevel::Warn, &format!("{interface}: {why}"));
    }
}

impl kstats::Host for Ctx {
    async fn read(&mut self, module: String) -> wasmtime::Result<Vec<Kstat>> {
        self.call_worth(KSTATS_WORTH, KSTATS_MICROSECONDS)?;
        self.charge_bytes(module.len())?;
        if !self.grant.kstats {
            self.say("kstats", &super::not_granted("kstats"));
            return Ok(Vec::new());
        }
        let broker = self.broker.clone();
        match within(self.deadline, broker.kstats(&module)).await.unwrap_or(Err(BrokerError::Timeout)) {
            Ok(found) => Ok(found.into_iter().map(guest_kstat).collect()),
            Err(error) => {
                self.say("kstats", &error.to_string());
                Ok(Vec::new())
            }
        }
    }
}

fn guest_kstat(kstat: sonde_host::Kstat) -> Kstat {
    let statistics = kstat
        .statistics
        .into_iter()
        .map(|(name, value)| Statistic {
            name,
            value: match value {
                KstatValue::Unsigned(value) => GuestValue::Unsigned(value),
                KstatValue::Signed(value) => GuestValue::Signed(value),
                KstatValue::Float(value) => GuestValue::Float(value),
                KstatValue::Text(value) => GuestValue::Text(value),
            },
        })
        .collect();
    Kstat { module: kstat.module, name: kstat.name, statistics }
}

impl processes::Host for Ctx {
    async fn list_processes(&mut self) -> wasmtime::Result<Vec<Process>> {
        self.call_worth(PROCESSES_WORTH, PROCESSES_MICROSECONDS)?;
        if !self.grant.processes {
            self.say("processes", &super::not_granted("processes"));
            return Ok(Vec::new());
        }
        let broker = self.broker.clone();
        match within(self.deadline, broker.processes(PROCESSES)).await.unwrap_or(Err(BrokerError::Timeout)) {
            Ok(found) => Ok(found.into_iter().take(PROCESSES).map(guest_process).collect()),
            Err(error) => {
                self.say("processes", &error.to_string());
                Ok(Vec::new())
            }
        }
    }
}

fn guest_process(process: sonde_host::Process) -> Process {
    Process {
        pid: process.pid,
        name: process.name,
        state: process.state.to_string(),
        threads: process.threads,
        resident_bytes: process.resident_bytes,
        cpu_milliseconds: process.cpu_ms,
        started_milliseconds: process.started_unix_ms,
    }
}
