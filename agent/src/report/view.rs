//! The instances as a report has them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use sonde_collect::{Found, InstanceState};
use sonde_inventory::report::groups_of;
use sonde_inventory::{AccountName, Claim, State};
use uuid::Uuid;

use crate::floor::Scraper;
use crate::gate::{Answer, Gate};
use crate::instance::{Catalogue, Instance};
use crate::reading_threads::ReadingThreads;

/// How often an instance is looked at that nobody scrapes: a thousand of them then cost a three-hundredth of a core.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long the kernel may take with one, and with all: what is not looked at now is next time.
const ONE_WITHIN: Duration = Duration::from_millis(100);
const ALL_WITHIN: Duration = Duration::from_secs(1);
/// The label with a name for people.
const ALIAS_LABEL: &str = "sonde.alias";

/// How soon one is looked at again of which there is no reading, since the kernel took longer than that or nobody had time for it.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// When each instance was last looked at.
#[derive(Default)]
pub(super) struct View {
    looked: HashMap<Uuid, Looked>,
}

/// A look at an instance as it was then: with another owner, or when more is known of it, it has another gate, and that has no reading.
struct Looked {
    gate: Weak<Gate>,
    at: Instant,
}

impl Looked {
    fn is_due(&self, instance: &Instance, now: Instant) -> bool {
        let is_other = !std::ptr::eq(self.gate.as_ptr(), Arc::as_ptr(&instance.gate));
        let every = if instance.gate.last().is_some() { LOOK_EVERY } else { AGAIN_AFTER };
        is_other || now.duration_since(self.at) >= every
    }
}

impl View {
    /// Looks at those that are due, and says what is known of each.
    pub(super) async fn look(&mut self, catalogue: &Catalogue, threads: &ReadingThreads) -> Vec<Claim> {
        let live = catalogue.live();
        let began = Instant::now();
        self.looked.retain(|id, _| catalogue.get(*id).is_some());
        for instance in &live {
            let is_due = self.looked.get(&instance.id()).is_none_or(|looked| looked.is_due(instance, began));
            if is_due && began.elapsed() < ALL_WITHIN {
                self.looked.insert(instance.id(), Looked { gate: Arc::downgrade(&instance.gate), at: began });
                let _ = instance.gate.read(Scraper::Anybody, LOOK_EVERY, ONE_WITHIN, threads).await;
            }
        }
        live.iter().filter_map(|instance| claim(instance)).collect()
    }
}

/// What a report says of an instance, and by what sensors select it.
pub(crate) fn claim(instance: &Instance) -> Option<Claim> {
    // The rules of owners make no other names.
    let owner = AccountName::new(&instance.owner).ok()?;
    let (state, reasons) = state(instance.gate.last());
    let found: &Found = &instance.found;
    let metadata = &found.metadata;
    let name = instance.display_name();
    let alias = metadata.label(ALIAS_LABEL).unwrap_or(if name == found.name.runtime_id { "" } else { name });
    let claim = Claim {
        id: instance.id(),
        owner,
        name: name.to_owned(),
        alias: alias.to_owned(),
        runtime: found.name.runtime.as_str().to_owned(),
        runtime_id: found.name.runtime_id.clone(),
        image: found.name.image.clone().unwrap_or_default(),
        state,
        reasons,
        groups: groups_of(|label| metadata.label(label)),
        labels: metadata.labels.iter().map(|(key, value)| (key, value)).collect(),
    };
    Some(claim.fit())
}

fn state(last: Option<Answer>) -> (State, Vec<String>) {
    match last {
        Some(Answer::Taken(taken)) => {
            let reasons = taken.judgement.reasons.iter().map(|reason| reason.as_str().to_owned()).collect();
            (of(taken.judgement.state), reasons)
        }
        Some(Answer::Gone) => (State::Gone, Vec::new()),
        Some(Answer::NotInTime) | None => (State::Unknown, Vec::new()),
    }
}

fn of(state: InstanceState) -> State {
    match state {
        InstanceState::Running => State::Running,
        InstanceState::Saturated => State::Saturated,
        InstanceState::Frozen => State::Frozen,
        InstanceState::Stopped => State::Stopped,
        InstanceState::Gone => State::Gone,
    }
}
