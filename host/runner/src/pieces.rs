//! Bulk memory operations in pieces, so that a run can be broken off within one.
//!
//! `memory.fill` and `memory.copy` are one instruction each, and the engine looks at its epoch before and after: over all of a large memory that
//! is 50 ms in which nothing else has a turn. So before a component is compiled, each of these in its core modules becomes a call of a
//! function that is added to the module and does the same a piece at a time, in a loop, where the engine looks. What the guest sees is the
//! same: bounds are judged before anything is written, by the instruction itself, and overlapping ranges are copied from the end that spares them.
//!
//! Left as they are: `memory.init`, which is bounded by the file, and the operations on tables, bounded by their elements. It refuses nothing:
//! what it is given has passed the precheck, and an error here means that the compiler would have said the same.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::convert::Infallible;

use wasm_encoder::reencode::{Error, Reencode, ReencodeComponent, utils};
use wasm_encoder::{
    BlockType, CodeSection, Component, CustomSection, Function, FunctionSection, Instruction, Module, ModuleSection,
    TypeSection, ValType,
};
use wasmparser::{
    CodeSectionReader, CustomSectionReader, FunctionSectionReader, Operator, Parser, Payload, TypeRef,
    TypeSectionReader,
};

/// Bytes that are moved between two looks at the epoch: some 20 µs of memory that is there, 100 of memory that is touched for the first time.
const PIECE_BYTES: i32 = 256 << 10;

/// Goes into what compiled code is kept for: another way to cut makes other code.
pub(crate) const VERSION: u32 = 1;

type Reencoded<T> = Result<T, Error<Infallible>>;

/// The same component with its bulk operations in pieces; as it is, where it has none.
///
/// # Errors
/// The component is not valid.
pub(crate) fn cut(component: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let mut cutter = Cutter::default();
    let mut out = Component::new();
    cutter.parse_component(&mut out, Parser::new(0), component).map_err(|error| error.to_string())?;
    Ok(if cutter.any { Cow::Owned(out.finish()) } else { Cow::Borrowed(component) })
}

/// An instruction that is replaced, with the memories that it works on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bulk {
    Fill { memory: u32 },
    Copy { to: u32, from: u32 },
}

impl Bulk {
    fn of(operator: &Operator<'_>) -> Option<Self> {
        match *operator {
            Operator::MemoryFill { mem } => Some(Self::Fill { memory: mem }),
            Operator::MemoryCopy { dst_mem, src_mem } => Some(Self::Copy { to: dst_mem, from: src_mem }),
            _ => None,
        }
    }

    fn instruction(self) -> Instruction<'static> {
        match self {
            Self::Fill { memory } => Instruction::MemoryFill(memory),
            Self::Copy { to, from } => Instruction::MemoryCopy { dst_mem: to, src_mem: from },
        }
    }
}

/// Goes through a component; what is kept is of the module at hand.
#[derive(Default)]
struct Cutter {
    /// The function that stands for each instruction of this module.
    stands_for: BTreeMap<Bulk, u32>,
    /// Types that this module has itself; the next is that of the added functions.
    types: u32,
    /// Anything was replaced, in any module.
    any: bool,
}

impl Cutter {
    /// What a module has, and what it will be added.
    fn look_at(&mut self, module: &[u8]) -> Reencoded<()> {
        self.stands_for.clear();
        self.types = 0;
        let mut functions = 0;
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(types) => {
                    for group in types {
                        self.types += group?.types().len() as u32;
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        functions += u32::from(matches!(import?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)));
                    }
                }
                Payload::FunctionSection(own) => functions += own.count(),
                Payload::CodeSectionEntry(body) => {
                    for operator in body.get_operators_reader()? {
                        if let Some(bulk) = Bulk::of(&operator?) {
                            self.stands_for.insert(bulk, 0);
                        }
                    }
                }
                _ => {}
            }
        }
        for (function, (_, index)) in self.stands_for.iter_mut().enumerate() {
            *index = functions + function as u32;
        }
        self.any |= !self.stands_for.is_empty();
        Ok(())
    }
}

impl Reencode for Cutter {
    type Error = Infallible;

    fn parse_custom_section(&mut self, module: &mut Module, section: CustomSectionReader<'_>) -> Reencoded<()> {
        module.section(&as_it_is(&section));
        Ok(())
    }

    fn parse_type_section(&mut self, types: &mut TypeSection, section: TypeSectionReader<'_>) -> Reencoded<()> {
        utils::parse_type_section(self, types, section)?;
        if !self.stands_for.is_empty() {
            types.ty().function([ValType::I32; 3], []);
        }
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Reencoded<()> {
        utils::parse_function_section(self, functions, section)?;
        for _ in &self.stands_for {
            functions.function(self.types);
        }
        Ok(())
    }

    fn parse_code_section(&mut self, code: &mut CodeSection, section: CodeSectionReader<'_>) -> Reencoded<()> {
        utils::parse_code_section(self, code, section)?;
        for bulk in self.stands_for.keys() {
            code.function(&in_pieces(*bulk));
        }
        Ok(())
    }

    fn instruction<'a>(&mut self, operator: Operator<'a>) -> Reencoded<Instruction<'a>> {
        match Bulk::of(&operator).and_then(|bulk| self.stands_for.get(&bulk)) {
            Some(function) => Ok(Instruction::Call(*function)),
            None => utils::instruction(self, operator),
        }
    }
}

/// What nobody reads may be as malformed as it likes.
fn as_it_is<'a>(section: &CustomSectionReader<'a>) -> CustomSection<'a> {
    CustomSection { name: section.name().into(), data: section.data().into() }
}

impl ReencodeComponent for Cutter {
    fn parse_component_custom_section(
        &mut self,
        component: &mut Component,
        section: CustomSectionReader<'_>,
    ) -> Reencoded<()> {
        component.section(&as_it_is(&section));
        Ok(())
    }

    fn parse_component_submodule(&mut self, component: &mut Component, parser: Parser, bytes: &[u8]) -> Reencoded<()> {
        self.push_depth();
        self.look_at(bytes)?;
        let mut module = Module::new();
        utils::parse_core_module(self, &mut module, parser, bytes)?;
        component.section(&ModuleSection(&module));
        self.pop_depth();
        Ok(())
    }
}

/// The parameters of an added function are the instruction's operands.
const TO: u32 = 0;
/// Where from, or the byte to fill with.
const FROM: u32 = 1;
const LENGTH: u32 = 2;

/// The function that does what `bulk` does. 32-bit memories of 64 KiB pages: the others are refused before.
fn in_pieces(bulk: Bulk) -> Function {
    let mut function = Function::new([]);
    let mut add = |instructions: &[Instruction<'_>]| {
        for instruction in instructions {
            function.instruction(instruction);
        }
    };
    // Small, which is nearly always, or out of bounds, which the instruction finds before it writes.
    add(&[
        Instruction::LocalGet(LENGTH),
        Instruction::I32Const(PIECE_BYTES),
        Instruction::I32LeU,
        Instruction::If(BlockType::Empty),
    ]);
    add(&whole(bulk));
    add(&[Instruction::Return, Instruction::End]);
    match bulk {
        Bulk::Fill { memory } => {
            add(&outside(TO, memory));
            add(&[Instruction::If(BlockType::Empty)]);
            add(&whole(bulk));
            add(&[Instruction::Return, Instruction::End]);
            add(&forward(bulk));
        }
        Bulk::Copy { to, from } => {
            add(&outside(TO, to));
            add(&outside(FROM, from));
            add(&[Instruction::I32Or, Instruction::If(BlockType::Empty)]);
            add(&whole(bulk));
            add(&[Instruction::Return, Instruction::End]);
            // What lies behind is read before it is written over.
            add(&[
                Instruction::LocalGet(TO),
                Instruction::LocalGet(FROM),
                Instruction::I32LeU,
                Instruction::If(BlockType::Empty),
            ]);
            add(&forward(bulk));
            add(&[Instruction::Else]);
            add(&backward(bulk));
            add(&[Instruction::End]);
        }
    }
    add(&[Instruction::End]);
    function
}

/// All of it at once.
fn whole(bulk: Bulk) -> [Instruction<'static>; 4] {
    [Instruction::LocalGet(TO), Instruction::LocalGet(FROM), Instruction::LocalGet(LENGTH), bulk.instruction()]
}

/// Whether `LENGTH` bytes from the address in a local end beyond a memory: in 64 bits, where nothing wraps around.
fn outside(address: u32, memory: u32) -> [Instruction<'static>; 10] {
    const PAGE_BITS: i64 = 16;
    [
        Instruction::LocalGet(address),
        Instruction::I64ExtendI32U,
        Instruction::LocalGet(LENGTH),
        Instruction::I64ExtendI32U,
        Instruction::I64Add,
        Instruction::MemorySize(memory),
        Instruction::I64ExtendI32U,
        Instruction::I64Const(PAGE_BITS),
        Instruction::I64Shl,
        Instruction::I64GtU,
    ]
}

/// Pieces from the beginning on, then the rest.
fn forward(bulk: Bulk) -> Vec<Instruction<'static>> {
    let piece = Instruction::I32Const(PIECE_BYTES);
    let onwards = |local| {
        [
            Instruction::LocalGet(local),
            Instruction::I32Const(PIECE_BYTES),
            Instruction::I32Add,
            Instruction::LocalSet(local),
        ]
    };
    let mut instructions = vec![
        Instruction::Loop(BlockType::Empty),
        Instruction::LocalGet(TO),
        Instruction::LocalGet(FROM),
        piece.clone(),
        bulk.instruction(),
    ];
    instructions.extend(onwards(TO));
    if matches!(bulk, Bulk::Copy { .. }) {
        instructions.extend(onwards(FROM));
    }
    instructions.extend([
        Instruction::LocalGet(LENGTH),
        piece.clone(),
        Instruction::I32Sub,
        Instruction::LocalTee(LENGTH),
        piece,
        Instruction::I32GtU,
        Instruction::BrIf(0),
        Instruction::End,
    ]);
    instructions.extend(whole(bulk));
    instructions
}

/// Pieces from the end on, then what is left at the beginning.
fn backward(bulk: Bulk) -> Vec<Instruction<'static>> {
    let piece = Instruction::I32Const(PIECE_BYTES);
    let mut instructions = vec![
        Instruction::Loop(BlockType::Empty),
        Instruction::LocalGet(LENGTH),
        piece.clone(),
        Instruction::I32Sub,
        Instruction::LocalSet(LENGTH),
    ];
    for address in [TO, FROM] {
        instructions.extend([Instruction::LocalGet(address), Instruction::LocalGet(LENGTH), Instruction::I32Add]);
    }
    instructions.extend([
        piece.clone(),
        bulk.instruction(),
        Instruction::LocalGet(LENGTH),
        piece,
        Instruction::I32GtU,
        Instruction::BrIf(0),
        Instruction::End,
    ]);
    instructions.extend(whole(bulk));
    instructions
}

#[cfg(test)]
mod tests;
