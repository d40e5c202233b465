//! The shape of a component: one pass over it and all that is nested in it, which refuses what no honest sensor needs.
//!
//! Cranelift's time is outside wasmtime's security policy, and there are files of 150 KB that take it seconds. The compile worker bounds what such a
//! file costs in the end; here most of them are told, in a sentence and in milliseconds, that they will not be tried.
//!
//! It is not a validation: that is linear too, but it is tens of thousands of lines at work on hostile input, and this is the agent's own process. The
//! worker validates in its jail before it compiles. For the same reason component types, the one recursive part of the format, are only weighed. Of
//! proposals that the engine has switched off, those that show in an instruction or a declaration are named here; the worker refuses all.

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentTypeRef,
    Data, DataKind, Element, ElementItems, Encoding, Instance, MemoryType, Operator, Parser, Payload, TableType,
    TypeRef, TypeSectionReader,
};

use super::most::{
    COMPONENT_ITEMS, COMPONENT_TYPE_BYTES, CORE_INSTANCES, MEMORIES, MEMORIES_OF_MODULE, Most, NESTED, PAGE_BYTES,
    SIGNATURE, TABLE_ELEMENTS, TABLES, TABLES_OF_MODULE,
};
use super::{PrecheckError, body, broken};

/// What no sensor needs.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    #[error("it has more than {most} {what}, which no {class} sensor needs")]
    TooMany { what: &'static str, most: u64, class: &'static str },
    #[error("it begins with {bytes} bytes of memory, and a {class} sensor may have {most}")]
    Memory { bytes: u64, most: u64, class: &'static str },
    #[error("its data reaches to byte {end} of its memory, and a {class} sensor has {most}")]
    Data { end: u64, most: u64, class: &'static str },
    #[error("it begins with a table of {elements} elements, and a sensor may have {TABLE_ELEMENTS}")]
    Table { elements: u64 },
    #[error("it uses {0}, which is switched off for sensors: its toolchain has a setting for it")]
    Proposal(&'static str),
    #[error("it passes strings as {0}, and a sensor's are UTF-8")]
    Strings(&'static str),
    #[error("it passes modules or components on to be instantiated, which no toolchain for sensors does")]
    HigherOrder,
}

/// Refuses what is over.
pub(super) fn at_most(count: u64, most: u64, what: &'static str, of: &Most) -> Result<(), ShapeError> {
    if count > most { Err(ShapeError::TooMany { what, most, class: of.class.name() }) } else { Ok(()) }
}

/// Where in the nesting the pass is.
enum Level {
    Module { memories: u32, tables: u32 },
    Component { comes_to: Instances },
}

/// What instantiating a component comes to, those that it instantiates included.
#[derive(Clone, Copy, Default)]
struct Instances {
    core: u64,
    components: u64,
}

/// The pass: what has been counted.
pub(super) struct Shape {
    most: &'static Most,
    levels: Vec<Level>,
    /// The most that any component which has ended comes to. Which one an index means is not looked up: it may go through aliases and exports, and an
    /// honest component has few.
    nested: Instances,
    nested_items: u64,
    component_items: u64,
    component_type_bytes: u64,
    functions: u64,
    types: u64,
    globals: u64,
    names: u64,
    memories: u32,
    memory_bytes: u64,
    tables: u32,
    elements: u64,
    data_segments: u64,
}

/// Goes through a whole component of a class.
pub(super) fn check(bytes: &[u8], most: &'static Most) -> Result<(), PrecheckError> {
    let mut shape = Shape::new(most);
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(broken)?;
        if !shape.take_of_component(&payload)? {
            shape.take_of_module(payload)?;
        }
    }
    Ok(())
}

impl Shape {
    fn new(most: &'static Most) -> Self {
        Self {
            most,
            levels: Vec::new(),
            nested: Instances::default(),
            nested_items: 0,
            component_items: 0,
            component_type_bytes: 0,
            functions: 0,
            types: 0,
            globals: 0,
            names: 0,
            memories: 0,
            memory_bytes: 0,
            tables: 0,
            elements: 0,
            data_segments: 0,
        }
    }

    /// Whether it was the component's matter.
    fn take_of_component(&mut self, payload: &Payload<'_>) -> Result<bool, PrecheckError> {
        match payload {
            Payload::Version { encoding, .. } => self.begin(*encoding)?,
            Payload::End(_) => self.end(),
            Payload::ComponentTypeSection(section) => self.component_types(&section.range())?,
            Payload::CoreTypeSection(section) => self.component_types(&section.range())?,
            Payload::ComponentImportSection(section) => {
                self.component_items(section.count())?;
                for import in section.clone() {
                    if let ComponentTypeRef::Module(_) | ComponentTypeRef::Component(_) = import.map_err(broken)?.ty {
                        return Err(ShapeError::HigherOrder.into());
                    }
                }
            }
            Payload::ComponentExportSection(section) => self.component_items(section.count())?,
            Payload::ComponentAliasSection(section) => {
                self.component_items(section.count())?;
                for alias in section.clone() {
                    alias_of(&alias.map_err(broken)?)?;
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                self.component_items(section.count())?;
                for function in section.clone() {
                    canonical(&function.map_err(broken)?)?;
                }
            }
            Payload::InstanceSection(section) => {
                self.component_items(section.count())?;
                for instance in section.clone() {
                    self.core_instance(&instance.map_err(broken)?)?;
                }
            }
            Payload::ComponentInstanceSection(section) => {
                self.component_items(section.count())?;
                for instance in section.clone() {
                    self.component_instance(&instance.map_err(broken)?)?;
                }
            }
            Payload::ComponentStartSection { .. } => return Err(ShapeError::Proposal("a component's start").into()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn begin(&mut self, encoding: Encoding) -> Result<(), ShapeError> {
        self.nested_items += 1;
        // The outermost is none of them.
        at_most(self.nested_items - 1, NESTED, "modules and components within it", self.most)?;
        self.levels.push(match encoding {
            Encoding::Module => Level::Module { memories: 0, tables: 0 },
            Encoding::Component => Level::Component { comes_to: Instances::default() },
        });
        Ok(())
    }

    fn end(&mut self) {
        if let Some(Level::Component { comes_to }) = self.levels.pop() {
            self.nested.core = self.nested.core.max(comes_to.core);
            self.nested.components = self.nested.components.max(comes_to.components);
        }
    }

    fn component_types(&mut self, range: &std::ops::Range<u64>) -> Result<(), ShapeError> {
        self.component_type_bytes += range.end - range.start;
        at_most(self.component_type_bytes, COMPONENT_TYPE_BYTES, "bytes of component types", self.most)
    }

    fn component_items(&mut self, count: u32) -> Result<(), ShapeError> {
        self.component_items += u64::from(count);
        at_most(self.component_items, COMPONENT_ITEMS, "items of components", self.most)
    }

    fn core_instance(&mut self, instance: &Instance<'_>) -> Result<(), ShapeError> {
        match instance {
            Instance::Instantiate { .. } => self.instantiates(Instances { core: 1, components: 0 }),
            Instance::FromExports(exports) => self.component_items(exports.len() as u32),
        }
    }

    fn component_instance(&mut self, instance: &ComponentInstance<'_>) -> Result<(), ShapeError> {
        match instance {
            ComponentInstance::Instantiate { .. } => {
                let nested = self.nested;
                self.instantiates(Instances { components: nested.components + 1, ..nested })
            }
            ComponentInstance::FromExports(exports) => self.component_items(exports.len() as u32),
        }
    }

    fn instantiates(&mut self, more: Instances) -> Result<(), ShapeError> {
        let Some(Level::Component { comes_to }) = self.levels.last_mut() else { return Ok(()) };
        comes_to.core += more.core;
        comes_to.components += more.components;
        at_most(comes_to.core, u64::from(CORE_INSTANCES), "core instances", self.most)?;
        at_most(comes_to.components, NESTED, "instances of components", self.most)
    }

    fn types_of_module(&mut self, section: TypeSectionReader<'_>) -> Result<(), PrecheckError> {
        let most = self.most;
        counted(&mut self.types, section.count(), most.types, "types", most)?;
        for function in section.into_iter_err_on_gc_types() {
            let function = function.map_err(|_| ShapeError::Proposal("gc"))?;
            let signature = function.params().len() + function.results().len();
            at_most(signature as u64, SIGNATURE, "parameters and results of one function", most)?;
        }
        Ok(())
    }

    fn take_of_module(&mut self, payload: Payload<'_>) -> Result<(), PrecheckError> {
        let most = self.most;
        match payload {
            Payload::TypeSection(section) => self.types_of_module(section)?,
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    counted(&mut self.names, 1, most.names, "imports and exports of modules", most)?;
                    self.import(&import.map_err(broken)?.ty)?;
                }
            }
            Payload::ExportSection(section) => {
                counted(&mut self.names, section.count(), most.names, "imports and exports of modules", most)?;
            }
            Payload::FunctionSection(section) => {
                counted(&mut self.functions, section.count(), most.functions, "functions", most)?;
            }
            Payload::GlobalSection(section) => {
                counted(&mut self.globals, section.count(), most.globals, "globals", most)?;
            }
            Payload::TableSection(section) => {
                for table in section {
                    self.table(&table.map_err(broken)?.ty, true)?;
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    self.memory(&memory.map_err(broken)?, true)?;
                }
            }
            Payload::TagSection(_) => return Err(ShapeError::Proposal("exceptions").into()),
            Payload::ElementSection(section) => {
                for element in section {
                    self.element(&element.map_err(broken)?)?;
                }
            }
            Payload::DataSection(section) => {
                counted(&mut self.data_segments, section.count(), most.data_segments, "data segments", most)?;
                for data in section {
                    self.data(&data.map_err(broken)?)?;
                }
            }
            Payload::CodeSectionEntry(body) => body::check(&body, most)?,
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, import: &TypeRef) -> Result<(), ShapeError> {
        match import {
            TypeRef::Table(table) => self.table(table, false),
            TypeRef::Memory(memory) => self.memory(memory, false),
            TypeRef::Global(_) => counted(&mut self.globals, 1, self.most.globals, "globals", self.most),
            TypeRef::Tag(_) => Err(ShapeError::Proposal("exceptions")),
            TypeRef::Func(_) | TypeRef::FuncExact(_) => Ok(()),
        }
    }

    fn memory(&mut self, memory: &MemoryType, defined: bool) -> Result<(), ShapeError> {
        let banned = [
            (memory.shared, "threads"),
            (memory.memory64, "memory64"),
            (memory.page_size_log2.is_some(), "custom_page_sizes"),
        ];
        if let Some((_, proposal)) = banned.into_iter().find(|(uses, _)| *uses) {
            return Err(ShapeError::Proposal(proposal));
        }
        if let Some(Level::Module { memories, .. }) = self.levels.last_mut() {
            *memories += 1;
            at_most(u64::from(*memories), u64::from(MEMORIES_OF_MODULE), "memory in one module", self.most)?;
        }
        if !defined {
            return Ok(());
        }
        self.memories += 1;
        at_most(u64::from(self.memories), u64::from(MEMORIES), "memories", self.most)?;
        self.memory_bytes = self.memory_bytes.saturating_add(memory.initial.saturating_mul(PAGE_BYTES));
        let (bytes, most, class) = (self.memory_bytes, self.most.class.memory_bytes(), self.most.class.name());
        if bytes > most { Err(ShapeError::Memory { bytes, most, class }) } else { Ok(()) }
    }

    fn table(&mut self, table: &TableType, defined: bool) -> Result<(), ShapeError> {
        if table.shared || table.table64 {
            return Err(ShapeError::Proposal(if table.shared { "threads" } else { "memory64" }));
        }
        if !table.element_type.is_func_ref() && !table.element_type.is_extern_ref() {
            return Err(ShapeError::Proposal("gc"));
        }
        if let Some(Level::Module { tables, .. }) = self.levels.last_mut() {
            *tables += 1;
            at_most(u64::from(*tables), u64::from(TABLES_OF_MODULE), "tables in one module", self.most)?;
        }
        if !defined {
            return Ok(());
        }
        self.tables += 1;
        at_most(u64::from(self.tables), u64::from(TABLES), "tables", self.most)?;
        let elements = table.initial;
        if elements > TABLE_ELEMENTS as u64 { Err(ShapeError::Table { elements }) } else { Ok(()) }
    }

    fn element(&mut self, element: &Element<'_>) -> Result<(), ShapeError> {
        let count = match &element.items {
            ElementItems::Functions(items) => items.count(),
            ElementItems::Expressions(_, items) => items.count(),
        };
        // One for the segment itself, so that a crowd of empty ones has an end too.
        counted(&mut self.elements, count.saturating_add(1), TABLE_ELEMENTS as u64, "elements of tables", self.most)
    }

    fn data(&self, data: &Data<'_>) -> Result<(), PrecheckError> {
        let DataKind::Active { offset_expr, .. } = &data.kind else { return Ok(()) };
        // Where it is not a plain number it is the instance's own, and checked when that starts.
        let offset = match offset_expr.get_operators_reader().read().map_err(broken)? {
            Operator::I32Const { value } => u64::from(value as u32),
            _ => 0,
        };
        let (end, most) = (offset + data.data.len() as u64, self.most.class.memory_bytes());
        if end > most {
            return Err(ShapeError::Data { end, most, class: self.most.class.name() }.into());
        }
        Ok(())
    }
}

fn counted(count: &mut u64, more: u32, limit: u64, what: &'static str, most: &Most) -> Result<(), ShapeError> {
    *count += u64::from(more);
    at_most(*count, limit, what, most)
}

/// A component or module out of an instance could be one that comes in later, from whoever instantiates: what that comes to cannot be known here.
fn alias_of(alias: &ComponentAlias<'_>) -> Result<(), ShapeError> {
    match alias {
        ComponentAlias::InstanceExport {
            kind: ComponentExternalKind::Component | ComponentExternalKind::Module,
            ..
        } => Err(ShapeError::HigherOrder),
        _ => Ok(()),
    }
}

/// Functions between the component and its modules: synchronous, with strings in UTF-8.
fn canonical(function: &CanonicalFunction) -> Result<(), ShapeError> {
    let options = match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => options,
        CanonicalFunction::ResourceNew { .. }
        | CanonicalFunction::ResourceDrop { .. }
        | CanonicalFunction::ResourceRep { .. } => return Ok(()),
        _ => return Err(ShapeError::Proposal("async components or threads")),
    };
    for option in options {
        match option {
            CanonicalOption::UTF8
            | CanonicalOption::Memory(_)
            | CanonicalOption::Realloc(_)
            | CanonicalOption::PostReturn(_) => {}
            CanonicalOption::UTF16 => return Err(ShapeError::Strings("UTF-16")),
            CanonicalOption::CompactUTF16 => return Err(ShapeError::Strings("Latin-1 or UTF-16")),
            CanonicalOption::Async | CanonicalOption::Callback(_) => {
                return Err(ShapeError::Proposal("async components or threads"));
            }
            CanonicalOption::CoreType(_) | CanonicalOption::Gc => return Err(ShapeError::Proposal("gc")),
        }
    }
    Ok(())
}
