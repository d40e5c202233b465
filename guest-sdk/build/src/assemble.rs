//! From bytes and a manifest to a sensor file: make it a component, check it, put the manifest in.
//!
//! For any language: a core module that carries its world as wit-bindgen's metadata becomes a component, a
//! component is taken as it is. What the node refuses for certain (bytes that do not validate, a missing export, a
//! broken manifest) is an error here; an import that the manifest does not ask for is a
//! remark, since it is the node that refuses it and a test of the node needs such a file.

use sonde_manifest::{Manifest, ManifestErrors, SectionError, capability_of, embed};
use wasmparser::{ComponentExternalKind, ComponentTypeRef, Parser, Payload, Validator};
use wit_component::ComponentEncoder;

/// What every sensor exports.
const EXPORTS: [&str; 2] = ["describe", "collect"];

/// A sensor file, not yet written.
#[derive(Debug, Clone)]
pub struct Assembled {
    /// The component with its manifest.
    pub component: Vec<u8>,
    /// The manifest, checked.
    pub manifest: Manifest,
    /// Interfaces that it imports.
    pub imports: Vec<String>,
    /// What a node will refuse or ignore, each a sentence.
    pub remarks: Vec<String>,
}

/// Why bytes and a manifest make no sensor.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The manifest has faults.
    #[error("{0}")]
    Manifest(ManifestErrors),
    /// wit-component refuses the module; the text is its own.
    #[error("the module cannot become a component: {0}")]
    Encode(String),
    /// The component does not validate.
    #[error("the component is not valid WebAssembly")]
    Invalid(#[source] wasmparser::BinaryReaderError),
    /// It is not of our world.
    #[error("the component does not export {0}: it is not of the world sonde:sensor/sensor")]
    Export(&'static str),
    /// The manifest cannot be put in.
    #[error("the manifest cannot be put into the component")]
    Embed(#[source] SectionError),
}

/// Makes a sensor file of a core module or a component and the text of its manifest.
///
/// # Errors
/// See [`AssembleError`].
pub fn assemble(wasm: &[u8], manifest: &str) -> Result<Assembled, AssembleError> {
    let checked = Manifest::parse(manifest).map_err(AssembleError::Manifest)?;
    let component = if Parser::is_component(wasm) { wasm.to_vec() } else { encode(wasm)? };
    Validator::new().validate_all(&component).map_err(AssembleError::Invalid)?;
    let (imports, exports) = surface(&component)?;
    if let Some(missing) = EXPORTS.into_iter().find(|name| !exports.iter().any(|found| found == name)) {
        return Err(AssembleError::Export(missing));
    }
    let remarks = imports.iter().filter_map(|import| remark(import, &checked)).collect();
    let component = embed(&component, manifest).map_err(AssembleError::Embed)?;
    Ok(Assembled { component, manifest: checked, imports, remarks })
}

fn encode(module: &[u8]) -> Result<Vec<u8>, AssembleError> {
    ComponentEncoder::default()
        .module(module)
        .and_then(|encoder| encoder.validate(true).encode())
        // The whole chain in one line: the innermost says which import or export it is.
        .map_err(|error| AssembleError::Encode(format!("{error:#}")))
}

/// Names of the component's own imports and exports.
fn surface(component: &[u8]) -> Result<(Vec<String>, Vec<String>), AssembleError> {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(AssembleError::Invalid)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import.map_err(AssembleError::Invalid)?;
                    // The world names three types of the interface `types` again: names, not doors.
                    if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                        imports.push(import.name.name.to_owned());
                    }
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.map_err(AssembleError::Invalid)?;
                    if export.kind == ComponentExternalKind::Func {
                        exports.push(export.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

fn remark(import: &str, manifest: &Manifest) -> Option<String> {
    if manifest.allows_import(import) {
        return None;
    }
    Some(match capability_of(import) {
        Some(key) => format!(
            "it imports {import}, but its manifest does not ask for it, so nodes will refuse it: add {key} under \
             [capabilities] in sensor.toml, or take the call out"
        ),
        None => format!("it imports {import}, which is not of the sensor world, so nodes will refuse it"),
    })
}
