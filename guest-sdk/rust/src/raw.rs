//! The world as generated from `wit/`, without this crate's checks.
//!
//! Sensors do not need it, save a dynamic one that fills the records of a batch itself
//! ([`Batch::records`](crate::Batch::records)). It is public for those and for tests of the node: a guest that
//! means harm does not call an SDK. On wasm32 these are the generated bindings; elsewhere, the same
//! names and shapes, led to the test double.
//!
//! To bypass the SDK on wasm32: implement `Guest` and call `sonde_sensor::raw::export_component!(MyType
//! with_types_in sonde_sensor::raw::bindings)`.

/// What wit-bindgen generates; its macro refers to it by this path.
#[cfg(target_arch = "wasm32")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "sonde:sensor/sensor",
        generate_unused_types: true,
        pub_export_macro: true,
        export_macro_name: "export_component",
        default_bindings_module: "sonde_sensor::raw::bindings",
    });
}

#[cfg(target_arch = "wasm32")]
pub use bindings::{
    Guest, export_component,
    sonde::sensor::{clock, config, files, http, kstats, log, processes, secrets, state, streams, tcp, types, unix},
};

#[cfg(not(target_arch = "wasm32"))]
pub mod types;

#[cfg(not(target_arch = "wasm32"))]
pub use crate::testing::world::{
    clock, config, files, http, kstats, log, processes, secrets, state, streams, tcp, unix,
};

use crate::{Batch, Sensor};

/// The export `describe` of a sensor.
pub fn describe<S: Sensor>() -> types::Description {
    match S::DESCRIPTION {
        crate::Description::Families(families) => {
            types::Description::Families(families.iter().map(|family| crate::family::record(*family)).collect())
        }
        crate::Description::Dynamic => types::Description::Dynamic,
    }
}

/// The export `collect` of a sensor.
///
/// # Errors
/// The sensor's own failure, or what it put into the batch does not fit what it described.
pub fn collect<S: Sensor>() -> Result<types::Batch, types::Failure> {
    let mut batch = Batch::new(S::DESCRIPTION);
    S::collect(&mut batch).and_then(|()| batch.finish()).map_err(crate::failure::record)
}
