//! Policy and grant: what an operator allows, and what is left of a sensor's wishes within it.
//!
//! A grant is manifest ∩ policy for one sensor on one instance, with the configuration filled in; it is the only authority a run
//! has. What does not fit is refused as a whole, with a sentence for each thing, before anything is compiled: a sensor
//! that runs with half of what it asked for fails in ways that nobody understands.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sonde_manifest::{Class, FilePattern, Limits, Manifest, Resolved};

/// Ports that a policy allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortRule {
    Any,
    /// Inclusive ranges.
    Only(Vec<(u16, u16)>),
}

impl PortRule {
    fn allows(&self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Only(ranges) => ranges.iter().any(|(first, last)| (*first..=*last).contains(&port)),
        }
    }
}

/// Paths under the instance's root that a policy allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRule {
    Any,
    /// These directories and what is in them, to any depth.
    Under(Vec<String>),
}

impl PathRule {
    fn allows(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Under(directories) => directories.iter().any(|directory| {
                let directory = directory.trim_end_matches('/');
                path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }),
        }
    }
}

/// What the operator allows an account at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub class: Class,
    /// No limit of a grant is above these.
    pub limits: Limits,
    pub min_interval: Duration,
    pub tcp: PortRule,
    pub http: PortRule,
    pub unix: PathRule,
    pub files: PathRule,
    pub kstats: bool,
    pub processes: bool,
    pub secrets: bool,
    pub state: bool,
}

/// The shortest interval at which a policy lets a sensor run, where it says nothing else.
const MIN_INTERVAL: Duration = Duration::from_millis(500);

impl Default for Policy {
    /// An operator's own sensors on an operator's own instances: whatever a manifest may ask for, but the large class.
    fn default() -> Self {
        Self {
            class: Class::Medium,
            limits: Limits::CEILING,
            min_interval: MIN_INTERVAL,
            tcp: PortRule::Any,
            http: PortRule::Any,
            unix: PathRule::Any,
            files: PathRule::Any,
            kstats: true,
            processes: true,
            secrets: true,
            state: true,
        }
    }
}

/// The only authority a run has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub limits: Limits,
    /// Memories and tables together.
    pub memory_bytes: u64,
    pub interval: Duration,
    pub min_interval: Duration,
    pub stale_after: Duration,
    pub config: BTreeMap<String, String>,
    pub tcp: Vec<u16>,
    pub http: Vec<u16>,
    pub unix: Vec<String>,
    pub files: Vec<FilePattern>,
    pub kstats: bool,
    pub processes: bool,
    pub secrets: Vec<String>,
    pub state: bool,
}

/// A manifest that asks for what the policy does not allow: every such thing, a sentence each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Refusal(pub Vec<String>);

impl Grant {
    /// Cuts nothing: either all that the sensor asks for is within the policy, or it is refused.
    pub fn decide(manifest: &Manifest, asked: Resolved, policy: &Policy) -> Result<Self, Refusal> {
        let mut faults = Vec::new();
        if manifest.class > policy.class {
            let shown = |class: Class| format!("{:?} ({} MiB)", class.name(), class.memory_bytes() >> 20);
            let (asked, most) = (shown(manifest.class), shown(policy.class));
            faults.push(format!("it asks for class {asked} and the policy allows {most} at most"));
        }
        limits_within(&manifest.limits, &policy.limits, &mut faults);
        if manifest.min_interval < policy.min_interval {
            let (asked, least) = (manifest.min_interval, policy.min_interval);
            faults.push(format!("it asks for min_interval {asked:?} and the policy allows {least:?} at least"));
        }
        for port in asked.tcp.iter().filter(|port| !policy.tcp.allows(**port)) {
            faults.push(format!("it asks for TCP port {port}, which the policy does not allow"));
        }
        for port in asked.http.iter().filter(|port| !policy.http.allows(**port)) {
            faults.push(format!("it asks for HTTP to port {port}, which the policy does not allow"));
        }
        for path in asked.unix.iter().filter(|path| !policy.unix.allows(path)) {
            faults.push(format!("it asks for the socket {path:?}, which the policy does not allow"));
        }
        for pattern in &asked.files {
            let (FilePattern::Exact(path) | FilePattern::ChildrenOf(path)) = pattern;
            if !policy.files.allows(path) {
                faults.push(format!("it asks for files at {path:?}, which the policy does not allow"));
            }
        }
        let wishes = [
            ("kstats", asked.kstats, policy.kstats),
            ("processes", asked.processes, policy.processes),
            ("secrets", !asked.secrets.is_empty(), policy.secrets),
            ("state", asked.state, policy.state),
        ];
        for (what, _, _) in wishes.iter().filter(|(_, asked, allowed)| *asked && !allowed) {
            faults.push(format!("it asks for {what}, which the policy does not allow"));
        }
        if faults.is_empty() { Ok(Self::of(manifest, asked)) } else { Err(Refusal(faults)) }
    }

    /// Whether a policy still allows all of a grant that was decided under another.
    pub fn is_within(&self, manifest: &Manifest, policy: &Policy) -> bool {
        let asked = Resolved {
            values: self.config.clone(),
            tcp: self.tcp.clone(),
            http: self.http.clone(),
            unix: self.unix.clone(),
            files: self.files.clone(),
            kstats: self.kstats,
            processes: self.processes,
            secrets: self.secrets.clone(),
            state: self.state,
        };
        Self::decide(manifest, asked, policy).is_ok_and(|grant| grant == *self)
    }

    /// The grant of a sensor that describes itself: its limits and no authority at all.
    pub fn nothing(manifest: &Manifest) -> Self {
        Self::of(manifest, Resolved::default())
    }

    fn of(manifest: &Manifest, asked: Resolved) -> Self {
        Self {
            limits: manifest.limits.clone(),
            memory_bytes: manifest.class.memory_bytes(),
            interval: manifest.interval,
            min_interval: manifest.min_interval,
            stale_after: manifest.stale_after,
            config: asked.values,
            tcp: asked.tcp,
            http: asked.http,
            unix: asked.unix,
            files: asked.files,
            kstats: asked.kstats,
            processes: asked.processes,
            secrets: asked.secrets,
            state: asked.state,
        }
    }

    /// Whether a run with this grant may ask the broker for anything at all.
    pub fn opens_anything(&self) -> bool {
        let doors = [self.tcp.len(), self.http.len(), self.unix.len(), self.files.len(), self.secrets.len()];
        self.processes || doors.iter().any(|count| *count > 0)
    }

    /// Whether a path, as the sensor gave it, is under one of the grant's patterns.
    pub fn allows_file(&self, path: &str) -> bool {
        self.files.iter().any(|pattern| pattern.allows(path))
    }
}

fn limits_within(asked: &Limits, most: &Limits, faults: &mut Vec<String>) {
    for ((name, asked), (_, most)) in asked.fields().into_iter().zip(most.fields()) {
        if asked > most {
            faults.push(format!("it asks for {name} = {asked} and the policy allows {most} at most"));
        }
    }
    if asked.wall > most.wall {
        faults.push(format!("it asks for wall = {:?} and the policy allows {:?} at most", asked.wall, most.wall));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(extra: &str) -> Manifest {
        let text =
            format!("name = \"probe\"\nversion = \"0.1.0\"\ndescription = \"A probe.\"\ninterval = \"1s\"\n{extra}");
        Manifest::parse(&text).unwrap()
    }

    fn decide(extra: &str, policy: &Policy) -> Result<Grant, Refusal> {
        let manifest = manifest(extra);
        let asked = manifest.resolve(&BTreeMap::new()).unwrap();
        Grant::decide(&manifest, asked, policy)
    }

    #[test]
    fn what_is_over_the_policy_is_named() {
        let policy = Policy {
            class: Class::Small,
            limits: Limits::default(),
            tcp: PortRule::Only(vec![(6379, 6379)]),
            files: PathRule::Under(vec!["/etc/app".into()]),
            state: false,
            ..Policy::default()
        };
        let asks = "class = \"medium\"\n[limits]\nfuel = 30_000_000\n[capabilities]\ntcp = [6379, 22]\nstate = true\nfiles = [\"/etc/app/x\", \"/etc/application\"]";
        let Refusal(faults) = decide(asks, &policy).unwrap_err();
        let all = faults.join("\n");
        for named in ["class \"medium\"", "fuel = 30000000", "TCP port 22", "state", "\"/etc/application\""] {
            assert!(all.contains(named), "{named} is not in:\n{all}");
        }
        assert_eq!(faults.len(), 5, "{all}");
    }

    #[test]
    fn every_limit_is_compared() {
        for name in Limits::default().fields().map(|(name, _)| name) {
            let mut policy = Policy::default();
            let most = policy.limits.fields_mut().into_iter().find(|(known, _)| *known == name);
            *most.expect("the name is of a limit").1 = 1;
            let Refusal(faults) = decide(&format!("[limits]\n{name} = 2\n"), &policy).unwrap_err();
            assert_eq!(faults, [format!("it asks for {name} = 2 and the policy allows 1 at most")]);
        }
    }

    #[test]
    fn what_is_within_is_granted_and_nothing_more() {
        let grant = decide("[capabilities]\ntcp = [6379]", &Policy::default()).unwrap();
        assert_eq!(grant.tcp, [6379]);
        assert!(grant.http.is_empty() && !grant.kstats && !grant.state && !grant.allows_file("/etc/passwd"));
    }
}
