//! How the sensors of an account's instances stand, for its own target: asked of their agents when it is scraped, a part of them at a time.
//!
//! A node's report does not have it, because it changes with each run. An account's scrape costs a bounded number of questions, the oldest answers first, within a part
//! of the scraper's time; what is not known yet, or not any more, is absent. Expositions are not looked into: agents say it in JSON.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use sonde_inventory::{AccountName, Catalogue, Instance};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::serve::{Door, EXPECTED_OWNER};
use crate::upstream::Question;

/// What is younger is not asked for again: a scraper's ordinary interval.
const FRESH: Duration = Duration::from_secs(15);
/// What is older is not told any more: several rounds of an account with many instances.
const STALE: Duration = Duration::from_secs(300);
/// Questions for one scrape, and at once.
const MOST: usize = 64;
const AT_ONCE: usize = 8;
/// Largest answer: some hundred sensors with their logs.
const BODY_BYTES: usize = 1 << 20;
/// Sensors of one instance that are told.
const MOST_SENSORS: usize = 100;

/// One sensor on one instance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Standing {
    pub(crate) name: String,
    /// `running`, `backed-off`, `quarantined`, `refused`.
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) up: bool,
}

#[derive(Debug)]
struct Known {
    at: Instant,
    owner_epoch: u64,
    standings: Arc<Standings>,
}

/// Those of one instance.
#[derive(Debug)]
pub(crate) struct Standings {
    pub(crate) told: Vec<Standing>,
    /// How many more there are.
    pub(crate) left_out: usize,
}

/// What is known of all instances.
#[derive(Debug, Default)]
pub(crate) struct SensorHealth {
    known: Mutex<HashMap<Uuid, Known>>,
}

impl SensorHealth {
    /// What was last heard of it, if that was lately, and of this owner's.
    pub(crate) fn of(&self, instance: &Instance) -> Option<Arc<Standings>> {
        let known = self.lock();
        let known = known.get(&instance.id).filter(|known| known.owner_epoch == instance.owner_epoch)?;
        (known.at.elapsed() < STALE).then(|| known.standings.clone())
    }

    /// Forgets what is too old, and what is not there.
    pub(crate) fn sweep(&self, catalogue: &Catalogue) {
        self.lock().retain(|id, known| known.at.elapsed() < STALE && catalogue.instance(*id).is_some());
    }

    /// Those to ask for, the longest unknown first.
    fn wanted(&self, instances: &[Arc<Instance>]) -> Vec<Arc<Instance>> {
        let known = self.lock();
        let at = |instance: &Arc<Instance>| {
            let known = known.get(&instance.id).filter(|known| known.owner_epoch == instance.owner_epoch);
            known.map(|known| known.at)
        };
        let living = instances.iter().filter(|instance| instance.state.is_alive());
        let old = living.filter(|instance| at(instance).is_none_or(|at| at.elapsed() >= FRESH));
        let mut wanted: Vec<Arc<Instance>> = old.cloned().collect();
        wanted.sort_by_key(at);
        wanted.truncate(MOST);
        wanted
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the agents of an account's instances, until the deadline.
pub(crate) async fn refresh(door: &Arc<Door>, account: &AccountName, instances: &[Arc<Instance>], deadline: Instant) {
    let mut wanted = door.sensor_health.wanted(instances).into_iter();
    let mut asked = JoinSet::new();
    let mut begin = |asked: &mut JoinSet<()>| {
        if let Some(instance) = wanted.next() {
            asked.spawn(ask(door.clone(), account.clone(), instance, deadline));
        }
    };
    (0..AT_ONCE).for_each(|_| begin(&mut asked));
    // Each has the deadline too, and those that are left when it has passed end at once.
    while asked.join_next().await.is_some() {
        begin(&mut asked);
    }
}

async fn ask(door: Arc<Door>, account: AccountName, instance: Arc<Instance>, deadline: Instant) {
    if Instant::now() >= deadline {
        return;
    }
    let Some(node) = door.catalogue.node(instance.node).filter(|node| !node.is_cmon) else { return };
    let mut headers = HeaderMap::new();
    if let Ok(owner) = HeaderValue::from_str(instance.owner.as_str()) {
        headers.insert(EXPECTED_OWNER, owner);
    }
    let question = Question { path: format!("/v1/{}/sensors", instance.id), headers, account, deadline };
    let Ok(reply) = door.upstream.ask(&node, &question).await else { return };
    if reply.parts.status != StatusCode::OK {
        return;
    }
    let Ok(body) = Limited::new(reply.body, BODY_BYTES).collect().await else { return };
    let Ok(mut told) = serde_json::from_slice::<Vec<Standing>>(&body.to_bytes()) else { return };
    let left_out = told.len().saturating_sub(MOST_SENSORS);
    told.truncate(MOST_SENSORS);
    let standings = Arc::new(Standings { told, left_out });
    let known = Known { at: Instant::now(), owner_epoch: instance.owner_epoch, standings };
    door.sensor_health.lock().insert(instance.id, known);
}
