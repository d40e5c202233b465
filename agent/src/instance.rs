//! An instance as the agent keeps it, and the catalogue of all that live and of those just gone.
//!
//! Readers of the catalogue (scrapes) take a shared lock for one look-up; the keeper alone writes. What is gone is
//! remembered for 15 minutes, so that a scrape can tell *gone* from *never heard of it*.

mod gone;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sonde_collect::events::Noticed;
use sonde_collect::reader::HeldTicks;
use sonde_collect::state::WINDOW;
use sonde_collect::{Found, InstanceReader, Judgement, Reason};
use sonde_expo::Labels;
use sonde_host::{Digest, Slot, TargetId};
use tokio::sync::watch;
use uuid::Uuid;

use crate::config::OPERATOR;
use crate::gate::Gate;
pub use gone::GoneInstance;
use gone::Remembered;

/// How long an instance that is gone still answers 503 with its state, before it is 404.
pub const REMEMBER_GONE: Duration = Duration::from_secs(15 * 60);
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
    /// The artifact that a proxy assigned here for the instance's account; none of the operator's.
    pub assigned: Option<Digest>,
}

/// A living instance.
pub struct Instance {
    pub found: Arc<Found>,
    pub owner: Arc<str>,
    pub target: TargetId,
    pub gate: Arc<Gate>,
    /// `id`, `name`, `image` and the pod's on every native series.
    pub base: Labels,
    /// What its reader holds back of a counter; the next reader goes on from there.
    pub(crate) held: Option<HeldTicks>,
    /// What the kernel said of it by itself; none where nobody listens.
    pub(crate) noticed: Option<Arc<Noticed>>,
    placed: RwLock<Arc<Vec<Placed>>>,
}

impl Instance {
    pub fn new(found: Arc<Found>, owner: Arc<str>, target: TargetId, reader: InstanceReader) -> Self {
        let (base, held, noticed) = (base_labels(&found), reader.held(), reader.noticed());
        // The operator is bounded by nothing.
        let bounded = (*owner != *OPERATOR).then(|| owner.clone());
        let gate = Arc::new(Gate::new(reader, bounded));
        Self { found, owner, target, gate, base, held, noticed, placed: RwLock::default() }
    }

    pub fn id(&self) -> Uuid {
        self.found.name.uuid
    }

    /// The name a person knows it by: its own, else its runtime's id.
    pub fn display_name(&self) -> &str {
        self.found.name.name.as_deref().unwrap_or(&self.found.name.runtime_id)
    }

    /// What there is to say of it once it is no more.
    pub(crate) fn gone(&self, reason: Reason) -> Judgement {
        let mut judgement = Judgement::gone(reason);
        if self.noticed.as_ref().is_some_and(|noticed| noticed.was_killed_within(WINDOW)) {
            judgement.reasons.push(Reason::OomKilled);
        }
        judgement
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
    /// The living by what their runtimes call them, and by their names: who scrapes by these must not cost a look at each.
    ids: Called,
    names: Called,
    gone: Remembered,
}

/// Who are called by a word.
#[derive(Default)]
struct Called(HashMap<String, Vec<Uuid>>);

impl Called {
    fn note(&mut self, word: &str, id: Uuid) {
        self.0.entry(word.to_owned()).or_default().push(id);
    }

    fn forget(&mut self, word: &str, id: Uuid) {
        let Some(meant) = self.0.get_mut(word) else { return };
        meant.retain(|other| *other != id);
        if meant.is_empty() {
            self.0.remove(word);
        }
    }

    fn meant(&self, word: &str) -> &[Uuid] {
        self.0.get(word).map_or(&[], Vec::as_slice)
    }
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
        self.read(|inner| inner.gone.all().cloned().collect())
    }

    pub fn count(&self) -> (usize, usize) {
        self.read(|inner| (inner.live.len(), inner.gone.count()))
    }

    /// Whether an instance lives or is remembered.
    pub(crate) fn knows(&self, id: Uuid) -> bool {
        self.read(|inner| inner.live.contains_key(&id) || inner.gone.get(id).is_some())
    }

    pub(crate) fn get(&self, id: Uuid) -> Option<Arc<Instance>> {
        self.read(|inner| inner.live.get(&id).cloned())
    }

    /// What was noticed of a living instance.
    pub(crate) fn noticed(&self, id: Uuid) -> Option<Arc<Noticed>> {
        self.read(|inner| inner.live.get(&id).and_then(|live| live.noticed.clone()))
    }

    /// What is held back of a counter of an instance, also of one that was gone and may be back.
    pub(crate) fn held(&self, id: Uuid) -> Option<HeldTicks> {
        let of_gone = |inner: &Inner| inner.gone.get(id).and_then(|gone| gone.held.clone());
        self.read(|inner| inner.live.get(&id).map_or_else(|| of_gone(inner), |live| live.held.clone()))
    }

    /// By UUID, the runtime's id, a name, or a beginning of a runtime's id that is hexadecimal, long enough and unambiguous: in this order, and
    /// of each the living before the gone. Names may be tenants' to choose, and none that is another's id passes for it, nor for one that is gone,
    /// where that is no word that could be anybody's next name.
    pub fn look_up(&self, wanted: &str) -> Lookup {
        let id = |found: &Found| found.name.runtime_id == wanted;
        let name = |found: &Found| found.name.name.as_deref() == Some(wanted);
        let beginning = |found: &Found| found.name.runtime_id.starts_with(wanted);
        let is_number = wanted.len() >= SHORTEST_PREFIX && wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.read(|inner| {
            if let Ok(id) = wanted.parse::<Uuid>() {
                let gone = || inner.gone.get(id).cloned().map(Lookup::Gone);
                return inner.live.get(&id).cloned().map(Lookup::Live).or_else(gone).unwrap_or(Lookup::Unknown);
            }
            inner
                .called(&inner.ids, wanted)
                .or_else(|| inner.latest_gone(id).filter(|_| is_number))
                .or_else(|| inner.called(&inner.names, wanted))
                .or_else(|| inner.latest_gone(|found| id(found) || name(found)))
                .or_else(|| inner.living(beginning).filter(|_| is_number))
                .or_else(|| inner.latest_gone(beginning).filter(|_| is_number))
                .unwrap_or(Lookup::Unknown)
        })
    }

    pub(crate) fn insert(&self, instance: Arc<Instance>) {
        self.write(|inner| {
            inner.gone.remove(instance.id());
            inner.remove_live(instance.id());
            inner.ids.note(&instance.found.name.runtime_id, instance.id());
            if let Some(name) = &instance.found.name.name {
                inner.names.note(name, instance.id());
            }
            inner.live.insert(instance.id(), instance);
        });
        self.changes.send_modify(|count| *count += 1);
    }

    /// Moves an instance to the gone ones and returns it.
    pub(crate) fn remove(&self, id: Uuid, reason: Reason) -> Option<Arc<Instance>> {
        let removed = self.write(|inner| {
            let instance = inner.remove_live(id)?;
            let gone = GoneInstance {
                found: instance.found.clone(),
                owner: instance.owner.clone(),
                base: base_labels(&instance.found),
                held: instance.held.clone(),
                judgement: instance.gone(reason),
                since: Instant::now(),
            };
            inner.gone.insert(gone);
            Some(instance)
        });
        self.changes.send_modify(|count| *count += 1);
        removed
    }

    /// Remembers one that nobody has seen alive.
    pub(crate) fn remember(&self, found: Arc<Found>, owner: Arc<str>) {
        let (base, mut judgement) = (base_labels(&found), Judgement::gone(Reason::Removed));
        judgement.reasons.push(Reason::Unread);
        let gone = GoneInstance { found, owner, base, held: None, judgement, since: Instant::now() };
        self.write(|inner| inner.gone.insert(gone));
    }

    /// Forgets what has been gone for long enough; returns whom.
    pub(crate) fn expire(&self, now: Instant) -> Vec<Uuid> {
        self.write(|inner| inner.gone.expire(now))
    }

    fn read<T>(&self, look: impl FnOnce(&Inner) -> T) -> T {
        look(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn remove_live(&mut self, id: Uuid) -> Option<Arc<Instance>> {
        let instance = self.live.remove(&id)?;
        self.ids.forget(&instance.found.name.runtime_id, id);
        if let Some(name) = &instance.found.name.name {
            self.names.forget(name, id);
        }
        Some(instance)
    }

    /// The one that is called so and lives.
    fn called(&self, by: &Called, word: &str) -> Option<Lookup> {
        match by.meant(word) {
            [] => None,
            [one] => self.live.get(one).cloned().map(Lookup::Live),
            _ => Some(Lookup::Ambiguous),
        }
    }

    /// The one that lives and is meant; none where nobody is.
    fn living(&self, is_meant: impl Fn(&Found) -> bool) -> Option<Lookup> {
        let mut meant = self.live.values().filter(|instance| is_meant(&instance.found));
        let first = meant.next()?.clone();
        Some(if meant.next().is_some() { Lookup::Ambiguous } else { Lookup::Live(first) })
    }

    /// Of several lives that are meant, the latest.
    fn latest_gone(&self, is_meant: impl Fn(&Found) -> bool) -> Option<Lookup> {
        let meant = self.gone.all().filter(|gone| is_meant(&gone.found));
        meant.max_by_key(|gone| gone.since).cloned().map(Lookup::Gone)
    }
}

#[cfg(test)]
mod tests {
    use sonde_collect::{FdBudget, Metadata, Roots, Runtime};

    use super::*;
    use crate::owners::tests::found;

    fn made(number: u128, runtime_id: &str, name: &str) -> Arc<Instance> {
        let mut found = found(Runtime::Docker, true, Metadata::default());
        found.name.uuid = Uuid::from_u128(number);
        (found.name.runtime_id, found.name.name) = (runtime_id.into(), Some(name.into()));
        let found = Arc::new(found);
        let roots = Arc::new(Roots::of_this_machine().unwrap());
        let reader = InstanceReader::new(found.clone(), roots, &FdBudget::new(0));
        Arc::new(Instance::new(found, "acme".into(), TargetId(1), reader))
    }

    /// Whom a word means, by the number that it was made with.
    fn meant(catalogue: &Catalogue, wanted: &str) -> Result<(&'static str, u128), &'static str> {
        match catalogue.look_up(wanted) {
            Lookup::Live(instance) => Ok(("live", instance.id().as_u128())),
            Lookup::Gone(gone) => Ok(("gone", gone.found.name.uuid.as_u128())),
            Lookup::Ambiguous => Err("ambiguous"),
            Lookup::Unknown => Err("unknown"),
        }
    }

    #[test]
    fn nobody_passes_for_another_by_his_name() {
        let (first, second, third) = ("a".repeat(64), "b".repeat(64), format!("{}c", "a".repeat(63)));
        let catalogue = Catalogue::default();
        catalogue.insert(made(1, &first, "web"));
        catalogue.insert(made(2, &second, &first));
        assert_eq!(meant(&catalogue, &first), Ok(("live", 1)), "an id before a name");
        catalogue.remove(Uuid::from_u128(1), Reason::Removed);
        assert_eq!(meant(&catalogue, &first), Ok(("gone", 1)), "also that of one who is gone");
        assert_eq!(meant(&catalogue, "web"), Ok(("gone", 1)));
        catalogue.insert(made(3, &third, "web"));
        assert_eq!(meant(&catalogue, "web"), Ok(("live", 3)), "of one name the one that lives");
        assert_eq!(meant(&catalogue, &third[..12]), Ok(("live", 3)));
        catalogue.insert(made(4, &"a".repeat(62), &third[..12]));
        assert_eq!(meant(&catalogue, &third[..12]), Ok(("live", 4)), "a name before a beginning");
        assert_eq!(meant(&catalogue, &third[..13]), Err("ambiguous"));
        assert_eq!(meant(&catalogue, &third[..11]), Err("unknown"));
        catalogue.insert(made(5, &"d".repeat(64), "web"));
        assert_eq!(meant(&catalogue, "web"), Err("ambiguous"), "two of one name");
        assert_eq!(meant(&catalogue, &Uuid::from_u128(5).to_string()), Ok(("live", 5)));
        // What runc calls an id is a word, and another may have it next, of whatever runtime.
        catalogue.insert(made(6, "job", "first"));
        catalogue.remove(Uuid::from_u128(6), Reason::Removed);
        assert_eq!(meant(&catalogue, "job"), Ok(("gone", 6)));
        catalogue.insert(made(7, &"e".repeat(64), "job"));
        assert_eq!(meant(&catalogue, "job"), Ok(("live", 7)));
    }
}
