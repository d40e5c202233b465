//! A manifest meets a configuration: types checked, defaults filled, every `$key` replaced.
//!
//! The result is what the sensor *asks for* on one instance, in plain ports and paths, so that the
//! host can cut it with the policy and the broker need never know what a configuration key is.

use std::collections::BTreeMap;

use crate::fault::ConfigErrors;
use crate::model::{ConfigType, FileFrom, FilePattern, Manifest, PathFrom, PortFrom};
use crate::value::{HttpUrl, MAX_VALUE_BYTES, absolute_path, port};

/// What a sensor asks for once its configuration is known. Lists are sorted as the manifest has
/// them, without repeats; a key that was optional and not given adds nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolved {
    /// Every configuration value that the sensor sees, with defaults.
    pub values: BTreeMap<String, String>,
    /// TCP ports.
    pub tcp: Vec<u16>,
    /// Ports for HTTP.
    pub http: Vec<u16>,
    /// Paths of Unix stream sockets.
    pub unix: Vec<String>,
    /// Files to read.
    pub files: Vec<FilePattern>,
    /// The kernel's statistics.
    pub kstats: bool,
    /// The list of processes.
    pub processes: bool,
    /// Names of secrets.
    pub secrets: Vec<String>,
    /// Bytes that last from run to run.
    pub state: bool,
}

impl Manifest {
    /// Checks a configuration and resolves what depends on it.
    ///
    /// # Errors
    /// All faults together: keys the manifest does not declare, values of another type, required
    /// keys that are missing.
    pub fn resolve(&self, given: &BTreeMap<String, String>) -> Result<Resolved, ConfigErrors> {
        let mut faults = Vec::new();
        for key in given.keys().filter(|key| !self.config.contains_key(*key)) {
            let declared: Vec<&str> = self.config.keys().map(String::as_str).collect();
            let declared = if declared.is_empty() { "none".to_owned() } else { declared.join(", ") };
            faults.push(format!("{key:?} is not a key of this sensor (its keys: {declared})"));
        }
        let mut values = BTreeMap::new();
        for (key, declared) in &self.config {
            match given.get(key).or(declared.default.as_ref()) {
                Some(value) => match check(declared.kind, value) {
                    Ok(()) => drop(values.insert(key.clone(), value.clone())),
                    Err(allowed) => faults.push(format!("{key} is {value:?}: {allowed}")),
                },
                None if declared.optional => {}
                None => faults.push(format!(
                    "{key} is missing: this sensor needs it and has no default for it (a {})",
                    declared.kind.name()
                )),
            }
        }
        if faults.is_empty() { Ok(self.fill(values)) } else { Err(ConfigErrors::new(&self.name, faults)) }
    }

    fn fill(&self, values: BTreeMap<String, String>) -> Resolved {
        let asked = &self.capabilities;
        let ports = |from: &[PortFrom]| {
            let mut ports = Vec::new();
            for item in from {
                let found = match item {
                    PortFrom::Port(port) => Some(*port),
                    PortFrom::Config(key) => values.get(key).and_then(|value| port_in(value)),
                };
                push_new(&mut ports, found);
            }
            ports
        };
        let (tcp, http) = (ports(&asked.tcp), ports(&asked.http));
        let mut unix = Vec::new();
        for item in &asked.unix {
            push_new(
                &mut unix,
                match item {
                    PathFrom::Path(path) => Some(path.clone()),
                    PathFrom::Config(key) => values.get(key).cloned(),
                },
            );
        }
        let mut files = Vec::new();
        for item in &asked.files {
            push_new(
                &mut files,
                match item {
                    FileFrom::Pattern(pattern) => Some(pattern.clone()),
                    FileFrom::Config(key) => values.get(key).cloned().map(FilePattern::Exact),
                },
            );
        }
        Resolved {
            tcp,
            http,
            unix,
            files,
            kstats: asked.kstats,
            processes: asked.processes,
            secrets: asked.secrets.clone(),
            state: asked.state,
            values,
        }
    }
}

/// A checked value of type `port` or `url` as a port.
fn port_in(value: &str) -> Option<u16> {
    port(value).ok().or_else(|| HttpUrl::parse(value).ok().map(|url| url.port))
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: Option<T>) {
    if let Some(item) = item
        && !list.contains(&item)
    {
        list.push(item);
    }
}

/// Whether a text is a value of a type; if not, what is allowed.
pub(crate) fn check(kind: ConfigType, value: &str) -> Result<(), String> {
    if value.len() > MAX_VALUE_BYTES || value.contains('\0') {
        return Err(format!("a value has at most {MAX_VALUE_BYTES} bytes and no NUL"));
    }
    match kind {
        ConfigType::String => Ok(()),
        ConfigType::Integer => match value.parse::<i64>() {
            Ok(_) => Ok(()),
            Err(_) => Err("an integer is a whole number of at most 64 bits".to_owned()),
        },
        ConfigType::Boolean if value == "true" || value == "false" => Ok(()),
        ConfigType::Boolean => Err("a boolean is true or false".to_owned()),
        ConfigType::Port => port(value).map(drop),
        ConfigType::Path => absolute_path(value),
        ConfigType::Url => HttpUrl::parse(value).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(body: &str) -> Manifest {
        Manifest::parse(&format!("name = \"t\"\nversion = \"0.1.0\"\ninterval = \"15s\"\n{body}")).unwrap()
    }

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    const BODY: &str = r#"
[capabilities]
tcp = ["$port", 6379]
http = ["$url", 80]
unix = ["$socket"]
files = ["/etc/a.conf", "/var/log/*", "$file"]
[config.port]
type = "port"
default = 6379
[config.url]
type = "url"
[config.socket]
type = "path"
optional = true
[config.file]
type = "path"
optional = true
"#;

    #[test]
    fn keys_become_ports_and_paths() {
        let resolved = manifest(BODY)
            .resolve(&given(&[("url", "http://localhost:9100/metrics"), ("file", "/etc/b.conf")]))
            .unwrap();
        assert_eq!(resolved.tcp, [6379], "the default and the fixed port are one");
        assert_eq!(resolved.http, [9100, 80]);
        assert!(resolved.unix.is_empty(), "an optional key that is not given asks for nothing");
        assert_eq!(
            resolved.files,
            [
                FilePattern::Exact("/etc/a.conf".into()),
                FilePattern::ChildrenOf("/var/log".into()),
                FilePattern::Exact("/etc/b.conf".into())
            ]
        );
        assert_eq!(resolved.values["port"], "6379");
        assert!(!resolved.values.contains_key("socket"));
    }

    #[test]
    fn all_faults_of_a_configuration_at_once() {
        let error =
            manifest(BODY).resolve(&given(&[("prot", "1"), ("port", "70000"), ("socket", "run/../x")])).unwrap_err();
        let faults = error.faults().join("\n");
        for part in ["\"prot\" is not a key", "port is \"70000\"", "socket is", "url is missing"] {
            assert!(faults.contains(part), "{part} not in {faults}");
        }
        assert_eq!(error.faults().len(), 4);
    }
}
