//! `config`, `secrets`, `state`, `log`, `clock`: what the host itself knows of the run.
//!
//! None of these waits for anything but `secrets`, which the broker reads from where the operator keeps them, and only under names
//! that the grant holds. State stored by a run is kept by the node only where the run succeeds. The clock counts in milliseconds.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::bindings::sonde::sensor::{clock, config, log, secrets, state};
use crate::broker::BrokerError;
use crate::ctx::{Ctx, LogLevel, within};

impl config::Host for Ctx {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        self.call()?;
        Ok(self.grant.config.get(&key).cloned())
    }
}

impl secrets::Host for Ctx {
    async fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        self.call()?;
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
        Ok(self.stored_state.clone().unwrap_or_else(|| self.state.to_vec()))
    }

    fn store(&mut self, bytes: Vec<u8>) -> wasmtime::Result<bool> {
        self.call()?;
        let fits = self.grant.state && bytes.len() <= self.grant.limits.state_bytes as usize;
        if fits {
            self.stored_state = Some(bytes);
        }
        Ok(fits)
    }
}

impl log::Host for Ctx {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.count_call()?;
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
