//! Which instances, of which owners, are in which network namespace.
//!
//! Where a namespace is shared between owners, a port in it is an instance's only if one of its own processes listens there. Whether it
//! is shared is asked at each connect, of the processes that lead the others then: a namespace that was somebody's own when the
//! instance appeared can be joined by another an hour later. What a look found is good for a second, and a leader that still lives is
//! looked at again by two system calls, so that a thousand instances cost a connect next to nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sonde_collect::leader::namespace;
use sonde_collect::{Found, Leader, Roots};
use uuid::Uuid;

/// How long a look at an instance's namespace is good for: far less than it takes for a new instance to be found at all.
const LOOK_HOLDS: Duration = Duration::from_secs(1);

/// The living instances and their owners.
pub(crate) struct Owners {
    roots: Arc<Roots>,
    known: RwLock<HashMap<Uuid, Arc<Known>>>,
}

struct Known {
    found: Arc<Found>,
    owner: Arc<str>,
    look: Mutex<Look>,
}

#[derive(Default)]
struct Look {
    at: Option<Instant>,
    leader: Option<Leader>,
    namespace: Option<u64>,
}

impl Owners {
    pub(super) fn new(roots: Arc<Roots>) -> Self {
        Self { roots, known: RwLock::default() }
    }

    /// Notes an instance and whose it is.
    pub(crate) fn note(&self, found: &Arc<Found>, owner: &Arc<str>) {
        let known = Known { found: found.clone(), owner: owner.clone(), look: Mutex::default() };
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(found.name.uuid, Arc::new(known));
    }

    /// Forgets an instance.
    pub(crate) fn forget(&self, instance: Uuid) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(&instance);
    }

    /// Whether an instance of another owner is in the namespace. Reads `/proc`, so only on a thread that may block.
    pub(super) fn shared(&self, namespace: u64, owner: &str) -> bool {
        let others: Vec<Arc<Known>> = {
            let all = self.known.read().unwrap_or_else(PoisonError::into_inner);
            all.values().filter(|known| *known.owner != *owner).cloned().collect()
        };
        others.iter().any(|other| other.namespace(&self.roots) == Some(namespace))
    }
}

impl Known {
    /// The network namespace that the instance is in now, give or take [`LOOK_HOLDS`].
    fn namespace(&self, roots: &Roots) -> Option<u64> {
        let mut look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        if look.at.is_some_and(|at| at.elapsed() < LOOK_HOLDS) {
            return look.namespace;
        }
        let seen = look.leader.as_ref().and_then(|leader| {
            let seen = namespace(&leader.directory(roots), "net");
            leader.is_alive().then_some(seen).flatten()
        });
        look.namespace = match seen {
            Some(seen) => Some(seen),
            None => {
                look.leader = self.found.leader(roots);
                look.leader.as_ref().and_then(|leader| leader.net_namespace)
            }
        };
        look.at = Some(Instant::now());
        look.namespace
    }
}
