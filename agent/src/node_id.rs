//! Which node this is: instances' ids are derived from it, so it must be the same after a restart.

use std::io;
use std::path::{Path, PathBuf};

use sonde_collect::NodeId;

use crate::StartError;
use crate::config::Config;

/// Where a machine keeps its id.
pub(crate) const MACHINE_ID: &str = "/etc/machine-id";
/// The file that holds a made-up id where the machine has none.
const NODE_ID_FILE: &str = "node-id";

/// The configured id, the machine's, or one made once and kept: instances' ids are derived from it.
pub(crate) fn node_id(config: &Config) -> Result<NodeId, StartError> {
    if let Some(id) = &config.node_id {
        return NodeId::new(id).map_err(|source| StartError::NodeId { source });
    }
    if let Ok(id) = NodeId::of_machine(Path::new(MACHINE_ID)) {
        return Ok(id);
    }
    let path: PathBuf = config.state_dir.join(NODE_ID_FILE);
    let keep = |source| StartError::KeepNodeId { path: path.display().to_string(), source };
    let id = match std::fs::read_to_string(&path) {
        Ok(id) => id,
        // Only where there is none: another one would make every instance another.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(keep(error)),
        Err(_) => {
            let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").map_err(keep)?;
            std::fs::create_dir_all(&config.state_dir).map_err(keep)?;
            std::fs::write(&path, &id).map_err(keep)?;
            id
        }
    };
    NodeId::new(id.trim()).map_err(|source| StartError::NodeId { source })
}
