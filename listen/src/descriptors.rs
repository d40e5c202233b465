//! How many descriptors this process may have: as many as it is allowed to allow itself.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process have as many descriptors as it may: one for each distinct sensor, and those of its files and sockets.
/// Returns how many that are.
pub fn raise_descriptors() -> u64 {
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: now.maximum, maximum: now.maximum };
    let most = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => now.maximum,
        Err(_) => now.current,
    };
    most.unwrap_or(u64::MAX)
}
