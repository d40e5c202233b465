//! The capabilities: each import of the world, answered from the grant, the run's budgets and the broker.
//!
//! All of them are linked for every sensor; what a run may use is decided call by call from its grant, which
//! was checked against the component's imports before it was compiled. Nothing here reaches anything but the run's own instance.

mod files;
mod http;
mod kernel;
mod streams;
mod values;

pub use streams::Connection;

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::Sensor;
use crate::ctx::Ctx;

/// Links every interface of the world.
pub(crate) fn link(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    Sensor::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)
}

/// The sentence for a capability that the grant lacks.
fn not_granted(what: &str) -> String {
    format!("the grant does not hold {what}; the manifest's [capabilities] must ask for it and the policy allow it")
}
