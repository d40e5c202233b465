//! The world of `wit/`, as Rust types and host traits.
//!
//! Generated at compile time, so the WIT is the only place where the interface is written. Imports may
//! trap (a limit hit ends the run) and those that wait are async; exports are called async, because a
//! run yields to the others at every epoch.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "sensor",
    imports: {
        "sonde:sensor/config.get": trappable,

        "sonde:sensor/state": trappable,
        "sonde:sensor/log": trappable,
        "sonde:sensor/clock": trappable,
        "sonde:sensor/streams.[method]connection.set-timeout": trappable,
        default: async | trappable,
    },
    exports: { default: async },
    // Batches and descriptions leave the process as they were lifted.
    additional_derives: [serde::Serialize],
    with: {
        "sonde:sensor/streams.connection": crate::capability::Connection,
    },
});
