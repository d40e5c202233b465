//! Components with as many of a thing as there may be.

use wasm_encoder::{
    Component, ComponentImportSection, ComponentSection, ComponentSectionId, ComponentTypeRef, ComponentTypeSection,
    ComponentValType, EntityType, ImportSection, Module, ModuleSection, RawSection, TypeBounds, TypeSection,
};
use wit_component::StringEncoding;

use crate::assemble::{component_of, honest};

use super::{MOST_SEGMENTS, with};

/// An honest sensor, and after its own sections these.
fn honest_with(section: &impl ComponentSection, times: u32) -> Vec<u8> {
    let mut component = component_of(&honest(), StringEncoding::UTF8).expect("the honest guest is well formed");
    for _ in 0..times {
        section.append_to_component(&mut component);
    }
    component
}

/// Five thousand modules, none of which is used.
pub fn many_modules() -> Vec<u8> {
    let inner = with(|_| ());
    honest_with(&RawSection { id: ComponentSectionId::CoreModule.into(), data: &inner }, 5_000)
}

/// One module that imports a hundred thousand functions, and that is never given them.
pub fn many_core_imports() -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut imports = ImportSection::new();
    for index in 0..MOST_SEGMENTS - 10 {
        imports.import("m", &index.to_string(), EntityType::Function(0));
    }
    let mut module = Module::new();
    module.section(&types).section(&imports);
    honest_with(&ModuleSection(&module), 1)
}

/// Fifty thousand imports of types alone, which the check before compiling does not count.
pub fn many_type_imports() -> Vec<u8> {
    let mut imports = ComponentImportSection::new();
    for index in 0..50_000 {
        imports.import(format!("i{index}"), ComponentTypeRef::Type(TypeBounds::SubResource));
    }
    honest_with(&imports, 1)
}

/// Fifty thousand imports of functions, which it does count.
pub fn many_imports() -> Vec<u8> {
    let mut types = ComponentTypeSection::new();
    types.function().params([] as [(&str, ComponentValType); 0]).result(None);
    let mut imports = ComponentImportSection::new();
    for index in 0..50_000 {
        imports.import(format!("i{index}"), ComponentTypeRef::Func(0));
    }
    let mut component = Component::new();
    component.section(&types).section(&imports);
    component.finish()
}

/// A thousand components, each inside the other.
pub fn nested_components() -> Vec<u8> {
    let mut inner = Component::new().finish();
    for _ in 0..1_000 {
        let mut outer = Component::new();
        outer.section(&RawSection { id: ComponentSectionId::Component.into(), data: &inner });
        inner = outer.finish();
    }
    honest_with(&RawSection { id: ComponentSectionId::Component.into(), data: &inner }, 1)
}
