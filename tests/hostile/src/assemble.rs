//! From the text of a guest to a component.
//!
//! A core module becomes a component of the world in `/wit` as any language's would. It is encoded without being validated:
//! a guest that no toolchain would let pass is just what the node must be shown.

use std::path::Path;
use std::sync::OnceLock;

use wasm_encoder::{ComponentInstanceSection, ComponentSection as _, ComponentSectionId, RawSection};
use wasmparser::Parser;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

use crate::guest::File;

/// The world that every sensor is of.
const WIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");
/// An honest sensor, which others are attached to.
const HONEST: &str = include_str!("../corpus/00-honest.wat");

/// Why a guest's text makes no component.
#[derive(Debug)]
pub struct AssembleError(pub String);

impl AssembleError {
    fn of(error: &impl std::fmt::Debug) -> Self {
        Self(format!("{error:?}"))
    }
}

/// The bytes of a file's text.
///
/// # Errors
/// The text is not WebAssembly's.
pub fn wat(file: File) -> Result<Vec<u8>, AssembleError> {
    wat::parse_str(file.text).map_err(|error| AssembleError(format!("{}: {error}", file.name)))
}

fn world() -> &'static (Resolve, WorldId) {
    static WORLD: OnceLock<(Resolve, WorldId)> = OnceLock::new();
    WORLD.get_or_init(|| {
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(Path::new(WIT)).expect("the repository's WIT is well formed");
        let world = resolve.select_world(&[package], Some("sensor")).expect("it has the world");
        (resolve, world)
    })
}

/// A component as it is; a core module as a component of our world.
///
/// # Errors
/// The module's imports and exports do not fit the world.
pub fn component_of(bytes: &[u8], strings: StringEncoding) -> Result<Vec<u8>, AssembleError> {
    if Parser::is_component(bytes) {
        return Ok(bytes.to_vec());
    }
    let (resolve, world) = world();
    let mut module = bytes.to_vec();
    embed_component_metadata(&mut module, resolve, *world, strings, false)
        .map_err(|error| AssembleError::of(&error))?;
    ComponentEncoder::default()
        .validate(false)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| AssembleError::of(&error))
}

/// An honest sensor with a component inside it, which is instantiated with it.
///
/// # Errors
/// Only by a defect of the honest one.
pub fn attach(inner: &[u8]) -> Result<Vec<u8>, AssembleError> {
    let honest = wat::parse_str(HONEST).map_err(|error| AssembleError::of(&error))?;
    let mut outer = component_of(&honest, StringEncoding::UTF8)?;
    RawSection { id: ComponentSectionId::Component.into(), data: inner }.append_to_component(&mut outer);
    let mut instances = ComponentInstanceSection::new();
    let nothing: [(&str, wasm_encoder::ComponentExportKind, u32); 0] = [];
    // What wit-component makes of a module has no component inside it, so this one is the first.
    instances.instantiate(0, nothing);
    instances.append_to_component(&mut outer);
    Ok(outer)
}

/// The honest sensor's module, for whoever changes it.
pub fn honest() -> Vec<u8> {
    wat::parse_str(HONEST).expect("the honest guest is well formed")
}
