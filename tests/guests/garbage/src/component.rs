//! The export, past the SDK's checks.

use sonde_sensor::raw::types::{Batch, Description, Failure};

struct Exported;

impl sonde_sensor::raw::Guest for Exported {
    fn describe() -> Description {
        crate::describe()
    }

    fn collect() -> Result<Batch, Failure> {
        Ok(crate::collect())
    }
}

sonde_sensor::raw::export_component!(Exported with_types_in sonde_sensor::raw::bindings);
