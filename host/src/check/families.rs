//! Families: what a sensor may call what it returns.
//!
//! Grammar and sizes are the same for all; whoever breaks them fails. Whether a name is the sensor's to claim is answered apart, because
//! a sensor that described itself is refused for it and a dynamic one only loses that family.

use std::collections::HashSet;

use sonde_expo::model::{Family, Kind};
use sonde_expo::name::{is_label_name, is_metric_name, sample_names};
use sonde_manifest::Limits;

use super::{Reserved, output};
use crate::failure::{RunFailure, tame};
use crate::wire::batch as wit;

/// Longest family name; Prometheus has no bound of its own.
const NAME_BYTES: usize = 200;
/// Longest help and unit.
const HELP_BYTES: usize = 1_024;
const UNIT_BYTES: usize = 32;

/// What a sensor may return, as it described itself. The families have no samples.
#[derive(Debug, Clone)]
pub(crate) enum Families {
    Static(Vec<Family>),
    Dynamic,
}

/// The families of a description: every name must be the sensor's to claim.
pub(super) fn described(
    families: Vec<wit::Family>,
    limits: &Limits,
    reserved: &Reserved,
) -> Result<Vec<Family>, RunFailure> {
    let mut described = Vec::with_capacity(families.len());
    for (family, not_its_own) in judged(families, limits, reserved)? {
        if let Some(why) = not_its_own {
            return Err(output(why));
        }
        described.push(family);
    }
    Ok(described)
}

/// The families of a dynamic batch, each with whether it may be exposed.
pub(super) fn claimed(
    families: Vec<wit::Family>,
    limits: &Limits,
    reserved: &Reserved,
) -> Result<Vec<(Family, bool)>, RunFailure> {
    let judged = judged(families, limits, reserved)?;
    Ok(judged.into_iter().map(|(family, not_its_own)| (family, not_its_own.is_none())).collect())
}

/// Families that are well formed, each with the sentence why it is not the sensor's to claim, if so.
fn judged(
    families: Vec<wit::Family>,
    limits: &Limits,
    reserved: &Reserved,
) -> Result<Vec<(Family, Option<String>)>, RunFailure> {
    if families.len() as u64 > limits.families {
        return Err(output(format!("it has {} families, and {} are allowed", families.len(), limits.families)));
    }
    let mut taken: HashSet<String> = HashSet::new();
    let mut judged = Vec::with_capacity(families.len());
    for family in families {
        let family = well_formed(family, limits)?;
        let names = sample_names(&family.name, family.kind);
        let not_its_own = if let Some(name) = names.iter().find(|name| reserved.holds(name)) {
            Some(format!("the family name {name:?} is reserved"))
        } else if let Some(label) = family.label_names.iter().find(|label| reserved.holds_label(label)) {
            Some(format!("{}: {label:?} is a reserved label name", family.name))
        } else if family.kind == Kind::StateSet && reserved.holds_label(&family.name) {
            Some(format!(
                "{:?}: a state set's name is the label of its states, and this label is reserved",
                family.name
            ))
        } else if let Some(name) = names.iter().find(|name| taken.contains(*name)) {
            Some(format!("two of its families use the name {name:?}"))
        } else {
            taken.extend(names);
            None
        };
        judged.push((family, not_its_own));
    }
    Ok(judged)
}

fn well_formed(family: wit::Family, limits: &Limits) -> Result<Family, RunFailure> {
    let shown = tame(&family.name);
    if !is_metric_name(&family.name) || family.name.len() > NAME_BYTES {
        return Err(output(format!("{shown:?} is not a family name ([a-zA-Z_][a-zA-Z0-9_]*, {NAME_BYTES} bytes)")));
    }
    if family.help.len() > HELP_BYTES || family.unit.len() > UNIT_BYTES {
        return Err(output(format!("{shown}: help has at most {HELP_BYTES} bytes and unit {UNIT_BYTES}")));
    }
    if family.label_names.len() as u64 > limits.labels {
        return Err(output(format!("{shown}: {} labels, and {} are allowed", family.label_names.len(), limits.labels)));
    }
    let kind = kind(family.kind);
    let mut seen = HashSet::with_capacity(family.label_names.len());
    for label in &family.label_names {
        let fault = if !is_label_name(label) {
            "is not a label name"
        } else if label.len() as u64 > limits.label_name_bytes {
            "is too long a label name"
        } else if kind == Kind::StateSet && *label == family.name {
            "is the label that carries the state"
        } else if !seen.insert(label.as_str()) {
            "is there twice"
        } else {
            continue;
        };
        return Err(output(format!("{shown}: {:?} {fault}", tame(label))));
    }
    if kind == Kind::Info && !family.name.ends_with("_info") {
        return Err(output(format!("{shown}: the name of an info ends in _info")));
    }
    Ok(Family {
        name: family.name.into(),
        kind,
        help: family.help.into(),
        unit: family.unit.into(),
        label_names: family.label_names.into_iter().map(Into::into).collect(),
        samples: Vec::new(),
    })
}

fn kind(kind: wit::Kind) -> Kind {
    match kind {
        wit::Kind::Counter => Kind::Counter,
        wit::Kind::Gauge => Kind::Gauge,
        wit::Kind::Histogram => Kind::Histogram,
        wit::Kind::GaugeHistogram => Kind::GaugeHistogram,
        wit::Kind::NativeHistogram => Kind::NativeHistogram,
        wit::Kind::Summary => Kind::Summary,
        wit::Kind::Info => Kind::Info,
        wit::Kind::StateSet => Kind::StateSet,
        wit::Kind::Unknown => Kind::Unknown,
    }
}
