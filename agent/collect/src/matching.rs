//! Which instances a rule is for: globs over what the kernel and the runtimes say of them.
//!
//! A key that is not given matches everything; of those given all must match. `*` stands for any run of characters; nothing else is
//! special, because a name is data and not a pattern language. What an instance does not have matches no glob, with two
//! exceptions: one without a name is called by its runtime's id, and one without an image has the empty one.
//!
//! This says *what* an instance is. Who owns it is decided by fewer keys, see [`Match::asks_a_tenant`].

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::metadata::Metadata;
use crate::runtime::Runtime;

/// Globs, all of which must match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Match {
    /// The instance's name; its runtime's id where it has no name.
    pub name: Option<String>,
    /// `docker`, `runc`, `process-group`, …
    pub runtime: Option<String>,
    /// The runtime's own id, or the instance's UUID.
    pub id: Option<String>,
    /// The image, as the runtime writes it.
    pub image: Option<String>,
    /// The cgroup path.
    pub cgroup: Option<String>,
    /// The Kubernetes namespace, as the kubelet says.
    pub namespace: Option<String>,
    /// containerd's own namespace.
    pub containerd_namespace: Option<String>,
    /// The user id in whose slice it is.
    pub user: Option<String>,
    /// Any of systemd's slices that it is in.
    pub slice: Option<String>,
    /// Labels and annotations by key.
    pub labels: BTreeMap<String, String>,
}

/// What rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Who runs it.
    pub runtime: Runtime,
    /// The runtime's id.
    pub runtime_id: &'a str,
    /// Ours, where it is an instance already.
    pub uuid: Option<Uuid>,
    /// A name for people.
    pub name: Option<&'a str>,
    /// The image.
    pub image: Option<&'a str>,
    /// The cgroup path.
    pub cgroup: &'a str,
    /// What else is known.
    pub metadata: &'a Metadata,
}

impl Match {
    /// Whether a subject is meant.
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        let metadata = subject.metadata;
        let id = |pattern: &str| {
            glob(pattern, subject.runtime_id) || subject.uuid.is_some_and(|uuid| glob(pattern, &uuid.to_string()))
        };
        holds(&self.runtime, Some(subject.runtime.as_str()))
            && holds(&self.name, Some(subject.name.unwrap_or(subject.runtime_id)))
            && holds(&self.image, Some(subject.image.unwrap_or_default()))
            && holds(&self.cgroup, Some(subject.cgroup))
            && self.id.as_deref().is_none_or(id)
            && holds(&self.namespace, metadata.pod.as_ref().map(|pod| pod.namespace.as_str()))
            && holds(&self.containerd_namespace, metadata.containerd_namespace.as_deref())
            && holds(&self.user, metadata.place.user.map(|user| user.to_string()).as_deref())
            && self
                .slice
                .as_deref()
                .is_none_or(|pattern| metadata.place.slices.iter().any(|slice| glob(pattern, slice)))
            && self.labels.iter().all(|(key, pattern)| metadata.label(key).is_some_and(|value| glob(pattern, value)))
    }

    /// Whether any of its keys is a thing that a tenant can choose: labels and images are.
    pub fn asks_a_tenant(&self) -> bool {
        self.image.is_some() || !self.labels.is_empty()
    }

    /// Whether it asks for nothing but where root put the instance: its user or its slices.
    pub fn asks_place_alone(&self) -> bool {
        let elsewhere = Self { user: None, slice: None, ..self.clone() };
        elsewhere == Self::default()
    }
}

fn holds(pattern: &Option<String>, text: Option<&str>) -> bool {
    pattern.as_deref().is_none_or(|pattern| text.is_some_and(|text| glob(pattern, text)))
}

/// `*` matches any run of characters, none included. Each piece between stars is looked for once, from where the one before ended.
pub fn glob(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Place, Pod};

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("redis", "redis", true),
            ("redis", "redis-1", false),
            ("redis*", "redis-1", true),
            ("*", "", true),
            ("*-cache-*", "eu-cache-1", true),
            ("*-cache-*", "cache", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*bc", "abcbc", true),
            ("ab*ba", "aba", false),
            ("", "x", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn every_key_counts_and_what_is_not_there_matches_nothing() {
        let full = Metadata {
            labels: vec![("tier".into(), "web".into())],
            pod: Some(Pod { namespace: "shop".into(), ..Pod::default() }),
            containerd_namespace: Some("k8s.io".into()),
            place: Place {
                user: Some(1000),
                slices: vec!["acme.slice".into(), "acme-web.slice".into()],
                kubelets: true,
            },
            ..Metadata::default()
        };
        let none = Metadata::default();
        let subject = |metadata| Subject {
            runtime: Runtime::Containerd,
            runtime_id: "abc",
            uuid: Some(Uuid::nil()),
            name: Some("web"),
            image: Some("nginx:1"),
            cgroup: "/a/b",
            metadata,
        };
        let key = |set: fn(&mut Match, String), good: &str| {
            let (mut right, mut wrong) = (Match::default(), Match::default());
            set(&mut right, good.into());
            set(&mut wrong, "other".into());
            assert!(right.matches(&subject(&full)), "{right:?}");
            assert!(!wrong.matches(&subject(&full)), "{wrong:?}");
            right
        };
        key(|m, v| m.name = Some(v), "w*");
        key(|m, v| m.runtime = Some(v), "containerd");
        key(|m, v| m.id = Some(v), "ab*");
        key(|m, v| m.id = Some(v), "00000000-*");
        key(|m, v| m.image = Some(v), "nginx:*");
        key(|m, v| m.cgroup = Some(v), "/a/*");
        for right in [
            key(|m, v| m.namespace = Some(v), "sh*"),
            key(|m, v| m.containerd_namespace = Some(v), "k8s.io"),
            key(|m, v| m.user = Some(v), "1000"),
            key(|m, v| m.slice = Some(v), "acme.slice"),
            key(|m, v| m.slice = Some(v), "acme-*"),
            key(|m, v| drop(m.labels.insert("tier".into(), v)), "w*"),
        ] {
            assert!(!right.matches(&subject(&none)), "{right:?}");
        }
        assert!(Match::default().matches(&subject(&none)));
    }
}
