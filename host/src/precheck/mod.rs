//! What can be said of a file before compiling it, in linear time.
//!
//! Compiling is the dearest thing a sensor can make the node do, so a file that is too large, of the wrong kind, of another
//! world, that imports what its manifest does not ask for, or whose shape only a compiler's enemy would choose (`shape`) never gets there. Each
//! fault is a sentence that names it.

mod body;
mod most;
mod shape;
#[cfg(test)]
mod tests;

use sonde_manifest::{Class, Manifest, ManifestErrors, SectionError, capability_of};
use wasmparser::{ComponentExternalKind, Encoding, Parser, Payload};

use most::Most;

pub use most::{CORE_INSTANCES, MEMORIES, MEMORIES_OF_MODULE, TABLE_ELEMENTS, TABLES, TABLES_OF_MODULE};
pub use shape::ShapeError;

/// No file larger than this is read at all.
pub const MAX_SENSOR_BYTES: usize = Class::Large.component_bytes() as usize;

/// Names that the world exports.
const EXPORTS: [&str; 2] = ["describe", "collect"];
/// Most imports and exports at the top of a component; the world has twelve and two.
const MOST_IMPORTS: usize = 64;

/// Why a file is no sensor.
#[derive(Debug, thiserror::Error)]
pub enum PrecheckError {
    #[error("the file is empty")]
    Empty,
    #[error("it is {bytes} bytes, and a {class} sensor may have {limit_bytes}")]
    TooLarge { bytes: usize, limit_bytes: usize, class: &'static str },
    #[error("it is not WebAssembly: it does not begin with \\0asm")]
    NotWasm,
    #[error(
        "it is a core module and not a component; `sonde sensor build` makes a component (of another language's module, wit-component does)"
    )]
    CoreModule,
    #[error("it is broken or cut off: {0}")]
    Broken(String),
    #[error("it has no manifest in its section \"sonde:manifest\"; `sonde sensor build` embeds sensor.toml")]
    NoManifest,
    #[error("its manifest cannot be taken out")]
    Section(#[source] SectionError),
    #[error("its manifest is not valid: {0}")]
    Manifest(ManifestErrors),
    #[error(
        "it is of another world: it does not export {0:?} (a sensor exports describe and collect of sonde:sensor@0.1.0)"
    )]
    MissingExport(&'static str),
    #[error("it imports {0:?}, which is not part of the world sonde:sensor@0.1.0")]
    ForeignImport(String),
    #[error("it imports {import:?} and its manifest does not ask for `{capability}` in [capabilities]")]
    NotAsked { import: String, capability: &'static str },
    #[error("it has more than {MOST_IMPORTS} imports or exports")]
    TooManyNames,
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

fn broken(error: wasmparser::BinaryReaderError) -> PrecheckError {
    PrecheckError::Broken(error.message().to_owned())
}

/// Checks the file and returns its manifest.
pub fn precheck(bytes: &[u8]) -> Result<Manifest, PrecheckError> {
    if bytes.is_empty() {
        return Err(PrecheckError::Empty);
    }
    size_within(bytes, Class::Large)?;
    if !bytes.starts_with(b"\0asm") {
        return Err(PrecheckError::NotWasm);
    }
    let names = names(bytes)?;
    let toml = sonde_manifest::extract(bytes).map_err(PrecheckError::Section)?.ok_or(PrecheckError::NoManifest)?;
    let manifest = Manifest::parse(&toml).map_err(PrecheckError::Manifest)?;
    size_within(bytes, manifest.class)?;
    for import in &names.imports {
        if manifest.allows_import(import) {
            continue;
        }
        return Err(match capability_of(import) {
            Some(capability) => PrecheckError::NotAsked { import: import.clone(), capability },
            None => PrecheckError::ForeignImport(import.clone()),
        });
    }
    if let Some(missing) = EXPORTS.iter().find(|export| !names.exports.iter().any(|name| name == *export)) {
        return Err(PrecheckError::MissingExport(missing));
    }
    // Last, as what costs most.
    shape::check(bytes, Most::of(manifest.class))?;
    Ok(manifest)
}

fn size_within(bytes: &[u8], class: Class) -> Result<(), PrecheckError> {
    let limit_bytes = class.component_bytes() as usize;
    if bytes.len() > limit_bytes {
        return Err(PrecheckError::TooLarge { bytes: bytes.len(), limit_bytes, class: class.name() });
    }
    Ok(())
}

struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
}

/// The names at the top of a component. Types imported on their own carry no authority and are left to the compiler.
fn names(bytes: &[u8]) -> Result<Names, PrecheckError> {
    let mut names = Names { imports: Vec::new(), exports: Vec::new() };
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return Err(PrecheckError::CoreModule),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let import = import.map_err(broken)?;
                    if !matches!(import.ty, wasmparser::ComponentTypeRef::Type(_)) {
                        names.imports.push(import.name.name.to_owned());
                    }
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.map_err(broken)?;
                    if export.kind == ComponentExternalKind::Func {
                        names.exports.push(export.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
        if names.imports.len() > MOST_IMPORTS || names.exports.len() > MOST_IMPORTS {
            return Err(PrecheckError::TooManyNames);
        }
    }
    Ok(names)
}
