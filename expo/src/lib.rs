//! The metric model of Sonde and the exposition formats, written and read.
//!
//! * [`model`]: families, samples and values, of all the kinds that Prometheus and OpenMetrics know.
//! * [`negotiate`](mod@negotiate): which format, name escaping and compression a request gets.
//! * [`write`](mod@write): text 0.0.4 and 1.0.0, OpenMetrics 0.0.1 and 1.0.0, protobuf, straight into a byte buffer.
//! * [`read`](mod@read): a strict, bounded reader of text and OpenMetrics, for hostile input.
//! * [`name`]: what a name may be, and which names a family occupies.
//!
//! No I/O, no clock, no threads, no dependencies: the crate also runs inside sensors.
//!
//! ```
//! use sonde_expo::{Kind, Labels, Number, ReadFormat, ReadLimits, Writer, negotiate, read};
//!
//! let negotiated = negotiate(Some("application/openmetrics-text;version=1.0.0,*/*;q=0.1"));
//! let instance = Labels::new(&[("id", "/system.slice/redis"), ("name", "redis")]);
//! let mut body = Vec::new();
//! let mut writer = Writer::new(negotiated, &mut body);
//! let mut cpu = writer.family("container_cpu_usage_seconds_total", Kind::Counter, "CPU time.", "seconds");
//! cpu.sample(&instance, &[("cpu", "total")], Number::Float(12.5));
//! writer.finish();
//!
//! assert!(body.ends_with(b"id=\"/system.slice/redis\",name=\"redis\",cpu=\"total\"} 12.5\n# EOF\n"));
//! let families = read(&body, ReadFormat::OpenMetrics, &ReadLimits::default())?;
//! assert_eq!(&*families[0].name, "container_cpu_usage_seconds_total");
//! # Ok::<(), sonde_expo::ReadError>(())
//! ```

mod escape;
mod line;
mod message;
pub mod model;
pub mod name;
pub mod negotiate;
mod number;
pub mod read;
mod wire;
pub mod write;

pub use model::{
    Bucket, Exemplar, Family, Histogram, Kind, NativeHistogram, Number, Quantile, Sample, Span, State, Summary, Value,
};
pub use negotiate::{Encoding, Escaping, Format, Negotiated, accept_encoding, negotiate};
pub use read::{ReadError, ReadFormat, ReadLimits, Reason, read};
pub use write::{FamilyWriter, Labels, Writer};
