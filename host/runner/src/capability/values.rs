//! `config`, `secrets`, `state`, `log`, `clock`: what the host itself knows of the run.
//!
//! None of these waits for anything but `secrets`, which the broker reads from where the operator keeps them, and only under names
//! that the grant holds. State stored by a run is kept by the node only where the run succeeds. The clock counts in milliseconds.

use std::time::{SystemTime, UNIX_EPOCH};

use sonde_host::{BrokerError, LogLevel};

use crate::bindings::sonde::sensor::{clock, config, log, secrets, state};
use crate::ctx::{Ctx, within};

/// What asking for a secret costs the node: two processes woken, a file read.
const SECRET_MICROSECONDS: u64 = 100;

impl config::Host for Ctx {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        self.call()?;
        let value = self.grant.config.get(&key).cloned();
        self.charge_bytes(key.len() + value.as_ref().map_or(0, String::len))?;
        Ok(value)
    }
}

impl secrets::Host for Ctx {
    async fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        self.call_worth(1, SECRET_MICROSECONDS)?;
        self.charge_bytes(name.len())?;
        if !self.grant.secrets.contains(&name) {
            return Ok(None);
        }
        let broker = self.broker.clone();
        match within(self.deadline, broker.secret(&name)).await.unwrap_or(Err(BrokerError::Timeout)) {
            Ok(secret) => Ok(secret),
            Err(error) => {
                self.log(LogLevel::Warn, &format!("secrets: {name}: {error}"));
                Ok(None)
            }
        }
    }
}

impl state::Host for Ctx {
    fn load(&mut self) -> wasmtime::Result<Vec<u8>> {
        self.call()?;
        let state = self.stored_state.clone().unwrap_or_else(|| self.state.to_vec());
        self.charge_bytes(state.len())?;
        Ok(state)
    }

    fn store(&mut self, bytes: Vec<u8>) -> wasmtime::Result<bool> {
        self.call()?;
        self.charge_bytes(bytes.len())?;
        let fits = self.grant.state && bytes.len() <= self.grant.limits.state_bytes as usize;
        if fits {
            self.stored_state = Some(bytes);
        }
        Ok(fits)
    }
}

impl log::Host for Ctx {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.call_of_log()?;
        self.charge_bytes(message.len())?;
        let level = match level {
            log::Level::Debug => LogLevel::Debug,
            log::Level::Info => LogLevel::Info,
            log::Level::Warn => LogLevel::Warn,
            log::Level::Error => LogLevel::Error,
        };
        self.log(level, &message);
        Ok(())
    }
}

impl clock::Host for Ctx {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.call()?;
        Ok(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64)
    }

    fn elapsed(&mut self) -> wasmtime::Result<u64> {
        self.call()?;
        Ok(self.started.elapsed().as_millis() as u64)
    }
}
