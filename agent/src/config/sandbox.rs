//! `[sandbox]`, `[share]` and `[[account]]`: how runs are kept apart, and what each account may use of the node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sonde_host::{RUNNER_MEMORY_BYTES, RunnersFor, Share, StandingRules};

use super::print::{milliseconds, table, text};
use super::{duration, is_plain_name};

/// Mebibytes, as the file has them.
const MIB: u64 = 1 << 20;
/// A runner that is not enough for one sensor of the large class is of no use.
const LEAST_MEMORY_MIB: u64 = 256;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSandbox {
    runners_for: Option<String>,
    memory_mib: Option<u64>,
    quarantine_after: Option<u32>,
    longest_back_off: Option<String>,
    compile_worker: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawShare {
    weight: Option<u32>,
    cpu_cores: Option<f64>,
    series: Option<u64>,
    places: Option<f64>,
    compilations_per_hour: Option<u64>,
}

/// As [`RawShare`]: serde cannot flatten and refuse unknown keys at once.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAccount {
    name: String,
    weight: Option<u32>,
    cpu_cores: Option<f64>,
    series: Option<u64>,
    places: Option<f64>,
    compilations_per_hour: Option<u64>,
}

/// How runs are kept apart. Takes effect when the agent starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    pub runners_for: RunnersFor,
    /// What all runs in flight in one runner may have together.
    pub memory_bytes: u64,
    pub standing: StandingRules,
    /// Another program than the agent's own that compile workers are started from: for an agent that was built without the compiler.
    pub compile_worker: Option<PathBuf>,
}

pub(super) fn read(raw: RawSandbox, folder: &Path, faults: &mut Vec<String>) -> Sandbox {
    let runners_for = match raw.runners_for.as_deref() {
        None | Some("all") => RunnersFor::All,
        Some("account") => RunnersFor::Account,
        Some(other) => {
            faults.push(format!("sandbox.runners_for is {other:?}: all or account is allowed"));
            RunnersFor::All
        }
    };
    let memory_mib = raw.memory_mib.unwrap_or(RUNNER_MEMORY_BYTES / MIB);
    if !(LEAST_MEMORY_MIB..=u64::from(u32::MAX)).contains(&memory_mib) {
        faults.push(format!("sandbox.memory_mib is {memory_mib}: at least {LEAST_MEMORY_MIB} is allowed"));
    }
    let mut standing = StandingRules::default();
    standing.quarantine_after = raw.quarantine_after.unwrap_or(standing.quarantine_after);
    if standing.quarantine_after == 0 {
        faults.push("sandbox.quarantine_after is 0: at least 1 is allowed".into());
    }
    let longest = duration("sandbox.longest_back_off", raw.longest_back_off.as_deref(), faults);
    standing.longest_back_off = longest.unwrap_or(standing.longest_back_off);
    let compile_worker = raw.compile_worker.map(|path| folder.join(path));
    if let Some(path) = compile_worker.as_ref().filter(|path| !path.is_file()) {
        faults.push(format!("sandbox.compile_worker: there is no file {}", path.display()));
    }
    Sandbox { runners_for, memory_bytes: memory_mib.saturating_mul(MIB), standing, compile_worker }
}

/// A share, what is not said as in `unsaid`.
pub(super) fn share(whose: &str, raw: RawShare, unsaid: &Share, faults: &mut Vec<String>) -> Share {
    let share = Share {
        weight: raw.weight.unwrap_or(unsaid.weight),
        cpu_cores: raw.cpu_cores.unwrap_or(unsaid.cpu_cores),
        series: raw.series.unwrap_or(unsaid.series),
        places: raw.places.unwrap_or(unsaid.places),
        compilations_per_hour: raw.compilations_per_hour.unwrap_or(unsaid.compilations_per_hour),
    };
    if !(1..=10_000).contains(&share.weight) {
        faults.push(format!("{whose}.weight is {}: 1 to 10000 is allowed", share.weight));
    }
    if share.cpu_cores.is_nan() || share.cpu_cores <= 0.0 {
        faults.push(format!(
            "{whose}.cpu_cores is {}: a number of cores over 0, such as 0.5, is allowed",
            share.cpu_cores
        ));
    }
    if !(0.0..=1.0).contains(&share.places) {
        faults.push(format!("{whose}.places is {}: a part from 0.0 to 1.0 is allowed", share.places));
    }
    share
}

/// Accounts by name. What is not said of one is as `[share]` has it.
pub(super) fn accounts(raw: Vec<RawAccount>, unsaid: &Share, faults: &mut Vec<String>) -> BTreeMap<String, Share> {
    let mut accounts = BTreeMap::new();
    for account in raw {
        let name = account.name;
        let whose = format!("account {name:?}");
        if !is_plain_name(&name) {
            faults.push(format!("{whose}: 1 to 63 of a-z A-Z 0-9 . _ - are allowed in a name"));
        }
        let raw = RawShare {
            weight: account.weight,
            cpu_cores: account.cpu_cores,
            series: account.series,
            places: account.places,
            compilations_per_hour: account.compilations_per_hour,
        };
        if accounts.insert(name, share(&whose, raw, unsaid, faults)).is_some() {
            faults.push(format!("{whose} is there twice"));
        }
    }
    accounts
}

fn whole(number: u64) -> toml::Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

/// The table that [`read`] takes.
pub(super) fn table_of(sandbox: &Sandbox) -> toml::Table {
    let runners_for = if sandbox.runners_for == RunnersFor::All { "all" } else { "account" };
    let mut written = table([
        ("runners_for", text(runners_for)),
        ("memory_mib", whole(sandbox.memory_bytes / MIB)),
        ("quarantine_after", whole(sandbox.standing.quarantine_after.into())),
        ("longest_back_off", milliseconds(sandbox.standing.longest_back_off)),
    ]);
    if let Some(path) = &sandbox.compile_worker {
        written.insert("compile_worker".into(), text(path.display()));
    }
    written
}

/// The table that [`share`] takes.
pub(super) fn share_table(share: &Share) -> toml::Table {
    table([
        ("weight", whole(share.weight.into())),
        ("cpu_cores", share.cpu_cores.into()),
        ("series", whole(share.series)),
        ("places", share.places.into()),
        ("compilations_per_hour", whole(share.compilations_per_hour)),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::UNOWNED;
    use super::super::tests::parse;
    use super::*;

    #[test]
    fn what_is_out_of_range_is_named() {
        let mut faults = Vec::new();
        let raw = RawSandbox {
            runners_for: Some("nobody".into()),
            memory_mib: Some(1),
            quarantine_after: Some(0),
            ..RawSandbox::default()
        };
        read(raw, Path::new("/"), &mut faults);
        let raw = RawShare { weight: Some(0), cpu_cores: Some(0.0), places: Some(1.5), ..RawShare::default() };
        share("share", raw, &Share::DEFAULT, &mut faults);
        for named in ["runners_for", "memory_mib", "quarantine_after", "weight", "cpu_cores", "places"] {
            assert!(faults.iter().any(|fault| fault.contains(named)), "{named}: {faults:?}");
        }
    }

    #[test]
    fn what_is_nobodys_is_bounded() {
        assert_eq!(parse("").unwrap().share(UNOWNED), Share::DEFAULT);
        assert_eq!(parse("[share]\nseries = 7").unwrap().share(UNOWNED).series, 7);
    }

    #[test]
    fn an_account_is_what_is_said_of_it_and_else_as_all() {
        let acme: RawAccount = toml::from_str("name = \"acme\"\nweight = 300").unwrap();
        let unsaid = Share { series: 7, ..Share::DEFAULT };
        let mut faults = Vec::new();
        let accounts = accounts(vec![acme], &unsaid, &mut faults);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(accounts["acme"], Share { weight: 300, ..unsaid });
    }
}
