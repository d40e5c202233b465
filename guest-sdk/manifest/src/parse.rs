//! `sensor.toml` → [`Manifest`]: every check of the schema, all faults collected.
//!
//! The file is walked by hand rather than through serde, because serde stops at the first fault and
//! speaks of types instead of what is allowed. Each table is *taken apart*: what is left in it at the
//! end is unknown and named as such.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::{Table, Value};

use crate::fault::ManifestErrors;
use crate::model::{Capabilities, ConfigKey, ConfigType, FileFrom, FilePattern, Manifest, PathFrom, PortFrom};
use crate::resolve::check;
use crate::value::{absolute_path, name, show_duration};
use crate::{Class, Limits, MAX_MANIFEST_BYTES};

mod table;

use table::{MAX_ITEMS, Section};

/// Running oftener than once a second gains nothing: no scraper asks that often.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// A sensor that says nothing may run this often: two scrapers less than a second apart must both get samples younger than a second.
const DEFAULT_MIN_INTERVAL: Duration = Duration::from_millis(500);
/// And none oftener than this.
const SHORTEST_MIN_INTERVAL: Duration = Duration::from_millis(100);
/// What runs more seldom is a job, not a probe.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);
/// Past a day a value says nothing about now.
const LONGEST_STALE_AFTER: Duration = Duration::from_secs(86_400);
/// A wall limit below this would end a run before a connection can be made.
const SHORTEST_WALL: Duration = Duration::from_millis(10);
/// `stale_after` unless given: one run may be missed.
const STALE_INTERVALS: u32 = 2;

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// ```
    /// let manifest = sonde_manifest::Manifest::parse(
    ///     "name = \"redis\"\nversion = \"0.1.0\"\ninterval = \"15s\"\n",
    /// ).unwrap();
    /// assert_eq!(manifest.stale_after.as_secs(), 30);
    /// ```
    ///
    /// # Errors
    /// All faults together. A file that is not TOML at all has one: where it goes wrong.
    pub fn parse(text: &str) -> Result<Self, ManifestErrors> {
        if text.len() > MAX_MANIFEST_BYTES {
            let fault = format!("it has {} bytes, and at most {MAX_MANIFEST_BYTES} are allowed", text.len());
            return Err(ManifestErrors::new(vec![fault]));
        }
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            ManifestErrors::new(vec![format!("line {line} is not TOML: {}", error.message())])
        })?;
        let mut faults = Vec::new();
        let manifest = manifest(Section { table, path: String::new(), faults: &mut faults });
        if faults.is_empty() { Ok(manifest) } else { Err(ManifestErrors::new(faults)) }
    }
}

fn manifest(mut top: Section<'_>) -> Manifest {
    let name = top.required("name", |text| name(text, false));
    let version = top.required("version", version);
    let description = top.prose("description");
    if !top.table.contains_key("interval") {
        top.fault("interval", "is missing: say how often the sensor runs at least, 1s to 1h, like \"15s\"");
    }
    let interval = top.duration("interval", SHORTEST_INTERVAL, SHORTEST_INTERVAL, LONGEST_INTERVAL);
    let min_interval = top.duration("min_interval", DEFAULT_MIN_INTERVAL, SHORTEST_MIN_INTERVAL, LONGEST_INTERVAL);
    if min_interval > interval && top.faults.is_empty() {
        let (least, most) = (show_duration(min_interval), show_duration(interval));
        top.fault("min_interval", &format!("is {least}: it may be at most the interval, {most}"));
    }
    let stale_after = top.duration("stale_after", interval * STALE_INTERVALS, SHORTEST_INTERVAL, LONGEST_STALE_AFTER);
    if stale_after < interval && top.faults.is_empty() {
        let (least, most) = (show_duration(stale_after), show_duration(interval));
        top.fault("stale_after", &format!("is {least}: less than the interval, {most}, would make series come and go"));
    }
    let class = class(&mut top);
    let limits = limits(top.section("limits"));
    let config = config(top.section("config"));
    let capabilities = capabilities(top.section("capabilities"), &config);
    top.finish(
        "name, version, description, interval, min_interval, stale_after, class, [limits], [capabilities], [config]",
    );
    Manifest { name, version, description, interval, min_interval, stale_after, class, limits, capabilities, config }
}

/// Semantic versioning's form, without build metadata.
fn version(text: &str) -> Result<(), String> {
    let (numbers, pre) = text.split_once('-').unwrap_or((text, "0"));
    let whole = |part: &str| !part.is_empty() && part.len() <= 9 && part.bytes().all(|byte| byte.is_ascii_digit());
    let three = numbers.split('.').count() == 3 && numbers.split('.').all(whole);
    let pre = pre
        .split('.')
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    if three && pre && text.len() <= 64 { Ok(()) } else { Err("a version is like 0.1.0 or 1.2.0-rc.1".to_owned()) }
}

fn class(top: &mut Section<'_>) -> Class {
    let Some(text) = top.text("class") else { return Class::default() };
    Class::from_name(&text).unwrap_or_else(|| {
        top.fault("class", &format!("is {text:?}: small (16 MiB), medium (64 MiB) or large (256 MiB) is allowed"));
        Class::default()
    })
}

fn limits(mut section: Section<'_>) -> Limits {
    let (mut limits, ceiling) = (Limits::default(), Limits::CEILING);
    for ((name, limit), (_, most)) in limits.fields_mut().into_iter().zip(ceiling.fields()) {
        *limit = section.number(name, *limit, most);
    }
    limits.wall = section.duration("wall", limits.wall, SHORTEST_WALL, ceiling.wall);
    let names = ceiling.fields().map(|(name, _)| name);
    section.finish(&format!("wall, {}", names.join(", ")));
    limits
}

fn config(mut section: Section<'_>) -> BTreeMap<String, ConfigKey> {
    let keys: Vec<String> = section.table.keys().cloned().collect();
    if keys.len() > MAX_ITEMS {
        let fault = format!("has {} keys: at most {MAX_ITEMS} are allowed", keys.len());
        section.faults.push(format!("config {fault}"));
        return BTreeMap::new();
    }
    let mut config = BTreeMap::new();
    for key in keys {
        if let Err(allowed) = name(&key, true) {
            section.fault(&key, &format!("is not a key that can be given: {allowed}"));
        }
        let declared = config_key(section.section(&key));
        config.insert(key, declared);
    }
    config
}

fn config_key(mut section: Section<'_>) -> ConfigKey {
    const TYPES: &str = "string, integer, boolean, port, path or url is allowed";
    let mut kind = ConfigType::String;
    if !section.table.contains_key("type") {
        section.fault("type", &format!("is missing: {TYPES}"));
    } else if let Some(text) = section.text("type") {
        match ConfigType::ALL.into_iter().find(|kind| kind.name() == text) {
            Some(found) => kind = found,
            None => section.fault("type", &format!("is {text:?}: {TYPES}")),
        }
    }
    let default = section.table.remove("default").and_then(|value| {
        let text = match &value {
            Value::String(text) if kind != ConfigType::Port => Some(text.clone()),
            Value::Integer(number) if matches!(kind, ConfigType::Integer | ConfigType::Port) => {
                Some(number.to_string())
            }
            Value::Boolean(flag) if kind == ConfigType::Boolean => Some(flag.to_string()),
            _ => None,
        };
        let checked = text.ok_or_else(|| format!("a {} is allowed", kind.name())).and_then(|text| {
            check(kind, &text)?;
            Ok(text)
        });
        checked.map_err(|allowed| section.fault("default", &format!("is {value}: {allowed}"))).ok()
    });
    let optional = section.flag("optional");
    if optional && default.is_some() {
        section
            .fault("optional", "is true beside a default: with a default the value is never absent, so leave one out");
    }
    let help = section.prose("help");
    section.finish("type, default, optional, help");
    ConfigKey { kind, default, optional, help }
}

fn capabilities(mut section: Section<'_>, config: &BTreeMap<String, ConfigKey>) -> Capabilities {
    use ConfigType::{Path, Port, Url};
    let mut capabilities = Capabilities::default();
    for value in section.list("tcp") {
        capabilities.tcp.extend(port_from(&mut section, "tcp", &value, config, &[Port]));
    }
    for value in section.list("http") {
        capabilities.http.extend(port_from(&mut section, "http", &value, config, &[Port, Url]));
    }
    for value in section.list("unix") {
        let found = match reference(&mut section, "unix", &value, config, &[Path]) {
            Reference::Key(key) => Some(PathFrom::Config(key)),
            Reference::Text(text) => checked_path(&mut section, "unix", &text).map(|()| PathFrom::Path(text)),
            Reference::Fault => None,
        };
        capabilities.unix.extend(found);
    }
    for value in section.list("files") {
        let found = match reference(&mut section, "files", &value, config, &[Path]) {
            Reference::Key(key) => Some(FileFrom::Config(key)),
            Reference::Text(text) => file_pattern(&mut section, text).map(FileFrom::Pattern),
            Reference::Fault => None,
        };
        capabilities.files.extend(found);
    }
    for value in section.list("secrets") {
        match value.as_str().map(|text| name(text, true)) {
            Some(Ok(())) => capabilities.secrets.extend(value.as_str().map(str::to_owned)),
            Some(Err(allowed)) => section.fault("secrets", &format!("has {value}: {allowed}")),
            None => section.fault("secrets", &format!("has {value}: names in quotes are allowed")),
        }
    }
    capabilities.kstats = section.flag("kstats");
    capabilities.processes = section.flag("processes");
    capabilities.state = section.flag("state");
    section.finish("tcp, unix, http, files, kstats, processes, secrets, state");
    capabilities
}

/// An entry of a capability's list.
enum Reference {
    Key(String),
    Text(String),
    Fault,
}

/// Reads text, or `$key` with a declared key of one of the types.
fn reference(
    section: &mut Section<'_>,
    list: &str,
    value: &Value,
    config: &BTreeMap<String, ConfigKey>,
    types: &[ConfigType],
) -> Reference {
    let Some(text) = value.as_str() else {
        section.fault(list, &format!("has {value}: text in quotes is allowed"));
        return Reference::Fault;
    };
    let Some(key) = text.strip_prefix('$') else { return Reference::Text(text.to_owned()) };
    let allowed = types.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or ");
    match config.get(key) {
        Some(declared) if types.contains(&declared.kind) => return Reference::Key(key.to_owned()),
        Some(declared) => {
            let kind = declared.kind.name();
            section.fault(list, &format!("has {text:?}, a {kind}: a configuration key of type {allowed} is allowed"));
        }
        None => {
            section
                .fault(list, &format!("has {text:?}, but there is no [config.{key}]: declare it, of type {allowed}"));
        }
    }
    Reference::Fault
}

fn port_from(
    section: &mut Section<'_>,
    list: &str,
    value: &Value,
    config: &BTreeMap<String, ConfigKey>,
    types: &[ConfigType],
) -> Option<PortFrom> {
    let port = match value {
        Value::Integer(number) => u16::try_from(*number).ok().filter(|port| *port > 0),
        Value::String(text) if text.starts_with('$') => {
            return match reference(section, list, value, config, types) {
                Reference::Key(key) => Some(PortFrom::Config(key)),
                Reference::Text(_) | Reference::Fault => None,
            };
        }
        _ => None,
    };
    if port.is_none() {
        section.fault(list, &format!("has {value}: ports from 1 to 65535 without quotes, or \"$key\", are allowed"));
    }
    port.map(PortFrom::Port)
}

fn checked_path(section: &mut Section<'_>, list: &str, text: &str) -> Option<()> {
    absolute_path(text).map_err(|allowed| section.fault(list, &format!("has {text:?}: {allowed}"))).ok()
}

fn file_pattern(section: &mut Section<'_>, text: String) -> Option<FilePattern> {
    if let Some(directory) = text.strip_suffix("/*") {
        checked_path(section, "files", directory)?;
        if directory.contains('*') {
            section.fault("files", &format!("has {text:?}: * is allowed only as the whole last part"));
            return None;
        }
        return Some(FilePattern::ChildrenOf(directory.to_owned()));
    }
    checked_path(section, "files", &text)?;
    if text.contains('*') {
        section.fault("files", &format!("has {text:?}: * is allowed only as the whole last part"));
        return None;
    }
    Some(FilePattern::Exact(text))
}
