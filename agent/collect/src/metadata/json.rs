//! The JSON in which docker, the OCI runtimes and containers/storage keep what they know, and only the fields that matter here.
//!
//! Parsers alone, over bytes that are bounded and root's. A tenant's strings are in them, so nothing is believed of their
//! shape: what is not as expected is none.

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::kept_labels;
use crate::runtime;

/// Keys in which the image's name is: of containerd's CRI plugin, CRI-O (the second since 1.26), nerdctl and OCI.
pub(super) const IMAGE_ANNOTATIONS: [&str; 4] = [
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri-o.ImageName",
    "io.kubernetes.cri-o.Image",
    "org.opencontainers.image.ref.name",
];
/// nerdctl's own label for the name, which it copies to the bundle. Anybody else's bundle may have it too, so it is a name only where
/// [`Told::named_by_nerdctl`] says so.
pub(super) const NERDCTL_NAME: &str = "nerdctl/name";

/// What a file tells of a container.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) name: Option<String>,
    pub(super) image: Option<String>,
    pub(super) labels: Vec<(String, String)>,
}

impl Told {
    /// Of annotations, wherever they were read. They give no name.
    pub(super) fn of_annotations(
        annotations: impl IntoIterator<Item = (String, String)>,
        asked: &BTreeSet<String>,
    ) -> Self {
        let labels = kept_labels(annotations, asked);
        let of = |key: &str| labels.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
        let image = IMAGE_ANNOTATIONS.into_iter().find_map(of).and_then(shown);
        Self { name: None, image, labels }
    }

    /// With the name that nerdctl gave it, whose containers are containerd's.
    pub(super) fn named_by_nerdctl(mut self) -> Self {
        let name = self.labels.iter().find(|(name, _)| name == NERDCTL_NAME);
        self.name = name.and_then(|(_, value)| shown(value.clone()));
        self
    }
}

/// A string fit to be a name or an image; none where it is not.
pub(super) fn shown(text: String) -> Option<String> {
    runtime::acceptable(&text).then_some(text)
}

#[derive(Deserialize)]
struct DockerContainer {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Name", default)]
    name: Option<String>,
    #[serde(rename = "Config", default)]
    config: Option<DockerConfig>,
}

#[derive(Default, Deserialize)]
struct DockerConfig {
    #[serde(rename = "Image", default)]
    image: Option<String>,
    #[serde(rename = "Labels", default)]
    labels: Option<HashMap<String, String>>,
}

/// docker's `config.v2.json` (moby, `daemon/container`). The name has a slash before it.
pub(super) fn docker(id: &str, text: &[u8], asked: &BTreeSet<String>) -> Option<Told> {
    let container: DockerContainer = serde_json::from_slice(text).ok().filter(|c: &DockerContainer| c.id == id)?;
    let config = container.config.unwrap_or_default();
    let name = container.name.and_then(|name| shown(name.strip_prefix('/').unwrap_or(&name).to_owned()));
    Some(Told { name, image: config.image.and_then(shown), labels: kept_labels(sorted(config.labels), asked) })
}

#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    annotations: Option<HashMap<String, String>>,
    /// Required by the specification, so a file without it is another.
    #[serde(rename = "ociVersion")]
    _version: IgnoredAny,
}

/// An OCI bundle's `config.json` (runtime-spec, `config.md`).
pub(super) fn bundle(text: &[u8], asked: &BTreeSet<String>) -> Option<Told> {
    let bundle: Bundle = serde_json::from_slice(text).ok()?;
    Some(Told::of_annotations(sorted(bundle.annotations), asked))
}

/// In the order of their keys: what is read twice must come out the same.
fn sorted(labels: Option<HashMap<String, String>>) -> Vec<(String, String)> {
    let mut labels: Vec<_> = labels.unwrap_or_default().into_iter().collect();
    labels.sort();
    labels
}

#[derive(Deserialize)]
struct Stored {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    /// JSON in a string.
    #[serde(default)]
    metadata: Option<String>,
}

#[derive(Deserialize)]
struct StoredMetadata {
    #[serde(rename = "image-name", default)]
    image: Option<String>,
}

/// Name and image of one container in an index.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Indexed {
    pub(super) name: Option<String>,
    pub(super) image: Option<String>,
}

/// `containers.json` of containers/storage, which podman and CRI-O share: every container by its id.
pub(super) fn index(text: &[u8]) -> Option<HashMap<String, Indexed>> {
    let stored: Vec<Stored> = serde_json::from_slice(text).ok()?;
    let entry = |stored: Stored| {
        let metadata = stored.metadata.and_then(|text| serde_json::from_str::<StoredMetadata>(&text).ok());
        let name = stored.names.and_then(|names| names.into_iter().next()).and_then(shown);
        (stored.id, Indexed { name, image: metadata.and_then(|metadata| metadata.image).and_then(shown) })
    };
    Some(stored.into_iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn docker(id: &str, text: &[u8]) -> Option<Told> {
        super::docker(id, text, &BTreeSet::new())
    }

    fn bundle(text: &[u8]) -> Option<Told> {
        super::bundle(text, &BTreeSet::new())
    }

    #[test]
    fn docker_containers() {
        let text = br#"{"StreamConfig":{},"ID":"abc","Name":"/web","Config":{"Image":"nginx:1","Labels":{"b":"2","a":"1"},"Env":["X=1"]},"State":{"Pid":7}}"#;
        let told = docker("abc", text).unwrap();
        assert_eq!((told.name.as_deref(), told.image.as_deref()), (Some("web"), Some("nginx:1")));
        assert_eq!(told.labels, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        assert_eq!(docker("other", text), None, "the file is another container's");
        assert_eq!(docker("abc", br#"{"ID":"abc"}"#), Some(Told::default()));
        assert_eq!(
            docker("abc", br#"{"ID":"abc","Name":null,"Config":{"Image":"a\nb","Labels":null}}"#),
            Some(Told::default())
        );
        for broken in [&b""[..], b"{", b"[]", b"{\"ID\":3}", br#"{"ID":"abc","Config":{"Labels":{"a":1}}}"#, b"\xff"] {
            assert_eq!(docker("abc", broken), None);
        }
    }

    #[test]
    fn bundles() {
        let text = br#"{"ociVersion":"1.1.0","process":{"args":["x"]},"annotations":{"io.kubernetes.cri.image-name":"nginx","nerdctl/name":"web"}}"#;
        let told = bundle(text).unwrap();
        assert_eq!((told.name.as_deref(), told.image.as_deref(), told.labels.len()), (None, Some("nginx"), 2));
        assert_eq!(told.named_by_nerdctl().name.as_deref(), Some("web"));
        assert_eq!(bundle(br#"{"ociVersion":"1","annotations":null}"#), Some(Told::default()));
        for broken in [&b""[..], b"{}", b"null", br#"{"ociVersion":"1","annotations":[]}"#] {
            assert_eq!(bundle(broken), None);
        }
        let deep = [b"{\"ociVersion\":\"1\",\"x\":".to_vec(), vec![b'['; 100_000]].concat();
        assert_eq!(bundle(&deep), None);
    }

    #[test]
    fn indexes() {
        let text = br#"[{"id":"a","names":["web"],"image":"d7","metadata":"{\"image-name\":\"quay.io/x:latest\",\"name\":\"web\"}","flags":{}},
            {"id":"b","names":null,"metadata":"broken"},{"id":"c"}]"#;
        let all = index(text).unwrap();
        assert_eq!(all["a"], Indexed { name: Some("web".into()), image: Some("quay.io/x:latest".into()) });
        assert_eq!((&all["b"], &all["c"]), (&Indexed::default(), &Indexed::default()));
        for broken in [&b"{}"[..], b"[{}]", b"[", b""] {
            assert_eq!(index(broken), None);
        }
    }
}
