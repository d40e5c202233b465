//! How many descriptors this process may have: as many as it is allowed to allow itself.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that a node of a thousand instances wants: half of them for files that readings keep open. Who may raise the hard limit has as
/// many at least; the units have them too (`LimitNOFILE=`).
const ENOUGH_DESCRIPTORS: u64 = 65_536;

/// Lets this process have as many descriptors as it may: one for each distinct sensor, and those of its files and sockets.
/// Returns how many that are.
pub fn raise_descriptors() -> u64 {
    let now = getrlimit(Resource::Nofile);
    let enough = now.maximum.map(|most| most.max(ENOUGH_DESCRIPTORS));
    for most in [enough, now.maximum] {
        if setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).is_ok() {
            return most.unwrap_or(u64::MAX);
        }
    }
    now.current.unwrap_or(u64::MAX)
}
