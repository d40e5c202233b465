//! What the proxy says of its inventory: whether it hears of changes and may make them, and what nodes report.
//!
//! Two things can fail apart: a store that is away is neither heard nor written, and one that is full is still heard. So there is a gauge for the
//! one and a counter for the other, and what is served meanwhile is known to be old by the first.

use sonde_expo::{Kind, Labels, Number, Writer};
use sonde_inventory::{Changes, Health};

use crate::reports::Figures;

/// At the moment of writing.
#[derive(Debug, Default)]
pub struct Inventory {
    pub health: Health,
    pub changes: Changes,
    pub damaged_artifacts: u64,
    pub reports: Figures,
}

impl Inventory {
    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        let none = Labels::new(&[]);
        let behind = match &self.health {
            Health::Current => None,
            Health::Behind { since, .. } => Some(since.elapsed()),
        };
        let help = "Whether changes of the inventory are heard of; 0 while what was last known is served.";
        let mut current = writer.family("sonde_proxy_inventory_current", Kind::Gauge, help, "");
        current.sample(&none, &[], Number::Unsigned(u64::from(behind.is_none())));
        let help = "For how long changes of the inventory have not been heard of.";
        let mut age = writer.family("sonde_proxy_inventory_behind_seconds", Kind::Gauge, help, "seconds");
        age.sample(&none, &[], Number::Float(behind.unwrap_or_default().as_secs_f64()));
        let help = "Instances that several nodes say live on them; they are not served.";
        let mut twice = writer.family("sonde_proxy_instances_claimed_twice", Kind::Gauge, help, "");
        twice.sample(&none, &[], Number::Unsigned(self.reports.claimed_twice_now));
        let help = "Artifacts that cannot be told of, and are given to no node until they are pushed again.";
        let mut damaged = writer.family("sonde_proxy_inventory_damaged_artifacts", Kind::Gauge, help, "");
        damaged.sample(&none, &[], Number::Unsigned(self.damaged_artifacts));
        let changes = &self.changes;
        let results = [("done", changes.done), ("conflict", changes.conflicts), ("failed", changes.failed)];
        let help = "Changes of the inventory that were to be made here, by result.";
        let mut made = writer.family("sonde_proxy_inventory_changes_total", Kind::Counter, help, "");
        for (result, count) in results {
            made.sample(&none, &[("result", result)], Number::Unsigned(count));
        }
        let reports = &self.reports;
        let results = [("taken", reports.taken), ("asked_again", reports.asked_again), ("refused", reports.refused)];
        let help = "Reports of nodes, by result.";
        let mut heard = writer.family("sonde_proxy_reports_total", Kind::Counter, help, "");
        for (result, count) in results {
            heard.sample(&none, &[("result", result)], Number::Unsigned(count));
        }
    }
}
