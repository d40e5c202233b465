//! The hostile corpus: sensors that mean harm, and for each what must become of it.
//!
//! A guest is a file of `corpus/` (or, where it is large, made by [`generated`]), a manifest, and a row of the table in
//! [`corpus`]: the class of outcome that is expected, what else must hold, and which defence stops it when the first one
//! is off. This crate knows nothing of how a sensor is run; its test does.

pub mod assemble;
pub mod corpus;
pub mod generated;
pub mod guest;
pub mod random;

pub use corpus::corpus;
pub use guest::{Defence, Defences, Expected, Fact, Guest, Peer};
