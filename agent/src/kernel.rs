//! An instance's kstats for its sensors: a reading like a scrape's, as values.

use std::sync::Arc;
use std::time::Duration;

use sonde_collect::kstats;
use sonde_host::{BrokerError, Kernel, Kstat, KstatValue, KstatsFuture};

use crate::floor::Scraper;
use crate::gate::{Answer, Gate, READ_DEADLINE};
use crate::reading_threads::ReadingThreads;

/// What a slot asks for kstats.
pub(crate) struct InstanceKernel {
    pub(crate) gate: Arc<Gate>,
    pub(crate) threads: Arc<ReadingThreads>,
    pub(crate) floor: Duration,
}

impl Kernel for InstanceKernel {
    fn kstats(&self, module: String) -> KstatsFuture<'_> {
        Box::pin(async move {
            match self.gate.read(Scraper::Anybody, self.floor, READ_DEADLINE, &self.threads).await {
                Answer::Taken(taken) => Ok(kstats::kstats(&taken.reading, &module).into_iter().map(kstat).collect()),
                Answer::Gone => Err(BrokerError::Gone),
                Answer::NotInTime => Err(BrokerError::Timeout),
            }
        })
    }
}

fn kstat(kstat: kstats::Kstat) -> Kstat {
    let value = |value| match value {
        kstats::KstatValue::Unsigned(value) => KstatValue::Unsigned(value),
        kstats::KstatValue::Signed(value) => KstatValue::Signed(value),
        kstats::KstatValue::Float(value) => KstatValue::Float(value),
        kstats::KstatValue::Text(value) => KstatValue::Text(value),
    };
    Kstat {
        module: kstat.module.to_string(),
        name: kstat.name,
        statistics: kstat.statistics.into_iter().map(|(name, v)| (name.to_string(), value(v))).collect(),
    }
}
