//! The instances as a report has them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sonde_collect::{Found, InstanceState};
use sonde_inventory::report::groups_of;
use sonde_inventory::{AccountName, Claim, State};
use uuid::Uuid;

use crate::floor::Scraper;
use crate::gate::Answer;
use crate::instance::{Catalogue, Instance};
use crate::reading_threads::ReadingThreads;

/// How often an instance is looked at that nobody scrapes: a thousand of them then cost a three-hundredth of a core.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long the kernel may take with one, and with all: what is not looked at now is next time.
const ONE_WITHIN: Duration = Duration::from_millis(100);
const ALL_WITHIN: Duration = Duration::from_secs(1);
/// The label with a name for people.
const ALIAS_LABEL: &str = "sonde.alias";

/// When each instance was last looked at.
#[derive(Default)]
pub(super) struct View {
    looked: HashMap<Uuid, Instant>,
}

impl View {
    /// Looks at those that are due, and says what is known of each.
    pub(super) async fn look(&mut self, catalogue: &Catalogue, threads: &ReadingThreads) -> Vec<Claim> {
        let live = catalogue.live();
        let began = Instant::now();
        self.looked.retain(|id, _| catalogue.get(*id).is_some());
        for instance in &live {
            let is_due = self.looked.get(&instance.id()).is_none_or(|at| began.duration_since(*at) >= LOOK_EVERY);
            if is_due && began.elapsed() < ALL_WITHIN {
                self.looked.insert(instance.id(), began);
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
