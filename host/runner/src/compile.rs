//! The compile worker: the process that bears the compiler's risk, for one component, and ends.
//!
//! It is given one socket and closes the jail around itself, with bounds of CPU and memory that the kernel enforces. Then it says what it
//! compiles for, takes one component, and gives code or a sentence. Cranelift's time on hostile input is
//! outside wasmtime's security policy: here it costs this process and nobody else.

use std::hash::{DefaultHasher, Hash, Hasher};

use rustix::io::fcntl_dupfd_cloexec;
use sonde_host::wire::{self, CompileFault, CompileOrder, CompileReply, CompilerHello, WireError};
use sonde_host::{MAX_SENSOR_BYTES, tame};
use sonde_jail::Jail;
use sonde_manifest::Class;

use crate::engine::{EngineError, compiler};
use crate::pieces;
use crate::run::sentence;

/// Why a compile worker ended without an answer.
#[derive(Debug, thiserror::Error)]
pub enum CompilerError {
    #[error("its socket is not there")]
    Socket(#[source] std::io::Error),
    #[error("the compiler cannot be made")]
    Engine(#[source] EngineError),
    #[error("the agent's channel broke")]
    Wire(#[source] WireError),
}

/// The life of a compile worker.
///
/// # Errors
/// See [`CompilerError`].
pub fn run(jail: &Jail) -> Result<(), CompilerError> {
    let layers = jail.enter();
    let socket = fcntl_dupfd_cloexec(std::io::stdin(), 3).map_err(|error| CompilerError::Socket(error.into()))?;
    let (mut inbox, mut outbox) = wire::blocking(socket, false).map_err(CompilerError::Socket)?;
    let mut compatibility = [0; Class::ALL.len()];
    for class in Class::ALL {
        compatibility[class as usize] = compatibility_of(class).map_err(CompilerError::Engine)?;
    }
    outbox.push(&CompilerHello { layers, compatibility }, None);
    outbox.flush_blocking().map_err(CompilerError::Wire)?;
    let order = inbox.next_blocking::<CompileOrder>().map_err(CompilerError::Wire)?;
    // Whoever only wanted to know what this compiles for has closed.
    let Some((CompileOrder { class, component_bytes }, _)) = order else { return Ok(()) };
    let length = usize::try_from(component_bytes).unwrap_or(usize::MAX).min(MAX_SENSOR_BYTES);
    let bytes = inbox.bytes_blocking(length).map_err(CompilerError::Wire)?;
    let engine = compiler(class).map_err(CompilerError::Engine)?;
    let cut = pieces::cut(&bytes).map_err(|error| tame(&error));
    match cut.and_then(|cut| engine.precompile_component(&cut).map_err(|error| sentence(&error))) {
        Ok(code) => {
            outbox.push(&CompileReply::Compiled { code_bytes: code.len() as u64 }, None);
            outbox.push_bytes(&code);
        }
        Err(error) => outbox.push(&CompileReply::Refused(CompileFault::Compile(error)), None),
    }
    outbox.flush_blocking().map_err(CompilerError::Wire)
}

/// Settings, version and processor that code of a class is for: with the same number it fits, with another it is not even looked at.
pub(crate) fn compatibility_of(class: Class) -> Result<u64, EngineError> {
    let engine = compiler(class)?;
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    pieces::VERSION.hash(&mut hasher);
    Ok(hasher.finish())
}
