//! Where the manifest sits in a component: one custom section at its top level.
//!
//! A custom section survives every tool that copies components and is seen without compiling
//! anything. Reading is for untrusted bytes: it walks the top level only (nested modules and
//! components are skipped whole, so what hides inside cannot speak for the sensor), takes one section of
//! bounded size and refuses two. A core module is refused: it is not a sensor yet.

use std::ops::Range;

use wasm_encoder::{ComponentSection, CustomSection};
use wasmparser::{Chunk, Encoding, Parser, Payload};

/// The custom section's name.
pub const SECTION_NAME: &str = "sonde:manifest";
/// The largest manifest: hundreds of times a usual one.
pub const MAX_MANIFEST_BYTES: usize = 64 * 1024;

/// Why a manifest could not be taken from, or put into, a component.
#[derive(Debug, thiserror::Error)]
pub enum SectionError {
    /// The bytes are not WebAssembly, or are cut off.
    #[error("the file is not a WebAssembly component: its structure does not parse")]
    Parse(#[source] wasmparser::BinaryReaderError),
    /// A nested module or component would end past the file.
    #[error("the file is not a WebAssembly component: it is cut off")]
    CutOff,
    /// A core module.
    #[error("the file is a WebAssembly core module, not a component: build it with `sonde sensor build`")]
    CoreModule,
    /// More than one manifest.
    #[error("the component holds more than one section {SECTION_NAME}, so it is not clear which manifest is meant")]
    Several,
    /// Too large; the number is its size in bytes.
    #[error("the manifest has {0} bytes, and at most {MAX_MANIFEST_BYTES} are allowed")]
    TooLarge(usize),
    /// Not text.
    #[error("the component's section {SECTION_NAME} is not UTF-8 text")]
    NotText(#[source] std::str::Utf8Error),
}

/// A manifest's section as found.
struct Found<'a> {
    /// Of the whole section with its header, in the component's bytes.
    range: Range<usize>,
    data: &'a [u8],
}

/// The manifest's text in a component, or `None` where it has none.
///
/// # Errors
/// The bytes are not a component, or hold two manifests, or one that is too large or not text.
pub fn extract(component: &[u8]) -> Result<Option<String>, SectionError> {
    let mut found = sections(component)?;
    let Some(section) = found.pop() else { return Ok(None) };
    if !found.is_empty() {
        return Err(SectionError::Several);
    }
    if section.data.len() > MAX_MANIFEST_BYTES {
        return Err(SectionError::TooLarge(section.data.len()));
    }
    let text = std::str::from_utf8(section.data).map_err(SectionError::NotText)?;
    Ok(Some(text.to_owned()))
}

/// A copy of the component with this manifest in place of any it had. The text is not checked:
/// parse it first.
///
/// # Errors
/// The bytes are not a component, or the manifest is too large.
pub fn embed(component: &[u8], toml: &str) -> Result<Vec<u8>, SectionError> {
    if toml.len() > MAX_MANIFEST_BYTES {
        return Err(SectionError::TooLarge(toml.len()));
    }
    let mut out = Vec::with_capacity(component.len() + toml.len() + SECTION_NAME.len() + 16);
    let mut copied = 0;
    for section in sections(component)? {
        out.extend_from_slice(&component[copied..section.range.start]);
        copied = section.range.end;
    }
    out.extend_from_slice(&component[copied..]);
    CustomSection { name: SECTION_NAME.into(), data: toml.as_bytes().into() }.append_to_component(&mut out);
    Ok(out)
}

/// Every manifest section at the top level.
fn sections(component: &[u8]) -> Result<Vec<Found<'_>>, SectionError> {
    let mut parser = Parser::new(0);
    let mut found = Vec::new();
    let mut position = 0;
    loop {
        let chunk = parser.parse(&component[position..], true).map_err(SectionError::Parse)?;
        let Chunk::Parsed { consumed, payload } = chunk else {
            unreachable!("the parser was told that this is all there is");
        };
        let start = position;
        position += consumed;
        match payload {
            Payload::Version { encoding: Encoding::Module, .. } => return Err(SectionError::CoreModule),
            Payload::ModuleSection { unchecked_range, .. } | Payload::ComponentSection { unchecked_range, .. } => {
                // The parser's own count has gone past the nested one; the bytes are ours to pass over.
                position = usize::try_from(unchecked_range.end)
                    .ok()
                    .filter(|end| *end <= component.len())
                    .ok_or(SectionError::CutOff)?;
            }
            Payload::CustomSection(section) if section.name() == SECTION_NAME => {
                found.push(Found { range: start..position, data: section.data() });
            }
            Payload::End(_) => return Ok(found),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_encoder::{Component, Module, ModuleSection};

    const MANIFEST: &str = "name = \"t\"\n";

    fn component() -> Vec<u8> {
        let mut module = Module::new();
        module.section(&CustomSection { name: SECTION_NAME.into(), data: b"hidden".as_slice().into() });
        let mut component = Component::new();
        component.section(&ModuleSection(&module));
        component.section(&CustomSection { name: "other".into(), data: b"kept".as_slice().into() });
        component.finish()
    }

    #[test]
    fn what_is_embedded_is_extracted_and_replaced() {
        let plain = component();
        assert_eq!(extract(&plain).unwrap(), None, "a nested module does not speak for the component");
        let one = embed(&plain, MANIFEST).unwrap();
        assert_eq!(extract(&one).unwrap().as_deref(), Some(MANIFEST));
        let two = embed(&embed(&one, "other").unwrap(), MANIFEST).unwrap();
        assert_eq!(one, two, "an earlier manifest goes when another comes");
        assert!(one.windows(4).any(|bytes| bytes == b"kept"));
    }

    #[test]
    fn broken_files_are_refused() {
        assert!(matches!(extract(&Module::new().finish()), Err(SectionError::CoreModule)));
        assert!(matches!(extract(b"\x7fELF and so on"), Err(SectionError::Parse(_))));
        assert!(matches!(extract(&[]), Err(SectionError::Parse(_))));
        let mut twice = component();
        for _ in 0..2 {
            CustomSection { name: SECTION_NAME.into(), data: b"a".as_slice().into() }.append_to_component(&mut twice);
        }
        assert!(matches!(extract(&twice), Err(SectionError::Several)));
        let long = "#".repeat(MAX_MANIFEST_BYTES + 1);
        assert!(matches!(embed(&component(), &long), Err(SectionError::TooLarge(_))));
        let whole = component();
        for length in 9..whole.len() {
            let _ = extract(&whole[..length]);
        }
        assert!(matches!(extract(&whole[..20]), Err(SectionError::CutOff)));
    }
}
