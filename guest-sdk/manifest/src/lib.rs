//! A sensor's manifest: what it asks of a node, as `sensor.toml` in source form and as one custom
//! section in the component that is shipped.
//!
//! This crate owns the schema, its checks and the section. It is apart from the host because a
//! sensor's author, the build and the node must agree on it to the letter, and none but the node
//! should have to compile wasmtime. A manifest is only a request: what a run may really do is the
//! grant, which the host makes of it, the operator's policy and the account's consent.
//!
//! All faults of a manifest are reported together, each a sentence that names the key, what is
//! wrong with it and what is allowed. Unknown keys are refused: a mistyped limit must not silently
//! be the default.

mod fault;
mod limits;
mod model;
mod parse;
mod resolve;
mod section;
mod value;

pub use fault::{ConfigErrors, ManifestErrors};
pub use limits::{Class, Limits, MOST_SECRET_BYTES};
pub use model::{
    ALWAYS_ALLOWED, Capabilities, ConfigKey, ConfigType, FileFrom, FilePattern, Manifest, PathFrom, PortFrom,
    capability_of,
};
pub use resolve::Resolved;
pub use section::{MAX_MANIFEST_BYTES, SECTION_NAME, SectionError, embed, extract};
pub use value::HttpUrl;
