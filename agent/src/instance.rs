//! An instance as the agent keeps it, and the catalogue of all that live and of those just gone.
//!
//! Readers of the catalogue (scrapes) take a shared lock for one look-up; the keeper alone writes. What is gone is
//! remembered for 15 minutes, so that a scrape can tell *gone* from *never heard of it*.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sonde_collect::{Found, InstanceReader, Judgement, Reason};
use sonde_expo::Labels;
use sonde_host::{Slot, TargetId};
use tokio::sync::watch;
use uuid::Uuid;

use crate::gate::Gate;

/// How long an instance that is gone still answers 503 with its state, before it is 404.
pub const REMEMBER_GONE: Duration = Duration::from_secs(15 * 60);
/// Instances gone that are remembered at once; a container restarting every second must not fill the memory.
const MOST_GONE: usize = 4096;
/// Shortest beginning of a hexadecimal id that stands for it.
const SHORTEST_PREFIX: usize = 12;

/// A sensor's place on an instance.
#[derive(Clone, Debug)]
pub struct Placed {
    pub name: Arc<str>,
    /// Running, if any version of it is.
    pub slot: Option<Arc<Slot>>,
    /// Why the version or configuration that should run does not, in a sentence.
    pub fault: Option<Arc<str>>,
}

/// A living instance.
pub struct Instance {
    pub found: Arc<Found>,
    pub owner: Arc<str>,
    pub target: TargetId,
    pub gate: Arc<Gate>,
    /// `id`, `name`, `image` and the pod's on every native series.
    pub base: Labels,
    placed: RwLock<Arc<Vec<Placed>>>,
}

impl Instance {
    pub fn new(found: Arc<Found>, owner: Arc<str>, target: TargetId, reader: InstanceReader) -> Self {
        let base = base_labels(&found);
        Self { found, owner, target, gate: Arc::new(Gate::new(reader)), base, placed: RwLock::default() }
    }

    pub fn id(&self) -> Uuid {
        self.found.name.uuid
    }

    /// The name a person knows it by: its own, else its runtime's id.
    pub fn display_name(&self) -> &str {
        self.found.name.name.as_deref().unwrap_or(&self.found.name.runtime_id)
    }

    /// The sensors of the instance: the operator's, then its account's, each by name.
    pub fn placed(&self) -> Arc<Vec<Placed>> {
        self.placed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_placed(&self, placed: Vec<Placed>) {
        *self.placed.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(placed);
    }
}

/// cAdvisor's labels: the cgroup path, the runtime's name for it, the image, and the kubelet's three where it made it. An empty value is left out.
pub fn base_labels(found: &Found) -> Labels {
    let name = found.name.name.as_deref().unwrap_or(&found.name.runtime_id);
    let image = found.name.image.as_deref().unwrap_or_default();
    let pod = found.metadata.pod.as_ref();
    let all = [
        ("container", pod.and_then(|pod| pod.container.as_deref()).unwrap_or_default()),
        ("id", found.cgroup_path.as_str()),
        ("image", image),
        ("name", name),
        ("namespace", pod.map(|pod| pod.namespace.as_str()).unwrap_or_default()),
        ("pod", pod.and_then(|pod| pod.name.as_deref()).unwrap_or_default()),
    ];
    let present: Vec<(&str, &str)> = all.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    Labels::new(&present)
}

/// An instance that was.
pub struct GoneInstance {
    pub found: Arc<Found>,
    pub owner: Arc<str>,
    pub base: Labels,
    pub judgement: Judgement,
    pub since: Instant,
}

/// What a name in a URL stands for.
pub enum Lookup {
    Live(Arc<Instance>),
    Gone(Arc<GoneInstance>),
    /// More than one is meant; only the UUID tells them apart.
    Ambiguous,
    Unknown,
}

/// All instances of the node.
#[derive(Default)]
pub struct Catalogue {
    inner: RwLock<Inner>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    live: HashMap<Uuid, Arc<Instance>>,
    gone: HashMap<Uuid, Arc<GoneInstance>>,
}

impl Catalogue {
    /// Says when an instance has come or gone.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub fn live(&self) -> Vec<Arc<Instance>> {
        let mut live: Vec<_> = self.read(|inner| inner.live.values().cloned().collect());
        live.sort_by(|a: &Arc<Instance>, b| a.found.name.runtime_id.cmp(&b.found.name.runtime_id));
        live
    }

    pub fn gone(&self) -> Vec<Arc<GoneInstance>> {
        self.read(|inner| inner.gone.values().cloned().collect())
    }

    pub fn count(&self) -> (usize, usize) {
        self.read(|inner| (inner.live.len(), inner.gone.len()))
    }

    /// Whether an instance lives or is remembered.
    pub(crate) fn knows(&self, id: Uuid) -> bool {
        self.read(|inner| inner.live.contains_key(&id) || inner.gone.contains_key(&id))
    }

    pub(crate) fn get(&self, id: Uuid) -> Option<Arc<Instance>> {
        self.read(|inner| inner.live.get(&id).cloned())
    }

    /// By UUID, the runtime's id, a beginning of it that is hexadecimal, long enough and unambiguous, or a name. The living before the gone.
    pub fn look_up(&self, wanted: &str) -> Lookup {
        self.read(|inner| {
            if let Ok(id) = wanted.parse::<Uuid>() {
                let gone = || inner.gone.get(&id).cloned().map(Lookup::Gone);
                return inner.live.get(&id).cloned().map(Lookup::Live).or_else(gone).unwrap_or(Lookup::Unknown);
            }
            match pick(inner.live.values(), wanted, |instance| &instance.found) {
                Picked::One(instance) => return Lookup::Live(instance.clone()),
                Picked::Several(_) => return Lookup::Ambiguous,
                Picked::None => {}
            }
            match pick(inner.gone.values(), wanted, |gone| &gone.found) {
                Picked::One(gone) => Lookup::Gone(gone.clone()),
                // Several lives of one name: the latest is meant.
                Picked::Several(lives) => match lives.into_iter().max_by_key(|gone| gone.since) {
                    Some(latest) => Lookup::Gone(latest.clone()),
                    None => Lookup::Unknown,
                },
                Picked::None => Lookup::Unknown,
            }
        })
    }

    pub(crate) fn insert(&self, instance: Arc<Instance>) {
        self.write(|inner| {
            inner.gone.remove(&instance.id());
            inner.live.insert(instance.id(), instance);
        });
        self.changes.send_modify(|count| *count += 1);
    }

    /// Moves an instance to the gone ones and returns it.
    pub(crate) fn remove(&self, id: Uuid, reason: Reason) -> Option<Arc<Instance>> {
        let removed = self.write(|inner| {
            let instance = inner.live.remove(&id)?;
            let gone = GoneInstance {
                found: instance.found.clone(),
                owner: instance.owner.clone(),
                base: base_labels(&instance.found),
                judgement: Judgement::gone(reason),
                since: Instant::now(),
            };
            if inner.gone.len() >= MOST_GONE
                && let Some(oldest) = inner.gone.iter().min_by_key(|(_, gone)| gone.since).map(|(id, _)| *id)
            {
                inner.gone.remove(&oldest);
            }
            inner.gone.insert(id, Arc::new(gone));
            Some(instance)
        });
        self.changes.send_modify(|count| *count += 1);
        removed
    }

    /// Forgets what has been gone for long enough; returns whom.
    pub(crate) fn expire(&self, now: Instant) -> Vec<Uuid> {
        self.write(|inner| {
            let old = |gone: &GoneInstance| now.duration_since(gone.since) > REMEMBER_GONE;
            let expired: Vec<Uuid> = inner.gone.iter().filter(|(_, gone)| old(gone)).map(|(id, _)| *id).collect();
            inner.gone.retain(|_, gone| !old(gone));
            expired
        })
    }

    fn read<T>(&self, look: impl FnOnce(&Inner) -> T) -> T {
        look(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Which of many a word picks.
enum Picked<'a, T> {
    One(&'a Arc<T>),
    Several(Vec<&'a Arc<T>>),
    None,
}

/// Those that are called so; where none is, those whose id begins so, if it is hexadecimal and long enough.
fn pick<'a, T: 'a>(
    all: impl Iterator<Item = &'a Arc<T>> + Clone,
    wanted: &str,
    found: impl Fn(&T) -> &Arc<Found>,
) -> Picked<'a, T> {
    let mut picked: Vec<&Arc<T>> = all
        .clone()
        .filter(|one| {
            let name = &found(one).name;
            name.runtime_id == wanted || name.name.as_deref() == Some(wanted)
        })
        .collect();
    if picked.is_empty() && wanted.len() >= SHORTEST_PREFIX && wanted.bytes().all(|b| b.is_ascii_hexdigit()) {
        picked.extend(all.filter(|one| found(one).name.runtime_id.starts_with(wanted)));
    }
    match picked.as_slice() {
        [] => Picked::None,
        [only] => Picked::One(only),
        _ => Picked::Several(picked),
    }
}
