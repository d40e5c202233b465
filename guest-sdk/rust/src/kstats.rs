//! What the kernel knows of the instance, as statistics with stable names.
//!
//! Manifest: `[capabilities] kstats = true`.

pub use crate::raw::kstats::{Kstat, KstatValue, Statistic};

/// The kstats of a module (`cpu`, `memory`, `net`, …), or of all where it is empty.
pub fn read(module: &str) -> Vec<Kstat> {
    crate::raw::kstats::read(module)
}

/// A statistic as a number, from what [`read`] gave: `find(&kstats, "net", "eth0", "rx_bytes")`.
/// `None` where it is not there or is text.
pub fn find(kstats: &[Kstat], module: &str, name: &str, statistic: &str) -> Option<f64> {
    let kstat = kstats.iter().find(|kstat| kstat.module == module && kstat.name == name)?;
    match kstat.statistics.iter().find(|found| found.name == statistic)?.value {
        // Exact up to 2⁵³, like every Prometheus value.
        KstatValue::Unsigned(value) => Some(value as f64),
        KstatValue::Signed(value) => Some(value as f64),
        KstatValue::Float(value) => Some(value),
        KstatValue::Text(_) => None,
    }
}
