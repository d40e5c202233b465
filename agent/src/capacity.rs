//! What this machine lets a runner hold, found out at start and said where it is little.
//!
//! A loaded component is mappings and a descriptor of its runner's. The kernel bounds both, and a runner that comes to the bound can neither load
//! nor run; so the cache of components is made to fit, and an operator who wants more is told which bound to raise.

use sonde_host::{LOADED, Settings};

/// How many mappings a process may have (proc_sys_vm(5)).
const MOST_MAPPINGS: &str = "/proc/sys/vm/max_map_count";
/// Mappings of one loaded component: its code is three, a memory image one.
const MAPPINGS_EACH: u64 = 4;
/// What a runner has beside its components: pools, stacks, libraries.
const OTHER_MAPPINGS: u64 = 8_192;
/// Descriptors beside those of components: a few sockets and files for each of its runs.
const OTHER_DESCRIPTORS: u64 = 1_024;
/// Fewer make no node.
const LEAST: u64 = 16;

/// Fits what runners hold to this machine, of whose processes each may have so many descriptors.
pub(crate) fn fit(settings: Settings, descriptors: u64) -> Settings {
    let mappings = std::fs::read_to_string(MOST_MAPPINGS).ok().and_then(|text| text.trim().parse().ok());
    let loaded = loaded(mappings, descriptors);
    if loaded < LOADED {
        tracing::warn!(
            loaded,
            wished = LOADED,
            mappings,
            descriptors,
            "a runner holds fewer components at once than it could: vm.max_map_count or the limit of descriptors (LimitNOFILE=) is low"
        );
    }
    Settings { loaded, ..settings }
}

fn loaded(mappings: Option<u64>, descriptors: u64) -> usize {
    let by_mappings = mappings.map_or(u64::MAX, |most| most.saturating_sub(OTHER_MAPPINGS) / MAPPINGS_EACH);
    let by_descriptors = descriptors.saturating_sub(OTHER_DESCRIPTORS);
    usize::try_from(by_mappings.min(by_descriptors).max(LEAST)).unwrap_or(LOADED).min(LOADED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_scarcer_decides() {
        assert_eq!(loaded(Some(65_530), 16_384), LOADED, "what Linux and systemd give is enough");
        assert_eq!(loaded(Some(10_192), 16_384), 500);
        assert_eq!(loaded(Some(65_530), 1_524), 500);
        assert_eq!(loaded(None, 100), LEAST as usize);
    }
}
