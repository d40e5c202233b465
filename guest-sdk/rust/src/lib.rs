//! What a sensor written in Rust links.
//!
//! A sensor is a type that implements [`Sensor`]: it describes its families once, and each run it
//! fills a [`Batch`]. [`export!`] makes the type the component's. Everything else here is a door to
//! the instance that the run is for, one module a capability, and each refuses what the grant does
//! not hold. Label counts are checked by the compiler, since a family carries the number of its labels in its
//! type. There is no other I/O: no environment, threads, or finer clock.
//!
//! On any target but wasm32 the doors lead to a test double ([`testing`]), so that a sensor is
//! unit-tested by plain `cargo test`.
//!
//! ```
//! use sonde_sensor::{Batch, Description, Failure, Gauge, Sensor, config, tcp};
//!
//! static UP: Gauge = Gauge::new("echo_up", "Whether the echo service accepts a connection.");
//!
//! struct Echo;
//!
//! impl Sensor for Echo {
//!     const DESCRIPTION: Description = Description::Families(&[&UP]);
//!
//!     fn collect(out: &mut Batch) -> Result<(), Failure> {
//!         let up = tcp::connect(config::port("port")?).is_ok();
//!         out.gauge(&UP, [], f64::from(up));
//!         Ok(())
//!     }
//! }
//!
//! sonde_sensor::export!(Echo);
//! # fn main() {
//! let instance = sonde_sensor::testing::Instance::new().config("port", "7");
//! let collected = sonde_sensor::testing::collect::<Echo>(instance).unwrap();
//! assert_eq!(collected.value("echo_up", &[]), Some(0.0), "nobody listens in an empty instance");
//! # }
//! ```

mod batch;
mod failure;
mod family;
pub mod raw;

pub mod clock;
pub mod config;
pub mod files;
pub mod http;
pub mod kstats;
pub mod log;
pub mod processes;
pub mod secrets;
pub mod state;
pub mod stream;
pub mod tcp;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
pub mod unix;

pub use batch::{Batch, BucketOf, CounterAt, Declared, HistogramAt, Label};
pub use failure::{Failure, Reason};
pub use family::{
    Counter, Family, Gauge, GaugeHistogram, Histogram, Info, Kind, NativeHistogram, StateSet, Summary, Unknown,
};

/// What a sensor says of itself.
#[derive(Clone, Copy)]
pub enum Description {
    /// The families that [`Sensor::collect`] may fill.
    Families(&'static [&'static dyn Family]),
    /// Each run declares its own, by [`Batch::declare`].
    Dynamic,
}

/// A sensor.
pub trait Sensor {
    /// What the sensor returns. A constant, because the node asks once for each version of the code,
    /// without an instance: there is nothing that it could depend on.
    const DESCRIPTION: Description;

    /// One run: fills the batch. A server that is down is a *finding* (`…_up 0`), not a failure.
    ///
    /// # Errors
    /// The run has nothing to return. What is in the batch is dropped, and the failure is counted by its reason.
    fn collect(out: &mut Batch) -> Result<(), Failure>;
}

/// Makes a type that implements [`Sensor`] the one that this component exports. Once a crate.
#[macro_export]
macro_rules! export {
    ($sensor:ty) => {
        // Without `export!` on wasm32 only, a native test would not notice a type that is no sensor.
        const _: $crate::Description = <$sensor as $crate::Sensor>::DESCRIPTION;

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;

            impl $crate::raw::Guest for Exported {
                fn describe() -> $crate::raw::types::Description {
                    $crate::raw::describe::<$sensor>()
                }

                fn collect() -> ::core::result::Result<$crate::raw::types::Batch, $crate::raw::types::Failure> {
                    $crate::raw::collect::<$sensor>()
                }
            }

    $crate::raw::export_component!(Exported with_types_in $crate::raw::bindings);
        };
    };
}
