//! Turns a crate into a sensor, and writes new sensor projects.
//!
//! A sensor file is a WebAssembly component of the world `sonde:sensor/sensor` with its manifest in a custom section.
//! Here is the way from source to that file: find what can compile Rust to wasm on this machine
//! ([`Toolchain`]), run cargo once for all crates asked for ([`build_many`]), make the module a component, check
//! it against `sensor.toml` and put that in ([`assemble`]). It contains no wasmtime: whether the
//! node takes the file is the host's to say, with the same checks of the manifest.

mod assemble;
mod cargo;
mod new;
mod toolchain;

pub use assemble::{AssembleError, Assembled, assemble};
pub use cargo::{BuildError, Built, Options, build, build_many};
pub use new::{NewError, create};
pub use toolchain::{Toolchain, ToolchainError, Way};
