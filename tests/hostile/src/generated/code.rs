//! Functions that are dear to compile.

use wasm_encoder::{BlockType, ExportKind, ExportSection, Function};

use super::{ANSWERS, SHELL_FUNCTIONS, at, with, with_body};

/// What the format lets a function have.
const MOST_LOCALS: u32 = 50_000;
/// Under the class's 4 MiB, with room for the rest of the module.
const BODY_BYTES: usize = 3_900_000;

/// One function of nothing but additions, as long as the file may be.
pub fn huge_function() -> Vec<u8> {
    with_body(1, |body| {
        while body.byte_len() < BODY_BYTES {
            body.instructions().local_get(0).i32_const(1).i32_add().local_set(0);
        }
    })
}

/// As many locals as there may be, all set, and all alive until the end.
pub fn many_locals() -> Vec<u8> {
    with_body(MOST_LOCALS, |body| {
        for local in 0..MOST_LOCALS {
            body.instructions().i32_const(0).i32_load(at(2 * local)).local_set(local);
        }
        for local in 0..MOST_LOCALS {
            body.instructions().i32_const(0).local_get(local).i32_store(at(0));
        }
    })
}

/// Branch tables of as many targets as there may be, each to one of a thousand blocks.
pub fn branch_tables() -> Vec<u8> {
    const TARGETS: u32 = 65_000;
    const BLOCKS: u32 = 1_000;
    with_body(0, |body| {
        for _ in 0..BLOCKS {
            body.instructions().block(BlockType::Empty);
        }
        let targets: Vec<u32> = (0..TARGETS).map(|target| target % BLOCKS).collect();
        while body.byte_len() < BODY_BYTES - 300_000 {
            body.instructions().block(BlockType::Empty).i32_const(0).br_table(targets.iter().copied(), 0).end();
        }
        for _ in 0..BLOCKS {
            body.instructions().end();
        }
    })
}

fn nested(depth: u32, mut open: impl FnMut(&mut Function)) -> Vec<u8> {
    with_body(0, |body| {
        for _ in 0..depth {
            open(body);
        }
        for _ in 0..depth {
            body.instructions().end();
        }
    })
}

/// A million blocks, each in the other.
pub fn deep_blocks() -> Vec<u8> {
    nested(1_000_000, |body| {
        body.instructions().block(BlockType::Empty);
    })
}

/// A quarter of a million loops, each in the other.
pub fn deep_loops() -> Vec<u8> {
    nested(250_000, |body| {
        body.instructions().loop_(BlockType::Empty).i32_const(0).br_if(0);
    })
}

/// A quarter of a million conditions, each in the other.
pub fn deep_ifs() -> Vec<u8> {
    nested(250_000, |body| {
        body.instructions().i32_const(0).if_(BlockType::Empty);
    })
}

/// Loops inside loops, with variables that the innermost changes: each loop needs a value of its own for each.
fn loops_times_locals(loops: u32, locals: u32) -> Vec<u8> {
    with_body(locals, |body| {
        for _ in 0..loops {
            body.instructions().loop_(BlockType::Empty);
        }
        for local in 0..locals {
            body.instructions().local_get(local).i32_const(1).i32_add().local_set(local);
        }
        for _ in 0..loops {
            body.instructions().memory_size(0).br_if(0).end();
        }
    })
}

/// Two hundred loops and five hundred variables: a hundred thousand values from a few kilobytes.
pub fn loops_and_locals() -> Vec<u8> {
    loops_times_locals(200, 500)
}

/// Five thousand loops and five thousand variables: twenty-five million values from eighty kilobytes.
pub fn loops_and_locals_squared() -> Vec<u8> {
    loops_times_locals(5_000, 5_000)
}

/// A function whose frame is larger than the whole stack.
pub fn frame_larger_than_the_stack() -> Vec<u8> {
    const VALUES: u32 = 20_000;
    with(|shell| {
        let mut body = Function::new([]);
        // Values that are no locals: the check before compiling counts those.
        for value in 0..VALUES {
            body.instructions().i32_const(0).i32_const(0).v128_load(at(3 * value));
        }
        // A call between making and using keeps them out of registers and on the stack.
        body.instructions().call(0).drop();
        for value in 0..VALUES {
            body.instructions().v128_store(at(value));
        }
        body.instructions().end();
        shell.body(&body);
        let mut collect = Function::new([]);
        collect.instructions().call(SHELL_FUNCTIONS).i32_const(64).end();
        // The shell's second function is `collect`: this one takes its name.
        shell.functions.function(ANSWERS);
        shell.code.function(&collect);
        let mut exports = ExportSection::new();
        exports.export("describe", ExportKind::Func, 0);
        exports.export("collect", ExportKind::Func, SHELL_FUNCTIONS + 1);
        exports.export("cabi_realloc", ExportKind::Func, 2);
        exports.export("memory", ExportKind::Memory, 0);
        shell.exports = exports;
    })
}
