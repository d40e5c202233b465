//! Guests too large to write down: what is dear to validate and compile, each in a file of its class's size.
//!
//! Each is an honest sensor with one thing in it taken to the extreme. Sizes are just under what the check before
//! compiling lets through (4 MiB for the small class) or what the format's own limits allow.

mod code;
mod components;
mod items;

pub use code::*;
pub use components::*;
pub use items::*;

use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, ElementSection, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, MemArg, MemArgTarget, MemorySection, MemoryType, Module, TableSection, TypeSection, ValType,
};

/// The format's limit of segments.
const MOST_SEGMENTS: u32 = 100_000;

/// Types of the shell, by index.
const ANSWERS: u32 = 0;
const REALLOC: u32 = 1;
const NOTHING: u32 = 2;
/// The shell's own functions.
const SHELL_FUNCTIONS: u32 = 3;

/// An honest module, open to what is put into it.
struct Shell {
    types: TypeSection,
    functions: FunctionSection,
    tables: TableSection,
    globals: GlobalSection,
    exports: ExportSection,
    elements: ElementSection,
    code: CodeSection,
    data: DataSection,
}

impl Shell {
    fn new() -> Self {
        let mut shell = Self {
            types: TypeSection::new(),
            functions: FunctionSection::new(),
            tables: TableSection::new(),
            globals: GlobalSection::new(),
            exports: ExportSection::new(),
            elements: ElementSection::new(),
            code: CodeSection::new(),
            data: DataSection::new(),
        };
        shell.types.ty().function([], [ValType::I32]);
        shell.types.ty().function([ValType::I32; 4], [ValType::I32]);
        shell.types.ty().function([], []);
        for (index, (name, ty, answer)) in
            [("describe", ANSWERS, 16), ("collect", ANSWERS, 64), ("cabi_realloc", REALLOC, 4096)]
                .into_iter()
                .enumerate()
        {
            shell.functions.function(ty);
            shell.exports.export(name, ExportKind::Func, index as u32);
            let mut body = Function::new([]);
            body.instructions().i32_const(answer).end();
            shell.code.function(&body);
        }
        shell.exports.export("memory", ExportKind::Memory, 0);
        shell.data.active(0, &ConstExpr::i32_const(16), [1]);
        shell
    }

    /// One more function that takes and returns nothing.
    fn body(&mut self, body: &Function) {
        self.functions.function(NOTHING);
        self.code.function(body);
    }

    fn finish(self) -> Vec<u8> {
        let mut memories = MemorySection::new();
        memories.memory(MemoryType { minimum: 2, maximum: None, memory64: false, shared: false, page_size_log2: None });
        let mut module = Module::new();
        module.section(&self.types).section(&self.functions);
        if !self.tables.is_empty() {
            module.section(&self.tables);
        }
        module.section(&memories);
        if !self.globals.is_empty() {
            module.section(&self.globals);
        }
        module.section(&self.exports);
        if !self.elements.is_empty() {
            module.section(&self.elements);
        }
        module.section(&self.code).section(&self.data);
        module.finish()
    }
}

fn with(change: impl FnOnce(&mut Shell)) -> Vec<u8> {
    let mut shell = Shell::new();
    change(&mut shell);
    shell.finish()
}

/// An address that need not be aligned, and that no two values share.
fn at(offset: u32) -> MemArg {
    MemArg { offset: u64::from(offset), align: 0, target: MemArgTarget::Memory(0), ordering: None }
}

fn with_body(locals: u32, fill: impl FnOnce(&mut Function)) -> Vec<u8> {
    with(|shell| {
        let mut body = Function::new([(locals, ValType::I32)]);
        fill(&mut body);
        body.instructions().end();
        shell.body(&body);
    })
}
