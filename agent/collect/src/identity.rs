//! Who an instance is: a UUID that the same container keeps over restarts of the agent, and that no
//! later container of the same name gets.
//!
//! It is version 5 (SHA-1 of a name in a name space) over node, runtime, the runtime's own id and
//! birth. Birth is the boot id and a number that the kernel gives once a boot: the inode of the cgroup's
//! directory (kernfs never reuses one: its upper half counts up), or for a process group the start time of its leader. A
//! tenant chooses none of these, so nobody can take another's identity by taking its name.

use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::runtime::Runtime;

/// Name space of instance ids; itself a version 5 UUID, of `instance.sonde` in the DNS name space.
const INSTANCE_SPACE_NAME: &[u8] = b"instance.sonde";
/// Name space of nodes' ids that are not UUIDs themselves, made alike.
const NODE_SPACE_NAME: &[u8] = b"node.sonde";

/// The machine that instances are named after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeId(String);

/// Why there is no node id.
#[derive(Debug, thiserror::Error)]
pub enum NodeIdError {
    /// `machine-id` cannot be read.
    #[error("cannot read {path}: give the node an id in the configuration")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing usable in it.
    #[error("{0:?} is no node id: it needs 1 to 128 letters, digits, dots, hyphens or underscores")]
    Malformed(String),
}

impl NodeId {
    /// A given name: 1 to 128 letters, digits, dots, hyphens or underscores.
    pub fn new(id: &str) -> Result<Self, NodeIdError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if id.is_empty() || id.len() > 128 || !id.bytes().all(plain) {
            return Err(NodeIdError::Malformed(id.to_owned()));
        }
        Ok(Self(id.to_owned()))
    }

    /// From a machine-id(5) file, `/etc/machine-id` as a rule.
    pub fn of_machine(path: &Path) -> Result<Self, NodeIdError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| NodeIdError::Read { path: path.display().to_string(), source })?;
        Self::new(text.trim())
    }

    /// As certificates and the inventory have it: itself where it is a UUID (a machine-id is one without hyphens), else derived from it.
    pub fn uuid(&self) -> Uuid {
        self.0
            .parse()
            .unwrap_or_else(|_| Uuid::new_v5(&Uuid::new_v5(&Uuid::NAMESPACE_DNS, NODE_SPACE_NAME), self.0.as_bytes()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What tells one life of a runtime's id from the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The cgroup directory's inode, or a process's start time in ticks since boot.
    pub mark: u64,
}

/// An instance's names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceName {
    /// Ours, unique over time and nodes.
    pub uuid: Uuid,
    /// Who runs it.
    pub runtime: Runtime,
    /// What the runtime calls it: 64 hex digits, or a name where the runtime has nothing better.
    pub runtime_id: String,
    /// A name for people, where one is known.
    pub name: Option<String>,
    /// The image, where one is known.
    pub image: Option<String>,
}

/// The id of the instance that `runtime` calls `runtime_id` on `node` and that was born at `birth`.
pub fn instance_uuid(node: &NodeId, runtime: Runtime, runtime_id: &str, birth: &Birth) -> Uuid {
    let space = Uuid::new_v5(&Uuid::NAMESPACE_DNS, INSTANCE_SPACE_NAME);
    // None of the parts but the last can hold a NUL, so no two different lists read the same.
    let name = format!("{}\0{}\0{}\0{}\0{runtime_id}", node.0, runtime.as_str(), birth.boot_id, birth.mark);
    Uuid::new_v5(&space, name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts_and_nothing_else_does() {
        let node = NodeId::new("n1").unwrap();
        let birth = |mark| Birth { boot_id: "b".into(), mark };
        let id = instance_uuid(&node, Runtime::Docker, "x", &birth(7));
        assert_eq!(id, instance_uuid(&node, Runtime::Docker, "x", &birth(7)));
        assert_eq!(id.get_version_num(), 5);
        let other = NodeId::new("n2").unwrap();
        let rebooted = Birth { boot_id: "c".into(), mark: 7 };
        for different in [
            instance_uuid(&other, Runtime::Docker, "x", &birth(7)),
            instance_uuid(&node, Runtime::Podman, "x", &birth(7)),
            instance_uuid(&node, Runtime::Docker, "y", &birth(7)),
            instance_uuid(&node, Runtime::Docker, "x", &birth(8)),
            instance_uuid(&node, Runtime::Docker, "x", &rebooted),
        ] {
            assert_ne!(id, different);
        }
    }

    #[test]
    fn node_ids() {
        assert!(NodeId::new("").is_err());
        assert!(NodeId::new("a b").is_err());
        assert!(NodeId::new("a\0b").is_err());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0123456789abcdef0123456789abcdef\n").unwrap();
        let id = NodeId::of_machine(file.path()).unwrap();
        assert_eq!(id.as_str(), "0123456789abcdef0123456789abcdef");
    }
}
