//! What a proxy has been told, and so what the next report has in it.

use std::collections::HashMap;
use std::sync::Arc;

use sonde_inventory::Claim;
use sonde_inventory::assignment::SensorStanding;
use sonde_inventory::report::{About, Ended, MOST_INSTANCES, Report};
use uuid::Uuid;

use crate::instance::Catalogue;

/// The reason of one that is not there any more, where nothing else is known.
const REMOVED: &str = "removed";

pub(super) struct Ledger {
    node: Uuid,
    about: About,
    session: Uuid,
    sequence: u64,
    /// What the proxy knows; none means that it is told everything.
    told: Option<HashMap<Uuid, Claim>>,
    /// What it knows once it has taken the report that is on its way.
    telling: HashMap<Uuid, Claim>,
    /// What it knows of sensors, and what it is being told.
    told_sensors: Option<Arc<Vec<SensorStanding>>>,
    telling_sensors: Option<Arc<Vec<SensorStanding>>>,
}

impl Ledger {
    pub(super) fn new(node: Uuid, about: About, session: Uuid) -> Self {
        Self {
            node,
            about,
            session,
            sequence: 0,
            told: None,
            telling: HashMap::new(),
            told_sensors: None,
            telling_sensors: None,
        }
    }

    /// Leaves out instances until the rest is within what a report takes, and returns how many. Those that were told of stay, so that it is not others each time.
    pub(super) fn fit(&self, claims: &mut Vec<Claim>) -> usize {
        let left_out = claims.len().saturating_sub(MOST_INSTANCES);
        if left_out > 0 {
            let is_told = |claim: &Claim| self.told.as_ref().is_some_and(|told| told.contains_key(&claim.id));
            claims.sort_by_key(|claim| (!is_told(claim), claim.id));
            claims.truncate(MOST_INSTANCES);
        }
        left_out
    }

    /// The next report, when these are the instances that [`Ledger::fit`] left, and this is how pushed sensors stand.
    pub(super) fn next(
        &mut self,
        mut claims: Vec<Claim>,
        catalogue: &Catalogue,
        sensors: &Arc<Vec<SensorStanding>>,
    ) -> Report {
        self.sequence += 1;
        self.telling = claims.iter().map(|claim| (claim.id, claim.clone())).collect();
        let (instances, ended) = match &self.told {
            None => (claims, Vec::new()),
            Some(told) => {
                let gone = told.keys().filter(|id| !self.telling.contains_key(*id));
                let ended = gone.map(|id| Ended { id: *id, reason: reason(*id, catalogue) }).collect();
                claims.retain(|claim| told.get(&claim.id) != Some(claim));
                (claims, ended)
            }
        };
        let full = self.told.is_none().then(|| self.about.clone());
        let is_other = self.told_sensors.as_ref() != Some(sensors);
        self.telling_sensors = Some(sensors.clone());
        let sensors = is_other.then(|| (**sensors).clone());
        Report { node: self.node, session: self.session, sequence: self.sequence, full, instances, ended, sensors }
    }

    /// The last report was taken.
    pub(super) fn taken(&mut self) {
        self.told = Some(std::mem::take(&mut self.telling));
        self.told_sensors = self.telling_sensors.take();
    }

    /// The last report was not looked at.
    pub(super) fn not_told(&mut self) {
        self.sequence -= 1;
    }

    /// Whoever is told next knows nothing.
    pub(super) fn begin_anew(&mut self) {
        self.told = None;
        self.told_sensors = None;
    }
}

fn reason(id: Uuid, catalogue: &Catalogue) -> String {
    let gone = catalogue.gone().into_iter().find(|gone| gone.found.name.uuid == id);
    let reason = gone.and_then(|gone| gone.judgement.reasons.first().map(|reason| reason.as_str().to_owned()));
    reason.unwrap_or_else(|| REMOVED.to_owned())
}

#[cfg(test)]
mod tests {
    use sonde_inventory::State;

    use super::*;

    fn claim(id: u128, state: State) -> Claim {
        let json = serde_json::json!({ "id": Uuid::from_u128(id), "owner": "acme" });
        Claim { state, ..serde_json::from_value(json).unwrap() }
    }

    #[test]
    fn what_does_not_fit_is_counted_and_the_same_each_time() {
        let about = About { hostname: "h".into(), url: "https://h:1".into() };
        let mut ledger = Ledger::new(Uuid::nil(), about, Uuid::nil());
        let all = |from: u128| -> Vec<Claim> {
            (from..=MOST_INSTANCES as u128 + 3).rev().map(|id| claim(id, State::Running)).collect()
        };
        let mut claims = all(4);
        assert_eq!((ledger.fit(&mut claims), claims.len()), (0, MOST_INSTANCES));
        ledger.next(claims, &Catalogue::default(), &Arc::default());
        ledger.taken();
        // Three are born whose ids come first: who was told of stays.
        let mut claims = all(1);
        assert_eq!((ledger.fit(&mut claims), claims.len()), (3, MOST_INSTANCES));
        let next = ledger.next(claims, &Catalogue::default(), &Arc::default());
        assert!(next.instances.is_empty() && next.ended.is_empty());
    }

    #[test]
    fn everything_first_then_what_changes() {
        let (catalogue, none) = (Catalogue::default(), Arc::default());
        let about = About { hostname: "h".into(), url: "https://h:1".into() };
        let mut ledger = Ledger::new(Uuid::nil(), about, Uuid::nil());
        let all = || vec![claim(1, State::Running), claim(2, State::Running)];
        let first = ledger.next(all(), &catalogue, &none);
        assert!(first.full.is_some() && first.instances.len() == 2);
        ledger.taken();
        let beat = ledger.next(all(), &catalogue, &none);
        assert!(beat.full.is_none() && beat.instances.is_empty() && beat.ended.is_empty());
        assert_eq!(beat.sequence, first.sequence + 1);
        ledger.taken();
        let diff = ledger.next(vec![claim(1, State::Stopped), claim(3, State::Running)], &catalogue, &none);
        assert_eq!(diff.instances.iter().map(|claim| claim.id.as_u128()).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(diff.ended, [Ended { id: Uuid::from_u128(2), reason: REMOVED.into() }]);
        // Not taken: the same is said again, or everything.
        assert_eq!(
            ledger.next(vec![claim(1, State::Stopped), claim(3, State::Running)], &catalogue, &none).ended.len(),
            1
        );
        ledger.begin_anew();
        let anew = ledger.next(all(), &catalogue, &none);
        assert!(anew.full.is_some() && anew.instances.len() == 2 && anew.sequence > diff.sequence);
    }
}
