//! Landlock with no rule: no path can be opened, no TCP port bound or connected, and no signal or
//! abstract socket goes out of the process, as far as the kernel knows these.
//!
//! It is the second wall behind the empty root, and the first where mounts are not ours to change.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr, RulesetStatus,
    Scope,
};

use crate::{Fault, Outcome};

/// The newest this crate knows; an older kernel takes what it has.
const NEWEST: ABI = ABI::V10;

/// Denies all that the kernel's Landlock can deny. The detail is its version.
pub(crate) fn deny_all() -> Outcome {
    let fault = |source| Fault::Landlock { source };
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(NEWEST)))
        .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(fault)?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => Err(Fault::NoLandlock),
        (_, LandlockStatus::Available { effective_abi, .. }) => Ok(Some(format!("ABI {}", effective_abi as i32))),
        _ => Err(Fault::NoLandlock),
    }
}
