//! What is known of an instance beyond its ids: labels, pod, namespaces, and where root has put it.
//!
//! Two kinds of knowledge, kept apart because owners hang on it (design §5.7). *Evidence of what it is*: name, image, labels; an image's
//! author or a tenant may have written them. *Evidence of whose it is*: the pod's namespace, which the kubelet writes and
//! a tenant cannot overwrite; containerd's own namespace; and [`Place`], the part of the cgroup path that root alone could name.
//!
//! A runtime's annotations can be a tenant's in part, so for each runtime one key is believed and only under the kubelet's own
//! cgroups. containerd's CRI plugin adds what a pod may pass through before its own keys, so its own stand (`io.kubernetes.cri.*`). CRI-O
//! adds its own keys first and a pod's annotations over them, so `io.kubernetes.cri-o.Namespace` can be forged; the labels come last,
//! and among them the kubelet's over the pod's (`io.kubernetes.pod.*`). Docker puts the caller's labels, the kubelet's, over an image's.

use std::collections::BTreeSet;

use crate::runtime::{self, Runtime};

mod json;
mod libvirt;
mod plain;
mod reader;

pub(crate) use reader::{MetadataReader, Wanted};

/// How many labels of an instance are kept beside those that something is decided by, and how long a key and a value may be. Kubernetes allows a key 317 bytes.
const LABELS_MAX: usize = 128;
const LABEL_KEY_MAX_BYTES: usize = 320;
const LABEL_VALUE_MAX_BYTES: usize = 4096;

/// The kubelet calls the container that holds a pod's namespaces so.
const SANDBOX_CONTAINER: &str = "POD";

/// All that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The runtime's name for it, where that is not its id.
    pub name: Option<String>,
    /// The image; for machines, the path of their root.
    pub image: Option<String>,
    /// Labels and annotations, in the file's order. They decide no owner.
    pub labels: Vec<(String, String)>,
    /// The pod, as the kubelet says.
    pub pod: Option<Pod>,
    /// containerd's own namespace (`k8s.io`, `default`, …), which its callers choose, who are root.
    pub containerd_namespace: Option<String>,
    /// Where root has put it.
    pub place: Place,
    /// Whether its runtime keeps something of it that could not be used: too long, broken, not root's, or two of them. What is not known then
    /// is not known to be absent.
    pub unread: bool,
}

impl Metadata {
    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// What Kubernetes calls it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// The namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: Option<String>,
    /// The container's name in it; none for the one that only holds the namespaces.
    pub container: Option<String>,
}

/// The part of an instance's cgroup path that root alone could name, and what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The user id in whose slice of systemd's it is.
    pub user: Option<u32>,
    /// systemd's slices around it, the outermost first.
    pub slices: Vec<String>,
    /// Whether the kubelet made it: then its name is a tenant's choice.
    pub kubelets: bool,
}

impl Place {
    /// Of a cgroup path whose first `named_by_root` components have a root-owned directory above them.
    pub fn of(cgroup_path: &str, named_by_root: usize) -> Self {
        let parts: Vec<&str> = cgroup_path.split('/').filter(|part| !part.is_empty()).take(named_by_root).collect();
        let slices = parts.iter().take_while(|part| part.ends_with(".slice")).map(|part| (*part).to_owned());
        let user = match parts.as_slice() {
            ["user.slice", user, ..] => user.strip_prefix("user-").and_then(|user| user.strip_suffix(".slice")),
            _ => None,
        };
        Self {
            user: user.and_then(|user| user.parse().ok()),
            slices: slices.collect(),
            kubelets: runtime::is_kubelets(&parts),
        }
    }
}

/// Where containerd's CRI plugin has the pod's namespace, its name and the container's.
const CONTAINERD_POD: [&str; 3] =
    ["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.sandbox-name", "io.kubernetes.cri.container-name"];
/// Where the kubelet has them.
const KUBELET_POD: [&str; 3] =
    ["io.kubernetes.pod.namespace", "io.kubernetes.pod.name", "io.kubernetes.container.name"];

/// The pod of a container whose annotations or labels these are. See the module for whom it believes.
fn pod(runtime: Runtime, place: &Place, labels: &[(String, String)]) -> Option<Pod> {
    let [namespace, name, container] = match runtime {
        Runtime::Containerd => CONTAINERD_POD,
        Runtime::Crio | Runtime::Docker => KUBELET_POD,
        _ => return None,
    };
    let of = |key: &str| {
        let (_, value) = labels.iter().find(|(name, _)| name == key)?;
        runtime::acceptable(value).then(|| value.clone())
    };
    let namespace = of(namespace).filter(|_| place.kubelets)?;
    let container = of(container).filter(|container| container != SANDBOX_CONTAINER);
    Some(Pod { namespace, name: of(name), container })
}

/// Those of a file's labels that are kept: as many, and as long, as they may be. A tenant may add any number of any name, so those that
/// something is decided by, here or by the `asked` keys of the operator's rules, come before the bound.
fn kept_labels(all: impl IntoIterator<Item = (String, String)>, asked: &BTreeSet<String>) -> Vec<(String, String)> {
    let fits =
        |(key, value): &(String, String)| key.len() <= LABEL_KEY_MAX_BYTES && value.len() <= LABEL_VALUE_MAX_BYTES;
    let decides = |key: &str| {
        let fixed = [&CONTAINERD_POD[..], &KUBELET_POD, &json::IMAGE_ANNOTATIONS, &[json::NERDCTL_NAME]];
        fixed.iter().any(|keys| keys.contains(&key)) || asked.contains(key)
    };
    let (own, others): (Vec<_>, Vec<_>) = all.into_iter().filter(fits).partition(|(key, _)| decides(key));
    own.into_iter().chain(others.into_iter().take(LABELS_MAX)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn where_root_has_put_it() {
        let place = |path, named| {
            let place = Place::of(path, named);
            (place.user, place.slices.join(" "), place.kubelets)
        };
        assert_eq!(place("/", 0), (None, String::new(), false));
        assert_eq!(place("/system.slice/docker-x.scope", 2), (None, "system.slice".into(), false));
        let users = "/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope";
        assert_eq!(place(users, 3), (Some(1000), "user.slice user-1000.slice".into(), false));
        // What another than root has named says nothing.
        assert_eq!(place(users, 1), (None, "user.slice".into(), false));
        assert_eq!(place("/delegated/user.slice/user-1000.slice/x", 4).0, None);
        assert_eq!(place("/user.slice/user-.slice/x", 3).0, None);
        assert_eq!(place("/a.slice/b/c.slice/x", 4).1, "a.slice");
        assert!(place("/kubepods/podx/y", 3).2);
        assert!(!place("/tenant/kubepods/podx/y", 1).2);
    }

    #[test]
    fn a_pod_is_believed_by_the_key_that_its_runtime_guards() {
        let kubelets = Place { kubelets: true, ..Place::default() };
        let cri = labels(&[
            ("io.kubernetes.pod.namespace", "forged"),
            ("io.kubernetes.cri.sandbox-namespace", "shop"),
            ("io.kubernetes.cri.sandbox-name", "web-1"),
            ("io.kubernetes.cri.container-name", "nginx"),
        ]);
        let found = pod(Runtime::Containerd, &kubelets, &cri).unwrap();
        let parts = (found.namespace.as_str(), found.name.as_deref(), found.container.as_deref());
        assert_eq!(parts, ("shop", Some("web-1"), Some("nginx")));

        let crio = labels(&[
            // A pod's annotation takes the place of CRI-O's own.
            ("io.kubernetes.cri-o.Namespace", "forged"),
            ("io.kubernetes.pod.namespace", "shop"),
            ("io.kubernetes.container.name", "POD"),
        ]);
        for runtime in [Runtime::Crio, Runtime::Docker] {
            let found = pod(runtime, &kubelets, &crio).unwrap();
            assert_eq!((found.namespace.as_str(), found.container), ("shop", None));
        }
        // Outside the kubelet's cgroups it is an image's label, or anybody's.
        assert_eq!(pod(Runtime::Docker, &Place::default(), &crio), None);
        assert_eq!(pod(Runtime::Podman, &kubelets, &crio), None);
        assert_eq!(pod(Runtime::Crio, &kubelets, &labels(&[("io.kubernetes.cri-o.Namespace", "forged")])), None);
        assert_eq!(pod(Runtime::Crio, &kubelets, &labels(&[("io.kubernetes.pod.namespace", "a\nb")])), None);
    }

    #[test]
    fn labels_are_bounded_and_what_decides_is_not_crowded_out() {
        let own = labels(&[
            ("io.kubernetes.pod.namespace", "shop"),
            ("io.kubernetes.cri.sandbox-namespace", "shop"),
            ("io.kubernetes.cri.image-name", "nginx"),
            ("owner", "acme"),
        ]);
        let asked = BTreeSet::from(["owner".to_owned()]);
        // Also by such as look like the kubelet's own and come before them.
        for before in ["a", "io.kubernetes.a"] {
            let many = (0..1000).map(|n| (format!("{before}{n}"), String::new()));
            let kept = kept_labels(many.chain(own.clone()), &asked);
            assert_eq!((kept.len(), &kept[..own.len()]), (LABELS_MAX + own.len(), &own[..]), "{before}");
        }
        assert!(kept_labels(labels(&[("k", &"v".repeat(LABEL_VALUE_MAX_BYTES + 1))]), &asked).is_empty());
    }

    #[test]
    fn no_bytes_are_a_panic() {
        type Parser = fn(&[u8]);
        let parsers: [(Parser, &[u8]); 6] = [
            (
                |text| drop(json::docker("abc", text, &BTreeSet::new())),
                br#"{"ID":"abc","Name":"/web","Config":{"Image":"x","Labels":{"a":"1"}}}"#,
            ),
            (
                |text| drop(json::bundle(text, &BTreeSet::new())),
                br#"{"ociVersion":"1","annotations":{"nerdctl/name":"\u00e9"}}"#,
            ),
            (|text| drop(json::index(text)), br#"[{"id":"a","names":["w"],"metadata":"{\"image-name\":\"x\"}"}]"#),
            (|text| drop(plain::machine("box", text)), b"NAME=box\nROOT=\"/r\"\n"),
            (|text| drop(plain::lxc(text)), b"lxc.rootfs.path = dir:/r\nlxc.group = a\n"),
            (
                |text| drop(libvirt::domain("a", Path::new("a&.xml"), text)),
                b"<domain type='kvm'><name>a&amp;</name><uuid>x</uuid></domain>",
            ),
        ];
        for (parse, good) in parsers {
            for at in 0..good.len() {
                parse(&good[..at]);
                parse(&good[at..]);
                for byte in [0, b'"', b'{', b'<', b'=', b'\n', 0x80, 0xff] {
                    let mut bad = good.to_vec();
                    bad[at] = byte;
                    parse(&bad);
                }
            }
        }
    }
}
