//! Lines for whoever wrote the sensor: `sonde sensor logs`. Cut at a limit, 8 KiB a run by default.
//!
//! Always allowed. The functions take finished text and cost nothing else; [`log!`](crate::log!)
//! formats, and brings the formatting machinery of std into the component (about 10 KiB).

use crate::raw::log as raw;

pub use crate::raw::log::Level;

/// A line at a level.
pub fn write(level: Level, message: &str) {
    raw::write(level, message);
}

/// For the sensor's own author.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

/// Worth knowing.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// Something is not as it should be.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// The run is of little use.
pub fn error(message: &str) {
    write(Level::Error, message);
}

/// A formatted line: `log!(warn, "the server speaks version {version}")`.
#[macro_export]
macro_rules! log {
    ($level:ident, $($message:tt)+) => {
        $crate::log::$level(&::std::format!($($message)+))
    };
}
