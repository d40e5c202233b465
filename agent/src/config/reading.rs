//! `[reading]`: how often native values are read, and whose names they carry. Both take effect while the agent runs.

use std::time::Duration;

use serde::Deserialize;
use sonde_collect::Names;

use super::duration;

/// Native values are not read oftener than this for one scraper, unless the operator says otherwise.
const DEFAULT_FLOOR: Duration = Duration::from_secs(1);
const LOWEST_FLOOR: Duration = Duration::from_millis(50);
/// No floor is higher, the operator's or an overloaded node's.
pub(crate) const HIGHEST_FLOOR: Duration = Duration::from_secs(60);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawReading {
    floor: Option<String>,
    names: Option<Vec<String>>,
}

/// The floor and the names that are meant.
pub(super) fn read(raw: &RawReading, faults: &mut Vec<String>) -> (Duration, Names) {
    let floor = duration("reading.floor", raw.floor.as_deref(), faults).unwrap_or(DEFAULT_FLOOR);
    if !(LOWEST_FLOOR..=HIGHEST_FLOOR).contains(&floor) {
        faults.push(format!("reading.floor is {floor:?}: from {LOWEST_FLOOR:?} to {HIGHEST_FLOOR:?} is allowed"));
    }
    let names = raw.names.as_deref().map_or(Ok(Names::default()), Names::of).unwrap_or_else(|error| {
        faults.push(format!("reading.names {error}"));
        Names::default()
    });
    (floor, names)
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;
    use super::*;

    #[test]
    fn names_are_cadvisors_unless_said() {
        let names = |list: &str| parse(&format!("[reading]\nnames = {list}\n")).map(|config| config.names);
        assert_eq!(parse("").unwrap().names, Names { cadvisor: true, triton: false });
        assert_eq!(names(r#"["triton"]"#), Ok(Names { cadvisor: false, triton: true }));
        assert_eq!(names(r#"["triton", "cadvisor"]"#), Ok(Names { cadvisor: true, triton: true }));
        for (list, said) in [
            (r#"["prometheus"]"#, r#"reading.names has "prometheus": "cadvisor", "triton" or both are allowed"#),
            (r#"["triton", "triton"]"#, r#"reading.names has "triton" twice"#),
            ("[]", "reading.names is empty"),
        ] {
            let error = names(list).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert!(names(r#""triton""#).is_err(), "a list");
        let both = parse("[reading]\nnames = [\"triton\", \"cadvisor\"]\n").unwrap();
        assert_eq!(parse(&both.to_toml()).unwrap(), both);
    }
}
