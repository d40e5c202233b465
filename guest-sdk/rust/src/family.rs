//! Families: one name, one kind, one set of label names, as constants of the sensor.
//!
//! Each kind has a type of its own, with the number of its labels as a const parameter, so that a
//! sample of the wrong kind or with the wrong number of label values does not compile. They are
//! meant for `static` items; describing and filling cost no allocation but the samples' own.
//!
//! ```compile_fail,E0308
//! # use sonde_sensor::{Batch, Gauge};
//! static KEYS: Gauge<1> = Gauge::new("redis_db_keys", "Keys.").labels(["db"]);
//! fn fill(out: &mut Batch) {
//!     out.gauge(&KEYS, ["db0", "and one too many"], 1.0);
//! }
//! ```

use crate::raw::types;

pub use crate::raw::types::Kind;

/// A family of any kind. Implemented by the nine types of this crate and by nothing else.
pub trait Family: Sync + sealed::Sealed {
    /// As the samples carry it: a counter's with `_total`, an info's with `_info`.
    fn name(&self) -> &'static str;
    /// Its kind.
    fn kind(&self) -> Kind;
    /// One sentence.
    fn help(&self) -> &'static str;
    /// The unit that the name ends in, or empty.
    fn unit(&self) -> &'static str;
    /// Names of labels, in the order of the values.
    fn label_names(&self) -> &[&'static str];
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! family {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name<const LABELS: usize = 0> {
            name: &'static str,
            help: &'static str,
            unit: &'static str,
            labels: [&'static str; LABELS],
        }

        impl $name {
            /// A family without labels.
            pub const fn new(name: &'static str, help: &'static str) -> Self {
                Self { name, help, unit: "", labels: [] }
            }

            /// Gives it labels; each sample then has as many values, in this order.
            pub const fn labels<const LABELS: usize>(self, labels: [&'static str; LABELS]) -> $name<LABELS> {
                $name { name: self.name, help: self.help, unit: self.unit, labels }
            }
        }

        impl<const LABELS: usize> $name<LABELS> {
            /// Says the unit, which the name must end in (before `_total`): `seconds`, `bytes`.
            pub const fn unit(self, unit: &'static str) -> Self {
                Self { unit, ..self }
            }
        }

        impl<const LABELS: usize> sealed::Sealed for $name<LABELS> {}

        impl<const LABELS: usize> Family for $name<LABELS> {
            fn name(&self) -> &'static str {
                self.name
            }
            fn kind(&self) -> Kind {
                Kind::$name
            }
            fn help(&self) -> &'static str {
                self.help
            }
            fn unit(&self) -> &'static str {
                self.unit
            }
            fn label_names(&self) -> &[&'static str] {
                &self.labels
            }
        }
    )*};
}

family! {
    /// Only rises, but for resets. Its name ends in `_total`.
    Counter
    /// A number that goes both ways.
    Gauge
    /// Observations counted in buckets with upper bounds.
    Histogram
    /// A histogram of a state: its counts may fall.
    GaugeHistogram
    /// Observations counted in exponential buckets.
    NativeHistogram
    /// Quantiles that the probed server computed.
    Summary
    /// Labels that describe. Its name ends in `_info`.
    Info
    /// Named states, each on or off.
    StateSet
    /// A number of which nobody knows what it is.
    Unknown
}

/// A family as it crosses the boundary.
pub(crate) fn record(family: &dyn Family) -> types::Family {
    types::Family {
        name: family.name().to_owned(),
        kind: family.kind(),
        help: family.help().to_owned(),
        unit: family.unit().to_owned(),
        label_names: family.label_names().iter().map(|name| (*name).to_owned()).collect(),
    }
}
