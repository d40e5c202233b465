//! Taking chains from this machine's kernel, on illumos.
//!
//! A zone's chain is taken twice over: all that it wants, and after that once more what says who has its number. A zone that has
//! halted in between may have left its number to the next one, and then the reading is nobody's. The chain is walked in memory, and only
//! what is wanted is read; each read is one system call.

use std::io;
use std::time::Instant;

use sonde_kstat::Chain;

use super::{Zone, is_zfs, lists_zones, zones};
use crate::kstats;
use crate::reading::{Gone, Reading};
use crate::zfs::Zfs;

/// Reads zones; for one reading thread.
#[derive(Debug)]
pub struct ZoneReader {
    chain: Chain,
}

impl ZoneReader {
    /// Opens the chain.
    pub fn open() -> io::Result<Self> {
        Ok(Self { chain: Chain::open()? })
    }

    /// The zones that run now, without the global one.
    pub fn zones(&mut self) -> io::Result<Vec<Zone>> {
        Ok(zones(&self.chain.read(lists_zones)?))
    }

    /// One reading of a zone.
    pub fn read(&mut self, zone: &Zone) -> Result<Reading, Gone> {
        let began = Instant::now();
        let chain = self.chain.read(|header| zone.wants(header)).map_err(|_| Gone)?;
        let mut reading = zone.reading(&chain)?;
        self.confirm(zone)?;
        reading.took_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Ok(reading)
    }

    /// A zone's kstats as a sensor sees them.
    pub fn kstats(&mut self, zone: &Zone, module: &str) -> Result<Vec<kstats::Kstat>, Gone> {
        let chain = self.chain.read(|header| zone.wants(header)).map_err(|_| Gone)?;
        let seen = zone.kstats_for_sensors(&chain, module);
        self.confirm(zone)?;
        Ok(seen)
    }

    /// ZFS of the node.
    pub fn zfs(&mut self) -> io::Result<Option<Zfs>> {
        Ok(super::zfs(&self.chain.read(is_zfs)?))
    }

    fn confirm(&mut self, zone: &Zone) -> Result<(), Gone> {
        let chain = self.chain.read(lists_zones).map_err(|_| Gone)?;
        if zone.is_in(&chain) { Ok(()) } else { Err(Gone) }
    }
}
