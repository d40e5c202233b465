//! What can be said of an artifact without compiling it: that it is a component, and what its manifest asks for.
//!
//! The rest is for the agent's pre-check and its compile worker, which have the limits for that; what they say comes back with a node's report.

use std::collections::BTreeMap;

use sonde_manifest::Manifest;

const MAGIC: &[u8] = b"\0asm";
/// Version and layer of a component, as they follow the magic (component model, Binary.md).
const COMPONENT: [u8; 4] = [0x0d, 0x00, 0x01, 0x00];

/// Why it cannot be a sensor: for whoever pushed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactFault {
    #[error("it is not WebAssembly: it does not begin with \\0asm; push the .wasm that `sonde sensor build` made")]
    NotWasm,
    #[error("it is a core module or another kind of file, and not a component; `sonde sensor build` makes a component")]
    NotAComponent,
    #[error("it is broken or cut off ({0}); push the whole file again")]
    Broken(String),
    #[error("it has no manifest; `sonde sensor build` embeds sensor.toml")]
    NoManifest,
    #[error("{0}")]
    Manifest(String),
    #[error("its manifest does not allow these settings: {0}")]
    Config(String),
    #[error("its manifest does not ask for a secret {key:?} (it asks for: {named})")]
    Secret { key: String, named: String },
}

/// Its manifest, if it is a component that has a valid one.
///
/// # Errors
/// It is not.
pub fn manifest(bytes: &[u8]) -> Result<Manifest, ArtifactFault> {
    let head = bytes.strip_prefix(MAGIC).ok_or(ArtifactFault::NotWasm)?;
    if !head.starts_with(&COMPONENT) {
        return Err(ArtifactFault::NotAComponent);
    }
    let toml = sonde_manifest::extract(bytes).map_err(|error| ArtifactFault::Broken(crate::chain(&error)))?;
    let toml = toml.ok_or(ArtifactFault::NoManifest)?;
    Manifest::parse(&toml).map_err(|error| ArtifactFault::Manifest(error.to_string()))
}

/// Whether settings are what a manifest allows.
///
/// # Errors
/// They are not.
pub fn check_config(manifest: &Manifest, config: &BTreeMap<String, String>) -> Result<(), ArtifactFault> {
    manifest.resolve(config).map(drop).map_err(|error| ArtifactFault::Config(error.to_string()))
}

/// Whether a manifest asks for these secrets: one that it does not name reaches no run.
///
/// # Errors
/// It does not.
pub fn check_secrets<'a>(manifest: &Manifest, keys: impl IntoIterator<Item = &'a String>) -> Result<(), ArtifactFault> {
    let named = &manifest.capabilities.secrets;
    match keys.into_iter().find(|key| !named.contains(key)) {
        Some(key) => Err(ArtifactFault::Secret { key: key.clone(), named: named.join(", ") }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_component_is_refused_in_words() {
        for (bytes, said) in [
            (&b""[..], "not WebAssembly"),
            (b"\x7fELF", "not WebAssembly"),
            (b"\0as", "not WebAssembly"),
            (b"\0asm", "not a component"),
            (b"\0asm\x01\0\0\0", "not a component"),
            (b"\0asm\x0d\0\x01\0", "no manifest"),
            (b"\0asm\x0d\0\x01\0\0\xff", "broken or cut off"),
        ] {
            let error = manifest(bytes).unwrap_err().to_string();
            assert!(error.contains(said), "{bytes:?}: {error}");
        }
    }
}
